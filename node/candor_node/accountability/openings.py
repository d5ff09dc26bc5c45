"""What own lookups asked: kept sealed for two years, opened for one auditor, destroyed then (§7.10, §18).

Rules of this file:
- an opening is made of what was stored before the lookup was sent, and checked whole before it is sealed;
- only its auditor can read it: who makes it here sees which lookup it is of, and no more than before;
- after two years inputs, blinds, salts and particulars are destroyed, and the answers with them: from then on
  nobody can show, and nobody can compute, what was asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from candor_node import flight_store, ledger, lookup_store
from candor_node.accountability import own_lookups
from candor_node.accountability.own_lookups import OwnLookup
from candor_node.accountability.proofs import Proofs
from candor_node.store import Database, Store
from candor_proto.accountability.draw import LEAST_RATE, Draw, Month
from candor_proto.accountability.opening_file import AuditorKey, OpeningFile, SealedOpening, seal_opening
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import Expired, IdentityMismatch, NotLogged, UnknownObject
from candor_proto.ids import FederationName, LookupId, NodeId
from candor_proto.opening import Opening
from candor_proto.signing import SignedStatement

KEPT = timedelta(days=2 * 365 + 1)
# So many in one transaction.
AT_ONCE = 500
# Draws of a shard stand as many months apart as the hub was away, or it is a hub that hides them.
MONTHS_LOOKED_BACK = 36


def opening_of(db: Database, own: OwnLookup) -> tuple[SignedStatement, tuple[Opening, ...]]:
    """The statement of an own lookup, and what explains each person. Raises Expired, UnknownObject."""
    if own.flight:
        flight = flight_store.load_flight(db, own.lookup_id) if _kept(db, own) else None
        if flight is None:
            raise _destroyed(own.lookup_id)
        particulars = flight_store.particulars(db, own.lookup_id)
        openings = []
        for person, slots, known in zip(flight.persons, flight.draft.persons, particulars, strict=True):
            inputs = tuple(item.slot.input for item in slots)
            blinds = tuple(item.blinded.blind.to_bytes() for item in slots)
            openings.append(Opening(known, person.paperwork, person.plan_number, inputs, blinds))
        return flight.draft.statement, tuple(openings)
    if not _kept(db, own):
        raise _destroyed(own.lookup_id)
    search_id = lookup_store.search_of(db, own.lookup_id)
    asks = lookup_store.asks(db, search_id) if search_id else []
    for ask in asks:
        if ask.lookup_id == own.lookup_id:
            return ask.draft.statement, (ask.opening,)
    raise UnknownObject(f"There is no lookup {own.lookup_id}.")


def _kept(db: Database, own: OwnLookup) -> bool:
    sql = (
        "SELECT 1 FROM flight_persons WHERE lookup_id = ? AND secrets <> x''"
        if own.flight
        else "SELECT 1 FROM lookups WHERE lookup_id = ? AND opening <> ''"
    )
    return db.execute(sql, [own.lookup_id.value]).fetchone() is not None


def _destroyed(lookup_id: LookupId) -> Expired:
    return Expired(f"What lookup {lookup_id} asked was destroyed: its two years are over.")


# --- the end of two years ----------------------------------------------------------------------------------


def destroy_old(db: Database, now: datetime) -> int:
    """Destroy what explains lookups of more than two years ago, and their answers; how many.

    Inside the caller's transaction, to be called again until it is 0; then `Store.checkpoint`.
    """
    oldest = to_milliseconds(now - KEPT)
    single = db.execute(
        "SELECT lookup_id FROM lookups WHERE opening <> '' AND issued_at < ? LIMIT ?", [oldest, AT_ONCE]
    ).fetchall()
    flights = db.execute(
        "SELECT lookup_id FROM flights WHERE issued_at < ? AND EXISTS (SELECT 1 FROM flight_persons AS p"
        " WHERE p.lookup_id = flights.lookup_id AND p.secrets <> x'') LIMIT ?",
        [oldest, AT_ONCE],
    ).fetchall()
    for table in ("lookup_targets", "flight_targets"):
        rows = single if table == "lookup_targets" else flights
        db.conn.executemany(
            f"UPDATE {table} SET answer_body = NULL, answer_signature = NULL WHERE lookup_id = ?",  # noqa: S608
            rows,
        )
    db.conn.executemany("UPDATE lookups SET opening = '' WHERE lookup_id = ?", single)
    db.conn.executemany("UPDATE flight_persons SET secrets = x'' WHERE lookup_id = ?", flights)
    db.conn.executemany(
        "UPDATE batch_rows SET person = '{}', cells = (SELECT json_group_array('') FROM json_each(cells))"
        " WHERE (batch_id, row) IN (SELECT f.batch_id, p.row FROM flights AS f"
        "  JOIN flight_persons AS p USING (lookup_id) WHERE f.lookup_id = ?)",
        flights,
    )
    db.execute("DELETE FROM failure_digest WHERE noticed_at < ?", [oldest])
    own_lookups.forget(db, now - KEPT)
    done = len(single) + len(flights)
    if done:
        ledger.append(db, now, "audit.openings_destroyed", {}, {"lookups": done})
    return done


# --- for an auditor ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """A draw of the log, and which own lookups it names. `name` is a month, or `end` of a shard."""

    name: str
    shard: int
    draw: Draw
    lookups: tuple[OwnLookup, ...]
    own: int


class Openings:
    """Draws and opens own lookups. Belongs to the event loop."""

    def __init__(self, store: Store, proofs: Proofs, federation: FederationName, own: NodeId) -> None:
        self._store = store
        self._proofs = proofs
        self._federation = federation
        self._own = own

    async def open(self, lookup: OwnLookup, key: AuditorKey) -> SealedOpening:
        """An opening for the auditor of `key`, once it was checked. Raises NotLogged, Expired …"""
        if key.federation != self._federation:
            raise IdentityMismatch("This is the key of an auditor of another federation.")
        if lookup.place is None:
            raise NotLogged(
                f"The log does not hold lookup {lookup.lookup_id}, as far as it was read here.",
                remedy="A lookup that the hub denied is in no log; otherwise try again in a minute.",
            )
        statement, openings = await self._store.run(lambda db: opening_of(db, lookup))
        file = OpeningFile(
            self._federation,
            self._own,
            statement,
            openings,
            await self._proofs.member(self._own),
            await self._proofs.logged(lookup.place, f"Lookup {lookup.lookup_id}"),
        )
        trust = self._proofs.trust()
        await asyncio.to_thread(file.check, trust)
        return await asyncio.to_thread(seal_opening, file, key)

    async def draw(self, month: Month | None, now: datetime, rate: int = LEAST_RATE) -> Drawn:
        """The own lookups that the draw of a month names; of the newest one without a month.

        Raises UnknownObject while there is no such draw, and whatever its checkpoint does not stand.
        """
        wanted = [Month.of(now), Month.of(now).before] if month is None else [month]
        for each in wanted:
            for shard in range(self._proofs.view().shard, 0, -1):
                found = await self._draw(shard, str(each), each.before, rate)
                if found is not None:
                    return found
        raise UnknownObject(
            f"The hub keeps no draw of {' or '.join(str(each) for each in wanted)}.",
            remedy="A month's draw is its first witnessed head.",
        )

    async def end(self, shard: int, now: datetime, rate: int = LEAST_RATE) -> Drawn:
        """The last draw of a shard that was ended; raises UnknownObject."""
        found = await self._draw(shard, "end", Month.of(now), rate)
        if found is None:
            raise UnknownObject(f"The hub keeps no last draw of shard {shard}: it was not ended.")
        return found

    async def _draw(self, shard: int, name: str, before: Month, rate: int) -> Drawn | None:
        try:
            signed = await self._proofs.draw(shard, name)
        except UnknownObject:
            return None
        start = await self._size_before(shard, before)
        draw = Draw(signed.checkpoint, min(start, signed.checkpoint.size), rate)
        own = await self._store.run(lambda db: own_lookups.logged_between(db, shard, draw.start, draw.end))
        drawn = tuple(one for one in own if one.place and draw.is_drawn(one.place.position, one.place.place))
        return Drawn(name, shard, draw, drawn, len(own))

    async def _size_before(self, shard: int, month: Month) -> int:
        """The size of the newest draw of a shard up to this month; 0 without any."""
        for _ in range(MONTHS_LOOKED_BACK):
            try:
                return (await self._proofs.draw(shard, str(month))).checkpoint.size
            except UnknownObject:
                month = month.before
        return 0
