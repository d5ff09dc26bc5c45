"""Dual control under attack: who approves, how often, and what has changed meanwhile (RECORDS.md §7.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node import approvals, filings, ledger, lifecycle, users
from candor_node.approvals import LIFE, Approval, ApprovalId, State
from candor_node.lifecycle import Doing
from candor_node.record_seals import destroy_key, key_of
from candor_node.store import Database, Store
from candor_proto.errors import (
    CandorError,
    InputInvalid,
    SealedDataInvalid,
    UnknownObject,
    WrongRole,
    WrongStanding,
)
from candor_records.policy import NoPack
from candor_records.roles import ALL_ROLES, Actor, Operation, Role
from tests.offices import (
    ADMIN,
    APPROVER,
    AUDITOR,
    CLERK,
    actor,
    everything,
    office_store,
    register,
)
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, make_content

ARGUMENTS = {"dcn": "C-1", "note": "Placeholderson asked for it"}
VOID = Operation.VOID_RECORD


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with office_store(tmp_path) as store:
        store.run_sync(register)
        yield store


class Done:
    """An executor that remembers what it did, and refuses when told to."""

    def __init__(self) -> None:
        self.done: list[Approval] = []
        self.trouble: CandorError | None = None

    def __call__(self, db: Database, approval: Approval, now: datetime) -> None:
        db.execute("INSERT INTO node_secrets VALUES (?, ?)", [f"done-{approval.approval_id}", b""])
        if self.trouble is not None:
            raise self.trouble
        self.done.append(approval)


@pytest.fixture
def done() -> Done:
    return Done()


def propose(store: Store, by: Actor | None = None, key: bytes | None = None) -> ApprovalId:
    return store.run_sync(
        lambda db: approvals.propose(
            db, NOW, VOID, by or actor(CLERK), "C-1", ARGUMENTS, "filed by mistake", key
        )
    )


def decide(
    store: Store,
    held: ApprovalId,
    by: Actor,
    done: Done,
    approve: bool = True,
    reason: str = "",
    now: datetime = NOW,
) -> Approval:
    return store.run_sync(lambda db: approvals.decide(db, now, held, by, approve, reason, {VOID: done}))


def state(store: Store, held: ApprovalId) -> State:
    return store.run_sync(lambda db: approvals.find(db, held)).state


def test_a_second_person_approves_and_it_is_done_as_proposed(store: Store, done: Done) -> None:
    held = propose(store)
    assert state(store, held) is State.PENDING
    decide(store, held, actor(APPROVER), done)
    (approval,) = done.done
    assert (approval.arguments, approval.about, approval.decided_by) == (ARGUMENTS, "C-1", APPROVER)
    assert state(store, held) is State.APPROVED


def test_self_approval_is_refused_with_every_role(store: Store, done: Done) -> None:
    held = propose(store, Actor(CLERK, ALL_ROLES))
    for name in (CLERK, CLERK.upper(), f" {CLERK}"):
        with pytest.raises(WrongRole, match="takes two people"):
            decide(store, held, Actor(name, ALL_ROLES), done)
    assert (done.done, state(store, held)) == ([], State.PENDING)


def test_a_self_approval_that_was_tried_is_accounted_for(store: Store) -> None:
    held = propose(store)
    store.run_sync(lambda db: approvals.note_attempt(db, NOW, held, Actor(CLERK, ALL_ROLES)))
    entry = store.run_sync(lambda db: ledger.entries(db, event="approval.self_attempt"))[0]
    assert (entry.refs["approval_id"], entry.details["by"]) == (str(held), CLERK)


@pytest.mark.parametrize("user", [ADMIN, AUDITOR])
def test_a_colluding_person_without_the_role_is_refused(store: Store, done: Done, user: str) -> None:
    held = propose(store)
    with pytest.raises(WrongRole):
        decide(store, held, actor(user), done)
    with pytest.raises(WrongRole):
        decide(store, held, actor(user), done, approve=False, reason="no")
    assert state(store, held) is State.PENDING


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_nothing_is_decided_twice(store: Store, done: Done, first: bool, again: bool) -> None:
    held = propose(store)
    decide(store, held, actor(APPROVER), done, first, "seen")
    with pytest.raises(WrongStanding, match="already"):
        decide(store, held, actor(APPROVER), done, again, "seen")
    assert len(done.done) == int(first)


def test_what_has_changed_meanwhile_is_not_done_and_stays_pending(store: Store, done: Done) -> None:
    held = propose(store)
    done.trouble = WrongStanding("It was voided already.")
    with pytest.raises(WrongStanding, match="voided already"):
        decide(store, held, actor(APPROVER), done)
    # The transaction as a whole was undone: the decision, and whatever the executor had begun.
    assert state(store, held) is State.PENDING
    assert f"done-{held}".lower() not in store.run_sync(everything)


def test_a_proposal_ends_after_seven_days(store: Store, done: Done) -> None:
    held = propose(store)
    with pytest.raises(WrongStanding, match="EXPIRED"):
        decide(store, held, actor(APPROVER), done, now=NOW + LIFE)
    assert store.run_sync(lambda db: approvals.expire(db, NOW + LIFE)) == 1
    assert state(store, held) is State.EXPIRED
    assert store.run_sync(lambda db: approvals.expire(db, NOW + LIFE)) == 0


def test_what_a_disabled_user_proposed_is_not_approved(store: Store, done: Done) -> None:
    held = propose(store)
    store.run_sync(lambda db: users.disable(db, NOW, actor(ADMIN), CLERK))
    with pytest.raises(WrongRole, match="may not act any more"):
        decide(store, held, actor(APPROVER), done)
    decide(store, held, actor(APPROVER), done, approve=False, reason="left")
    assert state(store, held) is State.REJECTED


def test_what_somebody_proposed_who_lost_the_role_is_not_approved(store: Store, done: Done) -> None:
    held = propose(store)
    taken = frozenset({Role.CLERK})
    store.run_sync(lambda db: users.change_roles(db, NOW, actor(ADMIN), CLERK, frozenset(), taken))
    with pytest.raises(WrongRole):
        decide(store, held, actor(APPROVER), done)


def test_only_who_proposed_withdraws(store: Store, done: Done) -> None:
    held = propose(store)
    with pytest.raises(WrongRole):
        store.run_sync(lambda db: approvals.withdraw(db, NOW, held, actor(APPROVER)))
    store.run_sync(lambda db: approvals.withdraw(db, NOW, held, actor(CLERK)))
    with pytest.raises(WrongStanding):
        decide(store, held, actor(APPROVER), done)


def test_nobody_proposes_what_they_may_not_begin(store: Store) -> None:
    with pytest.raises(WrongRole):
        propose(store, actor(APPROVER))


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_proposal_and_a_rejection_need_a_reason(store: Store, done: Done, reason: str) -> None:
    with pytest.raises(InputInvalid):
        store.run_sync(lambda db: approvals.propose(db, NOW, VOID, actor(CLERK), "C-1", {}, reason))
    held = propose(store)
    with pytest.raises(InputInvalid):
        decide(store, held, actor(APPROVER), done, approve=False, reason=reason)


def test_reason_and_arguments_stand_sealed_and_in_no_ledger(store: Store, done: Done) -> None:
    decide(store, propose(store), actor(APPROVER), done, reason="Placeholderson agrees")
    assert "placeholderson" not in store.run_sync(everything)


def test_a_row_that_was_exchanged_does_not_open(store: Store) -> None:
    first, second = propose(store), propose(store)
    store.run_sync(
        lambda db: db.execute(
            "UPDATE approvals SET sealed = (SELECT sealed FROM approvals WHERE approval_id = ?)"
            " WHERE approval_id = ?",
            [first.value, second.value],
        )
    )
    with pytest.raises(SealedDataInvalid):
        store.run_sync(lambda db: approvals.find(db, second))


def test_only_those_concerned_see_what_a_proposal_holds(store: Store) -> None:
    held = propose(store)
    for user in (CLERK, APPROVER, AUDITOR):
        seen = store.run_sync(lambda db, user=user: approvals.look(db, NOW, held, actor(user)))  # type: ignore[misc]
        assert seen.arguments == ARGUMENTS
    with pytest.raises(WrongRole):
        store.run_sync(lambda db: approvals.look(db, NOW, held, actor(ADMIN)))
    viewed = store.run_sync(lambda db: ledger.entries(db, event="approval.viewed"))
    assert [entry.details["by"] for entry in viewed] == [CLERK, APPROVER, AUDITOR]


def test_expunging_a_record_makes_proposals_about_it_unreadable(store: Store, done: Done) -> None:
    doing = Doing(NOW, CONTRIBUTOR, NoPack())

    def file(db: Database) -> bytes:
        return lifecycle.file(db, make_content(), ORI, NODE, doing).after.record_id

    record_id = store.run_sync(file)
    key = store.run_sync(lambda db: key_of(db, record_id))
    held = propose(store, key=key)
    assert store.run_sync(lambda db: approvals.find(db, held)).arguments == ARGUMENTS
    store.run_sync(lambda db: destroy_key(db, record_id))
    gone = store.run_sync(lambda db: approvals.find(db, held))
    assert (gone.readable, gone.reason, gone.arguments) == (False, "", {})
    with pytest.raises(WrongStanding, match="expunged"):
        decide(store, held, actor(APPROVER), done)
    assert not store.run_sync(lambda db: filings.versions(db, record_id))


def test_lists_show_no_arguments_of_others_weeks(store: Store) -> None:
    held = propose(store)
    later = NOW + timedelta(days=8)
    assert [a.approval_id for a in store.run_sync(lambda db: approvals.list_approvals(db, pending=True))] == [
        held
    ]
    assert not store.run_sync(lambda db: approvals.during(db, later, later + timedelta(days=7)))


@given(st.binary(min_size=8, max_size=8))
def test_an_id_parses_as_it_is_shown(value: bytes) -> None:
    shown = ApprovalId(value)
    assert ApprovalId.parse(f" {str(shown).lower()} ") == shown


@given(st.text(max_size=20))
def test_what_is_not_an_id_is_refused(text: str) -> None:
    with suppress(InputInvalid):
        assert str(ApprovalId.parse(text)) == text.strip().upper()


def test_an_unknown_approval_is_said_to_be_unknown(store: Store) -> None:
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: approvals.find(db, ApprovalId(bytes(8))))
