"""What a member with keys of its own can say by hand: lookups, answers, responses, notices, heads."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from candor_node import epochs, publisher
from candor_node.app import Node
from candor_node.responses import Said
from candor_node.store import Database
from candor_proto import oprf
from candor_proto.directory import IndexHead
from candor_proto.disclosure import DisclosureRequest, DisclosureResponse, Outcome, seal_response
from candor_proto.exchange import AskedPerson, BlindedSlot, Draft, Paperwork, blind_plan, draft_lookup
from candor_proto.ids import Digest, KeyClass, LookupId, LookupShape, NodeId, Purpose, RecallId
from candor_proto.matchkeys import LookupPlan, Slot, plan_lookup
from candor_proto.normalise import Particulars, normalise
from candor_proto.recall import (
    AckLevel,
    Done,
    RecallAck,
    RecallAction,
    RecallKind,
    RecallNotice,
    seal_ack,
    seal_notice,
)
from candor_proto.record import SALT_OCTETS, DisputeStatus
from candor_proto.signing import SignedStatement
from candor_proto.statements import Answer, Evaluation, Lookup, Target, classes_of
from candor_records.records import canonical
from candor_wire.codec import Envelope, MessageKind
from tests.byzantine.patching import instead
from tests.federation import OFFICER
from tests.simulator.federation import Party

SHAPE = LookupShape.DETAILED

# --- lookups -------------------------------------------------------------------------------------------


def drafted(
    node: Node,
    *,
    targets: Sequence[str] = ("alpha", "bravo", "charlie"),
    lookup_id: LookupId | None = None,
    shape: LookupShape = SHAPE,
    purpose: Purpose = Purpose.J_APPLICANT,
    **person: str,
) -> Draft:
    """A lookup of `node` about the officer, made and signed by hand."""
    paperwork = Paperwork.draw("REQ-9", "CONSENT-9", "Inv. Roe")
    plan = plan_lookup(normalise(Particulars(**(OFFICER | person))), shape, paperwork.filler_seed)[0]
    heads = node.indexes.heads()
    named = [Target(NodeId(name), heads[NodeId(name)].epoch) for name in targets]
    asked = AskedPerson(blind_plan(plan), paperwork)
    return draft_lookup(
        [asked],
        shape,
        purpose,
        node.config.federation_name,
        node.config.node_id,
        named,
        node.keys.signing,
        node.clock.now(),
        lookup_id,
    )


def planned(node: Node) -> tuple[Draft, Paperwork, LookupPlan, tuple[BlindedSlot, ...]]:
    """A lookup about the officer, with all that explains it."""
    paperwork = Paperwork.draw("REQ-9", "CONSENT-9", "Inv. Roe")
    plan = plan_lookup(normalise(Particulars(**OFFICER)), SHAPE, paperwork.filler_seed)[0]
    blinded = blind_plan(plan)
    return redrafted(node, paperwork, blinded), paperwork, plan, blinded


def redrafted(node: Node, paperwork: Paperwork, blinded: tuple[BlindedSlot, ...]) -> Draft:
    """A lookup of these elements, signed by hand."""
    targets = [Target(name, head.epoch) for name, head in sorted(node.indexes.heads().items())]
    asked, config = AskedPerson(blinded, paperwork), node.config
    return draft_lookup(
        [asked],
        SHAPE,
        Purpose.J_APPLICANT,
        config.federation_name,
        config.node_id,
        targets,
        node.keys.signing,
        node.clock.now(),
    )


def blinded_slot(guess: Slot, place: BlindedSlot) -> BlindedSlot:
    """A key of somebody else in the place of a filler."""
    slot = replace(place.slot, input=guess.input)
    return BlindedSlot(slot, oprf.blind(slot.input))


def lookup_envelope(lookup: Lookup, statement: SignedStatement, sender: str = "") -> Envelope:
    """As it is handed in; `sender` lies about who asks."""
    asker = NodeId(sender) if sender else lookup.asker
    return Envelope(
        lookup.lookup_id.value,
        MessageKind.LOOKUP,
        asker,
        None,
        statement.body,
        statement.signature,
        lookup.expires_at,
    )


def signed_lookup(node: Node, lookup: Lookup) -> Envelope:
    """A lookup with whatever was changed in it, signed again."""
    return lookup_envelope(lookup, node.keys.signing.sign("lookup", lookup.encode()))


def raw_lookup(node: Node, draft: Draft, change: Callable[[bytes], bytes]) -> Envelope:
    """A lookup whose octets were changed before they were signed."""
    body = change(draft.lookup.encode())
    return lookup_envelope(draft.lookup, node.keys.signing.sign("lookup", body))


# --- answers -------------------------------------------------------------------------------------------

Lie = Callable[[Lookup, Answer], Answer]


def answers_with(party: Party, lie: Lie) -> None:
    """From now on the node signs what `lie` makes of its honest answers."""
    honest = party.node.answerer._envelope
    instead(party.node.answerer, "_envelope", lambda lookup, answer: honest(lookup, lie(lookup, answer)))


def answers_with_octets(party: Party, change: Callable[[bytes], bytes], context: str = "answer") -> None:
    """From now on the node signs what `change` makes of the octets of its answers."""
    answerer, key = party.node.answerer, party.node.keys.signing
    honest = answerer._envelope

    def lying(lookup: Lookup, answer: Answer) -> Envelope:
        statement = key.sign(context, change(answer.encode()))
        return replace(honest(lookup, answer), body=statement.body, signature=statement.signature)

    instead(answerer, "_envelope", lying)


def fields(**changes: Any) -> Lie:
    """The answer with other values in it."""
    return lambda _, answer: replace(answer, **changes)


def under(seed: bytes) -> Lie:
    """The answer evaluated, and proved, under keys of another seed than the epoch's."""

    def lie(lookup: Lookup, answer: Answer) -> Answer:
        keys = epochs.keys_for(seed, lookup.federation, answer.node, answer.epoch)
        return replace(answer, evaluations=evaluations(lookup, keys))

    return lie


