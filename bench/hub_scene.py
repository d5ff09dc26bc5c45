"""A hub in a process of its own with any number of members, for the benchmarks of the hub.

    make_members(folder, 1_000)
    with Process("hub", str(folder)) as hub:
        result = run_client(hub, "bench.relay", "--client", hub.address)

Founding, authority, certificates, database and hub are the real ones. Members are written into the database
instead of enrolling one by one, with certificates that the real authority issued.

Run as a module it is one of the processes: `python -m bench.hub_scene hub FOLDER`, or `echo FOLDER`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding

from bench.sampler import Sampler
from candor_certs.mtls import client_options, server_credentials, server_options
from candor_certs.names import PeerName, Role
from candor_certs.requests import certificate_request
from candor_certs.store import key_pem
from candor_hub.app import Hub
from candor_hub.config import Config, load_config
from candor_hub.driver import single
from candor_hub.founding import Wishes, found, open_directory, open_store
from candor_hub.running import set_up_process
from candor_proto.budget import Quota
from candor_proto.directory import Member as Listed
from candor_proto.directory import MemberStatus
from candor_proto.ids import NodeId, Ori
from candor_proto.signing import SigningKey
from tests.hub_members import FEDERATION, Member, ShiftedClock

ECHO = "/bench/Echo"
# On, and out of the way: what is measured is what it costs, not when it refuses.
PLENTY = Quota(total=1 << 40, weak=1 << 40, match=1 << 40, code=1 << 40)


def raise_file_limit() -> None:
    """As many open files as this process may have: a thousand streams are a thousand sockets."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def resident_kilobytes() -> float:
    """Resident memory of this process (1,000 octets)."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1000


# --- members -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Credentials:
    """What a member's client needs."""

    node: NodeId
    key: bytes
    chain: bytes
    signing_seed: bytes

    def channel(self, address: str, root: bytes) -> grpc.aio.Channel:
        """A connection of its own, with the settings that a node has."""
        # The settings of candor_certs.mtls.channel_credentials, from what was written to disk.
        credentials = grpc.ssl_channel_credentials(root, self.key, self.chain)
        options = [*client_options(FEDERATION), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(address, credentials, options=options)

    def member(self) -> Member:
        """Speaks for the member."""
        signing_key = SigningKey(self.signing_seed)
        return Member(self.node, Ori("CA0000000"), ShiftedClock(), signing_key=signing_key)


def name_of(number: int) -> NodeId:
    return NodeId(f"node-{number:04}")


def make_members(folder: Path, count: int, database_url: str = "") -> None:
    """Found a hub in `folder` with `count` members that are in good standing; their keys beside it."""
    now = datetime.now(UTC)
    wishes = Wishes(
        FEDERATION,
        "127.0.0.1:0",
        "127.0.0.1:0",
        new_member_wait_hours=0,
        nodes=max(50, count),
        database_url=database_url,
    )
    config = found(folder / "hub", wishes, now)
    store = open_store(config)
    keys, directory = open_directory(config, store, now)
    written = []
    with store.write() as tx:
        for number in range(count):
            member = Member(name_of(number), Ori(f"CA{number:06}0"), ShiftedClock())
            request = certificate_request(member.tls_key, FEDERATION, member.node)
            leaf = keys.authority.issue_node(request, member.node, now)
            tx.members.add(
                Listed(
                    node=member.node,
                    name=f"Agency {number}",
                    oris=(member.ori,),
                    tls_subject=PeerName(FEDERATION, Role.NODE, member.node).uri,
                    signing_key=member.signing_key.public,
                    disclosure_key=member.disclosure_key.public,
                    status=MemberStatus.ACTIVE,
                    joined_at=now,
                    answered_from=now - timedelta(days=1),
                )
            )
            der = leaf.public_bytes(Encoding.DER)
            issuer = keys.authority.certificate.serial_number
            ends = leaf.not_valid_after_utc
            tx.members.add_certificate(member.node, leaf.serial_number, der, now, ends, issuer)
            chain = b"".join(one.public_bytes(Encoding.PEM) for one in keys.authority.chain(leaf))
            written.append(
                {
                    "node": str(member.node),
                    "key": key_pem(member.tls_key).decode(),
                    "chain": chain.decode(),
                    "signing_seed": member.signing_key.seed().hex(),
                }
            )
        directory.publish(tx, now)
    store.close()
    (folder / "members.json").write_text(json.dumps(written), encoding="utf-8")
    (folder / "root.pem").write_bytes(keys.root.public_bytes(Encoding.PEM))


def read_members(folder: Path) -> list[Credentials]:
    return [
        Credentials(
            NodeId(one["node"]),
            one["key"].encode(),
            one["chain"].encode(),
            bytes.fromhex(one["signing_seed"]),
        )
        for one in json.loads((folder / "members.json").read_text("utf-8"))
    ]


# --- processes -----------------------------------------------------------------------------------------


class Process:
    """A server process that says its address first, then answers one line with one line of JSON."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hub_scene", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address: str = self._read()["address"]

    def ask(self, what: str) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the benchmark ended early")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def _serve(start: Callable[[], Awaitable[tuple[str, Callable[[], dict[str, float]], Any]]]) -> None:
    """Run a server until standard input ends; every line asks for figures."""
    address, figures, stop = await start()
    say(address=address)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with ExitStack() as stack:
        while line := (await reader.readline()).decode().strip():
            if line == "sample" and (samples := os.environ.get("BENCH_SAMPLES")):
                # Where its time goes, in a file of its own; nothing counts that is measured meanwhile.
                Path(samples).mkdir(parents=True, exist_ok=True)
                stack.enter_context(Sampler(Path(samples) / f"{sys.argv[1]}-{os.getpid()}.txt"))
            say(cpu_seconds=time.process_time(), kilobytes=resident_kilobytes(), **figures())
    await stop()


def _config(folder: Path) -> Config:
    return replace(load_config(folder / "hub/hub.toml"), quota=PLENTY)


async def _start_hub(folder: Path) -> tuple[str, Callable[[], dict[str, float]], Any]:
    set_up_process()
    hub = Hub(_config(folder))
    await hub.start()

    def figures() -> dict[str, float]:
        with hub._store.read() as tx:
            # Every envelope accepted has a number, one after the other.
            accepted = single(tx.envelopes._connection, "SELECT max(number) FROM envelopes") or 0
            waiting = sum(tx.mailbox.waiting_counts().values())
        return {"commits": hub._store.commits, "accepted": accepted, "waiting": waiting}

    return f"127.0.0.1:{hub.ports.hub}", figures, hub.stop


async def _start_echo(folder: Path, octets: int) -> tuple[str, Callable[[], dict[str, float]], Any]:
    """The least that gRPC needs for a message each way: no protobuf, no checks, no storage."""
    reply = bytes(octets)

    async def echo(requests: AsyncIterator[bytes], context: Any) -> None:
        async for _ in requests:
            await context.write(reply)

    class Echo(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            return grpc.stream_stream_rpc_method_handler(echo)

    config = _config(folder)
    server = grpc.aio.server(options=server_options(config.nodes, guarded=True))
    server.add_generic_rpc_handlers((Echo(),))
    store = open_store(config)
    keys, _ = open_directory(config, store, datetime.now(UTC))
    store.close()
    credentials = server_credentials(keys.tls.key, keys.tls.chain, [keys.root])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    return f"127.0.0.1:{port}", dict, lambda: server.stop(None)


def run_client(server: Process, module: str, *arguments: str) -> dict[str, Any]:
    """Run `python -m MODULE ARGUMENTS` beside `server`: its result, what it `say`s last.

    Figures of the server come through here (`ask_parent`), for only we hold its pipe.
    """
    client = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        for line in client.stdout:
            said: dict[str, Any] = json.loads(line)
            if "result" in said:
                result: dict[str, Any] = said["result"]
                return result
            client.stdin.write(json.dumps(server.ask(said["want"])) + "\n")
            client.stdin.flush()
    finally:
        client.stdin.close()
        client.wait(timeout=30)
    raise RuntimeError("a client of the benchmark ended early")


def ask_parent(want: str = "figures") -> dict[str, float]:
    """In a client: the server's figures of this moment; with "sample" it samples itself from now on."""
    say(want=want)
    figures: dict[str, float] = json.loads(sys.stdin.readline())
    return figures


def main_process() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["hub", "echo"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--octets", type=int, default=0)
    arguments = parser.parse_args()
    raise_file_limit()
    if arguments.what == "hub":
        asyncio.run(_serve(lambda: _start_hub(arguments.folder)))
    else:
        asyncio.run(_serve(lambda: _start_echo(arguments.folder, arguments.octets)))


if __name__ == "__main__":
    main_process()
