"""Members as witnesses: who does not read its stream costs nothing (§15.3)."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from candor_hub.streams import Streams
from candor_hub.tlog import cosigning
from candor_hub.tlog.cosigning import Cosigning
from candor_proto.errors import Unreachable
from candor_proto.ids import NodeId


def test_a_request_that_nobody_waits_for_is_not_kept_for_a_member_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cosigning, "ANSWER_SECONDS", 0.01)

    async def act() -> None:
        session: Any = SimpleNamespace(cosigns=deque[Any](), wake=asyncio.Event())
        asking = Cosigning(cast("Streams", SimpleNamespace(of=lambda _: session)))
        for _ in range(3):
            with pytest.raises(Unreachable):
                await asking.ask(NodeId("alpha"), b"request")
        assert not session.cosigns

    asyncio.run(act())
