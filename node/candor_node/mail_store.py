"""Inbox, outbox, replay cache and quota uses: the SQL of messages (docs/protocol.md §7.3, §8.3, §11).

Every function runs inside a transaction of `Store`. An inbox row is written before its delivery is
acknowledged; an outbox row is deleted once the hub has durably accepted it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from candor_node.store import Database
from candor_node.tlog import watching
from candor_node.workers import Lane, lane_for
from candor_proto.budget import MONTH, Use, bucket
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import Replayed
from candor_proto.ids import KeyClass, LookupId, NodeId
from candor_proto.signing import SignedStatement
from candor_proto.statements import AnswerStatus, answer_persons, lookup_persons
from candor_proto.tlog.entries import request_commitment
from candor_wire.codec import Envelope, MessageKind

# How long settled messages are remembered, so that a delivery repeated late is still recognised.
KEPT = timedelta(days=30)
# Different bodies under one id that are kept: the hub may spoil some, but must not fill the disk.
MAX_VARIANTS = 4


@dataclass(frozen=True)
class InboxRow:
    """A message that was delivered and is not settled; `lane` is that of a single lookup or of a batch.

    `number` is 0 as long as it is not stored: whoever processes it stores it together with what comes of it.
    """

    number: int
    envelope: Envelope = field(repr=False)
    lane: Lane = Lane.SINGLE

    @property
    def statement(self) -> SignedStatement:
        return self.envelope.statement


@dataclass(frozen=True)
class OutboxRow:
    """A message on its way to the hub."""

    number: int
    attempts: int
    envelope: Envelope = field(repr=False)


# --- inbox ---------------------------------------------------------------------------------------------


def unstored(envelope: Envelope) -> InboxRow:
    """A delivery that is not stored yet."""
    return InboxRow(0, envelope, _lane(envelope))


def receive(db: Database, envelope: Envelope, now: datetime) -> InboxRow | None:
    """Store a delivery; None when it is one that was stored before (or one variant too many)."""
    number = _insert(db, envelope, now, "new", "", envelope.body, envelope.signature)
    return InboxRow(number, envelope, _lane(envelope)) if number else None


def _insert(
    db: Database, envelope: Envelope, now: datetime, state: str, note: str, body: bytes, signature: bytes
) -> int:
    """The number of the new row; 0 when the very same message is there already."""
    key = (str(envelope.sender), envelope.kind.value, envelope.envelope_id)
    content = hashlib.sha256(envelope.signature + envelope.body).digest()
    known = db.execute(
        "SELECT digest FROM inbox WHERE sender = ? AND kind = ? AND envelope_id = ?", key
    ).fetchall()
    if len(known) >= MAX_VARIANTS or (content,) in known:
        return 0
    if envelope.kind is MessageKind.LOOKUP:
        # From now on a heartbeat says that it came (§14.8).
        watching.received(db, request_commitment(envelope.statement), now)
    done = db.execute(
        "INSERT INTO inbox (sender, kind, envelope_id, digest, body, signature, expires_at, received_at,"
        " bulk, state, note) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *key,
            content,
            body,
            signature,
            to_milliseconds(envelope.expires_at),
            to_milliseconds(now),
            int(_lane(envelope) is Lane.BULK),
            state,
            note,
        ),
    )
    return int(done.lastrowid or 0)


def _lane(envelope: Envelope) -> Lane:
    """By what the message says of itself, unchecked: a lie costs its sender its place in the line."""
    if envelope.kind is MessageKind.LOOKUP:
        return lane_for(lookup_persons(envelope.body))
    if envelope.kind is MessageKind.ANSWER:
        return lane_for(answer_persons(envelope.body))
    return Lane.SINGLE


def unsettled(
    db: Database,
    kind: MessageKind,
    own: NodeId,
    limit: int,
    lane: Lane = Lane.SINGLE,
    but: Collection[int] = (),
) -> list[InboxRow]:
    """Messages of `kind` and `lane` that were not settled yet, without those in `but`.

    Round-robin by sender, each sender's oldest first: a member that sent a thousand does not keep the one
    message of another waiting.
    """
    rows = db.execute(
        # Bodies stay out of the sorting: there may be thousands of them.
        "SELECT number, sender, envelope_id, body, signature, expires_at FROM inbox WHERE number IN ("
        " SELECT number FROM (SELECT number, row_number() OVER (PARTITION BY sender ORDER BY number) AS turn"
        " FROM inbox WHERE state = 'new' AND kind = ? AND bulk = ?"
        " AND number NOT IN (SELECT value FROM json_each(?))) ORDER BY turn, number LIMIT ?) ORDER BY number",
        (kind.value, int(lane is Lane.BULK), json.dumps(sorted(but)), limit),
    ).fetchall()
    return [
        InboxRow(
            number,
            Envelope(envelope_id, kind, NodeId(sender), own, body, signature, from_milliseconds(expires_at)),
            lane,
        )
        for number, sender, envelope_id, body, signature, expires_at in rows
    ]


def waits(db: Database, kind: MessageKind) -> bool:
    """Whether anything of `kind` was delivered and is not settled yet."""
    row = db.execute("SELECT 1 FROM inbox WHERE state = 'new' AND kind = ? LIMIT 1", (kind.value,)).fetchone()
    return row is not None


def settle(db: Database, number: int, note: str = "") -> None:
    """Mark an inbox row as dealt with and forget its body; `note` says why it was dropped, if it was."""
    settle_all(db, (number,), note)


def settle_all(db: Database, numbers: Sequence[int], note: str = "") -> None:
    """`settle` for several rows."""
    state = "dropped" if note else "done"
    db.execute(
        "UPDATE inbox SET state = ?, note = ?, body = x'', signature = x''"
        " WHERE number IN (SELECT value FROM json_each(?))",
        (state, note, json.dumps(list(numbers))),
    )


def finish(db: Database, row: InboxRow, now: datetime, note: str = "") -> int:
    """`settle` a message that may not be stored yet; its number, 0 when somebody else stored it meanwhile."""
    if row.number:
        settle(db, row.number, note)
        return row.number
    # Its body will not be needed again, only that it was here.
    return _insert(db, row.envelope, now, "dropped" if note else "done", note, b"", b"")


# --- outbox --------------------------------------------------------------------------------------------


def enqueue(
    db: Database, envelope: Envelope, now: datetime, not_before: datetime | None = None
) -> OutboxRow | None:
    """Put a message into the outbox; the same message twice is once, and None the second time.

    `not_before` leaves whoever puts it there some time to send it himself.
    """
    done = db.execute(
        "INSERT INTO outbox (envelope_id, kind, recipient, body, signature, expires_at, created_at,"
        " not_before, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting') ON CONFLICT DO NOTHING",
        (
            envelope.envelope_id,
            envelope.kind.value,
            str(envelope.recipient or ""),
            envelope.body,
            envelope.signature,
            to_milliseconds(envelope.expires_at),
            to_milliseconds(now),
            to_milliseconds(not_before or now),
        ),
    )
    return OutboxRow(int(done.lastrowid or 0), 0, envelope) if done.rowcount else None


_OUTBOX_COLUMNS = "number, attempts, envelope_id, kind, recipient, body, signature, expires_at"


def _outbox_rows(db: Database, own: NodeId, where: str, values: Sequence[object]) -> list[OutboxRow]:
    # `where` is one of the constants below.
    sql = f"SELECT {_OUTBOX_COLUMNS} FROM outbox WHERE {where}"  # noqa: S608
    rows = db.execute(sql, list(values)).fetchall()
    return [
        OutboxRow(
            number,
            attempts,
            Envelope(
                envelope_id,
                MessageKind(kind),
                own,
                NodeId(recipient) if recipient else None,
                body,
                signature,
                from_milliseconds(expires_at),
            ),
        )
        for number, attempts, envelope_id, kind, recipient, body, signature, expires_at in rows
    ]


def due(
    db: Database, own: NodeId, now: datetime, limit: int, but: Collection[MessageKind] = ()
) -> list[OutboxRow]:
    """Messages to send now, oldest first, without those of kinds in `but`."""
    return _outbox_rows(
        db,
        own,
        "state = 'waiting' AND not_before <= ? AND kind NOT IN (SELECT value FROM json_each(?))"
        " ORDER BY number LIMIT ?",
        (to_milliseconds(now), json.dumps([kind.value for kind in but]), limit),
    )


def outgoing(db: Database, own: NodeId, kind: MessageKind, envelope_id: bytes) -> OutboxRow | None:
    """The waiting message with this id, if the hub has not taken it yet."""
    rows = _outbox_rows(
        db, own, "state = 'waiting' AND kind = ? AND envelope_id = ?", (kind.value, envelope_id)
    )
    return rows[0] if rows else None


def take_back(db: Database, kind: MessageKind, envelope_id: bytes) -> None:
    """Delete a message that the hub has not taken, or would not take."""
    db.execute("DELETE FROM outbox WHERE kind = ? AND envelope_id = ?", (kind.value, envelope_id))


def sent(db: Database, *numbers: int) -> None:
    """The hub has stored these messages durably."""
    db.execute("DELETE FROM outbox WHERE number IN (SELECT value FROM json_each(?))", (json.dumps(numbers),))


def postpone(db: Database, number: int, until: datetime, reason: str) -> None:
    db.execute(
        "UPDATE outbox SET attempts = attempts + 1, not_before = ?, reason = ? WHERE number = ?",
        (to_milliseconds(until), reason, number),
    )


def send_now(db: Database, kind: MessageKind, now: datetime) -> None:
    """Nobody else is about to send what waits of this kind: whoever was ended with the process before."""
    db.execute(
        "UPDATE outbox SET not_before = min(not_before, ?) WHERE state = 'waiting' AND kind = ?"
        " AND attempts = 0",
        (to_milliseconds(now), kind.value),
    )


def retry_now(db: Database, now: datetime) -> None:
    """The hub can be reached again: what waits for its next try need not wait longer."""
    db.execute(
        "UPDATE outbox SET not_before = min(not_before, ?) WHERE state = 'waiting' AND attempts > 0",
        (to_milliseconds(now),),
    )


def bury(db: Database, number: int, reason: str) -> None:
    """The hub refused the message for good: kept as a dead letter, visible in `status`."""
    db.execute(
        "UPDATE outbox SET attempts = attempts + 1, state = 'dead', reason = ? WHERE number = ?",
        (reason, number),
    )


@dataclass(frozen=True)
class DeadLetter:
    kind: MessageKind
    envelope_id: bytes
    recipient: str
    reason: str


@dataclass(frozen=True)
class MailCounts:
    """What waits in the two boxes, and what was refused for good."""

    inbox_waiting: int
    inbox_dropped: int
    outbox_waiting: int
    dead: tuple[DeadLetter, ...]


def counts(db: Database) -> MailCounts:
    by_state = dict(db.execute("SELECT state, count(*) FROM inbox GROUP BY state").fetchall())
    waiting = db.execute("SELECT count(*) FROM outbox WHERE state = 'waiting'").fetchone()[0]
    dead = db.execute(
        "SELECT kind, envelope_id, recipient, reason FROM outbox WHERE state = 'dead'"
        " ORDER BY number DESC LIMIT 50"
    ).fetchall()
    letters = tuple(
        DeadLetter(MessageKind(kind), envelope_id, to, reason) for kind, envelope_id, to, reason in dead
    )
    return MailCounts(by_state.get("new", 0), by_state.get("dropped", 0), waiting, letters)


def forget_old(db: Database, now: datetime) -> None:
    """Drop what is past remembering: settled messages, expired mail, old quota hours."""
    oldest = to_milliseconds(now - KEPT)
    db.execute("DELETE FROM inbox WHERE state <> 'new' AND max(expires_at, received_at) < ?", (oldest,))
    db.execute("DELETE FROM outbox WHERE expires_at < ?", (oldest,))
    db.execute(
        "UPDATE outbox SET state = 'dead', reason = 'It expired before the hub could be reached.'"
        " WHERE state = 'waiting' AND expires_at < ?",
        (to_milliseconds(now),),
    )
    db.execute("DELETE FROM answered_lookups WHERE expires_at < ?", (oldest,))
    db.execute("DELETE FROM quota_uses WHERE hour < ?", (to_milliseconds(now - 2 * MONTH),))


# --- answering: replay and quota -----------------------------------------------------------------------


def check_new(db: Database, asker: NodeId, lookup_id: LookupId) -> None:
    """Raises Replayed when this lookup was answered before (§7.3)."""
    known = db.execute(
        "SELECT 1 FROM answered_lookups WHERE asker = ? AND lookup_id = ?", (str(asker), lookup_id.value)
    ).fetchone()
    if known is not None:
        raise Replayed(f"The lookup {lookup_id} of {asker} was seen before; it is not evaluated again.")


def answer_once(
    db: Database, asker: NodeId, lookup_id: LookupId, row: int, status: AnswerStatus, expires_at: datetime
) -> None:
    """Enter a lookup into the replay cache, in the transaction that holds its answer. Raises Replayed."""
    check_new(db, asker, lookup_id)
    db.execute(
        "INSERT INTO answered_lookups (asker, lookup_id, inbox_number, status, answered, expires_at)"
        " VALUES (?, ?, ?, ?, 1, ?)",
        (str(asker), lookup_id.value, row, status.value, to_milliseconds(expires_at)),
    )
    evaluated = status is AnswerStatus.EVALUATED
    db.execute(
        "UPDATE tlog_answered SET evaluated = evaluated + ?, refused = refused + ?",
        [int(evaluated), int(not evaluated)],
    )


def answers_ever(db: Database) -> tuple[int, int]:
    """Lookups evaluated and refused since this node was made."""
    return db.execute("SELECT evaluated, refused FROM tlog_answered").fetchone()  # type: ignore[no-any-return]  # two integers


def answers_given(db: Database) -> dict[AnswerStatus, int]:
    rows = db.execute("SELECT status, count(*) FROM answered_lookups GROUP BY status").fetchall()
    return {AnswerStatus(status): count for status, count in rows}


def quota_uses(db: Database, asker: NodeId) -> list[Use]:
    """The elements that `asker` used here, by hour."""
    rows = db.execute(
        "SELECT hour, weak, match, code FROM quota_uses WHERE asker = ? ORDER BY hour", (str(asker),)
    ).fetchall()
    return [Use(from_milliseconds(hour), weak, match, code) for hour, weak, match, code in rows]


def use_quota(db: Database, asker: NodeId, slots: Mapping[KeyClass, int], now: datetime) -> None:
    db.execute(
        "INSERT INTO quota_uses (asker, hour, weak, match, code) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (asker, hour) DO UPDATE SET weak = weak + excluded.weak,"
        " match = match + excluded.match, code = code + excluded.code",
        (
            str(asker),
            to_milliseconds(bucket(now)),
            *(slots[key_class] for key_class in (KeyClass.WEAK, KeyClass.MATCH, KeyClass.CODE)),
        ),
    )
