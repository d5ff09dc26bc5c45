"""The gRPC services: message in, value through the rules, message out. Nothing is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from candor_hub.attach import Attachments
from candor_hub.clock import Clock
from candor_hub.config import Config
from candor_hub.directory import DirectoryKeeper
from candor_hub.enrolment import Attempts, Enrolment, EnrolmentRequest
from candor_hub.index import Index
from candor_hub.intake import Intake
from candor_hub.peer import Context, caller, lasting_caller
from candor_hub.relay import Relay
from candor_hub.renewal import Renewal
from candor_hub.tlog.hub_log import HubLog
from candor_hub.tlog.statements import Statements
from candor_hub.uploads import Uploads
from candor_proto.canonical import from_milliseconds
from candor_proto.ids import NodeId, Ori
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_watch.versions import METADATA_KEY, of_agent, own_version
from candor_wire import codec, log_codec
from candor_wire.v1 import enrolment_pb2, enrolment_pb2_grpc, hub_pb2, hub_pb2_grpc


class HubServicer(hub_pb2_grpc.HubServiceServicer):
    """What members call; `peer.NodeGate` has admitted them."""

    def __init__(
        self,
        relay: Relay,
        intake: Intake,
        index: Index,
        uploads: Uploads,
        attachments: Attachments,
        clock: Clock,
        renewal: Renewal,
        directory: DirectoryKeeper,
        log: HubLog,
        statements: Statements,
    ) -> None:
        self._relay = relay
        self._intake = intake
        self._index = index
        self._uploads = uploads
        self._attachments = attachments
        self._clock = clock
        self._renewal = renewal
        self._directory = directory
        self._log = log
        self._statements = statements

    # A coroutine and not a generator, so that `attach` can leave a node that does not read.
    async def Attach(  # type: ignore[override]  # the stub knows generators only
        self, request_iterator: Any, context: Any
    ) -> None:
        node, identity = lasting_caller()
        version = of_agent(dict(context.invocation_metadata()).get("user-agent"))
        await context.send_initial_metadata(((METADATA_KEY, own_version()),))
        await self._attachments.run(request_iterator, context.write, node, identity, version)

    async def Submit(self, request: hub_pb2.SubmitRequest, context: Any) -> hub_pb2.SubmitResponse:
        who = caller()
        envelope = codec.read_envelope(request.envelope)
        receipt = await self._intake.offer(envelope, who.node, who.snapshot.view)
        return hub_pb2.SubmitResponse(recipients=receipt.recipients)

    async def PutSegment(self, request_iterator: Any, context: Any) -> hub_pb2.PutSegmentResponse:
        node = caller().node
        address, octets = await self._uploads.receive(node, request_iterator)
        await asyncio.to_thread(self._index.put_segment, address, octets, node, self._clock.now())
        return hub_pb2.PutSegmentResponse()

    async def GetSegment(
        self, request: hub_pb2.GetSegmentRequest, context: Any
    ) -> AsyncIterator[hub_pb2.GetSegmentResponse]:
        pieces = await asyncio.to_thread(self._index.get_segment, codec.read_address(request.address))
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield hub_pb2.GetSegmentResponse(chunk=piece)

    async def PutHead(self, request: hub_pb2.PutHeadRequest, context: Any) -> hub_pb2.PutHeadResponse:
        who = caller()
        version = await asyncio.to_thread(
            self._index.put_head,
            SignedStatement(request.body, request.signature),
            who.snapshot.view.member(who.node),
            self._clock.now(),
        )
        self._log.wake()
        return hub_pb2.PutHeadResponse(directory_version=version)

    async def GetQuota(self, request: hub_pb2.GetQuotaRequest, context: Any) -> hub_pb2.GetQuotaResponse:
        left = await asyncio.to_thread(self._relay.left, caller().node, self._clock.now())
        return hub_pb2.GetQuotaResponse(total=left.total, weak=left.weak, match=left.match, code=left.code)

    async def GetDirectory(
        self, request: hub_pb2.GetDirectoryRequest, context: Any
    ) -> AsyncIterator[hub_pb2.GetDirectoryResponse]:
        stored = await asyncio.to_thread(
            self._directory.shown, self._log.announced, log_codec.read_directory_version(request)
        )
        yield hub_pb2.GetDirectoryResponse(
            start=hub_pb2.DirectoryStart(
                signature=stored.statement.signature,
                certificate_chain=stored.chain,
                body_octets=len(stored.statement.body),
            )
        )
        for chunk in codec.chunks(stored.statement.body):
            yield hub_pb2.GetDirectoryResponse(chunk=chunk)

    async def GetLog(
        self, request: hub_pb2.GetLogRequest, context: Any
    ) -> AsyncIterator[hub_pb2.GetLogResponse]:
        page = await asyncio.to_thread(self._log.get, log_codec.read_log_path(request))
        for chunk in codec.chunks(page.octets):
            yield hub_pb2.GetLogResponse(chunk=chunk)

    async def PutStatement(
        self, request: hub_pb2.PutStatementRequest, context: Any
    ) -> hub_pb2.PutStatementResponse:
        who = caller()
        signed_for, statement = log_codec.read_put_statement(request)
        await asyncio.to_thread(
            self._statements.put,
            signed_for,
            statement,
            who.snapshot.view.member(who.node),
            self._clock.now(),
        )
        self._log.wake()
        return hub_pb2.PutStatementResponse()

    async def RenewCertificate(
        self, request: hub_pb2.RenewCertificateRequest, context: Any
    ) -> hub_pb2.RenewCertificateResponse:
        who = caller()
        chain = await asyncio.to_thread(
            self._renewal.renew,
            request.certificate_request,
            request.signature,
            who.snapshot.view.member(who.node),
            who.identity,
            self._clock.now(),
        )
        return hub_pb2.RenewCertificateResponse(certificate_chain=chain)


class EnrolmentServicer(enrolment_pb2_grpc.EnrolmentServiceServicer):
    """What a node calls once, before it has a certificate."""

    def __init__(
        self, enrolment: Enrolment, attempts: Attempts, config: Config, clock: Clock, log: HubLog
    ) -> None:
        self._log = log
        self._enrolment = enrolment
        self._attempts = attempts
        self._config = config
        self._clock = clock

    async def Enrol(
        self, request: enrolment_pb2.EnrolRequest, context: Context
    ) -> enrolment_pb2.EnrolResponse:
        now = self._clock.now()
        # The address without its port, which every connection has anew: "ipv4:192.0.2.1:40000".
        address = context.peer().rpartition(":")[0]
        self._attempts.check(address, now)
        await asyncio.to_thread(self._enrolment.check_attempts, address, now)
        chain = await asyncio.to_thread(
            self._enrolment.enrol,
            EnrolmentRequest(
                token=request.token,
                ori=Ori(request.ori),
                node=NodeId(request.node),
                certificate_request=request.certificate_request,
                signing_key=VerifyingKey(request.signing_key),
                disclosure_key=request.disclosure_key,
                node_time=from_milliseconds(request.node_time_milliseconds),
                signature=request.signature,
            ),
            now,
        )
        self._log.wake()
        return enrolment_pb2.EnrolResponse(
            certificate_chain=chain,
            federation=str(self._config.federation),
            hub_address=self._config.public_address,
        )
