"""What agreeing and differing fields say: an explanation and a verdict for the asker's screen.

Rules of this file (MATCHING.md §5 and §7):
- a verdict is advice to the person who reviews a candidate; the owner confirms identity (RECORDS.md §6);
- three-valued: what is missing on either side is neither agreement nor disagreement (§5, §7 trap 5);
- evidence adds up once a *field*: the codes of one field are nested, so that adding them would count one
  fact several times (§5 "Fellegi-Sunter addition over-counts");
- conflicts go before weights: a twin, a junior or a namesake is never asserted, however much agrees
  (§7 trap 4), and the conflict is the first reason shown;
- the weights are a documented start, not a trained scorer: no name frequencies, no calibration claim.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from candor_proto.matchkeys import MATCH_LABELS, TAG_LABELS, Label

WEIGHTS_VERSION = 1

# log2(1/N) for the 500,000 records of a large federation (§5 "Prior"): N is every record a lookup reaches.
PRIOR_BITS = -18.9
# log2(.95/.05): the "assert" point of §5 "Thresholds".
ASSERT_BITS = 4.25


class Outcome(Enum):
    """How one field code of asker and record compare."""

    AGREE = "agree"
    DISAGREE = "disagree"
    NOT_KNOWN = "not known"


class Verdict(Enum):
    """What the evidence suggests to the person who reviews a candidate."""

    SAME_PERSON_LIKELY = "same person likely"
    REVIEW = "review"
    DIFFERENT_PERSON = "different person"


@dataclass(frozen=True)
class FieldWeights:
    """Weights in bits of one field: `agree` by code, strongest first; `differ` when no known code agrees.

    Agreement is log2(m/u) with u = 10^-(digits of entropy) of §3's table and m measured on officers-dev
    (share of true pairs that agree, both sides present); `differ` is log2((1-m)/(1-u)) likewise.
    """

    words: str
    agree: Mapping[str, float]
    differ: float


FIELDS: tuple[FieldWeights, ...] = (
    # m: F .77, Fo .78, Fc .88, Fp .92, F3 .87; entropies 2.1, 2.1, 2.0, 1.9, 1.7 digits.
    FieldWeights("given name", {"F": 6.6, "Fo": 6.6, "Fc": 6.5, "Fp": 6.2, "F3": 5.4}, -3.6),
    # m: L .885, Lo .90, Lk .92, Lp .92, L4 .92, Ls .92; entropies 3.2, 3.2, 3.0, 2.9, 2.8, 2.6 digits.
    FieldWeights("surname", {"L": 10.5, "Lo": 10.5, "Lk": 9.8, "Lp": 9.5, "L4": 9.2, "Ls": 8.5}, -3.7),
    # m: D .95, Dc .96, YD .96, YM .965, MD .96, Y .99; entropies 4.2, 3.9, 3.0, 2.7, 2.5, 1.6 digits.
    FieldWeights("birth date", {"D": 13.9, "Dc": 12.9, "YD": 9.9, "YM": 8.9, "MD": 8.2, "Y": 5.3}, -6.4),
    # m: S .98, So .99; entropies 4 and 3.2 digits. (u of So measured is 2^-9.)
    FieldWeights("last four of the SSN", {"S": 13.3, "So": 9.0}, -6.5),
    # m .70: officers who change state get a new number, so a difference says little (§7 trap 7). 6 digits.
    FieldWeights("certification number", {"P": 19.4}, -1.7),
    # m .975 both; u measured: M .0098, M1 .075.
    FieldWeights("middle name", {"M": 6.6, "M1": 3.7}, -5.2),
    # Few pairs carry a suffix (81 on officers-dev, none differs): the penalty is capped, not 12 bits.
    FieldWeights("generation suffix", {"X": 1.0}, -4.0),
    # m 1.0 on officers-dev, which has no wrong entries of sex; capped likewise.
    FieldWeights("sex", {"G": 0.5}, -4.0),
)

# What a match key that was hit says of single codes, for lookups that ask none (screening). Codes that no
# field weighs (initials) say nothing; of names that may be exchanged the sounds count, of a date in any
# order month and day.
_IMPLIED: Mapping[str, tuple[str, ...]] = {"SW": ("F", "L"), "SWp": ("Fp", "Lp"), "Yo": ("MD",)}

# Words for the reviewer, one for each match key (no values, only kinds of evidence).
_KEY_WORDS: Mapping[str, str] = {
    "L1+Dc": "surname initial and birth date",
    "D+S": "birth date and last four",
    "Y+S": "birth year and last four",
    "F3+S": "start of the given name and last four",
    "SWp+MD": "sound of both names, month and day of birth",
    "Ls+S": "sound of the surname and last four",
    "Yo+So": "birth date and last four, digits in any order",
    "F1+L4+YM": "initial, start of the surname, year and month of birth",
    "SWp+So": "sound of both names and last four in any order",
    "SW+YM": "both names, year and month of birth",
    "F+Dc": "given name and birth date",
    "SWp+YD": "sound of both names, year and day of birth",
    "L4+S": "start of the surname and last four",
    "F3+Lk+MD": "start of the given name, consonants of the surname, month and day of birth",
    "Ls+Dc": "sound of the surname and birth date",
    "P": "certification number",
}


@dataclass(frozen=True)
class Explanation:
    """A verdict with its reasons in plain words, conflicts first; no identity values.

    `bits` is prior plus evidence (log2 of the odds): for ordering, and for `probability`.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    agreeing: tuple[str, ...]
    differing: tuple[str, ...]
    not_known: tuple[str, ...]
    bits: float


