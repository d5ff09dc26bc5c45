"""Disclosure requests and responses (docs/protocol.md §9; attacks A8, A9, A2)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.disclosure import (
    OWNER_TRANSITIONS,
    REQUESTER_TRANSITIONS,
    DisclosureRequest,
    DisclosureResponse,
    Outcome,
    OwnerEvent,
    OwnerState,
    RequesterEvent,
    RequesterState,
    open_request,
    open_response,
    owner_after,
    requester_after,
    seal_request,
    seal_response,
)
from candor_proto.errors import (
    CandorError,
    CommitmentMismatch,
    Expired,
    IdentityMismatch,
    IllegalTransition,
    MalformedMessage,
    NotCanonical,
    NotYetValid,
    SealedDataInvalid,
    SignatureInvalid,
    WrongRecipient,
)
from candor_proto.ids import Digest, Handle, LookupId, NodeId, Purpose, RequestId
from candor_proto.record import CanonicalRecord, DisputeStatus, RecordKind, Tier, commit
from candor_proto.sealing import DisclosureKey, SealContext, SealKind, seal
from tests.parties import FEDERATION, NOW, Parties

PARTIES = Parties("asker", "mallory", "owner")
REPLY = DisclosureKey.generate()
RECORD = CanonicalRecord(
    RecordKind.TERMINATION_FOR_CAUSE, Tier.ADJUDICATED, {"dcn": "C-1", "last": "Schmidt"}
)
SALT = secrets.token_bytes(32)
REQUEST = DisclosureRequest(
    FEDERATION,
    RequestId(secrets.token_bytes(16)),
    NodeId("asker"),
    NodeId("owner"),
    1,
    Handle(secrets.token_bytes(16)),
    commit(SALT, RECORD.encode()),
    Purpose.J_APPLICANT,
    "REQ-1",
    Digest(bytes(32)),
    "Sgt. Example",
    LookupId(secrets.token_bytes(16)),
    REPLY.public,
    NOW,
    NOW + timedelta(days=30),
)
RESPONSE = DisclosureResponse(
    FEDERATION,
    REQUEST.request_id,
    REQUEST.digest(),
    NodeId("owner"),
    NodeId("asker"),
    Outcome.RELEASED,
    SALT,
    RECORD.encode(),
    DisputeStatus.NONE,
    "",
    NOW,
)


def open_as_owner(sealed: bytes, sender: str = "asker", now: object = NOW) -> DisclosureRequest:
    return open_request(
        sealed,
        PARTIES["owner"].disclosure,
        FEDERATION,
        REQUEST.request_id,
        NodeId(sender),
        NodeId("owner"),
        PARTIES[sender].signing.public,
        now,  # type: ignore[arg-type]  # a datetime
    )


def seal_as(request: DisclosureRequest, signer: str = "asker") -> bytes:
    return seal_request(request, PARTIES[signer].signing, PARTIES["owner"].disclosure.public)


def respond(response: DisclosureResponse, signer: str = "owner", key: bytes = REPLY.public) -> bytes:
    return seal_response(response, PARTIES[signer].signing, key)


def open_as_asker(sealed: bytes) -> CanonicalRecord | None:
    return open_response(sealed, REPLY, REQUEST, PARTIES["owner"].signing.public)[1]


def test_a_request_reaches_its_owner_whole_and_has_one_size() -> None:
    assert open_as_owner(seal_as(REQUEST)) == REQUEST
    short = replace(REQUEST, case="", officer="x")
    assert len(seal_as(short)) == len(seal_as(REQUEST)) == SealKind.REQUEST.sealed_octets


def test_a_hub_that_swaps_the_reply_key_is_noticed() -> None:
    """Attack A9: the reply key is inside the signature, and only the asker can sign."""
    swapped = replace(REQUEST, reply_key=DisclosureKey.generate().public)
    with pytest.raises(SignatureInvalid):
        open_as_owner(seal_as(swapped, signer="mallory"))


def test_a_request_resealed_under_another_senders_name_is_refused() -> None:
    """Mallory signs the asker's request as her own and sends it under her own name."""
    context = SealContext(
        FEDERATION, SealKind.REQUEST, REQUEST.request_id.value, NodeId("mallory"), NodeId("owner")
    )
    statement = PARTIES["mallory"].signing.sign("disclosure-request", REQUEST.encode())
    packed = len(statement.body).to_bytes(4, "big") + statement.body + statement.signature
    sealed = seal(packed, PARTIES["owner"].disclosure.public, context)
    with pytest.raises(IdentityMismatch):
        open_as_owner(sealed, sender="mallory")


def test_a_request_for_another_owner_is_refused() -> None:
    misdirected = replace(REQUEST, owner=NodeId("mallory"))
    envelope_id = REQUEST.request_id.value
    context = SealContext(FEDERATION, SealKind.REQUEST, envelope_id, NodeId("asker"), NodeId("owner"))
    statement = PARTIES["asker"].signing.sign("disclosure-request", misdirected.encode())
    packed = len(statement.body).to_bytes(4, "big") + statement.body + statement.signature
    with pytest.raises(WrongRecipient):
        open_as_owner(seal(packed, PARTIES["owner"].disclosure.public, context))


