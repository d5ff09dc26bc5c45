"""Which fields form which key, for records and for lookups (docs/protocol.md "Match keys"; MATCHING.md §3-6).

Rules of this file:
- a key is the *input* of the blinded function; an input names scheme version, label and every value behind
  its length, so that no two labels and no two versions can collide (§3, "On the wire");
- a key exists only if every code of it does (module `field_codes`): what is missing never matches and never
  mismatches;
- records emit many variants, lookups few (§3 "Two sides"): variants cost nothing at the record's side;
- list, classes and gate weights are those of a scheme (module `scheme`), the current one by default;
- a lookup always has exactly 4 + 12 slots, or 4 + 12 + 24: what a person lacks is filled with seeded
  fillers, which an audit recomputes, so that a filler cannot hide a guess (PROTOCOL.md §3, attack A5);
- inputs can be guessed back into names: they are redacted in every repr and stand in no exception.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from candor_proto.errors import CommitmentMismatch, LimitExceeded
from candor_proto.evidence import NOBODY, NameRarity
from candor_proto.field_codes import PersonCodes, Sounds, framed
from candor_proto.ids import KeyClass, LookupShape
from candor_proto.normalise import Person
from candor_proto.phonetics import consonant_skeleton as consonant_skeleton
from candor_proto.phonetics import double_metaphone as double_metaphone
from candor_proto.phonetics import soundex as soundex
from candor_proto.scheme import BLOB_LABELS as BLOB_LABELS
from candor_proto.scheme import CLASS_LABELS as CLASS_LABELS
from candor_proto.scheme import CLASS_SLOTS as CLASS_SLOTS
from candor_proto.scheme import CODE_LABELS as CODE_LABELS
from candor_proto.scheme import CURRENT, Scheme, opening
from candor_proto.scheme import ENTRY_LABELS as ENTRY_LABELS
from candor_proto.scheme import GATE_THRESHOLD as GATE_THRESHOLD
from candor_proto.scheme import MATCH_LABELS as MATCH_LABELS
from candor_proto.scheme import SCHEME_VERSION as SCHEME_VERSION
from candor_proto.scheme import TAG_LABELS as TAG_LABELS
from candor_proto.scheme import Label as Label
from candor_proto.scheme import gate_weight as gate_weight

# Entries of a record, and field tags of its blob (docs/protocol.md §13).
MAX_RECORD_KEYS = 128
MAX_FIELD_TAGS = 44
# A surname field of many words would otherwise multiply keys and lookups: the whole one and seven more.
MAX_SURNAMES = 8
# A person whose alternative surnames need more lookups than this is flagged, not silently cut.
MAX_PLANS = 3
SEED_BYTES = 32
SHAPE_CLASSES: Mapping[LookupShape, tuple[KeyClass, ...]] = {
    LookupShape.SCREENING: (KeyClass.WEAK, KeyClass.MATCH),
    LookupShape.DETAILED: (KeyClass.WEAK, KeyClass.MATCH, KeyClass.CODE),
}


# --- input octets ------------------------------------------------------------------------------------


def octets(label_name: str, values: Sequence[str], scheme: Scheme = CURRENT) -> bytes:
    """The OPRF input of a label and its code values.

    u8 scheme version ‖ u8 length ‖ label ‖ u8 count ‖ (u16 length ‖ UTF-8 value)*. Labels are `K:` and a
    match key's name, `C:` and a field code's name, or `filler`. Raises LimitExceeded beyond those widths.
    """
    return opening(scheme.version, label_name, len(values)) + b"".join(map(framed, values))


def filler_input(seed: bytes, key_class: KeyClass, position: int, scheme: Scheme = CURRENT) -> bytes:
    """The input that fills slot `position` (from 0) of a class when no key stands there (PROTOCOL.md §3)."""
    return octets("filler", (seed.hex(), key_class.letter, str(position)), scheme)


# --- the inputs of a label ---------------------------------------------------------------------------


def _inputs(label: Label, codes: PersonCodes) -> list[bytes]:
    """Inputs of `label`, one for each combination of its codes' values; none if a code is missing."""
    begin = label.opening
    if len(label.codes) > 1:
        # No duplicates: values are distinct, and each stands behind its length.
        options = [codes[code] for code in label.codes]
        return [begin + b"".join(values) for values in itertools.product(*options)]
    # As a single code, an initial for a given name would disagree with that name: it is missing instead.
    if label.given_code and len(codes.person.first) < 2:
        return []
    return [begin + value for value in codes[label.codes[0]]]


def _surnames(person: Person) -> tuple[str, ...]:
    return tuple(name for name in (person.surname, *person.other_surnames) if name)[:MAX_SURNAMES]


def _recorded_surnames(person: Person) -> tuple[str, ...]:
    """With the spellings that only records write; the least likely ones go where they are too many."""
    names = (person.surname, *person.other_surnames, *person.recorded_surnames)
    return tuple(name for name in names if name)[:MAX_SURNAMES]


# --- the record's side -------------------------------------------------------------------------------


