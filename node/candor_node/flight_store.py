"""Flights and what is left of quotas: the SQL of lookups about several rows (docs/protocol.md §5.3, §11.3).

Every function runs inside a transaction of `Store`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from candor_node.accountability import own_lookups
from candor_node.batch_store import ASKED, WAITING
from candor_node.flights import Flight, FlightPerson, WaitingRow
from candor_node.lookup_store import SearchRow
from candor_node.reports import read_coverage, read_missing, write_missing
from candor_node.store import Database
from candor_node.targets import TARGET_COLUMNS, TargetRow, read_target
from candor_proto import oprf
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import UnsupportedVersion
from candor_proto.exchange import BlindedSlot, Draft, LookupState, Paperwork
from candor_proto.group import Scalar
from candor_proto.ids import LookupId, NodeId
from candor_proto.matchkeys import plan_lookup
from candor_proto.normalise import Particulars, normalise
from candor_proto.oprf import Blinded
from candor_proto.result import Coverage, TargetState
from candor_proto.scheme import SCHEMES, Scheme
from candor_proto.signing import SignedStatement
from candor_proto.statements import SLOTS, Left, Lookup

_OF_FLIGHT = "flight "
_SALTS = ("case", "consent", "officer", "filler")

# --- flights -------------------------------------------------------------------------------------------


def add_flight(db: Database, flight: Flight) -> None:
    """Store a flight before it is sent; its rows are asked from now on, and never again."""
    lookup, statement = flight.draft.lookup, flight.draft.statement
    db.execute(
        "INSERT INTO flights (lookup_id, batch_id, first, state, body, signature, persons, shape,"
        " directory_version, missing, issued_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            lookup.lookup_id.value,
            flight.batch_id,
            flight.first.value if flight.first else None,
            flight.state.value,
            statement.body,
            statement.signature,
            lookup.persons,
            lookup.shape.value,
            flight.directory_version,
            write_missing(flight.missing),
            to_milliseconds(lookup.issued_at),
            to_milliseconds(lookup.expires_at),
        ),
    )
    db.conn.executemany(
        "INSERT INTO flight_persons VALUES (?, ?, ?, ?, ?)",
        [
            (
                lookup.lookup_id.value,
                position,
                person.row,
                person.plan_number,
                _secrets(person.paperwork, slots),
            )
            for position, (person, slots) in enumerate(zip(flight.persons, flight.draft.persons, strict=True))
        ],
    )
    own_lookups.remember(db, lookup, statement, flight=True)
    for node, target in flight.targets.items():
        set_target(db, lookup.lookup_id, node, target)
    if flight.first is None:
        db.conn.executemany(
            "UPDATE batch_rows SET state = ?, search_id = ? WHERE batch_id = ? AND row = ?",
            [(ASKED, search.value, flight.batch_id, row) for row, search in flight.searches.items()],
        )


def add_searches(db: Database, flight: Flight, planned: Mapping[int, tuple[WaitingRow, int, bool]]) -> None:
    """A search for each row, so that its hits are shown and asked for like any other's."""
    lookup = flight.draft.lookup
    db.conn.executemany(
        "INSERT INTO searches (search_id, purpose, shape, case_number, consent, officer, created_at,"
        " expires_at, plans, incomplete, directory_version, missing, batch_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                flight.searches[number].value,
                lookup.purpose.value,
                lookup.shape.value,
                row.case,
                row.consent,
                row.officer,
                to_milliseconds(lookup.issued_at),
                to_milliseconds(lookup.expires_at),
                plans,
                int(incomplete),
                flight.directory_version,
                write_missing(flight.missing),
                flight.batch_id,
            )
            for number, (row, plans, incomplete) in planned.items()
        ],
    )


def set_flight_state(db: Database, lookup_id: LookupId, state: LookupState) -> None:
    db.execute("UPDATE flights SET state = ? WHERE lookup_id = ?", (state.value, lookup_id.value))


def state(db: Database, lookup_id: LookupId) -> LookupState | None:
    """Where a flight stands; None for a lookup that is none."""
    row = db.execute("SELECT state FROM flights WHERE lookup_id = ?", (lookup_id.value,)).fetchone()
    return LookupState(row[0]) if row else None


