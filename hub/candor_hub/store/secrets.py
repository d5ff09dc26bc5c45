"""Rows of sealed secrets; what opens them is in no row (`candor_hub.vault`)."""

from __future__ import annotations

from datetime import datetime

from candor_hub.driver import Connection, sa
from candor_hub.tables import secrets
from candor_proto.canonical import to_milliseconds


class Secrets:
    """Sealed octets by name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> bytes | None:
        query = sa.select(secrets.c.sealed).where(secrets.c.name == name)
        found: bytes | None = self._connection.execute(query).scalar()
        return found

    def put(self, name: str, sealed: bytes, now: datetime) -> None:
        self.remove(name)
        self._connection.execute(
            sa.insert(secrets).values(name=name, sealed=sealed, stored_at=to_milliseconds(now))
        )

    def remove(self, name: str) -> None:
        self._connection.execute(sa.delete(secrets).where(secrets.c.name == name))

    def names(self) -> list[str]:
        """In order."""
        return list(self._connection.execute(sa.select(secrets.c.name).order_by(secrets.c.name)).scalars())
