"""Follows the federation's log: every entry, under witnessed heads alone (docs/protocol.md §10.4, §14, §15).

Rules of this file:
- heads are fetched at start, when the hub announces a directory, and every minute: never because of a lookup
  or of what it found;
- a head that lacks its quorum, contradicts what was seen or breaks a rule changes nothing: what was taken up
  last stays in use, until its age closes it (§15.6);
- policies come into force one after the other, each under a head that the one before it is satisfied with
  (§15.4); a shard is left for the next one when its `closed` entry was read (§14.7).

`view`, `trouble` and `missing` belong to the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from candor_node.clock import Clock
from candor_node.logs import log
from candor_node.store import Database, Store
from candor_node.tlog import contradictions, log_store
from candor_node.tlog.contradictions import FALSE_DIRECTORY, Contradiction
from candor_node.tlog.files import Get, LogFiles
from candor_node.tlog.folding import Observer, Self
from candor_node.tlog.log_store import DatabaseCounts, FollowedShard, KnownPolicy
from candor_node.tlog.taking_up import Following, TakingUp, time_of_witness
from candor_node.tlog.view import LogView, lasting, missing_words
from candor_proto import merkle
from candor_proto.directory import Directory
from candor_proto.errors import (
    CandorError,
    LogInconsistent,
    LogUnwitnessed,
    MalformedMessage,
    NotLogged,
    ProofInvalid,
    Rollback,
    UnknownObject,
)
from candor_proto.ids import FederationName
from candor_proto.signing import SignedStatement
from candor_proto.tlog.age import LogAge
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.entries import PolicyEntry, log_origin, parse_entry
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.policy import Policy, parse_policy
from candor_proto.tlog.signatures import verify_log
from candor_proto.tlog.state import LogState, state_of
from candor_proto.tlog.tiles import TILE_WIDTH, consistency_proof

POLL_SECONDS = 60.0
RETRY_SECONDS = 5.0
# Which witnesses sign is looked at so often, and of a head that they were asked about long enough ago.
LOOK_EVERY = timedelta(minutes=10)
ASKED_WITHIN = timedelta(seconds=30)
# The first policy stands among the first entries of a shard; further shards begin with it.
FIRST_ENTRIES = TILE_WIDTH


async def first_policy(files: LogFiles, federation: FederationName) -> tuple[int, PolicyEntry]:
    """Position and entry of the first policy of shard 1, unverified: it is compared by people (§15.4)."""
    head = parse_checkpoint(await files.checkpoint(1)).checkpoint
    if head.origin != log_origin(federation, 1):
        raise MalformedMessage("The hub serves the log of another federation.")
    for position, octets in enumerate(await files.bundle(1, 0, min(FIRST_ENTRIES, head.size))):
        entry = parse_entry(octets)
        if isinstance(entry, PolicyEntry):
            return position, entry
    raise MalformedMessage("The log does not begin with a policy.")


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
    ) -> None:
        """`policy` is the operator's own; then those of the log are none (§15.4)."""
        self.files = LogFiles(get)
        self.observers: list[Observer] = []
        self._store = store
        self._federation = federation
        self._clock = clock
        self._own_policy = policy
        self._taking_up = TakingUp(self.files, store, clock, own, self.observers)
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
            raise self._closed()

    def notice(self, now: datetime) -> str:
        """A sentence for people while the log is not current; empty while it is."""
        view = self.view
        if view is None:
            return self._closed().message
        match view.age(now):
            case LogAge.CURRENT:
                return ""
            case LogAge.CLOSED:
                return self._closed().message
            case LogAge.LATE:
                return (
                    f"The federation's log was last witnessed at {view.time_of_witness:%Y-%m-%d %H:%M} UTC, "
                    f"{lasting(now - view.time_of_witness)} ago: members, keys and indexes may have changed "
                    f"since. At {view.closes_at():%Y-%m-%d %H:%M} UTC this node stops asking and answering."
                    f"{missing_words(self.missing, view.policy)}"
                )

    def _closed(self) -> LogUnwitnessed:
        view, now = self.view, self._clock.now()
        if view is None:
            since = "This node has not seen a witnessed head of the federation's log yet"
            missing = ""
        else:
            since = (
                "No head of the federation's log has been witnessed since "
                f"{view.time_of_witness:%Y-%m-%d %H:%M} UTC, {lasting(now - view.time_of_witness)} ago"
            )
            missing = missing_words(self.missing, view.policy)
        return LogUnwitnessed(
            f"{since}. Until one comes this node asks nobody and answers nobody.{missing}",
            remedy="`candor-node status` says whether the hub is reached and what is wrong with the log. If "
            "witnesses are missing, their agencies' nodes have to run; otherwise call the hub's operator.",
        )

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
                delay = POLL_SECONDS
                failures = 0
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
        self.view = await self._store.run(self._stored_view)
        self._alarms = await self._store.run(_alarms)

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

    # --- heads ---------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        following = self._following = self._following or await self._begin()
        while True:
            await self._newest(following)
            if following.state.shard.closed is None:
                return
            further = await self._further(following)
            if further is None:
                return
            following = self._following = further

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
                if not await self._advance(following):
                    await self._look_for_missing(following, signed)
                    raise
        while await self._advance(following, known=True):
            pass
        await self._look_for_missing(following, signed)

    async def _take(self, following: Following, signed: SignedCheckpoint, signed_at: datetime) -> None:
        """Take up a head under the policy in force, and put in force what it covers."""
        in_force = await self._policy()
        await self._taking_up.take_up(following, signed, signed_at, in_force[1])
        if self._own_policy is None:
            version = in_force[0] + 1
            await self._store.run(lambda db: _cover(db, version))

    async def _advance(self, following: Following, *, known: bool = False) -> bool:
        """Put the policy after the one in force in force, by the head that the hub kept for it (§15.4).

        `known`: only one of which the entry was read already. False when there is none.
        """
        if self._own_policy is not None:
            return False
        version, in_force = await self._policy()
        after = await self._store.run(lambda db: log_store.policy(db, version + 1))
        if known and after is None:
            return False
        number = following.shard.number if after is None else after.shard
        try:
            octets = await self.files.policy(number, version + 1)
        except UnknownObject:
            return False
        if after is None:
            signed, signed_at = await self._taking_up.examine(following, octets)
            await self._taking_up.take_up(following, signed, signed_at, in_force)
            return await self._store.run(lambda db: _cover(db, version + 1))
        return await self._enforced_before(after, octets, in_force)

    async def _enforced_before(self, after: KnownPolicy, octets: bytes, in_force: Policy) -> bool:
        """Put a policy in force that was read, by a head of this log that satisfies the one before it."""
        held = await self._store.run(
            lambda db: log_store.shard_of(db, log_origin(self._federation, after.shard))
        )
        signed = parse_checkpoint(octets)
        if held is None or held.signed is None or signed.checkpoint.origin != held.origin:
            raise LogInconsistent("The head for a policy is of another log.")
        signed_at = verify_log(signed, held.keys)
        time_of_witness(in_force, signed, signed_at, self._clock.now())
        small, large = sorted((signed.checkpoint, held.signed.checkpoint), key=lambda head: head.size)
        if signed.checkpoint.size <= after.position:
            raise LogInconsistent(f"The head for policy {after.version} does not cover it.")
        proof = await self.files.compute(
            after.shard, lambda reader: consistency_proof(reader, small.size, large.size)
        )
        try:
            merkle.verify_consistency(small.size, large.size, proof, small.root, large.root)
        except ProofInvalid:
            raise LogInconsistent(f"The head for policy {after.version} is of another log.") from None
        await self._store.run(lambda db: log_store.enforce_policy(db, after.version))
        return True

    async def _policy(self) -> tuple[int, Policy]:
        """Version and policy in force; version 0 for the operator's own."""
        if self._own_policy is not None:
            return 0, self._own_policy
        known = await self._store.run(log_store.policy_in_force)
        if known is None:
            position, entry = await first_policy(self.files, self._federation)
            await self._store.run(lambda db: log_store.keep_policy(db, 1, position, entry))
            log.warning("the first policy of the log was taken as it came", sha256=fingerprint(entry.text))
            return entry.version, parse_policy(entry.text)
        return known.version, parse_policy(known.text)

    async def _look_for_missing(self, following: Following, signed: SignedCheckpoint) -> None:
        """Which witnesses do not sign: asked of the newest head that was signed, now and then.

        The head that has its quorum was shown as soon as it had, and says nothing of those who came later.
        """
        now, policy = self._clock.now(), (await self._policy())[1]
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
        stored = await self._store.run(lambda db: (log_store.last_shard(db), log_store.state(db)))
        shard, held = stored
        if shard is not None and held is not None:
            return Following(shard, *held)
        _, policy = await self._policy()
        number = 1 if self._own_policy is None else _first_known(policy, self._federation)
        counts = DatabaseCounts(number)
        state = LogState.first(self._federation, counts)
        keys = policy.log_keys(log_origin(self._federation, number))
        return Following(FollowedShard(number, _pair(keys, number)), state, counts)

    async def _further(self, following: Following) -> Following | None:
        """The next shard; None while the hub serves no head of it."""
        keys, number = following.state.next_keys, following.shard.number + 1
        assert keys is not None
        try:
            await self.files.checkpoint(number)
        except UnknownObject:
            return None
        counts = DatabaseCounts(number)
        state = following.state.successor(following.shard.entries.root(), counts)
        return Following(FollowedShard(number, keys), state, counts)

    # --- the directory -------------------------------------------------------------------------------------

    async def admit(self, statement: SignedStatement, chain: Sequence[bytes], seen_before: int = 0) -> None:
        """Whether the log holds this directory (§10.4); its signature was verified.

        `seen_before` is the version that the log held before the directory was asked for. Raises Rollback,
        NotLogged, or LogInconsistent when the log holds another one of its version.
        """
        directory, state = await asyncio.to_thread(_state_of, statement)
        if directory.version < seen_before:
            raise Rollback(
                f"The hub serves directory version {directory.version}; the log holds {seen_before}.",
                remedy="Report it to the hub operator and to the other members.",
            )
        entry = await self._store.run(lambda db: log_store.directory_entry(db, directory.version))
        if entry is None:
            raise NotLogged(
                f"The log does not hold directory version {directory.version} yet.",
                remedy="It is tried again; if it lasts, report it to the hub operator.",
            )
        if (entry.issued_at, entry.chain_digest, entry.state) == (
            directory.issued_at,
            directory.chain_digest.value,
            state,
        ):
            return
        found = Contradiction(
            FALSE_DIRECTORY,
            log_origin(self._federation, self.view.shard if self.view else 1),
            statement.body + statement.signature,
            entry.encode(),
            {"chain": [der.hex() for der in chain], "version": directory.version},
        )
        now = self._clock.now()
        await self._store.run(lambda db: contradictions.keep(db, found, now))
        raise LogInconsistent(
            f"The hub's directory version {directory.version} is not the one that the log holds.",
            remedy="It shows other members or keys than it logs. Report it to the other members.",
        )

    # --- stored --------------------------------------------------------------------------------------------

    def _stored_view(self, db: Database) -> LogView | None:
        shard = log_store.newest_head(db)
        if shard is None or shard.signed is None or shard.witnessed_at is None:
            return None
        if self._own_policy is not None:
            version, policy = 0, self._own_policy
        else:
            known = log_store.policy_in_force(db)
            if known is None:
                return None
            version, policy = known.version, parse_policy(known.text)
        return LogView(
            shard.number,
            shard.signed,
            log_store.newest_directory(db),
            policy,
            version,
            shard.witnessed_at,
        )


