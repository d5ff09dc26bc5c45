"""Evidence against an owner (§17.1): its answers, its heads, its sealed index."""

from __future__ import annotations

from candor_verify import disclosure, receipt, segment
from candor_verify.case import Case, Check, NotEvidence
from candor_verify.errors import (
    CommitmentMismatch,
    InvalidElement,
    InvalidScalar,
    Malformed,
    NotCanonical,
    ProofInvalid,
    Refused,
    SealedDataInvalid,
    UnknownObject,
)
from candor_verify.form import same
from candor_verify.heads import IndexHead, parse_head
from candor_verify.statements import EVALUATED, Answer, Lookup, Part, parse_lookup


def _answered(case: Case) -> tuple[Lookup, Answer, receipt.Parties]:
    """A lookup and what the accused answered to it."""
    lookup_part, answer_part = case.fields.part("lookup"), case.fields.part("answer")
    asker = parse_lookup(lookup_part.body, check_elements=False).asker
    parties = receipt.Parties(
        case.federation, case.member("asker_member", asker), case.member("owner_member", case.accused)
    )
    lookup = receipt.signed_lookup(lookup_part, case.federation, parties.asker)
    answer = receipt.signed_answer(answer_part, parties)
    receipt.check_answers(answer, lookup, lookup_part.body)
    if answer.status != EVALUATED or lookup.persons == 0:
        raise NotEvidence("The answer evaluates nothing.")
    return lookup, answer, parties


def _own_head(case: Case, part: Part, key: bytes) -> IndexHead:
    part.verify("index-head", key, case.accused)
    head = parse_head(part.body)
    same("federation and owner of the head", (head.federation, head.node), (case.federation, case.accused))
    return head


def _wrong_key(case: Case) -> list[str]:
    lookup, answer, parties = _answered(case)
    part = case.fields.part("head")
    head = receipt.signed_head(part, case.federation, parties.owner)
    receipt.check_head_logged(case.fields.logged("head_logged"), part, case.federation, case.judge)
    same("epoch", answer.epoch, head.epoch, lookup.epoch_of(case.accused))
    try:
        receipt.check_proofs(answer, lookup, head)
    except (ProofInvalid, InvalidElement, InvalidScalar) as error:
        return [
            f"lookup {lookup.lookup_id.hex()} of {lookup.asker}, answered under epoch {answer.epoch}",
            f"not under the keys of head {head.sequence}, which {case.accused} signed and the log holds",
            str(error),
        ]
    raise NotEvidence("The proofs of the answer verify under the keys of the head.")


def _wrong_epoch(case: Case) -> list[str]:
    lookup, answer, _ = _answered(case)
    named = lookup.epoch_of(case.accused)
    if answer.epoch == named:
        raise NotEvidence("The answer is under the epoch that the lookup named.")
    return [f"lookup {lookup.lookup_id.hex()} named epoch {named}, the answer is under {answer.epoch}"]


def _two_heads(case: Case) -> list[str]:
    owner = case.member("owner_member", case.accused)
    parts = [case.fields.part(key) for key in ("first", "second")]
    first, second = (_own_head(case, part, owner.signing_key) for part in parts)
    if parts[0].body == parts[1].body:
        raise NotEvidence("The two heads are one.")
    if first.sequence == second.sequence:
        return [f"two heads of sequence {first.sequence}"]
    if first.epoch == second.epoch and first.keys != second.keys:
        return [f"heads {first.sequence} and {second.sequence} of epoch {first.epoch} have different keys"]
    lower, higher = sorted((first, second), key=lambda head: head.sequence)
    if higher.epoch < lower.epoch:
        return [f"head {higher.sequence} is of epoch {higher.epoch}, {lower.sequence} of {lower.epoch}"]
    raise NotEvidence("The two heads do not contradict each other.")


def _indexed(case: Case) -> IndexHead:
    """`head` and `owner_member`: what the accused says that its index is."""
    owner = case.member("owner_member", case.accused)
    return _own_head(case, case.fields.part("head"), owner.signing_key)


def _named_segment(case: Case, head: IndexHead, octets: bytes) -> segment.Segment:
    """A well-formed segment that the head names."""
    fault = _fault_of(case, head, octets)
    if fault is not None:
        raise NotEvidence(f"The segment is no segment of the head: {fault}")
    return segment.parse_segment(octets)


def _fault_of(case: Case, head: IndexHead, octets: bytes) -> str | None:
    """Why the octets are not the segment that the head says they are, if so.

    Raises NotEvidence if the head does not name them.
    """
    address = segment.address_of(octets)
    refs = [ref for ref in head.segments if ref.address == address]
    if not refs:
        raise NotEvidence("The head does not name these octets.")
    for ref in refs:
        if len(octets) != ref.octets:
            return f"{len(octets)} octets, where the head says {ref.octets}"
        try:
            found = segment.parse_segment(octets)
        except Refused as error:
            return str(error)
        named = (found.federation, found.node, found.epoch, found.number)
        if named != (case.federation, case.accused, head.epoch, ref.number):
            return "of another owner, epoch or number than the head says"
    return None


