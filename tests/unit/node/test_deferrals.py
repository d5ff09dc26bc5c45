"""What the subject is not shown yet: two people, a lawful reason, an end (RECORDS.md §4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from candor_node import approvals, deferrals, ledger
from candor_node.approvals import ApprovalId
from candor_node.store import Store
from candor_proto.errors import AlreadyExists, InputInvalid, PurposeRefused, UnknownObject, WrongRole
from candor_proto.ids import Purpose
from candor_records.roles import Actor, Operation, Role
from tests.records import NOW
from tests.subjects import APPROVER, CLERK, DAY, asked_for, filed, looked_up, subject_store

TODAY = NOW.date()
BASIS = "State Code 12.3, order of the court of 2026-03-01"
EXECUTORS = {Operation.DEFER_VISIBILITY: deferrals.execute}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with subject_store(tmp_path) as store:
        yield store


def proposed(
    store: Store,
    entry: str,
    until: date = TODAY + timedelta(days=90),
    basis: str = BASIS,
    actor: Actor = CLERK,
    days: float = 0,
) -> ApprovalId:
    return store.run_sync(
        lambda db: deferrals.propose(
            db, NOW + days * DAY, actor, entry, until, basis, "An inquiry runs.", 180
        )
    )


def approved(store: Store, approval_id: ApprovalId, actor: Actor = APPROVER, days: float = 1) -> None:
    store.run_sync(
        lambda db: approvals.decide(db, NOW + days * DAY, approval_id, actor, True, "Seen.", EXECUTORS)
    )


def hidden(store: Store, days: float = 2) -> frozenset[bytes]:
    return store.run_sync(lambda db: deferrals.hidden(db, NOW + days * DAY))


def test_a_deferral_takes_two_people_and_is_in_the_ledger(store: Store) -> None:
    search_id = looked_up(store)
    approval_id = proposed(store, str(search_id))
    assert hidden(store) == frozenset()
    approved(store, approval_id)
    assert hidden(store) == {search_id.value}
    (entry,) = store.run_sync(lambda db: ledger.entries(db, event="subject.deferred"))
    assert entry.refs["entry"] == str(search_id)
    assert (entry.details["by"], entry.details["second"]) == ("clerk-7", "captain-1")


@pytest.mark.parametrize("second", [CLERK, Actor("CLERK-7 ", CLERK.roles)])
def test_who_proposed_a_deferral_does_not_approve_it(store: Store, second: Actor) -> None:
    search_id = looked_up(store)
    approval_id = proposed(store, str(search_id))
    with pytest.raises(WrongRole, match="two people"):
        approved(store, approval_id, second)
    assert hidden(store) == frozenset()


def test_nobody_without_the_role_defers_or_approves(store: Store) -> None:
    search_id = looked_up(store)
    with pytest.raises(WrongRole):
        proposed(store, str(search_id), actor=Actor("auditor-1", frozenset({Role.AUDITOR})))
    approval_id = proposed(store, str(search_id))
    with pytest.raises(WrongRole):
        approved(store, approval_id, Actor("clerk-8", frozenset({Role.CLERK})))


def test_it_ends_by_itself_and_says_that_it_was(store: Store) -> None:
    search_id = looked_up(store)
    approved(store, proposed(store, str(search_id)))
    until = TODAY + timedelta(days=90)
    assert hidden(store, 89.4) == {search_id.value}
    assert hidden(store, 89.5) == frozenset()
    ended = store.run_sync(lambda db: deferrals.ended(db, NOW + 90 * DAY))
    assert ended == {search_id.value: until}


def test_another_agencys_request_can_be_deferred(store: Store) -> None:
    request_id = asked_for(store, filed(store))
    approved(store, proposed(store, str(request_id)[:10]))
    assert hidden(store) == {request_id.value}
    (one,) = store.run_sync(deferrals.list_deferrals)
    assert (one.what, one.proposed_by, one.decided_by) == (deferrals.Entry.REQUEST, "clerk-7", "captain-1")


# --- attacks -----------------------------------------------------------------------------------------------


def test_an_entry_is_deferred_for_180_days_of_its_own_and_no_longer(store: Store) -> None:
    search_id = looked_up(store)
    with pytest.raises(InputInvalid, match="until 2026-08-29 at most"):
        proposed(store, str(search_id), until=TODAY + timedelta(days=181))
    approved(store, proposed(store, str(search_id), until=TODAY + timedelta(days=180)))


def test_deferring_again_and_again_defers_no_longer_in_all(store: Store) -> None:
    search_id = looked_up(store)
    approved(store, proposed(store, str(search_id)))
    with pytest.raises(InputInvalid, match="at most"):
        proposed(store, str(search_id), until=TODAY + timedelta(days=260), days=90)


@pytest.mark.parametrize(("case", "basis"), [("", BASIS), ("CASE-1", ""), ("CASE-1", "  law   ")])
def test_a_hiring_check_is_not_deferred_without_case_and_legal_basis(
    store: Store, case: str, basis: str
) -> None:
    search_id = looked_up(store, purpose=Purpose.J_APPLICANT, case=case)
    with pytest.raises(PurposeRefused, match="legal basis"):
        proposed(store, str(search_id), basis=basis)


def test_a_criminal_investigation_says_for_itself_why(store: Store) -> None:
    search_id = looked_up(store, purpose=Purpose.C, case="")
    approved(store, proposed(store, str(search_id), basis=""))
    assert hidden(store) == {search_id.value}


def test_a_deferral_that_came_too_late_is_not_executed(store: Store) -> None:
    search_id = looked_up(store)
    approval_id = proposed(store, str(search_id), until=TODAY + timedelta(days=3))
    with pytest.raises(InputInvalid, match="has come already"):
        approved(store, approval_id, days=4)


def test_a_deferral_is_not_shortened_or_repeated(store: Store) -> None:
    search_id = looked_up(store)
    approved(store, proposed(store, str(search_id)))
    with pytest.raises(AlreadyExists):
        proposed(store, str(search_id), until=TODAY + timedelta(days=30), days=2)


@pytest.mark.parametrize("entry", ["", "ab", "00000000", "nothing"])
def test_what_does_not_exist_or_is_half_named_is_not_deferred(store: Store, entry: str) -> None:
    looked_up(store)
    with pytest.raises(UnknownObject):
        proposed(store, entry)
