"""What the checks of a node share: settings, clock, and facts that several of them want."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import grpc

from candor_certs.store import TlsIdentity, read_certificates, read_identity
from candor_node.clock import Clock
from candor_node.config import NodeConfig
from candor_node.findings.readings import Readings, read_beside
from candor_node.founding import Keys
from candor_node.hub_client import HubClient
from candor_node.proxy import Proxy
from candor_node.tlog.files import LogFiles
from candor_proto.errors import CandorError, ClockWrong
from candor_proto.statements import Left
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_watch.findings import Finding, Once, in_thread, unknown
from candor_wire.v1 import local_pb2, local_pb2_grpc

SOCKET_SECONDS = 5.0


@dataclass
class Look:
    """One look at a node. Facts are made once, by whoever wants them first; their errors are shared."""

    path: Path
    config: NodeConfig
    clock: Clock
    deep: bool = False
    status: Once = field(init=False, repr=False)
    readings: Once = field(init=False, repr=False)
    hub_said: Once = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.status = Once(self._status)
        self.readings = Once(self._readings)
        self.hub_said = Once(self._ask_hub)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def joined(self) -> bool:
        return bool(self.config.federation and self.config.hub_address)

    def keys(self) -> Keys:
        """Raises StoreUnusable or MalformedMessage."""
        return Keys.load(self.config)

    def identity(self) -> TlsIdentity:
        return read_identity(self.config.tls_identity_file)

    def proxy(self) -> Proxy | None:
        return self.config.proxy_to(self.config.hub_address)

    async def _status(self) -> local_pb2.StatusResponse | None:
        """What the running node says; None when it does not run."""
        if not self.config.socket.exists():
            return None
        async with grpc.aio.insecure_channel(f"unix:{self.config.socket}") as channel:
            stub = local_pb2_grpc.LocalServiceStub(channel)
            try:
                reply = await stub.Status(local_pb2.StatusRequest(), timeout=SOCKET_SECONDS)
            except grpc.aio.AioRpcError:
                return None
        return reply if isinstance(reply, local_pb2.StatusResponse) else None

    async def _readings(self) -> Readings:
        def work() -> Readings:
            try:
                keys: Keys | None = self.keys()
            except CandorError:
                keys = None  # `keys` says it
            return read_beside(self.config, keys, self.now)

        return await in_thread(work)

    async def _ask_hub(self) -> HubSaid:
        """Over a connection of our own; beside a running node without a stream: it would end the node's."""
        identity = await in_thread(self.identity)
        roots = await in_thread(lambda: read_certificates(self.config.root_certificates_file))
        federation, running = self.config.federation_name, await self.status()
        hub = HubClient(
            self.config.hub_address,
            federation,
            identity,
            roots,
            self.clock,
            proxy=await in_thread(self.proxy),
        )
        wrong: ClockWrong | None = None
        time: datetime | None = None
        try:
            quota = await hub.quota()
            if running is None:
                try:
                    time = await hub.time()
                except ClockWrong as error:
                    wrong = error
            asked_at = self.now
            size = await self._log_size(hub)
        finally:
            await hub.close()
        return HubSaid(quota, hub.hub_version, time, asked_at, size, wrong)

    async def _log_size(self, hub: HubClient) -> int | None:
        """How many entries the hub's newest witnessed head has, of the shard that is followed here."""
        found: Readings = await self.readings()
        if not found.log_shard:
            return None
        head = parse_checkpoint(await LogFiles(hub.get_log).checkpoint(found.log_shard))
        return head.checkpoint.size

    def pid(self) -> int | None:
        """Of the process that listens at the socket; None when there is none."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(SOCKET_SECONDS)
                link.connect(str(self.config.socket))
                told = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
        return int(struct.unpack("3i", told)[0])


@dataclass(frozen=True)
class HubSaid:
    """What the hub answered: what may be asked yet, its version ("" if it does not say), its time (not asked
    beside a running node), and how far its log is (None: none is followed here yet).
    """

    quota: Left
    version: str
    time: datetime | None
    asked_at: datetime
    log_size: int | None
    clock: ClockWrong | None = None

    def check_clock(self) -> None:
        """Raises ClockWrong as the hub or this node found it."""
        if self.clock is not None:
            raise ClockWrong(self.clock.message, remedy=self.clock.remedy)


def not_joined(key: str) -> Finding:
    return unknown(key, "This node has not joined a federation yet.", "Run: candor-node join INVITATION")
