"""Recall: what an owner tells those who hold what it released, and their answer (protocol.md §9.7).

Both are signed statements inside HPKE, like requests. Rules of this file:
- what a notice asks for is fixed by its kind, and a notice to destroy says nothing else: whoever reads one
  learns nothing about the person whose record it was;
- a notice is about one request, named by id *and* digest: an owner cannot touch what another one released;
- whatever does not stand up raises, and is not acknowledged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from candor_proto.canonical import Reader, Writer, digest
from candor_proto.disclosure import MAX_RECORD_OCTETS, MAX_STATEMENT_OCTETS, DisclosureRequest
from candor_proto.errors import (
    CommitmentMismatch,
    IdentityMismatch,
    IllegalTransition,
    MalformedMessage,
    NotCanonical,
    NotYetValid,
    WrongRecipient,
)
from candor_proto.ids import Digest, FederationName, NodeId, RecallId, RequestId
from candor_proto.record import CanonicalRecord, DisputeStatus
from candor_proto.sealing import DisclosureKey, SealContext, SealKind, open_statement, seal_statement
from candor_proto.signing import SigningKey, VerifyingKey
from candor_proto.statements import CLOCK_TOLERANCE

MAX_CHANGED = 128
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


class RecallKind(Enum):
    """What happened to the record at its owner; the value is the wire code (§9.8)."""

    CORRECTED = 1
    REVISED = 2
    VOIDED = 3
    APPEAL_NOTICED = 4
    APPEAL_DECIDED = 5
    EXPUNGED = 6
    SEALED = 7
    STATEMENT = 8
    DISPUTE = 9

    @property
    def action(self) -> RecallAction:
        return _ACTIONS[self]

    @property
    def with_record(self) -> bool:
        """Whether the notice carries the record's new version."""
        return self in (RecallKind.CORRECTED, RecallKind.REVISED)


class RecallAction(Enum):
    """What the recipient's copy is to become."""

    DESTROY = 1
    REPLACE = 2
    ANNOTATE = 3


_ACTIONS: Mapping[RecallKind, RecallAction] = {
    RecallKind.CORRECTED: RecallAction.REPLACE,
    RecallKind.REVISED: RecallAction.ANNOTATE,
    RecallKind.VOIDED: RecallAction.DESTROY,
    RecallKind.APPEAL_NOTICED: RecallAction.ANNOTATE,
    RecallKind.APPEAL_DECIDED: RecallAction.ANNOTATE,
    RecallKind.EXPUNGED: RecallAction.DESTROY,
    RecallKind.SEALED: RecallAction.DESTROY,
    RecallKind.STATEMENT: RecallAction.ANNOTATE,
    RecallKind.DISPUTE: RecallAction.ANNOTATE,
}


class Done(Enum):
    """What the recipient did about a notice (§9.10)."""

    DESTROYED = 1
    REPLACED = 2
    ANNOTATED = 3
    NOTHING_HELD = 4


DONE_BY: Mapping[RecallAction, Done] = {
    RecallAction.DESTROY: Done.DESTROYED,
    RecallAction.REPLACE: Done.REPLACED,
    RecallAction.ANNOTATE: Done.ANNOTATED,
}


class AckLevel(Enum):
    """Who says so: the node, in the transaction that did it; or a person who has read it."""

    ACTED = 1
    READ = 2


