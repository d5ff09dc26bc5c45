"""What lookups are checked against: verified directory and every member's index (docs/protocol.md §6.8, §10).

Rules of this file:
- every segment of all active members is fetched at start, on announcement and on the calendar: never because
  of a lookup or of what it found, for such a fetch would betray it;
- a node's index is held whole or not at all: without the last segment it is "no index" in the coverage;
- octets from disk are compared with their address just like octets from the hub;
- a directory counts when the followed log holds it, fetched or kept (§10.4): till then the one before stays
  in use, and once the log is closed none does (§15.6).

`directory`, `indexes` and `announced` belong to the event loop.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from candor_certs.chain import load_certificate, verify_directory_certificate
from candor_node import directory_store
from candor_node.accountability import noticing
from candor_node.accountability.kept_segments import KeptSegments
from candor_node.clock import Clock
from candor_node.directory_store import FetchedDirectory
from candor_node.hub_client import HubClient
from candor_node.logs import log
from candor_node.store import Database, Store
from candor_proto.candidates import NodeIndex
from candor_proto.directory import (
    IndexHead,
    SegmentRef,
    VerifiedDirectory,
    verify_directory,
    verify_head,
)
from candor_proto.directory_file import DirectoryFile
from candor_proto.errors import (
    CandorError,
    CommitmentMismatch,
    IdentityMismatch,
    LimitExceeded,
    Rollback,
    StoreUnusable,
    Unreachable,
)
from candor_proto.exchange import unknown_scheme
from candor_proto.ids import FederationName, NodeId
from candor_proto.scheme import SCHEMES
from candor_proto.scoring import REFERENCE_POPULATION
from candor_proto.segment import Segment, address
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_wire.codec import chain_digest

FETCHES_AT_ONCE = 4
# The prior holds where half of those asked about have a record; of fewer records, fewer have one, so that a
# record is no likelier to be the asked person's (docs/matching.md §6.3).
FEWEST_RECORDS = REFERENCE_POPULATION
# 250,000 records of one owner (§13); without a limit one member could fill everybody's memory.
MAX_INDEX_OCTETS = 1 << 30
FIRST_RETRY_SECONDS = 5.0
# The directory as a file of its own, for whoever founds a successor of a hub that is gone (§19.7).
DIRECTORY_FILE = "directory.json"
NEXT_RETRY_SECONDS = 60.0


class Log(Protocol):
    """The part of `candor_node.tlog.follower.Follower` that stands behind the directory."""

    @property
    def directory_version(self) -> int:
        """The newest version that the log holds."""

    async def load(self) -> None:
        """Take up what was followed before a restart."""

    async def follow(self) -> object:
        """Take up the newest witnessed head."""

    async def admit(self, fetched: FetchedDirectory, seen_before: int = 0) -> None:
        """Raises unless the log holds this directory."""

    def admitted(self, db: Database, directory: VerifiedDirectory) -> None:
        """It is taken up, in this transaction."""

    async def contradicted(self, first: FetchedDirectory, second: FetchedDirectory) -> None:
        """Keep two directories of one version, both signed by the hub."""

    def check_open(self) -> None:
        """Raises LogUnwitnessed when the log is too old to be relied on."""

    def is_open(self) -> bool:
        """Whether it is not."""


class IndexClient:
    """Fetches, verifies and holds directory and indexes."""

    def __init__(
        self,
        hub: HubClient,
        store: Store,
        folder: Path,
        federation: FederationName,
        roots: Sequence[x509.Certificate],
        clock: Clock,
        followed: Log,
        federation_records: int | None = None,
        on_taken_up: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_taken_up` hears of each directory that is held from now on."""
        self._hub = hub
        self._log = followed
        self._store = store
        self._folder = folder
        self.kept = KeptSegments(folder, kept_folder(folder))
        self._federation = federation
        self._roots = tuple(roots)
        self._clock = clock
        self._federation_records = federation_records
        self._on_taken_up = on_taken_up
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._refreshed = asyncio.Condition()
        self._refreshed_once = False
        self.directory: VerifiedDirectory | None = None
        self.indexes: dict[NodeId, NodeIndex] = {}
        self.announced = 0
        self.last_error: CandorError | None = None
        # What certified the directory key of the newest directory that was verified: the hub's present one.
        self.authority: x509.Certificate | None = None

    @property
    def version(self) -> int:
        """The version of the directory held; 0 for none."""
        return self.directory.version if self.directory else 0

    def require_directory(self) -> VerifiedDirectory:
        """Raises Unreachable before the first directory was fetched, LogUnwitnessed with a closed log."""
        self._log.check_open()
        if self.directory is None:
            raise Unreachable(
                "This node holds no verified directory yet, so it knows no members.",
                remedy="`candor-node status` says why; it is fetched as soon as the hub can be reached.",
            )
        return self.directory

    def warnings(self) -> list[str]:
        """What a person should look into: members whose keys or index heads are not as they should be."""
        if self.directory is None:
            return []
        heads = self.directory.head_troubles.items()
        unknown = [(node, head) for node, head in self.heads().items() if head.scheme_version not in SCHEMES]
        return [
            *(str(trouble) for trouble in self.directory.key_troubles.values()),
            *(f"The index of {node} is not taken up: {trouble}" for node, trouble in heads),
            *(f"{node} cannot be asked: {unknown_scheme(head)}." for node, head in unknown),
        ]

    def complete(self) -> bool:
        """Whether the newest index of every member that has one is held."""
        directory = self.directory
        if directory is None:
            return False
        heads = ((node, directory.head(node)) for node in directory.nodes())
        held = self.indexes
        return all(head is None or (node in held and held[node].head == head) for node, head in heads)

    def heads(self) -> dict[NodeId, IndexHead]:
        """Of the indexes held: epoch and scheme under which each node is asked."""
        return {node: index.head for node, index in self.indexes.items()}

    def vouched(self) -> Mapping[NodeId, NodeIndex]:
        """The indexes held; none while the log is closed, for then nobody vouches for any."""
        return self.indexes if self._log.is_open() else {}

    def population(self) -> int:
        """How many records a lookup reaches, for the probability of what it finds (docs/matching.md §6).

        What the operator says, or the blobs of all indexes that are asked, dummies included (§6.6), whoever
        has answered: a late answer is weighed like an early one. No estimate is below FEWEST_RECORDS.
        """
        if self._federation_records is not None:
            return self._federation_records
        asked = [index for index in self.indexes.values() if index.head.scheme_version in SCHEMES]
        return max(FEWEST_RECORDS, sum(segment.header.blobs for index in asked for segment in index.segments))

    # --- when ----------------------------------------------------------------------------------------------

    def announce(self, version: int) -> None:
        """The hub says that its directory has this version."""
        self.announced = max(self.announced, version)
        # At start everything is asked for once: what a disk gave back may not be whole.
        if self.announced > self.version or not self._refreshed_once:
            self._wanted.set()

    async def caught_up(self, seconds: float) -> None:
        """Wait until the announced directory is held, for at most `seconds`; fetches nothing by itself."""
        try:
            async with asyncio.timeout(seconds), self._refreshed:
                await self._refreshed.wait_for(lambda: self.version >= self.announced)
        except TimeoutError:
            return

    async def run(self, interval_seconds: float) -> None:
        """Refresh on announcement and on the calendar, for ever."""
        delay = interval_seconds
        while True:
            try:
                async with asyncio.timeout(delay):
                    await self._wanted.wait()
                self._wanted.clear()
                if self._refreshed_once and self.version >= self.announced:
                    continue  # it was announced while it was being fetched
            except TimeoutError:
                pass
            try:
                await self.refresh()
                delay = interval_seconds if self.complete() else min(interval_seconds, NEXT_RETRY_SECONDS)
            except CandorError as error:
                self.last_error = error
                log.warning("the directory was not refreshed", code=error.code, reason=error.message)
                delay = min(interval_seconds, FIRST_RETRY_SECONDS)

    # --- what ----------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Take up the directory and the segments that were held before a restart, as far as they verify."""
        await self._log.load()
        fetched = await self._store.run(directory_store.kept)
        if fetched is None:
            return
        try:
            directory = await self._verify(fetched)
            await self._log.admit(fetched)
            self.directory = directory
        except CandorError as error:
            log.warning("the kept directory does not verify any more", code=error.code)
            return
        await self._hold_indexes(self.directory, from_hub=False)

    async def refresh(self) -> None:
        """Fetch directory and missing segments now. Raises Unreachable, Rollback, NotLogged …"""
        async with self._lock:
            # What is fetched now cannot be older than what the log held before.
            logged = self._log.directory_version
            fetched = await self._hub.get_directory()
            try:
                directory = await self._verify(fetched)
            except Rollback:
                if (held := await self._store.run(directory_store.kept)) is not None:
                    await self._log.contradicted(held, fetched)
                raise
            now, signed = self._clock.now(), _signed_heads(directory)
            await self._store.run(lambda db: noticing.heads(db, signed, now))
            if directory.version >= logged:
                await self._log.follow()
            await self._log.admit(fetched, logged)

            def keep(db: Database) -> None:
                directory_store.keep(db, fetched, directory, now)
                self._log.admitted(db, directory)

            await self._store.run(keep)
            await asyncio.to_thread(
                _keep_file, self._folder.parent / DIRECTORY_FILE, self._federation, fetched
            )
            for node, trouble in (*directory.key_troubles.items(), *directory.head_troubles.items()):
                log.warning("a member is not as it was", node=str(node), code=trouble.code)
            self.directory = directory
            # Who waits for it need not wait for the indexes that it names.
            self._on_taken_up()
            await self._hold_indexes(directory, from_hub=True)
            self._refreshed_once = True
            self.last_error = None
        async with self._refreshed:
            self._refreshed.notify_all()

    async def _verify(self, fetched: FetchedDirectory) -> VerifiedDirectory:
        now = self._clock.now()
        certified = verify_directory_certificate(fetched.chain, self._roots, self._federation, now)
        # A hint to renew, no more: it need not wait until the log holds this directory.
        self.authority = load_certificate(fetched.chain[1]) if len(fetched.chain) > 1 else None
        key = VerifyingKey(certified.public_bytes(Encoding.Raw, PublicFormat.Raw))
        seen = await self._store.run(directory_store.seen)
        return await asyncio.to_thread(
            verify_directory,
            fetched.statement,
            key,
            chain_digest(fetched.chain),
            self._federation,
            now,
            seen,
        )

    async def _hold_indexes(self, directory: VerifiedDirectory, *, from_hub: bool) -> None:
        limit = asyncio.Semaphore(FETCHES_AT_ONCE)
        members = directory.nodes()
        heads = {node: head for node in members if (head := directory.head(node)) is not None}

        async def hold(node: NodeId, head: IndexHead) -> None:
            held = self.indexes.get(node)
            if held is not None and held.head == head:
                return
            # A segment is held for its epoch and number: a new epoch that named an old one would never match.
            known = dict(self._held_segments(held)) if held and held.head.epoch == head.epoch else {}
            try:
                if sum(ref.octets for ref in head.segments) > MAX_INDEX_OCTETS:
                    raise LimitExceeded(f"The index of {node} is over the size that members hold.")
                segments = []
                for ref in head.segments:
                    async with limit:
                        segments.append(known.get(ref) or await self._segment(head, ref, from_hub))
            except CandorError as error:
                self.indexes.pop(node, None)
                log.warning("an index is not complete", node=str(node), code=error.code)
                return
            self.indexes[node] = NodeIndex(head, tuple(segments))

        await asyncio.gather(*(hold(node, head) for node, head in heads.items()))
        # In place of a head that does not stand up the last good one stays in use, until its age shows.
        troubled = [node for node in members if node in directory.head_troubles and node in self.indexes]
        for node in [node for node in self.indexes if node not in heads and node not in troubled]:
            del self.indexes[node]
        if from_hub:
            held_heads = [*heads.values(), *(self.indexes[node].head for node in troubled)]
            wanted = {ref.address.hex() for head in held_heads for ref in head.segments}
            await asyncio.to_thread(self._forget, wanted)

    @staticmethod
    def _held_segments(held: NodeIndex) -> list[tuple[SegmentRef, Segment]]:
        return list(zip(held.head.segments, held.segments, strict=True))

    # --- segments ------------------------------------------------------------------------------------------

    async def _segment(self, head: IndexHead, ref: SegmentRef, from_hub: bool) -> Segment:
        held = await asyncio.to_thread(self._read, ref)
        if held is not None:
            return await asyncio.to_thread(_parsed, head, ref, held)
        if not from_hub:
            raise StoreUnusable("A segment is not on the disk.")
        octets = await self._hub.get_segment(ref.address)
        if address(octets) != ref.address:
            raise CommitmentMismatch(_NOT_NAMED)
        await asyncio.to_thread(self._write, ref, octets)
        try:
            return await asyncio.to_thread(_parsed, head, ref, octets)
        except CandorError:
            # Its owner has named these octets: they are its own doing (§17.1).
            now = self._clock.now()
            await self._store.run(lambda db: noticing.segment(db, head, octets, now))
            raise

    def _read(self, ref: SegmentRef) -> bytes | None:
        try:
            octets = (self._folder / ref.address.hex()).read_bytes()
            _check_address(ref, octets)
        except (OSError, CommitmentMismatch):
            return None
        return octets

    def _write(self, ref: SegmentRef, octets: bytes) -> None:
        path = self._folder / ref.address.hex()
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        try:
            with temporary.open("xb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreUnusable(
                f"{self._folder} cannot be written: {error.strerror}.", remedy="Check the disk."
            ) from None

    def _forget(self, wanted: set[str]) -> None:
        """Put away segments that no head names any more, and what a crash left half-written."""
        for path in self._folder.iterdir():
            if path.name not in wanted:
                self.kept.retire(path)