def evaluations(lookup: Lookup, keys: Any) -> dict[KeyClass, Evaluation]:
    return {
        key_class: Evaluation(*oprf.blind_evaluate(keys[key_class], lookup.elements[key_class]))
        for key_class in classes_of(lookup.shape)
    }


def permuted(_: Lookup, answer: Answer) -> Answer:
    """Every element is there, in another order."""
    turned = {
        key_class: Evaluation(each.elements[1:] + each.elements[:1], each.proof)
        for key_class, each in answer.evaluations.items()
    }
    return replace(answer, evaluations=turned)


def one_class_under(seed: bytes, key_class: KeyClass) -> Lie:
    """Evaluated under another key in one class only."""

    def lie(lookup: Lookup, answer: Answer) -> Answer:
        other = under(seed)(lookup, answer).evaluations[key_class]
        return replace(answer, evaluations={**answer.evaluations, key_class: other})

    return lie


def first_element(octets: bytes) -> Callable[[bytes], bytes]:
    """Put octets in the place of the first element of an answer to a detailed lookup."""

    def change(body: bytes) -> bytes:
        start = len(body) - (4 * 32 + 64) - (12 * 32 + 64) - (24 * 32 + 64)
        return body[:start] + octets + body[start + 32 :]

    return change


# --- heads ---------------------------------------------------------------------------------------------


def head_of(node: Node) -> IndexHead:
    """The head that a node published last."""
    return node.indexes.heads()[node.config.node_id]


def signed_head(node: Node, head: IndexHead) -> SignedStatement:
    return node.keys.signing.sign("index-head", head.encode())


def epoch_seed(node: Node, number: int = 1) -> bytes:
    def work(db: Database) -> bytes:
        seed = epochs.usable(db, number, node.clock.now()).seed
        assert seed is not None
        return seed

    return node.store.run_sync(work)


# --- disclosure ----------------------------------------------------------------------------------------

Respond = Callable[[DisclosureRequest, DisclosureResponse], DisclosureResponse]


def responds_with(party: Party, lie: Respond, *, reply_key: bytes | None = None, signer: Any = None) -> None:
    """From now on the owner signs what `lie` makes of a response that releases the record asked for.

    `reply_key` seals it to somebody else; `signer` signs in its place.
    """
    node = party.node

    def answer(
        request: DisclosureRequest, event: Any, resolved: Any, now: datetime, *, not_same_person: bool = False
    ) -> Said:
        found = node.store.run_sync(lambda db: publisher.resolve_handle(db, request.epoch, request.handle))
        response = DisclosureResponse(
            federation=request.federation,
            request_id=request.request_id,
            request=request.digest(),
            owner=request.owner,
            requester=request.requester,
            outcome=Outcome.RELEASED,
            salt=found.salt,
            record=canonical(found.record).encode(),
            dispute_status=DisputeStatus.NONE,
            subject_statement="",
            issued_at=now,
        )
        said = lie(request, response)
        return Said(said, seal_response(said, signer or node.keys.signing, reply_key or request.reply_key))

    instead(node.owner, "_answer", answer)


def declined(_: DisclosureRequest, response: DisclosureResponse) -> DisclosureResponse:
    return replace(response, outcome=Outcome.DECLINED, salt=bytes(SALT_OCTETS), record=b"")


# --- recall --------------------------------------------------------------------------------------------


def notice(node: Node, request: DisclosureRequest, **changes: Any) -> RecallNotice:
    """A notice to destroy what was released under a request."""
    now = node.clock.now()
    honest = RecallNotice(
        federation=request.federation,
        recall_id=RecallId(secrets.token_bytes(16)),
        owner=request.owner,
        recipient=request.requester,
        request_id=request.request_id,
        request=request.digest(),
        kind=RecallKind.SEALED,
        record=b"",
        changed=(),
        dispute_status=DisputeStatus.NONE,
        subject_statement="",
        effective_at=now,
        issued_at=now,
    )
    return replace(honest, **changes)


def notice_envelope(signer: Node, to: Node, said: RecallNotice, sender: str = "") -> Envelope:
    """A notice sealed and signed by `signer`; `sender` lies about whose envelope it is."""
    envelope_id = secrets.token_bytes(16)
    sealed = seal_notice(said, signer.keys.signing, to.keys.disclosure.public, envelope_id)
    return Envelope(
        envelope_id,
        MessageKind.RECALL_NOTICE,
        NodeId(sender) if sender else signer.config.node_id,
        to.config.node_id,
        sealed,
        b"",
        signer.clock.now() + timedelta(days=30),
    )


def ack(node: Node, recall_id: RecallId, digest: Digest, owner: str, **changes: Any) -> RecallAck:
    now = node.clock.now()
    honest = RecallAck(
        node.config.federation_name,
        recall_id,
        digest,
        node.config.node_id,
        NodeId(owner),
        Done.DESTROYED,
        AckLevel.ACTED,
        now,
        now,
    )
    return replace(honest, **changes)


def ack_envelope(signer: Node, to: Node, said: RecallAck) -> Envelope:
    envelope_id = secrets.token_bytes(16)
    sealed = seal_ack(said, signer.keys.signing, to.keys.disclosure.public, envelope_id)
    return Envelope(
        envelope_id,
        MessageKind.RECALL_ACK,
        signer.config.node_id,
        to.config.node_id,
        sealed,
        b"",
        signer.clock.now() + timedelta(days=30),
    )


DESTROY = RecallAction.DESTROY
