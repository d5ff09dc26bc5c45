"""From records to the sealed index: what comes, what goes, the tick, heads (docs/protocol.md §6).

Rules of this file:
- what is published passed the fair-process gate in this very tick; what no longer passes is withdrawn in it;
- an epoch's first tick packs everything anew, together with the epoch's beginning in one transaction;
- a tick is stored whole before any of it is sent. Until `confirm`, `pending` gives the very same octets;
- sequence and epoch go on from the newest head of this node that the log holds, which a database that was
  restored does not remember: a sequence is never signed twice.

Curve work is slow (some 60 µs a value, two thirds of a tick), so `tick` does it between two transactions and
the second one checks that nothing moved meanwhile; `build_tick` does it all inside one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from candor_node import due_process, epochs, filings, ledger, packing
from candor_node.epochs import Epoch
from candor_node.filings import SealedRecord
from candor_node.number_floors import EPOCH, SEQUENCE, floor
from candor_node.packing import Outputs, Packs, Prepared, Published, Sealed
from candor_node.store import Database, Store
from candor_node.tlog import log_store
from candor_proto import segment
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.directory import MAX_SEGMENTS, IndexHead, SegmentRef
from candor_proto.errors import CommitmentMismatch, ConflictingResubmission, UnknownObject
from candor_proto.field_codes import Sounds
from candor_proto.ids import Digest, FederationName, Handle, NodeId
from candor_proto.record import commit
from candor_proto.scheme import CURRENT, Scheme
from candor_proto.sealed_index import IndexOwner, RandomBytes, withdrawal_marker
from candor_records.gate import gate, gate_day
from candor_records.policy import NoPack, Policy
from candor_records.records import Dcn, Record, canonical

HEAD_REFRESH = timedelta(hours=24)
# How long a handle resolves after its epoch ended: a disclosure request may live that long (§13).
KEPT_AFTER_EPOCH = timedelta(days=30)
_BATCH = 200  # records evaluated at a time
_KEPT_OPEN = 10_000  # records that stay open from plan to seal: some 20 MB
_ATTEMPTS = 3


@dataclass(frozen=True)
class Settings:
    """What the owner publishes as, and how."""

    federation: FederationName
    node: NodeId
    scheme: Scheme = CURRENT
    threshold: int = CURRENT.threshold
    epoch_life: timedelta = epochs.LIFE
    grace: timedelta = epochs.GRACE
    max_records: int = packing.MAX_RECORDS
    threads: int = 2
    policy: Callable[[Database], Policy] = field(default=lambda _: NoPack(), repr=False)
    random_bytes: RandomBytes = field(default=secrets.token_bytes, repr=False)


@dataclass(frozen=True)
class Publication:
    """What is to be sent: segments the hub has not confirmed, then the head, to be signed by the caller.

    `published` and `withdrawn` count the records of this tick, `dropped` variants that found no room.
    """

    segments: tuple[tuple[Digest, bytes], ...] = field(repr=False)
    head: IndexHead
    published: int = 0
    withdrawn: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Resolved:
    """The record behind a handle, with what opens its commitment. `withdrawn` means: decline (§9.3)."""

    record: Record
    salt: bytes = field(repr=False)
    commitment: Digest
    withdrawn: bool


@dataclass(frozen=True, repr=False)
class Plan:
    """What a tick will do, read in one transaction. Holds record keys and perhaps the next epoch's seed.

    `opened` are records that the gate was asked about, by control number, which no two versions share.
    `sequence` is the last one used; `stored` are the last sequence and epoch that this database knows.
    """

    now: datetime
    policy: Policy
    epoch: Epoch
    begins: bool
    sequence: int
    stored: tuple[int, int]
    first_segment: int
    rows: tuple[SealedRecord, ...]
    opened: Mapping[str, Record]
    withdrawals: tuple[tuple[bytes, bytes], ...]


# --- the whole tick ----------------------------------------------------------------------------------


def build_tick(db: Database, now: datetime, settings: Settings, *, rotate: bool = False) -> Publication:
    """One tick inside the caller's transaction; `rotate` begins a new epoch, due or not."""
    planned = plan(db, now, settings, rotate=rotate)
    return store_tick(db, planned, seal(planned, settings), settings)


def tick(store: Store, now: datetime, settings: Settings, *, rotate: bool = False) -> Publication:
    """One tick with the curve work outside the transactions. Blocks: call it from a worker thread."""
    publication = _tick(store, now, settings, rotate)
    # Seeds that were destroyed leave the write-ahead log as well.
    store.checkpoint()
    return publication


def _tick(store: Store, now: datetime, settings: Settings, rotate: bool) -> Publication:
    for _ in range(_ATTEMPTS):
        planned = store.run_sync(lambda db: plan(db, now, settings, rotate=rotate))
        try:
            return _stored(store, planned, seal(planned, settings), settings)
        except ConflictingResubmission:
            continue
    return store.run_sync(lambda db: build_tick(db, now, settings, rotate=rotate))


