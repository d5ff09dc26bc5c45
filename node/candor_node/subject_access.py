"""Gathers what this agency holds about a person, for that person (RECORDS.md §4.3).

Rules of this file:
- nobody's report is made without a proof of identity on file, and every report is in the ledger, record by
  record, under the purpose SUBJECT_ACCESS;
- whose record it is says `candor_records.same_person`: one that agrees only in part is left out unless a
  person names it, one of another person is shown to nobody, whoever names it;
- what is not to be shown yet (`deferrals`) is left out here, before anything is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from candor_node import accounting, filings, history, ledger, notices
from candor_node.accounting import Named, Shown
from candor_node.filings import SealedRecord
from candor_node.lifecycle import Doing
from candor_node.store import Database
from candor_proto.errors import InputInvalid
from candor_proto.ids import Purpose
from candor_proto.normalise import Particulars, normalise
from candor_records.gate import gate, gate_day
from candor_records.records import Dcn, Record
from candor_records.same_person import Agreement, agreement, check_claim
from candor_records.subject_report import (
    MEANING,
    SHARING_WORDS,
    TIER_WORDS,
    Agency,
    Event,
    Kept,
    RecordView,
    SubjectReport,
    clock,
    facts,
    versions,
    words,
)

_PROOF = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._,:/#-]{2,127}\Z")


@dataclass(frozen=True)
class Asked:
    """For whom a report is asked: what the proof of identity says, records that a person named, or both."""

    proof: str = field(repr=False)
    claimed: Particulars | None = field(repr=False)
    named: tuple[Dcn, ...] = ()


@dataclass(frozen=True)
class Found:
    """Whose records were found; `unsure` are control numbers that a person may look at, and name."""

    claimed: Particulars = field(repr=False)
    records: tuple[Record, ...]
    unsure: tuple[str, ...]


# --- whose records ---------------------------------------------------------------------------------------


def begin(db: Database, asked: Asked) -> tuple[Particulars, list[SealedRecord]]:
    """Who is claimed to ask, and all records, still sealed. Raises InputInvalid or UnknownObject."""
    if not _PROOF.match(asked.proof.strip()):
        raise InputInvalid(
            "A report is made only for somebody whose identity was proved.",
            remedy="Say with --identity-proof where the proof is on file: 3 to 128 letters, digits or .,:/#-",
        )
    if asked.claimed is None and not asked.named:
        raise InputInvalid(
            "It is not said whose report this is to be.",
            remedy="Name a record by its control number, or the person as the proof of identity has them.",
        )
    claimed = asked.claimed or _current(db, asked.named[0]).content.identity.particulars()
    if asked.claimed is not None:
        check_claim(claimed)
    return claimed, filings.sealed_current(db)


def _current(db: Database, dcn: Dcn) -> Record:
    return filings.find_current(db, filings.record_id_of(db, dcn))


def look_through(claimed: Particulars, named: Iterable[bytes], rows: Iterable[SealedRecord]) -> Found:
    """The records of the person, opened one by one; outside of a transaction, for it takes its time.

    `named` are ids of records that a person named. Raises InputInvalid when one is of another person.
    """
    wanted, records, unsure, person = frozenset(named), [], [], normalise(claimed)
    for row in rows:
        record = row.open()
        found = agreement(person, normalise(record.content.identity.particulars()))
        if found is Agreement.OTHER and record.record_id in wanted:
            raise InputInvalid(
                f"The record {record.dcn} is about another person than the proof of identity.",
                remedy="Nothing was shown. Check the control number and the proof.",
            )
        if found is Agreement.SAME or (found is Agreement.UNSURE and record.record_id in wanted):
            records.append(record)
        elif found is Agreement.UNSURE:
            unsure.append(str(record.dcn))
    return Found(claimed, tuple(records), tuple(unsure))


# --- the report ------------------------------------------------------------------------------------------


def report(
    db: Database, found: Found, proof: str, agency: Agency, named: Named, doing: Doing
) -> SubjectReport:
    """Everything about the person, in one transaction with its ledger entries."""
    shown = Shown.at(db, doing.now)
    current = [filings.find_current(db, record.record_id) for record in found.records]
    views = [_view(db, record, named, shown, doing) for record in current]
    people = [found.claimed, *(record.content.identity.particulars() for record in current)]
    searches = accounting.searches(db, people, shown)
    details: dict[str, ledger.Value] = {
        "purpose": Purpose.SUBJECT_ACCESS.name,
        "proof": proof.strip(),
        "records": len(current),
    }
    ledger.append(db, doing.now, "subject.report", {"user": doing.by}, details)
    for record in current:
        ledger.append(db, doing.now, "subject.shown", {"dcn": str(record.dcn), "user": doing.by})
    name = current[0].content.identity if current else found.claimed
    return SubjectReport(
        agency=agency,
        made_at=doing.now,
        identity_proof=proof.strip(),
        person=f"{name.first} {name.last}".strip() or "the person who asked",
        records=tuple(views),
        lookups=accounting.lookups(db, searches, shown),
        copies=accounting.copies(db, searches, named),
    )


def _view(db: Database, record: Record, named: Named, shown: Shown, doing: Doing) -> RecordView:
    now, today, policy = record.circumstances, gate_day(doing.now), doing.policy
    filed = filings.versions(db, record.record_id)
    decision = gate(record, today, policy.gate_rules(record.kind))
    retention = policy.retention(record.content, filed[0].created_at.date())
    return RecordView(
        dcn=str(record.dcn),
        kind=words(record.kind.name),
        meaning=MEANING[record.kind],
        tier=TIER_WORDS[record.tier],
        standing=now.standing.value,
        shared=decision.matchable,
        clauses=decision.reasons,
        changes_on=decision.recheck_on,
        sharing=SHARING_WORDS[record.sharing],
        facts=facts(record),
        versions=versions(filed),
        history=tuple(
            Event(event.at.date(), event.act.value) for event in history.events(db, record.record_id)
        ),
        statement=now.subject_statement,
        dispute=now.dispute,
        clock=clock(now.dispute, today),
        accesses=accounting.accesses(db, filed, named, shown),
        recalls=accounting.recalls(db, record.record_id, named, shown),
        notices=tuple(notice.shown() for notice in notices.of_record(db, record.record_id)),
        kept=Kept(now.expires_on, now.review_on, now.legal_hold, retention.why),
    )
