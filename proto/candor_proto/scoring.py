"""From the evidence about a candidate to its probability, band and explanation (docs/matching.md §6).

Rules of this file:
- the probability is a sum of weights in hundredths of a bit, from the table in `weights`: anybody can add it
  up again by hand. The table is trained, this module is not;
- agreement never lowers a probability and disagreement never raises one (a test goes through the table);
- conflicts cap the band: a twin, a junior or a namesake is never shown as strong, however much agrees
  (MATCHING.md §7 trap 4), and a conflict is the first reason shown;
- a band is advice to the person who reviews a candidate; the owner confirms identity (RECORDS.md §6).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from candor_proto import weights
from candor_proto.evidence import Evidence as Evidence
from candor_proto.evidence import NameRarity as NameRarity
from candor_proto.evidence import Outcome as Outcome
from candor_proto.evidence import features
from candor_proto.evidence import tag_outcomes as tag_outcomes

WEIGHTS_VERSION = weights.VERSION
# Records that a lookup reaches, where nobody says: those of the populations that it was learnt from.
REFERENCE_POPULATION = weights.REFERENCE_POPULATION
MAX_POPULATION = 100_000_000

# The points between the bands. Fixed before a test (MATCHING.md §5 "Thresholds"): a work list holds what is
# more likely than not; strong is what is wrong at most once in twenty as far as the probability goes.
WORK_LIST = 0.5
STRONG = 0.95


class Band(Enum):
    """What the evidence suggests to the person who reviews a candidate."""

    STRONG = "strong"
    REVIEW = "review"
    BELOW = "below threshold"


# Measured on populations that nobody had trained on (docs/matching.md §6.4).
BAND_MEANING: Mapping[Band, str] = {
    Band.STRONG: "in tests fewer than 1 in 100 of these were somebody else",
    Band.REVIEW: "more likely this person than not; compare before acting",
    Band.BELOW: "more likely somebody else",
}


@dataclass(frozen=True)
class _Field:
    """A field for people: its words, and its codes with the value as filed first."""

    words: str
    codes: tuple[str, ...]


_FIELDS: tuple[_Field, ...] = (
    _Field("given name", ("F", "Fc", "Fp", "Fo", "Fz")),
    _Field("surname", ("L", "Ls", "Lz")),
    _Field("birth date", ("D", "Yo", "YM", "YD", "MD", "Y")),
    _Field("last four of the SSN", ("S",)),
    _Field("certification number", ("P",)),
    _Field("middle name", ("M", "M1")),
    _Field("generation suffix", ("X",)),
    _Field("sex", ("G",)),
)

# Words for codes, in the order in which they are said of a match key.
_CODE_WORDS: Mapping[str, str] = {
    "F": "given name", "Fc": "given name or its long form", "Fp": "sound of the given name",
    "F3": "start of the given name", "Fz": "end of the given name", "F1": "initial of the given name",
    "L": "surname", "L4": "start of the surname", "L3": "start of the surname", "Lz": "end of the surname",
    "Lk": "consonants of the surname", "Ls": "sound of the surname", "Lp": "sound of the surname",
    "L1": "initial of the surname", "Lo": "letters of the surname", "Fo": "letters of the given name",
    "SW": "both names", "SWp": "sound of both names", "SW3": "start of both names", "SW1": "both initials",
    "D": "birth date", "Dc": "birth date", "Yo": "birth date",
    "YM": "year and month of birth", "YD": "year and day of birth", "MD": "month and day of birth",
    "Y": "birth year", "S": "last four", "So": "digits of the last four", "P": "certification number",
}  # fmt: skip
# Codes of match keys that speak for the given name beyond an initial, and of those that hold an identifier.
_GIVEN_EVIDENCE = frozenset({"F", "Fc", "Fp", "F3", "Fz", "SW", "SWp", "SW3"})
_LAST_FOUR = frozenset({"S", "So"})
_IDENTIFIERS = frozenset({"S", "P"})
_WHOLE_DATE = frozenset({"D", "Dc", "Yo"})


@dataclass(frozen=True)
class Explanation:
    """A band with its reasons in plain words, conflicts first; no identity values.

    `centibits` are hundredths of log2 of the odds, prior included: `probability` follows from them alone.
    """

    band: Band
    centibits: int
    reasons: tuple[str, ...]
    agreeing: tuple[str, ...]
    differing: tuple[str, ...]
    not_known: tuple[str, ...]

    @property
    def probability(self) -> float:
        """0 to 1; calibrated on generated populations (docs/matching.md §6.3), half of whose queries have a
        record. Conflicts are in it as far as the weights know them."""
        return _probability(self.centibits)

    @property
    def headline(self) -> str:
        """For example "strong, 99 %: in tests fewer than 1 in 100 of these were somebody else"."""
        return f"{self.band.value}, {_percent(self.probability)}: {BAND_MEANING[self.band]}"


def _probability(centibits: int) -> float:
    # Beyond 60 bits a float is 0 or 1 anyway, and 2**bits must not overflow.
    odds = math.exp2(min(max(centibits / 100, -60.0), 60.0))
    return odds / (1.0 + odds)


def _percent(probability: float) -> str:
    if probability > 0.99:
        return "over 99 %"
    return f"{round(probability * 100)} %" if probability >= 0.01 else "under 1 %"


def centibits(evidence: Evidence, population: int = REFERENCE_POPULATION) -> int:
    """Hundredths of log2 of the odds that the record is the asked person's.

    The sum of the table's weights of all features, the prior among them. `population` is the number of
    records that the lookup reaches: twice as many records have twice as many strangers who agree as much,
    one bit less. A feature that the table does not know counts nothing.
    """
    table = weights.DETAILED if evidence.detailed else weights.SCREENING
    size = min(max(population, 1), MAX_POPULATION)
    prior = table["prior"] - round(100 * math.log2(size / REFERENCE_POPULATION))
    return prior + sum(table.get(feature, 0) for feature in features(evidence))


def explain(evidence: Evidence, population: int = REFERENCE_POPULATION) -> Explanation:
    """What a candidate's evidence says, for the person who reviews it."""
    found = centibits(evidence, population)
    groups: dict[Outcome, list[str]] = {outcome: [] for outcome in Outcome}
    partly: set[str] = set()
    for field in _FIELDS:
        outcome = _field_outcome(evidence, field)
        groups[outcome].append(field.words)
        if outcome is Outcome.AGREE and not evidence.agrees(field.codes[0]):
            partly.add(field.words)
    conflicts = _conflicts(evidence) if evidence.detailed else _unconfirmed(evidence)
    agreeing = [f"{words} agrees{' in part' if words in partly else ''}" for words in groups[Outcome.AGREE]]
    if not evidence.detailed:
        agreeing = [
            "candidate on match keys only; a detailed lookup compares the fields",
            *(f"agrees in {words}" for words in _key_words(evidence.hit)),
        ]
    return Explanation(
        _band(_probability(found), contradicted=bool(conflicts)),
        found,
        (*conflicts, *agreeing),
        tuple(groups[Outcome.AGREE]),
        tuple(groups[Outcome.DISAGREE]),
        tuple(groups[Outcome.NOT_KNOWN]),
    )