def _stored(store: Store, planned: Plan, sealed: Sealed, settings: Settings) -> Publication:
    return store.run_sync(lambda db: store_tick(db, planned, sealed, settings))


def tick_due(db: Database, now: datetime, interval: timedelta, settings: Settings) -> bool:
    """Whether it is time for a tick: never before, `interval` ago, or the epoch is over.

    What is withdrawn does not wait for the calendar: it goes out with the head that is due every day anyway,
    so that nobody reads from an additional message on which day a record fell. With another threshold or
    scheme in the settings the epoch is over at once: a node that was told to change does not publish the old
    one for another week.
    """
    row = db.execute("SELECT ticked_at FROM index_state").fetchone()
    epoch = epochs.latest(db)
    if row is None or epoch is None or now >= epoch.ends_at or _refits(db, epoch, settings):
        return True
    # A clock that was wrong and was put right must not stop publication.
    on_the_calendar = abs(now - from_milliseconds(row[0])) >= interval
    return on_the_calendar or (head_due(db, now) and _withdrawal_waits(db, epoch))


def _withdrawal_waits(db: Database, epoch: Epoch) -> bool:
    """Whether the index still holds a record that the gate has closed."""
    row = db.execute(
        f"SELECT EXISTS (SELECT 1 {_IN_INDEX} AND dcn NOT IN"  # noqa: S608
        " (SELECT dcn FROM record_heads WHERE matchable = 1))",
        [epoch.number],
    ).fetchone()
    return bool(row[0])


# --- first transaction: what is to be done -----------------------------------------------------------


def plan(db: Database, now: datetime, settings: Settings, *, rotate: bool = False) -> Plan:
    """Ask the gate again where time may have changed its word, and list what comes and what goes."""
    epoch, logged = epochs.latest(db), log_store.logged_head(db)
    last = epoch.number if epoch else 0
    if epoch is None or rotate or _is_over(db, epoch, now, settings):
        above = max(logged.epoch if logged else 0, floor(db, EPOCH))
        epoch = epochs.following(db, now, settings.epoch_life, settings.random_bytes, above)
        begins = True
    else:
        begins = False
    opened: dict[str, Record] = {}

    def keep(record: Record) -> None:
        if len(opened) < _KEPT_OPEN:
            opened[str(record.dcn)] = record

    policy = settings.policy(db)
    due_process.refresh(db, now, policy, every=begins, seen=keep)
    state = db.execute("SELECT sequence FROM index_state").fetchone()
    number = db.execute(
        "SELECT coalesce(max(number) + 1, 0) FROM segments WHERE epoch = ?", [epoch.number]
    ).fetchone()[0]
    indexed = {row[0] for row in db.execute(f"SELECT dcn {_IN_INDEX}", [epoch.number])}
    matchable = filings.sealed_current(db, matchable=True)
    passing = {row.dcn for row in matchable}
    withdrawals = tuple(
        (blob_id, marker)
        for blob_id, dcn, marker in db.execute(f"SELECT blob_id, dcn, marker {_IN_INDEX}", [epoch.number])
        if dcn not in passing
    )
    rows = tuple(row for row in matchable if row.dcn not in indexed)
    own = state[0] if state else 0
    sequence = max(own, logged.sequence if logged else 0, floor(db, SEQUENCE))
    return Plan(now, policy, epoch, begins, sequence, (own, last), number, rows, opened, withdrawals)


_IN_INDEX = "FROM published WHERE epoch = ? AND withdrawn_in IS NULL"


def _is_over(db: Database, epoch: Epoch, now: datetime, settings: Settings) -> bool:
    """Whether a new epoch is due: its time is up, its head is full, or it no longer fits."""
    segments = db.execute("SELECT count(*) FROM segments WHERE epoch = ?", [epoch.number]).fetchone()[0]
    refits = _refits(db, epoch, settings)
    # One tick never needs more than a hundred segments (RECORDS: 10^5 records at most).
    return now >= epoch.ends_at or refits or segments > MAX_SEGMENTS - 100


def _refits(db: Database, epoch: Epoch, settings: Settings) -> bool:
    """Whether an epoch's index was packed under another threshold or scheme than it would be now, or the log
    has left it behind."""
    threshold, version = db.execute(
        "SELECT threshold, scheme_version FROM epochs WHERE number = ?", [epoch.number]
    ).fetchone()
    packed, logged = threshold is not None, log_store.logged_head(db)
    if epochs.is_outlived(epoch, logged, settings.federation, settings.node):
        return True
    return packed and (threshold, version) != (settings.threshold, settings.scheme.version)


# --- between the transactions: curve work and sealing ------------------------------------------------


