"""Rows of members, their certificates, and the serials that are denied."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from candor_hub.driver import Connection, RowMapping, batches, sa
from candor_hub.tables import certificates, denied, heads, member_oris, members
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.directory import Member, MemberStatus
from candor_proto.ids import NodeId, Ori
from candor_proto.signing import SignedStatement, VerifyingKey


@dataclass(frozen=True)
class MemberRecord:
    """A member, and what only the hub knows of it."""

    member: Member
    revoked_at: datetime | None
    last_seen_at: datetime | None
    first_seen_at: datetime | None


def optional_time(value: int | None) -> datetime | None:
    return None if value is None else from_milliseconds(value)


class Members:
    """Members by node id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> tuple[MemberRecord, ...]:
        """Every member, sorted by node id, each with its index head."""
        oris: dict[str, list[Ori]] = {}
        for node, ori in self._connection.execute(sa.select(member_oris.c.node, member_oris.c.ori)):
            oris.setdefault(node, []).append(Ori(ori))
        query = sa.select(members, heads.c.body, heads.c.signature).outerjoin(heads)
        rows = self._connection.execute(query).mappings()
        records = [_record(row, oris.get(row["node"], [])) for row in rows]
        return tuple(sorted(records, key=lambda record: record.member.node))

    def find(self, node: NodeId) -> MemberRecord | None:
        """The member, without its index head."""
        query = sa.select(members).where(members.c.node == str(node))
        row = self._connection.execute(query).mappings().first()
        if row is None:
            return None
        of_node = sa.select(member_oris.c.ori).where(member_oris.c.node == str(node))
        oris = [Ori(ori) for ori in self._connection.execute(of_node).scalars()]
        return _record({**row, "body": None}, oris)

    def exists(self, node: NodeId) -> bool:
        query = sa.select(members.c.node).where(members.c.node == str(node))
        return self._connection.execute(query).first() is not None

    def count(self) -> int:
        return self._connection.execute(sa.select(sa.func.count()).select_from(members)).scalar() or 0

    def is_revoked(self, node: NodeId) -> bool:
        query = sa.select(members.c.revoked_at).where(members.c.node == str(node))
        return self._connection.execute(query).scalar() is not None

    def statuses(self, nodes: Collection[NodeId]) -> dict[NodeId, MemberStatus]:
        """The status of each that is a member."""
        found: dict[NodeId, MemberStatus] = {}
        for some in batches(sorted(map(str, nodes))):
            query = sa.select(members.c.node, members.c.status).where(members.c.node.in_(some))
            rows = self._connection.execute(query)
            found.update((NodeId(name), MemberStatus(status)) for name, status in rows)
        return found

    def holder_of(self, ori: Ori) -> NodeId | None:
        """The member that stands for `ori`; one whose certificates were revoked no longer does."""
        query = (
            sa.select(members.c.node)
            .join(member_oris)
            .where(member_oris.c.ori == str(ori), members.c.revoked_at.is_(None))
        )
        found = self._connection.execute(query).scalar()
        return None if found is None else NodeId(found)

    def key_is_known(self, signing_key: VerifyingKey) -> bool:
        query = sa.select(members.c.node).where(members.c.signing_key == signing_key.value)
        return self._connection.execute(query).first() is not None

    def add(self, member: Member) -> None:
        self._connection.execute(
            sa.insert(members).values(
                node=str(member.node),
                name=member.name,
                tls_subject=member.tls_subject,
                signing_key=member.signing_key.value,
                disclosure_key=member.disclosure_key,
                status=member.status.value,
                joined_at=to_milliseconds(member.joined_at),
                answered_from=to_milliseconds(member.answered_from),
            )
        )
        self._connection.execute(
            sa.insert(member_oris), [{"node": str(member.node), "ori": str(ori)} for ori in member.oris]
        )

    def set_status(self, node: NodeId, status: MemberStatus) -> None:
        self._update(node, status=status.value)

    def set_revoked(self, node: NodeId, now: datetime) -> None:
        self._update(node, revoked_at=to_milliseconds(now), status=MemberStatus.SUSPENDED.value)

    def set_seen(self, nodes: Iterable[NodeId], now: datetime) -> None:
        """These are attached."""
        moment = to_milliseconds(now)
        for some in batches(sorted(map(str, nodes))):
            own = members.c.node.in_(some)
            self._connection.execute(
                sa.update(members)
                .where(own)
                .values(last_seen_at=moment, first_seen_at=sa.func.coalesce(members.c.first_seen_at, moment))
            )

    def _update(self, node: NodeId, **values: int) -> None:
        self._connection.execute(sa.update(members).where(members.c.node == str(node)).values(**values))

    # --- certificates -------------------------------------------------------------------------------

    def add_certificate(
        self,
        node: NodeId,
        serial: int,
        der: bytes,
        issued_at: datetime,
        expires_at: datetime,
        issuer: int,
    ) -> None:
        """`issuer` is the serial of the authority that it hangs from."""
        self._connection.execute(
            sa.insert(certificates).values(
                serial=f"{serial:x}",
                node=str(node),
                certificate=der,
                issued_at=to_milliseconds(issued_at),
                expires_at=to_milliseconds(expires_at),
                issuer=f"{issuer:x}",
            )
        )

    def certificate(self, serial: str) -> bytes | None:
        """The certificate (DER) with this serial in hexadecimal."""
        query = sa.select(certificates.c.certificate).where(certificates.c.serial == serial)
        return self._connection.execute(query).scalar()

    def serials(self, node: NodeId) -> tuple[int, ...]:
        """Every serial that was issued to `node`."""
        query = sa.select(certificates.c.serial).where(certificates.c.node == str(node))
        return tuple(int(serial, 16) for serial in self._connection.execute(query).scalars())

    def denied_serials(self) -> tuple[int, ...]:
        """Sorted."""
        found = self._connection.execute(sa.select(denied.c.serial)).scalars()
        return tuple(sorted(int(serial, 16) for serial in found))

    def deny(self, node: NodeId | None, serials: Iterable[int], now: datetime) -> int:
        """Put serials of `node`, or of an authority, on the deny list; how many were not on it before."""
        known = set(self.denied_serials())
        new = [serial for serial in serials if serial not in known]
        if new:
            self._connection.execute(
                sa.insert(denied),
                [
                    {"serial": f"{serial:x}", "node": str(node or ""), "denied_at": to_milliseconds(now)}
                    for serial in new
                ],
            )
        return len(new)


def _record(row: RowMapping | Mapping[str, Any], oris: list[Ori]) -> MemberRecord:
    head = SignedStatement(row["body"], row["signature"]) if row["body"] is not None else None
    member = Member(
        node=NodeId(row["node"]),
        name=row["name"],
        oris=tuple(sorted(oris)),
        tls_subject=row["tls_subject"],
        signing_key=VerifyingKey(row["signing_key"]),
        disclosure_key=row["disclosure_key"],
        status=MemberStatus(row["status"]),
        joined_at=from_milliseconds(row["joined_at"]),
        answered_from=from_milliseconds(row["answered_from"]),
        head=head,
    )
    return MemberRecord(
        member,
        optional_time(row["revoked_at"]),
        optional_time(row["last_seen_at"]),
        optional_time(row["first_seen_at"]),
    )
