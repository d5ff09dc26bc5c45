"""Own lookups, their openings, answers and results: the SQL of searching (docs/protocol.md §7).

A *search* is one person asked about; it is carried out by one to three lookups (`plan_number`), each of which
may be asked again once under a new id (`attempt`). Every function runs inside a transaction of `Store`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from candor_node.accountability import own_lookups
from candor_node.reports import read_missing, write_missing
from candor_node.store import Database
from candor_node.targets import TARGET_COLUMNS, TargetRow, bytes_in, int_in, read_target, time_in
from candor_proto.budget import BUCKET, MONTH, Use, bucket
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import Expired
from candor_proto.exchange import BlindedSlot, Draft, LookupState, Paperwork
from candor_proto.group import Scalar
from candor_proto.ids import LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import check_plan
from candor_proto.normalise import Particulars, normalise
from candor_proto.opening import Opening
from candor_proto.oprf import Blinded
from candor_proto.result import TargetReport, TargetState
from candor_proto.scheme import scheme_of_inputs
from candor_proto.signing import SignedStatement
from candor_proto.statements import Lookup, cost


@dataclass(frozen=True)
class SearchRow:
    """What was asked, without the person; `plans` are asked of every node, `missing` could not be asked.

    `revision` counts how often the result was amended after it had been shown, the last time `amended_at`.
    """

    search_id: LookupId
    purpose: Purpose
    shape: LookupShape
    case: str = field(repr=False)
    consent: str = field(repr=False)
    officer: str = field(repr=False)
    created_at: datetime
    expires_at: datetime
    plans: int
    incomplete: bool
    directory_version: int
    missing: tuple[TargetReport, ...]
    shown_at: datetime | None = None
    closed: bool = False
    result: str | None = field(default=None, repr=False)
    forgotten_at: datetime | None = None
    revision: int = 0
    amended_at: datetime | None = None

    def check_kept(self) -> None:
        """Raises Expired once the result was forgotten."""
        if self.forgotten_at is not None:
            raise Expired(
                f"The result of this lookup was forgotten on {self.forgotten_at.date()}: its time was over.",
                remedy="Look the person up again if there is still a reason to.",
            )


@dataclass(frozen=True)
class Ask:
    """One lookup of a search, as it was stored before anything was sent."""

    draft: Draft
    opening: Opening = field(repr=False)
    attempt: int
    state: LookupState
    targets: Mapping[NodeId, TargetRow]

    @property
    def lookup_id(self) -> LookupId:
        return self.draft.lookup.lookup_id

    @property
    def plan_number(self) -> int:
        return self.opening.plan_number

    @property
    def scheme_version(self) -> int | None:
        return self.draft.scheme_version


# --- searches ------------------------------------------------------------------------------------------

_SEARCH = (
    "search_id, purpose, shape, case_number, consent, officer, created_at, expires_at, plans, incomplete,"
    " directory_version, missing, shown_at, closed, result, forgotten_at, revision, amended_at"
)


def add_search(db: Database, row: SearchRow) -> None:
    db.execute(
        f"INSERT INTO searches ({_SEARCH}) VALUES"  # noqa: S608
        " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0, NULL, NULL, 0, NULL)",
        (
            row.search_id.value,
            row.purpose.value,
            row.shape.value,
            row.case,
            row.consent,
            row.officer,
            to_milliseconds(row.created_at),
            to_milliseconds(row.expires_at),
            row.plans,
            int(row.incomplete),
            row.directory_version,
            write_missing(row.missing),
        ),
    )


def _read_search(row: Sequence[object]) -> SearchRow:
    (search_id, purpose, shape, case, consent, officer, created, expires, plans, incomplete, version) = row[
        :11
    ]
    missing, shown, closed, result, forgotten, revision, amended = row[11:]
    return SearchRow(
        LookupId(bytes_in(search_id)),
        Purpose(purpose),
        LookupShape(shape),
        str(case),
        str(consent),
        str(officer),
        from_milliseconds(int_in(created)),
        from_milliseconds(int_in(expires)),
        int_in(plans),
        bool(incomplete),
        int_in(version),
        read_missing(str(missing)),
        time_in(shown),
        bool(closed),
        None if result is None else str(result),
        time_in(forgotten),
        int_in(revision),
        time_in(amended),
    )


def search(db: Database, search_id: LookupId) -> SearchRow | None:
    row = db.execute(f"SELECT {_SEARCH} FROM searches WHERE search_id = ?", (search_id.value,)).fetchone()  # noqa: S608
    return None if row is None else _read_search(row)


def searches_named(db: Database, prefix: str, limit: int = 2) -> list[LookupId]:
    """Searches whose hexadecimal id begins with `prefix`, newest first."""
    rows = db.execute(
        "SELECT search_id FROM searches WHERE substr(lower(hex(search_id)), 1, length(?)) = ?"
        " ORDER BY created_at DESC LIMIT ?",
        (prefix, prefix, limit),
    ).fetchall()
    return [LookupId(value) for (value,) in rows]


def list_searches(
    db: Database, limit: int, before: datetime | None = None, case: str = ""
) -> list[SearchRow]:
    """Newest first, without the rows of batches unless a `case` number is given."""
    until = to_milliseconds(before) if before else 1 << 62
    rows = db.execute(
        f"SELECT {_SEARCH} FROM searches WHERE created_at < ? AND CASE WHEN ?2 = '' THEN batch_id IS NULL"  # noqa: S608
        " ELSE lower(trim(case_number)) = lower(trim(?2)) END ORDER BY created_at DESC, search_id LIMIT ?3",
        (until, case.strip(), limit),
    ).fetchall()
    return [_read_search(row) for row in rows]


def ended_searches(db: Database, now: datetime) -> list[LookupId]:
    """Searches whose life has ended and that are not closed yet."""
    rows = db.execute(
        "SELECT search_id FROM searches WHERE batch_id IS NULL AND closed = 0 AND expires_at <= ?",
        (to_milliseconds(now),),
    ).fetchall()
    return [LookupId(value) for (value,) in rows]


def unshown_searches(db: Database) -> list[LookupId]:
    """Searches that are not closed and have never been shown."""
    rows = db.execute(
        "SELECT search_id FROM searches WHERE batch_id IS NULL AND shown_at IS NULL AND closed = 0"
    ).fetchall()
    return [LookupId(value) for (value,) in rows]


def unsent_searches(db: Database, now: datetime) -> list[LookupId]:
    """Open searches of which a plan was never sent, or a target that has moved on not asked again (§7.9)."""
    rows = db.execute(
        "SELECT search_id FROM searches AS s WHERE batch_id IS NULL AND closed = 0 AND expires_at > ?"
        " AND NOT EXISTS (SELECT 1 FROM lookups WHERE search_id = s.search_id AND state = ?)"
        " AND (plans > (SELECT count(DISTINCT plan_number) FROM lookups WHERE search_id = s.search_id)"
        " OR EXISTS (SELECT 1 FROM lookups AS l JOIN lookup_targets AS t USING (lookup_id)"
        "  WHERE l.search_id = s.search_id AND l.attempt = 0 AND t.state = ? AND NOT EXISTS ("
        "   SELECT 1 FROM lookups AS m JOIN lookup_targets AS u USING (lookup_id) WHERE u.node = t.node"
        "   AND m.search_id = s.search_id AND m.plan_number = l.plan_number AND m.attempt > 0)))",
        (to_milliseconds(now), LookupState.DENIED.value, TargetState.STALE_EPOCH.value),
    ).fetchall()
    return [LookupId(value) for (value,) in rows]


def waiting_for_index(db: Database, now: datetime) -> dict[LookupId, list[tuple[LookupId, NodeId]]]:
    """By open search: answers that only the index held of their owner kept from counting (§7.8)."""
    rows = db.execute(
        "SELECT s.search_id, lookup_id, node FROM searches AS s JOIN lookups USING (search_id)"
        " JOIN lookup_targets AS t USING (lookup_id) WHERE batch_id IS NULL AND closed = 0"
        " AND s.expires_at > ? AND t.state IN (?, ?) AND t.answered_at IS NOT NULL",
        (to_milliseconds(now), TargetState.STALE_INDEX.value, TargetState.NO_INDEX.value),
    ).fetchall()
    found: dict[LookupId, list[tuple[LookupId, NodeId]]] = {}
    for search_id, lookup_id, node in rows:
        found.setdefault(LookupId(search_id), []).append((LookupId(lookup_id), NodeId(node)))
    return found


def store_result(db: Database, search_id: LookupId, result: str, shown_at: datetime, closed: bool) -> None:
    db.execute(
        "UPDATE searches SET result = ?, shown_at = coalesce(shown_at, ?), closed = ? WHERE search_id = ?",
        (result, to_milliseconds(shown_at), int(closed), search_id.value),
    )


def close(db: Database, search_id: LookupId) -> None:
    """Nothing more is expected of a search, for example because the hub denied it."""
    db.execute("UPDATE searches SET closed = 1 WHERE search_id = ?", (search_id.value,))


def shapes_for_case(db: Database, case: str, but_batch: bytes = b"") -> frozenset[LookupShape]:
    """The shapes asked before under this case number (§5.3), outside one batch; none without a number."""
    if not case.strip():
        return frozenset()
    rows = db.execute(
        "SELECT DISTINCT shape FROM searches WHERE lower(trim(case_number)) = lower(trim(?)) AND CASE"
        " WHEN batch_id IS NULL THEN EXISTS (SELECT 1 FROM lookups"
        "  WHERE lookups.search_id = searches.search_id AND state <> ?)"
        " ELSE batch_id <> ? END",
        (case, LookupState.DENIED.value, but_batch),
    ).fetchall()
    return frozenset(LookupShape(shape) for (shape,) in rows)


def own_uses(db: Database, now: datetime) -> list[Use]:
    """The elements that this node sent in the last 30 days, by hour (§11)."""
    rows = db.execute(
        "SELECT l.issued_at, s.shape, 1 FROM lookups AS l JOIN searches AS s USING (search_id)"
        " WHERE l.issued_at > ?1 AND l.state <> ?2 UNION ALL"
        " SELECT issued_at, shape, persons FROM flights WHERE issued_at > ?1 AND state <> ?2",
        (to_milliseconds(now - MONTH - BUCKET), LookupState.DENIED.value),
    ).fetchall()
    return [
        Use(bucket(from_milliseconds(at)), *cost(LookupShape(shape), persons).values())
        for at, shape, persons in rows
    ]


# --- lookups -------------------------------------------------------------------------------------------


def persons_sent(db: Database, batch_id: bytes) -> int:
    """How many persons the flights of a batch carried, fillers and second flights included."""
    row = db.execute(
        "SELECT coalesce(sum(persons), 0) FROM flights WHERE batch_id = ? AND state <> ?",
        (batch_id, LookupState.DENIED.value),
    ).fetchone()
    return int_in(row[0])


def add_ask(db: Database, search_id: LookupId, ask: Ask) -> None:
    lookup, statement = ask.draft.lookup, ask.draft.statement
    db.execute(
        "INSERT INTO lookups (lookup_id, search_id, plan_number, attempt, state, body, signature, opening,"
        " issued_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            lookup.lookup_id.value,
            search_id.value,
            ask.plan_number,
            ask.attempt,
            ask.state.value,
            statement.body,
            statement.signature,
            _write_opening(ask.opening),
            to_milliseconds(lookup.issued_at),
            to_milliseconds(lookup.expires_at),
        ),
    )
    own_lookups.remember(db, lookup, statement, flight=False)
    for node, target in ask.targets.items():
        set_target(db, lookup.lookup_id, node, target)


def set_ask_state(db: Database, lookup_id: LookupId, state: LookupState, reason: str = "") -> None:
    db.execute(
        "UPDATE lookups SET state = ?, reason = ? WHERE lookup_id = ?", (state.value, reason, lookup_id.value)
    )


def set_target(db: Database, lookup_id: LookupId, node: NodeId, target: TargetRow) -> None:
    db.execute(
        f"INSERT OR REPLACE INTO lookup_targets (lookup_id, node, {TARGET_COLUMNS})"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (lookup_id.value, str(node), *target.columns()),
    )


def search_of(db: Database, lookup_id: LookupId) -> LookupId | None:
    """The search that a lookup belongs to, or None for a lookup that is not ours."""
    row = db.execute("SELECT search_id FROM lookups WHERE lookup_id = ?", (lookup_id.value,)).fetchone()
    return None if row is None else LookupId(row[0])


def asks(db: Database, search_id: LookupId) -> list[Ask]:
    """The lookups of a search in the order they were drafted."""
    rows = db.execute(
        "SELECT lookup_id, attempt, state, body, signature, opening FROM lookups WHERE search_id = ?"
        " ORDER BY plan_number, attempt",
        (search_id.value,),
    ).fetchall()
    return [
        _read_ask(db, lookup_id, attempt, state, SignedStatement(body, signature), opening)
        for lookup_id, attempt, state, body, signature, opening in rows
    ]


def _read_ask(
    db: Database, lookup_id: bytes, attempt: int, state: str, statement: SignedStatement, opening_text: str
) -> Ask:
    lookup, opening = Lookup.decode(statement.body), _read_opening(opening_text)
    plan = check_plan(
        normalise(opening.particulars),
        lookup.shape,
        opening.paperwork.filler_seed,
        opening.inputs,
        opening.plan_number,
        scheme_of_inputs(opening.inputs),
    )
    slots = tuple(
        BlindedSlot(
            slot, Blinded(slot.input, Scalar.parse(blind), lookup.elements[slot.key_class][slot.position])
        )
        for slot, blind in zip(plan.slots, opening.blinds, strict=True)
    )
    targets = db.execute(
        f"SELECT node, {TARGET_COLUMNS} FROM lookup_targets WHERE lookup_id = ? ORDER BY node",  # noqa: S608
        (lookup_id,),
    ).fetchall()
    return Ask(
        Draft(lookup, statement, (slots,)),
        opening,
        attempt,
        LookupState(state),
        {NodeId(node): read_target(columns) for node, *columns in targets},
    )


def _write_opening(opening: Opening) -> str:
    paperwork = opening.paperwork
    return json.dumps(
        {
            "particulars": asdict(opening.particulars),
            "case": paperwork.case,
            "consent": paperwork.consent,
            "officer": paperwork.officer,
            "salts": {name: salt.hex() for name, salt in paperwork.salts.items()},
            "filler_seed": paperwork.filler_seed.hex(),
            "plan_number": opening.plan_number,
            "inputs": [value.hex() for value in opening.inputs],
            "blinds": [value.hex() for value in opening.blinds],
        }
    )


def _read_opening(text: str) -> Opening:
    """Raises Expired once it was destroyed (`accountability.openings`)."""
    if not text:
        raise Expired("What this lookup asked was destroyed: its two years are over.")
    stored = json.loads(text)
    return Opening(
        Particulars(**stored["particulars"]),
        Paperwork(
            stored["case"],
            stored["consent"],
            stored["officer"],
            {name: bytes.fromhex(salt) for name, salt in stored["salts"].items()},
            bytes.fromhex(stored["filler_seed"]),
        ),
        stored["plan_number"],
        tuple(bytes.fromhex(value) for value in stored["inputs"]),
        tuple(bytes.fromhex(value) for value in stored["blinds"]),
    )
