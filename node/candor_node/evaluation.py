"""What a matching run is worth: figures over pairs, as design/MATCHING.md §1 defines them.

Rules of this file:
- pure functions of scored pairs and counts; what is a pair, a score or a group comes from elsewhere;
- nothing is one to one: a query may have several records, and each answered pair counts by itself;
- a true pair that no key hits, or that the gate does not open, has no score and counts as a miss;
- pairs of equal probability are answered together or not at all;
- the order of pairs changes nothing, not even a last digit: sums are exact (`math.fsum`);
- a share of nothing is None: no precision without an answer, no recall without a true pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

BINS = 10


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A pair behind the gate. `strong`: the product asserts it, which it never does against a conflict."""

    query: str
    record: str
    probability: float
    strong: bool
    true: bool


@dataclass(frozen=True)
class Totals:
    """What shares are taken of: true pairs, and queries without any record."""

    true_pairs: int
    non_members: int


@dataclass(frozen=True)
class Figures:
    """An answer's precision, recall, F1, and the share of non-members that receive any answer."""

    precision: float | None
    recall: float | None
    f1: float | None
    non_member_false_positive_rate: float | None


@dataclass(frozen=True)
class Tally:
    """Counts of an answer, from which its figures follow; tallies of groups add up."""

    answered: int = 0
    right: int = 0
    non_members_answered: int = 0

    def figures(self, totals: Totals) -> Figures:
        found = self.answered + totals.true_pairs
        return Figures(
            precision=share(self.right, self.answered),
            recall=share(self.right, totals.true_pairs),
            # The harmonic mean of the two, without a division by a share that does not exist.
            f1=share(2 * self.right, found),
            non_member_false_positive_rate=share(self.non_members_answered, totals.non_members),
        )


def share(part: float, whole: float) -> float | None:
    """`part` of `whole`; None of nothing."""
    return part / whole if whole else None


def interval(part: int, whole: int) -> tuple[float, float] | None:
    """Where the share `part` of `whole` lies with 95 % (Wilson's score interval); None of nothing."""
    if not whole:
        return None
    z = 1.959964
    rate, square = part / whole, z * z / whole
    middle = (rate + square / 2) / (1 + square)
    reach = z / (1 + square) * math.sqrt(rate * (1 - rate) / whole + square / (4 * whole))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def tally(pairs: Iterable[ScoredPair], members: frozenset[str]) -> Tally:
    """The counts when exactly `pairs` are the answer; `members` are the queries that have a true pair."""
    known = list(pairs)
    strangers = {pair.query for pair in known} - members
    return Tally(len(known), sum(pair.true for pair in known), len(strangers))


def answered(pairs: Iterable[ScoredPair], threshold: float) -> Iterator[ScoredPair]:
    """The pairs at or above a threshold."""
    return (pair for pair in pairs if pair.probability >= threshold)


def steps(pairs: Iterable[ScoredPair], members: frozenset[str]) -> Iterator[tuple[float, Tally]]:
    """Each threshold that changes the answer, highest first, with the counts at it; ties go in together."""
    taken = right = 0
    strangers: set[str] = set()
    ordered = sorted(pairs, key=_probability, reverse=True)
    for threshold, tied in groupby(ordered, key=_probability):
        for pair in tied:
            taken += 1
            right += pair.true
            if pair.query not in members:
                strangers.add(pair.query)
        yield threshold, Tally(taken, right, len(strangers))


def _probability(pair: ScoredPair) -> float:
    return pair.probability


def best(
    pairs: Iterable[ScoredPair], members: frozenset[str], totals: Totals
) -> tuple[float | None, Figures]:
    """The threshold of the best F1 on these very pairs, the highest of several, and its figures.

    Chosen with the answers in hand, it flatters; None when there is no pair.
    """
    found: tuple[float | None, Figures] = None, Tally().figures(totals)
    most = -1.0
    for threshold, counts in steps(pairs, members):
        figures = counts.figures(totals)
        if figures.f1 is not None and figures.f1 > most:
            most, found = figures.f1, (threshold, figures)
    return found


def recall_at_precision(
    pairs: Iterable[ScoredPair], members: frozenset[str], totals: Totals, wanted: float = 0.99
) -> float | None:
    """The largest recall over thresholds whose precision is at least `wanted`; 0 if there is none."""
    recalls = [
        counts.right / totals.true_pairs
        for _, counts in steps(pairs, members)
        if totals.true_pairs and counts.right >= wanted * counts.answered
    ]
    return max(recalls, default=0.0) if totals.true_pairs else None


@dataclass(frozen=True)
class Bin:
    """A line of the reliability table: pairs of one tenth of the probabilities."""

    pairs: int
    mean_probability: float
    share_true: float


def reliability(pairs: Sequence[ScoredPair]) -> tuple[Bin | None, ...]:
    """Ten equal bins of the probability, the last with 1.0 in it; None for an empty one."""
    bins: list[list[ScoredPair]] = [[] for _ in range(BINS)]
    for pair in pairs:
        bins[min(BINS - 1, int(pair.probability * BINS))].append(pair)
    return tuple(
        Bin(len(own), _mean(own, _probability), _mean(own, lambda pair: float(pair.true))) if own else None
        for own in bins
    )


def expected_calibration_error(pairs: Sequence[ScoredPair]) -> float | None:
    """Σ (bin's share) · |mean probability − share that is true|, over the pairs that were scored."""
    gaps = [
        own.pairs * abs(own.mean_probability - own.share_true)
        for own in reliability(pairs)
        if own is not None
    ]
    return share(math.fsum(gaps), len(pairs))


def brier(pairs: Sequence[ScoredPair]) -> float | None:
    """The mean squared distance of the probability from the truth, over the pairs that were scored."""
    return _mean(pairs, lambda pair: (pair.probability - pair.true) ** 2) if pairs else None


def _mean(pairs: Sequence[ScoredPair], value: Callable[[ScoredPair], float]) -> float:
    return math.fsum(map(value, pairs)) / len(pairs)
