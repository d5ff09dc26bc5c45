"""Disclosure: the sealed request and the sealed response (docs/protocol.md §9).

Both are signed statements inside HPKE: the reply key and both parties stand inside the signature, so
that nobody on the way can swap the key and read the record (attack A9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from candor_proto.canonical import Reader, Writer, digest
from candor_proto.errors import (
    CommitmentMismatch,
    Expired,
    IdentityMismatch,
    IllegalTransition,
    MalformedMessage,
    NotCanonical,
    NotYetValid,
    WrongRecipient,
)
from candor_proto.ids import Digest, FederationName, Handle, LookupId, NodeId, Purpose, RequestId
from candor_proto.policy import MAX_CASE_OCTETS, MAX_OFFICER_OCTETS
from candor_proto.record import CanonicalRecord, DisputeStatus, open_commitment
from candor_proto.sealing import (
    PUBLIC_KEY_OCTETS,
    DisclosureKey,
    SealContext,
    SealKind,
    check_public_key,
    open_statement,
    seal_statement,
)
from candor_proto.signing import SignedStatement, SigningKey, VerifyingKey
from candor_proto.statements import CLOCK_TOLERANCE

REQUEST_LIFE = timedelta(days=30)
MAX_STATEMENT_OCTETS = 16_000  # 4,000 characters of UTF-8
MAX_RECORD_OCTETS = 44_000


@dataclass(frozen=True)
class DisclosureRequest:
    """What a requester asks of an owner about one record."""

    federation: FederationName
    request_id: RequestId
    requester: NodeId
    owner: NodeId
    epoch: int
    handle: Handle
    commitment: Digest
    purpose: Purpose
    case: str = field(repr=False)
    consent: Digest
    officer: str = field(repr=False)
    lookup_id: LookupId
    reply_key: bytes = field(repr=False)
    issued_at: datetime
    expires_at: datetime

    def encode(self) -> bytes:
        writer = Writer("disclosure-request").text(str(self.federation)).fixed(self.request_id.value, 16)
        writer.text(str(self.requester)).text(str(self.owner)).integer(self.epoch, 4)
        writer.fixed(self.handle.value, 16).fixed(self.commitment.value, 32).integer(self.purpose.value, 1)
        writer.text(self.case).fixed(self.consent.value, 32).text(self.officer)
        writer.fixed(self.lookup_id.value, 16).fixed(self.reply_key, PUBLIC_KEY_OCTETS)
        return writer.time(self.issued_at).time(self.expires_at).finish()

    @classmethod
    def decode(cls, data: bytes) -> DisclosureRequest:
        reader = Reader(data, "disclosure-request")
        request = cls(
            federation=FederationName(reader.text(64)),
            request_id=RequestId(reader.fixed(16)),
            requester=NodeId(reader.text(64)),
            owner=NodeId(reader.text(64)),
            epoch=reader.integer(4),
            handle=Handle(reader.fixed(16)),
            commitment=Digest(reader.fixed(32)),
            purpose=reader.choice(1, Purpose),
            case=reader.text(MAX_CASE_OCTETS),
            consent=Digest(reader.fixed(32)),
            officer=reader.text(MAX_OFFICER_OCTETS),
            lookup_id=LookupId(reader.fixed(16)),
            reply_key=check_public_key(reader.fixed(PUBLIC_KEY_OCTETS)),
            issued_at=reader.time(),
            expires_at=reader.time(),
        )
        reader.finish()
        if not timedelta(0) < request.expires_at - request.issued_at <= REQUEST_LIFE:
            raise MalformedMessage("A disclosure request lives at most 30 days.")
        return request

    def digest(self) -> Digest:
        return Digest(digest("disclosure-request", self.encode()))


class Outcome(Enum):
    """The owner's decision (§9.3); "withdrawn" and "declined" are one answer on the wire."""

    RELEASED = 1
    DECLINED = 2
    NOT_THE_SAME_PERSON = 3