def is_shown(db: Database, lookup_id: LookupId) -> bool:
    """Whether the rows of a flight have results."""
    sql = "SELECT 1 FROM flights WHERE lookup_id = ? AND shown_at IS NOT NULL"
    return db.execute(sql, (lookup_id.value,)).fetchone() is not None


def set_result(db: Database, lookup_id: LookupId, coverage: str) -> None:
    """The coverage of a flight's rows, stored once: it is the same for all of them."""
    db.execute("UPDATE flights SET result = ? WHERE lookup_id = ?", (coverage, lookup_id.value))


def result(db: Database, lookup_id: LookupId) -> Coverage | None:
    """The coverage that was stored for a flight's rows last."""
    row = db.execute("SELECT result FROM flights WHERE lookup_id = ?", (lookup_id.value,)).fetchone()
    return None if row is None or row[0] is None else read_coverage(row[0])


def coverage_of(db: Database, row: SearchRow) -> Coverage | None:
    """The coverage of a search as it was shown: its own, or the one that it shares with a flight's rows."""
    if row.result is None:
        return None
    if row.result.startswith(_OF_FLIGHT):
        return result(db, LookupId.parse(row.result.removeprefix(_OF_FLIGHT)))
    return read_coverage(row.result)


def of_flight(lookup_id: LookupId) -> str:
    """What stands as the result of a search whose coverage is that of a flight."""
    return f"{_OF_FLIGHT}{lookup_id}"


def set_flight_shown(db: Database, lookup_id: LookupId, now: datetime, *, closed: bool) -> None:
    """Its rows have results; `closed` when nothing can change them any more."""
    db.execute(
        "UPDATE flights SET shown_at = coalesce(shown_at, ?), closed = ? WHERE lookup_id = ? OR first = ?",
        (to_milliseconds(now), int(closed), lookup_id.value, lookup_id.value),
    )


def deny_flight(db: Database, flight: Flight, reason: str) -> bool:
    """The hub would not have it and nobody saw it: its rows wait again, under a new id next time.

    But not where another flight carries them: then they are asked, and only these targets have refused.
    Whether the rows wait again.
    """
    set_flight_state(db, flight.lookup_id, LookupState.DENIED)
    for node in flight.targets:
        set_target(db, flight.lookup_id, node, TargetRow(TargetState.REFUSED, reason))
    first = (flight.first or flight.lookup_id).value
    carried = db.execute(
        "SELECT 1 FROM flights WHERE (lookup_id = ? OR first = ?) AND state <> ?",
        (first, first, LookupState.DENIED.value),
    ).fetchone()
    if carried is None:
        db.execute("UPDATE flights SET closed = 1 WHERE lookup_id = ? OR first = ?", (first, first))
        db.conn.executemany(
            "UPDATE batch_rows SET state = ?, search_id = NULL WHERE batch_id = ? AND row = ?",
            [(WAITING, flight.batch_id, row) for row in flight.searches],
        )
        db.conn.executemany(
            "DELETE FROM searches WHERE search_id = ?",
            [(search.value,) for search in flight.searches.values()],
        )
    return carried is None


def set_target(db: Database, lookup_id: LookupId, node: NodeId, target: TargetRow) -> None:
    db.execute(
        f"INSERT OR REPLACE INTO flight_targets (lookup_id, node, {TARGET_COLUMNS})"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (lookup_id.value, str(node), *target.columns()),
    )


def targets(db: Database, lookup_id: LookupId) -> dict[NodeId, TargetRow]:
    """What became of each node asked; the answers themselves stay in the database."""
    columns = TARGET_COLUMNS.replace("answer_body, answer_signature", "NULL, NULL")
    rows = db.execute(
        f"SELECT node, {columns} FROM flight_targets WHERE lookup_id = ? ORDER BY node",  # noqa: S608
        (lookup_id.value,),
    ).fetchall()
    return {NodeId(node): read_target(found) for node, *found in rows}


def answer(db: Database, lookup_id: LookupId, node: NodeId) -> SignedStatement | None:
    """The answer of a node as it came; None when there is none, or when it was forgotten."""
    row = db.execute(
        "SELECT answer_body, answer_signature FROM flight_targets WHERE lookup_id = ? AND node = ?",
        (lookup_id.value, str(node)),
    ).fetchone()
    return None if row is None or row[0] is None else SignedStatement(row[0], row[1])


