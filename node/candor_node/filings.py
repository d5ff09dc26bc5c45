"""Filings as rows: versions sealed under their record's key, found again without being opened.

Rules of this file:
- identity, narrative and every other field of a version are sealed (`record_seals`). Columns in clear are
  those that filter, and name nobody;
- a version is never changed, only followed, and never deleted. What changes is the record's head: which
  version is current, its circumstances, and the gate's word;
- everything here runs inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from candor_node import record_digests
from candor_node.record_seals import destroy_key, draw_key, keep_key, key_of, open_sealed, seal
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import UnknownObject
from candor_proto.ids import NodeId, Ori
from candor_proto.policy import Sharing
from candor_proto.record import DisputeStatus
from candor_records.codes import AdjudicationStatus
from candor_records.content import FieldInvalid, content_fields
from candor_records.dispute import Dispute
from candor_records.earlier import EarlierReport
from candor_records.field_types import plain
from candor_records.gate import GateState
from candor_records.record_fields import parse
from candor_records.records import Circumstances, Dcn, Record, ReportType, Standing

GateColumns = tuple[int, str, str, str | None]
Cell = str | int | bytes | None

_MATTERS = b"matters"


def columns(gate: GateState) -> GateColumns:
    """A word of the gate as the columns `matchable`, `reasons`, `failed` and `recheck_on`."""
    recheck_on = gate.recheck_on.isoformat() if gate.recheck_on else None
    return int(gate.matchable), json.dumps(gate.reasons), ", ".join(gate.failed), recheck_on


# --- reading ------------------------------------------------------------------------------------------

_HEAD = (
    "standing, sharing, reviewed, sealed_by_order, legal_hold, record_heads.review_on,"
    " record_heads.expires_on, matters"
)
_JOINED = (
    "records JOIN record_heads USING (record_id) JOIN record_keys USING (record_id)"  # no key, no record
)
HeadColumns = tuple[str, str, int, int, int, str | None, str | None, bytes]


@dataclass(frozen=True, repr=False)
class SealedRecord:
    """A row that can be opened outside the transaction that read it."""

    dcn: str
    record_id: bytes
    version: int
    sealed: bytes
    key: bytes
    head: HeadColumns

    def open(self) -> Record:
        """The record; raises SealedDataInvalid if the row was altered or moved."""
        return _decode(self, *self._opened())

    def fields(self) -> dict[str, str]:
        """The version's fields as they were sealed, not read any further; raises SealedDataInvalid."""
        return self._opened()[0]

    def _opened(self) -> tuple[dict[str, str], tuple[EarlierReport, ...]]:
        what = f"The stored record {self.dcn}"
        text = open_sealed(self.key, self.sealed, _associated(self.record_id, self.dcn, self.version), what)
        found = json.loads(text)
        return found, tuple(map(EarlierReport.read, found.pop("earlier")))

    def circumstances(self) -> Circumstances:
        """As `open` finds them, without the version itself."""
        return _circumstances(self)


def _associated(record_id: bytes, dcn: str, version: int) -> bytes:
    return b"version" + record_id + dcn.encode("ascii") + version.to_bytes(4, "big")


def find(db: Database, dcn: Dcn) -> Record:
    """The filing with this control number; raises UnknownObject when there is none, or its key is gone."""
    return sealed_version(db, dcn).open()


def sealed_version(db: Database, dcn: Dcn) -> SealedRecord:
    """The filing with this control number, still sealed; raises UnknownObject when its key is gone."""
    rows = list(_sealed(db, "records.dcn = ?", [str(dcn)]))
    if not rows:
        raise UnknownObject(f"No record with the control number {dcn} can be opened here.")
    return rows[0]


def sealed_versions(db: Database, numbers: Sequence[str]) -> list[SealedRecord]:
    """The filings with these control numbers, still sealed; those whose key is gone are left out."""
    marks = ", ".join("?" * len(numbers))
    return list(_sealed(db, f"records.dcn IN ({marks})", list(numbers)))


def find_current(db: Database, record_id: bytes) -> Record:
    """The current version of a record; raises UnknownObject when its key is gone."""
    rows = list(_sealed(db, "records.record_id = ? AND current = 1", [record_id]))
    if not rows:
        raise UnknownObject(
            "The record was destroyed: nothing of it can be opened.",
            remedy="`candor-node records history` shows what was done with it, and who did it.",
        )
    return rows[0].open()


