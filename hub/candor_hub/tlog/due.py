"""What is to be logged: made in the very transaction of what it accounts for (docs/protocol.md §14.3).

Rules of this file:
- nobody is trusted to say what changed: a version of the directory is compared with what was logged before,
  so that no way of changing a member leaves the log behind;
- the state in a `directory` entry is that of the entries in front of it, logged or waiting in this order;
- a policy is made when its text would differ, and no second one before the first is in force (§15.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import structlog

from candor_hub.store import Transaction
from candor_hub.store.log import ShardRecord
from candor_hub.store.logged import NO_HEAD, LoggedMember
from candor_proto.canonical import digest
from candor_proto.directory import Directory, Member
from candor_proto.errors import LimitExceeded, MalformedMessage
from candor_proto.ids import FederationName, NodeId
from candor_proto.merkle import leaf_hash
from candor_proto.tlog.entries import (
    Closed,
    Denied,
    DirectoryEntry,
    HeadEntry,
    MemberEntry,
    Opened,
    PolicyEntry,
    Receipts,
    Requests,
    Rules,
    Statement,
    head_entry,
    log_origin,
    member_entry,
    parse_entry,
    receipt_commitment,
    request_commitment,
)
from candor_proto.tlog.note import COSIGNATURE_ML_DSA_44, VerifierKey
from candor_proto.tlog.policy import PolicyWitness, members_policy
from candor_proto.tlog.state import directory_state
from candor_proto.tlog.statements import WITNESS_KEY, witness_name
from candor_wire.codec import Envelope, MessageKind

log = structlog.get_logger(__name__)

# §15.4: of how many shards, the one to come included, the policy holds the keys.
NAMED_SHARDS, FEWEST_NAMED_SHARDS = 4, 2

RULES, OUTSIDE_THRESHOLD, ROTATION = "rules", "outside-threshold", "rotation"
Row = tuple[int, bytes]


# --- envelopes ---------------------------------------------------------------------------------------------


def commitment(envelope: Envelope) -> bytes:
    """What the log says of an envelope that was accepted."""
    if envelope.kind is MessageKind.LOOKUP:
        return request_commitment(envelope.statement)
    return receipt_commitment(envelope.kind.value, envelope.body, envelope.signature)


def commitment_row(envelope: Envelope, one: bytes) -> Row:
    """What waits to be logged of it; `one` is its commitment."""
    return Requests.KIND if envelope.kind is MessageKind.LOOKUP else Receipts.KIND, one


# --- directories -------------------------------------------------------------------------------------------


def log_directory(tx: Transaction, directory: Directory, now: datetime) -> None:
    """Have this version logged, and in front of it everything that is new in it."""
    logged = tx.logged.members()
    changed: dict[NodeId, LoggedMember] = {}
    rows: list[Row] = []
    for member in directory.members:
        before = logged.get(member.node)
        after, new = _compared(member, before)
        rows += new
        if after != before:
            changed[member.node] = logged[member.node] = after
    denied = tx.logged.not_logged()
    rows += [(Denied.KIND, Denied(one.serial, one.node, one.denied_at).encode()) for one in denied]
    state = _state(logged, directory.denied_serials)
    entry = DirectoryEntry(directory.version, directory.issued_at, directory.chain_digest.value, state)
    rows.append((DirectoryEntry.KIND, entry.encode()))
    for _, octets in rows:
        # Logged, what does not parse would end the log; here it undoes what it stands for.
        parse_entry(octets)
    tx.logged.set_members(changed)
    tx.logged.add_denied(denied)
    tx.log.wait(rows, now)
    # Whoever joined, left or was suspended may have been a witness.
    log_policy(tx, directory.federation, now)


def _compared(member: Member, before: LoggedMember | None) -> tuple[LoggedMember, list[Row]]:
    """What the log holds of a member when these entries are behind the others."""
    rows: list[Row] = []
    entry = member_entry(member).encode()
    member_hash = leaf_hash(entry)
    if before is None or before.member_hash != member_hash:
        rows.append((MemberEntry.KIND, entry))
    head_hash = before.head_hash if before else NO_HEAD
    statement = before.head_statement if before else b""
    if member.head is not None:
        published = digest("logged/index-head", member.head.body, member.head.signature)
        if published != statement:
            entry = head_entry(member.head).encode()
            rows.append((HeadEntry.KIND, entry))
            head_hash, statement = leaf_hash(entry), published
    return LoggedMember(member_hash, head_hash, statement), rows


def _state(logged: Mapping[NodeId, LoggedMember], denied: Iterable[int]) -> bytes:
    members = {node: one.member_hash for node, one in logged.items()}
    heads = {node: one.head_hash for node, one in logged.items()}
    return directory_state(members, heads, denied)


# --- policy and rules --------------------------------------------------------------------------------------


def log_policy(tx: Transaction, federation: FederationName, now: datetime) -> int | None:
    """Make a policy if its text would change and the last one is in force; its version.

    Nothing is raised when none can be made: the last one stays.
    """
    last = tx.log.newest_policy()
    shards = tx.log.shards()
    if last is None or not last.in_force or not shards:
        return None
    try:
        text = policy_text(tx, federation, shards)
    except (LimitExceeded, MalformedMessage) as error:
        # A policy that cannot be made must not keep anybody from joining, or a head from being taken up.
        log.error("the witness policy stays as it is", code=error.code, message=error.message)
        return None
    if text == last.text:
        return None
    version = last.version + 1
    tx.log.add_policy(version, text, now)
    tx.log.wait([(PolicyEntry.KIND, PolicyEntry(version, now, text).encode())], now)
    return version


def policy_text(tx: Transaction, federation: FederationName, shards: Sequence[ShardRecord]) -> bytes:
    """The policy of this moment (§15.4)."""
    threshold = int(tx.log.fact(OUTSIDE_THRESHOLD) or 0)
    return policy_with(tx, federation, shards, tx.log.outside(), threshold)


def policy_with(
    tx: Transaction,
    federation: FederationName,
    shards: Sequence[ShardRecord],
    outside: Sequence[PolicyWitness],
    threshold: int,
) -> bytes:
    """The policy with these witnesses of the operator; raises MalformedMessage or LimitExceeded."""
    witnesses = [
        (one.node, VerifierKey(witness_name(federation, one.node), COSIGNATURE_ML_DSA_44, one.ml_dsa_key))
        for one in tx.logged.active_witnesses()
    ]

    def naming(count: int) -> bytes:
        keys = [key for shard in shards[-count:] for key in shard.verifier_keys]
        return members_policy(keys, witnesses, outside, threshold)

    # What an auditor may ask for is two years old, and shards end about once a year.
    try:
        return naming(NAMED_SHARDS)
    except LimitExceeded:
        return naming(FEWEST_NAMED_SHARDS)


def log_rules(tx: Transaction, values: Mapping[str, int], now: datetime) -> None:
    """State the federation's limits, if they are not those stated last."""
    stated = ",".join(f"{name}={value}" for name, value in sorted(values.items()))
    if tx.log.fact(RULES) != stated:
        tx.log.set_fact(RULES, stated)
        tx.log.wait([(Rules.KIND, Rules(now, values).encode())], now)


