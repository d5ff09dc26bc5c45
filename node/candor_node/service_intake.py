"""What brings records in and out, as the commands ask it of the running node: a thin servicer.

Rules of this file:
- rows are looked at and sealed on a thread, chunk by chunk; the writer is taken for short steps only, and
  once at the end, when everything becomes records;
- one import at a time; whatever ends it early, a person, an error or a crash, leaves nothing;
- no handler holds a `try` that swallows; errors become a status in `local_server`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio

from candor_node import approvals, desk, documents, exports, importer, profile_store, record_digests, staging
from candor_node.doors import acting, speaking_as
from candor_node.import_outcome import ImportReport, Outcome, RowError
from candor_node.lifecycle import Doing
from candor_node.local_view import moment
from candor_node.mapping import format_profile, parse_profile
from candor_node.profile_store import SavedProfile
from candor_node.store import Database
from candor_proto.errors import AlreadyExists, InputInvalid, LimitExceeded
from candor_proto.policy import Sharing
from candor_records.records import Dcn, Record
from candor_records.roles import Actor, Operation
from candor_wire.codec import refuse_unknown_fields
from candor_wire.v1 import intake_pb2 as pb
from candor_wire.v1 import intake_pb2_grpc

if TYPE_CHECKING:
    from candor_node.app import Node

Context = grpc.aio.ServicerContext[Any, Any]

OPERATIONS: Mapping[str, Operation] = {
    "Import": Operation.IMPORT_RECORDS,
    "ListProfiles": Operation.IMPORT_RECORDS,
    "GetProfile": Operation.IMPORT_RECORDS,
    "SaveProfile": Operation.IMPORT_RECORDS,
    "DeleteProfile": Operation.IMPORT_RECORDS,
    "Export": Operation.EXPORT_RECORDS,
    "AttachDocuments": Operation.ACT_ON_RECORDS,
    "ListDocuments": Operation.VIEW_RECORDS,
}
MAX_CHUNK_ROWS = 1_000
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")


class IntakeServicer(intake_pb2_grpc.IntakeServiceServicer):
    """One method a command; whatever they do is done elsewhere."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._importing = asyncio.Lock()
        # What an import that died had staged: nobody has its keys.
        node.store.run_sync(staging.clear_all)

    # --- import ------------------------------------------------------------------------------------------

    async def Import(
        self, request_iterator: AsyncIterator[pb.ImportRequest], context: Context
    ) -> AsyncIterator[pb.ImportResponse]:
        store = self._node.store
        parts = aiter(request_iterator)
        first = await anext(parts, pb.ImportRequest())
        refuse_unknown_fields(first)
        if first.WhichOneof("part") != "start":
            raise InputInvalid("An import begins with who contributes it, and its columns.")
        start = first.start
        if self._importing.locked():
            raise AlreadyExists(
                "Another import is under way.",
                remedy="Wait until it is done; nothing of this one was stored.",
            )
        async with self._importing:
            propose = self._propose(acting(context))
            work = await self._begin(start, speaking_as(context, start.contributor))
            try:
                end = None
                async for part in parts:
                    refuse_unknown_fields(part)
                    if part.WhichOneof("part") != "rows":
                        end = part.end
                        break
                    yield await self._chunk(work, part.rows)
                report = work.report()
                # A stream that broke off looks like one that ended, but for its last word.
                if end is None or end.rows != work.rows:
                    raise InputInvalid(
                        "The import broke off before its last row.", remedy="Nothing was stored. Try again."
                    )
                if work.storing:
                    yield pb.ImportResponse(storing=pb.ImportStoring())
                    report = await store.run(lambda db: work.finish(db, propose))
            finally:
                # Whoever went away has left rows waiting; the disk is to be free of them.
                await asyncio.shield(self._clear())
        stored = not start.dry_run and (report.new or report.changed)
        published = bool(stored) and await self._node.aftermath.acted()
        yield pb.ImportResponse(report=_report(report, published=published, dry_run=start.dry_run))

    def _propose(self, actor: Actor) -> importer.ProposeOpening:
        """Puts what an import would open before a second person; once, however often the file says so."""
        now = self._node.clock.now()

        def propose(db: Database, record: Record, sharing: Sharing) -> None:
            if not approvals.pending_about(db, now, Operation.OPEN_SHARING, str(record.dcn)):
                doing = Doing(now, actor.user, self._node.policy(db), "An import says so.")
                desk.share(db, record, sharing, actor, doing)

        return propose

    async def _begin(self, start: pb.ImportStart, contributor: str) -> importer.Import:
        user, ori = _user(contributor), self._node.config.ori(start.ori)
        now = self._node.clock.now()

        def work(db: Database) -> importer.Import:
            begun = importer.Import(
                Doing(now, user, self._node.policy(db)),
                ori,
                self._node.config.node_id,
                start.columns,
                record_digests.digest_secret(db),
                dry_run=start.dry_run,
                allow_duplicates=start.allow_duplicates,
                pass_over_ended=start.pass_over_ended,
                drafts=self._node.config.review_filings,
            )
            staging.begin(db)
            return begun

        return await self._node.store.run(work)

    async def _chunk(self, work: importer.Import, rows: pb.ImportRows) -> pb.ImportResponse:
        if len(rows.rows) > MAX_CHUNK_ROWS:
            raise LimitExceeded(f"More than {MAX_CHUNK_ROWS} rows in one message.")
        given = [importer.GivenRow(row.number, tuple(row.cells), row.fault) for row in rows.rows]
        read = await asyncio.to_thread(work.read, given)
        known = await self._node.store.run(lambda db: work.look_up(db, read))
        outcomes, staged = await asyncio.to_thread(work.plan, read, known)
        if work.storing:
            await self._node.store.run(lambda db: staging.add(db, staged))
        return pb.ImportResponse(outcomes=pb.ImportOutcomes(rows=map(_outcome, outcomes)))

    async def _clear(self) -> None:
        while not await self._node.store.run(staging.clear):
            pass

    # --- profiles ----------------------------------------------------------------------------------------

    async def ListProfiles(
        self, request: pb.ListProfilesRequest, context: Context
    ) -> pb.ListProfilesResponse:
        found = await self._node.store.run(profile_store.all_profiles)
        return pb.ListProfilesResponse(profiles=map(_profile, found))

    async def GetProfile(self, request: pb.GetProfileRequest, context: Context) -> pb.GetProfileResponse:
        found = await self._node.store.run(lambda db: profile_store.find(db, request.name))
        return pb.GetProfileResponse(summary=_profile(found), profile=format_profile(found.profile))

    async def SaveProfile(self, request: pb.SaveProfileRequest, context: Context) -> pb.SaveProfileResponse:
        profile, by, now = (
            parse_profile(request.profile),
            _user(speaking_as(context, request.by)),
            self._node.clock.now(),
        )
        found = await self._node.store.run(lambda db: profile_store.save(db, profile, now, by))
        return pb.SaveProfileResponse(summary=_profile(found))

    async def DeleteProfile(
        self, request: pb.DeleteProfileRequest, context: Context
    ) -> pb.DeleteProfileResponse:
        by, now = _user(speaking_as(context, request.by)), self._node.clock.now()
        await self._node.store.run(lambda db: profile_store.delete(db, request.name, now, by))
        return pb.DeleteProfileResponse()

    # --- export and documents ----------------------------------------------------------------------------

    async def Export(self, request: pb.ExportRequest, context: Context) -> AsyncIterator[pb.ExportResponse]:
        by, now = _user(speaking_as(context, request.by)), self._node.clock.now()
        ori = self._node.config.ori(request.ori) if request.ori else None
        numbers = await self._node.store.run(lambda db: exports.begin(db, now, by, request.format, ori))
        for at in range(0, len(numbers), exports.CHUNK):
            chunk = numbers[at : at + exports.CHUNK]
            found = await self._node.store.run(partial(exports.sealed, numbers=chunk))
            opened = await asyncio.to_thread(exports.opened, found)
            yield pb.ExportResponse(
                records=[
                    pb.ExportedRecord(
                        dcn=str(record.dcn),
                        standing=record.circumstances.standing.name,
                        ori=str(record.reporting_agency),
                        fields=exports.fields(record),
                    )
                    for record in opened
                ]
            )

    async def AttachDocuments(
        self, request: pb.AttachDocumentsRequest, context: Context
    ) -> pb.AttachDocumentsResponse:
        dcn, by, now = Dcn.parse(request.dcn), _user(speaking_as(context, request.by)), self._node.clock.now()
        digests = list(request.digests)

        def work(db: Database) -> pb.AttachDocumentsResponse:
            doing = Doing(now, by, self._node.policy(db), request.reason)
            found, added = documents.attach(db, dcn, digests, doing)
            return pb.AttachDocumentsResponse(dcn=str(found), added=added)

        return await self._node.store.run(work)

    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, context: Context
    ) -> pb.ListDocumentsResponse:
        dcn = Dcn.parse(request.dcn)
        found = await self._node.store.run(lambda db: documents.digests(db, dcn))
        return pb.ListDocumentsResponse(digests=found)


