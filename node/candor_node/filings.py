"""Records as rows: sealed one by one, found again without being opened.

Rules of this file:
- identity, narrative and every other field are sealed under the record's own key with AES-256-GCM
  (aad = dcn ‖ version), and that key stands in a table of its own: to destroy the key is to destroy the
  record, in old backups too. Columns in clear are those that filter, and name nobody;
- a version is never changed, only followed. What changes is which version is current, and the gate's word;
- everything here runs inside the caller's transaction.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import SealedDataInvalid, UnknownObject
from candor_proto.ids import NodeId, Ori
from candor_proto.policy import Sharing
from candor_proto.record import DisputeStatus, RecordKind, Tier
from candor_records.codes import AdjudicationStatus, Missing
from candor_records.content import Content, FieldInvalid, content_fields
from candor_records.field_types import plain
from candor_records.gate import GateState
from candor_records.record_fields import parse
from candor_records.records import Dcn, DisputeGround, Record, ReportType

GateColumns = tuple[int, str, str | None]

KEY_OCTETS = 32
_NONCE_OCTETS = 12


@dataclass(frozen=True)
class Summary:
    """A filing as lists show it: nothing that names anybody."""

    dcn: Dcn
    version: int
    report_type: ReportType
    current: bool
    record_kind: RecordKind
    tier: Tier
    adjudication_status: AdjudicationStatus
    sharing: Sharing
    reporting_agency: Ori
    effective_on: date
    created_at: datetime
    gate: GateState


@dataclass(frozen=True, repr=False)
class SealedRecord:
    """A row that can be opened outside the transaction that read it."""

    dcn: str
    version: int
    sealed: bytes
    key: bytes

    def open(self) -> Record:
        """The record; raises SealedDataInvalid if the row was altered or moved."""
        nonce, body = self.sealed[:_NONCE_OCTETS], self.sealed[_NONCE_OCTETS:]
        try:
            text = AESGCM(self.key).decrypt(nonce, body, _associated(self.dcn, self.version))
        except InvalidTag:
            raise SealedDataInvalid(
                f"The stored record {self.dcn} does not open: its row was altered.",
                remedy="Restore the last backup.",
            ) from None
        return _decode(self.dcn, self.version, text)


def _associated(dcn: str, version: int) -> bytes:
    return dcn.encode("ascii") + version.to_bytes(4, "big")


def agency_key(db: Database, ori: Ori, agency_record_id: str) -> bytes:
    """By what a record is found again: a keyed digest, for an agency's case number may name a case."""
    secret: bytes = db.execute("SELECT value FROM node_secrets WHERE name = 'agency-key'").fetchone()[0]
    return hmac.digest(secret, f"id\0{ori}\0{agency_record_id}".encode(), "sha256")


def content_mac(db: Database, content: Content) -> bytes:
    """A keyed digest of a content: equal digests, equal contents."""
    secret: bytes = db.execute("SELECT value FROM node_secrets WHERE name = 'agency-key'").fetchone()[0]
    return hmac.digest(secret, b"content\0" + _json(content_fields(content)), "sha256")


def columns(gate: GateState) -> GateColumns:
    """The gate's word as the columns `matchable`, `reasons` and `recheck_on`."""
    recheck_on = gate.recheck_on.isoformat() if gate.recheck_on else None
    return int(gate.matchable), json.dumps(gate.reasons), recheck_on