class RecordKey(NamedTuple):
    """One value of an entry label of a record: evaluated, it becomes one index entry."""

    label: Label
    input: bytes

    def __repr__(self) -> str:
        return f"RecordKey({self.label.name}, …)"


class RecordCode(NamedTuple):
    """One value of a field of a record: evaluated under its label's class, it becomes one field tag."""

    label: Label
    input: bytes

    def __repr__(self) -> str:
        return f"RecordCode({self.label.name}, …)"


@dataclass(frozen=True)
class RecordCodes:
    """Field tags of a record in the order of its scheme's tag labels.

    `presence` has bit i set for a value of label i; `dropped` counts the variants that found no slot.
    """

    codes: tuple[RecordCode, ...]
    presence: int
    dropped: int


def _kept(found: Sequence[Sequence[bytes]], room: int) -> Sequence[Sequence[bytes]]:
    """At most `room` of the values of all lists: each list's first before any list's second."""
    if sum(map(len, found)) <= room:
        return found
    ranked = sorted((rank, index) for index, values in enumerate(found) for rank in range(len(values)))
    kept = Counter(index for _rank, index in ranked[:room])
    return [values[: kept[index]] for index, values in enumerate(found)]


def record_keys(person: Person, scheme: Scheme = CURRENT) -> tuple[RecordKey, ...]:
    """All keys of a record under the entry labels, in their order, no duplicates.

    At most MAX_RECORD_KEYS (officers-dev: 25.8 on average, at most 78); beyond, the rarest variants go.
    """
    return _record_keys(_recorded(person, Sounds()), scheme)


def record_codes(person: Person, scheme: Scheme = CURRENT) -> RecordCodes:
    """The field tags of a record, at most MAX_FIELD_TAGS (officers-dev: 27.8 on average, 2.7 % overflow).

    Surnames go whole, then parts, then former; roots of first and middle name before rarer forms. A presence
    bit never stands for a label all of whose tags were dropped.
    """
    return _record_codes(_recorded(person, Sounds()), scheme)


def record_inputs(
    person: Person, sounds: Sounds, scheme: Scheme = CURRENT
) -> tuple[tuple[RecordKey, ...], RecordCodes]:
    """`record_keys` and `record_codes`; `sounds` is shared by the records of a tick."""
    codes = _recorded(person, sounds)
    return _record_keys(codes, scheme), _record_codes(codes, scheme)


def _recorded(person: Person, sounds: Sounds) -> PersonCodes:
    return PersonCodes(person, _recorded_surnames(person), sounds, record=True)


def _record_keys(codes: PersonCodes, scheme: Scheme) -> tuple[RecordKey, ...]:
    found = [_inputs(label, codes) for label in scheme.entry_labels]
    kept = zip(scheme.entry_labels, _kept(found, MAX_RECORD_KEYS), strict=True)
    return tuple([RecordKey(label, value) for label, values in kept for value in values])


def _record_codes(person_codes: PersonCodes, scheme: Scheme) -> RecordCodes:
    found = [_inputs(label, person_codes) for label in scheme.tag_labels]
    kept = zip(scheme.tag_labels, _kept(found, MAX_FIELD_TAGS), strict=True)
    codes = tuple([RecordCode(label, value) for label, values in kept for value in values])
    return RecordCodes(
        codes=codes,
        presence=sum([1 << index for index, values in enumerate(found) if values]),
        dropped=sum(map(len, found)) - len(codes),
    )


# --- the asker's side --------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Slot:
    """One element of a lookup: `position` counts from 0 within its class; `label` is None for a filler.

    `names` says how common the asked person's names are, which the asker's own scoring uses; never sent.
    """

    key_class: KeyClass
    position: int
    label: Label | None
    input: bytes
    names: NameRarity = NOBODY

    def __repr__(self) -> str:
        # Which slots are fillers tells which fields a person lacks: not shown either.
        return f"Slot({self.key_class.name} {self.position}, …)"


@dataclass(frozen=True, repr=False)
class LookupPlan:
    """What one lookup asks: every slot of its shape, classes in order, positions in order.

    `number` counts the plans of one person from 0. `incomplete` says that alternative surnames were left
    out because MAX_PLANS did not hold them; tell the user.
    """

    shape: LookupShape
    number: int
    slots: tuple[Slot, ...]
    incomplete: bool

    def __repr__(self) -> str:
        return f"LookupPlan({self.shape.name}, number={self.number}, {len(self.slots)} slots)"

    @property
    def scheme_version(self) -> int:
        """The version that every input of the plan names."""
        return self.slots[0].input[0]

    def of_class(self, key_class: KeyClass) -> tuple[Slot, ...]:
        """The slots of one class, by position."""
        return tuple(slot for slot in self.slots if slot.key_class is key_class)


_Asked = tuple[Label, bytes]


