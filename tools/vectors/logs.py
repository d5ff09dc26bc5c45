"""The log of the story: two shards, their entries, trees and signed heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from candor_proto import merkle
from candor_proto.directory import Directory, MemberStatus
from candor_proto.signing import SignedStatement
from candor_proto.statements import AnswerStatus
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.entries import (
    Closed,
    Denied,
    DirectoryEntry,
    Entry,
    Opened,
    PolicyEntry,
    Receipts,
    Requests,
    Rules,
    Statement,
    head_entry,
    member_entry,
    receipt_commitment,
    request_commitment,
)
from candor_proto.tlog.policy import PolicyWitness, members_policy, parse_policy
from candor_proto.tlog.proof import LogProof
from candor_proto.tlog.signatures import LogKeys
from candor_proto.tlog.state import state_of
from candor_proto.tlog.statements import Heartbeat, PackAdoption, WitnessKeyStatement, received_bits
from candor_proto.tlog.tiles import inclusion_proof
from tools.vectors import world
from tools.vectors.draws import draw
from tools.vectors.merkle import HeldTiles
from tools.vectors.notes import LOG_KEYS, ORIGIN, ed25519_line, signed, witness_keys
from tools.vectors.parties import ASKER, DAY, FEDERATION, HOUR, MINUTE, NOW, OWNER, THIRD, Party

OUTSIDE = witness_keys("outside")
NEXT_ORIGIN = f"{FEDERATION}/log/2"
NEXT_KEYS = LogKeys(NEXT_ORIGIN, draw("log Ed25519 seed 2", 32), draw("log ML-DSA seed 2", 32))
DENIED = (1, 0x80, 0x1234567890ABCDEF)
LEDGER_DIGEST = draw("ledger digest", 32)


def policy_text(*logs: LogKeys) -> bytes:
    """Both keys of each shard, and one witness outside, whose Ed25519 cosignature is the quorum."""
    keys = [key for log in logs for key in log.verifier_keys]
    outside = PolicyWitness("outside-1", OUTSIDE.verifier_keys[0], "https://witness.example/candor")
    return members_policy(keys, [], [outside], 1)


POLICY = parse_policy(policy_text(LOG_KEYS))


def directory(version: int) -> Directory:
    """Version 1 before, version 2 after `cedar-post` was suspended and three certificates were denied."""
    members = [
        world.member(ASKER),
        world.member(OWNER, world.sign_head(OWNER, world.owner_head())),
        world.member(THIRD),
    ]
    if version == 1:
        return Directory(FEDERATION, 1, NOW - HOUR, tuple(members), (), world.CHAIN_DIGEST)
    members[2] = replace(members[2], status=MemberStatus.SUSPENDED)
    return Directory(FEDERATION, 2, NOW + HOUR, tuple(members), DENIED, world.CHAIN_DIGEST)


def directory_entry(version: int) -> DirectoryEntry:
    made = directory(version)
    return DirectoryEntry(version, made.issued_at, made.chain_digest.value, state_of(made))


def witness_statement(party: Party, at: datetime = NOW - DAY, keys_of: str = "") -> SignedStatement:
    ed25519, ml_dsa = witness_keys(keys_of or party.name).verifier_keys
    body = WitnessKeyStatement(FEDERATION, party.node, ed25519.key, ml_dsa.key, at).encode()
    return party.signing.sign("witness-key", body)


def heartbeat(
    number: int, start: int, end: int, bits: Sequence[bool], party: Party = OWNER, origin: str = ORIGIN
) -> Heartbeat:
    return Heartbeat(
        federation=FEDERATION,
        node=party.node,
        origin=origin,
        number=number,
        start=start,
        end=end,
        received=received_bits(bits),
        answered=17,
        refused=2,
        ledger_number=1_234,
        ledger_digest=LEDGER_DIGEST,
        issued_at=NOW + 10 * MINUTE,
    )


def sign_heartbeat(made: Heartbeat, party: Party = OWNER) -> Statement:
    return Statement("heartbeat", party.signing.sign("heartbeat", made.encode()))


def adoption(party: Party) -> PackAdoption:
    return PackAdoption(FEDERATION, party.node, "post-common", 3, draw("pack digest", 32), NOW)


def pack_adoption(party: Party) -> Statement:
    return Statement("pack-adoption", party.signing.sign("pack-adoption", adoption(party).encode()))


def lookup_commitments() -> tuple[bytes, ...]:
    """Those of the story's lookup and of two others, sorted."""
    own = request_commitment(world.draft().statement)
    return tuple(sorted([own, draw("another request", 32), draw("a third request", 32)]))


