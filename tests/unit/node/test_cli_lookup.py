"""What a clerk is told when the node stops while a lookup is under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from candor_node.cli_lookup import _follow
from candor_proto.errors import Unreachable
from candor_wire.v1 import local_pb2


class BrokenOff(grpc.RpcError):
    """As gRPC raises it when the process behind the socket ends."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "Socket closed"

    def trailing_metadata(self) -> tuple[Any, ...]:
        return ()


class Node:
    def __init__(self, parts: int) -> None:
        self._parts = parts

    def Lookup(self, request: local_pb2.LookupRequest, timeout: float) -> Iterator[local_pb2.LookupResponse]:
        for settled in range(self._parts):
            yield local_pb2.LookupResponse(progress=local_pb2.LookupProgress(settled=settled, asked=3))
        raise BrokenOff


def test_a_lookup_that_was_sent_is_not_to_be_asked_again() -> None:
    with pytest.raises(Unreachable, match="It was sent, and its result is kept") as caught:
        _follow(Node(1), local_pb2.LookupRequest(), 1.0)
    assert "lookups list --case" in caught.value.remedy


def test_of_one_that_may_not_have_been_sent_nothing_is_promised() -> None:
    with pytest.raises(BrokenOff):
        _follow(Node(0), local_pb2.LookupRequest(), 1.0)
