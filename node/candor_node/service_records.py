"""What the commands of the records desk ask of the running node: a thin servicer.

Rules of this file:
- no handler holds a try; errors become a status in `local_server`;
- whoever is shown what a record says is in the ledger, even those whose record it is; lists show nothing that
  would have to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from candor_node import (
    backup,
    desk,
    dues,
    filing_lists,
    filings,
    history,
    ledger,
    records_view,
    request_store,
    retention,
)
from candor_node.approvals import ApprovalId
from candor_node.desk import Named
from candor_node.doors import Context, acting
from candor_node.dues import What
from candor_node.filing_lists import Cursor, Filter
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.local_view import moment
from candor_node.retention import Ending
from candor_node.store import Database
from candor_proto.errors import InputInvalid
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.gate import CLAUSES, gate_day
from candor_records.life import Act
from candor_records.records import Standing
from candor_records.retention import Certificate, file_of
from candor_records.roles import Operation
from candor_wire.v1 import records_pb2 as pb
from candor_wire.v1 import records_pb2_grpc

if TYPE_CHECKING:
    from candor_node.app import Node

E = TypeVar("E", bound=Enum)
Outcome = LifeEvent | ApprovalId | None

MAX_LISTED = 500
DUE_DAYS = 30
MAX_DAYS = 36_525

OPERATIONS: Mapping[str, Operation] = {
    "ListRecordsPage": Operation.VIEW_RECORDS,
    "ListDues": Operation.VIEW_RECORDS,
    "SearchRecords": Operation.VIEW_RECORDS,
    "OpenRecord": Operation.VIEW_RECORDS,
    "ListHistory": Operation.VIEW_RECORDS,
    "FileRecord": Operation.FILE_RECORDS,
    "ReviewRecord": Operation.REVIEW_RECORDS,
    "ReviewDrafts": Operation.REVIEW_RECORDS,
    "ActOnRecord": Operation.ACT_ON_RECORDS,
    "VoidRecord": Operation.VOID_RECORD,
    "ExpungeRecord": Operation.EXPUNGE_RECORD,
    "ShareRecord": Operation.CHANGE_SHARING,
    "PlanRetention": Operation.VIEW_RETENTION,
    "ProposeDestruction": Operation.DESTROY_RECORDS,
    "ListCertificates": Operation.VIEW_RETENTION,
    "ShowCertificate": Operation.VIEW_RETENTION,
    "BackUp": Operation.BACK_UP,
    "ShowRollback": Operation.VIEW_ROLLBACK,
    "ConfirmRollback": Operation.CONFIRM_ROLLBACK,
}


class RecordsServicer(records_pb2_grpc.RecordsServiceServicer):
    """One method a command; whatever they do is done elsewhere."""

    def __init__(self, node: Node) -> None:
        self._node = node

    # --- lists --------------------------------------------------------------------------------------------

    async def ListRecordsPage(
        self, request: pb.ListRecordsPageRequest, context: Context
    ) -> pb.ListRecordsPageResponse:
        since = _day(request.since)
        wanted = Filter(
            kind=_code(RecordKind, request.kind, "kind"),
            standing=_code(Standing, request.standing, "standing"),
            sharing=_code(Sharing, request.sharing, "sharing"),
            ori=self._node.config.ori(request.ori) if request.ori else None,
            held_because=_clause(request.held_because),
            since=datetime.combine(since, datetime.min.time(), UTC) if since else None,
        )
        after = Cursor.parse(request.after) if request.after else None
        limit = _limit(request.limit)
        page = await self._node.store.run(
            lambda db: filing_lists.page(db, wanted, after, limit, request.offset)
        )
        return pb.ListRecordsPageResponse(
            records=[records_view.line_of_summary(summary) for summary in page.records],
            total=page.total,
            following=str(page.following or ""),
        )

    async def ListDues(self, request: pb.ListDuesRequest, context: Context) -> pb.ListDuesResponse:
        until = _day(request.until) or self._today() + timedelta(days=DUE_DAYS)
        what, limit = tuple(map(What.parse, request.what)) or tuple(What), _limit(request.limit)
        kind = _code(RecordKind, request.kind, "kind")

        def work(db: Database) -> list[dues.Due]:
            days = self._node.policy(db).overdue_days
            return dues.dues(db, until, what, kind, limit=limit, overdue_days=days)

        found = await self._node.store.run(work)
        return pb.ListDuesResponse(dues=map(records_view.due_line, found))

    async def SearchRecords(
        self, request: pb.SearchRecordsRequest, context: Context
    ) -> pb.SearchRecordsResponse:
        by, limit = acting(context).user, _limit(request.limit, 50)
        hits = await self._node.names.find(request.words, by, request.offset, limit)
        today, policy = self._today(), await self._node.store.run(self._node.policy)
        return pb.SearchRecordsResponse(
            records=[records_view.found(hit, today, policy.gate_rules(hit.record.kind)) for hit in hits.hits],
            total=hits.total,
            complete=hits.complete,
            searched=hits.searched,
        )

    # --- one record ---------------------------------------------------------------------------------------

    async def OpenRecord(self, request: pb.OpenRecordRequest, context: Context) -> pb.OpenRecordResponse:
        now, by, named = self._node.clock.now(), acting(context).user, self._named(request.record)

        def work(db: Database) -> pb.OpenRecordResponse:
            record = desk.find(db, named)
            ledger.append(db, now, "record.viewed", {"dcn": str(record.dcn), "user": by})
            numbers = filings.control_numbers(db, record.record_id)
            return records_view.opened(
                filings.versions(db, record.record_id),
                gate_day(now),
                self._node.policy(db).gate_rules(record.kind),
                request_store.count_released(db, numbers),
            )

        return await self._node.store.run(work)

    async def ListHistory(self, request: pb.ListHistoryRequest, context: Context) -> pb.ListHistoryResponse:
        now, by, named = self._node.clock.now(), acting(context).user, self._named(request.record)

        def work(db: Database) -> pb.ListHistoryResponse:
            record_id, dcn = desk.record_of(db, named)
            ledger.append(db, now, "record.history_viewed", {"dcn": str(dcn), "user": by})
            return pb.ListHistoryResponse(
                entries=map(records_view.history_entry, history.events(db, record_id)),
                readable=bool(filings.versions(db, record_id)),
            )

        return await self._node.store.run(work)

    # --- acts ---------------------------------------------------------------------------------------------

    async def FileRecord(self, request: pb.FileRecordRequest, context: Context) -> pb.ActResponse:
        by, ori, node = acting(context).user, self._node.config.ori(request.ori), self._node.config.node_id
        fields, draft = dict(request.fields), request.draft or self._node.config.review_filings
        return await self._act(by, "", lambda db, doing: desk.file(db, fields, ori, node, doing, draft=draft))

    async def ReviewRecord(self, request: pb.ReviewRecordRequest, context: Context) -> pb.ActResponse:
        named = self._named(request.record)
        return await self._act(
            acting(context).user, "", lambda db, doing: desk.review(db, desk.find(db, named), doing)
        )

    async def ReviewDrafts(
        self, request: pb.ReviewDraftsRequest, context: Context
    ) -> pb.ReviewDraftsResponse:
        by, now = acting(context).user, self._node.clock.now()
        named = [self._named(record) for record in request.records]
        if bool(named) == bool(request.all_from) or len(named) > MAX_LISTED:
            raise InputInvalid(
                "It is not said which drafts are reviewed, or of too many.",
                remedy=f"Name at most {MAX_LISTED} records, or one person with --all-from.",
            )
        after = Cursor.parse(request.after) if request.after else None

        def work(db: Database) -> pb.ReviewDraftsResponse:
            doing = Doing(now, by, self._node.policy(db))
            if named:
                events = [desk.review(db, desk.find(db, each), doing) for each in named]
                done = desk.Reviewed(tuple(events))
            else:
                done = desk.review_all(db, request.all_from, after, doing)
            return pb.ReviewDraftsResponse(
                records=[
                    records_view.done(event, gate_day(now), doing.policy.gate_rules(event.after.kind)).record
                    for event in done.events
                ],
                left=map(str, done.left),
                following=str(done.following or ""),
            )

        reply = await self._node.store.run(work)
        if reply.records:
            await self._node.aftermath.acted()
        return reply

    async def ActOnRecord(self, request: pb.ActOnRecordRequest, context: Context) -> pb.ActResponse:
        named, until, fields = self._named(request.record), _day(request.until), dict(request.fields)
        what, on = _code(Act, request.act, "act"), _day(request.on)
        if what is None:
            raise InputInvalid("It is not said what is to be done.", remedy="Name an act.")

        def work(db: Database, doing: Doing) -> LifeEvent | None:
            return desk.act(db, desk.find(db, named), what, doing, fields, request.how, until, on)

        return await self._act(acting(context).user, request.reason, work)

    async def ShareRecord(self, request: pb.ShareRecordRequest, context: Context) -> pb.ActResponse:
        actor, named, sharing = (
            acting(context),
            self._named(request.record),
            _code(Sharing, request.sharing, "sharing"),
        )
        if sharing is None:
            raise InputInvalid("It is not said how it is shared.", remedy="Say GREEN, YELLOW or RED.")
        return await self._act(
            actor.user,
            request.reason,
            lambda db, doing: desk.share(db, desk.find(db, named), sharing, actor, doing),
        )

    async def VoidRecord(self, request: pb.VoidRecordRequest, context: Context) -> pb.ActResponse:
        actor, named = acting(context), self._named(request.record)
        return await self._act(
            actor.user,
            request.reason,
            lambda db, doing: desk.void(db, desk.find(db, named), actor, doing),
        )

    async def ExpungeRecord(self, request: pb.ExpungeRecordRequest, context: Context) -> pb.ActResponse:
        actor, named = acting(context), self._named(request.record)
        return await self._act(
            actor.user,
            request.reason,
            lambda db, doing: desk.expunge(db, desk.find(db, named), actor, doing),
        )

    async def _act(self, by: str, reason: str, work: Callable[[Database, Doing], Outcome]) -> pb.ActResponse:
        """Do `work` as one transaction; what became of it, and how the record stands now."""
        now = self._node.clock.now()

        def together(db: Database) -> pb.ActResponse:
            policy = self._node.policy(db)
            outcome = work(db, Doing(now, by, policy, reason))
            if outcome is None:
                return pb.ActResponse(unchanged=True)
            if isinstance(outcome, ApprovalId):
                return pb.ActResponse(approval_id=str(outcome))
            return records_view.done(outcome, gate_day(now), policy.gate_rules(outcome.after.kind))

        reply = await self._node.store.run(together)
        if not reply.unchanged and not reply.approval_id:
            await self._node.aftermath.acted()
        return reply

    # --- retention ----------------------------------------------------------------------------------------

    async def PlanRetention(
        self, request: pb.PlanRetentionRequest, context: Context
    ) -> pb.PlanRetentionResponse:
        today = self._today()
        if request.days > MAX_DAYS:
            raise InputInvalid(f"A plan looks at most {MAX_DAYS} days ahead.")

        def work(db: Database) -> pb.PlanRetentionResponse:
            policy = self._node.policy(db)
            if request.days:
                ends = retention.ending(db, today + timedelta(days=request.days), policy)
                return _planned(
                    [end for end in ends if not end.due.legal_hold],
                    [end for end in ends if end.due.legal_hold],
                )
            plan = retention.plan(db, today, policy)
            return _planned(plan.destroy, plan.kept)

        return await self._node.store.run(work)

    async def ProposeDestruction(
        self, request: pb.ProposeDestructionRequest, context: Context
    ) -> pb.ProposeDestructionResponse:
        actor, now = acting(context), self._node.clock.now()

        def work(db: Database) -> pb.ProposeDestructionResponse:
            plan = retention.plan(db, gate_day(now), self._node.policy(db))
            numbers = [end.due.dcn for end in plan.destroy]
            approval_id = desk.destroy(db, numbers, actor, request.reason, now)
            return pb.ProposeDestructionResponse(
                approval_id=str(approval_id), records=len(numbers), kept=len(plan.kept)
            )

        return await self._node.store.run(work)

    async def ListCertificates(
        self, request: pb.ListCertificatesRequest, context: Context
    ) -> pb.ListCertificatesResponse:
        found = await self._node.store.run(retention.certificates)
        return pb.ListCertificatesResponse(certificates=map(records_view.certificate_line, found))

    async def ShowCertificate(
        self, request: pb.ShowCertificateRequest, context: Context
    ) -> pb.ShowCertificateResponse:
        signed = await self._node.store.run(lambda db: retention.certificate(db, request.number))
        return pb.ShowCertificateResponse(
            text=Certificate.parse(signed.body).text(), file=file_of(signed, self._node.keys.signing.public)
        )

    # --- backup -------------------------------------------------------------------------------------------

    async def BackUp(self, request: pb.BackUpRequest, context: Context) -> pb.BackUpResponse:
        node, by, now = self._node, acting(context).user, self._node.clock.now()
        live = timedelta(days=request.keys_live_days) if request.keys_live_days else backup.KEYS_LIVE
        folder = Path(request.folder)
        if not folder.is_absolute():
            raise InputInvalid("The folder of a backup needs its whole path.", remedy="Begin it with a /.")
        written = await node.backups.write(folder, live, whole=request.whole)
        await node.store.run(
            lambda db: ledger.append(db, now, "store.backed_up", {"user": by}, {"filings": written.filings})
        )
        return pb.BackUpResponse(
            records_file=str(written.records),
            keys_file=str(written.keys),
            keys_expire_at=moment(written.expires_at),
            filings=written.filings,
            keys=written.keys_held,
            whole=written.whole,
            pages=written.pages,
            changed=written.changed,
            octets=written.octets,
        )

    async def ShowRollback(
        self, request: pb.ShowRollbackRequest, context: Context
    ) -> pb.ShowRollbackResponse:
        return await self._node.store.run(records_view.newest_rollback)

    async def ConfirmRollback(
        self, request: pb.ConfirmRollbackRequest, context: Context
    ) -> pb.ConfirmRollbackResponse:
        node, by = self._node, acting(context).user
        found = await node.sharing.confirm(by, old_witness_keys=request.old_witness_keys)
        await node.aftermath.acted()
        return pb.ConfirmRollbackResponse(number=found.number, sentence=found.sentence())

    # --- reading requests ---------------------------------------------------------------------------------

    def _today(self) -> date:
        return gate_day(self._node.clock.now())

    def _named(self, record: pb.RecordName) -> Named:
        return Named(record.name, self._node.config.ori(record.ori) if record.agency_id else None)


def _planned(destroy: Iterable[Ending], kept: Iterable[Ending]) -> pb.PlanRetentionResponse:
    return pb.PlanRetentionResponse(
        destroy=map(records_view.ending, destroy), kept=map(records_view.ending, kept)
    )


def _limit(wanted: int, usual: int = 100) -> int:
    return min(wanted or usual, MAX_LISTED)


def _clause(text: str) -> str:
    """A clause of the gate by its name, in any case. Raises InputInvalid."""
    name = " ".join(text.split()).lower()
    if name and name not in CLAUSES:
        raise InputInvalid("The gate has no such clause.", remedy=f"Say one of {', '.join(CLAUSES)}.")
    return name


def _code(codes: type[E], text: str, what: str) -> E | None:
    """A code by its name, in any case; None for an empty text. Raises InputInvalid."""
    if not text.strip():
        return None
    try:
        return codes[text.strip().upper()]
    except KeyError:
        names = ", ".join(codes.__members__)
        raise InputInvalid(f"There is no such {what}.", remedy=f"Say one of {names}.") from None


def _day(text: str) -> date | None:
    if not text.strip():
        return None
    try:
        found = date.fromisoformat(text.strip())
    except ValueError:
        raise InputInvalid("This is not a day.", remedy="Write it as in 2026-03-31.") from None
    return found
