"""The sequencer's term: who appends to the log checks it in every transaction that writes.

A lock says who may begin. It cannot stop a process that was thought dead and goes on; the term does.
"""

from __future__ import annotations

from candor_hub.driver import Connection, sa, single
from candor_hub.tables import log_fence
from candor_proto.errors import StoreUnusable

_ONE = log_fence.c.one == 1


class Deposed(StoreUnusable):
    """Another replica has taken the log over; nothing of this step was stored."""

    def __init__(self) -> None:
        super().__init__(
            "Another replica writes the log now; nothing of this step was stored.",
            remedy="Nothing needs to be done: what waits is appended there.",
        )


class Fence:
    """The one row of the term."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def term(self) -> int:
        """How often the log was taken over."""
        return single(self._connection, "SELECT term FROM log_fence WHERE one = 1") or 0

    def advance(self) -> int:
        """Begin a term of one's own: its number. Whoever had the one before stores nothing any more."""
        term = self.term() + 1
        changed = self._connection.execute(sa.update(log_fence).where(_ONE).values(term=term)).rowcount
        if not changed:
            self._connection.execute(sa.insert(log_fence).values(one=1, term=term))
        return term

    def check(self, term: int) -> None:
        """Raises Deposed unless `term` is the present one."""
        if self.term() != term:
            raise Deposed
