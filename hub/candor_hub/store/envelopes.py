"""Rows of what was accepted, and of whom each lookup went to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
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
    recipient = envelope.recipient.value if envelope.recipient else ""
    return (envelope.sender.value, envelope.kind.value, envelope.envelope_id, recipient)


@dataclass(frozen=True)
class Accepted:
    """What became of an envelope when it was handed in first."""

    body_digest: Digest
    recipients: int


@dataclass(frozen=True)
class Acceptance:
    """An envelope to be stored under its key, who gets it, and who is named in it and does not.

    `commitment` is what the log says of it.
    """

    envelope: Envelope
    key: Key
    body_digest: Digest
    nodes: frozenset[NodeId]
    unreached: frozenset[NodeId]
    commitment: bytes


@dataclass(frozen=True)
class Posting:
    """An envelope that is on its way: its deliveries, one for each of `nodes`."""

    envelope: Envelope
    nodes: tuple[NodeId, ...]
    delivery_ids: range


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
        counted = matching(self._connection, "SELECT count(*) FROM lookup_targets", _TARGET, pairs)
        if sum(count for (count,) in counted) == len(pairs):
            return frozenset(pairs.values())
        rows = matching(self._connection, "SELECT envelope, node FROM lookup_targets", _TARGET, pairs)
        return frozenset(pairs[number, node] for number, node in rows)

    def _matching(self, what: str, keys: Collection[Key]) -> Iterator[Any]:
        names = ("sender", "kind", "envelope_id", "recipient")
        select = f"SELECT {', '.join(names)}, {what} FROM envelopes"  # noqa: S608 - our own texts
        return matching(self._connection, select, names, sorted(keys))

    def add(self, accepted: Sequence[Acceptance], now: datetime) -> tuple[Posting, ...] | None:
        """Store the envelopes, in their order, and one delivery for each recipient of each.

        What will be on its way once this is committed, or None where the database does not tell.
        """
        given = insert_many(
            self._connection, "envelopes", _COLUMNS, [_row(each, now) for each in accepted], "number"
        )
        numbers = given or self._numbers(accepted)
        posted = list[tuple[Acceptance, tuple[NodeId, ...]]]()
        deliveries, targets = list[tuple[object, ...]](), list[tuple[object, ...]]()
        unreached, requests = list[tuple[object, ...]](), list[tuple[object, ...]]()
        for each, number in zip(accepted, numbers, strict=True):
            envelope, nodes = each.envelope, tuple(sorted(each.nodes))
            posted.append((each, nodes))
            sender, expires_at = envelope.sender.value, to_milliseconds(envelope.expires_at)
            deliveries += [(node.value, number, sender, expires_at) for node in nodes]
            if envelope.kind is MessageKind.LOOKUP:
                targets += [(number, node.value) for node in nodes]
                unreached += [(number, node.value) for node in sorted(each.unreached)]
                requests.append((each.commitment, number, expires_at))
        columns = ("recipient", "envelope", "sender", "expires_at")
        ids = insert_many(self._connection, "mailbox", columns, deliveries, "delivery_id")
        insert_many(self._connection, "lookup_targets", _TARGET, targets)
        insert_many(self._connection, "lookup_unreached", _TARGET, unreached)
        insert_many(self._connection, "log_requests", _REQUEST, requests)
        return None if ids is None else tuple(_postings(posted, ids))

    def _numbers(self, accepted: Sequence[Acceptance]) -> list[int]:
        # Somebody who does not take the lock has taken numbers in between.
        keys = [each.key for each in accepted]
        numbers = {tuple(key): number for *key, number in self._matching("number", keys)}
        return [numbers[key] for key in keys]


def _postings(posted: Iterable[tuple[Acceptance, tuple[NodeId, ...]]], ids: range) -> Iterator[Posting]:
    at = 0
    for each, nodes in posted:
        yield Posting(each.envelope, nodes, ids[at : at + len(nodes)])
        at += len(nodes)


_TARGET = ("envelope", "node")
_REQUEST = ("commitment", "envelope", "expires_at")
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
        *each.key,
        each.body_digest.value,
        envelope.body,
        envelope.signature,
        len(each.nodes),
        to_milliseconds(now),
        to_milliseconds(envelope.expires_at),
    )