def record_id_of(db: Database, dcn: Dcn) -> bytes:
    """Which record a control number belongs to, destroyed or not; raises UnknownObject."""
    row = db.execute("SELECT record_id FROM records WHERE dcn = ?", [str(dcn)]).fetchone()
    if row is None:
        raise UnknownObject(
            f"There is no control number {dcn} here.", remedy="`candor-node records list` shows them."
        )
    found: bytes = row[0]
    return found


def versions(db: Database, record_id: bytes) -> list[Record]:
    """All versions of a record, oldest first; none once its key is gone."""
    return [row.open() for row in _sealed(db, "records.record_id = ?", [record_id], "version")]


def control_numbers(db: Database, record_id: bytes) -> list[str]:
    """Of all versions, oldest first, destroyed or not."""
    rows = db.execute("SELECT dcn FROM records WHERE record_id = ? ORDER BY version", [record_id])
    return [dcn for (dcn,) in rows]


def find_by_agency_id(db: Database, ori: Ori, agency_record_id: str) -> Record | None:
    """The current version of the agency's own record id, or None."""
    found_by = record_digests.agency_key(db, ori, agency_record_id)
    rows = list(_sealed(db, "agency_key = ? AND current = 1", [found_by]))
    return rows[0].open() if rows else None


@dataclass(frozen=True, repr=False)
class CurrentFiling:
    """What is known of an agency's record id without opening anything."""

    dcn: Dcn
    content_mac: bytes
    standing: Standing
    sharing: Sharing


def current_filing(db: Database, ori: Ori, agency_record_id: str) -> CurrentFiling | None:
    row = db.execute(
        "SELECT record_heads.dcn, content_mac, standing, sharing FROM record_heads "
        "JOIN records ON records.dcn = record_heads.dcn WHERE agency_key = ?",
        [record_digests.agency_key(db, ori, agency_record_id)],
    ).fetchone()
    return CurrentFiling(Dcn(row[0]), row[1], Standing[row[2]], Sharing[row[3]]) if row else None


def sealed_current(db: Database, *, matchable: bool | None = None) -> list[SealedRecord]:
    """All current records that have a key, still sealed; `matchable` narrows to the gate's last word."""
    if matchable is None:
        return list(_sealed(db, "current = 1", []))
    return list(_sealed(db, "current = 1 AND matchable = ?", [int(matchable)]))


def sealed_behind(db: Database, record_id: bytes, limit: int) -> list[SealedRecord]:
    """At most `limit` current records that have a key, still sealed, in the order of their ids."""
    where = "current = 1 AND records.record_id > ?"
    return list(_sealed(db, where, [record_id, limit], "records.record_id LIMIT ?"))


def sealed_now(db: Database, record_id: bytes) -> SealedRecord | None:
    """The current version of a record, still sealed; None once its key is gone."""
    return next(_sealed(db, "current = 1 AND records.record_id = ?", [record_id]), None)


def due_for_gate(db: Database, today: date) -> list[SealedRecord]:
    """Current records whose gate may have changed by `today`.

    Also those whose time to be kept was over already when they were filed: nothing is left to change the
    gate's word, and they have to expire all the same.
    """
    due = (
        "current = 1 AND records.record_id IN (SELECT record_id FROM record_heads WHERE recheck_on <= ?"
        " UNION ALL SELECT record_id FROM record_heads WHERE expires_on <= ?"
        " AND +standing IN ('DRAFT', 'HELD', 'ACTIVE'))"
    )
    return list(_sealed(db, due, [today.isoformat()] * 2))


def gate_words(db: Database) -> dict[str, bool]:
    """The gate's last word on every current record, by control number."""
    return {dcn: bool(matchable) for dcn, matchable in db.execute("SELECT dcn, matchable FROM record_heads")}


def gate_columns(db: Database) -> dict[str, GateColumns]:
    """What is stored of the gate's last word on every current record, by control number."""
    rows = db.execute("SELECT dcn, matchable, reasons, failed, recheck_on FROM record_heads")
    return {
        dcn: (matchable, reasons, failed, recheck_on) for dcn, matchable, reasons, failed, recheck_on in rows
    }


def _sealed(
    db: Database, where: str, values: Sequence[str | int | bytes], order: str = "records.rowid"
) -> Iterator[SealedRecord]:
    # `where` and `order` are constants of this module.
    sql = f"SELECT records.dcn, record_id, version, sealed, key, {_HEAD} FROM {_JOINED} WHERE {where}"  # noqa: S608
    rows = db.execute(f"{sql} ORDER BY {order}", list(values))
    return (SealedRecord(row[0], row[1], row[2], row[3], row[4], tuple(row[5:])) for row in rows)


# --- writing ------------------------------------------------------------------------------------------


