"""Group commit: bodies that queue up share one transaction, one COMMIT and one fsync (ADR 0014).

Rules of this file:
- bodies run one after the other, each in a savepoint of its own: one that raises undoes only itself;
- nobody waits for company: a body behind which none is waiting commits at once. While it does, others queue
  up, and they are the next group;
- whoever ran in a group leaves when the group's fate is known, also by an exception: what a body has seen of
  its neighbours, and judged by, is durable by then;
- on PostgreSQL the writers of other replicas wait meanwhile, for the group holds the one lock (ADR 0030);
- a failed COMMIT is "unknown" and is raised to every member: nobody is told that his body is stored.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from candor_hub.driver import (
    FAILURES,
    Connection,
    DBAPIError,
    Engine,
    IntegrityError,
    commit,
    discard,
    explain,
    single,
)
from candor_proto.errors import StoreUnusable

MAX_BODIES = 100
MAX_OPEN_SECONDS = 0.005


class Turn:
    """A lock that is handed over in the order of asking, and knows whether somebody waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = False
        self._queue: deque[threading.Event] = deque()

    def take(self) -> None:
        with self._lock:
            if not self._held:
                self._held = True
                return
            mine = threading.Event()
            self._queue.append(mine)
        mine.wait()

    def hand_over(self) -> bool:
        """Give the turn to who waits longest; False, and it is still ours, if nobody does."""
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
                return True
        return False

    def give_back(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._held = False


@dataclass(eq=False)
class _Open:
    """A transaction that is under way; owned by whoever has the turn, but for `over` and `error`."""

    connection: Connection
    opened_at_seconds: float
    bodies: int = 0
    kept: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    error: StoreUnusable | None = None

    @property
    def full(self) -> bool:
        return self.bodies >= MAX_BODIES or time.monotonic() - self.opened_at_seconds >= MAX_OPEN_SECONDS


class GroupWriter:
    """The one writer of this process; safe to use from several threads, not twice from one."""

    def __init__(self, engine: Engine) -> None:
        """`engine` takes the write lock when it begins."""
        self._engine = engine
        self._turn = Turn()
        self._open: _Open | None = None
        self.commits = 0

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run a body; at its end it is on the disk, or undone by an exception. Raises StoreUnusable."""
        self._turn.take()
        try:
            group = self._open or self._begin()
        except BaseException:
            self._turn.give_back()
            raise
        try:
            yield from self._body(group)
        except BaseException:
            self._leave(group)
            # The refusal was judged by what this group had written: if that is lost, so is the judgement.
            if group.error is not None:
                raise _again(group.error) from group.error
            raise
        self._leave(group)
        if group.error is not None:
            raise _again(group.error)

    def _begin(self) -> _Open:
        try:
            connection = self._engine.connect()
            try:
                connection.begin()
            except BaseException:
                connection.close()
                raise
        except FAILURES as error:
            raise explain(error, self._engine) from error
        self._open = _Open(connection, time.monotonic())
        return self._open

    def _body(self, group: _Open) -> Iterator[Connection]:
        group.bodies += 1
        try:
            single(group.connection, "SAVEPOINT body")
            try:
                yield group.connection
            except BaseException as error:
                if isinstance(error, DBAPIError | MemoryError) and not isinstance(error, IntegrityError):
                    raise
                single(group.connection, "ROLLBACK TO body")
                single(group.connection, "RELEASE body")
                raise
            single(group.connection, "RELEASE body")
        except IntegrityError as error:
            raise explain(error, self._engine) from error
        except (DBAPIError, MemoryError) as error:
            # After an error of the disk nothing that this connection remembers is to be trusted.
            self._end(group, explain(error, self._engine), error)
            raise
        group.kept += 1

    def _leave(self, group: _Open) -> None:
        """Commit if nobody else will, pass the turn on, and wait until the group's fate is known."""
        if not group.over.is_set() and not group.full and self._turn.hand_over():
            group.over.wait()
            return
        try:
            if not group.over.is_set():
                self._commit(group)
        finally:
            self._turn.give_back()

    def _commit(self, group: _Open) -> None:
        try:
            if group.kept:
                commit(group.connection)
                self.commits += 1
        except (DBAPIError, MemoryError) as error:
            self._end(group, explain(error, self._engine), error)
        except StoreUnusable as error:
            self._end(group, error)
        except BaseException:
            self._end(group, StoreUnusable("A step was interrupted; nobody knows whether it was stored."))
            raise
        else:
            self._end(group, None)

    def _end(self, group: _Open, error: StoreUnusable | None, cause: BaseException | None = None) -> None:
        group.error = error
        self._open = None
        try:
            if error is not None:
                discard(group.connection, cause or error)
            group.connection.close()
        finally:
            group.over.set()


def _again(error: StoreUnusable) -> StoreUnusable:
    """An exception of its own for each thread, for raising changes it."""
    return StoreUnusable(error.message, remedy=error.remedy)
