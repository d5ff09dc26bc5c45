"""Checks of evidence against an owner, and against an asker (docs/protocol.md §17.1).

Each function returns for the kind of its name what the evidence shows, in words, or raises: NotEvidence
where every part verifies and nothing follows from it, else whatever a part of it raises.
"""

from __future__ import annotations

import hmac
from typing import Final

from candor_proto.accountability.evidence import Evidence
from candor_proto.accountability.receipt import DisclosureReceipt, check_proofs, signed_disclosure
from candor_proto.accountability.trust import (
    Trust,
    check_head_logged,
    signed_answer,
    signed_index_head,
    signed_lookup,
)
from candor_proto.directory import IndexHead, SegmentRef
from candor_proto.disclosure import DisclosureRequest, Outcome
from candor_proto.errors import (
    CandorError,
    CommitmentMismatch,
    LimitExceeded,
    MalformedMessage,
    NotEvidence,
    ProofInvalid,
    SealedDataInvalid,
)
from candor_proto.ids import BlobId, NodeId
from candor_proto.record import open_commitment
from candor_proto.scheme import MAX_LABELS
from candor_proto.sealed_index import (
    SHARE_SLOTS,
    EntryKeys,
    IndexOwner,
    Label,
    check_blob_commitment,
    open_blob,
    polynomial,
)
from candor_proto.segment import Segment, address
from candor_proto.shamir import evaluate
from candor_proto.statements import Answer, AnswerStatus, Lookup

# The abscissae that the first share slot of an entry can have (§6.2).
_FIRST_SHARES: Final = tuple(1 + SHARE_SLOTS * position for position in range(MAX_LABELS))


def _exchange(evidence: Evidence, trust: Trust) -> tuple[Lookup, Answer]:
    """A lookup and what the accused answered to it, once both are known to be theirs."""
    owner = NodeId(evidence.accused)
    # The asker is who the lookup says it is, and signed it: its member entry must be that of this name.
    asker = Lookup.decode(evidence.part("lookup").body).asker
    asker_key = trust.signing_key(evidence.logged("asker_member"), asker, evidence.federation)
    owner_key = trust.signing_key(evidence.logged("owner_member"), owner, evidence.federation)
    lookup = signed_lookup(evidence.part("lookup"), evidence.federation, asker, asker_key)
    answer = signed_answer(evidence.part("answer"), lookup, evidence.federation, owner, owner_key)
    if answer.status is not AnswerStatus.EVALUATED:
        raise NotEvidence("The answer evaluates nothing.")
    return lookup, answer


def _head(evidence: Evidence, trust: Trust, name: str = "head") -> IndexHead:
    owner = NodeId(evidence.accused)
    key = trust.signing_key(evidence.logged("owner_member"), owner, evidence.federation)
    return signed_index_head(evidence.part(name), evidence.federation, owner, key)


# --- answers ---------------------------------------------------------------------------------------------


def wrong_key(evidence: Evidence, trust: Trust) -> str:
    lookup, answer = _exchange(evidence, trust)
    head = _head(evidence, trust)
    check_head_logged(trust, evidence.logged("head_logged"), evidence.part("head"), evidence.federation)
    if answer.epoch != head.epoch:
        raise NotEvidence("The answer and the index head are of different epochs.")
    if (answer.shape, answer.persons) != (lookup.shape, lookup.persons) or not lookup.persons:
        raise NotEvidence("The answer evaluates no element of the lookup, or is of another shape.")
    try:
        check_proofs(lookup, answer, head)
    except ProofInvalid:
        return (
            f"{answer.node} answered lookup {lookup.lookup_id} as evaluated under epoch {answer.epoch} with a"
            " proof that does not verify under the keys of its own logged index head"
        )
    raise NotEvidence("The proofs of the answer verify under the keys of the index head.")


def wrong_epoch(evidence: Evidence, trust: Trust) -> str:
    lookup, answer = _exchange(evidence, trust)
    named = lookup.epoch_for(answer.node)
    if named is None or named == answer.epoch:
        raise NotEvidence("The lookup names no other epoch for this owner than the answer.")
    return (
        f"{answer.node} evaluated lookup {lookup.lookup_id} under epoch {answer.epoch},"
        f" where epoch {named} was asked"
    )


