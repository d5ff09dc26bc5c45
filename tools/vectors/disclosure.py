"""Disclosure: request and response (docs/protocol.md §9.2-§9.5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from candor_proto.disclosure import (
    DisclosureRequest,
    DisclosureResponse,
    Outcome,
    open_request,
    open_response,
)
from candor_proto.ids import Digest, FederationName, Handle, LookupId, NodeId, Purpose, RequestId
from candor_proto.record import DisputeStatus
from candor_proto.sealing import DisclosureKey, SealContext, SealKind
from candor_proto.signing import VerifyingKey
from tools.vectors import world
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.draws import draw
from tools.vectors.parties import ASKER, DAY, EPOCH, FEDERATION, HOUR, MINUTE, NOW, OWNER, THIRD, moment, ms
from tools.vectors.records import RECORD, shown_record
from tools.vectors.sealing import sealed_once
from tools.vectors.shapes import OCTETS, TEXT, TIME, U8, U32, fields, fixed, maybe

REQUEST = {
    "federation": TEXT,
    "request_id": fixed(16),
    "requester": TEXT,
    "owner": TEXT,
    "epoch": U32,
    "handle": fixed(16),
    "commitment": fixed(32),
    "purpose": U8,
    "case": TEXT,
    "consent": fixed(32),
    "officer": TEXT,
    "lookup_id": fixed(16),
    "reply_key": OCTETS,
    "issued": TIME,
    "expires": TIME,
}
RESPONSE = {
    "federation": TEXT,
    "request_id": fixed(16),
    "request_digest": fixed(32),
    "owner": TEXT,
    "requester": TEXT,
    "outcome": U8,
    "salt": fixed(32),
    "record": OCTETS,
    "dispute_status": U8,
    "subject_statement": TEXT,
    "issued": TIME,
}
REPLY_KEY = DisclosureKey(draw("reply key", 96))


def request() -> DisclosureRequest:
    """What the story's asker asks of the owner, an hour after the answer."""
    return DisclosureRequest(
        federation=FEDERATION,
        request_id=RequestId(draw("request id", 16)),
        requester=ASKER.node,
        owner=OWNER.node,
        epoch=EPOCH,
        handle=world.SECRETS.handle,
        commitment=world.sealed().label.commitment,
        purpose=Purpose.J_APPLICANT,
        case=world.CASE,
        consent=Digest(draw("consent digest", 32)),
        officer=world.OFFICER,
        lookup_id=world.draft().lookup.lookup_id,
        reply_key=REPLY_KEY.public,
        issued_at=NOW + HOUR,
        expires_at=NOW + HOUR + 30 * DAY,
    )


def response(outcome: Outcome = Outcome.RELEASED) -> DisclosureResponse:
    released = outcome is Outcome.RELEASED
    asked = request()
    return DisclosureResponse(
        federation=FEDERATION,
        request_id=asked.request_id,
        request=asked.digest(),
        owner=OWNER.node,
        requester=ASKER.node,
        outcome=outcome,
        salt=world.SECRETS.salt if released else bytes(32),
        record=world.RECORD.encode() if released else b"",
        dispute_status=DisputeStatus.OPEN if released else DisputeStatus.NONE,
        subject_statement="I was never heard. \u00c9." if released else "",
        issued_at=NOW + 2 * HOUR,
    )


def shown_request(one: DisclosureRequest) -> dict[str, Any]:
    return {
        "federation": str(one.federation),
        "request_id": one.request_id.hex(),
        "requester": str(one.requester),
        "owner": str(one.owner),
        "epoch": one.epoch,
        "handle": one.handle.hex(),
        "commitment": one.commitment.hex(),
        "purpose": one.purpose.value,
        "case": one.case,
        "consent": one.consent.hex(),
        "officer": one.officer,
        "lookup_id": one.lookup_id.hex(),
        "reply_key": one.reply_key.hex(),
        "issued": ms(one.issued_at),
        "expires": ms(one.expires_at),
    }


