"""A hub that lies to gRPC itself: what is no message, or is too large for one, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from candor_node.app import Node
from candor_proto.errors import CandorError
from candor_proto.result import Overall
from candor_wire.limits import MAX_MESSAGE_BYTES
from tests.federation import Federation, federation, until
from tests.records import make_row

GARBAGE = b"\xff" * 64
TOO_LARGE = b"\x12" + b"\x80\x80\x80\x01" + bytes(2 * MAX_MESSAGE_BYTES)


class Garbling(grpc.aio.ServerInterceptor):
    """Replies of the methods in `garbled` are these octets instead."""

    def __init__(self) -> None:
        self.garbled: dict[str, bytes] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        octets = self.garbled.get(handler_call_details.method.rpartition("/")[2])
        return handler if octets is None else handler._replace(response_serializer=lambda _: octets)


async def refused(node: Node) -> CandorError:
    """What a node's refresh raises."""
    with pytest.raises(CandorError) as raised:
        await node.indexes.refresh()
    return raised.value


@pytest.mark.parametrize("octets", [GARBAGE, TOO_LARGE], ids=["garbage", "too large"])
def test_what_is_no_message_is_refused_and_nothing_is_lost(tmp_path: Path, octets: bytes) -> None:
    async def scene(fed: Federation, hub: Garbling) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row()])
        version, held = alpha.indexes.version, dict(alpha.indexes.indexes)
        hub.garbled["GetDirectory"] = octets
        await refused(alpha)
        assert (alpha.indexes.version, alpha.indexes.indexes) == (version, held)
        hub.garbled.clear()
        assert _overall(await fed.ask(alpha)) is Overall.MATCH

    asyncio.run(_play(tmp_path, scene))


@pytest.mark.parametrize("octets", [GARBAGE, TOO_LARGE], ids=["garbage", "too large"])
def test_a_segment_that_is_no_message_is_no_index(tmp_path: Path, octets: bytes) -> None:
    async def scene(fed: Federation, hub: Garbling) -> None:
        alpha, bravo = fed.nodes
        hub.garbled["GetSegment"] = octets
        before = alpha.indexes.version
        await fed.file(bravo, [make_row()], settle=False)
        await until(lambda: alpha.indexes.version > before)
        await until(lambda: bravo.config.node_id not in alpha.indexes.indexes)
        view = await fed.ask(alpha)
        assert _overall(view) is Overall.INCOMPLETE
        assert view.result is not None
        assert "1 no index (bravo)" in view.result.coverage.words()

    asyncio.run(_play(tmp_path, scene))


def _overall(view: Any) -> Overall:
    found: Overall = view.result.overall
    return found


async def _play(folder: Path, scene: Callable[[Federation, Garbling], Awaitable[None]]) -> None:
    hub = Garbling()
    async with federation(folder, 2, hub_interceptors=[hub]) as fed:
        await scene(fed, hub)
