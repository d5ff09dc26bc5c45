"""What the commands ask of the running node about batches: the other half of the thin servicer.

Rule of this file: no handler holds a try; errors become a status in `local_server`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from candor_node import amendments, batch_results, batch_store, csv_file, flights, lookup_store
from candor_node.allowance import estimate
from candor_node.batch_file import ResultRow
from candor_node.batch_results import Export, NodeRows
from candor_node.batch_store import DONE, LOADING, PROPOSED, BatchRecord, Counts
from candor_node.batches import Order
from candor_node.connection import LINE_SECONDS
from candor_node.doors import acting, officer_of
from candor_node.local_view import moment, read_shape
from candor_node.store import Database
from candor_proto.errors import InputInvalid, QuotaSpent, UnknownObject
from candor_proto.ids import LookupId, NodeId, Purpose
from candor_proto.policy import check_purpose
from candor_proto.result import TargetState
from candor_proto.statements import elements_in
from candor_wire.codec import Assembler, refuse_unknown_fields
from candor_wire.v1 import local_pb2 as pb

if TYPE_CHECKING:
    from candor_node.app import Node

Context = grpc.aio.ServicerContext[Any, Any]
WATCH_SECONDS = 0.5
ROWS_A_MESSAGE = 200
FLIGHTS_AT_ONCE = 50
LATE_ROWS_NAMED = 10
MAX_WAIT_SECONDS = 3600.0


class BatchMethods:
    """The methods about batches."""

    _node: Node

    async def StartBatch(
        self, request_iterator: AsyncIterator[pb.StartBatchRequest], context: Context
    ) -> pb.StartBatchResponse:
        asked, assembler = None, Assembler(csv_file.MAX_FILE_OCTETS)
        async for part in request_iterator:
            refuse_unknown_fields(part)
            if asked is None:
                asked = part.order
            else:
                assembler.add(part.chunk)
        if asked is None:
            raise InputInvalid("A batch needs its purpose.")
        batches, content = self._node.batches, assembler.finish()
        allowed_here = (await self._node.store.run(self._node.policy)).purposes
        order = self._order(asked, context)
        check_purpose(order.purpose, allowed_here)
        known = None if asked.again else await batches.known(order, content)
        if known is not None:
            await batches.resume(known.batch_id)
            rows = (await batches.progress(known.batch_id))[1].rows
            return pb.StartBatchResponse(batch_id=known.batch_id.hex(), rows=rows, resumed=True)
        await self._node.connection.wait_for_line(self._node.clock.now(), LINE_SECONDS)
        self._node.check_ready()
        rows = await asyncio.to_thread(csv_file.count, content)
        allowed = await self._node.allowances.ask(order.purpose)
        found = estimate(rows, order.shape, allowed)
        if not found.fits and not asked.in_part:
            raise QuotaSpent(
                found.sentence().replace("This batch", "Nothing was asked: this batch"),
                remedy="Ask for more, or use --in-part: what does not fit waits, or is INCOMPLETE.",
            )
        record = await batches.start(order, content)
        return pb.StartBatchResponse(batch_id=record.batch_id.hex(), rows=rows, quota=found.sentence())

    def _order(self, asked: pb.BatchOrder, context: Context) -> Order:
        """Raises InputInvalid or MalformedMessage."""
        purpose, shape = Purpose.parse(asked.purpose), read_shape(asked.shape)
        wait_seconds = asked.wait_seconds or self._node.config.lookup_wait_seconds
        if not 0 < wait_seconds <= MAX_WAIT_SECONDS:
            raise InputInvalid(f"A batch waits between 0 and {MAX_WAIT_SECONDS:.0f} seconds for a row.")
        officer, user = officer_of(context, asked.officer), acting(context).user
        return Order(purpose, shape, asked.case_number, asked.consent, officer, wait_seconds, user)

    async def WatchBatch(
        self, request: pb.WatchBatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchBatchResponse]:
        batch_id = await self._batch_id(request.batch_id)
        while True:
            view = await self._node.store.run(lambda db: _view(db, batch_id))
            yield pb.WatchBatchResponse(batch=view)
            if view.state in (DONE, PROPOSED):
                return
            await asyncio.sleep(WATCH_SECONDS)

    async def GetBatch(
        self, request: pb.GetBatchRequest, context: Context
    ) -> AsyncIterator[pb.GetBatchResponse]:
        batch_id, user = await self._batch_id(request.batch_id), acting(context).user
        record, _ = await self._node.batches.progress(batch_id)

        def begin(db: Database) -> tuple[Export | None, int]:
            return batch_results.last_export(db, batch_id, user), batch_results.newest_change(db)

        last, change = await self._node.store.run(begin)
        yield pb.GetBatchResponse(
            columns=pb.BatchColumns(
                batch_id=batch_id.hex(),
                names=record.columns,
                change=change,
                written_at=moment(last.at if last else None),
                as_of=moment(self._node.clock.now()),
            )
        )
        since, unasked = last.change if last else None, flights.failed("not asked yet")
        after, reading = 0, partial(batch_results.result_rows, batch_id=batch_id, limit=ROWS_A_MESSAGE)
        while rows := await self._node.store.run(partial(reading, after=after, unasked=unasked, since=since)):
            yield pb.GetBatchResponse(rows=pb.BatchRows(rows=map(_row, rows)))
            after = rows[-1].number
        yield pb.GetBatchResponse(coverage=await self._coverage(batch_id))

    async def _coverage(self, batch_id: bytes) -> pb.BatchCoverage:
        nodes: dict[NodeId, NodeRows] = {}

        def piece(db: Database, after: int) -> int:
            found = batch_results.shown_flights(db, batch_id, after, FLIGHTS_AT_ONCE)
            batch_results.add_flights(db, found, nodes)
            return found[-1][0] if found else 0

        place = 0
        while place := await self._node.store.run(partial(piece, after=place)):
            pass
        return pb.BatchCoverage(nodes=[_node_rows(nodes[node], self._name(node)) for node in sorted(nodes)])

    async def BatchWritten(
        self, request: pb.BatchWrittenRequest, context: Context
    ) -> pb.BatchWrittenResponse:
        batch_id, user = await self._batch_id(request.batch_id), acting(context).user
        now = self._node.clock.now()

        def work(db: Database) -> None:
            # Never ahead of what there is: changes to come would not be told.
            change = min(request.change, batch_results.newest_change(db))
            batch_results.note_export(db, batch_id, user, change, now)

        await self._node.store.run(work)
        return pb.BatchWrittenResponse()

    def _name(self, node: NodeId) -> str:
        """The agency's own name in the directory, or nothing."""
        directory = self._node.indexes.directory
        if directory is None:
            return ""
        return next((member.name for member in directory.directory.members if member.node == node), "")

    async def ListBatches(self, request: pb.ListBatchesRequest, context: Context) -> pb.ListBatchesResponse:
        limit = min(request.limit or 20, 100)
        views = await self._node.store.run(
            lambda db: [_view(db, record.batch_id) for record, _ in batch_store.list_batches(db, limit)]
        )
        return pb.ListBatchesResponse(batches=views)

    async def StopBatch(self, request: pb.StopBatchRequest, context: Context) -> pb.StopBatchResponse:
        left_out = await self._node.batches.stop(await self._batch_id(request.batch_id))
        return pb.StopBatchResponse(left_out=left_out)

    async def _batch_id(self, text: str) -> bytes:
        prefix = text.strip().lower()
        if not re.fullmatch(r"[0-9a-f]{4,32}", prefix):
            raise InputInvalid(
                f"{text[:40]!r} is not the id of a batch.",
                remedy="Give the id, or at least its first four digits.",
            )
        found = await self._node.store.run(lambda db: batch_store.named(db, prefix))
        if len(found) > 1:
            raise InputInvalid(f"Several batches begin with {prefix}.", remedy="Give more digits of the id.")
        if not found:
            raise UnknownObject(
                f"There is no batch {prefix}.", remedy="`candor-node batches list` shows them."
            )
        return found[0]

    async def _row_search(self, text: str, row: int) -> LookupId:
        """The search that is row `row` of the batch named `text`."""
        batch_id = await self._batch_id(text)
        found = await self._node.store.run(lambda db: batch_store.search_of_row(db, batch_id, row))
        if found is None:
            raise UnknownObject(
                f"Row {row} of this batch was not asked about.", remedy="Rows count as the spreadsheet does."
            )
        return found


