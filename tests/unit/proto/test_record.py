"""The canonical record and its commitment (docs/protocol.md §9.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.canonical import Writer
from candor_proto.errors import CommitmentMismatch, MalformedMessage, NotCanonical, UnsupportedVersion
from candor_proto.record import CanonicalRecord, RecordKind, Tier, commit, open_commitment

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
RECORD = CanonicalRecord(RecordKind.DECERTIFICATION, Tier.ADJUDICATED, {"a": "1", "b": "2"})


@given(st.dictionaries(NAMES, VALUES, max_size=8), st.sampled_from(RecordKind), st.sampled_from(Tier))
def test_a_record_decodes_and_encodes_to_the_same_octets(
    fields: dict[str, str], kind: RecordKind, tier: Tier
) -> None:
    encoded = CanonicalRecord(kind, tier, fields).encode()
    assert CanonicalRecord.decode(encoded).encode() == encoded


@given(st.dictionaries(NAMES, st.one_of(VALUES, st.sampled_from(["e\u0301", "é", "x" * 200])), max_size=8))
def test_s9_4_a_record_is_encoded_field_by_field_as_the_writer_does(fields: dict[str, str]) -> None:
    writer = Writer("record").integer(1, 1).integer(3, 1).integer(1, 1)
    writer.sequence(sorted(fields.items()), lambda out, pair: out.text(pair[0]).text(pair[1]))
    assert CanonicalRecord(RECORD.kind, RECORD.tier, fields).encode() == writer.finish()


def test_the_order_in_which_fields_were_given_does_not_matter() -> None:
    assert CanonicalRecord(RECORD.kind, RECORD.tier, {"b": "2", "a": "1"}).encode() == RECORD.encode()


def test_unsorted_or_repeated_fields_are_refused() -> None:
    for pairs in ((("b", "2"), ("a", "1")), (("a", "1"), ("a", "2"))):
        writer = Writer("record").integer(1, 1).integer(3, 1).integer(1, 1)
        octets = writer.sequence(pairs, lambda out, pair: out.text(pair[0]).text(pair[1])).finish()
        with pytest.raises(NotCanonical):
            CanonicalRecord.decode(octets)


@pytest.mark.parametrize("name", ["", "A", "a-b", "1a", "a" * 65])
def test_field_names_outside_the_alphabet_are_refused(name: str) -> None:
    with pytest.raises(MalformedMessage):
        CanonicalRecord(RECORD.kind, RECORD.tier, {name: "x"}).encode()


def test_too_many_or_too_long_fields_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        CanonicalRecord(RECORD.kind, RECORD.tier, {f"f{n}": "" for n in range(201)}).encode()
    with pytest.raises(MalformedMessage):
        CanonicalRecord(RECORD.kind, RECORD.tier, {"a": "x" * 16_385}).encode()


def test_an_unknown_version_is_refused() -> None:
    octets = bytearray(RECORD.encode())
    octets[len(b"\x10candor/v1/record")] = 2
    with pytest.raises(UnsupportedVersion):
        CanonicalRecord.decode(bytes(octets))


def test_a_commitment_opens_to_its_record_only() -> None:
    salt = bytes(range(32))
    commitment = commit(salt, RECORD.encode())
    assert open_commitment(commitment, salt, RECORD.encode()) == RECORD
    other = CanonicalRecord(RECORD.kind, RECORD.tier, {"a": "1", "b": "3"})
    with pytest.raises(CommitmentMismatch):
        open_commitment(commitment, salt, other.encode())
    with pytest.raises(CommitmentMismatch):
        open_commitment(commitment, bytes(32), RECORD.encode())
    with pytest.raises(MalformedMessage):
        commit(b"short", RECORD.encode())
