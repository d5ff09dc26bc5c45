"""A process of its own that opens a workbook: a file in, rows out as lines of JSON.

    python -m candor_node.workbook_helper SHEET ROWS COLUMNS < FILE > LINES   (started by `workbook`)

Whoever makes a workbook chooses how much memory its parser takes: two cells in opposite corners make a
grid of 17 thousand million. So it is opened here, under limits of memory and time, and what goes wrong ends
this process and nothing else. It opens no other file, and knows no key.

The first line is an object: what the sheets are called, or the code of what is wrong. Each further line is a
row, an array: its number as the spreadsheet counts, and its cells as texts.
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import date, datetime, time
from typing import BinaryIO, TextIO

MEMORY_OCTETS = 2 * 1024**3
CPU_SECONDS = 300
# Whole numbers above this are not exact in a spreadsheet.
_EXACT = 2**53

PASSWORD, BROKEN, NO_SHEET, WHICH_SHEET, TOO_MANY_ROWS, TOO_MANY_COLUMNS, EMPTY = (
    "PASSWORD", "BROKEN", "NO_SHEET", "WHICH_SHEET", "TOO_MANY_ROWS", "TOO_MANY_COLUMNS", "EMPTY",
)  # fmt: skip


def text(value: object) -> str:
    """The one text of a cell: days in ISO form, whole numbers without a point, formulas as their value."""
    match value:
        case str():
            return value
        case bool():
            return "TRUE" if value else "FALSE"
        case float() if value.is_integer() and abs(value) < _EXACT:
            return str(int(value))
        case datetime() if value.time() == time(0):
            return value.date().isoformat()
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case date():
            return value.isoformat()
    return str(value)


def convert(source: BinaryIO, out: TextIO, sheet: str, max_rows: int, max_columns: int) -> None:
    """Write the rows of `sheet` (empty: the only one that can be seen) as lines of JSON."""
    import python_calamine as calamine

    def refuse(code: str, names: list[str]) -> None:
        out.write(json.dumps({"error": code, "sheets": names}) + "\n")

    try:
        book = calamine.CalamineWorkbook.from_filelike(source)
    except calamine.PasswordError:
        return refuse(PASSWORD, [])
    except calamine.CalamineError:
        return refuse(BROKEN, [])
    names = [
        known.name
        for known in book.sheets_metadata
        if known.typ is calamine.SheetTypeEnum.WorkSheet
        and known.visible is calamine.SheetVisibleEnum.Visible
    ]
    if sheet and sheet not in names:
        return refuse(NO_SHEET, names)
    if not sheet and len(names) != 1:
        return refuse(WHICH_SHEET if names else EMPTY, names)
    try:
        found = book.get_sheet_by_name(sheet or names[0])
    except calamine.CalamineError:
        return refuse(BROKEN, names)
    if found.end is None:
        return refuse(EMPTY, names)
    if found.end[0] >= max_rows:
        return refuse(TOO_MANY_ROWS, names)
    if found.end[1] >= max_columns:
        return refuse(TOO_MANY_COLUMNS, names)
    out.write(json.dumps({"sheets": names}) + "\n")
    for number, cells in enumerate(found.iter_rows(), 1):
        out.write(json.dumps([number, *map(text, cells)], ensure_ascii=False) + "\n")
    return None


def main() -> None:
    """Entry point of the process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_OCTETS, MEMORY_OCTETS))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sheet, rows, columns = sys.argv[1:]
    with open(0, "rb") as source, open(1, "w", encoding="utf-8") as out:
        convert(source, out, sheet, int(rows), int(columns))


if __name__ == "__main__":
    main()
