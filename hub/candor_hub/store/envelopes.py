"""Rows of what was accepted, and of whom each lookup went to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from candor_hub.driver import Connection, insert_many, matching
from candor_proto.canonical import to_milliseconds
from candor_proto.ids import Digest, NodeId
from candor_wire.codec import Envelope, MessageKind

# What makes an envelope the same as another: sender, kind, id, recipient ("" for a lookup).
Key = tuple[str, int, bytes, str]
# That a lookup was accepted and went to a node: asker, lookup id, target.
Asked = tuple[NodeId, bytes, NodeId]


def key_of(envelope: Envelope) -> Key:
    recipient = str(envelope.recipient) if envelope.recipient else ""
    return (str(envelope.sender), envelope.kind.value, envelope.envelope_id, recipient)


@dataclass(frozen=True)
class Accepted:
    """What became of an envelope when it was handed in first."""

    body_digest: Digest
    recipients: int


@dataclass(frozen=True)
class Acceptance:
    """An envelope to be stored, and who gets it."""

    envelope: Envelope
    body_digest: Digest
    nodes: frozenset[NodeId]


class Envelopes:
    """Accepted envelopes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, keys: Collection[Key]) -> dict[Key, Accepted]:
        """The earlier acceptance of each of these that was accepted before."""
        found: dict[Key, Accepted] = {}
        for sender, kind, envelope_id, recipient, body_digest, recipients in self._matching(
            "body_digest, recipients", keys
        ):
            found[sender, kind, envelope_id, recipient] = Accepted(Digest(body_digest), recipients)
        return found

    def asked(self, wanted: Collection[Asked]) -> frozenset[Asked]:
        """Those of `wanted` that hold: a lookup of this asker with this id went to this node."""
        heads = {(str(asker), MessageKind.LOOKUP.value, lookup_id, "") for asker, lookup_id, _ in wanted}
        numbers = {
            (NodeId(sender), lookup_id): number
            for sender, _, lookup_id, _, number in self._matching("number", heads)
        }
        pairs = {
            (numbers[asker, lookup_id], str(node)): (asker, lookup_id, node)
            for asker, lookup_id, node in wanted
            if (asker, lookup_id) in numbers
        }
        rows = matching(
            self._connection,
            "SELECT envelope, node FROM lookup_targets",
            ("envelope", "node"),
            sorted(pairs),
        )
        return frozenset(pairs[number, node] for number, node in rows)

    def _matching(self, what: str, keys: Collection[Key]) -> Iterator[Any]:
        names = ("sender", "kind", "envelope_id", "recipient")
        select = f"SELECT {', '.join(names)}, {what} FROM envelopes"  # noqa: S608 - our own texts
        return matching(self._connection, select, names, sorted(keys))

    def add(self, accepted: Sequence[Acceptance], now: datetime) -> None:
        """Store the envelopes, in their order, and one delivery for each recipient of each."""
        if not accepted:
            return
        # Numbers come with a look at the rows: with RETURNING the driver would insert them one by one.
        insert_many(self._connection, "envelopes", _COLUMNS, [_row(each, now) for each in accepted])
        keys = {key_of(each.envelope) for each in accepted}
        numbers = {tuple(key): number for *key, number in self._matching("number", keys)}
        deliveries, targets = list[tuple[object, ...]](), list[tuple[object, ...]]()
        for each in accepted:
            envelope, names = each.envelope, sorted(str(node) for node in each.nodes)
            number = numbers[key_of(envelope)]
            sender, expires_at = str(envelope.sender), to_milliseconds(envelope.expires_at)
            deliveries += [(name, number, sender, expires_at) for name in names]
            if envelope.kind is MessageKind.LOOKUP:
                targets += [(number, name) for name in names]
        columns = ("recipient", "envelope", "sender", "expires_at")
        insert_many(self._connection, "mailbox", columns, deliveries)
        insert_many(self._connection, "lookup_targets", ("envelope", "node"), targets)


_COLUMNS = (
    "sender",
    "kind",
    "envelope_id",
    "recipient",
    "body_digest",
    "body",
    "signature",
    "recipients",
    "accepted_at",
    "expires_at",
)


def _row(each: Acceptance, now: datetime) -> tuple[object, ...]:
    envelope = each.envelope
    return (
        *key_of(envelope),
        each.body_digest.value,
        envelope.body,
        envelope.signature,
        len(each.nodes),
        to_milliseconds(now),
        to_milliseconds(envelope.expires_at),
    )
