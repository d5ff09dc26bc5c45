"""One encoding of every value, and no other is read (docs/protocol.md §3)."""

from __future__ import annotations

import contextlib
import hashlib
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto import canonical
from candor_proto.canonical import Reader, Writer
from candor_proto.errors import CandorError, LimitExceeded, MalformedMessage, NotCanonical

NFC_TEXT = st.text(st.characters(codec="utf-8")).map(lambda text: unicodedata.normalize("NFC", text))
MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_9999 = datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)


class Colour(Enum):
    RED = 1
    BLUE = 2


# --- §3.1: the octets, written out ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "value", "expected"),
    [(1, 0, "00"), (1, 255, "ff"), (2, 258, "0102"), (4, 1, "00000001"), (8, 2**64 - 1, "ff" * 8)],
)
def test_integers_are_big_endian_and_of_fixed_width(octets: int, value: int, expected: str) -> None:
    assert Writer().integer(value, octets).finish().hex() == expected


def test_octets_stand_behind_their_32_bit_length() -> None:
    assert Writer().octets(b"abc").finish() == b"\0\0\0\3abc"
    assert Writer().octets(b"").finish() == b"\0\0\0\0"


def test_fixed_octets_stand_without_a_length() -> None:
    assert Writer().fixed(b"abc", 3).finish() == b"abc"


def test_text_is_nfc_utf8_behind_its_length_in_octets() -> None:
    assert Writer().text("é").finish() == b"\0\0\0\2\xc3\xa9"
    assert Writer().text("e\u0301").finish() == b"\0\0\0\2\xc3\xa9"


def test_a_list_stands_behind_its_count() -> None:
    written = Writer().sequence([1, 2], lambda out, item: out.integer(item, 1)).finish()
    assert written == b"\0\0\0\2\1\2"
    assert Writer().sequence([], lambda out, item: out.integer(item, 1)).finish() == b"\0\0\0\0"


def test_a_list_may_come_from_an_iterator() -> None:
    assert Writer().sequence(iter([7]), lambda out, item: out.integer(item, 1)).finish() == b"\0\0\0\1\7"


def test_time_is_milliseconds_since_1970_in_eight_octets() -> None:
    moment = datetime(1970, 1, 1, 0, 0, 1, 2000, tzinfo=UTC)
    assert Writer().time(moment).finish() == (1002).to_bytes(8, "big")


# --- §3.2, §3.3: domain labels and digests -----------------------------------------------------------


def test_an_encoding_opens_with_its_domain_label() -> None:
    assert Writer("lookup").finish() == bytes([16]) + b"candor/v1/lookup"


def test_a_label_of_255_octets_fits_and_one_more_does_not() -> None:
    room = 255 - len("candor/v1/")
    assert canonical.label_bytes("x" * room)[0] == 255
    with pytest.raises(MalformedMessage):
        canonical.label_bytes("x" * (room + 1))


def test_digest_is_sha256_over_label_and_length_prefixed_parts() -> None:
    label = b"\x10candor/v1/lookup"
    expected = hashlib.sha256(label + b"\0\0\0\1a" + b"\0\0\0\2bc").digest()
    assert canonical.digest("lookup", b"a", b"bc") == expected


def test_digest_tells_apart_where_one_part_ends_and_the_next_begins() -> None:
    assert canonical.digest("x", b"ab", b"c") != canonical.digest("x", b"a", b"bc")
    assert canonical.digest("x", b"ab") != canonical.digest("x", b"ab", b"")


def test_digest_tells_labels_apart() -> None:
    assert canonical.digest("lookup", b"a") != canonical.digest("answer", b"a")


@given(st.lists(st.binary(max_size=20), max_size=4), st.lists(st.binary(max_size=20), max_size=4))
def test_digests_of_different_parts_differ(one: list[bytes], other: list[bytes]) -> None:
    assert (canonical.digest("x", *one) == canonical.digest("x", *other)) == (one == other)


# --- what is written is read again -------------------------------------------------------------------


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, 2 ** (8 * n) - 1))))
def test_integer_round_trip(case: tuple[int, int]) -> None:
    octets, value = case
    reader = Reader(Writer().integer(value, octets).finish())
    assert reader.integer(octets) == value
    reader.finish()


