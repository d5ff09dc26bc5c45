"""How good scored pairs are: the same few functions for Candor and for everything beside it.

A pair is a query and a record, a score a number that says how sure somebody is that both are one person. The
pairs at or above a threshold are the answer. Nothing is one-to-one: a query may have several records, and a
true pair that nobody scored is a miss. Definitions stand in docs/benchmarks.md, under `matching`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import groupby

Pair = tuple[str, str]
Scores = Mapping[Pair, float]
BINS = 10
STRICT_PRECISION = 0.99


@dataclass(frozen=True)
class Quality:
    """What the pairs at or above `threshold` are worth."""

    threshold: float
    precision: float
    recall: float
    f1: float
    non_member_false_positive_rate: float

    def rounded(self) -> dict[str, float]:
        return {
            "threshold": round(self.threshold, 6),
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "f1": round(self.f1, 4),
            "non_member_false_positive_rate": round(self.non_member_false_positive_rate, 4),
        }


def curve(scores: Scores, truth: Set[Pair], queries: Collection[str]) -> Iterator[Quality]:
    """The quality at every threshold that makes a difference, the highest first; equal scores go in together.

    `queries` are all that were asked: those without a true pair are the non-members. Nothing answered has a
    precision of 1, no true pair a recall of 1.
    """
    strangers = set(queries) - {query for query, _ in truth}
    answered = right = 0
    bothered: set[str] = set()
    falling = sorted(scores.items(), key=lambda item: -item[1])
    for threshold, tied in groupby(falling, key=lambda item: item[1]):
        for pair, _ in tied:
            answered += 1
            right += pair in truth
            if pair[0] in strangers:
                bothered.add(pair[0])
        yield _quality(threshold, right, answered, len(truth), len(bothered), len(strangers))


def _quality(
    threshold: float, right: int, answered: int, true: int, bothered: int, strangers: int
) -> Quality:
    return Quality(
        threshold=threshold,
        precision=right / answered if answered else 1.0,
        recall=right / true if true else 1.0,
        f1=2 * right / (answered + true) if answered + true else 1.0,
        non_member_false_positive_rate=bothered / strangers if strangers else 0.0,
    )


def at(threshold: float, points: Iterable[Quality], true: int) -> Quality:
    """The quality at any threshold, from the points of the curve; `true` is how many true pairs there are."""
    lowest = _quality(threshold, 0, 0, true, 0, 0)
    for point in points:
        if point.threshold < threshold:
            break
        lowest = point
    return replace(lowest, threshold=threshold)


def best(points: Collection[Quality]) -> Quality:
    """The point of the highest F1; of several the one with the highest threshold."""
    return max(points, key=lambda point: (point.f1, point.threshold))


def recall_at_precision(points: Collection[Quality], precision: float = STRICT_PRECISION) -> float:
    """The largest recall at a pair precision of at least `precision`; 0 if there is none."""
    return max((point.recall for point in points if point.precision >= precision), default=0.0)


def calibration_error(scores: Scores, truth: Set[Pair]) -> float:
    """ECE over the scored pairs: bins of equal width, Σ share of the bin · |mean score − share true|."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for pair, score in scores.items():
        bins[min(BINS - 1, int(score * BINS))].append((score, pair in truth))
    gaps = (abs(sum(score for score, _ in held) - sum(true for _, true in held)) for held in bins)
    return sum(gaps) / len(scores) if scores else 0.0


def brier(scores: Scores, truth: Set[Pair]) -> float:
    """The mean square of what a score was off the truth, over the scored pairs."""
    if not scores:
        return 0.0
    return sum((score - (pair in truth)) ** 2 for pair, score in scores.items()) / len(scores)


def coverage(scores: Scores, truth: Set[Pair]) -> float:
    """The share of the true pairs that were scored at all: no recall is higher."""
    return sum(pair in scores for pair in truth) / len(truth) if truth else 1.0


def false_candidates(scores: Scores, truth: Set[Pair], queries: Collection[str]) -> float:
    """Scored pairs a query that are not true. Grows with the number of records."""
    return sum(pair not in truth for pair in scores) / len(queries)


def thinned(points: Collection[Quality], most: int = 200) -> list[tuple[float, float]]:
    """The curve as (recall, precision), in steps of at least 1/`most` in one of them."""
    kept: list[tuple[float, float]] = []
    last = None
    for point in points:
        last = (round(point.recall, 4), round(point.precision, 4))
        if not kept or max(abs(here - there) for here, there in zip(last, kept[-1], strict=True)) >= 1 / most:
            kept.append(last)
    if last is not None and kept[-1] != last:
        kept.append(last)
    return kept
