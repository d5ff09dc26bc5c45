"""Which fields form which key, for records and for lookups (docs/protocol.md "Match keys"; MATCHING.md §3-6).

Rules of this file:
- a key is the *input* of the blinded function; an input names scheme version, label and every value behind
  its length, so that no two labels and no two versions can collide (§3, "On the wire");
- a key exists only if every code of it does (module `field_codes`): what is missing never matches and never
  mismatches;
- records emit many variants, lookups few (§3 "Two sides"): variants cost nothing at the record's side;
- the list R16, its classes and its gate weights are fixed within a scheme version, for everybody (§4);
- a lookup always has exactly 4 + 12 slots, or 4 + 12 + 24: what a person lacks is filled with seeded
  fillers, which an audit recomputes, so that a filler cannot hide a guess (PROTOCOL.md §3, attack A5);
- inputs can be guessed back into names: they are redacted in every repr and stand in no exception.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from candor_proto.errors import CommitmentMismatch, LimitExceeded
from candor_proto.field_codes import GIVEN_ASKED, PersonCodes, Sounds, framed
from candor_proto.ids import KeyClass, LookupShape
from candor_proto.normalise import SCHEME_VERSION as SCHEME_VERSION
from candor_proto.normalise import Person
from candor_proto.phonetics import canonical_forms as canonical_forms
from candor_proto.phonetics import consonant_skeleton as consonant_skeleton
from candor_proto.phonetics import double_metaphone as double_metaphone
from candor_proto.phonetics import soundex as soundex

# Weights of the labels hit that open a record (PROTOCOL.md §3 "The score gate"): F1 .945 in one round on
# unseen officers, 0.017 false openings a lookup.
GATE_THRESHOLD = 3
# Entries of a record, and field tags of its blob (docs/protocol.md §13).
MAX_RECORD_KEYS = 128
MAX_FIELD_TAGS = 44
# A surname field of many words would otherwise multiply keys and lookups: the whole one and seven more.
MAX_SURNAMES = 8
# A person whose alternative surnames need more lookups than this is flagged, not silently cut.
MAX_PLANS = 3
SEED_BYTES = 32


@dataclass(frozen=True)
class Label:
    """A kind of key: its codes, its class, its place in its list, and its gate weight.

    `position` counts from 0 in the list R16 (or in the list of field codes) and fixes the shares a match key
    carries (docs/protocol.md §6.2); `slot` counts from 0 within the class (§5.5). Weight 0 means: no shares
    and no entry; the label is a field tag inside the blob.
    """

    name: str
    key_class: KeyClass
    codes: tuple[str, ...]
    position: int
    slot: int
    weight: int

    @cached_property
    def given_code(self) -> bool:
        """Whether it is a single code of the given name."""
        return self.key_class is KeyClass.CODE and self.name in GIVEN_ASKED

    @cached_property
    def opening(self) -> bytes:
        """What every input of this label begins with, up to the values of its codes."""
        name = f"{'C' if self.key_class is KeyClass.CODE else 'K'}:{self.name}"
        return _opening(name, len(self.codes))


# R16 in list order (§4) with class and gate weight. The weights follow the bits of §5 in whole numbers;
# `P` is 2, not 3, for no label may open a record alone. `Y+S` has a domain of 5.5*10^5: it carries no shares
# and is a field tag in the blob (PROTOCOL.md §3 "Labels of small domain"). `D+S` stands where R16 has `L1+D`,
# which `L1+Dc` contains: with `Yo+So` it opens for birth date and last four, whatever the names (ADR 0016).
_R16 = (
    ("L1+Dc", KeyClass.WEAK, 1), ("D+S", KeyClass.WEAK, 1), ("Y+S", KeyClass.WEAK, 0),
    ("F3+S", KeyClass.WEAK, 1), ("SWp+MD", KeyClass.MATCH, 2), ("Ls+S", KeyClass.MATCH, 2),
    ("Yo+So", KeyClass.MATCH, 2), ("F1+L4+YM", KeyClass.MATCH, 1), ("SWp+So", KeyClass.MATCH, 2),
    ("SW+YM", KeyClass.MATCH, 2), ("F+Dc", KeyClass.MATCH, 2), ("SWp+YD", KeyClass.MATCH, 2),
    ("L4+S", KeyClass.MATCH, 2), ("F3+Lk+MD", KeyClass.MATCH, 2), ("Ls+Dc", KeyClass.MATCH, 1),
    ("P", KeyClass.MATCH, 2),
)  # fmt: skip

# The 24 single field codes of a detailed lookup (PROTOCOL.md §3): given name, surname, birth date, last
# four, certificate, middle name and initial, generation suffix, sex. No per-digit tests: they would turn
# 10^4 guesses of the last four into 40 (§5 "Second, confirming round").
_CODES = "F Fc Fp F3 Fo L Lp Ls L4 Lk Lo D Dc YM YD MD Y S So P M M1 X G"


def _match_labels() -> tuple[Label, ...]:
    slots = {key_class: itertools.count() for key_class in KeyClass}
    return tuple(
        Label(name, key_class, tuple(name.split("+")), position, next(slots[key_class]), weight)
        for position, (name, key_class, weight) in enumerate(_R16)
    )


MATCH_LABELS: tuple[Label, ...] = _match_labels()
CODE_LABELS: tuple[Label, ...] = tuple(
    Label(name, KeyClass.CODE, (name,), position, position, 0) for position, name in enumerate(_CODES.split())
)
# What an index publishes, and what a blob holds.
ENTRY_LABELS: tuple[Label, ...] = tuple(label for label in MATCH_LABELS if label.weight > 0)
BLOB_LABELS: tuple[Label, ...] = tuple(label for label in MATCH_LABELS if label.weight == 0)
# Bit i of a presence bitmap (value 1 << i) is label i of this list.
TAG_LABELS: tuple[Label, ...] = CODE_LABELS + BLOB_LABELS

CLASS_LABELS: Mapping[KeyClass, tuple[Label, ...]] = {
    key_class: tuple(label for label in MATCH_LABELS + CODE_LABELS if label.key_class is key_class)
    for key_class in KeyClass
}
SHAPE_CLASSES: Mapping[LookupShape, tuple[KeyClass, ...]] = {
    LookupShape.SCREENING: (KeyClass.WEAK, KeyClass.MATCH),
    LookupShape.DETAILED: (KeyClass.WEAK, KeyClass.MATCH, KeyClass.CODE),
}
# Slots of a class: 4, 12 and 24.
CLASS_SLOTS: Mapping[KeyClass, int] = {key_class: len(labels) for key_class, labels in CLASS_LABELS.items()}


def gate_weight(labels: Iterable[Label]) -> int:
    """Sum of the gate weights of the distinct labels hit: variants of one label count once."""
    return sum(label.weight for label in set(labels))


# --- input octets ------------------------------------------------------------------------------------


def octets(label_name: str, values: Sequence[str]) -> bytes:
    """The OPRF input of a label and its code values.

    u8 scheme version ‖ u8 length ‖ label ‖ u8 count ‖ (u16 length ‖ UTF-8 value)*. Labels are `K:` and a
    match key's name, `C:` and a field code's name, or `filler`. Raises LimitExceeded beyond those widths.
    """
    return _opening(label_name, len(values)) + b"".join(map(framed, values))


def _opening(label_name: str, count: int) -> bytes:
    """What an input begins with, up to its values."""
    label = label_name.encode("utf-8")
    if len(label) > 0xFF or count > 0xFF:
        raise LimitExceeded("A label or a count is too long for a match key.")
    return bytes([SCHEME_VERSION, len(label)]) + label + bytes([count])


def filler_input(seed: bytes, key_class: KeyClass, position: int) -> bytes:
    """The input that fills slot `position` (from 0) of a class when no key stands there (PROTOCOL.md §3)."""
    return octets("filler", (seed.hex(), key_class.letter, str(position)))


# --- the inputs of a label ---------------------------------------------------------------------------


def _inputs(label: Label, codes: PersonCodes) -> list[bytes]:
    """Inputs of `label`, one for each combination of its codes' values; none if a code is missing."""
    opening = label.opening
    if len(label.codes) > 1:
        # No duplicates: values are distinct, and each stands behind its length.
        options = [codes[code] for code in label.codes]
        return [opening + b"".join(values) for values in itertools.product(*options)]
    # As a single code, an initial for a given name would disagree with that name: it is missing instead.
    if label.given_code and len(codes.person.first) < 2:
        return []
    return [opening + value for value in codes[label.codes[0]]]


