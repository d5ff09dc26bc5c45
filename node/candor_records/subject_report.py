"""What a person may see of what is held about them, as values (RECORDS.md §4.3, issue 5 "The subject").

Rules of this file:
- it is the whole of the report: a page is only its rendering, so that HTML, PDF and tests say the same;
- gate words, retention words and control numbers stand here as clerk and auditor read them;
- other people stay out of it: agencies are named, clerks, investigators and approvers are not;
- what is deferred is not here at all, and not even counted, until its day has come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum

from candor_proto.policy import Sharing
from candor_proto.record import RecordKind, Tier
from candor_records import codes
from candor_records.codes import Missing
from candor_records.content import IDENTITY_FIELDS, content_fields
from candor_records.dispute import Dispute, DisputeState
from candor_records.gate_rules import Clause
from candor_records.records import Record

_NOT_SHOWN = frozenset({"agency_record_id", "sharing"})
_INITIALS = {"ssn4": "Last four of SSN", "post_state": "Certificate state", "post_id": "Certificate number"}
_RESOLVER = "The subject may take it to the independent resolver."
_AS_FILED = frozenset({*IDENTITY_FIELDS, "narrative"})
_CODES = frozenset(
    member.name
    for kind in (*vars(codes).values(), RecordKind)
    if isinstance(kind, type) and issubclass(kind, Enum)
    for member in kind
)

SHARING_WORDS: Mapping[Sharing, str] = {
    Sharing.GREEN: "GREEN: an agency that asks for a listed purpose gets the record by a standing rule.",
    Sharing.YELLOW: "YELLOW: an agency that asks learns that there is a record; a person here decides on it.",
    Sharing.RED: "RED: every agency that asks for the record is declined.",
}
TIER_WORDS: Mapping[Tier, str] = {
    Tier.ADJUDICATED: "Adjudicated: it reports a completed official decision.",
    Tier.ADVISORY: "Advisory: it states the fact of a separation, not that any allegation is true.",
}
# What an agency that met the record may draw from it, in one sentence; said in the letter and the report.
MEANING: Mapping[RecordKind, str] = {
    RecordKind.TERMINATION_FOR_CAUSE: "An agency ended an employment for cause.",
    RecordKind.SEPARATION_UNDER_INVESTIGATION: "An employment ended while an investigation was open.",
    RecordKind.DECERTIFICATION: "A POST body acted on a certificate.",
    RecordKind.CRIMINAL_CONVICTION: "A court convicted the person of an offence.",
    RecordKind.CIVIL_JUDGMENT: "A court gave judgment on the use of force or a violation of rights.",
    RecordKind.SUSTAINED_FORCE_FINDING: "A finding about the use of force was sustained.",
    RecordKind.COMMENDATION: "The person was commended; it is shown beside other records for context.",
}


# --- words ---------------------------------------------------------------------------------------------


def words(code: str) -> str:
    """A code as text: TRIAL_BOARD as Trial board."""
    return code.replace("_", " ").capitalize()


def title(name: str) -> str:
    """A field's name as people read it."""
    return _INITIALS.get(name) or words(name)


def shown(name: str, value: str) -> str:
    """A field's value as people read it: codes lose their capitals, names and free words stay as filed."""
    if name in _AS_FILED:
        return words(value) if value in Missing.__members__ else value
    parts = value.split(";")
    return ", ".join(map(words, parts)) if _CODES.issuperset(parts) else value


# --- values --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One field that a version changed."""

    name: str
    before: str = field(repr=False)
    after: str = field(repr=False)


@dataclass(frozen=True)
class Version:
    """One filing, and what it changed of the one before."""

    dcn: str
    number: int
    report_type: str
    filed_on: date
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Event:
    """One entry of the record's history."""

    on: date
    what: str


@dataclass(frozen=True)
class Access:
    """Another agency asked for the record; `version` is what it was given, None when it was not."""

    agency: str
    ori: str
    node: str
    asked_on: date
    purpose: str
    case: str = field(repr=False)
    outcome: str
    settled_on: date | None = None
    dcn: str = ""
    version: int | None = None
    was_deferred_until: date | None = None


@dataclass(frozen=True)
class Recalled:
    """An agency that had the record was told of a change."""

    agency: str
    why: str
    told_on: date | None
    done: str
    done_on: date | None


