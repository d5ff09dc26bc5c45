"""Notices to the subject: due with the act that they tell of, and sent by people (RECORDS.md §4.1).

Rules of this file:
- a notice becomes due in the transaction of its act: no filing without one;
- a draft has told nobody anything yet: its notice is due when a second person has reviewed it;
- the letter is written when it is asked for, from the record as it stands then. Of an expunged record only
  the notice of that is left, for what the earlier ones would say is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from candor_node import filings, ledger
from candor_node.store import Database
from candor_proto.errors import WrongStanding
from candor_records.codes import NoticeMethod
from candor_records.gate import gate, gate_day
from candor_records.letters import NOTICES, Letter, letter, letter_without_record
from candor_records.life import Act
from candor_records.records import Dcn
from candor_records.subject_report import Agency, Notified, title, words

if TYPE_CHECKING:
    from candor_node.lifecycle import Doing, LifeEvent

# How long the agency may take to send it; ours, for no statute that we know of says.
NOTICE_DAYS = 10


@dataclass(frozen=True)
class Notice:
    """One notice; `dcn` is the version that it tells of."""

    number: int
    record_id: bytes
    dcn: Dcn
    act: Act
    changed: tuple[str, ...]
    done_on: date
    due_on: date
    sent_on: date | None
    method: str

    def shown(self) -> Notified:
        """As the subject reads it."""
        return Notified(
            NOTICES[self.act], self.due_on, self.sent_on, words(self.method) if self.method else ""
        )


# --- becoming due --------------------------------------------------------------------------------------


def after_act(db: Database, event: LifeEvent) -> None:
    """Note what the subject must be told of an act, in the act's own transaction."""
    if event.act in (Act.EXPUNGE, Act.DESTROY):
        db.execute(
            "DELETE FROM subject_notices WHERE record_id = ? AND sent_on IS NULL", [event.after.record_id]
        )
    row = row_of(event)
    if row is not None:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        db.execute(f"INSERT INTO subject_notices ({names}) VALUES ({marks})", list(row.values()))  # noqa: S608


def row_of(event: LifeEvent) -> dict[str, str | bytes | None] | None:
    """The notice of an act as its row of `subject_notices`; None when the subject need not be told."""
    act, record = Act.FILE if event.act is Act.REVIEW else event.act, event.after
    if act not in NOTICES or not record.circumstances.reviewed:
        return None
    today = event.doing.now.date()
    told_on = record.content.due_process.subject_notified_on
    sent_on = told_on if act is Act.FILE and isinstance(told_on, date) else None
    return {
        "record_id": record.record_id,
        "dcn": str(record.dcn),
        "record_kind": record.kind.name,
        "act": act.name,
        "changed": ";".join(event.changed),
        "done_on": today.isoformat(),
        "due_on": (today + timedelta(days=NOTICE_DAYS)).isoformat(),
        "sent_on": sent_on.isoformat() if sent_on else None,
        "method": "AS_FILED" if sent_on else "",
        "by": event.doing.by if sent_on else "",
    }


# --- reading -------------------------------------------------------------------------------------------


def due(db: Database, limit: int) -> list[Notice]:
    """Notices that were not sent, the longest overdue first."""
    return _notices(db, "sent_on IS NULL ORDER BY due_on, number LIMIT ?", [limit])


def count_due(db: Database) -> int:
    row = db.execute("SELECT count(*) FROM subject_notices WHERE sent_on IS NULL").fetchone()
    return int(row[0])


def of_record(db: Database, record_id: bytes) -> list[Notice]:
    """Every notice about a record, oldest first."""
    return _notices(db, "record_id = ? ORDER BY number", [record_id])


def _notices(db: Database, where: str, values: Sequence[int | bytes]) -> list[Notice]:
    # `where` is one of the constants above.
    columns = "number, record_id, dcn, act, changed, done_on, due_on, sent_on, method"
    rows = db.execute(f"SELECT {columns} FROM subject_notices WHERE {where}", list(values))  # noqa: S608
    return [
        Notice(
            number,
            record_id,
            Dcn(dcn),
            Act[act],
            tuple(changed.split(";")) if changed else (),
            date.fromisoformat(done_on),
            date.fromisoformat(due_on),
            date.fromisoformat(sent_on) if sent_on else None,
            method,
        )
        for number, record_id, dcn, act, changed, done_on, due_on, sent_on, method in rows
    ]


# --- writing and sending ---------------------------------------------------------------------------------


def write(db: Database, dcn: Dcn, agency: Agency, doing: Doing) -> Letter:
    """The letter for the newest notice about a record. Raises UnknownObject, or WrongStanding without one."""
    record_id = filings.record_id_of(db, dcn)
    found = of_record(db, record_id)
    if not found:
        raise WrongStanding(
            "No notice about this record is due.",
            remedy="A draft is reviewed first: `candor-node records review`.",
        )
    notice, today = found[-1], doing.now.date()
    ledger.append(db, doing.now, "subject.notice_written", {"dcn": str(notice.dcn), "user": doing.by})
    if notice.act is Act.EXPUNGE:
        return letter_without_record(agency, str(notice.dcn), notice.done_on, today)
    record = filings.find_current(db, record_id)
    decision = gate(record, gate_day(doing.now), doing.policy.gate_rules(record.kind))
    changed = tuple(map(title, notice.changed))
    return letter(agency, notice.act, record, decision, notice.done_on, today, changed)


def settle(db: Database, record_id: bytes, on: date, method: NoticeMethod, by: str) -> int:
    """The subject was told of all that was done to a record by `on`; how many notices that settles."""
    settled: int = db.execute(
        "UPDATE subject_notices SET sent_on = ?1, method = ?2, by = ?3"
        " WHERE record_id = ?4 AND sent_on IS NULL AND done_on <= ?1",
        [on.isoformat(), method.name, by, record_id],
    ).rowcount
    return settled
