"""Light nodes: real gRPC, mutual TLS and certificates, no database; what happens to them is written down.

    swarm = Swarm(members, root, address, log)        members: tests.site.read_members
    await swarm.run(interval_seconds)                  attach, ask, answer, attach again; for ever
    python -m tests.swarm FOLDER ADDRESS LOG FIRST LAST INTERVAL    as a process; ends asking on SIGUSR1

A light node keeps what a real one keeps durably (what it handed in and has no receipt for, what it answered)
in memory: it is never killed. Two things it does worse on purpose: a lookup that comes a second time is
answered with other octets, which the hub must refuse if it has the first answer, and it gives up nothing that
it handed in until somebody has said what became of it.

Events, one JSON object a line, `at` of the machine's monotonic clock in seconds:
dial, connected, attached, failed (a dial), lost (a stream), ask, accepted, refused, answered (a node), answer
(its asker).
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import signal
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

import grpc
import grpc.aio

from bench.hub_scene import Credentials, raise_file_limit, read_members
from candor_node.hub_client import SETTLED_SECONDS, retry_delay
from candor_proto.canonical import to_milliseconds
from candor_wire import codec
from candor_wire.limits import ATTACH_HELLO_DEADLINE_SECONDS
from candor_wire.v1 import hub_pb2, hub_pb2_grpc
from tests.hub_members import Member

TARGETS = 4
# What is repeated under the same id; anything else that the hub says about a submission is its answer.
PASSING = frozenset({"store_unusable", "unreachable", "limit_exceeded", "deny_list_stale"})
AGAIN_SECONDS = 0.5
GREED = 10


@dataclass
class Log:
    """Where events go."""

    file: TextIO

    def say(self, event: str, **what: object) -> None:
        self.file.write(json.dumps({"event": event, "at": time.monotonic(), **what}) + "\n")


@dataclass(eq=False)
class Node:
    """One member; the event loop owns it."""

    credentials: Credentials
    root: bytes
    address: str
    everybody: list[Member]
    log: Log
    answer: hub_pb2.Envelope
    draw: random.Random
    call: Any = None
    number: int = 0
    # What waits for its receipt, by (kind, envelope id): handed in again with each new stream.
    unsettled: dict[tuple[int, bytes], hub_pb2.Envelope] = field(default_factory=dict)
    # What was handed in on this stream, by the number of its submission.
    numbers: dict[int, hub_pb2.Envelope] = field(default_factory=dict)
    asking: bool = True

    def __post_init__(self) -> None:
        self.me = self.credentials.member()
        self.name = str(self.credentials.node)

    async def stay_attached(self) -> None:
        """As candor_node.hub_client.stay_attached."""
        failures = 0
        while True:
            began = None
            self.log.say("dial", node=self.name, failures=failures)
            channel = self.credentials.channel(self.address, self.root)
            try:
                began = await self._hold(channel)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, EOFError, TimeoutError) as error:
                if self.call is not None:
                    began = self._welcomed
                    self.log.say("lost", node=self.name, why=_why(error))
                else:
                    self.log.say("failed", node=self.name, why=_why(error))
            finally:
                self.call = None
                await channel.close()
            if began is not None and time.monotonic() - began >= SETTLED_SECONDS:
                failures = 0
            await asyncio.sleep(retry_delay(failures))
            failures += 1

    async def _hold(self, channel: grpc.aio.Channel) -> float:
        call: Any = hub_pb2_grpc.HubServiceStub(channel).Attach()
        now = to_milliseconds(datetime.now(UTC))
        hello = hub_pb2.Hello(protocol_version=1, node_time_milliseconds=now)
        await call.write(hub_pb2.AttachRequest(hello=hello))
        self.log.say("connected", node=self.name)
        async with asyncio.timeout(ATTACH_HELLO_DEADLINE_SECONDS):
            welcome = await call.read()
        if welcome is grpc.aio.EOF:
            raise await _ended(call)
        if not welcome.HasField("welcome"):
            raise EOFError("no welcome")
        self._welcomed = time.monotonic()
        self.call = call
        self.numbers.clear()
        self.log.say("attached", node=self.name)
        for key in list(self.unsettled):
            await self._hand_in(key)
        while True:
            frame = await call.read()
            if frame is grpc.aio.EOF:
                raise await _ended(call)
            await self._take(frame.mail)

    async def _take(self, mail: hub_pb2.HubMail) -> None:
        for receipt in mail.receipts:
            self._settle(receipt)
        stored = [delivery.delivery_id for delivery in mail.deliveries]
        for delivery in mail.deliveries:
            envelope = delivery.envelope
            if envelope.kind == hub_pb2.MESSAGE_KIND_LOOKUP:
                await self._answer(envelope)
            elif envelope.kind == hub_pb2.MESSAGE_KIND_ANSWER:
                digest = sha256(envelope.body).hexdigest()[:16]
                lookup = envelope.envelope_id.hex()
                self.log.say("answer", node=self.name, lookup=lookup, of=envelope.sender, digest=digest)
        if stored:
            await self.call.write(codec.write_acknowledge(tuple(stored)))

    async def _answer(self, lookup: hub_pb2.Envelope) -> None:
        answer = hub_pb2.Envelope()
        answer.CopyFrom(self.answer)
        answer.sender, answer.recipient = self.name, lookup.sender
        answer.envelope_id, answer.expires_at_milliseconds = (
            lookup.envelope_id,
            lookup.expires_at_milliseconds,
        )
        # Other octets each time: of two answers the hub takes one.
        answer.body = answer.body[:-16] + secrets.token_bytes(16)
        await self._put(answer)

    async def ask(self, lookup_interval_seconds: float) -> None:
        """One lookup after the other, for ever."""
        await asyncio.sleep(self.draw.uniform(0, lookup_interval_seconds))
        while self.asking:
            targets = self.draw.sample(self.everybody, min(TARGETS, len(self.everybody)))
            envelope = self.me.lookup(targets)
            names = sorted(str(target.node) for target in targets)
            self.log.say("ask", node=self.name, lookup=envelope.envelope_id.hex(), targets=names)
            await self._put(codec.write_envelope(envelope))
            await asyncio.sleep(self.draw.uniform(0.5, 1.5) * lookup_interval_seconds)

    async def _put(self, envelope: hub_pb2.Envelope) -> None:
        key = (envelope.kind, envelope.envelope_id)
        self.unsettled[key] = envelope
        await self._hand_in(key)

    async def _hand_in(self, key: tuple[int, bytes]) -> None:
        call, envelope = self.call, self.unsettled.get(key)
        if call is None or envelope is None:
            return
        self.number += 1
        self.numbers[self.number] = envelope
        mail = hub_pb2.NodeMail(submissions=[hub_pb2.Submission(number=self.number, envelope=envelope)])
        try:
            await call.write(hub_pb2.AttachRequest(mail=mail))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # nobody knows; it is handed in again

    def _settle(self, receipt: hub_pb2.Receipt) -> None:
        envelope = self.numbers.pop(receipt.number, None)
        if envelope is None:
            return
        kind, lookup = envelope.kind, envelope.envelope_id.hex()
        key = (kind, envelope.envelope_id)
        code = "" if receipt.WhichOneof("outcome") == "recipients" else receipt.refusal.code
        if code in PASSING:
            asyncio.get_running_loop().call_later(
                AGAIN_SECONDS, lambda: asyncio.ensure_future(self._hand_in(key))
            )
            return
        self.unsettled.pop(key, None)
        if kind == hub_pb2.MESSAGE_KIND_ANSWER:
            digest = sha256(envelope.body).hexdigest()[:16]
            self.log.say("answered", node=self.name, lookup=lookup, digest=digest, code=code)
        elif code:
            self.log.say("refused", node=self.name, lookup=lookup, code=code)
        else:
            self.log.say("accepted", node=self.name, lookup=lookup, recipients=receipt.recipients)


async def _ended(call: Any) -> EOFError:
    return EOFError(f"{(await call.code()).name}: {await call.details()}")


def _why(error: BaseException) -> str:
    """In a few words, for whoever reads the events."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {str(error.details())[:200]}"
    return f"{type(error).__name__} {error}"[:200]