# --- the notice --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecallNotice:
    """What an owner says to one requester about one record that it released to it."""

    federation: FederationName
    recall_id: RecallId
    owner: NodeId
    recipient: NodeId
    request_id: RequestId
    request: Digest
    kind: RecallKind
    record: bytes = field(repr=False)
    changed: tuple[str, ...]
    dispute_status: DisputeStatus
    subject_statement: str = field(repr=False)
    effective_at: datetime
    issued_at: datetime

    @property
    def action(self) -> RecallAction:
        return self.kind.action

    def encode(self) -> bytes:
        writer = Writer("recall-notice").text(str(self.federation)).fixed(self.recall_id.value, 16)
        writer.text(str(self.owner)).text(str(self.recipient))
        writer.fixed(self.request_id.value, 16).fixed(self.request.value, 32)
        writer.integer(self.kind.value, 1).integer(self.action.value, 1).octets(self.record)
        writer.sequence(self.changed, Writer.text)
        writer.integer(self.dispute_status.value, 1).text(self.subject_statement)
        return writer.time(self.effective_at).time(self.issued_at).finish()

    @classmethod
    def decode(cls, data: bytes) -> RecallNotice:
        """Parse strictly; raises MalformedMessage or LimitExceeded."""
        reader = Reader(data, "recall-notice")
        federation, recall_id = FederationName(reader.text(64)), RecallId(reader.fixed(16))
        owner, recipient = NodeId(reader.text(64)), NodeId(reader.text(64))
        request_id, request = RequestId(reader.fixed(16)), Digest(reader.fixed(32))
        kind, action = reader.choice(1, RecallKind), reader.choice(1, RecallAction)
        notice = cls(
            federation=federation,
            recall_id=recall_id,
            owner=owner,
            recipient=recipient,
            request_id=request_id,
            request=request,
            kind=kind,
            record=reader.octets(MAX_RECORD_OCTETS),
            changed=reader.sequence(MAX_CHANGED, _read_name),
            dispute_status=reader.choice(1, DisputeStatus),
            subject_statement=reader.text(MAX_STATEMENT_OCTETS),
            effective_at=reader.time(),
            issued_at=reader.time(),
        )
        reader.finish()
        notice._check(action)
        return notice

    def _check(self, action: RecallAction) -> None:
        if action is not self.action:
            raise NotCanonical(f"A recall of the kind {self.kind.name} that asks for {action.name}.")
        if bool(self.record) is not self.kind.with_record:
            raise NotCanonical(f"A recall of the kind {self.kind.name} with a record too many or too few.")
        if list(self.changed) != sorted(set(self.changed)):
            raise NotCanonical("The changed fields of a recall are not sorted, or not unique.")
        says_more = self.changed or self.subject_statement or self.dispute_status is not DisputeStatus.NONE
        if action is RecallAction.DESTROY and says_more:
            raise NotCanonical("A notice to destroy that says something about the record.")
        if self.issued_at < self.effective_at:
            raise MalformedMessage("A recall that was issued before it took effect.")
        self.new_version()

    def new_version(self) -> CanonicalRecord | None:
        """The record's new version, where the kind has one; raises MalformedMessage."""
        return CanonicalRecord.decode(self.record) if self.record else None

    def digest(self) -> Digest:
        return Digest(digest("recall-notice", self.encode()))


def _read_name(reader: Reader) -> str:
    name = reader.text(64)
    if not _NAME.match(name):
        raise MalformedMessage("A changed field with a malformed name.")
    return name


def seal_notice(
    notice: RecallNotice, key: SigningKey, recipient_disclosure_key: bytes, envelope_id: bytes
) -> bytes:
    """The sealed notice for the envelope of this id; one size for all."""
    context = SealContext(
        notice.federation, SealKind.RECALL_NOTICE, envelope_id, notice.owner, notice.recipient
    )
    return seal_statement(key.sign("recall-notice", notice.encode()), recipient_disclosure_key, context)


def open_notice(
    sealed: bytes,
    key: DisclosureKey,
    federation: FederationName,
    envelope_id: bytes,
    sender: NodeId,
    own: NodeId,
    sender_key: VerifyingKey,
    now: datetime,
) -> RecallNotice:
    """The notice inside an envelope said to be `sender`'s; whose request it is about is `check_about`.

    Raises SealedDataInvalid, SignatureInvalid, MalformedMessage, LimitExceeded, IdentityMismatch,
    WrongRecipient or NotYetValid.
    """
    context = SealContext(federation, SealKind.RECALL_NOTICE, envelope_id, sender, own)
    statement = open_statement(sealed, key, context)
    notice = RecallNotice.decode(statement.verify("recall-notice", sender_key, str(sender)))
    if notice.owner != sender or notice.federation != federation:
        raise IdentityMismatch("A recall that names another owner than its envelope.")
    if notice.recipient != own:
        raise WrongRecipient("A recall addressed to another recipient.")
    if notice.issued_at > now + CLOCK_TOLERANCE:
        raise NotYetValid("This recall was issued in the future.")
    return notice


