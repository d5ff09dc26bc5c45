"""The files of an evaluation: records, queries and true pairs, as anybody has them.

Rules of this file:
- a file that cannot be used is one sentence that says what to do; no message repeats a cell;
- columns stand in any order under their own name or another system's; one that is absent is missing in
  every row, one that is not known is not read;
- labels (`kind`, `origin`, what --by names) come from the queries alone and never stand in a `Row`; nothing
  else of `entity_id`, `address` or `agency` is read at all;
- records are streamed: of half a million only the ids are held, and only while they are checked.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from candor_proto.errors import InputInvalid
from candor_proto.normalise import MAX_FIELD_CHARACTERS
from candor_records.content import IDENTITY_FIELDS

# The values of IDENTITY_FIELDS in their order: all that matching is given of a person.
Row = tuple[str, ...]

ALIASES: Mapping[str, str] = {
    "id": "rec_id",
    "given_name": "first",
    "first_name": "first",
    "middle_name": "middle",
    "surname": "last",
    "last_name": "last",
    "dob": "birth_date",
    "date_of_birth": "birth_date",
    "ssn": "ssn4",
    "soc_sec_id": "ssn4",
    "last4": "ssn4",
    "ssn_last4": "ssn4",
}
# Columns that hold a whole number, of which the last four digits are taken.
_WHOLE_NUMBERS = frozenset({"ssn", "soc_sec_id"})
# Labels by which figures are broken down whenever the queries have them.
GROUP_LABELS = ("kind", "origin")
_SAVE = "Save it as CSV (UTF-8, comma-separated) with a header."
_PERSONS = f"{_SAVE} Columns: rec_id, and any of {', '.join(IDENTITY_FIELDS)} (dob for birth_date)."
_TRUTH = f"{_SAVE} Columns: query_id, rec_id; one line for each true pair."
_FRACTION = re.compile(r"\.0+\Z")
_NOT_A_DIGIT = re.compile(r"[^0-9]+")
_PEEK = 65_536


class FieldSet(Enum):
    """Which columns take part; the others are blanked on both sides."""

    ND = frozenset({"first", "last", "birth_date"})
    NDS = frozenset({"first", "last", "birth_date", "ssn4"})
    NDSMP = frozenset(IDENTITY_FIELDS)

    def blank(self, row: Row) -> Row:
        """`row` with only the columns of this set."""
        if self is FieldSet.NDSMP:
            return row
        pairs = zip(IDENTITY_FIELDS, row, strict=True)
        return tuple([value if name in self.value else "" for name, value in pairs])


@dataclass(frozen=True)
class Query:
    """One person asked about. `number` is the spreadsheet's row; `labels` are for breaking figures down."""

    query_id: str = field(repr=False)
    number: int
    row: Row = field(repr=False)
    labels: Mapping[str, str] = field(repr=False)


# --- any CSV file ------------------------------------------------------------------------------------