def seal(planned: Plan, settings: Settings) -> Sealed:
    """The segments of the plan. Touches no database; the longest part of a tick."""
    owner = IndexOwner(settings.federation, settings.node, planned.epoch.number)
    keys = epochs.keys_for(planned.epoch.seed, settings.federation, settings.node, planned.epoch.number)
    today = gate_day(planned.now)
    packs = Packs(
        owner, planned.first_segment, settings.threshold, settings.max_records, settings.random_bytes
    )
    with ThreadPoolExecutor(settings.threads) as pool:
        outputs, sounds = Outputs(keys, owner, pool), Sounds()
        for rows in packing.batches(planned.rows, _BATCH):
            prepared = [
                Prepared.of(record, sounds, settings.scheme)
                for record in (planned.opened.get(row.dcn) or row.open() for row in rows)
                # The stored word of the gate may be old; what is published passes now.
                if gate(record, today, planned.policy.gate_rules(record.kind)).matchable
            ]
            outputs.evaluate(prepared)
            for record in prepared:
                packs.add(record, outputs)
    return packs.finish([marker for _, marker in planned.withdrawals])


# --- second transaction: all of it is stored ---------------------------------------------------------


def store_tick(db: Database, planned: Plan, sealed: Sealed, settings: Settings) -> Publication:
    """Store a sealed tick whole, and say what is to be sent.

    Raises ConflictingResubmission when records, epoch or head moved since the plan: plan again.
    """
    now, epoch = planned.now, planned.epoch
    _check_unmoved(db, planned, sealed)
    if planned.begins:
        epochs.begin(db, now, epoch, settings.grace)
        # Nobody fetches segments of a head that is superseded.
        db.execute("DELETE FROM segments WHERE epoch <> ?", [epoch.number])
    db.execute(
        "UPDATE epochs SET threshold = ?, scheme_version = ? WHERE number = ?",
        [settings.threshold, settings.scheme.version, epoch.number],
    )
    for number, octets in sealed.segments:
        address = segment.address(octets).value
        values = [epoch.number, number, address, len(octets), octets]
        db.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?)", values)
    for record in sealed.published:
        _insert_published(db, epoch.number, record)
    for blob_id, _ in planned.withdrawals:
        db.execute(
            "UPDATE published SET withdrawn_in = ? WHERE blob_id = ?", [planned.first_segment, blob_id]
        )
    head = _next_head(db, now, epoch, settings, planned.sequence)
    _store_head(db, head, ticked_at=now)
    counts: dict[str, ledger.Value] = {"records": len(sealed.published), "dropped": sealed.dropped}
    ledger.append(
        db,
        now,
        "index.published",
        {"epoch": str(epoch.number), "sequence": str(head.sequence)},
        {**counts, "withdrawn": len(planned.withdrawals), "segments": len(sealed.segments)},
    )
    _forget(db, now)
    publication = pending(db)
    if publication is None:
        raise AssertionError("a head that was just stored is not confirmed")
    return replace(
        publication,
        published=len(sealed.published),
        withdrawn=len(planned.withdrawals),
        dropped=sealed.dropped,
    )


def _check_unmoved(db: Database, planned: Plan, sealed: Sealed) -> None:
    """Between plan and store a record may have been corrected, or another tick stored."""
    state = db.execute("SELECT sequence FROM index_state").fetchone()
    latest, logged = epochs.latest(db), log_store.logged_head(db)
    stored = (state[0] if state else 0, latest.number if latest else 0)
    moved = stored != planned.stored or (logged is not None and logged.sequence > planned.sequence)
    matchable = {dcn for dcn, matchable in filings.gate_words(db).items() if matchable}
    if moved or any(record.dcn not in matchable for record in sealed.published):
        raise ConflictingResubmission("Records or index changed while the segments were sealed.")


def _insert_published(db: Database, epoch: int, record: Published) -> None:
    own = record.secrets
    values = [
        own.blob_id.value,
        epoch,
        record.segment,
        record.dcn,
        own.handle.value,
        own.salt,
        record.commitment.value,
        withdrawal_marker(own.secret, own.blob_id),
        record.entries,
    ]
    db.execute("INSERT INTO published VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", values)


def _next_head(
    db: Database, now: datetime, epoch: Epoch, settings: Settings, last_sequence: int
) -> IndexHead:
    keys = epochs.keys_for(epoch.seed, settings.federation, settings.node, epoch.number)
    rows = db.execute(
        "SELECT number, address, octets FROM segments WHERE epoch = ? ORDER BY number", [epoch.number]
    )
    return IndexHead(
        federation=settings.federation,
        node=settings.node,
        sequence=last_sequence + 1,
        epoch=epoch.number,
        keys={key_class: pair.public for key_class, pair in keys.items()},
        threshold=settings.threshold,
        scheme_version=settings.scheme.version,
        segments=tuple(SegmentRef(number, Digest(address), octets) for number, address, octets in rows),
        issued_at=now,
    )