def probability(explanation: Explanation) -> float:
    """The probability, 0 to 1, that its odds stand for: `bits` are log2 of the odds at PRIOR_BITS.

    Uncalibrated: weights and prior are documented, not fitted, and fields count as independent, so that
    .95 here is not yet "right 95 times in 100" (the matching work brings the reliability table). Conflicts
    are not in it: a twin can score high, and `verdict` comes first.
    """
    # Beyond 60 bits a float is 0 or 1 anyway, and 2**bits must not overflow.
    odds = math.exp2(min(max(explanation.bits, -60.0), 60.0))
    return odds / (1.0 + odds)


def tag_outcomes(asked: Iterable[Label], matched: Collection[Label], presence: int) -> dict[str, Outcome]:
    """Outcome by name of each label of TAG_LABELS.

    `asked` are the labels of the slots that are not fillers, `matched` those of which any value met a field
    tag, `presence` the record's bitmap (bit i is TAG_LABELS[i]).
    """
    known = set(asked)
    outcomes: dict[str, Outcome] = {}
    for bit, label in enumerate(TAG_LABELS):
        if label not in known or not presence >> bit & 1:
            outcomes[label.name] = Outcome.NOT_KNOWN
        else:
            outcomes[label.name] = Outcome.AGREE if label in matched else Outcome.DISAGREE
    return outcomes


@dataclass(frozen=True)
class _Evidence:
    """Outcomes by code, with the questions that the conflict rules ask."""

    outcomes: Mapping[str, Outcome]

    def agrees(self, *codes: str) -> bool:
        """Whether any of `codes` agrees."""
        return any(self.outcomes.get(code) is Outcome.AGREE for code in codes)

    def differs(self, *codes: str) -> bool:
        """Whether at least one of `codes` is known and none agrees."""
        return not self.agrees(*codes) and any(self.outcomes.get(code) is Outcome.DISAGREE for code in codes)

    def field(self, field: FieldWeights) -> tuple[Outcome, float]:
        """Outcome and bits of one field: its strongest agreeing code, or its penalty, or nothing."""
        for code, bits in field.agree.items():
            if self.agrees(code):
                return Outcome.AGREE, bits
        if self.differs(*field.agree):
            return Outcome.DISAGREE, field.differ
        return Outcome.NOT_KNOWN, 0.0


_Conflict = tuple[Verdict, str]


