"""Records as lists show them: nothing that names anybody, nothing opened.

Rules of this file:
- a list is read page by page from where the last one ended (`Cursor`), in an order that an index keeps: no
  page costs more because it is a late one, and no filter reads the whole table;
- a total is counted up to `MOST_COUNTED`: beyond it, that there are more is all that anybody needs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, datetime

from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import InputInvalid
from candor_proto.ids import Ori
from candor_proto.policy import Sharing
from candor_proto.record import DisputeStatus, RecordKind, Tier
from candor_records.codes import AdjudicationStatus
from candor_records.gate import GateState
from candor_records.life import Act
from candor_records.records import Dcn, ReportType, Standing

MOST_COUNTED = 10_000


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
    str | None, str, *tuple[bytes, ...],
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


@dataclass(frozen=True)
class Filter:
    """Which records a list shows; None and "" leave a condition out. `held_because` names a gate's clause."""

    kind: RecordKind | None = None
    standing: Standing | None = None
    sharing: Sharing | None = None
    ori: Ori | None = None
    held_because: str = ""
    since: datetime | None = None

    def sql(self) -> tuple[str, str, list[str | int]]:
        """Where to look, the condition, and its values. Raises InputInvalid."""
        where, values = ["1"], list[str | int]()
        standing = self.standing
        if self.held_because:
            if standing not in (None, Standing.HELD):
                raise InputInvalid(
                    "Only records that are HELD are held because of something.",
                    remedy="Leave out --standing, or --held-because.",
                )
            standing = Standing.HELD
            where.append("instr(', ' || failed || ', ', ', ' || ? || ', ') > 0")
            values.append(self.held_because)
        for column, wanted in (
            ("record_kind", self.kind.name if self.kind else None),
            ("standing", standing.name if standing else None),
            ("sharing", self.sharing.name if self.sharing else None),
            ("reporting_agency", str(self.ori) if self.ori else None),
        ):
            if wanted is not None:
                where.append(f"{column} = ?")
                values.append(wanted)
        if self.since is not None:
            where.append("filed_at >= ?")
            values.append(to_milliseconds(self.since))
        # Several conditions are read from the one index that has them all: no row but a page's is touched.
        alone = len(where) == 2 or (self.held_because and len(where) == 3)
        named = self.ori is None and self.since is None and alone
        return "" if named else "INDEXED BY record_heads_filed", " AND ".join(where), values


@dataclass(frozen=True)
class Cursor:
    """Where a page ended: behind the record that was filed then. Travels as a text."""

    filed_at: int
    record_id: bytes

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises InputInvalid."""
        found = re.fullmatch(r"([0-9]{1,15})-([0-9a-f]{32})", text)
        if found is None:
            raise InputInvalid(
                "This is not where a list ended.",
                remedy="Copy what the page before said, or leave --after out.",
            )
        return cls(int(found[1]), bytes.fromhex(found[2]))

    def __str__(self) -> str:
        return f"{self.filed_at}-{self.record_id.hex()}"


@dataclass(frozen=True)
class Page:
    """Some records, how many there are in all (at most MOST_COUNTED + 1), and where the next page begins."""

    records: tuple[Summary, ...]
    total: int
    following: Cursor | None


def page(db: Database, wanted: Filter, after: Cursor | None = None, limit: int = 50, offset: int = 0) -> Page:
    """The records that `wanted` lets through, newest filing first. Raises InputInvalid.

    `offset` leaves out so many behind `after`; each of them is passed by, so `after` is the way to read on.
    """
    index, where, values = wanted.sql()
    counted = db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM record_heads {index} WHERE {where} LIMIT ?)",  # noqa: S608
        [*values, MOST_COUNTED + 1],
    ).fetchone()[0]
    if after is not None:
        where += " AND (filed_at, record_heads.record_id) < (?, ?)"
    rows = db.execute(
        _PAGE.format(index=index, where=where),
        [*values, *([after.filed_at, after.record_id] if after else []), limit + 1, offset],
    ).fetchall()
    ends = rows[limit - 1] if len(rows) > limit else None
    following = Cursor(ends[10], ends[19]) if ends else None
    return Page(tuple(_summary(row) for row in rows[:limit]), counted, following)


_PAGE = (
    f"SELECT {_COLUMNS}, record_heads.record_id FROM record_heads {{index}} "  # noqa: S608
    "JOIN records ON records.dcn = record_heads.dcn WHERE {where} "
    "ORDER BY filed_at DESC, record_heads.record_id DESC LIMIT ? OFFSET ?"
)


def drafts_of(db: Database, contributor: str, after: Cursor | None, limit: int) -> list[tuple[Dcn, Cursor]]:
    """Drafts that somebody filed, the oldest first, each with the place behind it."""
    place = after or Cursor(-1, b"")
    rows = db.execute(
        "SELECT heads.dcn, filed_at, heads.record_id FROM record_heads AS heads JOIN record_events AS events"
        " ON events.record_id = heads.record_id AND events.act = ? AND events.by = ?"
        " WHERE standing = ? AND (filed_at, heads.record_id) > (?, ?)"
        " ORDER BY filed_at, heads.record_id LIMIT ?",
        [Act.FILE.name, contributor, Standing.DRAFT.name, place.filed_at, place.record_id, limit],
    )
    return [(Dcn(dcn), Cursor(filed_at, record_id)) for dcn, filed_at, record_id in rows]


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
