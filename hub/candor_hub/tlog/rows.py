"""The files of the log as rows of the database, as several replicas have them (ADR 0032).

Rules of this file:
- what is written together is one transaction, durable when it ends: `write` of the sequencer begins one that
  checks its fence;
- within an open transaction, files are read and written there: they are stored with the rest of it or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

from candor_hub.store import Transaction
from candor_hub.store.objects import LOG
from candor_proto.errors import UnknownObject

Begin = Callable[[], AbstractContextManager[Transaction]]
# One transaction holds the one writer's lock for no longer than this many files take.
_REMOVED = 1_000


class Rows:
    """A place for files in the table `objects`; safe to use from several threads."""

    def __init__(self, read: Begin, write: Begin) -> None:
        """`read` and `write` begin transactions, such as those of `Store`."""
        self._read = read
        self._write = write

    def within(self, tx: Transaction) -> Rows:
        def begun() -> AbstractContextManager[Transaction]:
            return nullcontext(tx)

        return Rows(begun, begun)

    def read(self, path: str) -> bytes:
        with self._read() as tx:
            octets = tx.objects.get(LOG, path)
        if octets is None:
            raise UnknownObject(f"There is no {path} in the log.")
        return octets

    def names(self, folder: str) -> list[str]:
        with self._read() as tx:
            return tx.objects.below(LOG, folder)

    def folders(self) -> list[str]:
        with self._read() as tx:
            return tx.objects.folders(LOG)

    def all(self) -> Iterator[str]:
        after = ""
        while True:
            with self._read() as tx:
                some = tx.objects.names(LOG, after)
            if not some:
                return
            yield from some
            after = some[-1]

    def write(self, files: Mapping[str, bytes], *, durable: bool = True) -> None:
        if not files:
            return
        with self._write() as tx:
            for path, octets in sorted(files.items()):
                tx.objects.put(LOG, path, octets)

    def remove(self, paths: Iterable[str]) -> None:
        left = iter(paths)
        while some := list(islice(left, _REMOVED)):
            with self._write() as tx:
                tx.objects.remove(LOG, some)