@dataclass(frozen=True)
class DisclosureResponse:
    """The owner's answer; salt and record are empty unless released."""

    federation: FederationName
    request_id: RequestId
    request: Digest
    owner: NodeId
    requester: NodeId
    outcome: Outcome
    salt: bytes = field(repr=False)
    record: bytes = field(repr=False)
    dispute_status: DisputeStatus
    subject_statement: str = field(repr=False)
    issued_at: datetime

    def encode(self) -> bytes:
        writer = Writer("disclosure-response").text(str(self.federation)).fixed(self.request_id.value, 16)
        writer.fixed(self.request.value, 32).text(str(self.owner)).text(str(self.requester))
        writer.integer(self.outcome.value, 1).fixed(self.salt, 32).octets(self.record)
        writer.integer(self.dispute_status.value, 1).text(self.subject_statement)
        return writer.time(self.issued_at).finish()

    @classmethod
    def decode(cls, data: bytes) -> DisclosureResponse:
        reader = Reader(data, "disclosure-response")
        response = cls(
            federation=FederationName(reader.text(64)),
            request_id=RequestId(reader.fixed(16)),
            request=Digest(reader.fixed(32)),
            owner=NodeId(reader.text(64)),
            requester=NodeId(reader.text(64)),
            outcome=reader.choice(1, Outcome),
            salt=reader.fixed(32),
            record=reader.octets(MAX_RECORD_OCTETS),
            dispute_status=reader.choice(1, DisputeStatus),
            subject_statement=reader.text(MAX_STATEMENT_OCTETS),
            issued_at=reader.time(),
        )
        reader.finish()
        if response.outcome is not Outcome.RELEASED and (any(response.salt) or response.record):
            raise NotCanonical("A response that releases nothing carries a record.")
        return response


# --- sealing and opening -----------------------------------------------------------------------------


def seal_request(request: DisclosureRequest, key: SigningKey, owner_disclosure_key: bytes) -> bytes:
    """The sealed envelope of a request; one size for all."""
    context = SealContext(
        request.federation, SealKind.REQUEST, request.request_id.value, request.requester, request.owner
    )
    return seal_statement(key.sign("disclosure-request", request.encode()), owner_disclosure_key, context)


def open_request(
    sealed: bytes,
    key: DisclosureKey,
    federation: FederationName,
    request_id: RequestId,
    sender: NodeId,
    own: NodeId,
    sender_key: VerifyingKey,
    now: datetime,
) -> DisclosureRequest:
    """The request inside an envelope said to be `sender`'s; raises as `open_signed_request`."""
    parties = federation, request_id, sender, own, sender_key
    return open_signed_request(sealed, key, *parties, now)[0]


def open_signed_request(
    sealed: bytes,
    key: DisclosureKey,
    federation: FederationName,
    request_id: RequestId,
    sender: NodeId,
    own: NodeId,
    sender_key: VerifyingKey,
    now: datetime,
) -> tuple[DisclosureRequest, SignedStatement]:
    """The request inside an envelope said to be `sender`'s, and what was signed; checks all that §9.2 binds.

    Raises SealedDataInvalid, SignatureInvalid, MalformedMessage, IdentityMismatch, WrongRecipient,
    Expired or NotYetValid.
    """
    context = SealContext(federation, SealKind.REQUEST, request_id.value, sender, own)
    statement = open_statement(sealed, key, context)
    request = DisclosureRequest.decode(statement.verify("disclosure-request", sender_key, str(sender)))
    if request.requester != sender or request.request_id != request_id or request.federation != federation:
        raise IdentityMismatch("A disclosure request that names another requester than its envelope.")
    if request.owner != own:
        raise WrongRecipient("A disclosure request addressed to another owner.")
    if now >= request.expires_at:
        raise Expired("This disclosure request has expired.")
    if request.issued_at > now + CLOCK_TOLERANCE:
        raise NotYetValid("This disclosure request was issued in the future.")
    return request, statement


def seal_response(response: DisclosureResponse, key: SigningKey, reply_key: bytes) -> bytes:
    """The sealed envelope of a response; one size for all."""
    context = SealContext(
        response.federation,
        SealKind.RESPONSE,
        response.request_id.value,
        response.owner,
        response.requester,
        response.request.value,
    )
    return seal_statement(key.sign("disclosure-response", response.encode()), reply_key, context)


def open_response(
    sealed: bytes, key: DisclosureKey, request: DisclosureRequest, owner_key: VerifyingKey
) -> tuple[DisclosureResponse, CanonicalRecord | None]:
    """The response to `request`, and the record once it opens its commitment (§9.5).

    Raises SealedDataInvalid, SignatureInvalid, MalformedMessage, IdentityMismatch, CommitmentMismatch.
    """
    return check_response(open_response_statement(sealed, key, request), request, owner_key)


