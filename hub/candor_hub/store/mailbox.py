"""Rows of deliveries on their way, and of the bodies that they carry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from candor_hub.driver import Connection, RowMapping, change_matching, matching, sa
from candor_hub.tables import attachments, envelopes, mailbox
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import NodeId
from candor_wire.codec import Delivery, Envelope, MessageKind, envelope_message


@dataclass(frozen=True)
class Waiting:
    """One delivery, without what it carries."""

    delivery_id: int
    recipient: NodeId
    envelope: int


# A delivery is its recipient's alone: whoever names another's has named nothing.
_OWN = ("delivery_id", "recipient")


class Mailbox:
    """Deliveries by recipient."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- what waits -------------------------------------------------------------------------------------

    def waiting(
        self, recipient: NodeId, now: datetime, limit: int, but: Collection[int] = ()
    ) -> tuple[Delivery, ...]:
        """The next `limit` unexpired deliveries without those in `but`.

        Senders take turns, and of each sender the oldest comes first: who sends a thousand does not delay
        another's one.
        """
        turn = sa.func.row_number().over(partition_by=mailbox.c.sender, order_by=mailbox.c.delivery_id)
        chosen = (
            sa.select(mailbox.c.delivery_id, mailbox.c.envelope, turn.label("turn"))
            .where(
                mailbox.c.recipient == str(recipient),
                mailbox.c.delivery_id.not_in(list(but)),
                mailbox.c.expires_at > to_milliseconds(now),
            )
            .order_by("turn", mailbox.c.delivery_id)
            .limit(limit)
            .subquery()
        )
        query = (
            sa.select(chosen.c.delivery_id, envelopes)
            .join(envelopes, envelopes.c.number == chosen.c.envelope)
            .order_by(chosen.c.turn, chosen.c.delivery_id)
        )
        rows = self._connection.execute(query).mappings()
        return tuple(Delivery(row["delivery_id"], _envelope(row)) for row in rows)

    def above(
        self, delivery_id: int, now: datetime, limit: int, replica: str | None = None
    ) -> tuple[Waiting, ...]:
        """The first `limit` unexpired deliveries with a higher id; of `replica` those to its nodes."""
        query = (
            sa.select(mailbox.c.delivery_id, mailbox.c.recipient, mailbox.c.envelope)
            .where(mailbox.c.delivery_id > delivery_id, mailbox.c.expires_at > to_milliseconds(now))
            .order_by(mailbox.c.delivery_id)
            .limit(limit)
        )
        if replica is not None:
            own = sa.select(attachments.c.node).where(attachments.c.replica == replica)
            query = query.where(mailbox.c.recipient.in_(own))
        rows = self._connection.execute(query)
        return tuple(Waiting(number, NodeId(name), body) for number, name, body in rows)

    def bodies(self, numbers: Iterable[int]) -> dict[int, bytes]:
        """The envelopes of these numbers, as they go onto the wire."""
        select = (
            "SELECT number, envelope_id, kind, sender, recipient, body, signature, expires_at FROM envelopes"
        )
        rows = matching(self._connection, select, ("number",), [(number,) for number in sorted(set(numbers))])
        return {row[0]: envelope_message(*row[1:]).SerializeToString() for row in rows}

    def newest(self) -> int:
        """The highest delivery id that waits; 0 if none does."""
        return self._connection.execute(sa.select(sa.func.max(mailbox.c.delivery_id))).scalar() or 0

    def waiting_counts(self, recipients: Collection[NodeId] | None = None) -> dict[NodeId, int]:
        """How many deliveries wait for each recipient that has any, of these or of all."""
        if recipients is None:
            query = sa.select(mailbox.c.recipient, sa.func.count()).group_by(mailbox.c.recipient)
            return {NodeId(name): count for name, count in self._connection.execute(query)}
        by_name = {str(recipient): recipient for recipient in recipients}
        rows = matching(
            self._connection,
            "SELECT recipient, count(*) FROM mailbox",
            ("recipient",),
            [(name,) for name in sorted(by_name)],
            "GROUP BY recipient",
        )
        return {by_name[name]: count for name, count in rows}

    def waiting_from(self, pairs: Collection[tuple[NodeId, NodeId]]) -> dict[tuple[NodeId, NodeId], int]:
        """How many deliveries wait, by (sender, recipient), where there are any."""
        rows = matching(
            self._connection,
            "SELECT recipient, sender, count(*) FROM mailbox",
            ("recipient", "sender"),
            sorted({(str(recipient), str(sender)) for sender, recipient in pairs}),
            "GROUP BY recipient, sender",
        )
        return {(NodeId(sender), NodeId(recipient)): count for recipient, sender, count in rows}

    # --- what is done -----------------------------------------------------------------------------------

    def acknowledge(self, acknowledged: Mapping[NodeId, Iterable[int]]) -> int:
        """Delete deliveries, by recipient, and bodies that nobody waits for; how many deliveries."""
        named = sorted({(one, node.value) for node, ids in acknowledged.items() for one in ids})
        select = "SELECT DISTINCT envelope FROM mailbox"
        carried = {number for (number,) in matching(self._connection, select, _OWN, named)}
        if not carried:
            return 0
        deleted = change_matching(self._connection, "DELETE FROM mailbox", _OWN, named)
        self._empty(carried)
        return deleted

    def _empty(self, numbers: Collection[int]) -> None:
        """Drop the bodies of these that nobody waits for any more."""
        keys = [(number,) for number in sorted(numbers)]
        wanted = matching(self._connection, "SELECT DISTINCT envelope FROM mailbox", ("envelope",), keys)
        free = sorted({*keys} - {(number,) for (number,) in wanted})
        emptied = "UPDATE envelopes SET body = ?, signature = ?"
        change_matching(self._connection, emptied, ("number",), free, (b"", b""))

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


def _envelope(row: RowMapping) -> Envelope:
    return Envelope(
        envelope_id=row["envelope_id"],
        kind=MessageKind(row["kind"]),
        sender=NodeId(row["sender"]),
        recipient=NodeId(row["recipient"]) if row["recipient"] else None,
        body=row["body"],
        signature=row["signature"],
        expires_at=from_milliseconds(row["expires_at"]),
    )
