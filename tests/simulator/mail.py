"""What a frame of a stream carries, taken apart, so that trouble can be named by it.

A frame of mail is several things at once (docs/protocol.md §8.3): submissions and acknowledgements on the way
to the hub, deliveries and receipts on the way to a node. Each is a point of its own in the plan:

    "submit LOOKUP", "to hub acknowledgement", "to node LOOKUP", "to node receipt LOOKUP"

A frame in which nothing goes wrong passes as it is; otherwise each part travels in a frame of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from candor_proto.errors import CandorError
from candor_wire import codec
from candor_wire.codec import MessageKind, Receipt
from candor_wire.v1 import hub_pb2


@dataclass(frozen=True)
class Part:
    """One thing in a frame; `number` is a submission's, or that which a receipt is for."""

    point: str
    octets: bytes
    number: int | None = None
    kind: str = ""

    @property
    def submits(self) -> bool:
        return bool(self.kind)


def parts_to_hub(message: hub_pb2.AttachRequest) -> Iterator[Part]:
    """Acknowledgements of a frame stay together, as they do in a transaction of the hub."""
    if message.WhichOneof("frame") != "mail":
        yield Part(f"to hub {message.WhichOneof('frame')}", message.SerializeToString())
        return
    if message.mail.acknowledged:
        one = hub_pb2.NodeMail(acknowledged=message.mail.acknowledged)
        yield Part("to hub acknowledgement", hub_pb2.AttachRequest(mail=one).SerializeToString())
    for each in message.mail.submissions:
        kind = MessageKind(each.envelope.kind).name
        octets = hub_pb2.AttachRequest(mail=hub_pb2.NodeMail(submissions=[each])).SerializeToString()
        yield Part(f"submit {kind}", octets, each.number, kind)


def parts_to_node(message: hub_pb2.AttachResponse, submitted: Mapping[int, str]) -> Iterator[Part]:
    """`submitted` are the kinds of what this stream handed in, by number."""
    if message.WhichOneof("frame") != "mail":
        yield Part(f"to node {message.WhichOneof('frame')}", message.SerializeToString())
        return
    for delivery in message.mail.deliveries:
        kind = MessageKind(delivery.envelope.kind).name
        octets = hub_pb2.AttachResponse(mail=hub_pb2.HubMail(deliveries=[delivery])).SerializeToString()
        yield Part(f"to node {kind}", octets)
    for receipt in message.mail.receipts:
        octets = hub_pb2.AttachResponse(mail=hub_pb2.HubMail(receipts=[receipt])).SerializeToString()
        yield Part(f"to node receipt {submitted[receipt.number]}", octets, receipt.number)


def refusal_of(number: int, error: CandorError) -> bytes:
    """The receipt by which the hub would refuse a submission."""
    return codec.write_hub_mail((), [Receipt(number, error)]).SerializeToString()
