"""Receipts of answers and disclosures, made when a person asks for them (docs/protocol.md §16.4, §16.5).

Rules of this file:
- what was signed is stored with what came of it; proofs are fetched now, and the receipt is checked whole
  before anybody gets it;
- an answer that did not verify has no receipt; a record that was recalled, or corrected by its owner, has
  none any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from candor_node import copies, record_seals, request_store
from candor_node.accountability import held_heads
from candor_node.accountability.proofs import Proofs
from candor_node.store import Database, Store
from candor_proto.accountability.file_form import LoggedPart
from candor_proto.accountability.receipt import AnswerReceipt, DisclosureReceipt
from candor_proto.accountability.trust import ANSWER_KIND
from candor_proto.disclosure import DisclosureResponse, Outcome, RequesterState
from candor_proto.errors import CandorError, NotLogged, UnknownObject, WrongStanding
from candor_proto.ids import FederationName, LookupId, NodeId, RequestId
from candor_proto.result import TargetState
from candor_proto.signing import SignedStatement, SigningKey
from candor_proto.statements import Answer, AnswerStatus
from candor_proto.tlog.entries import receipt_commitment, request_commitment


@dataclass(frozen=True)
class StoredAnswer:
    """A lookup and one answer to it that verified when it came."""

    lookup_id: LookupId
    owner: NodeId
    lookup: SignedStatement = field(repr=False)
    answer: SignedStatement = field(repr=False)


@dataclass(frozen=True)
class MadeReceipt:
    """The file of an answer's receipt, or why there is none (yet)."""

    lookup_id: LookupId
    owner: NodeId
    status: str
    octets: bytes = field(repr=False, default=b"")
    trouble: CandorError | None = None

    @property
    def name(self) -> str:
        """What the file is called."""
        return f"answer-{self.lookup_id}-{self.owner}.json"


_ANSWERS = (
    "SELECT l.lookup_id, t.node, l.body, l.signature, t.answer_body, t.answer_signature"
    " FROM lookups AS l JOIN lookup_targets AS t USING (lookup_id)"
    " WHERE l.search_id = ?1 AND t.answer_body IS NOT NULL AND t.state <> ?2 UNION"
    " SELECT f.lookup_id, t.node, f.body, f.signature, t.answer_body, t.answer_signature"
    " FROM batch_rows AS b JOIN flights AS f ON f.batch_id = b.batch_id"
    " JOIN flight_persons AS p ON p.lookup_id = f.lookup_id AND p.row = b.row"
    " JOIN flight_targets AS t ON t.lookup_id = f.lookup_id"
    " WHERE b.search_id = ?1 AND t.answer_body IS NOT NULL AND t.state <> ?2"
)


def answers(db: Database, search_ids: Sequence[LookupId]) -> list[StoredAnswer]:
    """Every verified answer to the lookups of these searches, refusals included; each once."""
    found: dict[tuple[LookupId, NodeId], StoredAnswer] = {}
    for search_id in search_ids:
        rows = db.execute(_ANSWERS, [search_id.value, TargetState.INVALID.value]).fetchall()
        for lookup_id, node, body, signature, answer_body, answer_signature in rows:
            key = LookupId(lookup_id), NodeId(node)
            found[key] = StoredAnswer(
                *key, SignedStatement(body, signature), SignedStatement(answer_body, answer_signature)
            )
    return [found[key] for key in sorted(found)]


def searches_of_case(db: Database, case: str) -> list[LookupId]:
    """Searches under a case number, as it is compared everywhere (§5.3)."""
    rows = db.execute(
        "SELECT search_id FROM searches WHERE lower(trim(case_number)) = lower(trim(?)) ORDER BY created_at",
        [case],
    ).fetchall()
    return [LookupId(value) for (value,) in rows]


