"""Records as lists show them: nothing that names anybody, nothing opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime

from candor_node.store import Database
from candor_proto.canonical import from_milliseconds
from candor_proto.ids import Ori
from candor_proto.policy import Sharing
from candor_proto.record import DisputeStatus, RecordKind, Tier
from candor_records.content import AdjudicationStatus
from candor_records.gate import GateState
from candor_records.records import Dcn, ReportType, Standing


@dataclass(frozen=True)
class Summary:
    """A record in a list, by its current filing."""

    dcn: Dcn
    version: int
    report_type: ReportType
    record_kind: RecordKind
    tier: Tier
    adjudication_status: AdjudicationStatus
    standing: Standing
    sharing: Sharing
    reporting_agency: Ori
    effective_on: date | None
    filed_at: datetime
    review_on: date | None
    expires_on: date | None
    legal_hold: bool
    dispute_status: DisputeStatus
    gate: GateState


_COLUMNS = (
    "record_heads.dcn, version, report_type, record_kind, tier, adjudication_status, standing, sharing,"
    " reporting_agency, effective_on, filed_at, review_on, expires_on, legal_hold, dispute_status, matchable,"
    " reasons, recheck_on, failed"
)
_Row = tuple[
    str, int, str, str, str, str, str, str, str, str | None, int, str | None, str | None, int, str, int, str,
    str | None, str,
]  # fmt: skip


def summaries(
    db: Database,
    *,
    kind: RecordKind | None = None,
    matchable: bool | None = None,
    limit: int = 1_000,
    offset: int = 0,
) -> list[Summary]:
    """Records for a list, newest filing first."""
    where, values = ["1"], list[str | int]()
    if kind is not None:
        where.append("record_kind = ?")
        values.append(kind.name)
    if matchable is not None:
        where.append("matchable = ?")
        values.append(int(matchable))
    sql = (
        f"SELECT {_COLUMNS} FROM record_heads JOIN records ON records.dcn = record_heads.dcn "  # noqa: S608
        f"WHERE {' AND '.join(where)} ORDER BY filed_at DESC, record_heads.rowid DESC LIMIT ? OFFSET ?"
    )
    return [_summary(row) for row in db.execute(sql, [*values, limit, offset])]


def _summary(row: _Row) -> Summary:
    failed = tuple(row[18].split(", ")) if row[18] else ()
    gate = GateState(bool(row[15]), tuple(json.loads(row[16])), _day(row[17]), failed)
    return Summary(
        dcn=Dcn(row[0]),
        version=row[1],
        report_type=ReportType[row[2]],
        record_kind=RecordKind[row[3]],
        tier=Tier[row[4]],
        adjudication_status=AdjudicationStatus[row[5]],
        standing=Standing[row[6]],
        sharing=Sharing[row[7]],
        reporting_agency=Ori(row[8]),
        effective_on=_day(row[9]),
        filed_at=from_milliseconds(row[10]),
        review_on=_day(row[11]),
        expires_on=_day(row[12]),
        legal_hold=bool(row[13]),
        dispute_status=DisputeStatus[row[14]],
        gate=gate,
    )


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def count(db: Database) -> tuple[int, int]:
    """(records, those of them that are matchable). A tombstone is no record."""
    row = db.execute(
        "SELECT count(*), coalesce(sum(matchable), 0) FROM record_heads WHERE standing <> ?",
        [Standing.EXPUNGED.name],
    ).fetchone()
    return row[0], row[1]
