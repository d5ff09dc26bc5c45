"""Rows of certificates: what was issued to whom, in answer to which request, and what of it is denied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from candor_hub.driver import Connection, batches, sa
from candor_hub.store.members import optional_time
from candor_hub.tables import certificates, denied, renewals
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import Digest, NodeId


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate of a member; `renewed_with` is the serial that its request was made with, if any.

    `issuer` is its authority's serial, None of one that an earlier version issued; `used_at` is when the
    member showed it first, None as long as it may never have got it.
    """

    serial: int
    node: NodeId
    der: bytes = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    denied: bool
    renewed_with: int | None
    issuer: int | None = None
    used_at: datetime | None = None

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

    def find_all(self, serials: Iterable[int]) -> dict[int, CertificateRecord]:
        """Those of these serials that this store issued, by serial."""
        names = sorted({f"{serial:x}" for serial in serials})
        return {
            record.serial: record
            for some in batches(names)
            for record in self._select(certificates.c.serial.in_(some))
        }

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

    def shown(self, now: datetime) -> dict[NodeId, CertificateRecord]:
        """What each member goes by: of its live certificates the newest one that it has shown, if any."""
        found: dict[NodeId, CertificateRecord] = {}
        for record in self._select(certificates.c.expires_at >= to_milliseconds(now)):
            known = found.get(record.node)
            if not record.denied and (known is None or record.used_at is not None or known.used_at is None):
                found[record.node] = record
        return found

    def set_used(self, serials: Iterable[int], now: datetime) -> None:
        """Their members have shown these."""
        for some in batches(sorted(f"{serial:x}" for serial in serials)):
            unused = certificates.c.serial.in_(some) & certificates.c.used_at.is_(None)
            change = sa.update(certificates).where(unused)
            self._connection.execute(change.values(used_at=to_milliseconds(now)))

    def add_renewal(self, node: NodeId, request: Digest, serial: int, renewed_with: int | None) -> None:
        self._connection.execute(
            sa.insert(renewals).values(
                node=str(node),
                request_digest=request.value,
                serial=f"{serial:x}",
                renewed_with="" if renewed_with is None else f"{renewed_with:x}",
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
        above = denied.alias("above")  # a denied authority takes along what it certified
        query = (
            sa.select(certificates, renewals.c.renewed_with)
            .add_columns(sa.func.coalesce(denied.c.denied_at, above.c.denied_at).label("denied_at"))
            .outerjoin(denied, denied.c.serial == certificates.c.serial)
            .outerjoin(above, above.c.serial == certificates.c.issuer)
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
                issuer=int(row["issuer"], 16) if row["issuer"] else None,
                used_at=optional_time(row["used_at"]),
            )
            for row in self._connection.execute(query).mappings()
        )
