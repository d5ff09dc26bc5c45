"""What a report says of an officer, as values (RECORDS.md §3): identity, fair process, the kind's own fields.

Rules of this file:
- a `Content` that exists contradicts itself nowhere; what names anybody is not printed;
- an optional field holds a value or says why not (`Missing`), never an empty text;
- `details` are the fields of the kind (`kinds`), those only that are given: one that is UNKNOWN is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from candor_proto.errors import InputInvalid
from candor_proto.normalise import Particulars, normalise_post
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind, Tier
from candor_records.codes import (
    IN_FAVOUR,
    AdjudicationStatus,
    AllegationCategory,
    AppealOutcome,
    ArbitrationOutcome,
    DecisionMaker,
    Finality,
    InvestigationOutcome,
    Missing,
    Nexus,
    NoticeMethod,
    Opportunity,
    SourceOfRecord,
    StandardOfProof,
)
from candor_records.field_types import Value, plain
from candor_records.kinds import FIELDS, FIELDS_OF, kinds_with
from candor_records.refusals import REASONS, Refusal

MAX_NAME_CHARACTERS = 100
MAX_NARRATIVE_CHARACTERS = 4_000

# --- errors ------------------------------------------------------------------------------------------


class FieldInvalid(InputInvalid):
    """One field of a record is not usable; `field` names it, `reason` says why without its value.

    `refusal` is the code of what may not be reported at all; None for what is merely wrong.
    """

    def __init__(self, field: str, reason: str, refusal: Refusal | None = None, *, remedy: str = "") -> None:
        super().__init__(f"{field}: {reason}.", remedy=remedy)
        self.field = field
        self.reason = reason
        self.refusal = refusal

    @classmethod
    def refused(cls, field: str, refusal: Refusal, before: str = "") -> FieldInvalid:
        """What may not be reported, with its sentence and remedy; `before` says more of the field."""
        return cls(field, before + REASONS[refusal].words, refusal)


class ContentInvalid(InputInvalid):
    """Fields of a record that contradict each other, all of them in `faults`."""

    def __init__(self, faults: Sequence[FieldInvalid]) -> None:
        super().__init__(" ".join(fault.message for fault in faults))
        self.faults = tuple(faults)


# --- values ------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Identity:
    """Who the record is about. Never leaves the node before an approved release.

    `birth_date` is YYYY, YYYY-MM or YYYY-MM-DD; `ssn4` the last four digits.
    """

    first: str
    last: str
    middle: str | Missing = Missing.UNKNOWN
    suffix: str | Missing = Missing.UNKNOWN
    former_last: str | Missing = Missing.UNKNOWN
    birth_date: str | Missing = Missing.UNKNOWN
    ssn4: str | Missing = Missing.UNKNOWN
    sex: str | Missing = Missing.UNKNOWN
    post_state: str | Missing = Missing.UNKNOWN
    post_id: str | Missing = Missing.UNKNOWN

    def __repr__(self) -> str:
        return "Identity(<redacted>)"

    def particulars(self) -> Particulars:
        """As matching takes it: what is missing is an empty text, unknown parts of a date are XX."""
        birth_date = known(self.birth_date)
        return Particulars(
            first=self.first,
            middle=known(self.middle),
            last=self.last,
            suffix=known(self.suffix),
            former_last=known(self.former_last),
            birth_date=birth_date + "-XX" * ((10 - len(birth_date)) // 3) if birth_date else "",
            ssn4=known(self.ssn4),
            sex=known(self.sex),
            post_state=known(self.post_state),
            post_id=known(self.post_id),
        )


@dataclass(frozen=True)
class DueProcess:
    """The facts of fair process (RECORDS.md §3.3). Whether they suffice is for `gate` to say."""

    decided_on: date | Missing
    decision_maker: DecisionMaker | Missing
    standard_of_proof: StandardOfProof | Missing
    notice_given_on: date | Missing
    notice_method: NoticeMethod | Missing
    opportunity: Opportunity | Missing
    opportunity_on: date | Missing
    finality: Finality | Missing
    appeal_until: date | Missing
    subject_notified_on: date | Missing


NO_DUE_PROCESS = DueProcess(*[Missing.NOT_APPLICABLE] * 10)


@dataclass(frozen=True)
class Content:
    """What a report says: the part of a record that the agency files. Valid once it exists."""

    agency_record_id: str = field(repr=False)
    record_kind: RecordKind
    identity: Identity = field(repr=False)
    effective_on: date
    due_process: DueProcess
    sharing: Sharing
    on_duty: Nexus
    use_of_force_related: Nexus
    allegation_categories: tuple[AllegationCategory, ...]
    source_of_record: SourceOfRecord
    narrative: str | Missing = field(default=Missing.NOT_APPLICABLE, repr=False)
    details: Mapping[str, Value | Missing] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        faults = list(_contradictions(self))
        if faults:
            raise ContentInvalid(faults)

    def detail(self, name: str) -> Value | Missing:
        """A field of the kind, or why it holds no value; NOT_APPLICABLE for one that other kinds have."""
        absent = Missing.UNKNOWN if name in FIELDS_OF[self.record_kind] else Missing.NOT_APPLICABLE
        return self.details.get(name, absent)

    @property
    def tier(self) -> Tier:
        """Advisory: a separation under investigation, until that is sustained. The others are decisions."""
        advisory = self.record_kind is RecordKind.SEPARATION_UNDER_INVESTIGATION
        sustained = self.details.get("investigation_outcome") is InvestigationOutcome.SUSTAINED
        return Tier.ADVISORY if advisory and not sustained else Tier.ADJUDICATED

    @property
    def resolved_in_favour(self) -> bool:
        """The investigation ended in the officer's favour: the record is to be voided (RECORDS.md §3.6)."""
        return self.details.get("investigation_outcome") in IN_FAVOUR

    @property
    def taken_away(self) -> str:
        """REVERSED or REINSTATED when the fields themselves say so; "" while the decision stands by them."""
        if self.details.get("appeal_outcome") is AppealOutcome.REVERSED:
            return AppealOutcome.REVERSED.name
        reinstated = self.details.get("arbitration_outcome") is ArbitrationOutcome.REINSTATED
        return ArbitrationOutcome.REINSTATED.name if reinstated else ""

    @property
    def appeal_open(self) -> bool:
        """An appeal is pending: by `finality`, or by an appeal or arbitration of which no end is recorded."""
        finality = self.due_process.finality
        if finality is Finality.APPEAL_PENDING:
            return True
        if self.details.get("arbitration_outcome") is ArbitrationOutcome.PENDING:
            return True
        filed = isinstance(self.details.get("appeal_filed_on"), date)
        ended = isinstance(self.details.get("appeal_outcome"), AppealOutcome)
        return filed and not ended and finality is not Finality.EXHAUSTED

    @property
    def wanting(self) -> tuple[str, ...]:
        """The fields that a complete report of this kind gives and this one does not."""
        fields = FIELDS_OF[self.record_kind].values()
        return tuple(field.name for field in fields if field.expected and field.name not in self.details)

    @property
    def adjudication_status(self) -> AdjudicationStatus:
        """As the report states it; `Record` may say otherwise after a reversal or expungement."""
        return AdjudicationStatus.FINAL_APPEAL_PENDING if self.appeal_open else AdjudicationStatus.FINAL


