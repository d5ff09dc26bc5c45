"""Rows of invitations: the digest of each token, what it is bound to, and what it was used for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from candor_hub.driver import Connection, sa
from candor_hub.store.members import optional_time
from candor_hub.tables import invitations
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import Digest, NodeId, Ori


@dataclass(frozen=True)
class InvitationRecord:
    """What the hub keeps of an invitation; the token itself is nowhere."""

    token: Digest
    ori: Ori
    node: NodeId | None
    name: str
    expires_at: datetime
    used_at: datetime | None = None
    used_digest: Digest | None = None
    serial: str | None = None


class Enrolments:
    """Invitations by the digest of their token."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, record: InvitationRecord, now: datetime) -> None:
        self._connection.execute(
            sa.insert(invitations).values(
                token_digest=record.token.value,
                ori=str(record.ori),
                node=str(record.node) if record.node else None,
                name=record.name,
                created_at=to_milliseconds(now),
                expires_at=to_milliseconds(record.expires_at),
            )
        )

    def find(self, token: Digest) -> InvitationRecord | None:
        """The invitation with this token."""
        query = sa.select(invitations).where(invitations.c.token_digest == token.value)
        row = self._connection.execute(query).mappings().first()
        if row is None:
            return None
        return InvitationRecord(
            token=Digest(row["token_digest"]),
            ori=Ori(row["ori"]),
            node=NodeId(row["node"]) if row["node"] else None,
            name=row["name"],
            expires_at=from_milliseconds(row["expires_at"]),
            used_at=optional_time(row["used_at"]),
            used_digest=Digest(row["used_digest"]) if row["used_digest"] else None,
            serial=row["serial"],
        )

    def consume(self, token: Digest, request: Digest, serial: int, now: datetime) -> None:
        self._connection.execute(
            sa.update(invitations)
            .where(invitations.c.token_digest == token.value)
            .values(used_at=to_milliseconds(now), used_digest=request.value, serial=f"{serial:x}")
        )

    def drop_expired(self, before: datetime) -> int:
        """Forget invitations that ended before; how many."""
        gone = sa.delete(invitations).where(invitations.c.expires_at < to_milliseconds(before))
        return self._connection.execute(gone).rowcount
