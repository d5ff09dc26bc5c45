"""Hits and coverage over all lookups of a person (docs/protocol.md §7.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from candor_node import coverage, reports
from candor_node.lookup_store import SearchRow
from candor_node.targets import TargetRow
from candor_proto.ids import LookupId, LookupShape, NodeId, Purpose
from candor_proto.result import Overall, TargetReport, TargetState

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BRAVO, CHARLIE = NodeId("bravo"), NodeId("charlie")
ANSWERED = TargetRow(TargetState.ANSWERED, index_issued_at=NOW)
PENDING = TargetRow(TargetState.PENDING)


@dataclass
class Asked:
    """What `coverage` reads of a lookup."""

    targets: Mapping[NodeId, TargetRow]
    plan_number: int = 0
    attempt: int = 0

    @property
    def lookup_id(self) -> LookupId:
        return LookupId(bytes([self.plan_number, self.attempt]) * 8)


def row(plans: int = 1, missing: tuple[TargetReport, ...] = ()) -> SearchRow:
    return SearchRow(
        LookupId(bytes(16)),
        Purpose.J_APPLICANT,
        LookupShape.DETAILED,
        "REQ-1",
        "C-1",
        "Roe",
        NOW,
        NOW + timedelta(hours=24),
        plans,
        False,
        7,
        missing,
    )


def state(search: SearchRow, *asks: Asked, node: NodeId = BRAVO) -> TargetState:
    of_store: Any = list(asks)
    return coverage.report(search, of_store, node).state


def test_a_node_that_was_not_asked_everything_has_not_answered() -> None:
    """It has not said "no record" of the second surname."""
    first = Asked({BRAVO: ANSWERED})
    assert state(row(plans=1), first) is TargetState.ANSWERED
    assert state(row(plans=2), first) is TargetState.PENDING
    assert state(row(plans=2), first, Asked({CHARLIE: ANSWERED}, 1)) is TargetState.NO_INDEX
    assert state(row(plans=2), first, Asked({BRAVO: ANSWERED}, 1)) is TargetState.ANSWERED


@pytest.mark.parametrize("other", [state for state in TargetState if state is not TargetState.ANSWERED])
def test_one_lookup_that_was_not_answered_speaks_for_the_node(other: TargetState) -> None:
    asks = Asked({BRAVO: ANSWERED}), Asked({BRAVO: TargetRow(other)}, 1)
    assert state(row(plans=2), *asks) is other


def test_the_second_attempt_counts() -> None:
    stale = Asked({BRAVO: TargetRow(TargetState.STALE_EPOCH), CHARLIE: ANSWERED})
    assert state(row(), stale, Asked({BRAVO: ANSWERED}, 0, 1)) is TargetState.ANSWERED
    assert state(row(), stale, Asked({BRAVO: PENDING}, 0, 1)) is TargetState.PENDING
    assert state(row(), stale, Asked({BRAVO: ANSWERED}, 0, 1), node=CHARLIE) is TargetState.ANSWERED


def test_members_without_an_index_are_in_the_coverage() -> None:
    of_store: Any = [Asked({BRAVO: ANSWERED})]
    found = coverage.coverage(row(missing=(TargetReport(CHARLIE, TargetState.NO_INDEX),)), of_store, NOW)
    assert [(report.node, report.state) for report in found.reports] == [
        (BRAVO, TargetState.ANSWERED),
        (CHARLIE, TargetState.NO_INDEX),
    ]
    assert coverage.result(row(), found, []).overall is Overall.INCOMPLETE


def test_a_node_of_an_unknown_scheme_has_not_answered_and_keeps_its_words() -> None:
    unknown = TargetReport(CHARLIE, TargetState.UNKNOWN_SCHEME, reason="update Candor")
    of_store: Any = [Asked({BRAVO: ANSWERED})]
    found = coverage.coverage(row(missing=(unknown,)), of_store, NOW)
    assert not unknown.answered
    assert found.reports[1] == unknown
    assert coverage.result(row(), found, []).overall is Overall.INCOMPLETE
    text = reports.write_missing([unknown, TargetReport(BRAVO, TargetState.NO_INDEX)])
    assert reports.read_missing(text) == (unknown, TargetReport(BRAVO, TargetState.NO_INDEX))
    # As searches of earlier builds have it.
    assert reports.read_missing('["bravo"]') == (TargetReport(BRAVO, TargetState.NO_INDEX),)


def test_coverage_is_stored_as_it_was() -> None:
    rows: Any = [Asked({BRAVO: ANSWERED, CHARLIE: TargetRow(TargetState.QUOTA, "spent")})]
    found = coverage.coverage(row(), rows, NOW)
    assert reports.read_coverage(reports.write_coverage(found)) == found