def _malformed_segment(case: Case) -> list[str]:
    head = _indexed(case)
    octets = case.fields.octets("segment")
    fault = _fault_of(case, head, octets)
    if fault is None:
        raise NotEvidence("The segment is well-formed.")
    return [f"segment {segment.address_of(octets).hex()} of head {head.sequence}: {fault}"]


def _blob(case: Case, head: IndexHead, octets: bytes) -> tuple[bytes, bytes]:
    """The blob named in the file, and the secret."""
    holder, blob_id = _named_segment(case, head, octets), case.fields.octets("blob", 16)
    try:
        return holder.blob(blob_id), case.fields.octets("secret", 16)
    except UnknownObject as error:
        raise NotEvidence(str(error)) from None


def _open(case: Case, head: IndexHead, blob: bytes, secret: bytes) -> segment.Label:
    try:
        return segment.open_blob(blob, secret, case.federation, case.accused, head.epoch)
    except CommitmentMismatch as error:
        raise NotEvidence(str(error)) from None


def _open_entry(case: Case, holder: segment.Segment) -> tuple[bytes, tuple[bytes, ...]]:
    """The entry under the output and counter of the file. Raises SealedDataInvalid if it does not open."""
    output, counter = case.fields.octets("output", 64), case.fields.number("counter", 256)
    try:
        return segment.open_entry(holder, output, counter)
    except UnknownObject as error:
        raise NotEvidence(str(error)) from None


def _malformed_blob(case: Case) -> list[str]:
    head = _indexed(case)
    blob, secret = _blob(case, head, case.fields.octets("segment"))
    try:
        _open(case, head, blob, secret)
    except (SealedDataInvalid, Malformed, NotCanonical) as error:
        return [f"blob {blob[:16].hex()} of head {head.sequence}: {error}"]
    raise NotEvidence("The blob opens to what it should.")


def _malformed_entry(case: Case) -> list[str]:
    head = _indexed(case)
    holder = _named_segment(case, head, case.fields.octets("segment"))
    try:
        _open_entry(case, holder)
    except SealedDataInvalid as error:
        return [f"an entry in segment {holder.number} of head {head.sequence}: {error}"]
    raise NotEvidence("The entry opens.")


def _garbage_shares(case: Case) -> list[str]:
    head = _indexed(case)
    octets = case.fields.octets("blob_segment")
    blob, secret = _blob(case, head, octets)
    _open(case, head, blob, secret)
    if not case.fields.is_null("entry_segment"):
        other = case.fields.octets("entry_segment")
        if other == octets:
            raise NotCanonical("A segment that is given twice is written once, and null.")
        octets = other
    holder = _named_segment(case, head, octets)
    blob_id, slots = _open_entry(case, holder)
    if blob_id != blob[:16]:
        raise NotEvidence("The entry names another blob.")
    if slots[0] in segment.first_shares(secret, blob_id, head.threshold):
        raise NotEvidence("The entry's first share lies on the polynomial of the secret.")
    return [
        f"an entry in segment {holder.number} of head {head.sequence} names blob {blob_id.hex()}",
        f"and carries a first share that is f(1 + 3p) for no position, at threshold {head.threshold}",
    ]


def _phantom(case: Case) -> list[str]:
    head = _indexed(case)
    request_part, response_part = case.fields.part("request"), case.fields.part("response")
    asker = disclosure.parse_request(request_part.body).requester
    owner = case.members[case.accused]
    parties = receipt.Parties(case.federation, case.member("asker_member", asker), owner)
    request = receipt.signed_request(request_part, parties)
    response = receipt.signed_response(response_part, request_part, request, parties)
    blob, secret = _blob(case, head, case.fields.octets("segment"))
    label = _open(case, head, blob, secret)
    asked = (request.epoch, request.handle, request.commitment)
    if asked != (head.epoch, label.handle, label.commitment):
        raise NotEvidence("The request is not for the record behind the blob.")
    if response.outcome != disclosure.RELEASED:
        raise NotEvidence("The response releases no record.")
    try:
        disclosure.check_commitment(label.commitment, response.salt, response.record)
    except CommitmentMismatch:
        return [
            f"blob {blob[:16].hex()} of head {head.sequence} commits to a record",
            f"and the record released to request {request.request_id.hex()} is another one",
        ]
    raise NotEvidence("The record opens the commitment.")


KINDS: dict[str, Check] = {
    "wrong-key": _wrong_key,
    "wrong-epoch": _wrong_epoch,
    "two-heads": _two_heads,
    "malformed-segment": _malformed_segment,
    "malformed-entry": _malformed_entry,
    "malformed-blob": _malformed_blob,
    "garbage-shares": _garbage_shares,
    "phantom": _phantom,
}
