"""Puts a hub together and runs it: the only place that builds everything.

hub = Hub(load_config(path))
await hub.start()
...
await hub.stop()
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import structlog

from candor_certs.mtls import Options, enrolment_options, places, rotating_server_credentials, server_options
from candor_certs.store import TlsIdentity
from candor_hub.attach import Attachments
from candor_hub.attempts import Attempts
from candor_hub.clock import Clock, SystemClock
from candor_hub.config import Config
from candor_hub.courier import Courier
from candor_hub.directory import DirectoryKeeper
from candor_hub.enrolment import FORGOTTEN_AFTER, Enrolment
from candor_hub.founding import open_store
from candor_hub.guard.board import Board
from candor_hub.guard.keeper import Door, Keeper, listen
from candor_hub.guard.turns import Limits
from candor_hub.index import Index
from candor_hub.intake import Intake
from candor_hub.issued import Issued
from candor_hub.keys import TLS, HubKeys, load_keys, renew
from candor_hub.lines import Lines
from candor_hub.mailbox import MailboxKeeper
from candor_hub.peer import Gatekeeper, NodeGate, admit_anybody
from candor_hub.places import log_files
from candor_hub.relay import Relay
from candor_hub.renewal import Renewal
from candor_hub.segment_files import SegmentFiles
from candor_hub.service import EnrolmentServicer, HubServicer
from candor_hub.streams import Streams, Timing, Watch
from candor_hub.tlog.sequencer import Sequencer
from candor_hub.tlog.statements import Statements
from candor_hub.uploads import Uploads
from candor_hub.warden import Warden
from candor_hub.work import Work
from candor_proto.errors import CandorError, ConfigInvalid
from candor_wire.v1 import enrolment_pb2_grpc, hub_pb2_grpc

if TYPE_CHECKING:
    from candor_hub.tlog.https import LogServer

log = structlog.get_logger(__name__)

MAINTENANCE_SECONDS = 60.0
STOP_GRACE_SECONDS = 5.0
# So long after a lookup has expired may a heartbeat still be about it.
REQUESTS_KEPT = timedelta(days=1)
Interceptors = Sequence[grpc.aio.ServerInterceptor]


@dataclass(frozen=True)
class Ports:
    """What the hub listens on."""

    hub: int
    enrolment: int
    log: int


class Hub:
    """A running hub. One event loop owns it; the rules below run in threads."""

    def __init__(
        self,
        config: Config,
        clock: Clock | None = None,
        interceptors: Interceptors = (),
        timing: Timing | None = None,
        *,
        guarded: bool = False,
    ) -> None:
        """`interceptors` see every call of both ports before the hub's own does. `guarded`: a process of its
        own takes the connections of members and newcomers (`candor_hub.guard`).

        Raises StoreUnusable, InputInvalid, CertificateRefused or ConfigInvalid.
        """
        self.config = config
        self.clock = clock or SystemClock()
        self._interceptors = tuple(interceptors)
        self._keys = load_keys(config.keys, config.issuing, config.federation)
        self._store = open_store(config, upgrade=True)
        timing = timing or Timing()
        self.directory = DirectoryKeeper(self._store, self.keys)
        self.enrolment = Enrolment(config, self._store, self.keys, self.directory)
        self.index = Index(self._store, SegmentFiles(config.segments), self.directory, config.federation)
        self.mailbox = MailboxKeeper(self._store)
        self.relay = Relay(self._store, config.quota)
        self.renewal = Renewal(self._store, self.keys)
        self.streams = Streams()
        self.log = Sequencer(config, self._store, self.streams, self.clock, timing.coalesce_seconds)
        self.watch = Watch(self.streams, self.directory, timing, lambda: self.log.announced, self.log.look)
        self.log.on_announced(self.watch.announce)
        self.warden = Warden(self.streams, self.watch, self.clock, timing)
        self.courier = Courier(self.streams, self.mailbox, self.clock, timing)
        self.intake = Intake(self.relay, self.clock, self.courier.accepted)
        self.attachments = Attachments(
            self.streams,
            self.watch,
            self.warden,
            self.courier,
            self.intake,
            self.clock,
            timing,
            self.log.cosigning,
            self.log.attached,
        )
        self.turns = Work()
        self.guarded = guarded
        self.lines, self.strangers = (Lines(Board.create() if guarded else None) for _ in range(2))
        self.ports = Ports(0, 0, 0)
        self._keeper: Keeper | None = None
        self.log_server: LogServer | None = None
        self._servers: list[grpc.aio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []

    def keys(self) -> HubKeys:
        """The hub's keys with the certificates of this moment."""
        return self._keys

    def tls(self) -> TlsIdentity:
        return self._keys.tls

    async def start(self) -> None:
        """Listen; raises ConfigInvalid when an address cannot be had, StoreUnusable."""
        await self.prepare()
        config = self.config
        members, newcomers = self._listen(config.address), self._listen(config.enrolment_address)
        hub_server, hub_port = self._server(
            self.gatekeeper(), members.address, server_options(config.nodes), require_client=True
        )
        enrolment_server, enrolment_port = self._server(
            Gatekeeper(admit_anybody, self.strangers, self.turns),
            newcomers.address,
            enrolment_options(),
            require_client=False,
        )
        if self.guarded:
            hub_port, enrolment_port = self._guard(members, hub_port, newcomers, enrolment_port)
        log_port = await self._serve_log()
        self.ports = Ports(hub_port, enrolment_port, log_port)
        self._announce()
        hub_pb2_grpc.add_HubServiceServicer_to_server(self.servicer(), hub_server)
        enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server(
            EnrolmentServicer(self.enrolment, Attempts(), self.config, self.clock, self.log, self.turns),
            enrolment_server,
        )
        for server in (hub_server, enrolment_server):
            await server.start()
            self._servers.append(server)
        self.work()
        if self._keeper is not None:
            await asyncio.to_thread(self._keeper.start)
            self._tasks.append(asyncio.create_task(self._keeper.run()))
        log.info(
            "started",
            federation=str(self.config.federation),
            hub_port=hub_port,
            enrolment_port=enrolment_port,
            log_port=log_port,
        )

    # What `start` is made of besides listening: whoever brings calls here in another way uses these.

    async def prepare(self) -> None:
        """What has to be known before the first call; raises StoreUnusable."""
        await asyncio.to_thread(self.log.begin, self.directory.publish)
        await asyncio.to_thread(self._renew)
        await self.watch.look()
        await self.courier.start()

    def gatekeeper(self) -> Gatekeeper:
        """In front of `servicer`: who is let through, and when."""
        gate = NodeGate(
            self.config.federation, self.directory, Issued(self._store), self.clock, self.turns.gate
        )
        return Gatekeeper(gate.admit, self.lines, self.turns)

    def servicer(self) -> HubServicer:
        """What members call."""
        return HubServicer(
            self.relay,
            self.intake,
            self.index,
            Uploads(self.config.data),
            self.attachments,
            self.clock,
            self.renewal,
            self.directory,
            self.log,
            Statements(self._store, log_files(self.config, self._store), self.config.federation),
            self.turns,
        )

    def work(self) -> None:
        """Begin the work that nobody calls for."""
        works = (
            self.watch.run,
            self.warden.run,
            self.courier.carry,
            self.courier.collect,
            self.courier.sweep,
            self.intake.run,
            self.log.run,
            self.log.witness,
            self._maintain,
        )
        self._tasks = [asyncio.create_task(work()) for work in works]

    async def stop(self, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """Let calls finish, end streams, close the database."""
        self.streams.stop()
        if self.log_server is not None:
            await self.log_server.stop()
        await asyncio.gather(*(server.stop(grace_seconds) for server in self._servers))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._keeper is not None:
            await self._keeper.stop()
        await self.intake.close()
        await self.courier.close()
        await self.log.close()
        await asyncio.to_thread(self.turns.close)
        await asyncio.to_thread(self._store.close)
        if self._servers:
            log.info("stopped")

    def maintain(self) -> None:
        """What is due now and then: expired rows, unnamed segments, renewals, who was seen."""
        now = self.clock.now()
        expired, segments = self.mailbox.forget(now), self.index.collect_garbage(now)
        with self._store.write() as tx:
            tx.members.set_seen(self.streams.nodes, now)
            tx.enrolments.drop_expired(now - FORGOTTEN_AFTER)
            tx.certificates.drop_ended(now - FORGOTTEN_AFTER)
            tx.logged.drop_requests(now - REQUESTS_KEPT)
        self._renew()
        log.info("maintained", expired_deliveries=expired, dropped_segments=segments)

    def _renew(self) -> None:
        now = self.clock.now()
        self._keys = renew(self._keys, now)
        self.directory.publish_if_certified_anew(now)

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTENANCE_SECONDS)
            try:
                await asyncio.to_thread(self.maintain)
                if self.log_server is not None:
                    self.log_server.refresh()
            except CandorError as error:
                log.error("maintenance failed", code=error.code, message=error.message)

    async def _serve_log(self) -> int:
        # Here, because whoever calls the hub in another way needs no web server.
        from candor_hub.tlog.https import LogServer

        own = self.config.keys / TLS
        self.log_server = LogServer(self.log.pages, self.config.log_certificate or own, self.config.log_key)
        return await self.log_server.start(self.config.log_address)

    def _listen(self, address: str) -> _Listening:
        """Where the world connects to, and where gRPC listens; raises ConfigInvalid."""
        if not self.guarded:
            _check_bindable(address)
            return _Listening((), address)
        return _Listening(listen(address), "127.0.0.1:0")

    def _guard(
        self, members: _Listening, hub_port: int, newcomers: _Listening, enrolment_port: int
    ) -> tuple[int, int]:
        """Put the guard in front of both ports; those that it listens on."""
        boards = self.lines.board, self.strangers.board
        assert boards[0] is not None
        assert boards[1] is not None
        self._keeper = Keeper(
            [
                Door(members.sockets, hub_port, boards[0], Limits(places(server_options(self.config.nodes)))),
                Door(
                    newcomers.sockets,
                    enrolment_port,
                    boards[1],
                    Limits(places(enrolment_options()), new_of_one_address=4),
                    members=False,
                ),
            ]
        )
        return members.port, newcomers.port

    def _server(
        self, gatekeeper: Gatekeeper, address: str, options: Options, *, require_client: bool
    ) -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=[*self._interceptors, gatekeeper], options=options)
        credentials = rotating_server_credentials(self.tls, [self._keys.root], require_client)
        try:
            return server, server.add_secure_port(address, credentials)
        except RuntimeError:
            raise ConfigInvalid(
                f"The hub cannot listen on {address}.", remedy="Choose another address in the configuration."
            ) from None

    def _announce(self) -> None:
        """Say the real ports where the configuration left them to the system."""

        def named(public: str, listened: str, port: int) -> str:
            return f"{public.rpartition(':')[0]}:{port}" if public == listened else public

        config = self.config
        self.config = replace(
            config,
            public_address=named(config.public_address, config.address, self.ports.hub),
            public_enrolment_address=named(
                config.public_enrolment_address, config.enrolment_address, self.ports.enrolment
            ),
        )
        self.enrolment.announce(self.config)


@dataclass(frozen=True)
class _Listening:
    """Sockets that the guard listens on, if there is one, and the address for gRPC."""

    sockets: tuple[socket.socket, ...]
    address: str

    @property
    def port(self) -> int:
        number: int = self.sockets[0].getsockname()[1]
        return number


def _check_bindable(address: str) -> None:
    """Raises ConfigInvalid in words, where gRPC would only say that it failed."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise ConfigInvalid(
            f"The hub cannot listen on {address}: {error.strerror}.",
            remedy="End the program that listens there, or choose another address in the configuration.",
        ) from None
