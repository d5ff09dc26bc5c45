"""Attached nodes with prepared answers, many in one process, that cost a core as little as nodes can.

    python -m tests.fleet_swarm FOLDER ADDRESS FIRST LAST [ECHO_ADDRESS]

Each node has its own certificate, TCP connection and stream, with the settings of a real one. What it answers
was made and signed before the lookup goes out; when it comes, the frame is ready but for the number of the
delivery that it acknowledges. Every order is a line of JSON on standard input, and is answered with one:

    {"do": "attach", "to": n}       so many of the process's nodes are attached then: {"attached": n}
    {"do": "prepare", "lookups": [hex, ...]}     answers to these lookups (bodies of envelopes) are made
    {"do": "counts"}                what has happened so far: `Counts`
    {"do": "echo", "to": n}         as attach, with bare streams to the echo server
    {"do": "round", "octets": n}    one message to the echo and back on each of those: {"seconds": t}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio

from bench.hub_scene import ECHO, Credentials, raise_file_limit, read_members
from candor_proto.canonical import to_milliseconds
from candor_proto.ids import Digest
from candor_proto.signing import SigningKey
from candor_proto.statements import Answer, AnswerStatus, Left, Lookup
from candor_wire import codec, silence
from candor_wire.v1 import hub_pb2, hub_pb2_grpc

ATTACH_AT_ONCE = 50


@dataclass
class Counts:
    """Of all nodes of the process together."""

    attached: int = 0
    answered: int = 0
    receipts: int = 0
    # Each of these is a fault.
    delivered_twice: int = 0
    unprepared: int = 0
    refused: int = 0
    lost: int = 0
    why: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Node:
    """One member; the event loop owns it."""

    credentials: Credentials
    channel: grpc.aio.Channel
    counts: Counts
    call: Any = None
    number: int = 0
    # Frames by lookup id.
    prepared: dict[bytes, hub_pb2.AttachRequest] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._signing_key = SigningKey(self.credentials.signing_seed)

    async def attach(self) -> None:
        self.call = hub_pb2_grpc.HubServiceStub(self.channel).Attach(metadata=silence.own())
        now = to_milliseconds(datetime.now(UTC))
        hello = hub_pb2.Hello(protocol_version=1, node_time_milliseconds=now)
        await self.call.write(hub_pb2.AttachRequest(hello=hello))
        welcome = await self.call.read()
        if welcome is grpc.aio.EOF or not welcome.HasField("welcome"):
            raise RuntimeError(f"{self.credentials.node} was not welcomed: {await self.call.details()}")
        self.counts.attached += 1

    def prepare(self, lookup: Lookup, digest: Digest) -> None:
        """Sign an answer: a refusal, which is as large as any other."""
        answer = Answer(
            federation=lookup.federation,
            lookup_id=lookup.lookup_id,
            lookup=digest,
            node=self.credentials.node,
            asker=lookup.asker,
            status=AnswerStatus.REFUSED,
            epoch=1,
            answered_at=lookup.issued_at,
            left=Left(0, 0, 0, 0),
            shape=lookup.shape,
            persons=lookup.persons,
            evaluations={},
        )
        statement = self._signing_key.sign("answer", answer.encode())
        self.number += 1
        envelope = codec.write_envelope(
            codec.Envelope(
                envelope_id=lookup.lookup_id.value,
                kind=codec.MessageKind.ANSWER,
                sender=self.credentials.node,
                recipient=lookup.asker,
                body=statement.body,
                signature=statement.signature,
                expires_at=lookup.expires_at,
            )
        )
        submission = hub_pb2.Submission(number=self.number, envelope=envelope)
        frame = hub_pb2.AttachRequest(mail=hub_pb2.NodeMail(submissions=[submission]))
        self.prepared[lookup.lookup_id.value] = frame

    async def run(self) -> None:
        """Answer until the stream ends, which is noted."""
        try:
            while True:
                frame = await self.call.read()
                if frame is grpc.aio.EOF:
                    raise EOFError(await self.call.details())
                mail = frame.mail
                for receipt in mail.receipts:
                    self._settle(receipt)
                for delivery in mail.deliveries:
                    await self._answer(delivery)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, EOFError) as error:
            self.counts.lost += 1
            self.counts.why.append(f"{self.credentials.node}: {error!r}"[:300])

    def _settle(self, receipt: hub_pb2.Receipt) -> None:
        if receipt.WhichOneof("outcome") == "recipients":
            self.counts.receipts += 1
        else:
            self.counts.refused += 1
            self.counts.why.append(f"{self.credentials.node}: {receipt.refusal.message}"[:300])

    async def _answer(self, delivery: hub_pb2.Delivery) -> None:
        lookup_id = delivery.envelope.envelope_id
        frame = self.prepared.pop(lookup_id, None)
        if frame is None:
            if lookup_id in self.seen:
                self.counts.delivered_twice += 1
            else:
                self.counts.unprepared += 1
            await self.call.write(codec.write_acknowledge((delivery.delivery_id,)))
            return
        self.seen.add(lookup_id)
        frame.mail.acknowledged.append(delivery.delivery_id)
        await self.call.write(frame)
        self.counts.answered += 1


class Swarm:
    """The nodes of this process, and bare streams beside them."""

    def __init__(self, members: list[Credentials], root: bytes, address: str, echo: str) -> None:
        self._members = members
        self._root = root
        self._address = address
        self._echo = echo
        self.counts = Counts()
        self._nodes: list[Node] = []
        self._running: list[asyncio.Task[None]] = []
        self._echoes: list[tuple[grpc.aio.Channel, Any]] = []

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "attach":
                await self._attach(order["to"])
                return {"attached": len(self._nodes)}
            case "prepare":
                for octets in order["lookups"]:
                    self._prepare(bytes.fromhex(octets))
                return {}
            case "counts":
                return asdict(self.counts)
            case "echo":
                await self._open_echoes(order["to"])
                return {"attached": len(self._echoes)}
            case "round":
                return {"seconds": await self._round(bytes(order["octets"]))}
            case other:
                raise ValueError(other)

    async def _attach(self, to: int) -> None:
        while len(self._nodes) < to:
            some = self._members[len(self._nodes) : min(to, len(self._nodes) + ATTACH_AT_ONCE)]
            nodes = [Node(one, one.channel(self._address, self._root), self.counts) for one in some]
            await asyncio.gather(*(node.attach() for node in nodes))
            self._nodes += nodes
            self._running += [asyncio.create_task(node.run()) for node in nodes]

    def _prepare(self, body: bytes) -> None:
        lookup = Lookup.decode(body)
        digest, named = lookup.digest(), {target.node for target in lookup.targets}
        for node in self._nodes:
            if node.credentials.node in named:
                node.prepare(lookup, digest)

    async def _open_echoes(self, to: int) -> None:
        while len(self._echoes) < to:
            some = self._members[len(self._echoes) : min(to, len(self._echoes) + ATTACH_AT_ONCE)]
            opened: list[tuple[grpc.aio.Channel, Any]] = []
            for one in some:
                channel = one.channel(self._echo, self._root)
                opened.append((channel, channel.stream_stream(ECHO)()))
            await asyncio.gather(*(_trip(call, b"-") for _, call in opened))
            self._echoes += opened

    async def _round(self, message: bytes) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(_trip(call, message) for _, call in self._echoes))
        return time.perf_counter() - began


async def _trip(call: Any, message: bytes) -> None:
    await call.write(message)
    await call.read()


async def _main(folder: Path, address: str, first: int, last: int, echo: str) -> None:
    members = read_members(folder)[first:last]
    swarm = Swarm(members, (folder / "root.pem").read_bytes(), address, echo)
    reader = asyncio.StreamReader(limit=1 << 30)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        print(json.dumps(await swarm.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    raise_file_limit()
    place, to, begin, end, *beside = sys.argv[1:]
    asyncio.run(_main(Path(place), to, int(begin), int(end), beside[0] if beside else ""))
