"""Whether a stored hit still stands, and in which words (docs/protocol.md §9.12)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from candor_node import hit_store, ledger, lifecycle, lookup_store, reports
from candor_node.rechecking import Rechecked, recheck_hits, recheck_lookup
from candor_node.store import Database
from candor_proto.candidates import HitStanding, NodeIndex
from candor_proto.errors import UnknownObject, WrongStanding
from candor_proto.ids import BlobId, LookupId, NodeId
from candor_proto.result import Coverage, Hit, TargetReport, TargetState
from candor_proto.scoring import Band, Explanation
from candor_proto.sealed_index import IndexOwner
from candor_proto.segment import Segment, build
from candor_records.records import Dcn
from tests.indexes import index_of, keys_of
from tests.parties import FEDERATION, NOW
from tests.recalls import BRAVO, Couple

OWNER = IndexOwner(FEDERATION, BRAVO, 1)
KEYS = keys_of(OWNER)
EMPTY = build(OWNER, 1, (), (), ())


def some_blob() -> BlobId:
    """Of a dummy that stands in EMPTY: it cannot be told from a record's."""
    return BlobId(Segment(EMPTY)._blobs[0][:16])


@pytest.fixture
def couple(tmp_path: Path) -> Iterator[Couple]:
    """Alpha holds a record of bravo's, found as hit 1."""
    made = Couple(tmp_path)
    request = made.release(made.file())
    hit = Hit(
        BRAVO,
        1,
        some_blob(),
        request.handle,
        request.commitment,
        1,
        1,
        0,
        ("F+Dc",),
        Explanation(Band.STRONG, 900, (), (), (), ()),
        bytes(16),
    )
    covered = Coverage((TargetReport(BRAVO, TargetState.ANSWERED, NOW),), NOW, 1)

    def store(db: Database) -> None:
        hit_store.add_hits(db, made.search_id, [(hit, b"")], NOW)
        lookup_store.store_result(db, made.search_id, reports.write_coverage(covered), NOW, False)

    made.alpha.store.run_sync(store)
    made.carry()
    yield made
    made.close()


def recheck(couple: Couple, indexes: dict[NodeId, NodeIndex], now: datetime = NOW) -> Rechecked:
    def work(db: Database) -> dict[int, Rechecked]:
        return recheck_hits(db, couple.search_id, hit_store.hits(db, couple.search_id), indexes, now)

    return couple.alpha.store.run_sync(work)[1]


def test_a_hit_that_stands_says_as_of_when(couple: Couple) -> None:
    found = recheck(couple, {BRAVO: index_of([EMPTY], KEYS, OWNER)})
    assert (found.standing, found.index_issued_at) == (HitStanding.STANDS, NOW)
    assert "hours old" not in found.words
    found.check()


def test_an_old_index_is_said_to_be_old(couple: Couple) -> None:
    later = NOW + timedelta(hours=40)
    found = recheck(couple, {BRAVO: index_of([EMPTY], KEYS, OWNER)}, later)
    assert found.standing is HitStanding.STANDS
    assert "40 hours old" in found.words


def test_without_an_index_it_is_not_known_whether_a_hit_stands(couple: Couple) -> None:
    found = recheck(couple, {})
    assert (found.standing, found.index_issued_at) == (HitStanding.NO_INDEX, None)
    assert "not known" in found.words
    found.check()


def test_a_recalled_record_is_withdrawn_whatever_the_index_still_says(couple: Couple) -> None:
    dcn = couple.bravo.store.run_sync(lambda db: db.execute("SELECT dcn FROM record_heads").fetchone()[0])
    couple.act(lambda db, doing: lifecycle.void(db, Dcn(dcn), doing))
    couple.tell()
    found = recheck(couple, {BRAVO: index_of([EMPTY], KEYS, OWNER)})
    assert found.standing is HitStanding.WITHDRAWN
    assert "voided" in found.words
    with pytest.raises(WrongStanding, match="no longer one"):
        found.check()


def test_a_withdrawn_or_expired_hit_is_not_acted_on(couple: Couple) -> None:
    marked = build(OWNER, 2, (), (), [bytes(16)])
    found = recheck(couple, {BRAVO: index_of([EMPTY, marked], KEYS, OWNER)})
    assert found.standing is HitStanding.WITHDRAWN
    with pytest.raises(WrongStanding):
        found.check()


def test_a_recheck_is_accounted_for(couple: Couple) -> None:
    found = couple.alpha.store.run_sync(lambda db: recheck_lookup(db, couple.search_id, {}, NOW, "dana"))
    assert [one.number for one in found] == [1]
    (entry,) = couple.alpha.store.run_sync(lambda db: ledger.entries(db, event="lookup.rechecked"))
    assert entry.details == {"hits": 1, "over": 0, "by": "dana"}
    with pytest.raises(UnknownObject):
        couple.alpha.store.run_sync(lambda db: recheck_lookup(db, LookupId(bytes(16)), {}, NOW, "dana"))
