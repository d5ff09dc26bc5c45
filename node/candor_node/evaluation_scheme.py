"""The one place where an evaluation meets the scheme: normal forms, keys, gate, field codes and scores.

Rules of this file:
- everything here is the product's own function under the product's own constants; a rule, key or weight
  that changes there changes here by itself, or in this file alone;
- what is compared elsewhere through the curve is compared here by its input: equal inputs of one label have
  equal outputs, and others do not (`evaluation_curve` shows it);
- an `Evidence` holds whatever a score may depend on, so that another scorer needs no other evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from candor_node.evaluation_files import Row
from candor_proto.candidates import Findings, NodeIndex, Outputs, find_hits
from candor_proto.ids import BlobId, FederationName, KeyClass, LookupShape
from candor_proto.matchkeys import (
    CLASS_SLOTS,
    GATE_THRESHOLD,
    MATCH_LABELS,
    SEED_BYTES,
    SHAPE_CLASSES,
    TAG_LABELS,
    Label,
    LookupPlan,
    gate_weight,
    plan_lookup,
    record_codes,
    record_keys,
)
from candor_proto.name_tables import FREQUENCY
from candor_proto.normalise import SCHEME_VERSION, Particulars, Person, normalise
from candor_proto.result import Hit
from candor_proto.scoring import STRONG as ASSERT
from candor_proto.scoring import (
    WEIGHTS_VERSION,
    WORK_LIST,
    Band,
    Explanation,
    NameRarity,
    Outcome,
    explain,
    tag_outcomes,
)
from candor_proto.scoring import Evidence as Compared
from candor_proto.sealed_index import Label as BlobLabel
from candor_proto.sealed_index import field_tag
from candor_records.content import IDENTITY_FIELDS

__all__ = ["ASSERT", "GATE_THRESHOLD", "SCHEME_VERSION", "WEIGHTS_VERSION", "WORK_LIST"]

_POSITIONS: Mapping[Label, int] = {label: position for position, label in enumerate(MATCH_LABELS)}
_TAGS = frozenset(TAG_LABELS)
_LETTERS = {Outcome.AGREE: "+", Outcome.DISAGREE: "-", Outcome.NOT_KNOWN: "?"}
_OUTCOMES = {letter: outcome for outcome, letter in _LETTERS.items()}
# Fillers meet nothing: whatever makes them is as good.
_SEED = bytes(SEED_BYTES)


def particulars(row: Row) -> Particulars:
    return Particulars(**dict(zip(IDENTITY_FIELDS, row, strict=True)))


def person(row: Row) -> Person:
    """The normal forms of a row. Raises InputInvalid for a field that is too long."""
    return normalise(particulars(row))


def classes(shape: LookupShape) -> tuple[KeyClass, ...]:
    """The classes of a lookup's elements, in their order."""
    return SHAPE_CLASSES[shape]


def elements(shape: LookupShape) -> int:
    """The size of one lookup: 16 or 40."""
    return sum(CLASS_SLOTS[key_class] for key_class in classes(shape))


def plans(row: Row, shape: LookupShape, seed: bytes = _SEED) -> tuple[LookupPlan, ...]:
    """The lookups that ask for a person, all of which count."""
    return plan_lookup(person(row), shape, seed)


# --- keys and gate -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What the lookups for one person ask: inputs of match keys with the bit of their label, and inputs of
    fields with their label's place in TAG_LABELS."""

    keys: tuple[tuple[bytes, int], ...] = field(repr=False)
    tags: tuple[tuple[bytes, int], ...] = field(repr=False)
    lookups: int
    incomplete: bool


def ask(row: Row, shape: LookupShape) -> Asked:
    """All lookups for the person in `row`, without their fillers."""
    planned = plans(row, shape)
    slots = [(slot.input, slot.label) for plan in planned for slot in plan.slots if slot.label is not None]
    return Asked(
        keys=tuple((value, 1 << _POSITIONS[label]) for value, label in slots if label in _POSITIONS),
        tags=tuple((value, TAG_LABELS.index(label)) for value, label in slots if label in _TAGS),
        lookups=len(planned),
        incomplete=planned[0].incomplete,
    )


