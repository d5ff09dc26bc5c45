"""Traces of who was asked about, and marks on sensitive subjects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node import subjects
from candor_node.store import Store
from candor_node.subjects import Subject, TraceKey
from candor_proto.errors import InputInvalid, UnknownObject
from candor_proto.ids import LookupId
from candor_proto.normalise import Particulars
from tests.offices import APPROVER, ASKER, everything, office_store
from tests.records import NOW

PERSON = Particulars(
    first="Quentin",
    middle="Zebulon",
    last="Placeholderson",
    birth_date="1984-07-23",
    ssn4="4821",
    sex="M",
    post_state="ZZ",
    post_id="B-204417",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with office_store(tmp_path) as store:
        yield store


def about(store: Store, particulars: Particulars) -> Subject:
    return store.run_sync(lambda db: subjects.subject(subjects.trace_key(db), particulars))


def note(store: Store, number: int, particulars: Particulars, user: str = ASKER) -> LookupId:
    search_id, subject = LookupId(number.to_bytes(16, "big")), about(store, particulars)
    store.run_sync(lambda db: subjects.note(db, search_id, user, subject, NOW))
    return search_id


def found(store: Store, particulars: Particulars) -> list[LookupId]:
    return [each.search_id for each in store.run_sync(lambda db: subjects.searches_about(db, particulars))]


def test_searches_about_a_person_are_found_by_name_and_birth_date_or_certificate(store: Store) -> None:
    first = note(store, 1, PERSON)
    by_name = replace(PERSON, middle="", ssn4="", post_state="", post_id="", last="PLACEHOLDERSON")
    by_certificate = replace(PERSON, last="Newname", birth_date="")
    assert found(store, by_name) == found(store, by_certificate) == [first]


def test_a_twin_a_namesake_and_a_relative_are_not_shown_each_others_searches(store: Store) -> None:
    note(store, 1, replace(PERSON, post_state="", post_id=""))
    for other in (
        replace(PERSON, first="Quinlan", post_state="", post_id=""),
        replace(PERSON, birth_date="1984-07-24", post_state="", post_id=""),
        replace(PERSON, post_state="", post_id="", last="Other"),
    ):
        assert found(store, other) == []


def test_nobody_who_was_asked_about_stands_in_a_table(store: Store) -> None:
    note(store, 1, PERSON)
    store.run_sync(lambda db: subjects.mark(db, NOW, PERSON, "relative of staff", APPROVER))
    stored = store.run_sync(everything)
    assert not [word for word in ("placeholderson", "quentin", "1984", "204417") if word in stored]


def test_traces_of_two_databases_have_nothing_in_common() -> None:
    one = subjects.subject(TraceKey(bytes(32)), PERSON)
    other = subjects.subject(TraceKey(bytes([1]) * 32), PERSON)
    assert not one.wide & other.wide
    assert "\\x" not in repr(TraceKey(bytes(32)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"first": "Jo"},
        {"last": "Newname", "post_state": "", "post_id": ""},
        {"last": "Newname", "post_state": "", "post_id": "", "ssn4": ""},
        {"birth_date": "1984-01-01"},
        {"first": "Jo", "last": "Newname", "post_state": "", "post_id": ""},
        {"birth_date": "", "post_state": "", "post_id": ""},
        {"birth_date": "1984-07-24", "post_state": "", "post_id": ""},
        {"birth_date": "1948-07-23", "post_state": "", "post_id": ""},
        {"first": "Kwentin", "last": "Plaseholderson", "post_state": "", "post_id": "", "ssn4": ""},
        {"first": "Quentyn", "last": "Placeholdersen", "birth_date": "1984-07-24", "post_id": ""},
    ],
)
def test_a_mark_cannot_be_evaded_by_changing_one_thing(store: Store, changes: dict[str, str]) -> None:
    store.run_sync(lambda db: subjects.mark(db, NOW, PERSON, "relative of staff", APPROVER))
    asked = about(store, replace(PERSON, **changes))
    assert store.run_sync(lambda db: subjects.sensitive(db, asked))


def test_a_mark_does_not_catch_somebody_else(store: Store) -> None:
    store.run_sync(lambda db: subjects.mark(db, NOW, PERSON, "relative of staff", APPROVER))
    other = Particulars(first="Quentin", last="Placeholderson", birth_date="1990-01-01", ssn4="1234")
    asked = about(store, other)
    assert not store.run_sync(lambda db: subjects.sensitive(db, asked))


def test_a_mark_that_was_taken_away_catches_nobody_and_stays_in_the_list(store: Store) -> None:
    mark_id = store.run_sync(lambda db: subjects.mark(db, NOW, PERSON, "in the news", APPROVER))
    with pytest.raises(InputInvalid):
        store.run_sync(lambda db: subjects.unmark(db, NOW, mark_id, " ", APPROVER))
    store.run_sync(lambda db: subjects.unmark(db, NOW, mark_id, "over", APPROVER))
    asked = about(store, PERSON)
    assert not store.run_sync(lambda db: subjects.sensitive(db, asked))
    (kept,) = store.run_sync(subjects.marks)
    assert (kept.mark_id, kept.removed_by) == (mark_id, APPROVER)
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: subjects.unmark(db, NOW, mark_id, "again", APPROVER))


@pytest.mark.parametrize("lacking", ["first", "last", "birth_date"])
def test_a_mark_of_too_little_is_refused(store: Store, lacking: str) -> None:
    with pytest.raises(InputInvalid):
        store.run_sync(lambda db: subjects.mark(db, NOW, replace(PERSON, **{lacking: ""}), "why", APPROVER))


def test_the_hour_counts_distinct_people_of_one_user(store: Store) -> None:
    for number in range(5):
        note(store, number, replace(PERSON, first=f"Jo{'x' * number}", post_state="", post_id=""))
    note(store, 5, PERSON)
    note(store, 6, PERSON)
    note(store, 7, replace(PERSON, first="Hans"), "other-1")

    def count(later: timedelta) -> int:
        return store.run_sync(
            lambda db: subjects.subjects_in_last_hour(db, ASKER, NOW + later, about_person.person)
        )

    about_person = about(store, PERSON)
    assert count(timedelta()) == 5
    assert count(timedelta(minutes=59)) == 5
    assert count(timedelta(hours=1)) == 0
