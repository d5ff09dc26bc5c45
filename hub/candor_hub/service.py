"""The gRPC services: message in, value through the rules, message out. Nothing is decided here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any

from candor_hub.attach import Attachments
from candor_hub.attempts import Attempts
from candor_hub.clock import Clock
from candor_hub.config import Config
from candor_hub.directory import DirectoryKeeper
from candor_hub.enrolment import Enrolment, EnrolmentRequest, unknown_invitation
from candor_hub.guard.turns import network_of
from candor_hub.index import Index
from candor_hub.intake import Intake
from candor_hub.lines import present_line
from candor_hub.peer import Context, caller, counted, lasting_caller
from candor_hub.relay import Relay
from candor_hub.renewal import Renewal
from candor_hub.tlog.hub_log import HubLog
from candor_hub.tlog.statements import Statements
from candor_hub.uploads import Uploads
from candor_hub.work import Work
from candor_proto.canonical import from_milliseconds
from candor_proto.errors import InvitationInvalid
from candor_proto.ids import NodeId, Ori
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_watch.versions import METADATA_KEY, of_agent, own_version
from candor_wire import codec, log_codec, silence
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
        work: Work,
    ) -> None:
        self._work = work
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
        told = dict(context.invocation_metadata())
        version, silence_told = of_agent(told.get("user-agent")), told.get(silence.METADATA_KEY)
        del told  # what has a name here is held for as long as the stream lasts
        await context.send_initial_metadata(((METADATA_KEY, own_version()),))
        await self._attachments.run(request_iterator, counted(context), node, identity, version, silence_told)

    async def Submit(self, request: hub_pb2.SubmitRequest, context: Any) -> hub_pb2.SubmitResponse:
        who = caller()
        envelope = codec.read_envelope(request.envelope)
        receipt = await self._intake.offer(envelope, who.node, who.snapshot.view)
        return hub_pb2.SubmitResponse(recipients=receipt.recipients)

    async def PutSegment(self, request_iterator: Any, context: Any) -> hub_pb2.PutSegmentResponse:
        node = caller().node
        async with self._uploads.receive(node, request_iterator) as upload:
            now = self._clock.now()
            await self._work.segments_in.run(
                node, lambda: self._index.put_segment(upload.address, upload.read(), node, now)
            )
        return hub_pb2.PutSegmentResponse()

    async def GetSegment(
        self, request: hub_pb2.GetSegmentRequest, context: Any
    ) -> AsyncIterator[hub_pb2.GetSegmentResponse]:
        node, wanted = caller().node, codec.read_address(request.address)
        pieces = await self._work.segments_out.run(node, partial(self._index.get_segment, wanted))
        while (piece := await self._work.segments_out.run(node, partial(next, pieces, None))) is not None:
            yield hub_pb2.GetSegmentResponse(chunk=piece)

    async def PutHead(self, request: hub_pb2.PutHeadRequest, context: Any) -> hub_pb2.PutHeadResponse:
        who = caller()
        version = await self._work.writes.run(
            who.node,
            partial(
                self._index.put_head,
                SignedStatement(request.body, request.signature),
                who.snapshot.view.member(who.node),
                self._clock.now(),
            ),
        )
        self._log.wake()
        return hub_pb2.PutHeadResponse(directory_version=version)

    async def GetQuota(self, request: hub_pb2.GetQuotaRequest, context: Any) -> hub_pb2.GetQuotaResponse:
        node = caller().node
        left = await self._work.reads.run(node, partial(self._relay.left, node, self._clock.now()))
        return hub_pb2.GetQuotaResponse(total=left.total, weak=left.weak, match=left.match, code=left.code)

    async def GetDirectory(
        self, request: hub_pb2.GetDirectoryRequest, context: Any
    ) -> AsyncIterator[hub_pb2.GetDirectoryResponse]:
        wanted = log_codec.read_directory_version(request)
        stored = await self._work.reads.run(
            caller().node, partial(self._directory.shown, self._log.announced, wanted)
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
        path = log_codec.read_log_path(request)
        page = await self._work.reads.run(caller().node, partial(self._log.get, path))
        for chunk in codec.chunks(page.octets):
            yield hub_pb2.GetLogResponse(chunk=chunk)

    async def PutStatement(
        self, request: hub_pb2.PutStatementRequest, context: Any
    ) -> hub_pb2.PutStatementResponse:
        who = caller()
        signed_for, statement = log_codec.read_put_statement(request)
        await self._work.writes.run(
            who.node,
            partial(
                self._statements.put,
                signed_for,
                statement,
                who.snapshot.view.member(who.node),
                self._clock.now(),
            ),
        )
        self._log.wake()
        return hub_pb2.PutStatementResponse()

    async def RenewCertificate(
        self, request: hub_pb2.RenewCertificateRequest, context: Any
    ) -> hub_pb2.RenewCertificateResponse:
        who = caller()
        chain = await self._work.writes.run(
            who.node,
            partial(
                self._renewal.renew,
                request.certificate_request,
                request.signature,
                who.snapshot.view.member(who.node),
                who.identity,
                self._clock.now(),
            ),
        )
        return hub_pb2.RenewCertificateResponse(certificate_chain=chain)


class EnrolmentServicer(enrolment_pb2_grpc.EnrolmentServiceServicer):
    """What a node calls once, before it has a certificate."""

    def __init__(
        self,
        enrolment: Enrolment,
        attempts: Attempts,
        config: Config,
        clock: Clock,
        log: HubLog,
        work: Work,
    ) -> None:
        self._log = log
        self._enrolment = enrolment
        self._attempts = attempts
        self._config = config
        self._clock = clock
        self._work = work

    def announce(self, config: Config) -> None:
        """From now on newcomers are told the addresses of `config`."""
        self._config = config

    async def Enrol(
        self, request: enrolment_pb2.EnrolRequest, context: Context
    ) -> enrolment_pb2.EnrolResponse:
        line = present_line()
        now, network = self._clock.now(), network_of(line.address if line else context.peer())
        try:
            chain = await self._work.enrolments.run(network, partial(self._enrol, request, now))
        except InvitationInvalid:
            await self._attempts.failed(network, now)
            await self._work.enrolments.run(network, partial(self._enrolment.check_failures, network, now))
            raise
        self._log.wake()
        return enrolment_pb2.EnrolResponse(
            certificate_chain=chain,
            federation=str(self._config.federation),
            hub_address=self._config.public_address,
        )

    def _enrol(self, request: enrolment_pb2.EnrolRequest, now: datetime) -> tuple[bytes, ...]:
        # Without one a member asks whom the operator lets back, and that is looked up first as well (§8.7).
        if request.token and not self._enrolment.knows(request.token):
            # Before anything else is read, and without a transaction that writes.
            raise unknown_invitation()
        return self._enrolment.enrol(
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
