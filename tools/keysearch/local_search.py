"""Iterated local search over lists and weights, under floors of opening costs.

Rules of this file:
- one step takes a label out and puts the best one, of the best weight, into its place; a list is *settled*
  when no step helps. From a settled list a few labels are thrown out at random, and it is settled again;
- no list is ever held that a chain opens below its floor: pairs of labels are asked first, because few pass,
  then the whole list;
- the same problem, start and seed give the same lists in the same order: only how many is a matter of time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from candor_proto.opening_cost import Knowledge
from tools.keysearch.candidates import of_names_alone
from tools.keysearch.objective import Objective, Weights
from tools.keysearch.prices import FLOORS, Prices

SLOTS: Final = 16
# How many labels are thrown out at once, and how many steps a slot may try before it is left as it is.
LEAST_THROWN, MOST_THROWN = 2, 7
MOST_TRIES: Final = 150
_BETTER: Final = 1e-9


@dataclass(frozen=True)
class Problem:
    """What is searched. Weights go from 1 to `heaviest`, less than the threshold: no label opens alone."""

    objective: Objective
    prices: Prices
    labels: Sequence[str]
    heaviest: int = 2
    floors: Mapping[Knowledge, float] = field(default_factory=lambda: dict(FLOORS))
    slots: int = SLOTS
    # What was asked of pairs so far.
    _pairs: dict[tuple[str, str], bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.heaviest < self.objective.threshold:
            raise ValueError("No label may open alone: weights are below the threshold.")
        if alone := [label for label in self.labels if of_names_alone(label)]:
            raise ValueError(f"No label may be of names alone: {alone[0]}.")

    def pair_holds(self, one: str, other: str) -> bool:
        """Whether these two may open a record together."""
        pair = (one, other) if one < other else (other, one)
        if pair not in self._pairs:
            self._pairs[pair] = self.prices.holds(dict.fromkeys(pair, 1), 2, self.floors)
        return self._pairs[pair]

    def holds(self, weights: Weights) -> bool:
        """Whether no chain through the list is cheaper than its floor."""
        return self.prices.holds(weights, self.objective.threshold, self.floors)

    def may_join(self, label: str, weight: int, weights: Weights) -> bool:
        """Whether `label` is dear enough with each of the others that it opens with."""
        needed = self.objective.threshold - weight
        return label not in weights and all(
            own < needed or self.pair_holds(label, other) for other, own in weights.items()
        )


@dataclass(frozen=True)
class Found:
    """A list, its value (less is better), and how many lists had been settled by then."""

    weights: Mapping[str, int]
    value: float
    settled: int


def best_addition(problem: Problem, weights: Weights, below: float) -> tuple[float, dict[str, int]] | None:
    """The best list with one label more, of those that hold the floors, if its value is less than `below`."""
    offers = [
        offer
        for offer in problem.objective.additions(weights, problem.labels, problem.heaviest)
        if offer[0] < below - _BETTER
    ]
    tries = 0
    for value, label, weight in sorted(offers):
        if not problem.may_join(label, weight, weights):
            continue
        longer = {**weights, label: weight}
        if problem.holds(longer):
            return value, longer
        tries += 1
        if tries >= MOST_TRIES:
            break
    return None


def settle(problem: Problem, weights: Weights, draw: random.Random, most_passes: int = 4) -> dict[str, int]:
    """The list that steps from `weights` end in: a step a slot, until a pass over all changes nothing."""
    held = dict(weights)
    value = problem.objective.value(held)
    for _ in range(most_passes):
        # Sorted first: what stands where must not depend on how the list came about.
        slots: list[str | None] = [*sorted(held), *[None] * (problem.slots - len(held))]
        draw.shuffle(slots)
        changed = False
        for slot in slots:
            rest = {label: weight for label, weight in held.items() if label != slot}
            found = best_addition(problem, rest, value)
            if found is not None:
                value, held = found
                changed = True
        if not changed:
            break
    return held


def feasible(problem: Problem, weights: Weights, draw: random.Random) -> dict[str, int]:
    """A list that holds to begin with: `weights`, labels dropped at random until it does, and then any labels
    until it is full. One label alone opens nothing: from nothing there would be no first step."""
    held = {label: weight for label, weight in weights.items() if label in problem.labels}
    while not problem.holds(held):
        del held[draw.choice(sorted(held))]
    for label in draw.sample(list(problem.labels), len(problem.labels)):
        if len(held) == problem.slots:
            break
        weight = draw.randint(1, problem.heaviest)
        if problem.may_join(label, weight, held) and problem.holds({**held, label: weight}):
            held[label] = weight
    return held


def search(problem: Problem, start: Weights, seed: int) -> Iterator[Found]:
    """The best list so far, each time another one was settled; it never ends by itself."""
    draw = random.Random(seed)
    best = settle(problem, feasible(problem, start, draw), draw)
    value = problem.objective.value(best)
    settled = 1
    while True:
        yield Found(best, value, settled)
        thrown = draw.sample(sorted(best), min(len(best), draw.randint(LEAST_THROWN, MOST_THROWN)))
        rest = {label: weight for label, weight in best.items() if label not in thrown}
        other = settle(problem, rest, draw, most_passes=3)
        settled += 1
        if (its := problem.objective.value(other)) < value - _BETTER:
            best, value = other, its


def reserves(problem: Problem, weights: Weights, count: int) -> dict[str, int]:
    """Up to `count` labels more, each the best one to add: asked where a missing field leaves a slot free.

    `problem` should hold the sources without that field.
    """
    held, added = dict(weights), dict[str, int]()
    for _ in range(count):
        found = best_addition(problem, held, problem.objective.value(held))
        if found is None:
            break
        added |= {label: weight for label, weight in found[1].items() if label not in held}
        held = found[1]
    return added
