"""§6.6: padding, order and addresses of segments; parsing of octets that anybody may have made."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto import segment as segment_module
from candor_proto.errors import CandorError, LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.ids import BlobId, FederationName, NodeId
from candor_proto.sealed_index import BLOB_OCTETS, ENTRY_OCTETS, MARKER_OCTETS
from candor_proto.segment import (
    MAX_ENTRIES,
    MIN_BLOBS,
    MIN_ENTRIES,
    MIN_MARKERS,
    Segment,
    SegmentHeader,
    address,
    build,
    padded_count,
    padme,
)
from tests.indexes import HARBOR, drawn_from, keys_of, seal_people
from tests.parties import MIKE

EMPTY = build(HARBOR, 1, (), (), (), drawn_from("empty"))


def raw(entries: Sequence[bytes], blobs: Sequence[bytes], markers: Sequence[bytes]) -> bytes:
    """A segment with these very lists, in this order: what `build` would not make."""
    header = SegmentHeader(
        HARBOR.federation, HARBOR.node, HARBOR.epoch, 1, len(entries), len(blobs), len(markers)
    )
    return header.encode() + b"".join((*entries, *blobs, *markers))


def lists() -> tuple[list[bytes], list[bytes], list[bytes]]:
    return (
        sorted(os.urandom(ENTRY_OCTETS) for _ in range(MIN_ENTRIES)),
        sorted(os.urandom(BLOB_OCTETS) for _ in range(MIN_BLOBS)),
        sorted(os.urandom(MARKER_OCTETS) for _ in range(MIN_MARKERS)),
    )


# --- padding -----------------------------------------------------------------------------------------


@given(count=st.integers(0, 1 << 24))
def test_s6_6_padme_never_cuts_leaks_little_and_wastes_at_most_an_eighth(count: int) -> None:
    """Nikitin et al., PETS 2019, §4.2: at most 12 % longer, and O(log log) bits of the length remain."""
    padded = padme(count)
    assert count <= padded <= count * 1.12 + 1
    assert padme(padded) == padded
    if count >= 2:
        exponent = padded.bit_length() - 1
        assert padded % (1 << max(0, exponent - exponent.bit_length())) == 0


@pytest.mark.parametrize(
    ("count", "padded"), [(0, 0), (1, 1), (9, 10), (100, 104), (4097, 4352), (5000, 5120)]
)
def test_padme_of_known_lengths(count: int, padded: int) -> None:
    assert padme(count) == padded


@given(one=st.integers(0, MAX_ENTRIES), other=st.integers(0, MAX_ENTRIES))
def test_padding_keeps_order_and_pads_what_is_padded_no_further(one: int, other: int) -> None:
    small, large = sorted((padded_count(one, MIN_ENTRIES), padded_count(other, MIN_ENTRIES)))
    assert (small, large) == (
        padded_count(min(one, other), MIN_ENTRIES),
        padded_count(max(one, other), MIN_ENTRIES),
    )
    assert padded_count(small, MIN_ENTRIES) == small
    assert MIN_ENTRIES <= small <= MAX_ENTRIES


@pytest.mark.parametrize(("count", "padded"), [(0, 256), (256, 256), (257, 512), (4096, 4096), (4097, 4352)])
def test_s6_6_the_steps_of_entry_counts(count: int, padded: int) -> None:
    assert padded_count(count, MIN_ENTRIES) == padded


@pytest.mark.parametrize("people", [0, 1, 7])
def test_s6_6_a_tick_with_no_filing_and_with_one_has_the_same_size(people: int) -> None:
    octets, _ = seal_people([MIKE] * people, keys_of(HARBOR))
    assert len(octets) == len(EMPTY)
    header = Segment(octets).header
    assert (header.entries, header.blobs, header.markers) == (256, 16, 8)


def test_s6_6_the_seventeenth_record_doubles_the_blobs() -> None:
    octets, _ = seal_people([MIKE] * 17, keys_of(HARBOR))
    assert Segment(octets).header.blobs == 32


def test_dummies_are_fresh_so_two_empty_ticks_share_no_item() -> None:
    one, other = build(HARBOR, 1, (), (), ()), build(HARBOR, 1, (), (), ())
    assert len(one) == len(other)
    head = len(Segment(one).header.encode())
    shared = {one[at : at + 16] for at in range(head, len(one), 16)} & {
        other[at : at + 16] for at in range(head, len(other), 16)
    }
    assert not shared


# --- strictness --------------------------------------------------------------------------------------


def test_a_segment_finds_what_was_put_in_and_nothing_else() -> None:
    octets, (mike,) = seal_people([MIKE], keys_of(HARBOR))
    segment = Segment(octets)
    for _, entry in mike.entries:
        assert segment.entry(entry[:16]) == entry
    assert segment.blob(mike.secrets.blob_id) == mike.blob
    assert segment.entry(bytes(16)) is None
    assert segment.entry(b"\xff" * 16) is None
    assert segment.blob(BlobId(b"\xff" * 16)) is None
    assert not segment.withdrawn(bytes(16))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_s6_6_lists_out_of_order_are_refused(which: int) -> None:
    parts = lists()
    assert Segment(raw(*parts)).header.entries == MIN_ENTRIES
    parts[which][0], parts[which][1] = parts[which][1], parts[which][0]
    with pytest.raises(NotCanonical):
        Segment(raw(*parts))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_s6_6_an_item_twice_is_refused(which: int) -> None:
    parts = lists()
    parts[which][1] = parts[which][0]
    with pytest.raises(NotCanonical):
        Segment(raw(*parts))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_s6_6_a_count_that_padding_cannot_give_is_refused(which: int) -> None:
    parts = lists()
    del parts[which][0]
    with pytest.raises(NotCanonical):
        Segment(raw(*parts))


def test_s3_4_octets_behind_the_last_marker_are_refused() -> None:
    with pytest.raises(NotCanonical):
        Segment(EMPTY + b"\0")


@pytest.mark.parametrize("cut", [0, 1, 20, 100, len(EMPTY) - 1])
def test_a_segment_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(MalformedMessage):
        Segment(EMPTY[:cut])


def test_build_refuses_items_of_the_wrong_size() -> None:
    for entries, blobs, markers in (([b"x"], [], []), ([], [b"x"], []), ([], [], [b"x"])):
        with pytest.raises(MalformedMessage):
            build(HARBOR, 1, entries, blobs, markers)


def test_s13_a_count_over_its_limit_is_refused_before_anything_is_read() -> None:
    for counts in ((MAX_ENTRIES + 1, 16, 8), (256, 65_537, 8), (256, 16, 65_537), (2**32 - 1,) * 3):
        header = SegmentHeader(HARBOR.federation, HARBOR.node, 1, 1, *counts)
        with pytest.raises(LimitExceeded):
            Segment(header.encode())


def test_s13_what_no_member_would_accept_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of the lists together exceed 64 MiB: the octets count, when building as when parsing."""
    monkeypatch.setattr(segment_module, "MAX_SEGMENT_OCTETS", len(EMPTY))
    assert len(build(HARBOR, 1, (), (), ())) == len(EMPTY)
    monkeypatch.setattr(segment_module, "MAX_SEGMENT_OCTETS", len(EMPTY) - 1)
    with pytest.raises(LimitExceeded):
        build(HARBOR, 1, (), (), ())
    with pytest.raises(LimitExceeded):
        Segment(EMPTY)


