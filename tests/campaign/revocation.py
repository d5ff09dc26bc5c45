"""A member is revoked while it asks in a loop at three replicas: how long until it is cut?

Three `candor-hub run` on a PostgreSQL with a synchronous standby, behind a plain TCP balancer. In each
trial a member attaches and calls without a pause, at whichever replica the balancer gives it for each; then
the operator's command revokes it (every other trial: denies its one certificate). Time counts from the
moment that the command wrote down, which lies before its commit: figures are upper bounds. Then the
database is killed, and members that are attached must be cut once the deny list is older than its limit
(fail closed).

    python -m tests.campaign.revocation [--quick] [--trials 100]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import psycopg
from cryptography import x509

from bench.hub_scene import Credentials, raise_file_limit, read_members
from candor_certs.revocation import DEFAULT_MAX_AGE
from candor_proto.canonical import to_milliseconds
from candor_wire import codec
from candor_wire.status import ERROR_METADATA_KEY
from candor_wire.v1 import hub_pb2, hub_pb2_grpc
from tests.balancer import Balancer
from tests.postgres import Cluster, synchronous_cluster
from tests.site import Site, found_site

REPLICAS = 3
NORMAL_SECONDS, WORST_SECONDS = 5.0, 60.0
PAUSE_SECONDS = 0.01
GIVE_UP_SECONDS = 90.0
# How long the three replicas have between their polls, and the cut after it.
STALE_SECONDS = DEFAULT_MAX_AGE.total_seconds() + 10.0
EXPECTED = frozenset({"certificate_revoked", "not_a_member", "member_suspended"})


@dataclass(frozen=True)
class Trial:
    """Seconds after the moment of revocation; a negative one lies before it."""

    last_success: float
    cut: float
    calls: int
    code: str


@dataclass
class Stage:
    """What runs, and its members."""

    cluster: Cluster
    site: Site
    root: bytes
    members: list[Credentials]


@contextmanager
def stage(folder: Path, members: int) -> Iterator[Stage]:
    with ExitStack() as stack:
        cluster = stack.enter_context(synchronous_cluster())
        site = found_site(folder, cluster.url, members, REPLICAS, 1 << 30)
        stack.callback(site.stop)
        for number in range(REPLICAS):
            site.start(number)
        for number in range(REPLICAS):
            site.wait(number)
        yield Stage(cluster, site, (folder / "root.pem").read_bytes(), read_members(folder))


# --- one member ------------------------------------------------------------------------------------------


async def attach(stub: Any) -> Any:
    """An open stream that was welcomed."""
    call = stub.Attach()
    hello = hub_pb2.Hello(protocol_version=1, node_time_milliseconds=to_milliseconds(datetime.now(UTC)))
    await call.write(hub_pb2.AttachRequest(hello=hello))
    welcome = await call.read()
    if welcome is grpc.aio.EOF or not welcome.HasField("welcome"):
        raise EOFError("no welcome")
    return call


def code_of(metadata: Any) -> str:
    return next((str(value) for key, value in metadata or () if key == ERROR_METADATA_KEY), "")


async def until_cut(call: Any) -> tuple[float, str]:
    """When the stream ended (`time.monotonic`), and with which code."""
    with suppress(grpc.aio.AioRpcError):
        while (frame := await call.read()) is not grpc.aio.EOF:
            stored = tuple(delivery.delivery_id for delivery in frame.mail.deliveries)
            if stored:
                await call.write(codec.write_acknowledge(stored))
    ended = time.monotonic()
    return ended, code_of(await call.trailing_metadata())


async def ask_on(member: Credentials, root: bytes, addresses: list[str], over: asyncio.Event) -> list[float]:
    """Call without a pause, over a connection to each replica in turn; when each success was there."""
    channels = [member.channel(address, root) for address in addresses]
    stubs: list[Any] = [hub_pb2_grpc.HubServiceStub(channel) for channel in channels]
    successes, number = list[float](), 0
    while not over.is_set():
        number += 1
        with suppress(grpc.aio.AioRpcError):
            await stubs[number % len(stubs)].GetQuota(hub_pb2.GetQuotaRequest(), timeout=5)
            successes.append(time.monotonic())
        await asyncio.sleep(PAUSE_SECONDS)
    for channel in channels:
        await channel.close()
    return successes


# --- trials ------------------------------------------------------------------------------------------------


def command(site: Site, *words: str) -> None:
    """The operator's command, as a process beside the replicas."""
    subprocess.run(
        [sys.executable, "-c", "from candor_hub.cli import main; main()", *words, "--json"],
        env={**os.environ, "CANDOR_HUB_CONFIG": str(site.folder / "replica-0/hub.toml")},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def denied_at(cluster: Cluster, serial: str) -> float:
    """When the command says that it denied this serial, on the clock of `time.monotonic`."""
    with psycopg.connect(cluster.primary.url("candor")) as database:
        row = database.execute("SELECT denied_at FROM denied WHERE serial = %s", [serial]).fetchone()
    assert row is not None, "nothing was denied"
    return float(row[0]) / 1000 - time.time() + time.monotonic()


async def trial(scene: Stage, member: Credentials, balanced: str, *, whole: bool) -> Trial:
    """Revoke the member (`whole`), or deny its one certificate."""
    channel = member.channel(balanced, scene.root)
    call = await attach(hub_pb2_grpc.HubServiceStub(channel))
    over, serial = asyncio.Event(), f"{x509.load_pem_x509_certificate(member.chain).serial_number:x}"
    asking = asyncio.create_task(ask_on(member, scene.root, scene.site.addresses, over))
    cutting = asyncio.create_task(until_cut(call))
    await asyncio.sleep(0.3)
    words = ("revoke", str(member.node)) if whole else ("deny", serial)
    await asyncio.to_thread(command, scene.site, *words)
    async with asyncio.timeout(GIVE_UP_SECONDS):
        cut, code = await cutting
    await asyncio.sleep(1.0)  # a late success would show now
    over.set()
    successes = await asking
    await channel.close()
    moment = await asyncio.to_thread(denied_at, scene.cluster, serial)
    return Trial(max(successes) - moment, cut - moment, len(successes), code)


async def stale(scene: Stage, members: list[Credentials], balanced: str) -> list[float]:
    """The database dies; seconds until each attached member was cut."""
    channels = [member.channel(balanced, scene.root) for member in members]
    calls = [await attach(hub_pb2_grpc.HubServiceStub(channel)) for channel in channels]
    began = time.monotonic()
    await asyncio.to_thread(scene.cluster.primary.kill)
    async with asyncio.timeout(2 * STALE_SECONDS):
        ends = await asyncio.gather(*(until_cut(call) for call in calls))
    for channel in channels:
        await channel.close()
    return [ended - began for ended, _ in ends]


def at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


async def run(folder: Path, trials: int, *, with_stale: bool) -> list[str]:
    wrong: list[str] = []
    with stage(folder, trials + REPLICAS) as scene:
        servers = [("127.0.0.1", port) for port, _, _ in scene.site.ports]
        balancer = Balancer(servers)
        balanced = f"127.0.0.1:{await balancer.start()}"
        found = []
        for number in range(trials):
            one = await trial(scene, scene.members[number], balanced, whole=number % 2 == 0)
            found.append(one)
            if one.code not in EXPECTED:
                wrong.append(f"trial {number}: the stream ended with {one.code or 'no code'}")
        for name, values in (
            ("last success", [one.last_success for one in found]),
            ("stream cut", [one.cut for one in found]),
        ):
            p50, p99, most = at(values, 0.5), at(values, 0.99), max(values)
            print(f"  {name:14} p50 {p50:6.2f} s   p99 {p99:6.2f} s   max {most:6.2f} s")
            if p99 > NORMAL_SECONDS or most > WORST_SECONDS:
                wrong.append(f"{name}: p99 {p99:.2f} s, max {most:.2f} s")
        print(f"  {sum(one.calls for one in found):,} calls of {trials} members")
        if with_stale:
            cuts = await stale(scene, scene.members[trials:], balanced)
            print(f"  database gone: cut after {min(cuts):.1f} to {max(cuts):.1f} s")
            if max(cuts) > STALE_SECONDS:
                wrong.append(f"with a deny list that is too old a member was served for {max(cuts):.1f} s")
        await balancer.stop()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="revocation")
    parser.add_argument("--quick", action="store_true", help="6 trials, and no wait for the stale list")
    parser.add_argument("--trials", type=int, default=100)
    options = parser.parse_args()
    raise_file_limit()
    trials = 6 if options.quick else options.trials
    with tempfile.TemporaryDirectory(prefix="candor-revocation-") as folder:
        wrong = asyncio.run(run(Path(folder), trials, with_stale=not options.quick))
    for sentence in wrong[:20]:
        print(f"  WRONG: {sentence}")
    print(f"revocation: {len(wrong)} violations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