# --- the index -------------------------------------------------------------------------------------------


def two_heads(evidence: Evidence, trust: Trust) -> str:
    first, second = _head(evidence, trust, "first"), _head(evidence, trust, "second")
    if evidence.part("first").body == evidence.part("second").body:
        raise NotEvidence("The two index heads are one.")
    if first.sequence == second.sequence:
        return f"{first.node} signed two index heads of sequence {first.sequence}"
    if first.epoch == second.epoch and first.keys != second.keys:
        return f"{first.node} stated two sets of keys for epoch {first.epoch}"
    earlier, later = sorted((first, second), key=lambda head: head.sequence)
    if later.epoch < earlier.epoch:
        return (
            f"{first.node} went back from epoch {earlier.epoch} (index head {earlier.sequence})"
            f" to epoch {later.epoch} (index head {later.sequence})"
        )
    raise NotEvidence("The two index heads do not contradict each other.")


def malformed_segment(evidence: Evidence, trust: Trust) -> str:
    head, octets = _head(evidence, trust), evidence.octets("segment")
    named = address(octets)
    for ref in head.segments:
        if ref.address == named and (trouble := segment_trouble(head, ref, octets)):
            return f"{head.node} names as segment {ref.number} of epoch {head.epoch} what is none: {trouble}"
    raise NotEvidence("The index head does not name these octets, or they are the segment that it says.")


def segment_trouble(head: IndexHead, ref: SegmentRef, octets: bytes) -> str:
    """Why `octets`, which `ref` names by their address, are not that segment; "" when they are."""
    if len(octets) != ref.octets:
        return f"{len(octets)} octets, and not {ref.octets} as stated"
    try:
        header = Segment(octets).header
    except (MalformedMessage, LimitExceeded) as error:
        return error.message
    own = (header.federation, header.node, header.epoch, header.number)
    if own != (head.federation, head.node, head.epoch, ref.number):
        return "it says of itself that it belongs to another index, or has another number"
    return ""


def _segment(head: IndexHead, octets: bytes) -> Segment:
    """A segment that `head` names, well-formed; raises NotEvidence or MalformedMessage."""
    named = address(octets)
    refs = [ref for ref in head.segments if ref.address == named]
    if not refs or any(segment_trouble(head, ref, octets) for ref in refs):
        raise NotEvidence("The index head does not name this segment, or it is malformed itself.")
    return Segment(octets)


def _blob(segment: Segment, blob_id: BlobId) -> bytes:
    blob = segment.blob(blob_id)
    if blob is None:
        raise NotEvidence("The segment does not hold this blob.")
    return blob


def _owner(head: IndexHead) -> IndexOwner:
    return IndexOwner(head.federation, head.node, head.epoch)


def malformed_entry(evidence: Evidence, trust: Trust) -> str:
    head = _head(evidence, trust)
    segment = _segment(head, evidence.octets("segment"))
    keys, number, counter = _entry_keys(evidence, head), segment.header.number, evidence.number("counter")
    entry = _entry(segment, keys, counter)
    try:
        keys.open(number, counter, entry)
    except SealedDataInvalid:
        return f"{head.node} published an entry in segment {number} of epoch {head.epoch} that does not open"
    raise NotEvidence("The entry opens as it should.")


def _entry_keys(evidence: Evidence, head: IndexHead) -> EntryKeys:
    return EntryKeys(evidence.octets("output"), _owner(head))


def _entry(segment: Segment, keys: EntryKeys, counter: int) -> bytes:
    entry = segment.entry(keys.tag(segment.header.number, counter))
    if entry is None:
        raise NotEvidence("The segment holds no entry under this output and counter.")
    return entry


def malformed_blob(evidence: Evidence, trust: Trust) -> str:
    head, blob_id = _head(evidence, trust), BlobId(evidence.octets("blob"))
    blob = _blob(_segment(head, evidence.octets("segment")), blob_id)
    owner, secret = _owner(head), evidence.octets("secret")
    try:
        # A blob that says of another secret nothing at all is every honest blob.
        check_blob_commitment(blob, secret, owner)
    except SealedDataInvalid as error:
        raise NotEvidence(f"The secret shown is not the blob's: {error.message}") from None
    try:
        open_blob(blob, secret, owner)
    except SealedDataInvalid as error:
        return (
            f"{head.node} published the blob {blob_id}, committed to its key and malformed: {error.message}"
        )
    raise NotEvidence("The blob opens as it should.")


