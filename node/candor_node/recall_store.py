"""Recalls, sent and received: the SQL of recall (docs/protocol.md §9.7-§9.11).

Rules of this file:
- every function runs inside a transaction of `Store`;
- no row here names anybody. What a notice says about a record is sealed under that record's own key, so that
  an expunged record leaves nothing here either, and is gone once nobody needs to hear it any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_node import record_seals
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import Digest, NodeId, RecallId, RequestId
from candor_proto.recall import Done, RecallAction, RecallKind, RecallNotice, RecallState, RecipientState

_OPEN = "state IN ('pending', 'sent', 'undeliverable')"
# Kinds of notices to destroy: they wait for nothing.
_DESTROYING = ", ".join(str(kind.value) for kind in RecallKind if kind.action is RecallAction.DESTROY)
_DUE = (
    f"{_OPEN} AND send_at <= ? AND (kind IN ({_DESTROYING}) OR NOT EXISTS (SELECT 1 FROM recalls AS earlier"  # noqa: S608
    f" WHERE earlier.request_id = recalls.request_id AND earlier.number < recalls.number"
    f" AND earlier.{_OPEN})) ORDER BY number LIMIT ?"
)


@dataclass(frozen=True)
class Recall:
    """A recall of ours: what one requester is to be told about one record, and what it said."""

    number: int
    recall_id: RecallId
    request_id: RequestId
    recipient: NodeId
    record_id: bytes
    dcn: str
    kind: RecallKind
    state: RecallState
    effective_at: datetime
    digest: Digest
    envelope_id: bytes | None
    sendings: int
    first_sent_at: datetime | None
    send_at: datetime
    done: Done | None
    acted_at: datetime | None
    read_at: datetime | None


@dataclass(frozen=True)
class ReceivedRecall:
    """A recall of another owner, as it was applied here."""

    recall_id: RecallId
    request_id: RequestId
    owner: NodeId
    kind: RecallKind
    digest: Digest
    changed: tuple[str, ...]
    effective_at: datetime
    done: Done
    acted_at: datetime
    read_at: datetime | None
    read_by: str

    @property
    def state(self) -> RecipientState:
        return RecipientState.APPLIED if self.read_at is None else RecipientState.READ


# --- ours ----------------------------------------------------------------------------------------------


def add(db: Database, record_id: bytes, dcn: str, notice: RecallNotice) -> None:
    """Store a recall as PENDING, to be sent at once."""
    body, at = notice.encode(), to_milliseconds(notice.issued_at)
    if notice.action is not RecallAction.DESTROY:
        body = record_seals.seal(record_seals.key_of(db, record_id), body, _bound(notice.recall_id))
    db.execute(
        "INSERT INTO recalls (recall_id, request_id, recipient, record_id, dcn, kind, state, effective_at,"
        " digest, body, send_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            notice.recall_id.value,
            notice.request_id.value,
            str(notice.recipient),
            record_id,
            dcn,
            notice.kind.value,
            RecallState.PENDING.value,
            to_milliseconds(notice.effective_at),
            notice.digest().value,
            body,
            at,
        ),
    )


def notice_of(db: Database, recall: Recall) -> RecallNotice | None:
    """What the recall says; None when its record was destroyed, or nobody needs to hear it any more."""
    (body,) = db.execute("SELECT body FROM recalls WHERE number = ?", (recall.number,)).fetchone()
    if body and recall.kind.action is not RecallAction.DESTROY:
        key = record_seals.find_key(db, recall.record_id)
        what = f"The notice of recall {recall.recall_id}"
        body = record_seals.open_sealed(key, body, _bound(recall.recall_id), what) if key else b""
    return RecallNotice.decode(body) if body else None


def _bound(recall_id: RecallId) -> bytes:
    return b"recall" + recall_id.value


_RECALL = (
    "number, recall_id, request_id, recipient, record_id, dcn, kind, state, effective_at, digest,"
    " envelope_id, sendings, first_sent_at, send_at, done, acted_at, read_at"
)


def _recalls(db: Database, where: str, values: Sequence[object] = ()) -> list[Recall]:
    # `where` is one of the constants below.
    sql = f"SELECT {_RECALL} FROM recalls WHERE {where}"  # noqa: S608
    return [
        Recall(
            number=row[0],
            recall_id=RecallId(row[1]),
            request_id=RequestId(row[2]),
            recipient=NodeId(row[3]),
            record_id=row[4],
            dcn=row[5],
            kind=RecallKind(row[6]),
            state=RecallState(row[7]),
            effective_at=from_milliseconds(row[8]),
            digest=Digest(row[9]),
            envelope_id=row[10],
            sendings=row[11],
            first_sent_at=_moment(row[12]),
            send_at=from_milliseconds(row[13]),
            done=None if row[14] is None else Done(row[14]),
            acted_at=_moment(row[15]),
            read_at=_moment(row[16]),
        )
        for row in db.execute(sql, list(values)).fetchall()
    ]


def find(db: Database, recall_id: RecallId) -> Recall | None:
    rows = _recalls(db, "recall_id = ?", (recall_id.value,))
    return rows[0] if rows else None


def due(db: Database, now: datetime, limit: int) -> list[Recall]:
    """Recalls to send now, oldest first: of those about one request the first that is not acknowledged."""
    return _recalls(db, _DUE, (to_milliseconds(now), limit))


def of_request(db: Database, request_id: RequestId) -> list[Recall]:
    """Oldest first."""
    return _recalls(db, "request_id = ? ORDER BY number", (request_id.value,))


def of_record(db: Database, record_id: bytes) -> list[Recall]:
    """Oldest first."""
    return _recalls(db, "record_id = ? ORDER BY number", (record_id,))


def unacknowledged(db: Database) -> list[Recall]:
    """Oldest first."""
    return _recalls(db, f"{_OPEN} ORDER BY number")


def list_sent(db: Database, limit: int) -> list[Recall]:
    """Newest first."""
    return _recalls(db, "1 ORDER BY number DESC LIMIT ?", (limit,))


def acknowledged(db: Database) -> list[tuple[datetime, datetime]]:
    """When each acknowledged recall to destroy took effect, and when its recipient had acted."""
    rows = db.execute(
        f"SELECT effective_at, acted_at FROM recalls WHERE acted_at IS NOT NULL AND kind IN ({_DESTROYING})"  # noqa: S608
    ).fetchall()
    return [(from_milliseconds(effective), from_milliseconds(acted)) for effective, acted in rows]


def set_sent(
    db: Database, number: int, state: RecallState, envelope_id: bytes, now: datetime, send_at: datetime
) -> None:
    """The notice is in the outbox; `send_at` is when it goes again if nobody acknowledges it."""
    db.execute(
        "UPDATE recalls SET state = ?, envelope_id = ?, sendings = sendings + 1,"
        " first_sent_at = coalesce(first_sent_at, ?), send_at = ? WHERE number = ?",
        (state.value, envelope_id, to_milliseconds(now), to_milliseconds(send_at), number),
    )


def postpone(db: Database, number: int, state: RecallState, send_at: datetime) -> None:
    """Nothing can be sent now."""
    db.execute(
        "UPDATE recalls SET state = ?, send_at = ? WHERE number = ?",
        (state.value, to_milliseconds(send_at), number),
    )


def set_ended(db: Database, number: int, state: RecallState) -> None:
    """Nobody will hear it any more: what it said goes."""
    db.execute("UPDATE recalls SET state = ?, body = x'' WHERE number = ?", (state.value, number))


def set_acknowledged(
    db: Database, number: int, state: RecallState, done: Done, acted_at: datetime, read_at: datetime | None
) -> None:
    """What was said first stays: a later acknowledgement adds that a person has read it, and no more."""
    db.execute(
        "UPDATE recalls SET state = ?, body = x'', done = coalesce(done, ?),"
        " acted_at = coalesce(acted_at, ?), read_at = coalesce(read_at, ?) WHERE number = ?",
        (
            state.value,
            done.value,
            to_milliseconds(acted_at),
            None if read_at is None else to_milliseconds(read_at),
            number,
        ),
    )


# --- those of others -----------------------------------------------------------------------------------


def count_unread(db: Database) -> int:
    """Recalls of records of others that were applied here and that nobody has read."""
    row = db.execute("SELECT count(*) FROM received_recalls WHERE read_at IS NULL").fetchone()
    return int(row[0])


def add_received(db: Database, notice: RecallNotice, digest: Digest, done: Done, acted_at: datetime) -> None:
    db.execute(
        "INSERT INTO received_recalls (recall_id, request_id, owner, kind, digest, changed, effective_at,"
        " done, acted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            notice.recall_id.value,
            notice.request_id.value,
            str(notice.owner),
            notice.kind.value,
            digest.value,
            json.dumps(notice.changed),
            to_milliseconds(notice.effective_at),
            done.value,
            to_milliseconds(acted_at),
        ),
    )


_RECEIVED = (
    "recall_id, request_id, owner, kind, digest, changed, effective_at, done, acted_at, read_at, read_by"
)


def _received(db: Database, where: str, values: Sequence[object] = ()) -> list[ReceivedRecall]:
    # `where` is one of the constants below.
    sql = f"SELECT {_RECEIVED} FROM received_recalls WHERE {where}"  # noqa: S608
    return [
        ReceivedRecall(
            recall_id=RecallId(row[0]),
            request_id=RequestId(row[1]),
            owner=NodeId(row[2]),
            kind=RecallKind(row[3]),
            digest=Digest(row[4]),
            changed=tuple(json.loads(row[5])),
            effective_at=from_milliseconds(row[6]),
            done=Done(row[7]),
            acted_at=from_milliseconds(row[8]),
            read_at=_moment(row[9]),
            read_by=row[10],
        )
        for row in db.execute(sql, list(values)).fetchall()
    ]


def find_received(db: Database, recall_id: RecallId) -> ReceivedRecall | None:
    rows = _received(db, "recall_id = ?", (recall_id.value,))
    return rows[0] if rows else None


def received_about(db: Database, request_id: RequestId) -> list[ReceivedRecall]:
    """Oldest first."""
    return _received(db, "request_id = ? ORDER BY acted_at, rowid", (request_id.value,))


def list_received(db: Database, limit: int, *, unread: bool = False) -> list[ReceivedRecall]:
    """Newest first; `unread` narrows to those that no person has acknowledged."""
    where = "read_at IS NULL" if unread else "1"
    return _received(db, f"{where} ORDER BY acted_at DESC, rowid DESC LIMIT ?", (limit,))


def set_read(db: Database, recall_id: RecallId, by: str, now: datetime) -> None:
    db.execute(
        "UPDATE received_recalls SET read_at = ?, read_by = ? WHERE recall_id = ?",
        (to_milliseconds(now), by, recall_id.value),
    )


def named(db: Database, prefix: str) -> list[RecallId]:
    """Recalls, sent or received, whose hexadecimal id begins with `prefix`; at most two."""
    rows = db.execute(
        "SELECT recall_id FROM recalls WHERE substr(lower(hex(recall_id)), 1, length(?1)) = ?1"
        " UNION SELECT recall_id FROM received_recalls"
        " WHERE substr(lower(hex(recall_id)), 1, length(?1)) = ?1 LIMIT 2",
        (prefix,),
    ).fetchall()
    return [RecallId(value) for (value,) in rows]


def _moment(value: int | None) -> datetime | None:
    return None if value is None else from_milliseconds(value)
