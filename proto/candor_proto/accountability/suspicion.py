"""What an asker can prove of what failed while it opened an index (docs/protocol.md §7.6, §17).

Rules of this file:
- it runs once a person reviews a digest, never while an answer is taken in: its time depends on what was
  found;
- it runs once a person reviews a digest, never while an answer is taken in: its time shows what was found;
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice

from candor_proto.accountability.against_owner import is_share
from candor_proto.accountability.evidence import Kind
from candor_proto.candidates import NodeIndex, Outputs
from candor_proto.errors import CandorError, SealedDataInvalid
from candor_proto.ids import BlobId, FederationName
from candor_proto.scheme import Label, find_scheme, gate_weight
from candor_proto.sealed_index import (
    MAX_CHAIN,
    EntryKeys,
    IndexOwner,
    abscissae,
    check_blob_commitment,
    open_blob,
    polynomial,
)
from candor_proto.segment import Segment
from candor_proto.shamir import interpolate_at_zero

# Ways to put shares together that are tried for one blob: all pairs and most triples of its labels.
MAX_TRIES = 5_000


@dataclass(frozen=True)
class Suspicion:
    """Something of an index that contradicts its owner's signature; numbers are those of segments.

    Of a malformed entry `blob_id` and `secret` are None and `blob_segment` is 0; of a malformed blob `output`
    is empty and `entry_segment` is 0.
    """

    kind: Kind
    blob_id: BlobId | None
    secret: bytes | None = field(repr=False)
    blob_segment: int
    output: bytes = field(repr=False)
    entry_segment: int
    counter: int


@dataclass(frozen=True)
class _Entry:
    """An entry that opened: which label and output led to it, where it stands, and its share slots."""

    label: Label
    output: bytes
    segment: int
    counter: int
    slots: tuple[bytes, ...]


def suspicions(outputs: Outputs, index: NodeIndex, federation: FederationName) -> list[Suspicion]:
    """What of `index` the outputs show to be malformed; each blob and each entry once.

    Raises UnsupportedVersion for an index of a scheme that this build does not know.
    """
    scheme = find_scheme(index.head.scheme_version)
    owner = IndexOwner(federation, index.head.node, index.head.epoch)
    found: list[Suspicion] = []
    entries: dict[BlobId, list[_Entry]] = {}
    for slot, output in outputs:
        if slot.label is None or not slot.label.weight or slot.label.version != scheme.version:
            continue
        for segment, counter, opened in _walk(output, index.segments, owner):
            if opened is None:
                found.append(
                    Suspicion(Kind.MALFORMED_ENTRY, None, None, 0, output, segment.header.number, counter)
                )
                continue
            blob_id, slots = opened
            one = _Entry(slot.label, output, segment.header.number, counter, slots)
            entries.setdefault(blob_id, []).append(one)
    for blob_id, own in entries.items():
        # What lies below the threshold was left alone, and stays so.
        if gate_weight(one.label for one in own) >= index.head.threshold:
            found += _of_blob(blob_id, own, index, owner)
    return found


def _walk(
    output: bytes, segments: Sequence[Segment], owner: IndexOwner
) -> Iterator[tuple[Segment, int, tuple[BlobId, tuple[bytes, ...]] | None]]:
    """All entries of an output, None in place of what does not open."""
    keys = EntryKeys(output, owner)
    for segment in segments:
        number = segment.header.number
        for counter in range(MAX_CHAIN):
            entry = segment.entry(keys.tag(number, counter))
            if entry is None:
                break
            try:
                yield segment, counter, keys.open(number, counter, entry)
            except SealedDataInvalid:
                yield segment, counter, None


def _of_blob(
    blob_id: BlobId, entries: Sequence[_Entry], index: NodeIndex, owner: IndexOwner
) -> Iterator[Suspicion]:
    for segment in index.segments:
        blob = segment.blob(blob_id)
        secret = None if blob is None else _secret(blob, entries, index.head.threshold, owner)
        if blob is None or secret is None:
            continue
        number = segment.header.number
        try:
            open_blob(blob, secret, owner)
        except SealedDataInvalid:
            yield Suspicion(Kind.MALFORMED_BLOB, blob_id, secret, number, b"", 0, 0)
            return
        coefficients = polynomial(secret, blob_id, index.head.threshold)
        for one in entries:
            if not is_share(coefficients, one.slots[0]):
                yield Suspicion(
                    Kind.GARBAGE_SHARES, blob_id, secret, number, one.output, one.segment, one.counter
                )
        return


def _secret(blob: bytes, entries: Sequence[_Entry], threshold: int, owner: IndexOwner) -> bytes | None:
    """The secret that a blob is committed to, if some of the shares found give it."""
    for shares in islice(_sharings(entries, threshold), MAX_TRIES):
        try:
            secret = interpolate_at_zero(shares, threshold)
            check_blob_commitment(blob, secret, owner)
        except CandorError:
            continue
        return secret
    return None


def _sharings(entries: Sequence[_Entry], threshold: int) -> Iterator[dict[int, bytes]]:
    """Shares of as few labels as reach the threshold, one entry a label, every way."""
    for count in range(1, threshold + 1):
        for chosen in combinations(entries, count):
            labels = {one.label for one in chosen}
            if len(labels) == count and gate_weight(labels) >= threshold:
                yield {
                    abscissa: one.slots[slot]
                    for one in chosen
                    for slot, abscissa in enumerate(abscissae(one.label.position, one.label.weight))
                }
