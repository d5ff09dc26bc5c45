"""Rows of small things that are remembered by a name: the federation, and what the log asks for."""

from __future__ import annotations

from candor_hub.driver import Connection, sa
from candor_hub.tables import meta, metadata

FEDERATION = "federation"
# Of a database that another one has taken the place of: which, and when. Of that one, until it is finished:
# since when.
MOVED, MOVING = "moved", "moving"
# Of the schema, whoever's database it is (`candor_hub.migrations`).
SCHEMA_FACTS = ("schema", "oldest_schema")


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

    def clear_database(self) -> None:
        """Delete every row of every table: of a database that was begun and not finished."""
        for table in reversed(metadata.sorted_tables):
            rows = sa.delete(table)
            if table is meta:
                rows = rows.where(meta.c.name.not_in(SCHEMA_FACTS))
            self._connection.execute(rows)
