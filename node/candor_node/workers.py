"""Threads for curve work and index probing: off the event loop, on all cores, single lookups before batches.

Rules of this file:
- two sets of threads, each as many as there are cores; those of the bulk lane are niced, so that the
  operating system itself lets a single lookup pass, in this process or in another one of the machine;
- curve operations release the interpreter's lock (adr/0002), which is why threads do; a batch's answers, the
  most of its work, are opened in processes of their own (`helpers`), for each operation has to take it back;
- large batches are cut into slices of SLICE elements: what is queued behind one waits for milliseconds;
- whoever asks for a `map` must not himself run on these threads, or the two wait for each other.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from builtins import map as in_sequence
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import ParamSpec, TypeVar

from candor_node import curve_helper
from candor_node.helpers import Helpers
from candor_proto.oprf import SliceMap

T = TypeVar("T")
P = ParamSpec("P")

# About 6 ms of one multiplication each.
SLICE = 64
BULK_NICENESS = curve_helper.NICENESS


class Lane(Enum):
    """Who is served first: a person who waits for one lookup, or a batch."""

    SINGLE = "single"
    BULK = "bulk"


def lane_for(persons: int) -> Lane:
    return Lane.BULK if persons > 1 else Lane.SINGLE


def slices_in(elements: int) -> int:
    """Into how many slices a batch of so many elements is cut."""
    return max(1, -(-elements // SLICE))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _be_nice() -> None:
    if sys.platform == "linux":
        # On Linux niceness belongs to a thread; to be nicer needs no privilege.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BULK_NICENESS)


class Workers:
    """The threads of one node. `close` waits for what has begun."""

    def __init__(self, threads: int | None = None) -> None:
        count = threads or cores()
        self._pools = {
            Lane.SINGLE: ThreadPoolExecutor(count, thread_name_prefix="candor-single"),
            Lane.BULK: ThreadPoolExecutor(count, thread_name_prefix="candor-bulk", initializer=_be_nice),
        }
        # Calls that hand slices to a lane and wait for them: never more than are in hand at a time.
        self._callers = {
            lane: ThreadPoolExecutor(
                4 * count,
                thread_name_prefix=f"candor-{lane.value}-caller",
                initializer=_be_nice if lane is Lane.BULK else lambda: None,
            )
            for lane in Lane
        }
        # Processes for the curve work of batches.
        self.helpers = Helpers(count)

    def map(self, lane: Lane, slices: int = 2) -> SliceMap:
        """What `candor_proto.oprf` runs the slices of a batch with; a single one stays where it is."""
        return self._pools[lane].map if slices > 1 else in_sequence

    async def run(self, lane: Lane, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work` on a thread of the lane that may itself use `map`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._callers[lane], lambda: work(*args, **kwargs))

    def close(self) -> None:
        for pool in (*self._callers.values(), *self._pools.values()):
            pool.shutdown(wait=True, cancel_futures=True)
        self.helpers.close()
