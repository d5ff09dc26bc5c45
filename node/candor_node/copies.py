"""Copies of other agencies' records: what is held under a request, sealed, and its destruction (§9.9).

Rules of this file:
- all that an owner said about a record under one request is sealed under one key of that request, bound to
  its row: to destroy the key is to destroy the copy, in old backups too, for keys are backed up apart;
- what is stored are the owner's own statements, octet for octet: the response as number 0, recalls behind it;
- the key under which the response comes is sealed under it too, from the request on: whoever keeps a response
  off the wire and an old backup beside it opens nothing once the copy was destroyed;
- a correction takes the newest version's place, everything else is added; dispute and statement are those of
  the newest statement;
- everything here runs inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from candor_node.record_seals import draw_key, open_sealed, seal
from candor_node.store import Database
from candor_proto.disclosure import DisclosureResponse
from candor_proto.ids import RequestId
from candor_proto.recall import RecallAction, RecallKind, RecallNotice
from candor_proto.record import CanonicalRecord, DisputeStatus

_RESPONSE = 0


@dataclass(frozen=True)
class HeldVersion:
    """One version of a record as its owner stated it; `kind`: by which recall, None: by the release."""

    record: CanonicalRecord = field(repr=False)
    kind: RecallKind | None = None
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Copy:
    """What is held of a record. Versions are in order: a revision stands behind what it revises."""

    versions: tuple[HeldVersion, ...]
    dispute_status: DisputeStatus
    subject_statement: str = field(repr=False)

    @property
    def record(self) -> CanonicalRecord:
        """The newest version."""
        return self.versions[-1].record


def seal_reply_key(db: Database, request_id: RequestId, reply_key: bytes) -> None:
    """Keep the key that opens the response, under the key of the copy that will be held."""
    sealed = seal(_make_key(db, request_id), reply_key, _reply(request_id))
    db.execute("UPDATE sent_requests SET reply_key = ? WHERE request_id = ?", [sealed, request_id.value])


def open_reply_key(db: Database, request_id: RequestId, sealed: bytes) -> bytes:
    """The key that opens the response; empty once it, or the copy's key, was destroyed."""
    key = _find_key(db, request_id)
    if key is None or not sealed:
        return b""
    return open_sealed(key, sealed, _reply(request_id), f"The reply key of request {request_id}")


def add_response(db: Database, response: DisclosureResponse) -> None:
    """Hold what a response released, unless a correction that came before it has taken its place."""
    key = _find_key(db, response.request_id)
    before = [] if key is None else _opened(db, response.request_id, key)
    if not any(RecallNotice.decode(octets).action is RecallAction.REPLACE for _, octets in before):
        _add(db, response.request_id, _RESPONSE, response.encode(), holds_version=True)


def add_notice(db: Database, notice: RecallNotice) -> None:
    """Replace or annotate what is held, or will be once the response arrives."""
    request_id = notice.request_id
    # What an annotation said of dispute and statement is said anew by every later one.
    db.execute("DELETE FROM copies WHERE request_id = ? AND version = 0", [request_id.value])
    if notice.action is RecallAction.REPLACE:
        db.execute(
            "DELETE FROM copies WHERE request_id = ?1 AND number ="
            " (SELECT max(number) FROM copies WHERE request_id = ?1)",
            [request_id.value],
        )
    last = db.execute("SELECT max(number) FROM copies WHERE request_id = ?", [request_id.value]).fetchone()[0]
    number = _RESPONSE + 1 if last is None else last + 1
    _add(db, request_id, number, notice.encode(), holds_version=notice.kind.with_record)


def held(db: Database, request_id: RequestId) -> Copy | None:
    """What is held under a request; None when nothing is, or no version yet."""
    key = _find_key(db, request_id)
    if key is None:
        return None
    versions: list[HeldVersion] = []
    status, statement = DisputeStatus.NONE, ""
    for number, octets in _opened(db, request_id, key):
        if number == _RESPONSE:
            response = DisclosureResponse.decode(octets)
            versions.append(HeldVersion(CanonicalRecord.decode(response.record)))
            status, statement = response.dispute_status, response.subject_statement
            continue
        notice = RecallNotice.decode(octets)
        record = notice.new_version()
        if record is not None:
            versions.append(HeldVersion(record, notice.kind, notice.changed))
        status, statement = notice.dispute_status, notice.subject_statement
    return Copy(tuple(versions), status, statement) if versions else None


def response(db: Database, request_id: RequestId) -> bytes | None:
    """The response that released the record, as it was signed; None once it was replaced or destroyed."""
    key = _find_key(db, request_id)
    held = [] if key is None else _opened(db, request_id, key)
    return next((octets for number, octets in held if number == _RESPONSE), None)


def destroy(db: Database, request_id: RequestId) -> None:
    """Crypto-shredding: overwrite and delete the key, delete what was sealed under it."""
    db.execute("UPDATE copy_keys SET key = zeroblob(32) WHERE request_id = ?", [request_id.value])
    db.execute("DELETE FROM copy_keys WHERE request_id = ?", [request_id.value])
    db.execute("DELETE FROM copies WHERE request_id = ?", [request_id.value])


# --- rows ----------------------------------------------------------------------------------------------


def _add(db: Database, request_id: RequestId, number: int, octets: bytes, *, holds_version: bool) -> None:
    key = _make_key(db, request_id)
    sealed = seal(key, octets, _bound(request_id, number))
    db.execute(
        "INSERT INTO copies VALUES (?, ?, ?, ?)", [request_id.value, number, int(holds_version), sealed]
    )


def _make_key(db: Database, request_id: RequestId) -> bytes:
    key = _find_key(db, request_id)
    if key is None:
        key = draw_key()
        db.execute("INSERT INTO copy_keys VALUES (?, ?)", [request_id.value, key])
    return key


def _find_key(db: Database, request_id: RequestId) -> bytes | None:
    row = db.execute("SELECT key FROM copy_keys WHERE request_id = ?", [request_id.value]).fetchone()
    return None if row is None else row[0]


def _opened(db: Database, request_id: RequestId, key: bytes) -> list[tuple[int, bytes]]:
    rows = db.execute(
        "SELECT number, sealed FROM copies WHERE request_id = ? ORDER BY number", [request_id.value]
    ).fetchall()
    what = f"The copy held under request {request_id}"
    return [(number, open_sealed(key, sealed, _bound(request_id, number), what)) for number, sealed in rows]


def _reply(request_id: RequestId) -> bytes:
    return b"reply" + request_id.value


def _bound(request_id: RequestId, number: int) -> bytes:
    return b"copy" + request_id.value + number.to_bytes(4, "big")
