"""Search for a list of match keys, or score one: `python -m tools.keysearch --seconds 120 --seed 1`.

Needs nothing but the project and, for FEBRL 3, the environment of bench/febrl4-requirements.lock; without it
(`--without-febrl`) another, weaker objective is searched. Reading who meets whom takes two to four minutes on
two cores before the search begins. Prints tables; writes nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from tools.keysearch import local_search
from tools.keysearch.candidates import candidates, needs_digits, parse, written
from tools.keysearch.lists import ALTERNATIVES, Named, asked_weights, labels_of
from tools.keysearch.objective import SOURCES, Objective, Source, Terms
from tools.keysearch.prices import LEAST_DIGITS, Prices
from tools.keysearch.report import objective_of, print_costs, print_figures, print_lists, read, tell
from tools.keysearch.sources import LEAST_MET, Hits, development

RECORDS: Final = 20_000
RESERVES: Final = 3
# Light reading also leaves out the labels that meet their own record less often than this.
LIGHT_MET: Final = 0.6


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--score-current", action="store_true", help="score the shipped list; search nothing")
    what.add_argument("--score", metavar="LIST", help='score a list written as "F+Dc:2 L3+S:1 …"')
    what.add_argument("--alternatives", action="store_true", help="score the lists that were set aside")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to search (default 120)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", choices=("nothing", "current"), default="nothing")
    parser.add_argument("--threshold", type=int, default=3)
    parser.add_argument("--heaviest", type=int, default=2, help="the largest weight (default 2)")
    parser.add_argument("--plain", type=float, default=Terms.plain, help="price of a plain opening a lookup")
    parser.add_argument("--relatives", type=float, default=Terms.relatives, help="price of a relative's")
    parser.add_argument("--without-febrl", action="store_true", help="leave FEBRL 3 out")
    parser.add_argument("--light", action="store_true", help="read only nds and nd: less to wait for")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    return parser.parse_args()


def _found(
    problem: local_search.Problem, start: Mapping[str, int], seconds: float, seed: int
) -> local_search.Found:
    begun = time.monotonic()
    best: local_search.Found | None = None
    for found in local_search.search(problem, start, seed):
        if best is None or found.value < best.value:
            tell(f"  {time.monotonic() - begun:5.0f} s, list {found.settled}: {found.value:.4f}")
        best = found
        if time.monotonic() - begun >= seconds:
            break
    if best is None:
        raise AssertionError("a search yields at least the list that it starts from")
    return best


def _reserves(problem: local_search.Problem, weights: Mapping[str, int]) -> dict[str, int]:
    """What to ask of a person who gives no last four, in the slots that this leaves free."""
    blocks = problem.objective.blocks
    asked = {source.name for source in SOURCES if source.fields == "nd" or source.strangers_only}
    poor = tuple(block for block in blocks if block.source in asked)
    labels = [label for label in problem.labels if not needs_digits(label)]
    objective = Objective(poor, problem.objective.threshold)
    free = local_search.Problem(objective, problem.prices, labels, problem.heaviest)
    return local_search.reserves(free, weights, RESERVES)


def _print_found(problem: local_search.Problem, best: local_search.Found) -> None:
    objective = problem.objective
    print(f"\nfound, {best.settled} lists settled:\n  {written(best.weights)}\n")
    print_figures(objective, best.weights)
    print_costs(best.weights, objective.threshold)
    print(f"\nreserves: {written(_reserves(problem, best.weights)) or 'none helps'}")
    _print_difference(objective, best.weights)


def _print_difference(objective: Objective, weights: Mapping[str, int]) -> None:
    """How much better a list is than the shipped one, and whether that is more than noise."""
    current = asked_weights()
    shipped, value, noise = (
        objective.value(current),
        objective.value(weights),
        objective.noise(current, weights),
    )
    print(f"\nvalue: shipped {shipped:.4f}, this {value:.4f}, better by {shipped - value:.4f} ± {noise:.4f}")
    says = "more" if shipped - value > 2 * noise else "no more"
    print(f"The list is better than the shipped one by {says} than noise (two standard errors).")


def _read_all(
    sources: Sequence[Source], lists: Sequence[Named], workers: int
) -> tuple[list[Hits], tuple[str, ...]]:
    """The hits of the labels of some lists, however seldom they meet their own."""
    labels = labels_of(lists)
    return read(sources, labels, workers, at_least=1, least_met=0.0)[0], labels


def main() -> None:
    arguments = _arguments()
    terms, threshold = Terms(arguments.plain, arguments.relatives), arguments.threshold
    sources = [
        one
        for one in SOURCES
        if not (arguments.without_febrl and one.set_name == "febrl3")
        and not (arguments.light and one.fields == "ndsmp")
    ]
    if arguments.light:
        # No other field set of these people is there to count their false openings.
        sources = [replace(one, counted=1.0) if one.fields == "nds" else one for one in sources]
    prices = Prices(development("officers-dev", "ndsmp").records, RECORDS)
    if arguments.alternatives:
        found, labels = _read_all(sources, ALTERNATIVES, arguments.workers)
        print_lists(objective_of(sources, found, labels, terms, threshold), ALTERNATIVES, prices)
        return
    if arguments.score_current or arguments.score:
        given = parse(arguments.score) if arguments.score else asked_weights()
        both = [Named("given", given, threshold), Named("shipped", asked_weights())]
        found, labels = _read_all(sources, both, arguments.workers)
        objective = objective_of(sources, found, labels, terms, threshold)
        print(f"value {objective.value(given):.4f} at threshold {threshold}:\n  {written(given)}\n")
        print_figures(objective, given)
        print_costs(given, threshold)
        if arguments.score:
            _print_difference(objective, given)
        return
    dear = tuple(label for label in candidates() if prices.digits(label) >= LEAST_DIGITS)
    tell(f"keysearch: {len(dear)} combinations of {LEAST_DIGITS} digits or more")
    least_met = LIGHT_MET if arguments.light else LEAST_MET
    found, labels = read(sources, dear, arguments.workers, least_met=least_met)
    missing = [label for label in asked_weights() if label not in labels]
    tell(f"keysearch: {len(labels)} candidates; shipped labels that are none: {missing or 'none'}")
    objective = objective_of(sources, found, (*labels, *missing), terms, threshold)
    problem = local_search.Problem(objective, prices, labels, arguments.heaviest)
    start = asked_weights() if arguments.start == "current" else {}
    _print_found(problem, _found(problem, start, arguments.seconds, arguments.seed))


if __name__ == "__main__":
    main()
