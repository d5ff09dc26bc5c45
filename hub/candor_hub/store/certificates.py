"""Rows of certificates: what was issued to whom, in answer to which request, and what of it is denied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from candor_hub.driver import Connection, sa
from candor_hub.tables import certificates, denied, renewals
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import Digest, NodeId


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate of a member; `renewed_with` is the serial that its request was made with, if any."""

    serial: int
    node: NodeId
    der: bytes = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    denied: bool
    renewed_with: int | None

    def live(self, now: datetime) -> bool:
        return not self.denied and now <= self.expires_at


class Certificates:
    """Certificates by serial; `Members.add_certificate` writes them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, serial: int) -> CertificateRecord | None:
        """The certificate with this serial, if this store issued it."""
        found = self._select(certificates.c.serial == f"{serial:x}")
        return found[0] if found else None

    def of(self, node: NodeId) -> tuple[CertificateRecord, ...]:
        """Every certificate of `node`, oldest first."""
        return self._select(certificates.c.node == str(node))

    def answer_to(self, node: NodeId, request: Digest) -> CertificateRecord | None:
        """What was issued in answer to this very request of `node`."""
        query = sa.select(renewals.c.serial).where(
            renewals.c.node == str(node), renewals.c.request_digest == request.value
        )
        serial = self._connection.execute(query).scalar()
        return None if serial is None else self.find(int(serial, 16))

    def add_renewal(self, node: NodeId, request: Digest, serial: int, renewed_with: int) -> None:
        self._connection.execute(
            sa.insert(renewals).values(
                node=str(node),
                request_digest=request.value,
                serial=f"{serial:x}",
                renewed_with=f"{renewed_with:x}",
            )
        )

    def any_denied(self, serials: Iterable[int]) -> bool:
        names = [f"{serial:x}" for serial in serials]
        query = sa.select(denied.c.serial).where(denied.c.serial.in_(names))
        return self._connection.execute(query).first() is not None

    def drop_ended(self, before: datetime) -> int:
        """Forget certificates that ended before; how many. What was denied stays denied."""
        ended = certificates.c.expires_at < to_milliseconds(before)
        gone = sa.select(certificates.c.serial).where(ended)
        self._connection.execute(sa.delete(renewals).where(renewals.c.serial.in_(gone)))
        return self._connection.execute(sa.delete(certificates).where(ended)).rowcount

    def _select(self, condition: sa.ColumnElement[bool]) -> tuple[CertificateRecord, ...]:
        query = (
            sa.select(certificates, denied.c.denied_at, renewals.c.renewed_with)
            .outerjoin(denied, denied.c.serial == certificates.c.serial)
            .outerjoin(renewals, renewals.c.serial == certificates.c.serial)
            .where(condition)
            .order_by(certificates.c.issued_at, certificates.c.serial)
        )
        return tuple(
            CertificateRecord(
                serial=int(row["serial"], 16),
                node=NodeId(row["node"]),
                der=row["certificate"],
                issued_at=from_milliseconds(row["issued_at"]),
                expires_at=from_milliseconds(row["expires_at"]),
                denied=row["denied_at"] is not None,
                renewed_with=int(row["renewed_with"], 16) if row["renewed_with"] else None,
            )
            for row in self._connection.execute(query).mappings()
        )
