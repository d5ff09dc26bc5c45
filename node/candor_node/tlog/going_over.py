"""From a shard that was never closed to its successor (docs/protocol.md §19.4, §19.5).

Two ways: this node's own consent, which `candor-node move` stored; or, for who joined later, the consents of
more than half of the members. Without either the log ends where it ends.
"""

from __future__ import annotations

from datetime import timedelta

from candor_node.clock import Clock
from candor_node.logs import log
from candor_node.store import Store
from candor_node.tlog import succession_store
from candor_node.tlog.files import LogFiles
from candor_node.tlog.log_store import DatabaseCounts, FollowedShard
from candor_node.tlog.taking_up import Following
from candor_proto.errors import LogInconsistent, UnknownObject
from candor_proto.ids import FederationName, NodeId
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.entries import Entry, parse_entry
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.signatures import verify_log
from candor_proto.tlog.state import LogState
from candor_proto.tlog.succession import (
    Successor,
    check_first_policy,
    check_opening,
    check_succeeds,
    read_successor,
)
from candor_proto.tlog.tiles import TILE_WIDTH

# Nobody looks for a successor while the hub signs: it does so every ten minutes (§14.6).
SILENT_FOR = timedelta(hours=1)
# What a successor begins with, and the consents behind it: 2,000 members, each with three entries and one.
MAX_ENTRIES = 16_384


class Succession:
    """Looks for the successor of the shard that is followed."""

    def __init__(
        self, files: LogFiles, store: Store, federation: FederationName, clock: Clock, *, own: bool
    ) -> None:
        """`own`: the operator's own policy judges heads, and it alone says which logs count (§15.4)."""
        self._files = files
        self._store = store
        self._federation = federation
        self._clock = clock
        self._own_policy = own

    async def own(self, following: Following) -> Following | None:
        """The successor that this node consented to, once the shard was read as far as the consent says."""
        shard = following.shard
        kept = await self._store.run(lambda db: succession_store.of_shard(db, shard.number))
        if kept is None:
            return None
        consent = kept.consent
        if (shard.entries.size, shard.entries.root()) != (consent.size, consent.root):
            raise LogInconsistent(
                f"This node consented to a successor of shard {shard.number} with {consent.size} entries, "
                f"and has read {shard.entries.size}.",
                remedy="Run `candor-node move` again.",
            )
        return _over(following, kept.keys, consent.size, consent.root)

    async def of_most(self, following: Following) -> Following | None:
        """The successor that more than half of the members chose; None while there is none to be had.

        Raises LogUnwitnessed when there is one and they have not.
        """
        shard = following.shard
        if self._own_policy or shard.signed is None or not shard.whole:
            return None
        silent = self._clock.now() - verify_log(shard.signed, shard.keys)
        if silent < SILENT_FOR:
            return None
        try:
            successor, entries = await self.read(shard.number + 1)
        except UnknownObject:
            return None
        if (successor.previous_size, successor.previous_root) != (shard.entries.size, shard.entries.root()):
            return None  # it continues another head: a newer one is read first
        state = following.state
        check_first_policy(successor, state.shard.policy_version)
        # Before anything of it is stored: its first policy would judge the heads of this shard, too.
        check_opening(successor, entries, state)
        members = check_succeeds(successor, entries, lambda node: _signing_key(state, node))
        log.warning("the log goes on at a successor", shard=successor.shard, consents=len(members))
        await self._store.run(
            lambda db: succession_store.enforce_first_policy(db, successor.shard, successor.policy)
        )
        return _over(following, successor.keys, successor.previous_size, successor.previous_root)

    async def read(self, number: int) -> tuple[Successor, list[Entry]]:
        """What a successor's shard says of itself, and its first entries, under its newest signed head.

        Raises UnknownObject when there is no such shard, MalformedMessage, LogInconsistent, SignatureInvalid.
        """
        signed = parse_checkpoint(await self._files.signed(number))
        head = signed.checkpoint
        if head.size > MAX_ENTRIES:
            # The beginning says what it is; consents that came later than that are not looked for.
            return await self._beginning(number)
        octets = list[bytes]()
        for index in range(-(-head.size // TILE_WIDTH)):
            octets += await self._files.bundle(number, index, min(TILE_WIDTH, head.size - index * TILE_WIDTH))
        entries = [parse_entry(one) for one in octets]
        successor = read_successor(self._federation, number, entries)
        verify_log(signed, successor.keys)
        if CompactRange.EMPTY.extend([leaf_hash(one) for one in octets]).root() != head.root:
            raise LogInconsistent(f"The entries of shard {number} are not those of its head.")
        return successor, entries

    async def _beginning(self, number: int) -> tuple[Successor, list[Entry]]:
        octets = list[bytes]()
        for index in range(MAX_ENTRIES // TILE_WIDTH):
            octets += await self._files.bundle(number, index, TILE_WIDTH)
        entries = [parse_entry(one) for one in octets]
        return read_successor(self._federation, number, entries), entries


def _over(following: Following, keys: tuple[VerifierKey, VerifierKey], size: int, root: bytes) -> Following:
    number = following.shard.number + 1
    counts = DatabaseCounts(number)
    return Following(FollowedShard(number, keys), following.state.succeeded(size, root, counts), counts)


def _signing_key(state: LogState, node: NodeId) -> bytes | None:
    row = state.nodes.get(node)
    return row.signing_key if row else None
