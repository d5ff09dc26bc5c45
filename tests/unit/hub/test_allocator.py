"""Memory that nobody uses goes back to the system; how much that is: `make campaign NAME=fleet`."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from candor_hub import allocator

# Every tenth of many pieces stays in use: nothing of the rest lies at the heap's end.
PIECES = """
import ctypes
from pathlib import Path
from candor_hub.allocator import give_back

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def piece():
    at = libc.malloc(20_000)
    ctypes.memset(at, 1, 20_000)
    return at

pieces = [piece() for _ in range(2_000)]
for number, at in enumerate(pieces):
    if number % 10:
        libc.free(at)
before = resident()
print(give_back(), before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_free_between_pieces_in_use_is_given_back() -> None:
    ran = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    done, octets = ran.stdout.split()
    assert done == "True"
    assert int(octets) > 20_000_000


@pytest.mark.anyio
async def test_a_quiet_hub_looks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three looks: after mail, without any, and after mail again."""

    class EnoughError(Exception):
        pass

    numbers, given = [9, 8, 8, 7], list[bool]()

    def moved() -> int:
        if not numbers:
            raise EnoughError
        return numbers.pop()

    monkeypatch.setattr(allocator, "give_back", lambda: given.append(True))
    with pytest.raises(EnoughError):
        await allocator.keep_small(moved, 0.0)
    assert len(given) == 2
