"""Rows of accepted envelopes and of the deliveries that they became."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from candor_hub.driver import Connection, sa
from candor_hub.tables import envelopes, lookup_targets, mailbox
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import Digest, NodeId
from candor_wire.codec import Delivery, Envelope, MessageKind

_BATCH = 500


@dataclass(frozen=True)
class Accepted:
    """What became of an envelope when it was handed in first."""

    number: int
    body_digest: Digest
    recipients: int


class Mailbox:
    """Envelopes and deliveries."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, envelope: Envelope) -> Accepted | None:
        """The earlier acceptance of an envelope of the same sender, kind, id and recipient."""
        query = sa.select(envelopes.c.number, envelopes.c.body_digest, envelopes.c.recipients).where(
            envelopes.c.sender == str(envelope.sender),
            envelopes.c.kind == envelope.kind.value,
            envelopes.c.envelope_id == envelope.envelope_id,
            envelopes.c.recipient == _recipient(envelope),
        )
        row = self._connection.execute(query).mappings().first()
        if row is None:
            return None
        return Accepted(row["number"], Digest(row["body_digest"]), row["recipients"])

    def add(
        self, envelope: Envelope, body_digest: Digest, recipients: Collection[NodeId], now: datetime
    ) -> None:
        """Store the envelope and one delivery for each recipient."""
        result = self._connection.execute(
            sa.insert(envelopes).values(
                sender=str(envelope.sender),
                kind=envelope.kind.value,
                envelope_id=envelope.envelope_id,
                recipient=_recipient(envelope),
                body_digest=body_digest.value,
                body=envelope.body,
                signature=envelope.signature,
                recipients=len(recipients),
                accepted_at=to_milliseconds(now),
                expires_at=to_milliseconds(envelope.expires_at),
            )
        )
        number = next(iter(result.inserted_primary_key or ()))
        names = sorted(str(node) for node in recipients)
        if names:
            self._connection.execute(
                sa.insert(mailbox), [{"recipient": name, "envelope": number} for name in names]
            )
        if names and envelope.kind is MessageKind.LOOKUP:
            self._connection.execute(
                sa.insert(lookup_targets), [{"envelope": number, "node": name} for name in names]
            )

    def lookup_was_sent(self, lookup_id: bytes, asker: NodeId, target: NodeId) -> bool:
        """Whether an accepted lookup of `asker` with this id went to `target`."""
        query = (
            sa.select(envelopes.c.number)
            .join(lookup_targets)
            .where(
                envelopes.c.sender == str(asker),
                envelopes.c.kind == MessageKind.LOOKUP.value,
                envelopes.c.envelope_id == lookup_id,
                lookup_targets.c.node == str(target),
            )
        )
        return self._connection.execute(query).first() is not None

    def waiting_count(self, recipient: NodeId) -> int:
        query = sa.select(sa.func.count()).select_from(mailbox).where(mailbox.c.recipient == str(recipient))
        return self._connection.execute(query).scalar() or 0

    def full(self, limit: int) -> frozenset[NodeId]:
        """Recipients for whom `limit` deliveries or more wait."""
        query = sa.select(mailbox.c.recipient).group_by(mailbox.c.recipient)
        names = self._connection.execute(query.having(sa.func.count() >= limit)).scalars()
        return frozenset(NodeId(name) for name in names)

    def waiting_from(self, sender: NodeId, recipient: NodeId) -> int:
        """How many deliveries from one sender wait for one recipient."""
        query = (
            sa.select(sa.func.count())
            .select_from(mailbox.join(envelopes))
            .where(mailbox.c.recipient == str(recipient), envelopes.c.sender == str(sender))
        )
        return self._connection.execute(query).scalar() or 0

    def waiting_counts(self) -> dict[NodeId, int]:
        query = sa.select(mailbox.c.recipient, sa.func.count()).group_by(mailbox.c.recipient)
        return {NodeId(name): count for name, count in self._connection.execute(query)}

    def waiting(
        self, recipient: NodeId, now: datetime, limit: int, but: Collection[int] = ()
    ) -> tuple[Delivery, ...]:
        """The first `limit` unexpired deliveries in the order of acceptance, without those in `but`."""
        query = (
            sa.select(mailbox.c.delivery_id, envelopes)
            .join(envelopes)
            .where(
                mailbox.c.recipient == str(recipient),
                mailbox.c.delivery_id.not_in(list(but)),
                envelopes.c.expires_at > to_milliseconds(now),
            )
            .order_by(mailbox.c.delivery_id)
            .limit(limit)
        )
        return tuple(
            Delivery(
                row["delivery_id"],
                Envelope(
                    envelope_id=row["envelope_id"],
                    kind=MessageKind(row["kind"]),
                    sender=NodeId(row["sender"]),
                    recipient=NodeId(row["recipient"]) if row["recipient"] else None,
                    body=row["body"],
                    signature=row["signature"],
                    expires_at=from_milliseconds(row["expires_at"]),
                ),
            )
            for row in self._connection.execute(query).mappings()
        )

    def acknowledge(self, recipient: NodeId, delivery_ids: Iterable[int]) -> int:
        """Delete these deliveries of `recipient`, and bodies that nobody waits for; how many deliveries."""
        ids, gone, numbers = list(delivery_ids), 0, set[int]()
        for at in range(0, len(ids), _BATCH):
            own = (mailbox.c.recipient == str(recipient)) & mailbox.c.delivery_id.in_(ids[at : at + _BATCH])
            numbers.update(self._connection.execute(sa.select(mailbox.c.envelope).where(own)).scalars())
            gone += self._connection.execute(sa.delete(mailbox).where(own)).rowcount
        self._empty(numbers)
        return gone

    def _empty(self, numbers: Collection[int]) -> None:
        known = sorted(numbers)
        for at in range(0, len(known), _BATCH):
            self._connection.execute(
                sa.update(envelopes)
                .where(
                    envelopes.c.number.in_(known[at : at + _BATCH]),
                    ~sa.exists().where(mailbox.c.envelope == envelopes.c.number),
                )
                .values(body=b"", signature=b"")
            )

    def drop_expired(self, now: datetime, forget_before: datetime) -> int:
        """Delete expired deliveries and their bodies; ids accepted before `forget_before` are forgotten.

        Ids outlive their deliveries, so that a late retry is answered as before. How many deliveries.
        """
        expired = envelopes.c.expires_at <= to_milliseconds(now)
        old = sa.select(envelopes.c.number).where(expired)
        gone = self._connection.execute(sa.delete(mailbox).where(mailbox.c.envelope.in_(old))).rowcount
        self._connection.execute(
            sa.update(envelopes).where(expired, envelopes.c.body != b"").values(body=b"", signature=b"")
        )
        self._connection.execute(
            sa.delete(envelopes).where(expired, envelopes.c.accepted_at < to_milliseconds(forget_before))
        )
        return gone

    def newest(self) -> int:
        """The highest delivery id that waits; 0 if none does."""
        return self._connection.execute(sa.select(sa.func.max(mailbox.c.delivery_id))).scalar() or 0

    def recipients_above(self, delivery_id: int) -> frozenset[NodeId]:
        """Who has deliveries with a higher id."""
        query = sa.select(mailbox.c.recipient).where(mailbox.c.delivery_id > delivery_id).distinct()
        return frozenset(NodeId(name) for name in self._connection.execute(query).scalars())


def _recipient(envelope: Envelope) -> str:
    return str(envelope.recipient) if envelope.recipient else ""