def _view(db: Database, batch_id: bytes) -> pb.BatchView:
    record = batch_store.find(db, batch_id)
    if record is None or record.state == LOADING:
        raise UnknownObject("There is no such batch.", remedy="`candor-node batches list` shows them.")
    # Counting outcomes reads every row: for a batch that is done, once.
    outcomes = batch_store.outcomes(db, batch_id) if record.state == DONE else {}
    view = _fill(record, batch_store.counts(db, batch_id), outcomes, _sent(db, record))
    late = amendments.waiting_rows(db, batch_id)
    view.late_matches = len(late)
    view.late_rows.extend(late[:LATE_ROWS_NAMED])
    return view


def _sent(db: Database, record: BatchRecord) -> int:
    return lookup_store.persons_sent(db, record.batch_id) * elements_in(record.shape)


def _fill(record: BatchRecord, counts: Counts, outcomes: dict[str, int], elements: int) -> pb.BatchView:
    return pb.BatchView(
        batch_id=record.batch_id.hex(),
        state=record.state,
        note=record.note,
        purpose=record.purpose.name,
        shape=record.shape.name,
        started_at=moment(record.created_at),
        ended_at=moment(record.ended_at),
        rows=counts.rows,
        waiting=counts.waiting,
        asked=counts.asked,
        done=counts.done,
        errors=counts.error,
        outcomes=outcomes,
        elements=elements,
    )


def _row(row: ResultRow) -> pb.BatchResultRow:
    return pb.BatchResultRow(
        row=row.number, cells=row.cells, results=row.results, revision=row.revision, changed=row.changed
    )


def _node_rows(found: NodeRows, name: str) -> pb.NodeRows:
    return pb.NodeRows(
        node=str(found.node),
        name=name,
        asked=found.asked,
        answered=found.rows[TargetState.ANSWERED],
        late=found.late,
        not_answered={
            state.value: count
            for state, count in found.rows.items()
            if state is not TargetState.ANSWERED and count
        },
        reasons=found.reasons,
        answered_last=moment(found.answered_last),
        oldest_index=moment(found.oldest_index),
    )
