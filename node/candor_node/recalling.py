"""Sends what recalls have to say, and takes in what the recipients say back (docs/protocol.md §9.10, §9.11).

Rules of this file:
- what is to be sent stands in the database since the act: a crash loses nothing, and at most sends twice;
- a notice is sealed afresh for each sending, in an envelope of its own: the hub delivers an id once, and a
  recipient that was away for longer than an envelope lives must hear of it all the same;
- it is sent until its recipient's node says that it has acted, without end.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timedelta

from candor_node import ledger, mail_store, recall_store
from candor_node.clock import Clock
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.mail_store import InboxRow
from candor_node.outbox import Outbox
from candor_node.recall_store import Recall
from candor_node.store import Database, Store
from candor_proto.errors import (
    CandorError,
    IllegalTransition,
    LogUnwitnessed,
    NotAMember,
    StoreUnusable,
    UnknownObject,
    Unreachable,
)
from candor_proto.ids import FederationName, NodeId
from candor_proto.recall import (
    RECALL_TRANSITIONS,
    AckLevel,
    RecallAck,
    RecallEvent,
    RecallState,
    check_answers,
    open_ack,
    recall_after,
    seal_notice,
)
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SigningKey
from candor_wire.codec import Envelope, MessageKind

BATCH = 32
IDLE_SECONDS = 5.0
ENVELOPE_LIFE = timedelta(days=30)
# Days after the first sending on which a notice goes again, then every WEEK; who left is looked for daily.
_AGAIN = (timedelta(days=1), timedelta(days=3), timedelta(days=7))
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)


def next_sending(first_sent_at: datetime, now: datetime) -> datetime:
    """When a notice goes again that went first at `first_sent_at` and goes now (§9.11)."""
    for after in _AGAIN:
        if now < first_sent_at + after:
            return first_sent_at + after
    return first_sent_at + _WEEK * ((now - first_sent_at) // _WEEK + 1)


class Recaller:
    """The owner's side of recalls. Belongs to the event loop."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        outbox: Outbox,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        disclosure_key: DisclosureKey,
        clock: Clock,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._outbox = outbox
        self._federation = federation
        self._own = own
        self._key = key
        self._disclosure_key = disclosure_key
        self._clock = clock
        self._wake = asyncio.Event()

    # --- sending -----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """An act may have recalled something."""
        self._wake.set()

    async def run(self) -> None:
        """Send what is due, for ever. Raises what made the store unusable."""
        while True:
            self._wake.clear()
            # Without a directory nobody's key is known; it comes.
            if self._indexes.directory is not None and await self.send_due():
                continue
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def send_due(self) -> int:
        """Send the recalls that are due now; how many were looked at."""
        now = self._clock.now()
        try:
            self._indexes.require_directory()
        except LogUnwitnessed:
            return 0  # nobody vouches for whom it would be sealed to
        except Unreachable:
            pass
        rows = await self._store.run(lambda db: recall_store.due(db, now, BATCH))
        for recall in rows:
            await self._send(recall, now)
        if rows:
            self._outbox.wake()
        return len(rows)

    async def _send(self, recall: Recall, now: datetime) -> None:
        try:
            envelope = await self._sealed(recall, now)
        except StoreUnusable:
            raise
        except NotAMember:
            await self._store.run(lambda db: self._miss(db, recall, now))
            return
        except CandorError as error:
            # One that cannot be sent must keep no other from being heard.
            log.error("a recall cannot be sent", recall_id=str(recall.recall_id), code=error.code)
            await self._store.run(
                lambda db: recall_store.postpone(db, recall.number, recall.state, now + _DAY)
            )
            return
        if envelope is None:
            await self._store.run(lambda db: self._end(db, recall, now))
            return
        await self._store.run(lambda db: self._post(db, recall, envelope, now))

    async def _sealed(self, recall: Recall, now: datetime) -> Envelope | None:
        """The notice in a fresh envelope; None when its record was destroyed."""
        notice = await self._store.run(lambda db: recall_store.notice_of(db, recall))
        if notice is None:
            return None
        member = self._indexes.require_directory().member(recall.recipient)
        kind, envelope_id = MessageKind.RECALL_NOTICE, secrets.token_bytes(16)
        sealed = await asyncio.to_thread(seal_notice, notice, self._key, member.disclosure_key, envelope_id)
        return Envelope(envelope_id, kind, self._own, notice.recipient, sealed, b"", now + ENVELOPE_LIFE)

    def _post(self, db: Database, recall: Recall, envelope: Envelope, now: datetime) -> None:
        if not _unmoved(db, recall):
            return
        again = next_sending(recall.first_sent_at or now, now)
        if recall.envelope_id is not None and mail_store.outgoing(
            db, self._own, MessageKind.RECALL_NOTICE, recall.envelope_id
        ):
            # The hub has not taken the last one yet: a second one beside it would say nothing more.
            recall_store.postpone(db, recall.number, recall.state, again)
            return
        after = recall_after(recall.state, RecallEvent.SENDS)
        recall_store.set_sent(db, recall.number, after, envelope.envelope_id, now, again)
        mail_store.enqueue(db, envelope, now)
        ledger.append(db, now, "recall.sent", _refs(recall), {"sending": recall.sendings + 1})

    def _miss(self, db: Database, recall: Recall, now: datetime) -> None:
        """The recipient is no member: it is looked for again, and a person is told (`recalls list`)."""
        if not _unmoved(db, recall):
            return
        after = recall_after(recall.state, RecallEvent.MEMBER_GONE)
        recall_store.postpone(db, recall.number, after, now + _DAY)
        if after is not recall.state:
            ledger.append(db, now, "recall.undeliverable", _refs(recall))

    def _end(self, db: Database, recall: Recall, now: datetime) -> None:
        """The record was destroyed: what the recall said of it cannot be said any more."""
        if not _unmoved(db, recall):
            return
        recall_store.set_ended(db, recall.number, recall_after(recall.state, RecallEvent.OVERTAKEN))
        ledger.append(db, now, "recall.superseded", _refs(recall))

    # --- receiving ---------------------------------------------------------------------------------------

    async def process(self, row: InboxRow) -> None:
        """Take in one acknowledgement of the inbox. Raises StoreUnusable only."""
        now = self._clock.now()
        try:
            ack = await asyncio.to_thread(self._open, row, now)
        except LogUnwitnessed:
            raise
        except CandorError as error:
            code = error.code
            log.warning("an acknowledgement was dropped", sender=str(row.envelope.sender), code=code)
            await self._store.run(lambda db: mail_store.settle(db, row.number, code))
            return
        code = await self._store.run(lambda db: self._take_in(db, row, ack, now))
        if code:
            log.warning("an acknowledgement was dropped", sender=str(row.envelope.sender), code=code)
        # The next one about the same release may go now.
        self.wake()

    def _open(self, row: InboxRow, now: datetime) -> RecallAck:
        sender = self._indexes.require_directory().member(row.envelope.sender)
        return open_ack(
            row.envelope.body,
            self._disclosure_key,
            self._federation,
            row.envelope.envelope_id,
            sender.node,
            self._own,
            sender.signing_key,
            now,
        )

    def _take_in(self, db: Database, row: InboxRow, ack: RecallAck, now: datetime) -> str:
        """Why the acknowledgement was dropped; "" when it was taken in."""
        recall = recall_store.find(db, ack.recall_id)
        read = ack.level is AckLevel.READ
        event = RecallEvent.READ if read else RecallEvent.ACTED
        code = _objection(recall, ack, event)
        mail_store.settle(db, row.number, code)
        if code or recall is None or recall.state is RecallState.SUPERSEDED:
            return code
        after = recall_after(recall.state, event)
        read_at = ack.issued_at if read else None
        recall_store.set_acknowledged(db, recall.number, after, ack.done, ack.acted_at, read_at)
        if recall.envelope_id is not None:
            mail_store.take_back(db, MessageKind.RECALL_NOTICE, recall.envelope_id)
        if after is not recall.state:
            ledger.append(db, now, f"recall.{after.value}", _refs(recall), {"done": ack.done.name})
        return ""


def _objection(recall: Recall | None, ack: RecallAck, event: RecallEvent) -> str:
    if recall is None:
        return UnknownObject.code
    try:
        check_answers(ack, recall.recipient, recall.digest, recall.kind)
    except CandorError as error:
        return error.code
    return "" if (recall.state, event) in RECALL_TRANSITIONS else IllegalTransition.code


def _unmoved(db: Database, recall: Recall) -> bool:
    """Whether the recall is as it was read: between reading and sealing it may have been acknowledged."""
    return recall_store.find(db, recall.recall_id) == recall


def _refs(recall: Recall) -> dict[str, str]:
    return {
        "recall_id": str(recall.recall_id),
        "request_id": str(recall.request_id),
        "recipient": str(recall.recipient),
    }