def _opened(head: IndexHead, blob: bytes, secret: bytes) -> Label:
    try:
        return open_blob(blob, secret, _owner(head))
    except SealedDataInvalid as error:
        raise NotEvidence(f"The secret shown does not open the blob: {error.message}") from None


def garbage_shares(evidence: Evidence, trust: Trust) -> str:
    head, blob_id = _head(evidence, trust), BlobId(evidence.octets("blob"))
    secret, counter = evidence.octets("secret"), evidence.number("counter")
    holding_blob = _segment(head, evidence.octets("blob_segment"))
    given = evidence.items["entry_segment"]
    if given == evidence.items["blob_segment"]:
        raise MalformedMessage("The same segment stands twice in a piece of evidence.")
    holding_entry = holding_blob if given is None else _segment(head, evidence.octets("entry_segment"))
    _opened(head, _blob(holding_blob, blob_id), secret)
    keys = _entry_keys(evidence, head)
    entry = _entry(holding_entry, keys, counter)
    try:
        named, slots = keys.open(holding_entry.header.number, counter, entry)
    except SealedDataInvalid:
        raise NotEvidence("The entry does not open: it is malformed, and carries no share at all.") from None
    if named != blob_id:
        raise NotEvidence("The entry names another blob.")
    if is_share(polynomial(secret, blob_id, head.threshold), slots[0]):
        raise NotEvidence("The entry carries a share of the blob's secret.")
    return (
        f"{head.node} published an entry for the blob {blob_id} with a share that is none of its secret:"
        " whoever looks for that record cannot open it"
    )


def is_share(coefficients: tuple[bytes, ...], slot: bytes) -> bool:
    """Whether the first share slot of an entry can be that of any label (§6.2)."""
    return any(hmac.compare_digest(evaluate(coefficients, at), slot) for at in _FIRST_SHARES)


def phantom(evidence: Evidence, trust: Trust) -> str:
    head, blob_id = _head(evidence, trust), BlobId(evidence.octets("blob"))
    blob = _blob(_segment(head, evidence.octets("segment")), blob_id)
    label = _opened(head, blob, evidence.octets("secret"))
    # The requester is who the request says it is, and signed it: its member entry must be that of this name.
    requester = DisclosureRequest.decode(evidence.part("request").body).requester
    shown = DisclosureReceipt(
        evidence.federation,
        requester,
        head.node,
        evidence.part("request"),
        evidence.part("response"),
        evidence.logged("asker_member"),
        evidence.logged("owner_member"),
    )
    request, response = signed_disclosure(shown, trust)
    if (request.epoch, request.handle, request.commitment) != (head.epoch, label.handle, label.commitment):
        raise NotEvidence("The request does not ask for the record behind this blob.")
    if response.outcome is not Outcome.RELEASED:
        raise NotEvidence("The owner released nothing.")
    try:
        open_commitment(request.commitment, response.salt, response.record)
    except CommitmentMismatch:
        return (
            f"{head.node} published the blob {blob_id} with a commitment and released for it a record that is"
            " not the one committed to"
        )
    except CandorError:
        # It opens; what it is for a record is for whoever asked to judge.
        raise NotEvidence("The record released is the one committed to, whatever it holds.") from None
    raise NotEvidence("The record released is the one that the blob is committed to.")


# --- an asker --------------------------------------------------------------------------------------------


def two_lookups(evidence: Evidence, trust: Trust) -> str:
    asker = NodeId(evidence.accused)
    key = trust.signing_key(evidence.logged("asker_member"), asker, evidence.federation)
    first = signed_lookup(evidence.part("first"), evidence.federation, asker, key)
    second = signed_lookup(evidence.part("second"), evidence.federation, asker, key)
    if first.lookup_id != second.lookup_id:
        raise NotEvidence("Two lookups under two ids are no contradiction.")
    if evidence.part("first").body == evidence.part("second").body:
        raise NotEvidence("The two lookups are one.")
    return f"{asker} signed two lookups under the id {first.lookup_id}"
