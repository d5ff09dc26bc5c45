"""Signed notes and verifier keys (C2SP signed-note; docs/protocol.md §14.1)."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import (
    CandorError,
    LimitExceeded,
    MalformedMessage,
    NotCanonical,
    UnsupportedVersion,
)
from candor_proto.tlog.note import (
    MAX_NOTE_OCTETS,
    Note,
    NoteSignature,
    VerifierKey,
    parse_note,
    parse_signature_lines,
    parse_vkey,
)
from tests.unit.proto.tlog.changes import one_octet_changes

# The worked example of signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
""".encode()
# The example at the head of signed-note, whose key is not given.
QUASIMODO = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
""".encode()  # noqa: E501

NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="+"),
    min_size=1,
    max_size=40,
).filter(lambda name: not any(character.isspace() for character in name))
SIGNATURES = st.builds(
    NoteSignature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=90)
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32), max_size=80).map(
    lambda text: text + "\n"
)
NOTES = st.builds(
    Note,
    st.lists(TEXTS, min_size=1, max_size=4).map("".join),
    st.lists(SIGNATURES, min_size=1, max_size=4, unique_by=lambda line: (line.name, line.key_id)).map(tuple),
)


def test_the_example_of_the_specification_verifies() -> None:
    note, key = parse_note(NOTE), parse_vkey(VKEY)
    assert (key.name, key.kind, key.key_id.hex()) == ("example.com/foo", 1, "530d903a")
    assert note.text == "This is an example message.\n"
    assert note.signatures[0].is_by(key)
    Ed25519PublicKey.from_public_bytes(key.key).verify(note.signatures[0].payload, note.text.encode())
    assert note.encode() == NOTE
    assert key.encode() == VKEY


def test_the_text_of_a_note_may_hold_empty_lines() -> None:
    note = parse_note(QUASIMODO)
    assert note.text.endswith("\n\ned è subito sera.\n")
    assert note.signatures[0].name == "quasimodo.example/salvatore"
    assert note.encode() == QUASIMODO


def test_a_key_id_depends_on_name_type_and_key() -> None:
    key = parse_vkey(VKEY)
    expected = hashlib.sha256(b"example.com/foo\n\x01" + key.key).digest()[:4]
    assert key.key_id == expected
    assert VerifierKey(key.name, 4, key.key).key_id != expected
    assert VerifierKey("example.com/bar", 1, key.key).key_id != expected


@given(NOTES)
def test_a_note_parses_to_itself(note: Note) -> None:
    assert parse_note(note.encode()) == note
    lines = "".join(signature.line() for signature in note.signatures)
    assert parse_signature_lines(lines) == note.signatures


@given(NAMES, st.sampled_from((1, 4, 6)), st.binary(min_size=32, max_size=32))
def test_a_verifier_key_parses_to_itself(name: str, kind: int, seed: bytes) -> None:
    octets = seed if kind != 6 else hashlib.shake_128(seed).digest(1312)
    try:
        key = VerifierKey(name, kind, octets)
    except MalformedMessage:
        assert kind != 6  # a key of small order
        return
    assert parse_vkey(key.encode()) == key


def test_every_change_of_one_octet_is_refused_or_another_note() -> None:
    key, original = parse_vkey(VKEY), parse_note(NOTE)
    verify = Ed25519PublicKey.from_public_bytes(key.key).verify
    for changed in one_octet_changes(NOTE):
        try:
            note = parse_note(changed)
        except (MalformedMessage, LimitExceeded):
            continue
        assert note != original
        assert note.encode() == changed
        if note.signatures[0].is_by(key):
            with pytest.raises(Exception):  # noqa: B017  # cryptography's own refusal
                verify(note.signatures[0].payload, note.text.encode())


def test_every_change_of_one_octet_of_a_verifier_key_is_refused() -> None:
    for changed in one_octet_changes(VKEY.encode()):
        try:
            text = changed.decode()
        except UnicodeDecodeError:
            continue
        with pytest.raises(MalformedMessage):
            parse_vkey(text)


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda octets: octets + b"\n\n" + NOTE[29:]))
def test_reading_a_note_raises_nothing_else(octets: bytes) -> None:
    try:
        assert parse_note(octets).encode() == octets
    except CandorError as error:
        assert isinstance(error, MalformedMessage | LimitExceeded)


@given(st.text(max_size=120))
def test_reading_a_verifier_key_raises_nothing_else(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_vkey(text)


def _line(name: str = "a", octets: bytes = bytes(9)) -> bytes:
    return f"— {name} {base64.b64encode(octets).decode()}\n".encode()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"\n\n" + _line()[:-1],
        b"text\n\n" + _line()[:-1],
        b"text\n\n" + _line().replace("—".encode(), b"-"),
        b"text\n\n" + _line().replace(b"a ", b"a  "),
        b"text\n\n" + _line(octets=bytes(4)),
        b"text\n\n" + _line(octets=bytes(8)).replace(b"A=\n", b"B=\n"),
        b"text\n\n" + _line(octets=bytes(8)).replace(b"=\n", b"\n"),
        b"text\n\n" + _line().replace(b"AAAA", b"AA AA", 1),
        b"text\n\n" + _line("a+b"),
        b"text\n\n" + _line(""),
        b"text\n\n" + _line("a\u2003b"),
        b"te\rxt\n\n" + _line(),
        b"te\txt\n\n" + _line(),
        b"te\0xt\n\n" + _line(),
        b"te\xffxt\n\n" + _line(),
        b"te\xed\xa0\x80xt\n\n" + _line(),
        b"text\n\n" + _line() + b"\n",
        b"text\n\n" + _line() + b"trailer\n",
        b"text\r\n\r\n" + _line(),
    ],
)
def test_what_is_no_note_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_note(octets)


def test_two_signatures_of_one_key_are_refused() -> None:
    with pytest.raises(NotCanonical):
        parse_note(b"text\n\n" + _line() + _line(octets=bytes(4) + b"\x01" * 5))
    parse_note(b"text\n\n" + _line() + _line("b") + _line(octets=b"\x01" + bytes(8)))


def test_a_note_has_room_for_64_signatures_and_512_kib() -> None:
    lines = [_line(f"signer-{number}") for number in range(65)]
    assert len(parse_note(b"text\n\n" + b"".join(lines[:64])).signatures) == 64
    with pytest.raises(LimitExceeded):
        parse_note(b"text\n\n" + b"".join(lines))
    with pytest.raises(LimitExceeded):
        parse_note(b"t" * MAX_NOTE_OCTETS + b"\n\n" + lines[0])
    with pytest.raises(LimitExceeded):
        parse_signature_lines("x" * (MAX_NOTE_OCTETS + 1))


def test_a_verifier_key_of_another_type_length_or_id_is_refused() -> None:
    key = parse_vkey(VKEY)
    for kind in (0, 2, 3, 5, 0xFA, 0xFF):
        with pytest.raises(UnsupportedVersion):
            VerifierKey("a", kind, key.key)
    for octets in (b"", key.key[:-1], key.key + b"\0"):
        with pytest.raises(MalformedMessage):
            VerifierKey("a", 1, octets)
    with pytest.raises(MalformedMessage):
        VerifierKey("a", 6, key.key)
    with pytest.raises(NotCanonical):
        parse_vkey(VKEY.replace("530d903a", "530d903b"))
    with pytest.raises(NotCanonical):
        parse_vkey(VKEY.replace("530d903a", "530D903A"))
    with pytest.raises(NotCanonical):
        parse_vkey(VKEY.replace("example.com/foo", "example.com/fo0"))
    with pytest.raises(MalformedMessage):
        parse_vkey("a+00000000+")


def test_a_key_of_small_order_under_which_anything_verifies_is_refused() -> None:
    for kind in (1, 4):
        with pytest.raises(MalformedMessage, match="small order"):
            VerifierKey("a", kind, b"\x01" + bytes(31))


def test_a_note_is_checked_when_it_is_made() -> None:
    line = NoteSignature("a", bytes(4), b"x")
    for text in ("", "no newline", "a\rb\n", "\ud800\n"):
        with pytest.raises(MalformedMessage):
            Note(text, (line,))
    with pytest.raises(MalformedMessage):
        Note("text\n", ())
    for name in ("", "a b", "a+b", "a\n", "\ud800", "n" * 256):
        with pytest.raises(MalformedMessage):
            NoteSignature(name, bytes(4), b"x")
    for key_id, payload in ((bytes(3), b"x"), (bytes(5), b"x"), (bytes(4), b"")):
        with pytest.raises(MalformedMessage):
            NoteSignature("a", key_id, payload)


def test_a_note_is_checked_for_its_limits_when_it_is_made() -> None:
    lines = tuple(NoteSignature(f"signer-{number}", bytes(4), b"x") for number in range(65))
    Note("text\n", lines[:64])
    with pytest.raises(LimitExceeded):
        Note("text\n", lines)
    with pytest.raises(NotCanonical):
        Note("text\n", (lines[0], lines[0]))
