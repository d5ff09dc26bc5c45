"""Receipts: what was answered and what was released, checkable by anybody (docs/protocol.md §16.4, §16.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from candor_proto import oprf
from candor_proto.accountability.file_form import (
    Fields,
    LoggedPart,
    encode_file,
    logged_value,
    parse_file,
    part_value,
)
from candor_proto.accountability.trust import (
    Trust,
    check_head_logged,
    signed_answer,
    signed_index_head,
    signed_lookup,
)
from candor_proto.directory import IndexHead
from candor_proto.disclosure import DisclosureRequest, DisclosureResponse, Outcome
from candor_proto.errors import CommitmentMismatch, IdentityMismatch, KeyMismatch, MalformedMessage
from candor_proto.ids import FederationName, NodeId
from candor_proto.record import CanonicalRecord, open_commitment
from candor_proto.signing import SignedStatement
from candor_proto.statements import Answer, AnswerStatus, Lookup, classes_of

FORMAT = "candor-receipt/1"
ANSWER, DISCLOSURE = "answer", "disclosure"


@dataclass(frozen=True)
class VerifiedAnswer:
    """What a receipt of an answer shows; `witnessed_at` is when the log's heads had it at the latest."""

    lookup: Lookup
    answer: Answer
    head: IndexHead | None
    witnessed_at: datetime


@dataclass(frozen=True)
class AnswerReceipt:
    """`head` and `head_logged` are None exactly when nothing was evaluated."""

    federation: FederationName
    asker: NodeId
    owner: NodeId
    lookup: SignedStatement = field(repr=False)
    answer: SignedStatement = field(repr=False)
    head: SignedStatement | None = field(repr=False)
    asker_member: LoggedPart = field(repr=False)
    owner_member: LoggedPart = field(repr=False)
    head_logged: LoggedPart | None = field(repr=False)
    request_logged: LoggedPart = field(repr=False)
    receipt_logged: LoggedPart = field(repr=False)

    def encode(self) -> bytes:
        """The file."""
        return encode_file(
            {
                "format": FORMAT,
                "kind": ANSWER,
                "federation": str(self.federation),
                "asker": str(self.asker),
                "owner": str(self.owner),
                "lookup": part_value(self.lookup),
                "answer": part_value(self.answer),
                "head": None if self.head is None else part_value(self.head),
                "asker_member": logged_value(self.asker_member),
                "owner_member": logged_value(self.owner_member),
                "head_logged": None if self.head_logged is None else logged_value(self.head_logged),
                "request_logged": logged_value(self.request_logged),
                "receipt_logged": logged_value(self.receipt_logged),
            }
        )

    @classmethod
    def read(cls, fields: Fields) -> AnswerReceipt:
        return cls(
            federation=fields.federation(),
            asker=fields.node("asker"),
            owner=fields.node("owner"),
            lookup=fields.part("lookup"),
            answer=fields.part("answer"),
            head=fields.or_null("head", fields.part),
            asker_member=fields.logged("asker_member"),
            owner_member=fields.logged("owner_member"),
            head_logged=fields.or_null("head_logged", fields.logged),
            request_logged=fields.logged("request_logged"),
            receipt_logged=fields.logged("receipt_logged"),
        )

    def verify(self, trust: Trust) -> VerifiedAnswer:
        """All of §16.4; raises whatever a part of it raises."""
        asker_key = trust.signing_key(self.asker_member, self.asker, self.federation)
        owner_key = trust.signing_key(self.owner_member, self.owner, self.federation)
        lookup = signed_lookup(self.lookup, self.federation, self.asker, asker_key)
        answer = signed_answer(self.answer, lookup, self.federation, self.owner, owner_key)
        epoch = lookup.epoch_for(self.owner)
        if epoch is None:
            raise IdentityMismatch("An answer of a node that the lookup did not ask.")
        if (answer.shape, answer.persons) != (lookup.shape, lookup.persons):
            raise MalformedMessage("An answer in another shape than the lookup.")
        trust.request_position(self.request_logged, self.lookup, self.federation)
        trust.receipt_position(self.receipt_logged, self.answer, self.federation)
        head = None
        evaluated = answer.status is AnswerStatus.EVALUATED
        if evaluated != (self.head is not None) or evaluated != (self.head_logged is not None):
            raise MalformedMessage("A receipt shows an index head exactly when something was evaluated.")
        if self.head is not None and self.head_logged is not None:
            head = signed_index_head(self.head, self.federation, self.owner, owner_key)
            if not head.epoch == answer.epoch == epoch:
                raise KeyMismatch("An answer under another epoch than the head or the lookup names.")
            check_head_logged(trust, self.head_logged, self.head, self.federation)
            check_proofs(lookup, answer, head)
        return VerifiedAnswer(lookup, answer, head, self._witnessed(trust))

    def _witnessed(self, trust: Trust) -> datetime:
        proofs = (self.request_logged.proof, self.receipt_logged.proof)
        return max(trust.policy.time_of_witness(proof.signed, trust.now) for proof in proofs)