IDENTITY_FIELDS = (
    "first", "middle", "last", "suffix", "former_last", "birth_date", "ssn4", "sex", "post_state", "post_id",
)  # fmt: skip
DUE_PROCESS_FIELDS = (
    "decided_on", "decision_maker", "standard_of_proof", "notice_given_on", "notice_method", "opportunity",
    "opportunity_on", "finality", "appeal_until", "subject_notified_on",
)  # fmt: skip
CONTENT_FIELDS = (
    "agency_record_id", "record_kind", *IDENTITY_FIELDS, "effective_on", *DUE_PROCESS_FIELDS, "sharing",
    "on_duty", "use_of_force_related", "allegation_categories", "source_of_record", "narrative",
)  # fmt: skip

# A file of the first format has CONTENT_FIELDS; each of these columns may stand beside them.
DETAIL_FIELDS = tuple(FIELDS)
ALL_FIELDS = (*CONTENT_FIELDS, *DETAIL_FIELDS)


def unreportable(content: Content) -> tuple[FieldInvalid, ...]:
    """What speaks against a first report; a record that is known may come to say it, and ends by it."""
    faults = []
    if content.resolved_in_favour:
        faults.append(FieldInvalid.refused("investigation_outcome", Refusal.IN_FAVOUR))
    if content.taken_away:
        reversed_ = content.taken_away == AppealOutcome.REVERSED.name
        name = "appeal_outcome" if reversed_ else "arbitration_outcome"
        faults.append(FieldInvalid.refused(name, Refusal.NO_LONGER_STANDS))
    return tuple(faults)