@given(st.binary(max_size=64), st.binary(max_size=64), NFC_TEXT)
def test_mixed_round_trip(fixed: bytes, octets: bytes, text: str) -> None:
    data = Writer("mixed").fixed(fixed, len(fixed)).octets(octets).text(text).finish()
    reader = Reader(data, "mixed")
    assert reader.fixed(len(fixed)) == fixed
    assert reader.octets() == octets
    assert reader.text() == text
    reader.finish()


@given(st.lists(NFC_TEXT, max_size=8))
def test_list_round_trip(items: list[str]) -> None:
    reader = Reader(Writer().sequence(items, Writer.text).finish())
    assert reader.sequence(8, Reader.text) == tuple(items)
    reader.finish()


@given(st.text(st.characters(codec="utf-8")))
def test_whatever_is_written_as_text_is_read_back_in_nfc(text: str) -> None:
    assert Reader(Writer().text(text).finish()).text(1 << 20) == unicodedata.normalize("NFC", text)


@given(st.integers(0, canonical.to_milliseconds(YEAR_9999)))
def test_time_round_trip_from_milliseconds(value: int) -> None:
    assert canonical.to_milliseconds(canonical.from_milliseconds(value)) == value
    assert Reader(value.to_bytes(8, "big")).time().utcoffset() == timedelta(0)


@given(st.timedeltas(timedelta(0), YEAR_9999 - EPOCH).map(lambda since: EPOCH + since))
def test_time_round_trip_cuts_finer_digits(moment: datetime) -> None:
    back = canonical.from_milliseconds(canonical.to_milliseconds(moment))
    assert timedelta(0) <= moment - back < MILLISECOND


def test_a_time_is_the_same_in_every_zone() -> None:
    there = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert canonical.to_milliseconds(there) == canonical.to_milliseconds(datetime(2026, 1, 1, tzinfo=UTC))


# --- what the writer refuses --------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "octets"), [(-1, 4), (256, 1), (2**32, 4), (2**64, 8), (1, 0)])
def test_writer_refuses_integers_that_do_not_fit(value: int, octets: int) -> None:
    with pytest.raises(MalformedMessage):
        Writer().integer(value, octets)


@pytest.mark.parametrize("value", [b"", b"ab", b"abcd"])
def test_writer_refuses_fixed_octets_of_another_length(value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Writer().fixed(value, 3)


def test_writer_refuses_a_time_without_a_zone() -> None:
    with pytest.raises(MalformedMessage, match="zone"):
        Writer().time(EPOCH.replace(tzinfo=None))


def test_writer_refuses_a_time_before_1970() -> None:
    with pytest.raises(MalformedMessage):
        Writer().time(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))


# --- §3.4: what the reader refuses --------------------------------------------------------------------


def test_reader_refuses_octets_behind_the_last_field() -> None:
    reader = Reader(b"\1\2")
    reader.integer(1)
    with pytest.raises(NotCanonical):
        reader.finish()


def test_reader_accepts_an_encoding_that_ends_with_its_last_field() -> None:
    reader = Reader(b"")
    reader.finish()


def test_reader_refuses_text_that_is_not_nfc() -> None:
    decomposed = "e\u0301".encode()
    with pytest.raises(NotCanonical):
        Reader(len(decomposed).to_bytes(4, "big") + decomposed).text()