def _arrange(
    person: Person, key_class: KeyClass, scheme: Scheme, sounds: Sounds
) -> Iterator[dict[int, _Asked]]:
    """Per plan, which key stands in which slot of a class (§6).

    Plan 0 holds the whole surname's keys, each in its own label's slot. The alternative surnames' keys,
    surname by surname in list order, take the slots left free there, then further plans from slot 0. What
    plan 0 still has free takes the keys of spare surnames, then the whole surname's keys under the reserve
    labels, in list order.
    """
    labels = scheme.class_labels[key_class]
    own: dict[int, _Asked] = {}
    codes = PersonCodes(person, [person.surname] if person.surname else [], sounds, record=False)
    for label in labels:
        for value in _inputs(label, codes):
            own[label.slot] = (label, value)
    free = [position for position in range(len(labels)) if position not in own]
    waiting = _others(person, _surnames(person), labels, own.values(), sounds)
    if len(waiting) < len(free):
        spare = _others(person, person.spare_surnames, labels, [*own.values(), *waiting], sounds)
        if key_class is KeyClass.MATCH:
            spare += [(label, value) for label in scheme.reserve_labels for value in _inputs(label, codes)]
        waiting += spare[: len(free) - len(waiting)]
    while True:
        own.update(zip(free, waiting, strict=False))
        yield own
        waiting = waiting[len(free) :]
        if not waiting:
            return
        own, free = {}, list(range(len(labels)))


def _others(
    person: Person, surnames: Iterable[str], labels: Sequence[Label], asked: Iterable[_Asked], sounds: Sounds
) -> list[_Asked]:
    """The keys of `surnames` that are not `asked`, surname by surname in list order."""
    known = {value for _label, value in asked}
    found: list[_Asked] = []
    for surname in surnames:
        codes = PersonCodes(person, [surname], sounds, record=False)
        for label in labels:
            for value in _inputs(label, codes):
                if value not in known:
                    known.add(value)
                    found.append((label, value))
    return found


def plan_lookup(
    person: Person, shape: LookupShape, seed: bytes, scheme: Scheme = CURRENT, least: int = 1
) -> tuple[LookupPlan, ...]:
    """The lookups that ask for `person`: one, or up to MAX_PLANS for a person with several surnames.

    Each has exactly 16 slots, or 40. `seed` is 32 random octets, fresh for each call and never sent: it
    makes the fillers. The plans depend on nothing else, so an audit recomputes them. A further plan is to
    be sent after a random delay (PROTOCOL.md §3). There are at least `least` plans: those that the scheme
    does not need hold fillers only. Raises LimitExceeded for a seed of another length.
    """
    if len(seed) != SEED_BYTES:
        raise LimitExceeded(f"A lookup seed has {SEED_BYTES} octets, got {len(seed)}.")
    classes, sounds, names = SHAPE_CLASSES[shape], Sounds(), NameRarity.of(person)
    arranged = {key_class: list(_arrange(person, key_class, scheme, sounds)) for key_class in classes}
    needed = max(map(len, arranged.values()))
    return tuple(
        LookupPlan(
            shape=shape,
            number=number,
            slots=tuple(
                Slot(key_class, position, label, value, names)
                for key_class in classes
                for keys in [arranged[key_class][number] if number < len(arranged[key_class]) else {}]
                for position in range(CLASS_SLOTS[key_class])
                for label, value in [
                    keys.get(position, (None, filler_input(seed, key_class, position, scheme)))
                ]
            ),
            incomplete=needed > MAX_PLANS,
        )
        for number in range(min(max(needed, least), MAX_PLANS))
    )


def plans_needed(person: Person, shape: LookupShape, schemes: Iterable[Scheme]) -> int:
    """How many plans ask for `person` under the scheme of these that needs the most; at least one.

    All of them are asked that often: a further lookup that went to the members of one version only would tell
    a second surname from another person (docs/leakage.md).
    """
    sounds = Sounds()
    needed = (
        sum(1 for _ in _arrange(person, key_class, scheme, sounds))
        for scheme in schemes
        for key_class in SHAPE_CLASSES[shape]
    )
    return min(max(needed, default=1), MAX_PLANS)


def check_plan(
    person: Person,
    shape: LookupShape,
    seed: bytes,
    inputs: Sequence[bytes],
    number: int = 0,
    scheme: Scheme = CURRENT,
) -> LookupPlan:
    """Check that `inputs` are those that the rules give for plan `number` of `person`; returns that plan.

    For audits by opening (PROTOCOL.md §4): every slot must hold that person's key, where the rules put it,
    or that slot's filler. A plan that this scheme does not need holds fillers only. Raises CommitmentMismatch
    naming the first slot that differs, never a value.
    """
    plans = plan_lookup(person, shape, seed, scheme, least=number + 1)
    if not 0 <= number < len(plans):
        raise CommitmentMismatch(f"A person needs at most {len(plans)} lookups; there is no lookup {number}.")
    plan = plans[number]
    if len(inputs) != len(plan.slots):
        raise CommitmentMismatch(f"A {shape.name} lookup has {len(plan.slots)} slots, not {len(inputs)}.")
    for slot, value in zip(plan.slots, inputs, strict=True):
        if slot.input != value:
            raise CommitmentMismatch(
                f"Slot {slot.position} of class {slot.key_class.name} holds neither this person's key "
                "nor that slot's filler."
            )
    return plan
