"""Vectors of §7 to §10: lookups, answers, disclosures, records, directories."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from candor_verify import disclosure, heads, statements
from candor_verify.errors import (
    Expired,
    IdentityMismatch,
    Malformed,
    NotAMember,
    NotYetValid,
    Rollback,
    WrongRecipient,
)
from candor_verify.octets import digest
from candor_verify.vectors_basic import Given, Outcome

TOLERANCE = 5 * 60 * 1000
COMMITMENTS = ("case", "consent", "officer", "filler")


def commitment(given: Given) -> Outcome:
    salt = given.octets("salt")
    if len(salt) != 32 or given.text("name") not in COMMITMENTS:
        raise Malformed("A salt has 32 octets, and there are four commitments.")
    found = digest(f"commitment/{given.text('name')}", salt, given.octets("value"))
    return {"commitment": found.hex()}


def decode_lookup(given: Given) -> Outcome:
    lookup = statements.parse_lookup(given.octets("body"))
    weak, match, code = ([each.hex() for each in group] for group in lookup.elements)
    return {
        "federation": lookup.federation,
        "lookup_id": lookup.lookup_id.hex(),
        "asker": lookup.asker,
        "purpose": lookup.purpose,
        "shape": lookup.shape,
        "persons": [
            {name: value.hex() for name, value in zip(COMMITMENTS, person, strict=True)}
            for person in lookup.commitments
        ],
        "issued": str(lookup.issued),
        "expires": str(lookup.expires),
        "targets": [{"node": node, "epoch": epoch} for node, epoch in lookup.targets],
        "W": weak,
        "M": match,
        "C": code,
    }


def encode_lookup_back(expected: Given, given: Given) -> Outcome:
    if statements.lookup_digest(expected.octets("body")) != expected.octets("digest"):
        raise Malformed("The digest of the lookup is another one.")
    return decode_lookup(expected)


def accept_lookup(given: Given) -> Outcome:
    part = given.part("lookup")
    lookup = statements.parse_lookup(part.body)
    if lookup.asker != given.text("member"):
        raise NotAMember("The directory does not know the asker.")
    part.verify("lookup", given.octets("signing_key"), lookup.asker)
    now = given.number("now")
    if lookup.federation != given.text("federation"):
        raise IdentityMismatch("The lookup is of another federation.")
    if now >= lookup.expires:
        raise Expired("The lookup has ended.")
    if lookup.issued > now + TOLERANCE:
        raise NotYetValid("The lookup begins in the future.")
    epoch = lookup.epoch_of(given.text("node"))
    if epoch is None:
        raise WrongRecipient("The lookup asks somebody else.")
    return {"asker": lookup.asker, "epoch": epoch}


def decode_answer(given: Given) -> Outcome:
    answer = statements.parse_answer(given.octets("body"))
    every, weak, match, code = answer.left
    evaluated = answer.status == statements.EVALUATED
    groups = dict(zip("WMC", zip(answer.elements, answer.proofs, strict=True), strict=False))
    return {
        "federation": answer.federation,
        "lookup_id": answer.lookup_id.hex(),
        "lookup_digest": answer.lookup_digest.hex(),
        "node": answer.node,
        "asker": answer.asker,
        "status": answer.status,
        "epoch": answer.epoch,
        "answered": str(answer.answered),
        "left": {"all": every, "W": weak, "M": match, "C": code},
        "shape": answer.shape,
        "persons": answer.persons,
        **{
            letter: {
                "elements": [each.hex() for each in groups[letter][0]],
                "proof": groups[letter][1].hex(),
            }
            if evaluated and letter in groups
            else None
            for letter in "WMC"
        },
    }


def decode_request(given: Given) -> Outcome:
    request = disclosure.parse_request(given.octets("body"))
    return {
        "federation": request.federation,
        "request_id": request.request_id.hex(),
        "requester": request.requester,
        "owner": request.owner,
        "epoch": request.epoch,
        "handle": request.handle.hex(),
        "commitment": request.commitment.hex(),
        "purpose": request.purpose,
        "case": request.case,
        "consent": request.consent.hex(),
        "officer": request.officer,
        "lookup_id": request.lookup_id.hex(),
        "reply_key": request.reply_key.hex(),
        "issued": str(request.issued),
        "expires": str(request.expires),
    }


def encode_request_back(expected: Given, given: Given) -> Outcome:
    if disclosure.request_digest(expected.octets("body")) != expected.octets("digest"):
        raise Malformed("The digest of the request is another one.")
    return decode_request(expected)


def decode_response(given: Given) -> Outcome:
    response = disclosure.parse_response(given.octets("body"))
    return {
        "federation": response.federation,
        "request_id": response.request_id.hex(),
        "request_digest": response.request_digest.hex(),
        "owner": response.owner,
        "requester": response.requester,
        "outcome": response.outcome,
        "salt": response.salt.hex(),
        "record": response.record.hex(),
        "dispute_status": response.dispute_status,
        "subject_statement": response.subject_statement,
        "issued": str(response.issued),
    }


def decode_record(given: Given) -> Outcome:
    kind, tier, fields = disclosure.parse_record(given.octets("record"))
    return {
        "kind": kind,
        "tier": tier,
        "fields": [{"name": name, "value": value} for name, value in fields.items()],
    }


def encode_record_back(expected: Given, given: Given) -> Outcome:
    """The record has its fields in order; they were given in any."""
    found = decode_record(expected)
    if sorted(map(str, given.raw("fields"))) == sorted(map(str, found["fields"])):  # type: ignore[call-overload]  # a list
        found["fields"] = given.raw("fields")
    return found


def record_commitment(given: Given) -> Outcome:
    salt = given.octets("salt")
    if len(salt) != 32:
        raise Malformed("A salt has 32 octets.")
    return {"commitment": hashlib.sha256(salt + given.octets("record")).hexdigest()}


def open_commitment(given: Given) -> Outcome:
    disclosure.check_commitment(given.octets("commitment"), given.octets("salt"), given.octets("record"))
    return decode_record(given)


def decode_directory(given: Given) -> Outcome:
    directory = heads.parse_directory(given.octets("body"))
    return {
        "federation": directory.federation,
        "version": str(directory.version),
        "issued": str(directory.issued),
        "members": [
            {
                "node": member.node,
                "name": member.name,
                "oris": list(member.oris),
                "tls_subject": member.tls_subject,
                "signing_key": member.signing_key.hex(),
                "disclosure_key": member.disclosure_key.hex(),
                "status": member.status,
                "joined": str(member.joined),
                "answered_from": str(member.answered_from),
                "head": None
                if head is None
                else {"body": head.body.hex(), "signature": head.signature.hex()},
            }
            for member, head in directory.members
        ],
        "denied": [serial.hex() for serial in directory.denied],
        "chain_digest": directory.chain_digest.hex(),
    }


def head_progress(given: Given) -> Outcome:
    head = heads.parse_head(given.octets("body"))
    if given.raw("seen") is not None:
        body = given.octets("seen")
        seen = heads.parse_head(body)
        if head.sequence < seen.sequence or (head.sequence == seen.sequence and body != given.octets("body")):
            raise Rollback("The head is not above the one seen last.")
    return {}


def verify_head(given: Given) -> Outcome:
    part = given.part("head")
    head = heads.parse_head(part.body)
    if (head.federation, head.node) != (given.text("federation"), given.text("node")):
        raise IdentityMismatch("The head is another member's.")
    part.verify("index-head", given.octets("signing_key"), head.node)
    return {}


FORWARD: dict[str, Callable[[Given], object]] = {
    "commitment": commitment,
    "decode-lookup": decode_lookup,
    "accept-lookup": accept_lookup,
    "decode-answer": decode_answer,
    "decode-disclosure-request": decode_request,
    "decode-disclosure-response": decode_response,
    "decode-record": decode_record,
    "record-commitment": record_commitment,
    "open-commitment": open_commitment,
    "decode-directory": decode_directory,
    "head-progress": head_progress,
    "verify-index-head": verify_head,
}
BACKWARD: dict[str, Callable[[Given, Given], object]] = {
    "encode-lookup": encode_lookup_back,
    "encode-answer": lambda expected, _: decode_answer(expected),
    "encode-disclosure-request": encode_request_back,
    "encode-disclosure-response": lambda expected, _: decode_response(expected),
    "encode-record": encode_record_back,
    "encode-directory": lambda expected, _: decode_directory(expected),
}
