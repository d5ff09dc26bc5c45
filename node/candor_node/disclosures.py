"""Asking for a record behind a hit, and taking in what its owner says (docs/protocol.md §9).

Rules of this file:
- a request leaves only after a person confirmed it, who is named in the ledger (§9.1);
- the reply key is made for one request and destroyed when it is settled;
- a response that does not open its commitment is refused and kept as it arrived, with the reply key and the
  blob behind the hit: together they are evidence against its owner (§9.5).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from candor_node import copies, hit_store, ledger, lookup_store, mail_store, request_store
from candor_node.accountability import noticing, receipts
from candor_node.clock import Clock
from candor_node.hit_store import StoredHit
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.lookup_store import SearchRow
from candor_node.mail_store import InboxRow
from candor_node.outbox import Outbox
from candor_node.rechecking import Rechecked, recheck_hits
from candor_node.request_store import SentRequest
from candor_node.store import Database, Store, Work
from candor_proto.candidates import NodeIndex
from candor_proto.directory import IndexHead
from candor_proto.disclosure import (
    REQUEST_LIFE,
    REQUESTER_TRANSITIONS,
    DisclosureRequest,
    DisclosureResponse,
    Outcome,
    RequesterEvent,
    RequesterState,
    check_response,
    open_response_statement,
    requester_after,
    seal_request,
)
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    CommitmentMismatch,
    InputInvalid,
    LogUnwitnessed,
    UnknownObject,
)
from candor_proto.ids import Digest, FederationName, LookupId, NodeId, RequestId
from candor_proto.record import CanonicalRecord
from candor_proto.result import Hit
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SignedStatement, SigningKey
from candor_wire.codec import Envelope, MessageKind

# States in which a second request for the same record would say nothing new.
_STANDING = (RequesterState.SENT, RequesterState.INVALID, RequesterState.OPENED)
_OUTCOME_WORDS = {
    Outcome.DECLINED: "declined by the owner",
    Outcome.NOT_THE_SAME_PERSON: "not the same person, says the owner",
}


def consent_digest(consent: str) -> Digest:
    """What a request says of the consent document: the digest of its reference as it was typed."""
    return Digest(hashlib.sha256(consent.encode()).digest())


@dataclass(frozen=True)
class _Opened:
    """A response that opened, and what its owner signed."""

    response: DisclosureResponse
    record: CanonicalRecord | None
    statement: SignedStatement


class _Phantom(Exception):
    """A response of the owner whose record is not the one committed to."""

    def __init__(self, error: CommitmentMismatch, statement: SignedStatement) -> None:
        self.error = error
        self.statement = statement


class Requester:
    """Sends disclosure requests and opens the responses."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        outbox: Outbox,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._outbox = outbox
        self._federation = federation
        self._own = own
        self._key = key
        self._clock = clock

    # --- sending -----------------------------------------------------------------------------------------

    async def send(
        self, search_id: LookupId, number: int, confirmed_by: str, *, even_if_set_aside: bool = False
    ) -> RequestId:
        """Ask the owner of hit `number` for its record, once it is known to stand still (§9.12).

        Raises UnknownObject, AlreadyExists, InputInvalid, WrongStanding.
        """
        if not confirmed_by.strip():
            raise InputInvalid(
                "A disclosure request needs the person who confirms it.", remedy="Name them with --by."
            )
        self._indexes.require_directory()
        now, indexes = self._clock.now(), self._indexes.indexes

        def look(db: Database) -> tuple[SearchRow, StoredHit, Rechecked]:
            row, hit = _load_hit(db, search_id, number)
            return row, hit, recheck_hits(db, search_id, [hit], indexes, now)[number]

        row, hit, rechecked = await self._store.run(look)
        if hit.hit.set_aside and not even_if_set_aside:
            raise InputInvalid(
                f"Hit {number} was set aside: the evidence says that this is another person.",
                remedy="If a person has checked and disagrees, repeat with --even-if-set-aside.",
            )
        rechecked.check()
        reply_key = DisclosureKey.generate()
        request = self._request(row, hit, reply_key, now)
        owner = self._indexes.require_directory().member(request.owner)
        asked_from = _asked_from(indexes.get(request.owner), hit.hit)
        sealed = await asyncio.to_thread(seal_request, request, self._key, owner.disclosure_key)

        def work(db: Database) -> None:
            if any(known.state in _STANDING for known in request_store.sent_for_hit(db, search_id, number)):
                raise AlreadyExists(
                    f"The record behind hit {number} was asked for already.",
                    remedy="`candor-node requests list` shows what became of it.",
                )
            request_store.add_sent(db, search_id, number, request, reply_key.octets(), confirmed_by)
            if asked_from is not None:
                noticing.basis(db, request.request_id, *asked_from, hit.hit.secret)
            mail_store.enqueue(db, self._envelope(request, sealed), now)
            ledger.append(
                db,
                now,
                "disclosure.requested",
                {
                    "request_id": str(request.request_id),
                    "search_id": str(search_id),
                    "owner": str(request.owner),
                },
                {
                    "hit": number,
                    "purpose": request.purpose.name,
                    "case_number": request.case,
                    "officer": request.officer,
                    "confirmed_by": confirmed_by,
                },
            )

        await self._store.run(work)
        self._outbox.wake()
        return request.request_id

    def _request(
        self, row: SearchRow, hit: StoredHit, reply_key: DisclosureKey, now: datetime
    ) -> DisclosureRequest:
        return DisclosureRequest(
            federation=self._federation,
            request_id=RequestId(secrets.token_bytes(16)),
            requester=self._own,
            owner=hit.hit.owner,
            epoch=hit.hit.epoch,
            handle=hit.hit.handle,
            commitment=hit.hit.commitment,
            purpose=row.purpose,
            case=row.case,
            consent=consent_digest(row.consent),
            officer=row.officer,
            lookup_id=row.search_id,
            reply_key=reply_key.public,
            issued_at=now,
            expires_at=now + REQUEST_LIFE,
        )

    def _envelope(self, request: DisclosureRequest, sealed: bytes) -> Envelope:
        return Envelope(
            request.request_id.value,
            MessageKind.DISCLOSURE_REQUEST,
            self._own,
            request.owner,
            sealed,
            b"",
            request.expires_at,
        )

    # --- receiving ---------------------------------------------------------------------------------------

    async def process(self, row: InboxRow) -> None:
        """Take in one response of the inbox. Raises StoreUnusable only."""
        request_id = RequestId(row.envelope.envelope_id)
        known = await self._store.run(lambda db: request_store.sent(db, request_id))
        if known is None or known.request.owner != row.envelope.sender or not known.reply_key:
            log.warning("a response to nothing that was asked", sender=str(row.envelope.sender))
            await self._store.run(lambda db: mail_store.settle(db, row.number, UnknownObject.code))
            return
        try:
            opened = await asyncio.to_thread(self._open, known, row)
        except LogUnwitnessed:
            raise
        except _Phantom as phantom:
            await self._refuse(known, row, phantom.error, phantom.statement)
            return
        except CandorError as error:
            await self._refuse(known, row, error)
            return
        await self._settle(known, row, opened)

    def _open(self, known: SentRequest, row: InboxRow) -> _Opened:
        owner = self._indexes.require_directory().member(known.request.owner)
        statement = open_response_statement(row.envelope.body, DisclosureKey(known.reply_key), known.request)
        try:
            response, record = check_response(statement, known.request, owner.signing_key)
        except CommitmentMismatch as error:
            # Whatever is no answer to this very request contradicts nothing that its owner signed.
            if DisclosureResponse.decode(statement.body).request == known.request.digest():
                raise _Phantom(error, statement) from None
            raise
        return _Opened(response, record, statement)

    async def _settle(self, known: SentRequest, row: InboxRow, said: _Opened) -> None:
        now, response = self._clock.now(), said.response
        opened = said.record is not None
        event = RequesterEvent.RESPONSE_OPENS if opened else RequesterEvent.RESPONSE_DECLINES

        def work(db: Database) -> None:
            state = _next_state(db, known, event)
            if state is None:
                mail_store.settle(db, row.number)
                return
            request_store.settle_sent(
                db,
                known.request.request_id,
                state,
                now,
                reason=_OUTCOME_WORDS.get(response.outcome, ""),
                outcome=response.outcome,
            )
            if opened:
                copies.add_response(db, response)
            receipts.response_arrived(db, response, said.statement.signature)
            mail_store.settle(db, row.number)
            ledger.append(
                db,
                now,
                "disclosure.opened" if opened else "disclosure.declined",
                _refs(known.request),
                {"outcome": response.outcome.name},
            )

        await self._store.run(work)

    async def _refuse(
        self, known: SentRequest, row: InboxRow, error: CandorError, phantom: SignedStatement | None = None
    ) -> None:
        """`phantom` is a response that released another record than the one committed to (§9.5)."""
        now, request = self._clock.now(), known.request
        address = await self._store.run(lambda db: noticing.basis_address(db, request.request_id))
        segment = await asyncio.to_thread(self._indexes.kept.read, address) if phantom and address else None

        def work(db: Database) -> None:
            if phantom is not None:
                asked = self._key.sign("disclosure-request", request.encode())
                blob = hit_store.blob_of(db, known.search_id, known.hit_number)
                noticing.phantom(db, request, asked, phantom, blob, segment, now)
            state = _next_state(db, known, RequesterEvent.RESPONSE_INVALID)
            if state is None:
                mail_store.settle(db, row.number, error.code)
                return
            request_store.settle_sent(
                db,
                known.request.request_id,
                state,
                now,
                reason=error.message,
                evidence=row.envelope.body,
            )
            mail_store.settle(db, row.number, error.code)
            ledger.append(db, now, "disclosure.refused", _refs(known.request), {"code": error.code})

        await self._store.run(work)
        log.warning("a response was refused", owner=str(known.request.owner), code=error.code)

    async def refused(self, request_id: RequestId, error: CandorError, settle: Work[None]) -> None:
        """The hub refused a request for good: it is over, and may be asked again."""
        now = self._clock.now()

        def work(db: Database) -> None:
            settle(db)
            known = request_store.sent(db, request_id)
            state = None if known is None else _next_state(db, known, RequesterEvent.EXPIRES)
            if known is None or state is None:
                return
            request_store.settle_sent(db, request_id, state, now, reason=error.message)
            ledger.append(db, now, "disclosure.expired", _refs(known.request), {"code": error.code})

        await self._store.run(work)

    async def expire(self) -> None:
        """Close the requests that were not answered in their life."""
        now = self._clock.now()

        def work(db: Database) -> None:
            for known in request_store.ended_sent(db, now):
                state = requester_after(known.state, RequesterEvent.EXPIRES)
                request_store.settle_sent(
                    db, known.request.request_id, state, now, reason="the owner has not answered"
                )
                ledger.append(db, now, "disclosure.expired", _refs(known.request))

        await self._store.run(work)


