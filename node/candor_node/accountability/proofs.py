"""Proofs that the log holds something, fetched when a file is made and checked before it is written (§16.1).

Rule of this file: whatever the hub serves is checked under the policy in force here; what does not verify, or
is not logged yet, is an error with a sentence, and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from candor_certs.chain import verify_directory_certificate
from candor_node.accountability import held_heads
from candor_node.clock import Clock
from candor_node.store import Store
from candor_node.tlog import log_store, watching
from candor_node.tlog.follower import Follower
from candor_node.tlog.view import LogView
from candor_node.tlog.watching import Place
from candor_proto import merkle
from candor_proto.accountability.file_form import LoggedPart
from candor_proto.accountability.trust import DirectoryKey, Trust
from candor_proto.errors import (
    CandorError,
    LogInconsistent,
    LogUnwitnessed,
    NotLogged,
    ProofInvalid,
    UnknownObject,
)
from candor_proto.ids import FederationName, NodeId
from candor_proto.merkle import CompactRange
from candor_proto.signing import VerifyingKey
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.entries import log_origin
from candor_proto.tlog.policy import Policy, parse_policy
from candor_proto.tlog.proof import LogProof
from candor_proto.tlog.tiles import TILE_WIDTH, TileReader, consistency_proof, inclusion_proof, tile_width


def directory_key(roots: Sequence[x509.Certificate], federation: FederationName) -> DirectoryKey:
    """How a directory's certificates are judged: up to these roots, as of its own time (§17.1)."""

    def judge(chain: Sequence[bytes], at: datetime) -> VerifyingKey:
        key = verify_directory_certificate(chain, roots, federation, at)
        return VerifyingKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))

    return judge


