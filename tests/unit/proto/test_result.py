"""A result cannot exist without coverage (docs/protocol.md §7.7; RECORDS.md §6)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from candor_proto.errors import MalformedMessage
from candor_proto.ids import BlobId, Digest, Handle, LookupId, NodeId
from candor_proto.result import Coverage, Hit, LookupResult, Overall, TargetReport, TargetState, order_hits
from candor_proto.scoring import Band, Explanation
from tests.parties import NOW

ID = LookupId(bytes(16))


def report(name: str, state: TargetState = TargetState.ANSWERED, hours: int = 3) -> TargetReport:
    return TargetReport(NodeId(name), state, NOW - timedelta(hours=hours))


def coverage(*reports: TargetReport) -> Coverage:
    return Coverage(reports, NOW, 7)


def hit(owner: str, band: Band = Band.REVIEW, blob: int = 0, centibits: int = 0) -> Hit:
    return Hit(
        NodeId(owner),
        1,
        BlobId(bytes([blob]) * 16),
        Handle(bytes(16)),
        Digest(bytes(32)),
        1,
        1,
        0,
        ("L3+S",),
        Explanation(band, centibits, (), (), (), ()),
        bytes(16),
    )


def test_a_result_cannot_be_built_without_coverage() -> None:
    with pytest.raises(TypeError):
        LookupResult(ID, ())  # type: ignore[call-arg]  # the point of the test
    with pytest.raises(MalformedMessage):
        LookupResult(ID, (), None)  # type: ignore[arg-type]  # the point of the test


def test_coverage_of_nobody_does_not_exist() -> None:
    with pytest.raises(MalformedMessage):
        coverage()


def test_coverage_names_each_target_once_in_order() -> None:
    with pytest.raises(MalformedMessage):
        coverage(report("b"), report("a"))
    with pytest.raises(MalformedMessage):
        coverage(report("a"), report("a"))


def test_an_answer_without_the_age_of_its_index_does_not_count() -> None:
    with pytest.raises(MalformedMessage):
        coverage(TargetReport(NodeId("a"), TargetState.ANSWERED))


def test_a_hit_of_a_node_that_did_not_answer_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        LookupResult(ID, (hit("b"),), coverage(report("a"), report("b", TargetState.PENDING)))


def test_no_record_needs_every_single_answer() -> None:
    assert LookupResult(ID, (), coverage(report("a"), report("b"))).overall is Overall.NO_RECORD
    for state in TargetState:
        if state is not TargetState.ANSWERED:
            result = LookupResult(ID, (), coverage(report("a"), report("b", state)))
            assert result.overall is Overall.INCOMPLETE


def test_one_candidate_is_a_match_however_incomplete_the_coverage() -> None:
    result = LookupResult(ID, (hit("a"),), coverage(report("a"), report("b", TargetState.PENDING)))
    assert result.overall is Overall.MATCH


def test_somebody_elses_record_is_no_match() -> None:
    result = LookupResult(ID, (hit("a", Band.BELOW),), coverage(report("a")))
    assert result.overall is Overall.NO_RECORD


def test_the_coverage_sentence_says_who_is_missing_and_how_old_the_oldest_index_is() -> None:
    shown = coverage(
        report("a", hours=26), report("b", TargetState.PENDING), report("c", TargetState.REFUSED)
    ).sentence()
    assert shown == "1 of 3 nodes answered; 1 pending (b); 1 refused (c); oldest index 26 h"


def test_strong_ones_come_first_then_likelier_ones_and_the_order_is_stable() -> None:
    hits = [
        hit("b", Band.BELOW, centibits=-1),
        hit("c"),
        hit("d", centibits=200),
        hit("z", Band.STRONG, centibits=100),
        hit("a", blob=1),
        hit("a", Band.BELOW, centibits=-2),
    ]
    ordered = order_hits(hits)
    assert [str(item.owner) for item in ordered] == ["z", "d", "a", "c", "b", "a"]
    assert order_hits(reversed(hits)) == ordered
