"""Whether a directory counts: the log must hold it (docs/protocol.md §10.4)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

from candor_node.clock import Clock
from candor_node.directory_store import FetchedDirectory
from candor_node.store import Database, Store
from candor_node.tlog import contradictions, log_store
from candor_node.tlog.contradictions import FALSE_DIRECTORY, TWO_DIRECTORIES, Contradiction
from candor_node.tlog.folding import Self
from candor_proto.directory import Directory, IndexHead, VerifiedDirectory
from candor_proto.errors import LogInconsistent, NotLogged, Rollback
from candor_proto.merkle import leaf_hash
from candor_proto.tlog.entries import head_entry
from candor_proto.tlog.state import state_of

# Hears of a head that this node signed and does not remember, inside the transaction that takes it up.
OwnHead = Callable[[Database, IndexHead], None]


class Admission:
    """Compares directories with the entries that were read. Their signatures were verified before."""

    def __init__(self, store: Store, own: Self, clock: Clock) -> None:
        self._store = store
        self._own = own.node
        self._key = own.signing_key
        self._clock = clock
        self.on_own_head: OwnHead = lambda db, head: None

    async def admit(self, fetched: FetchedDirectory, origin: str, seen_before: int = 0) -> None:
        """Raises unless the log of `origin` holds this directory.

        `seen_before` is the version that the log held before the directory was asked for. Raises Rollback,
        NotLogged, or LogInconsistent when the log holds another one of its version.
        """
        directory, state = await asyncio.to_thread(_read, fetched)
        if directory.version < seen_before:
            raise Rollback(
                f"The hub serves directory version {directory.version}; the log holds {seen_before}.",
                remedy="Report it to the hub operator and to the other members.",
            )
        entry = await self._store.run(lambda db: log_store.directory_entry(db, directory.version))
        if entry is None:
            raise NotLogged(
                f"The log does not hold directory version {directory.version} yet.",
                remedy="It is tried again; if it lasts, report it to the hub operator.",
            )
        said = entry.issued_at, entry.chain_digest, entry.state
        if said != (directory.issued_at, directory.chain_digest.value, state):
            await self._keep(FALSE_DIRECTORY, origin, fetched, entry.encode(), directory.version)
            raise LogInconsistent(
                f"The hub's directory version {directory.version} is not the one that the log holds.",
                remedy="It shows other members or keys than it logs. Report it to the other members.",
            )

    def admitted(self, db: Database, directory: VerifiedDirectory) -> None:
        """A directory is taken up: what it holds of this node under its own key, this node has signed."""
        head = directory.head(self._own)
        listed = next((each for each in directory.directory.members if each.node == self._own), None)
        # Under another key it is not this node that signed it; `folding` tells people of that key.
        own = listed is not None and listed.signing_key.value == self._key
        if own and head is not None and listed is not None and listed.head is not None:
            leaf = leaf_hash(head_entry(listed.head).encode())
            if not log_store.is_own_head(db, leaf):
                self.on_own_head(db, head)
            log_store.own_head_verified(db, leaf, head.sequence)

    async def contradicted(self, origin: str, first: FetchedDirectory, second: FetchedDirectory) -> None:
        """Keep two directories of one version, if they are: both were verified up to the root."""
        one, other = Directory.decode(first.statement.body), Directory.decode(second.statement.body)
        if one.version == other.version and one != other and first.chain == second.chain:
            await self._keep(TWO_DIRECTORIES, origin, first, _signed(second), one.version)

    async def _keep(
        self, kind: str, origin: str, fetched: FetchedDirectory, second: bytes, version: int
    ) -> None:
        chain = [base64.b64encode(der).decode() for der in fetched.chain]
        found = Contradiction(kind, origin, _signed(fetched), second, {"chain": chain, "version": version})
        now = self._clock.now()
        await self._store.run(lambda db: contradictions.keep(db, found, now))


def _signed(fetched: FetchedDirectory) -> bytes:
    return fetched.statement.body + fetched.statement.signature


def _read(fetched: FetchedDirectory) -> tuple[Directory, bytes]:
    directory = Directory.decode(fetched.statement.body)
    return directory, state_of(directory)
