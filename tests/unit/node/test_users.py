"""Users: registering, signing in, locks, roles that take two people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node import ledger, office, users
from candor_node.approvals import ApprovalId, decide
from candor_node.office import EXECUTORS
from candor_node.store import Database, Store
from candor_node.users import NewUser
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    InputInvalid,
    NotAuthenticated,
    UnknownObject,
    WrongRole,
    WrongStanding,
)
from candor_records.roles import ALL_ROLES, Actor, Operation, Role
from tests.offices import (
    ADMIN,
    APPROVER,
    AUDITOR,
    CLERK,
    OPEN,
    STAFF,
    actor,
    everything,
    office_store,
    register,
)
from tests.records import NOW

VIEW = Operation.VIEW_STATUS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with office_store(tmp_path) as store:
        yield store


def signed_in(
    store: Store, user: str, token: str, operation: Operation = VIEW, later: timedelta = timedelta()
) -> Actor | CandorError:
    return store.run_sync(lambda db: users.sign_in(db, NOW + later, user, token, operation))


def events(store: Store, area: str = "user") -> list[str]:
    return [entry.event for entry in store.run_sync(lambda db: ledger.entries(db, event=area))]


def test_an_open_node_lets_anybody_act_under_any_name(store: Store) -> None:
    assert signed_in(store, "Jo", "") == Actor("Jo", ALL_ROLES)
    assert signed_in(store, "", "") == Actor(users.NOBODY, ALL_ROLES)


def test_the_first_user_must_be_an_administrator(store: Store) -> None:
    with pytest.raises(InputInvalid, match="first user"):
        store.run_sync(lambda db: users.add(db, NOW, OPEN, NewUser(CLERK, frozenset({Role.CLERK}))))
    assert not store.run_sync(users.registered)


def test_once_a_user_is_registered_nobody_acts_without_signing_in(store: Store) -> None:
    tokens = store.run_sync(register)
    for user, token in (("", ""), ("root", ""), (CLERK, ""), ("local", tokens[CLERK])):
        assert isinstance(signed_in(store, user, token), NotAuthenticated)
    assert signed_in(store, CLERK, tokens[CLERK]) == actor(CLERK)


def test_same_login_with_another_name_is_refused(store: Store) -> None:
    tokens = store.run_sync(register)
    found = signed_in(store, APPROVER, tokens[CLERK])
    assert isinstance(found, NotAuthenticated)


def test_unknown_user_and_wrong_token_are_told_the_same(store: Store) -> None:
    store.run_sync(register)
    unknown, wrong = signed_in(store, "nobody-1", "x"), signed_in(store, CLERK, "x")
    assert isinstance(unknown, NotAuthenticated)
    assert isinstance(wrong, NotAuthenticated)
    assert str(unknown) == str(wrong)


def test_what_was_typed_as_an_unknown_user_is_not_in_the_ledger(store: Store) -> None:
    store.run_sync(register)
    signed_in(store, "Jane Doe 1990", "token")
    entry = store.run_sync(lambda db: ledger.entries(db, event="user.refused"))[-1]
    assert (dict(entry.refs), dict(entry.details)) == ({}, {"why": "unknown"})


def test_five_failures_in_fifteen_minutes_lock_until_an_administrator_releases(store: Store) -> None:
    tokens = store.run_sync(register)
    for _ in range(users.FAILURES_ALLOWED):
        signed_in(store, CLERK, "wrong")
    assert isinstance(signed_in(store, CLERK, tokens[CLERK]), NotAuthenticated)
    assert isinstance(signed_in(store, CLERK, tokens[CLERK], later=timedelta(days=3)), NotAuthenticated)
    assert "user.locked" in events(store)
    store.run_sync(lambda db: users.release(db, NOW, actor(ADMIN), CLERK))
    assert signed_in(store, CLERK, tokens[CLERK]) == actor(CLERK)


def test_four_failures_and_a_later_one_do_not_lock(store: Store) -> None:
    tokens = store.run_sync(register)
    for _ in range(users.FAILURES_ALLOWED - 1):
        signed_in(store, CLERK, "wrong")
    signed_in(store, CLERK, "wrong", later=timedelta(minutes=16))
    assert signed_in(store, CLERK, tokens[CLERK], later=timedelta(minutes=16)) == actor(CLERK)


def test_the_lock_on_the_last_administrator_ends_by_itself(store: Store) -> None:
    tokens = store.run_sync(register)
    for _ in range(users.FAILURES_ALLOWED):
        signed_in(store, ADMIN, "wrong")
    assert isinstance(signed_in(store, ADMIN, tokens[ADMIN], later=timedelta(minutes=20)), NotAuthenticated)
    assert signed_in(store, ADMIN, tokens[ADMIN], later=timedelta(minutes=31)) == actor(ADMIN)


def test_nobody_releases_themselves(store: Store) -> None:
    store.run_sync(register)
    with pytest.raises(WrongRole):
        store.run_sync(lambda db: users.release(db, NOW, actor(ADMIN), ADMIN))


def test_a_disabled_user_is_out_at_once_and_the_attempt_is_accounted_for(store: Store) -> None:
    tokens = store.run_sync(register)
    store.run_sync(lambda db: users.disable(db, NOW, actor(ADMIN), CLERK))
    assert isinstance(signed_in(store, CLERK, tokens[CLERK]), NotAuthenticated)
    entry = store.run_sync(lambda db: ledger.entries(db, event="user.refused"))[-1]
    assert (entry.refs["user"], entry.details["why"]) == (CLERK, "ended")


def test_what_was_ended_is_given_back_by_no_release_and_no_token(store: Store) -> None:
    store.run_sync(register)
    store.run_sync(lambda db: users.disable(db, NOW, actor(ADMIN), CLERK))
    with pytest.raises(WrongStanding, match="was ended"):
        store.run_sync(lambda db: users.release(db, NOW, actor(ADMIN), CLERK))
    with pytest.raises(WrongStanding, match="was ended"):
        store.run_sync(lambda db: users.renew_token(db, NOW, actor(ADMIN), CLERK))
    assert not {"user.released", "user.token_renewed"} & set(events(store))


def test_before_the_first_and_from_the_last_day_on_nobody_signs_in(store: Store) -> None:
    store.run_sync(register)
    day = timedelta(days=1)
    new = NewUser("temp-1", frozenset({Role.CLERK}), active_from=NOW + day, active_until=NOW + 2 * day)
    token, _ = store.run_sync(lambda db: users.add(db, NOW, actor(ADMIN), new))
    assert isinstance(signed_in(store, "temp-1", token), NotAuthenticated)
    assert isinstance(signed_in(store, "temp-1", token, later=day), Actor)
    assert isinstance(signed_in(store, "temp-1", token, later=2 * day), NotAuthenticated)


def test_a_new_token_ends_the_old_one(store: Store) -> None:
    tokens = store.run_sync(register)
    new, held = store.run_sync(lambda db: users.renew_token(db, NOW, actor(ADMIN), CLERK))
    assert not held
    assert isinstance(signed_in(store, CLERK, tokens[CLERK]), NotAuthenticated)
    assert signed_in(store, CLERK, new) == actor(CLERK)


@pytest.mark.parametrize("user", [APPROVER, AUDITOR])
def test_nobody_becomes_their_own_second_person_by_handing_themselves_a_token(
    store: Store, user: str
) -> None:
    store.run_sync(register)
    token, held = store.run_sync(lambda db: users.renew_token(db, NOW, actor(ADMIN), user))
    assert held == {STAFF[user]}
    assert isinstance(signed_in(store, user, token), WrongRole)
    store.run_sync(lambda db: users.grant(db, NOW, AUDITOR, user, held))
    assert signed_in(store, user, token, operation=Operation.VIEW_RECORDS) == actor(user)


def test_nobody_appoints_alone_who_decides_about_roles(store: Store) -> None:
    """Or an administrator had an auditor of their own, who then makes them an approver."""
    store.run_sync(register)
    new = NewUser("auditor-9", frozenset({Role.AUDITOR}))
    _, held = store.run_sync(lambda db: users.add(db, NOW, actor(ADMIN), new))
    assert held == {Role.AUDITOR}


def test_the_last_active_administrator_can_neither_be_disabled_nor_lose_the_role(store: Store) -> None:
    store.run_sync(register)
    with pytest.raises(InputInvalid, match="last active administrator"):
        store.run_sync(lambda db: users.disable(db, NOW, actor(ADMIN), ADMIN))
    taken = frozenset({Role.ADMINISTRATOR})
    with pytest.raises(InputInvalid, match="last active administrator"):
        store.run_sync(lambda db: users.change_roles(db, NOW, actor(ADMIN), ADMIN, frozenset(), taken))


def test_what_a_role_may_not_do_is_denied_and_accounted_for(store: Store) -> None:
    tokens = store.run_sync(register)
    found = signed_in(store, CLERK, tokens[CLERK], Operation.LOOK_UP)
    assert isinstance(found, WrongRole)
    entry = store.run_sync(lambda db: ledger.entries(db, event="user.denied"))[-1]
    assert dict(entry.refs) == {"user": CLERK, "operation": "LOOK_UP"}


def test_what_administrators_look_at_is_accounted_for(store: Store) -> None:
    tokens = store.run_sync(register)
    signed_in(store, ADMIN, tokens[ADMIN], Operation.VIEW_LEDGER)
    signed_in(store, AUDITOR, tokens[AUDITOR], Operation.VIEW_LEDGER)
    found = store.run_sync(lambda db: ledger.entries(db, event="user.administrator_viewed"))
    assert [entry.refs["user"] for entry in found] == [ADMIN]


@pytest.mark.parametrize("user_id", ["", "A", "Clerk", "jane doe", "1abc", "a" * 40, "clerk\n", "clérk"])
def test_user_ids_are_pseudonyms_of_one_spelling(store: Store, user_id: str) -> None:
    with pytest.raises(InputInvalid):
        store.run_sync(lambda db: users.add(db, NOW, OPEN, NewUser(user_id, frozenset({Role.ADMINISTRATOR}))))


def test_a_user_id_is_never_used_again(store: Store) -> None:
    store.run_sync(register)
    store.run_sync(lambda db: users.disable(db, NOW, actor(ADMIN), CLERK))
    with pytest.raises(AlreadyExists):
        store.run_sync(lambda db: users.add(db, NOW, actor(ADMIN), NewUser(CLERK, frozenset({Role.CLERK}))))


def test_names_of_users_stand_in_no_table(store: Store) -> None:
    new = NewUser(ADMIN, frozenset({Role.ADMINISTRATOR}), "Quentin", "Placeholderson")
    store.run_sync(lambda db: users.add(db, NOW, OPEN, new))
    assert "placeholderson" not in store.run_sync(everything)
    assert store.run_sync(lambda db: users.find(db, ADMIN)).full_name is not None


def test_a_token_is_stored_as_its_digest_only(store: Store) -> None:
    tokens = store.run_sync(register)
    stored = store.run_sync(everything)
    assert not any(token.lower() in stored for token in tokens.values())
    assert len(set(tokens.values())) == len(STAFF)


# --- roles that take two -------------------------------------------------------------------------------


def test_giving_the_role_of_approver_waits_for_a_second_person(store: Store) -> None:
    store.run_sync(register)
    give = frozenset({Role.APPROVER, Role.INVESTIGATOR})

    def change(db: Database) -> ApprovalId:
        waiting = users.change_roles(db, NOW, actor(ADMIN), CLERK, give, frozenset())
        held = office.propose_roles(db, NOW, actor(ADMIN), CLERK, waiting, "deputy")
        assert held is not None
        return held

    held = store.run_sync(change)
    assert store.run_sync(lambda db: users.find(db, CLERK)).roles == {Role.CLERK, Role.INVESTIGATOR}
    with pytest.raises(WrongRole):
        store.run_sync(lambda db: decide(db, NOW, held, actor(ADMIN), True, "", EXECUTORS))
    store.run_sync(lambda db: decide(db, NOW, held, actor(AUDITOR), True, "", EXECUTORS))
    assert Role.APPROVER in store.run_sync(lambda db: users.find(db, CLERK)).roles


def test_nobody_decides_about_their_own_role(store: Store) -> None:
    store.run_sync(register)
    held = store.run_sync(
        lambda db: office.propose_roles(
            db, NOW, actor(ADMIN), AUDITOR, frozenset({Role.ADMINISTRATOR}), "stands in"
        )
    )
    assert held is not None
    with pytest.raises(WrongRole, match="own role"):
        store.run_sync(lambda db: decide(db, NOW, held, actor(AUDITOR), True, "", EXECUTORS))
    assert store.run_sync(lambda db: users.find(db, AUDITOR)).roles == {Role.AUDITOR}


def test_disabling_everybody_else_does_not_make_an_administrator_alone(store: Store) -> None:
    store.run_sync(register)
    for other in (CLERK, APPROVER, AUDITOR):
        store.run_sync(lambda db, other=other: users.disable(db, NOW, actor(ADMIN), other))  # type: ignore[misc]
    _, held = store.run_sync(
        lambda db: users.add(db, NOW, actor(ADMIN), NewUser("puppet", frozenset({Role.APPROVER})))
    )
    assert held == {Role.APPROVER}


def test_unknown_users_are_refused_everywhere(store: Store) -> None:
    store.run_sync(register)
    for call in (users.disable, users.renew_token, users.release):
        with pytest.raises(UnknownObject):
            store.run_sync(lambda db, call=call: call(db, NOW, actor(ADMIN), "nobody-9"))  # type: ignore[misc]
