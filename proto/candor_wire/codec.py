"""Protobuf message ↔ value. The only place where one becomes the other (docs/protocol.md §3.4, §8.3).

Every `read_*` is strict: unknown fields, missing fields, wrong lengths and oversized parts are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import lru_cache

from candor_proto.canonical import digest, from_milliseconds, to_milliseconds
from candor_proto.errors import CandorError, LimitExceeded, MalformedMessage, UnsupportedVersion
from candor_proto.ids import Digest, NodeId
from candor_proto.sealing import SealKind
from candor_proto.signing import SIGNATURE_OCTETS, SignedStatement
from candor_proto.statements import MAX_LOOKUP_OCTETS
from candor_wire import limits
from candor_wire.log_codec import Cosign as Cosign
from candor_wire.log_codec import Cosigned as Cosigned
from candor_wire.log_codec import read_cosign, read_cosigned
from candor_wire.log_codec import write_cosigned as write_cosigned
from candor_wire.status import from_refusal, to_refusal
from candor_wire.strict import exactly
from candor_wire.strict import refuse_unknown_fields as refuse_unknown_fields
from candor_wire.v1 import hub_pb2


class MessageKind(Enum):
    """What an envelope carries; the value is the wire code."""

    LOOKUP = 1
    ANSWER = 2
    DISCLOSURE_REQUEST = 3
    DISCLOSURE_RESPONSE = 4
    RECALL_NOTICE = 5
    RECALL_ACK = 6

    @property
    def signed(self) -> bool:
        """Whether the signature stands beside the body (sealed kinds carry it inside)."""
        return self in (MessageKind.LOOKUP, MessageKind.ANSWER)


_KINDS = {kind.value: kind for kind in MessageKind}
_SEALED_OCTETS = {
    MessageKind.DISCLOSURE_REQUEST: SealKind.REQUEST.sealed_octets,
    MessageKind.DISCLOSURE_RESPONSE: SealKind.RESPONSE.sealed_octets,
    MessageKind.RECALL_NOTICE: SealKind.RECALL_NOTICE.sealed_octets,
    MessageKind.RECALL_ACK: SealKind.RECALL_ACK.sealed_octets,
}


@dataclass(frozen=True)
class Envelope:
    """One message between two members. `recipient` is None for a lookup on its way to the hub."""

    envelope_id: bytes
    kind: MessageKind
    sender: NodeId
    recipient: NodeId | None
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    expires_at: datetime

    @property
    def statement(self) -> SignedStatement:
        return SignedStatement(self.body, self.signature)


def write_envelope(envelope: Envelope) -> hub_pb2.Envelope:
    return envelope_message(
        envelope.envelope_id,
        envelope.kind.value,
        str(envelope.sender),
        str(envelope.recipient) if envelope.recipient else "",
        envelope.body,
        envelope.signature,
        to_milliseconds(envelope.expires_at),
    )


def envelope_octets(envelope: Envelope) -> bytes:
    """As it stands in a delivery."""
    return write_envelope(envelope).SerializeToString()


def envelope_message(
    envelope_id: bytes,
    kind: int,
    sender: str,
    recipient: str,
    body: bytes,
    signature: bytes,
    expires_at_milliseconds: int,
) -> hub_pb2.Envelope:
    """Of the parts of an envelope that was read strictly before, and stored."""
    return hub_pb2.Envelope(
        envelope_id=envelope_id,
        kind=hub_pb2.MessageKind.ValueType(kind),
        sender=sender,
        recipient=recipient,
        body=body,
        signature=signature,
        expires_at_milliseconds=expires_at_milliseconds,
    )


def read_envelope(message: hub_pb2.Envelope) -> Envelope:
    """Raises MalformedMessage or LimitExceeded."""
    refuse_unknown_fields(message)
    return read_known_envelope(message)


def read_known_envelope(message: hub_pb2.Envelope) -> Envelope:
    """As `read_envelope`, when unknown fields were refused for the message around it already."""
    kind, recipient, body = _KINDS.get(message.kind), message.recipient, message.body
    if kind is None:
        raise MalformedMessage("An envelope of an unknown kind.")
    if kind in _SEALED_OCTETS:
        exactly(body, _SEALED_OCTETS[kind], "A sealed body")
    elif not 0 < len(body) <= MAX_LOOKUP_OCTETS:
        raise LimitExceeded("The body of an envelope is empty or over its limit.")
    if kind is not MessageKind.LOOKUP and not recipient:
        raise MalformedMessage("An envelope without a recipient.")
    return Envelope(
        envelope_id=exactly(message.envelope_id, 16, "An envelope id"),
        kind=kind,
        sender=_node(message.sender),
        recipient=_node(recipient) if recipient else None,
        body=body,
        signature=exactly(
            message.signature, SIGNATURE_OCTETS if kind.signed else 0, "The signature of this kind"
        ),
        expires_at=from_milliseconds(message.expires_at_milliseconds),
    )


@lru_cache(4096)
def _node(name: str) -> NodeId:
    """The same few names come a thousand times."""
    return NodeId(name)


@dataclass(frozen=True)
class Hello:
    """A node's first frame."""

    node_time: datetime
    directory_version: int


