"""From sources to an objective, and from a list to tables: recall, openings, prices.

Rules of this file:
- field sets of one people share what can be shared: without the last four, a source is what `nds` is, less
  the labels that need them;
- the table of several lists is markdown, for docs/gate.md; tables of one list are for the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from bench.harness import print_table
from candor_proto.opening_cost import Knowledge, measure
from tools.keysearch.lists import Named, priced_labels
from tools.keysearch.objective import Objective, Source, Terms, blocks
from tools.keysearch.prices import FLOORS, Prices
from tools.keysearch.sources import LEAST_MET, Hits, development, meet

# With anything known it is one person at a time: fewer records say the same.
MEASURED_RECORDS: Final = 400
_SETS: Final = ("officers-dev", "officers-devhard")


def tell(words: str) -> None:
    """Progress, to standard error."""
    print(words, file=sys.stderr, flush=True)


def _meet(source: Source, labels: Sequence[str], at_least: int, least_met: float) -> Hits:
    hits = meet(source.people(source.fields), labels, at_least=at_least, least_met=least_met)
    tell(f"  {source.name}: {sum(hits.sizes)} pairs, {len(hits.labels)} labels")
    return hits


def read(
    sources: Sequence[Source],
    labels: Sequence[str],
    workers: int,
    at_least: int = 2,
    least_met: float = LEAST_MET,
) -> tuple[list[Hits], tuple[str, ...]]:
    """Who meets whom in each source, pairs that `at_least` so many labels hit; and the labels that no source
    left out. The small source is asked first and that of strangers last, of what is left then."""
    found: dict[str, Hits] = {}
    with ProcessPoolExecutor(workers) as pool:
        for stage in sorted({source.stage for source in sources}):
            futures = {
                source.name: pool.submit(_meet, source, labels, at_least, least_met)
                for source in sources
                if source.fields != "nd" and source.stage == stage
            }
            found |= {name: future.result() for name, future in futures.items()}
            labels = [label for label in labels if all(label in hits.labels for hits in found.values())]
    every = [
        found[f"{source.set_name} nds"].without_digits() if source.fields == "nd" else found[source.name]
        for source in sources
    ]
    return every, tuple(labels)


def objective_of(
    sources: Sequence[Source], found: Sequence[Hits], labels: Sequence[str], terms: Terms, threshold: int
) -> Objective:
    """Priced pairs of all sources under `labels`."""
    made = [
        block
        for source, hits in zip(sources, found, strict=True)
        for block in blocks(source, hits.only(labels), terms)
    ]
    return Objective(tuple(made), threshold)


def print_figures(objective: Objective, weights: Mapping[str, int]) -> None:
    """Recall and openings of one list by source."""
    rows = []
    for name, own in objective.figures(weights).items():
        recall = f"{own['true']:.4f}" if "true" in own else ""
        rows.append([name, recall, f"{own.get('relatives', 0):.4f}", f"{own.get('plain', 0):.4f}"])
    print_table(("source", "recall", "relatives a lookup", "plain a lookup"), rows)


def print_costs(weights: Mapping[str, int], threshold: int) -> None:
    """The opening costs of a list on officers-dev, names learnt from officers-devhard, by the full model."""
    records, prior = (development(name, "ndsmp").records for name in _SETS)
    rows = []
    for knowledge in Knowledge:
        own = records if knowledge is Knowledge.NOTHING else records[:MEASURED_RECORDS]
        cost = measure(own, prior, knowledge, priced_labels(weights), threshold)
        elements, share = f"{cost.elements_per_record:.1f}", f"{cost.opened_share:.2f}"
        rows.append([knowledge.value, elements, share, " > ".join(cost.chain)])
    print_table(("the attacker knows", "elements a record", "opened", "chain"), rows)


def print_lists(objective: Objective, lists: Sequence[Named], prices: Prices) -> None:
    """One line a list, in markdown: value, recall by source, openings a lookup, quick prices.

    False openings are those of officers-dev and -devhard, then those of their queries at the other's records.
    """
    # Where nobody has a record there is no block of true pairs.
    names = list(dict.fromkeys(block.source for block in objective.blocks if block.true))
    strangers = [name for name in objective.sources if name not in names]
    print("| list | value | " + " | ".join(names) + " | relatives | plain | prices |")
    print("|---" * (len(names) + 5) + "|")
    for one in lists:
        at = objective.at(one.threshold)
        figures = at.figures(one.weights)
        relatives = [figures[f"{name} ndsmp"].get("relatives", 0.0) for name in _SETS]
        plain = [
            figures[name].get("plain", 0.0) for name in (*(f"{name} ndsmp" for name in _SETS), *strangers)
        ]
        costs = [prices.cheapest(one.weights, one.threshold, knowledge)[0] for knowledge in FLOORS]
        cells = [
            one.name,
            f"{at.value(one.weights):.3f}",
            *(f"{figures[name]['true']:.4f}" for name in names),
            " ".join(f"{value:.4f}" for value in relatives),
            " ".join(f"{value:.4f}" for value in plain),
            " / ".join(f"{cost:.0f}" for cost in costs),
        ]
        print("| " + " | ".join(cells) + " |")
