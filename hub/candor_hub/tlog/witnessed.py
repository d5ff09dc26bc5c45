"""A head that has its quorum, and what follows from it (docs/protocol.md §15.4, §18.1).

One transaction: the head is the newest witnessed one; a policy that it covers is in force from now on, for
this head satisfies the policy before it; the first of a month, and the last of a shard, is a draw.

Several replicas may take up the same head, or an older one late: signatures are put together, and a head is
never followed by one that is smaller, or of the same size and signed earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from candor_hub.store import Store, Transaction
from candor_hub.store.log import ShardRecord
from candor_hub.tlog import due
from candor_hub.tlog.files import DRAW, POLICY
from candor_hub.tlog.head import LOG_LINES, merged
from candor_hub.tlog.pages import END
from candor_proto.errors import LogUnwitnessed
from candor_proto.ids import FederationName
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.policy import Policy, parse_policy
from candor_proto.tlog.signatures import verify_log


@dataclass(frozen=True)
class Policies:
    """The policy in force, and the one that is made and not in force yet."""

    version: int
    in_force: Policy
    coming: Policy | None


@dataclass(frozen=True)
class Taken:
    """What a witnessed head has brought: the newest directory version under it, checkpoints that are kept."""

    shards: tuple[ShardRecord, ...]
    directory_version: int
    kept: Mapping[str, bytes] = field(repr=False)
    policy_changed: bool


def present_policies(tx: Transaction) -> Policies | None:
    """None before there is a log."""
    now, newest = tx.log.policy_in_force(), tx.log.newest_policy()
    if now is None or newest is None:
        return None
    coming = None if newest.in_force else parse_policy(newest.text)
    return Policies(now.version, parse_policy(now.text), coming)


def has_quorum(policy: Policy, signed: SignedCheckpoint, now: datetime) -> bool:
    """Whether `policy` accepts this head; raises SignatureInvalid when a known signature fails."""
    try:
        policy.verify(signed, now)
    except LogUnwitnessed:
        return False
    return True


class Witnessed:
    """Takes up heads that have a quorum; safe to use from several threads."""

    def __init__(self, store: Store, federation: FederationName) -> None:
        self._store = store
        self._federation = federation

    def take(self, shard: int, signed: SignedCheckpoint, now: datetime) -> Taken | None:
        """Take up a head of `shard` if it has the quorum; None if it has not, or is not the newest any more.

        Raises StoreUnusable or SignatureInvalid.
        """
        with self._store.read() as tx:
            policies = present_policies(tx)
        if policies is None or not has_quorum(policies.in_force, signed, now):
            return None
        with self._store.write() as tx:
            present = tx.log.policy_in_force()
            if present is None or present.version != policies.version:
                return None
            together = _together(tx, shard, signed, policies.in_force)
            return None if together is None else self._take(tx, shard, together, now)

    def _take(self, tx: Transaction, number: int, signed: SignedCheckpoint, now: datetime) -> Taken | None:
        octets, size = signed.encode(), signed.checkpoint.size
        if not tx.log.set_witnessed(number, size, octets, now):
            return None
        tx.notices.witnessed()
        kept: dict[str, bytes] = {}
        coming = tx.log.newest_policy()
        changed = (
            coming is not None
            and not coming.in_force
            and coming.shard == number
            and coming.index is not None
            and coming.index < size
        )
        if changed and coming is not None:
            tx.log.put_in_force(coming.version, octets)
            kept[f"{number}/{POLICY}/{coming.version}"] = octets
            # Who joined or left meanwhile makes the next one.
            due.log_policy(tx, self._federation, now)
        shards = tx.log.shards()
        shard = next(each for each in shards if each.shard == number)
        months = [f"{verify_log(signed, shard.verifier_keys):%Y-%m}"]
        if shard.ended:
            months.append(END)
        for month in months:
            if tx.log.add_draw(number, month, octets):
                kept[f"{number}/{DRAW}/{month}"] = octets
        return Taken(shards, tx.log.witnessed_directory(), kept, changed)


def _together(
    tx: Transaction, number: int, signed: SignedCheckpoint, policy: Policy
) -> SignedCheckpoint | None:
    """This head with what others have taken up of it; None if theirs is newer."""
    shard = next(each for each in tx.log.shards() if each.shard == number)
    if not shard.witnessed or shard.witnessed_size != signed.checkpoint.size:
        return signed
    stored = parse_checkpoint(shard.witnessed)
    if stored.signatures[:LOG_LINES] == signed.signatures[:LOG_LINES]:
        return merged(signed, stored.signatures[LOG_LINES:], policy)
    later = verify_log(stored, shard.verifier_keys) > verify_log(signed, shard.verifier_keys)
    return None if later else signed
