"""Puts a hub together and runs it: the only place that builds everything.

hub = Hub(load_config(path))
await hub.start()
...
await hub.stop()
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc

from candor_certs.mtls import enrolment_options, server_options
from candor_hub.allocator import keep_small
from candor_hub.attach import Attachments
from candor_hub.attempts import Attempts
from candor_hub.backups import Backups
from candor_hub.clock import Clock, SystemClock
from candor_hub.config import Config
from candor_hub.courier import Courier
from candor_hub.directory import DirectoryKeeper
from candor_hub.enrolment import FORGOTTEN_AFTER, Enrolment
from candor_hub.founding import open_keys, open_store
from candor_hub.front import Front, Port
from candor_hub.guard.board import Board
from candor_hub.hold_off import HoldOff
from candor_hub.index import Index
from candor_hub.intake import Intake
from candor_hub.issued import Issued
from candor_hub.key_keeper import KeyKeeper
from candor_hub.keys import TLS
from candor_hub.lines import Lines
from candor_hub.mailbox import MailboxKeeper
from candor_hub.metrics import SPANS, HubMetrics
from candor_hub.peer import Gatekeeper, NodeGate, admit_anybody
from candor_hub.places import log_files, segment_files
from candor_hub.relay import Relay
from candor_hub.renewal import Renewal
from candor_hub.replica import Replica
from candor_hub.service import EnrolmentServicer, HubServicer
from candor_hub.store.notices import Channel, mail_channel
from candor_hub.store.sessions import Listener, SessionLease
from candor_hub.streams import Streams, Timing, Watch
from candor_hub.tlog.hub_log import HubLog
from candor_hub.tlog.statements import Statements
from candor_hub.uploads import Uploads
from candor_hub.warden import Warden
from candor_hub.watched import Watched
from candor_hub.work import Work
from candor_proto.errors import CandorError
from candor_watch.traces import Traces, nothing
from candor_wire.v1 import enrolment_pb2_grpc, hub_pb2_grpc

if TYPE_CHECKING:
    from candor_hub.tlog.https import LogServer

log = structlog.get_logger(__name__)

MAINTENANCE_SECONDS = 60.0
# Objects that a crash has left without a row are looked for so often.
SWEEP_EVERY = timedelta(days=1)
STOP_GRACE_SECONDS = 5.0
# How long the guard takes the hub to be busy after a look has shown that it is.
SHOWN_BUSY_SECONDS = 0.5
# So long after a lookup has expired may a heartbeat still be about it.
REQUESTS_KEPT = timedelta(days=1)
Interceptors = Sequence[grpc.aio.ServerInterceptor]


@dataclass(frozen=True)
class Ports:
    """What the hub listens on."""

    hub: int
    enrolment: int
    log: int
    metrics: int = 0


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
        self._store = open_store(config, upgrade=True)
        timing = timing or Timing()
        try:
            keys = open_keys(config, self._store, self.clock.now())
            self.key_keeper = KeyKeeper(self._store, keys, self.clock, timing.poll_seconds)
        except BaseException:
            self._store.close()
            raise
        self.keys, self.tls = self.key_keeper.held, self.key_keeper.tls
        self.streams = Streams()
        self.replica = Replica(self._store, self.streams, self.clock, timing, version())
        self.directory = DirectoryKeeper(self._store, self.keys, self.replica.vouched_at)
        self.enrolment = Enrolment(config, self._store, self.keys, self.directory)
        self.index = Index(self._store, segment_files(config, self._store), self.directory, config.federation)
        self.mailbox = MailboxKeeper(self._store)
        self.relay = Relay(self._store, config.quota)
        self.renewal = Renewal(self._store, self.keys)
        server = self._store.server
        self.log = HubLog(
            config,
            self._store,
            self.streams,
            self.clock,
            self.directory.publish,
            timing.coalesce_seconds,
            None if server is None else SessionLease(server),
            lambda: self.replica.trusted,
            timing.settle_seconds,
        )
        self.watch = Watch(self.streams, self.directory, timing, lambda: self.log.announced, self.log.look)
        self.log.on_announced(self.watch.announce)
        self.warden = Warden(self.streams, self.watch, self.clock, timing)
        self.watch.on_changed(self.warden.round)
        shared = None if server is None else self.replica.name
        self.courier = Courier(self.streams, self.mailbox, self.clock, timing, shared)
        endpoint = config.traces_endpoint
        self.traces = Traces("candor-hub", SPANS, endpoint=endpoint) if endpoint else None
        self.counters = HubMetrics(self.traces.span if self.traces else nothing)
        self.turns = Work()
        self.intake = Intake(self.relay, self.clock, self.courier.accepted, self.counters, self.turns.gauge)
        self.guarded = guarded
        self.lines, self.strangers = (Lines(Board.create() if guarded else None) for _ in range(2))
        self.turns.gauge.on_busy = self._show_busy
        self.hold_off = HoldOff(self.streams, self.lines, self.counters)
        self.attachments = Attachments(
            self.streams,
            self.watch,
            self.warden,
            self.courier,
            self.intake,
            self.clock,
            timing,
            self.log.cosigning,
            self.replica,
            self.log.attached,
            self.turns,
            self.hold_off,
        )
        self.listener = None if server is None else Listener(server, self._heard())
        self.watched = Watched(
            config,
            self._store,
            self.keys,
            self.streams,
            self.watch,
            self.log,
            self.clock,
            self.counters,
        )
        self._swept_at = self.clock.now()
        self.ports = Ports(0, 0, 0)
        self._front: Front | None = None
        self.log_server: LogServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _heard(self) -> dict[str, Callable[[], None]]:
        """What is done when another replica says that something happened."""
        return {
            mail_channel(self.replica.name): self.courier.heard,
            Channel.DIRECTORY: self.watch.heard,
            Channel.LOG: self.log.heard,
            Channel.ATTACHED: self.replica.heard,
        }

    async def start(self) -> None:
        """Listen; raises ConfigInvalid when an address cannot be had, StoreUnusable."""
        await self.prepare()
        log_port = await self._serve_log()
        metrics_port = await self.watched.start()
        # Last: the ports are taken from here on, and answer when all is started. A balancer that sees a port
        # which takes connections sends nodes there, and they would wait in it.
        config = self.config
        front = self._front = Front(
            self.tls,
            self.keys().root,
            self._interceptors,
            guarded=self.guarded,
            balancers=config.balancers,
            cut=self.counters.cut,
        )
        hub_port = front.open(
            Port(
                config.address,
                server_options(config.nodes, guarded=self.guarded),
                self.gatekeeper(),
                self.lines,
                self._add_services(self.servicer()),
            )
        )
        newcomers = EnrolmentServicer(self.enrolment, Attempts(), config, self.clock, self.log, self.turns)
        enrolment_port = front.open(
            Port(
                config.enrolment_address,
                enrolment_options(),
                Gatekeeper(
                    admit_anybody,
                    self.strangers,
                    self.turns,
                    self.hold_off,
                    self.turns.pace_of_newcomers,
                    observer=self.counters,
                ),
                self.strangers,
                partial(enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server, newcomers),
                members=False,
            )
        )
        self.ports = Ports(hub_port, enrolment_port, log_port, metrics_port)
        self._announce()
        newcomers.announce(self.config)
        self.work()
        self._tasks.append(asyncio.create_task(self.watched.run()))
        await front.start()
        log.info(
            "started",
            federation=str(self.config.federation),
            hub_port=hub_port,
            enrolment_port=enrolment_port,
            log_port=log_port,
            metrics_port=metrics_port,
        )

    # What `start` is made of besides listening: whoever brings calls here in another way uses these.

    async def prepare(self) -> None:
        """What has to be known before the first call; raises StoreUnusable."""
        await self.replica.begin()
        await self.log.begin()
        await asyncio.to_thread(self.key_keeper.take_up_folder)
        await asyncio.to_thread(self._renew)
        await self.watch.look()
        await self.courier.start()

    def _show_busy(self) -> None:
        """The guard opens fewer connections meanwhile."""
        for board in (self.lines.board, self.strangers.board):
            if board is not None:
                board.busy_until(time.monotonic() + SHOWN_BUSY_SECONDS)

    def gatekeeper(self) -> Gatekeeper:
        """In front of `servicer`: who is let through, and when."""
        gate = NodeGate(
            self.config.federation,
            self.directory,
            Issued(self._store, self.clock),
            self.clock,
            self.turns.gate,
            self.turns.gauge,
        )
        return Gatekeeper(gate.admit, self.lines, self.turns, self.hold_off, observer=self.counters)

    def _add_services(self, servicer: HubServicer) -> Callable[[grpc.aio.Server], None]:
        def add(server: grpc.aio.Server) -> None:
            hub_pb2_grpc.add_HubServiceServicer_to_server(servicer, server)
            health_pb2_grpc.add_HealthServicer_to_server(self.watched.grpc, server)

        return add

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
            self.log.follow,
            self.log.keep,
            self.replica.run,
            self.replica.write,
            self.replica.watch,
            self._maintain,
            lambda: keep_small(lambda: self.courier.newest),
            lambda: self.key_keeper.run(self._renew, self._show_log_certificate),
            Backups(self.config, self._store, self.clock).run,
        )
        self._tasks = [asyncio.create_task(work()) for work in works]
        if self.listener is not None:
            self._tasks.append(asyncio.create_task(self.listener.run()))

    async def stop(self, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """Let calls finish, end streams, close the database."""
        self.watched.health.stopping = True
        await self.watched.stop()
        self.streams.stop()
        if self.log_server is not None:
            await self.log_server.stop()
        if self._front is not None:
            await self._front.stop(grace_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.intake.close()
        await self.courier.close()
        await self.log.close()
        await self.replica.close()
        await asyncio.to_thread(self.turns.close)
        await asyncio.to_thread(self._store.close)
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)
        if self._front is not None and self._front.started:
            log.info("stopped")

    def maintain(self) -> None:
        """What is due now and then: expired rows, unnamed segments, renewals, who was seen.

        Raises StoreUnusable, ClockWrong and what renewing raises.
        """
        self.replica.check_clock()
        now = self.clock.now()
        expired, segments = self.mailbox.forget(now), self.index.collect_garbage(now)
        if now >= self._swept_at + SWEEP_EVERY or now < self._swept_at:
            self.index.sweep(now)
            self._swept_at = now
        with self._store.write() as tx:
            tx.members.set_seen(self.streams.nodes, now)
            tx.enrolments.drop_expired(now - FORGOTTEN_AFTER)
            tx.certificates.drop_ended(now - FORGOTTEN_AFTER)
            tx.logged.drop_requests(now - REQUESTS_KEPT)
        self._renew()
        log.info("maintained", expired_deliveries=expired, dropped_segments=segments)

    def _renew(self) -> None:
        self.key_keeper.renew()
        self.directory.publish_if_certified_anew(self.clock.now())

    def _show_log_certificate(self) -> None:
        if self.log_server is not None:
            self.log_server.refresh()

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTENANCE_SECONDS)
            try:
                await asyncio.to_thread(self.maintain)
                self._show_log_certificate()
            except CandorError as error:
                log.error("maintenance failed", code=error.code, message=error.message)

    async def _serve_log(self) -> int:
        # Here, because whoever calls the hub in another way needs no web server.
        from candor_hub.tlog.https import LogServer

        own = self.config.keys / TLS
        self.log_server = LogServer(self.log.pages, self.config.log_certificate or own, self.config.log_key)
        return await self.log_server.start(self.config.log_address)

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


def version() -> str:
    """Of this program."""
    return importlib.metadata.version("candor-exchange")
