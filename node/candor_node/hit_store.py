"""Hits, and what failed while indexes were opened: the SQL of findings (docs/protocol.md §6.4, §7.6).

Every function runs inside a transaction of `Store`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from candor_node.store import Database
from candor_proto.canonical import to_milliseconds
from candor_proto.directory import IndexHead
from candor_proto.errors import StoreUnusable
from candor_proto.ids import BlobId, Digest, Handle, LookupId, NodeId
from candor_proto.result import Hit, order_hits
from candor_proto.scoring import Band, Explanation


@dataclass(frozen=True)
class StoredHit:
    """A hit with the number by which people name it."""

    number: int
    hit: Hit
    blob: bytes = field(repr=False)


def add_hits(db: Database, search_id: LookupId, found: Sequence[tuple[Hit, bytes]], now: datetime) -> int:
    """Number and store hits with their blobs; known ones keep their number. Returns how many were new."""
    last = db.execute(
        "SELECT coalesce(max(number), 0) FROM hits WHERE search_id = ?", (search_id.value,)
    ).fetchone()[0]
    known = {
        tuple(row)
        for row in db.execute(
            "SELECT owner, epoch, blob_id FROM hits WHERE search_id = ?", (search_id.value,)
        ).fetchall()
    }
    fresh = [
        (hit, blob) for hit, blob in found if (str(hit.owner), hit.epoch, hit.blob_id.value) not in known
    ]
    for number, (hit, blob) in enumerate(fresh, last + 1):
        explanation = asdict(hit.explanation) | {"band": hit.explanation.band.value}
        db.execute(
            "INSERT INTO hits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                search_id.value,
                number,
                str(hit.owner),
                hit.epoch,
                hit.blob_id.value,
                hit.handle.value,
                hit.commitment.value,
                hit.kind,
                hit.tier,
                hit.expires_days,
                json.dumps(hit.labels),
                json.dumps(explanation),
                blob,
                hit.marker,
                to_milliseconds(now),
                hit.secret,
            ),
        )
    return len(fresh)


def number_hits(db: Database, search_id: LookupId) -> None:
    """Number the hits as they are shown, likely persons first; only before anybody has seen a number."""
    stored = hits(db, search_id)
    ranked = order_hits(one.hit for one in stored)
    places = {(hit.owner, hit.epoch, hit.blob_id): place for place, hit in enumerate(ranked, 1)}
    # Twice, for a number may still be another hit's while it is given anew.
    for offset in (len(stored), 0):
        for one in stored:
            place = places[one.hit.owner, one.hit.epoch, one.hit.blob_id]
            db.execute(
                "UPDATE hits SET number = ? WHERE search_id = ? AND owner = ? AND epoch = ? AND blob_id = ?",
                (
                    place + offset,
                    search_id.value,
                    str(one.hit.owner),
                    one.hit.epoch,
                    one.hit.blob_id.value,
                ),
            )


def hits(db: Database, search_id: LookupId) -> list[StoredHit]:
    rows = db.execute(
        "SELECT number, owner, epoch, blob_id, handle, com, kind, tier, expires_days, labels, explanation,"
        " marker, blob, secret FROM hits WHERE search_id = ? ORDER BY number",
        (search_id.value,),
    ).fetchall()
    return [_read_hit(row) for row in rows]


def _read_hit(
    row: tuple[int, str, int, bytes, bytes, bytes, int, int, int, str, str, bytes, bytes, bytes],
) -> StoredHit:
    number, owner, epoch, blob_id, handle, com, kind, tier, expires_days, labels, explanation = row[:11]
    marker, blob, secret = row[11:]
    hit = Hit(
        NodeId(owner),
        epoch,
        BlobId(blob_id),
        Handle(handle),
        Digest(com),
        kind,
        tier,
        expires_days,
        tuple(json.loads(labels)),
        _read_explanation(json.loads(explanation)),
        marker,
        secret,
    )
    return StoredHit(number, hit, blob)


def _read_explanation(stored: dict[str, object]) -> Explanation:
    lists = {name: tuple(map(str, _list(stored[name]))) for name in _EXPLANATION_LISTS}
    centibits = stored["centibits"]
    if not isinstance(centibits, int):
        raise StoreUnusable("A stored hit has no weight.")
    return Explanation(band=Band(stored["band"]), centibits=centibits, **lists)


_EXPLANATION_LISTS = ("reasons", "agreeing", "differing", "not_known")


def blob_of(db: Database, search_id: LookupId, number: int) -> BlobId | None:
    """Which blob stands behind a hit."""
    row = db.execute(
        "SELECT blob_id FROM hits WHERE search_id = ? AND number = ?", (search_id.value, number)
    ).fetchone()
    return None if row is None else BlobId(row[0])


def add_failure(
    db: Database, search_id: LookupId, head: IndexHead, blob_id: BlobId | None, code: str, now: datetime
) -> None:
    """Keep a local failure in the index under `head` for the calendar digest (§7.6)."""
    db.execute(
        "INSERT INTO failure_digest (search_id, node, blob_id, code, noticed_at, epoch, sequence)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            search_id.value,
            str(head.node),
            blob_id.value if blob_id else b"",
            code,
            to_milliseconds(now),
            head.epoch,
            head.sequence,
        ),
    )


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise StoreUnusable("A column of the database holds something else than a list.")
    return value