def waiting_for_index(db: Database, now: datetime) -> list[tuple[LookupId, NodeId]]:
    """Answers that only the index held of their owner kept from counting, of flights that are open (§7.8)."""
    rows = db.execute(
        "SELECT lookup_id, node FROM flights AS f JOIN flight_targets AS t USING (lookup_id) WHERE closed = 0"
        " AND expires_at > ? AND t.state IN (?, ?) AND t.answered_at IS NOT NULL ORDER BY f.rowid, node",
        (to_milliseconds(now), TargetState.STALE_INDEX.value, TargetState.NO_INDEX.value),
    ).fetchall()
    return [(LookupId(lookup_id), NodeId(node)) for lookup_id, node in rows]


def targets_beside(
    db: Database, lookup_id: LookupId, own: Mapping[NodeId, TargetRow]
) -> dict[NodeId, TargetRow]:
    """`own` and what became of the nodes that other flights asked about the same rows, the last word of each.

    A flight that the hub denied has changed nothing for a node that another one asked.
    """
    known = dict(own)
    rows = db.execute(
        "SELECT lookup_id, state FROM flights WHERE first = ? ORDER BY rowid", (lookup_id.value,)
    ).fetchall()
    for other, flight_state in rows:
        found = targets(db, LookupId(other))
        known = {**found, **known} if LookupState(flight_state) is LookupState.DENIED else {**known, **found}
    return known


def times_asked(db: Database, lookup_id: LookupId, node: NodeId) -> int:
    """In how many flights about the rows of this one a node was asked: a second time, and no more (§7.9)."""
    row = db.execute(
        "SELECT count(*) FROM flights AS f JOIN flight_targets AS t USING (lookup_id)"
        " WHERE (f.lookup_id = ?1 OR f.first = ?1) AND t.node = ?2 AND f.state <> ?3",
        (lookup_id.value, str(node), LookupState.DENIED.value),
    ).fetchone()
    return int(row[0])


def open_flights(db: Database, batch_id: bytes) -> list[LookupId]:
    """Flights of a batch whose rows have no results yet, in the order they were made."""
    rows = db.execute(
        "SELECT lookup_id FROM flights WHERE closed = 0 AND batch_id = ? AND shown_at IS NULL ORDER BY rowid",
        (batch_id,),
    ).fetchall()
    return [LookupId(value) for (value,) in rows]


def ended_flights(db: Database, now: datetime) -> list[LookupId]:
    """Flights whose life has ended and that are not closed yet, those that asked again included."""
    rows = db.execute(
        "SELECT lookup_id FROM flights WHERE closed = 0 AND first IS NULL AND expires_at <= ?",
        (to_milliseconds(now),),
    ).fetchall()
    return [LookupId(value) for (value,) in rows]


def load_flight(db: Database, lookup_id: LookupId) -> Flight | None:
    """A flight with its secrets, to go on after a restart; None for a lookup that is none."""
    row = db.execute(
        "SELECT batch_id, first, state, body, signature, directory_version, missing, shown_at FROM flights"
        " WHERE lookup_id = ?",
        (lookup_id.value,),
    ).fetchone()
    if row is None:
        return None
    batch_id, first, state, body, signature, version, missing, shown_at = row
    lookup = Lookup.decode(body)
    asked = db.execute(
        "SELECT p.position, p.row, p.plan_number, p.secrets, r.person, r.case_number, r.consent, r.officer,"
        " r.search_id FROM flight_persons AS p LEFT JOIN batch_rows AS r ON r.batch_id = ? AND r.row = p.row"
        " WHERE p.lookup_id = ? ORDER BY p.position",
        (batch_id, lookup_id.value),
    ).fetchall()
    persons: list[FlightPerson] = []
    slots: list[tuple[BlindedSlot, ...]] = []
    scheme: Scheme | None = None
    for position, number, plan_number, secrets, person, case, consent, officer, _ in asked:
        papers = _papers(secrets, case or "", consent or "", officer or "")
        particulars = Particulars(**json.loads(person)) if person else Particulars()
        persons.append(FlightPerson(number, plan_number, papers))
        scheme = scheme or _scheme(lookup, particulars, plan_number, papers, secrets)
        slots.append(_slots(lookup, position, particulars, plan_number, papers, secrets, scheme))
    # The rows of a flight that was denied wait again, and have no search.
    searches = {number: LookupId(search) for _, number, *_, search in asked if search is not None}
    return Flight(
        batch_id,
        lookup.purpose,
        Draft(lookup, SignedStatement(body, signature), tuple(slots)),
        tuple(persons),
        searches,
        LookupId(first) if first else None,
        LookupState(state),
        targets(db, lookup_id),
        read_missing(missing),
        version,
        shown=shown_at is not None,
    )


