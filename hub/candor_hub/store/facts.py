"""Rows of small things that are remembered by a name: the federation, and what the log asks for."""

from __future__ import annotations

from candor_hub.driver import Connection, sa
from candor_hub.tables import meta


class Facts:
    """Texts by name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> str | None:
        query = sa.select(meta.c.value).where(meta.c.name == name)
        found: str | None = self._connection.execute(query).scalar()
        return found

    def put(self, name: str, value: str | None) -> None:
        """Remember, or forget if `value` is None."""
        self._connection.execute(sa.delete(meta).where(meta.c.name == name))
        if value is not None:
            self._connection.execute(sa.insert(meta).values(name=name, value=value))
