"""What is done to a record: one act, one transaction (RECORDS.md §4).

Rules of this file:
- an act is checked against the table of `candor_records.life`, asks the gate anew, and writes version or
  circumstances, history and ledger together: all of it or nothing;
- whoever must hear of it, the subject and earlier recipients, is told by rows of the same transaction;
- everything runs inside the caller's transaction. Who may do what, and what takes two, was decided before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from candor_node import filings, history, ledger, notices, publisher, recalls, record_digests
from candor_node.store import Database
from candor_proto.errors import InputInvalid
from candor_proto.ids import NodeId, Ori
from candor_records import dispute as disputes
from candor_records.codes import AppealOutcome, Finality
from candor_records.content import Content, ContentInvalid, lying_ahead, unreportable
from candor_records.gate import GateDecision, gate, gate_day, standing
from candor_records.life import (
    REPORTS,
    Act,
    Overturning,
    act_of,
    changed_fields,
    check_act,
    overturning_of,
)
from candor_records.policy import Policy
from candor_records.record_fields import amended
from candor_records.records import Circumstances, Dcn, Record, ReportType, Standing, following, initial


@dataclass(frozen=True)
class Doing:
    """Who does something when and why, under which policy; `second` approved what takes two."""

    now: datetime
    by: str
    policy: Policy
    reason: str = field(default="", repr=False)
    second: str = ""


@dataclass(frozen=True)
class LifeEvent:
    """An act that was done. `changed` names fields, never values; `before` is None for a first filing."""

    act: Act
    before: Record | None
    after: Record
    doing: Doing
    changed: tuple[str, ...] = ()


# --- acts that file a report ---------------------------------------------------------------------------


def file(
    db: Database, content: Content, ori: Ori, node: NodeId, doing: Doing, *, reviewed: bool = True
) -> LifeEvent:
    """File a first report; a draft, for a second person to review, unless `reviewed`.

    Raises ContentInvalid for what is never reported first.
    """
    if faults := unreportable(content):
        raise ContentInvalid(faults)
    record = initial(content, doing.now, ori, node, doing.by, reviewed=reviewed)
    return _filed(db, Act.FILE, None, record, doing)


def correct(db: Database, dcn: Dcn, content: Content, doing: Doing) -> LifeEvent | None:
    """File what changed as what it is: a correction, a notice of appeal, a promotion … (`life.act_of`).

    None when nothing changed. An advisory record that ended in the officer's favour voids itself.
    """
    before = current(db, dcn)
    content = under_its_id(before, content)
    act = act_of(before, content)
    return None if act is None else report(db, act, before, content, doing)


def revise(db: Database, dcn: Dcn, content: Content, doing: Doing) -> LifeEvent:
    """File a later action on the same matter: added to the chain, the earlier report stays valid."""
    before = current(db, dcn)
    # What is more than a later action is filed as what it is: nobody overturns or resolves by the way.
    named = act_of(before, content)
    return report(db, Act.REVISE if named in (None, Act.CORRECT) else named, before, content, doing)


def report(db: Database, act: Act, before: Record, content: Content, doing: Doing) -> LifeEvent:
    """File `content` behind `before` as the report that `act` makes. Raises WrongStanding, FieldInvalid."""
    check_act(before, act)
    _check_same_matter(before, content)
    return _filed(db, act, before, filing(act, before, content, doing), doing)


def _check_same_matter(before: Record, content: Content) -> None:
    if content.record_kind is not before.kind:
        raise kind_stays()
    if content.agency_record_id != before.content.agency_record_id:
        raise InputInvalid("A record keeps the agency's id.", remedy="File a new report for another matter.")


def filing(act: Act, before: Record, content: Content, doing: Doing) -> Record:
    """The version that `act` files behind `before`, before its times and standing are settled."""
    after = following(before, content, doing.now, doing.by, REPORTS[act])
    how = overturning_of(content) if act is Act.OVERTURN else None
    return after if how is None else _overturned(after, how, doing)


def _overturned(after: Record, how: Overturning, doing: Doing) -> Record:
    """`after` with its decision taken away, where the policy says that it is withdrawn then, and its end."""
    if not doing.policy.withdraws(after.kind, how):
        return after
    days, now = doing.policy.destroyed_after(after.kind, how), after.circumstances
    if days is not None:
        ends = gate_day(doing.now) + timedelta(days=days)
        now = replace(now, expires_on=min(ends, now.expires_on or ends))
    return replace(after, adjudication_status=how.status, circumstances=now)


def under_its_id(before: Record, content: Content) -> Content:
    """`content` under the id as `before` spells it, if they are the same but for capitals and blanks."""
    known, given = before.content.agency_record_id, content.agency_record_id
    same = record_digests.folded_id(known) == record_digests.folded_id(given)
    return replace(content, agency_record_id=known) if same and known != given else content


def kind_stays() -> InputInvalid:
    return InputInvalid(
        "A record's kind does not change.", remedy="Void it and file a new report under a new id."
    )


def notice_of_appeal(db: Database, dcn: Dcn, facts: Mapping[str, str], doing: Doing) -> LifeEvent:
    """An appeal was lodged: the decision stands and is not final. `facts` are fields of the appeal."""
    before = current(db, dcn)
    changes = {**facts, "finality": Finality.APPEAL_PENDING.name, "appeal_until": ""}
    return report(db, Act.NOTICE_APPEAL, before, _amended(before, changes, doing), doing)


def decide_appeal(
    db: Database, dcn: Dcn, outcome: AppealOutcome, facts: Mapping[str, str], doing: Doing
) -> LifeEvent:
    """How an appeal ended. UPHELD: the decision is final now. MODIFIED: `facts` say what it is instead."""
    before = current(db, dcn)
    if outcome is AppealOutcome.REVERSED:
        check_act(before, Act.DECIDE_APPEAL)
        return overturn(db, dcn, Overturning.REVERSED, facts, doing)
    changes = {"finality": Finality.EXHAUSTED.name, "appeal_until": "", **facts}
    content = _amended(before, changes, doing)
    if content.appeal_open:
        raise InputInvalid(
            "By these facts an appeal or arbitration is pending still.",
            remedy="Give its outcome, or leave the record as it is until the last one is decided.",
        )
    named = Act.OVERTURN if content.taken_away else Act.DECIDE_APPEAL
    return report(db, named, before, content, doing)


def overturn(db: Database, dcn: Dcn, how: Overturning, facts: Mapping[str, str], doing: Doing) -> LifeEvent:
    """A later decision took this one away; where the policy says so the record is withdrawn at once."""
    before = current(db, dcn)
    check_act(before, Act.OVERTURN)
    content = _amended(before, facts, doing)
    _check_same_matter(before, content)
    after = following(before, content, doing.now, doing.by, REPORTS[Act.OVERTURN])
    after = _overturned(after, how, doing)
    return _filed(
        db, Act.OVERTURN, before, after, replace(doing, reason=f"{how.name}. {doing.reason}".strip())
    )


def _amended(before: Record, facts: Mapping[str, str], doing: Doing) -> Content:
    return amended(before.content, facts, settlements=doing.policy.settlements_allowed)


def void(db: Database, dcn: Dcn, doing: Doing) -> LifeEvent:
    """Withdraw a report for good: filed in error, not reportable, wrong person. Takes two."""
    before = current(db, dcn)
    return report(db, Act.VOID, before, before.content, doing)


# --- acts that do not -----------------------------------------------------------------------------------


def change(
    db: Database, dcn: Dcn, act: Act, doing: Doing, circumstances: Circumstances | None = None
) -> LifeEvent:
    """Do `act`, after which the record stands in `circumstances`; without them only its history grows."""
    before = current(db, dcn)
    check_act(before, act)
    after = before if circumstances is None else replace(before, circumstances=circumstances)
    after = _judged(after, doing)
    decision = gate(after, gate_day(doing.now), doing.policy.gate_rules(after.kind))
    filings.set_circumstances(db, after, decision.state())
    return _done(db, LifeEvent(act, before, after, doing))


def expunge(db: Database, dcn: Dcn, doing: Doing, act: Act = Act.EXPUNGE) -> LifeEvent:
    """Destroy a record: key, versions, statement, dispute, reasons. Takes two.

    What is left is a tombstone: control numbers, acts, times and who did them. Its entries in the published
    index are withdrawn with the next tick; copies of older segments die with their epoch's key.
    """
    before = current(db, dcn)
    check_act(before, act)
    gone = Standing.EXPUNGED
    after = replace(before, circumstances=replace(before.circumstances, standing=gone))
    event = _done(db, LifeEvent(act, before, after, replace(doing, reason="")))
    filings.bury(db, before.record_id)
    publisher.forget_record(db, filings.control_numbers(db, before.record_id))
    return event


# --- what every act does --------------------------------------------------------------------------------


def current(db: Database, dcn: Dcn) -> Record:
    """The current version of the record that a control number, of any version, belongs to."""
    return filings.find_current(db, filings.record_id_of(db, dcn))


def prepared(act: Act, record: Record, doing: Doing) -> tuple[Record, GateDecision]:
    """A new version as it is to be stored, retention and standing settled, and what the gate says to it."""
    reported_on = gate_day(record.reported_at)
    retention = doing.policy.retention(record.content, reported_on)
    ends = retention.expires_on
    # A decision that was taken away is kept no longer than was said then.
    if record.overturned and (sooner := record.circumstances.expires_on) is not None:
        ends = min(ends or sooner, sooner)
    circumstances = replace(record.circumstances, review_on=retention.review_on, expires_on=ends)
    late = doing.policy.days_late(record.content, reported_on)
    record = replace(record, expires_on=ends, days_late=late, circumstances=circumstances)
    record = _judged(record, doing) if act is not Act.VOID else _voided(record, doing)
    return record, gate(record, gate_day(doing.now), doing.policy.gate_rules(record.kind))


def _filed(db: Database, act: Act, before: Record | None, record: Record, doing: Doing) -> LifeEvent:
    changed = changed_fields(before.content, record.content) if before else ()
    for fault in lying_ahead(record.content, doing.now.date()):
        if before is None or fault.field in changed:
            raise fault
    record, decision = prepared(act, record, doing)
    filings.insert(db, record, decision.state())
    return _done(db, LifeEvent(act, before, record, doing, changed))


def _judged(record: Record, doing: Doing) -> Record:
    """`record` standing where the gate puts it, if it is still alive."""
    if record.circumstances.standing not in (Standing.DRAFT, Standing.HELD, Standing.ACTIVE):
        return record
    decision = gate(record, gate_day(doing.now), doing.policy.gate_rules(record.kind))
    return _standing(record, standing(record, decision))


def _standing(record: Record, now: Standing) -> Record:
    return replace(record, circumstances=replace(record.circumstances, standing=now))


def _voided(record: Record, doing: Doing) -> Record:
    """A void is all that a dispute can ask for: it settles what was open."""
    now = record.circumstances
    settled = disputes.voided(now.dispute, doing.now.date())
    return replace(record, circumstances=replace(now, standing=Standing.VOID, dispute=settled))


def _done(db: Database, event: LifeEvent) -> LifeEvent:
    record, doing = event.after, event.doing
    history.append(
        db, record.record_id, record.dcn, event.act, doing.now, doing.by, doing.second, doing.reason
    )
    report_type, previous = record.report_type if event.act in REPORTS else None, record.previous_dcn
    standing_now = record.circumstances.standing
    entry = account(event.act, doing, record.dcn, standing_now, report_type, previous, event.changed)
    ledger.append(db, doing.now, *entry)
    notices.after_act(db, event)
    recalls.after_act(db, event)
    return event


def account(
    act: Act,
    doing: Doing,
    dcn: Dcn,
    standing_now: Standing,
    report_type: ReportType | None,
    previous: Dcn | None = None,
    changed: tuple[str, ...] = (),
) -> ledger.NewEntry:
    """An act as the ledger tells of it; `report_type` is what it filed, if it filed anything."""
    refs = {"dcn": str(dcn), "user": doing.by}
    if doing.second:
        refs["second"] = doing.second
    if previous is not None:
        refs["previous_dcn"] = str(previous)
    details: dict[str, ledger.Value] = {"act": act.name, "standing": standing_now.name}
    name = act.name.lower()
    if report_type is not None:
        name = "filed"
        details["report_type"] = report_type.name
        details["changed"] = ", ".join(changed)[: ledger.MAX_DETAIL_CHARACTERS]
    return f"record.{name}", refs, details