def _keep_file(path: Path, federation: FederationName, fetched: FetchedDirectory) -> None:
    """Write the directory for others to read; that it cannot be written is no reason not to take it up."""
    octets = DirectoryFile(federation, fetched.statement, fetched.chain).encode()
    beside = path.with_name(f".{path.name}.new")
    try:
        if not path.exists() or path.read_bytes() != octets:
            beside.write_bytes(octets)
            os.replace(beside, path)
    except OSError as error:
        log.warning("the directory's file could not be written", exc_info=error)


def kept_folder(folder: Path) -> Path:
    """Where segments lie that went out of use, beside the folder of those in use."""
    return folder.with_name(f"{folder.name}-kept")


_NOT_NAMED = "A segment is not the one that its head names."


def _check_address(ref: SegmentRef, octets: bytes) -> None:
    if len(octets) != ref.octets or address(octets) != ref.address:
        raise CommitmentMismatch(_NOT_NAMED)


def _parsed(head: IndexHead, ref: SegmentRef, octets: bytes) -> Segment:
    """The segment that a head names; raises what keeps it from being that."""
    _check_address(ref, octets)
    segment = Segment(octets)
    header = segment.header
    named = head.federation, head.node, head.epoch, ref.number
    if (header.federation, header.node, header.epoch, header.number) != named:
        raise IdentityMismatch(f"A segment of {head.node} belongs to another index.")
    return segment


def _signed_heads(directory: VerifiedDirectory) -> list[tuple[IndexHead, SignedStatement]]:
    """Every index head that its member signed, those that are not taken up included."""
    found = []
    for member in directory.directory.members:
        if member.head is None:
            continue
        head = directory.head(member.node)
        try:
            found.append((head or verify_head(member.head, member, directory.federation), member.head))
        except CandorError:
            continue
    return found
