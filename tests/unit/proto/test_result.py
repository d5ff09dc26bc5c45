"""A result cannot exist without coverage (docs/protocol.md §7.7; RECORDS.md §6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.directory import MAX_HEAD_AGE
from candor_proto.errors import MalformedMessage
from candor_proto.ids import BlobId, Digest, Handle, LookupId, NodeId
from candor_proto.result import (
    Coverage,
    Hit,
    LogSeen,
    LookupResult,
    Overall,
    TargetReport,
    TargetState,
    age,
    order_hits,
)
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


def test_an_index_past_its_age_when_it_was_looked_into_is_no_answer() -> None:
    """§6.7: as of when the answer was taken in, not as of when somebody reads of it."""
    a = NodeId("a")
    fresh = TargetReport(a, TargetState.ANSWERED, NOW - MAX_HEAD_AGE, as_of=NOW)
    assert Coverage((fresh,), NOW + timedelta(days=3), 7).complete
    with pytest.raises(MalformedMessage, match="past its age"):
        coverage(TargetReport(a, TargetState.ANSWERED, NOW - MAX_HEAD_AGE - timedelta(seconds=1), as_of=NOW))


SILENT = (TargetState.PENDING, TargetState.EXPIRED, TargetState.UNKNOWN_SCHEME, TargetState.INVALID)


@pytest.mark.parametrize("state", SILENT)
def test_who_has_not_answered_has_no_time_of_an_answer(state: TargetState) -> None:
    with pytest.raises(MalformedMessage, match="has not answered"):
        coverage(TargetReport(NodeId("a"), state, answered_at=NOW))


@pytest.mark.parametrize("state", [TargetState.PENDING, TargetState.EXPIRED])
def test_who_has_said_nothing_was_not_late(state: TargetState) -> None:
    with pytest.raises(MalformedMessage, match="late answer"):
        coverage(TargetReport(NodeId("a"), state, late=True))


STATES = st.lists(st.tuples(st.sampled_from(TargetState), st.booleans()), min_size=1, max_size=12)


@given(STATES)
def test_only_answers_count_late_or_not_and_nothing_else_ever_does(
    lines: Sequence[tuple[TargetState, bool]],
) -> None:
    reports = tuple(
        TargetReport(
            NodeId(f"node-{number:02}"),
            state,
            NOW,
            late=late and state not in (TargetState.PENDING, TargetState.EXPIRED),
        )
        for number, (state, late) in enumerate(lines)
    )
    found = Coverage(reports, NOW, 7)
    answered = [state for state, _ in lines if state is TargetState.ANSWERED]
    assert (found.answered, found.asked) == (len(answered), len(lines))
    assert found.late == sum(late for state, late in lines if state is TargetState.ANSWERED)
    assert found.complete == (len(answered) == len(lines))
    overall = LookupResult(ID, (), found).overall
    assert overall is (Overall.NO_RECORD if found.complete else Overall.INCOMPLETE)
    for state in {state for state, _ in lines} - {TargetState.ANSWERED}:
        assert f" {state.value} (" in found.words()


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


def test_the_sentence_says_who_was_late_and_that_the_log_is() -> None:
    late = TargetReport(NodeId("b"), TargetState.ANSWERED, NOW, late=True)
    assert coverage(report("a"), late).sentence() == (
        "2 of 2 nodes answered, 1 of them late (b); oldest index 3 h"
    )
    assert coverage(report("a"), late).words(late=False) == "2 of 2 nodes answered"
    for behind, words in ((False, ""), (True, "; the log is LATE: witnessed 5 h before")):
        log = LogSeen("candor.example/log/1", 7, NOW - timedelta(hours=5), behind)
        assert Coverage((report("a"),), NOW, 7, log).sentence() == (
            f"1 of 1 nodes answered; oldest index 3 h{words}"
        )


def test_a_sentence_about_a_thousand_nodes_is_short() -> None:
    reports = [report(f"node-{number:04}", TargetState.PENDING) for number in range(1_000)]
    assert coverage(*reports).sentence() == (
        "0 of 1000 nodes answered; 1000 pending (node-0000, node-0001, node-0002, node-0003, node-0004, …)"
    )


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (NOW, "0 min"),
        (NOW + timedelta(minutes=5), "0 min"),
        (NOW - timedelta(minutes=119), "119 min"),
        (NOW - timedelta(hours=71), "71 h"),
        (NOW - timedelta(hours=72), "3 days"),
    ],
)
def test_ages_are_short_words(then: datetime, words: str) -> None:
    assert age(NOW, then) == words


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
