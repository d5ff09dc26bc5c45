"""What is done for the subject: their statement, the steps of their dispute, that they were told.

Rules of this file:
- the steps and their clock are `candor_records.dispute`; here they meet the record, in one transaction with
  its history and ledger (`lifecycle.change`), so that every later release carries them;
- each step's words go into the history: what is replaced, and a former dispute, can be read there;
- nothing is dated into the future, and the agency's days end when they are over everywhere on earth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from enum import Enum
from typing import TypeVar

from candor_node import filings, ledger, lifecycle, notices, record_seals
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.store import Database
from candor_proto.errors import InputInvalid, WrongStanding
from candor_records import dispute as disputes
from candor_records.codes import NoticeMethod
from candor_records.dispute import Dispute, DisputeAnswer, DisputeGround, Resolution
from candor_records.gate import gate_day
from candor_records.life import Act
from candor_records.records import Dcn, Record, ReportType

# The first zone in which a day begins.
_AHEAD = timedelta(hours=14)

E = TypeVar("E", bound=Enum)


def read_code(codes: type[E], text: str, what: str) -> E:
    """A code as a person types it; raises InputInvalid."""
    try:
        return codes[text.strip().upper().replace("-", "_").replace(" ", "_")]
    except KeyError:
        raise InputInvalid(
            f"This is no {what}.", remedy=f"Name one of {', '.join(codes.__members__)}."
        ) from None


def check_past(on: date, doing: Doing) -> None:
    """Whether a day that somebody states has begun somewhere on earth; raises InputInvalid."""
    if on > (doing.now + _AHEAD).date():
        raise InputInvalid("That day has not come yet.", remedy="State the day on which it happened.")


# --- that they were told -----------------------------------------------------------------------------------


def mark_notified(db: Database, dcn: Dcn, on: date, method: NoticeMethod, doing: Doing) -> int:
    """The subject was told of all that was done to a record by `on`; how many notices that settles.

    Raises UnknownObject, InputInvalid for a day to come, or WrongStanding when nothing was due by then.
    """
    record_id = filings.record_id_of(db, dcn)
    check_past(on, doing)
    settled = notices.settle(db, record_id, on, method, doing.by)
    if not settled:
        raise WrongStanding(
            "Nothing that was done to this record by that day waits for a notice.",
            remedy="`candor-node subject notices` lists what is due.",
        )
    refs = {"dcn": str(dcn), "user": doing.by}
    ledger.append(db, doing.now, "subject.notified", refs, {"method": method.name, "notices": settled})
    # Of an expunged record there is nothing left whose history could grow.
    if record_seals.find_key(db, record_id) is not None:
        told = replace(
            lifecycle.current(db, dcn).circumstances, subject_told_on=notices.told_on(db, record_id)
        )
        lifecycle.change(db, dcn, Act.NOTIFY_SUBJECT, doing, told)
    return settled


# --- the statement ---------------------------------------------------------------------------------------


def enter_statement(db: Database, dcn: Dcn, text: str, received_on: date, doing: Doing) -> LifeEvent:
    """Add or replace the subject's own words. Raises InputInvalid, UnknownObject or WrongStanding."""
    kept = disputes.check_words(text)
    check_past(received_on, doing)
    record = lifecycle.current(db, dcn)
    told = replace(doing, reason=f"Received on {received_on}.\n{kept}")
    circumstances = replace(record.circumstances, subject_statement=kept)
    return lifecycle.change(db, dcn, Act.STATEMENT, told, circumstances)


# --- the dispute -----------------------------------------------------------------------------------------


def open_dispute(
    db: Database, dcn: Dcn, ground: DisputeGround, account: str, received_on: date, doing: Doing
) -> LifeEvent:
    """The subject disputes the record, from the day on which the agency had their word."""

    def step(record: Record) -> Dispute:
        if received_on < gate_day(record.reported_at):
            raise InputInvalid("That day lies before the record was first filed.", remedy="Check the date.")
        former, days = record.circumstances.dispute, doing.policy.dispute_days
        return disputes.open_dispute(former, ground, received_on, str(record.dcn), account, days)

    return _step(db, dcn, Act.DISPUTE, received_on, step, f"{ground.name}. {account}", doing)


def answer(db: Database, dcn: Dcn, said: DisputeAnswer, reasons: str, on: date, doing: Doing) -> LifeEvent:
    """The agency's answer. What it says it will do stays due until it is done."""
    return _step(
        db,
        dcn,
        Act.ANSWER_DISPUTE,
        on,
        lambda record: disputes.answer(record.circumstances.dispute, said, on, reasons),
        f"{said.name}. {reasons}",
        doing,
    )


def refer(db: Database, dcn: Dcn, received_on: date, doing: Doing) -> LifeEvent:
    """The subject takes the dispute to the resolver that the policy names."""
    resolver, today = doing.policy.resolver, gate_day(doing.now)
    return _step(
        db,
        dcn,
        Act.REFER_DISPUTE,
        received_on,
        lambda record: disputes.refer(record.circumstances.dispute, resolver, received_on, today),
        f"To {resolver}.",
        doing,
    )


def resolve(db: Database, dcn: Dcn, said: Resolution, reasons: str, on: date, doing: Doing) -> LifeEvent:
    """The resolver's decision, which stays due until it is carried out."""
    return _step(
        db,
        dcn,
        Act.RESOLVE_DISPUTE,
        on,
        lambda record: disputes.resolve(record.circumstances.dispute, said, on, reasons),
        f"{said.name}. {reasons}",
        doing,
    )


def carry_out(db: Database, dcn: Dcn, doing: Doing) -> LifeEvent:
    """The correction that was promised or decided has been filed. (A void settles the dispute by itself.)"""
    on = doing.now.date()

    def step(record: Record) -> Dispute:
        dispute = record.circumstances.dispute
        corrected = dispute is not None and _corrected(db, record, dispute)
        return disputes.carry_out(dispute, on, corrected=corrected)

    return _step(db, dcn, Act.RESOLVE_DISPUTE, on, step, "Carried out.", doing)


def _corrected(db: Database, record: Record, dispute: Dispute) -> bool:
    """Whether a correction was filed behind the version that was disputed.

    Where the resolver decided, not before that day: what was changed earlier is not what was decided.
    """
    disputed, decided_on = dispute.about, dispute.decided_on or date.min
    versions = filings.versions(db, record.record_id)
    since = next((version.version for version in versions if str(version.dcn) == disputed), 0)
    return any(
        version.version > since
        and version.report_type is ReportType.CORRECTION
        and (version.created_at + _AHEAD).date() >= decided_on
        for version in versions
    )


def _step(
    db: Database,
    dcn: Dcn,
    act: Act,
    on: date,
    step: Callable[[Record], Dispute],
    told: str,
    doing: Doing,
) -> LifeEvent:
    check_past(on, doing)
    record = lifecycle.current(db, dcn)
    circumstances = replace(record.circumstances, dispute=step(record))
    reason = f"On {on}. {told}".strip()
    return lifecycle.change(db, dcn, act, replace(doing, reason=reason), circumstances)
