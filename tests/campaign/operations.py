"""What an agency's people do, said to its running node over its socket; and what they were told.

Each operation is written into a history (`tests.history`): it either returns, and was acknowledged, or raises
the typed error, and then nobody knows whether it happened. `audit` holds it against the databases.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from candor_hub.config import Config as HubConfig
from candor_node.config import NodeConfig
from candor_proto.errors import CandorError
from candor_records.content import CONTENT_FIELDS
from candor_wire.status import from_status
from candor_wire.v1 import intake_pb2 as intake
from candor_wire.v1 import intake_pb2_grpc, local_pb2_grpc
from candor_wire.v1 import local_pb2 as pb
from tests.federation import OFFICER
from tests.history import History, Operation, check, read_hub, read_node
from tests.patience import PATIENCE_SECONDS
from tests.records import generated_rows, make_row

CALL_SECONDS = PATIENCE_SECONDS
# The record that every agency files at first: each lookup for OFFICER opens one at each agency.
FIRST = "IA-FIRST"


class Desk:
    """One agency's people, at the socket of its node."""

    def __init__(self, name: str, socket: Path, history: History, wait_seconds: float = 10.0) -> None:
        self.name = name
        self._socket = socket
        self._history = history
        self._wait_seconds = wait_seconds

    async def file(self, number: int, rows: int = 1, **columns: str) -> intake.ImportReport:
        """File new records; the same `number` again changes nothing."""
        names = [f"IA-{number}-{row}" for row in range(rows)]
        made = generated_rows(rows, seed=number, sharing="GREEN", **columns)
        lines = [{**line, "agency_record_id": name} for line, name in zip(made, names, strict=True)]
        return await self._file(lines, names)

    async def file_first(self) -> intake.ImportReport:
        """File the record that lookups find."""
        return await self._file([make_row(agency_record_id=FIRST, sharing="GREEN")], [FIRST])

    async def _file(self, lines: list[dict[str, str]], names: list[str]) -> intake.ImportReport:
        parts = import_parts(lines)

        async def whole(stub: Any) -> intake.ImportReport:
            report = intake.ImportReport()
            async for part in stub.Import(iter(parts), timeout=CALL_SECONDS):
                if part.WhichOneof("part") == "report":
                    report = part.report
            return report

        operation = self._history.invoke("import", self.name, records=names)
        reply: intake.ImportReport = await self._call(whole, operation, intake_pb2_grpc.IntakeServiceStub)
        assert not reply.errors, reply.errors
        assert reply.new + reply.unchanged == len(names), reply
        self._history.ok(operation)
        return reply

    async def publish(self, *, rotate: bool = False) -> pb.PublishResponse:
        request = pb.PublishRequest(rotate=rotate)
        operation = self._history.invoke("publish", self.name)
        reply: pb.PublishResponse = await self._call(
            lambda stub: stub.Publish(request, timeout=CALL_SECONDS), operation
        )
        self._history.ok(operation, sequence=reply.sequence)
        return reply

    async def look_up(self, case: str) -> pb.LookupView:
        """Ask about OFFICER; every agency has a record of him, so no node may ever hear NO_RECORD."""
        request = pb.LookupRequest(
            person=pb.Person(**OFFICER),
            purpose="J_APPLICANT",
            shape="DETAILED",
            case_number=case,
            consent=f"consent of {case}",
            officer="Inv. Dana Roe",
            wait_seconds=self._wait_seconds,
        )

        async def whole(stub: Any) -> pb.LookupView:
            view = pb.LookupView()
            async for part in stub.Lookup(request, timeout=CALL_SECONDS + self._wait_seconds):
                if part.WhichOneof("part") == "result":
                    view = part.result
            return view

        operation = self._history.invoke("lookup", self.name, case=case, expect="MATCH")
        view: pb.LookupView = await self._call(whole, operation)
        assert view.lookup_id, "a lookup ended without a result and without an error"
        self._history.ok(operation, search_id=view.lookup_id, overall=view.overall)
        return view

    async def request_record(self, view: pb.LookupView) -> str:
        """Ask for the record behind the first hit of somebody else's; the request's id, or empty."""
        hits = [hit for hit in view.hits if hit.owner != self.name]
        if not hits:
            return ""
        request = pb.SendRequestRequest(
            lookup_id=view.lookup_id, hit=hits[0].number, confirmed_by="Inv. Dana Roe"
        )
        operation = self._history.invoke(
            "disclosure", self.name, search_id=view.lookup_id, hit=hits[0].number
        )
        reply = await self._call(lambda stub: stub.SendRequest(request, timeout=CALL_SECONDS), operation)
        self._history.ok(operation, request_id=reply.request_id)
        return str(reply.request_id)

    async def status(self) -> pb.StatusResponse:
        reply: pb.StatusResponse = await self._call(
            lambda stub: stub.Status(pb.StatusRequest(), timeout=CALL_SECONDS)
        )
        return reply

    async def lookup(self, lookup_id: str) -> pb.LookupView:
        request = pb.GetLookupRequest(lookup_id=lookup_id)
        reply: pb.GetLookupResponse = await self._call(
            lambda stub: stub.GetLookup(request, timeout=CALL_SECONDS)
        )
        return reply.lookup

    async def request_state(self, request_id: str) -> str:
        """What became of a request. From the list: to look at a record is entered in the ledger each time."""
        request = pb.ListRequestsRequest(limit=100)
        reply: pb.ListRequestsResponse = await self._call(
            lambda stub: stub.ListRequests(request, timeout=CALL_SECONDS)
        )
        return next((view.state for view in reply.sent if view.request_id == request_id), "")

    async def _call(
        self,
        what: Callable[[Any], Awaitable[Any]],
        operation: Operation | None = None,
        service: Callable[[grpc.aio.Channel], Any] = local_pb2_grpc.LocalServiceStub,
    ) -> Any:
        """Raises the typed error; AssertionError for one that is not typed."""
        async with self._stub(service) as stub:
            try:
                return await what(stub)
            except grpc.aio.AioRpcError as error:
                trailing = [(str(key), value) for key, value in error.trailing_metadata() or ()]
                known = from_status(error.code(), error.details(), trailing)
                if operation is not None:
                    self._history.unknown(operation, known.code)
                if known.code == CandorError.code:
                    raise AssertionError(f"{self.name} ended a call without a typed error: {known}") from None
                raise known from None

    @asynccontextmanager
    async def _stub(self, service: Callable[[grpc.aio.Channel], Any]) -> AsyncIterator[Any]:
        async with grpc.aio.insecure_channel(f"unix:{self._socket}") as channel:
            yield service(channel)


