"""Receipts (§16): that an answer was given to a logged lookup, or a record released to a request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from candor_verify import disclosure, entries, voprf
from candor_verify.errors import CommitmentMismatch, IdentityMismatch, KeyMismatch, Malformed, NotLogged
from candor_verify.form import Fields, Logged, parse_file, same
from candor_verify.heads import IndexHead, Member, parse_head
from candor_verify.names import at, say_time
from candor_verify.proof import Judge
from candor_verify.statements import (
    EVALUATED,
    Answer,
    Lookup,
    Part,
    lookup_digest,
    parse_answer,
    parse_lookup,
)

FORMAT = "candor-receipt/1"
STATUS = {
    1: "evaluated",
    2: "refused: purpose",
    3: "refused: standing",
    4: "stale epoch",
    5: "quota",
    6: "refused: other",
}


@dataclass(frozen=True)
class Verified:
    """What a file showed, line by line."""

    kind: str
    lines: tuple[str, ...]
    not_checked: tuple[str, ...] = ()
    status: int | None = None
    logged_by: datetime | None = None


@dataclass(frozen=True)
class Parties:
    """Asker and owner as the log has them."""

    federation: str
    asker: Member
    owner: Member


def read_parties(fields: Fields, federation: str, asker: str, owner: str, judge: Judge) -> Parties:
    """From `asker_member` and `owner_member`. Raises a Refused."""
    return Parties(
        federation,
        fields.logged("asker_member").member(asker, federation, judge),
        fields.logged("owner_member").member(owner, federation, judge),
    )


def signed_lookup(part: Part, federation: str, asker: Member) -> Lookup:
    """The asker's own lookup. Raises a Refused."""
    part.verify("lookup", asker.signing_key, asker.node)
    lookup = parse_lookup(part.body)
    same("federation and asker of the lookup", (lookup.federation, lookup.asker), (federation, asker.node))
    return lookup


def signed_answer(part: Part, parties: Parties) -> Answer:
    """The owner's own answer to that asker. Raises a Refused."""
    part.verify("answer", parties.owner.signing_key, parties.owner.node)
    answer = parse_answer(part.body)
    named = (answer.federation, answer.node, answer.asker)
    same("parties of the answer", named, (parties.federation, parties.owner.node, parties.asker.node))
    return answer


def signed_head(part: Part, federation: str, owner: Member) -> IndexHead:
    """The owner's own head. Raises a Refused."""
    part.verify("index-head", owner.signing_key, owner.node)
    head = parse_head(part.body)
    same("federation and owner of the head", (head.federation, head.node), (federation, owner.node))
    return head


def check_head_logged(logged: Logged, part: Part, federation: str, judge: Judge) -> None:
    """That the log holds the entry of this very head. Raises a Refused."""
    logged.verify(federation, judge)
    if logged.entry != entries.head_entry(part):
        raise NotLogged("The logged entry is not that of the head.")


def check_answers(answer: Answer, lookup: Lookup, body: bytes) -> None:
    """That an answer is one to this lookup (§7.5), whatever its status. Raises Malformed."""
    same("lookup id", answer.lookup_id, lookup.lookup_id)
    same("digest of the lookup", answer.lookup_digest, lookup_digest(body))
    if (answer.shape, answer.persons) != (lookup.shape, lookup.persons):
        raise Malformed("The answer is of another shape, or about another number of persons.")
    if lookup.epoch_of(answer.node) is None:
        raise IdentityMismatch("The lookup did not ask the owner.")


def check_proofs(answer: Answer, lookup: Lookup, head: IndexHead) -> None:
    """The batch proofs under the head's keys. Raises ProofInvalid, InvalidElement or InvalidScalar."""
    asked = [group for group in lookup.elements if group]
    keys = head.keys[: len(answer.proofs)]
    for key, elements, evaluated, proof in zip(keys, asked, answer.elements, answer.proofs, strict=True):
        voprf.verify_proof(key, elements, evaluated, proof)


def check_logged_commitment(
    logged: Logged, commitment: bytes, kind: type, judge: Judge, federation: str
) -> int:
    """Position of a commitment in a logged list of its kind. Raises a Refused."""
    logged.verify(federation, judge)
    entry = entries.parse_entry(logged.entry)
    if not isinstance(entry, kind) or not isinstance(entry, entries.Requests | entries.Receipts):
        raise Malformed("A logged entry is not the list of commitments that it stands for.")
    if commitment not in entry.commitments:
        raise NotLogged("The log's entry does not hold the commitment.")
    return entry.commitments.index(commitment)


def verify_receipt(octets: bytes, judge: Judge) -> Verified:
    """Raises a Refused that says what is wrong with it."""
    fields = Fields(parse_file(octets), "The receipt")
    fields.exactly("format", FORMAT)
    match fields.text("kind"):
        case "answer":
            return _answer(fields, judge)
        case "disclosure":
            return _disclosure(fields, judge)
        case _:
            raise Malformed("A receipt is of an answer or of a disclosure.")


