"""Rows of octets by place and name: files of the log, segments (docs/replicas.md, section 2).

An object is in pieces of at most PIECE_OCTETS, so that none is held in memory whole by whoever copies it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from candor_hub.driver import Connection, change_matching, insert_many, sa
from candor_hub.tables import objects

PIECE_OCTETS = 1 << 20
LOG, SEGMENTS = "log", "segments"
_COLUMNS = ("place", "name", "piece", "pieces", "octets")
_BATCH = 1_000


class Objects:
    """Octets by place and name; names are divided by `/` like paths."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, place: str, name: str, octets: bytes) -> None:
        """Store the object, in place of an older one."""
        self.remove(place, [name])
        pieces = max(1, -(-len(octets) // PIECE_OCTETS))
        for piece in range(pieces):
            at = piece * PIECE_OCTETS
            self.add_piece(place, name, piece, pieces, octets[at : at + PIECE_OCTETS])

    def add_piece(self, place: str, name: str, piece: int, pieces: int, octets: bytes) -> None:
        """Store one of the pieces of an object that has no such piece yet."""
        insert_many(self._connection, "objects", _COLUMNS, [(place, name, piece, pieces, octets)])

    def get(self, place: str, name: str) -> bytes | None:
        """The whole object; None if it is not there, or not whole."""
        query = (
            sa.select(objects.c.pieces, objects.c.octets)
            .where(objects.c.place == place, objects.c.name == name)
            .order_by(objects.c.piece)
        )
        rows: Sequence[Any] = self._connection.execute(query).all()
        if not rows or len(rows) != rows[0].pieces:
            return None
        return b"".join(row.octets for row in rows)

    def piece(self, place: str, name: str, piece: int) -> tuple[int, bytes] | None:
        """How many pieces the object has, and one of them."""
        query = sa.select(objects.c.pieces, objects.c.octets).where(
            objects.c.place == place, objects.c.name == name, objects.c.piece == piece
        )
        row = self._connection.execute(query).first()
        return None if row is None else (row.pieces, row.octets)

    def remove(self, place: str, names: Sequence[str]) -> int:
        """Remove these; how many pieces there were."""
        keys = [(place, name) for name in names]
        return change_matching(self._connection, "DELETE FROM objects", ("place", "name"), keys)

    # --- names ------------------------------------------------------------------------------------------

    def below(self, place: str, folder: str) -> list[str]:
        """What stands directly in `folder`, which has few names: the rest of each."""
        start = f"{folder}/"
        query = (
            sa.select(objects.c.name)
            .distinct()
            .where(objects.c.place == place, objects.c.name >= start, objects.c.name < f"{folder}0")
        )
        found = self._connection.execute(query).scalars()
        return [name.removeprefix(start) for name in found if "/" not in name.removeprefix(start)]

    def folders(self, place: str) -> list[str]:
        """The first part of every name, in order, without looking at all of them."""
        found = list[str]()
        after = ""
        while True:
            query = sa.select(sa.func.min(objects.c.name)).where(
                objects.c.place == place, objects.c.name >= after
            )
            name: str | None = self._connection.execute(query).scalar()
            if name is None:
                return found
            first, slash, _ = name.partition("/")
            found.append(first)
            # "0" is the character behind "/".
            after = f"{first}0" if slash else f"{name}\x01"

    def names(self, place: str, after: str = "", limit: int = _BATCH) -> list[str]:
        """The first `limit` names behind `after`, in order."""
        query = (
            sa.select(objects.c.name)
            .where(objects.c.place == place, objects.c.name > after, objects.c.piece == 0)
            .order_by(objects.c.name)
            .limit(limit)
        )
        return list(self._connection.execute(query).scalars())

    def pages(self, place: str) -> Iterator[list[str]]:
        """All names, in order, some at a time."""
        after = ""
        while some := self.names(place, after):
            yield some
            after = some[-1]
