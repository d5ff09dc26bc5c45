"""The files of the log as rows of the database, as several replicas have them (ADR 0032).

Rules of this file:
- what is written together is one transaction, durable when it ends: `write` of the sequencer begins one that
  checks its fence;
- within an open transaction, files are read and written there: they are stored with the rest of it or not;
- of checkpoints there are no copies: a file `checkpoint`, `signed`, `shards`, `policy/…` or `draw/…` is read
  from the rows that it would be a copy of, and nobody but the sequencer writes anything here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

from candor_hub.store import Transaction
from candor_hub.store.objects import LOG
from candor_proto.errors import UnknownObject

Begin = Callable[[], AbstractContextManager[Transaction]]
# One transaction holds the one writer's lock for no longer than this many files take.
_REMOVED = 1_000
_COPY = re.compile(r"shards|[0-9]+/(?:checkpoint|signed|policy/[0-9]+|draw/[0-9a-z-]+)")


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
            octets = _checkpoint(tx, path) if _is_copy(path) else tx.objects.get(LOG, path)
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
        written = sorted((path, octets) for path, octets in files.items() if not _is_copy(path))
        if not written:
            return
        with self._write() as tx:
            for path, octets in written:
                tx.objects.put(LOG, path, octets)

    def remove(self, paths: Iterable[str]) -> None:
        left = iter(paths)
        while some := list(islice(left, _REMOVED)):
            with self._write() as tx:
                tx.objects.remove(LOG, some)


def _is_copy(path: str) -> bool:
    return _COPY.fullmatch(path) is not None


def _checkpoint(tx: Transaction, path: str) -> bytes | None:
    """What the file of this path is a copy of; None if there is none."""
    shards = {shard.shard: shard for shard in tx.log.shards()}
    if path == "shards":
        signed = [shard for shard in shards.values() if shard.signed]
        return "".join(f"{shard.origin} {shard.witnessed_size}\n" for shard in signed).encode() or None
    number, _, name = path.partition("/")
    shard = shards.get(int(number))
    if shard is None:
        return None
    kind, _, which = name.partition("/")
    match kind:
        case "checkpoint":
            return shard.witnessed or None
        case "signed":
            return shard.signed or None
        case "policy":
            policy = tx.log.policy(int(which))
            kept = policy is not None and policy.shard == shard.shard
            return policy.checkpoint or None if policy is not None and kept else None
        case _:
            return tx.log.draws(shard.shard).get(which)
