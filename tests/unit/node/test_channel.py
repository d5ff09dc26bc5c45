"""The line to the hub when its certificate changes (docs/protocol.md §8.6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography import x509

from candor_certs.store import TlsIdentity
from candor_node.hub_client import HubClient, stay_attached
from candor_proto.errors import AlreadyExists, CandorError, Unreachable
from candor_wire import codec
from candor_wire.codec import Envelope
from candor_wire.status import ERROR_METADATA_KEY, to_status
from candor_wire.v1 import hub_pb2
from tests.patience import PATIENCE_SECONDS
from tests.unit.node.test_hub_client import GOOD, FakeHub, Taker, connected, envelope


class SlowHub(FakeHub):
    """Remembers which certificate each call showed; answers a submission when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.submitting: list[int] = []
        self.attached: list[int] = []

    async def Submit(self, request: Any, context: Any) -> Any:
        self.submitting.append(_serial(context))
        await self.go_on.wait()
        return hub_pb2.SubmitResponse(recipients=3)

    async def Attach(self, request_iterator: Any, context: Any) -> Any:
        self.attached.append(_serial(context))
        async for frame in super().Attach(request_iterator, context):
            yield frame


class TardyHub(FakeHub):
    """Welcomes a node's second stream when told to; then the first one ends, as hubs do it."""

    def __init__(self) -> None:
        super().__init__()
        self.welcome, self.newer = asyncio.Event(), asyncio.Event()
        # What the first stream is told to do: bring something, or end with an error.
        self.orders: asyncio.Queue[codec.HubFrame | CandorError] = asyncio.Queue()

    async def Attach(self, request_iterator: Any, context: Any) -> Any:
        if self.newer.is_set() or self.streams:
            self.newer.set()
            await self.welcome.wait()
            self.orders.put_nowait(newer_stream())
            async for frame in super().Attach(request_iterator, context):
                yield frame
            return
        self.streams += 1
        await anext(request_iterator)
        yield codec.write_frame(codec.Welcome(self.hub_time(), 7))
        hearing = asyncio.create_task(self._hear(request_iterator))
        while not isinstance(order := await self.orders.get(), CandorError):
            yield codec.write_frame(order)
        hearing.cancel()
        status, details, code = to_status(order)
        await context.abort(status, details, ((ERROR_METADATA_KEY, code),))

    async def _hear(self, frames: Any) -> None:
        async for message in frames:
            mail = codec.read_node_frame(message)
            assert isinstance(mail, codec.NodeMail)
            self.acknowledged.extend(mail.acknowledged)
            self.submitted.extend(
                (number, one) for number, one in mail.submissions if isinstance(one, Envelope)
            )


def newer_stream() -> AlreadyExists:
    return AlreadyExists("The node attached again.")


@asynccontextmanager
async def replacing(hub: TardyHub, taker: Taker) -> AsyncIterator[tuple[HubClient, list[CandorError]]]:
    """A node that is attached, has laid its line anew, and waits for the hub's second welcome."""
    heard: list[CandorError] = []
    async with connected(hub) as client:
        staying = asyncio.create_task(stay_attached(client, taker, heard.append))
        await until(lambda: len(taker.welcomes) == 1)
        client.line.replace(fresh())
        await until(hub.newer.is_set)
        try:
            yield client, heard
        finally:
            staying.cancel()
            await asyncio.gather(staying, return_exceptions=True)


def _serial(context: Any) -> int:
    return x509.load_pem_x509_certificate(context.auth_context()["x509_pem_cert"][0]).serial_number


def fresh() -> TlsIdentity:
    presented = GOOD.good()
    return TlsIdentity(presented.key, presented.chain)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_call_under_way_finishes_and_the_next_one_shows_the_new_certificate() -> None:
    async def scene() -> None:
        hub, new = SlowHub(), fresh()
        async with connected(hub) as client:
            old = client.line.identity
            first = asyncio.create_task(client.submit(envelope()))
            await until(lambda: len(hub.submitting) == 1)
            client.line.replace(new)
            assert client.line.identity is new
            second = asyncio.create_task(client.submit(envelope()))
            await until(lambda: len(hub.submitting) == 2)
            hub.go_on.set()
            assert [await first, await second] == [3, 3]
            shown = [identity.chain[0].serial_number for identity in (old, new)]
            assert hub.submitting == shown
            # Nobody uses the old channel any more: it is closed.
            await until(lambda: not client.line._closing)

    asyncio.run(scene())


def test_the_stream_is_laid_anew_at_once_and_nothing_is_reported_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(failures: int) -> float:
        raise AssertionError("no failure, so no waiting")

    monkeypatch.setattr("candor_node.hub_client.retry_delay", never)

    async def scene() -> None:
        hub, taker, heard = SlowHub(), Taker(), list[CandorError]()
        shown = []
        async with connected(hub) as client:
            staying = asyncio.create_task(stay_attached(client, taker, heard.append))
            for count in range(1, 4):
                await until(lambda count=count: len(taker.welcomes) == count)  # type: ignore[misc]
                shown.append(client.line.identity.chain[0].serial_number)
                client.line.replace(fresh())
            await until(lambda: len(taker.welcomes) == 4)
            assert not staying.done()
            staying.cancel()
            await asyncio.gather(staying, return_exceptions=True)
            await until(lambda: not client.line._closing)
        assert hub.attached[:3] == shown
        assert heard == []

    asyncio.run(scene())


