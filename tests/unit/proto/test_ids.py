"""Identifiers are valid or do not exist, and kinds cannot be swapped (docs/protocol.md §2)."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto import ids
from candor_proto.errors import CandorError, MalformedMessage
from candor_proto.ids import (
    BlobId,
    Digest,
    FederationName,
    Handle,
    KeyClass,
    LookupId,
    LookupShape,
    NodeId,
    Ori,
    Purpose,
    RequestId,
)

OCTET_KINDS = [LookupId, RequestId, BlobId, Handle, Digest]
EDGE = "abcdefghijklmnopqrstuvwxyz0123456789"


# --- §2.1 federation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["abc", "9.9", "candor.example", "a-b", "x" * 63, "0" * 3])
def test_federation_accepts(text: str) -> None:
    assert str(FederationName(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "ab",
        "x" * 64,
        "Abc",
        ".abc",
        "abc.",
        "-abc",
        "abc-",
        "a_b",
        "a b",
        "abc\n",
        "äbc",
        "a/b",
        "a²c",
        # Not host names, which the hub's certificate needs.
        "a..b",
        "a.-b",
        "a-.b",
    ],
)
def test_federation_refuses(text: str) -> None:
    with pytest.raises(MalformedMessage):
        FederationName(text)


# --- §2.2 node id -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "7", "ab", "ashford-pd", "a--b", "x" * 40])
def test_node_id_accepts(text: str) -> None:
    assert str(NodeId(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "-", "-a", "a-", "A", "a.b", "a b", "a_b", "x" * 41, "a\n", "\na", "ａ", "٣", "a\0", "../a", "ß"],
)
def test_node_id_refuses(text: str) -> None:
    with pytest.raises(MalformedMessage):
        NodeId(text)


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True))
def test_node_id_accepts_all_of_its_form(text: str) -> None:
    assert NodeId(text).value == text


@given(st.text(max_size=45))
def test_node_id_takes_its_form_and_nothing_else(text: str) -> None:
    good = 1 <= len(text) <= 40 and set(text) <= set(EDGE + "-") and text[0] != "-" and text[-1] != "-"
    try:
        assert NodeId(text).value == text
        assert good
    except MalformedMessage:
        assert not good


# --- §2.3 ORI -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["WA0170000", "TX123456A", "NYABCDEFJ", "CA000000C"])
def test_ori_accepts(text: str) -> None:
    assert str(Ori(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "WA017000", "WA01700000", "wa0170000", "1A0170000", "WA017000D", "WA017000F", "WA017000H",
     "WA017000Z", "WA0170000\n", " WA0170000", "WA-170000", "WÄ0170000", "WA01700٣0"],
)  # fmt: skip
def test_ori_refuses(text: str) -> None:
    with pytest.raises(MalformedMessage):
        Ori(text)


@given(st.sampled_from([chr(code) for code in range(33, 127)]))
def test_ori_ninth_character_is_an_agency_type(last: str) -> None:
    if last in "0123456789ABCEGIJ":
        assert Ori("WA017000" + last).value[-1] == last
    else:
        with pytest.raises(MalformedMessage):
            Ori("WA017000" + last)


@given(st.text(max_size=200), st.sampled_from([FederationName, NodeId, Ori]))
def test_names_raise_malformed_message_and_never_echo_long_input(
    text: str, kind: type[FederationName] | type[NodeId] | type[Ori]
) -> None:
    try:
        kind(text)
    except CandorError as error:
        assert type(error) is MalformedMessage
        assert len(error.message) < 70 * 10 + 120  # at worst each character is written \U0001f600


@pytest.mark.parametrize("kind", [FederationName, NodeId, Ori])
def test_names_are_frozen_and_ordered(kind: type[FederationName] | type[NodeId] | type[Ori]) -> None:
    low, high = ("AA0000000", "BA0000000") if kind is Ori else ("aaa", "bbb")
    assert kind(low) == kind(low)
    assert hash(kind(low)) == hash(kind(low))
    assert sorted([kind(high), kind(low)]) == [kind(low), kind(high)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind(low).value = high  # type: ignore[misc]  # that it cannot be set is what is tested


def test_names_of_different_kinds_are_different() -> None:
    names: list[object] = [NodeId("abc"), FederationName("abc")]
    assert names[0] != names[1]
    assert len(set(names)) == 2


# --- §2.4, §2.5 octets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "length"), [(LookupId, 16), (RequestId, 16), (BlobId, 16), (Handle, 16), (Digest, 32)]
)
def test_octet_kinds_take_exactly_their_length(kind: type[ids._Octets], length: int) -> None:
    assert kind(bytes(length)).value == bytes(length)
    for wrong in (0, length - 1, length + 1, 2 * length):
        with pytest.raises(MalformedMessage, match=kind.__name__):
            kind(bytes(wrong))


@pytest.mark.parametrize("kind", OCTET_KINDS)
@given(data=st.data())
def test_octet_kinds_round_trip_through_hexadecimal(kind: type[ids._Octets], data: st.DataObject) -> None:
    value = data.draw(st.binary(min_size=kind.LENGTH, max_size=kind.LENGTH))
    known = kind(value)
    assert kind.parse(str(known)) == known
    assert known.hex() == value.hex() == str(known)
    assert repr(known) == f"{kind.__name__}({value.hex()})"


@pytest.mark.parametrize(
    "text",
    ["", "0" * 31, "0" * 33, "0" * 64, "A" * 32, "0x" + "0" * 30, " " + "0" * 31, "0" * 32 + "\n", "g" * 32,
     "0" * 16 + " " + "0" * 16, "٣" * 32],
)  # fmt: skip
def test_octet_kinds_refuse_every_other_writing(text: str) -> None:
    with pytest.raises(MalformedMessage):
        LookupId.parse(text)


@given(st.text(max_size=40))
def test_octet_parse_accepts_only_what_it_would_write(text: str) -> None:
    try:
        assert str(BlobId.parse(text)) == text
    except CandorError as error:
        assert type(error) is MalformedMessage
        assert not re.fullmatch(r"[0-9a-f]{32}", text)


def test_octet_kinds_are_not_interchangeable() -> None:
    one: list[object] = [kind(bytes(16)) for kind in (LookupId, RequestId, BlobId, Handle)]
    assert len(set(one)) == 4
    assert all(a != b for a in one for b in one if a is not b)
    assert one[0] != bytes(16)


def test_octet_kinds_are_immutable_hashable_ordered() -> None:
    low, high = Handle(bytes(16)), Handle(b"\xff" * 16)
    assert sorted([high, low]) == [low, high]
    assert {low: 1}[Handle(bytes(16))] == 1
    with pytest.raises(AttributeError):
        low.value = bytes(16)


def test_octet_kinds_keep_a_copy_of_a_mutable_value() -> None:
    source = bytearray(16)
    taken = BlobId(source)  # type: ignore[arg-type]  # a caller may hold a bytearray all the same
    source[0] = 1
    assert taken == BlobId(bytes(16))


# --- codes on the wire --------------------------------------------------------------------------------


def test_wire_codes_do_not_move() -> None:
    assert [(key.name, key.value, key.letter) for key in KeyClass] == [
        ("WEAK", 1, "W"),
        ("MATCH", 2, "M"),
        ("CODE", 3, "C"),
    ]
    assert [(shape.name, shape.value) for shape in LookupShape] == [("SCREENING", 1), ("DETAILED", 2)]
    assert [(purpose.value, purpose.name) for purpose in Purpose] == [
        (1, "J_APPLICANT"),
        (2, "J_CURRENT"),
        (3, "J_TASKFORCE"),
        (4, "CERTIFICATION"),
        (5, "SUBJECT_ACCESS"),
        (6, "AUDIT"),
        (7, "C"),
    ]


@pytest.mark.parametrize("purpose", list(Purpose))
def test_purpose_is_read_in_any_case(purpose: Purpose) -> None:
    assert Purpose.parse(purpose.name) is purpose
    assert Purpose.parse(f"  {purpose.name.lower()} ") is purpose


@pytest.mark.parametrize("text", ["", "J", "0", "1", "J-APPLICANT", "J_APPLICANT2", "mro"])
def test_purpose_refuses_and_names_the_codes(text: str) -> None:
    with pytest.raises(MalformedMessage, match="J_APPLICANT, J_CURRENT"):
        Purpose.parse(text)