def shown_response(one: DisclosureResponse) -> dict[str, Any]:
    return {
        "federation": str(one.federation),
        "request_id": one.request_id.hex(),
        "request_digest": one.request.hex(),
        "owner": str(one.owner),
        "requester": str(one.requester),
        "outcome": one.outcome.value,
        "salt": one.salt.hex(),
        "record": one.record.hex(),
        "dispute_status": one.dispute_status.value,
        "subject_statement": one.subject_statement,
        "issued": ms(one.issued_at),
    }


@operation(
    "encode-disclosure-request",
    "9.2",
    "the body of a request, and its digest. Two-way",
    REQUEST,
    {"body": OCTETS, "digest": fixed(32)},
)
def _encode_request(given: Given) -> dict[str, Any]:
    made = DisclosureRequest(
        FederationName(given["federation"]),
        RequestId(bytes.fromhex(given["request_id"])),
        NodeId(given["requester"]),
        NodeId(given["owner"]),
        given["epoch"],
        Handle(bytes.fromhex(given["handle"])),
        Digest(bytes.fromhex(given["commitment"])),
        Purpose(given["purpose"]),
        given["case"],
        Digest(bytes.fromhex(given["consent"])),
        given["officer"],
        LookupId(bytes.fromhex(given["lookup_id"])),
        bytes.fromhex(given["reply_key"]),
        moment(given["issued"]),
        moment(given["expires"]),
    )
    assert DisclosureRequest.decode(made.encode()) == made
    return {"body": made.encode().hex(), "digest": made.digest().hex()}


@operation("decode-disclosure-request", "9.2", "the fields of a request", {"body": OCTETS}, REQUEST)
def _decode_request(given: Given) -> dict[str, Any]:
    return shown_request(DisclosureRequest.decode(bytes.fromhex(given["body"])))


@operation("encode-disclosure-response", "9.3", "the body of a response. Two-way", RESPONSE, {"body": OCTETS})
def _encode_response(given: Given) -> dict[str, Any]:
    made = DisclosureResponse(
        FederationName(given["federation"]),
        RequestId(bytes.fromhex(given["request_id"])),
        Digest(bytes.fromhex(given["request_digest"])),
        NodeId(given["owner"]),
        NodeId(given["requester"]),
        Outcome(given["outcome"]),
        bytes.fromhex(given["salt"]),
        bytes.fromhex(given["record"]),
        DisputeStatus(given["dispute_status"]),
        given["subject_statement"],
        moment(given["issued"]),
    )
    assert DisclosureResponse.decode(made.encode()) == made
    return {"body": made.encode().hex()}


@operation("decode-disclosure-response", "9.3", "the fields of a response", {"body": OCTETS}, RESPONSE)
def _decode_response(given: Given) -> dict[str, Any]:
    return shown_response(DisclosureResponse.decode(bytes.fromhex(given["body"])))


@operation(
    "open-disclosure-request",
    "9.2",
    "what `owner` makes of a sealed request said to be `sender`'s, whose signing key its directory has",
    {
        "private_key": OCTETS,
        "federation": TEXT,
        "request_id": fixed(16),
        "sender": TEXT,
        "sender_key": OCTETS,
        "owner": TEXT,
        "now": TIME,
        "sealed": OCTETS,
    },
    {"digest": fixed(32)},
)
def _open_request(given: Given) -> dict[str, Any]:
    opened = open_request(
        bytes.fromhex(given["sealed"]),
        DisclosureKey(bytes.fromhex(given["private_key"])),
        FederationName(given["federation"]),
        RequestId(bytes.fromhex(given["request_id"])),
        NodeId(given["sender"]),
        NodeId(given["owner"]),
        VerifyingKey(bytes.fromhex(given["sender_key"])),
        moment(given["now"]),
    )
    return {"digest": opened.digest().hex()}


