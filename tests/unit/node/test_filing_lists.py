"""Lists of records: filters, pages, totals, and that none of them reads the whole table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node import dues, filing_lists, lifecycle, notices
from candor_node.dues import What
from candor_node.filing_lists import Cursor, Filter
from candor_node.store import Database, Store
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import InputInvalid
from candor_proto.ids import Ori
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.codes import NoticeMethod
from candor_records.content import Content
from candor_records.dispute import DisputeGround, open_dispute
from candor_records.life import Act
from candor_records.policy import NoPack, Retention
from candor_records.records import Record, Standing
from tests.desk import desk_store, doing, filed
from tests.records import NOW

DAY = timedelta(days=1)
TODAY = NOW.date()


class _Kept(NoPack):
    """Everything is reviewed after a year and kept for two."""

    def retention(self, content: Content, filed_on: date) -> Retention:
        return Retention(filed_on + 365 * DAY, filed_on + 730 * DAY, "a rule")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as made:
        yield made


def _many(store: Store) -> list[Record]:
    """Ten records on ten days, oldest first."""
    kinds = ("TERMINATION_FOR_CAUSE", "DECERTIFICATION")
    return [
        filed(
            store,
            doing(NOW + number * DAY, policy=_Kept()),
            agency_record_id=f"IA-{number}",
            record_kind=kinds[number % 2],
            sharing="GREEN" if number % 5 == 0 else "YELLOW",
            **({"opportunity": "NOT_OFFERED", "opportunity_on": ""} if number % 3 == 0 else {}),
        )
        for number in range(10)
    ]


def _listed(store: Store, wanted: Filter, limit: int = 50) -> list[str]:
    found = store.run_sync(lambda db: filing_lists.page(db, wanted, limit=limit))
    assert found.total == len(found.records)
    return [str(summary.dcn) for summary in found.records]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), range(10)),
        (Filter(kind=RecordKind.DECERTIFICATION), (1, 3, 5, 7, 9)),
        (Filter(standing=Standing.HELD), (0, 3, 6, 9)),
        (Filter(held_because="opportunity"), (0, 3, 6, 9)),
        (Filter(held_because="not"), ()),
        (Filter(held_because="final"), ()),
        (Filter(sharing=Sharing.GREEN), (0, 5)),
        (Filter(ori=Ori("ZZ0010000")), range(10)),
        (Filter(ori=Ori("ZZ0020000")), ()),
        (Filter(since=NOW + 7 * DAY), (7, 8, 9)),
        (Filter(kind=RecordKind.TERMINATION_FOR_CAUSE, held_because="opportunity", since=NOW + DAY), (6,)),
    ],
)
def test_a_list_shows_what_its_filter_lets_through_newest_first(
    store: Store, wanted: Filter, numbers: Any
) -> None:
    records = _many(store)
    assert _listed(store, wanted) == [str(records[number].dcn) for number in reversed(numbers)]


def test_pages_follow_each_other_without_a_gap_even_when_something_is_filed_meanwhile(store: Store) -> None:
    records = _many(store)
    seen: list[str] = []
    after: Cursor | None = None
    while True:
        found = store.run_sync(partial(filing_lists.page, wanted=Filter(), after=after, limit=3))
        seen += [str(summary.dcn) for summary in found.records]
        if found.following is None:
            break
        after = Cursor.parse(str(found.following))
        filed(store, doing(NOW + 50 * DAY), agency_record_id=f"later-{len(seen)}")
    assert seen == [str(record.dcn) for record in reversed(records)]


def test_a_total_is_counted_up_to_a_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _many(store)
    monkeypatch.setattr(filing_lists, "MOST_COUNTED", 4)
    found = store.run_sync(lambda db: filing_lists.page(db, Filter(), limit=2))
    assert found.total == 5


def test_held_because_and_another_standing_contradict_each_other(store: Store) -> None:
    with pytest.raises(InputInvalid):
        _listed(store, Filter(standing=Standing.ACTIVE, held_because="opportunity"))


def test_no_filter_reads_the_whole_table(store: Store) -> None:
    _many(store)
    conditions: dict[str, Any] = {
        "kind": RecordKind.DECERTIFICATION,
        "standing": Standing.HELD,
        "sharing": Sharing.GREEN,
        "ori": Ori("ZZ0010000"),
        "held_because": "final",
        "since": NOW,
    }
    cursor = Cursor(5, bytes(16))
    for count in (1, 2, 3):
        for names in combinations(conditions, count):
            wanted = replace(Filter(), **{name: conditions[name] for name in names})
            for after in (None, cursor):
                for line in _plan(store, lambda db: filing_lists.page(db, wanted, after)):  # noqa: B023
                    assert not re.fullmatch(r"SCAN record_heads(?! USING).*", line), (names, line)
                    assert "TEMP B-TREE" not in line, (names, line)


def test_the_work_list_reads_no_whole_table(store: Store) -> None:
    _many(store)
    for what in What:
        lines = _plan(store, lambda db: dues.dues(db, TODAY, [what]))  # noqa: B023
        assert not [line for line in lines if line.startswith(("SCAN record_heads", "SCAN record_dues"))], (
            what
        )


def _plan(store: Store, work: Any) -> list[str]:
    """The query plans of every statement that `work` makes."""

    def explained(db: Database) -> list[str]:
        made: list[tuple[str, Any]] = []

        class Spy:
            def execute(self, sql: str, values: Any = ()) -> Any:
                made.append((sql, values))
                return db.execute(sql, values)

        work(Spy())
        return [row[3] for sql, values in made for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]

    return store.run_sync(explained)


@given(st.text(max_size=60))
def test_a_cursor_parses_to_itself_or_is_refused(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except InputInvalid:
        return
    assert Cursor.parse(str(cursor)) == cursor


# --- what is due -----------------------------------------------------------------------------------------


def _due(store: Store, until: date, *what: What) -> list[tuple[str, date]]:
    found = store.run_sync(lambda db: dues.dues(db, until, what or tuple(What)))
    return [(one.what.name, one.due_on) for one in found]


def test_reviews_and_ends_of_retention_are_due_on_their_days(store: Store) -> None:
    filed(store, doing(policy=_Kept()))
    review, end = TODAY + 365 * DAY, TODAY + 730 * DAY
    assert _due(store, review - DAY) == []
    assert _due(store, review) == [("REVIEW", review)]
    assert _due(store, end) == [("REVIEW", review), ("RETENTION", end)]
    assert _due(store, end, What.RETENTION) == [("RETENTION", end)]


def test_the_end_of_a_time_to_appeal_is_due_the_day_after(store: Store) -> None:
    filed(store, finality="APPEAL_TIME_RUNNING", appeal_until="2026-03-20")
    assert _due(store, date(2026, 3, 20)) == []
    assert _due(store, date(2026, 3, 21)) == [("APPEAL", date(2026, 3, 21))]


def test_a_dispute_is_due_until_the_agency_answers(store: Store) -> None:
    record = filed(store)
    opened = open_dispute(
        None, DisputeGround.FACTUAL_INACCURACY, TODAY, str(record.dcn), "It was another.", 60
    )
    dispute = replace(record.circumstances, dispute=opened)
    how = doing(reason="what the officer says")
    store.run_sync(lambda db: lifecycle.change(db, record.dcn, Act.DISPUTE, how, dispute))
    assert _due(store, TODAY + 59 * DAY) == []
    assert _due(store, TODAY + 60 * DAY) == [("DISPUTE", TODAY + 60 * DAY)]
    settled = replace(dispute, dispute=None)
    store.run_sync(lambda db: lifecycle.change(db, record.dcn, Act.ANSWER_DISPUTE, doing(), settled))
    assert _due(store, TODAY + 90 * DAY) == []


def test_a_notice_is_due_until_the_officer_was_told(store: Store) -> None:
    record = filed(store, subject_notified_on="UNKNOWN")
    ((what, day),) = _due(store, TODAY + 90 * DAY)
    assert what == "NOTICE"
    store.run_sync(lambda db: notices.settle(db, record.record_id, day, NoticeMethod.MAIL, "clerk-7"))
    assert _due(store, TODAY + 90 * DAY) == []


def test_a_recall_is_due_once_nobody_acknowledged_it_for_days(store: Store) -> None:
    record = filed(store)
    for number in range(2):
        store.run_sync(partial(_recall, record_id=record.record_id, dcn=str(record.dcn), number=number))
    assert _due(store, TODAY + 6 * DAY) == []
    assert _due(store, TODAY + 7 * DAY) == [("RECALL", TODAY + 7 * DAY)]
    # The policy in force may give a recipient longer.
    longer = store.run_sync(lambda db: dues.dues(db, TODAY + 14 * DAY, [What.RECALL], overdue_days=14))
    assert [due.due_on for due in longer] == [TODAY + 14 * DAY]
    store.run_sync(lambda db: db.execute("UPDATE recalls SET state = 'acted'"))
    assert _due(store, TODAY + 90 * DAY) == []


def _recall(db: Database, record_id: bytes, dcn: str, number: int) -> None:
    row = {
        "recall_id": bytes([number]), "request_id": bytes([number]), "recipient": "other-pd",
        "record_id": record_id, "dcn": dcn, "kind": 1, "state": "sent",
        "effective_at": to_milliseconds(NOW), "digest": b"", "body": b"", "send_at": 0,
    }  # fmt: skip
    db.execute("PRAGMA defer_foreign_keys = ON")
    db.execute(
        "INSERT INTO received_requests (request_id, requester, body, state, received_at, expires_at)"
        " VALUES (?, 'other-pd', x'', 'released', 0, 0)",
        [bytes([number])],
    )
    marks = ", ".join(f":{name}" for name in row)
    db.execute(f"INSERT INTO recalls ({', '.join(row)}) VALUES ({marks})", row)


def test_only_others_are_still_to_be_told_of_a_record_that_was_destroyed(store: Store) -> None:
    record = filed(store, doing(policy=_Kept()), subject_notified_on="UNKNOWN")
    store.run_sync(partial(_recall, record_id=record.record_id, dcn=str(record.dcn), number=1))
    store.run_sync(lambda db: lifecycle.expunge(db, record.dcn, doing(second="chief-2")))
    assert {what for what, _ in _due(store, TODAY + 1000 * DAY)} == {"NOTICE", "RECALL"}


def test_a_void_record_is_not_reviewed_any_more_but_its_time_ends_all_the_same(store: Store) -> None:
    record = filed(store, doing(policy=_Kept()))
    store.run_sync(lambda db: lifecycle.void(db, record.dcn, doing(policy=_Kept(), second="chief-2")))
    due = _due(store, TODAY + 730 * DAY, What.REVIEW, What.APPEAL, What.DISPUTE, What.RETENTION)
    assert due == [("RETENTION", TODAY + 730 * DAY)]


def test_the_work_list_can_be_of_one_kind(store: Store) -> None:
    _many(store)
    until, kind = TODAY + 1000 * DAY, RecordKind.DECERTIFICATION
    found = store.run_sync(lambda db: dues.dues(db, until, [What.RETENTION], kind))
    assert len(found) == 5
    assert {due.kind for due in found} == {kind}


def test_the_work_list_comes_in_pages(store: Store) -> None:
    _many(store)
    until = TODAY + 1000 * DAY
    whole = store.run_sync(lambda db: dues.dues(db, until))
    assert len(whole) == 20
    pages: list[dues.Due] = []
    after = None
    while found := store.run_sync(partial(dues.dues, until=until, after=after, limit=3)):
        pages += found
        after = found[-1]
    assert pages == whole


def test_a_list_of_a_legal_hold_says_so(store: Store) -> None:
    record = filed(store, doing(policy=_Kept()))
    held = replace(record.circumstances, legal_hold=True)
    store.run_sync(lambda db: lifecycle.change(db, record.dcn, Act.HOLD, doing(reason="a case"), held))
    (found,) = store.run_sync(lambda db: dues.dues(db, TODAY + 730 * DAY, [What.RETENTION]))
    assert found.legal_hold
