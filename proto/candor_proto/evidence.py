"""What an asker knows of a candidate: the evidence that a probability is made of (docs/matching.md §6).

Rules of this file:
- three-valued: what is missing on either side is neither agreement nor disagreement (MATCHING.md §5, §7.5);
- a feature is a name, so that the table of weights can be read and added up by hand;
- nothing here is a label of an evaluation, an address, or anything else but the compared fields;
- an `Evidence` holds no value of a field, only how fields compare and how common two names are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from candor_proto.name_rarity import (
    GIVEN_COMMON,
    GIVEN_VERY_COMMON,
    SURNAMES_COMMON,
    SURNAMES_VERY_COMMON,
)
from candor_proto.normalise import Person
from candor_proto.scheme import TAG_LABELS, Label


class Outcome(Enum):
    """How one field code of asker and record compare."""

    AGREE = "agree"
    DISAGREE = "disagree"
    NOT_KNOWN = "not known"


class Rarity(Enum):
    """How common a name is (candor_proto.name_rarity); a missing name is UNKNOWN."""

    VERY_COMMON = "very common"
    COMMON = "common"
    RARE = "rare"
    UNKNOWN = "not known"


def _rarity(name: str, very_common: Collection[str], common: Collection[str]) -> Rarity:
    if not name:
        return Rarity.UNKNOWN
    if name in very_common:
        return Rarity.VERY_COMMON
    return Rarity.COMMON if name in common else Rarity.RARE


@dataclass(frozen=True)
class NameRarity:
    """How common the asker's own given name and surname are: that a rare name agrees says more."""

    given: Rarity = Rarity.UNKNOWN
    surname: Rarity = Rarity.UNKNOWN

    @classmethod
    def of(cls, person: Person) -> NameRarity:
        return cls(
            _rarity(person.first, GIVEN_VERY_COMMON, GIVEN_COMMON),
            _rarity(person.surname, SURNAMES_VERY_COMMON, SURNAMES_COMMON),
        )


# Names of which nothing is known.
NOBODY = NameRarity()


@dataclass(frozen=True)
class Evidence:
    """All that the probability of a candidate depends on, besides the size of the population.

    `asked` and `hit` are names of match keys; `outcomes` how the field codes of a detailed lookup compare, by
    code, empty in a screening lookup.
    """

    asked: frozenset[str]
    hit: frozenset[str]
    outcomes: Mapping[str, Outcome]
    names: NameRarity

    @property
    def detailed(self) -> bool:
        """Whether any field could be compared."""
        return any(outcome is not Outcome.NOT_KNOWN for outcome in self.outcomes.values())

    def agrees(self, *codes: str) -> bool:
        """Whether any of `codes` agrees."""
        return any(self.outcomes.get(code) is Outcome.AGREE for code in codes)

    def differs(self, *codes: str) -> bool:
        """Whether at least one of `codes` is known and none agrees."""
        return not self.agrees(*codes) and any(self.outcomes.get(code) is Outcome.DISAGREE for code in codes)


def tag_outcomes(
    asked: Iterable[Label],
    matched: Collection[Label],
    presence: int,
    labels: Sequence[Label] = TAG_LABELS,
) -> dict[str, Outcome]:
    """Outcome by name of each of `labels`, the tag labels of a scheme.

    `asked` are the labels of the slots that are not fillers, `matched` those of which any value met a field
    tag, `presence` the record's bitmap (bit i is labels[i]).
    """
    known = set(asked)
    outcomes: dict[str, Outcome] = {}
    for bit, label in enumerate(labels):
        if label not in known or not presence >> bit & 1:
            outcomes[label.name] = Outcome.NOT_KNOWN
        else:
            outcomes[label.name] = Outcome.AGREE if label in matched else Outcome.DISAGREE
    return outcomes


def features(evidence: Evidence) -> tuple[str, ...]:
    """The names of what counts, each once, in the order of keys, names and codes.

    `L4+S hit` and `L4+S missed` for each match key asked; `given name rare`, `surname common`; and of a
    detailed lookup `F agrees`, `F differs` for each code that both sides have. A certificate of the same
    state with another number counts as `P differs within a state` besides: officers who move get another one.
    """
    found = [f"{key} {'hit' if key in evidence.hit else 'missed'}" for key in sorted(evidence.asked)]
    for words, rarity in (("given name", evidence.names.given), ("surname", evidence.names.surname)):
        if rarity is not Rarity.UNKNOWN:
            found.append(f"{words} {rarity.value}")
    if evidence.detailed:
        found += _compared(evidence.outcomes.items())
        if evidence.differs("P") and evidence.agrees("PS"):
            found.append("P differs within a state")
    return tuple(found)


def _compared(outcomes: Iterable[tuple[str, Outcome]]) -> list[str]:
    words = {Outcome.AGREE: "agrees", Outcome.DISAGREE: "differs"}
    return [f"{code} {words[outcome]}" for code, outcome in sorted(outcomes) if outcome in words]


def sign(feature: str) -> int:
    """1 if a feature may only speak for one person, -1 if only against, 0 if either way.

    The table is trained under these signs, so that agreement never lowers a probability.
    """
    if feature.endswith((" hit", " agrees")):
        return 1
    return -1 if feature.endswith((" missed", " differs", " within a state")) else 0