def stated_rules(tx: Transaction) -> dict[str, int]:
    """The limits stated last; none before the first start."""
    stated = tx.log.fact(RULES)
    pairs = (pair.split("=") for pair in stated.split(",")) if stated else ()
    return {name: int(value) for name, value in pairs}


# --- shards ------------------------------------------------------------------------------------------------


def open_first(
    tx: Transaction, federation: FederationName, keys: Sequence[VerifierKey], now: datetime
) -> None:
    """Begin the log: shard 1 with these keys and, before everything that waits, its first entries."""
    tx.log.add_shard(1, keys, now)
    text = policy_text(tx, federation, tx.log.shards())
    tx.log.add_policy(1, text, now, in_force=True)
    tx.log.wait(
        [
            (Opened.KIND, Opened(federation, 1, now).encode()),
            (PolicyEntry.KIND, PolicyEntry(1, now, text).encode()),
        ],
        now,
        opening=True,
    )


def closing(shard: int, federation: FederationName, keys: Sequence[VerifierKey], now: datetime) -> bytes:
    """The last entry of `shard`: `keys` are those of the next one."""
    ed25519, ml_dsa = keys
    return Closed(now, log_origin(federation, shard + 1), ed25519.key, ml_dsa.key).encode()


def opening(tx: Transaction, first: Opened, directory: DirectoryEntry | None) -> list[Row]:
    """The entries that a further shard begins with: the same state again (§14.7).

    `tx` sees what the entries of the shard before add up to; `directory` is the last one of them.
    """
    now = first.opened_at
    rows: list[Row] = [(Opened.KIND, first.encode())]
    policy = tx.log.policy_in_force()
    assert policy is not None  # the first one is in force as soon as there is a log
    rows.append((PolicyEntry.KIND, PolicyEntry(policy.version, now, policy.text).encode()))
    rules = stated_rules(tx)
    if rules:
        rows.append((Rules.KIND, Rules(now, rules).encode()))
    witnesses = {one.node: one for one in tx.logged.witnesses()}
    for record in tx.members.all():
        member = record.member
        rows.append((MemberEntry.KIND, member_entry(member).encode()))
        if member.head is not None:
            rows.append((HeadEntry.KIND, head_entry(member.head).encode()))
        if member.node in witnesses:
            statement = Statement(WITNESS_KEY, witnesses[member.node].statement)
            rows.append((Statement.KIND, statement.encode()))
    denied = tx.logged.denied()
    rows += [(Denied.KIND, Denied(one.serial, one.node, one.denied_at).encode()) for one in denied]
    if directory is not None:
        rows.append((DirectoryEntry.KIND, directory.encode()))
    return rows
