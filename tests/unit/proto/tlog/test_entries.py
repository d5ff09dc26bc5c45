"""The entries of the log (docs/protocol.md §14.3)."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.canonical import Writer, digest, from_milliseconds
from candor_proto.directory import IndexHead, MemberStatus, SegmentRef
from candor_proto.errors import CandorError, LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.ids import Digest, NodeId, Ori
from candor_proto.signing import SignedStatement
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
    parse_entry,
    receipt_commitment,
    request_commitment,
    serial_octets,
)
from candor_proto.tlog.statements import Heartbeat, WitnessKeyStatement
from candor_proto.tlog.tiles import MAX_ENTRY_OCTETS
from tests.parties import FEDERATION, NOW, Parties
from tests.unit.proto.tlog.changes import one_octet_changes

PARTIES = Parties("alpha", "beta")
ALPHA = PARTIES["alpha"]

COUNTS = st.integers(0, 2**63 - 1)
HASHES = st.binary(min_size=32, max_size=32)
TIMES = st.integers(0, 253_402_300_799_999).map(from_milliseconds)
NODES = st.from_regex(r"\A[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?\Z").map(NodeId)
# Texts of the log are in NFC.
TEXTS = st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cs"]), max_size=40)
ORIS = st.from_regex(r"\A[A-Z]{2}[A-Z0-9]{6}[0-9ABCEGIJ]\Z").map(Ori)
COMMITMENTS = st.lists(HASHES, min_size=1, max_size=9, unique=True).map(lambda known: tuple(sorted(known)))
OPENED = st.builds(Opened, st.just(FEDERATION), st.integers(0, 2**32 - 1), TIMES, TEXTS, COUNTS, HASHES)
CLOSED = st.builds(
    Closed, TIMES, TEXTS, HASHES, st.binary(min_size=4, max_size=4).map(lambda octets: octets * 328)
)
MEMBERS = st.builds(
    MemberEntry,
    NODES,
    TEXTS,
    st.lists(ORIS, min_size=1, max_size=4, unique=True).map(lambda oris: tuple(sorted(oris))),
    TEXTS,
    HASHES,
    st.binary(min_size=4, max_size=4).map(lambda octets: octets * 304),
    st.sampled_from(MemberStatus),
    TIMES,
    TIMES,
)
HEADS = st.builds(
    HeadEntry,
    NODES,
    COUNTS,
    st.integers(0, 2**32 - 1),
    st.tuples(HASHES, HASHES, HASHES),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    COUNTS,
    HASHES,
    TIMES,
    HASHES,
)
DENIED = st.builds(Denied, st.integers(0, 2**160 - 1), st.none() | NODES, TIMES)
DIRECTORIES = st.builds(DirectoryEntry, COUNTS, TIMES, HASHES, HASHES)
POLICIES = st.builds(
    PolicyEntry, st.integers(0, 2**32 - 1), TIMES, st.sampled_from((b"quorum none\n", b"# x\nquorum none\n"))
)
RULES = st.builds(Rules, TIMES, st.dictionaries(st.from_regex(r"\A[a-z0-9_]{1,20}\Z"), COUNTS, max_size=6))
STATEMENTS = st.builds(
    Statement,
    st.sampled_from(("witness-key", "heartbeat", "pack-adoption")),
    st.builds(SignedStatement, st.binary(max_size=60), st.binary(min_size=64, max_size=64)),
)
ENTRIES = st.one_of(
    OPENED,
    CLOSED,
    MEMBERS,
    HEADS,
    DENIED,
    DIRECTORIES,
    POLICIES,
    RULES,
    STATEMENTS,
    st.builds(Requests, COMMITMENTS),
    st.builds(Receipts, COMMITMENTS),
)
EXAMPLES: list[Entry] = [
    Opened(FEDERATION, 1, NOW),
    Closed(NOW, log_origin(FEDERATION, 2), bytes(32), bytes(1312)),
    member_entry(ALPHA.member()),
    head_entry(ALPHA.signed_head()),
    Denied(0x1234, NodeId("alpha"), NOW),
    Denied(0, None, NOW),
    DirectoryEntry(7, NOW, bytes(32), b"\x01" * 32),
    PolicyEntry(3, NOW, b"quorum none\n"),
    Rules(NOW, {"quota_elements": 40_000, "lookup_life": 86_400}),
    Statement("heartbeat", SignedStatement(b"body", bytes(64))),
    Requests((b"\x01" * 32, b"\x02" * 32)),
    Receipts((b"\x01" * 32,)),
]


@given(ENTRIES)
def test_an_entry_parses_to_itself(entry: Entry) -> None:
    assert parse_entry(entry.encode()) == entry


def test_every_kind_opens_with_its_label_and_number() -> None:
    label = bytes([len("candor/v1/log-entry")]) + b"candor/v1/log-entry"
    assert [entry.encode()[: len(label) + 1] for entry in EXAMPLES] == [
        label + bytes([kind]) for kind in (1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11)
    ]


def test_the_fields_stand_as_the_protocol_says() -> None:
    def text(value: str) -> bytes:
        return len(value).to_bytes(4, "big") + value.encode()

    def time(moment: datetime) -> bytes:
        return (int(moment.timestamp()) * 1000).to_bytes(8, "big")

    label = bytes([19]) + b"candor/v1/log-entry"
    member, head = ALPHA.member(), ALPHA.head()
    assert EXAMPLES[0].encode() == (
        label + b"\1" + text(str(FEDERATION)) + b"\0\0\0\1" + time(NOW) + text("") + bytes(8) + bytes(32)
    )
    assert EXAMPLES[2].encode() == b"".join(
        (
            label + b"\3",
            text("alpha") + text(member.name),
            b"\0\0\0\1" + text("ZZ0000100"),
            text(member.tls_subject),
            member.signing_key.value + member.disclosure_key,
            b"\1" + time(member.joined_at) + time(member.answered_from),
        )
    )
    statement = member.head or ALPHA.signed_head()
    assert head_entry(statement).encode() == b"".join(
        (
            label + b"\4",
            text("alpha"),
            (1).to_bytes(8, "big") + (1).to_bytes(4, "big"),
            *(key.to_bytes() for key in head.keys.values()),
            bytes([3, head.scheme_version]) + bytes(4) + bytes(8),
            hashlib.sha256(b"").digest(),
            time(NOW),
            digest("logged/index-head", statement.body, statement.signature),
        )
    )
    assert EXAMPLES[4].encode() == label + b"\5" + b"\0\0\0\2\x12\x34" + text("alpha") + time(NOW)
    assert EXAMPLES[10].encode() == label + b"\x0a\0\0\0\2" + b"\x01" * 32 + b"\x02" * 32


@pytest.mark.parametrize("entry", EXAMPLES, ids=lambda entry: type(entry).__name__)
def test_every_change_of_one_octet_is_refused_or_another_entry_with_another_hash(entry: Entry) -> None:
    octets = entry.encode()
    for changed in one_octet_changes(octets, (0x01, 0x80)):
        assert hashlib.sha256(b"\0" + changed).digest() != hashlib.sha256(b"\0" + octets).digest()
        try:
            parsed = parse_entry(changed)
        except (MalformedMessage, LimitExceeded):
            continue
        assert parsed != entry
        assert parsed.encode() == changed


@given(
    st.binary(max_size=120)
    | st.tuples(st.integers(0, 12), st.binary(max_size=120)).map(
        lambda some: _body(some[0]).finish() + some[1]
    )
)
def test_reading_an_entry_raises_nothing_else(octets: bytes) -> None:
    try:
        assert parse_entry(octets).encode() == octets
    except CandorError as error:
        assert isinstance(error, MalformedMessage | LimitExceeded)


def _body(kind: int) -> Writer:
    return Writer("log-entry").integer(kind, 1)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        _body(0).finish(),
        _body(12).finish(),
        Requests((bytes(32),)).encode() + b"\0",
        _body(10).integer(0, 4).finish(),
        _body(10).integer(2, 4).fixed(bytes(64), 64).finish(),
        _body(10).integer(2, 4).fixed(b"\2" * 32 + b"\1" * 32, 64).finish(),
        _body(11).integer(257, 4).fixed(bytes(32 * 257), 32 * 257).finish(),
        _body(10).integer(2, 4).fixed(bytes(32), 32).finish(),
        _body(5).octets(b"").text("").time(NOW).finish(),
        _body(5).octets(b"\0\1").text("").time(NOW).finish(),
        _body(5).octets(b"\1" * 21).text("").time(NOW).finish(),
        _body(5).octets(b"\1").text("A").time(NOW).finish(),
        _body(6).integer(1 << 63, 8).time(NOW).fixed(bytes(64), 64).finish(),
        _body(6).integer(1, 8).integer(1 << 60, 8).fixed(bytes(64), 64).finish(),
        _body(7).integer(1, 4).time(NOW).octets(b"quorum\n").finish(),
        _body(7).integer(1, 4).time(NOW).octets(b"#" * 60_001).finish(),
        _body(8).time(NOW).integer(1, 4).text("UPPER").integer(1, 8).finish(),
        _body(8).time(NOW).integer(1, 4).text("").integer(1, 8).finish(),
        _body(8).time(NOW).integer(1, 4).text("a").integer(1 << 63, 8).finish(),
        _body(8).time(NOW).integer(2, 4).text("a").integer(1, 8).text("a").integer(1, 8).finish(),
        _body(8).time(NOW).integer(2, 4).text("b").integer(1, 8).text("a").integer(1, 8).finish(),
        _body(8).time(NOW).integer(257, 4).finish(),
        _body(9).text("lookup").octets(b"").fixed(bytes(64), 64).finish(),
        _body(9).text("heartbeat").octets(b"").fixed(bytes(63), 63).finish(),
        _body(9).text("heartbeat").octets(bytes(70_000)).fixed(bytes(64), 64).finish(),
    ],
)
def test_what_is_no_entry_is_refused(octets: bytes) -> None:
    with pytest.raises((MalformedMessage, LimitExceeded)):
        parse_entry(octets)


def test_the_oris_of_a_member_are_sorted_unique_and_some() -> None:
    entry = member_entry(ALPHA.member())
    for oris in ((), (Ori("ZZ0000200"), Ori("ZZ0000100")), (Ori("ZZ0000100"),) * 2):
        with pytest.raises(NotCanonical):
            parse_entry(replace(entry, oris=oris).encode())


def test_a_writer_refuses_what_a_reader_would() -> None:
    for entry in (
        Requests(()),
        Requests((bytes(31),)),
        Receipts((b"\2" * 32, b"\1" * 32)),
        Receipts((bytes(32),) * 257),
        Denied(-1, None, NOW),
        Denied(1 << 160, None, NOW),
        PolicyEntry(1, NOW, b""),
        Rules(NOW, {"a b": 1}),
        Rules(NOW, {"a": -1}),
        Rules(NOW, {"a": 1 << 63}),
        DirectoryEntry(1 << 63, NOW, bytes(32), bytes(32)),
        Opened(FEDERATION, 1 << 32, NOW),
        Closed(NOW, "x", bytes(31), bytes(1312)),
    ):
        with pytest.raises((MalformedMessage, LimitExceeded)):
            entry.encode()


def test_an_entry_has_at_most_65535_octets() -> None:
    with pytest.raises(LimitExceeded):
        parse_entry(bytes(65_536))


def test_serials_are_written_without_leading_zeros() -> None:
    assert [serial_octets(serial) for serial in (0, 1, 256)] == [b"\0", b"\1", b"\1\0"]


def test_a_head_entry_says_what_the_head_says() -> None:
    head = replace(
        ALPHA.head(), segments=tuple(replace(ref, number=number) for number, ref in enumerate(_refs()))
    )
    entry = head_entry(ALPHA.signing.sign("index-head", head.encode()))
    assert (entry.segments, entry.octets, entry.root) == (2, 300, head.root())
    assert (entry.sequence, entry.epoch, entry.issued_at) == (head.sequence, head.epoch, head.issued_at)


def _refs() -> list[SegmentRef]:
    return [SegmentRef(0, Digest(bytes(32)), 100), SegmentRef(1, Digest(bytes(32)), 200)]


def test_a_head_that_does_not_stand_up_still_has_an_entry() -> None:
    """Its keys are judged where they are used: they are their member's trouble alone (§10.2)."""
    body = bytearray(ALPHA.signed_head().body)
    at = body.index(ALPHA.head().keys[next(iter(ALPHA.head().keys))].to_bytes())
    body[at : at + 32] = b"\xff" * 32
    with pytest.raises(MalformedMessage):
        IndexHead.decode(bytes(body))
    assert head_entry(SignedStatement(bytes(body), bytes(64))).keys[0] == b"\xff" * 32
    for broken in (b"", bytes(body[:-1]), bytes(body) + b"\0"):
        with pytest.raises(MalformedMessage):
            head_entry(SignedStatement(broken, bytes(64)))


def test_commitments_name_a_statement_with_its_signature_and_kind() -> None:
    body, signature = secrets.token_bytes(50), secrets.token_bytes(64)
    statement = SignedStatement(body, signature)
    assert request_commitment(statement) == digest("logged/request", body, signature)
    assert receipt_commitment(2, body, signature) == digest("logged/receipt", b"\2", body, signature)
    assert receipt_commitment(4, body) == digest("logged/receipt", b"\4", body, b"")
    assert len({receipt_commitment(kind, body) for kind in range(7)}) == 7


def test_every_statement_that_members_make_fits_an_entry() -> None:
    heartbeat = Heartbeat(
        FEDERATION, NodeId("alpha"), log_origin(FEDERATION, 1), 1, 0, 9, bytes(8192), 1, 1, 1, bytes(32), NOW
    )
    witness_key = WitnessKeyStatement(FEDERATION, NodeId("alpha"), bytes(32), bytes(1312), NOW)
    for context, body in (("heartbeat", heartbeat.encode()), ("witness-key", witness_key.encode())):
        entry = Statement(context, ALPHA.signing.sign(context, body))
        assert parse_entry(entry.encode()) == entry
        assert len(entry.encode()) < MAX_ENTRY_OCTETS