def published(row: Row) -> Iterable[bytes]:
    """The inputs under which a record stands in its owner's index."""
    return [key.input for key in record_keys(person(row))]


def labels(bits: int) -> tuple[Label, ...]:
    """The match keys that `bits` stand for, in the order of the list."""
    return tuple(label for position, label in enumerate(MATCH_LABELS) if bits >> position & 1)


@lru_cache(maxsize=65_536)
def opens(bits: int) -> bool:
    """Whether the gate opens for the match keys hit; variants of one label count once."""
    return gate_weight(labels(bits)) >= GATE_THRESHOLD


# --- fields ------------------------------------------------------------------------------------------


def compare(asked: Asked, row: Row) -> str:
    """How the fields asked and the field tags of a record compare: a letter for each of TAG_LABELS."""
    own = record_codes(person(row))
    values = {code.input for code in own.codes}
    known = {TAG_LABELS[place] for _, place in asked.tags}
    met = {TAG_LABELS[place] for value, place in asked.tags if value in values}
    return _write(tag_outcomes(known, met, own.presence))


def compare_tags(outputs: Outputs, blob: BlobLabel, blob_id: BlobId) -> str:
    """What `compare` gives, from the outputs of the lookups and the tags of an opened blob."""
    tagged = [(slot.label, output) for slot, output in outputs if slot.label is not None]
    tagged = [(label, output) for label, output in tagged if label in _TAGS]
    met = {label for label, output in tagged if blob.holds(field_tag(output, blob_id))}
    return _write(tag_outcomes([label for label, _ in tagged], met, blob.presence))


def _write(outcomes: Mapping[str, Outcome]) -> str:
    return "".join([_LETTERS[outcomes[label.name]] for label in TAG_LABELS])


def _read(letters: str) -> dict[str, Outcome]:
    return {label.name: _OUTCOMES[letter] for label, letter in zip(TAG_LABELS, letters, strict=True)}


# --- scores ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """All that the score of one pair may depend on; nothing of it is a label of the evaluation.

    `asked` and `hit` are bits of match keys, `outcomes` letters (see `compare`); `asker` is the person asked
    about, whose own name frequencies and missing fields the asker knows; `population` is how many records
    the lookup reaches.
    """

    asked: int
    hit: int
    outcomes: str
    asker: Person = field(repr=False)
    shape: LookupShape
    population: int


def evidence(found: Evidence) -> Compared:
    """The same as the product's scorer takes it."""
    return Compared(
        frozenset(label.name for label in labels(found.asked)),
        frozenset(label.name for label in labels(found.hit)),
        _read(found.outcomes) if found.shape is LookupShape.DETAILED else {},
        NameRarity.of(found.asker),
    )


@dataclass(frozen=True)
class Score:
    """What the product says of a candidate."""

    probability: float
    explanation: Explanation

    @property
    def strong(self) -> bool:
        """Asserted: strong evidence and no conflict."""
        return self.explanation.band is Band.STRONG

    @property
    def set_aside(self) -> bool:
        return self.explanation.band is Band.BELOW


def score(found: Evidence) -> Score:
    """As `candidates.find_hits` scores what it opened."""
    explanation = explain(evidence(found), found.population)
    return Score(explanation.probability, explanation)


def find(
    outputs: Outputs, index: NodeIndex, federation: FederationName, today: date, population: int
) -> Findings:
    """The hits of the real path, which scores them itself."""
    return find_hits(outputs, index, federation, today, population)


def score_of(hit: Hit) -> Score:
    """The score that a hit of the real path carries."""
    return Score(hit.explanation.probability, hit.explanation)


def given_name_is_listed(asker: Person) -> bool:
    """Whether the census table knows the given name."""
    return asker.first in FREQUENCY