def _contradictions(content: Content) -> Iterator[FieldInvalid]:
    """What fields say against each other."""
    yield from _identity_contradictions(content)
    if content.details:
        yield from _detail_contradictions(content)
    if content.record_kind is RecordKind.COMMENDATION:
        for name in DUE_PROCESS_FIELDS:
            if not isinstance(getattr(content.due_process, name), Missing):
                yield FieldInvalid(name, "a commendation has no due-process facts; leave it empty")
        if content.allegation_categories:
            yield FieldInvalid("allegation_categories", "a commendation has none; leave it empty")
        return
    yield from _due_process_contradictions(content)
    if content.tier is Tier.ADVISORY and content.sharing is Sharing.GREEN:
        yield FieldInvalid("sharing", "an advisory record is YELLOW or RED: a person decides on its release")
    courts = (RecordKind.CRIMINAL_CONVICTION, RecordKind.CIVIL_JUDGMENT)
    if content.record_kind in courts and content.source_of_record is not SourceOfRecord.COURT:
        yield FieldInvalid("source_of_record", "convictions and judgments come from court records only")


def _identity_contradictions(content: Content) -> Iterator[FieldInvalid]:
    identity = content.identity
    state, number = known(identity.post_state), known(identity.post_id)
    if bool(state) != bool(number):
        missing = "post_id" if state else "post_state"
        yield FieldInvalid(missing, "certificate state and number belong together; give both or neither")
    elif number and not any(normalise_post(state, number)):
        yield FieldInvalid("post_id", "is a placeholder, not a certificate number")
    if not (known(identity.birth_date) or known(identity.ssn4) or number):
        yield FieldInvalid(
            "birth_date", "a name alone identifies nobody; give birth date, ssn4 or certificate number"
        )
    if known(identity.birth_date)[:4] > f"{content.effective_on.year - 14:04d}":
        yield FieldInvalid("birth_date", "is too late for an officer at the time of the report")


def _due_process_contradictions(content: Content) -> Iterator[FieldInvalid]:
    facts = content.due_process
    if content.tier is Tier.ADJUDICATED:
        for name in ("decided_on", "decision_maker", "standard_of_proof", "finality"):
            if isinstance(getattr(facts, name), Missing):
                yield FieldInvalid.refused(name, Refusal.ALLEGATION_ONLY, "must be given: ")
    if isinstance(facts.opportunity, Missing):
        yield FieldInvalid("opportunity", f"must be given, one of {', '.join(Opportunity.__members__)}")
    if facts.opportunity is Opportunity.OFFERED_HELD and isinstance(facts.opportunity_on, Missing):
        yield FieldInvalid("opportunity_on", "must be given when the opportunity was held")
    if facts.opportunity is Opportunity.NOT_OFFERED and not isinstance(facts.opportunity_on, Missing):
        yield FieldInvalid("opportunity_on", "must be empty when no opportunity was offered")
    if isinstance(facts.notice_given_on, Missing) != isinstance(facts.notice_method, Missing):
        missing = "notice_given_on" if isinstance(facts.notice_given_on, Missing) else "notice_method"
        yield FieldInvalid(missing, "date and method of the notice belong together; give both or neither")
    running = facts.finality is Finality.APPEAL_TIME_RUNNING
    if running and isinstance(facts.appeal_until, Missing):
        yield FieldInvalid("appeal_until", "must be given while the time to appeal is running")
    if not running and not isinstance(facts.appeal_until, Missing):
        yield FieldInvalid("appeal_until", "is given only while the time to appeal is running")
    if running and _before(facts.appeal_until, facts.decided_on):
        yield FieldInvalid("appeal_until", "lies before the decision")