def insert(db: Database, record: Record, gate: GateState) -> None:
    """Store `record` as the current version, in place of the one it follows.

    Raises FieldInvalid when it does not follow the current version of its record.
    """
    record_id = record.record_id
    found_by = record_digests.agency_key(db, record.reporting_agency, record.content.agency_record_id)
    row = db.execute(
        "SELECT record_id, record_heads.dcn, version FROM record_heads JOIN records USING (record_id) "
        "WHERE (agency_key = ? OR record_id = ?) AND current = 1",
        [found_by, record_id],
    ).fetchall()
    expected = [] if record.version == 1 else [(record_id, str(record.previous_dcn), record.version - 1)]
    if row != expected:
        raise FieldInvalid("previous_dcn", "the record was changed in the meantime; read it again")
    key = key_of(db, record_id) if row else draw_key()
    db.execute("UPDATE records SET current = 0 WHERE record_id = ? AND current = 1", [record_id])
    secret = record_digests.digest_secret(db)
    version, head = version_row(record, key, secret), head_row(record, gate, key, secret)
    db.execute(f"INSERT INTO records ({_names(version)}) VALUES ({_marks(version)})", list(version.values()))  # noqa: S608
    updates = ", ".join(f"{name} = excluded.{name}" for name in head if name != "record_id")
    db.execute(
        f"INSERT INTO record_heads ({_names(head)}) VALUES ({_marks(head)}) "  # noqa: S608
        f"ON CONFLICT (record_id) DO UPDATE SET {updates}",
        list(head.values()),
    )
    if not row:
        keep_key(db, record_id, key)


def version_row(record: Record, key: bytes, secret: bytes) -> dict[str, Cell]:
    """A version as its row of `records`, sealed under the record's key; `secret` is `digest_secret`."""
    dcn = str(record.dcn)
    return {
        "dcn": dcn,
        "record_id": record.record_id,
        "version": record.version,
        "previous_dcn": str(record.previous_dcn) if record.previous_dcn else None,
        "report_type": record.report_type.name,
        "current": 1,
        "created_at": to_milliseconds(record.created_at),
        "content_mac": record_digests.content_digest(secret, record.content),
        "sealed": seal(key, _encode(record), _associated(record.record_id, dcn, record.version)),
    }


def head_row(record: Record, gate: GateState, key: bytes, secret: bytes) -> dict[str, Cell]:
    """A record as its row of `record_heads` while `record` is its current version."""
    return {
        "record_id": record.record_id,
        "agency_key": record_digests.agency_digest(
            secret, record.reporting_agency, record.content.agency_record_id
        ),
        "person_key": record_digests.person_digest(secret, record.content),
        "dcn": str(record.dcn),
        "record_kind": record.kind.name,
        "tier": record.tier.name,
        "adjudication_status": record.adjudication_status.name,
        "reporting_agency": str(record.reporting_agency),
        "effective_on": record.content.effective_on.isoformat(),
        "filed_at": to_milliseconds(record.created_at),
        **_gate_values(gate),
        **_circumstance_values(record, key),
    }


def _names(row: Mapping[str, Cell]) -> str:
    return ", ".join(row)


def _marks(row: Mapping[str, Cell]) -> str:
    return ", ".join("?" * len(row))


def set_circumstances(db: Database, record: Record, gate: GateState) -> None:
    """Store what changed of a record without a filing, and what the gate says to it."""
    values = {**_gate_values(gate), **_circumstance_values(record, key_of(db, record.record_id))}
    _set_head(db, record.record_id, values)


def set_times(db: Database, record: Record) -> None:
    """Store when a record is reviewed and when it ends; what that means for the gate is asked after it."""
    _set_head(db, record.record_id, _time_values(record.circumstances))


def set_gate(db: Database, record: Record, gate: GateState) -> None:
    """Store what the gate says now; a living record stands where that puts it."""
    _set_head(db, record.record_id, {**_gate_values(gate), "standing": record.circumstances.standing.name})


def _set_head(db: Database, record_id: bytes, values: Mapping[str, Cell]) -> None:
    updates = ", ".join(f"{name} = ?" for name in values)  # names of this module
    db.execute(
        f"UPDATE record_heads SET {updates} WHERE record_id = ?",  # noqa: S608
        [*values.values(), record_id],
    )


def _gate_values(gate: GateState) -> dict[str, Cell]:
    return dict(zip(("matchable", "reasons", "failed", "recheck_on"), columns(gate), strict=True))


