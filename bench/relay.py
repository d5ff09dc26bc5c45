"""One lookup to 1,000 attached nodes and their answers back, beside a bare gRPC echo.

Both over 1,000 mutually authenticated TLS streams, each end in a process of its own, one after the other:
echo, hub, echo again. The hub is the real one: durable mailbox (SQLite, WAL, synchronous=FULL), signature of
the lookup, quota and ledger on. The nodes are light: they verify nothing and answer with octets of the right
size; like a real node they put the acknowledgement into the frame of an answer that is ready at once.

The echo moves as many octets: each of its streams sends a message of an answer's size and gets one of a
delivery's. A round ends with the last answer at the asker, or the last echo. Receipts of answers, which the
hub holds back for a moment, are mostly outside a round's time, but inside the processor time of the hub.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio

from bench import harness
from bench.hub_scene import (
    ECHO,
    Credentials,
    Process,
    ask_parent,
    make_members,
    raise_file_limit,
    read_members,
    run_client,
    say,
)
from candor_proto.canonical import to_milliseconds
from candor_proto.ids import LookupShape
from candor_wire import codec
from candor_wire.codec import Envelope
from candor_wire.v1 import hub_pb2, hub_pb2_grpc

STREAMS = 1_000
ROUNDS = 11
WARM_UP = 2
ATTACH_AT_ONCE = 50
ROUND_DEADLINE_SECONDS = 60.0
ACKNOWLEDGE_SECONDS = 0.02
ACKNOWLEDGE_AT_ONCE = 32
SHAPE = LookupShape.SCREENING


# --- the client of the hub -----------------------------------------------------------------------------


class LightNode:
    """One attached member that answers whatever it is asked."""

    def __init__(self, credentials: Credentials, address: str, root: bytes, answer: hub_pb2.Envelope) -> None:
        self._channel = credentials.channel(address, root)
        self._stub = hub_pb2_grpc.HubServiceStub(self._channel)
        self._number = 0
        self.node = credentials.node
        # A frame with an answer, which is filled in for each lookup anew: to make one costs a light node more
        # than all else it does.
        submission = hub_pb2.Submission(envelope=answer)
        submission.envelope.sender = str(self.node)
        self._frame = hub_pb2.AttachRequest(mail=hub_pb2.NodeMail(submissions=[submission]))
        self.receipts = 0
        self.answers = 0
        self.collected = asyncio.Event()
        self.wanted = 0
        # Takes and acknowledges only.
        self.silent = False
        self._acknowledged: list[int] = []

    async def attach(self, hello: hub_pb2.AttachRequest) -> None:
        self.call = self._stub.Attach()
        await self.call.write(hello)
        await self.call.read()

    async def submit(self, envelope: hub_pb2.Envelope) -> None:
        self._number += 1
        submission = hub_pb2.Submission(number=self._number, envelope=envelope)
        await self.call.write(hub_pb2.AttachRequest(mail=hub_pb2.NodeMail(submissions=[submission])))

    async def run(self) -> None:
        """Answer for ever."""
        waiting: asyncio.Task[None] | None = None
        while True:
            frame = await self.call.read()
            if frame is grpc.aio.EOF:
                raise RuntimeError(f"the hub ended a stream: {await self.call.details()}")
            assert isinstance(frame, hub_pb2.AttachResponse)
            self.receipts += len(frame.mail.receipts)
            for receipt in frame.mail.receipts:
                if receipt.WhichOneof("outcome") != "recipients":
                    raise RuntimeError(f"the hub refused: {receipt.refusal.message}")
            for delivery in frame.mail.deliveries:
                self._acknowledged.append(delivery.delivery_id)
                if self.silent or delivery.envelope.kind != hub_pb2.MESSAGE_KIND_LOOKUP:
                    self.answers += 1
                else:
                    await self._answer(delivery.envelope)
            if self.wanted and self.answers >= self.wanted:
                self.collected.set()
            if len(self._acknowledged) >= ACKNOWLEDGE_AT_ONCE:
                await self._acknowledge()
            elif self._acknowledged and (waiting is None or waiting.done()):
                waiting = asyncio.create_task(self._acknowledge_later())

    async def _answer(self, lookup: hub_pb2.Envelope) -> None:
        self._number += 1
        mail = self._frame.mail
        mail.acknowledged[:], self._acknowledged = self._acknowledged, []
        mail.submissions[0].number = self._number
        answer = mail.submissions[0].envelope
        answer.envelope_id, answer.recipient = lookup.envelope_id, lookup.sender
        answer.expires_at_milliseconds = lookup.expires_at_milliseconds
        await self.call.write(self._frame)

    async def _acknowledge_later(self) -> None:
        await asyncio.sleep(ACKNOWLEDGE_SECONDS)
        if self._acknowledged:
            await self._acknowledge()

    async def _acknowledge(self) -> None:
        acknowledged, self._acknowledged = self._acknowledged, []
        await self.call.write(codec.write_acknowledge(acknowledged))

    async def close(self) -> None:
        self.call.cancel()
        await self._channel.close()


def an_answer(members: list[Credentials]) -> hub_pb2.Envelope:
    """An answer of the right size; ids and names are filled in for each."""
    asker, node = members[0].member(), members[1].member()
    return codec.write_envelope(node.answer(asker.lookup([node], shape=SHAPE)))


async def attach_all(nodes: list[LightNode]) -> None:
    now = to_milliseconds(datetime.now(UTC))
    hello = hub_pb2.AttachRequest(hello=hub_pb2.Hello(protocol_version=1, node_time_milliseconds=now))
    for at in range(0, len(nodes), ATTACH_AT_ONCE):
        await asyncio.gather(*(node.attach(hello) for node in nodes[at : at + ATTACH_AT_ONCE]))


async def hub_client(address: str, folder: Path, rounds: int, figures: Any) -> dict[str, Any]:
    members, root = read_members(folder), (folder / "root.pem").read_bytes()
    answer = an_answer(members)
    everybody = [one.member() for one in members]
    lookups = [everybody[0].lookup(everybody, shape=SHAPE) for _ in range(rounds + WARM_UP)]
    nodes = [LightNode(one, address, root, answer) for one in members]
    before = figures()
    await attach_all(nodes)
    tasks = [asyncio.create_task(node.run()) for node in nodes]
    await asyncio.sleep(3)  # the first looks into the mailbox
    attached = figures()
    seconds = []
    for number, lookup in enumerate(lookups):
        if number == WARM_UP:
            start = figures("sample")
        seconds.append(await one_round(nodes, tasks, lookup))
        await settled(nodes, number + 1)
    end = figures()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*(node.close() for node in nodes), return_exceptions=True)
    return {
        "seconds": seconds[WARM_UP:],
        "kilobytes_per_stream": (attached["kilobytes"] - before["kilobytes"]) / len(nodes),
        "server_cpu_seconds": end["cpu_seconds"] - start["cpu_seconds"],
        "commits": end["commits"] - start["commits"],
        "ledger": end["accepted"] - start["accepted"],
        "waiting": end["waiting"],
    }


async def one_round(nodes: list[LightNode], tasks: list[asyncio.Task[None]], lookup: Envelope) -> float:
    asker = nodes[0]
    asker.answers, asker.wanted = 0, len(nodes)
    asker.collected.clear()
    envelope = codec.write_envelope(lookup)
    began = time.perf_counter()
    await asker.submit(envelope)
    waiting = asyncio.create_task(asker.collected.wait())
    async with asyncio.timeout(ROUND_DEADLINE_SECONDS):
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    seconds = time.perf_counter() - began
    for task in tasks:
        if task.done():
            task.result()
    return seconds


async def settled(nodes: list[LightNode], rounds: int) -> None:
    """Until every answer has its receipt and is acknowledged: the next round begins quiet."""
    wanted = rounds * (len(nodes) + 1)
    async with asyncio.timeout(ROUND_DEADLINE_SECONDS):
        while sum(node.receipts for node in nodes) < wanted:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


# --- the client of the echo ----------------------------------------------------------------------------


async def echo_client(address: str, folder: Path, rounds: int, octets: int, figures: Any) -> dict[str, Any]:
    members, root = read_members(folder), (folder / "root.pem").read_bytes()
    channels = [one.channel(address, root) for one in members]
    calls: list[Any] = []
    message = secrets.token_bytes(octets)
    for at in range(0, len(channels), ATTACH_AT_ONCE):
        some: list[Any] = [channel.stream_stream(ECHO)() for channel in channels[at : at + ATTACH_AT_ONCE]]
        await asyncio.gather(*(trip(call, message) for call in some))
        calls += some
    seconds = []
    for number in range(rounds + WARM_UP):
        if number == WARM_UP:
            start = figures("sample")
        began = time.perf_counter()
        async with asyncio.timeout(ROUND_DEADLINE_SECONDS):
            await asyncio.gather(*(trip(call, message) for call in calls))
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(0.3)
    end = figures()
    for call in calls:
        call.cancel()
    await asyncio.gather(*(channel.close() for channel in channels))
    return {
        "seconds": seconds[WARM_UP:],
        "server_cpu_seconds": end["cpu_seconds"] - start["cpu_seconds"],
    }


async def trip(call: Any, message: bytes) -> None:
    await call.write(message)
    await call.read()


# --- the run -------------------------------------------------------------------------------------------


def sizes(folder: Path) -> tuple[int, int]:
    """Octets of a frame with a delivery, and of one with an answer."""
    members = read_members(folder)
    everybody = [one.member() for one in members]
    lookup = codec.envelope_octets(everybody[0].lookup(everybody, shape=SHAPE))
    answer = an_answer(members)
    answer.sender = answer.recipient = str(members[0].node)
    submission = hub_pb2.Submission(number=1, envelope=answer)
    mail = hub_pb2.NodeMail(acknowledged=[1], submissions=[submission])
    return (
        codec.write_hub_mail([(1, lookup)]).ByteSize(),
        hub_pb2.AttachRequest(mail=mail).ByteSize(),
    )


def measure(folder: Path, streams: int, rounds: int) -> dict[str, Any]:
    make_members(folder, streams)
    delivery, answer = sizes(folder)

    def client(what: str, *server: str) -> dict[str, Any]:
        with Process(*server) as process:
            parts = ("--client", what, "--address", process.address, "--folder", str(folder))
            return run_client(
                process, "bench.relay", *parts, "--rounds", str(rounds), "--octets", str(answer)
            )

    echo = ("echo", str(folder), "--octets", str(delivery))
    first, hub, second = client("echo", *echo), client("hub", "hub", str(folder)), client("echo", *echo)
    trips = streams * rounds
    fan_out, bare = statistics.median(hub["seconds"]), statistics.median(first["seconds"] + second["seconds"])
    return {
        "headline": {
            "fanout_ratio": round(fan_out / bare, 2),
            "kilobytes_per_stream": round(hub["kilobytes_per_stream"], 1),
            "server_cpu_microseconds_per_round_trip": round(hub["server_cpu_seconds"] / trips * 1e6, 1),
        },
        "streams": streams,
        "octets": {"delivery_frame": delivery, "answer_frame": answer},
        "fanout_seconds": harness.spread(hub["seconds"]),
        "echo_seconds": harness.spread(first["seconds"] + second["seconds"]),
        "echo_seconds_before_and_after": [
            round(statistics.median(part["seconds"]), 3) for part in (first, second)
        ],
        "echo_server_cpu_microseconds_per_round_trip": round(
            (first["server_cpu_seconds"] + second["server_cpu_seconds"]) / (2 * trips) * 1e6, 1
        ),
        "commits_per_round": round(hub["commits"] / rounds, 1),
        "accepted_per_round": round(hub["ledger"] / rounds, 1),
        "left_in_the_mailbox": hub["waiting"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--client", choices=["hub", "echo"], help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--octets", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    raise_file_limit()
    if arguments.client:
        if arguments.client == "hub":
            work = hub_client(arguments.address, arguments.folder, arguments.rounds, ask_parent)
        else:
            work = echo_client(
                arguments.address, arguments.folder, arguments.rounds, arguments.octets, ask_parent
            )
        say(result=asyncio.run(work))
        return
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        result = measure(Path(folder), arguments.streams, arguments.rounds)
    machine = {"machine": harness.machine(), "versions": harness.versions("grpcio", "protobuf", "sqlcipher3")}
    path = harness.write("relay", {**result["headline"], **machine} | result)
    harness.print_table(("figure", "value"), list(result["headline"].items()))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