def read_hello(message: hub_pb2.AttachRequest) -> Hello:
    """Raises MalformedMessage when the frame is no hello, UnsupportedVersion for another version."""
    refuse_unknown_fields(message)
    if message.WhichOneof("frame") != "hello":
        raise MalformedMessage("The first frame of a stream is a hello.")
    if message.hello.protocol_version != limits.PROTOCOL_VERSION:
        raise UnsupportedVersion(
            f"This side speaks protocol version {limits.PROTOCOL_VERSION}, "
            f"the other {message.hello.protocol_version}.",
            remedy="Upgrade the older side.",
        )
    return Hello(from_milliseconds(message.hello.node_time_milliseconds), message.hello.directory_version)


def write_hello(hello: Hello) -> hub_pb2.AttachRequest:
    return hub_pb2.AttachRequest(
        hello=hub_pb2.Hello(
            protocol_version=limits.PROTOCOL_VERSION,
            node_time_milliseconds=to_milliseconds(hello.node_time),
            directory_version=hello.directory_version,
        )
    )


@dataclass(frozen=True)
class NodeMail:
    """What a node has stored, and the submissions it hands in: (number, envelope or why it is none)."""

    acknowledged: tuple[int, ...] = ()
    submissions: tuple[tuple[int, Envelope | CandorError], ...] = ()


def read_node_frame(message: hub_pb2.AttachRequest) -> NodeMail | Cosigned:
    """What a node says after its hello; raises MalformedMessage or LimitExceeded.

    An envelope that is none is a matter of its submission; it does not end the stream.
    """
    # Counted before anything in them is looked at: a frame has room for a hundred thousand of nothing.
    mail = message.mail
    if (
        len(mail.acknowledged) > limits.MAX_ACKNOWLEDGED_IDS
        or len(mail.submissions) > limits.MAX_UNANSWERED_SUBMISSIONS
    ):
        raise LimitExceeded("A frame acknowledges too many deliveries, or hands in too much.")
    refuse_unknown_fields(message)
    match message.WhichOneof("frame"):
        case "mail":
            return _read_node_mail(mail)
        case "cosigned":
            return read_cosigned(message.cosigned)
        case _:
            raise MalformedMessage("After its hello a node sends mail and cosignatures only.")


def _read_node_mail(mail: hub_pb2.NodeMail) -> NodeMail:
    ids, submissions = tuple(mail.acknowledged), mail.submissions
    if not ids and not submissions:
        raise MalformedMessage("A frame with no mail in it.")
    if ids and max(ids) >= 1 << 63:
        raise MalformedMessage("An acknowledgement of a delivery that cannot be.")
    return NodeMail(ids, tuple((one.number, _envelope_or_error(one.envelope)) for one in submissions))


def _envelope_or_error(message: hub_pb2.Envelope) -> Envelope | CandorError:
    try:
        return read_known_envelope(message)
    except CandorError as error:
        return error


