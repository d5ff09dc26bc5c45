"""Splink on one folder: run by `bench.environments` in an environment of its own.

Reads A.csv (records) and B.csv (queries) of the folder given, writes the pairs that it scored to the file given
(query_id, rec_id, probability) and prints {"seconds", "pairs", "version", ...}. Imports nothing of the project.

Plain text and unsupervised, set up as its documentation teaches: comparisons of the library for each field,
blocking rules that leave no field without which nothing is found, u from random pairs, m by expectation
maximisation on the very data that is then scored (no labels). Nothing here was fitted on a truth file, but the
number of levels and rules was chosen while looking at the development sets.
"""

import csv
import json
import logging
import os
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

SEED = 1
# The share of true pairs that agree in all of a deterministic rule is guessed, as a user would have to.
RULE_RECALL = 0.7
MARKS = "".maketrans("", "", " -'.")


def rows(path: Path) -> list[dict[str, str | None]]:
    """Fields in lower case, empty ones as None, and the codes that blocking uses."""
    import jellyfish

    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            row: dict[str, str | None] = {
                name: (value or "").strip().lower() or None for name, value in line.items()
            }
            row["rec_id"] = line["rec_id"]
            for name in ("first", "middle", "last", "former_last"):
                row[name] = (row[name] or "").translate(MARKS) or None
            row["dob"] = date(row["dob"])
            row["year"] = row["dob"] and row["dob"][:4]
            row["month_day"] = row["dob"] and row["dob"][5:]
            for name in ("first", "last"):
                row[f"{name}_sound"] = row[name] and jellyfish.soundex(row[name])
                row[f"{name}_start"] = row[name] and row[name][:3]
            row["post"] = f"{row['post_state']}{row['post_id']}" if row["post_state"] and row["post_id"] else None
            found.append(row)
    return found


def date(text: str | None) -> str | None:
    """YYYY-MM-DD, whether or not a calendar has it; None if a part is missing."""
    digits = (text or "").replace("-", "")
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(digits) == 8 and digits.isdecimal() else None


def table(found: list[dict[str, str | None]]) -> object:
    import pyarrow as pa

    return pa.table({name: pa.array([row[name] for row in found], pa.string()) for name in found[0]})


def comparisons(there: set[str]) -> list[object]:
    """The library's comparison for each field that is there."""
    import splink.comparison_library as cl
    from splink import ColumnExpression

    found: list[object] = [
        cl.ForenameSurnameComparison("first", "last", jaro_winkler_thresholds=[0.92, 0.8]),
    ]
    return found


if __name__ == "__main__":
    pass
