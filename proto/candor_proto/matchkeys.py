"""Which fields form which key, for records and for lookups (docs/protocol.md "Match keys"; MATCHING.md §3-6).

Rules of this file:
- a key is the *input* of the blinded function; an input names scheme version, label and every value behind
  its length, so that no two labels and no two versions can collide (§3, "On the wire");
- a key exists only if every code of it does: what is missing never matches and never mismatches;
- records emit many variants, lookups few (§3 "Two sides"): variants cost nothing at the record's side;
- the list R16, its classes and its gate weights are fixed within a scheme version, for everybody (§4);
- a lookup always has exactly 4 + 12 slots, or 4 + 12 + 24: what a person lacks is filled with seeded
  fillers, which an audit recomputes, so that a filler cannot hide a guess (PROTOCOL.md §3, attack A5);
- inputs can be guessed back into names: they are redacted in every repr and stand in no exception.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from candor_proto.errors import CommitmentMismatch, LimitExceeded
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
    label = label_name.encode("utf-8")
    encoded = [value.encode("utf-8") for value in values]
    if len(label) > 0xFF or len(encoded) > 0xFF or any(len(value) > 0xFFFF for value in encoded):
        raise LimitExceeded("A label, a count or a value is too long for a match key.")
    parts = [bytes([SCHEME_VERSION, len(label)]), label, bytes([len(encoded)])]
    for value in encoded:
        parts += [len(value).to_bytes(2, "big"), value]
    return b"".join(parts)


def label_input(label: Label, values: Sequence[str]) -> bytes:
    """The input of `label` for the values of its codes, in their order."""
    return octets(f"{'C' if label.key_class is KeyClass.CODE else 'K'}:{label.name}", values)


def filler_input(seed: bytes, key_class: KeyClass, position: int) -> bytes:
    """The input that fills slot `position` (from 0) of a class when no key stands there (PROTOCOL.md §3)."""
    return octets("filler", (seed.hex(), key_class.letter, str(position)))


# --- field codes (§3) --------------------------------------------------------------------------------


def _sorted(text: str) -> str:
    return "".join(sorted(text))


def _pair(one: str, other: str) -> str:
    return "/".join(sorted((one, other))) if one and other else ""


def _joined(*parts: str) -> str:
    return "".join(parts) if all(parts) else ""


def _roots(person: Person) -> list[str]:
    """Canonical forms of first and middle name, the two roots first: where slots are short, others go."""
    first = canonical_forms(person.first)
    middle = canonical_forms(person.middle) if len(person.middle) > 1 else ()
    return [*first[:1], *middle[:1], *first[1:], *middle[1:]]


# Codes of the given name, of which the record's side emits more (§3 "Two sides"): one value when asked...
_GIVEN_ASKED: Mapping[str, Callable[[Person], Sequence[str]]] = {
    "F": lambda person: [person.first],
    "F1": lambda person: [person.first[:1]],
    "F3": lambda person: [person.first[:3]],
    "Fo": lambda person: [_sorted(person.first)],
    "Fc": lambda person: canonical_forms(person.first)[:1],
    "Fp": lambda person: [double_metaphone(form) for form in canonical_forms(person.first)[:1]],
}
# ... and on a record all canonical forms of first and middle name, and their initials.
_GIVEN_RECORDED: Mapping[str, Callable[[Person], Sequence[str]]] = {
    **_GIVEN_ASKED,
    "F1": lambda p: [name[:1] for name in (p.first, p.middle, *canonical_forms(p.first))],
    "Fc": _roots,
    "Fp": lambda person: [double_metaphone(form) for form in _roots(person)],
}
# Codes of one surname, alone or with the person's own first name.
_SURNAME_CODES: Mapping[str, Callable[[str, Person], str]] = {
    "L": lambda surname, _: surname,
    "Lp": lambda surname, _: double_metaphone(surname),
    "Ls": lambda surname, _: soundex(surname),
    "L1": lambda surname, _: surname[:1],
    "L4": lambda surname, _: surname[:4],
    "Lo": lambda surname, _: _sorted(surname),
    "Lk": lambda surname, _: consonant_skeleton(surname),
    "SW": lambda surname, person: _pair(person.first, surname),
    "SWp": lambda surname, person: _pair(
        double_metaphone("".join(canonical_forms(person.first)[:1])), double_metaphone(surname)
    ),
}
# Codes that are the same on both sides and have no variants.
_PLAIN_CODES: Mapping[str, Callable[[Person], str]] = {
    "D": lambda p: _joined(p.year, p.month, p.day),
    "Dc": lambda p: _joined(p.year, *sorted((p.month, p.day))),
    "Yo": lambda p: _joined(_sorted(p.year), p.month, p.day),
    "Y": lambda p: p.year,
    "YM": lambda p: _joined(p.year, p.month),
    "YD": lambda p: _joined(p.year, p.day),
    "MD": lambda p: _joined(p.month, p.day),
    "S": lambda p: p.ssn4,
    "So": lambda p: _sorted(p.ssn4),
    "P": lambda p: _joined(p.post_state, p.post_id),
    # A bare initial would disagree with the name it stands for; it is asked as M1.
    "M": lambda p: p.middle if len(p.middle) > 1 else "",
    "M1": lambda p: p.middle[:1],
    "X": lambda p: p.suffix,
    "G": lambda p: p.sex,
}


# Values of codes of one person that were computed already. Lives as long as the call that makes its keys:
# a cache of the process would keep names of people who were asked about.
_Memo = dict[str, Sequence[str]]


def _inputs(
    label: Label, person: Person, surnames: Sequence[str], memo: _Memo, *, record: bool
) -> Iterator[bytes]:
    """Inputs of `label`, one for each combination of its codes' values; none if a code is missing.

    `memo` belongs to this person, these surnames and this side.
    """
    given = _GIVEN_RECORDED if record else _GIVEN_ASKED
    # As a single code, an initial for a given name would disagree with that name: it is missing instead.
    if label.key_class is KeyClass.CODE and label.name in given and len(person.first) < 2:
        return
    options: list[Sequence[str]] = []
    for code in label.codes:
        if code not in memo:
            if code in _SURNAME_CODES:
                memo[code] = [_SURNAME_CODES[code](surname, person) for surname in surnames]
            else:
                memo[code] = given[code](person) if code in given else [_PLAIN_CODES[code](person)]
        options.append(memo[code])
    seen: set[tuple[str, ...]] = set()
    for values in itertools.product(*options):
        if all(values) and values not in seen:
            seen.add(values)
            yield label_input(label, values)


def _surnames(person: Person) -> tuple[str, ...]:
    return tuple(name for name in (person.surname, *person.other_surnames) if name)[:MAX_SURNAMES]


# --- the record's side -------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordKey:
    """One value of an entry label of a record: evaluated, it becomes one index entry."""

    label: Label
    input: bytes = field(repr=False)


@dataclass(frozen=True)
class RecordCode:
    """One value of a field of a record: evaluated under its label's class, it becomes one field tag."""

    label: Label
    input: bytes = field(repr=False)


