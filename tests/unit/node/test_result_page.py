"""A result on the screen: every kind of coverage, every width, and no meaning in colour."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from candor_node import local_view, result_page
from candor_node.coverage_words import MOST_IN_A_CELL, cells, line, not_answered
from candor_node.result_page import MOST_NODES, history, lines
from candor_proto.ids import NodeId
from candor_proto.result import Coverage, LogSeen, TargetReport, TargetState
from candor_wire.v1 import local_pb2 as pb
from tests.parties import NOW

HOUR = timedelta(hours=1)
ID = "ab" * 16


def report(name: str, state: TargetState = TargetState.ANSWERED, **more: Any) -> TargetReport:
    known: dict[str, Any] = {}
    if state is TargetState.ANSWERED:
        known = {"index_issued_at": NOW - 3 * HOUR, "answered_at": NOW, "as_of": NOW, "index_sequence": 4}
    return TargetReport(NodeId(name), state, **(known | more))


def view(overall: str, *reports: TargetReport, log: LogSeen | None = None, **more: Any) -> pb.LookupView:
    coverage = local_view.coverage(Coverage(reports, NOW, 7, log))
    return pb.LookupView(lookup_id=ID, overall=overall, coverage=coverage, **more)


def text(message: pb.LookupView, width: int = 100, **options: Any) -> str:
    return "\n".join(lines(message, width, **options))


# --- a line a node -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (report("a"), "answered 2026-03-02 14:30Z; index of 2026-03-02 11:30Z (3 h)"),
        (report("a", late=True), "answered 2026-03-02 14:30Z, late; index of 2026-03-02 11:30Z (3 h)"),
        (
            report("a", answered_at=NOW + HOUR),
            "answered 2026-03-02 15:30Z by its own clock, which is wrong; index of 2026-03-02 11:30Z (3 h)",
        ),
        # It waited at the hub while the asker was away.
        (
            report("a", answered_at=NOW - 23 * HOUR),
            "answered 2026-03-01 15:30Z; index of 2026-03-02 11:30Z (3 h)",
        ),
        # As results of earlier builds have it: what is not known is not said.
        (
            TargetReport(NodeId("a"), TargetState.ANSWERED, NOW - HOUR),
            "answered; index of 2026-03-02 13:30Z",
        ),
        (report("a", TargetState.PENDING), "has not answered yet"),
        (
            report("a", TargetState.REFUSED, reason="purpose not answered there", answered_at=NOW, late=True),
            "refused: purpose not answered there (2026-03-02 14:30Z, late)",
        ),
        (
            report(
                "a",
                TargetState.STALE_INDEX,
                index_issued_at=NOW - 40 * HOUR,
                answered_at=NOW,
                as_of=NOW,
            ),
            "answered, but its index is too old to count (2026-03-02 14:30Z); stale since 2026-03-02 10:30Z; "
            "index of 2026-02-28 22:30Z (40 h)",
        ),
        (
            report("a", TargetState.INVALID, reason="signature_invalid"),
            "what came is no answer: its signature does not verify",
        ),
        (
            report("a", TargetState.EXPIRED),
            "did not answer in time, and will not any more: ask again",
        ),
        (report("a", TargetState.NO_INDEX), "could not be asked: no index of it is held"),
    ],
)
def test_each_line_says_in_words_what_a_node_did_and_as_of_when(one: TargetReport, words: str) -> None:
    assert line(one) == words


@pytest.mark.parametrize("state", [state for state in TargetState if state is not TargetState.ANSWERED])
def test_no_line_of_a_node_that_does_not_count_begins_like_an_answer(state: TargetState) -> None:
    said = line(report("a", state))
    assert said
    assert not said.startswith("answered ")
    assert said != "answered"
    assert not_answered(Coverage((report("a", state),), NOW, 7)) == f"a ({state.value})"


# --- the page ------------------------------------------------------------------------------------------


def test_the_page_says_who_answered_as_of_when_and_how_old_the_indexes_are() -> None:
    log = LogSeen("candor.example/log/1", 1_234, NOW - HOUR / 2)
    shown = text(view("NO_RECORD", report("alpha"), report("bravo-pd", late=True), log=log))
    assert shown.splitlines() == [
        "NO_RECORD  no record among 2 of 2 nodes",
        "Coverage: 2 of 2 nodes answered, 1 of them late (bravo-pd); oldest index 3 h",
        "As of: 2026-03-02T14:30:00Z, directory 7, log of 1,234 entries witnessed 2026-03-02T14:00:00Z",
        "  (current)",
        f"Lookup: {ID}",
        "",
        "Nodes:",
        "  alpha     answered 2026-03-02 14:30Z; index of 2026-03-02 11:30Z (3 h)",
        "  bravo-pd  answered 2026-03-02 14:30Z, late; index of 2026-03-02 11:30Z (3 h)",
    ]


def test_a_late_log_is_said_twice_in_words() -> None:
    log = LogSeen("candor.example/log/1", 1_234, NOW - 5 * HOUR, late=True)
    shown = " ".join(text(view("NO_RECORD", report("alpha"), log=log)).split())
    assert "the log is LATE: witnessed 5 h before" in shown
    assert "(LATE)" in shown


@pytest.mark.parametrize("state", [TargetState.PENDING, TargetState.REFUSED, TargetState.NO_INDEX])
def test_nothing_answered_is_nothing_known(state: TargetState) -> None:
    shown = text(view("INCOMPLETE", report("alpha", state), report("bravo", state)))
    assert shown.startswith("INCOMPLETE  none of 2 nodes answered: nothing is known\n")
    assert "no record" not in shown
    assert f"2 {state.value} (alpha, bravo)" in shown


def test_an_incomplete_result_says_until_when_it_may_change_and_a_closed_one_that_it_will_not() -> None:
    reports = report("alpha"), report("bravo", TargetState.PENDING)
    open_still = text(view("INCOMPLETE", *reports, expires_at="2026-03-03T14:30:00Z"))
    assert (
        "Late answers amend it until 2026-03-03T14:30:00Z: candor-node lookups show abababababab"
        in open_still
    )
    expired = report("alpha"), report("bravo", TargetState.EXPIRED)
    closed = text(view("INCOMPLETE", *expired, closed=True))
    assert "Its time is over: who has not answered never will." in closed
    assert "Late answers" not in closed
    assert "Late answers" not in text(view("NO_RECORD", report("alpha")))


def nodes_on(page: list[str]) -> list[str]:
    """The lines of the list of nodes."""
    return [row for row in page[page.index("Nodes:") :] if row.startswith("  node-")]


def test_of_a_thousand_nodes_those_that_did_not_answer_come_first_and_the_rest_is_counted() -> None:
    states = [TargetState.PENDING if number % 100 == 0 else TargetState.ANSWERED for number in range(1_000)]
    reports = [report(f"node-{number:04}", state) for number, state in enumerate(states)]
    message = view("INCOMPLETE", *reports)
    page = lines(message, 80)
    assert len(page) < 50
    own = nodes_on(page)
    assert len(own) == MOST_NODES
    assert [row.split()[0] for row in own[:10]] == [f"node-{number:04}" for number in range(0, 1_000, 100)]
    assert any("and 980 more, all answered: candor-node lookups show" in row for row in page)
    assert len(nodes_on(lines(message, 80, all_nodes=True))) == 1_000
    assert len(message.coverage.reports) == 1_000
    everybody = view(
        "INCOMPLETE", *(report(f"node-{number:04}", TargetState.PENDING) for number in range(1_000))
    )
    assert "and 980 more, 980 of them not answered" in " ".join(text(everybody).split())


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_no_line_is_wider_than_the_terminal_whatever_the_nodes_are_called(width: int) -> None:
    reports = [
        report("a", TargetState.REFUSED, reason="this node's quota there is spent", answered_at=NOW),
        report("bravo-" + "x" * 30, late=True),
    ]
    message = view(
        "INCOMPLETE",
        *reports,
        revision=3,
        amended_at="2026-03-02T14:30:00Z",
        looked_at="2026-03-02T12:30:00Z",
        changed=["INCOMPLETE -> MATCH", "bravo-" + "x" * 30 + ": pending -> answered"],
        late_match=True,
    )
    page = lines(message, width)
    assert all(len(row) <= max(width, 45) for row in page)
    assert " ".join(line(reports[1]).split()) in " ".join(" ".join(page).split())


def test_what_changed_stands_before_the_coverage_and_needs_no_colour() -> None:
    message = view(
        "MATCH",
        report("alpha", late=True),
        revision=2,
        amended_at="2026-03-02T14:30:00Z",
        looked_at="2026-03-02T12:30:00Z",
        looked_revision=1,
        changed=["NO_RECORD -> MATCH", "1 new candidate"],
        late_match=True,
    )
    shown = text(message)
    assert "Amended: revision 2 on 2026-03-02T14:30:00Z; you looked at revision 1 on" in shown
    assert "  - NO_RECORD -> MATCH\n  - 1 new candidate\n" in shown
    assert "candor-node lookups seen abababababab" in shown
    assert "\x1b" not in shown
    assert shown.index("LATE MATCH") < shown.index("Amended") < shown.index("Coverage")
    row = view("MATCH", report("alpha"), late_match=True, batch_id="cd" * 16, row=12)
    assert "candor-node lookups seen cdcdcdcdcdcd --row 12" in text(row, 200)


def test_an_unseen_amendment_of_somebody_who_never_looked_says_what_changed_all_the_same() -> None:
    message = view(
        "NO_RECORD", report("alpha"), revision=1, amended_at="x", changed=["a: pending -> answered"]
    )
    assert "Amended: revision 1 on x. Changed:\n  - a: pending -> answered\n" in text(message)


# --- history -------------------------------------------------------------------------------------------


def test_a_history_tells_each_moment_in_order() -> None:
    message = pb.LookupView(
        lookup_id=ID,
        overall="MATCH",
        purpose="J_APPLICANT",
        case_number="REQ-1",
        officer="Roe",
        asked_at="2026-03-02T12:00:00Z",
        shown_at="2026-03-02T12:00:05Z",
    )
    message.revisions.add(
        number=1,
        at="2026-03-02T13:00:00Z",
        before="INCOMPLETE",
        after="MATCH",
        words=["INCOMPLETE -> MATCH", "1 new candidate"],
        answered=3,
        asked=3,
        candidates=1,
    )
    told = history(message, 100)
    assert told == [
        f"Lookup: {ID}",
        "  2026-03-02T12:00:00Z  asked: J_APPLICANT, case REQ-1, officer in charge Roe",
        "  2026-03-02T12:00:05Z  first shown: INCOMPLETE",
        "  2026-03-02T13:00:00Z  revision 1: INCOMPLETE -> MATCH; 1 new candidate; 3 of 3 nodes answered",
        "  2026-03-02T13:00:00Z  LATE MATCH of revision 1: nobody has acknowledged it",
    ]
    message.revisions[0].seen_at, message.revisions[0].seen_by = "2026-03-02T13:05:00Z", "dana"
    assert "late candidates of revision 1 seen by dana" in history(message, 100)[-1]
    fresh = pb.LookupView(lookup_id=ID, overall="PENDING", asked_at="2026-03-02T12:00:00Z")
    assert len(history(fresh, 100)) == 2


# --- cells ---------------------------------------------------------------------------------------------


def test_a_row_says_when_the_log_was_late() -> None:
    """§15.6: it is said wherever the node speaks of the federation's state."""
    seen = LogSeen("candor.example/log/1", 1_234, NOW - 5 * HOUR, late=True)
    found = cells(Coverage((report("alpha"),), NOW, 7, seen))
    assert found[0] == (
        "1 of 1 nodes answered; oldest index 2026-03-02; the log was LATE: witnessed 2026-03-02 09:30Z"
    )
    current = cells(Coverage((report("alpha"),), NOW, 7, replace(seen, late=False)))
    assert current[0] == "1 of 1 nodes answered; oldest index 2026-03-02"


def test_a_cell_about_a_thousand_nodes_fits_a_workbook() -> None:
    reports = tuple(
        report(f"node-{number:04}", TargetState.REFUSED, reason="x" * 200) for number in range(1_000)
    )
    found = cells(Coverage(reports, NOW, 7))
    assert all(len(cell) < 32_767 for cell in found)
    assert found[3].endswith("; and 980 more")
    assert found[3].count("; ") == MOST_IN_A_CELL
    assert found[1:3] == ("0", "1000")


def test_result_page_names_the_module_of_words_only_through_the_wire() -> None:
    """A message of an older node has no words of its own: its state and reason are shown instead."""
    message = pb.LookupView(lookup_id=ID, overall="INCOMPLETE")
    message.coverage.reports.add(node="d", state="refused", reason="other")
    assert "  d  refused (other)" in result_page.lines(message, 80)