def _band(probability: float, *, contradicted: bool) -> Band:
    if probability < WORK_LIST:
        return Band.BELOW
    return Band.STRONG if probability >= STRONG and not contradicted else Band.REVIEW


def _field_outcome(evidence: Evidence, field: _Field) -> Outcome:
    if evidence.agrees(*field.codes):
        return Outcome.AGREE
    return Outcome.DISAGREE if evidence.differs(*field.codes) else Outcome.NOT_KNOWN


def _key_words(keys: Iterable[str]) -> list[str]:
    """What the match keys hit say, each kind of evidence once, in the order of _CODE_WORDS."""
    codes = {code for key in keys for code in key.split("+")}
    return list(dict.fromkeys(words for code, words in _CODE_WORDS.items() if code in codes))


# --- what keeps a candidate from being strong ----------------------------------------------------------


def _conflicts(evidence: Evidence) -> list[str]:
    """What contradicts, the gravest first, and what is not confirmed, in words. None of it may be strong."""
    agrees, differs = evidence.agrees, evidence.differs
    same_date = agrees("D")
    exchanged = agrees("SW") and differs("F") and differs("L")
    found = []
    if differs("P") and agrees("PS"):
        found.append("different certification number of the same state")
    if differs("F", "Fc", "Fp") and not exchanged:
        if same_date:
            found.append("different given name at the same birth date: a twin or sibling?")
        else:
            found.append("different given name: another person?")
    if exchanged and not agrees("S", "P"):
        # Beside an identifier it is how a family name that stands first is filed (docs/fairness.md).
        found.append("given name and surname are exchanged: a slip, or another person?")
    if differs("X"):
        found.append("different generation suffix: father and son?")
    if differs("S"):
        found.append(
            "different last four and birth date: a namesake, or father and son?"
            if differs("D")
            else "different last four"
        )
    if differs("D") and not (agrees("S", "P") and agrees("Yo", "YM", "YD", "MD", "Y")):
        # A slip leaves a part of the date; four digits alone do not speak against a wholly other one.
        found.append("different birth date: a namesake?")
    if differs("G"):
        found.append("different sex")
    if differs("M1") and not agrees("S", "P"):
        found.append("different middle initial")
    if differs("L", "Ls", "Lz") and not exchanged and not agrees("S", "P"):
        found.append("different surname")
    if differs("P") and not agrees("PS") and not agrees("S"):
        found.append("different certification number: another state, or another person?")
    if found:
        return found
    if not (agrees("F") or exchanged or (agrees("Fc", "Fp", "Fo", "Fz") and agrees("S", "P"))):
        # The very name, or a near form beside an identifier: twins Joan and Jean sound alike.
        found.append("the given name is not confirmed")
    if not agrees("D", "S", "P"):
        found.append("neither the birth date nor an identifier is confirmed")
    return found


def _unconfirmed(evidence: Evidence) -> list[str]:
    """The same of a screening lookup, which knows only which match keys met."""
    hit = {code for key in evidence.hit for code in key.split("+")}
    asked = {code for key in evidence.asked for code in key.split("+")}
    found = []
    if asked & _LAST_FOUR and "S" not in hit:
        # The same digits in another order are those of twins with neighbouring numbers as well.
        found.append("the last four agree under no key as they stand, or are not on record")
    if not hit & _GIVEN_EVIDENCE:
        found.append("the given name is not confirmed: a twin or sibling?")
    if not hit & _IDENTIFIERS:
        found.append("no identifier is confirmed: a namesake, or father and son?")
    if not hit & _WHOLE_DATE and "P" not in hit:
        found.append("the whole birth date is not confirmed: a namesake, or father and son?")
    return found
