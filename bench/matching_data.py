"""The files of the matching benchmark: A.csv (records), B.csv (queries) and truth.csv in a folder.

`rec_id` names a row; `truth.csv` has one line for each true pair. FEBRL 3 and 4 are written out as lookups;
any folder with the three files will do. What a matcher gets to see is made by `prepared`: only the fields of
a field set, rows shuffled, labels gone.
"""

from __future__ import annotations

import csv
import io
import random
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.environments import run_in
from bench.febrl4_population import permutation
from bench.matching_metrics import Pair

COLUMNS = (
    "rec_id", "first", "middle", "last", "suffix", "former_last", "dob", "ssn4", "sex", "post_state",
    "post_id",
)  # fmt: skip
FIELDS = {
    "nd": ("first", "last", "dob"),
    "nds": ("first", "last", "dob", "ssn4"),
    "ndsmp": COLUMNS[1:],
}
SHUFFLE_SEED = 20261127
ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, str]


@dataclass(frozen=True)
class Files:
    """A data set in memory."""

    records: list[Row]
    queries: list[Row]
    truth: frozenset[Pair]

    @property
    def asked(self) -> list[str]:
        return [row["rec_id"] for row in self.queries]


@dataclass(frozen=True)
class Population:
    """What `tools.population` is asked for."""

    seed: int
    mix: str
    origins: str
    records: int = 20_000
    queries: int = 5_000


def read(folder: Path) -> Files:
    """The three files of `folder`. ValueError if an id is there twice or the truth names a stray one."""
    records, queries = _rows(folder / "A.csv"), _rows(folder / "B.csv")
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = frozenset((line["query_id"], line["rec_id"]) for line in csv.DictReader(file))
    held, asked = {row["rec_id"] for row in records}, {row["rec_id"] for row in queries}
    if len(held) != len(records) or len(asked) != len(queries):
        raise ValueError(f"{folder}: a rec_id is there twice")
    if stray := [pair for pair in truth if pair[0] not in asked or pair[1] not in held]:
        raise ValueError(f"{folder}: truth.csv names rows that are not there: {stray[0]}")
    return Files(records, queries, truth)


def _rows(path: Path) -> list[Row]:
    """Columns that are not there are missing fields; columns that are not features are not read."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {column: (line.get(column) or "").strip() for column in COLUMNS} for line in csv.DictReader(file)
        ]


def write(folder: Path, files: Files) -> Path:
    """Write the three files and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("A.csv", files.records), ("B.csv", files.queries)):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("query_id", "rec_id"))
        lines.writerows(sorted(files.truth))
    return folder


def prepared(files: Files, fields: str, queries: int | None = None) -> Files:
    """The same, shuffled, all but the fields of a set empty; of the queries the first so many, if given."""
    kept = {"rec_id", *FIELDS[fields]}
    draw = random.Random(SHUFFLE_SEED)

    def blanked(rows: Sequence[Row]) -> list[Row]:
        shuffled = [
            {column: value if column in kept else "" for column, value in row.items()} for row in rows
        ]
        draw.shuffle(shuffled)
        return shuffled

    records, asked = blanked(files.records), blanked(files.queries)[:queries]
    ids = {row["rec_id"] for row in asked}
    return Files(records, asked, frozenset(pair for pair in files.truth if pair[0] in ids))


def officers_files(folder: Path, population: Population) -> Path:
    """Officers whom nobody has seen: made by `tools.population` from a seed."""
    words = [
        *("--seed", str(population.seed)), *("--records", str(population.records)),
        *("--queries", str(population.queries)), *("--mix", population.mix),
        *("--origins", population.origins),
    ]  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "tools.population", str(folder), *words],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


# --- FEBRL --------------------------------------------------------------------------------------------


def febrl4_files(folder: Path) -> Path:
    """FEBRL 4: the 5,000 originals ask, the copies of a random half of the entities are the records."""
    data = run_in("febrl4", "matching_febrl.py", "dataset4a", "dataset4b")
    return write(folder, lookup(data["dataset4a"], data["dataset4b"]))


def febrl3_files(folder: Path) -> Path:
    """FEBRL 3: the 2,000 originals ask, the duplicates of a random half of the entities are the records."""
    data = run_in("febrl4", "matching_febrl.py", "dataset3")
    return write(folder, lookup(data["dataset3"], data["dataset3"]))


def lookup(originals: str, copies: str) -> Files:
    """A lookup from the text of FEBRL files: rows `rec-N-org` ask, rows `rec-N-dup-M` of half the N are held.

    The half is that of the design measurements and of `bench.febrl4`: numbers sorted as texts,
    `numpy.random.RandomState(1).permutation`, first half.
    """
    asked = [row for row in _febrl(originals) if row["rec_id"].endswith("-org")]
    held = [row for row in _febrl(copies) if not row["rec_id"].endswith("-org")]
    entities = sorted({_entity(row) for row in asked})
    inside = {entities[index] for index in permutation(len(entities))[: len(entities) // 2]}
    records = [row for row in held if _entity(row) in inside]
    holders: dict[str, list[str]] = {}
    for row in records:
        holders.setdefault(_entity(row), []).append(row["rec_id"])
    truth = {(row["rec_id"], record) for row in asked for record in holders.get(_entity(row), ())}
    return Files(records, asked, frozenset(truth))


def _entity(row: Mapping[str, str]) -> str:
    return row["rec_id"].split("-")[1]


def _febrl(text: str) -> Iterable[Row]:
    for raw in csv.DictReader(io.StringIO(text)):
        value = {name.strip(): (field or "").strip() for name, field in raw.items()}
        yield dict.fromkeys(COLUMNS, "") | {
            "rec_id": value["rec_id"],
            "first": value["given_name"],
            "last": value["surname"],
            "dob": value["date_of_birth"],
            "ssn4": value["soc_sec_id"][-4:],
        }


# --- scores -------------------------------------------------------------------------------------------


def read_scores(path: Path) -> dict[Pair, float]:
    """A scores file: query_id, rec_id, probability; further columns are not read."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines, None)
        return {(line[0], line[1]): float(line[2]) for line in lines}
