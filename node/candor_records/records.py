"""Records: one filing of a report, by whom, when and as what (RECORDS.md §3.2).

Rules of this file:
- a `Record` that exists is filed properly and does not print what names anybody. What it says is in
  `content`; rows are read by `record_fields`, stored by `candor_node.filings`;
- every version has its own control number, and names the one before it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import Enum

from candor_proto.errors import InputInvalid
from candor_proto.ids import NodeId, Ori
from candor_proto.policy import Sharing
from candor_proto.record import CanonicalRecord, DisputeStatus, RecordKind, Tier
from candor_records.codes import CODE_SET_VERSION, AdjudicationStatus, Missing
from candor_records.content import Content, FieldInvalid, content_fields
from candor_records.dispute import MAX_STATEMENT_CHARACTERS, Dispute, DisputeGround
from candor_records.earlier import EarlierReport, chain_words

RECORD_ID_OCTETS = 16

# --- codes -----------------------------------------------------------------------------------------


class ReportType(Enum):
    """Why a version was filed (RECORDS.md §4.1)."""

    INITIAL = "INITIAL"
    CORRECTION = "CORRECTION"
    VOID = "VOID"
    REVISION_TO_ACTION = "REVISION_TO_ACTION"
    NOTICE_OF_APPEAL = "NOTICE_OF_APPEAL"


class Standing(Enum):
    """Where a record is in its life (RECORDS.md §4.1). Only an ACTIVE one is published."""

    DRAFT = "a draft"
    HELD = "held back"
    ACTIVE = "active"
    EXPIRED = "expired"
    VOID = "void"
    EXPUNGED = "expunged"


# --- the control number -----------------------------------------------------------------------------

_DCN_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # without I, L, O, U
_CHECK_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DCN_LENGTH = 16


def _check_letter(payload: str) -> str:
    """The letter that makes Σ weight · value a multiple of 37, weights 1, 2, 3 … from the right; or "".

    37 is prime and above every value and weight, so a wrong letter and two swapped ones always show.
    A payload whose check value would be 36 has no letter, and is not used.
    """
    total = sum(weight * _CHECK_LETTERS.index(letter) for weight, letter in enumerate(reversed(payload), 2))
    return (_CHECK_LETTERS + " ")[-total % 37].strip()


@dataclass(frozen=True, order=True)
class Dcn:
    """Control number of one filing: 80 random bits and a check letter. A running number would leak volume."""

    value: str

    def __post_init__(self) -> None:
        body = self.value[:-1]
        if (
            len(body) != _DCN_LENGTH
            or any(letter not in _DCN_LETTERS for letter in body)
            or _check_letter(body) != self.value[-1:]
        ):
            raise InputInvalid(
                "This is not a control number (DCN), or a letter of it is wrong.",
                remedy="A DCN has 17 letters and digits; the last one checks the others.",
            )

    @classmethod
    def parse(cls, text: str) -> Dcn:
        """Read what a person typed: any case, hyphens and blanks ignored."""
        return cls(re.sub(r"[\s-]", "", text).upper())

    @classmethod
    def draw(cls, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> Dcn:
        number = int.from_bytes(random_bytes(10), "big")
        while True:
            body = "".join(_DCN_LETTERS[number >> shift & 31] for shift in range(75, -1, -5))
            if check := _check_letter(body):
                return cls(body + check)
            number ^= 1

    def __str__(self) -> str:
        return self.value


# --- filings --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Circumstances:
    """What changes without a filing. `sealed_by_order`: a court wants it found by nobody.

    `subject_told_on`: the day on which the notice of the first filing reached the subject.
    """

    standing: Standing = Standing.HELD
    sharing: Sharing = Sharing.YELLOW
    reviewed: bool = True
    sealed_by_order: bool = False
    legal_hold: bool = False
    review_on: date | None = None
    expires_on: date | None = None
    dispute: Dispute | None = None
    subject_statement: str = field(default="", repr=False)
    subject_told_on: date | None = None

    def __post_init__(self) -> None:
        if len(self.subject_statement) > MAX_STATEMENT_CHARACTERS:
            raise FieldInvalid("subject_statement", f"longer than {MAX_STATEMENT_CHARACTERS} characters")


@dataclass(frozen=True)
class Record:
    """One filing: its content, who filed it when as what (RECORDS.md §3.2), and how the record stands now.

    `expires_on` is the end of retention as this version states it; what counts is in `circumstances`.
    `days_late` is how late the first filing was by the clock in force when this version was filed; None where
    none ran. `first_filed_at` is None for a first version.
    """

    dcn: Dcn
    version: int
    report_type: ReportType
    previous_dcn: Dcn | None
    reporting_agency: Ori
    publishing_node: NodeId
    contributor: str
    created_at: datetime
    content: Content
    adjudication_status: AdjudicationStatus
    record_id: bytes = field(repr=False)
    expires_on: date | None = None
    circumstances: Circumstances = Circumstances()
    earlier: tuple[EarlierReport, ...] = ()
    first_filed_at: datetime | None = None
    days_late: int | None = None

    def __post_init__(self) -> None:
        if (self.version == 1) != (self.previous_dcn is None):
            raise FieldInvalid("previous_dcn", "the first version has none, every later one names its own")
        if (self.report_type is ReportType.INITIAL) != (self.version == 1):
            raise FieldInvalid("report_type", "INITIAL is the first version and only that")
        if self.created_at.tzinfo is None:
            raise FieldInvalid("created_at", "a time without a zone")

    @property
    def kind(self) -> RecordKind:
        return self.content.record_kind

    @property
    def tier(self) -> Tier:
        return self.content.tier

    @property
    def sharing(self) -> Sharing:
        return self.circumstances.sharing

    @property
    def reported_at(self) -> datetime:
        """When the matter was first reported: clocks and retention count from here, whatever came later."""
        return self.first_filed_at or self.created_at

    @property
    def overturned(self) -> bool:
        """Whether the decision was taken away: reversed, vacated, or expunged."""
        return self.adjudication_status in _OVERTURNED

    @property
    def dispute_status(self) -> DisputeStatus:
        dispute = self.circumstances.dispute
        return DisputeStatus.NONE if dispute is None else dispute.status

    @property
    def wrong_person_disputed(self) -> bool:
        """An open dispute that needs a human identity check at release (RECORDS.md §4.2)."""
        dispute = self.circumstances.dispute
        return dispute is not None and dispute.open and dispute.ground is DisputeGround.WRONG_PERSON


_OVERTURNED = (AdjudicationStatus.REVERSED, AdjudicationStatus.VACATED, AdjudicationStatus.EXPUNGED)


def initial(
    content: Content,
    now: datetime,
    ori: Ori,
    node: NodeId,
    contributor: str,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    *,
    reviewed: bool = True,
) -> Record:
    """The first version of a record; a draft unless `reviewed`."""
    return Record(
        Dcn.draw(random_bytes),
        1,
        ReportType.INITIAL,
        None,
        ori,
        node,
        contributor,
        now,
        content,
        content.adjudication_status,
        random_bytes(RECORD_ID_OCTETS),
        circumstances=Circumstances(sharing=content.sharing, reviewed=reviewed),
    )


def following(
    previous: Record,
    content: Content,
    now: datetime,
    contributor: str,
    report_type: ReportType = ReportType.CORRECTION,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Record:
    """The version that comes after `previous`, under its own control number. What was overturned stays so."""
    overturned = previous.adjudication_status if previous.overturned else None
    return replace(
        previous,
        dcn=Dcn.draw(random_bytes),
        version=previous.version + 1,
        report_type=report_type,
        previous_dcn=previous.dcn,
        contributor=contributor,
        created_at=now,
        content=content,
        adjudication_status=overturned or content.adjudication_status,
        first_filed_at=previous.reported_at,
        # No finding any more: a person decides on each release again.
        circumstances=replace(previous.circumstances, sharing=Sharing.YELLOW)
        if content.tier is Tier.ADVISORY and previous.sharing is Sharing.GREEN
        else previous.circumstances,
        earlier=_standing_beside(previous, content, report_type),
    )


def _standing_beside(
    previous: Record, content: Content, report_type: ReportType
) -> tuple[EarlierReport, ...]:
    """The reports that still stand when `content` is filed behind `previous`.

    A correction takes its place; and what it corrects is not said of the earlier ones either.
    """
    before, after = content_fields(previous.content), content_fields(content)
    said = {name: value for name, value in before.items() if name != "sharing" and after.get(name) != value}
    if report_type is ReportType.CORRECTION:
        return tuple(report.without(said) for report in previous.earlier)
    filed_on = previous.created_at.date()
    return (*previous.earlier, EarlierReport(str(previous.dcn), previous.report_type.name, filed_on, said))


def canonical(record: Record) -> CanonicalRecord:
    """What is committed to in the index and released (docs/protocol.md §9.4).

    Identity is in it, for it is released to the requester after approval; what is internal to the owner
    is not: its own record id, its clerk, its sharing choice. Dispute and statement travel beside it.
    """
    fields = content_fields(record.content)
    for internal in ("agency_record_id", "record_kind", "sharing"):
        del fields[internal]
    fields |= {
        "code_set": str(CODE_SET_VERSION),
        "dcn": str(record.dcn),
        "version": str(record.version),
        "report_type": record.report_type.name,
        "previous_dcn": str(record.previous_dcn or Missing.NOT_APPLICABLE.name),
        "adjudication_status": record.adjudication_status.name,
        "reporting_agency": str(record.reporting_agency),
        "publishing_node": str(record.publishing_node),
        "reported_on": record.created_at.date().isoformat(),
        "expires_on": record.expires_on.isoformat() if record.expires_on else Missing.NOT_APPLICABLE.name,
        "earlier_reports": chain_words(record.earlier) or Missing.NOT_APPLICABLE.name,
    }
    # Fixed at filing, as everything here: a version that was committed to is released as it was.
    if record.days_late is not None:
        fields["days_late"] = str(record.days_late)
    return CanonicalRecord(record.kind, record.tier, fields)