@dataclass(frozen=True)
class RecordCodes:
    """Field tags of a record in the order of TAG_LABELS; `presence` has bit i set for a value of label i.

    `dropped` counts the variants that found no slot.
    """

    codes: tuple[RecordCode, ...]
    presence: int
    dropped: int


def _kept(found: Sequence[Sequence[bytes]], room: int) -> list[tuple[int, bytes]]:
    """At most `room` values as (index of their list, value): each list's first before any list's second."""
    ranked = sorted((rank, index) for index, values in enumerate(found) for rank in range(len(values)))
    return [(index, found[index][rank]) for index, rank in sorted((i, r) for r, i in ranked[:room])]


def record_keys(person: Person) -> tuple[RecordKey, ...]:
    """All keys of a record under the entry labels, in the order of ENTRY_LABELS, no duplicates.

    At most MAX_RECORD_KEYS (officers-dev: 14.1 on average, at most 56); beyond, the rarest variants go.
    """
    surnames, memo = _surnames(person), _Memo()
    found = [tuple(_inputs(label, person, surnames, memo, record=True)) for label in ENTRY_LABELS]
    return tuple(RecordKey(ENTRY_LABELS[index], value) for index, value in _kept(found, MAX_RECORD_KEYS))


def record_codes(person: Person) -> RecordCodes:
    """The field tags of a record, at most MAX_FIELD_TAGS (officers-dev: 27.7 on average, 1.9 % overflow).

    Surnames go whole, then parts, then former; roots of first and middle name before rarer forms. A presence
    bit never stands for a label all of whose tags were dropped.
    """
    surnames, memo = _surnames(person), _Memo()
    found = [tuple(_inputs(label, person, surnames, memo, record=True)) for label in TAG_LABELS]
    kept = _kept(found, MAX_FIELD_TAGS)
    return RecordCodes(
        codes=tuple(RecordCode(TAG_LABELS[index], value) for index, value in kept),
        presence=sum(1 << index for index, values in enumerate(found) if values),
        dropped=sum(map(len, found)) - len(kept),
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


def _arrange(person: Person, key_class: KeyClass) -> Iterator[dict[int, _Asked]]:
    """Per plan, which key stands in which slot of a class (§6).

    Plan 0 holds the whole surname's keys, each in its own label's slot. The alternative surnames' keys,
    surname by surname in list order, take the slots left free there, then further plans from slot 0.
    """
    labels = CLASS_LABELS[key_class]
    own: dict[int, _Asked] = {}
    memo = _Memo()
    for label in labels:
        for value in _inputs(label, person, [person.surname] if person.surname else [], memo, record=False):
            own[label.slot] = (label, value)
    asked = {value for _label, value in own.values()}
    waiting: list[_Asked] = []
    for surname in _surnames(person):
        memo = _Memo()
        for label in labels:
            for value in _inputs(label, person, [surname], memo, record=False):
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
    classes = SHAPE_CLASSES[shape]
    arranged = {key_class: list(_arrange(person, key_class)) for key_class in classes}
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
