"""Asks about many persons: a file becomes rows, rows become flights, and a restart goes on where it was.

Rules of this file:
- a row is asked once: it is marked in the transaction that stores its flight, before anything is sent. The
  same file with the same papers is the same batch;
- a few flights are in the air at a time, whoever is away: a batch of fifty thousand holds as much memory as
  one of five hundred;
- what the hub denies was seen by nobody: its rows wait, the batch pauses, says why, and tries again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice

from candor_node import batch_file, batch_guard, batch_store, flight_store, flights, ledger, mail_store
from candor_node.asking import has_moved
from candor_node.batch_file import BatchRow
from candor_node.batch_store import DONE, PAUSED, RUNNING, BatchRecord, Counts
from candor_node.clock import Clock
from candor_node.coverage import NOTHING_KNOWN, Outlook
from candor_node.drafting import Drafter
from candor_node.flights import Flight, WaitingRow
from candor_node.index_client import IndexClient
from candor_node.landing import Landing
from candor_node.logs import log
from candor_node.mail_store import OutboxRow
from candor_node.outbox import Outbox, is_final
from candor_node.store import Database, Store, Work
from candor_node.workers import Lane, Workers
from candor_proto.canonical import digest
from candor_proto.errors import CandorError, ClockWrong, StoreUnusable, UnknownObject, Unreachable
from candor_proto.exchange import Draft, LookupEvent, lookup_after
from candor_proto.ids import FederationName, LookupId, LookupShape, NodeId, Purpose
from candor_proto.result import TargetState
from candor_proto.signing import SigningKey
from candor_proto.statements import MAX_PERSONS
from candor_wire.codec import Envelope, MessageKind
from candor_wire.limits import CALL_DEADLINE_SECONDS

# Flights of a batch that wait for answers. One that waits only for nodes that have said nothing at all for
# PATIENCE_SECONDS keeps the next no longer from leaving.
IN_THE_AIR = 6
PATIENCE_SECONDS = 10.0
# A node that is heard of is waited for so many times longer: complete beats early.
PATIENCE_WITH_THE_SLOW = 10
LOOK_SECONDS = 1.0
IDLE_SECONDS = 30.0  # while there is no batch to go on with: whoever starts one says so
PAUSE_SECONDS = 60.0
GATHER_STALE_SECONDS = 0.2
_ROWS_AT_ONCE = 2_000


@dataclass(frozen=True, repr=False)
class Order:
    """What a batch is asked for, besides its file: papers of a row stand above these."""

    purpose: Purpose
    shape: LookupShape
    case: str
    consent: str
    officer: str
    wait_seconds: float
    # Who asks; "" where that is the officer in charge.
    user: str = ""

    def digest(self, content: bytes) -> bytes:
        """Names file and papers: the same again is the same batch."""
        texts = (self.purpose.name, self.shape.name, self.case, self.consent, self.officer)
        return digest("batch", content, *(text.encode() for text in texts))


class Batches:
    """The batches of this node. Belongs to the event loop."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        outbox: Outbox,
        workers: Workers,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        clock: Clock,
        subjects_an_hour: int,
        check_ready: Callable[[], None],
        outlook: Callable[[Iterable[NodeId]], Outlook] = lambda asked: NOTHING_KNOWN,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._outbox = outbox
        self._workers = workers
        self._own = own
        self._clock = clock
        self._subjects_an_hour = subjects_an_hour
        self._check_ready = check_ready
        self._drafter = Drafter(indexes, workers, federation, own, key, clock)
        self.landing = Landing(store, indexes, workers, federation, clock, self._stale, outlook)
        self._not_before: dict[bytes, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # By the flight that holds the rows: nodes that have moved, and how each was asked.
        self._again: dict[LookupId, dict[NodeId, Draft]] = {}

    # --- orders ------------------------------------------------------------------------------------------

    async def known(self, order: Order, content: bytes) -> BatchRecord | None:
        """The batch that this file with these papers already is."""
        return await self._store.run(lambda db: batch_store.latest(db, order.digest(content)))

    async def start(self, order: Order, content: bytes) -> BatchRecord:
        """Store a new batch; `run` asks it. Raises InputInvalid, and then nothing is kept."""
        columns, rows = await asyncio.to_thread(batch_file.read, content)
        batch_id, now = secrets.token_bytes(16), self._clock.now()
        await self._store.run(
            lambda db: batch_store.add(
                db,
                batch_id,
                order.digest(content),
                order.purpose,
                order.shape,
                columns.names,
                order.wait_seconds,
                now,
                order.user,
            )
        )
        try:
            await self._load(batch_id, rows, order)
        except BaseException:
            await self._store.run(lambda db: batch_store.forget(db, batch_id))
            raise

        def begin(db: Database) -> BatchRecord:
            limit = self._subjects_an_hour
            batch_guard.begin(db, now, self._require(db, batch_id), order.case, order.officer, limit)
            return self._require(db, batch_id)

        try:
            return await self._store.run(begin)
        finally:
            # Also when nobody is told whether it was stored.
            self.landing.changed.set()

    async def _load(self, batch_id: bytes, rows: Iterator[BatchRow], order: Order) -> None:
        common = {"case_number": order.case, "consent": order.consent, "officer": order.officer}
        while part := await asyncio.to_thread(lambda: list(islice(rows, _ROWS_AT_ONCE))):
            add = partial(batch_store.add_rows, batch_id=batch_id, rows=part, common=common)
            await self._store.run(add)

    async def resume(self, batch_id: bytes) -> None:
        """Try at once what a pause would try later."""
        self._not_before.pop(batch_id, None)
        self.landing.changed.set()

    async def stop(self, batch_id: bytes) -> int:
        """Ask about no further row; what is in the air still comes in. How many rows are left unasked."""
        now = self._clock.now()

        def work(db: Database) -> int:
            return batch_guard.stop(db, now, self._require(db, batch_id))

        left = await self._store.run(work)
        self.landing.changed.set()
        return left

    async def progress(self, batch_id: bytes) -> tuple[BatchRecord, Counts]:
        """Raises UnknownObject."""
        return await self._store.run(
            lambda db: (self._require(db, batch_id), batch_store.counts(db, batch_id))
        )

    @staticmethod
    def _require(db: Database, batch_id: bytes) -> BatchRecord:
        record = batch_store.find(db, batch_id)
        if record is None:
            raise UnknownObject("There is no such batch.", remedy="`candor-node batches list` shows them.")
        return record

    # --- asking ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask what is to be asked, and show what has waited long enough, for ever."""
        await self._take_up()
        while True:
            self.landing.changed.clear()
            busy = False
            unfinished = await self._store.run(batch_store.unfinished)
            for record in unfinished:
                busy |= await self._advance(record)
            if not busy:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS if unfinished else IDLE_SECONDS):
                        await self.landing.changed.wait()

    async def _take_up(self) -> None:
        """What a run before this one left: half-loaded batches go, flights in the air are held again."""
        now = self._clock.now()
        await self._store.run(batch_store.forget_half_loaded)
        for record in await self._store.run(batch_store.unfinished):
            find = partial(flight_store.open_flights, batch_id=record.batch_id)
            for lookup_id in await self._store.run(find):
                flight = await self.landing.get(lookup_id)
                if flight is not None:
                    await self._take_up_flight(flight, record)
        # Nobody else sends them: the run that left them time to do so is gone.
        await self._store.run(lambda db: mail_store.send_now(db, MessageKind.LOOKUP, now))
        self._outbox.wake()

    async def _take_up_flight(self, flight: Flight, record: BatchRecord) -> None:
        root = await self.landing.root(flight)
        root.asked_at = asyncio.get_running_loop().time()
        if flight is not root:
            pending = {node for node, row in flight.targets.items() if row.state is TargetState.PENDING}
            root.asked_beside |= pending
        for node, row in flight.targets.items():
            times = partial(flight_store.times_asked, lookup_id=root.lookup_id, node=node)
            if row.state is TargetState.STALE_EPOCH and await self._store.run(times) == 1:
                root.asked_beside.add(node)
                self._stale(root, flight, node)

    async def _advance(self, record: BatchRecord) -> bool:
        """Move one batch on by a step; whether there may be another one at once."""
        loop_time = asyncio.get_running_loop().time()
        in_air = self.landing.in_air(record.batch_id)
        # Answers that wait for this node itself are nobody else's silence.
        behind = await self._store.run(partial(mail_store.waits, kind=MessageKind.ANSWER))
        for flight in in_air:
            # Whoever took the last answer in shows it, unless the database could not be used just then.
            forgotten = flight.settled and not flight.lock.locked()
            if forgotten or (not behind and self._waited_long_enough(flight, record, loop_time)):
                await self.landing.show(flight)
        counts = (await self.progress(record.batch_id))[1]
        if not counts.waiting:
            if not counts.asked:
                await self._end(record, counts)
            return False
        if record.state == PAUSED and loop_time < self._not_before.get(record.batch_id, 0.0):
            return False
        patient = [flight for flight in in_air if behind or not self.landing.away(flight, PATIENCE_SECONDS)]
        if len(patient) >= IN_THE_AIR:
            return False
        try:
            self._check_ready()
            return await self._launch(record)
        except (Unreachable, ClockWrong):
            # Nothing was denied: it goes on as soon as the hub is there.
            return False
        except CandorError as error:
            await self._pause(record, error)
            return False

    def _waited_long_enough(self, flight: Flight, record: BatchRecord, loop_time: float) -> bool:
        waited = loop_time - flight.asked_at
        if waited < record.wait_seconds:
            return False
        silent = self.landing.away(flight, min(PATIENCE_SECONDS, record.wait_seconds))
        return silent or waited >= PATIENCE_WITH_THE_SLOW * record.wait_seconds

    async def _end(self, record: BatchRecord, counts: Counts) -> None:
        now = self._clock.now()

        def work(db: Database) -> None:
            batch_store.set_state(db, record.batch_id, DONE, "", now)
            details: dict[str, ledger.Value] = {"rows": counts.rows, "not_asked": counts.error}
            ledger.append(db, now, "batch.done", {"batch_id": record.batch_id.hex()}, details)

        await self._store.run(work)
        log.info("batch done", batch_id=record.batch_id.hex(), rows=counts.rows)

    async def _pause(self, record: BatchRecord, error: CandorError) -> None:
        now = self._clock.now()
        self._not_before[record.batch_id] = asyncio.get_running_loop().time() + PAUSE_SECONDS
        note = f"{error.message} {error.remedy}".strip()
        if (record.state, record.note) != (PAUSED, note):
            log.warning("batch pauses", batch_id=record.batch_id.hex(), code=error.code)
            await self._store.run(lambda db: batch_store.set_state(db, record.batch_id, PAUSED, note, now))

    async def _launch(self, record: BatchRecord) -> bool:
        """Plan, blind, store and send the next flight. Raises what denies it."""

        now = self._clock.now()

        def take(
            db: Database,
        ) -> tuple[list[WaitingRow], Mapping[str, frozenset[LookupShape]], dict[int, str]]:
            rows = batch_store.waiting(db, record.batch_id, MAX_PERSONS)
            cases, refused = {row.case for row in rows}, batch_guard.refused(db, now, record, rows)
            return rows, batch_store.shapes_asked(db, cases, record.batch_id), refused

        rows, asked, refused = await self._store.run(take)
        targets = self._drafter.targets()
        versions = tuple(targets.groups)
        planned = await self._workers.run(
            Lane.BULK,
            lambda: [
                flights.plan_row(row, record.shape, record.purpose, asked[row.case], versions) for row in rows
            ],
        )
        refused |= {row.number: row.error for row in planned if row.error}
        wrong = {number: flights.failed(error) for number, error in refused.items()}
        if wrong:
            await self._store.run(lambda db: batch_store.fail_rows(db, record.batch_id, wrong))
            return True
        taken, size = flights.pack(planned)
        chosen = planned[:taken]
        of_row = {row.number: row for row in rows}
        made = await self._drafter.draft(record, chosen, size, of_row, targets)
        searches = {row.number: (of_row[row.number], len(row.plans), row.incomplete) for row in chosen}
        await self._store_and_send(made, searches)
        return True

    async def _store_and_send(
        self, made: Sequence[Flight], searches: Mapping[int, tuple[WaitingRow, int, bool]]
    ) -> None:
        """Store the flights of some rows, all or none, then hand them to the hub.

        Raises what the hub denies one of them with, after storing that.
        """
        now = self._clock.now()

        def work(db: Database) -> list[OutboxRow | None]:
            flight_store.add_searches(db, made[0], searches)
            batch_guard.note(db, made[0], {number: row for number, (row, *_) in searches.items()})
            return [self._store_flight(db, flight, now) for flight in made]

        rows = await self._store.run(work)
        for flight in made:
            flight.asked_at = asyncio.get_running_loop().time()
            self.landing.add(flight)
        denied: list[CandorError] = []
        for row in rows:
            try:
                if row is not None:
                    await self._outbox.send(row)
            except CandorError as error:
                if is_final(error):
                    denied.append(error)
        if denied:
            raise denied[0]

    def _store_flight(self, db: Database, flight: Flight, now: datetime) -> OutboxRow | None:
        lookup, statement = flight.draft.lookup, flight.draft.statement
        envelope = Envelope(
            lookup.lookup_id.value,
            MessageKind.LOOKUP,
            self._own,
            None,
            statement.body,
            statement.signature,
            lookup.expires_at,
        )
        flight_store.add_flight(db, flight)
        mail_store.enqueue(db, envelope, now, now + timedelta(seconds=2 * CALL_DEADLINE_SECONDS))
        details: dict[str, ledger.Value] = {
            "purpose": flight.purpose.name,
            "shape": lookup.shape.name,
            "persons": lookup.persons,
            "targets": len(flight.targets),
            "attempt": int(flight.first is not None),
        }
        refs = {"lookup_id": str(lookup.lookup_id), "batch_id": flight.batch_id.hex()}
        ledger.append(db, now, "lookup.sent", refs, details)
        return mail_store.outgoing(db, self._own, MessageKind.LOOKUP, lookup.lookup_id.value)

    async def sent(self, lookup_id: LookupId, error: CandorError | None, settle: Work[None]) -> bool:
        """The hub has accepted a flight (None) or denied it for good; False when it is none."""
        flight = await self.landing.get(lookup_id)
        if flight is None:
            return False
        async with flight.lock:
            now, batch_id = self._clock.now(), flight.batch_id
            event = LookupEvent.HUB_ACCEPTS if error is None else LookupEvent.HUB_DENIES
            state, waiting = lookup_after(flight.state, event), False
            reason = "" if error is None else f"the hub denied it: {error.message}"

            def work(db: Database) -> None:
                nonlocal waiting
                settle(db)
                if error is not None:
                    waiting = flight_store.deny_flight(db, flight, reason)
                    refs = {"lookup_id": str(lookup_id)}
                    ledger.append(db, now, "lookup.denied", refs, {"code": error.code})
                    return
                flight_store.set_flight_state(db, lookup_id, state)
                if self._require(db, batch_id).state == PAUSED:
                    batch_store.set_state(db, batch_id, RUNNING, "", now)

            try:
                await self._store.run(work)
            except StoreUnusable:
                # It may be on the disk all the same: a flight is never behind the database.
                held = await self._store.run_at_last(lambda db: flight_store.state(db, lookup_id))
                if held is not state:
                    raise
            flight.state = state
            if error is not None:
                await self.landing.deny(flight, reason, waiting=waiting)
        if error is not None:
            record, _ = await self.progress(flight.batch_id)
            await self._pause(record, error)
        self.landing.changed.set()
        return True

    # --- asking again ------------------------------------------------------------------------------------

    def _stale(self, first: Flight, flight: Flight, node: NodeId) -> None:
        """A target of `flight` has moved on: it is asked once more, with those that move at the same time."""
        gathered = self._again.setdefault(first.lookup_id, {})
        gathered[node] = flight.draft
        if len(gathered) == 1:
            task = asyncio.create_task(self._ask_again(first))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask_again(self, first: Flight) -> None:
        await asyncio.sleep(GATHER_STALE_SECONDS)
        stale = self._again.pop(first.lookup_id, {})
        asked: set[NodeId] = set()
        try:
            await self._indexes.refresh()
            heads = self._indexes.heads()
            moved = [node for node in sorted(stale) if has_moved(stale[node], heads.get(node))]
            targets = self._drafter.targets(moved)
            if targets.groups:
                record, _ = await self.progress(first.batch_id)
                numbers = sorted(first.searches)
                rows = await self._store.run(lambda db: batch_store.rows_asked(db, record.batch_id, numbers))
                await self._store_and_send(await self._drafter.again(record, first, rows, targets), {})
                asked = {target.node for target in targets.targets}
        except CandorError as error:
            log.warning("stale targets were not asked again", code=error.code)
        finally:
            first.asked_beside -= stale.keys() - asked
            if first.settled and not first.shown:
                await self.landing.show(first)
            self.landing.changed.set()

    async def close(self) -> None:
        """Stop asking again; what is in the air is taken up by the next run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
