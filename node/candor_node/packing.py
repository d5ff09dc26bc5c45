"""Records made into segments: values evaluated, entries, blobs and shares sealed (docs/protocol.md §6).

Rules of this file:
- every tick has at least one segment of at least the minimum size: nobody counts an agency's records;
- secret, salt, blob id and handle are fresh for every record in every epoch, and for one that returns;
- it touches no database, and asks no gate: the publisher has done so for all that comes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import TypeVar

from candor_node.records import Record, canonical
from candor_proto import oprf, segment
from candor_proto.ids import Digest, KeyClass
from candor_proto.matchkeys import MATCH_LABELS, RecordKey, record_codes, record_keys
from candor_proto.normalise import normalise
from candor_proto.record import commit
from candor_proto.sealed_index import (
    MAX_CHAIN,
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

T = TypeVar("T")

MAX_RECORDS = 8_000  # a segment; 32 MB at the size limit of a record
MAX_PACKED_ENTRIES = 400_000  # a segment; padded still below segment.MAX_ENTRIES and 64 MiB
MAX_VARIANTS = 128  # a record (§13)
_CHUNK = 64  # values evaluated by one thread at a time
_CACHED_VALUES = 200_000
_DAY_ZERO = date(1970, 1, 1)
_POSITION = {label: position for position, label in enumerate(MATCH_LABELS)}

Input = tuple[KeyClass, bytes]


@dataclass(frozen=True, repr=False)
class Published:
    """One record in the index, as stored."""

    dcn: str
    segment: int
    secrets: RecordSecrets
    commitment: Digest
    entries: int


@dataclass(frozen=True, repr=False)
class Sealed:
    """The segments of a tick, not stored yet."""

    segments: tuple[tuple[int, bytes], ...]
    published: tuple[Published, ...]
    dropped: int


@dataclass(frozen=True, repr=False)
class Prepared:
    """A record with the values that are evaluated for it."""

    record: Record
    keys: tuple[RecordKey, ...]
    codes: tuple[Input, ...]
    presence: int
    dropped: int

    @classmethod
    def of(cls, record: Record) -> Prepared:
        person = normalise(record.content.identity.particulars())
        keys, codes = record_keys(person), record_codes(person)
        kept = _bounded(keys)
        tags = tuple((code.label.key_class, code.input) for code in codes.codes)
        return cls(record, kept, tags, codes.presence, codes.dropped + len(keys) - len(kept))

    def inputs(self) -> Iterator[Input]:
        for key in self.keys:
            yield key.label.key_class, key.input
        yield from self.codes


def _bounded(keys: Sequence[RecordKey]) -> tuple[RecordKey, ...]:
    """At most MAX_VARIANTS keys; every label keeps its first before any keeps a further one."""
    ranks: dict[str, int] = {}
    ranked = []
    for index, key in enumerate(keys):
        ranks[key.label.name] = ranks.get(key.label.name, -1) + 1
        ranked.append((ranks[key.label.name], index))
    return tuple(keys[index] for index in sorted(index for _, index in sorted(ranked)[:MAX_VARIANTS]))


class Outputs:
    """Evaluates values under the epoch's keys; officers share names, so many come again."""

    def __init__(self, keys: Mapping[KeyClass, oprf.KeyPair], pool: Executor) -> None:
        self._keys = keys
        self._pool = pool
        self._known: dict[Input, bytes] = {}

    def of(self, values: Iterable[Input]) -> Mapping[Input, bytes]:
        if len(self._known) > _CACHED_VALUES:
            self._known.clear()
        new = list(set(values) - self._known.keys())
        # libsodium runs without the interpreter's lock: two threads use two cores.
        for part, outputs in self._pool.map(self._evaluate, batches(new, _CHUNK)):
            self._known.update(zip(part, outputs, strict=True))
        return self._known

    def _evaluate(self, part: list[Input]) -> tuple[list[Input], list[bytes]]:
        return part, [oprf.evaluate(self._keys[key_class], value) for key_class, value in part]


class Packs:
    """Segments being filled. A record goes into the first that has room, for it and for its tag chains."""

    def __init__(
        self,
        owner: IndexOwner,
        first_segment: int,
        threshold: int,
        max_records: int,
        random_bytes: RandomBytes,
    ) -> None:
        self._owner = owner
        self._first = first_segment
        self._threshold = threshold
        self._max_records = max_records
        self._random_bytes = random_bytes
        self._packs: list[_Pack] = []
        self._published: list[Published] = []
        self._dropped = 0

    def add(self, record: Prepared, outputs: Mapping[Input, bytes]) -> None:
        owner, random_bytes = self._owner, self._random_bytes
        own = RecordSecrets.draw(random_bytes)
        values = [outputs[key.label.key_class, key.input] for key in record.keys]
        pack = self._with_room(values)
        coefficients = polynomial(own.secret, own.blob_id, self._threshold)
        slots: dict[int, tuple[bytes, ...]] = {}
        for key, output in zip(record.keys, values, strict=True):
            position = _POSITION[key.label]
            if position not in slots:
                slots[position] = share_slots(coefficients, position, key.label.weight, random_bytes)
            counter = pack.chains.get(output, 0)
            pack.chains[output] = counter + 1
            entry = EntryKeys(output, owner).seal(pack.number, counter, own.blob_id, slots[position])
            pack.entries.append(entry)
        commitment = commit(own.salt, canonical(record.record).encode())
        label = Label(
            handle=own.handle,
            kind=record.record.kind.value,
            tier=record.record.tier.value,
            expires_days=_expiry_days(record.record),
            commitment=commitment,
            presence=record.presence,
            field_tags=tuple(field_tag(outputs[code], own.blob_id) for code in record.codes),
        )
        pack.blobs.append(seal_blob(label, own.secret, own.blob_id, owner, random_bytes))
        published = Published(str(record.record.dcn), pack.number, own, commitment, len(values))
        self._published.append(published)
        self._dropped += record.dropped

    def _with_room(self, values: Sequence[bytes]) -> _Pack:
        for pack in self._packs:
            if (
                len(pack.blobs) < self._max_records
                and len(pack.entries) + len(values) <= MAX_PACKED_ENTRIES
                and all(pack.chains.get(value, 0) < MAX_CHAIN for value in values)
            ):
                return pack
        pack = _Pack(self._first + len(self._packs), [], [], {})
        self._packs.append(pack)
        return pack

    def finish(self, markers: Sequence[bytes]) -> Sealed:
        packs = self._packs or [_Pack(self._first, [], [], {})]
        segments = []
        for index, pack in enumerate(packs):
            withdrawn = markers if index == 0 else ()
            octets = segment.build(
                self._owner, pack.number, pack.entries, pack.blobs, withdrawn, self._random_bytes
            )
            segments.append((pack.number, octets))
        return Sealed(tuple(segments), tuple(self._published), self._dropped)


@dataclass(repr=False)
class _Pack:
    number: int
    entries: list[bytes]
    blobs: list[bytes]
    chains: dict[bytes, int]


def _expiry_days(record: Record) -> int:
    return (record.expires_on - _DAY_ZERO).days if record.expires_on else 0


def batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
