"""Follows the federation's log: every entry, under witnessed heads alone (docs/protocol.md §10.4, §14, §15).

Rules of this file:
- heads are fetched at start, when the hub announces a directory, and every minute: never because of a lookup
  or of what it found;
- a head that lacks its quorum, contradicts what was seen or breaks a rule changes nothing: what was taken up
  last stays in use, until its age closes it (§15.6);
- a shard is left for the next one when its `closed` entry was read (§14.7), or for a successor (§19).

`view`, `trouble` and `missing` belong to the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from candor_node.clock import Clock
from candor_node.directory_store import FetchedDirectory
from candor_node.logs import log
from candor_node.store import Database, Store
from candor_node.tlog import contradictions, log_store
from candor_node.tlog.admission import Admission, OwnHead
from candor_node.tlog.files import Get, LogFiles
from candor_node.tlog.folding import Observer, Self
from candor_node.tlog.going_over import Succession
from candor_node.tlog.kept_log import KeptLog
from candor_node.tlog.log_store import DatabaseCounts, FollowedShard
from candor_node.tlog.policies import Policies, both_keys, first_entries, first_shard
from candor_node.tlog.taking_up import Following, TakingUp
from candor_node.tlog.view import LogView, closed, late
from candor_proto.directory import VerifiedDirectory
from candor_proto.errors import CandorError, LogUnwitnessed, MalformedMessage, NotLogged, UnknownObject
from candor_proto.ids import FederationName
from candor_proto.result import LogSeen
from candor_proto.tlog.age import LogAge
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.entries import Opened, PolicyEntry, log_origin
from candor_proto.tlog.policy import NONE, Policy
from candor_proto.tlog.signatures import verify_log
from candor_proto.tlog.state import LogState, Shard

POLL_SECONDS = 60.0
RETRY_SECONDS = 5.0
# Which witnesses sign is looked at so often, and of a head that they were asked about long enough ago.
LOOK_EVERY = timedelta(minutes=10)
ASKED_WITHIN = timedelta(seconds=30)


class Follower:
    """Follows the log of one federation. One task at a time takes up heads."""

    def __init__(
        self,
        get: Get,
        store: Store,
        federation: FederationName,
        own: Self,
        clock: Clock,
        policy: Policy | None = None,
        kept: KeptLog | None = None,
    ) -> None:
        """`policy` is the operator's own; then those of the log are none (§15.4). `kept`: where what was read
        is kept for a successor (§19.2)."""
        self.files = LogFiles(get)
        self.observers: list[Observer] = []
        self._store = store
        self._federation = federation
        self._clock = clock
        self._policies = Policies(self.files, store, federation, clock, policy, kept)
        self._taking_up = TakingUp(self.files, store, clock, own, self.observers, kept)
        self._succession = Succession(self.files, store, federation, clock, own=policy is not None)
        self._admission = Admission(store, own, clock)
        self.kept = kept
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._following: Following | None = None
        self.view: LogView | None = None
        self.trouble: CandorError | None = None
        # Whether a head was taken up, or found to be the one held, in this run.
        self.followed = asyncio.Event()
        # Names of the policy's witnesses that had not signed the newest head that was signed.
        self.missing: tuple[str, ...] = ()
        self._looked_at: datetime | None = None
        self._alarms: tuple[str, ...] = ()

    # --- what it allows ------------------------------------------------------------------------------------

    @property
    def directory_version(self) -> int:
        """The newest version of the directory that the log holds; 0 before the first."""
        return self.view.directory.version if self.view and self.view.directory else 0

    def is_open(self) -> bool:
        """Whether lookups may be sent, answered and judged now (§15.6)."""
        return self.view is not None and self.view.age(self._clock.now()) is not LogAge.CLOSED

    def check_open(self) -> None:
        """Raises LogUnwitnessed when nothing may be sent, answered or judged now (§15.6)."""
        if not self.is_open():
            raise closed(self.view, self._clock.now(), self.missing)

    def check_followed(self) -> None:
        """Raises NotLogged before this run has read the log once: it says which index heads went out."""
        if not self.followed.is_set():
            raise NotLogged(
                "The log was not read yet in this run, so nothing is published.",
                remedy="It is tried again; `candor-node status` says what is wrong with the log.",
            )

    def seen(self) -> LogSeen | None:
        """How far this node has read the log, for results; None before it read any of it."""
        view = self.view
        if view is None:
            return None
        late_now = view.age(self._clock.now()) is not LogAge.CURRENT
        return LogSeen(view.origin, view.size, view.time_of_witness, late_now)

    def notice(self, now: datetime) -> str:
        """A sentence for people while the log is not current; empty while it is."""
        if self.view is None or self.view.age(now) is LogAge.CLOSED:
            return closed(self.view, now, self.missing).message
        return late(self.view, now, self.missing) if self.view.age(now) is LogAge.LATE else ""

    def warnings(self) -> list[str]:
        """What a person should look into: contradictions, and what is said in this node's name."""
        return list(self._alarms)

    # --- when ----------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """The hub has announced something."""
        self._wanted.set()

    async def run(self, on_followed: Callable[[LogView], None] = lambda view: None) -> None:
        """Follow for ever; `on_followed` hears of each time that it went well."""
        failures = 0
        while True:
            self._wanted.clear()
            try:
                on_followed(await self.follow())
                delay, failures = POLL_SECONDS, 0
                await self._top_up()
            except CandorError as error:
                log.warning("the log was not followed", code=error.code, reason=error.message)
                delay = min(POLL_SECONDS, RETRY_SECONDS * 2 ** min(failures, 10))
                failures += 1
            try:
                async with asyncio.timeout(delay):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def load(self) -> None:
        """Take up what was followed before a restart; it has the age that it has."""
        self.view, self._alarms = await self._store.run(lambda db: (self._stored(db), _alarms(db)))

    async def follow(self) -> LogView:
        """Fetch and take up the newest witnessed head now.

        Raises Unreachable, LogUnwitnessed, Rollback, LogInconsistent, SignatureInvalid …: then what was taken
        up before stays in use.
        """
        async with self._lock:
            try:
                await self._follow()
            except CandorError as error:
                self.trouble = error
                await self.load()
                raise
            finally:
                if self._following is not None and self._following.stale:
                    self._following = None
            await self.load()
            if self.view is None:
                raise AssertionError("a head was taken up and is not stored")
            self.trouble = None
            self.followed.set()
            return self.view

    async def read_to_end(self, *, unwitnessed: bool = False) -> tuple[Following, LogUnwitnessed | None]:
        """Follow closed shards only, up to the head that the log ends with; and what its quorum lacks.

        With `unwitnessed` a last head without its quorum is taken up all the same: a person said so (§19.4).
        Raises as `follow`.
        """
        async with self._lock:
            following, lack = await self._begin(), None
            while True:
                try:
                    await self._newest(following)
                except LogUnwitnessed as error:
                    if not unwitnessed:
                        raise
                    lack = error
                    await self._take_unwitnessed(following)
                if following.state.next_keys is None:
                    return following, lack
                further = await self._further(following)
                if further is None:
                    return following, lack
                following = further

    async def _take_unwitnessed(self, following: Following) -> None:
        octets = await self.files.checkpoint(following.shard.number)
        signed, signed_at = await self._taking_up.examine(following, octets)
        _, policy = await self._policies.in_force()
        await self._taking_up.take_up(following, signed, signed_at, replace(policy, quorum=NONE))

    async def _top_up(self) -> None:
        """What the kept log lacks of what was read: files from before it, policies, draws."""
        if self.kept is not None and self.view is not None:
            heads = await self._store.run(log_store.whole_heads)
            await self.kept.top_up(self.files.get, heads, self._clock.now())

    # --- heads ---------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        following = self._following = self._following or await self._begin()
        while True:
            over = await self._succession.own(following)
            if over is None:
                await self._newest(following)
                over = await self._further(following)
            if over is None:
                return
            following = self._following = over

    async def _newest(self, following: Following) -> None:
        """Take up the newest head of a shard, and what policies it brings into force."""
        shard = following.shard
        signed, signed_at = await self._taking_up.examine(
            following, await self.files.checkpoint(shard.number)
        )
        if shard.signed is not None and not shard.whole:
            # A long way was not gone to its end.
            await self._take(following, shard.signed, verify_log(shard.signed, shard.keys))
        while True:
            try:
                await self._take(following, signed, signed_at)
                break
            except LogUnwitnessed:
                # Perhaps witnesses have signed whom a policy names that is not in force here yet.
                if not await self._policies.advance(self._taking_up, following):
                    await self._look_for_missing(following, signed)
                    raise
        while await self._policies.advance(self._taking_up, following, known=True):
            pass
        await self._look_for_missing(following, signed)

    async def _take(self, following: Following, signed: SignedCheckpoint, signed_at: datetime) -> None:
        """Take up a head under the policy in force, and put in force what it covers."""
        version, policy = await self._policies.in_force()
        await self._taking_up.take_up(following, signed, signed_at, policy)
        await self._policies.cover(version, signed)

    async def _look_for_missing(self, following: Following, signed: SignedCheckpoint) -> None:
        """Which witnesses do not sign: asked of the newest head that was signed, now and then.

        The head that has its quorum was shown as soon as it had, and says nothing of those who came later.
        """
        now, (_, policy) = self._clock.now(), await self._policies.in_force()
        if self._looked_at is not None and timedelta(0) <= now - self._looked_at < LOOK_EVERY:
            return
        try:
            newest = parse_checkpoint(await self.files.signed(following.shard.number))
            signed_at = verify_log(newest, following.shard.keys)
            present = policy.cosignatures(newest)
        except CandorError:
            return
        if now - signed_at >= ASKED_WITHIN and newest.checkpoint.size >= signed.checkpoint.size:
            self._looked_at = now
            self.missing = tuple(one.name for one in policy.witnesses if one.name not in present)

    # --- shards --------------------------------------------------------------------------------------------

    async def _begin(self) -> Following:
        """Where this node stopped, or the first shard that it knows the keys of."""
        shard, held = await self._store.run(lambda db: (log_store.last_shard(db), log_store.state(db)))
        if shard is not None and held is not None:
            if self.kept is not None and shard.whole and shard.signed is not None:
                # It may have stopped between the entries and the head.
                await self.kept.head(shard.number, shard.signed)
            return Following(shard, *held)
        _, policy = await self._policies.in_force()
        number = 1 if self._policies.own is None else first_shard(policy, self._federation)
        keys = both_keys(policy.log_keys(log_origin(self._federation, number)), number)
        counts = DatabaseCounts(number)
        return Following(
            FollowedShard(number, keys), LogState(await self._blank(number), counts=counts), counts
        )

    async def _blank(self, number: int) -> Shard:
        """A shard before its first entry; what came before one that is not the first it says itself."""
        if number == 1:
            return Shard(self._federation, number)
        entries = await first_entries(self.files, self._federation, number)
        policy = next((entry for entry in entries if isinstance(entry, PolicyEntry)), None)
        if policy is None or not isinstance(entries[0], Opened):
            raise MalformedMessage(f"Shard {number} of the log does not begin as a shard does.")
        before = entries[0]
        return Shard(
            self._federation,
            number,
            before.previous_origin,
            before.previous_size,
            before.previous_root,
            policy_version=policy.version,
            policy_carried=True,
        )

    async def _further(self, following: Following) -> Following | None:
        """The next shard, or a successor's; None while the hub serves no head of it."""
        keys, number = following.state.next_keys, following.shard.number + 1
        if keys is None:
            return await self._succession.of_most(following)
        try:
            await self.files.checkpoint(number)
        except UnknownObject:
            return None
        counts = DatabaseCounts(number)
        state = following.state.successor(following.shard.entries.root(), counts)
        return Following(FollowedShard(number, keys), state, counts)

    # --- the directory -------------------------------------------------------------------------------------

    async def admit(self, fetched: FetchedDirectory, seen_before: int = 0) -> None:
        """Whether the log holds this directory (`Admission.admit`)."""
        try:
            await self._admission.admit(fetched, self._origin(), seen_before)
        finally:
            await self.load()

    def admitted(self, db: Database, directory: VerifiedDirectory) -> None:
        """It is taken up, in this transaction."""
        self._admission.admitted(db, directory)

    async def contradicted(self, first: FetchedDirectory, second: FetchedDirectory) -> None:
        """Keep two directories of one version, both signed by the hub."""
        await self._admission.contradicted(self._origin(), first, second)
        await self.load()

    def on_own_head(self, seen: OwnHead) -> None:
        """`seen` hears of heads in directories that this node's key signed and it does not remember."""
        self._admission.on_own_head = seen

    def _origin(self) -> str:
        return self.view.origin if self.view else log_origin(self._federation, 1)

    # --- stored --------------------------------------------------------------------------------------------

    def _stored(self, db: Database) -> LogView | None:
        shard, in_force = log_store.newest_head(db), self._policies.stored(db)
        if shard is None or shard.signed is None or shard.witnessed_at is None or in_force is None:
            return None
        directory = log_store.newest_directory(db)
        version, policy = in_force
        return LogView(shard.number, shard.signed, directory, policy, version, shard.witnessed_at)


def _alarms(db: Database) -> tuple[str, ...]:
    found = [
        f"The hub signed what contradicts itself ({kind}, {at:%Y-%m-%d %H:%M} UTC): both are kept "
        "as evidence; report it to the other members."
        for kind, at in contradictions.kinds(db)
    ]
    return (*found, *log_store.strange(db))