def test_the_old_stream_brings_mail_until_the_new_one_is_welcomed() -> None:
    async def scene() -> None:
        hub, taker, sent = TardyHub(), Taker(), envelope()
        async with replacing(hub, taker) as (client, heard):
            assert client.line.holds_older
            hub.orders.put_nowait(codec.HubMail((codec.Delivery(11, sent),)))
            await until(lambda: hub.acknowledged == [11])
            assert taker.delivered == [sent]
            hub.welcome.set()
            await until(lambda: len(taker.welcomes) == 2)
            await until(lambda: not client.line.holds_older)
            # Nobody uses the old channel any more: it is closed.
            await until(lambda: not client.line._closing)
            assert heard == []

    asyncio.run(scene())


def test_what_was_handed_in_on_a_stream_that_a_newer_one_replaced_is_handed_in_again() -> None:
    async def scene() -> None:
        hub, taker, sent = TardyHub(), Taker(), envelope()
        async with replacing(hub, taker) as (client, heard):
            submitting = asyncio.create_task(client.submit(sent))
            await until(lambda: len(hub.submitted) == 1)
            hub.welcome.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await submitting == 3
            await until(lambda: len(taker.welcomes) == 2)
            assert {one.envelope_id for _, one in hub.submitted} == {sent.envelope_id}
            assert heard == []

    asyncio.run(scene())


def test_a_stream_that_is_cancelled_twice_leaves_nobody_waiting_for_a_receipt() -> None:
    """It had ended, and was cleaning up, when a newer one took its place."""

    async def scene() -> None:
        hub, taker = FakeHub(), Taker()
        hub.judge = lambda envelope: None
        async with connected(hub) as client:
            attaching = asyncio.create_task(client.attach(taker))
            await until(lambda: len(taker.welcomes) == 1)
            submitting = asyncio.create_task(client.submit(envelope()))
            await until(lambda: len(hub.submitted) == 1)
            for _ in range(2):
                attaching.cancel()
                await asyncio.sleep(0)
            await asyncio.gather(attaching, return_exceptions=True)
            (told,) = await asyncio.wait_for(asyncio.gather(submitting, return_exceptions=True), 5)
            assert isinstance(told, Unreachable)

    asyncio.run(scene())


def test_an_old_stream_that_ends_before_there_is_a_new_one_is_missed() -> None:
    async def scene() -> None:
        hub, taker = TardyHub(), Taker()
        async with replacing(hub, taker) as (client, heard):
            hub.orders.put_nowait(Unreachable("The hub is stopping."))
            await until(lambda: not client.line.holds_older)
            assert [type(error) for error in heard] == [Unreachable]
            hub.welcome.set()
            await until(lambda: len(taker.welcomes) == 2)

    asyncio.run(scene())


def test_a_new_stream_that_cannot_be_had_costs_nothing_while_the_old_one_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("candor_node.hub_client.retry_delay", lambda failures: 0.0)

    async def scene() -> None:
        hub, taker, failed = TardyHub(), Taker(), list[None]()
        async with replacing(hub, taker) as (client, heard):
            attach = client.attach

            async def fails(handler: Any) -> None:
                client.welcomed_at = None
                failed.append(None)
                raise Unreachable("It took too long.")

            client.attach = fails  # type: ignore[method-assign]
            client.line.replace(fresh())
            await until(lambda: len(failed) >= 2)
            assert client.line.holds_older
            client.attach = attach  # type: ignore[method-assign]
            hub.welcome.set()
            await until(lambda: len(taker.welcomes) == 2)
            assert heard == []

    asyncio.run(scene())


def test_a_node_that_waits_to_try_again_tries_at_once_with_a_new_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It had ended; the operator let the node back in, and it was renewed in the middle of a long pause."""
    monkeypatch.setattr("candor_node.hub_client.retry_delay", lambda failures: 10 * PATIENCE_SECONDS)

    async def scene() -> None:
        hub, taker, heard = SlowHub(), Taker(), list[CandorError]()
        async with connected(hub) as client:
            attach, refused = client.attach, asyncio.Event()

            async def refuses(handler: Any) -> None:
                client.attach = attach  # type: ignore[method-assign]
                refused.set()
                raise Unreachable("Its certificate ended.")

            client.attach = refuses  # type: ignore[method-assign]
            staying = asyncio.create_task(stay_attached(client, taker, heard.append))
            await refused.wait()
            await until(lambda: bool(heard))
            new = fresh()
            client.line.replace(new)
            await until(lambda: len(taker.welcomes) == 1)
            assert hub.attached == [new.chain[0].serial_number]
            staying.cancel()
            await asyncio.gather(staying, return_exceptions=True)
            await until(lambda: not client.line._closing)

    asyncio.run(scene())


def test_why_a_stream_ended_is_not_swallowed() -> None:
    async def scene() -> None:
        async with connected(FakeHub()) as client:

            async def fails() -> None:
                raise Unreachable("gone")

            with pytest.raises(Unreachable, match="gone"):
                await client.line.hold(fails)
            assert client.line._current.users == 0

    asyncio.run(scene())


def test_closing_ends_calls_on_old_channels_too() -> None:
    async def scene() -> None:
        hub = SlowHub()
        async with connected(hub) as client:
            under_way = asyncio.create_task(client.submit(envelope()))
            await until(lambda: len(hub.submitting) == 1)
            client.line.replace(fresh())
            await client.close()
            async with asyncio.timeout(PATIENCE_SECONDS):
                (outcome,) = await asyncio.gather(under_way, return_exceptions=True)
            assert isinstance(outcome, BaseException)

    asyncio.run(scene())
