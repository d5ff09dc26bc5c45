"""What an owner says to a disclosure request, made and handed to the outbox (docs/protocol.md §9.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from candor_node import mail_store
from candor_node.accountability import receipts
from candor_node.publisher import Resolved
from candor_node.store import Database
from candor_proto.disclosure import (
    DisclosureRequest,
    DisclosureResponse,
    Outcome,
    OwnerEvent,
    seal_response,
)
from candor_proto.record import SALT_OCTETS, DisputeStatus
from candor_proto.signing import SigningKey
from candor_records.records import canonical
from candor_wire.codec import Envelope, MessageKind

_RELEASING = (OwnerEvent.RULE_RELEASES, OwnerEvent.PERSON_APPROVES)


@dataclass(frozen=True)
class Said:
    """A response, and its sealed envelope."""

    response: DisclosureResponse = field(repr=False)
    sealed: bytes = field(repr=False)


def say(
    request: DisclosureRequest,
    event: OwnerEvent,
    resolved: Resolved | None,
    key: SigningKey,
    now: datetime,
    *,
    not_same_person: bool = False,
) -> Said | None:
    """The response to `request` after `event`; None while a person has to decide."""
    if event is OwnerEvent.RULE_WAITS:
        return None
    released = resolved if event in _RELEASING else None
    declined = Outcome.NOT_THE_SAME_PERSON if not_same_person else Outcome.DECLINED
    record = released.record if released else None
    response = DisclosureResponse(
        federation=request.federation,
        request_id=request.request_id,
        request=request.digest(),
        owner=request.owner,
        requester=request.requester,
        outcome=Outcome.RELEASED if released else declined,
        salt=released.salt if released else bytes(SALT_OCTETS),
        record=canonical(record).encode() if record else b"",
        dispute_status=record.dispute_status if record else DisputeStatus.NONE,
        subject_statement=record.circumstances.subject_statement if record else "",
        issued_at=now,
    )
    return Said(response, seal_response(response, key, request.reply_key))


def enqueue(db: Database, request: DisclosureRequest, said: Said, now: datetime) -> None:
    """Into the outbox, and kept for a receipt: in the transaction that decides."""
    envelope = Envelope(
        request.request_id.value,
        MessageKind.DISCLOSURE_RESPONSE,
        request.owner,
        request.requester,
        said.sealed,
        b"",
        request.expires_at,
    )
    mail_store.enqueue(db, envelope, now)
    receipts.response_sent(db, said.response)
