"""The log as this replica has it: shows it, has it witnessed, appends if it is its turn (§14.6, §15).

    every replica                                    the one that holds the lease
      shows pages, tells which directory is witnessed  appends, signs, rotates (`sequencer`)
      asks the witnesses attached to it                chooses which head is witnessed (`rounds`)
                                                       asks the witnesses that have an address

Rules of this file:
- what members wait for is appended within COALESCE_SECONDS of its commit, commitments within a second;
  whoever commits here wakes this (`wake`), what another process did is seen at the next look (`look`);
- files and database are worked on in one thread of its own; witnesses are waited for elsewhere (`asking`);
- an error is logged and what it interrupted begun again: everything needed for that is in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog

from candor_hub.clock import Clock
from candor_hub.config import Config
from candor_hub.places import log_files, vault
from candor_hub.store import Store
from candor_hub.store.fence import Deposed
from candor_hub.store.log import LogNews, ShardRecord
from candor_hub.streams import Streams
from candor_hub.tlog import confirmed
from candor_hub.tlog.asking import Asking
from candor_hub.tlog.cosigning import Cosigning
from candor_hub.tlog.files import Lock
from candor_hub.tlog.head import Head
from candor_hub.tlog.lease import FolderLease, Lease
from candor_hub.tlog.pages import Page, Pages
from candor_hub.tlog.post import WitnessUrl, post
from candor_hub.tlog.ring import KeyRing
from candor_hub.tlog.rounds import Round, Rounds
from candor_hub.tlog.sequencer import Publish, Sequencer
from candor_hub.tlog.witnessed import Taken, Witnessed
from candor_proto.errors import CandorError, Unreachable
from candor_proto.ids import NodeId
from candor_proto.tlog.policy import MEMBER_PREFIX, PolicyWitness

log = structlog.get_logger(__name__)

T = TypeVar("T")
COALESCE_SECONDS = 0.03
RETRY_SECONDS = 1.0
# URL witnesses asked at a time; each takes at most `post.POST_SECONDS`.
URL_THREADS = 8


class HubLog:
    """The event loop owns this; `get` is for every thread."""

    def __init__(
        self,
        config: Config,
        store: Store,
        streams: Streams,
        clock: Clock,
        publish: Publish,
        coalesce_seconds: float = COALESCE_SECONDS,
        lease: Lease | None = None,
        may_lead: Callable[[], bool] = lambda: True,
        settle_seconds: float = confirmed.SETTLE_SECONDS,
    ) -> None:
        """`publish` makes a directory version; `lease` is shared with other replicas, None without any.

        `may_lead` says whether this process's clock is good enough to sign by, `settle_seconds` how long
        witnesses have time to come where no quorum of them is asked for.
        """
        self._config = config
        self._store = store
        self._streams = streams
        self._clock = clock
        self._publish = publish
        self._coalesce_seconds = coalesce_seconds
        self._settle_seconds = settle_seconds
        self._led_at = 0.0
        self._files = log_files(config, store)
        self._ring = KeyRing(vault(config, store), config.federation)
        self._lease = lease or FolderLease(Lock(config.log))
        self._lease.on_lost(self._demoted)
        self._may_lead = may_lead
        self._rounds = Rounds(store) if lease is not None else None
        self.pages = Pages(self._files, copies=store.server is None)
        self.cosigning = Cosigning(streams)
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
            self._reaches,
            self._rounds,
            self._heard,
            self._claimed,
        )
        self._thread = ThreadPoolExecutor(1, "log")
        self._aside_thread = ThreadPoolExecutor(1, "log-witnessed")
        self._posts = ThreadPoolExecutor(URL_THREADS, "log-witness")
        self._wake = asyncio.Event()
        self._sequencer: Sequencer | None = None
        self._news = LogNews()
        self._stale = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._announced = 0
        self._on_announced: Callable[[], None] = lambda: None

    @property
    def announced(self) -> int:
        """The newest directory version that a witnessed head holds: what members are told of."""
        return self._announced

    @property
    def leads(self) -> bool:
        """Whether this replica is the sequencer, as far as it knows."""
        return self._sequencer is not None

    def on_announced(self, heard: Callable[[], None]) -> None:
        """`heard` is called in the event loop when `announced` has changed."""
        self._on_announced = heard

    def get(self, path: str) -> Page:
        """A file of the log; raises UnknownObject or StoreUnusable. Blocks."""
        return self.pages.get(path)

    # --- beginning and end ------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Show what there is, and take the log over if nobody has it.

        Raises StoreUnusable: also when the files are not the database's, or another process has the folder.
        """
        # From the start: taking over may last longer than the server waits for a silent session.
        self._keeping = asyncio.create_task(self._lease.keep())
        try:
            await self._try_to_lead()
        except Deposed as error:
            log.warning("the log was taken over", code=error.code)
        await self._aside(self._load)
        self._wake.set()

    def _load(self) -> None:
        with self._store.read() as tx:
            self.pages.load(tx)
            self._announced = tx.log.witnessed_directory()
            self._news = tx.log.news()

    async def close(self) -> None:
        """Nothing runs any more when this returns."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        for pool in (self._thread, self._aside_thread):
            await asyncio.to_thread(pool.shutdown)
        # A witness that does not answer must not keep the hub from ending.
        self._posts.shutdown(wait=False, cancel_futures=True)
        await self._lease.give_back()

    # --- work -------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something waits."""
        self._wake.set()

    def look(self, news: LogNews) -> None:
        """Once per poll: what another replica did; whether anything waits; is a checkpoint due?"""
        sequencer = self._sequencer
        if sequencer is not None and not sequencer.confirmed:
            sequencer.settled = asyncio.get_running_loop().time() >= self._led_at + self._settle_seconds
            self._wake.set()
        elif sequencer is None or news.waits or sequencer.is_due(self._clock.now()):
            self._wake.set()
        if self._rounds is not None and (news != self._news or self._asking.waits):
            self._stale.set()

    def heard(self) -> None:
        """Another replica says that something changed."""
        self._wake.set()
        self._stale.set()

    def attached(self, node: NodeId) -> None:
        self._asking.attached(node)

    async def keep(self) -> None:
        """Watch over the lease, for ever."""
        if self._keeping is not None:
            await self._keeping

    async def run(self) -> None:
        """Append while this replica has the lease, and try to get it otherwise, for ever."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._coalesce_seconds)
            self._wake.clear()
            try:
                if await self._try_to_lead():
                    await self._append()
            except Deposed as error:
                log.warning("the log was taken over", code=error.code)
                self._demoted()
            except CandorError as error:
                log.error("the log could not be written", code=error.code, message=error.message)
                await self._again()
            except Exception as error:
                # Without this task nothing would be logged any more, and everything accepted.
                log.error("the log could not be written", exc_info=error)
                await self._again()

    async def witness(self) -> None:
        """Have heads witnessed, for ever."""
        await self._asking.run()

    async def follow(self) -> None:
        """Take up what other replicas did, for ever."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self._refresh()
            except CandorError as error:
                log.error("the log could not be read", code=error.code, message=error.message)
                await asyncio.sleep(RETRY_SECONDS)
                self._stale.set()

    async def _again(self) -> None:
        await asyncio.sleep(RETRY_SECONDS)
        self._wake.set()

    async def _append(self) -> None:
        sequencer = self._sequencer
        if sequencer is None:
            return
        try:
            await self._in_thread(partial(sequencer.work, self._clock.now()))
        finally:
            # What was signed and stored wants witnesses, whatever failed behind it.
            head = sequencer.take_made()
            if head is not None and sequencer is self._sequencer:
                self._asking.newest(head)

    # --- whose turn it is -------------------------------------------------------------------------------

    async def _try_to_lead(self) -> bool:
        """Whether this replica is the sequencer now; raises StoreUnusable."""
        if not self._may_lead():
            if self._sequencer is not None:
                log.warning("the log is left to another replica, for the clock of this one is wrong")
                self._demoted()
                await self._lease.give_back()
            return False
        if self._sequencer is not None:
            return True
        if not await self._lease.take():
            return False
        try:
            sequencer = await self._in_thread(self._take_over)
        except BaseException:
            # Somebody else may fare better.
            await self._lease.give_back()
            raise
        if not self._lease.held:
            return False  # lost while we began
        self._sequencer = sequencer
        self._led_at = asyncio.get_running_loop().time()
        if self._rounds is not None:
            self._rounds.fenced = sequencer.store
            log.info("this replica writes the log", term=sequencer.store.term)
            self._asking.lead(sequencer.take_made())
        elif (head := sequencer.take_made()) is not None:
            self._asking.newest(head)
        return True

    def _take_over(self) -> Sequencer:
        sequencer = Sequencer(self._config, self._store, self._ring, self.pages, self._publish)
        sequencer.begin(self._clock.now())
        return sequencer

    def _demoted(self) -> None:
        """Forget everything that belonged to the term: the next one begins with what is stored."""
        if self._sequencer is None:
            return
        self._sequencer = None
        self._asking.cease()
        if self._rounds is not None:
            self._rounds.fenced = None
        self._stale.set()

    # --- what others did --------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        shards, news, announced, present = await self._aside(self._read_others)
        self._news = news
        if present is not None:
            self._asking.follow(present)
        self._asking.taken(shards)
        self._announce(announced)
        if self._sequencer is not None:
            self._wake.set()  # what is witnessed may be what a rotation waits for

    def _read_others(self) -> tuple[tuple[ShardRecord, ...], LogNews, int, Round | None]:
        with self._store.read() as tx:
            shards, news, announced = tx.log.shards(), tx.log.news(), tx.log.witnessed_directory()
        self.pages.show(shards)
        return shards, news, announced, self._rounds.present() if self._rounds is not None else None

    # --- witnesses --------------------------------------------------------------------------------------

    def _reaches(self, witness: PolicyWitness) -> bool:
        """Members where they are attached; whoever has an address is asked by the sequencer."""
        if witness.name.startswith(MEMBER_PREFIX):
            return self._streams.of(NodeId(witness.name.removeprefix(MEMBER_PREFIX))) is not None
        return self.leads

    async def _send(self, witness: PolicyWitness, request: bytes) -> tuple[int, bytes]:
        if witness.name.startswith(MEMBER_PREFIX):
            return await self.cosigning.ask(NodeId(witness.name.removeprefix(MEMBER_PREFIX)), request)
        if not witness.url:
            raise Unreachable(f"The witness {witness.name} has no address.")
        url = WitnessUrl.parse(witness.url)
        return await asyncio.get_running_loop().run_in_executor(self._posts, partial(post, url, request))

    async def _taken(self, head: Head, taken: Taken) -> None:
        await self._aside(partial(self.pages.show, taken.shards, taken.kept))
        self._announce(taken.directory_version)
        # A shard that has ended, or a policy that is in force, may be what the next step waits for.
        if taken.policy_changed or any(shard.closed and shard.shard == head.shard for shard in taken.shards):
            self._wake.set()

    def _heard(self, head: Head, signed_by: frozenset[str]) -> bool:
        """Who has signed a head; whether the log still waits for more to sign this one."""
        sequencer = self._sequencer
        if sequencer is None or sequencer.confirmed or head is not sequencer.first:
            return False
        if signed_by != sequencer.signed_by:
            sequencer.signed_by = signed_by
            self._wake.set()
        return True

    async def _claimed(self, witness: str, size: int | None) -> None:
        """What a witness claims to know is kept for the operator, and for who writes the log."""

        def work() -> None:
            with self._store.read() as tx:
                known = confirmed.standing(tx).claims
            if known.get(witness) != size:
                with self._store.write() as tx:
                    confirmed.claim(tx, witness, size)

        await self._aside(work)

    async def _cosigned(self, head: Head) -> None:
        await self._aside(partial(self.pages.add_cosignatures, head.shard, head.signed))

    def _announce(self, version: int) -> None:
        if version > self._announced:
            self._announced = version
            self._on_announced()

    # --- threads ----------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._aside_thread, work)