def _conflicts(evidence: _Evidence, same_post_state: bool | None) -> list[_Conflict]:
    """Every conflict that keeps a candidate from being asserted, those that exclude it first."""
    found: list[_Conflict] = []
    agrees, differs = evidence.agrees, evidence.differs
    date = agrees("D", "Dc")
    date_parts = agrees("D", "Dc", "YM", "YD", "MD")
    last_four_differ = differs("S", "So")
    different, review = Verdict.DIFFERENT_PERSON, Verdict.REVIEW

    if differs("F", "Fc", "Fp"):
        # The same start, or the same letters in another order, is more often a slip than a sibling.
        slip = agrees("F3", "Fo")
        where = " at the same birth date: a twin or sibling?" if date else ": another person?"
        if last_four_differ:
            found.append(
                (review if slip else different, f"different given name and different last four{where}")
            )
        elif agrees("S"):
            found.append((review, "different given name, though the last four agree: names exchanged?"))
        else:
            found.append((review, f"different given name{where}"))
    elif last_four_differ:
        if differs("D", "Dc") and not date_parts:
            found.append(
                (
                    different,
                    "same name, but different birth date and last four: a namesake, or father and son?",
                )
            )
        else:
            found.append((review, "different last four"))
    if differs("X"):
        if differs("D", "Dc") or last_four_differ:
            found.append((different, "different generation suffix: father and son?"))
        else:
            found.append((review, "different generation suffix: father and son, or a wrong entry?"))
    if differs("P"):
        if same_post_state:
            found.append((different, "different certification number of the same state"))
        elif not agrees("S"):
            found.append((review, "different certification number: another state, or another person?"))
    if differs("D", "Dc") and not (date_parts and agrees("S", "P")):
        # A namesake of nearly that age passes on names and parts of the date alone.
        found.append((review, "different birth date: a namesake?"))
    if differs("G"):
        found.append((review, "different sex"))
    if differs("M1") and not agrees("S", "P"):
        found.append((review, "different middle initial"))
    if agrees("P"):
        # Nobody else has that number: a person must look at what contradicts it.
        found = [(review, reason) for _verdict, reason in found]
    return sorted(found, key=lambda conflict: conflict[0] is review)


def describe_agreement(
    outcomes: Mapping[str, Outcome],
    labels_hit: Iterable[Label] = (),
    *,
    same_post_state: bool | None = None,
) -> Explanation:
    """What a candidate's field outcomes (by code name, see `tag_outcomes`) and match keys suggest.

    Without any known field (a screening lookup) the verdict is REVIEW, the reasons name the keys hit, and
    the bits are those of the fields in which these keys agree, each once.
    `same_post_state` says whether both certificates are of one state, where that is known.
    """
    labels = tuple(labels_hit)
    evidence = _Evidence(outcomes)
    by_outcome: dict[Outcome, list[str]] = {outcome: [] for outcome in Outcome}
    bits = PRIOR_BITS
    for field in FIELDS:
        outcome, weight = evidence.field(field)
        by_outcome[outcome].append(field.words)
        bits += weight
    conflicts = _conflicts(evidence, same_post_state)
    reasons = [reason for _verdict, reason in conflicts]
    verdict = Verdict.REVIEW
    if len(by_outcome[Outcome.NOT_KNOWN]) == len(FIELDS):
        bits = _bits_of_keys(labels)
        hit = {label.name for label in labels} | {code for code in outcomes if evidence.agrees(code)}
        reasons.append("candidate on match keys only; a detailed lookup compares the fields")
        reasons += [f"agrees in {_KEY_WORDS[label.name]}" for label in MATCH_LABELS if label.name in hit]
    elif conflicts:
        verdict = conflicts[0][0]
    elif not _given_name_evidence(evidence):
        reasons.append("the given name is not confirmed")
    elif not evidence.agrees("D", "Dc", "S", "P"):
        reasons.append("neither the birth date nor an identifier is confirmed")
    elif bits < ASSERT_BITS:
        reasons.append("too little agrees to be sure")
    else:
        verdict = Verdict.SAME_PERSON_LIKELY
    reasons += [
        # "In part" is a sound, a beginning, a nickname's root or a piece of a date, not the value as filed.
        f"{field.words} agrees" + ("" if evidence.agrees(next(iter(field.agree))) else " in part")
        for field in FIELDS
        if field.words in by_outcome[Outcome.AGREE]
    ]
    return Explanation(
        verdict=verdict,
        reasons=tuple(reasons),
        agreeing=tuple(by_outcome[Outcome.AGREE]),
        differing=tuple(by_outcome[Outcome.DISAGREE]),
        not_known=tuple(by_outcome[Outcome.NOT_KNOWN]),
        bits=round(bits, 1),
    )


def _bits_of_keys(labels: Iterable[Label]) -> float:
    """Prior and evidence of the match keys alone: what each says of the fields, every field once."""
    codes = {part for label in labels for code in label.codes for part in _IMPLIED.get(code, (code,))}
    implied = _Evidence(dict.fromkeys(codes, Outcome.AGREE))
    return PRIOR_BITS + sum(implied.field(field)[1] for field in FIELDS)


def _given_name_evidence(evidence: _Evidence) -> bool:
    """The very name; or a near form if an identifier agrees as well (twins Joan and Jean sound alike)."""
    return evidence.agrees("F") or (evidence.agrees("Fc", "Fp", "F3", "Fo") and evidence.agrees("S", "P"))
