"""Splink on one folder: run by `bench.environments` in an environment of its own.

Reads A.csv (records) and B.csv (queries) of the folder given, writes the pairs that it scored to the file
given (query_id, rec_id, probability) and prints {"seconds", "pairs", "version", ...}. Imports nothing of the
project.

Plain text and unsupervised, set up as its documentation teaches: a comparison of the library for each field,
blocking rules among which no single field is needed by all, u from random pairs, m by expectation
maximisation on the very data that is then scored. No truth file is read. Which levels and rules there are was
chosen while looking at the development sets and at FEBRL, in Splink's favour.
"""

import csv
import json
import resource
import sys
import time
import unicodedata
from importlib.metadata import version
from pathlib import Path
from typing import Any

SEED = 1
# What share of the true pairs agrees in one of the deterministic rules is guessed, as a user has to.
RULE_RECALL = 0.7
Row = dict[str, str | None]


def plain(text: str) -> str:
    """Lower case, marks and punctuation off."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text.lower())))


def rows(path: Path) -> list[Row]:
    """Lower case, empty fields as None, and the codes that blocking uses."""
    import jellyfish

    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            row: Row = {
                name: value if name == "rec_id" else plain(value) or None for name, value in line.items()
            }
            row["year"], row["dob"] = dates(row["dob"])
            row["month_day"] = row["dob"] and row["dob"][5:]
            first, last = row["first"] or "", row["last"] or ""
            row["first_sound"], row["last_sound"] = (
                jellyfish.soundex(name) or None for name in (first, last)
            )
            row["start"] = first[:1] + last[:3] if first and last else None
            number = f"{row['post_state']}{row['post_id']}"
            row["post"] = number if row["post_state"] and row["post_id"] else None
            found.append(row)
    return found


def dates(text: str | None) -> tuple[str | None, str | None]:
    """Year and YYYY-MM-DD, whether or not a calendar has it; None for what is missing or unknown in part."""
    digits = text or ""
    if len(digits) != 8 or not digits[:4].isdecimal():
        return None, None
    whole = f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if digits.isdecimal() else None
    return digits[:4], whole


def comparisons(there: set[str]) -> list[Any]:
    """The library's comparison for each field that is there."""
    import splink.comparison_level_library as cll  # type: ignore[import-not-found]  # lives elsewhere
    import splink.comparison_library as cl  # type: ignore[import-not-found]  # lives elsewhere

    crossed = "first_l = last_r or last_l = first_r"
    # First and last exchanged is a level of the first name's comparison.
    first = cl.CustomComparison(
        output_column_name="first",
        comparison_levels=[
            cll.NullLevel("first"),
            cll.ExactMatchLevel("first", term_frequency_adjustments=True),
            cll.ColumnsReversedLevel("first", "last", symmetrical=True),
            *(cll.JaroWinklerLevel("first", threshold) for threshold in (0.92, 0.8)),
            cll.CustomLevel(crossed, "one in the other's place"),
            cll.CustomLevel("substr(first_l, 1, 1) = substr(first_r, 1, 1)", "same initial"),
            cll.ElseLevel(),
        ],
    )
    last = cl.CustomComparison(
        output_column_name="last",
        comparison_levels=[
            cll.NullLevel("last"),
            cll.ExactMatchLevel("last", term_frequency_adjustments=True),
            cll.ColumnsReversedLevel("first", "last", symmetrical=True),
            *(cll.JaroWinklerLevel("last", threshold) for threshold in (0.92, 0.8)),
            cll.CustomLevel(crossed, "one in the other's place"),
            cll.CustomLevel("contains(last_l, last_r) or contains(last_r, last_l)", "part of the other"),
            *(
                [cll.CustomLevel("former_last_l = last_r or last_l = former_last_r", "former name")]
                if "former_last" in there
                else []
            ),
            cll.ElseLevel(),
        ],
    )
    born = cl.CustomComparison(
        output_column_name="dob",
        comparison_levels=[
            cll.NullLevel("dob"),
            cll.ExactMatchLevel("dob"),
            cll.DamerauLevenshteinLevel("dob", 1),
            cll.CustomLevel(
                "substr(dob_l, 1, 4) = substr(dob_r, 1, 4) and substr(dob_l, 6, 2) = substr(dob_r, 9, 2)"
                " and substr(dob_l, 9, 2) = substr(dob_r, 6, 2)",
                "day and month exchanged",
            ),
            cll.DamerauLevenshteinLevel("dob", 2),
            cll.CustomLevel("substr(dob_l, 1, 4) = substr(dob_r, 1, 4)", "same year"),
            cll.ElseLevel(),
        ],
    )
    found = [first, last, born]
    if "ssn4" in there:
        found.append(cl.DamerauLevenshteinAtThresholds("ssn4", 1))
    if "middle" in there:
        found.append(
            cl.CustomComparison(
                output_column_name="middle",
                comparison_levels=[
                    cll.NullLevel("middle"),
                    cll.ExactMatchLevel("middle"),
                    cll.CustomLevel("substr(middle_l, 1, 1) = substr(middle_r, 1, 1)", "same initial"),
                    cll.ElseLevel(),
                ],
            )
        )
    found += [cl.ExactMatch(name) for name in ("suffix", "sex", "post") if name in there]
    return found