def write_node_mail(
    acknowledged: Iterable[int] = (), submissions: Iterable[tuple[int, Envelope]] = ()
) -> hub_pb2.AttachRequest:
    return hub_pb2.AttachRequest(
        mail=hub_pb2.NodeMail(
            acknowledged=acknowledged,
            submissions=[
                hub_pb2.Submission(number=number, envelope=write_envelope(envelope))
                for number, envelope in submissions
            ],
        )
    )


def write_acknowledge(delivery_ids: Iterable[int]) -> hub_pb2.AttachRequest:
    return write_node_mail(delivery_ids)


@dataclass(frozen=True)
class Welcome:
    hub_time: datetime
    directory_version: int


@dataclass(frozen=True)
class Delivery:
    delivery_id: int
    envelope: Envelope


@dataclass(frozen=True)
class DirectoryChanged:
    directory_version: int


@dataclass(frozen=True)
class Heartbeat:
    hub_time: datetime


@dataclass(frozen=True)
class Receipt:
    """What became of submission `number`: so many mailbox rows, durably, or a refusal."""

    number: int
    outcome: int | BaseException


@dataclass(frozen=True)
class HubMail:
    deliveries: tuple[Delivery, ...] = ()
    receipts: tuple[Receipt, ...] = ()


HubFrame = Welcome | HubMail | DirectoryChanged | Heartbeat | Cosign


# A delivery and what it stands in, as it goes onto the wire: the octets in front of each part.
_MAIL, _DELIVERIES, _ENVELOPE = b"\x2a", b"\x0a", b"\x12"
_DELIVERY_ID = struct.Struct("<BQ")
_DELIVERY_ID_TAG = 0x09


def write_hub_mail(
    deliveries: Iterable[tuple[int, bytes]] = (), receipts: Iterable[Receipt] = ()
) -> hub_pb2.AttachResponse:
    """Envelopes come as octets (`envelope_octets`): one that goes to a thousand is encoded once.

    The frame is put together of these, for every message put into another one is copied whole, at each level.
    """
    parts, octets = list[bytes](), 0
    for delivery_id, envelope in deliveries:
        length = _length(len(envelope))
        size = _DELIVERY_ID.size + len(_ENVELOPE) + len(length) + len(envelope)
        parts += (
            start := _DELIVERIES + _length(size) + _DELIVERY_ID.pack(_DELIVERY_ID_TAG, delivery_id),
            _ENVELOPE + length,
            envelope,
        )
        octets += len(start) + len(_ENVELOPE) + len(length) + len(envelope)
    frame = hub_pb2.AttachResponse()
    if parts:
        frame.MergeFromString(b"".join((_MAIL, _length(octets), *parts)))
    for receipt in receipts:
        if isinstance(receipt.outcome, int):
            frame.mail.receipts.add(number=receipt.number, recipients=receipt.outcome)
        else:
            frame.mail.receipts.append(write_receipt(receipt))
    return frame


def _length(count: int) -> bytes:
    """As protobuf writes the length of a part: seven bits an octet, the lowest first."""
    octets = bytearray()
    while count > 0x7F:
        octets.append(count & 0x7F | 0x80)
        count >>= 7
    octets.append(count)
    return bytes(octets)


def write_receipt(receipt: Receipt) -> hub_pb2.Receipt:
    if isinstance(receipt.outcome, int):
        return hub_pb2.Receipt(number=receipt.number, recipients=receipt.outcome)
    code, message, remedy = to_refusal(receipt.outcome)
    refusal = hub_pb2.Refusal(code=code, message=message, remedy=remedy)
    return hub_pb2.Receipt(number=receipt.number, refusal=refusal)


def write_frame(frame: HubFrame) -> hub_pb2.AttachResponse:
    match frame:
        case Welcome(hub_time, version):
            return hub_pb2.AttachResponse(
                welcome=hub_pb2.Welcome(
                    protocol_version=limits.PROTOCOL_VERSION,
                    hub_time_milliseconds=to_milliseconds(hub_time),
                    directory_version=version,
                )
            )
        case HubMail(deliveries, receipts):
            written = ((one.delivery_id, envelope_octets(one.envelope)) for one in deliveries)
            return write_hub_mail(written, receipts)
        case DirectoryChanged(version):
            return hub_pb2.AttachResponse(
                directory_changed=hub_pb2.DirectoryChanged(directory_version=version)
            )
        case Heartbeat(hub_time):
            return hub_pb2.AttachResponse(
                heartbeat=hub_pb2.Heartbeat(hub_time_milliseconds=to_milliseconds(hub_time))
            )
        case Cosign(number, request):
            return hub_pb2.AttachResponse(cosign=hub_pb2.Cosign(number=number, request=request))