def audit(history: History, hub: HubConfig, nodes: Sequence[NodeConfig]) -> list[str]:
    """Everything that is not as it must be, one sentence each; the federation has come to rest."""
    records: dict[str, set[str]] = {}
    for operation in history.operations:
        records.setdefault(operation.node, set()).update(operation.what.get("records", ()))
    holdings = [read_node(config, sorted(records.get(config.node, ()))) for config in nodes]
    now = round(time.time() * 1000)
    return [str(fault) for fault in check(history.operations, holdings, read_hub(hub), now, settled=True)]


def import_parts(lines: list[dict[str, str]]) -> list[intake.ImportRequest]:
    """An import of rows in the columns of the template, message by message."""
    rows = [
        intake.ImportRow(number=number, cells=[line[name] for name in CONTENT_FIELDS])
        for number, line in enumerate(lines, 2)
    ]
    return [
        intake.ImportRequest(start=intake.ImportStart(contributor="clerk-7", columns=CONTENT_FIELDS)),
        intake.ImportRequest(rows=intake.ImportRows(rows=rows)),
        intake.ImportRequest(end=intake.ImportEnd(rows=len(rows))),
    ]


def case_number(draw: random.Random) -> str:
    """A case number that was not used before."""
    return f"REQ-{draw.getrandbits(48):012x}"