@operation(
    "open-disclosure-response",
    "9.5",
    "what the requester makes of a sealed response to its request: outcome, and the record if it was "
    "released",
    {"reply_private_key": OCTETS, "request_body": OCTETS, "owner_key": OCTETS, "sealed": OCTETS},
    {"outcome": U8, "record": maybe(fields(**RECORD))},
)
def _open_response(given: Given) -> dict[str, Any]:
    opened, record = open_response(
        bytes.fromhex(given["sealed"]),
        DisclosureKey(bytes.fromhex(given["reply_private_key"])),
        DisclosureRequest.decode(bytes.fromhex(given["request_body"])),
        VerifyingKey(bytes.fromhex(given["owner_key"])),
    )
    return {"outcome": opened.outcome.value, "record": None if record is None else shown_record(record)}


def book() -> Book:
    found = Book(
        "disclosure",
        "Disclosure requests and responses: encoded, refused, sealed once and opened.",
        ("9.2", "9.3", "9.5"),
        "The request for the record of the story (README.md) and the answers to it; by "
        "candor_proto.disclosure. Sealed messages "
        "were made once by HPKE of `cryptography` and are kept.",
    )
    asked = request()
    found.case("request", "encode-disclosure-request", shown_request(asked))
    for outcome in Outcome:
        name = f"response_{outcome.name.lower()}"
        found.case(name, "encode-disclosure-response", shown_response(response(outcome)))
    _refused(found, asked)
    _opened_requests(found, asked)
    _opened_responses(found, asked)
    return found


def _refused(found: Book, asked: DisclosureRequest) -> None:
    body = asked.encode()
    case = replace(asked, case="x" * 129)
    officer = replace(asked, officer="x" * 257)
    for flaw, octets, refuse in (
        ("octet_behind", body + b"\0", "not_canonical"),
        ("cut", body[:-1], "malformed_message"),
        ("case_over_the_limit", case.encode(), "limit_exceeded"),
        ("officer_over_the_limit", officer.encode(), "limit_exceeded"),
        (
            "longer_than_30_days",
            replace(asked, expires_at=asked.expires_at + MINUTE).encode(),
            "malformed_message",
        ),
        ("expired_when_issued", replace(asked, expires_at=asked.issued_at).encode(), "malformed_message"),
        (
            "reply_key_of_low_order",
            replace(asked, reply_key=asked.reply_key[:1184] + bytes(32)).encode(),
            "malformed_message",
        ),
        ("labelled_response", b"\x1dcandor/v1/disclosure-response" + body[29:], "malformed_message"),
    ):
        found.case(f"request_{flaw}", "decode-disclosure-request", {"body": octets.hex()}, refuse=refuse)
    declined = response(Outcome.DECLINED)
    released = response().encode()
    at = released.index(response().record) - 4
    said = released.index(b"I was never heard") - 4
    for flaw, octets, refuse in (
        ("declined_with_salt", replace(declined, salt=b"\1" + bytes(31)).encode(), "not_canonical"),
        ("declined_with_record", replace(declined, record=b"\1").encode(), "not_canonical"),
        ("octet_behind", released + b"\0", "not_canonical"),
        ("cut", released[:-1], "malformed_message"),
        ("record_over_the_limit", released[:at] + b"\0\0\xab\xe1" + released[at + 4 :], "limit_exceeded"),
        (
            "statement_over_the_limit",
            released[:said] + b"\0\0\x3e\x81" + released[said + 4 :],
            "limit_exceeded",
        ),
    ):
        found.case(f"response_{flaw}", "decode-disclosure-response", {"body": octets.hex()}, refuse=refuse)
    for flaw, value in {"outcome_4": b"\4", "outcome_0": b"\0"}.items():
        spoilt = released[: at - 33] + value + released[at - 32 :]
        found.case(
            f"response_{flaw}",
            "decode-disclosure-response",
            {"body": spoilt.hex()},
            refuse="malformed_message",
        )