def read_frame(message: hub_pb2.AttachResponse) -> HubFrame:
    """Raises MalformedMessage or UnsupportedVersion."""
    refuse_unknown_fields(message)
    match message.WhichOneof("frame"):
        case "welcome":
            if message.welcome.protocol_version != limits.PROTOCOL_VERSION:
                raise UnsupportedVersion(
                    "The hub speaks another protocol version.", remedy="Upgrade the older side."
                )
            return Welcome(
                from_milliseconds(message.welcome.hub_time_milliseconds), message.welcome.directory_version
            )
        case "mail":
            return _read_hub_mail(message.mail)
        case "directory_changed":
            return DirectoryChanged(message.directory_changed.directory_version)
        case "heartbeat":
            return Heartbeat(from_milliseconds(message.heartbeat.hub_time_milliseconds))
        case "cosign":
            return read_cosign(message.cosign)
        case _:
            raise MalformedMessage("A frame of an unknown kind.")


def _read_hub_mail(mail: hub_pb2.HubMail) -> HubMail:
    if not mail.deliveries and not mail.receipts:
        raise MalformedMessage("A frame with no mail in it.")
    return HubMail(
        tuple(Delivery(one.delivery_id, read_known_envelope(one.envelope)) for one in mail.deliveries),
        tuple(_read_receipt(one) for one in mail.receipts),
    )


def _read_receipt(message: hub_pb2.Receipt) -> Receipt:
    match message.WhichOneof("outcome"):
        case "recipients":
            return Receipt(message.number, message.recipients)
        case "refusal":
            refusal = message.refusal
            return Receipt(message.number, from_refusal(refusal.code, refusal.message, refusal.remedy))
        case _:
            raise MalformedMessage("A receipt without an outcome.")


def chunks(octets: bytes, size: int = limits.CHUNK_BYTES) -> Iterator[bytes]:
    """`octets` in pieces of at most `size`."""
    for at in range(0, len(octets), size):
        yield octets[at : at + size]


class Assembler:
    """Puts chunks together again, never more than `max_octets` of them."""

    def __init__(self, max_octets: int) -> None:
        self._max_octets = max_octets
        self._parts: list[bytes] = []
        self._octets = 0

    def add(self, chunk: bytes) -> None:
        """Raises LimitExceeded once the whole would be too large, MalformedMessage for an empty chunk."""
        if not chunk or len(chunk) > limits.CHUNK_BYTES:
            raise MalformedMessage("A chunk that is empty or too large.")
        self._octets += len(chunk)
        if self._octets > self._max_octets:
            raise LimitExceeded(f"A transfer is over its limit of {self._max_octets} octets.")
        self._parts.append(chunk)

    def finish(self) -> bytes:
        return b"".join(self._parts)


def read_address(octets: bytes) -> Digest:
    return Digest(exactly(octets, 32, "A segment address"))


def read_chain(certificates: list[bytes]) -> tuple[bytes, ...]:
    """DER certificates within their limits; raises LimitExceeded or MalformedMessage."""
    if not 0 < len(certificates) <= limits.MAX_CHAIN_LENGTH:
        raise LimitExceeded("A certificate chain is empty or too long.")
    if any(not 0 < len(certificate) <= limits.MAX_CERTIFICATE_BYTES for certificate in certificates):
        raise MalformedMessage("A certificate of an impossible size.")
    return tuple(certificates)


def chain_digest(chain: tuple[bytes, ...]) -> Digest:
    """What a directory says of the certificate chain (DER, its own certificate first) that it comes with."""
    return Digest(digest("certificate-chain", *chain))
