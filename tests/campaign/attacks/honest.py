"""What members and readers do every day, on a timetable, and how long each thing took: `python -m ...honest`.

Eight members stay attached and answer; one of them asks three others ten times a second. Others ask for their
quota, the directory, files of the log, hand in and fetch a small segment. Strangers read the log over
HTTPS, and somebody enrols again and again with the one invitation that he has. Of eight latecomers one
attaches anew every second.

Everything happens at its time, whether or not what came before it is over: a slow hub cannot slow the clock
that it is measured by. A line on standard input asks for what was measured since the last one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bench.hub_scene import Credentials, read_members, say
from candor_certs.mtls import client_options
from candor_proto.canonical import to_milliseconds
from candor_proto.ids import LookupShape
from candor_proto.segment import address
from candor_wire import codec
from candor_wire.v1 import enrolment_pb2, enrolment_pb2_grpc, hub_pb2, hub_pb2_grpc
from tests.hub_members import FEDERATION, Member

MEMBERS = LATECOMERS = 8
DEADLINE_SECONDS = 10.0
# What happens on connections that are there already, and what needs a new one.
STEADY = ("receipt", "answers", "quota", "log")
TRANSFERS = ("directory", "segment in", "segment out")
CONNECTING = ("attach", "enrol", "https")


@dataclass
class Sample:
    """When something was due (seconds, monotonic), how long it took from then; `error` if it failed."""

    kind: str
    at: float
    seconds: float
    error: str = ""


@dataclass
class Measured:
    """All samples so far."""

    samples: list[Sample] = field(default_factory=list)

    async def take(self, kind: str, due: float, work: Callable[[], Awaitable[Any]]) -> None:
        error = ""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await work()
        except grpc.aio.AioRpcError as failed:
            error = f"{failed.code().name}: {failed.details()}"
        except (
            TimeoutError,
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
            asyncio.InvalidStateError,
        ) as failed:
            error = f"{type(failed).__name__}: {failed}"
        self.samples.append(Sample(kind, due, time.monotonic() - due, error[:300]))


class Honest:
    """A member that is attached: answers lookups, takes answers, hands in its own."""

    def __init__(self, credentials: Credentials, hub: str, root: bytes) -> None:
        self.credentials = credentials
        self.member: Member = credentials.member()
        self._channel = credentials.channel(hub, root)
        self.stub = hub_pb2_grpc.HubServiceStub(self._channel)
        self._number = 0
        self._receipts: dict[int, asyncio.Future[None]] = {}
        self._answers: dict[bytes, tuple[set[str], asyncio.Event, int]] = {}
        # gRPC takes one write at a time.
        self._writing = asyncio.Lock()
        self.heard_at = time.monotonic()
        self.longest_silence = 0.0

    async def attach(self) -> None:
        now = to_milliseconds(datetime.now(UTC))
        hello = hub_pb2.Hello(protocol_version=1, node_time_milliseconds=now)
        self.call = self.stub.Attach()
        await self.call.write(hub_pb2.AttachRequest(hello=hello))
        await self.call.read()

    async def run(self) -> None:
        """Take what comes, for ever; ends with RuntimeError when the hub ends the stream."""
        while True:
            part = await self.call.read()
            if part is grpc.aio.EOF:
                raise RuntimeError(f"the hub ended a stream: {await self.call.details()}")
            assert isinstance(part, hub_pb2.AttachResponse)
            self.longest_silence = max(self.longest_silence, time.monotonic() - self.heard_at)
            self.heard_at = time.monotonic()
            for receipt in part.mail.receipts:
                waiting = self._receipts.pop(receipt.number, None)
                if receipt.WhichOneof("outcome") == "recipients":
                    if waiting is not None and not waiting.done():
                        waiting.set_result(None)
                elif waiting is not None and not waiting.done():
                    waiting.set_exception(RuntimeError(f"refused: {receipt.refusal.message}"))
            for delivery in part.mail.deliveries:
                await self._delivered(delivery)

    async def _delivered(self, delivery: Any) -> None:
        envelope = codec.read_envelope(delivery.envelope)
        mail = hub_pb2.NodeMail(acknowledged=[delivery.delivery_id])
        if envelope.kind is codec.MessageKind.LOOKUP:
            self._number += 1
            answer = codec.write_envelope(self.member.answer(envelope))
            mail.submissions.append(hub_pb2.Submission(number=self._number, envelope=answer))
        else:
            waiting = self._answers.get(envelope.envelope_id)
            if waiting is not None:
                waiting[0].add(str(envelope.sender))
                if len(waiting[0]) >= waiting[2]:
                    waiting[1].set()
        await self._say(mail)

    async def _say(self, mail: hub_pb2.NodeMail) -> None:
        async with self._writing:
            await self.call.write(hub_pb2.AttachRequest(mail=mail))

    async def hand_in(self, envelope: codec.Envelope) -> None:
        """Until the receipt is here."""
        self._number += 1
        number = self._number
        answer = self._receipts[number] = asyncio.get_running_loop().create_future()
        submission = hub_pb2.Submission(number=number, envelope=codec.write_envelope(envelope))
        await self._say(hub_pb2.NodeMail(submissions=[submission]))
        await answer

    def expect(self, envelope: codec.Envelope, answers: int) -> asyncio.Event:
        """Set when so many answers to a lookup are here."""
        whole = asyncio.Event()
        self._answers[envelope.envelope_id] = (set(), whole, answers)
        return whole

    async def close(self) -> None:
        self.call.cancel()
        await self._channel.close()


class Day:
    """The timetable."""

    def __init__(self, folder: Path, hub: str, enrolment: str, log: str) -> None:
        self._folder = folder
        self._hub, self._enrolment, self._log = hub, enrolment, log
        self._root = (folder / "root.pem").read_bytes()
        members = read_members(folder)
        self._members = [Honest(one, hub, self._root) for one in members[:MEMBERS]]
        self._latecomers = members[MEMBERS : MEMBERS + LATECOMERS]
        self._enrol = enrolment_pb2.EnrolRequest.FromString((folder / "enrol.bin").read_bytes())
        self._segment = self._members[0].member.segment()
        self._measured = Measured()
        self._working: set[asyncio.Task[None]] = set()
        self._streams: list[asyncio.Task[None]] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.load_verify_locations(folder / "root.pem")

    async def begin(self) -> None:
        for one in self._members:
            await one.attach()
        self._streams = [asyncio.create_task(one.run()) for one in self._members]
        await self._put_segment()
        timetable: list[tuple[float, str, Callable[[int], Awaitable[Any]]]] = [
            (0.1, "answers", self._look_up),
            (0.1, "quota", self._quota),
            (0.2, "log", self._get_log),
            (0.5, "directory", self._directory),
            (1.0, "segment in", lambda number: self._put_segment()),
            (0.5, "segment out", lambda number: self._get_segment()),
            (1.0, "attach", self._attach),
            (8.0, "enrol", lambda number: self._enrol_again()),
            (1.0, "https", lambda number: self._https()),
        ]
        for every, kind, work in timetable:
            asyncio.create_task(self._keep(every, kind, work)).add_done_callback(_must_not_end)

    def taken(self) -> dict[str, Any]:
        """What was measured since the last time; streams that the hub ended count as errors."""
        samples, self._measured.samples = self._measured.samples, []
        for number, stream in enumerate(self._streams):
            if stream.done():
                samples.append(Sample("attached", time.monotonic(), 0.0, f"stream {number} ended: {stream}"))
        return {
            "samples": [[one.kind, one.at, one.seconds, one.error] for one in samples],
            "now": time.monotonic(),
            "longest_silence": max(one.longest_silence for one in self._members),
        }

    async def _keep(self, every: float, kind: str, work: Callable[[int], Awaitable[Any]]) -> None:
        due, number = time.monotonic() + min(every, 1.0), 0
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._measured.take(kind, due, lambda n=number: work(n)))  # type: ignore[misc]
            self._working.add(task)
            task.add_done_callback(self._working.discard)
            due, number = due + every, number + 1

    # --- what is done -----------------------------------------------------------------------------------

    async def _look_up(self, number: int) -> None:
        asker = self._members[number % MEMBERS]
        asked = [self._members[(number + step) % MEMBERS].member for step in (1, 2, 3)]
        envelope = asker.member.lookup(asked, shape=LookupShape.SCREENING)
        due, whole = time.monotonic(), asker.expect(envelope, len(asked))
        await self._measured.take("receipt", due, lambda: asker.hand_in(envelope))
        await whole.wait()

    async def _quota(self, number: int) -> None:
        await self._members[number % MEMBERS].stub.GetQuota(
            hub_pb2.GetQuotaRequest(), timeout=DEADLINE_SECONDS
        )

    async def _get_log(self, number: int) -> None:
        stub = self._members[number % MEMBERS].stub
        async for _ in stub.GetLog(hub_pb2.GetLogRequest(path="shards")):
            pass

    async def _directory(self, number: int) -> None:
        stub = self._members[number % MEMBERS].stub
        async for _ in stub.GetDirectory(hub_pb2.GetDirectoryRequest()):
            pass

    async def _put_segment(self) -> None:
        parts = [hub_pb2.PutSegmentRequest(address=address(self._segment).value)]
        parts += [hub_pb2.PutSegmentRequest(chunk=chunk) for chunk in codec.chunks(self._segment)]
        await self._members[0].stub.PutSegment(iter(parts))

    async def _get_segment(self) -> None:
        request = hub_pb2.GetSegmentRequest(address=address(self._segment).value)
        octets = b"".join([part.chunk async for part in self._members[1].stub.GetSegment(request)])
        if octets != self._segment:
            raise ValueError("another segment")

    async def _attach(self, number: int) -> None:
        late = Honest(self._latecomers[number % LATECOMERS], self._hub, self._root)
        try:
            await late.attach()
        finally:
            await late.close()

    async def _enrol_again(self) -> None:
        credentials = grpc.ssl_channel_credentials(self._root)
        options = [*client_options(FEDERATION), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(self._enrolment, credentials, options=options) as channel:
            self._enrol.node_time_milliseconds = to_milliseconds(datetime.now(UTC))
            await enrolment_pb2_grpc.EnrolmentServiceStub(channel).Enrol(self._enrol)

    async def _https(self) -> None:
        host, _, port = self._log.rpartition(":")
        reader, writer = await asyncio.open_connection(
            host, int(port), ssl=self._context, server_hostname=f"hub.{FEDERATION}"
        )
        try:
            for path in ("shards", "1/signed"):
                writer.write(f"GET /log/{path} HTTP/1.1\r\nHost: log\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    raise ValueError(head.partition(b"\r\n")[0].decode())
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                await reader.readexactly(length)
        finally:
            writer.transport.abort()


def _must_not_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        raise SystemExit(f"the timetable broke: {task.exception()!r}")


async def _main(folder: Path, hub: str, enrolment: str, log: str) -> None:
    day = Day(folder, hub, enrolment, log)
    await day.begin()
    say(ready=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.readline():
        sys.stdout.write(json.dumps(day.taken()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), *sys.argv[2:5]))
