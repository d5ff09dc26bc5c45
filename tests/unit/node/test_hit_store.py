"""What is stored of a hit is what is shown of it for ever (docs/protocol.md §7.7)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from candor_node import exchange_migrations, hit_store, lookup_store
from candor_node.lookup_store import SearchRow
from candor_node.store import Database, Store
from candor_proto.ids import BlobId, Digest, Handle, LookupId, LookupShape, NodeId, Purpose
from candor_proto.result import Hit
from candor_proto.scoring import Band, Explanation
from candor_proto.statements import LOOKUP_LIFE
from tests.empty import empty_store
from tests.parties import NOW
from tests.records import STORE_KEY

SEARCH = LookupId(bytes(16))
REASONS = ("different last four", "surname agrees in part")
EXPLANATION = Explanation(Band.REVIEW, -123, REASONS, ("surname",), ("last four of the SSN",), ("sex",))


def hit(blob: int, explanation: Explanation = EXPLANATION) -> Hit:
    ids = bytes([blob]) * 32
    return Hit(
        NodeId("bravo"),
        1,
        BlobId(ids[:16]),
        Handle(ids[:16]),
        Digest(ids),
        1,
        1,
        0,
        ("F+Dc", "F+S"),
        explanation,
        ids[:16],
    )


def begin(db: Database) -> None:
    row = SearchRow(
        SEARCH,
        Purpose.J_APPLICANT,
        LookupShape.DETAILED,
        "REQ-1",
        "C-1",
        "Roe",
        NOW,
        NOW + LOOKUP_LIFE,
        1,
        False,
        1,
        (),
    )
    lookup_store.add_search(db, row)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with empty_store(tmp_path / "node.db", STORE_KEY) as store:
        store.run_sync(begin)
        yield store


@pytest.mark.parametrize("band", list(Band))
def test_a_stored_hit_reads_back_as_it_was_whatever_its_weight_would_be_today(
    store: Store, band: Band
) -> None:
    found = hit(1, replace(EXPLANATION, band=band))
    store.run_sync(lambda db: hit_store.add_hits(db, SEARCH, [(found, b"blob")], NOW))
    (read,) = store.run_sync(lambda db: hit_store.hits(db, SEARCH))
    assert read.hit == found
    assert read.hit.explanation.headline == found.explanation.headline


def test_a_hit_that_is_found_again_keeps_number_and_band(store: Store) -> None:
    first, second = hit(1), hit(2)
    store.run_sync(lambda db: hit_store.add_hits(db, SEARCH, [(first, b"one")], NOW))
    again = hit(1, replace(EXPLANATION, band=Band.BELOW, centibits=-900))
    found = [(second, b"two"), (again, b"one")]
    added = store.run_sync(lambda db: hit_store.add_hits(db, SEARCH, found, NOW))
    stored = store.run_sync(lambda db: hit_store.hits(db, SEARCH))
    assert added == 1
    assert [(one.number, one.hit) for one in stored] == [(1, first), (2, second)]


def test_a_hit_found_when_there_were_verdicts_can_still_be_shown(store: Store) -> None:
    old = {
        "verdict": "different person",
        "bits": -4.6,
        "reasons": list(REASONS),
        "agreeing": ["surname"],
        "differing": [],
        "not_known": [],
    }
    store.run_sync(lambda db: hit_store.add_hits(db, SEARCH, [(hit(1), b"blob")], NOW))
    store.run_sync(lambda db: db.execute("UPDATE hits SET explanation = ?", (json.dumps(old),)))
    store.run_sync(exchange_migrations.bands)
    (read,) = store.run_sync(lambda db: hit_store.hits(db, SEARCH))
    found = read.hit.explanation
    assert (found.band, found.centibits, found.reasons) == (Band.BELOW, -460, REASONS)
    store.run_sync(exchange_migrations.bands)
    assert store.run_sync(lambda db: hit_store.hits(db, SEARCH)) == [read]
