"""Disclosure requests, sent and received: the SQL of disclosure (docs/protocol.md §9).

Every function runs inside a transaction of `Store`. Reply keys lie here and nowhere else, sealed under the
key of the copy (`copies`); they are destroyed once the request is settled, except where the response is
evidence. What people note about a request may name somebody: it is sealed under the record's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from candor_node import copies, record_seals
from candor_node.copies import Copy
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.disclosure import DisclosureRequest, Outcome, OwnerState, RequesterState
from candor_proto.ids import LookupId, RequestId
from candor_proto.record import CanonicalRecord


@dataclass(frozen=True)
class SentRequest:
    """A request of ours and what became of it."""

    search_id: LookupId
    hit_number: int
    request: DisclosureRequest
    reply_key: bytes = field(repr=False)
    state: RequesterState
    reason: str
    confirmed_by: str
    settled_at: datetime | None
    outcome: Outcome | None
    copy: Copy | None
    evidence_kept: bool

    @property
    def record(self) -> CanonicalRecord | None:
        """The newest version held of the record; None before it was released and after it was recalled."""
        return self.copy.record if self.copy and self.state is RequesterState.OPENED else None


@dataclass(frozen=True)
class ReceivedRequest:
    """A request of another member for a record of ours."""

    request: DisclosureRequest
    state: OwnerState
    reason: str
    dcn: str
    received_at: datetime
    settled_at: datetime | None
    settled_by: str
    note: str = field(repr=False)


# --- sent ----------------------------------------------------------------------------------------------


def add_sent(
    db: Database,
    search_id: LookupId,
    hit_number: int,
    request: DisclosureRequest,
    reply_key: bytes,
    confirmed_by: str,
) -> None:
    db.execute(
        "INSERT INTO sent_requests (request_id, search_id, hit_number, owner, body, reply_key, state,"
        " confirmed_by, sent_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            request.request_id.value,
            search_id.value,
            hit_number,
            str(request.owner),
            request.encode(),
            b"",
            RequesterState.SENT.value,
            confirmed_by,
            to_milliseconds(request.issued_at),
            to_milliseconds(request.expires_at),
        ),
    )
    copies.seal_reply_key(db, request.request_id, reply_key)


_SENT = (
    "search_id, hit_number, body, reply_key, state, reason, confirmed_by, settled_at, outcome,"
    " evidence IS NOT NULL"
)


def _sent_rows(db: Database, where: str, values: Sequence[object]) -> list[SentRequest]:
    rows = db.execute(f"SELECT {_SENT} FROM sent_requests WHERE {where}", list(values)).fetchall()  # noqa: S608
    found = []
    for search_id, hit_number, body, reply_key, state, reason, by, settled_at, outcome, evidence in rows:
        request = DisclosureRequest.decode(body)
        found.append(
            SentRequest(
                LookupId(search_id),
                hit_number,
                request,
                copies.open_reply_key(db, request.request_id, reply_key),
                RequesterState(state),
                reason,
                by,
                None if settled_at is None else from_milliseconds(settled_at),
                None if outcome is None else Outcome(outcome),
                copies.held(db, request.request_id),
                bool(evidence),
            )
        )
    return found


def sent(db: Database, request_id: RequestId) -> SentRequest | None:
    rows = _sent_rows(db, "request_id = ?", (request_id.value,))
    return rows[0] if rows else None


def sent_for_hit(db: Database, search_id: LookupId, hit_number: int) -> list[SentRequest]:
    return _sent_rows(db, "search_id = ? AND hit_number = ?", (search_id.value, hit_number))


def list_sent(db: Database, limit: int) -> list[SentRequest]:
    """Newest first."""
    return _sent_rows(db, "1 ORDER BY sent_at DESC LIMIT ?", (limit,))


def ended_sent(db: Database, now: datetime) -> list[SentRequest]:
    """Unsettled requests past their life."""
    return _sent_rows(
        db,
        "state IN (?, ?) AND expires_at <= ?",
        (RequesterState.SENT.value, RequesterState.INVALID.value, to_milliseconds(now)),
    )


def settle_sent(
    db: Database,
    request_id: RequestId,
    state: RequesterState,
    now: datetime,
    *,
    reason: str = "",
    outcome: Outcome | None = None,
    evidence: bytes | None = None,
) -> None:
    """Store what became of a request; the reply key goes unless sealed evidence needs it.

    A record that was released is held by `copies`; where none will come, what recalls said of it goes too.
    """
    db.execute(
        "UPDATE sent_requests SET state = ?, reason = ?, settled_at = ?, outcome = ?,"
        " evidence = coalesce(?, evidence) WHERE request_id = ?",
        (
            state.value,
            reason,
            to_milliseconds(now),
            outcome.value if outcome else None,
            evidence,
            request_id.value,
        ),
    )
    if state not in (RequesterState.OPENED, RequesterState.INVALID):
        copies.destroy(db, request_id)
    if state is not RequesterState.INVALID:
        db.execute(
            "UPDATE sent_requests SET reply_key = x'' WHERE request_id = ? AND evidence IS NULL",
            (request_id.value,),
        )


def forget_record(db: Database, request_id: RequestId, state: RequesterState, reason: str) -> None:
    """Leave a tombstone of a request whose record was recalled: copy, reply key, evidence are destroyed."""
    copies.destroy(db, request_id)
    db.execute(
        "UPDATE sent_requests SET state = ?, reason = ?, reply_key = x'', evidence = NULL"
        " WHERE request_id = ?",
        (state.value, reason, request_id.value),
    )


def evidence(db: Database, request_id: RequestId) -> bytes | None:
    """The sealed response that was refused, as it arrived."""
    row = db.execute(
        "SELECT evidence FROM sent_requests WHERE request_id = ?", (request_id.value,)
    ).fetchone()
    return None if row is None else row[0]


# --- received ------------------------------------------------------------------------------------------


def add_received(
    db: Database, request: DisclosureRequest, state: OwnerState, reason: str, dcn: str, now: datetime
) -> bool:
    """False when a request of this id is known already."""
    known = db.execute(
        "SELECT 1 FROM received_requests WHERE request_id = ?", (request.request_id.value,)
    ).fetchone()
    if known:
        return False
    db.execute(
        "INSERT INTO received_requests (request_id, requester, body, state, reason, dcn, received_at,"
        " expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            request.request_id.value,
            str(request.requester),
            request.encode(),
            state.value,
            reason,
            dcn,
            to_milliseconds(now),
            to_milliseconds(request.expires_at),
        ),
    )
    return True


_RECEIVED = "request_id, body, state, reason, dcn, received_at, settled_at, settled_by, note"


def _received_rows(db: Database, where: str, values: Sequence[object]) -> list[ReceivedRequest]:
    # `where` is one of the constants below.
    sql = f"SELECT {_RECEIVED} FROM received_requests WHERE {where}"  # noqa: S608
    rows = db.execute(sql, list(values)).fetchall()
    return [
        ReceivedRequest(
            DisclosureRequest.decode(body),
            OwnerState(state),
            reason,
            dcn,
            from_milliseconds(received_at),
            None if settled_at is None else from_milliseconds(settled_at),
            settled_by,
            _open_note(db, request_id, note),
        )
        for request_id, body, state, reason, dcn, received_at, settled_at, settled_by, note in rows
    ]


def received(db: Database, request_id: RequestId) -> ReceivedRequest | None:
    rows = _received_rows(db, "request_id = ?", (request_id.value,))
    return rows[0] if rows else None


def count_released(db: Database, control_numbers: Sequence[str]) -> tuple[int, int]:
    """How often these versions of a record were released, and to how many members."""
    marks = ", ".join("?" * len(control_numbers))
    row = db.execute(
        f"SELECT count(*), count(DISTINCT requester) FROM received_requests WHERE dcn IN ({marks}) "  # noqa: S608
        "AND state = ?",
        [*control_numbers, OwnerState.RELEASED.value],
    ).fetchone()
    return row[0], row[1]


def list_received(db: Database, limit: int) -> list[ReceivedRequest]:
    """Newest first."""
    return _received_rows(db, "1 ORDER BY received_at DESC LIMIT ?", (limit,))


def count_received(db: Database, state: OwnerState) -> int:
    row = db.execute("SELECT count(*) FROM received_requests WHERE state = ?", (state.value,)).fetchone()
    return int(row[0])


def ended_received(db: Database, now: datetime) -> list[ReceivedRequest]:
    """Undecided requests past their life."""
    return _received_rows(
        db,
        "state IN (?, ?) AND expires_at <= ?",
        (OwnerState.RECEIVED.value, OwnerState.WAITING.value, to_milliseconds(now)),
    )


def released(db: Database, control_numbers: Sequence[str]) -> list[ReceivedRequest]:
    """Requests under which any of these versions was released, oldest first."""
    marks = ", ".join("?" * len(control_numbers))
    return _received_rows(
        db, f"state = 'released' AND dcn IN ({marks}) ORDER BY settled_at, received_at", control_numbers
    )


def settle_received(
    db: Database,
    request_id: RequestId,
    state: OwnerState,
    now: datetime,
    *,
    reason: str,
    by: str = "",
    note: str = "",
) -> None:
    db.execute(
        "UPDATE received_requests SET state = ?, reason = ?, settled_at = ?, settled_by = ?, note = ?"
        " WHERE request_id = ?",
        (
            state.value,
            reason,
            None if state is OwnerState.WAITING else to_milliseconds(now),
            "" if state is OwnerState.WAITING else by,
            _seal_note(db, request_id, note),
            request_id.value,
        ),
    )


def record_key(db: Database, request_id: bytes) -> bytes | None:
    """The data key of the record that a received request is about; None where there is none any more."""
    row = db.execute(
        "SELECT key FROM received_requests JOIN records USING (dcn) JOIN record_keys USING (record_id)"
        " WHERE request_id = ?",
        (request_id,),
    ).fetchone()
    return None if row is None else row[0]


def _seal_note(db: Database, request_id: RequestId, note: str) -> bytes:
    """Empty where there is no note, or no record any more that it could be about."""
    key = record_key(db, request_id.value)
    return record_seals.seal(key, note.encode(), _bound(request_id.value)) if key and note else b""


def _open_note(db: Database, request_id: bytes, sealed: bytes) -> str:
    """Empty once its record was destroyed."""
    key = record_key(db, request_id) if sealed else None
    if key is None:
        return ""
    what = f"The note on request {RequestId(request_id)}"
    return record_seals.open_sealed(key, sealed, _bound(request_id), what).decode()


def _bound(request_id: bytes) -> bytes:
    return b"note" + request_id


def requests_named(db: Database, prefix: str) -> list[RequestId]:
    """Requests, sent or received, whose hexadecimal id begins with `prefix`."""
    rows = db.execute(
        "SELECT request_id FROM sent_requests WHERE substr(lower(hex(request_id)), 1, length(?1)) = ?1"
        " UNION SELECT request_id FROM received_requests"
        " WHERE substr(lower(hex(request_id)), 1, length(?1)) = ?1 LIMIT 2",
        (prefix,),
    ).fetchall()
    return [RequestId(value) for (value,) in rows]