def test_s13_an_announced_size_over_the_limit_is_refused_unread() -> None:
    header = SegmentHeader(HARBOR.federation, HARBOR.node, 1, 1, MAX_ENTRIES, 65_536, 8)
    with pytest.raises(LimitExceeded):
        Segment(header.encode())


# --- addresses and arbitrary octets ------------------------------------------------------------------


def test_s6_6_every_bit_of_a_segment_is_in_its_address_or_refused() -> None:
    """Every bit of the header, and one in each octet behind it (the address covers all alike)."""
    head = len(Segment(EMPTY).header.encode())
    known = address(EMPTY)
    bits = [*range(head * 8), *range(head * 8, len(EMPTY) * 8, 8 * 37 + 3)]
    for bit in bits:
        octets = bytearray(EMPTY)
        octets[bit // 8] ^= 1 << bit % 8
        changed = bytes(octets)
        assert address(changed) != known
        try:
            parsed = Segment(changed)
        except CandorError:
            continue
        again = build_again(parsed, changed)
        assert again == changed


def build_again(parsed: Segment, octets: bytes) -> bytes:
    """What parses re-encodes to the very octets (§3.4)."""
    head = len(parsed.header.encode())
    return parsed.header.encode() + octets[head:]


@given(octets=st.binary(max_size=400))
def test_s3_4_arbitrary_octets_raise_only_typed_errors(octets: bytes) -> None:
    with pytest.raises(CandorError):
        Segment(octets)


@settings(max_examples=300)
@given(data=st.data())
def test_s3_4_a_spoilt_header_raises_only_typed_errors(data: st.DataObject) -> None:
    head = len(Segment(EMPTY).header.encode())
    at = data.draw(st.integers(0, head - 1))
    length = data.draw(st.integers(0, 12))
    octets = EMPTY[:at] + data.draw(st.binary(max_size=12)) + EMPTY[at + length :]
    try:
        parsed = Segment(octets)
    except CandorError:
        return
    assert build_again(parsed, octets) == octets


@pytest.mark.parametrize("name", ["", "a/b", "A", "\ud7ff", "x" * 65, "-a", "a\n"])
def test_names_that_are_none_are_refused_with_a_typed_error(name: str) -> None:
    text = name.encode()
    good = str(HARBOR.node).encode()
    octets = EMPTY.replace(len(good).to_bytes(4, "big") + good, len(text).to_bytes(4, "big") + text, 1)
    assert octets != EMPTY
    with pytest.raises(CandorError):
        Segment(octets)


def test_the_header_says_whose_it_is() -> None:
    header = Segment(build(HARBOR, 9, (), (), ())).header
    assert (header.federation, header.node, header.epoch, header.number) == (
        FederationName("test.candor.example"),
        NodeId("harbor-pd"),
        7,
        9,
    )
