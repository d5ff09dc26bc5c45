"""A table on its way out, CSV or Excel by the file's name: reports, templates and exports.

Rules of this file:
- no cell can run: in CSV what begins a formula is guarded (`csv_file.guarded`), in a workbook every cell is a
  text, guarded as well, for workbooks are saved as CSV;
- the file is readable by its owner alone, and replaced whole or not touched;
- rows are written as they come, so that memory does not grow with the file.
"""

from __future__ import annotations

import csv
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from candor_node import csv_file
from candor_proto.errors import AlreadyExists, InputInvalid

# What a cell of a workbook holds at most (Excel's own limit).
MAX_WORKBOOK_CELL = 32_767
MARK_COLOUR = "#FCE4D6"
_WORKBOOK, _CSV = ".xlsx", ".csv"


@dataclass(frozen=True, repr=False)
class Line:
    """A row; one that is `marked` is coloured in a workbook."""

    cells: Sequence[str]
    marked: bool = False


def check_target(path: Path, *, replace: bool, source: Path | None = None) -> None:
    """Raises InputInvalid or AlreadyExists when `path` cannot be written; before any work is done for it."""
    if path.suffix.lower() not in (_WORKBOOK, _CSV):
        raise InputInvalid("The file to be written must end in .xlsx or .csv.", remedy="Name another file.")
    check_free(path, replace=replace, source=source)


def check_free(path: Path, *, replace: bool, source: Path | None = None) -> None:
    """As `check_target`, whatever the file is called."""
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputInvalid(f"{path.parent} cannot be written.", remedy="Name another file.")
    if source is not None and path.exists() and path.samefile(source):
        raise InputInvalid(f"{path} is the file that is read.", remedy="Name another file to be written.")
    if path.exists() and not replace:
        raise AlreadyExists(f"{path} is there already.", remedy="Name another file, or say --force.")


@contextmanager
def private_file(path: Path) -> Iterator[Path]:
    """A file beside `path`, of mode 0600, that takes its place at the end; after an error nothing is left."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield beside
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise InputInvalid(f"{path} cannot be written: {error.strerror}.", remedy="Check the disk.") from None
    finally:
        beside.unlink(missing_ok=True)


@dataclass(frozen=True, repr=False)
class Sheet:
    """A sheet of a workbook."""

    name: str
    header: Sequence[str]
    lines: Iterable[Line]


def write(path: Path, header: Sequence[str], lines: Iterable[Line]) -> None:
    """Write header and lines. Raises InputInvalid; then `path` is as it was."""
    with private_file(path) as beside:
        if path.suffix.lower() == _WORKBOOK:
            write_workbook(beside, [Sheet("records", header, lines)])
        else:
            write_csv(beside, header, lines)


def is_workbook(path: Path) -> bool:
    return path.suffix.lower() == _WORKBOOK


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Line]) -> None:
    # With the mark of UTF-8, without which Excel reads names in the machine's old encoding.
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow([csv_file.guarded(cell) for cell in header])
        writer.writerows([csv_file.guarded(cell) for cell in line.cells] for line in lines)


def write_workbook(path: Path, sheets: Iterable[Sheet]) -> None:
    """Write sheets one after the other; memory does not grow with their lines."""
    import xlsxwriter

    # What is written on the way lies beside the file, not in a folder that others read.
    book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "tmpdir": str(path.parent)})
    # Whoever corrects a cell types a text: leading zeros stay.
    plain = book.add_format({"num_format": "@"})
    bold = book.add_format({"bold": True, "num_format": "@"})
    marked = book.add_format({"bg_color": MARK_COLOUR, "num_format": "@"})
    try:
        for each in sheets:
            sheet = book.add_worksheet(each.name)
            last, width = 0, max(len(each.header) - 1, 0)
            sheet.freeze_panes(1, 0)
            sheet.set_column(0, width, 16, plain)
            sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
            for column, cell in enumerate(each.header):
                sheet.write_string(0, column, csv_file.guarded(cell), bold)
            for row, line in enumerate(each.lines, 1):
                last = row
                for column, cell in enumerate(line.cells):
                    if len(cell) >= MAX_WORKBOOK_CELL:
                        raise InputInvalid(
                            f"Row {row + 1} holds a cell that is longer than a workbook takes.",
                            remedy="Name a .csv file instead.",
                        )
                    if cell or line.marked:
                        how = marked if line.marked else plain
                        sheet.write_string(row, column, csv_file.guarded(cell), how)
            sheet.autofilter(0, 0, last, width)
    finally:
        book.close()