@dataclass(frozen=True)
class Notified:
    """A notice to the subject, due or sent."""

    about: str
    due_on: date
    sent_on: date | None
    method: str


@dataclass(frozen=True)
class Kept:
    """How long the record is kept, and by which rule."""

    until: date | None
    review_on: date | None
    legal_hold: bool
    why: str


@dataclass(frozen=True)
class RecordView:
    """One record in full."""

    dcn: str
    kind: str
    meaning: str
    tier: str
    standing: str
    shared: bool
    clauses: tuple[Clause, ...]
    changes_on: date | None
    sharing: str
    facts: tuple[tuple[str, str], ...] = field(repr=False)
    versions: tuple[Version, ...]
    history: tuple[Event, ...]
    statement: str = field(repr=False)
    dispute: Dispute | None
    clock: str
    accesses: tuple[Access, ...]
    recalls: tuple[Recalled, ...]
    notices: tuple[Notified, ...]
    kept: Kept

    @property
    def given_to(self) -> tuple[Access, ...]:
        return tuple(access for access in self.accesses if access.version is not None)

    @property
    def not_given_to(self) -> tuple[Access, ...]:
        return tuple(access for access in self.accesses if access.version is None)


@dataclass(frozen=True)
class LookupMade:
    """This agency looked the person up at others."""

    on: date
    purpose: str
    case: str = field(repr=False)
    was_deferred_until: date | None = None


@dataclass(frozen=True)
class CopyHeld:
    """A record of another agency of which this one has, or had, a copy."""

    owner: str
    asked_on: date
    kind: str
    state: str


@dataclass(frozen=True)
class Agency:
    """Who holds the records and answers for them."""

    name: str
    oris: tuple[str, ...]
    node: str
    contact: str
    resolver: str
    dispute_days: int


@dataclass(frozen=True)
class SubjectReport:
    """Everything that one agency holds about one person."""

    agency: Agency
    made_at: datetime
    identity_proof: str = field(repr=False)
    person: str = field(repr=False)
    records: tuple[RecordView, ...]
    lookups: tuple[LookupMade, ...]
    copies: tuple[CopyHeld, ...]


# --- from records ----------------------------------------------------------------------------------------


def facts(record: Record) -> tuple[tuple[str, str], ...]:
    """What the record says, field by field, without what is only the agency's own."""
    filed = content_fields(record.content)
    late = {} if record.days_late is None else {"days_late": str(record.days_late)}
    said = {**filed, **late}
    return tuple((title(name), shown(name, value)) for name, value in said.items() if name not in _NOT_SHOWN)


def versions(filings: Sequence[Record]) -> tuple[Version, ...]:
    """The filings of one record, oldest first, each with what it changed of the one before."""
    found = []
    for before, after in zip([None, *filings], filings, strict=False):
        found.append(
            Version(
                str(after.dcn),
                after.version,
                words(after.report_type.name),
                after.created_at.date(),
                () if before is None else _changes(before, after),
            )
        )
    return tuple(found)


def _changes(before: Record, after: Record) -> tuple[Change, ...]:
    old, new = content_fields(before.content), content_fields(after.content)
    old["adjudication_status"] = before.adjudication_status.name
    new["adjudication_status"] = after.adjudication_status.name
    none = Missing.NOT_APPLICABLE.name
    return tuple(
        Change(title(name), shown(name, old.get(name, none)), shown(name, new.get(name, none)))
        for name in {**old, **new}
        if name not in _NOT_SHOWN and old.get(name, none) != new.get(name, none)
    )


def clock(dispute: Dispute | None, today: date) -> str:
    """Where a dispute is, and whose turn it is, in one sentence; "" for none."""
    if dispute is None:
        return ""
    due = dispute.due()
    if due is not None and today > due[0]:
        late = (today - due[0]).days
        days = "1 day" if late == 1 else f"{late} days"
        said = f"The agency should have done this by {due[0]}: {due[1]}. It is {days} late."
        return said if dispute.state is DisputeState.DECIDED else f"{said} {_RESOLVER}"
    if due is not None:
        return f"The agency has until {due[0]}: {due[1]}."
    match dispute.state:
        case DisputeState.STOOD_BY:
            return _RESOLVER
        case DisputeState.IN_RESOLUTION:
            return f"It was sent to {dispute.resolver} on {dispute.referred_on}, which decides."
    return f"It was settled on {dispute.resolved_on}."
