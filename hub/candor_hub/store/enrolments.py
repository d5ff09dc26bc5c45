"""Rows of invitations: the digest of each token, what it is bound to, and what it was used for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from candor_hub.driver import Connection, sa
from candor_hub.store.members import optional_time
from candor_hub.tables import enrolment_attempts, invitations, readmissions
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

    # --- members that may come back without one ---------------------------------------------------------

    def readmit(self, node: NodeId, until: datetime, now: datetime) -> None:
        """The member may come back until then, once."""
        self.forget_readmission(node)
        self._connection.execute(
            sa.insert(readmissions).values(
                node=str(node), until=to_milliseconds(until), made_at=to_milliseconds(now)
            )
        )

    def readmitted_until(self, node: NodeId) -> datetime | None:
        query = sa.select(readmissions.c.until).where(readmissions.c.node == str(node))
        return optional_time(self._connection.execute(query).scalar())

    def forget_readmission(self, node: NodeId) -> None:
        self._connection.execute(sa.delete(readmissions).where(readmissions.c.node == str(node)))

    def attempts(self, address: str, since: datetime) -> tuple[int, int]:
        """How many attempts there were since then, from this address and from all; older ones are dropped."""
        attempts = enrolment_attempts.c
        self._connection.execute(sa.delete(enrolment_attempts).where(attempts.at <= to_milliseconds(since)))
        own = sa.func.count().filter(attempts.address == address)
        counts = self._connection.execute(sa.select(own, sa.func.count()).select_from(enrolment_attempts))
        row = counts.one()
        return int(row[0]), int(row[1])

    def add_attempt(self, address: str, now: datetime) -> None:
        self._connection.execute(
            sa.insert(enrolment_attempts).values(address=address, at=to_milliseconds(now))
        )

    def drop_expired(self, before: datetime) -> int:
        """Forget invitations that ended before; how many."""
        gone = sa.delete(invitations).where(invitations.c.expires_at < to_milliseconds(before))
        return self._connection.execute(gone).rowcount
