"""From the outputs of one node's evaluation to the hits in its index (docs/protocol.md §6.4, §7.6).

Rules of this file:
- the asker adds up its *own* table's weights, those of the scheme that the head names, whatever shares an
  entry carries; outputs of another scheme meet nothing there;
- the owner knows every F and can aim malformed data at one person: whatever fails here is a miss.
  Failures are returned apart from the hits and are never shown (attack A5c, "selective failure");
- a blob below the threshold is left alone and is not even counted as a failure;
- the work of one opening is always done, on a stand-in if need be: one entry, share or blob aimed at a
  person does not show in time either. Several still would: whoever calls this sends nothing, and
  acknowledges nothing, at a time that depends on when it returns.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from enum import Enum

from candor_proto.directory import IndexHead
from candor_proto.errors import CandorError, LimitExceeded, SealedDataInvalid
from candor_proto.evidence import NOBODY, Evidence, Outcome, tag_outcomes
from candor_proto.ids import BlobId, FederationName
from candor_proto.matchkeys import Slot
from candor_proto.record import RecordKind, Tier
from candor_proto.result import Hit
from candor_proto.scheme import Label, Scheme, find_scheme, gate_weight
from candor_proto.scoring import REFERENCE_POPULATION, explain
from candor_proto.sealed_index import (
    BLOB_OCTETS,
    SHARE_SLOTS,
    EntryKeys,
    IndexOwner,
    field_tag,
    open_through_gate,
    withdrawal_marker,
)
from candor_proto.sealed_index import Label as BlobLabel
from candor_proto.segment import Segment
from candor_proto.shamir import SECRET_OCTETS

_FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True)
class NodeIndex:
    """One node's index as the asker holds it: the head and every segment it names.

    Whoever fetches has checked each segment's address and that its header is what the head names.
    """

    head: IndexHead
    segments: tuple[Segment, ...]

    def blob_behind(self, hit: Hit) -> bytes:
        """The octets behind a hit of this index; it was opened a moment ago, so they are there."""
        return next(blob for segment in self.segments if (blob := segment.blob(hit.blob_id)) is not None)


# More records than any officer has at one owner (docs/protocol.md §13).
MAX_OPENINGS = 512


@dataclass(frozen=True)
class LocalFailure:
    """Something of the owner's that did not open. For the calendar digest, never for the screen."""

    blob_id: BlobId | None
    error: CandorError


@dataclass(frozen=True)
class Findings:
    hits: tuple[Hit, ...]
    failures: tuple[LocalFailure, ...]


class HitStanding(Enum):
    """What the newest index held of its owner says to a hit that was found before (§9.12)."""

    STANDS = "stands"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    ANOTHER_EPOCH = "another epoch"
    NO_INDEX = "no index"


def recheck(hit: Hit, index: NodeIndex | None, today: date) -> HitStanding:
    """Compare a stored hit with the newest index held; nothing is sent.

    An index of another epoch names records anew, so that it says nothing: the person is asked about again.
    """
    if hit.expires_days and hit.expires_days <= (today - _FIRST_DAY).days:
        return HitStanding.EXPIRED
    if index is None:
        return HitStanding.NO_INDEX
    if index.head.epoch != hit.epoch:
        return HitStanding.ANOTHER_EPOCH
    if any(segment.withdrawn(hit.marker) for segment in index.segments):
        return HitStanding.WITHDRAWN
    if all(segment.blob(hit.blob_id) is None for segment in index.segments):
        return HitStanding.WITHDRAWN
    return HitStanding.STANDS


Outputs = Sequence[tuple[Slot, bytes]]


@dataclass
class _Candidate:
    """A blob that entries name: where, and for each label hit every set of share slots found."""

    segment: Segment
    labels: dict[str, tuple[Label, list[tuple[bytes, ...]]]]


def find_hits(
    outputs: Outputs,
    index: NodeIndex,
    federation: FederationName,
    today: date,
    population: int = REFERENCE_POPULATION,
) -> Findings:
    """The records of `index` that the outputs (slot, 64-octet F) open, and what failed on the way.

    `outputs` may hold the slots of several lookups for one person at one node and epoch: a blob's labels
    add up over all of them. Expired and withdrawn blobs are misses. Raises UnsupportedVersion for an index
    of a scheme that this build does not know: whoever asks such a node must not count it as answered.
    `population` is the number of records that the whole lookup reaches, for the probability.
    """
    scheme = find_scheme(index.head.scheme_version)
    owner = IndexOwner(federation, index.head.node, index.head.epoch)
    failures: list[LocalFailure] = []
    candidates = _probe(outputs, index, owner, scheme, failures)
    hits = []
    opened = 0
    for blob_id, candidate in candidates.items():
        if gate_weight(label for label, _ in candidate.labels.values()) < index.head.threshold:
            continue
        opened += 1
        if opened > MAX_OPENINGS:
            # Planted blobs must not buy time that somebody could measure, nor a result too long to show.
            failures.append(LocalFailure(blob_id, LimitExceeded("More blobs open than one person can have.")))
            break
        try:
            hit = _open(blob_id, candidate, outputs, index, owner, scheme, today, population)
        except CandorError as error:
            failures.append(LocalFailure(blob_id, error))
            continue
        if hit is not None:
            hits.append(hit)
    if not opened:
        _open_stand_in(index.head.threshold, owner, scheme)
    return Findings(tuple(hits), tuple(failures))


