"""The file of a batch, in and out: persons as CSV rows, and the same rows with what was found.

Rules of this file:
- what is wrong with the file as a whole raises InputInvalid; what is wrong with a row is that row's error,
  and the other rows are asked all the same;
- no message repeats a cell;
- what goes out is safe to open in a spreadsheet (no cell begins a formula) and holds no last four digits. It
  depends on nothing but the rows and what was found: no random id, and only the columns of WHEN say when.
  Interrupted or not, all others are the same.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from candor_node import csv_file
from candor_proto.errors import InputInvalid
from candor_proto.normalise import REFUSED_IN_LOOKUPS, Particulars, refusal

IDENTITY = (
    "first",
    "middle",
    "last",
    "suffix",
    "former_last",
    "birth_date",
    "ssn4",
    "sex",
    "post_state",
    "post_id",
)
PAPERS = ("case_number", "consent", "officer")
# Who answered, in words and in numbers; who did not and why; the day of the oldest index; who answered after
# the row had been shown; as of when.
COVERAGE = ("coverage", "nodes_answered", "nodes_asked", "not_answered", "oldest_index", "late", "as_of")
RESULTS = ("outcome", "probability", "candidates", "owners", "explanation", *COVERAGE, "error")
# How often late answers amended the row, and what changed since whoever asks for the file wrote it last.
CHANGED = ("revision", "changed")
WHEN = ("late", "as_of", *CHANGED)
# As other systems call them.
_ALIASES = {
    "dob": "birth_date",
    "date_of_birth": "birth_date",
    "first_name": "first",
    "given_name": "first",
    "middle_name": "middle",
    "last_name": "last",
    "surname": "last",
    "last4": "ssn4",
    "ssn_last4": "ssn4",
}
MAX_ROWS = 100_000
MAX_CELL_CHARACTERS = 500
_REMEDY = (
    "Nothing was asked. Save it as CSV (UTF-8, comma-separated) with a header such as "
    "first,last,birth_date,ssn4."
)
_LAST_FOUR = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True)
class BatchRow:
    """One row: `number` as the spreadsheet counts; `cells` go out again; with an `error` nobody is asked."""

    number: int
    cells: tuple[str, ...] = field(repr=False)
    person: Particulars = field(repr=False)
    papers: Mapping[str, str] = field(repr=False)
    error: str = ""


@dataclass(frozen=True)
class Columns:
    """The header: `names` as they go out again, and where identity and papers stand in a row as it came."""

    names: tuple[str, ...]
    kept: tuple[int, ...]
    places: Mapping[str, int]


def read(content: bytes) -> tuple[Columns, Iterator[BatchRow]]:
    """The columns, and the rows one by one. Raises InputInvalid, the iterator as well."""
    lines = csv_file.rows(csv_file.decode(content, _REMEDY), _REMEDY)
    columns = _header(next(lines, (1, []))[1])
    return columns, _rows(columns, lines)


def _header(cells: Sequence[str]) -> Columns:
    names = [cell.strip().lower().replace(" ", "_") for cell in cells]
    names = [_ALIASES.get(name, name) for name in names]
    known = [name for name in names if name in IDENTITY or name in PAPERS]
    twice = sorted({name for name in known if known.count(name) > 1})
    taken = sorted({"row", *RESULTS, *CHANGED} & set(names))
    if twice:
        raise InputInvalid(f"A column stands there twice: {', '.join(twice)}.", remedy=_REMEDY)
    if "last" not in names or len(known) < 2:
        if len(names) == 1 and any(mark in cells[0] for mark in ";\t|"):
            raise InputInvalid("The columns are not separated by commas.", remedy=_REMEDY)
        raise InputInvalid(
            "The first row does not name the columns: at least `last` and another one are needed.",
            remedy=f"{_REMEDY} Known are {', '.join((*IDENTITY, *PAPERS))}; others are passed through.",
        )
    if taken:
        raise InputInvalid(
            f"The file has columns that the result will have: {', '.join(taken)}.",
            remedy="Is it the result of an earlier batch? Rename or remove these columns.",
        )
    kept = tuple(place for place, name in enumerate(names) if name != "ssn4")
    places = {name: place for place, name in enumerate(names) if name in IDENTITY or name in PAPERS}
    return Columns(tuple(cells[place].strip() for place in kept), kept, places)


def _rows(columns: Columns, lines: Iterator[tuple[int, list[str]]]) -> Iterator[BatchRow]:
    width = len(columns.kept) + ("ssn4" in columns.places)
    count = 0
    for count, (number, cells) in enumerate(lines, 1):
        if count > MAX_ROWS:
            raise InputInvalid(
                f"The file has more than {MAX_ROWS:,} rows.", remedy="Nothing was asked. Split the file."
            )
        if len(cells) != width:
            error = f"has {len(cells)} cells where the header has {width}; check quotes and commas"
            yield BatchRow(number, ("",) * len(columns.kept), Particulars(), {}, error)
            continue
        given = {name: cells[place].strip() for name, place in columns.places.items()}
        person = {name: _padded(name, value) for name, value in given.items() if name in IDENTITY}
        error = _fault(given)
        yield BatchRow(
            number,
            tuple(cells[place] for place in columns.kept),
            Particulars() if error else Particulars(**person),
            {name: value for name, value in given.items() if name in PAPERS},
            error,
        )
    if not count:
        raise InputInvalid("The file has a header but no rows.", remedy=_REMEDY)


def _fault(given: Mapping[str, str]) -> str:
    """What is wrong with a row's cells, or nothing; what would silently be missing is an error here."""
    for name, value in given.items():
        if len(value) > MAX_CELL_CHARACTERS:
            return f"{name}: is longer than {MAX_CELL_CHARACTERS} characters"
        if any(unicodedata.category(letter).startswith("C") for letter in value):
            return f"{name}: holds a control character"
    if not given.get("last") and not given.get("first"):
        return "first, last: there is no name"
    if given.get("ssn4") and not _LAST_FOUR.fullmatch(given["ssn4"]):
        return "ssn4: is the last four digits alone"
    for name in REFUSED_IN_LOOKUPS:
        if reason := refusal(name, _padded(name, given.get(name, ""))):
            return f"{name}: {reason}"
    return ""


def _padded(name: str, value: str) -> str:
    """A spreadsheet that took the last four digits for a number has dropped the zeros in front."""
    return value.zfill(4) if name == "ssn4" and value else value


# --- out -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ResultRow:
    """A row with what was found; texts as they are written."""

    number: int
    cells: tuple[str, ...] = field(repr=False)
    results: tuple[str, ...] = field(repr=False)
    revision: int = 0
    changed: str = ""

    def written(self) -> tuple[str, ...]:
        return (str(self.number), *self.cells, *self.results, str(self.revision or ""), self.changed)


def header(columns: Sequence[str]) -> tuple[str, ...]:
    """The first line of the result."""
    return ("row", *columns, *RESULTS, *CHANGED)


def lines(columns: Sequence[str], rows: Iterable[ResultRow]) -> Iterator[str]:
    """The result file, line by line, with their ends."""
    yield _line(header(columns))
    for row in rows:
        yield _line(row.written())


def _line(cells: Iterable[str]) -> str:
    out = io.StringIO(newline="")
    # RFC 4180; and with another line end a lone carriage return in a cell would not be quoted.
    csv.writer(out, lineterminator="\r\n").writerow([csv_file.guarded(cell) for cell in cells])
    return out.getvalue()
