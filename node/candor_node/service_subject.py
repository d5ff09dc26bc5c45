"""What the commands ask of the running node for the person a record is about: a thin servicer.

Rule of this file: no handler holds a try; errors become a status in `local_server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING

from candor_node import deferrals, filings, ledger, lifecycle, notices, pages, subject_access, subject_acts
from candor_node.doors import Context, acting
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.local_view import moment
from candor_node.notices import Notice
from candor_node.store import Database
from candor_node.subject_access import Asked, Found
from candor_proto.errors import InputInvalid
from candor_proto.ids import NodeId
from candor_proto.normalise import Particulars
from candor_records import dispute as disputes
from candor_records.codes import NoticeMethod
from candor_records.dispute import Dispute, DisputeAnswer, DisputeGround, Resolution
from candor_records.gate import gate_day
from candor_records.letters import Letter
from candor_records.records import Dcn
from candor_records.roles import Operation
from candor_records.subject_report import Agency, SubjectReport, clock
from candor_wire.limits import CHUNK_BYTES
from candor_wire.v1 import subject_pb2 as pb
from candor_wire.v1 import subject_pb2_grpc

if TYPE_CHECKING:
    from candor_node.app import Node

OPERATIONS: Mapping[str, Operation] = {
    "ListNotices": Operation.SERVE_SUBJECT,
    "WriteNotice": Operation.SERVE_SUBJECT,
    "MarkNotified": Operation.SERVE_SUBJECT,
    "ShowSubject": Operation.VIEW_RECORDS,
    "EnterStatement": Operation.SERVE_SUBJECT,
    "OpenDispute": Operation.SERVE_SUBJECT,
    "AnswerDispute": Operation.RESOLVE_DISPUTE,
    "ReferDispute": Operation.SERVE_SUBJECT,
    "ResolveDispute": Operation.RESOLVE_DISPUTE,
    "CarryOutDispute": Operation.RESOLVE_DISPUTE,
    "MakeReport": Operation.VIEW_SUBJECT_REPORT,
    "DeferVisibility": Operation.DEFER_VISIBILITY,
    "ListDeferrals": Operation.VIEW_APPROVALS,
}
MAX_LISTED = 500

Step = Callable[[Database, Dcn, Doing], LifeEvent]


class SubjectServicer(subject_pb2_grpc.SubjectServiceServicer):
    """One method a command; whatever they do is done elsewhere."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def _doing(self, db: Database, user: str) -> Doing:
        # Who acts was asked in the handler: the database's thread does not know.
        return Doing(self._node.clock.now(), user, self._node.policy(db))

    def _agency(self, doing: Doing) -> Agency:
        config, policy = self._node.config, doing.policy
        return Agency(
            config.name or config.node,
            config.oris,
            config.node,
            config.subject_contact,
            policy.resolver,
            policy.dispute_days,
        )

    # --- notices ----------------------------------------------------------------------------------------

    async def ListNotices(self, request: pb.ListNoticesRequest, context: Context) -> pb.ListNoticesResponse:
        today, limit = gate_day(self._node.clock.now()), min(request.limit or MAX_LISTED, MAX_LISTED)

        def work(db: Database) -> pb.ListNoticesResponse:
            found = [_notice(one, today) for one in notices.due(db, limit)]
            return pb.ListNoticesResponse(notices=found, total=notices.count_due(db))

        return await self._node.store.run(work)

    async def WriteNotice(self, request: pb.WriteNoticeRequest, context: Context) -> pb.WriteNoticeResponse:
        dcn, user = Dcn.parse(request.dcn), acting(context).user

        def work(db: Database) -> Letter:
            doing = self._doing(db, user)
            return notices.write(db, dcn, self._agency(doing), doing)

        letter = await self._node.store.run(work)
        return pb.WriteNoticeResponse(dcn=letter.dcn, html=await asyncio.to_thread(pages.html, letter))

    async def MarkNotified(
        self, request: pb.MarkNotifiedRequest, context: Context
    ) -> pb.MarkNotifiedResponse:
        dcn, on, user = Dcn.parse(request.dcn), self._day(request.on), acting(context).user
        method = subject_acts.read_code(NoticeMethod, request.method, "way of giving notice")

        def work(db: Database) -> pb.MarkNotifiedResponse:
            settled = subject_acts.mark_notified(db, dcn, on, method, self._doing(db, user))
            return pb.MarkNotifiedResponse(settled=settled)

        return await self._node.store.run(work)

    # --- statement and dispute --------------------------------------------------------------------------

    async def ShowSubject(self, request: pb.ShowSubjectRequest, context: Context) -> pb.ShowSubjectResponse:
        dcn, now, user = Dcn.parse(request.dcn), self._node.clock.now(), acting(context).user

        def work(db: Database) -> pb.ShowSubjectResponse:
            record = lifecycle.current(db, dcn)
            ledger.append(db, now, "record.viewed", {"dcn": str(record.dcn), "user": user})
            today, stands = gate_day(now), record.circumstances
            return pb.ShowSubjectResponse(
                dcn=str(record.dcn),
                standing=stands.standing.name,
                statement=stands.subject_statement,
                dispute=_dispute(stands.dispute, today) if stands.dispute else None,
                notices=[_notice(one, today) for one in notices.of_record(db, record.record_id)],
            )

        return await self._node.store.run(work)

    async def EnterStatement(
        self, request: pb.EnterStatementRequest, context: Context
    ) -> pb.EnterStatementResponse:
        text, received_on = request.text, self._day(request.received_on)
        event = await self._act(
            request.dcn,
            context,
            lambda db, dcn, doing: subject_acts.enter_statement(db, dcn, text, received_on, doing),
        )
        kept = event.after.circumstances.subject_statement
        return pb.EnterStatementResponse(
            dcn=str(event.after.dcn), characters=len(kept), warnings=disputes.warnings(kept)
        )

    async def OpenDispute(self, request: pb.OpenDisputeRequest, context: Context) -> pb.OpenDisputeResponse:
        ground = subject_acts.read_code(DisputeGround, request.ground, "ground for a dispute")
        received_on = self._day(request.received_on)
        found = await self._step(
            request.dcn,
            context,
            lambda db, dcn, doing: subject_acts.open_dispute(
                db, dcn, ground, request.account, received_on, doing
            ),
        )
        return pb.OpenDisputeResponse(dispute=found)

    async def AnswerDispute(
        self, request: pb.AnswerDisputeRequest, context: Context
    ) -> pb.AnswerDisputeResponse:
        said, on = subject_acts.read_code(DisputeAnswer, request.answer, "answer"), self._day(request.on)
        found = await self._step(
            request.dcn,
            context,
            lambda db, dcn, doing: subject_acts.answer(db, dcn, said, request.reasons, on, doing),
        )
        return pb.AnswerDisputeResponse(dispute=found)

    async def ReferDispute(
        self, request: pb.ReferDisputeRequest, context: Context
    ) -> pb.ReferDisputeResponse:
        on = self._day(request.received_on)
        found = await self._step(
            request.dcn, context, lambda db, dcn, doing: subject_acts.refer(db, dcn, on, doing)
        )
        return pb.ReferDisputeResponse(dispute=found)

    async def ResolveDispute(
        self, request: pb.ResolveDisputeRequest, context: Context
    ) -> pb.ResolveDisputeResponse:
        said, on = subject_acts.read_code(Resolution, request.resolution, "resolution"), self._day(request.on)
        found = await self._step(
            request.dcn,
            context,
            lambda db, dcn, doing: subject_acts.resolve(db, dcn, said, request.reasons, on, doing),
        )
        return pb.ResolveDisputeResponse(dispute=found)

    async def CarryOutDispute(
        self, request: pb.CarryOutDisputeRequest, context: Context
    ) -> pb.CarryOutDisputeResponse:
        found = await self._step(request.dcn, context, subject_acts.carry_out)
        return pb.CarryOutDisputeResponse(dispute=found)

    async def _act(self, dcn: str, context: Context, step: Step) -> LifeEvent:
        parsed, user = Dcn.parse(dcn), acting(context).user
        event = await self._node.store.run(lambda db: step(db, parsed, self._doing(db, user)))
        await self._node.aftermath.acted()
        return event

    async def _step(self, dcn: str, context: Context, step: Step) -> pb.SubjectDispute:
        event = await self._act(dcn, context, step)
        dispute = event.after.circumstances.dispute
        if dispute is None:
            raise AssertionError("a step of a dispute has left none")
        return _dispute(dispute, gate_day(event.doing.now))

    # --- the report -------------------------------------------------------------------------------------

    async def MakeReport(
        self, request: pb.MakeReportRequest, context: Context
    ) -> AsyncIterator[pb.MakeReportResponse]:
        asked, user = _asked(request), acting(context).user

        def begin(db: Database) -> tuple[Particulars, list[filings.SealedRecord], list[bytes]]:
            claimed, rows = subject_access.begin(db, asked)
            return claimed, rows, [filings.record_id_of(db, dcn) for dcn in asked.named]

        claimed, rows, named = await self._node.store.run(begin)
        found: Found = await asyncio.to_thread(subject_access.look_through, claimed, named, rows)

        def work(db: Database) -> SubjectReport:
            doing = self._doing(db, user)
            agency = self._agency(doing)
            return subject_access.report(db, found, asked.proof, agency, self._named, doing)

        report = await self._node.store.run(work)
        page = (await asyncio.to_thread(pages.html, report)).encode("utf-8")
        yield pb.MakeReportResponse(
            summary=pb.ReportSummary(
                dcns=[record.dcn for record in report.records],
                unsure=found.unsure,
                lookups=len(report.lookups),
                copies=len(report.copies),
            )
        )
        for at in range(0, len(page), CHUNK_BYTES):
            yield pb.MakeReportResponse(chunk=page[at : at + CHUNK_BYTES])

    def _named(self, node: NodeId) -> tuple[str, str]:
        """Name and ORIs from the directory held; a node that has left it is known by its id."""
        directory = self._node.indexes.directory
        for member in directory.directory.members if directory else ():
            if member.node == node:
                return member.name, ", ".join(map(str, member.oris))
        return str(node), ""

    # --- delayed visibility -----------------------------------------------------------------------------

    async def DeferVisibility(
        self, request: pb.DeferVisibilityRequest, context: Context
    ) -> pb.DeferVisibilityResponse:
        now, actor, until = self._node.clock.now(), acting(context), _date(request.until)

        def work(db: Database) -> pb.DeferVisibilityResponse:
            most_days = self._node.policy(db).deferral_days
            proposed = deferrals.propose(
                db, now, actor, request.entry, until, request.basis, request.reason, most_days
            )
            return pb.DeferVisibilityResponse(approval_id=str(proposed))

        return await self._node.store.run(work)

    async def ListDeferrals(
        self, request: pb.ListDeferralsRequest, context: Context
    ) -> pb.ListDeferralsResponse:
        today = self._node.clock.now().date()
        found = await self._node.store.run(deferrals.list_deferrals)
        return pb.ListDeferralsResponse(
            deferrals=[
                pb.Deferral(
                    what=one.what.name,
                    entry=one.entry.hex(),
                    until=one.until.isoformat(),
                    ended=one.until <= today,
                    approval_id=str(one.approval_id),
                    proposed_by=one.proposed_by,
                    decided_by=one.decided_by,
                    decided_at=moment(one.decided_at),
                )
                for one in found
            ]
        )

    def _day(self, text: str) -> date:
        """A day as a person states it; nothing means today."""
        return _date(text) if text else self._node.clock.now().date()


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputInvalid("This is not a day.", remedy="Write it as YYYY-MM-DD.") from None


def _asked(request: pb.MakeReportRequest) -> Asked:
    claimed = Particulars(
        first=request.first,
        last=request.last,
        birth_date=request.birth_date,
        post_state=request.post_state,
        post_id=request.post_id,
    )
    named = tuple(map(Dcn.parse, request.dcns))
    return Asked(request.identity_proof, None if claimed == Particulars() else claimed, named)


def _notice(one: Notice, today: date) -> pb.SubjectNotice:
    return pb.SubjectNotice(
        dcn=str(one.dcn),
        act=one.act.name,
        about=one.shown().about,
        done_on=one.done_on.isoformat(),
        due_on=one.due_on.isoformat(),
        overdue=one.sent_on is None and today > one.due_on,
        sent_on=one.sent_on.isoformat() if one.sent_on else "",
        method=one.method,
    )


def _dispute(dispute: Dispute, today: date) -> pb.SubjectDispute:
    return pb.SubjectDispute(
        **dispute.fields(),
        status=dispute.status.name,
        clock=clock(dispute, today),
        overdue=dispute.overdue(today),
    )
