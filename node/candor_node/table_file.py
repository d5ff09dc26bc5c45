"""A table as people send it, CSV or Excel, as one stream of rows: nothing here knows of records.

Rules of this file:
- it is read by the command in the clerk's own process; the node, which holds the keys, is sent rows;
- rows come one by one, so that memory does not grow with the file;
- what is wrong with the file as a whole raises InputInvalid with one sentence, and no message repeats a cell;
- nothing is guessed: encoding, delimiter and sheet are as the profile says, UTF-8 with commas without one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from candor_node import csv_file, workbook
from candor_proto.errors import InputInvalid

MAX_FILE_OCTETS = 64 * 1024**2
MAX_ROWS = 100_000
MAX_COLUMNS = 400

# By the names that profiles use.
ENCODINGS = {"utf-8": "utf-8", "windows-1252": "cp1252"}
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}

_REMEDY = "Nothing was stored. Save it as CSV (UTF-8, comma-separated) or as an Excel workbook (.xlsx)."


@dataclass(frozen=True)
class Reading:
    """How a file is to be read: keys of ENCODINGS and DELIMITERS for CSV, the sheet of a workbook."""

    encoding: str = "utf-8"
    delimiter: str = "comma"
    sheet: str = ""

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise InputInvalid(f"An encoding is one of {', '.join(ENCODINGS)}.")
        if self.delimiter not in DELIMITERS:
            raise InputInvalid(f"A delimiter is one of {', '.join(DELIMITERS)}.")


@dataclass(frozen=True, repr=False)
class Row:
    """A row as it stands in the file; `number` counts as the spreadsheet does, the header being a row."""

    number: int
    cells: list[str]


def is_workbook(path: Path) -> bool:
    """Whether the file is an Excel workbook of today; raises InputInvalid for what cannot be read at all."""
    try:
        octets = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    if octets > MAX_FILE_OCTETS:
        raise InputInvalid(
            f"The file is larger than {MAX_FILE_OCTETS // 1024**2} MiB.",
            remedy="Nothing was stored. Split it.",
        )
    if magic == workbook.OLE_MAGIC:
        raise InputInvalid(
            "This is an old Excel workbook (.xls), or one that is protected by a password.",
            remedy="Nothing was stored. Open it in Excel and save it as .xlsx, without a password.",
        )
    if magic[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputInvalid("The file is encoded in UTF-16, not in UTF-8.", remedy=_REMEDY)
    return magic == workbook.ZIP_MAGIC


def rows(path: Path, reading: Reading | None = None) -> Iterator[Row]:
    """Header and rows, those without content left out. Raises InputInvalid, at any row."""
    reading = reading or Reading()
    excel = is_workbook(path)
    # The header is a row of the sheet as well.
    most = MAX_ROWS + 1
    found = workbook.rows(path, reading.sheet, most, MAX_COLUMNS) if excel else _csv(path, reading)
    for count, (number, cells) in enumerate(found, 1):
        if count > most:
            raise InputInvalid(
                f"The file has more than {MAX_ROWS:,} rows.", remedy="Nothing was stored. Split the file."
            )
        if len(cells) > MAX_COLUMNS:
            raise InputInvalid(f"Row {number} has more than {MAX_COLUMNS} cells.", remedy=_REMEDY)
        yield Row(number, cells)


def table(path: Path, reading: Reading | None = None) -> tuple[list[str], Iterator[Row]]:
    """The header's cells, and the rows behind it. Raises InputInvalid, also while rows are taken."""
    found = rows(path, reading)
    header = next(found, None)
    if header is None:
        raise InputInvalid("The file is empty.", remedy=_REMEDY)
    return [cell.strip() for cell in header.cells], found


def delimiter_of(path: Path, encoding: str) -> str:
    """The name of the delimiter that the first line of a CSV file uses most; for proposals only."""
    if is_workbook(path):
        return "comma"
    with path.open("rb") as file:
        line = next(_lines(file, encoding), "")
    return max(DELIMITERS, key=lambda name: line.count(DELIMITERS[name]))


def _csv(path: Path, reading: Reading) -> Iterator[tuple[int, list[str]]]:
    with path.open("rb") as file:
        yield from csv_file.read(_lines(file, reading.encoding), _REMEDY, DELIMITERS[reading.delimiter])


def _lines(file: IO[bytes], encoding: str) -> Iterator[str]:
    """The lines of a file, each decoded by itself, so that a wrong octet is said to be where it is."""
    codec = ENCODINGS[encoding]
    for number, line in enumerate(file, 1):
        try:
            text = line.decode(codec)
        except UnicodeDecodeError:
            advice = " If it comes from an older system: --propose --encoding windows-1252."
            raise InputInvalid(
                f"Line {number} is not encoded in {encoding.upper()}.", remedy=_REMEDY + advice
            ) from None
        if "\0" in text:
            raise InputInvalid("The file holds NUL octets, so it is no text file.", remedy=_REMEDY)
        if number == 1:
            text = text.removeprefix("\ufeff")
        # Old systems end lines with a carriage return alone: csv must be given them one by one.
        yield from io.StringIO(text, newline="") if "\r" in text[:-2] else (text,)
