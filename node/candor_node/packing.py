"""Records made into segments: values evaluated, entries, blobs and shares sealed (docs/protocol.md §6).

Rules of this file:
- every tick has at least one segment of at least the minimum size: nobody counts an agency's records;
- secret, salt, blob id and handle are fresh for every record in every epoch, and for one that returns;
- it touches no database, and asks no gate: the publisher has done so for all that comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import TypeVar

from candor_proto import oprf, segment
from candor_proto.derive import DerivingKey
from candor_proto.field_codes import Sounds
from candor_proto.ids import Digest, KeyClass
from candor_proto.matchkeys import RecordCode, RecordKey, record_inputs
from candor_proto.normalise import normalise
from candor_proto.record import commit
from candor_proto.scheme import CURRENT, Scheme
from candor_proto.sealed_index import (
    MAX_CHAIN,
    EntryKeys,
    IndexOwner,
    Label,
    RandomBytes,
    RecordSecrets,
    field_tag_key,
    field_tags,
    polynomial,
    record_slots,
    seal_blob,
)
from candor_records.records import Record, canonical

T = TypeVar("T")

MAX_RECORDS = 8_000  # a segment; 32 MB at the size limit of a record
MAX_PACKED_ENTRIES = 400_000  # a segment; padded still below segment.MAX_ENTRIES and 64 MiB
MAX_VARIANTS = 128  # a record (§13)
_CHUNK = 64  # values evaluated by one thread at a time
_CACHED_VALUES = 100_000  # some 30 MB
_DAY_ZERO = date(1970, 1, 1)

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
    codes: tuple[RecordCode, ...]
    presence: int
    dropped: int

    @classmethod
    def of(cls, record: Record, sounds: Sounds, scheme: Scheme = CURRENT) -> Prepared:
        """`sounds` is shared by the records of a tick: officers share names."""
        keys, codes = record_inputs(normalise(record.content.identity.particulars()), sounds, scheme)
        kept = _bounded(keys)
        return cls(record, kept, codes.codes, codes.presence, codes.dropped + len(keys) - len(kept))

    def inputs(self) -> Iterator[Input]:
        """What is evaluated for the record, each value under the key of its label's class."""
        for key in self.keys:
            yield key.label.key_class, key.input
        for code in self.codes:
            yield code.label.key_class, code.input


def _bounded(keys: Sequence[RecordKey]) -> tuple[RecordKey, ...]:
    """At most MAX_VARIANTS keys; every label keeps its first before any keeps a further one."""
    if len(keys) <= MAX_VARIANTS:
        return tuple(keys)
    ranks: dict[str, int] = {}
    ranked = []
    for index, key in enumerate(keys):
        ranks[key.label.name] = ranks.get(key.label.name, -1) + 1
        ranked.append((ranks[key.label.name], index))
    return tuple(keys[index] for index in sorted(index for _, index in sorted(ranked)[:MAX_VARIANTS]))


class Outputs:
    """Evaluates values under the epoch's keys; officers share names, so many come again.

    Of an output only what it seals with is kept, by the value that was evaluated: its label stands in it, so
    equal values belong to one class and are of one use.
    """

    def __init__(self, keys: Mapping[KeyClass, oprf.KeyPair], owner: IndexOwner, pool: Executor) -> None:
        self._keys = keys
        self._owner = owner
        self._pool = pool
        self.entries: dict[bytes, EntryKeys] = {}
        self.tags: dict[bytes, DerivingKey] = {}

    def evaluate(self, records: Sequence[Prepared]) -> None:
        """Make sure that `entries` and `tags` hold every value of `records`."""
        if len(self.entries) + len(self.tags) > _CACHED_VALUES:
            self.entries.clear()
            self.tags.clear()
        self._learn(self.entries, self._entry_keys, (key for record in records for key in record.keys))
        self._learn(self.tags, field_tag_key, (code for record in records for code in record.codes))

    def _entry_keys(self, output: bytes) -> EntryKeys:
        return EntryKeys(output, self._owner, many=True)

    def _learn(
        self, known: dict[bytes, T], use: Callable[[bytes], T], items: Iterable[RecordKey | RecordCode]
    ) -> None:
        new = {item.input: item.label for item in items if item.input not in known}
        jobs = [
            (pair, part)
            for key_class, pair in self._keys.items()
            for part in batches(
                [value for value, label in new.items() if label.key_class is key_class], _CHUNK
            )
        ]

        def run(job: tuple[oprf.KeyPair, Sequence[bytes]]) -> list[T]:
            return [use(output) for output in oprf.evaluate_each(*job)]

        # libsodium runs without the interpreter's lock: two threads use two cores.
        for (_, values), uses in zip(jobs, self._pool.map(run, jobs), strict=True):
            known.update(zip(values, uses, strict=True))


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

    def add(self, record: Prepared, outputs: Outputs) -> None:
        own = RecordSecrets.draw(self._random_bytes)
        values = [key.input for key in record.keys]
        pack = self._with_room(values)
        slots = self._slots(record, own)
        for (kind, _), value in zip(record.keys, values, strict=True):
            counter = pack.chains.get(value, 0)
            pack.chains[value] = counter + 1
            entry = outputs.entries[value].seal(pack.number, counter, own.blob_id, slots[kind.position])
            pack.entries.append(entry)
        commitment = commit(own.salt, canonical(record.record).encode())
        label = Label(
            handle=own.handle,
            kind=record.record.kind.value,
            tier=record.record.tier.value,
            expires_days=_expiry_days(record.record),
            commitment=commitment,
            presence=record.presence,
            field_tags=field_tags([outputs.tags[value] for _, value in record.codes], own.blob_id),
        )
        pack.blobs.append(seal_blob(label, own.secret, own.blob_id, self._owner, self._random_bytes))
        published = Published(str(record.record.dcn), pack.number, own, commitment, len(values))
        self._published.append(published)
        self._dropped += record.dropped

    def _slots(self, record: Prepared, own: RecordSecrets) -> dict[int, tuple[bytes, ...]]:
        """The share slots of the record's labels, by position: all variants of a label carry the same."""
        weights = {label.position: label.weight for label, _ in record.keys}
        coefficients = polynomial(own.secret, own.blob_id, self._threshold)
        slots = record_slots(coefficients, tuple(weights.items()), self._random_bytes)
        return dict(zip(weights, slots, strict=True))

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
    ends = record.circumstances.expires_on
    return (ends - _DAY_ZERO).days if ends else 0


def batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