def _cover(db: Database, version: int) -> bool:
    """Put a policy in force whose entry was read: the head over it satisfied the policy before it."""
    after = log_store.policy(db, version)
    if after is None:
        return False
    log_store.enforce_policy(db, version)
    return True


def _alarms(db: Database) -> tuple[str, ...]:
    found = [
        f"The hub has signed what contradicts itself ({one.kind}, {one.at:%Y-%m-%d %H:%M} UTC): both are "
        "kept as evidence; report it to the other members."
        for one in contradictions.kept(db)
    ]
    return (*found, *log_store.strange(db))


def _state_of(statement: SignedStatement) -> tuple[Directory, bytes]:
    directory = Directory.decode(statement.body)
    return directory, state_of(directory)


def _first_known(policy: Policy, federation: FederationName) -> int:
    """The lowest shard of this federation that a policy names both keys of; raises MalformedMessage."""
    prefix = log_origin(federation, 1)[:-1]
    numbers = {
        int(each.key.name.removeprefix(prefix))
        for each in policy.logs
        if each.key.name.startswith(prefix) and each.key.name.removeprefix(prefix).isdecimal()
    }
    known = [number for number in numbers if len(policy.log_keys(log_origin(federation, number))) == 2]
    if not known:
        raise MalformedMessage(
            f"The policy names no log of {federation} with both of its keys.",
            remedy="Ask the hub's operator for the log's policy; `log_policy` in node.toml names its file.",
        )
    return min(known)


def _pair(keys: Sequence[VerifierKey], shard: int) -> tuple[VerifierKey, VerifierKey]:
    if len(keys) != 2:
        raise MalformedMessage(f"The policy does not name both keys of shard {shard} of the log.")
    return keys[0], keys[1]


def fingerprint(policy: bytes) -> str:
    """The SHA-256 of a policy's text, as people compare it."""
    return hashlib.sha256(policy).hexdigest()
