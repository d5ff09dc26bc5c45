"""A store whose writing transactions belong to one term of the sequencer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from candor_hub.store import Store, Transaction


class Fenced:
    """What the sequencer works with: a transaction that comes after its term stores nothing."""

    def __init__(self, store: Store) -> None:
        """Begin a term; raises StoreUnusable."""
        self._store = store
        with store.write() as tx:
            self.term = tx.fence.advance()

    def read(self) -> AbstractContextManager[Transaction]:
        return self._store.read()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """As `Store.write`; raises Deposed when another replica has taken the log over since."""
        with self._store.write() as tx:
            # Behind the lock of writers: nobody begins another term before this transaction has ended.
            tx.fence.check(self.term)
            yield tx
