"""Witnesses that the operator adds to the policy, beside the members (docs/protocol.md §15.4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from candor_hub.store import Transaction
from candor_hub.store.log import ShardRecord
from candor_hub.tlog import due
from candor_hub.tlog.post import WitnessUrl
from candor_proto.errors import InputInvalid, LimitExceeded, MalformedMessage
from candor_proto.ids import FederationName, NodeId
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.note import COSIGNATURE_ML_DSA_44, KEY_OCTETS, VerifierKey, parse_vkey
from candor_proto.tlog.policy import (
    MAX_MEMBER_WITNESSES,
    MAX_POLICY_OCTETS,
    PolicyWitness,
    members_policy,
    parse_policy,
)
from candor_proto.tlog.statements import witness_name

# With the members' 24 witnesses, two signatures each, and the log's own two they fill 64 lines.
MAX_OUTSIDE = 14
_LONGEST_NUMBER = 10


def read_outside(text: str) -> tuple[PolicyWitness, ...]:
    """The `witness <name> <vkey> <url>` lines of a file; empty lines and `#` comments are passed over.

    Raises InputInvalid naming the line.
    """
    found: list[PolicyWitness] = []
    for number, line in enumerate(text.splitlines(), 1):
        items = line.split()
        if not items or items[0].startswith("#"):
            continue
        if items[0] != "witness" or len(items) != 4:
            raise InputInvalid(
                f"Line {number} is no witness.", remedy="Write: witness NAME VKEY URL, one a line."
            )
        try:
            key: VerifierKey = parse_vkey(items[2])
            WitnessUrl.parse(items[3])
        except (MalformedMessage, InputInvalid) as error:
            raise InputInvalid(f"Line {number}: {error.message}", remedy=error.remedy) from None
        found.append(PolicyWitness(items[1], key, items[3]))
    if len(found) > MAX_OUTSIDE:
        raise InputInvalid(f"At most {MAX_OUTSIDE} witnesses can be added.")
    return tuple(found)


def _check_room(
    federation: FederationName, shard: ShardRecord, witnesses: Sequence[PolicyWitness], needed: int
) -> None:
    """Raises InputInvalid unless the policy has room for the lines of as many members as it may name."""
    members = []
    for number in range(MAX_MEMBER_WITNESSES):
        node, key = NodeId(f"{number:040}"), number.to_bytes(KEY_OCTETS[COSIGNATURE_ML_DSA_44], "big")
        name = witness_name(federation, node)
        members.append((node, VerifierKey(name, COSIGNATURE_ML_DSA_44, key)))
    # The lines of the next shard are those of this one, with a number that may be longer.
    lines = sum(len(f"log {key.encode()}\n") + _LONGEST_NUMBER for key in shard.verifier_keys)
    try:
        octets = len(members_policy(shard.verifier_keys, members, witnesses, needed)) + lines
    except LimitExceeded:
        octets = MAX_POLICY_OCTETS + 1
    if octets > MAX_POLICY_OCTETS:
        raise InputInvalid(
            f"With these witnesses a policy would have no room for {MAX_MEMBER_WITNESSES} members.",
            remedy="Name fewer witnesses, or the Ed25519 keys of some: a line is shorter by 1,700 octets.",
        )


def set_outside(
    tx: Transaction,
    federation: FederationName,
    witnesses: Sequence[PolicyWitness],
    needed: int,
    now: datetime,
) -> int | None:
    """Ask these from now on, and need the signatures of `needed` of them besides the members' quorum.

    The version of the policy that says so, None if it has to wait for another one to come into force, or
    changes nothing. Raises InputInvalid or MalformedMessage.
    """
    if not 0 <= needed <= len(witnesses):
        raise InputInvalid(f"Of {len(witnesses)} witnesses at most {len(witnesses)} can be needed.")
    shards = tx.log.shards()
    held = {key for one in tx.logged.witnesses() for key in (one.ed25519_key, one.ml_dsa_key)}
    if any(witness.key.key in held for witness in witnesses):
        raise InputInvalid("A member has the key of one of these witnesses.")
    _refuse_strangers(tx, witnesses, needed)
    due.policy_with(tx, federation, shards, witnesses, needed)
    _check_room(federation, shards[-1], witnesses, needed)
    tx.log.set_outside(witnesses)
    tx.log.set_fact(due.OUTSIDE_THRESHOLD, str(needed) if needed else "")
    return due.log_policy(tx, federation, now)


def _refuse_strangers(tx: Transaction, witnesses: Sequence[PolicyWitness], needed: int) -> None:
    """A policy that needs who never signs can be ended by nobody: the next one needs them, too.

    Raises InputInvalid unless `needed` of them signed the newest witnessed head (of a log that has one), or
    the same keys are needed already: then an address is corrected.
    """
    same = {each.key.key for each in witnesses} == {each.key.key for each in tx.log.outside()}
    if same and needed <= int(tx.log.fact(due.OUTSIDE_THRESHOLD) or 0):
        return
    heads = [shard.witnessed for shard in tx.log.shards() if shard.witnessed]
    in_force = tx.log.policy_in_force()
    if not needed or not heads or in_force is None:
        return
    policy = parse_policy(in_force.text)
    signed_by = policy.cosignatures(parse_checkpoint(heads[-1]))
    known = {witness.key.key for witness in policy.witnesses if witness.name in signed_by}
    signing = sum(witness.key.key in known for witness in witnesses)
    if signing < needed:
        raise InputInvalid(
            f"Only {signing} of these witnesses signed the newest head, so {needed} cannot be needed yet.",
            remedy="Set the list without --need first; with it once `candor-hub log status` says `signed`.",
        )
