"""Figures of design/MATCHING.md §1, against examples worked out by hand."""

from __future__ import annotations

import random

import pytest

from candor_node import evaluation
from candor_node.evaluation import Figures, ScoredPair, Totals


def pair(query: str, record: str, probability: float, true: bool, strong: bool = False) -> ScoredPair:
    return ScoredPair(query, record, probability, strong, true)


# Queries: p with two records, q with one, r with one that no key hits; n and o with none. Four true pairs.
PAIRS = (
    pair("p", "1", 0.95, True, strong=True),
    pair("p", "2", 0.90, True),
    pair("n", "3", 0.90, False),
    pair("q", "4", 0.55, True),
    pair("n", "5", 0.50, False),
    pair("q", "6", 0.05, False),
)
MEMBERS = frozenset({"p", "q", "r"})
TOTALS = Totals(true_pairs=4, non_members=2)


def at(threshold: float) -> Figures:
    return evaluation.tally(evaluation.answered(PAIRS, threshold), MEMBERS).figures(TOTALS)


def test_a_pair_at_the_threshold_is_answered_and_a_pair_without_score_is_missed() -> None:
    # Answered: five, three of them true; four are true in all. Of two non-members one is answered, twice.
    assert at(0.5) == Figures(3 / 5, 3 / 4, 2 * 3 / (5 + 4), 1 / 2)
    assert at(0.51) == Figures(3 / 4, 3 / 4, 3 / 4, 1 / 2)
    assert at(0.951) == Figures(None, 0.0, 0.0, 0.0)


def test_equal_probabilities_go_in_together() -> None:
    counts = [(threshold, tally.answered, tally.right) for threshold, tally in steps()]
    assert counts == [(0.95, 1, 1), (0.90, 3, 2), (0.55, 4, 3), (0.50, 5, 3), (0.05, 6, 3)]
    # Were the true pair at .90 taken before the false one, this would be 2/4.
    assert evaluation.recall_at_precision(PAIRS, MEMBERS, TOTALS) == 1 / 4
    assert evaluation.recall_at_precision(PAIRS, MEMBERS, TOTALS, wanted=0.6) == 3 / 4
    assert evaluation.recall_at_precision(PAIRS[2:3], MEMBERS, TOTALS) == 0.0


def steps() -> list[tuple[float, evaluation.Tally]]:
    return list(evaluation.steps(PAIRS, MEMBERS))


def test_the_best_threshold_is_that_of_the_best_f1() -> None:
    assert evaluation.best(PAIRS, MEMBERS, TOTALS) == (0.55, at(0.55))
    assert at(0.55).f1 == 2 * 3 / (4 + 4)
    assert evaluation.best([], MEMBERS, TOTALS) == (None, Figures(None, 0.0, 0.0, 0.0))


def test_of_several_best_thresholds_the_strictest_is_named() -> None:
    # One of two true pairs alone: 2/3; then both among four: 2*2/(4+2), the same.
    tied = [
        pair("p", "1", 0.9, True),
        pair("q", "4", 0.2, True),
        pair("n", "3", 0.2, False),
        pair("n", "5", 0.2, False),
    ]
    threshold, figures = evaluation.best(tied, MEMBERS, Totals(2, 2))
    assert (threshold, figures.f1) == (0.9, 2 / 3)


def test_calibration_over_ten_equal_bins() -> None:
    # Bins: .95, .90, .90 together (2 of 3 true, mean .91667), .55 and .50 (1 of 2, mean .525), .05 alone.
    gaps = 3 * abs(2.75 / 3 - 2 / 3) + 2 * abs(0.525 - 0.5) + 1 * abs(0.05 - 0)
    assert evaluation.expected_calibration_error(PAIRS) == pytest.approx(gaps / 6)
    squares = 0.05**2 + 0.1**2 + 0.9**2 + 0.45**2 + 0.5**2 + 0.05**2
    assert evaluation.brier(PAIRS) == pytest.approx(squares / 6)
    certain = [pair("p", "1", 1.0, True)]
    assert evaluation.expected_calibration_error(certain) == 0
    assert [own is None for own in evaluation.reliability(certain)] == [True] * 9 + [False]


def test_a_share_of_nothing_is_none() -> None:
    assert evaluation.expected_calibration_error([]) is None
    assert evaluation.brier([]) is None
    nobody = Totals(0, 0)
    assert evaluation.tally([], frozenset()).figures(nobody) == Figures(None, None, None, None)
    assert evaluation.recall_at_precision(PAIRS, frozenset(), nobody) is None


def test_the_order_of_pairs_changes_not_even_the_last_digit() -> None:
    draw = random.Random(5)
    pairs = [pair(f"q{n % 40}", str(n), draw.random() ** 3, draw.random() < 0.4) for n in range(400)]
    members = frozenset(f"q{n}" for n in range(30))
    totals = Totals(200, 10)

    def all_figures(own: list[ScoredPair]) -> tuple[object, ...]:
        return (
            evaluation.best(own, members, totals),
            evaluation.recall_at_precision(own, members, totals, 0.5),
            evaluation.expected_calibration_error(own),
            evaluation.brier(own),
        )

    expected = all_figures(pairs)
    for _ in range(5):
        draw.shuffle(pairs)
        assert all_figures(pairs) == expected