def blocking(there: set[str]) -> list[Any]:
    """No field is asked by all rules, and no rule joins more than a few pairs a query."""
    from splink import block_on

    exchanged = "l.first = r.last and l.last = r.first"
    asked = [
        ("dob",), ("first", "last"), ("last_sound", "year"), ("first_sound", "last_sound"), ("start", "year"),
        ("last_sound", "month_day"), ("first_sound", "month_day"), ("first", "year"), ("ssn4",), ("post",),
        ("first", "month_day"),
    ]  # fmt: skip
    return [*(block_on(*names) for names in asked if there.issuperset(names)), exchanged]


def scored(folder: Path, out: Path) -> dict[str, Any]:
    """Train and score. Wall-clock seconds are those of both, reading and writing included."""
    import pyarrow as pa  # type: ignore[import-not-found]  # lives elsewhere
    from splink import Linker, SettingsCreator, block_on
    from splink.internals.duckdb.database_api import DuckDBAPI  # type: ignore[import-not-found]  # lives elsewhere

    started = time.perf_counter()
    sides = {"records": rows(folder / "A.csv"), "queries": rows(folder / "B.csv")}
    # A field that no row of one side has is no field.
    there = {
        name for name in sides["records"][0] if all(any(row[name] for row in side) for side in sides.values())
    }
    api = DuckDBAPI()
    registered = [
        api.register(
            pa.table({name: pa.array([row[name] for row in side], pa.string()) for name in sorted(there)}),
            dataset_display_name=name,
        )
        for name, side in sides.items()
    ]
    settings = SettingsCreator(
        link_type="link_only",
        unique_id_column_name="rec_id",
        comparisons=comparisons(there),
        blocking_rules_to_generate_predictions=blocking(there),
        retain_matching_columns=False,
    )
    linker = Linker(registered, settings, log_level=40)
    exact = [("first", "last", "dob")]
    exact += (
        [("first", "dob", "ssn4"), ("last", "dob", "ssn4"), ("first", "last", "ssn4")]
        if "ssn4" in there
        else []
    )
    linker.training.estimate_probability_two_random_records_match(
        [block_on(*names) for names in exact], recall=RULE_RECALL
    )
    linker.training.estimate_u_using_random_sampling(max_pairs=5e6, seed=SEED)
    for names in (("dob",), ("first", "last")):
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(*names))
    found = linker.inference.predict().as_pyarrow_table()
    columns = {name: found.column(name).to_pylist() for name in ("rec_id_l", "rec_id_r", "match_probability")}
    sources = found.column("source_dataset_l").to_pylist()
    with out.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("query_id", "rec_id", "probability"))
        for source, left, right, probability in zip(sources, *columns.values(), strict=True):
            query, record = (left, right) if source == "queries" else (right, left)
            lines.writerow((query, record, repr(probability)))
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "pairs": found.num_rows,
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "version": version("splink"),
        "duckdb": version("duckdb"),
    }


if __name__ == "__main__":
    json.dump(scored(Path(sys.argv[1]), Path(sys.argv[2])), sys.stdout)
