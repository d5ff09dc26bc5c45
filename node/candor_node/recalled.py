"""Doing what owners ask for who released a record to this node and take it back (docs/protocol.md §9.9).

Rules of this file:
- what the notice asks for, the row that remembers it, the ledger entry and the acknowledgement are one
  transaction: whatever the owner is told has happened;
- the node acts by itself and at once. A person reads of it afterwards, and says so with `acknowledge`;
- a notice that does not stand up is dropped and not acknowledged; the same one twice acts once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from candor_node import copies, ledger, mail_store, recall_store, request_store
from candor_node.clock import Clock
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.mail_store import InboxRow
from candor_node.outbox import Outbox
from candor_node.recall_store import ReceivedRecall
from candor_node.request_store import SentRequest
from candor_node.store import Database, Store
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.disclosure import (
    REQUESTER_TRANSITIONS,
    RequesterEvent,
    RequesterState,
    requester_after,
)
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    ConflictingResubmission,
    InputInvalid,
    LogUnwitnessed,
    StoreUnusable,
    UnknownObject,
)
from candor_proto.ids import Digest, FederationName, NodeId, RecallId
from candor_proto.recall import (
    DONE_BY,
    AckLevel,
    Done,
    RecallAck,
    RecallAction,
    RecallKind,
    RecallNotice,
    RecipientEvent,
    RecipientState,
    check_about,
    open_notice,
    recipient_after,
    seal_ack,
)
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SigningKey
from candor_wire.codec import Envelope, MessageKind

ENVELOPE_LIFE = timedelta(days=30)

KIND_WORDS: Mapping[RecallKind, str] = {
    RecallKind.CORRECTED: "corrected by its owner",
    RecallKind.REVISED: "followed by a later action",
    RecallKind.VOIDED: "voided, or its decision overturned",
    RecallKind.APPEAL_NOTICED: "under appeal",
    RecallKind.APPEAL_DECIDED: "upheld on appeal",
    RecallKind.EXPUNGED: "expunged",
    RecallKind.SEALED: "sealed by a court's order",
    RecallKind.STATEMENT: "given a statement of the subject",
    RecallKind.DISPUTE: "disputed by the subject, or a dispute of it went on",
}


@dataclass(frozen=True)
class _Foreseen:
    """What is to be acknowledged: what was done, or will be, and when. `known`: it was done before."""

    done: Done
    acted_at: datetime
    known: bool


class RecallRecipient:
    """The recipient's side of recalls. Belongs to the event loop."""

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

    # --- the node acts -----------------------------------------------------------------------------------

    async def process(self, row: InboxRow) -> None:
        """Take in one notice of the inbox. Raises StoreUnusable only."""
        # Whole milliseconds, as they travel: what is foreseen is compared with what was stored.
        now = from_milliseconds(to_milliseconds(self._clock.now()))
        try:
            notice = await asyncio.to_thread(self._open, row, now)
            digest = notice.digest()
            foreseen = await self._store.run(lambda db: _foresee(db, notice, digest, now))
        except (StoreUnusable, LogUnwitnessed):
            raise
        except CandorError as error:
            code = error.code
            log.warning("a recall was dropped", sender=str(row.envelope.sender), code=code)
            await self._store.run(lambda db: mail_store.settle(db, row.number, code))
            return
        ack = self._ack(notice.recall_id, digest, notice.owner, foreseen, AckLevel.ACTED, now)
        envelope = await asyncio.to_thread(self._sealed, ack)

        def work(db: Database) -> bool:
            # Between foreseeing and sealing the response may have arrived.
            if _foresee(db, notice, digest, now) != foreseen:
                return False
            if not foreseen.known:
                _apply(db, notice, digest, foreseen)
            mail_store.enqueue(db, envelope, now)
            mail_store.settle(db, row.number)
            return True

        if not await self._store.run(work):
            await self.process(row)
            return
        self._outbox.wake()
        if notice.action is not RecallAction.ANNOTATE:
            # What was deleted leaves the write-ahead log as well.
            await asyncio.to_thread(self._store.checkpoint)

    def _open(self, row: InboxRow, now: datetime) -> RecallNotice:
        sender = self._indexes.require_directory().member(row.envelope.sender)
        return open_notice(
            row.envelope.body,
            self._disclosure_key,
            self._federation,
            row.envelope.envelope_id,
            sender.node,
            self._own,
            sender.signing_key,
            now,
        )

    def _ack(
        self,
        recall_id: RecallId,
        digest: Digest,
        owner: NodeId,
        foreseen: _Foreseen,
        level: AckLevel,
        now: datetime,
    ) -> RecallAck:
        # A clock that was put back must not make an acknowledgement that nobody accepts.
        issued_at = max(now, foreseen.acted_at)
        return RecallAck(
            self._federation,
            recall_id,
            digest,
            self._own,
            owner,
            foreseen.done,
            level,
            foreseen.acted_at,
            issued_at,
        )

    def _sealed(self, ack: RecallAck) -> Envelope:
        owner = self._indexes.require_directory().member(ack.owner)
        envelope_id = secrets.token_bytes(16)
        sealed = seal_ack(ack, self._key, owner.disclosure_key, envelope_id)
        expires_at = ack.issued_at + ENVELOPE_LIFE
        return Envelope(envelope_id, MessageKind.RECALL_ACK, self._own, ack.owner, sealed, b"", expires_at)

    # --- a person has read it ----------------------------------------------------------------------------

    async def acknowledge(self, recall_id: RecallId, by: str) -> ReceivedRecall:
        """Tell the owner that a person has read of it. Raises UnknownObject, AlreadyExists, InputInvalid."""
        if not by.strip():
            raise InputInvalid("A recall is read by a person.", remedy="Name them with --by.")
        now = from_milliseconds(to_milliseconds(self._clock.now()))
        known = await self._store.run(lambda db: _unread(db, recall_id))
        foreseen = _Foreseen(known.done, known.acted_at, known=True)
        ack = self._ack(recall_id, known.digest, known.owner, foreseen, AckLevel.READ, now)
        envelope = await asyncio.to_thread(self._sealed, ack)

        def work(db: Database) -> ReceivedRecall:
            recipient_after(_unread(db, recall_id).state, RecipientEvent.PERSON_READS)
            recall_store.set_read(db, recall_id, by, now)
            mail_store.enqueue(db, envelope, now)
            refs = {"recall_id": str(recall_id), "request_id": str(known.request_id)}
            ledger.append(db, now, "recall.acknowledged", refs, {"by": by})
            return _find(db, recall_id)

        read = await self._store.run(work)
        self._outbox.wake()
        return read


