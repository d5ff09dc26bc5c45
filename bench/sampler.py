"""Where a process spends its CPU time: a sampling profiler of all threads, for the benchmarks' own use.

Every two milliseconds of CPU time (SIGPROF) the stacks of the threads that are not waiting share one sample.
Calls that release the interpreter's lock (curve, database, TLS) count at the Python line that makes them.
Beside it stands the CPU time of each thread as the kernel counts it, gRPC's own threads included. Sampling
costs a few per cent, so nothing else is measured while it runs. Linux only.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Self

INTERVAL_SECONDS = 0.002
# Functions in which a thread waits for work.
_WAITING = {"select", "wait", "_worker", "get", "accept", "sleep", "_do_waitpid", "acquire", "run"}
_TASKS = Path("/proc/self/task")


class Sampler:
    """Samples this process, from its main thread, until it is closed; then writes a report to `out`."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._before: dict[int, int] = {}
        self.leaves: Counter[str] = Counter()
        self.inclusive: Counter[str] = Counter()
        self.samples = 0

    def __enter__(self) -> Self:
        self._before = _thread_nanoseconds()
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        self._out.write_text(self.report(), "utf-8")

    def _note(self, _number: int, main_frame: FrameType | None) -> None:
        self.samples += 1
        frames = dict(sys._current_frames())
        if main_frame is not None:
            frames[threading.get_ident()] = main_frame
        running = [frame for frame in frames.values() if frame.f_code.co_name not in _WAITING]
        if not running:
            self.leaves["(outside Python: gRPC's threads, the kernel)"] += 1
        for innermost in running:
            share = 1 / len(running)
            self.leaves[_name(innermost)] += share  # type: ignore[assignment]  # a Counter adds fractions
            seen: set[str] = set()
            frame: FrameType | None = innermost
            while frame is not None:
                seen.add(_name(frame))
                frame = frame.f_back
            for name in seen:
                self.inclusive[name] += share  # type: ignore[assignment]  # as above

    def report(self) -> str:
        """CPU time of each thread, then shares of the samples: innermost functions, then with callees."""
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        used: Counter[str] = Counter()
        for task, nanoseconds in _thread_nanoseconds().items():
            used[names.get(task, "(not Python)")] += nanoseconds - self._before.get(task, 0)
        lines = ["CPU milliseconds of threads"]
        lines += [f"{nanoseconds / 1e6:9.1f}  {name}" for name, nanoseconds in used.most_common(20)]
        lines += ["", f"{self.samples} samples of CPU time"]
        for title, counted in (("innermost", self.leaves), ("with callees", self.inclusive)):
            lines += ["", title]
            lines += [
                f"{100 * count / max(1, self.samples):6.1f} %  {name}"
                for name, count in counted.most_common(90)
            ]
        return "\n".join(lines) + "\n"


def _thread_nanoseconds() -> dict[int, int]:
    """CPU time of each thread of this process."""
    return {int(task.name): int((task / "schedstat").read_text().split()[0]) for task in _TASKS.iterdir()}


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.stem}:{frame.f_code.co_qualname}"
