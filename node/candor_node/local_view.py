"""Values of the node as the messages that its own commands read (candor_wire/v1/local.proto).

Rule of this file: what is not for people's eyes, such as local failures and keys, has no field here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

from candor_backup.state import BackupState
from candor_node import amendments, coverage_words
from candor_node.amendments import Account, Revision
from candor_node.asking import Question
from candor_node.cases import SearchView
from candor_node.copies import Copy, HeldVersion
from candor_node.hit_store import StoredHit
from candor_node.ledger import Entry
from candor_node.recall_store import ReceivedRecall
from candor_node.recalled import KIND_WORDS
from candor_node.rechecking import Rechecked
from candor_node.request_store import ReceivedRequest, SentRequest
from candor_node.rollback import Rollback, closed
from candor_proto.errors import InputInvalid
from candor_proto.ids import LookupShape, NodeId, Purpose
from candor_proto.normalise import REFUSED_IN_LOOKUPS, Particulars, refusal
from candor_proto.record import RecordKind, Tier
from candor_proto.result import Coverage, TargetReport
from candor_wire.v1 import local_pb2 as pb

_FIRST_DAY = date(1970, 1, 1)
_NOT_ASKED: Mapping[int, Rechecked] = {}
_NOBODY_ASKS = Account()
INCOMPLETE_SURNAMES = (
    "Not every alternative surname fitted into the lookups; ask again with another one as --last."
)


def moment(value: datetime | None) -> str:
    """ISO 8601 in UTC, to the second; "" for none."""
    return "" if value is None else value.strftime("%Y-%m-%dT%H:%M:%SZ")


def backups(went_back: Rollback | None, behind: datetime | None, known: BackupState) -> dict[str, str]:
    """The fields of a status about backups."""
    return {
        "went_back": closed(went_back).message if went_back else "",
        "journal_behind_since": moment(behind),
        "backed_up_at": known.verified_at,
        "backup_failure": known.failure,
    }


# --- lookups ---------------------------------------------------------------------------------------------


def read_shape(text: str) -> LookupShape:
    """Raises InputInvalid; nothing means DETAILED."""
    try:
        return LookupShape[text or "DETAILED"]
    except KeyError:
        raise InputInvalid("A lookup is SCREENING or DETAILED.") from None


def read_question(message: pb.LookupRequest) -> Question:
    """Raises InputInvalid or MalformedMessage; also for a placeholder, which would silently be missing."""
    shape, person = read_shape(message.shape), message.person
    for field in REFUSED_IN_LOOKUPS:
        if reason := refusal(field, getattr(person, field)):
            raise InputInvalid(f"{field}: {reason}.", remedy="Nothing was asked.")
    return Question(
        Particulars(
            first=person.first,
            middle=person.middle,
            last=person.last,
            suffix=person.suffix,
            former_last=person.former_last,
            birth_date=person.birth_date,
            ssn4=person.ssn4,
            sex=person.sex,
            post_state=person.post_state,
            post_id=person.post_id,
        ),
        Purpose.parse(message.purpose),
        shape,
        message.case_number,
        message.consent,
        message.officer,
    )


def lookup(
    view: SearchView,
    name_of: Callable[[NodeId], str],
    rechecked: Mapping[int, Rechecked] = _NOT_ASKED,
    account: Account = _NOBODY_ASKS,
) -> pb.LookupView:
    """`rechecked` says of each hit whether it still stands, `account` what is new for whoever asks."""
    row = view.row
    message = pb.LookupView(
        lookup_id=str(row.search_id),
        overall="PENDING",
        purpose=row.purpose.name,
        shape=row.shape.name,
        case_number=row.case,
        officer=row.officer,
        asked_at=moment(row.created_at),
        shown_at=moment(row.shown_at),
        closed=row.closed,
        notes=[INCOMPLETE_SURNAMES] if row.incomplete else [],
        revision=row.revision,
        amended_at=moment(row.amended_at),
        expires_at=moment(row.expires_at),
        batch_id=account.batch_id.hex(),
        row=account.row,
    )
    if row.forgotten_at is not None:
        message.overall, message.forgotten_at = "FORGOTTEN", moment(row.forgotten_at)
    if view.result is None:
        return message
    message.overall = view.result.overall.value
    message.coverage.CopyFrom(coverage(view.result.coverage, name_of))
    message.revisions.extend(map(revision, account.revisions))
    message.news, message.late_match = account.news, account.late_match
    message.changed.extend(amendments.summary(account.since))
    if account.looked is not None:
        message.looked_at = moment(account.looked.at)
        message.looked_revision = account.looked.revision
    numbers = {(one.hit.owner, one.hit.epoch, one.hit.blob_id): one for one in view.hits}
    for found in view.result.hits:
        stored = numbers[found.owner, found.epoch, found.blob_id]
        shown = hit(stored, name_of)
        if stored.number in rechecked:
            now = rechecked[stored.number]
            shown.standing, shown.standing_words = now.standing.value, now.words
        (message.set_aside if found.set_aside else message.hits).append(shown)
    return message


def coverage(found: Coverage, name_of: Callable[[NodeId], str] = lambda node: "") -> pb.Coverage:
    message = pb.Coverage(
        sentence=found.sentence(),
        answered=found.answered,
        asked=found.asked,
        complete=found.complete,
        as_of=moment(found.as_of),
        directory_version=found.directory_version,
        oldest_index=moment(found.oldest_index()),
        late=found.late,
        reports=[_report(report, name_of(report.node)) for report in found.reports],
    )
    if (log := found.log) is not None:
        at = moment(log.witnessed_at)
        message.log.CopyFrom(pb.LogSeen(origin=log.origin, size=log.size, witnessed_at=at, late=log.late))
    return message


def _report(report: TargetReport, name: str) -> pb.TargetReport:
    return pb.TargetReport(
        node=str(report.node),
        name=name,
        state=report.state.value,
        index_issued=moment(report.index_issued_at),
        reason="" if report.answered else report.reason,
        answered_at=moment(report.answered_at),
        as_of=moment(report.as_of),
        index_sequence=report.index_sequence or 0,
        late=report.late,
        stale_since=moment(report.stale_since),
        words=coverage_words.line(report),
    )


def revision(one: Revision) -> pb.Revision:
    return pb.Revision(
        number=one.number,
        at=moment(one.at),
        before=one.before.value,
        after=one.after.value,
        nodes=[
            pb.NodeChange(
                node=str(change.node),
                before=change.before.value,
                after=change.after.value,
                reason=change.reason,
            )
            for change in one.changes
        ],
        answered=one.answered,
        asked=one.asked,
        candidates=one.candidates,
        seen_at=moment(one.seen_at),
        seen_by=one.seen_by,
        closed=one.closed,
        words=one.words(),
    )


def hit(stored: StoredHit, name_of: Callable[[NodeId], str]) -> pb.Hit:
    found = stored.hit
    return pb.Hit(
        number=stored.number,
        owner=str(found.owner),
        owner_name=name_of(found.owner),
        kind=_name(RecordKind, found.kind),
        tier=_name(Tier, found.tier),
        expires_on=(_FIRST_DAY + timedelta(days=found.expires_days)).isoformat()
        if found.expires_days
        else "",
        band=found.explanation.band.value,
        probability=round(found.explanation.probability, 4),
        headline=found.explanation.headline,
        reasons=found.explanation.reasons,
        agreeing=found.explanation.agreeing,
        differing=found.explanation.differing,
        not_known=found.explanation.not_known,
        commitment=str(found.commitment),
        epoch=found.epoch,
    )


def _name(kind: type[RecordKind] | type[Tier], code: int) -> str:
    """The name of a code out of another agency's index, which this version may not know."""
    try:
        return kind(code).name
    except ValueError:
        return f"UNKNOWN_{code}"


