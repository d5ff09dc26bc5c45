"""What every reader of a message asks of it first (docs/protocol.md §3.4)."""

from __future__ import annotations

from google.protobuf.message import Message

from candor_proto.errors import MalformedMessage


def refuse_unknown_fields(message: Message | None) -> None:
    """Raises MalformedMessage when `message`, or a message inside it, has fields we do not know.

    None is what gRPC hands out in place of octets that are no message.
    """
    if message is None:
        raise MalformedMessage("Octets that are no message.")
    # They are kept, and so they count, until they are discarded.
    octets = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != octets:
        raise MalformedMessage("A message with unknown fields.")


def exactly(octets: bytes, count: int, what: str) -> bytes:
    if len(octets) != count:
        raise MalformedMessage(f"{what} is {count} octets, got {len(octets)}.")
    return octets