class Swarm:
    """The nodes of one process."""

    def __init__(
        self,
        members: list[Credentials],
        everybody: list[Credentials],
        root: bytes,
        address: str,
        log: Log,
        seed: int = 1,
    ) -> None:
        listed = [one.member() for one in everybody]
        sample = codec.write_envelope(listed[1].answer(listed[0].lookup([listed[1]])))
        self.log = log
        self.nodes = [
            Node(one, root, address, listed, log, sample, random.Random(seed * 10_000 + number))
            for number, one in enumerate(members)
        ]

    async def run(self, interval_seconds: float) -> None:
        """For ever."""
        works = [node.stay_attached() for node in self.nodes]
        # One in twenty asks much more often than its quota lets it.
        works += [
            node.ask(interval_seconds / (GREED if number % 20 == 3 else 1))
            for number, node in enumerate(self.nodes)
        ]
        await asyncio.gather(*works)

    def hush(self) -> None:
        """Ask no more; what was asked is carried through."""
        for node in self.nodes:
            node.asking = False


async def _main(folder: Path, address: str, log: Path, first: int, last: int, interval: float) -> None:
    raise_file_limit()
    everybody = read_members(folder)
    with log.open("w", buffering=1) as file:
        root = (folder / "root.pem").read_bytes()
        swarm = Swarm(everybody[first:last], everybody, root, address, Log(file), first + 1)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, swarm.hush)
        await swarm.run(interval)


if __name__ == "__main__":
    place, to, events, begin, end, every = sys.argv[1:]
    asyncio.run(_main(Path(place), to, Path(events), int(begin), int(end), float(every)))
