"""One append to the log, in its order (docs/protocol.md §14.6).

    what waits is read -> packed into entries -> judged by the rules of §14.5 -> written as bundles and tiles,
    durable -> read back, every hash computed anew -> signed -> stored with the end of the waiting, at once

Rules of this file:
- nothing is signed that was not read back, and nothing that anybody who reads the log would refuse;
- a signed checkpoint leaves this module only when it is in the database: what is signed and not stored is
  forgotten, and the same entries are appended again;
- times of signing never go back, whatever the clock does: a later time with a smaller size would be evidence
  against this hub (§17.1).

One thread at a time; everything it holds in memory it reads anew after an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from candor_hub.store import Transaction, Transactions
from candor_hub.store.log import ShardRecord, Waiting
from candor_hub.tlog import due
from candor_hub.tlog.files import LogFiles, ShardFiles
from candor_hub.tlog.ring import KeyRing
from candor_proto.canonical import label_bytes
from candor_proto.errors import CandorError, LogInconsistent, StoreUnusable
from candor_proto.ids import FederationName
from candor_proto.merkle import HASH_OCTETS, CompactRange, leaf_hash
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.entries import (
    LABEL,
    MAX_COMMITMENTS,
    DirectoryEntry,
    Entry,
    Opened,
    PolicyEntry,
    Receipts,
    Requests,
    Statement,
)
from candor_proto.tlog.state import LogState
from candor_proto.tlog.tiles import (
    TILE_WIDTH,
    bundle_path,
    encode_bundle,
    grown_tiles,
    new_tiles,
    tile_path,
    tree_root,
)

log = structlog.get_logger(__name__)

MAX_ENTRIES = 4_096
MAX_OCTETS = 8 << 20
# Commitments wait so long for company, or until there are so many: an entry takes 256 of them.
COMMITMENTS_WAIT = timedelta(seconds=0.5)
MANY_COMMITMENTS = 1_024
_COMMITMENTS = {Requests.KIND: Requests, Receipts.KIND: Receipts}


@dataclass(frozen=True)
class Batch:
    """Entries to be appended in this order, and the numbers of the rows that they were made of."""

    entries: tuple[bytes, ...]
    numbers: frozenset[int]


@dataclass(frozen=True)
class Appended:
    """A head that was signed and stored; `closed` when its last entry ends the shard."""

    shard: int
    signed: SignedCheckpoint
    entries: int
    closed: bool


class StoredCounts:
    """`RequestCounts` over the rows of the database and what was added since they were saved."""

    def __init__(self, store: Transactions) -> None:
        self._store = store
        self._added: list[tuple[int, int]] = []

    def add(self, index: int, count: int) -> None:
        self._added.append((index, count))

    def before(self, index: int) -> int:
        with self._store.read() as tx:
            stored = tx.log_states.requests_before(index)
        return stored + sum(count for at, count in self._added if at < index)

    def saved(self) -> None:
        self._added.clear()


class Appender:
    """Appends what waits to the present shard."""

    def __init__(
        self, store: Transactions, files: LogFiles, ring: KeyRing, federation: FederationName
    ) -> None:
        self._store = store
        self._files = files
        self._ring = ring
        self._federation = federation
        self._state: LogState | None = None
        self._counts = StoredCounts(store)

    def append(self, now: datetime, *, all_of_it: bool = False) -> Appended | None:
        """Append what is due, or `all_of_it`; None if nothing is. Raises StoreUnusable, LogInconsistent."""
        with self._store.read() as tx:
            shard = present_shard(tx)
            if shard is None or shard.closed:
                return None
            waiting = tx.log.waiting(MAX_ENTRIES)
        batch = pack(waiting, now, all_of_it=all_of_it)
        if not batch.numbers:
            return None
        try:
            return self._append(shard, batch, now)
        except BaseException:
            self._state = None
            raise

    def sign_again(self, now: datetime) -> Appended | None:
        """Sign the present size anew; None before the first entry. Raises StoreUnusable."""
        with self._store.read() as tx:
            shard = present_shard(tx)
        if shard is None or not shard.size:
            return None
        self._check(self._files.shard(shard.shard), shard.range, shard.range, ())
        signed, moment = self._sign(shard, shard.range, now)
        with self._store.write() as tx:
            tx.log.set_signed(shard.shard, shard.size, shard.range, signed.encode(), moment, shard.closed)
        return Appended(shard.shard, signed, 0, shard.closed)

    def close(self, now: datetime) -> Appended | None:
        """Append everything that waits, then the end of the shard; None when that is more than one append,
        or a policy of this shard is not in force yet.

        What the next shard begins with waits from the same transaction on (§14.7). Raises StoreUnusable.
        """
        try:
            with self._store.write() as tx:
                return self._close(tx, now)
        except BaseException:
            self._state = None
            raise

    # --- one append -------------------------------------------------------------------------------------

    def _append(self, shard: ShardRecord, batch: Batch, now: datetime) -> Appended | None:
        state, entries, parsed = self._judge(shard, batch.entries)
        if not entries:
            with self._store.write() as tx:
                tx.log.drop_waiting(batch.numbers)
            return None
        grown = self._write(self._files, shard, entries)
        signed, moment = self._sign(shard, grown, now)
        with self._store.write() as tx:
            self._store_signed(tx, shard, grown, signed, moment, parsed, state, batch.numbers)
        self._counts.saved()
        return Appended(shard.shard, signed, len(entries), False)

    def _close(self, tx: Transaction, now: datetime) -> Appended | None:
        shards = tx.log.shards()
        shard, following = shards[-2], shards[-1]
        policy = tx.log.newest_policy()
        if policy is None or not policy.in_force:
            return None  # the next shard begins with the last policy of this one
        waiting = tx.log.waiting(MAX_ENTRIES)
        batch = pack(waiting, now, all_of_it=True)
        if len(batch.numbers) < tx.log.waiting_count() or len(batch.entries) >= MAX_ENTRIES:
            return None
        last = due.closing(shard.shard, self._federation, following.verifier_keys, now)
        state, entries, parsed = self._judge(shard, (*batch.entries, last))
        grown = self._write(self._files.within(tx), shard, entries)
        signed, moment = self._sign(shard, grown, now)
        self._store_signed(tx, shard, grown, signed, moment, parsed, state, batch.numbers)
        first = Opened(self._federation, following.shard, now, shard.origin, grown.size, grown.root())
        tx.log.wait(due.opening(tx, first, state.directory), now, opening=True)
        self._counts.saved()
        return Appended(shard.shard, signed, len(entries), True)

    def _judge(
        self, shard: ShardRecord, entries: Sequence[bytes]
    ) -> tuple[LogState, list[bytes], list[tuple[int, Entry]]]:
        """The state with these entries, those that may be appended, and what they say, by index.

        A member's statement that breaks a rule is left out: nobody may stop the log with one. Anything else
        that does is a fault of ours. Raises LogInconsistent.
        """
        state = self._present_state(shard)
        kept: list[bytes] = []
        parsed: list[tuple[int, Entry]] = []
        for entry in entries:
            index = shard.size + len(kept)
            try:
                parsed.append((index, state.apply(index, entry)))
            except LogInconsistent as error:
                if not _is_statement(entry):
                    log.error("the log does not go on", code=error.code, message=error.message)
                    raise
                log.error("a statement was not logged", code=error.code, message=error.message)
                continue
            kept.append(entry)
        return state, kept, parsed

    def _present_state(self, shard: ShardRecord) -> LogState:
        """What the entries so far add up to; it changes while entries are judged."""
        state, self._state = self._state, None
        if state is None:
            self._counts = StoredCounts(self._store)
            with self._store.read() as tx:
                state = tx.log_states.load(self._counts)
            if state is None:
                state = LogState.first(self._federation, self._counts)
        if state.shard.number == shard.shard - 1 and not shard.size:
            with self._store.read() as tx:
                before = next(each for each in tx.log.shards() if each.shard == shard.shard - 1)
            self._counts = StoredCounts(self._store)
            state = state.successor(before.range.root(), self._counts)
        if (state.shard.number, state.size) != (shard.shard, shard.size):
            raise StoreUnusable(
                f"The database contradicts itself about the log: its state is that of {state.size} entries "
                f"of shard {state.shard.number}, its checkpoint of {shard.size} of shard {shard.shard}.",
                remedy="Stop candor-hub and restore the last backup.",
            )
        return state

    def _write(self, place: LogFiles, shard: ShardRecord, entries: Sequence[bytes]) -> CompactRange:
        """Write the files of `entries` durably and read them back; the range with them."""
        files, before = place.shard(shard.shard), shard.size
        hashes = [leaf_hash(entry) for entry in entries]
        try:
            grown = grown_tiles(files, before, hashes)
            partial = files.bundle(before // TILE_WIDTH, before % TILE_WIDTH) if before % TILE_WIDTH else ()
        except CandorError as error:
            raise damaged(error) from error
        written = {
            files.path(tile_path(level, index, width)): octets for level, index, width, octets in grown
        }
        held = (*partial, *entries)
        first = before // TILE_WIDTH
        for at in range(0, len(held), TILE_WIDTH):
            some = held[at : at + TILE_WIDTH]
            written[files.path(bundle_path(first + at // TILE_WIDTH, len(some)))] = encode_bundle(some)
        place.write(written)
        after = shard.range.extend(hashes)
        self._check(files, shard.range, after, entries)
        return after

    def _check(
        self, files: ShardFiles, before: CompactRange, after: CompactRange, entries: Sequence[bytes]
    ) -> None:
        """Compare what was written with what was meant, all read from the disk; raises StoreUnusable."""
        try:
            check_written(files, before, after, entries)
        except CandorError as error:
            raise damaged(error) from error

    def _sign(
        self, shard: ShardRecord, range_: CompactRange, now: datetime
    ) -> tuple[SignedCheckpoint, datetime]:
        moment = max(now, shard.signed_at)
        checkpoint = Checkpoint(shard.origin, range_.size, range_.root())
        return self._ring.of(shard).sign(checkpoint, moment), moment

    def _store_signed(
        self,
        tx: Transaction,
        shard: ShardRecord,
        range_: CompactRange,
        signed: SignedCheckpoint,
        moment: datetime,
        parsed: Iterable[tuple[int, Entry]],
        state: LogState,
        numbers: frozenset[int],
    ) -> None:
        if tx.log.drop_waiting(numbers) != len(numbers):
            raise StoreUnusable(
                "Somebody else appended to the log; nothing of this step was stored.",
                remedy="End the other candor-hub that uses this database.",
            )
        tx.log.set_signed(
            shard.shard, shard.size, range_, signed.encode(), moment, state.shard.closed is not None
        )
        for index, entry in parsed:
            match entry:
                case DirectoryEntry():
                    tx.log.add_directory(entry.version, shard.shard, index)
                case PolicyEntry():
                    tx.log.place_policy(entry.version, shard.shard, index)
                case _:
                    pass
        tx.log_states.save(state.take_changes(), anew=shard.size == 0)
        self._state = state


def present_shard(tx: Transaction) -> ShardRecord | None:
    """The shard that is appended to: the first one whose end is not witnessed."""
    return next((shard for shard in tx.log.shards() if not shard.ended), None)


def pack(waiting: Sequence[Waiting], now: datetime, *, all_of_it: bool = False) -> Batch:
    """The entries that are due, in order: commitments come last, up to 256 of a kind in one entry."""
    entries: list[bytes] = []
    numbers: set[int] = set()
    octets = 0
    gathered: dict[int, list[Waiting]] = {kind: [] for kind in _COMMITMENTS}
    for each in waiting:
        if each.kind in _COMMITMENTS:
            gathered[each.kind].append(each)
            continue
        octets += len(each.entry)
        if len(entries) >= MAX_ENTRIES or (entries and octets > MAX_OCTETS):
            break
        entries.append(each.entry)
        numbers.add(each.number)
    for kind, rows in gathered.items():
        if not all_of_it and not _due(rows, now):
            continue
        for at in range(0, len(rows), MAX_COMMITMENTS):
            if len(entries) >= MAX_ENTRIES:
                break
            some = rows[at : at + MAX_COMMITMENTS]
            entries.append(_COMMITMENTS[kind](tuple(sorted({each.entry for each in some}))).encode())
            numbers.update(each.number for each in some)
    return Batch(tuple(entries), frozenset(numbers))


def _due(rows: Sequence[Waiting], now: datetime) -> bool:
    if not rows:
        return False
    # A clock that was set back must not keep them waiting.
    waited = now - rows[0].at
    return len(rows) >= MANY_COMMITMENTS or not timedelta(0) <= waited < COMMITMENTS_WAIT


def _is_statement(entry: bytes) -> bool:
    return entry.startswith(label_bytes(LABEL) + bytes([Statement.KIND]))


def check_written(
    files: ShardFiles, before: CompactRange, after: CompactRange, entries: Sequence[bytes]
) -> None:
    """Check that the disk holds a log of range `after`, which is `before` and these entries.

    Every hash of every file that is new is computed from the file below it; what is older, by the root.
    Raises LogInconsistent, or what reading raises.
    """
    read: list[bytes] = []
    for level, index, width in new_tiles(before.size, after.size):
        tile = files.tile(level, index, width)
        if level == 0:
            bundle = files.bundle(index, width)
            if b"".join(map(leaf_hash, bundle)) != tile:
                raise LogInconsistent(f"{bundle_path(index, width)} does not have the hashes of its tile.")
            read += bundle[max(0, before.size - index * TILE_WIDTH) :]
            continue
        for at in range(max(0, (before.size >> 8 * level) - index * TILE_WIDTH), width):
            below = files.tile(level - 1, index * TILE_WIDTH + at, TILE_WIDTH)
            if tile_root(below) != tile[at * HASH_OCTETS : (at + 1) * HASH_OCTETS]:
                raise LogInconsistent(
                    f"{tile_path(level, index, width)} does not have the hashes of those below."
                )
    if read != list(entries) or before.extend(map(leaf_hash, read)) != after:
        raise LogInconsistent("The bundles of the log do not hold the entries that were written.")
    if tree_root(files, after.size) != after.root():
        raise LogInconsistent("The tiles of the log do not have the root of its entries.")


def tile_root(tile: bytes) -> bytes:
    """The hash over a tile's hashes, as the level above has it of a full one."""
    hashes = (tile[at : at + HASH_OCTETS] for at in range(0, len(tile), HASH_OCTETS))
    return CompactRange.EMPTY.extend(hashes).root()


def damaged(error: CandorError) -> StoreUnusable:
    """What an operator is told when the files are not what they should be."""
    if isinstance(error, StoreUnusable):
        return error
    return StoreUnusable(
        f"The files of the log are not what was written: {error.message}",
        remedy="Stop candor-hub, check the disk, then see what `candor-hub log fsck` says (docs/log.md).",
    )
