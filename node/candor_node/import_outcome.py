"""What an import did, or would do: row by row, and in numbers. No cell is repeated in any of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class RowError:
    """What is wrong with one cell. `row` counts as the spreadsheet does: the header is row 1."""

    row: int
    column: str
    reason: str
    # The code of what may not be reported at all (`Refusal`); empty for what is merely wrong.
    code: str = ""

    def __str__(self) -> str:
        return f"row {self.row}, {self.column}: {self.reason}"


class Status(Enum):
    """What an import does, or would do, with a row."""

    NEW = "NEW"
    CHANGED = "CHANGED"
    UNCHANGED = "UNCHANGED"
    # Perhaps filed already under another id; waits for a person's word.
    DUPLICATE = "DUPLICATE"
    REFUSED = "REFUSED"
    # Of a record that has ended here; it stays as it is.
    PASSED_OVER = "PASSED_OVER"


@dataclass(frozen=True)
class Outcome:
    """What becomes of one row. `report` is what a change is filed as, `held` which clauses would hold it.

    `wanting` names fields that a complete report of its kind gives; no row is refused for them.
    """

    row: int
    status: Status
    problems: tuple[RowError, ...] = ()
    report: str = ""
    held: tuple[str, ...] = ()
    wanting: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportReport:
    """What an import did, or would do. With errors it did nothing; `errors` shows the first 1,000 of them.

    `held` counts new and changed records the gate holds, `held_because` the clauses that do. `opening` counts
    records that the file would open from RED: they stay as they are until a second person agrees. `drafts`
    counts new records that a second person has to review. `refused_because` counts problems by code,
    `wanting` fields that complete reports would give.
    """

    new: int
    changed: int
    unchanged: int
    held: int
    errors: tuple[RowError, ...] = ()
    error_count: int = 0
    duplicates: int = 0
    passed_over: int = 0
    opening: int = 0
    reports: Mapping[str, int] = field(default_factory=dict)
    held_because: Mapping[str, int] = field(default_factory=dict)
    drafts: int = 0
    refused_because: Mapping[str, int] = field(default_factory=dict)
    wanting: Mapping[str, int] = field(default_factory=dict)
