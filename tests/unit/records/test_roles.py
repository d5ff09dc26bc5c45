"""Who may do what: every cell of role and operation (RECORDS.md §7.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import InputInvalid, WrongRole
from candor_records.roles import (
    ALL_ROLES,
    RULES,
    Actor,
    Operation,
    Role,
    check_allowed,
    check_second,
    needs_second,
    same_user,
)

# The whole matrix, written out again: C clerk, I investigator, A approver, U auditor, M administrator.
# Behind the stroke who may be the second person.
MATRIX = {
    "VIEW_STATUS": "CIAUM",
    "VIEW_RECORDS": "CAU",
    "FILE_RECORDS": "C",
    "REVIEW_RECORDS": "CA",
    "ACT_ON_RECORDS": "C",
    "VOID_RECORD": "C/A",
    "EXPUNGE_RECORD": "C/A",
    "CHANGE_SHARING": "C",
    "OPEN_SHARING": "C/A",
    "IMPORT_RECORDS": "C",
    "EXPORT_RECORDS": "CU",
    "PUBLISH": "CM",
    "LOOK_UP": "I",
    "LOOK_UP_SENSITIVE": "I/A",
    "VIEW_LOOKUPS": "IU",
    "ACKNOWLEDGE_MATCH": "I",
    "REQUEST_RECORDS": "I",
    "DECIDE_REQUESTS": "A",
    "RELEASE_SENSITIVE": "A/A",
    "VIEW_REQUESTS": "CIAU",
    "ACKNOWLEDGE_RECALL": "CI",
    "VIEW_RECALLS": "CIAU",
    "VIEW_PACKS": "CIAUM",
    "ADOPT_PACK": "CM/A",
    "SERVE_SUBJECT": "C",
    "VIEW_SUBJECT_REPORT": "CAU",
    "RESOLVE_DISPUTE": "A",
    "DEFER_VISIBILITY": "CI/A",
    "VIEW_RETENTION": "CAU",
    "DESTROY_RECORDS": "C/A",
    "VIEW_LEDGER": "UM",
    "REVIEW_USE": "U",
    "TAKE_RECEIPTS": "IAU",
    "HANDLE_EVIDENCE": "U",
    "REVIEW_FAILURES": "U",
    "OPEN_LOOKUPS": "U",
    "MARK_SENSITIVE": "A",
    "MANAGE_USERS": "M",
    "GRANT_ROLE": "M/MAU",
    "VIEW_APPROVALS": "CIAUM",
    "DECIDE_APPROVALS": "AUM",
    "BACK_UP": "M",
    "VIEW_ROLLBACK": "CIAUM",
    "CONFIRM_ROLLBACK": "AU",
}
LETTERS = dict(zip("CIAUM", Role, strict=True))
# Whatever changes the operation's outcome for a person takes two.
TWO_PEOPLE = {operation for operation, cell in MATRIX.items() if "/" in cell}


def test_every_operation_has_a_rule_and_a_row_here() -> None:
    assert set(RULES) == set(Operation)
    assert {operation.value for operation in Operation} == set(MATRIX)


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("role", Role)
def test_each_cell_of_role_and_operation(operation: Operation, role: Role) -> None:
    first, _, second = MATRIX[operation.value].partition("/")
    holder = Actor("user-1", frozenset({role}))
    if role in {LETTERS[letter] for letter in first}:
        check_allowed(holder, operation)
    else:
        with pytest.raises(WrongRole):
            check_allowed(holder, operation)
    if role in {LETTERS[letter] for letter in second}:
        check_second("user-2", holder, operation)
    else:
        with pytest.raises(WrongRole):
            check_second("user-2", holder, operation)


@pytest.mark.parametrize("operation", Operation)
def test_nobody_without_a_role_may_do_anything(operation: Operation) -> None:
    with pytest.raises(WrongRole):
        check_allowed(Actor("user-1", frozenset()), operation)


def test_what_takes_two_people_is_what_the_contract_says() -> None:
    assert {operation.value for operation in Operation if needs_second(operation)} == TWO_PEOPLE
    assert {"VOID_RECORD", "EXPUNGE_RECORD", "OPEN_SHARING", "ADOPT_PACK", "DEFER_VISIBILITY"} <= TWO_PEOPLE
    assert {"LOOK_UP_SENSITIVE", "DESTROY_RECORDS", "GRANT_ROLE"} <= TWO_PEOPLE


def test_administrators_see_no_record_lookup_or_request() -> None:
    administrator = Actor("admin-1", frozenset({Role.ADMINISTRATOR}))
    for operation in ("VIEW_RECORDS", "VIEW_LOOKUPS", "VIEW_REQUESTS", "LOOK_UP", "VIEW_SUBJECT_REPORT"):
        with pytest.raises(WrongRole):
            check_allowed(administrator, Operation[operation])


@pytest.mark.parametrize("name", ["user-1", "USER-1", " user-1 ", "ｕｓｅｒ-1"])  # the last one is full-width
def test_self_approval_is_refused_however_the_name_is_written(name: str) -> None:
    with pytest.raises(WrongRole, match="takes two people"):
        check_second("user-1", Actor(name, ALL_ROLES), Operation.VOID_RECORD)


@given(st.text(max_size=20))
def test_a_user_is_the_same_as_itself(name: str) -> None:
    assert same_user(name, f" {name.upper().lower()} ") or name.upper().lower() != name
    assert same_user(name, name)


@pytest.mark.parametrize(
    "other",
    ["Chief-2", "chief-2 ", "chief\u200b-2", "ｃｈｉｅｆ-2", "chi\u00adef-2", "chíef-2", "\ufeffchief-2"],
)
def test_a_second_person_is_not_the_first_in_another_spelling(other: str) -> None:
    assert same_user("chief-2", other)
    assert not same_user("chief-2", "chief-3")


@given(st.text(max_size=20))
def test_a_role_parses_or_is_refused_with_the_list(text: str) -> None:
    try:
        assert Role.parse(text).value == text.strip().upper()
    except InputInvalid as error:
        assert "ADMINISTRATOR" in error.remedy
        assert not text.strip() or text not in error.message or text in "There is no such role."