def check_proofs(lookup: Lookup, answer: Answer, head: IndexHead) -> None:
    """Whether an answer was evaluated under the keys of `head`, for each class; raises ProofInvalid."""
    for key_class in classes_of(lookup.shape) if lookup.persons else ():
        evaluation = answer.evaluations[key_class]
        oprf.verify_proof(
            head.keys[key_class], lookup.elements[key_class], evaluation.elements, evaluation.proof
        )


@dataclass(frozen=True)
class VerifiedDisclosure:
    """What a receipt of a disclosure shows; `record` is None unless it was released."""

    request: DisclosureRequest
    response: DisclosureResponse
    record: CanonicalRecord | None


@dataclass(frozen=True)
class DisclosureReceipt:
    """It holds the record that was released: it is as confidential as that."""

    federation: FederationName
    asker: NodeId
    owner: NodeId
    request: SignedStatement = field(repr=False)
    response: SignedStatement = field(repr=False)
    asker_member: LoggedPart = field(repr=False)
    owner_member: LoggedPart = field(repr=False)

    def encode(self) -> bytes:
        """The file."""
        return encode_file(
            {
                "format": FORMAT,
                "kind": DISCLOSURE,
                "federation": str(self.federation),
                "asker": str(self.asker),
                "owner": str(self.owner),
                "request": part_value(self.request),
                "response": part_value(self.response),
                "asker_member": logged_value(self.asker_member),
                "owner_member": logged_value(self.owner_member),
            }
        )

    @classmethod
    def read(cls, fields: Fields) -> DisclosureReceipt:
        return cls(
            federation=fields.federation(),
            asker=fields.node("asker"),
            owner=fields.node("owner"),
            request=fields.part("request"),
            response=fields.part("response"),
            asker_member=fields.logged("asker_member"),
            owner_member=fields.logged("owner_member"),
        )

    def verify(self, trust: Trust) -> VerifiedDisclosure:
        """All of §16.5; raises whatever a part of it raises."""
        request, response = signed_disclosure(self, trust)
        if response.outcome is not Outcome.RELEASED:
            return VerifiedDisclosure(request, response, None)
        record = open_commitment(request.commitment, response.salt, response.record)
        return VerifiedDisclosure(request, response, record)


def signed_disclosure(shown: DisclosureReceipt, trust: Trust) -> tuple[DisclosureRequest, DisclosureResponse]:
    """Request and response, signed by their parties and belonging together; the record is not looked at."""
    asker_key = trust.signing_key(shown.asker_member, shown.asker, shown.federation)
    owner_key = trust.signing_key(shown.owner_member, shown.owner, shown.federation)
    request = DisclosureRequest.decode(
        shown.request.verify("disclosure-request", asker_key, str(shown.asker))
    )
    response = DisclosureResponse.decode(
        shown.response.verify("disclosure-response", owner_key, str(shown.owner))
    )
    parties = (shown.federation, shown.asker, shown.owner)
    if (request.federation, request.requester, request.owner) != parties:
        raise IdentityMismatch("A disclosure request between other parties.")
    if (response.federation, response.requester, response.owner) != parties:
        raise IdentityMismatch("A disclosure response between other parties.")
    if (response.request_id, response.request) != (request.request_id, request.digest()):
        raise CommitmentMismatch("A disclosure response to another request.")
    return request, response


Receipt = AnswerReceipt | DisclosureReceipt


def parse_receipt(octets: bytes) -> Receipt:
    """Raises MalformedMessage, NotCanonical or LimitExceeded; nothing in it is verified yet."""
    fields = parse_file(octets)
    fields.expect("format", FORMAT)
    kind = fields.text("kind")
    if kind == ANSWER:
        receipt: Receipt = AnswerReceipt.read(fields)
    elif kind == DISCLOSURE:
        receipt = DisclosureReceipt.read(fields)
    else:
        raise MalformedMessage("The file is no receipt of an answer or a disclosure.")
    fields.finish()
    return receipt