def insert(db: Database, record: Record, gate: GateState) -> None:
    """Store `record` as the current version, in place of the one it follows.

    Raises InputInvalid when it does not follow the current version of its agency record id.
    """
    found_by = agency_key(db, record.reporting_agency, record.content.agency_record_id)
    row = db.execute(
        "SELECT dcn, version FROM records WHERE agency_key = ? AND current = 1", [found_by]
    ).fetchone()
    expected = (row[0], row[1] + 1) if row else (None, 1)
    if (str(record.previous_dcn) if record.previous_dcn else None, record.version) != expected:
        raise FieldInvalid("previous_dcn", "the record was changed in the meantime; read it again")
    key = secrets.token_bytes(KEY_OCTETS)
    nonce = secrets.token_bytes(_NONCE_OCTETS)
    dcn = str(record.dcn)
    sealed = nonce + AESGCM(key).encrypt(nonce, _encode(record), _associated(dcn, record.version))
    if row:
        db.execute("UPDATE records SET current = 0, recheck_on = NULL WHERE dcn = ?", [row[0]])
    db.execute(
        "INSERT INTO records VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            dcn,
            found_by,
            record.version,
            row[0] if row else None,
            record.report_type.name,
            record.kind.name,
            record.tier.name,
            record.adjudication_status.name,
            record.content.sharing.name,
            str(record.reporting_agency),
            record.content.effective_on.isoformat(),
            to_milliseconds(record.created_at),
            content_mac(db, record.content),
            *columns(gate),
            sealed,
        ],
    )
    db.execute("INSERT INTO record_keys VALUES (?, ?)", [dcn, key])


def set_gate(db: Database, dcn: Dcn, gate: GateState) -> None:
    """Store what the gate says now."""
    db.execute(
        "UPDATE records SET matchable = ?, reasons = ?, recheck_on = ? WHERE dcn = ?",
        [*columns(gate), str(dcn)],
    )


def destroy_key(db: Database, dcn: Dcn) -> None:
    """Crypto-shredding: overwrite and delete the record's key. Nobody opens the record again."""
    db.execute("UPDATE record_keys SET key = zeroblob(32) WHERE dcn = ?", [str(dcn)])
    db.execute("DELETE FROM record_keys WHERE dcn = ?", [str(dcn)])


def find(db: Database, dcn: Dcn) -> Record:
    """The filing with this control number; raises UnknownObject when there is none, or its key is gone."""
    rows = list(_sealed(db, "records.dcn = ?", [str(dcn)]))
    if not rows:
        raise UnknownObject(f"No record with the control number {dcn} can be opened here.")
    return rows[0].open()


def find_by_agency_id(db: Database, ori: Ori, agency_record_id: str) -> Record | None:
    """The current version of the agency's own record id, or None."""
    found_by = agency_key(db, ori, agency_record_id)
    rows = list(_sealed(db, "agency_key = ? AND current = 1", [found_by]))
    return rows[0].open() if rows else None


def current_filing(db: Database, ori: Ori, agency_record_id: str) -> tuple[Dcn, bytes, bool] | None:
    """(control number, content digest, whether it is terminal) of the current version, without opening it."""
    row = db.execute(
        "SELECT dcn, content_mac, report_type = 'VOID' OR adjudication_status = 'EXPUNGED' "
        "FROM records WHERE agency_key = ? AND current = 1",
        [agency_key(db, ori, agency_record_id)],
    ).fetchone()
    return (Dcn(row[0]), row[1], bool(row[2])) if row else None


def is_current(db: Database, dcn: Dcn) -> bool:
    row = db.execute("SELECT current FROM records WHERE dcn = ?", [str(dcn)]).fetchone()
    return bool(row and row[0])


def sealed_current(db: Database, *, matchable: bool | None = None) -> list[SealedRecord]:
    """All current records that have a key, still sealed; `matchable` narrows to the gate's last word."""
    if matchable is None:
        return list(_sealed(db, "current = 1", []))
    return list(_sealed(db, "current = 1 AND matchable = ?", [int(matchable)]))


def due_for_gate(db: Database, today: date) -> list[SealedRecord]:
    """Current records whose gate may have changed by `today`."""
    return list(_sealed(db, "current = 1 AND recheck_on <= ?", [today.isoformat()]))


def gate_words(db: Database) -> dict[str, bool]:
    """The gate's last word on every current record, by control number."""
    rows = db.execute("SELECT dcn, matchable FROM records WHERE current = 1")
    return {dcn: bool(matchable) for dcn, matchable in rows}


