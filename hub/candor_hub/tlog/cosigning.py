"""Members as witnesses: requests on their streams, responses under the same number (docs/protocol.md §15.3).

The event loop owns everything here. A member that does not answer costs its own request and nothing else.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from candor_hub.streams import Session, Streams
from candor_proto.errors import Unreachable
from candor_proto.ids import NodeId
from candor_wire.codec import Cosign, Cosigned

ANSWER_SECONDS = 10.0


class Cosigning:
    """What was asked on streams and is not answered yet."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._last = 0
        self._asked: dict[int, tuple[Session, asyncio.Future[Cosigned]]] = {}

    async def ask(self, node: NodeId, request: bytes) -> tuple[int, bytes]:
        """Status and body; raises Unreachable when the node is away, or takes too long."""
        session = self._streams.of(node)
        if session is None:
            raise Unreachable(f"{node} is not attached.")
        self._last += 1
        number = self._last
        answer: asyncio.Future[Cosigned] = asyncio.get_running_loop().create_future()
        self._asked[number] = session, answer
        frame = Cosign(number, request)
        session.cosigns.append(frame)
        session.wake.set()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await answer
        except TimeoutError:
            raise Unreachable(f"{node} did not answer as a witness.") from None
        finally:
            del self._asked[number]
            # A member that does not read its stream must not have the hub keep what nobody waits for.
            with suppress(ValueError):
                session.cosigns.remove(frame)
        return response.status, response.body

    def answered(self, session: Session, response: Cosigned) -> None:
        """A response came; one that nobody waits for, or on another's stream, is nothing."""
        asked = self._asked.get(response.number)
        if asked is not None and asked[0] is session and not asked[1].done():
            asked[1].set_result(response)

    def gone(self, session: Session) -> None:
        """The stream has ended: nothing comes any more."""
        for held, answer in self._asked.values():
            if held is session and not answer.done():
                answer.set_exception(Unreachable(f"{session.node} went away."))
