"""The line to the hub when its certificate changes (docs/protocol.md §8.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509

from candor_certs.store import TlsIdentity
from candor_node.hub_client import stay_attached
from candor_proto.errors import CandorError, Unreachable
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