# Pairs of days of which the first may not lie before the second.
_LATER_AND_EARLIER = (
    ("separated_on", "appointed_on"),
    ("convicted_on", "offence_on"),
    ("action_ends_on", "effective_on"),
    ("appeal_filed_on", "decided_on"),
    ("appeal_decided_on", "appeal_filed_on"),
    ("training_completed_on", "incident_on"),
)


def _detail_contradictions(content: Content) -> Iterator[FieldInvalid]:
    own, details = FIELDS_OF[content.record_kind], content.details
    for name, value in details.items():
        if name not in own:
            yield FieldInvalid(name, other_kind(name, content.record_kind))
        elif value is Missing.UNKNOWN or not (isinstance(value, Missing) or own[name].type.holds(value)):
            yield FieldInvalid(name, f"is no {own[name].type.words}")
    for later, earlier in _LATER_AND_EARLIER:
        if later in details and _before(details[later], _day(content, earlier)):
            yield FieldInvalid(later, f"lies before {earlier}")
    no_outcome, no_day = (
        isinstance(content.detail(name), Missing) for name in ("appeal_outcome", "appeal_decided_on")
    )
    if no_outcome != no_day:
        missing = "appeal_outcome" if no_outcome else "appeal_decided_on"
        yield FieldInvalid(missing, "outcome and day of an appeal belong together; give both or neither")


def other_kind(name: str, kind: RecordKind) -> str:
    """Why a field of other kinds may hold nothing in this one."""
    kinds = ", ".join(one.name for one in kinds_with(name))
    return f"is a field of {kinds}, which a {kind.name} does not have; leave it empty"


def _day(content: Content, name: str) -> object:
    if name in FIELDS:
        return content.detail(name)
    return getattr(content.due_process if name in DUE_PROCESS_FIELDS else content, name)


def _before(one: object, other: object) -> bool:
    return isinstance(one, date) and isinstance(other, date) and one < other


# Days of an appeal, which are entered once they have come: a decision ahead would make a report final today.
_APPEAL_DAYS = ("appeal_filed_on", "appeal_decided_on")


def lying_ahead(content: Content, today: date) -> tuple[FieldInvalid, ...]:
    """What is told of an appeal as if it had happened, and has not on any place on earth."""
    latest = today + timedelta(days=1)
    days = ((name, content.details.get(name)) for name in _APPEAL_DAYS)
    return tuple(
        FieldInvalid(name, "lies ahead; it is entered once it has happened")
        for name, day in days
        if isinstance(day, date) and day > latest
    )


def known(value: str | Missing) -> str:
    return "" if isinstance(value, Missing) else value


# --- flat forms --------------------------------------------------------------------------------------


def content_fields(content: Content, *, given_only: bool = False) -> dict[str, str]:
    """The content by column name, as texts that `parse` reads back: with every field that its kind has.

    `given_only`, for storing it, leaves out the fields of the kind that are UNKNOWN: most of them are.
    """
    flat = {name: plain(getattr(content.identity, name)) for name in IDENTITY_FIELDS}
    flat |= {name: plain(getattr(content.due_process, name)) for name in DUE_PROCESS_FIELDS}
    flat = {name: flat[name] if name in flat else plain(getattr(content, name)) for name in CONTENT_FIELDS}
    details = content.details
    for name in details if given_only else FIELDS_OF[content.record_kind]:
        flat[name] = plain(details[name]) if name in details else Missing.UNKNOWN.name
    return flat
