"""The letter by which an agency tells the subject of a filing, as a value (RECORDS.md §4.1).

Rules of this file:
- it says what was filed, by whom, what it means, whether it is shared and why, and what the subject may do;
- of an expunged record nothing is left to say but that it was: the letter names nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from candor_records.gate import GateDecision
from candor_records.gate_rules import Clause
from candor_records.life import Act
from candor_records.records import Record
from candor_records.subject_report import MEANING, SHARING_WORDS, TIER_WORDS, Agency, facts, words

# What was done, as the letter says it; the acts in this table are those of which the subject gets a notice.
NOTICES: Mapping[Act, str] = {
    Act.FILE: "This agency filed a record about you",
    Act.CORRECT: "This agency corrected a record about you",
    Act.REVISE: "A later action was added to a record about you",
    Act.PROMOTE: "A record about you now reports a sustained decision",
    Act.NOTICE_APPEAL: "An appeal was noted in a record about you",
    Act.DECIDE_APPEAL: "The outcome of an appeal was noted in a record about you",
    Act.OVERTURN: "A record about you now says that its decision was taken away",
    Act.VOID: "This agency voided a record about you",
    Act.EXPUNGE: "This agency expunged a record about you",
}


@dataclass(frozen=True)
class Letter:
    """One notice, ready to be set as a page."""

    agency: Agency
    written_on: date
    to: str = field(repr=False)
    dcn: str
    what: str
    done_on: date
    kind: str
    meaning: str
    tier: str
    shared: bool
    clauses: tuple[Clause, ...]
    sharing: str
    facts: tuple[tuple[str, str], ...] = field(repr=False)
    changed: tuple[str, ...]


def letter(
    agency: Agency,
    act: Act,
    record: Record,
    decision: GateDecision,
    done_on: date,
    today: date,
    changed: tuple[str, ...] = (),
) -> Letter:
    """The letter about `act` on `record`; `changed` names the fields that it changed, for people."""
    identity = record.content.identity
    return Letter(
        agency=agency,
        written_on=today,
        to=f"{identity.first} {identity.last}",
        dcn=str(record.dcn),
        what=NOTICES[act],
        done_on=done_on,
        kind=words(record.kind.name),
        meaning=MEANING[record.kind],
        tier=TIER_WORDS[record.tier],
        shared=decision.matchable,
        clauses=decision.reasons,
        sharing=SHARING_WORDS[record.sharing],
        facts=facts(record),
        changed=changed,
    )


def letter_without_record(agency: Agency, dcn: str, done_on: date, today: date) -> Letter:
    """The letter about a record that was expunged: whom it was about can be read nowhere any more."""
    return Letter(
        agency=agency,
        written_on=today,
        to="",
        dcn=dcn,
        what=NOTICES[Act.EXPUNGE],
        done_on=done_on,
        kind="",
        meaning="",
        tier="",
        shared=False,
        clauses=(),
        sharing="",
        facts=(),
        changed=(),
    )
