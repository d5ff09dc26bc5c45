"""A hub process with a thousand attached nodes, and what that costs it.

    with Fleet.found(folder, nodes=1_000) as fleet:
        fleet.attach(1_000)
        quiet = fleet.quiet(60)                 nobody asks anything
        rounds = fleet.ask(lookups=100)         one asker asks all of them, and collects

The hub is `candor-hub run` on its embedded database, as `candor-hub init` makes it, durable (WAL,
synchronous=FULL), with its log, quotas and checks; it knows nothing of being measured: memory and processor
time are read from /proc. The nodes are `tests.fleet_swarm`. The asker is the real node's client
(`candor_node.hub_client`) in this process, attached as a member of its own; after a round it checks of every
answer the signature, and what it is an answer to.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.hub_scene import Credentials, Process, make_members, read_members
from candor_certs.profiles import TlsPrivateKey
from candor_certs.store import TlsIdentity
from candor_hub.config import Config
from candor_node.clock import SystemClock
from candor_node.hub_client import HubClient
from candor_proto.errors import CandorError
from candor_proto.exchange import verify_answer
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_proto.statements import Lookup
from candor_wire.codec import Cosign, Cosigned, Envelope, MessageKind, Welcome
from candor_wire.limits import HEARTBEAT_SECONDS
from tests.hub_members import FEDERATION
from tools.demo import free_ports

HUB = [sys.executable, "-c", "from candor_hub.cli import main; main()", "run"]
READY_SECONDS = 60.0
ROUND_SECONDS = 60.0
# The first heartbeat of each stream, before which its pings are not in step with others', is over by then.
SETTLE_SECONDS = HEARTBEAT_SECONDS + 3.0
# A hub that was started is still being read in, and its guard begun, when its port takes connections already.
STARTED_SECONDS = 20.0
STEADY_KILOBYTES = 200.0


@dataclass(frozen=True)
class Reading:
    """Of a process and its children at a moment: processor time and resident memory (1,000 octets)."""

    at_seconds: float
    cpu_seconds: float
    kilobytes: float

    @classmethod
    def of(cls, pid: int) -> Reading:
        process = psutil.Process(pid)
        everybody = [process, *process.children(recursive=True)]
        times = [one.cpu_times() for one in everybody]
        cpu = sum(time.user + time.system for time in times)
        return cls(time.monotonic(), cpu, sum(one.memory_info().rss for one in everybody) / 1_000)

    def cpu_percent_since(self, before: Reading) -> float:
        """Of one core."""
        return 100 * (self.cpu_seconds - before.cpu_seconds) / (self.at_seconds - before.at_seconds)


@dataclass
class Round:
    """One lookup to all nodes: when each answer was there, in seconds after it was handed in."""

    nodes: int
    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def last_seconds(self) -> float:
        return max(self.seconds, default=ROUND_SECONDS)


@dataclass(frozen=True)
class Rounds:
    """What came of lookups one after the other, and of the hub's processor meanwhile."""

    rounds: tuple[Round, ...]
    hub_cpu_seconds: float

    @property
    def faults(self) -> list[str]:
        return [fault for one in self.rounds for fault in one.faults]

    @property
    def last_seconds(self) -> list[float]:
        """When the last answer of each was there, sorted."""
        return sorted(one.last_seconds for one in self.rounds)

    @property
    def answers(self) -> int:
        return sum(one.nodes for one in self.rounds)

    @property
    def hub_microseconds(self) -> float:
        """Processor time of the hub for each node that is asked and answers."""
        return self.hub_cpu_seconds / self.answers * 1e6