def _user(text: str) -> str:
    if not _USER.match(text):
        raise InputInvalid("It needs a user who does it.", remedy="Name a user id with --by.")
    return text


def _outcome(outcome: Outcome) -> pb.RowOutcome:
    return pb.RowOutcome(
        row=outcome.row,
        status=outcome.status.name,
        report=outcome.report,
        held=outcome.held,
        problems=map(_error, outcome.problems),
        wanting=outcome.wanting,
    )


def _error(error: RowError) -> pb.ImportError:
    return pb.ImportError(row=error.row, column=error.column, reason=error.reason, code=error.code)


def _report(report: ImportReport, *, published: bool, dry_run: bool) -> pb.ImportReport:
    return pb.ImportReport(
        new=report.new,
        changed=report.changed,
        unchanged=report.unchanged,
        held=report.held,
        errors=map(_error, report.errors),
        error_count=report.error_count,
        published=published,
        dry_run=dry_run,
        duplicates=report.duplicates,
        passed_over=report.passed_over,
        opening=report.opening,
        reports=report.reports,
        held_because=report.held_because,
        drafts=report.drafts,
        refused_because=report.refused_because,
        wanting=report.wanting,
    )


def _profile(saved: SavedProfile) -> pb.ProfileSummary:
    return pb.ProfileSummary(
        name=saved.profile.name,
        version=saved.version,
        saved_at=moment(saved.saved_at),
        saved_by=saved.saved_by,
    )
