"""Numbers that were perhaps used by a database that went back: what is counted goes on above them
(`rollback`)."""

from __future__ import annotations

from candor_node.store import Database

SEQUENCE, EPOCH = "sequence", "epoch"


def floor(db: Database, name: str) -> int:
    """The highest number of this kind that was perhaps used; 0 in a database that never went back."""
    row = db.execute("SELECT value FROM number_floors WHERE name = ?", [name]).fetchone()
    return int(row[0]) if row else 0


def raise_floor(db: Database, name: str, used: int, era: int) -> None:
    """Go on at the next full `era` above all that was used."""
    above = max(used, floor(db, name)) // era * era + era - 1
    db.execute("INSERT OR REPLACE INTO number_floors VALUES (?, ?)", [name, above])
