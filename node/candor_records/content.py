"""What a report says of an officer, as values (RECORDS.md §3.1, §3.3): identity, decision, fair process.

Rules of this file:
- a `Content` that exists contradicts itself nowhere; what names anybody is not printed;
- an optional field holds a value or says why not (`Missing`), never an empty text;
- there is no code for what may not be reported: allegations, settlements, criminal history information.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum

from candor_proto.canonical import to_milliseconds
from candor_proto.errors import InputInvalid
from candor_proto.normalise import Particulars, normalise_post
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind, Tier

MAX_NAME_CHARACTERS = 100
MAX_NARRATIVE_CHARACTERS = 4_000

# --- codes -----------------------------------------------------------------------------------------


class Missing(Enum):
    """Why an optional field holds no value (RECORDS.md §3.1)."""

    UNKNOWN = "UNKNOWN"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    WITHHELD = "WITHHELD"


class AdjudicationStatus(Enum):
    """FINAL_APPEAL_PENDING: in effect, but an appeal is lodged; not final for the gate."""

    FINAL = "FINAL"
    FINAL_APPEAL_PENDING = "FINAL_APPEAL_PENDING"
    REVERSED = "REVERSED"
    VACATED = "VACATED"
    EXPUNGED = "EXPUNGED"


class DecisionMaker(Enum):
    CHIEF = "CHIEF"
    TRIAL_BOARD = "TRIAL_BOARD"
    ARBITRATOR = "ARBITRATOR"
    CIVIL_SERVICE = "CIVIL_SERVICE"
    POST = "POST"
    COURT = "COURT"


class StandardOfProof(Enum):
    PREPONDERANCE = "PREPONDERANCE"
    CLEAR_AND_CONVINCING = "CLEAR_AND_CONVINCING"
    BEYOND_REASONABLE_DOUBT = "BEYOND_REASONABLE_DOUBT"


class NoticeMethod(Enum):
    MAIL = "MAIL"
    IN_PERSON = "IN_PERSON"
    COUNSEL = "COUNSEL"
    COURT_SERVICE = "COURT_SERVICE"


class Opportunity(Enum):
    """A chance to respond before the decision."""

    OFFERED_HELD = "OFFERED_HELD"
    OFFERED_WAIVED = "OFFERED_WAIVED"
    NOT_OFFERED = "NOT_OFFERED"


class Finality(Enum):
    FINAL = "FINAL"
    APPEAL_TIME_RUNNING = "APPEAL_TIME_RUNNING"
    APPEAL_PENDING = "APPEAL_PENDING"
    EXHAUSTED = "EXHAUSTED"
    WAIVED = "WAIVED"


class Nexus(Enum):
    """Answer to `on_duty` and `use_of_force_related` (EO 13929 section 3(b))."""

    YES = "YES"
    NO = "NO"
    UNKNOWN = "UNKNOWN"
    NOT_APPLICABLE = "NOT_APPLICABLE"


class SourceOfRecord(Enum):
    COURT = "COURT"
    POST_ORDER = "POST_ORDER"
    PERSONNEL_ACTION = "PERSONNEL_ACTION"
    OVERSIGHT_BODY = "OVERSIGHT_BODY"


class AllegationCategory(Enum):
    """What a completed decision was about: California's nine, and the sub-types of force."""

    DISHONESTY = "DISHONESTY"
    ABUSE_OF_POWER = "ABUSE_OF_POWER"
    EXCESSIVE_FORCE = "EXCESSIVE_FORCE"
    SEXUAL_ASSAULT = "SEXUAL_ASSAULT"
    BIAS = "BIAS"
    EGREGIOUS_OR_REPEATED = "EGREGIOUS_OR_REPEATED"
    GANG_PARTICIPATION = "GANG_PARTICIPATION"
    FAILURE_TO_COOPERATE = "FAILURE_TO_COOPERATE"
    FAILURE_TO_INTERCEDE = "FAILURE_TO_INTERCEDE"
    DEADLY = "DEADLY"
    LESS_LETHAL = "LESS_LETHAL"
    NECK_RESTRAINT = "NECK_RESTRAINT"
    UNHOLSTERED = "UNHOLSTERED"
    K9 = "K9"
    VEHICLE = "VEHICLE"
    RESTRAINT_POSITION = "RESTRAINT_POSITION"
    FAILURE_TO_RENDER_AID = "FAILURE_TO_RENDER_AID"


# --- errors ------------------------------------------------------------------------------------------


class FieldInvalid(InputInvalid):
    """One field of a record is not usable; `field` names it, `reason` says why without its value."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}.")
        self.field = field
        self.reason = reason


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

    def __post_init__(self) -> None:
        faults = list(_contradictions(self))
        if faults:
            raise ContentInvalid(faults)

    @property
    def tier(self) -> Tier:
        """A separation under investigation has no finding: advisory. All other kinds are decisions."""
        advisory = self.record_kind is RecordKind.SEPARATION_UNDER_INVESTIGATION
        return Tier.ADVISORY if advisory else Tier.ADJUDICATED

    @property
    def resolved_in_favour(self) -> bool:
        """Whether an advisory matter ended in the officer's favour."""
        return False

    @property
    def adjudication_status(self) -> AdjudicationStatus:
        """As the report states it; `Record` may say otherwise after a reversal or expungement."""
        pending = self.due_process.finality is Finality.APPEAL_PENDING
        return AdjudicationStatus.FINAL_APPEAL_PENDING if pending else AdjudicationStatus.FINAL


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

NO_ALLEGATION = "an allegation without a sustained decision is never reported; only completed decisions are"


def _contradictions(content: Content) -> Iterator[FieldInvalid]:
    """What fields say against each other."""
    yield from _identity_contradictions(content)
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
                yield FieldInvalid(name, f"must be given: {NO_ALLEGATION}")
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


def _before(one: date | Missing, other: date | Missing) -> bool:
    return isinstance(one, date) and isinstance(other, date) and one < other


def known(value: str | Missing) -> str:
    return "" if isinstance(value, Missing) else value


# --- flat forms --------------------------------------------------------------------------------------


def plain(value: object) -> str:
    """The one text form of a field's value."""
    match value:
        case str():
            return value
        case Enum():
            return value.name
        case datetime():
            return str(to_milliseconds(value))
        case date():
            return value.isoformat()
        case tuple():
            return ";".join(item.name for item in value) or Missing.NOT_APPLICABLE.name
    return str(value)


def content_fields(content: Content) -> dict[str, str]:
    """The content by column name, as texts that `parse` reads back to the same content."""
    flat = {name: plain(getattr(content.identity, name)) for name in IDENTITY_FIELDS}
    flat |= {name: plain(getattr(content.due_process, name)) for name in DUE_PROCESS_FIELDS}
    return {name: flat[name] if name in flat else plain(getattr(content, name)) for name in CONTENT_FIELDS}