class Proofs:
    """Asks the hub for tiles, by the follower's eyes. Belongs to the event loop."""

    def __init__(
        self,
        follower: Follower,
        store: Store,
        federation: FederationName,
        roots: Sequence[x509.Certificate],
        clock: Clock,
    ) -> None:
        self._follower = follower
        self._store = store
        self._federation = federation
        self._roots = roots
        self._clock = clock

    def view(self) -> LogView:
        """Raises LogUnwitnessed before any head was taken up."""
        if self._follower.view is None:
            raise LogUnwitnessed(
                "This node has not seen a witnessed head of the log yet.",
                remedy="`candor-node status` says why.",
            )
        return self._follower.view

    def trust(self) -> Trust:
        """What files are checked with here: the policy in force, and the root that was pinned at joining."""
        view, key = self.view(), directory_key(self._roots, self._federation)
        return Trust(view.policy, self._clock.now(), key)

    # --- parts ---------------------------------------------------------------------------------------------

    async def logged(self, place: Place | None, what: str, entry: bytes | None = None) -> LoggedPart:
        """The entry at `place` with its proof; raises NotLogged where there is none yet."""
        view = self.view()
        if place is None or (place.shard == view.shard and place.position >= view.size):
            raise NotLogged(
                f"{what} is not in the log yet, as far as this node has read it.",
                remedy="Try again in a minute: the hub logs within one.",
            )
        signed = await self._head(place.shard, view)
        if entry is None:
            size = signed.checkpoint.size
            (entry,) = await self.entries(place.shard, place.position, place.position + 1, size)
        hashes = await self._follower.files.compute(
            place.shard, lambda reader: inclusion_proof(reader, place.position, signed.checkpoint.size)
        )
        part = LoggedPart(entry, LogProof(place.position, tuple(hashes), view.policy.knows(signed)))
        part.proof.verify(part.entry, view.policy, self._clock.now())
        return part

    async def member(self, node: NodeId) -> LoggedPart:
        """The newest entry of a member."""
        found = await self._store.run(lambda db: held_heads.member_place(db, node))
        place, entry = found or (None, None)
        return await self.logged(place, f"The entry of {node}", entry)

    async def head(self, digest: bytes) -> LoggedPart:
        """The entry of an index head."""
        place = await self._store.run(lambda db: held_heads.head_place(db, digest))
        return await self.logged(place, "An index head")

    async def commitment(self, commitment: bytes, what: str) -> LoggedPart:
        """The entry in which a commitment that was watched stands."""
        place = await self._store.run(lambda db: watching.place_of(db, commitment))
        return await self.logged(place, what)

    # --- what proves the number of a bit -------------------------------------------------------------------

    async def range_before(
        self, shard: int, start: int, logged: LoggedPart
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]:
        """Prefix, entries and consistency of §17.1 for the entries from `start` up to that of `logged`."""
        position, size = logged.proof.index, logged.proof.signed.checkpoint.size
        entries = await self.entries(shard, start, position, size)
        compute = self._follower.files.compute
        prefix = await compute(shard, lambda reader: subtree_roots(reader, start, size))
        consistency = await compute(shard, lambda reader: consistency_proof(reader, position + 1, size))
        known = CompactRange(start, prefix).extend(map(merkle.leaf_hash, (*entries, logged.entry)))
        try:
            merkle.verify_consistency(
                position + 1, size, consistency, known.root(), logged.proof.signed.checkpoint.root
            )
        except ProofInvalid:
            raise LogInconsistent("The hub serves entries that are not those of the log.") from None
        return prefix, entries, tuple(consistency)

    async def entries(self, shard: int, start: int, end: int, size: int) -> tuple[bytes, ...]:
        """Entries start ≤ position < end of a shard with so many entries, unverified."""
        found: list[bytes] = []
        for index in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            bundle = await self._follower.files.bundle(shard, index, tile_width(0, index, size))
            first = index * TILE_WIDTH
            found += bundle[max(0, start - first) : end - first]
        return tuple(found)

    # --- heads ---------------------------------------------------------------------------------------------

    async def _head(self, shard: int, view: LogView) -> SignedCheckpoint:
        """The newest head of a shard, or the last one of an ended shard."""
        if shard == view.shard:
            return view.signed
        return await self.checkpoint(shard, "checkpoint")

    async def checkpoint(self, shard: int, name: str) -> SignedCheckpoint:
        """A checkpoint that the hub keeps, verified under the policy in force. Raises UnknownObject."""
        signed = await self._kept(shard, name)
        self.view().policy.verify(signed, self._clock.now())
        return signed

    async def draw(self, shard: int, name: str) -> SignedCheckpoint:
        """The checkpoint of a draw: one of the log that was followed, witnessed by the policy of its time.

        Raises UnknownObject, LogUnwitnessed, and as `_check_seen`.
        """
        signed, now = await self._kept(shard, f"draw/{name}"), self._clock.now()
        size = signed.checkpoint.size
        # A head that brings a policy into force is judged by the one before (§15.4).
        known = await self._store.run(lambda db: log_store.policies_before(db, shard, size))
        *others, last = [self.view().policy, *(parse_policy(each.text) for each in reversed(known))]
        if not any(_stands(policy, signed, now) for policy in others):
            last.verify(signed, now)
        await self._check_seen(shard, signed)
        return signed

    async def _kept(self, shard: int, name: str) -> SignedCheckpoint:
        try:
            signed = parse_checkpoint(await self._follower.files.get(f"{shard}/{name}"))
        except UnknownObject:
            raise UnknownObject(f"The hub keeps no checkpoint {name} of shard {shard} of the log.") from None
        if signed.checkpoint.origin != log_origin(self._federation, shard):
            raise LogInconsistent("The hub serves a checkpoint of another log.")
        return signed

    async def _check_seen(self, shard: int, signed: SignedCheckpoint) -> None:
        """Whether a checkpoint is one of the log that was followed; raises LogInconsistent or NotLogged."""
        view, small = self.view(), signed.checkpoint
        large = (await self._head(shard, view)).checkpoint
        if small.size > large.size:
            raise NotLogged("The log was not read that far yet.", remedy="Try again in a minute.")
        proof = await self._follower.files.compute(
            shard, lambda reader: consistency_proof(reader, small.size, large.size)
        )
        try:
            merkle.verify_consistency(small.size, large.size, proof, small.root, large.root)
        except ProofInvalid:
            raise LogInconsistent("The checkpoint is not one of the log that was followed here.") from None


def _stands(policy: Policy, signed: SignedCheckpoint, now: datetime) -> bool:
    try:
        policy.verify(signed, now)
    except CandorError:
        return False
    return True


def subtree_roots(reader: TileReader, size: int, tree_size: int) -> tuple[bytes, ...]:
    """The roots of the largest full subtrees of the first `size` entries, left to right."""
    roots, start = [], 0
    for bit in reversed(range(size.bit_length())):
        if size >> bit & 1:
            roots.append(_full_subtree(reader, bit, start >> bit, tree_size))
            start += 1 << bit
    return tuple(roots)


def _full_subtree(reader: TileReader, height: int, index: int, tree_size: int) -> bytes:
    """The root of the full subtree `index` of 2^height entries, from the hashes of one tile."""
    level, within = divmod(height, 8)
    first = index << within
    tile_index, offset = divmod(first, TILE_WIDTH)
    octets = reader.tile(level, tile_index, tile_width(level, tile_index, tree_size))
    size = merkle.HASH_OCTETS
    hashes = [octets[at * size : (at + 1) * size] for at in range(offset, offset + (1 << within))]
    while len(hashes) > 1:
        hashes = [merkle.node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]
