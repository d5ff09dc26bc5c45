"""Rows of what was accepted, and of whom each lookup went to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_hub.driver import Connection, batches, sa
from candor_hub.tables import envelopes, lookup_targets, mailbox
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
        columns = (
            envelopes.c.sender,
            envelopes.c.kind,
            envelopes.c.envelope_id,
            envelopes.c.recipient,
        )
        found: dict[Key, Accepted] = {}
        for some in batches(sorted(keys)):
            query = sa.select(*columns, envelopes.c.body_digest, envelopes.c.recipients)
            for *key, body_digest, recipients in self._connection.execute(
                query.where(sa.tuple_(*columns).in_(some))
            ):
                sender, kind, envelope_id, recipient = key
                found[sender, kind, envelope_id, recipient] = Accepted(Digest(body_digest), recipients)
        return found

    def asked(self, wanted: Collection[Asked]) -> frozenset[Asked]:
        """Those of `wanted` that hold: a lookup of this asker with this id went to this node."""
        lookups: dict[int, tuple[NodeId, bytes]] = {}
        heads = {(str(asker), MessageKind.LOOKUP.value, lookup_id, "") for asker, lookup_id, _ in wanted}
        columns = (envelopes.c.sender, envelopes.c.kind, envelopes.c.envelope_id, envelopes.c.recipient)
        for some in batches(sorted(heads)):
            query = sa.select(envelopes.c.number, envelopes.c.sender, envelopes.c.envelope_id)
            for number, sender, lookup_id in self._connection.execute(
                query.where(sa.tuple_(*columns).in_(some))
            ):
                lookups[number] = (NodeId(sender), lookup_id)
        numbers = {lookup: number for number, lookup in lookups.items()}
        pairs = sorted(
            (numbers[asker, lookup_id], str(node))
            for asker, lookup_id, node in wanted
            if (asker, lookup_id) in numbers
        )
        found: set[Asked] = set()
        target = sa.tuple_(lookup_targets.c.envelope, lookup_targets.c.node)
        for pieces in batches(pairs):
            query = sa.select(lookup_targets.c.envelope, lookup_targets.c.node).where(target.in_(pieces))
            for row in self._connection.execute(query).mappings():
                found.add((*lookups[row["envelope"]], NodeId(row["node"])))
        return frozenset(found)

    def add(self, accepted: Sequence[Acceptance], now: datetime) -> None:
        """Store the envelopes, in their order, and one delivery for each recipient of each."""
        if not accepted:
            return
        insert = sa.insert(envelopes).returning(envelopes.c.number, sort_by_parameter_order=True)
        numbers = self._connection.execute(insert, [_row(each, now) for each in accepted]).scalars().all()
        deliveries, targets = [], []
        for number, each in zip(numbers, accepted, strict=True):
            envelope, names = each.envelope, sorted(str(node) for node in each.nodes)
            shared = {
                "envelope": number,
                "sender": str(envelope.sender),
                "expires_at": to_milliseconds(envelope.expires_at),
            }
            deliveries += [{"recipient": name, **shared} for name in names]
            if envelope.kind is MessageKind.LOOKUP:
                targets += [{"envelope": number, "node": name} for name in names]
        if deliveries:
            self._connection.execute(sa.insert(mailbox), deliveries)
        if targets:
            self._connection.execute(sa.insert(lookup_targets), targets)


def _row(each: Acceptance, now: datetime) -> dict[str, str | int | bytes]:
    envelope = each.envelope
    sender, kind, envelope_id, recipient = key_of(envelope)
    return {
        "sender": sender,
        "kind": kind,
        "envelope_id": envelope_id,
        "recipient": recipient,
        "body_digest": each.body_digest.value,
        "body": envelope.body,
        "signature": envelope.signature,
        "recipients": len(each.nodes),
        "accepted_at": to_milliseconds(now),
        "expires_at": to_milliseconds(envelope.expires_at),
    }
