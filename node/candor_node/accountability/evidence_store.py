"""Evidence that was noticed, sealed in this database until a person hands it out: the SQL (§17.2).

Every function runs inside a transaction of `Store`. Nothing is sent and nothing is written to the ledger when
evidence is noticed: a heartbeat tells the number of ledger entries (§14.8).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from candor_node.store import Database
from candor_proto.accountability.evidence import KEYS, Form, Item, Kind, read_item, write_item
from candor_proto.canonical import digest, from_milliseconds, to_milliseconds
from candor_proto.errors import UnknownObject

# A party that misbehaves without end proves it no better, and must not fill the disk.
MAX_ROWS, MAX_OCTETS = 100, 256 * 1024 * 1024


class EvidenceState(Enum):
    READY = "ready"
    EXPORTED = "exported"


@dataclass(frozen=True)
class Noticed:
    """What was noticed: `items` need no proof, `wanted` says where the log holds the others (by key).

    A place in the log is `["place", shard, position]`, `["member", node]`, `["head", digest in hexadecimal]`,
    or `["range", shard, from, position]` for what proves the number of a heartbeat's bit.
    """

    kind: Kind
    accused: str
    items: Mapping[str, Item] = field(repr=False)
    wanted: Mapping[str, list[str | int]]

    def identity(self) -> bytes:
        """The same misdeed, noticed again, is not kept again."""
        forms = KEYS[self.kind]
        large = _apart(forms, self.items)
        written: dict[str, object] = {
            name: hashlib.sha256(large[name]).hexdigest() if name in large else write_item(item, forms[name])
            for name, item in self.items.items()
        }
        text = json.dumps(
            [written, {name: list(where) for name, where in self.wanted.items()}], sort_keys=True
        )
        return digest("own-evidence", self.kind.value.encode(), self.accused.encode(), text.encode())


@dataclass(frozen=True)
class KeptEvidence:
    """A row; what was noticed is loaded apart, for it may be large."""

    number: int
    kind: Kind
    accused: str
    state: EvidenceState
    noticed_at: datetime
    exported_at: datetime | None


def keep(db: Database, noticed: Noticed, now: datetime) -> int:
    """The number of a new row; 0 when it is known already, or one too many of its kind and party."""
    forms, identity = KEYS[noticed.kind], noticed.identity()
    known = db.execute("SELECT 1 FROM evidence WHERE identity = ?", [identity]).fetchone()
    apart = _apart(forms, noticed.items)
    if known is not None or _enough(db, noticed, sum(len(octets) for octets in apart.values())):
        return 0
    items = {name: write_item(item, forms[name]) for name, item in noticed.items.items() if name not in apart}
    done = db.execute(
        "INSERT INTO evidence (identity, kind, accused, state, noticed_at, items, wanted)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            identity,
            noticed.kind.value,
            noticed.accused,
            EvidenceState.READY.value,
            to_milliseconds(now),
            json.dumps(items),
            json.dumps({name: list(where) for name, where in noticed.wanted.items()}),
        ],
    )
    number = int(done.lastrowid or 0)
    db.conn.executemany(
        "INSERT INTO evidence_octets VALUES (?, ?, ?)",
        [(number, name, octets) for name, octets in apart.items()],
    )
    return number


def _apart(forms: Mapping[str, Form], items: Mapping[str, Item]) -> dict[str, bytes]:
    """Segments, which are large."""
    large = (Form.OCTETS, Form.OCTETS_OR_NULL)
    return {name: item for name, item in items.items() if forms[name] in large and isinstance(item, bytes)}


def _enough(db: Database, noticed: Noticed, octets: int) -> bool:
    (rows,) = db.execute(
        "SELECT count(*) FROM evidence WHERE kind = ? AND accused = ?", [noticed.kind.value, noticed.accused]
    ).fetchone()
    (held,) = db.execute(
        "SELECT coalesce(sum(length(octets)), 0) FROM evidence_octets JOIN evidence USING (number)"
        " WHERE accused = ?",
        [noticed.accused],
    ).fetchone()
    return bool(rows >= MAX_ROWS or (octets and held + octets > MAX_OCTETS))


_ROW = "SELECT number, kind, accused, state, noticed_at, exported_at FROM evidence"


def _read(row: tuple[int, str, str, str, int, int | None]) -> KeptEvidence:
    number, kind, accused, state, noticed_at, exported_at = row
    return KeptEvidence(
        number,
        Kind(kind),
        accused,
        EvidenceState(state),
        from_milliseconds(noticed_at),
        None if exported_at is None else from_milliseconds(exported_at),
    )


def kept(db: Database) -> list[KeptEvidence]:
    """All of it, the oldest first."""
    return [_read(row) for row in db.execute(f"{_ROW} ORDER BY number").fetchall()]


def find(db: Database, number: int) -> tuple[KeptEvidence, Noticed]:
    """Raises UnknownObject."""
    row = db.execute(f"{_ROW} WHERE number = ?", [number]).fetchone()
    if row is None:
        raise UnknownObject(
            f"There is no evidence {number}.", remedy="`candor-node audit evidence` lists what there is."
        )
    found = _read(row)
    items_text, wanted_text = db.execute(
        "SELECT items, wanted FROM evidence WHERE number = ?", [number]
    ).fetchone()
    stored: dict[str, Any] = json.loads(items_text)
    forms = KEYS[found.kind]
    items: dict[str, Item] = {name: read_item(value, forms[name]) for name, value in stored.items()}
    for name, octets in db.execute("SELECT name, octets FROM evidence_octets WHERE number = ?", [number]):
        items[name] = octets
    return found, Noticed(found.kind, found.accused, items, json.loads(wanted_text))


def exported(db: Database, number: int, now: datetime) -> None:
    db.execute(
        "UPDATE evidence SET state = ?, exported_at = ? WHERE number = ?",
        [EvidenceState.EXPORTED.value, to_milliseconds(now), number],
    )