def check_about(notice: RecallNotice, request: DisclosureRequest) -> None:
    """Raises unless the notice is its owner's word about `request`, which this node sent to that owner."""
    if (notice.owner, notice.recipient) != (request.owner, request.requester):
        raise IdentityMismatch("A recall of what somebody else released.")
    if notice.request_id != request.request_id or notice.request != request.digest():
        raise CommitmentMismatch("A recall about another request than the one of its id.")


# --- the acknowledgement -----------------------------------------------------------------------------


@dataclass(frozen=True)
class RecallAck:
    """What the recipient did about a notice, and when."""

    federation: FederationName
    recall_id: RecallId
    notice: Digest
    recipient: NodeId
    owner: NodeId
    done: Done
    level: AckLevel
    acted_at: datetime
    issued_at: datetime

    def encode(self) -> bytes:
        writer = Writer("recall-ack").text(str(self.federation)).fixed(self.recall_id.value, 16)
        writer.fixed(self.notice.value, 32).text(str(self.recipient)).text(str(self.owner))
        writer.integer(self.done.value, 1).integer(self.level.value, 1)
        return writer.time(self.acted_at).time(self.issued_at).finish()

    @classmethod
    def decode(cls, data: bytes) -> RecallAck:
        """Parse strictly; raises MalformedMessage or LimitExceeded."""
        reader = Reader(data, "recall-ack")
        ack = cls(
            federation=FederationName(reader.text(64)),
            recall_id=RecallId(reader.fixed(16)),
            notice=Digest(reader.fixed(32)),
            recipient=NodeId(reader.text(64)),
            owner=NodeId(reader.text(64)),
            done=reader.choice(1, Done),
            level=reader.choice(1, AckLevel),
            acted_at=reader.time(),
            issued_at=reader.time(),
        )
        reader.finish()
        if ack.issued_at < ack.acted_at:
            raise MalformedMessage("An acknowledgement that was issued before it was acted on.")
        return ack


def seal_ack(ack: RecallAck, key: SigningKey, owner_disclosure_key: bytes, envelope_id: bytes) -> bytes:
    """The sealed acknowledgement for the envelope of this id; one size for all."""
    context = SealContext(ack.federation, SealKind.RECALL_ACK, envelope_id, ack.recipient, ack.owner)
    return seal_statement(key.sign("recall-ack", ack.encode()), owner_disclosure_key, context)


def open_ack(
    sealed: bytes,
    key: DisclosureKey,
    federation: FederationName,
    envelope_id: bytes,
    sender: NodeId,
    own: NodeId,
    sender_key: VerifyingKey,
    now: datetime,
) -> RecallAck:
    """The acknowledgement inside an envelope said to be `sender`'s; which recall it fits is `check_answers`.

    Raises SealedDataInvalid, SignatureInvalid, MalformedMessage, IdentityMismatch, WrongRecipient or
    NotYetValid.
    """
    context = SealContext(federation, SealKind.RECALL_ACK, envelope_id, sender, own)
    statement = open_statement(sealed, key, context)
    ack = RecallAck.decode(statement.verify("recall-ack", sender_key, str(sender)))
    if ack.recipient != sender or ack.federation != federation:
        raise IdentityMismatch("An acknowledgement that names another recipient than its envelope.")
    if ack.owner != own:
        raise WrongRecipient("An acknowledgement addressed to another owner.")
    if ack.issued_at > now + CLOCK_TOLERANCE:
        raise NotYetValid("This acknowledgement was issued in the future.")
    return ack


def check_answers(ack: RecallAck, recipient: NodeId, notice: Digest, kind: RecallKind) -> None:
    """Raises unless `ack` is `recipient`'s word about the notice of this digest and kind."""
    if ack.recipient != recipient:
        raise IdentityMismatch("An acknowledgement of a recall that went to somebody else.")
    if ack.notice != notice:
        raise CommitmentMismatch("An acknowledgement of another notice than the one that was sent.")
    if ack.done not in (DONE_BY[kind.action], Done.NOTHING_HELD):
        raise MalformedMessage(f"A recipient that was to {kind.action.name} says {ack.done.name}.")


