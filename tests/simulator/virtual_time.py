"""An event loop whose time moves only when nothing is left to do, and in which threads do not race.

Rules of this file:
- `time()` is virtual: where a real loop would sleep, this one moves its clock to the next timer;
- work for threads is done by the time it was handed over, by whoever hands it over, one piece at a time, and
  its result arrives a little (virtual) later: how much is drawn from the seed, so that orders vary from seed
  to seed only.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from datetime import datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
# How long a piece of work in a thread takes at most, a disk's commit among others.
MAX_WORK_SECONDS = 0.006
# So many turns of the loop without its time moving on are a busy loop.
MAX_TURNS = 200_000


class _Selector(selectors.DefaultSelector):
    """Never sleeps: the time that the loop would sleep passes at once."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        self._turns += 1
        if not events and timeout is None:
            raise AssertionError("nothing is left to do and no timer runs: everybody waits for somebody")
        if not events and timeout:
            self._loop.pass_time(timeout)
            self._turns = 0
        if self._turns > MAX_TURNS:
            raise AssertionError("the loop turns and turns, and its time stands still")
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; `draw` decides how long work in threads takes."""

    def __init__(self, draw: random.Random) -> None:
        self._virtual_seconds = 0.0
        self._draw = draw
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._virtual_seconds

    def pass_time(self, seconds: float) -> None:
        self._virtual_seconds += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # the stub has a type variable tuple
        future: asyncio.Future[T] = self.create_future()
        try:
            # Whatever thread it was meant for: nobody else runs meanwhile, and a thread costs more.
            result = func(*args)
        except BaseException as error:
            self.call_later(self._work_seconds(), _fail, future, error)
        else:
            self.call_later(self._work_seconds(), _finish, future, result)
        return future

    def _work_seconds(self) -> float:
        return self._draw.random() * MAX_WORK_SECONDS


def _finish(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


class Inline(Executor):
    """In place of a node's writer thread: who hands work over does it. Nobody is that thread."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[Any] = Future()
        try:
            future.set_result(0 if fn is threading.get_ident else fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class VirtualClock:
    """The wall clock of everybody: `start` and the loop's time, moved by as much as a test wants."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime) -> None:
        self._loop = loop
        self._start = start
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return self._start + self.shift + timedelta(seconds=self._loop.time())

    def advance(self, **by: float) -> None:
        """As timedelta takes it: `advance(hours=3)`. Timers do not run off by it."""
        self.shift += timedelta(**by)


def _unheard(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tasks of the dead end with whatever they died of, and nobody asks."""
    if "never retrieved" not in context["message"]:
        print(context)


def run(seed: int, main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run `main` in a loop of its own."""
    loop = VirtualLoop(random.Random(f"threads {seed}"))
    # Tasks of the dead end with whatever they died of, and nobody asks.
    loop.set_exception_handler(
        lambda _, context: None if "never retrieved" in context["message"] else print(context)
    )
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))