def gate_columns(db: Database) -> dict[str, GateColumns]:
    """What is stored of the gate's last word on every current record, by control number."""
    rows = db.execute("SELECT dcn, matchable, reasons, recheck_on FROM records WHERE current = 1")
    return {dcn: (matchable, reasons, recheck_on) for dcn, matchable, reasons, recheck_on in rows}


def _sealed(db: Database, where: str, values: Sequence[str | int | bytes]) -> Iterator[SealedRecord]:
    joined = "records JOIN record_keys ON record_keys.dcn = records.dcn"
    sql = f"SELECT records.dcn, version, sealed, key FROM {joined} WHERE {where}"  # noqa: S608
    rows = db.execute(f"{sql} ORDER BY records.rowid", list(values))
    return (SealedRecord(*row) for row in rows)


_SUMMARY_COLUMNS = (
    "dcn, version, report_type, current, record_kind, tier, adjudication_status, sharing, reporting_agency, "
    "effective_on, created_at, matchable, reasons, recheck_on"
)


def summaries(
    db: Database,
    *,
    kind: RecordKind | None = None,
    matchable: bool | None = None,
    only_current: bool = True,
    limit: int = 1_000,
    offset: int = 0,
) -> list[Summary]:
    """Filings for a list, newest first."""
    where: list[str] = ["1"]
    values: list[str | int] = []
    if only_current:
        where.append("current = 1")
    if kind is not None:
        where.append("record_kind = ?")
        values.append(kind.name)
    if matchable is not None:
        where.append("matchable = ?")
        values.append(int(matchable))
    sql = f"SELECT {_SUMMARY_COLUMNS} FROM records WHERE {' AND '.join(where)}"  # noqa: S608
    rows = db.execute(
        f"{sql} ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?", [*values, limit, offset]
    )
    return [_summary(row) for row in rows]


def _summary(
    row: tuple[str, int, str, int, str, str, str, str, str, str, int, int, str, str | None],
) -> Summary:
    gate = GateState(
        bool(row[11]), tuple(json.loads(row[12])), date.fromisoformat(row[13]) if row[13] else None
    )
    return Summary(
        Dcn(row[0]),
        row[1],
        ReportType[row[2]],
        bool(row[3]),
        RecordKind[row[4]],
        Tier[row[5]],
        AdjudicationStatus[row[6]],
        Sharing[row[7]],
        Ori(row[8]),
        date.fromisoformat(row[9]),
        from_milliseconds(row[10]),
        gate,
    )


def count(db: Database) -> tuple[int, int]:
    """(current records, those of them that are matchable)."""
    row = db.execute("SELECT count(*), coalesce(sum(matchable), 0) FROM records WHERE current = 1").fetchone()
    return row[0], row[1]


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
        "dispute_status": record.dispute_status.name,
        "dispute_ground": record.dispute_ground.name,
        "subject_statement": record.subject_statement,
    }
    return _json({**content_fields(record.content), **filing})


def _decode(dcn: str, version: int, octets: bytes) -> Record:
    row: dict[str, str] = json.loads(octets)
    content, faults = parse(row)
    if content is None:
        raise faults[0]
    ground = row["dispute_ground"]
    return Record(
        dcn=Dcn(dcn),
        version=version,
        report_type=ReportType[row["report_type"]],
        previous_dcn=Dcn(row["previous_dcn"]) if row["previous_dcn"] else None,
        reporting_agency=Ori(row["reporting_agency"]),
        publishing_node=NodeId(row["publishing_node"]),
        contributor=row["contributor"],
        created_at=from_milliseconds(int(row["created_at"])),
        content=content,
        adjudication_status=AdjudicationStatus[row["adjudication_status"]],
        expires_on=date.fromisoformat(row["expires_on"]) if row["expires_on"] else None,
        dispute_status=DisputeStatus[row["dispute_status"]],
        dispute_ground=Missing[ground] if ground in Missing.__members__ else DisputeGround[ground],
        subject_statement=row["subject_statement"],
    )


def _json(value: Mapping[str, str]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