def particulars(db: Database, lookup_id: LookupId) -> list[Particulars]:
    """Whom a flight was about, in the order of its persons; nothing of those that only fill it up."""
    rows = db.execute(
        "SELECT r.person FROM flight_persons AS p JOIN flights AS f USING (lookup_id)"
        " LEFT JOIN batch_rows AS r ON r.batch_id = f.batch_id AND r.row = p.row"
        " WHERE p.lookup_id = ? ORDER BY p.position",
        (lookup_id.value,),
    ).fetchall()
    return [Particulars(**json.loads(person)) if person else Particulars() for (person,) in rows]


def answers(db: Database, lookup_id: LookupId) -> dict[NodeId, SignedStatement]:
    """The answers to a flight, as they are kept."""
    rows = db.execute(
        "SELECT node, answer_body, answer_signature FROM flight_targets WHERE lookup_id = ?"
        " AND answer_body IS NOT NULL",
        (lookup_id.value,),
    ).fetchall()
    return {NodeId(node): SignedStatement(body, signature) for node, body, signature in rows}


def _secrets(papers: Paperwork, slots: Sequence[BlindedSlot]) -> bytes:
    salts = [papers.salts[name] for name in _SALTS]
    return b"".join((*salts, papers.filler_seed, *(item.blinded.blind.to_bytes() for item in slots)))


def _papers(secrets: bytes, case: str, consent: str, officer: str) -> Paperwork:
    salts = {name: secrets[32 * place : 32 * place + 32] for place, name in enumerate(_SALTS)}
    return Paperwork(case, consent, officer, salts, secrets[128:160])


def _scheme(lookup: Lookup, person: Particulars, number: int, papers: Paperwork, secrets: bytes) -> Scheme:
    """Under which scheme a flight was made: the one whose input for the first slot is what was sent there.

    Raises UnsupportedVersion for one that this build does not know any more.
    """
    for scheme in SCHEMES.values():
        (first, *_) = _slots(lookup, 0, person, number, papers, secrets, scheme)
        if oprf.blind(first.slot.input, first.blinded.blind).element == first.blinded.element:
            return scheme
    raise UnsupportedVersion("A lookup made under a scheme that this version of Candor does not know.")


def _slots(
    lookup: Lookup,
    position: int,
    person: Particulars,
    number: int,
    papers: Paperwork,
    secrets: bytes,
    scheme: Scheme,
) -> tuple[BlindedSlot, ...]:
    plans = plan_lookup(normalise(person), lookup.shape, papers.filler_seed, scheme, least=number + 1)
    plan, found = plans[number], []
    for place, slot in enumerate(plan.slots):
        blind = Scalar.parse_nonzero(secrets[160 + 32 * place : 192 + 32 * place])
        offset = position * SLOTS[lookup.shape][slot.key_class] + slot.position
        found.append(BlindedSlot(slot, Blinded(slot.input, blind, lookup.elements[slot.key_class][offset])))
    return tuple(found)


# --- what is left of quotas ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Allowance:
    """What a node said last that it lets this one use."""

    left: Left
    stated_at: datetime = field(compare=False)


def state_allowance(db: Database, node: NodeId, left: Left, now: datetime) -> None:
    db.execute(
        "INSERT OR REPLACE INTO allowances VALUES (?, ?, ?, ?, ?, ?)",
        (str(node), left.total, left.weak, left.match, left.code, to_milliseconds(now)),
    )


def allowances(db: Database) -> dict[NodeId, Allowance]:
    rows = db.execute("SELECT node, total, weak, match, code, stated_at FROM allowances").fetchall()
    return {
        NodeId(node): Allowance(Left(total, weak, match, code), from_milliseconds(at))
        for node, total, weak, match, code, at in rows
    }
