"""A log that breaks one of its rules is refused, and nothing changes (docs/protocol.md §14.4, §14.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto import merkle
from candor_proto.canonical import Writer, digest
from candor_proto.directory import MemberStatus
from candor_proto.errors import LogInconsistent, MalformedMessage
from candor_proto.ids import FederationName, NodeId
from candor_proto.merkle import leaf_hash
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SignedStatement, SigningKey
from candor_proto.tlog.entries import (
    Closed,
    Denied,
    DirectoryEntry,
    Entry,
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
)
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.state import (
    Changes,
    ListedCounts,
    LogState,
    NodeRow,
    Shard,
    directory_state,
    state_of,
)
from candor_proto.tlog.statements import (
    Heartbeat,
    MemberStatement,
    PackAdoption,
    WitnessKeyStatement,
    received_bits,
    witness_name,
)
from tests.parties import CHAIN_DIGEST, FEDERATION, NOW, Parties

PARTIES = Parties("alpha", "beta")
ALPHA, BETA = PARTIES["alpha"], PARTIES["beta"]
ORIGIN = log_origin(FEDERATION, 1)
HOUR = timedelta(hours=1)
A, B, C = (bytes([octet]) * 32 for octet in b"ABC")


class Log:
    """A shard that is written entry by entry, and read by a `LogState` at the same time."""

    def __init__(self, state: LogState | None = None) -> None:
        self.state = state or LogState.first(FEDERATION)
        self.entries: list[bytes] = []

    def add(self, *entries: Entry) -> Log:
        for entry in entries:
            octets = entry.encode()
            assert self.state.apply(len(self.entries), octets) == entry
            self.entries.append(octets)
        return self

    def refuses(self, entry: Entry | bytes, message: str | None = None) -> None:
        octets = entry if isinstance(entry, bytes) else entry.encode()
        before = self.state.encode(), self.state.directory_state(), self.state.size
        with pytest.raises(LogInconsistent, match=message):
            self.state.apply(len(self.entries), octets)
        assert (self.state.encode(), self.state.directory_state(), self.state.size) == before

    def directory(self, version: int, **changes: object) -> DirectoryEntry:
        entry = DirectoryEntry(version, NOW, CHAIN_DIGEST.value, self.state.directory_state())
        return replace(entry, **changes)  # type: ignore[arg-type]  # names checked at run time

    @property
    def root(self) -> bytes:
        return merkle.root(self.entries)


def opened() -> Log:
    return Log().add(Opened(FEDERATION, 1, NOW))


def member(party: object = ALPHA, **changes: object) -> MemberEntry:
    return replace(member_entry(party.member()), **changes)  # type: ignore[attr-defined, arg-type]


def head(party: object = ALPHA, **changes: object) -> HeadEntry:
    return replace(head_entry(party.signed_head()), **changes)  # type: ignore[attr-defined, arg-type]


def running() -> Log:
    """Two members with heads, a policy, rules, a directory."""
    log = opened().add(PolicyEntry(1, NOW, b"quorum none\n"), Rules(NOW, {"quota": 1}))
    log.add(member(ALPHA), head(ALPHA), member(BETA), head(BETA))
    return log.add(log.directory(1))


def statement(party: object, body: MemberStatement, context: str = "") -> Statement:
    kinds = {WitnessKeyStatement: "witness-key", Heartbeat: "heartbeat", PackAdoption: "pack-adoption"}
    signed = party.signing.sign(context or kinds[type(body)], body.encode())  # type: ignore[attr-defined]
    return Statement(kinds[type(body)], signed)


# --- the shard -------------------------------------------------------------------------------------


def test_an_honest_log_is_taken_up() -> None:
    log = running()
    assert log.state.size == len(log.entries) == 8
    assert log.state.directory == log.directory(1)
    assert set(log.state.nodes) == {NodeId("alpha"), NodeId("beta")}


def test_a_shard_begins_with_opened_and_holds_no_other() -> None:
    Log().refuses(Rules(NOW, {}), "`opened` stands first")
    Log().refuses(Requests((A,)), "`opened` stands first")
    opened().refuses(Opened(FEDERATION, 1, NOW), "`opened` stands first")
    running().refuses(Opened(FEDERATION, 2, NOW), "`opened` stands first")


@pytest.mark.parametrize(
    "entry",
    [
        Opened(FederationName("other.example"), 1, NOW),
        Opened(FEDERATION, 2, NOW),
        Opened(FEDERATION, 0, NOW),
        Opened(FEDERATION, 1, NOW, "x"),
        Opened(FEDERATION, 1, NOW, "", 1),
        Opened(FEDERATION, 1, NOW, "", 0, A),
    ],
)
def test_shard_1_is_opened_for_this_federation_with_nothing_before_it(entry: Opened) -> None:
    Log().refuses(entry, "opens another shard|another end")


def test_entries_are_read_in_order() -> None:
    log = opened()
    for index in (0, 2, -1, 2**40):
        with pytest.raises(LogInconsistent, match="not the next one"):
            log.state.apply(index, Rules(NOW, {}).encode())


@pytest.mark.parametrize("octets", [b"", b"x", Rules(NOW, {}).encode() + b"\0", bytes(65_536)])
def test_an_entry_that_does_not_parse_refuses_the_log(octets: bytes) -> None:
    running().refuses(octets)


def test_a_refusal_says_which_entry_of_which_log() -> None:
    with pytest.raises(LogInconsistent) as caught:
        running().state.apply(8, b"x")
    assert f"Entry 8 of the log {ORIGIN}" in str(caught.value)
    assert caught.value.remedy


# --- members and heads -----------------------------------------------------------------------------


def test_a_member_may_change_its_name_standing_and_times() -> None:
    log = running()
    log.add(member(name="Another name", status=MemberStatus.SUSPENDED, answered_from=NOW + HOUR))
    assert log.state.nodes[NodeId("alpha")].head is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"signing_key": SigningKey.generate().public.value},
        {"disclosure_key": DisclosureKey.generate().public},
        {"joined_at": NOW},
    ],
)
def test_a_member_never_changes_its_keys_or_when_it_joined(changes: dict[str, object]) -> None:
    running().refuses(member(**changes), "changes a key of alpha, or when it joined")


def test_a_head_is_that_of_a_member() -> None:
    opened().refuses(head(), "alpha is no member")


def test_heads_of_a_node_go_up() -> None:
    log = running().add(head(sequence=5), head(sequence=6, epoch=2, keys=(A, B, C)))
    log.refuses(head(sequence=6, epoch=2, keys=(A, B, C)), "not above its last one")
    log.refuses(head(sequence=4, epoch=2, keys=(A, B, C)), "not above its last one")
    log.refuses(head(sequence=7, epoch=1), "earlier epoch")
    log.add(head(sequence=7, epoch=2, keys=(A, B, C)))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_keys_stay_the_same_within_an_epoch(place: int) -> None:
    honest = head().keys
    keys = tuple(A if number == place else key for number, key in enumerate(honest))
    log = running()
    log.refuses(head(sequence=2, keys=keys), "other keys in the same epoch")
    log.add(head(sequence=2, epoch=2, keys=keys))


def test_one_members_head_says_nothing_of_anothers() -> None:
    running().add(head(BETA, sequence=9)).add(head(ALPHA, sequence=2))


# --- denied, directory, policy ---------------------------------------------------------------------


def test_a_serial_is_denied_once() -> None:
    log = running().add(Denied(5, NodeId("alpha"), NOW), Denied(3, None, NOW))
    assert log.state.denied == (3, 5)
    log.refuses(Denied(5, None, NOW), "denied already")


def test_versions_of_the_directory_follow_each_other() -> None:
    log = running()
    log.refuses(log.directory(0), "does not follow")
    log.refuses(log.directory(1), "does not follow")
    log.refuses(log.directory(3), "does not follow")
    log.add(log.directory(2))


@pytest.mark.parametrize("version", [1, 2, 57, 2**63 - 1])
def test_a_log_may_begin_with_any_version_of_a_directory_that_is_older_than_it(version: int) -> None:
    opened().refuses(opened().directory(0), "version 0")
    log = opened().add(opened().directory(version))
    log.refuses(log.directory(version), "does not follow")
    if version < 2**63 - 1:
        log.add(log.directory(version + 1))


def test_a_directory_is_what_the_entries_add_up_to() -> None:
    log = running()
    log.refuses(log.directory(2, state=A), "not what the log adds up to")
    before = log.state.directory_state()
    log.add(head(sequence=2))
    log.refuses(log.directory(2, state=before), "not what the log adds up to")
    log.add(log.directory(2))


def test_every_member_head_and_serial_shows_in_the_state() -> None:
    log = running()
    states = [log.state.directory_state()]
    for entry in (
        member(name="Another name"),
        head(sequence=2),
        head(BETA, sequence=2),
        Denied(1, None, NOW),
        Denied(2, NodeId("beta"), NOW),
        member(Parties("gamma")["gamma"]),
    ):
        states.append(log.add(entry).state.directory_state())
    assert len(set(states)) == len(states)
    for other in (Requests((A,)), Receipts((A,)), Rules(NOW, {}), PolicyEntry(2, NOW, b"quorum none\n")):
        assert log.add(other).state.directory_state() == states[-1]


def test_the_state_is_that_of_the_directory_in_hand() -> None:
    log = running().add(Denied(300, None, NOW), Denied(2, None, NOW))
    honest = replace(PARTIES.directory(), denied_serials=(2, 300))
    assert state_of(honest) == log.state.directory_state()
    members = honest.members
    for other in (
        replace(honest, denied_serials=(2,)),
        replace(honest, members=members[:1]),
        replace(honest, members=(replace(members[0], head=None), members[1])),
        replace(honest, members=(replace(members[0], status=MemberStatus.SUSPENDED), members[1])),
        replace(honest, members=(replace(members[0], signing_key=members[1].signing_key), members[1])),
    ):
        assert state_of(other) != log.state.directory_state()
    resigned = SignedStatement(ALPHA.signed_head().body, bytes(64))
    other = replace(honest, members=(replace(members[0], head=resigned), members[1]))
    assert state_of(other) != log.state.directory_state()


def test_the_state_is_hashed_as_the_protocol_says() -> None:
    nodes = {NodeId("b"): B, NodeId("a"): A}
    serials = Writer().integer(2, 4).octets(b"\2").octets(b"\1\0").finish()
    expected = digest("directory-state", A + bytes(32), B + C, serials)
    assert directory_state(nodes, {NodeId("b"): C}, [256, 2]) == expected
    assert directory_state({}, {}, []) == digest("directory-state", bytes(4))
    log = opened()
    assert log.state.directory_state() == directory_state({}, {}, [])
    log.add(member())
    assert log.state.directory_state() == directory_state(
        {NodeId("alpha"): leaf_hash(log.entries[1])}, {}, []
    )


def test_versions_of_the_policy_follow_each_other() -> None:
    text = b"quorum none\n"
    opened().refuses(PolicyEntry(2, NOW, text), "policy version 2 does not follow version 0")
    opened().refuses(PolicyEntry(0, NOW, text), "does not follow")
    log = running()
    log.refuses(PolicyEntry(1, NOW, text), "does not follow")
    log.refuses(PolicyEntry(3, NOW, text), "does not follow")
    log.add(PolicyEntry(2, NOW, text))


def test_a_policy_that_does_not_parse_refuses_the_log() -> None:
    octets = Writer("log-entry").integer(7, 1).integer(2, 4).time(NOW).octets(b"quorum nobody\n").finish()
    running().refuses(octets, "policy")


# --- statements ------------------------------------------------------------------------------------


def witness_key(party: object = ALPHA, issued_at: object = NOW, seed: bytes = A) -> WitnessKeyStatement:
    node = party.node  # type: ignore[attr-defined]
    ed25519, ml_dsa = WitnessKeys(witness_name(FEDERATION, node), seed, seed).verifier_keys
    return WitnessKeyStatement(FEDERATION, node, ed25519.key, ml_dsa.key, issued_at)  # type: ignore[arg-type]


ADOPTION = PackAdoption(FEDERATION, NodeId("alpha"), "default", 1, A, NOW)


def test_a_statement_is_signed_by_its_member_for_its_context() -> None:
    log = running()
    log.refuses(statement(BETA, witness_key(ALPHA)), "does not verify")
    log.refuses(statement(ALPHA, witness_key(ALPHA), context="heartbeat"), "does not verify")
    honest = statement(ALPHA, witness_key())
    log.refuses(replace(honest, signed=SignedStatement(honest.signed.body, bytes(64))), "does not verify")
    log.refuses(replace(honest, context="heartbeat"), "Not a heartbeat")
    opened().refuses(honest, "alpha is no member")
    log.add(honest, statement(ALPHA, ADOPTION))


def test_a_statement_for_another_federation_is_refused() -> None:
    other = FederationName("other.example")
    for body in (
        replace(witness_key(), federation=other),
        replace(heartbeat(), federation=other),
        replace(ADOPTION, federation=other),
    ):
        running().refuses(statement(ALPHA, body), "another federation")


def test_a_witness_key_gives_way_to_a_younger_one_only() -> None:
    log = running().add(statement(ALPHA, witness_key()))
    assert log.state.witness_keys() == {NodeId("alpha"): witness_key()}
    for issued_at in (NOW, NOW - HOUR):
        log.refuses(statement(ALPHA, witness_key(issued_at=issued_at, seed=B)), "not younger")
    younger = witness_key(issued_at=NOW + HOUR, seed=B)
    log.add(statement(ALPHA, younger))
    assert log.state.witness_keys()[NodeId("alpha")] == younger
    log.add(statement(ALPHA, witness_key(issued_at=NOW + 2 * HOUR, seed=A)))


def test_nobody_hands_in_a_key_that_another_member_has_or_had() -> None:
    log = running().add(statement(ALPHA, witness_key(seed=A)))
    log.add(statement(ALPHA, witness_key(issued_at=NOW + HOUR, seed=B)))
    stolen = WitnessKeys("x", A, C).verifier_keys, WitnessKeys("x", C, B).verifier_keys
    for ed25519, ml_dsa in stolen:
        body = WitnessKeyStatement(FEDERATION, NodeId("beta"), ed25519.key, ml_dsa.key, NOW)
        log.refuses(statement(BETA, body), "witness key of another member")
    log.add(statement(BETA, witness_key(BETA, seed=C)))


def heartbeat(party: object = ALPHA, **changes: object) -> Heartbeat:
    node = party.node  # type: ignore[attr-defined]
    honest = Heartbeat(FEDERATION, node, ORIGIN, 1, 0, 0, b"", 0, 0, 0, A, NOW)
    return replace(honest, **changes)  # type: ignore[arg-type]  # names checked at run time


def with_lookups() -> Log:
    """Entries 8 to 11 of a running log: 3 commitments, receipts, 1, and 256."""
    many = tuple(number.to_bytes(32, "big") for number in range(256))
    return running().add(Requests((A, B, C)), Receipts((A, B)), Requests((A,)), Requests(many))


@pytest.mark.parametrize(
    ("start", "end", "commitments"),
    [
        (0, 0, 0),
        (0, 8, 0),
        (0, 9, 3),
        (8, 9, 3),
        (9, 10, 0),
        (9, 11, 1),
        (0, 12, 260),
        (11, 12, 256),
        (12, 12, 0),
    ],
)
def test_a_heartbeat_has_a_bit_for_each_lookup_in_its_range(start: int, end: int, commitments: int) -> None:
    received = received_bits([True] * commitments)
    body = heartbeat(start=start, end=end, received=received, number=40)
    with_lookups().add(statement(ALPHA, body))
    for wrong in (
        received + b"\0",
        received[:-1] if received else b"\x80",
        received_bits([True] * (commitments + 1)),
    ):
        with_lookups().refuses(
            statement(ALPHA, replace(body, received=wrong)), "bits of a heartbeat|fit the range"
        )


def test_heartbeats_of_a_member_follow_each_other() -> None:
    log = with_lookups().add(statement(ALPHA, heartbeat(number=7, start=8, end=9, received=b"\xe0")))
    nothing = received_bits([False])
    honest = heartbeat(number=8, start=9, end=11, received=nothing)
    for wrong in (
        replace(honest, number=7),
        replace(honest, number=9),
        replace(honest, start=8, received=received_bits([True] * 4)),
        replace(honest, start=10),
    ):
        log.refuses(statement(ALPHA, wrong), "does not follow its last one")
    log.add(statement(BETA, heartbeat(BETA, number=1, start=0, end=9, received=b"\xe0")))
    log.add(statement(ALPHA, honest))


def test_a_heartbeat_is_about_entries_of_this_shard_before_it() -> None:
    log = with_lookups()
    all_of_it = heartbeat(end=12, received=received_bits([True] * 260))
    log.refuses(statement(ALPHA, replace(all_of_it, end=13)), "not before it")
    log.refuses(statement(ALPHA, replace(all_of_it, origin=log_origin(FEDERATION, 2))), "not before it")
    log.add(statement(ALPHA, all_of_it))


def test_a_heartbeat_covers_at_most_65536_lookups() -> None:
    log = running()
    for number in range(257):
        log.add(Requests(tuple((number * 256 + at).to_bytes(32, "big") for at in range(256))))
    log.refuses(statement(ALPHA, heartbeat(start=8, end=8 + 257, received=bytes(8192))), "at most 65536")
    log.add(statement(ALPHA, heartbeat(start=8, end=8 + 256, received=bytes(8192))))


# --- rotation --------------------------------------------------------------------------------------

NEXT = LogKeys.generate(log_origin(FEDERATION, 2))


def closing(origin: str = NEXT.origin) -> Closed:
    return Closed(NOW, origin, NEXT.verifier_keys[0].key, NEXT.verifier_keys[1].key)


def following(log: Log) -> Log:
    """The next shard with its first entry."""
    entry = Opened(FEDERATION, 2, NOW, log.state.origin, log.state.size, log.root)
    return Log(log.state.successor(log.root)).add(entry)


def test_closed_names_the_next_shard_and_its_keys() -> None:
    for origin in (ORIGIN, log_origin(FEDERATION, 3), log_origin(FederationName("other.example"), 2), ""):
        running().refuses(closing(origin), "another log than the next shard")
    log = running()
    assert log.state.next_keys is None
    assert log.add(closing()).state.next_keys == NEXT.verifier_keys


def test_nothing_follows_closed() -> None:
    log = running().add(closing())
    for entry in (Rules(NOW, {}), Requests((A,)), closing(), log.directory(2)):
        log.refuses(entry, "closed")


def test_a_shard_that_goes_on_has_no_successor() -> None:
    with pytest.raises(LogInconsistent, match="goes on"):
        running().state.successor(A)


def test_a_further_shard_goes_on_where_the_one_before_ended() -> None:
    log = running().add(Denied(7, None, NOW), head(sequence=4))
    log.add(log.directory(2), statement(ALPHA, witness_key()), closing())
    second = following(log)
    second.add(
        PolicyEntry(1, NOW, b"quorum none\n"), member(ALPHA), head(sequence=4), member(BETA), head(BETA)
    )
    second.add(statement(ALPHA, witness_key()), Denied(7, None, NOW))
    second.add(second.directory(2))
    assert second.state.directory_state() == log.state.directory_state()
    second.add(second.directory(3), PolicyEntry(2, NOW, b"quorum none\n"))
    second.add(statement(ALPHA, heartbeat(origin=NEXT.origin, number=99)))


@pytest.mark.parametrize(
    "changes",
    [
        {"previous_origin": log_origin(FEDERATION, 3)},
        {"previous_origin": ""},
        {"previous_size": 8},
        {"previous_root": A},
        {"shard": 3},
        {"shard": 1},
        {"federation": FederationName("other.example")},
    ],
)
def test_a_further_shard_names_the_end_of_the_one_before(changes: dict[str, object]) -> None:
    log = running().add(closing())
    honest = Opened(FEDERATION, 2, NOW, ORIGIN, log.state.size, log.root)
    wrong: Opened = replace(honest, **changes)  # type: ignore[arg-type]  # names checked at run time
    Log(log.state.successor(log.root)).refuses(wrong, "opens another shard|another end")


def test_a_further_shard_begins_with_the_same_members_and_versions() -> None:
    log = running().add(closing())
    second = following(log)
    second.refuses(PolicyEntry(2, NOW, b"quorum none\n"), "policy version 2 does not follow version 1")
    second.add(member(ALPHA), head(ALPHA), member(BETA))
    second.refuses(second.directory(1), "the one before ended with")
    second.add(head(BETA))
    second.refuses(second.directory(2), "does not follow")
    second.refuses(second.directory(1, state=A), "not what the log adds up to")
    second.add(second.directory(1))
    second.refuses(second.directory(1), "does not follow")


@pytest.mark.parametrize(
    "change",
    [
        lambda log: log.add(member(ALPHA, name="x"), head(), member(BETA), head(BETA)),
        lambda log: log.add(member(ALPHA), head(sequence=2), member(BETA), head(BETA)),
        lambda log: log.add(member(ALPHA), head(), member(BETA), head(BETA), Denied(1, None, NOW)),
        lambda log: log.add(
            member(ALPHA, signing_key=SigningKey.generate().public.value), head(), member(BETA), head(BETA)
        ),
        lambda log: log.add(
            member(ALPHA), head(), member(BETA), head(BETA), member(Parties("gamma")["gamma"])
        ),
    ],
)
def test_rotation_changes_no_member(change: Callable[[Log], Log]) -> None:
    second = change(following(running().add(closing())))
    second.refuses(second.directory(1), "the one before ended with")


def test_a_further_shard_of_a_log_without_directory_or_policy_begins_with_the_first() -> None:
    log = opened().add(closing())
    second = following(log)
    second.refuses(second.directory(0), "version 0")
    second.add(second.directory(1), PolicyEntry(1, NOW, b"quorum none\n"))


# --- rows ------------------------------------------------------------------------------------------


def everything() -> Log:
    log = with_lookups().add(
        statement(ALPHA, witness_key()), Denied(5, None, NOW), Denied(1 << 159, None, NOW)
    )
    log.add(statement(ALPHA, heartbeat(end=9, received=b"\xe0")), statement(BETA, witness_key(BETA, seed=B)))
    return log.add(log.directory(2), closing())


def test_a_state_is_stored_and_read() -> None:
    for log in (Log(), opened(), running(), everything(), following(everything())):
        kept = LogState.decode(log.state.encode())
        assert kept.encode() == log.state.encode()
        assert kept.directory_state() == log.state.directory_state()
        assert (kept.shard, kept.nodes, kept.denied) == (log.state.shard, log.state.nodes, log.state.denied)


class Rows:
    """What a database would keep of the changes."""

    def __init__(self) -> None:
        self.shard = b""
        self.nodes: dict[NodeId, bytes] = {}
        self.denied: set[int] = set()
        self.requests: list[tuple[int, int]] = []

    def store(self, changes: Changes) -> None:
        self.shard = changes.shard
        self.nodes.update(changes.nodes)
        self.denied.update(changes.denied)
        self.requests += changes.requests

    def read(self) -> LogState:
        counts = ListedCounts()
        for index, count in self.requests:
            counts.add(index, count)
        nodes = {node: NodeRow.decode(row) for node, row in self.nodes.items()}
        return LogState(Shard.decode(self.shard), nodes, self.denied, counts)


@given(st.sets(st.integers(0, 20)))
def test_a_state_is_the_sum_of_its_changes(stored_after: set[int]) -> None:
    log, rows = everything(), Rows()
    state = LogState.first(FEDERATION)
    rows.store(state.take_changes())
    for index, entry in enumerate(log.entries):
        state.apply(index, entry)
        if index in stored_after:
            rows.store(state.take_changes())
            state = rows.read()
            assert state.take_changes() == Changes(rows.shard)
    rows.store(state.take_changes())
    assert rows.read().encode() == log.state.encode()


def test_changes_name_only_what_an_entry_touched() -> None:
    log = running()
    log.state.take_changes()
    assert set(log.add(head(sequence=2)).state.take_changes().nodes) == {NodeId("alpha")}
    assert log.add(Requests((A, B))).state.take_changes().requests == ((9, 2),)
    assert log.add(Denied(5, None, NOW)).state.take_changes().denied == (5,)
    assert log.state.take_changes() == Changes(log.state.shard.encode())


def test_a_log_that_restarts_refuses_what_it_refused_before() -> None:
    state = LogState.decode(everything().state.encode())
    following_state = state.successor(everything().root)
    kept = LogState.decode(following_state.encode())
    assert kept.encode() == following_state.encode()
    log = Log(LogState.decode(with_lookups().add(statement(ALPHA, witness_key())).state.encode()))
    log.entries = [b""] * log.state.size
    log.refuses(statement(BETA, witness_key(BETA, seed=A)), "witness key of another member")
    log.refuses(head(sequence=1), "not above its last one")
    log.refuses(statement(ALPHA, heartbeat(end=9, received=b"")), "fit the range")


@given(st.binary(max_size=80))
def test_reading_rows_raises_nothing_else(octets: bytes) -> None:
    for read in (LogState.decode, Shard.decode, NodeRow.decode):
        with pytest.raises(MalformedMessage):
            read(octets)


def test_rows_that_belong_elsewhere_are_refused() -> None:
    shard = everything().state.shard
    for wrong in (replace(shard, closed=None, directory=closing()), replace(shard, closed=member())):  # type: ignore[arg-type]
        with pytest.raises(MalformedMessage, match="Not the state of a log"):
            Shard.decode(wrong.encode())


def test_counts_kept_elsewhere_are_not_part_of_one_encoding() -> None:
    class Elsewhere:
        def add(self, index: int, count: int) -> None: ...

        def before(self, index: int) -> int:
            return 0

    with pytest.raises(MalformedMessage):
        LogState.first(FEDERATION, Elsewhere()).encode()


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 256)), max_size=20))
def test_counts_add_up(steps: list[tuple[int, int]]) -> None:
    counts, index, held = ListedCounts(), 0, []
    for step, count in steps:
        index += step
        counts.add(index, count)
        held.append((index, count))
    for at in range(index + 2):
        assert counts.before(at) == sum(count for place, count in held if place < at)
    assert ListedCounts(counts.rows()).rows() == counts.rows()
