"""Records on their way out: which ones, and what a file says of each.

Rules of this file:
- an export holds identities: who made it, in which form and how many is in the ledger before the first
  record leaves, and each record opened is one of its count;
- void, expired and destroyed records are in none; what a form does not take is left out by the form.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from candor_node import filings, ledger
from candor_node.filings import SealedRecord
from candor_node.store import Database
from candor_proto.errors import InputInvalid
from candor_proto.ids import Ori
from candor_records.codes import Missing
from candor_records.content import content_fields
from candor_records.life import LIVE
from candor_records.records import Record

FORMATS = ("niem-json", "ndi-csv", "csv")
# Of the longest records, so many stay below the limit of a message.
CHUNK = 20


def begin(db: Database, now: datetime, by: str, form: str, ori: Ori | None) -> list[str]:
    """The control numbers to be exported, after the export is accounted for. Raises InputInvalid."""
    if form not in FORMATS:
        raise InputInvalid("There is no such form of export.", remedy=f"The forms are {', '.join(FORMATS)}.")
    where, values = f"standing IN ({', '.join('?' * len(LIVE))})", [standing.name for standing in LIVE]
    if ori is not None:
        where += " AND reporting_agency = ?"
        values.append(str(ori))
    if form == "ndi-csv":
        where += " AND record_kind = 'DECERTIFICATION'"
    sql = f"SELECT dcn FROM record_heads WHERE {where} ORDER BY filed_at, dcn"  # noqa: S608
    found = [dcn for (dcn,) in db.execute(sql, values)]
    refs = {"user": by, **({"ori": str(ori)} if ori else {})}
    ledger.append(db, now, "record.exported", refs, {"form": form, "count": len(found)})
    return found


def sealed(db: Database, numbers: Sequence[str]) -> list[SealedRecord]:
    """Records still sealed; those destroyed since the export began are left out."""
    return filings.sealed_versions(db, numbers)


def opened(rows: Sequence[SealedRecord]) -> list[Record]:
    """The records themselves; to be called outside of the transaction that read the rows."""
    return [row.open() for row in rows]


def fields(record: Record) -> dict[str, str]:
    """What an export says of a record: the template's columns, and how it stands now."""
    now, unknown = record.circumstances, Missing.NOT_APPLICABLE.name
    return {
        **content_fields(record.content),
        "sharing": now.sharing.name,
        "tier": record.tier.name,
        "adjudication_status": record.adjudication_status.name,
        "report_type": record.report_type.name,
        "version": str(record.version),
        "reported_on": record.created_at.date().isoformat(),
        "expires_on": now.expires_on.isoformat() if now.expires_on else unknown,
        "dispute_status": record.dispute_status.name,
        "statement_present": "YES" if now.subject_statement else "NO",
        "publishing_node": str(record.publishing_node),
    }
