"""Three replicas on PostgreSQL with a synchronous standby: one killed every 10 s, the primary killed once.

200 light nodes in a few processes ask and answer without a pause over a plain TCP balancer, with their own
certificates, while a replica is killed with SIGKILL every ten seconds and started again. In the end the
primary of the database is killed and its standby promoted. Everything syncs to the disk. Afterwards what the
nodes saw is held against the database (tests/history/swarm.py), and every head that any replica showed
against the log.

Killed replicas are forked by a nursery: what Python needs to import everything is no replica's work, and
the two processors that all of this shares would be taken from those that nodes go to meanwhile.

    python -m tests.campaign.replicas [--quick] [--nodes 200] [--seconds 300] [--every 10] [--interval 15]
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import random
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from candor_hub.founding import open_store
from candor_hub.places import log_files
from candor_proto.errors import CandorError
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.tlog.checkpoint import parse_checkpoint
from tests.history.swarm import Held, Report, check, check_heads
from tests.postgres import Cluster, synchronous_cluster
from tests.processes import Nursery
from tests.processor import Cores
from tests.site import Site, found_site
from tools.demo import free_ports

REPLICAS = 3
AWAY_SECONDS = 10.0
SETTLE_SECONDS = 60.0
# Elements of a lookup.
COST = 16
# Of what went wrong, and of the longest absences, so many are printed.
SHOWN = 20


@dataclass
class Watcher:
    """Asks every replica for its heads, over and over."""

    site: Site
    heads: set[tuple[int, bytes]] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = (
            False,
            ssl.CERT_NONE,
        )  # what is shown is checked, not who
        # Kept open: a handshake for each look would cost the replicas more than the look.
        lines = [
            http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
            for _, _, port in self.site.ports
        ]
        while not self.over.wait(0.3):
            for line in lines:
                for name in ("signed", "checkpoint"):
                    try:
                        line.request("GET", f"/log/1/{name}")
                        shown = parse_checkpoint(line.getresponse().read()).checkpoint
                        self.heads.add((shown.size, shown.root))
                    except (OSError, http.client.HTTPException):
                        line.close()  # the next request opens it again
                    except CandorError:
                        continue  # there is none yet


@dataclass
class Stage:
    """Everything that runs; `quota` in elements."""

    folder: Path
    quota: int
    cluster: Cluster
    site: Site
    nodes: int
    balancer: subprocess.Popen[bytes]
    swarms: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def logs(self) -> list[Path]:
        return sorted(self.folder.glob("events-*.jsonl"))

    def events(self) -> Iterator[dict[str, object]]:
        for log in self.logs:
            for line in log.read_text("utf-8").splitlines():
                with suppress(ValueError):  # the last line may be half written
                    yield json.loads(line)

    def attached(self) -> int:
        state: dict[object, object] = {}
        for event in self.events():
            if event["event"] in ("attached", "lost"):
                state[event["node"]] = event["event"]
        return list(state.values()).count("attached")

    def wait_attached(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.attached() < self.nodes:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.attached()} of {self.nodes} nodes are attached")
            time.sleep(0.2)

    def swarm(self, address: str, processes: int, interval: float) -> None:
        for number in range(processes):
            first, last = (self.nodes * step // processes for step in (number, number + 1))
            words = [self.folder, address, self.folder / f"events-{number}.jsonl", first, last, interval]
            self.swarms.append(
                subprocess.Popen([sys.executable, "-m", "tests.swarm", *map(str, words)], env=os.environ)
            )

    def processes(self) -> dict[str, Callable[[], Iterable[int]]]:
        """Of which kind each process is, for the figures."""
        servers = (self.cluster.primary, self.cluster.standby)
        return {
            "replicas": lambda: [one.pid for one in list(self.site.running.values())],
            "database": lambda: filter(None, (server.pid for server in servers)),
            "nodes": lambda: [swarm.pid for swarm in self.swarms],
            "balancer": lambda: [self.balancer.pid],
        }

    def end_swarms(self) -> None:
        for swarm in self.swarms:
            swarm.kill()
            swarm.wait()

    def hush(self) -> None:
        for swarm in self.swarms:
            swarm.send_signal(signal.SIGUSR1)

    def unanswered(self) -> int:
        """Targets of accepted lookups that the asker has no answer of."""
        asked: dict[object, list[str]] = {}
        accepted: set[object] = set()
        answered: set[tuple[object, object]] = set()
        for event in self.events():
            match event["event"]:
                case "ask":
                    asked[event["lookup"]] = event["targets"]  # type: ignore[assignment]
                case "accepted":
                    accepted.add(event["lookup"])
                case "answer":
                    answered.add((event["lookup"], event["of"]))
                case _:
                    pass
        return sum((one, target) not in answered for one in accepted for target in asked[one])

    def settle(self) -> None:
        self.hush()
        deadline = time.monotonic() + SETTLE_SECONDS
        quiet = 0
        while quiet < 5 and time.monotonic() < deadline:
            quiet = 0 if self.unanswered() else quiet + 1
            time.sleep(0.4)


@contextmanager
def stage(folder: Path, nodes: int, processes: int, interval: float, quota: int) -> Iterator[Stage]:
    with ExitStack() as stack:
        cluster = stack.enter_context(synchronous_cluster())
        nursery = stack.enter_context(Nursery(hurried=False))
        site = found_site(folder, cluster.url, nodes, REPLICAS, quota, nursery)
        stack.callback(site.stop)
        for number in range(REPLICAS):
            site.start(number)
        for number in range(REPLICAS):
            site.wait(number)
        port = free_ports(1)[0]
        balancer = subprocess.Popen(
            [sys.executable, "-m", "tests.balancer", str(port), *site.addresses], stdout=subprocess.PIPE
        )
        stack.callback(balancer.kill)
        assert balancer.stdout is not None
        balancer.stdout.readline()
        made = Stage(folder, quota, cluster, site, nodes, balancer)
        made.swarm(f"127.0.0.1:{port}", processes, interval)
        stack.callback(made.end_swarms)
        made.wait_attached(60)
        yield made


def killing(scene: Stage, seconds: float, every: float, draw: random.Random) -> int:
    """Kill a replica every so many seconds and start it again; how many kills."""
    kills, end = 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        began = time.monotonic()
        number = draw.randrange(REPLICAS)
        scene.site.kill(number)
        kills += 1
        scene.site.start(number)
        scene.site.wait(number)
        time.sleep(max(0.0, min(left, every - (time.monotonic() - began))))
    scene.wait_attached(20)
    return kills


def failover(scene: Stage) -> float:
    """Kill the primary, promote the standby: seconds without an accepted lookup."""
    began = time.monotonic()
    scene.cluster.primary.kill()
    scene.cluster.promote()
    deadline = began + 60
    while True:
        moments = [
            float(str(event["at"]))
            for event in scene.events()
            if event["event"] == "accepted" and float(str(event["at"])) > began + 0.5
        ]
        if moments:
            return min(moments) - began
        if time.monotonic() > deadline:
            raise TimeoutError("nothing is accepted after the failover")
        time.sleep(0.2)


def judge(scene: Stage, heads: set[tuple[int, bytes]]) -> Report:
    """What everybody saw against the database of the server that was promoted."""
    with psycopg.connect(scene.cluster.standby.url("candor")) as database:
        lookups = database.execute("SELECT sender, encode(envelope_id, 'hex') FROM envelopes WHERE kind = 1")
        rows = lookups.fetchall()
        uses = database.execute("SELECT node, sum(weak + match + code) FROM quota_uses GROUP BY node")
        held = Held(frozenset((asker, lookup) for asker, lookup in rows), dict(uses.fetchall()))
    report = check(scene.events(), held, quota=scene.quota, cost=COST, away_seconds=AWAY_SECONDS)
    report.faults += check_heads(heads, roots(scene.site))
    report.figures["heads shown"] = len(heads)
    return report


def roots(site: Site) -> dict[int, bytes]:
    """The root at each size of the log, computed from its entries."""
    store = open_store(site.config)
    try:
        with store.read() as tx:
            (shard,) = tx.log.shards()
        found, grown = dict[int, bytes](), CompactRange.EMPTY
        for entry in log_files(site.config, store).shard(1).entries(0, shard.size):
            grown = grown.extend([leaf_hash(entry)])
            found[grown.size] = grown.root()
        assert found[shard.size] == shard.range.root()
    finally:
        store.close()
    return found


def run(folder: Path, arguments: argparse.Namespace) -> Report:
    draw = random.Random(arguments.seed)
    # Enough for who asks as often as the others; who asks ten times as often spends it.
    quota = int(1.6 * (arguments.seconds + 60) / arguments.interval) * COST
    with stage(folder, arguments.nodes, arguments.processes, arguments.interval, quota) as scene:
        watcher = Watcher(scene.site)
        watching = threading.Thread(target=watcher.run)
        watching.start()
        try:
            with Cores(scene.processes()) as cores:
                kills = killing(scene, arguments.seconds, arguments.every, draw)
            gap = failover(scene)
            time.sleep(arguments.interval)
            scene.settle()
        finally:
            watcher.over.set()
            watching.join()
        report = judge(scene, watcher.heads)
    report.figures |= {"replicas killed": kills, "accepted again after the failover (s)": gap}
    report.figures |= {f"cores used by {group}": cores.mean(group) for group in scene.processes()}
    report.figures |= {"cores busy": cores.busy, "most processes that wanted one": cores.most_waiting}
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="12 nodes, two kills and the failover")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--every", type=float, default=10.0)
    parser.add_argument("--interval", type=float, default=15.0, help="seconds between a node's lookups")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="leave everything there")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.nodes, arguments.processes, arguments.seconds = 12, 1, 16.0
        arguments.every, arguments.interval = 8.0, 2.0
    with tempfile.TemporaryDirectory(prefix="candor-replicas-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        report = run(folder, arguments)
    for name, figure in report.figures.items():
        print(f"  {name:40} {figure:,.2f}".rstrip("0").rstrip("."))
    longest = sorted(report.absences, key=lambda one: one.seconds or math.inf, reverse=True)
    for one in longest[:SHOWN]:
        print(f"  away: {one}")
    for fault in report.faults[:SHOWN]:
        print(f"  VIOLATION {fault}")
    print(f"replicas: {len(report.faults)} violations")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