def _answer(fields: Fields, judge: Judge) -> Verified:
    federation, asker, owner = fields.federation(), fields.node("asker"), fields.node("owner")
    lookup_part, answer_part = fields.part("lookup"), fields.part("answer")
    parties = read_parties(fields, federation, asker, owner, judge)
    lookup = signed_lookup(lookup_part, federation, parties.asker)
    answer = signed_answer(answer_part, parties)
    check_answers(answer, lookup, lookup_part.body)
    head_lines = _head(fields, answer, lookup, parties, judge)
    request_logged, receipt_logged = fields.logged("request_logged"), fields.logged("receipt_logged")
    fields.done()
    commitment = entries.request_commitment(lookup_part)
    place = check_logged_commitment(request_logged, commitment, entries.Requests, judge, federation)
    commitment = entries.receipt_commitment(entries.ANSWER_ENVELOPE, answer_part)
    check_logged_commitment(receipt_logged, commitment, entries.Receipts, judge, federation)
    witnessed_at = max(logged.verify(federation, judge) for logged in (request_logged, receipt_logged))
    asked_at, answered_at = (logged.place for logged in (request_logged, receipt_logged))
    return Verified(
        "answer",
        (
            f"{owner} answered {asker} in {federation}: {STATUS[answer.status]}",
            f"  lookup {lookup.lookup_id.hex()} of {say_time(at(lookup.issued))}, {lookup.persons} person(s)",
            f"  answered {say_time(at(answer.answered))} under epoch {answer.epoch}",
            *head_lines,
            f"  lookup logged at {asked_at}, position {place}",
            f"  answer logged at {answered_at}",
            f"  latest witness {say_time(witnessed_at)}",
        ),
        ("who was asked about, and whether anything matched: only the asker can open that",),
        answer.status,
        witnessed_at,
    )


def _head(fields: Fields, answer: Answer, lookup: Lookup, parties: Parties, judge: Judge) -> list[str]:
    """`head` and `head_logged`, which are there exactly if something was evaluated."""
    evaluated = answer.status == EVALUATED
    if fields.is_null("head") is evaluated or fields.is_null("head_logged") is evaluated:
        raise Malformed("A receipt has a head exactly if the answer evaluated something.")
    if not evaluated:
        return []
    part = fields.part("head")
    head = signed_head(part, parties.federation, parties.owner)
    if not answer.epoch == head.epoch == lookup.epoch_of(answer.node):
        raise KeyMismatch("Answer, head and lookup are not of one epoch.")
    check_head_logged(fields.logged("head_logged"), part, parties.federation, judge)
    check_proofs(answer, lookup, head)
    count = sum(map(len, answer.elements))
    return [f"  {count} element(s) proved to be under the keys of head {head.sequence}, which is logged"]


def _disclosure(fields: Fields, judge: Judge) -> Verified:
    federation, asker, owner = fields.federation(), fields.node("asker"), fields.node("owner")
    request_part, response_part = fields.part("request"), fields.part("response")
    parties = read_parties(fields, federation, asker, owner, judge)
    fields.done()
    request = signed_request(request_part, parties)
    response = signed_response(response_part, request_part, request, parties)
    lines = [
        f"{owner} to the request {request.request_id.hex()} of {asker} in {federation}: "
        + disclosure.OUTCOMES[response.outcome],
        f"  requested {say_time(at(request.issued))}, answered {say_time(at(response.issued))}",
    ]
    if response.outcome == disclosure.RELEASED:
        disclosure.check_commitment(request.commitment, response.salt, response.record)
        _, _, record = disclosure.parse_record(response.record)
        lines.append(f"  the record ({len(record)} fields) opens the commitment of the request")
    return Verified(
        "disclosure", tuple(lines), ("that the request's commitment is one of the owner's published index",)
    )


def signed_request(part: Part, parties: Parties) -> disclosure.Request:
    """The asker's own request to that owner. Raises a Refused."""
    part.verify("disclosure-request", parties.asker.signing_key, parties.asker.node)
    request = disclosure.parse_request(part.body)
    named = (request.federation, request.requester, request.owner)
    same("parties of the request", named, (parties.federation, parties.asker.node, parties.owner.node))
    return request


def signed_response(
    part: Part, request_part: Part, request: disclosure.Request, parties: Parties
) -> disclosure.Response:
    """The owner's own response to this very request. Raises a Refused."""
    part.verify("disclosure-response", parties.owner.signing_key, parties.owner.node)
    response = disclosure.parse_response(part.body)
    named = (response.federation, response.owner, response.requester)
    same("parties of the response", named, (parties.federation, parties.owner.node, parties.asker.node))
    same("request id", response.request_id, request.request_id)
    if response.request_digest != disclosure.request_digest(request_part.body):
        raise CommitmentMismatch("The response is to another request of that id.")
    return response
