"""One head of the log taken up: checked against what was seen, read, folded, stored (docs/protocol.md §15.5).

Rules of this file:
- the order of §15.5: origin and both signatures of the log, size and root against what was seen, cosignatures
  and quorum, entries against the root, and each entry (§14.5). What comes later is not looked at before;
- a long way is gone in pieces of some thousand entries. Each of them is stored only when a consistency proof
  says that the head continues it, so that nothing is ever stored that is not under a witnessed head; the head
  itself is remembered with the first piece, and none below it is taken up any more;
- the time of witness is stored with the last piece: a node that stopped on the way is as old as it was;
- what is stored as read was put into the kept log before, if there is one (§19.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from candor_node.clock import Clock
from candor_node.store import Database, Store
from candor_node.tlog import contradictions, log_store, witness_store
from candor_node.tlog.contradictions import ROLLED_BACK, Contradiction
from candor_node.tlog.files import LogFiles
from candor_node.tlog.folding import Observer, RuleBroken, Self, fold
from candor_node.tlog.kept_log import KeptLog
from candor_node.tlog.log_store import DatabaseCounts, FollowedShard
from candor_proto import merkle
from candor_proto.errors import (
    IdentityMismatch,
    LogInconsistent,
    LogUnwitnessed,
    ProofInvalid,
    Rollback,
)
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.statements import CLOCK_TOLERANCE
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.policy import NONE, Policy
from candor_proto.tlog.signatures import verify_log
from candor_proto.tlog.state import LogState
from candor_proto.tlog.tiles import TILE_WIDTH, consistency_proof

PIECE_ENTRIES = 1_024
PIECE_OCTETS = 8 << 20
FETCHES_AT_ONCE = 4
# Heartbeats are about what was witnessed some minutes ago; older rows say nothing more.
WITNESSED_KEPT = timedelta(days=2)


@dataclass
class Following:
    """The shard that is followed, and its state in memory; `stale` when the rows may say something else."""

    shard: FollowedShard
    state: LogState
    counts: DatabaseCounts
    stale: bool = False


class TakingUp:
    """Takes up heads. One task at a time; `observers` see every entry in the transaction that stores it."""

    def __init__(
        self,
        files: LogFiles,
        store: Store,
        clock: Clock,
        own: Self,
        observers: Sequence[Observer],
        kept: KeptLog | None = None,
    ) -> None:
        self._files = files
        self._store = store
        self._clock = clock
        self._own = own
        self._observers = observers
        self._kept = kept

    async def examine(self, following: Following, octets: bytes) -> tuple[SignedCheckpoint, datetime]:
        """A head of this log by its own word: its signatures, and what was seen before; its time of signing.

        Raises MalformedMessage, IdentityMismatch, SignatureInvalid, Rollback or LogInconsistent, and keeps
        what contradicts each other.
        """
        shard = following.shard
        signed = parse_checkpoint(octets)
        if signed.checkpoint.origin != shard.origin:
            raise IdentityMismatch(f"The hub serves a head of another log than {shard.origin}.")
        signed_at = verify_log(signed, shard.keys)
        if shard.signed is not None:
            await self._compare(shard, shard.signed, signed, signed_at)
        return signed, signed_at

    async def _compare(
        self, shard: FollowedShard, held: SignedCheckpoint, signed: SignedCheckpoint, signed_at: datetime
    ) -> None:
        size, seen = signed.checkpoint.size, held.checkpoint.size
        if size < seen:
            if signed_at > verify_log(held, shard.keys):
                await self._keep(Contradiction(ROLLED_BACK, shard.origin, held.encode(), signed.encode()))
            raise Rollback(
                f"The hub serves a head of the log with {size} entries, but one with {seen} was seen before.",
                remedy="Report it to the hub operator and to the other members.",
            )
        if size == seen and signed.checkpoint.root != held.checkpoint.root:
            found = contradictions.two_roots(held, signed)
            if found is not None:
                await self._keep(found)
            raise LogInconsistent(
                f"The log has signed two heads with {size} entries that are not the same ones.",
                remedy="It may show different logs to different members. Report it to the other members.",
            )

    async def take_up(
        self, following: Following, signed: SignedCheckpoint, signed_at: datetime, policy: Policy
    ) -> None:
        """Take up a head that was examined; raises LogUnwitnessed, SignatureInvalid or LogInconsistent.

        When it raises, `following` says whether the rows are to be read again.
        """
        now = self._clock.now()
        witnessed_at = time_of_witness(policy, signed, signed_at, now)
        shard = following.shard
        if signed.checkpoint.size == shard.entries.size and shard.signed is not None:
            if shard.witnessed_at is None or witnessed_at > shard.witnessed_at:
                await self._store_piece(following, (), shard.entries, signed, witnessed_at)
            return
        await self._read(following, signed, witnessed_at)

    async def _read(self, following: Following, signed: SignedCheckpoint, witnessed_at: datetime) -> None:
        """Read and fold the entries up to a head, in pieces."""
        number, head = following.shard.number, signed.checkpoint
        over = await self._heads_on_the_way(following.shard, head)
        first = following.shard.entries.size // TILE_WIDTH
        last = -(-head.size // TILE_WIDTH)
        ahead: dict[int, asyncio.Task[tuple[bytes, ...]]] = {}
        entries, entered, octets = list[bytes](), following.shard.entries, 0
        try:
            for index in range(first, last):
                for coming in range(index, min(index + FETCHES_AT_ONCE, last)):
                    if coming not in ahead:
                        width = min(TILE_WIDTH, head.size - coming * TILE_WIDTH)
                        ahead[coming] = asyncio.create_task(self._files.bundle(number, coming, width))
                bundle = (await ahead.pop(index))[entered.size - index * TILE_WIDTH :]
                hashes = [leaf_hash(one) for one in bundle]
                while over and over[0].checkpoint.size <= entered.size + len(bundle):
                    await self._check_leads_over(following, over.pop(0), entered, hashes, signed)
                entered = entered.extend(hashes)
                entries += bundle
                octets += sum(map(len, bundle))
                if index + 1 < last and (len(entries) >= PIECE_ENTRIES or octets >= PIECE_OCTETS):
                    await self._check_continues(following, entered, signed)
                    await self._store_piece(following, entries, entered, signed, None)
                    entries, octets = [], 0
        finally:
            for task in ahead.values():
                task.cancel()
            await asyncio.gather(*ahead.values(), return_exceptions=True)
        if entered.size != head.size or entered.root() != head.root:
            raise await self._contradicted(following, signed)
        await self._store_piece(following, entries, entered, signed, witnessed_at)

    async def _heads_on_the_way(self, shard: FollowedShard, head: Checkpoint) -> list[SignedCheckpoint]:
        """What this node has seen signed beyond the entries that it read, by size: reading leads over it.

        A head that was taken up and not read to its end, and the one that its own witness has cosigned.
        """
        known = [] if shard.whole or shard.signed is None else [shard.signed]
        cosigned = await self._store.run(lambda db: witness_store.cosigned(db, shard.origin))
        known += [] if cosigned is None else [cosigned]
        beyond = [one for one in known if shard.entries.size < one.checkpoint.size <= head.size]
        return sorted(beyond, key=lambda one: one.checkpoint.size)

    async def _check_leads_over(
        self,
        following: Following,
        seen: SignedCheckpoint,
        entered: CompactRange,
        hashes: Sequence[bytes],
        signed: SignedCheckpoint,
    ) -> None:
        passed = entered.extend(hashes[: seen.checkpoint.size - entered.size])
        if passed.root() != seen.checkpoint.root:
            raise await self._contradicted(following, signed, seen)

    async def _check_continues(
        self, following: Following, entered: CompactRange, signed: SignedCheckpoint
    ) -> None:
        """Whether the head continues the entries read so far; raises LogInconsistent."""
        head = signed.checkpoint
        proof = await self._files.compute(
            following.shard.number, lambda reader: consistency_proof(reader, entered.size, head.size)
        )
        try:
            merkle.verify_consistency(entered.size, head.size, proof, entered.root(), head.root)
        except ProofInvalid:
            raise await self._contradicted(following, signed) from None

    async def _contradicted(
        self, following: Following, signed: SignedCheckpoint, seen: SignedCheckpoint | None = None
    ) -> LogInconsistent:
        """What to raise for entries that do not lead to a head; keeps the proof of a fork, if any."""
        held = seen or following.shard.signed
        if held is not None:
            if held.checkpoint.size == signed.checkpoint.size:
                found = contradictions.two_roots(held, signed)
            else:
                found = await contradictions.forked(self._files, following.shard.number, held, signed)
            if found is not None:
                await self._keep(found)
                return LogInconsistent(
                    f"The log's head with {signed.checkpoint.size} entries does not continue the one with "
                    f"{held.checkpoint.size} that was seen before.",
                    remedy="The hub shows members different logs. Report it to the other members.",
                )
        return LogInconsistent(
            f"The entries that the hub serves are not those of its head with {signed.checkpoint.size}.",
            remedy="It is tried again; if it lasts, report it to the hub operator and to the other members.",
        )

    async def _store_piece(
        self,
        following: Following,
        entries: Sequence[bytes],
        entered: CompactRange,
        signed: SignedCheckpoint,
        witnessed_at: datetime | None,
    ) -> None:
        """Fold verified entries and store how far that is; `witnessed_at` comes with the last piece."""
        now = self._clock.now()
        # Of a head that was seen before the larger one stays, while a piece is below it.
        kept = following.shard.signed
        head = kept if kept is not None and kept.checkpoint.size > signed.checkpoint.size else signed
        shard = replace(following.shard, entries=entered, signed=head)
        if witnessed_at is not None:
            shard = replace(shard, witnessed_at=witnessed_at)

        def work(db: Database) -> None:
            following.counts.db = db
            if entries:
                fold(db, now, following.state, entries, self._own, self._observers)
            log_store.keep_progress(db, shard)
            if witnessed_at is not None:
                size = signed.checkpoint.size
                log_store.keep_witnessed(db, shard.number, size, witnessed_at, now - WITNESSED_KEPT)
                log_store.caught_up(db, witnessed_at)

        if self._kept is not None:
            await self._kept.append(shard.number, following.shard.entries.size, entries)
        following.stale = True
        try:
            await self._store.run(work)
        except RuleBroken as broken:
            refused_from, why = broken.refused_from, broken.refusal.message
            await self._store.run(lambda db: log_store.refuse(db, shard.number, refused_from, why))
            raise broken.refusal from None
        following.shard, following.stale = shard, False
        if self._kept is not None and shard.whole:
            await self._kept.head(shard.number, head)

    async def _keep(self, found: Contradiction) -> None:
        now = self._clock.now()
        await self._store.run(lambda db: contradictions.keep(db, found, now))


def time_of_witness(policy: Policy, signed: SignedCheckpoint, signed_at: datetime, now: datetime) -> datetime:
    """When enough witnesses had signed a head whose log signed it at `signed_at` (§15.5).

    Raises LogUnwitnessed, or SignatureInvalid when a witness that the policy knows did not sign what it says.
    """
    if policy.quorum != NONE:
        return policy.time_of_witness(signed, now)
    policy.cosignatures(signed)
    if signed_at > now + CLOCK_TOLERANCE:
        raise LogUnwitnessed(
            "The newest head of the log is from the future.", remedy="Check this machine's clock."
        )
    return signed_at
