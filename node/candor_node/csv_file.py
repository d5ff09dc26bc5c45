"""A CSV file as people send it: what is wrong with it as a whole is one sentence (RECORDS: import, batch).

Rule of this file: no message repeats a cell, for a cell in the wrong column may be anybody's name.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator

from candor_proto.errors import InputInvalid

MAX_FILE_OCTETS = 64 * 1024 * 1024
# A spreadsheet would run what begins so (OWASP, CSV injection).
_FORMULA = re.compile("'*[=+@\t\r-]")


def decode(content: bytes, remedy: str) -> str:
    """The text of a CSV file in UTF-8; raises InputInvalid, with `remedy`, for whatever else it is."""
    if len(content) > MAX_FILE_OCTETS:
        raise InputInvalid(
            f"The file is larger than {MAX_FILE_OCTETS // 1024**2} MiB.",
            remedy="Nothing was stored. Split it.",
        )
    if content.startswith(b"PK\x03\x04"):
        raise InputInvalid("This is an Excel workbook (.xlsx), not a CSV file.", remedy=remedy)
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputInvalid("This is an old Excel workbook (.xls), not a CSV file.", remedy=remedy)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputInvalid("The file is encoded in UTF-16, not in UTF-8.", remedy=remedy)
    if b"\0" in content:
        raise InputInvalid("The file holds NUL octets, so it is no text file.", remedy=remedy)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputInvalid(f"Line {line} is not encoded in UTF-8.", remedy=remedy) from None
    if not text.strip():
        raise InputInvalid("The file is empty.", remedy=remedy)
    return text


def count(content: bytes) -> int:
    """How many rows with content stand behind the header; raises InputInvalid for no CSV file."""
    remedy = "Save it as CSV (UTF-8, comma-separated)."
    return max(0, sum(1 for _ in rows(decode(content, remedy), remedy)) - 1)


def rows(text: str, remedy: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the spreadsheet's row number; empty rows are counted but not returned."""
    return read(io.StringIO(text, newline=""), remedy)


def read(lines: Iterable[str], remedy: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """`rows` of lines that come one by one."""
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = "a cell is too long" if "limit" in str(error) else "a quotation mark is out of place"
            raise InputInvalid(f"Row {number} cannot be read: {reason}.", remedy=remedy) from None
        if any(cell.strip() for cell in cells):
            yield number, cells


def guarded(cell: str) -> str:
    """`cell` as no spreadsheet runs it; `unguarded` gives it back as it was."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The opposite of `guarded`, for cells of a file that was guarded."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