def _foresee(db: Database, notice: RecallNotice, digest: Digest, now: datetime) -> _Foreseen:
    """What a notice will do.

    Raises UnknownObject, IdentityMismatch, CommitmentMismatch, ConflictingResubmission.
    """
    sent = request_store.sent(db, notice.request_id)
    if sent is None:
        raise UnknownObject("A recall of something that was never asked for here.")
    check_about(notice, sent.request)
    known = recall_store.find_received(db, notice.recall_id)
    if known is not None:
        if known.digest != digest:
            raise ConflictingResubmission("A recall whose id was used before, for another notice.")
        recipient_after(known.state, RecipientEvent.REPEATED)
        return _Foreseen(known.done, known.acted_at, known=True)
    done = DONE_BY[notice.action] if _holds(sent, notice.action) else Done.NOTHING_HELD
    return _Foreseen(done, now, known=False)


def _holds(sent: SentRequest, action: RecallAction) -> bool:
    kept_as_evidence = sent.evidence_kept and action is RecallAction.DESTROY
    return sent.state is RequesterState.OPENED or kept_as_evidence


def _apply(db: Database, notice: RecallNotice, digest: Digest, foreseen: _Foreseen) -> None:
    """Do what the notice asks for, remember it and account for it."""
    now, request_id = foreseen.acted_at, notice.request_id
    sent = request_store.sent(db, request_id)
    # A request that was declined or has expired holds nothing and gets nothing any more.
    if sent is not None and (sent.state, RequesterEvent.RECALL_DESTROYS) in REQUESTER_TRANSITIONS:
        if notice.action is RecallAction.DESTROY:
            state = requester_after(sent.state, RequesterEvent.RECALL_DESTROYS)
            words = f"the record was {KIND_WORDS[notice.kind]}; its copy was destroyed on {now.date()}"
            request_store.forget_record(db, request_id, state, words)
        else:
            copies.add_notice(db, notice)
    recall_store.add_received(db, notice, digest, foreseen.done, now)
    ledger.append(
        db,
        now,
        "recall.applied",
        {
            "recall_id": str(notice.recall_id),
            "request_id": str(request_id),
            "owner": str(notice.owner),
        },
        {"kind": notice.kind.name, "action": notice.action.name, "done": foreseen.done.name},
    )


def _find(db: Database, recall_id: RecallId) -> ReceivedRecall:
    known = recall_store.find_received(db, recall_id)
    if known is None:
        raise UnknownObject(
            f"No recall {recall_id} was received here.", remedy="`candor-node recalls list` shows them."
        )
    return known


def _unread(db: Database, recall_id: RecallId) -> ReceivedRecall:
    known = _find(db, recall_id)
    if known.state is not RecipientState.APPLIED:
        raise AlreadyExists("Somebody has read this recall already.", remedy="Nothing needs to be done.")
    return known
