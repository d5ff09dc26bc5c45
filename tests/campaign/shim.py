"""The harness's side of shim.c: builds it, gives it orders, reads what it recorded.

    library = build(folder)                      # needs a C compiler
    Control.create(page)
    subprocess.Popen(..., env={**os.environ, "LD_PRELOAD": str(library)})
    # in that process, before files are opened:
    attach(below=data, control=page, log=None)
    # in either process:
    with Control.open(page) as control:
        control.arm(Mode.NO_SPACE, nth=17)

The process under test is the real one; only libc's file calls have someone in front of them.
"""

from __future__ import annotations

import ctypes
import enum
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE_SECONDS

SOURCE = Path(__file__).with_name("shim.c")
PAGE_OCTETS = 4096
_AT, _ONLY, _TEXT_OCTETS = 56, 120, 64
_ENTRY = struct.Struct("<B3xIIIQ")


class Mode(enum.IntEnum):
    """What is to go wrong; the order of shim.c."""

    NOTHING = 0
    KILL = 1
    NO_SPACE = 2
    WRITE_ERROR = 3
    SYNC_ERROR = 4
    SHORT_WRITE = 5
    NO_MEMORY = 6


class NoCompiler(Exception):
    """There is no C compiler on this machine; the message says what to install."""


def compiler() -> str | None:
    """The system's C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path) -> Path:
    """The shim as a shared library in `folder`; raises NoCompiler."""
    program = compiler()
    if program is None:
        raise NoCompiler("the disk shim needs a C compiler: apt-get install gcc libc6-dev")
    library = folder / "shim.so"
    words = [program, "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if done.returncode:
        raise NoCompiler(f"the disk shim does not compile here (gcc and libc6-dev?): {done.stderr[-400:]}")
    return library


def preloaded(library: Path) -> dict[str, str]:
    """The environment of a process that has the shim in front of libc."""
    return {**os.environ, "LD_PRELOAD": str(library), "GRPC_ENABLE_FORK_SUPPORT": "0"}


def under_shim(module: str, *arguments: str) -> int:
    """Run `python -m module` with the shim in front of libc; its status, or 2 without a compiler."""
    with tempfile.TemporaryDirectory(prefix="candor-shim-") as folder:
        try:
            library = build(Path(folder))
        except NoCompiler as error:
            print(f"campaign: {error}")
            return 2
        words = [sys.executable, "-m", module, *arguments]
        return subprocess.run(words, env=preloaded(library)).returncode


def is_preloaded() -> bool:
    """Whether this process has the shim in front of libc."""
    return hasattr(ctypes.CDLL(None), "shim_attach")


def attach(below: Path, control: Path, log: Path | None = None) -> None:
    """Begin to watch the files below a folder; in the process under test, before it opens them."""
    name, page, into = str(below).encode(), str(control).encode(), str(log or "").encode()
    status = _loaded().shim_attach(name, page, into)
    if status != 0:
        raise OSError(-status, os.strerror(-status), str(control))


def mark(text: str) -> None:
    """Put a mark between the recorded steps of this process, for example what was acknowledged."""
    _loaded().shim_mark(text.encode())


def _loaded() -> ctypes.CDLL:
    if not is_preloaded():
        raise AssertionError("this process runs without the shim: LD_PRELOAD is missing")
    return ctypes.CDLL(None)


class Control:
    """The page of orders, shared with the process under test."""

    def __init__(self, page: mmap.mmap) -> None:
        self._page = page

    @classmethod
    def create(cls, path: Path) -> Control:
        path.write_bytes(bytes(PAGE_OCTETS))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Control:
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), PAGE_OCTETS))

    def arm(self, mode: Mode, nth: int, *, sticky: bool = False, only: str = "") -> None:
        """The fault comes at the `nth` step from now that can suffer it, in paths that begin with `only`."""
        self.disarm()
        self.watch(only)
        self._put(1, nth)
        self._put(2, int(sticky))
        self._put(0, mode)

    def watch(self, only: str = "") -> None:
        """Count from 0 again, only the steps on paths that begin with `only`."""
        self._page[_ONLY : _ONLY + _TEXT_OCTETS] = only.encode().ljust(_TEXT_OCTETS, b"\0")
        for field in (3, 4, 5, 6):
            self._put(field, 0)
        self._page[_AT : _AT + _TEXT_OCTETS] = bytes(_TEXT_OCTETS)

    def disarm(self) -> None:
        """All is well from now on."""
        self._put(0, Mode.NOTHING)

    @property
    def steps(self) -> int:
        return self._get(3)

    @property
    def syncs(self) -> int:
        return self._get(4)

    @property
    def allocations(self) -> int:
        return self._get(5)

    @property
    def fired(self) -> int:
        """How often the fault came since it was armed."""
        return self._get(6)

    @property
    def at(self) -> str:
        """The step that the fault came at first: what, and the end of the path."""
        return self._page[_AT : _AT + _TEXT_OCTETS].split(b"\0")[0].decode(errors="replace")

    def close(self) -> None:
        self._page.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, field: int, value: int) -> None:
        struct.pack_into("<q", self._page, 8 * field, value)

    def _get(self, field: int) -> int:
        return int(struct.unpack_from("<q", self._page, 8 * field)[0])


@dataclass(frozen=True)
class Step:
    """One recorded step: `kind` is a letter of shim.c, `offset` the new length of a truncation."""

    kind: str
    path: str
    offset: int = 0
    octets: bytes = b""


def read_log(path: Path) -> Iterator[Step]:
    """The recorded steps in their order."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        kind, path_octets, length, _, offset = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        name = data[at : at + path_octets].decode()
        at += path_octets
        yield Step(chr(kind), name, offset, data[at : at + length])
        at += length