@pytest.mark.parametrize(
    "raw",
    [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"],
    ids=["stray", "cut-off", "surrogate", "overlong-nul", "beyond-unicode"],
)
def test_reader_refuses_text_that_is_not_utf8(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Reader(len(raw).to_bytes(4, "big") + raw).text()


@pytest.mark.parametrize(
    "read",
    [
        lambda reader: reader.integer(4),
        lambda reader: reader.fixed(4),
        lambda reader: reader.octets(),
        lambda reader: reader.text(),
        lambda reader: reader.time(),
        lambda reader: reader.sequence(3, Reader.text),
        lambda reader: reader.choice(4, Colour),
    ],
    ids=["integer", "fixed", "octets", "text", "time", "sequence", "choice"],
)
@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0"])
def test_reader_refuses_an_encoding_that_ends_too_early(
    read: Callable[[Reader], object], data: bytes
) -> None:
    with pytest.raises(MalformedMessage):
        read(Reader(data))


def test_reader_refuses_octets_shorter_than_their_length_says() -> None:
    with pytest.raises(MalformedMessage):
        Reader(b"\0\0\0\4abc").octets()


def test_reader_refuses_a_negative_number_of_octets() -> None:
    reader = Reader(b"abcd")
    reader.fixed(2)
    with pytest.raises(MalformedMessage):
        reader.fixed(-1)


def test_reader_refuses_a_field_over_its_limit_before_it_reads_it() -> None:
    assert Reader(b"\0\0\0\3abc").octets(3) == b"abc"
    with pytest.raises(LimitExceeded):
        Reader(b"\0\0\0\3abc").octets(2)
    with pytest.raises(LimitExceeded):
        Reader(b"\xff\xff\xff\xff").octets()
    with pytest.raises(LimitExceeded):
        Reader(b"\0\0\x10\x01" + b"a" * 4097).text()


def test_reader_refuses_a_list_over_its_limit_before_it_reads_an_item() -> None:
    def never(_: Reader) -> int:
        raise AssertionError("an item was read")

    with pytest.raises(LimitExceeded):
        Reader(b"\xff\xff\xff\xff").sequence(2, never)


def test_reader_refuses_a_time_beyond_the_year_9999() -> None:
    assert Reader(canonical.to_milliseconds(YEAR_9999).to_bytes(8, "big")).time() == YEAR_9999
    for beyond in (canonical.to_milliseconds(YEAR_9999) + 1, 2**64 - 1):
        with pytest.raises(MalformedMessage):
            Reader(beyond.to_bytes(8, "big")).time()


def test_reader_maps_known_codes_and_refuses_others() -> None:
    assert Reader(b"\2").choice(1, Colour) is Colour.BLUE
    with pytest.raises(MalformedMessage, match="3"):
        Reader(b"\3").choice(1, Colour)


@pytest.mark.parametrize(
    "data", [b"", b"\x10candor/v1/answer", b"\x10candor/v1/looku", b"\x10candor/v2/lookup"]
)
def test_reader_refuses_another_domain_label(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Reader(data, "lookup")


def _statement(data: bytes) -> bytes:
    """Read a statement of every kind of field, and write it again."""
    reader = Reader(data, "all")
    number, raw, fixed, text = reader.integer(2), reader.octets(64), reader.fixed(3), reader.text(64)
    moment, items, colour = reader.time(), reader.sequence(4, Reader.text), reader.choice(1, Colour)
    reader.finish()
    out = Writer("all").integer(number, 2).octets(raw).fixed(fixed, 3).text(text)
    return out.time(moment).sequence(items, Writer.text).integer(colour.value, 1).finish()


GOOD_STATEMENT = (
    Writer("all").integer(513, 2).octets(b"raw").fixed(b"fix", 3).text("Müller")
    .time(datetime(2026, 11, 1, tzinfo=UTC)).sequence(["a", "é"], Writer.text).integer(1, 1).finish()
)  # fmt: skip


def test_what_parses_re_encodes_to_the_very_octets() -> None:
    assert _statement(GOOD_STATEMENT) == GOOD_STATEMENT


@given(st.integers(0, len(GOOD_STATEMENT) - 1), st.integers(0, 255))
def test_a_changed_octet_is_refused_or_another_value(position: int, value: int) -> None:
    changed = bytearray(GOOD_STATEMENT)
    changed[position] = value
    with contextlib.suppress(CandorError):
        assert _statement(bytes(changed)) == bytes(changed)


@given(st.binary(max_size=80))
def test_any_octets_raise_errors_of_the_protocol_and_no_others(data: bytes) -> None:
    head = canonical.label_bytes("all")
    try:
        assert _statement(head + data) == head + data
    except CandorError as error:
        assert error.code in {"malformed_message", "not_canonical", "limit_exceeded"}


@given(st.integers(0, len(GOOD_STATEMENT) - 1))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(MalformedMessage):
        _statement(GOOD_STATEMENT[:length])


@given(st.binary(min_size=1, max_size=8))
def test_every_extension_is_refused(tail: bytes) -> None:
    with pytest.raises(NotCanonical):
        _statement(GOOD_STATEMENT + tail)