def _lines(path: Path, remedy: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold anything, with the spreadsheet's number; cells trimmed. Raises InputInvalid."""
    with path.open("rb") as octets:
        _check_kind(octets.read(_PEEK), path, remedy)
        octets.seek(0)
        with io.TextIOWrapper(octets, "utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True, skipinitialspace=True)
            number = 0
            while True:
                number += 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except UnicodeDecodeError:
                    reason = f"{path.name} is not encoded in UTF-8, at row {number} or soon after it."
                    raise InputInvalid(reason, remedy=remedy) from None
                except csv.Error as error:
                    fault = (
                        "a cell is too long" if "limit" in str(error) else "a quotation mark is out of place"
                    )
                    raise InputInvalid(
                        f"Row {number} of {path.name} cannot be read: {fault}.", remedy=remedy
                    ) from None
                cells = [cell.strip() for cell in cells]
                if any(cells):
                    yield number, cells


def _check_kind(head: bytes, path: Path, remedy: str) -> None:
    """Refuse what is no text file, by how it begins."""
    fault = ""
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        fault = "is empty"
    elif head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        fault = "is an Excel workbook, not a CSV file"
    elif head.startswith((b"\xff\xfe", b"\xfe\xff")):
        fault = "is encoded in UTF-16, not in UTF-8"
    elif b"\0" in head:
        fault = "holds NUL octets, so it is no text file"
    if fault:
        raise InputInvalid(f"{path.name} {fault}.", remedy=remedy)


def _rows(
    path: Path, lines: Iterator[tuple[int, list[str]]], width: int, remedy: str
) -> Iterator[tuple[int, list[str]]]:
    """The rows behind the header, each as wide as it, at least one. Raises InputInvalid."""
    number = 0
    for number, cells in lines:
        if len(cells) != width:
            raise InputInvalid(
                f"Row {number} of {path.name} has {len(cells)} cells where the header has {width}.",
                remedy="Check its quotes and commas, or remove it.",
            )
        yield number, cells
    if not number:
        raise InputInvalid(f"{path.name} has a header but no rows.", remedy=remedy)


def _header(path: Path, lines: Iterator[tuple[int, list[str]]]) -> list[str]:
    """The names of the columns as they stand there, in lower case."""
    cells = next(lines, (1, [""]))[1]
    return [cell.lower().replace(" ", "_") for cell in cells]


def _place(path: Path, names: Sequence[str], wanted: str) -> int | None:
    """Where the column `wanted` stands: under its own name, else under another system's."""
    places = [place for place, name in enumerate(names) if name == wanted]
    places = places or [place for place, name in enumerate(names) if ALIASES.get(name) == wanted]
    if len(places) > 1:
        raise InputInvalid(
            f"{path.name} has {len(places)} columns for {wanted}.", remedy="Remove all of them but one."
        )
    return places[0] if places else None


def _needed(path: Path, names: Sequence[str], wanted: str, remedy: str) -> int:
    place = _place(path, names, wanted)
    if place is None:
        commas = len(names) > 1 or not any(mark in names[0] for mark in ";\t|")
        fault = f"has no column {wanted}" if commas else "is not separated by commas"
        raise InputInvalid(f"{path.name} {fault}.", remedy=remedy)
    return place


# --- persons -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Columns:
    """Where id and identity stand; `whole` are the places of numbers of which the last four digits count."""

    rec_id: int
    identity: tuple[int | None, ...]
    ssn4: int
    whole: bool

    def row(self, cells: Sequence[str]) -> Row:
        row = ["" if place is None else cells[place] for place in self.identity]
        if number := row[self.ssn4]:
            row[self.ssn4] = _last_four(number, whole=self.whole)
        return tuple(row)


def _columns(path: Path, names: Sequence[str]) -> _Columns:
    rec_id = _needed(path, names, "rec_id", _PERSONS)
    places = tuple([_place(path, names, name) for name in IDENTITY_FIELDS])
    if all(place is None for place in places):
        raise InputInvalid(f"{path.name} has no column that says who a row is about.", remedy=_PERSONS)
    ssn4 = IDENTITY_FIELDS.index("ssn4")
    place = places[ssn4]
    return _Columns(rec_id, places, ssn4, place is not None and names[place] in _WHOLE_NUMBERS)


def _last_four(text: str, *, whole: bool) -> str:
    """The last four digits. What took them for a number left `633` or `633.0` of 0633."""
    number = _FRACTION.sub("", text)
    if whole:
        number = _NOT_A_DIGIT.sub("", number)[-4:]
    return number.zfill(4) if number.isascii() and number.isdigit() else number


def _persons(path: Path) -> tuple[list[str], Iterator[tuple[int, str, Row, list[str]]]]:
    """The columns' names, and of each row its number, id, identity and all its cells."""
    lines = _lines(path, _PERSONS)
    names = _header(path, lines)
    columns = _columns(path, names)

    def read() -> Iterator[tuple[int, str, Row, list[str]]]:
        for number, cells in _rows(path, lines, len(names), _PERSONS):
            yield number, cells[columns.rec_id], columns.row(cells), cells

    return names, read()


def _checked(
    path: Path, persons: Iterator[tuple[int, str, Row, list[str]]]
) -> Iterator[tuple[int, str, Row, list[str]]]:
    """`persons`, each with an id of its own and no field that is longer than any name."""
    seen: set[str] = set()
    for number, rec_id, row, cells in persons:
        if not rec_id:
            raise InputInvalid(f"Row {number} of {path.name} has no rec_id.", remedy="Give every row one.")
        if rec_id in seen:
            raise InputInvalid(
                f"Row {number} of {path.name} has the rec_id of an earlier row.",
                remedy="Every row needs a rec_id of its own.",
            )
        seen.add(rec_id)
        if len("".join(row)) > MAX_FIELD_CHARACTERS:
            for name, value in zip(IDENTITY_FIELDS, row, strict=True):
                if len(value) > MAX_FIELD_CHARACTERS:
                    raise InputInvalid(
                        f"Row {number} of {path.name}: {name} is longer than {MAX_FIELD_CHARACTERS} letters.",
                        remedy="Check its quotes and commas, or shorten it.",
                    )
        yield number, rec_id, row, cells


def read_queries(path: Path, by: Sequence[str] = ()) -> list[Query]:
    """All queries with their labels. Raises InputInvalid."""
    names, persons = _persons(path)
    wanted = {}
    for name in by:
        key = name.strip().lower().replace(" ", "_")
        wanted[key] = _needed(path, names, key, f"--by takes a column of {path.name}.")
    for name in GROUP_LABELS:
        if name in names:
            wanted.setdefault(name, names.index(name))
    return [
        Query(rec_id, number, row, {name: cells[place] for name, place in wanted.items()})
        for number, rec_id, row, cells in _checked(path, persons)
    ]


@dataclass(frozen=True)
class Survey:
    """The records as a first reading finds them: all is well with them, and these are the true ones."""

    count: int
    known: Mapping[str, Row] = field(repr=False)


def survey_records(path: Path, wanted: Collection[str]) -> Survey:
    """Check every record; of those in `wanted` keep the row. Raises InputInvalid."""
    _, persons = _persons(path)
    count, known = 0, {}
    for _, rec_id, row, _ in _checked(path, persons):
        count += 1
        if rec_id in wanted:
            known[rec_id] = row
    return Survey(count, known)


def stream_records(path: Path) -> Iterator[tuple[str, Row]]:
    """Every record of a file that `survey_records` has passed."""
    return ((rec_id, row) for _, rec_id, row, _ in _persons(path)[1])


# --- true pairs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TruePairs:
    """By query: its records. A query that does not stand here has none."""

    path: Path
    by_query: Mapping[str, frozenset[str]] = field(repr=False)
    # The row on which each id is first named, for a message that names no id.
    first_query: Mapping[str, int] = field(repr=False)
    first_record: Mapping[str, int] = field(repr=False)

    def check(self, queries: Collection[str], records: Collection[str], files: tuple[Path, Path]) -> None:
        """Every id is known. Raises InputInvalid."""
        places = (
            ("query_id", self.first_query, queries, files[0]),
            ("rec_id", self.first_record, records, files[1]),
        )
        for column, first, known, file in places:
            unknown = min((number for name, number in first.items() if name not in known), default=0)
            if unknown:
                raise InputInvalid(
                    f"Row {unknown} of {self.path.name} names a {column} that no row of {file.name} has.",
                    remedy="Check that the three files belong together.",
                )


def read_truth(path: Path) -> TruePairs:
    """The true pairs; a pair that stands there twice is one. Raises InputInvalid."""
    lines = _lines(path, _TRUTH)
    names = _header(path, lines)
    query, record = (_needed(path, names, name, _TRUTH) for name in ("query_id", "rec_id"))
    found: dict[str, set[str]] = {}
    first_query: dict[str, int] = {}
    first_record: dict[str, int] = {}
    for number, cells in _rows(path, lines, len(names), _TRUTH):
        if not cells[query] or not cells[record]:
            raise InputInvalid(f"Row {number} of {path.name} lacks an id.", remedy=_TRUTH)
        found.setdefault(cells[query], set()).add(cells[record])
        first_query.setdefault(cells[query], number)
        first_record.setdefault(cells[record], number)
    pairs = {name: frozenset(records) for name, records in found.items()}
    return TruePairs(path, pairs, first_query, first_record)
