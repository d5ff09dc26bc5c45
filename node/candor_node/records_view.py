"""Records, history, dues and certificates as messages of the records desk (candor_wire/v1/records.proto)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from candor_node import rollback
from candor_node.dues import Due
from candor_node.filing_lists import Summary
from candor_node.history import Event
from candor_node.lifecycle import LifeEvent
from candor_node.local_view import moment
from candor_node.name_search import Hit
from candor_node.retention import Ending
from candor_node.store import Database
from candor_records.content import known
from candor_records.gate import GateDecision, gate
from candor_records.gate_rules import GateRules
from candor_records.life import changed_fields
from candor_records.records import Record, canonical
from candor_records.retention import Certificate
from candor_records.why import Why, why
from candor_wire.v1 import records_pb2 as pb


def newest_rollback(db: Database) -> pb.ShowRollbackResponse:
    """How the database went back last, and what had been done since; number 0 if it never did."""
    found = rollback.newest(db)
    if found is None:
        return pb.ShowRollbackResponse()
    return pb.ShowRollbackResponse(
        number=found.number,
        noticed_at=moment(found.noticed_at),
        sentence=found.sentence(),
        state_of=moment(found.state_of),
        known_until=moment(found.known_until),
        put_back=found.put_back,
        confirmed_at=moment(found.confirmed_at),
        confirmed_by=found.confirmed_by,
        acts=[
            pb.RollbackAct(
                at=moment(line.at), event=line.event, about=line.about, by=line.by, healed=line.healed
            )
            for line in rollback.acts(db, found.number)
        ],
    )


def day(value: date | None) -> str:
    return value.isoformat() if value else ""


def line_of_summary(summary: Summary) -> pb.RecordLine:
    """As a list shows it: nothing was opened."""
    return pb.RecordLine(
        dcn=str(summary.dcn),
        version=summary.version,
        report_type=summary.report_type.name,
        kind=summary.record_kind.name,
        tier=summary.tier.name,
        sharing=summary.sharing.name,
        adjudication_status=summary.adjudication_status.name,
        ori=str(summary.reporting_agency),
        effective_on=day(summary.effective_on),
        matchable=summary.gate.matchable,
        standing=summary.standing.name,
        filed_at=moment(summary.filed_at),
        review_on=day(summary.review_on),
        expires_on=day(summary.expires_on),
        legal_hold=summary.legal_hold,
        dispute_status=summary.dispute_status.name,
        failed=summary.gate.failed,
    )


def line(record: Record, decision: GateDecision) -> pb.RecordLine:
    """The same of a record that was opened."""
    now = record.circumstances
    return pb.RecordLine(
        dcn=str(record.dcn),
        version=record.version,
        report_type=record.report_type.name,
        kind=record.kind.name,
        tier=record.tier.name,
        sharing=record.sharing.name,
        adjudication_status=record.adjudication_status.name,
        ori=str(record.reporting_agency),
        effective_on=day(record.content.effective_on),
        matchable=decision.matchable,
        standing=now.standing.name,
        filed_at=moment(record.created_at),
        review_on=day(now.review_on),
        expires_on=day(now.expires_on),
        legal_hold=now.legal_hold,
        dispute_status=record.dispute_status.name,
        failed=decision.state().failed,
    )


def found(hit: Hit, today: date, rules: GateRules) -> pb.FoundRecord:
    who = hit.record.content.identity
    given = " ".join(filter(None, (who.first, known(who.middle), known(who.suffix))))
    return pb.FoundRecord(
        score=hit.score,
        name=f"{who.last}, {given}",
        birth_date=known(who.birth_date),
        record=line(hit.record, gate(hit.record, today, rules)),
    )


def opened(
    versions: Sequence[Record], today: date, rules: GateRules, disclosures: tuple[int, int]
) -> pb.OpenRecordResponse:
    """A record with all its versions, oldest first; the last one is what it says now."""
    record = versions[-1]
    decision, now = gate(record, today, rules), record.circumstances
    return pb.OpenRecordResponse(
        summary=line(record, decision),
        fields=[
            pb.RecordField(name=name, value=value) for name, value in sorted(canonical(record).fields.items())
        ],
        gate=[
            pb.RecordClause(name=clause.name, holds=clause.holds, words=clause.words)
            for clause in decision.reasons
        ],
        recheck_on=day(decision.recheck_on),
        versions=[
            pb.RecordVersion(
                dcn=str(version.dcn),
                version=version.version,
                report_type=version.report_type.name,
                filed_at=moment(version.created_at),
                by=version.contributor,
                changed=changed_fields(before.content, version.content) if before else (),
            )
            for before, version in zip((None, *versions), versions, strict=False)
        ],
        why=reasons(why(record, today, rules)),
        reviewed=now.reviewed,
        sealed_by_order=now.sealed_by_order,
        statement=now.subject_statement,
        disclosures=disclosures[0],
        recipients=disclosures[1],
    )


def reasons(said: Why) -> pb.RecordWhy:
    return pb.RecordWhy(
        shared=said.shared,
        headline=said.headline,
        failing=[pb.RecordObstacle(words=words, remedy=remedy) for words, remedy in said.failing],
        holding=said.holding,
        by_itself=said.by_itself,
    )


def done(event: LifeEvent, today: date, rules: GateRules) -> pb.ActResponse:
    record = event.after
    return pb.ActResponse(
        record=line(record, gate(record, today, rules)),
        why=reasons(why(record, today, rules)),
        changed=event.changed,
    )


def history_entry(event: Event) -> pb.HistoryEntry:
    return pb.HistoryEntry(
        number=event.number,
        dcn=str(event.dcn),
        act=event.act.name,
        words=event.act.value,
        at=moment(event.at),
        by=event.by,
        second=event.second,
        reason=event.reason,
    )


def due_line(due: Due) -> pb.DueLine:
    return pb.DueLine(
        due_on=due.due_on.isoformat(),
        what=due.what.name,
        words=due.what.value,
        dcn=str(due.dcn),
        kind=due.kind.name,
        standing=due.standing.name,
        legal_hold=due.legal_hold,
    )


def ending(end: Ending) -> pb.EndingRecord:
    return pb.EndingRecord(
        dcn=str(end.due.dcn),
        kind=end.due.kind.name,
        standing=end.due.standing.name,
        ends_on=end.due.due_on.isoformat(),
        rule=end.rule,
        legal_hold=end.due.legal_hold,
    )


def certificate_line(certificate: Certificate) -> pb.CertificateLine:
    return pb.CertificateLine(
        number=certificate.number,
        at=moment(certificate.at),
        by=certificate.by,
        second=certificate.second,
        destroyed=len(certificate.destroyed),
        kept=len(certificate.kept),
    )