def _probe(
    outputs: Outputs, index: NodeIndex, owner: IndexOwner, scheme: Scheme, failures: list[LocalFailure]
) -> dict[BlobId, _Candidate]:
    candidates: dict[BlobId, _Candidate] = {}
    for slot, output in outputs:
        # Labels of weight 0 have no entries (matching.md): their outputs only compare field tags.
        if slot.label is None or slot.label.weight == 0 or slot.label.version != scheme.version:
            continue
        keys = EntryKeys(output, owner)
        for segment in index.segments:
            for found in keys.probe(segment.header.number, segment.entry):
                if found is None:
                    failures.append(LocalFailure(None, SealedDataInvalid("An entry that does not open.")))
                    continue
                blob_id, slots = found
                candidate = candidates.setdefault(blob_id, _Candidate(segment, {}))
                candidate.labels.setdefault(slot.label.name, (slot.label, []))[1].append(slots)
    return candidates


def _open(
    blob_id: BlobId,
    candidate: _Candidate,
    outputs: Outputs,
    index: NodeIndex,
    owner: IndexOwner,
    scheme: Scheme,
    today: date,
    population: int,
) -> Hit | None:
    """The hit behind the gate; None when withdrawn or expired. Raises a local failure."""
    blob = candidate.segment.blob(blob_id)
    agree = [_same_shares(label, found) for label, found in candidate.labels.values()]
    if blob is None or not all(agree):
        _open_stand_in(index.head.threshold, owner, scheme)
        raise SealedDataInvalid("Entries that name no blob, or variants of a label that differ in shares.")
    weighed = {label.position: (label.weight, found[0]) for label, found in candidate.labels.values()}
    opened, secret = open_through_gate(blob, weighed, index.head.threshold, owner)
    marker = withdrawal_marker(secret, blob_id)
    if any(segment.withdrawn(marker) for segment in index.segments):
        return None
    # Days are compared as numbers: a date that no calendar holds is a date far away, not an error.
    if opened.expires_days and opened.expires_days <= (today - _FIRST_DAY).days:
        return None
    if opened.expires_days > (date.max - _FIRST_DAY).days:
        raise SealedDataInvalid("A blob that expires on no calendar's day.")
    if opened.kind not in {kind.value for kind in RecordKind} or opened.tier not in {
        tier.value for tier in Tier
    }:
        raise SealedDataInvalid("A blob of an unknown kind or tier.")
    outcomes = _outcomes(outputs, opened, blob_id, scheme)
    labels = sorted((label for label, _ in candidate.labels.values()), key=lambda label: label.position)
    return Hit(
        owner=owner.node,
        epoch=owner.epoch,
        blob_id=blob_id,
        handle=opened.handle,
        commitment=opened.commitment,
        kind=opened.kind,
        tier=opened.tier,
        expires_days=opened.expires_days,
        labels=tuple(label.name for label in labels),
        explanation=explain(_evidence(outputs, labels, outcomes, scheme), population),
        marker=marker,
        secret=secret,
    )


def _evidence(
    outputs: Outputs, hit: Sequence[Label], outcomes: Mapping[str, Outcome], scheme: Scheme
) -> Evidence:
    """What the asker knows of an opened record: keys asked and hit, fields compared, rarity of names."""
    own = [slot for slot, _ in outputs if slot.label is not None and slot.label.version == scheme.version]
    return Evidence(
        asked=frozenset(slot.label.name for slot in own if slot.label in scheme.match_labels and slot.label),
        hit=frozenset(label.name for label in hit),
        outcomes=outcomes,
        names=own[0].names if own else NOBODY,
    )


def _same_shares(label: Label, found: Sequence[tuple[bytes, ...]]) -> bool:
    """Whether all variants of a label that were hit carry the same shares, as they must (§6.2, §6.4)."""
    first = b"".join(found[0][: label.weight])
    agree = [hmac.compare_digest(first, b"".join(slots[: label.weight])) for slots in found]
    return all(agree)


def _open_stand_in(threshold: int, owner: IndexOwner, scheme: Scheme) -> None:
    """The work of opening a blob that every label hit, for nothing (§7.6)."""
    shares = (bytes(SECRET_OCTETS),) * SHARE_SLOTS
    weighed = {label.position: (label.weight, shares) for label in scheme.match_labels}
    with suppress(CandorError):
        open_through_gate(bytes(BLOB_OCTETS), weighed, threshold, owner)


def _outcomes(outputs: Outputs, opened: BlobLabel, blob_id: BlobId, scheme: Scheme) -> dict[str, Outcome]:
    """By name of each label that a blob may hold a tag of: whether a value asked about agrees with one."""
    asked: set[Label] = set()
    matched: set[Label] = set()
    for slot, output in outputs:
        if slot.label is None or slot.label not in scheme.tag_labels:
            continue
        asked.add(slot.label)
        if opened.holds(field_tag(output, blob_id)):
            matched.add(slot.label)
    return tag_outcomes(asked, matched, opened.presence, scheme.tag_labels)