def _surnames(person: Person) -> tuple[str, ...]:
    return tuple(name for name in (person.surname, *person.other_surnames) if name)[:MAX_SURNAMES]


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
    """Field tags of a record in the order of TAG_LABELS; `presence` has bit i set for a value of label i.

    `dropped` counts the variants that found no slot.
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


def record_keys(person: Person) -> tuple[RecordKey, ...]:
    """All keys of a record under the entry labels, in the order of ENTRY_LABELS, no duplicates.

    At most MAX_RECORD_KEYS (officers-dev: 14.1 on average, at most 56); beyond, the rarest variants go.
    """
    return _record_keys(_recorded(person, Sounds()))


def record_codes(person: Person) -> RecordCodes:
    """The field tags of a record, at most MAX_FIELD_TAGS (officers-dev: 27.7 on average, 1.9 % overflow).

    Surnames go whole, then parts, then former; roots of first and middle name before rarer forms. A presence
    bit never stands for a label all of whose tags were dropped.
    """
    return _record_codes(_recorded(person, Sounds()))


def record_inputs(person: Person, sounds: Sounds) -> tuple[tuple[RecordKey, ...], RecordCodes]:
    """`record_keys` and `record_codes`; `sounds` is shared by the records of a tick."""
    codes = _recorded(person, sounds)
    return _record_keys(codes), _record_codes(codes)


def _recorded(person: Person, sounds: Sounds) -> PersonCodes:
    return PersonCodes(person, _surnames(person), sounds, record=True)


def _record_keys(codes: PersonCodes) -> tuple[RecordKey, ...]:
    found = [_inputs(label, codes) for label in ENTRY_LABELS]
    kept = zip(ENTRY_LABELS, _kept(found, MAX_RECORD_KEYS), strict=True)
    return tuple([RecordKey(label, value) for label, values in kept for value in values])


def _record_codes(person_codes: PersonCodes) -> RecordCodes:
    found = [_inputs(label, person_codes) for label in TAG_LABELS]
    kept = zip(TAG_LABELS, _kept(found, MAX_FIELD_TAGS), strict=True)
    codes = tuple([RecordCode(label, value) for label, values in kept for value in values])
    return RecordCodes(
        codes=codes,
        presence=sum([1 << index for index, values in enumerate(found) if values]),
        dropped=sum(map(len, found)) - len(codes),
    )


# --- the asker's side --------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Slot:
    """One element of a lookup: `position` counts from 0 within its class; `label` is None for a filler."""

    key_class: KeyClass
    position: int
    label: Label | None
    input: bytes

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

    def of_class(self, key_class: KeyClass) -> tuple[Slot, ...]:
        """The slots of one class, by position."""
        return tuple(slot for slot in self.slots if slot.key_class is key_class)


_Asked = tuple[Label, bytes]


def _arrange(person: Person, key_class: KeyClass, sounds: Sounds) -> Iterator[dict[int, _Asked]]:
    """Per plan, which key stands in which slot of a class (§6).

    Plan 0 holds the whole surname's keys, each in its own label's slot. The alternative surnames' keys,
    surname by surname in list order, take the slots left free there, then further plans from slot 0.
    """
    labels = CLASS_LABELS[key_class]
    own: dict[int, _Asked] = {}
    codes = PersonCodes(person, [person.surname] if person.surname else [], sounds, record=False)
    for label in labels:
        for value in _inputs(label, codes):
            own[label.slot] = (label, value)
    asked = {value for _label, value in own.values()}
    waiting: list[_Asked] = []
    for surname in _surnames(person):
        codes = PersonCodes(person, [surname], sounds, record=False)
        for label in labels:
            for value in _inputs(label, codes):
                if value not in asked:
                    asked.add(value)
                    waiting.append((label, value))
    free = [position for position in range(len(labels)) if position not in own]
    while True:
        own.update(zip(free, waiting, strict=False))
        yield own
        waiting = waiting[len(free) :]
        if not waiting:
            return
        own, free = {}, list(range(len(labels)))


def plan_lookup(person: Person, shape: LookupShape, seed: bytes) -> tuple[LookupPlan, ...]:
    """The lookups that ask for `person`: one, or up to MAX_PLANS for a person with several surnames.

    Each has exactly 16 slots, or 40. `seed` is 32 random octets, fresh for each call and never sent: it
    makes the fillers. The plans depend on nothing else, so an audit recomputes them. A further plan is to
    be sent after a random delay (PROTOCOL.md §3). Raises LimitExceeded for a seed of another length.
    """
    if len(seed) != SEED_BYTES:
        raise LimitExceeded(f"A lookup seed has {SEED_BYTES} octets, got {len(seed)}.")
    classes, sounds = SHAPE_CLASSES[shape], Sounds()
    arranged = {key_class: list(_arrange(person, key_class, sounds)) for key_class in classes}
    needed = max(len(plans) for plans in arranged.values())
    return tuple(
        LookupPlan(
            shape=shape,
            number=number,
            slots=tuple(
                Slot(
                    key_class, position, *keys.get(position, (None, filler_input(seed, key_class, position)))
                )
                for key_class in classes
                for keys in [arranged[key_class][number] if number < len(arranged[key_class]) else {}]
                for position in range(CLASS_SLOTS[key_class])
            ),
            incomplete=needed > MAX_PLANS,
        )
        for number in range(min(needed, MAX_PLANS))
    )


def check_plan(
    person: Person, shape: LookupShape, seed: bytes, inputs: Sequence[bytes], number: int = 0
) -> LookupPlan:
    """Check that `inputs` are those that the rules give for plan `number` of `person`; returns that plan.

    For audits by opening (PROTOCOL.md §4): every slot must hold that person's key, where the rules put it,
    or that slot's filler. Raises CommitmentMismatch naming the first slot that differs, never a value.
    """
    plans = plan_lookup(person, shape, seed)
    if not 0 <= number < len(plans):
        raise CommitmentMismatch(f"This person needs {len(plans)} lookups; there is no lookup {number}.")
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
