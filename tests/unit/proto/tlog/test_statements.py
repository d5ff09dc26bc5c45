"""Statements of members for the log (docs/protocol.md §14.8, §15.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.canonical import from_milliseconds
from candor_proto.errors import CandorError, LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.ids import NodeId
from candor_proto.tlog.signatures import WitnessKeys
from candor_proto.tlog.statements import (
    CONTEXTS,
    Heartbeat,
    MemberStatement,
    PackAdoption,
    WitnessKeyStatement,
    parse_statement,
    received_bits,
    witness_name,
)
from tests.parties import FEDERATION, NOW
from tests.unit.proto.tlog.changes import one_octet_changes

ALPHA = NodeId("alpha")
COUNTS = st.integers(0, 2**63 - 1)
TIMES = st.integers(0, 253_402_300_799_999).map(from_milliseconds)
HEARTBEATS = st.builds(
    lambda ends, **fields: Heartbeat(start=min(ends), end=max(ends), **fields),
    st.tuples(COUNTS, COUNTS),
    federation=st.just(FEDERATION),
    node=st.just(ALPHA),
    origin=st.just("test.candor.example/log/1"),
    number=COUNTS,
    received=st.binary(max_size=40),
    answered=COUNTS,
    refused=COUNTS,
    ledger_number=COUNTS,
    ledger_digest=st.binary(min_size=32, max_size=32),
    issued_at=TIMES,
)
WITNESS_KEYS = st.builds(
    WitnessKeyStatement,
    st.just(FEDERATION),
    st.just(ALPHA),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=2, max_size=2).map(lambda octets: octets * 656),
    TIMES,
)
ADOPTIONS = st.builds(
    PackAdoption,
    st.just(FEDERATION),
    st.just(ALPHA),
    st.sampled_from(("default", "california")),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=32, max_size=32),
    TIMES,
)
CONTEXT = {WitnessKeyStatement: "witness-key", Heartbeat: "heartbeat", PackAdoption: "pack-adoption"}


def heartbeat(**changes: object) -> Heartbeat:
    fields = {
        "federation": FEDERATION,
        "node": ALPHA,
        "origin": "test.candor.example/log/1",
        "number": 1,
        "start": 5,
        "end": 9,
        "received": received_bits([True, False, True]),
        "answered": 4,
        "refused": 1,
        "ledger_number": 77,
        "ledger_digest": bytes(32),
        "issued_at": NOW,
    }
    return Heartbeat(**{**fields, **changes})  # type: ignore[arg-type]  # names checked at run time


@given(HEARTBEATS | WITNESS_KEYS | ADOPTIONS)
def test_a_statement_parses_to_itself(statement: MemberStatement) -> None:
    assert parse_statement(CONTEXT[type(statement)], statement.encode()) == statement


@given(st.sampled_from(("lookup", "", *CONTEXTS)), st.binary(max_size=200))
def test_reading_a_statement_raises_nothing_else(context: str, body: bytes) -> None:
    try:
        assert parse_statement(context, body).encode() == body
    except CandorError as error:
        assert isinstance(error, MalformedMessage | LimitExceeded)


def test_every_change_of_one_octet_is_refused_or_another_statement() -> None:
    witness_key = WitnessKeyStatement(FEDERATION, ALPHA, bytes(32), bytes(1312), NOW)
    adoption = PackAdoption(FEDERATION, ALPHA, "default", 1, bytes(32), NOW)
    for statement in (heartbeat(), witness_key, adoption):
        context = CONTEXT[type(statement)]
        for changed in one_octet_changes(statement.encode(), (0x01, 0x80)):
            try:
                parsed = parse_statement(context, changed)
            except (MalformedMessage, LimitExceeded):
                continue
            assert parsed != statement
            assert parsed.encode() == changed


def test_a_statement_of_another_context_is_refused() -> None:
    for context in ("lookup", "answer", "witness-key ", ""):
        with pytest.raises(MalformedMessage):
            parse_statement(context, heartbeat().encode())
    with pytest.raises(MalformedMessage):
        parse_statement("witness-key", heartbeat().encode())


def test_a_range_does_not_end_before_it_begins() -> None:
    with pytest.raises(MalformedMessage):
        Heartbeat.decode(heartbeat(start=9, end=8).encode())
    Heartbeat.decode(heartbeat(start=9, end=9, received=b"").encode())


@pytest.mark.parametrize("field", ["number", "start", "end", "answered", "refused", "ledger_number"])
def test_numbers_that_nobody_reached_are_refused(field: str) -> None:
    with pytest.raises(MalformedMessage):
        heartbeat(**{field: 1 << 63}).encode()


def test_numbers_that_nobody_reached_are_not_read() -> None:
    octets = heartbeat().encode()
    number = octets.index(heartbeat().origin.encode()) + len(heartbeat().origin)
    assert octets[number : number + 8] == (1).to_bytes(8, "big")
    for value in (2**63, 2**64 - 1):
        with pytest.raises(MalformedMessage):
            Heartbeat.decode(octets[:number] + value.to_bytes(8, "big") + octets[number + 8 :])


def test_bits_stand_from_the_most_significant_one() -> None:
    assert received_bits([]) == b""
    assert received_bits([True]) == b"\x80"
    assert received_bits([False] * 7 + [True]) == b"\x01"
    assert received_bits([True] * 8 + [False, True]) == b"\xff\x40"


@given(st.lists(st.booleans(), max_size=70))
def test_a_heartbeat_says_of_each_commitment_whether_it_was_received(flags: list[bool]) -> None:
    statement = heartbeat(received=received_bits(flags))
    statement.check_covers(len(flags))
    assert [statement.has_received(position) for position in range(len(flags))] == flags
    for position in (-1, -(-len(flags) // 8) * 8):
        with pytest.raises(MalformedMessage):
            statement.has_received(position)


@pytest.mark.parametrize(
    ("received", "commitments"),
    [(b"", 1), (b"\0", 0), (b"\0", 9), (b"\0\0", 8), (b"\x01", 7), (b"\xff\x01", 15), (b"\0\0\0", 8)],
)
def test_bits_that_do_not_fit_the_range_are_refused(received: bytes, commitments: int) -> None:
    with pytest.raises(NotCanonical):
        heartbeat(received=received).check_covers(commitments)


def test_a_heartbeat_covers_at_most_65536_commitments() -> None:
    heartbeat(received=bytes(8192)).check_covers(65_536)
    with pytest.raises(LimitExceeded):
        heartbeat(received=bytes(8193)).check_covers(65_537)
    with pytest.raises(LimitExceeded):
        Heartbeat.decode(heartbeat(received=bytes(8193)).encode())


def test_witness_keys_stand_under_the_members_name() -> None:
    keys = WitnessKeys.generate(witness_name(FEDERATION, ALPHA))
    ed25519, ml_dsa = keys.verifier_keys
    statement = WitnessKeyStatement(FEDERATION, ALPHA, ed25519.key, ml_dsa.key, NOW)
    assert statement.verifier_keys == keys.verifier_keys
    assert keys.name == "test.candor.example/witness/alpha"
