"""Who may lead readers to a successor (docs/protocol.md §19.3, §19.5)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.directory import MemberStatus
from candor_proto.errors import LimitExceeded, LogInconsistent, LogUnwitnessed, MalformedMessage
from candor_proto.ids import FederationName, NodeId, Ori
from candor_proto.signing import SigningKey
from candor_proto.tlog.entries import (
    DirectoryEntry,
    Entry,
    MemberEntry,
    Opened,
    PolicyEntry,
    Statement,
    log_origin,
)
from candor_proto.tlog.policy import members_policy
from candor_proto.tlog.signatures import LogKeys
from candor_proto.tlog.state import LogState
from candor_proto.tlog.statements import (
    SUCCESSION,
    PackAdoption,
    SuccessionConsent,
    parse_statement,
)
from candor_proto.tlog.succession import (
    Successor,
    check_first_policy,
    check_opening,
    check_succeeds,
    consents,
    read_successor,
)

FEDERATION = FederationName("demo-exchange.example")
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ROOT = bytes(range(32))
NAMES = ("alpha", "bravo", "charlie", "delta")
LOG_KEYS = LogKeys(log_origin(FEDERATION, 2), bytes(32), bytes([1]) * 32)
SIGNING = {NodeId(name): SigningKey(bytes([number]) * 32) for number, name in enumerate(NAMES, 1)}


def member(name: str, status: MemberStatus = MemberStatus.ACTIVE) -> MemberEntry:
    node = NodeId(name)
    subject = f"spiffe://{FEDERATION}/node/{name}"
    key = SIGNING[node].public.value
    return MemberEntry(node, name, (Ori("CA0340000"),), subject, key, bytes(1216), status, NOW, NOW)


def opening(*members: MemberEntry) -> list[Entry]:
    opened = Opened(FEDERATION, 2, NOW, log_origin(FEDERATION, 1), 17, ROOT)
    policy = PolicyEntry(4, NOW, members_policy(LOG_KEYS.verifier_keys, ()))
    return [opened, policy, *members, DirectoryEntry(3, NOW, bytes(32), bytes(32))]


@dataclass(frozen=True)
class Scene:
    """Four active members and one that is suspended, by default."""

    entries: list[Entry]
    successor: Successor


def scene(*members: MemberEntry) -> Scene:
    entries = opening(*(members or [member(name) for name in NAMES]))
    return Scene(entries, read_successor(FEDERATION, 2, entries))


def consent(successor: Successor, name: str, /, *, by: str = "", **changes: Any) -> Statement:
    ed25519, ml_dsa = successor.keys
    said = SuccessionConsent(
        FEDERATION, NodeId(name), 1, 17, ROOT, hashlib.sha256(b"root").digest(), ed25519.key, ml_dsa.key,
        successor.policy_digest, NOW,
    )  # fmt: skip
    body = replace(said, **changes).encode()
    return Statement(SUCCESSION, SIGNING[NodeId(by or name)].sign(SUCCESSION, body))


def key_of(node: NodeId) -> bytes | None:
    return SIGNING[node].public.value if node in SIGNING else None


def test_more_than_half_of_the_active_members_lead_over_and_half_do_not() -> None:
    found = scene()
    said = [consent(found.successor, name) for name in NAMES]
    for count in (0, 1, 2):
        with pytest.raises(LogUnwitnessed, match=f"{count} of 4 members"):
            check_succeeds(found.successor, [*found.entries, *said[:count]], key_of)
    assert len(check_succeeds(found.successor, [*found.entries, *said[:3]], key_of)) == 3


def test_a_member_that_consents_twice_is_one_member() -> None:
    found = scene()
    said = [consent(found.successor, "alpha", issued_at=NOW.replace(hour=hour)) for hour in (1, 2, 3)]
    with pytest.raises(LogUnwitnessed):
        check_succeeds(found.successor, [*found.entries, *said], key_of)


def test_who_is_suspended_neither_counts_nor_is_counted() -> None:
    found = scene(member("alpha"), member("bravo"), member("charlie", MemberStatus.SUSPENDED))
    said = [consent(found.successor, name) for name in ("alpha", "charlie")]
    assert consents(found.successor, said, key_of) == {NodeId("alpha")}
    with pytest.raises(LogUnwitnessed, match="1 of 2 members"):
        check_succeeds(found.successor, said, key_of)


def test_a_consent_counts_under_the_key_that_the_old_shard_names_alone() -> None:
    found = scene()
    assert consents(found.successor, [consent(found.successor, "alpha", by="bravo")], key_of) == frozenset()
    assert consents(found.successor, [consent(found.successor, "alpha")], lambda node: None) == frozenset()


@pytest.mark.parametrize(
    "changes",
    [
        {"shard": 2},
        {"size": 16},
        {"root": bytes(32)},
        {"ed25519_key": bytes(32)},
        {"ml_dsa_key": bytes(1312)},
        {"policy_digest": bytes(32)},
        {"federation": FederationName("other.example")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_consent_to_another_successor_is_nobodys(changes: dict[str, Any]) -> None:
    found = scene()
    assert consents(found.successor, [consent(found.successor, "alpha", **changes)], key_of) == frozenset()


def before() -> LogState:
    """The shard that was not closed: the four members, and a directory of them."""
    state = LogState.first(FEDERATION)
    policies = [PolicyEntry(version, NOW, b"quorum none\n") for version in (1, 2, 3)]
    first: list[Entry] = [Opened(FEDERATION, 1, NOW), *policies, *map(member, NAMES)]
    for entry in first:
        state.apply(state.size, entry.encode())
    directory = DirectoryEntry(3, NOW, bytes(32), state.directory_state())
    state.apply(state.size, directory.encode())
    return state


def test_one_member_does_not_become_more_than_half_by_an_opening_that_names_the_others_twice() -> None:
    """First as suspended, then, behind its consent, as they were: the state of the directory is the same."""
    opened, policy, *_, _ = opening()
    old = before()
    others = [member(name, MemberStatus.SUSPENDED) for name in NAMES[1:]]
    begun: list[Entry] = [opened, policy, member("alpha"), *others]
    directory = DirectoryEntry(3, NOW, bytes(32), old.directory_state())
    alone = consent(read_successor(FEDERATION, 2, [*begun, directory]), "alpha")
    entries = [*begun, alone, *(member(name) for name in NAMES[1:]), directory]
    found = read_successor(FEDERATION, 2, entries)
    check_opening(found, entries, old)
    with pytest.raises(LogUnwitnessed, match="1 of 4 members"):
        check_succeeds(found, entries, key_of)
    # As suspended and nothing else, it is not what the shard before adds up to.
    with pytest.raises(LogInconsistent):
        check_opening(read_successor(FEDERATION, 2, [*begun, directory]), [*begun, directory], old)


def test_who_joined_the_successor_later_is_not_counted() -> None:
    found = scene()
    newcomers = [replace(member("alpha"), node=NodeId(f"new-{number}")) for number in range(9)]
    entries = [*found.entries, *newcomers, *(consent(found.successor, name) for name in NAMES[:3])]
    assert len(check_succeeds(read_successor(FEDERATION, 2, entries), entries, key_of)) == 3


def test_a_shard_that_repeats_no_directory_is_no_successor() -> None:
    with pytest.raises(MalformedMessage, match="directory"):
        read_successor(FEDERATION, 2, opening()[:-1])


def test_nobody_is_counted_where_the_log_of_before_holds_no_directory() -> None:
    found = scene()
    with pytest.raises(LogInconsistent, match="no directory"):
        check_opening(found.successor, found.entries, LogState.first(FEDERATION))


def test_another_statement_is_no_consent() -> None:
    found = scene()
    adoption = PackAdoption(FEDERATION, NodeId("alpha"), "default", 1, bytes(32), NOW)
    other = Statement("pack-adoption", SIGNING[NodeId("alpha")].sign("pack-adoption", adoption.encode()))
    assert consents(found.successor, [other], key_of) == frozenset()


def test_the_first_policy_follows_the_last_one_and_names_both_keys() -> None:
    found = scene()
    check_first_policy(found.successor, 3)
    for last in (2, 4):
        with pytest.raises(MalformedMessage, match="policy version 4"):
            check_first_policy(found.successor, last)
    nobody = PolicyEntry(4, NOW, b"quorum none\n")
    with pytest.raises(MalformedMessage, match="both of its keys"):
        read_successor(FEDERATION, 2, [found.entries[0], nobody, *found.entries[2:]])


@pytest.mark.parametrize(
    "first",
    [
        Opened(FEDERATION, 3, NOW, log_origin(FEDERATION, 1), 17, ROOT),
        Opened(FederationName("other.example"), 2, NOW, log_origin(FEDERATION, 1), 17, ROOT),
        Opened(FEDERATION, 2, NOW, "other.example/log/1", 17, ROOT),
    ],
    ids=["shard", "federation", "origin"],
)
def test_a_shard_that_opens_otherwise_is_no_successor(first: Opened) -> None:
    with pytest.raises(MalformedMessage):
        read_successor(FEDERATION, 2, [first, *scene().entries[1:]])


@given(st.binary(max_size=3000))
def test_octets_that_are_no_consent_are_refused(octets: bytes) -> None:
    with pytest.raises((MalformedMessage, LimitExceeded)):
        parse_statement(SUCCESSION, octets)


def test_every_changed_octet_of_a_consent_changes_it_or_is_refused() -> None:
    octets = consent(scene().successor, "alpha").signed.body
    whole = parse_statement(SUCCESSION, octets)
    for at in range(len(octets)):
        changed = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
        try:
            other = parse_statement(SUCCESSION, changed)
        except (MalformedMessage, LimitExceeded):
            continue
        assert other != whole
        assert other.encode() == changed