def _opened_requests(found: Book, asked: DisclosureRequest) -> None:
    context = SealContext(FEDERATION, SealKind.REQUEST, asked.request_id.value, ASKER.node, OWNER.node)
    statement = ASKER.signing.sign("disclosure-request", asked.encode())
    sealed = found.keep("sealed request", sealed_once(statement, OWNER.disclosure, context))
    base = {
        "private_key": OWNER.disclosure.octets().hex(),
        "federation": str(FEDERATION),
        "request_id": asked.request_id.hex(),
        "sender": ASKER.name,
        "sender_key": ASKER.signing.public.value.hex(),
        "owner": OWNER.name,
        "now": ms(NOW + 2 * HOUR),
        "sealed": changed("sealed request"),
    }
    found.case("request_opens", "open-disclosure-request", base)
    to_another = sealed_once(
        ASKER.signing.sign("disclosure-request", replace(asked, owner=THIRD.node).encode()),
        OWNER.disclosure,
        context,
    )
    of_another = sealed_once(
        ASKER.signing.sign("disclosure-request", replace(asked, requester=THIRD.node).encode()),
        OWNER.disclosure,
        context,
    )
    for flaw, change, refuse, comment in (
        ("expired", {"now": ms(asked.expires_at)}, "expired", ""),
        ("issued_too_far_ahead", {"now": ms(NOW + HOUR - 6 * MINUTE)}, "not_yet_valid", ""),
        ("another_senders_key", {"sender_key": THIRD.signing.public.value.hex()}, "signature_invalid", ""),
        ("another_sender", {"sender": THIRD.name}, "sealed_data_invalid", "bound into `info`"),
        ("another_request_id", {"request_id": "00" * 16}, "sealed_data_invalid", "bound into `info`"),
        (
            "addressed_to_another_owner",
            {"sealed": to_another.hex()},
            "wrong_recipient",
            "inside the signature",
        ),
        ("of_another_requester", {"sealed": of_another.hex()}, "identity_mismatch", "inside the signature"),
        (
            "box_changed",
            {"sealed": changed("sealed request", edit(2000, 1, bytes([sealed[2000] ^ 1])))},
            "sealed_data_invalid",
            "",
        ),
    ):
        name = f"request_opens_not_{flaw}"
        found.case(name, "open-disclosure-request", {**base, **change}, comment=comment, refuse=refuse)


def _opened_responses(found: Book, asked: DisclosureRequest) -> None:
    digest = asked.digest().value
    context = SealContext(
        FEDERATION, SealKind.RESPONSE, asked.request_id.value, OWNER.node, ASKER.node, digest
    )

    def sealed(name: str, made: DisclosureResponse, signer: str = OWNER.name) -> dict[str, Any]:
        key = OWNER.signing if signer == OWNER.name else THIRD.signing
        found.keep(name, sealed_once(key.sign("disclosure-response", made.encode()), REPLY_KEY, context))
        return changed(name)

    found.keep("request", asked.encode())
    base = {
        "reply_private_key": REPLY_KEY.octets().hex(),
        "request_body": changed("request"),
        "owner_key": OWNER.signing.public.value.hex(),
        "sealed": sealed("released", response()),
    }
    found.case("response_opens", "open-disclosure-response", base)
    another_request = replace(asked, case="REQ-2026-0418")
    other_body = changed("request", edit(asked.encode().index(b"0417"), 4, b"0418"))
    assert another_request.encode() != asked.encode()
    for flaw, change, refuse, comment in (
        ("another_owners_key", {"owner_key": THIRD.signing.public.value.hex()}, "signature_invalid", ""),
        (
            "another_request",
            {"request_body": other_body},
            "sealed_data_invalid",
            "the binding is another digest",
        ),
        (
            "another_reply_key",
            {"reply_private_key": THIRD.disclosure.octets().hex()},
            "sealed_data_invalid",
            "",
        ),
    ):
        name = f"response_opens_not_{flaw}"
        found.case(name, "open-disclosure-response", {**base, **change}, comment=comment, refuse=refuse)