# --- disclosure ------------------------------------------------------------------------------------------


def sent_request(known: SentRequest, recalls: Sequence[ReceivedRecall] = ()) -> pb.RequestView:
    request = known.request
    view = pb.RequestView(
        request_id=str(request.request_id),
        direction="sent",
        other_node=str(request.owner),
        state=known.state.value,
        reason=known.reason,
        purpose=request.purpose.name,
        case_number=request.case,
        officer=request.officer,
        issued_at=moment(request.issued_at),
        expires_at=moment(request.expires_at),
        settled_at=moment(known.settled_at),
        lookup_id=str(known.search_id),
        hit=known.hit_number,
        confirmed_by=known.confirmed_by,
        evidence_kept=known.evidence_kept,
        recalls=[
            pb.RequestRecall(
                recall_id=str(one.recall_id),
                kind=one.kind.name,
                words=KIND_WORDS[one.kind],
                done=one.done.name,
                acted_at=moment(one.acted_at),
                read_at=moment(one.read_at),
            )
            for one in recalls
        ],
    )
    if known.record is not None and known.copy is not None:
        *earlier, newest = (released(version, known.copy) for version in known.copy.versions)
        view.record.CopyFrom(newest)
        view.earlier.extend(earlier)
    return view


def released(version: HeldVersion, copy: Copy) -> pb.ReleasedRecord:
    record = version.record
    return pb.ReleasedRecord(
        kind=record.kind.name,
        tier=record.tier.name,
        fields=[pb.Field(name=name, value=value) for name, value in sorted(record.fields.items())],
        dispute_status=copy.dispute_status.name,
        subject_statement=copy.subject_statement,
        # A response that did not open its commitment is never stored as a record (docs/protocol.md §9.5).
        commitment_verified=version.kind is None,
        recall_kind=version.kind.name if version.kind else "",
        changed=version.changed,
    )


def received_request(known: ReceivedRequest) -> pb.RequestView:
    request = known.request
    return pb.RequestView(
        request_id=str(request.request_id),
        direction="received",
        other_node=str(request.requester),
        state=known.state.value,
        reason=known.reason,
        purpose=request.purpose.name,
        case_number=request.case,
        officer=request.officer,
        issued_at=moment(request.issued_at),
        expires_at=moment(request.expires_at),
        settled_at=moment(known.settled_at),
        settled_by=known.settled_by,
        dcn=known.dcn,
        note=known.note,
    )


# --- records and ledger ----------------------------------------------------------------------------------


def ledger_entry(entry: Entry) -> pb.LedgerEntry:
    return pb.LedgerEntry(
        number=entry.number,
        at=moment(entry.at),
        event=entry.event,
        refs=dict(entry.refs),
        details={key: str(value) for key, value in entry.details.items()},
    )
