"""The line to the hub, with the certificate that is shown on it; a new certificate means a new line.

gRPC shows the certificate a channel was made with, for as long as the channel lives. So a renewed one is
shown by dialling anew: calls that are under way finish on the old channel, the next ones go over the new one.
The stream is laid anew at once, and the old one goes on until the hub has welcomed the new one: what is sent
to this node meanwhile reaches it. What nobody had acknowledged is sent again.

Everything here belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio

from candor_certs.store import TlsIdentity
from candor_node.logs import log
from candor_proto.errors import AlreadyExists, CandorError
from candor_wire.limits import TRANSFER_DEADLINE_SECONDS
from candor_wire.v1 import hub_pb2_grpc

# What stands between the stubs and the real channel: nothing, or a recorder (tools.recording).
WrapChannel = Callable[[grpc.aio.Channel], grpc.aio.Channel]
Dial = Callable[[TlsIdentity], grpc.aio.Channel]


class Channel:
    """One channel, and who still uses it."""

    def __init__(self, identity: TlsIdentity, channel: grpc.aio.Channel, wrap: WrapChannel) -> None:
        self.identity = identity
        self.channel = channel
        self.stub: Any = hub_pb2_grpc.HubServiceStub(wrap(channel))
        self.users = 0
        # Whether what is held on it has taken over (`Line.settle`).
        self.settled = False
        self.replaced = asyncio.Event()
        self.unused = asyncio.Event()

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Keeps it open."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            if not self.users:
                self.unused.set()

    async def close_when_unused(self) -> None:
        # gRPC's own grace finds its calls by looking into the frames of tasks, and misses those that are
        # awaited further in: so the users are counted here.
        if self.users:
            self.unused.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TRANSFER_DEADLINE_SECONDS):
                    await self.unused.wait()
        await self.channel.close(grace=None)


class Line:
    """The channel in use, and those on which calls still finish."""

    def __init__(self, identity: TlsIdentity, dial: Dial, wrap: WrapChannel) -> None:
        self._dial = dial
        self._wrap = wrap
        self._current = Channel(identity, dial(identity), wrap)
        self._closing: dict[asyncio.Task[None], Channel] = {}
        # What is still held on channels that were replaced.
        self._older: set[asyncio.Task[None]] = set()
        self._since_seconds = time.monotonic()

    @property
    def age_seconds(self) -> float:
        """How long ago this line was laid."""
        return time.monotonic() - self._since_seconds

    @property
    def identity(self) -> TlsIdentity:
        return self._current.identity

    @property
    def present(self) -> Channel:
        """The channel in use; another one once it was replaced."""
        return self._current

    @property
    def stub(self) -> Any:
        """For a call that begins now, inside `in_use`."""
        return self._current.stub

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keeps the channel of this moment open for a call that begins before the next `await`."""
        with self._current.use():
            yield

    def replace(self, identity: TlsIdentity) -> None:
        """From now on show `identity`; what holds the old channel is told, calls on it may finish."""
        old, self._current = self._current, Channel(identity, self._dial(identity), self._wrap)
        self._since_seconds = time.monotonic()
        old.replaced.set()
        closing = asyncio.create_task(old.close_when_unused())
        self._closing[closing] = old
        closing.add_done_callback(lambda task: self._closing.pop(task, None))

    async def replaced_within(self, seconds: float) -> bool:
        """Wait that long, or until the channel is replaced: whether it was.

        A node that was off for weeks is let back in while it waits for its next attempt, and should not wait.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._current.replaced.wait()
        except TimeoutError:
            return False
        return True

    async def hold(
        self,
        work: Callable[[], Awaitable[None]],
        lost: Callable[[CandorError], None] = lambda error: None,
    ) -> None:
        """Run `work`, which uses the stub and does not end; returns when the channel was replaced.

        Work that has taken over (`settle`) goes on then, until the next one has: `lost` hears why, should it
        end before. Raises what `work` raises.
        """
        channel = self._current

        async def held() -> None:
            with channel.use():
                await work()

        working = asyncio.create_task(held())
        replaced = asyncio.ensure_future(channel.replaced.wait())
        goes_on = False
        try:
            await asyncio.wait({working, replaced}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            elif channel.settled:
                goes_on = True
                self._older.add(working)
                working.add_done_callback(lambda task: self._ended(task, lost))
        finally:
            replaced.cancel()
            if not goes_on:
                await _end(working)

    @property
    def holds_older(self) -> bool:
        """Whether what was held on a channel that was replaced goes on."""
        return bool(self._older)

    def settle(self, channel: Channel) -> None:
        """What is held on this channel has taken over: what was held on others ends."""
        channel.settled = True
        for task in self._older:
            task.cancel()

    async def leave_older(self) -> None:
        """End what goes on on channels that were replaced."""
        for task in tuple(self._older):
            await _end(task)

    def _ended(self, task: asyncio.Task[None], lost: Callable[[CandorError], None]) -> None:
        self._older.discard(task)
        error = None if task.cancelled() else task.exception()
        # The hub ends it for the newer one, a moment before it welcomes that.
        if isinstance(error, CandorError) and not isinstance(error, AlreadyExists):
            lost(error)
        elif error is not None and not isinstance(error, CandorError):
            log.error("what was held on an older channel failed", exc_info=error)

    async def close(self) -> None:
        """Close everything; calls that are under way fail."""
        await self.leave_older()
        closing = dict(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for channel in (*closing.values(), self._current):
            await channel.channel.close(grace=None)


async def _end(task: asyncio.Task[None]) -> None:
    """End what is held; why it ended was told before, or is of no interest."""
    task.cancel()
    # A delivery that is being stored is stored all the same; sent again, it changes nothing.
    with contextlib.suppress(asyncio.CancelledError, CandorError):
        await task


async def end_of(call: Any) -> grpc.aio.AioRpcError:
    """The status with which a stream ended, as the error it stands for."""
    code = await call.code()
    if code is grpc.StatusCode.OK:
        code = grpc.StatusCode.UNAVAILABLE
    return grpc.aio.AioRpcError(
        code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )
