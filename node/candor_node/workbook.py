"""Excel workbooks that people send: rows out of one, without trusting what made it.

Rules of this file:
- what the file says it unpacks to is read from its directory and refused before anything is unpacked;
- it is opened in a process of its own with limits of memory and time (`workbook_helper`), so that a workbook
  made to burst its parser ends that process, and the person reads a sentence;
- no message repeats a cell. Names of sheets are repeated: without them nobody could choose one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NoReturn

from candor_node import workbook_helper as helper
from candor_proto.errors import InputInvalid

# A sheet of 100,000 rows with 60 columns of text unpacks to some 400 MiB.
MAX_UNPACKED_OCTETS = 768 * 1024**2
MAX_PARTS = 2_000
# Repetitive sheets shrink to a thirtieth; what was made to burst, to a thousandth.
MAX_RATIO = 200
_SMALL_OCTETS = 16 * 1024**2

ZIP_MAGIC, OLE_MAGIC = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_SAVE_AS_CSV = "Nothing was stored. Open it in Excel and save the sheet as CSV (UTF-8), or as a new .xlsx."

_REFUSALS = {
    helper.PASSWORD: ("The workbook is protected by a password.", "Remove the password and try again."),
    helper.BROKEN: ("The file is not a workbook that can be read.", _SAVE_AS_CSV),
    helper.EMPTY: ("The sheet is empty.", "Choose the sheet with the records by --sheet."),
}


def rows(path: Path, sheet: str, max_rows: int, max_columns: int) -> Iterator[tuple[int, list[str]]]:
    """(row number, cells as texts) of a sheet, rows without content left out. Raises InputInvalid.

    `sheet` may be empty when the workbook has only one that can be seen.
    """
    with path.open("rb") as file:
        _check_directory(file)
        file.seek(0)
        yield from _opened(file, sheet, max_rows, max_columns)


def _check_directory(file: IO[bytes]) -> None:
    """Raises InputInvalid for an archive that unpacks to more than any sheet of records would."""
    packed = os.fstat(file.fileno()).st_size
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, RuntimeError):
        raise _refusal(helper.BROKEN) from None
    unpacked = sum(part.file_size for part in parts)
    burst = unpacked > _SMALL_OCTETS and unpacked > MAX_RATIO * packed
    if len(parts) > MAX_PARTS or unpacked > MAX_UNPACKED_OCTETS or burst:
        raise InputInvalid(
            f"The workbook would unpack to {unpacked // 1024**2:,} MiB in {len(parts):,} parts; no sheet of "
            "records does.",
            remedy=_SAVE_AS_CSV,
        )


def _opened(file: IO[bytes], sheet: str, max_rows: int, max_columns: int) -> Iterator[tuple[int, list[str]]]:
    process = subprocess.Popen(  # noqa: S603 the name of a sheet is an argument, never a command
        [
            sys.executable,
            "-P",
            "-m",
            "candor_node.workbook_helper",
            sheet,
            str(max_rows),
            str(max_columns),
        ],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")},
        encoding="utf-8",
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said:
            _broken()
        about = json.loads(said)
        if "error" in about:
            _refuse(about["error"], about["sheets"], max_rows, max_columns)
        for line in process.stdout:
            number, *cells = json.loads(line)
            if any(cell.strip() for cell in cells):
                yield number, cells
        # Rows that came out before its end say nothing about those behind them.
        if process.wait() != 0:
            _broken()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _broken() -> NoReturn:
    raise InputInvalid(
        "The workbook could not be read to its end: it is damaged, or takes more memory than a sheet of "
        "records does.",
        remedy=_SAVE_AS_CSV,
    ) from None


def _refuse(code: str, sheets: list[str], max_rows: int, max_columns: int) -> NoReturn:
    shown = ", ".join(f"“{name}”" for name in sheets[:20])
    if code == helper.WHICH_SHEET:
        raise InputInvalid(f"The workbook has several sheets: {shown}.", remedy="Name one with --sheet.")
    if code == helper.NO_SHEET:
        raise InputInvalid(
            f"The workbook has no such sheet; it has {shown}.", remedy="Name one with --sheet."
        )
    if code == helper.TOO_MANY_ROWS:
        raise InputInvalid(
            f"The sheet has more than {max_rows - 1:,} rows.", remedy="Nothing was stored. Split the file."
        )
    if code == helper.TOO_MANY_COLUMNS:
        raise InputInvalid(f"The sheet has more than {max_columns} columns.", remedy=_SAVE_AS_CSV)
    raise _refusal(code)


def _refusal(code: str) -> InputInvalid:
    words, remedy = _REFUSALS[code]
    return InputInvalid(words, remedy=remedy)
