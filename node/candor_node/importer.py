"""Import of records from a CSV file: all of it or nothing.

Rules of this file:
- what is wrong with the *file* raises InputInvalid with one sentence; what is wrong with *rows* is reported
  row by row, column by column, and then no row at all is stored;
- no message repeats a cell, for a cell in the wrong column may be anybody's name;
- a row is known by its agency_record_id: the same content again changes nothing, another content is a new
  version. So an agency may send its whole export every night.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from candor_node import csv_file, filings, ledger, lifecycle
from candor_node.lifecycle import Doing
from candor_node.store import Database
from candor_proto.errors import InputInvalid
from candor_proto.ids import NodeId, Ori
from candor_records.content import ALL_FIELDS, CONTENT_FIELDS, Content
from candor_records.life import LIVE
from candor_records.policy import NoPack, Policy
from candor_records.record_fields import parse
from candor_records.records import Dcn, Standing

COLUMNS = CONTENT_FIELDS
MAX_ROWS = 100_000
MAX_ERRORS_SHOWN = 1_000
# csv refuses longer cells by itself; the longest column, the narrative, holds 4,000 characters.
MAX_CELL_CHARACTERS = 131_072
_YEAR = timedelta(days=366)
_NO_PACK = NoPack()

_REMEDY = "Nothing was stored. Save it as CSV (UTF-8, comma-separated) with the columns of the template."


@dataclass(frozen=True)
class RowError:
    """What is wrong with one cell. `row` counts as the spreadsheet does: the header is row 1."""

    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.column}: {self.reason}"


@dataclass(frozen=True)
class ImportReport:
    """What an import did. With errors it did nothing; `errors` shows the first 1,000 of `error_count`."""

    new: int
    changed: int
    unchanged: int
    held: int
    errors: tuple[RowError, ...] = ()
    error_count: int = 0


@dataclass(frozen=True)
class ParsedRow:
    row: int
    content: Content


class RowErrors:
    """What is wrong with a file's rows: counted in full, kept up to MAX_ERRORS_SHOWN. Empty is false."""

    def __init__(self) -> None:
        self.shown: list[RowError] = []
        self._count = 0

    def add(self, row: int, column: str, reason: str) -> None:
        self._count += 1
        if self._count <= MAX_ERRORS_SHOWN:
            self.shown.append(RowError(row, column, reason))

    def __len__(self) -> int:
        return self._count


def import_csv(
    store_db: Database,
    content: bytes,
    now: datetime,
    ori: Ori,
    node: NodeId,
    contributor: str,
    policy: Policy = _NO_PACK,
) -> ImportReport:
    """Import a file inside the caller's transaction. `held` counts new and changed records the gate holds.

    Raises InputInvalid when the file as a whole cannot be read. To keep a large file from holding up the
    writer, call `parse_csv` outside and `store_rows` inside the transaction.
    """
    rows, errors = parse_csv(content)
    if errors:
        return refused(errors)
    return store_rows(store_db, rows, now, ori, node, contributor, policy)


def refused(errors: RowErrors) -> ImportReport:
    """The report of an import that stored nothing."""
    return ImportReport(0, 0, 0, 0, tuple(errors.shown), len(errors))


# --- reading -----------------------------------------------------------------------------------------


def parse_csv(content: bytes) -> tuple[list[ParsedRow], RowErrors]:
    """All rows, or no row and what is wrong with them. Raises InputInvalid when this is no such file."""
    lines = csv_file.rows(csv_file.decode(content, _REMEDY), _REMEDY)
    columns = _header(next(lines, (1, []))[1])
    rows: list[ParsedRow] = []
    errors = RowErrors()
    seen: dict[str, int] = {}
    count = 0
    for number, cells in lines:
        count += 1
        if count > MAX_ROWS:
            raise InputInvalid(
                f"The file has more than {MAX_ROWS:,} rows.", remedy="Nothing was stored. Split the file."
            )
        if len(cells) != len(columns):
            reason = f"has {len(cells)} cells where the header has {len(columns)}; check quotes and commas"
            errors.add(number, "(row)", reason)
            continue
        row = dict(zip(columns, cells, strict=True))
        record, faults = parse(row)
        for fault in faults:
            errors.add(number, fault.field, fault.reason)
        agency_record_id = row["agency_record_id"].strip()
        if agency_record_id and seen.setdefault(agency_record_id, number) != number:
            reason = f"stands in row {seen[agency_record_id]} already; each record once"
            errors.add(number, "agency_record_id", reason)
        if record is not None and not errors:
            rows.append(ParsedRow(number, record))
    if not count:
        raise InputInvalid("The file has a header but no rows.", remedy=_REMEDY)
    return ([] if errors else rows), errors


def _header(cells: list[str]) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    faults = []
    missing = [name for name in COLUMNS if name not in columns]
    unknown = [name for name in columns if name not in ALL_FIELDS]
    twice = sorted({name for name in columns if columns.count(name) > 1 and name in ALL_FIELDS})
    if len(missing) == len(COLUMNS):
        if len(columns) == 1 and any(mark in cells[0] for mark in ";\t|"):
            raise InputInvalid("The columns are not separated by commas.", remedy=_REMEDY)
        raise InputInvalid("The first row does not name the columns.", remedy=_REMEDY)
    if missing:
        faults.append(f"missing: {', '.join(missing)}")
    if unknown:
        # A header cell is quoted only where it looks like a column name; it may be data.
        shown = [name if name.replace("_", "").isalpha() and len(name) <= 40 else "…" for name in unknown]
        faults.append(f"unknown: {', '.join(shown[:40])}")
    if twice:
        faults.append(f"twice: {', '.join(twice)}")
    if faults:
        raise InputInvalid(f"The columns are not those of the template; {'; '.join(faults)}.", remedy=_REMEDY)
    return columns


# --- storing -----------------------------------------------------------------------------------------


def store_rows(
    db: Database,
    rows: list[ParsedRow],
    now: datetime,
    ori: Ori,
    node: NodeId,
    contributor: str,
    policy: Policy = _NO_PACK,
) -> ImportReport:
    """Store parsed rows inside the caller's transaction; nothing when one of them may not be stored."""
    doing = Doing(now, contributor, policy)
    new: list[Content] = []
    changed: list[tuple[Dcn, Content]] = []
    errors = RowErrors()
    unchanged = 0
    for row in rows:
        if row.content.effective_on > now.date() + _YEAR:
            errors.add(row.row, "effective_on", "lies more than a year ahead")
            continue
        known = filings.current_filing(db, ori, row.content.agency_record_id)
        if known is None:
            new.append(row.content)
        elif known.standing not in LIVE:
            reason = "this record is void, expired or expunged; a new report needs a new id"
            errors.add(row.row, "agency_record_id", reason)
        elif known.content_mac == filings.content_mac(db, row.content):
            unchanged += 1
        else:
            changed.append((known.dcn, row.content))
    if errors:
        return refused(errors)
    events = [lifecycle.file(db, content, ori, node, doing) for content in new]
    events += [event for dcn, content in changed if (event := lifecycle.correct(db, dcn, content, doing))]
    held = sum(event.after.circumstances.standing is not Standing.ACTIVE for event in events)
    counts: dict[str, ledger.Value] = {"new": len(new), "changed": len(changed), "unchanged": unchanged}
    refs = {"ori": str(ori), "user": contributor}
    ledger.append(db, now, "import.done", refs, {**counts, "held": held})
    return ImportReport(len(new), len(changed), unchanged, held)
