"""Fairness: for whose names, sex, surnames and missing numbers matching errs more, on generated populations.

Run `make bench NAME=fairness` (five minutes on two quiet cores), `--table` for the tables of docs/fairness.md
from the last run, `--baseline` to measure anew what tests/unit/test_fairness.py compares with: only for a
change that is meant to move these figures, and with the reason in its commit. BENCH_QUICK=1 does SMALL alone.

Groups and figures are those of `candor-node match evaluate` (docs/matching.md §8), by the same code. Names
have the groups of tools.population (docs/fairness.md says what they mean and do not). Seeds are frozen:
nobody trains, tunes or calibrates on them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import fairness_tables as tables
from bench.harness import RESULTS, machine, print_table, versions, write
from bench.matching_data import ROOT, Population
from candor_node import evaluate, evaluation_scheme
from candor_node.evaluation_groups import SAME_NAME, exchanged_names
from candor_node.evaluation_report import report
from candor_node.workers import cores
from candor_proto.normalise import Person
from tools import population as people

QUICK = bool(os.environ.get("BENCH_QUICK"))
POPULATIONS: Mapping[str, Population] = {
    "dev": Population(7_262_201, "dev", "balanced", 12_000, 12_000),
    "hard": Population(7_262_202, "hard", "balanced", 12_000, 12_000),
    "origin-heavy": Population(7_262_203, "origin-heavy", "balanced", 12_000, 12_000),
    # Has the surnames that no group bears in the main, and none of the others' marks and particles.
    "census names": Population(7_262_204, "hard", "census", 12_000, 12_000),
}
SHAPES = {"screening": False, "detailed": True}
# What a test can do again in seconds.
SMALL = Population(7_262_205, "origin-heavy", "balanced", 6_000, 3_500)
BASELINE = ROOT / "tests" / "vectors" / "fairness.json"
# Kinds of the generator's own making, which say nothing of a name or a person.
NOT_GROUPS = frozenset({"kind"})
KEPT = (
    "queries", "pairs", "non_members", "precision", "recall", "recall_95", "non_member_false_positive_rate",
    "non_member_false_positive_rate_95", "reached", "opened", "strong_recall", "strong_precision",
    "false_openings_per_lookup",
)  # fmt: skip
WHOLE = ("precision", "recall", "non_member_false_positive_rate")


# --- one population ------------------------------------------------------------------------------------


def files(population: Population, folder: Path) -> Path:
    made = people.generate(
        population.seed,
        population.records,
        population.queries,
        people.MIXES[population.mix],
        population.origins,
    )
    people.write(made, folder)
    return folder


def run(folder: Path, detailed: bool, workers: int) -> evaluate.Run:
    """The run of `match evaluate`."""
    order = evaluate.Order(
        folder / "A.csv", folder / "B.csv", folder / "truth.csv", confirm=detailed, workers=workers
    )
    return evaluate.run(order)


def figures(found: evaluate.Run) -> dict[str, Any]:
    """The whole and every group of it, as `match evaluate` says them, with the gap between them."""
    said = report(found, 0.0)
    whole = {name: said["default"][name] for name in WHOLE} | {
        "pairs": said["counts"]["true_pairs"],
        "non_members": said["counts"]["non_members"],
        "reached": said["coverage"],
        "opened": said["gate"]["recall"],
        "strong_recall": said["assert"]["recall"],
        "strong_precision": said["assert"]["precision"],
        "false_openings_per_lookup": said["gate"]["false_openings_per_lookup"],
    }
    groups = {
        kind: {
            group: {name: each[name] for name in KEPT} | tables.gaps(each, whole)
            for group, each in own.items()
        }
        for kind, own in said["by_group"].items()
        if kind not in NOT_GROUPS
    }
    return {"whole": whole, "groups": groups}


# --- why ------------------------------------------------------------------------------------------------


def difference(asked: Person, filed: Person) -> str:
    """How the names of a query and of its record differ, in the words of tables.DIFFERENCES."""
    if exchanged_names(asked, filed):
        return "exchanged"
    given = _unlike(asked.first, filed.first)
    surname = _unlike(asked.surname, filed.surname)
    if surname and {asked.surname, *asked.other_surnames} & {filed.surname, *filed.other_surnames}:
        surname = "part"
    if given and surname:
        return "both names"
    if given:
        return "given name spelt otherwise" if given == "spelt" else "another given name"
    if surname:
        return {
            "part": "part of the surname",
            "spelt": "surname spelt otherwise",
            "another": "another surname",
        }[surname]
    return "none"


def _unlike(one: str, other: str) -> str:
    """ "" for the same or a missing name, "spelt", or "another"."""
    if one == other or not one or not other:
        return ""
    return "spelt" if tables.likeness(one, other) >= SAME_NAME else "another"


def losses(found: evaluate.Run) -> dict[str, Any]:
    """By origin and by what differs in the names: true pairs, and at which stage how many are lost."""
    answered = {
        (pair.query, pair.record)
        for pair in found.opened
        if pair.score.probability >= evaluation_scheme.WORK_LIST
    }
    opened = {(pair.query, pair.record) for pair in found.opened}
    counts: dict[str, dict[str, Counter[str]]] = {}
    for place, query in enumerate(found.queries):
        asked = evaluation_scheme.person(query.row)
        for record in found.truth.by_query.get(query.query_id, ()):
            pair = place, record
            stage = (
                "found" if pair in answered
                else "score" if pair in opened
                else "gate" if pair in found.reached
                else "key"
            )  # fmt: skip
            differs = difference(asked, evaluation_scheme.person(found.survey.known[record]))
            own = counts.setdefault(query.labels.get("origin", ""), {}).setdefault(differs, Counter())
            own.update(("pairs", stage))
    return {
        origin: {
            differs: {name: own[differs][name] for name in ("pairs", *tables.STAGES)}
            for differs in tables.DIFFERENCES
            if differs in own
        }
        for origin, own in sorted(counts.items())
    }


def measure(population: Population, scratch: Path, workers: int) -> dict[str, Any]:
    """Everything of one population: figures of both kinds of lookup, and where the detailed one loses."""
    folder = files(population, scratch)
    found: dict[str, Any] = asdict(population)
    for name, detailed in SHAPES.items():
        one = run(folder, detailed, workers)
        found[name] = figures(one)
        if detailed:
            found["losses"] = losses(one)
    return found


# --- what a change is held against ---------------------------------------------------------------------


def small(folder: Path) -> dict[str, Any]:
    """The figures of SMALL in a detailed lookup, in this process: what the committed baseline holds."""
    return figures(run(files(SMALL, folder), True, 1))


def baseline(found: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of the kinds of groups, in a form that is read and compared by hand."""
    return {
        "population": asdict(SMALL),
        "scheme_version": evaluation_scheme.SCHEME_VERSION,
        "weights_version": evaluation_scheme.WEIGHTS_VERSION,
        "whole": found["whole"],
        "groups": {
            kind: {
                group: {name: each[name] for name in (*tables.COUNTS, *tables.HELD)}
                for group, each in own.items()
            }
            for kind, own in found["groups"].items()
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, write bench/results/fairness.json and print the tables; or write the baseline."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fairness", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--table", action="store_true", help="run nothing: the last result as Markdown")
    parser.add_argument("--baseline", action="store_true", help=f"only write {BASELINE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    if options.table:
        print(tables.markdown(json.loads((RESULTS / "fairness.json").read_text("utf-8"))["data"]))
        return
    with tempfile.TemporaryDirectory(prefix="candor-fairness-") as folder:
        scratch = Path(folder)
        if options.baseline:
            text = json.dumps(baseline(small(scratch)), indent=1, ensure_ascii=False)
            BASELINE.write_text(text + "\n", "utf-8")
            print(BASELINE.relative_to(ROOT))
            return
        found = {}
        for name, population in ({"small": SMALL} if QUICK else POPULATIONS).items():
            found[name] = measure(population, scratch / name.replace(" ", "-"), cores())
            print(f"{name}: recall {found[name]['detailed']['whole']['recall']:.4f}", flush=True)
    print_table(tables.GAP_HEADINGS, tables.worst_gaps(found))
    result = {
        "name": "fairness",
        "quick": QUICK,
        "machine": machine(),
        "versions": versions("candor-exchange"),
        "scheme_version": evaluation_scheme.SCHEME_VERSION,
        "weights_version": evaluation_scheme.WEIGHTS_VERSION,
        "headline": tables.headline(found),
        "data": found,
    }
    print(f"\n{write('fairness', result)}")


if __name__ == "__main__":
    main()