def _circumstance_values(record: Record, key: bytes) -> dict[str, Cell]:
    now = record.circumstances
    matters = {
        "statement": now.subject_statement,
        "dispute": now.dispute.fields() if now.dispute else None,
        "told_on": now.subject_told_on.isoformat() if now.subject_told_on else "",
    }
    owed = now.dispute.due() if now.dispute else None
    return {
        "standing": now.standing.name,
        "sharing": now.sharing.name,
        "reviewed": int(now.reviewed),
        "sealed_by_order": int(now.sealed_by_order),
        "legal_hold": int(now.legal_hold),
        **_time_values(now),
        "dispute_status": record.dispute_status.name,
        "dispute_due_on": owed[0].isoformat() if owed else None,
        "matters": seal(key, _json(matters), _MATTERS + record.record_id),
    }


def _time_values(now: Circumstances) -> dict[str, Cell]:
    days = {"review_on": now.review_on, "expires_on": now.expires_on}
    return {name: day.isoformat() if day else None for name, day in days.items()}


def bury(db: Database, record_id: bytes) -> None:
    """Leave a tombstone of a record whose key is destroyed: its control numbers, and nothing that it said.

    What the agency's own id is digested to stays, so that the next export does not bring the record back.
    """
    destroy_key(db, record_id)
    db.execute("UPDATE records SET sealed = x'', content_mac = zeroblob(32) WHERE record_id = ?", [record_id])
    gone = GateState(False, (), None)
    _set_head(db, record_id, {**_gate_values(gone), **_TOMBSTONE})


_TOMBSTONE: Mapping[str, Cell] = {
    "standing": Standing.EXPUNGED.name,
    "adjudication_status": AdjudicationStatus.EXPUNGED.name,
    "effective_on": None,
    "person_key": None,
    "review_on": None,
    "expires_on": None,
    "dispute_status": DisputeStatus.NONE.name,
    "dispute_due_on": None,
    "matters": b"",
}


# --- the octets of a version -------------------------------------------------------------------------


def _encode(record: Record) -> bytes:
    filing = {
        "report_type": record.report_type.name,
        "previous_dcn": str(record.previous_dcn or ""),
        "reporting_agency": str(record.reporting_agency),
        "publishing_node": str(record.publishing_node),
        "contributor": record.contributor,
        "created_at": plain(record.created_at),
        "adjudication_status": record.adjudication_status.name,
        "expires_on": record.expires_on.isoformat() if record.expires_on else "",
        "first_filed_at": plain(record.first_filed_at) if record.first_filed_at else "",
        "days_late": "" if record.days_late is None else str(record.days_late),
    }
    earlier = [report.fields() for report in record.earlier]
    return _json({**content_fields(record.content, given_only=True), **filing, "earlier": earlier})


def _decode(row: SealedRecord, fields: dict[str, str], earlier: tuple[EarlierReport, ...]) -> Record:
    content, faults = parse(fields, search=())
    if content is None:
        raise faults[0]
    return Record(
        dcn=Dcn(row.dcn),
        version=row.version,
        report_type=ReportType[fields["report_type"]],
        previous_dcn=Dcn(fields["previous_dcn"]) if fields["previous_dcn"] else None,
        reporting_agency=Ori(fields["reporting_agency"]),
        publishing_node=NodeId(fields["publishing_node"]),
        contributor=fields["contributor"],
        created_at=from_milliseconds(int(fields["created_at"])),
        content=content,
        adjudication_status=AdjudicationStatus[fields["adjudication_status"]],
        record_id=row.record_id,
        expires_on=_day(fields["expires_on"]),
        circumstances=row.circumstances(),
        earlier=earlier,
        first_filed_at=from_milliseconds(int(first)) if (first := fields.get("first_filed_at")) else None,
        days_late=int(late) if (late := fields.get("days_late")) else None,
    )


def _circumstances(row: SealedRecord) -> Circumstances:
    standing, sharing, reviewed, sealed_by_order, legal_hold, review_on, expires_on, matters = row.head
    what = f"What stands beside the record {row.dcn}"
    told = json.loads(open_sealed(row.key, matters, _MATTERS + row.record_id, what))
    return Circumstances(
        standing=Standing[standing],
        sharing=Sharing[sharing],
        reviewed=bool(reviewed),
        sealed_by_order=bool(sealed_by_order),
        legal_hold=bool(legal_hold),
        review_on=_day(review_on),
        expires_on=_day(expires_on),
        dispute=Dispute.read(told["dispute"]) if told["dispute"] else None,
        subject_statement=told["statement"],
        subject_told_on=_day(told.get("told_on")),
    )


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
