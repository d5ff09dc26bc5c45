"""Gives back to the system what the C library holds and nobody uses.

A lookup to a thousand nodes takes some twenty megabytes for a second, in pieces, from many threads. glibc
keeps an arena for each few threads, and gives back only what lies at an arena's end: what is free between two
pieces in use stays, until it is told to look for it. It does so in some milliseconds.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

LOOK_SECONDS = 20.0


def give_back() -> bool:
    """Whether anything was given back; never where the C library is another than glibc."""
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return False
    return bool(malloc_trim(0))


async def keep_small(moved: Callable[[], int], look_seconds: float = LOOK_SECONDS) -> None:
    """For ever, after each interval in which there was something to do: then `moved` is another number."""
    before = moved()
    while True:
        await asyncio.sleep(look_seconds)
        if (now := moved()) != before:
            before = now
            await asyncio.to_thread(give_back)