def answer_commitment(status: AnswerStatus = AnswerStatus.EVALUATED) -> bytes:
    answer = world.sign_answer(OWNER, world.answer(world.draft(), status=status))
    return receipt_commitment(2, answer.body, answer.signature)


@lru_cache(maxsize=1)
def first_shard() -> tuple[tuple[str, bytes], ...]:
    """Name and octets of every entry of shard 1, in order."""
    head = world.sign_head(OWNER, world.owner_head())
    refused = answer_commitment(AnswerStatus.REFUSED_STANDING)
    answers = tuple(sorted([answer_commitment(), refused, draw("another receipt", 32)]))
    suspended = replace(member_entry(world.member(THIRD)), status=MemberStatus.SUSPENDED)
    entries: list[tuple[str, Entry]] = [
        ("opened", Opened(FEDERATION, 1, NOW - 30 * DAY)),
        ("policy 1", PolicyEntry(1, NOW - 30 * DAY, policy_text(LOG_KEYS))),
        (
            "rules",
            Rules(NOW - 30 * DAY, {"elements_in_all": 40_000, "elements_weak": 10_000, "lookup_hours": 24}),
        ),
        ("member alder-pd", member_entry(world.member(ASKER))),
        ("member birch-so", member_entry(world.member(OWNER))),
        ("member cedar-post", member_entry(world.member(THIRD))),
        ("head birch-so", head_entry(head)),
        ("directory 1", directory_entry(1)),
        ("witness birch-so", Statement("witness-key", witness_statement(OWNER))),
        ("witness cedar-post", Statement("witness-key", witness_statement(THIRD))),
        ("requests", Requests(lookup_commitments())),
        ("receipts", Receipts(answers)),
        ("heartbeat 1", sign_heartbeat(heartbeat(1, 0, 12, [True] * 3))),
        ("member cedar-post suspended", suspended),
        *(
            (f"denied {serial:x}", Denied(serial, THIRD.node if serial > 1 else None, NOW + HOUR))
            for serial in DENIED
        ),
        ("directory 2", directory_entry(2)),
        ("more requests", Requests((draw("a fourth request", 32),))),
        ("heartbeat 2", sign_heartbeat(heartbeat(2, 12, 19, [False]))),
        ("adoption", pack_adoption(ASKER)),
        ("policy 2", PolicyEntry(2, NOW + HOUR, policy_text(LOG_KEYS, NEXT_KEYS))),
        ("closed", Closed(NOW + 2 * HOUR, NEXT_ORIGIN, *(key.key for key in NEXT_KEYS.verifier_keys))),
    ]
    return tuple((name, entry.encode()) for name, entry in entries)


@lru_cache(maxsize=1)
def second_shard() -> tuple[tuple[str, bytes], ...]:
    """The same of shard 2, which says first what holds."""
    before = dict(first_shard())
    octets = [entry for _, entry in first_shard()]
    opened = Opened(FEDERATION, 2, NOW + 2 * HOUR, ORIGIN, len(octets), merkle.root(octets))
    carried = (
        "policy 2", "rules", "member alder-pd", "member birch-so", "member cedar-post suspended", "head "
        "birch-so",
        "witness birch-so", "witness cedar-post", *(f"denied {serial:x}" for serial in DENIED), "directory 2",
    )  # fmt: skip
    return (
        ("opened 2", opened.encode()),
        *((name, before[name]) for name in carried),
        ("heartbeat 3", sign_heartbeat(heartbeat(3, 2, 12, [], origin=NEXT_ORIGIN)).encode()),
    )


def index_of(name: str) -> int:
    return [known for known, _ in first_shard()].index(name)


def root_at(size: int) -> bytes:
    return merkle.root([octets for _, octets in first_shard()[:size]])


def checkpoint(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_at(size))


def witnessed(made: Checkpoint, at: datetime, cosigned: datetime | None = None) -> SignedCheckpoint:
    """Signed by the log at `at`, cosigned by the witness outside."""
    line = ed25519_line(OUTSIDE, made, cosigned or at)
    return signed(made, at).with_signatures([line])


SIZE = 12
SIGNED_AT = NOW + 2 * MINUTE


@lru_cache(maxsize=64)
def log_proof(name: str, size: int = SIZE) -> LogProof:
    """That an entry of shard 1 stands in the log, under the witnessed head of `size` entries."""
    leaves = [merkle.leaf_hash(octets) for _, octets in first_shard()[:size]]
    at = SIGNED_AT if size == SIZE else NOW + 2 * HOUR
    return LogProof(
        index_of(name),
        inclusion_proof(HeldTiles(leaves), index_of(name), size),
        witnessed(checkpoint(size), at),
    )
