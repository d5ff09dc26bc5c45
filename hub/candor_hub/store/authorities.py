"""Rows of issuing authorities: which one certifies, and which ones did before."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from candor_hub.driver import Connection, RowMapping, sa
from candor_hub.tables import authorities
from candor_proto.canonical import from_milliseconds, to_milliseconds


@dataclass(frozen=True)
class AuthorityRecord:
    """An issuing authority's certificate (DER), and when it was taken into use."""

    serial: int
    der: bytes = field(repr=False)
    adopted_at: datetime


class Authorities:
    """Authorities in the order of their adoption; none is ever removed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def newest(self) -> AuthorityRecord | None:
        """The one in use; None in a database that was not run by this version yet."""
        query = sa.select(authorities).order_by(authorities.c.adopted_at.desc()).limit(1)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _record(row)

    def find(self, serial: int) -> AuthorityRecord | None:
        query = sa.select(authorities).where(authorities.c.serial == f"{serial:x}")
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _record(row)

    def all(self) -> tuple[AuthorityRecord, ...]:
        """The oldest first, the one in use last."""
        query = sa.select(authorities).order_by(authorities.c.adopted_at)
        return tuple(_record(row) for row in self._connection.execute(query).mappings())

    def add(self, serial: int, der: bytes, now: datetime) -> None:
        """From now on this one is in use, whatever the clock said when the one before was adopted."""
        before = self._connection.execute(sa.select(sa.func.max(authorities.c.adopted_at))).scalar()
        at = max(to_milliseconds(now), (before or 0) + 1)
        self._connection.execute(
            sa.insert(authorities).values(serial=f"{serial:x}", certificate=der, adopted_at=at)
        )


def _record(row: RowMapping) -> AuthorityRecord:
    return AuthorityRecord(
        int(row["serial"], 16), bytes(row["certificate"]), from_milliseconds(row["adopted_at"])
    )
