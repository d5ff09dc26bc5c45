"""Which policy heads are judged by: those of the log, one after the other, or the operator's own (§15.4).

Rules of this file:
- the first policy is the one that was read first, for good: a person compares its SHA-256;
- each further one comes into force under a head that covers it and satisfies the one before it;
- an operator's own policy takes the place of all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from candor_node.clock import Clock
from candor_node.logs import log
from candor_node.store import Database, Store
from candor_node.tlog import log_store
from candor_node.tlog.files import LogFiles
from candor_node.tlog.kept_log import KeptLog
from candor_node.tlog.log_store import KnownPolicy
from candor_node.tlog.taking_up import Following, TakingUp, time_of_witness
from candor_proto import merkle
from candor_proto.errors import LogInconsistent, MalformedMessage, ProofInvalid, UnknownObject
from candor_proto.ids import FederationName
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.entries import Entry, PolicyEntry, log_origin, parse_entry
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.policy import Policy, parse_policy
from candor_proto.tlog.signatures import verify_log
from candor_proto.tlog.tiles import TILE_WIDTH, consistency_proof


def fingerprint(policy: bytes) -> str:
    """The SHA-256 of a policy's text, as people compare it."""
    return hashlib.sha256(policy).hexdigest()


async def first_entries(files: LogFiles, federation: FederationName, shard: int) -> list[Entry]:
    """What a shard begins with, unverified: its first entries, among them a policy (§14.7)."""
    head = parse_checkpoint(await files.checkpoint(shard)).checkpoint
    if head.origin != log_origin(federation, shard):
        raise MalformedMessage("The hub serves the log of another federation.")
    return [parse_entry(octets) for octets in await files.bundle(shard, 0, min(TILE_WIDTH, head.size))]


async def first_policy(
    files: LogFiles, federation: FederationName, shard: int = 1
) -> tuple[int, PolicyEntry]:
    """Position and entry of a shard's first policy, unverified: that of shard 1 is compared by people.

    That one has version 1 (§14.5). Under another number it would stay in force, and never meet the log's own.
    """
    for position, entry in enumerate(await first_entries(files, federation, shard)):
        if isinstance(entry, PolicyEntry):
            if shard == 1 and entry.version != 1:
                raise LogInconsistent(f"The log begins with policy version {entry.version}, and not with 1.")
            return position, entry
    raise MalformedMessage("The log does not begin with a policy.")


class Policies:
    """The policies of one federation's log. One task at a time uses it."""

    def __init__(
        self,
        files: LogFiles,
        store: Store,
        federation: FederationName,
        clock: Clock,
        own: Policy | None,
        kept: KeptLog | None = None,
    ) -> None:
        self.own = own
        self._kept = kept
        self._files = files
        self._store = store
        self._federation = federation
        self._clock = clock

    async def in_force(self) -> tuple[int, Policy]:
        """Version and policy; version 0 for the operator's own. Raises what keeps it from being read."""
        if self.own is not None:
            return 0, self.own
        known = await self._store.run(log_store.policy_in_force)
        if known is None:
            position, entry = await first_policy(self._files, self._federation)
            await self._store.run(lambda db: log_store.keep_policy(db, 1, position, entry))
            log.warning("the first policy of the log was taken as it came", sha256=fingerprint(entry.text))
            return entry.version, parse_policy(entry.text)
        return known.version, parse_policy(known.text)

    def stored(self, db: Database) -> tuple[int, Policy] | None:
        """The same out of what is stored; inside a transaction of `Store`."""
        if self.own is not None:
            return 0, self.own
        known = log_store.policy_in_force(db)
        return (known.version, parse_policy(known.text)) if known else None

    async def cover(self, satisfied: int, signed: SignedCheckpoint) -> bool:
        """A head was taken up that satisfies this version: the next one that was read comes into force."""
        if self.own is not None:
            return False

        def work(db: Database) -> KnownPolicy | None:
            after = log_store.policy(db, satisfied + 1)
            if after is not None:
                log_store.enforce_policy(db, after.version)
            return after

        after = await self._store.run(work)
        if after is not None:
            await self._keep(after, signed)
        return after is not None

    async def _keep(self, policy: KnownPolicy, signed: SignedCheckpoint) -> None:
        """The head that put it in force, for whoever has the log from here."""
        if self._kept is not None and signed.checkpoint.origin == log_origin(self._federation, policy.shard):
            await self._kept.policy(policy.shard, policy.version, signed)

    async def advance(self, taking_up: TakingUp, following: Following, *, known: bool = False) -> bool:
        """Put the policy after the one in force in force, by the head that the hub kept for it.

        `known`: only one of which the entry was read already. False when there is none.
        """
        if self.own is not None:
            return False
        version, policy = await self.in_force()
        after = await self._store.run(lambda db: log_store.policy(db, version + 1))
        if known and after is None:
            return False
        try:
            shard = following.shard.number if after is None else after.shard
            octets = await self._files.policy(shard, version + 1)
        except UnknownObject:
            return False
        if after is not None:
            await self._enforce(after, octets, policy)
            return True
        signed, signed_at = await taking_up.examine(following, octets)
        await taking_up.take_up(following, signed, signed_at, policy)
        return await self.cover(version, signed)

    async def _enforce(self, after: KnownPolicy, octets: bytes, before: Policy) -> None:
        """Put a policy in force that was read, by a head of this log that satisfies the one before it."""
        origin = log_origin(self._federation, after.shard)
        held = await self._store.run(lambda db: log_store.shard_of(db, origin))
        signed = parse_checkpoint(octets)
        if held is None or held.signed is None or signed.checkpoint.origin != held.origin:
            raise LogInconsistent("The head for a policy is of another log.")
        time_of_witness(before, signed, verify_log(signed, held.keys), self._clock.now())
        if signed.checkpoint.size <= after.position:
            raise LogInconsistent(f"The head for policy {after.version} does not cover it.")
        small, large = sorted((signed.checkpoint, held.signed.checkpoint), key=lambda head: head.size)
        proof = await self._files.compute(
            after.shard, lambda reader: consistency_proof(reader, small.size, large.size)
        )
        try:
            merkle.verify_consistency(small.size, large.size, proof, small.root, large.root)
        except ProofInvalid:
            raise LogInconsistent(f"The head for policy {after.version} is of another log.") from None
        await self._store.run(lambda db: log_store.enforce_policy(db, after.version))
        await self._keep(after, signed)


def first_shard(policy: Policy, federation: FederationName) -> int:
    """The lowest shard of this federation that a policy names both keys of; raises MalformedMessage."""
    prefix = log_origin(federation, 1)[:-1]
    numbers = {
        int(each.key.name.removeprefix(prefix))
        for each in policy.logs
        if each.key.name.startswith(prefix) and each.key.name.removeprefix(prefix).isdecimal()
    }
    known = [number for number in numbers if len(policy.log_keys(log_origin(federation, number))) == 2]
    if not known:
        raise MalformedMessage(
            f"The policy names no log of {federation} with both of its keys.",
            remedy="Ask the hub's operator for the log's policy; `log_policy` in node.toml names its file.",
        )
    return min(known)


def both_keys(keys: Sequence[VerifierKey], shard: int) -> tuple[VerifierKey, VerifierKey]:
    """Raises MalformedMessage for one, or none."""
    if len(keys) != 2:
        raise MalformedMessage(f"The policy does not name both keys of shard {shard} of the log.")
    return keys[0], keys[1]