def _store_head(db: Database, head: IndexHead, ticked_at: datetime) -> None:
    values = [head.sequence, head.encode(), to_milliseconds(head.issued_at), to_milliseconds(ticked_at)]
    db.execute("INSERT OR REPLACE INTO index_state VALUES (1, ?, ?, ?, ?, 0)", values)


def _forget(db: Database, now: datetime) -> None:
    """Seeds whose grace is over, and handles that no request can name any more."""
    epochs.destroy_expired(db, now)
    db.execute(
        "DELETE FROM published WHERE epoch IN (SELECT number FROM epochs WHERE ended_at <= ?)",
        [to_milliseconds(now - KEPT_AFTER_EPOCH)],
    )


# --- heads, and what the hub has ---------------------------------------------------------------------


def pending(db: Database) -> Publication | None:
    """What was stored and is not confirmed: the same octets, however often it is asked. None if all is."""
    row = db.execute("SELECT head FROM index_state WHERE confirmed = 0").fetchone()
    if row is None:
        return None
    head = IndexHead.decode(row[0])
    rows = db.execute(
        "SELECT address, body FROM segments WHERE epoch = ? AND body IS NOT NULL ORDER BY number",
        [head.epoch],
    )
    return Publication(tuple((Digest(address), body) for address, body in rows), head)


def confirm(db: Database, head: IndexHead) -> None:
    """The hub holds `head` and all its segments: their octets need not be kept. A late word is ignored."""
    done = db.execute("UPDATE index_state SET confirmed = 1 WHERE head = ?", [head.encode()])
    if done.rowcount:
        db.execute("UPDATE segments SET body = NULL WHERE epoch = ? AND body IS NOT NULL", [head.epoch])


def latest_head(db: Database) -> IndexHead | None:
    """The head that was stored last, sent or not; None before the first tick."""
    row = db.execute("SELECT head FROM index_state").fetchone()
    return IndexHead.decode(row[0]) if row else None


def head_due(db: Database, now: datetime) -> bool:
    """Whether the head must be stated anew although nothing changed: it counts as stale after 36 h (§6.7)."""
    row = db.execute("SELECT issued_at FROM index_state").fetchone()
    return row is not None and abs(now - from_milliseconds(row[0])) >= HEAD_REFRESH


def refresh_head(db: Database, now: datetime) -> Publication:
    """The same index under a new sequence and time. Raises UnknownObject before the first tick."""
    row = db.execute("SELECT head, ticked_at FROM index_state").fetchone()
    if row is None:
        raise UnknownObject("Nothing was published yet.", remedy="Run `candor-node publish` first.")
    before, logged = IndexHead.decode(row[0]), log_store.logged_head(db)
    last = max(before.sequence, logged.sequence if logged else 0, floor(db, SEQUENCE))
    head = replace(before, sequence=last + 1, issued_at=now)
    _store_head(db, head, from_milliseconds(row[1]))
    refs = {"epoch": str(head.epoch), "sequence": str(head.sequence)}
    ledger.append(db, now, "index.refreshed", refs)
    publication = pending(db)
    if publication is None:
        raise AssertionError("a head that was just stored is not confirmed")
    return publication


# --- what requesters name ----------------------------------------------------------------------------


def resolve_handle(db: Database, epoch: int, handle: Handle) -> Resolved:
    """The record version that was published under `handle` in `epoch`.

    Raises UnknownObject: never published, forgotten, or expunged. Raises CommitmentMismatch when the
    stored record is no longer the one committed to, which only a change of this program can cause.
    """
    row = db.execute(
        "SELECT published.dcn, salt, com, withdrawn_in IS NOT NULL OR coalesce(matchable, 0) = 0"
        " FROM published LEFT JOIN record_heads ON record_heads.dcn = published.dcn"
        " WHERE epoch = ? AND handle = ?",
        [epoch, handle.value],
    ).fetchone()
    if row is None:
        raise UnknownObject("No record was published under this handle, or its epoch is long over.")
    dcn, salt, com, withdrawn = row
    record = filings.find(db, Dcn(dcn))
    commitment = Digest(com)
    if commit(salt, canonical(record).encode()) != commitment:
        raise CommitmentMismatch(
            f"Record {dcn} is not stored as it was published.", remedy="Publish a new epoch."
        )
    return Resolved(record, salt, commitment, bool(withdrawn))


def forget_record(db: Database, control_numbers: Sequence[str]) -> None:
    """Destroy what would confirm the content of an expunged record; its withdrawal still goes out."""
    for dcn in control_numbers:
        db.execute("UPDATE published SET salt = zeroblob(32), com = zeroblob(32) WHERE dcn = ?", [dcn])
