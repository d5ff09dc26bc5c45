"""The one writer of the log: appends what waits, has it witnessed, shows it (docs/protocol.md §14.6, §15).

Rules of this file:
- what members wait for is appended within COALESCE_SECONDS of its commit, commitments within a second;
  whoever commits here wakes this (`wake`), what another process did is seen at the next look (`look`);
- a checkpoint is signed anew at least every ten minutes;
- files and database are worked on in one thread of its own; witnesses are waited for elsewhere (`asking`);
- an error is logged and what it interrupted begun again: everything needed for that is in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from candor_hub.clock import Clock
from candor_hub.config import Config
from candor_hub.places import log_files
from candor_hub.store import Store, Transaction
from candor_hub.streams import Streams
from candor_hub.tlog import due, start
from candor_hub.tlog.appender import Appended, Appender
from candor_hub.tlog.asking import Asking, Head
from candor_hub.tlog.cosigning import Cosigning
from candor_hub.tlog.files import Lock, LogFiles
from candor_hub.tlog.pages import Page, Pages
from candor_hub.tlog.post import WitnessUrl, post
from candor_hub.tlog.ring import KeyRing
from candor_hub.tlog.rotation import Rotation
from candor_hub.tlog.witnessed import Taken, Witnessed
from candor_proto.budget import Quota
from candor_proto.errors import CandorError, Unreachable
from candor_proto.ids import FederationName, NodeId
from candor_proto.statements import CLOCK_TOLERANCE, LOOKUP_LIFE
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.policy import MEMBER_PREFIX, PolicyWitness

log = structlog.get_logger(__name__)

T = TypeVar("T")
COALESCE_SECONDS = 0.03
SIGNED_ANEW_AFTER = timedelta(minutes=9, seconds=30)
RETRY_SECONDS = 1.0
# URL witnesses asked at a time; each takes at most `post.POST_SECONDS`.
URL_THREADS = 8


class Sequencer:
    """Owns the log of this hub while it runs. The event loop owns this; `get` is for every thread."""

    def __init__(
        self,
        config: Config,
        store: Store,
        streams: Streams,
        clock: Clock,
        coalesce_seconds: float = COALESCE_SECONDS,
        files: LogFiles | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._config = config
        self._coalesce_seconds = coalesce_seconds
        self._files = files or log_files(config, store)
        self._lock = Lock(config.log)
        self._ring = KeyRing(config.keys, config.federation)
        self.pages = Pages(self._files)
        self.cosigning = Cosigning(streams)
        appender = Appender(store, self._files, self._ring, config.federation)
        self._appender = appender
        self._rotation = Rotation(store, self._ring, appender, config.federation)
        self._asking = Asking(
            store,
            self._files,
            config.federation,
            Witnessed(store, config.federation),
            self._send,
            clock,
            self._aside,
            self._taken,
            self._cosigned,
        )
        self._thread = ThreadPoolExecutor(1, "log")
        self._aside_thread = ThreadPoolExecutor(1, "log-witnessed")
        self._posts = ThreadPoolExecutor(URL_THREADS, "log-witness")
        self._wake = asyncio.Event()
        self._signed_at: datetime | None = None
        # The newest head that `_work` has made and nobody is asked about yet.
        self._made: Head | None = None
        self._announced = 0
        # Up to which size narrower files than needed are gone, by shard.
        self._pruned: dict[int, int] = {}
        self._on_announced: Callable[[], None] = lambda: None

    @property
    def announced(self) -> int:
        """The newest directory version that a witnessed head holds: what members are told of."""
        return self._announced

    def on_announced(self, heard: Callable[[], None]) -> None:
        """`heard` is called in the event loop when `announced` has changed."""
        self._on_announced = heard

    def get(self, path: str) -> Page:
        """A file of the log; raises UnknownObject or StoreUnusable. Blocks."""
        return self.pages.get(path)

    # --- beginning and end ------------------------------------------------------------------------------

    def begin(self, publish: Callable[[Transaction, datetime], int]) -> None:
        """Take the log over: one process only. A federation that has none yet gets one; blocks.

        `publish` makes a directory version. Raises StoreUnusable, also when the files are not the database's.
        """
        self._lock.take()
        now = self._clock.now()
        open_log(self._store, self._ring, self._config.federation, now, publish)
        with self._store.read() as tx:
            shards = tx.log.shards()
            start.check_start(self._files, shards)
            for shard in shards:
                start.tidy(self._files, shard)
                self._pruned[shard.shard] = shard.witnessed_size
                if not shard.ended:
                    self._ring.of(shard)
            self.pages.load(tx)
            self._announced = tx.log.witnessed_directory()
        with self._store.write() as tx:
            due.log_rules(tx, rules(self._config.quota, self._config.new_member_wait), now)
        newest = [shard for shard in shards if shard.signed]
        if newest:
            self._signed_at = newest[-1].signed_at
            self._asking.newest(Head(newest[-1].shard, parse_checkpoint(newest[-1].signed)))
        self._wake.set()

    async def close(self) -> None:
        """Nothing runs any more when this returns."""
        for pool in (self._thread, self._aside_thread):
            await asyncio.to_thread(pool.shutdown)
        # A witness that does not answer must not keep the hub from ending.
        self._posts.shutdown(wait=False, cancel_futures=True)
        self._lock.give_back()

    # --- work -------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something waits."""
        self._wake.set()

    def look(self, waits: bool) -> None:
        """Once per poll: whether anything waits, of whatever process; is a checkpoint due?"""
        if waits or self._is_due(self._clock.now()):
            self._wake.set()

    def attached(self, node: NodeId) -> None:
        self._asking.attached(node)

    async def run(self) -> None:
        """Append for ever."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._coalesce_seconds)
            self._wake.clear()
            failed = True
            try:
                await self._in_thread(self._work)
                failed = False
            except CandorError as error:
                log.error("the log could not be written", code=error.code, message=error.message)
            except Exception as error:
                # Without this task nothing would be logged any more, and everything accepted.
                log.error("the log could not be written", exc_info=error)
            # What was signed and stored wants witnesses, whatever failed behind it.
            head, self._made = self._made, None
            if head is not None:
                self._asking.newest(head)
            if failed:
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def witness(self) -> None:
        """Have heads witnessed, for ever."""
        await self._asking.run()

    def _is_due(self, now: datetime) -> bool:
        return self._signed_at is not None and not (
            self._signed_at - CLOCK_TOLERANCE <= now < self._signed_at + SIGNED_ANEW_AFTER
        )

    def _work(self) -> None:
        """Append what is due, take a step of a rotation, sign anew if nothing was."""
        now = self._clock.now()
        while (appended := self._appender.append(now)) is not None:
            self._show(appended)
        closed = self._rotation.step(now)
        if closed is not None:
            self._show(closed)
        if self._made is None and self._is_due(now):
            signed = self._appender.sign_again(now)
            if signed is not None:
                self._show(signed)

    def _show(self, appended: Appended) -> None:
        self._made = Head(appended.shard, appended.signed)
        with self._store.read() as tx:
            shards = tx.log.shards()
        shard = next(each for each in shards if each.shard == appended.shard)
        self._signed_at = shard.signed_at
        self.pages.show(shards)
        # Here alone, where the size is that of the last append: what a newer one needs must not go.
        before = min(self._pruned.get(shard.shard, 0), shard.size - appended.entries)
        start.prune(self._files, shard, before, shard.size)
        self._pruned[shard.shard] = shard.witnessed_size

    # --- witnesses --------------------------------------------------------------------------------------

    async def _send(self, witness: PolicyWitness, request: bytes) -> tuple[int, bytes]:
        if witness.name.startswith(MEMBER_PREFIX):
            return await self.cosigning.ask(NodeId(witness.name.removeprefix(MEMBER_PREFIX)), request)
        if not witness.url:
            raise Unreachable(f"The witness {witness.name} has no address.")
        url = WitnessUrl.parse(witness.url)
        return await asyncio.get_running_loop().run_in_executor(self._posts, partial(post, url, request))

    async def _taken(self, head: Head, taken: Taken) -> None:
        await self._aside(partial(self.pages.show, taken.shards, taken.kept))
        if taken.directory_version > self._announced:
            self._announced = taken.directory_version
            self._on_announced()
        # A shard that has ended, or a policy that is in force, may be what the next step waits for.
        if taken.policy_changed or any(shard.closed and shard.shard == head.shard for shard in taken.shards):
            self._wake.set()

    async def _cosigned(self, head: Head) -> None:
        await self._aside(partial(self.pages.add_cosignatures, head.shard, head.signed))

    # --- threads ----------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._aside_thread, work)


def open_log(
    store: Store,
    ring: KeyRing,
    federation: FederationName,
    now: datetime,
    publish: Callable[[Transaction, datetime], int],
) -> None:
    """Begin the log of a federation that has none; a directory that it has already is logged anew.

    Raises StoreUnusable.
    """
    with store.read() as tx:
        if tx.log.newest_shard() is not None:
            return
    keys = ring.make(1)
    with store.write() as tx:
        if tx.log.newest_shard() is None:
            due.open_first(tx, federation, keys.verifier_keys, now)
            if tx.directories.latest_version():
                publish(tx, now)


def rules(quota: Quota, new_member_wait: timedelta) -> dict[str, int]:
    """The federation's limits as the log states them, in elements and seconds."""
    return {
        "quota_total": quota.total,
        "quota_weak": quota.weak,
        "quota_match": quota.match,
        "quota_code": quota.code,
        "quota_day_share": quota.day_share,
        "new_member_wait_seconds": int(new_member_wait.total_seconds()),
        "lookup_life_seconds": int(LOOKUP_LIFE.total_seconds()),
        "clock_tolerance_seconds": int(CLOCK_TOLERANCE.total_seconds()),
    }
