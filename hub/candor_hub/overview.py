"""What the operator sees of the members: states and counts, never a message."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from candor_hub.presence import Presence, presences
from candor_hub.store import Store
from candor_hub.store.members import MemberRecord
from candor_proto.budget import BUCKET, MONTH, Quota
from candor_proto.directory import IndexHead
from candor_proto.errors import UnknownObject
from candor_proto.ids import NodeId, Ori


@dataclass(frozen=True)
class MemberOverview:
    """One member; `quota_used` counts elements in the rolling 30 days."""

    node: NodeId
    name: str
    oris: tuple[Ori, ...]
    status: str
    joined_at: datetime
    answered_from: datetime
    presence: Presence
    index_age: timedelta | None
    quota_used: int
    quota_total: int
    waiting: int

    def as_json(self) -> dict[str, Any]:
        return {
            "node": str(self.node),
            "name": self.name,
            "oris": [str(ori) for ori in self.oris],
            "status": self.status,
            "joined_at": self.joined_at.isoformat(),
            "answered_from": self.answered_from.isoformat(),
            "reach": self.presence.reach.value,
            "reach_since": self.presence.since.isoformat() if self.presence.since else None,
            "index_age_seconds": int(self.index_age.total_seconds()) if self.index_age is not None else None,
            "quota_used": self.quota_used,
            "quota_total": self.quota_total,
            "deliveries_waiting": self.waiting,
        }


def overview(store: Store, quota: Quota, now: datetime) -> list[MemberOverview]:
    """All members, sorted by node id; raises StoreUnusable."""
    with store.read() as tx:
        waiting = tx.mailbox.waiting_counts()
        rows = []
        records = tx.members.all()
        presence = presences(tx, records, now)
        for record in records:
            member = record.member
            uses = tx.quotas.uses(member.node, now - MONTH - BUCKET)
            head = IndexHead.decode(member.head.body) if member.head else None
            rows.append(
                MemberOverview(
                    node=member.node,
                    name=member.name,
                    oris=member.oris,
                    status=_status(record),
                    joined_at=member.joined_at,
                    answered_from=member.answered_from,
                    presence=presence[member.node],
                    index_age=now - head.issued_at if head else None,
                    quota_used=sum(use.of(None) for use in uses),
                    quota_total=quota.total,
                    waiting=waiting.get(member.node, 0),
                )
            )
    return rows


def _status(record: MemberRecord) -> str:
    return "revoked" if record.revoked_at is not None else record.member.status.name.lower()


def certificate_overview(store: Store, node: NodeId, now: datetime) -> list[dict[str, str]]:
    """The certificates of a member, oldest first; raises UnknownObject, StoreUnusable."""
    with store.read() as tx:
        if not tx.members.exists(node):
            raise UnknownObject(f"There is no member {node}.", remedy="`candor-hub agencies` lists them.")
        found = tx.certificates.of(node)
    return [
        {
            "serial": f"{certificate.serial:x}",
            "state": "denied" if certificate.denied else "good" if certificate.live(now) else "ended",
            "issued_at": certificate.issued_at.isoformat(timespec="seconds"),
            "expires_at": certificate.expires_at.isoformat(timespec="seconds"),
            "renewed_with": f"{certificate.renewed_with:x}" if certificate.renewed_with is not None else "",
        }
        for certificate in found
    ]