def percentile(sorted_values: Sequence[float], percent: float) -> float:
    """The smallest value that so many of a hundred do not exceed."""
    at = -(-len(sorted_values) * percent // 100)
    return sorted_values[max(0, int(at) - 1)]


class Asker:
    """A member that asks, with the real client. Owned by its event loop."""

    def __init__(self, credentials: Credentials, root: bytes, address: str) -> None:
        key = load_pem_private_key(credentials.key, None)
        assert isinstance(key, TlsPrivateKey)
        identity = TlsIdentity(key, tuple(x509.load_pem_x509_certificates(credentials.chain)))
        roots = x509.load_pem_x509_certificates(root)
        self.client = HubClient(address, FEDERATION, identity, roots, SystemClock())
        self.welcomed = asyncio.Event()
        self._wanted = 0
        self._lookup = b""
        self._came: list[tuple[float, Envelope]] = []
        self._complete = asyncio.Event()
        self.strangers = 0

    # As `candor_node.hub_client.Handler`:

    def directory_version(self) -> int:
        return 0

    def attached(self, welcome: Welcome) -> None:
        self.welcomed.set()

    async def deliver(self, envelope: Envelope) -> None:
        if envelope.kind is not MessageKind.ANSWER or envelope.envelope_id != self._lookup:
            self.strangers += 1
            return
        self._came.append((time.perf_counter(), envelope))
        if len(self._came) == self._wanted:
            self._complete.set()

    def directory_changed(self, version: int) -> None:
        pass

    async def cosign(self, request: Cosign) -> Cosigned:
        raise NotImplementedError  # it is no witness

    async def ask(self, lookup: Envelope, keys: dict[NodeId, VerifyingKey]) -> Round:
        """Hand it in and collect an answer of each node in `keys`."""
        self._wanted, self._lookup, self._came = len(keys), lookup.envelope_id, []
        self._complete.clear()
        began = time.perf_counter()
        submitted = asyncio.create_task(self.client.submit(lookup))
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await self._complete.wait()
        except TimeoutError:
            pass
        recipients = await submitted
        return self._judged(lookup, keys, recipients, began)

    def _judged(
        self, lookup: Envelope, keys: dict[NodeId, VerifyingKey], recipients: int, began: float
    ) -> Round:
        asked = Lookup.decode(lookup.body)
        digest, made = asked.digest(), Round(len(keys))
        if recipients != len(keys):
            made.faults.append(f"the hub accepted the lookup for {recipients} of {len(keys)} nodes")
        for at, envelope in self._came:
            made.seconds.append(at - began)
            try:
                statement = SignedStatement(envelope.body, envelope.signature)
                verify_answer(statement, asked, digest, envelope.sender, keys[envelope.sender])
            except (CandorError, KeyError) as error:
                made.faults.append(f"the answer of {envelope.sender}: {error!r}")
        times = Counter(envelope.sender for _, envelope in self._came)
        made.faults += [f"{node} answered {times[node]} times" for node in keys if times[node] != 1]
        return made


class Swarm:
    """A process of attached nodes."""

    def __init__(self, folder: Path, address: str, first: int, last: int, echo: str) -> None:
        words = [str(folder), address, str(first), str(last), *([echo] if echo else [])]
        self.size = last - first
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fleet_swarm", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, **order: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the fleet's nodes ended early")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Fleet:
    """A hub, its nodes and an asker; made by `found`."""

    def __init__(self, folder: Path, nodes: int, processes: int, *, echo_octets: int = 0) -> None:
        """`echo_octets` runs a bare gRPC server beside the hub, for comparison: so long are its replies."""
        self._folder = folder
        self._members = read_members(folder)
        self.nodes = nodes
        self._attached = 0
        port, enrolment, log = free_ports(3)
        self.address = f"127.0.0.1:{port}"
        settings = {
            "CONFIG": str(folder / "hub/hub.toml"),
            "ADDRESS": self.address,
            "ENROLMENT_ADDRESS": f"127.0.0.1:{enrolment}",
            "LOG_ADDRESS": f"127.0.0.1:{log}",
            "METRICS_ADDRESS": "127.0.0.1:0",
        }
        if "balancers" in Config.__dataclass_fields__:
            # A thousand nodes at one address; the hub is not to take them for a flood.
            settings["BALANCERS"] = '["127.0.0.1"]'
        self._log = folder / "hub.log"
        with self._log.open("ab") as file:
            self._hub = subprocess.Popen(
                HUB,
                env={**os.environ, **{f"CANDOR_HUB_{name}": value for name, value in settings.items()}},
                stdout=file,
                stderr=file,
            )
        octets = ("--octets", str(echo_octets))
        self.echo = Process("echo", str(folder), *octets) if echo_octets else None
        self._swarms: list[Swarm] = []
        try:
            self._wait_up(port)
            bounds = [1 + nodes * step // processes for step in range(processes + 1)]
            address = self.echo.address if self.echo else ""
            for first, last in pairwise(bounds):
                self._swarms.append(Swarm(folder, self.address, first, last, address))
            self.empty = self._at_rest()
        except BaseException:
            self.stop()
            raise

    @classmethod
    def found(cls, folder: Path, nodes: int, processes: int = 1) -> Fleet:
        """A new federation in `folder` of so many nodes and an asker."""
        make_members(folder, nodes + 1)
        return cls(folder, nodes, processes)

    def _wait_up(self, port: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._hub.poll() is not None:
                    said = self._log.read_text()[-2_000:]
                    raise TimeoutError(f"the hub does not come up: {said}") from None
            time.sleep(0.05)

    def _at_rest(self) -> Reading:
        """Of a hub that has started: its guard runs, and its memory grows no more."""
        deadline = time.monotonic() + STARTED_SECONDS
        before = self.reading()
        while True:
            time.sleep(0.5)
            now = self.reading()
            steady = abs(now.kilobytes - before.kilobytes) < STEADY_KILOBYTES
            if (steady and psutil.Process(self._hub.pid).children()) or time.monotonic() > deadline:
                return now
            before = now

    def stop(self) -> None:
        for swarm in self._swarms:
            swarm.stop()
        self._hub.terminate()
        try:
            self._hub.wait(30)
        except subprocess.TimeoutExpired:
            self._hub.kill()
            self._hub.wait()
        if self.echo is not None:
            self.echo.stop()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what is measured -------------------------------------------------------------------------------

    def reading(self) -> Reading:
        """Of the hub, now."""
        return Reading.of(self._hub.pid)

    def attach(self, nodes: int) -> float:
        """Have so many attached; how long it took (seconds)."""
        began = time.monotonic()
        self._all(do="attach", share=nodes)
        self._attached = nodes
        return time.monotonic() - began

    def open_echoes(self, streams: int) -> None:
        """As many bare streams to the echo server."""
        self._all(do="echo", share=streams)

    def echo_round(self, octets: int) -> float:
        """A message to the echo server and back on each of them: seconds."""
        return max(float(answer["seconds"]) for answer in self._all(do="round", octets=octets))

    def kilobytes_a_node(self) -> float:
        """Resident memory of the hub for each attached node, above that of the empty hub."""
        return (self.reading().kilobytes - self.empty.kilobytes) / self._attached

    def quiet(self, seconds: float) -> float:
        """Nobody asks anything for so long: processor of the hub, in percent of one core."""
        time.sleep(SETTLE_SECONDS)
        before = self.reading()
        time.sleep(seconds)
        return self.reading().cpu_percent_since(before)

    def ask(self, lookups: int, pause_seconds: float = 0.3) -> Rounds:
        """So many lookups to all attached nodes, one after the other."""
        return asyncio.run(self._ask(lookups, pause_seconds))

    async def _ask(self, lookups: int, pause_seconds: float) -> Rounds:
        targets = [one.member() for one in self._members[1 : self._attached + 1]]
        keys = {member.node: member.signing_key.public for member in targets}
        me, root = self._members[0], (self._folder / "root.pem").read_bytes()
        asker = Asker(me, root, self.address)
        attached = asyncio.create_task(asker.client.attach(asker))
        made: list[Round] = []
        try:
            waiting = asyncio.create_task(asker.welcomed.wait())
            await asyncio.wait({attached, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if attached.done():
                attached.result()
            speaker, used = me.member(), 0.0
            for _ in range(lookups):
                lookup = speaker.lookup(targets)
                await asyncio.to_thread(self._prepare, lookup)
                receipts = self._counts()["receipts"]
                before = self.reading()
                made.append(await asker.ask(lookup, keys))
                made[-1].faults += await self._settled(receipts + len(targets))
                await asyncio.sleep(pause_seconds)
                used += self.reading().cpu_seconds - before.cpu_seconds
            if asker.strangers:
                made[-1].faults.append(f"{asker.strangers} answers to nothing that was asked then")
        finally:
            attached.cancel()
            await asyncio.gather(attached, return_exceptions=True)
            await asker.client.close()
        return Rounds(tuple(made), used)

    async def _settled(self, receipts: int) -> list[str]:
        """Until every answer has its receipt: faults."""
        deadline = time.monotonic() + ROUND_SECONDS
        while True:
            counts = await asyncio.to_thread(self._counts)
            faults = [
                f"nodes {name.replace('_', ' ')}: {counts[name]}"
                for name in ("delivered_twice", "unprepared", "refused", "lost")
                if counts[name]
            ]
            if counts["receipts"] == receipts or faults:
                return [*faults, *counts["why"][:5]]
            if time.monotonic() > deadline:
                return [f"{receipts - counts['receipts']} answers have no receipt"]
            await asyncio.sleep(0.05)

    def _prepare(self, lookup: Envelope) -> None:
        self._all(do="prepare", lookups=[lookup.body.hex()])

    def _counts(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for counts in self._all(do="counts"):
            found = {name: found.get(name, type(value)()) + value for name, value in counts.items()}
        return found

    def _all(self, **order: Any) -> list[dict[str, Any]]:
        share = order.pop("share", None)
        for number, swarm in enumerate(self._swarms):
            if share is not None:
                swarm.order(**order, to=share // len(self._swarms) + (number < share % len(self._swarms)))
            else:
                swarm.order(**order)
        return [swarm.heard() for swarm in self._swarms]