def _next_state(db: Database, known: SentRequest, event: RequesterEvent) -> RequesterState | None:
    """The state after `event` from what the database says now; None once the request is settled.

    What was read in an earlier transaction may be old: a spoilt copy must not undo an opened record.
    """
    current = request_store.sent(db, known.request.request_id)
    if current is None or (current.state, event) not in REQUESTER_TRANSITIONS:
        return None
    return requester_after(current.state, event)


def _load_hit(db: Database, search_id: LookupId, number: int) -> tuple[SearchRow, StoredHit]:
    row = lookup_store.search(db, search_id)
    if row is None:
        raise UnknownObject(f"There is no lookup {search_id}.")
    row.check_kept()
    for hit in hit_store.hits(db, search_id):
        if hit.number == number and row.shown_at is not None:
            return row, hit
    raise UnknownObject(
        f"The lookup {search_id} has no hit {number}.",
        remedy="`candor-node lookups show` lists its hits with their numbers.",
    )


def _asked_from(index: NodeIndex | None, hit: Hit) -> tuple[IndexHead, bytes] | None:
    """The head and the address of the segment that holds the blob behind a hit, as the index is now."""
    if index is None or index.head.epoch != hit.epoch:
        return None
    for ref, segment in zip(index.head.segments, index.segments, strict=True):
        if segment.blob(hit.blob_id) is not None:
            return index.head, ref.address.value
    return None


def _refs(request: DisclosureRequest) -> dict[str, str]:
    return {"request_id": str(request.request_id), "owner": str(request.owner)}