def open_response_statement(sealed: bytes, key: DisclosureKey, request: DisclosureRequest) -> SignedStatement:
    """What is in the envelope of a response to `request`, unverified; raises SealedDataInvalid."""
    context = SealContext(
        request.federation,
        SealKind.RESPONSE,
        request.request_id.value,
        request.owner,
        request.requester,
        request.digest().value,
    )
    return open_statement(sealed, key, context)


def check_response(
    statement: SignedStatement, request: DisclosureRequest, owner_key: VerifyingKey
) -> tuple[DisclosureResponse, CanonicalRecord | None]:
    """`open_response` of what was in the envelope."""
    wanted = request.digest()
    response = DisclosureResponse.decode(
        statement.verify("disclosure-response", owner_key, str(request.owner))
    )
    if (response.owner, response.requester) != (request.owner, request.requester):
        raise IdentityMismatch("A disclosure response between other parties.")
    if response.request != wanted or response.request_id != request.request_id:
        raise CommitmentMismatch("A disclosure response to another request.")
    if response.outcome is not Outcome.RELEASED:
        return response, None
    return response, open_commitment(request.commitment, response.salt, response.record)


# --- states (§9.6) -----------------------------------------------------------------------------------


class OwnerState(Enum):
    RECEIVED = "received"
    WAITING = "waiting"
    RELEASED = "released"
    DECLINED = "declined"
    EXPIRED = "expired"


class OwnerEvent(Enum):
    RULE_RELEASES = "rule releases"
    RULE_WAITS = "rule waits"
    DECLINES = "declines"
    PERSON_APPROVES = "person approves"
    EXPIRES = "expires"


OWNER_TRANSITIONS: Mapping[tuple[OwnerState, OwnerEvent], OwnerState] = {
    (OwnerState.RECEIVED, OwnerEvent.RULE_RELEASES): OwnerState.RELEASED,
    (OwnerState.RECEIVED, OwnerEvent.RULE_WAITS): OwnerState.WAITING,
    (OwnerState.RECEIVED, OwnerEvent.DECLINES): OwnerState.DECLINED,
    (OwnerState.RECEIVED, OwnerEvent.EXPIRES): OwnerState.EXPIRED,
    (OwnerState.WAITING, OwnerEvent.PERSON_APPROVES): OwnerState.RELEASED,
    (OwnerState.WAITING, OwnerEvent.DECLINES): OwnerState.DECLINED,
    (OwnerState.WAITING, OwnerEvent.EXPIRES): OwnerState.EXPIRED,
}


class RequesterState(Enum):
    SENT = "sent"
    OPENED = "opened"
    DECLINED = "declined"
    INVALID = "invalid"
    EXPIRED = "expired"
    RECALLED = "recalled"


class RequesterEvent(Enum):
    RESPONSE_OPENS = "response opens"
    RESPONSE_DECLINES = "response declines"
    RESPONSE_INVALID = "response invalid"
    EXPIRES = "expires"
    RECALL_DESTROYS = "recall destroys"


REQUESTER_TRANSITIONS: Mapping[tuple[RequesterState, RequesterEvent], RequesterState] = {
    (RequesterState.OPENED, RequesterEvent.RECALL_DESTROYS): RequesterState.RECALLED
} | {
    (state, event): after
    for state in (RequesterState.SENT, RequesterState.INVALID)
    for event, after in (
        (RequesterEvent.RESPONSE_OPENS, RequesterState.OPENED),
        (RequesterEvent.RESPONSE_DECLINES, RequesterState.DECLINED),
        (RequesterEvent.RESPONSE_INVALID, RequesterState.INVALID),
        (RequesterEvent.EXPIRES, RequesterState.EXPIRED),
        (RequesterEvent.RECALL_DESTROYS, RequesterState.RECALLED),
    )
}


def owner_after(state: OwnerState, event: OwnerEvent) -> OwnerState:
    """The owner's next state; raises IllegalTransition for what the table does not list."""
    try:
        return OWNER_TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(
            f"A request that is {state.value} cannot become anything by: {event.value}."
        ) from None


def requester_after(state: RequesterState, event: RequesterEvent) -> RequesterState:
    """The requester's next state; raises IllegalTransition for what the table does not list."""
    try:
        return REQUESTER_TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(
            f"A request that is {state.value} cannot become anything by: {event.value}."
        ) from None