class Receipts:
    """Makes them. Belongs to the event loop."""

    def __init__(
        self, store: Store, proofs: Proofs, federation: FederationName, own: NodeId, key: SigningKey
    ) -> None:
        self._store = store
        self._proofs = proofs
        self._federation = federation
        self._own = own
        self._key = key

    # --- answers -------------------------------------------------------------------------------------------

    async def of_answer(self, stored: StoredAnswer) -> MadeReceipt:
        """The receipt of one answer; what keeps it from being made stands in it. Raises StoreUnusable."""
        answer = Answer.decode(stored.answer.body)
        status = answer.status.name
        try:
            octets = await self._answer(stored, answer)
        except CandorError as error:
            return MadeReceipt(stored.lookup_id, stored.owner, status, trouble=error)
        return MadeReceipt(stored.lookup_id, stored.owner, status, octets)

    async def _answer(self, stored: StoredAnswer, answer: Answer) -> bytes:
        head: SignedStatement | None = None
        head_logged: LoggedPart | None = None
        if answer.status is AnswerStatus.EVALUATED:
            known = await self._store.run(
                lambda db: held_heads.logged_of_epoch(db, stored.owner, answer.epoch)
            )
            if known is None:
                raise NotLogged(
                    f"No logged index head of {stored.owner} of epoch {answer.epoch} is held here."
                )
            head = known[0].statement
            head_logged = await self._proofs.logged(known[1], f"The index head of {stored.owner}")
        commitment = receipt_commitment(ANSWER_KIND, stored.answer.body, stored.answer.signature)
        receipt = AnswerReceipt(
            federation=self._federation,
            asker=self._own,
            owner=stored.owner,
            lookup=stored.lookup,
            answer=stored.answer,
            head=head,
            asker_member=await self._proofs.member(self._own),
            owner_member=await self._proofs.member(stored.owner),
            head_logged=head_logged,
            request_logged=await self._proofs.commitment(request_commitment(stored.lookup), "The lookup"),
            receipt_logged=await self._proofs.commitment(commitment, f"The answer of {stored.owner}"),
        )
        trust = self._proofs.trust()
        await asyncio.to_thread(receipt.verify, trust)
        return receipt.encode()

    # --- disclosures -------------------------------------------------------------------------------------

    async def of_disclosure(self, request_id: RequestId) -> bytes:
        """The receipt of a disclosure, at either end. It holds the record.

        Raises UnknownObject, or WrongStanding where there is no answer, or none any more.
        """
        asker, owner, request, response = await self._store.run(lambda db: self._disclosure(db, request_id))
        receipt = DisclosureReceipt(
            federation=self._federation,
            asker=asker,
            owner=owner,
            request=request,
            response=response,
            asker_member=await self._proofs.member(asker),
            owner_member=await self._proofs.member(owner),
        )
        trust = self._proofs.trust()
        await asyncio.to_thread(receipt.verify, trust)
        return receipt.encode()

    def _disclosure(
        self, db: Database, request_id: RequestId
    ) -> tuple[NodeId, NodeId, SignedStatement, SignedStatement]:
        sent = request_store.sent(db, request_id)
        if sent is not None:
            request = self._key.sign("disclosure-request", sent.request.encode())
            response = _received_response(db, request_id, sent.state)
            return self._own, sent.request.owner, request, response
        received = request_store.received(db, request_id)
        if received is None:
            raise UnknownObject(f"There is no request {request_id}.")
        said = _stored(db, request_id)
        if said is None or not said[1]:
            raise WrongStanding("This request was not answered, or its record is destroyed: no receipt.")
        signature, body = said
        asked = SignedStatement(received.request.encode(), signature)
        return received.request.requester, self._own, asked, self._key.sign("disclosure-response", body)


# --- what the parties signed: written in the transactions of a disclosure -----------------------------


def response_arrived(db: Database, response: DisclosureResponse, signature: bytes) -> None:
    """At the requester: a response that opened. What was released lies in `copies`, sealed."""
    released = response.outcome is Outcome.RELEASED
    body = b"" if released else response.encode()
    db.execute(
        "INSERT OR REPLACE INTO disclosure_statements VALUES (?, ?, ?, 0)",
        [response.request_id.value, signature, body],
    )


def request_arrived(db: Database, request_id: RequestId, signature: bytes) -> None:
    """At the owner: a request that was received."""
    db.execute(
        "INSERT OR IGNORE INTO disclosure_statements VALUES (?, ?, x'', 0)", [request_id.value, signature]
    )


def response_sent(db: Database, response: DisclosureResponse) -> None:
    """At the owner: what was answered. What was released is sealed under the record's key."""
    request_id, body = response.request_id, response.encode()
    key = request_store.record_key(db, request_id.value)
    if response.outcome is not Outcome.RELEASED:
        sealed, body_kept = 0, body
    elif key is not None:
        sealed, body_kept = 1, record_seals.seal(key, body, _bound(request_id))
    else:
        return
    db.execute(
        "UPDATE disclosure_statements SET body = ?, sealed = ? WHERE request_id = ?",
        [body_kept, sealed, request_id.value],
    )


def _stored(db: Database, request_id: RequestId) -> tuple[bytes, bytes] | None:
    """Signature and body; the body is empty once the record was destroyed."""
    row = db.execute(
        "SELECT signature, body, sealed FROM disclosure_statements WHERE request_id = ?", [request_id.value]
    ).fetchone()
    if row is None:
        return None
    signature, body, sealed = row
    if not sealed:
        return signature, body
    key = request_store.record_key(db, request_id.value)
    if key is None:
        return signature, b""
    what = f"The response to request {request_id}"
    return signature, record_seals.open_sealed(key, body, _bound(request_id), what)


def _received_response(db: Database, request_id: RequestId, state: RequesterState) -> SignedStatement:
    said = _stored(db, request_id)
    if said is not None and said[1]:
        return SignedStatement(said[1], said[0])
    body = copies.response(db, request_id) if said is not None else None
    if said is None or body is None:
        raise WrongStanding(
            f"There is no receipt: the request is {state.value}, and no response as it was signed is held.",
            remedy="Take a receipt before the record is corrected or recalled by its owner.",
        )
    return SignedStatement(body, said[0])


def _bound(request_id: RequestId) -> bytes:
    return b"response" + request_id.value
