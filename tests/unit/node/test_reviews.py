"""The weekly review: a sample nobody can choose, and a signature of what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node import approvals, ledger, reviews, subjects, users
from candor_node.approvals import Approval, ApprovalId
from candor_node.cli_review import page
from candor_node.reviews import Review, Section, Week
from candor_node.service_office import _review
from candor_node.store import Database, Store
from candor_proto.errors import AlreadyExists, InputInvalid, WrongStanding
from candor_proto.ids import LookupId
from candor_proto.normalise import Particulars
from candor_records.detectors import Asked
from candor_records.roles import Operation, Role
from tests.offices import ADMIN, ASKER, AUDITOR, CLERK, actor, office_store, register

WEEK = Week.parse("2026-W48")
NOW = WEEK.start + timedelta(days=2)
OVER = WEEK.end + timedelta(hours=8)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with office_store(tmp_path) as store:
        store.run_sync(lambda db: register(db, WEEK.start - timedelta(days=30)))
        yield store


def ask(store: Store, number: int, user: str = ASKER, first: str = "Jo") -> None:
    about = Particulars(first=first, last="Placeholderson", birth_date="1984-07-23")
    store.run_sync(
        lambda db: subjects.note(
            db,
            LookupId(number.to_bytes(16, "big")),
            user,
            subjects.subject(subjects.trace_key(db), about),
            NOW,
        )
    )


def opened(store: Store, now: datetime = OVER) -> Review:
    return store.run_sync(lambda db: reviews.open_review(db, WEEK, now, actor(AUDITOR)))


def rows(review: Review, title: str) -> tuple[tuple[str, ...], ...]:
    return next(each.rows for each in review.sections if each.title == title)


def sign(store: Store, digest: bytes, now: datetime = OVER) -> None:
    store.run_sync(lambda db: reviews.sign(db, WEEK, now, actor(AUDITOR), digest, ""))


# --- the sample ----------------------------------------------------------------------------------------


def searches_of(counts: dict[str, int]) -> list[Asked]:
    return [
        Asked(f"{number:016x}{user:0<16}", f"u{user}", NOW, b"p", b"n", b"s", "M")
        for user, count in counts.items()
        for number in range(count)
    ]


@given(
    st.dictionaries(st.sampled_from("1234"), st.integers(0, 700), max_size=4),
    st.binary(min_size=32, max_size=32),
)
def test_each_user_is_sampled_at_one_percent_and_at_least_five(counts: dict[str, int], seed: bytes) -> None:
    drawn = Counter(each.user for each in reviews.draw(searches_of(counts), seed))
    for user, count in counts.items():
        assert drawn[f"u{user}"] >= min(count, 5)
        assert drawn[f"u{user}"] * 100 >= count


def test_the_sample_follows_from_the_seed_alone() -> None:
    asked = searches_of({"1": 300})
    one = reviews.draw(asked, bytes(32))
    assert one == reviews.draw(list(reversed(asked)), bytes(32))
    assert one != reviews.draw(asked, bytes([1]) * 32)


def test_the_seed_is_an_entry_from_after_the_week(store: Store) -> None:
    for number in range(9):
        ask(store, number)
    early = opened(store, NOW)
    assert rows(early, "Sample") == ()
    assert "The sample is drawn once" in " ".join(early.notes)
    first = rows(opened(store), "Sample")
    assert len(first) == 5
    # What is added to the ledger later changes nothing any more.
    store.run_sync(lambda db: ledger.append(db, OVER, "test.later"))
    assert rows(opened(store), "Sample") == first


# --- the tables ----------------------------------------------------------------------------------------


def test_nobody_who_was_asked_about_stands_in_a_review(store: Store) -> None:
    ask(store, 1)
    told = repr(opened(store))
    assert "laceholderson" not in told


def test_late_matches_show_and_who_acknowledged_them(store: Store) -> None:
    refs = {"search_id": "ab" * 16}

    def happen(db: Database) -> None:
        ledger.append(db, NOW, "lookup.late_match", refs, {"revision": 1, "candidates": 1})
        ledger.append(db, NOW + MINUTE, "lookup.seen", refs, {"revisions": 1, "by": ASKER})

    store.run_sync(happen)
    late, seen = rows(opened(store), "Late matches")
    assert (late[0], late[1], late[3]) == ("abababababab", "came late", "-")
    assert (seen[0], seen[1], seen[3]) == ("abababababab", "acknowledged", ASKER)


def test_failed_sign_ins_disabled_users_and_leavers_show(store: Store) -> None:
    def happen(db: Database) -> None:
        users.sign_in(db, NOW, CLERK, "wrong", Operation.VIEW_STATUS)
        users.disable(db, NOW + MINUTE, actor(ADMIN), CLERK)
        users.sign_in(db, NOW + 2 * MINUTE, CLERK, "wrong", Operation.VIEW_STATUS)

    store.run_sync(happen)
    review = opened(store)
    assert ("user.refused token", CLERK, "-", "2") in rows(review, "Refused at the door")
    assert ("user.disabled", CLERK, ADMIN, "1") in rows(review, "Changes of users")
    leavers = [row for row in rows(review, "Alerts") if row[0] == "leaver"]
    assert [(row[1], row[2]) for row in leavers] == [(CLERK, "1")]


def test_alerts_of_the_detectors_show(store: Store) -> None:
    for number in range(9):
        ask(store, number)
    (alert,) = rows(opened(store), "Alerts")
    assert (alert[0], alert[2]) == ("hot subject", "9")


# --- signing -------------------------------------------------------------------------------------------


def test_what_was_read_is_signed_once(store: Store) -> None:
    ask(store, 1)
    review = opened(store)
    sign(store, review.digest)
    assert opened(store).signature is not None
    entry = store.run_sync(lambda db: ledger.entries(db, event="review.signed"))[0]
    assert (entry.refs["week"], entry.details["by"]) == ("2026-W48", AUDITOR)
    with pytest.raises(AlreadyExists):
        sign(store, review.digest)


def test_a_review_that_has_changed_since_it_was_read_is_not_signed(store: Store) -> None:
    ask(store, 1)
    review = opened(store)
    ask(store, 2)
    with pytest.raises(WrongStanding, match="has changed"):
        sign(store, review.digest)


def test_a_week_that_is_not_over_is_not_signed(store: Store) -> None:
    review = opened(store, NOW)
    with pytest.raises(WrongStanding, match="not over"):
        sign(store, review.digest, NOW)


def test_a_week_of_use_is_due_until_it_is_signed(store: Store) -> None:
    assert store.run_sync(lambda db: reviews.due(db, OVER)) == []
    ask(store, 1)
    assert store.run_sync(lambda db: reviews.due(db, NOW)) == []
    assert store.run_sync(lambda db: reviews.due(db, OVER)) == ["2026-W48"]
    sign(store, opened(store).digest)
    assert store.run_sync(lambda db: reviews.due(db, OVER)) == []


# --- weeks and pages -----------------------------------------------------------------------------------


@given(st.integers(0, 40_000))
def test_a_week_parses_as_it_is_written_and_holds_its_moments(days: int) -> None:
    moment = datetime(2000, 1, 1, 23, 59, tzinfo=UTC) + timedelta(days=days)
    week = Week.of(moment)
    assert Week.parse(str(week)) == week
    assert week.start <= moment < week.end


@given(st.text(max_size=12))
def test_whatever_is_not_a_week_is_refused(text: str) -> None:
    try:
        assert str(Week.parse(text)) == text
    except InputInvalid:
        return


@pytest.mark.parametrize("text", ["2026-W54", "2026-W00", "2027-W53", "2026-48", "2026-W48\n", "0000-W01"])
def test_weeks_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(InputInvalid):
        Week.parse(text)


def test_a_page_escapes_whatever_was_typed() -> None:
    cell = "<script>alert(1)</script>"
    review = Review(WEEK, (Section("Sample", "What", ("CASE",), ((cell,),)),), (cell,))
    text = page(_review(review))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_nothing_that_took_two_hides_from_the_review(store: Store) -> None:
    """Not behind five hundred others, not by being decided after the week in which it was proposed."""

    def propose(db: Database, at: datetime) -> ApprovalId:
        roles = {"roles": Role.APPROVER.value}
        return approvals.propose(db, at, Operation.GRANT_ROLE, actor(ADMIN), CLERK, roles, "needed")

    before = WEEK.start - timedelta(hours=1)
    early = store.run_sync(lambda db: propose(db, before))
    store.run_sync(lambda db: [propose(db, NOW + timedelta(seconds=number)) for number in range(510)])
    executors = {Operation.GRANT_ROLE: _nothing}
    store.run_sync(lambda db: approvals.decide(db, NOW, early, actor(AUDITOR), True, "", executors))
    found = rows(opened(store), "What took two people")
    assert len(found) == 511
    assert (found[0][0], found[0][4]) == (str(early), "APPROVED")
    assert str(WEEK) in store.run_sync(lambda db: reviews.due(db, OVER))


def _nothing(db: Database, approval: Approval, now: datetime) -> None:
    """An executor."""
