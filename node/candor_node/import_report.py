"""The report of an import: the clerk's own table again, and what is wrong with which cell.

Rules of this file:
- rows and columns stand as in the file that was imported, ours behind them, so that cells are corrected where
  they are and the report itself is imported again: columns that begin with candor_ are left out then;
- all that is wrong with a row stands in its line, under the names of the clerk's own columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from candor_node import csv_file, table_file, table_out
from candor_node.mapping import OWN_PREFIX, Mapper, fold
from candor_node.table_file import Reading
from candor_node.table_out import Line

ROW, STATUS, PROBLEM = f"{OWN_PREFIX}row", f"{OWN_PREFIX}status", f"{OWN_PREFIX}problem"
REFUSAL, HINT = f"{OWN_PREFIX}refusal", f"{OWN_PREFIX}hint"
PROBLEMS = frozenset({"REFUSED", "DUPLICATE"})
_WORDS = {"REFUSED": "PROBLEM", "DUPLICATE": "POSSIBLE DUPLICATE", "PASSED_OVER": "passed over"}


@dataclass(frozen=True)
class RowResult:
    """What the node said of one row; `problems` are (column of the template, reason).

    `refusals` are codes of what may not be reported at all, `wanting` columns that a complete report gives.
    """

    status: str
    report: str = ""
    held: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    refusals: tuple[str, ...] = ()
    wanting: tuple[str, ...] = ()

    def words(self) -> str:
        """As the report's status column says it; what needs a person is in capitals."""
        word = _WORDS.get(self.status, self.status.lower())
        if self.status == "CHANGED":
            word = f"changed: {self.report}"
        return f"{word}; held: {', '.join(self.held)}" if self.held else word


def named(mapper: Mapper, column: str) -> str:
    """A column as the clerk knows it, with the template's name where that is another one."""
    heading = mapper.heading(column)
    return column if fold(heading) == fold(column) else f"{heading} ({column})"


def problem(mapper: Mapper, column: str, reason: str) -> str:
    return f"{named(mapper, column)}: {mapper.reason(column, reason)}"


def write(
    out: Path, source: Path, reading: Reading, mapper: Mapper, results: Mapping[int, RowResult]
) -> None:
    """Write the report of `source`, read once more. Raises InputInvalid."""
    header, rows = table_file.table(source, reading)
    kept = [at for at, cell in enumerate(header) if not cell.lower().startswith(OWN_PREFIX)]

    def lines() -> Iterator[Line]:
        for row in rows:
            result = results.get(row.number, RowResult(""))
            cells = [row.cells[at] if at < len(row.cells) else "" for at in kept]
            if mapper.guarded:
                cells = [csv_file.unguarded(cell) for cell in cells]
            # Cells behind the last column are what is wrong with the row: they must not be lost.
            more = [cell for cell in row.cells[len(header) :] if cell]
            told = "; ".join(problem(mapper, column, reason) for column, reason in result.problems)
            hint = f"a complete report also gives: {', '.join(result.wanting)}" if result.wanting else ""
            ours = (str(row.number), result.words(), told, ", ".join(dict.fromkeys(result.refusals)), hint)
            yield Line([*cells, *ours, *more], marked=result.status in PROBLEMS)

    table_out.write(out, [*(header[at] for at in kept), ROW, STATUS, PROBLEM, REFUSAL, HINT], lines())
