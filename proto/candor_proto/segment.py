"""Segments: padded, sorted, content-addressed pieces of a sealed index (docs/protocol.md §6.6)."""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from candor_proto.canonical import Reader, Writer, digest
from candor_proto.errors import LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.ids import BlobId, Digest, FederationName, NodeId
from candor_proto.sealed_index import (
    BLOB_OCTETS,
    ENTRY_OCTETS,
    MARKER_OCTETS,
    TAG_OCTETS,
    IndexOwner,
    RandomBytes,
)

MIN_ENTRIES, MIN_BLOBS, MIN_MARKERS = 256, 16, 8
MAX_ENTRIES, MAX_BLOBS, MAX_MARKERS = 524_288, 65_536, 65_536
MAX_SEGMENT_OCTETS = 64 * 1024 * 1024
_POWER_OF_TWO_UP_TO = 4096


def padme(count: int) -> int:
    """The smallest Padmé length not below `count` (Nikitin et al., PURBs, PETS 2019, §4.2)."""
    if count < 2:
        return count
    exponent = count.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << low_bits) - 1
    return (count + mask) & ~mask


def padded_count(count: int, minimum: int) -> int:
    """How many items a list of `count` is padded to (§6.6)."""
    if count <= minimum:
        return minimum
    if count <= _POWER_OF_TWO_UP_TO:
        return 1 << (count - 1).bit_length()
    return padme(count)


def address(octets: bytes) -> Digest:
    """The name of a segment: a digest of its octets."""
    return Digest(digest("segment-address", octets))


@dataclass(frozen=True)
class SegmentHeader:
    """What a segment says of itself."""

    federation: FederationName
    node: NodeId
    epoch: int
    number: int
    entries: int
    blobs: int
    markers: int

    def encode(self) -> bytes:
        writer = Writer("segment").text(str(self.federation)).text(str(self.node)).integer(self.epoch, 4)
        for value in (self.number, self.entries, self.blobs, self.markers):
            writer.integer(value, 4)
        return writer.finish()


def _padded(items: Iterable[bytes], octets: int, minimum: int, random_bytes: RandomBytes) -> list[bytes]:
    known = list(items)
    if any(len(item) != octets for item in known):
        raise MalformedMessage("An item of the wrong size in a segment.")
    dummies = padded_count(len(known), minimum) - len(known)
    # Dummies are random octets: a sealed item without its key is not told from them.
    return sorted([*known, *(random_bytes(octets) for _ in range(dummies))])


def build(
    owner: IndexOwner,
    number: int,
    entries: Iterable[bytes],
    blobs: Iterable[bytes],
    markers: Iterable[bytes],
    random_bytes: RandomBytes = secrets.token_bytes,
) -> bytes:
    """The octets of segment `number`; raises LimitExceeded when it would be too large."""
    lists = (
        _padded(entries, ENTRY_OCTETS, MIN_ENTRIES, random_bytes),
        _padded(blobs, BLOB_OCTETS, MIN_BLOBS, random_bytes),
        _padded(markers, MARKER_OCTETS, MIN_MARKERS, random_bytes),
    )
    header = SegmentHeader(
        owner.federation, owner.node, owner.epoch, number, *(len(items) for items in lists)
    )
    _check_limits(header)
    return b"".join([header.encode(), *(item for items in lists for item in items)])


def _check_limits(header: SegmentHeader) -> None:
    if header.entries > MAX_ENTRIES or header.blobs > MAX_BLOBS or header.markers > MAX_MARKERS:
        raise LimitExceeded("A segment holds too many items.")
    lists = header.entries * ENTRY_OCTETS + header.blobs * BLOB_OCTETS + header.markers * MARKER_OCTETS
    # Both lists at their own limits do not fit: what no member would accept must not be published.
    if len(header.encode()) + lists > MAX_SEGMENT_OCTETS:
        raise LimitExceeded("A segment is over its size limit.")


def _check_padding(header: SegmentHeader) -> None:
    """Refuse counts that padding cannot give: they would tell how much was filed in a tick (§6.6)."""
    for count, minimum in (
        (header.entries, MIN_ENTRIES),
        (header.blobs, MIN_BLOBS),
        (header.markers, MIN_MARKERS),
    ):
        if padded_count(count, minimum) != count:
            raise NotCanonical("A list in a segment is not padded.")


class Segment:
    """A parsed segment: finds entries by tag and blobs by id, by binary search in its own octets."""

    def __init__(self, octets: bytes) -> None:
        """Parse strictly: sizes, limits, padded and sorted lists, nothing behind the last item.

        Raises MalformedMessage or LimitExceeded. Searching takes time that depends on what is sought; it
        happens on the asker's own machine, and nothing is sent because of it (§6.8).
        """
        if len(octets) > MAX_SEGMENT_OCTETS:
            raise LimitExceeded("A segment is over its size limit.")
        reader = Reader(octets, "segment")
        try:
            federation, node = FederationName(reader.text(64)), NodeId(reader.text(64))
        except MalformedMessage as error:
            raise MalformedMessage("A segment with malformed names.") from error
        self.header = SegmentHeader(federation, node, *(reader.integer(4) for _ in range(5)))
        _check_limits(self.header)
        _check_padding(self.header)
        self._entries = self._list(reader, self.header.entries, ENTRY_OCTETS)
        self._blobs = self._list(reader, self.header.blobs, BLOB_OCTETS)
        self._markers = frozenset(self._list(reader, self.header.markers, MARKER_OCTETS))
        reader.finish()
        self.octets = len(octets)

    @staticmethod
    def _list(reader: Reader, count: int, octets: int) -> list[bytes]:
        items = [reader.fixed(octets) for _ in range(count)]
        if any(first >= second for first, second in pairwise(items)):
            raise NotCanonical("A list in a segment is not strictly sorted.")
        return items

    def entry(self, tag: bytes) -> bytes | None:
        """The entry under `tag`, or None."""
        return _find(self._entries, tag, TAG_OCTETS)

    def blob(self, blob_id: BlobId) -> bytes | None:
        return _find(self._blobs, blob_id.value, 16)

    def withdrawn(self, marker: bytes) -> bool:
        return marker in self._markers


def _find(items: list[bytes], prefix: bytes, octets: int) -> bytes | None:
    at = bisect_left(items, prefix)
    if at < len(items) and items[at][:octets] == prefix:
        return items[at]
    return None
