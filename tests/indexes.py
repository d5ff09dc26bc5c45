"""Sealed indexes for tests: people in, segment octets out; and the outputs that asking for a person gives.

The blinded function is evaluated directly (`oprf.evaluate`), which gives the very octets that blinding,
answering and unblinding give. Randomness may be passed in, so that vectors replay.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from candor_proto import oprf
from candor_proto.candidates import NodeIndex, Outputs
from candor_proto.directory import IndexHead, SegmentRef
from candor_proto.ids import Digest, KeyClass, LookupShape, NodeId
from candor_proto.matchkeys import plan_lookup, record_codes, record_keys
from candor_proto.normalise import Particulars, normalise
from candor_proto.record import RecordKind, Tier
from candor_proto.scheme import CURRENT, Scheme
from candor_proto.sealed_index import (
    EntryKeys,
    IndexOwner,
    Label,
    RandomBytes,
    RecordSecrets,
    field_tag,
    polynomial,
    seal_blob,
    share_slots,
)
from candor_proto.segment import Segment, address, build
from tests.parties import FEDERATION, NOW, epoch_keys

Keys = Mapping[KeyClass, oprf.KeyPair]

HARBOR = IndexOwner(FEDERATION, NodeId("harbor-pd"), 7)
TODAY = date(2026, 3, 2)
SEED = bytes(range(32))


def keys_of(owner: IndexOwner, seed: bytes = SEED) -> Keys:
    """The epoch keys of `owner` under a fixed seed."""
    return epoch_keys(seed, owner.node, owner.epoch)


def drawn_from(seed: str) -> RandomBytes:
    """A generator of octets that gives the same ones for the same seed: for vectors, never for an index."""
    count = 0

    def draw(octets: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed} {count}".encode()).digest(octets)

    return draw


@dataclass(frozen=True)
class SealedPerson:
    """One record as an owner seals it: its entries are (label name, entry), in the order of its keys."""

    secrets: RecordSecrets
    label: Label
    entries: tuple[tuple[str, bytes], ...]
    blob: bytes


class Sealer:
    """Seals records into one segment, counting the entries of each output."""

    def __init__(
        self,
        keys: Keys,
        owner: IndexOwner,
        number: int,
        threshold: int,
        random_bytes: RandomBytes = secrets.token_bytes,
        scheme: Scheme = CURRENT,
    ) -> None:
        self.keys, self.owner, self.number, self.threshold = keys, owner, number, threshold
        self.scheme = scheme
        self.random_bytes = random_bytes
        self.counters: dict[bytes, int] = {}

    def entry(self, output: bytes, secrets_: RecordSecrets, slots: Sequence[bytes]) -> bytes:
        """The next entry of the chain of `output`."""
        counter = self.counters.get(output, 0)
        self.counters[output] = counter + 1
        return EntryKeys(output, self.owner).seal(self.number, counter, secrets_.blob_id, slots)

    def seal(self, particulars: Particulars, expires_days: int = 0) -> SealedPerson:
        person = normalise(particulars)
        record = RecordSecrets.draw(self.random_bytes)
        coefficients = polynomial(record.secret, record.blob_id, self.threshold)
        entries = []
        for key in record_keys(person, self.scheme):
            output = oprf.evaluate(self.keys[key.label.key_class], key.input)
            slots = share_slots(coefficients, key.label.position, key.label.weight, self.random_bytes)
            entries.append((key.label.name, self.entry(output, record, slots)))
        codes = record_codes(person, self.scheme)
        tags = [
            field_tag(oprf.evaluate(self.keys[code.label.key_class], code.input), record.blob_id)
            for code in codes.codes
        ]
        label = Label(
            handle=record.handle,
            kind=RecordKind.DECERTIFICATION.value,
            tier=Tier.ADJUDICATED.value,
            expires_days=expires_days,
            commitment=Digest(hashlib.sha256(record.salt).digest()),
            presence=codes.presence,
            field_tags=tuple(tags),
        )
        blob = seal_blob(label, record.secret, record.blob_id, self.owner, self.random_bytes)
        return SealedPerson(record, label, tuple(entries), blob)

    def segment(self, sealed: Iterable[SealedPerson], markers: Iterable[bytes] = ()) -> bytes:
        known = list(sealed)
        return build(
            self.owner,
            self.number,
            [entry for one in known for _, entry in one.entries],
            [one.blob for one in known],
            markers,
            self.random_bytes,
        )


def seal_people(
    people: Iterable[Particulars],
    keys: Keys,
    owner: IndexOwner = HARBOR,
    number: int = 1,
    threshold: int = 3,
    random_bytes: RandomBytes = secrets.token_bytes,
    scheme: Scheme = CURRENT,
) -> tuple[bytes, tuple[SealedPerson, ...]]:
    """The octets of segment `number` with one record for each of `people`, and what went into it."""
    sealer = Sealer(keys, owner, number, threshold, random_bytes, scheme)
    sealed = tuple(sealer.seal(person) for person in people)
    return sealer.segment(sealed), sealed


def ask(
    particulars: Particulars,
    shape: LookupShape,
    keys: Keys,
    seed: bytes = bytes(32),
    scheme: Scheme = CURRENT,
) -> Outputs:
    """Each slot of every lookup for a person, with its output under `keys`."""
    return [
        (slot, oprf.evaluate(keys[slot.key_class], slot.input))
        for plan in plan_lookup(normalise(particulars), shape, seed, scheme)
        for slot in plan.slots
    ]


def index_of(
    segments: Sequence[bytes],
    keys: Keys,
    owner: IndexOwner = HARBOR,
    threshold: int = 3,
    scheme: Scheme = CURRENT,
) -> NodeIndex:
    """The index made of these segments, under a head that names them."""
    parsed = tuple(Segment(octets) for octets in segments)
    refs = tuple(
        SegmentRef(one.header.number, address(octets), len(octets))
        for one, octets in zip(parsed, segments, strict=True)
    )
    head = IndexHead(
        owner.federation,
        owner.node,
        1,
        owner.epoch,
        {key_class: pair.public for key_class, pair in keys.items()},
        threshold,
        scheme.version,
        refs,
        NOW,
    )
    return NodeIndex(head, parsed)


def map_entry(person: SealedPerson, name: str, change: Callable[[bytes], bytes]) -> SealedPerson:
    """`person` with the entries of label `name` changed."""
    return replace(
        person,
        entries=tuple((label, change(entry) if label == name else entry) for label, entry in person.entries),
    )