def test_expired_and_future_requests_are_refused() -> None:
    sealed = seal_as(REQUEST)
    with pytest.raises(Expired):
        open_as_owner(sealed, now=REQUEST.expires_at)
    with pytest.raises(NotYetValid):
        open_as_owner(sealed, now=NOW - timedelta(minutes=6))
    with pytest.raises(MalformedMessage):
        DisclosureRequest.decode(replace(REQUEST, expires_at=NOW + timedelta(days=31)).encode())


def test_a_released_record_opens_its_commitment_and_sizes_do_not_tell_the_outcome() -> None:
    released = respond(RESPONSE)
    assert open_as_asker(released) == RECORD
    declined = respond(replace(RESPONSE, outcome=Outcome.DECLINED, salt=bytes(32), record=b""))
    assert open_as_asker(declined) is None
    assert len(released) == len(declined)


def test_a_record_that_is_not_the_one_committed_to_is_refused() -> None:
    other = CanonicalRecord(RECORD.kind, RECORD.tier, {"dcn": "C-2"})
    with pytest.raises(CommitmentMismatch):
        open_as_asker(respond(replace(RESPONSE, record=other.encode())))
    with pytest.raises(CommitmentMismatch):
        open_as_asker(respond(replace(RESPONSE, salt=bytes(32))))


def test_a_response_signed_by_anybody_else_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        open_as_asker(respond(RESPONSE, signer="mallory"))


def test_a_response_to_another_request_does_not_open() -> None:
    with pytest.raises((SealedDataInvalid, CommitmentMismatch)):
        open_as_asker(respond(replace(RESPONSE, request=Digest(bytes(32)))))


def test_a_response_naming_other_parties_is_refused() -> None:
    context = SealContext(
        FEDERATION,
        SealKind.RESPONSE,
        REQUEST.request_id.value,
        NodeId("owner"),
        NodeId("asker"),
        REQUEST.digest().value,
    )
    for changes in ({"owner": NodeId("mallory")}, {"requester": NodeId("mallory")}):
        body = replace(RESPONSE, **changes).encode()  # type: ignore[arg-type]  # parametrised
        statement = PARTIES["owner"].signing.sign("disclosure-response", body)
        packed = len(body).to_bytes(4, "big") + body + statement.signature
        with pytest.raises(IdentityMismatch):
            open_as_asker(seal(packed, REPLY.public, context))


def test_a_response_about_another_request_inside_a_matching_seal_is_refused() -> None:
    context = SealContext(
        FEDERATION,
        SealKind.RESPONSE,
        REQUEST.request_id.value,
        NodeId("owner"),
        NodeId("asker"),
        REQUEST.digest().value,
    )
    body = replace(RESPONSE, request=Digest(bytes(32))).encode()
    statement = PARTIES["owner"].signing.sign("disclosure-response", body)
    packed = len(body).to_bytes(4, "big") + body + statement.signature
    with pytest.raises(CommitmentMismatch):
        open_as_asker(seal(packed, REPLY.public, context))


def test_a_refusal_that_carries_a_record_is_refused() -> None:
    with pytest.raises(NotCanonical):
        DisclosureResponse.decode(replace(RESPONSE, outcome=Outcome.DECLINED).encode())


@given(st.binary(max_size=300))
def test_arbitrary_octets_raise_typed_errors_only(octets: bytes) -> None:
    for kind in (DisclosureRequest, DisclosureResponse, CanonicalRecord):
        with pytest.raises(CandorError):
            kind.decode(octets)


def test_encodings_round_trip() -> None:
    assert DisclosureRequest.decode(REQUEST.encode()) == REQUEST
    assert DisclosureResponse.decode(RESPONSE.encode()) == RESPONSE


def test_nothing_personal_prints() -> None:
    shown = repr(REQUEST) + repr(RESPONSE) + repr(RECORD)
    for secret in ("Schmidt", "REQ-1", "Sgt. Example", SALT.hex()):
        assert secret not in shown


def test_every_pair_of_state_and_event_is_listed_or_refused() -> None:
    for owner_state, owner_event in product(OwnerState, OwnerEvent):
        if (owner_state, owner_event) not in OWNER_TRANSITIONS:
            with pytest.raises(IllegalTransition):
                owner_after(owner_state, owner_event)
    for state, event in product(RequesterState, RequesterEvent):
        if (state, event) not in REQUESTER_TRANSITIONS:
            with pytest.raises(IllegalTransition):
                requester_after(state, event)


def test_nothing_follows_a_decision() -> None:
    for state in (OwnerState.RELEASED, OwnerState.DECLINED, OwnerState.EXPIRED):
        assert not any(source is state for source, _ in OWNER_TRANSITIONS)
    assert owner_after(OwnerState.WAITING, OwnerEvent.PERSON_APPROVES) is OwnerState.RELEASED
    assert requester_after(RequesterState.INVALID, RequesterEvent.RESPONSE_OPENS) is RequesterState.OPENED