# --- states (§9.11) ----------------------------------------------------------------------------------


class RecallState(Enum):
    """Where a recall stands at its owner. OVERDUE is no state but a question of time."""

    PENDING = "pending"
    SENT = "sent"
    ACTED = "acted"
    READ = "read"
    UNDELIVERABLE = "undeliverable"
    SUPERSEDED = "superseded"


class RecallEvent(Enum):
    SENDS = "sends"
    ACTED = "acknowledged: acted"
    READ = "acknowledged: read"
    MEMBER_GONE = "no member any more"
    OVERTAKEN = "overtaken by destruction"


# Neither acknowledged nor overtaken: somebody still has to hear of it, should he be back one day.
UNACKNOWLEDGED = (RecallState.PENDING, RecallState.SENT, RecallState.UNDELIVERABLE)

RECALL_TRANSITIONS: Mapping[tuple[RecallState, RecallEvent], RecallState] = {
    (RecallState.PENDING, RecallEvent.SENDS): RecallState.SENT,
    (RecallState.PENDING, RecallEvent.MEMBER_GONE): RecallState.UNDELIVERABLE,
    (RecallState.PENDING, RecallEvent.OVERTAKEN): RecallState.SUPERSEDED,
    (RecallState.SENT, RecallEvent.SENDS): RecallState.SENT,
    (RecallState.SENT, RecallEvent.ACTED): RecallState.ACTED,
    (RecallState.SENT, RecallEvent.READ): RecallState.READ,
    (RecallState.SENT, RecallEvent.MEMBER_GONE): RecallState.UNDELIVERABLE,
    (RecallState.SENT, RecallEvent.OVERTAKEN): RecallState.SUPERSEDED,
    (RecallState.ACTED, RecallEvent.ACTED): RecallState.ACTED,
    (RecallState.ACTED, RecallEvent.READ): RecallState.READ,
    (RecallState.READ, RecallEvent.ACTED): RecallState.READ,
    (RecallState.READ, RecallEvent.READ): RecallState.READ,
    (RecallState.UNDELIVERABLE, RecallEvent.SENDS): RecallState.SENT,
    (RecallState.UNDELIVERABLE, RecallEvent.MEMBER_GONE): RecallState.UNDELIVERABLE,
    (RecallState.UNDELIVERABLE, RecallEvent.OVERTAKEN): RecallState.SUPERSEDED,
    (RecallState.UNDELIVERABLE, RecallEvent.ACTED): RecallState.ACTED,
    (RecallState.UNDELIVERABLE, RecallEvent.READ): RecallState.READ,
    (RecallState.SUPERSEDED, RecallEvent.ACTED): RecallState.SUPERSEDED,
    (RecallState.SUPERSEDED, RecallEvent.READ): RecallState.SUPERSEDED,
}


def recall_after(state: RecallState, event: RecallEvent) -> RecallState:
    """The owner's next state; raises IllegalTransition for what the table does not list."""
    try:
        return RECALL_TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(
            f"A recall that is {state.value} cannot become anything by: {event.value}."
        ) from None


class RecipientState(Enum):
    """Where a recall stands at its recipient."""

    APPLIED = "applied"
    READ = "read"


class RecipientEvent(Enum):
    REPEATED = "the notice again"
    PERSON_READS = "a person reads"


RECIPIENT_TRANSITIONS: Mapping[tuple[RecipientState, RecipientEvent], RecipientState] = {
    (RecipientState.APPLIED, RecipientEvent.REPEATED): RecipientState.APPLIED,
    (RecipientState.APPLIED, RecipientEvent.PERSON_READS): RecipientState.READ,
    (RecipientState.READ, RecipientEvent.REPEATED): RecipientState.READ,
}


def recipient_after(state: RecipientState, event: RecipientEvent) -> RecipientState:
    """The recipient's next state; raises IllegalTransition for what the table does not list."""
    try:
        return RECIPIENT_TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(
            f"A recall that is {state.value} cannot become anything by: {event.value}."
        ) from None
