"""Purposes, paperwork and the standing rule (RECORDS.md §5, §3.6; docs/protocol.md §9.6)."""

from __future__ import annotations

import pytest

from candor_proto.errors import InputInvalid, PurposeRefused
from candor_proto.ids import LookupShape, Purpose
from candor_proto.policy import (
    RULES,
    Release,
    Sharing,
    check_paperwork,
    check_purpose,
    check_shape,
    release_by_rule,
)

GREEN_FOR_HIRING = frozenset({Purpose.J_APPLICANT})


def rule(sharing: Sharing, **changes: object) -> Release:
    arguments: dict[str, object] = {
        "advisory": False,
        "wrong_person_disputed": False,
        "purpose": Purpose.J_APPLICANT,
        "green_purposes": GREEN_FOR_HIRING,
    }
    decision, reason = release_by_rule(sharing, **{**arguments, **changes})  # type: ignore[arg-type]
    assert reason.endswith(".")
    return decision


def test_every_purpose_has_a_rule() -> None:
    assert set(RULES) == set(Purpose)


@pytest.mark.parametrize("purpose", [Purpose.C, Purpose.AUDIT])
def test_purposes_that_are_off_are_refused(purpose: Purpose) -> None:
    with pytest.raises(PurposeRefused):
        check_purpose(purpose)


def test_everything_that_is_missing_is_said_at_once() -> None:
    with pytest.raises(PurposeRefused) as caught:
        check_paperwork(Purpose.J_APPLICANT, " ", "", "")
    assert all(flag in caught.value.message for flag in ("--case", "--consent", "--officer"))


def test_complete_paperwork_passes() -> None:
    check_paperwork(Purpose.J_APPLICANT, "REQ-1", "C-1", "Sgt. Example")
    check_paperwork(Purpose.CERTIFICATION, "APP-1", "REL-1", "Sgt. Example")


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if RULES[purpose].allowed])
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_every_purpose_needs_case_consent_and_officer(purpose: Purpose, missing: int) -> None:
    papers = ["REQ-1", "C-1", "Sgt. Example"]
    check_paperwork(purpose, *papers)
    papers[missing] = "  "
    with pytest.raises(PurposeRefused):
        check_paperwork(purpose, *papers)


def test_a_detailed_lookup_after_a_screening_one_is_refused() -> None:
    screened = frozenset({LookupShape.SCREENING})
    with pytest.raises(PurposeRefused):
        check_shape(LookupShape.DETAILED, screened)
    check_shape(LookupShape.SCREENING, screened)
    check_shape(LookupShape.DETAILED, frozenset({LookupShape.DETAILED}))


def test_green_releases_for_the_purposes_it_names_only() -> None:
    assert rule(Sharing.GREEN) is Release.RELEASE
    assert rule(Sharing.GREEN, purpose=Purpose.CERTIFICATION) is Release.ASK_A_PERSON


def test_yellow_waits_for_a_person_and_red_declines() -> None:
    assert rule(Sharing.YELLOW) is Release.ASK_A_PERSON
    assert rule(Sharing.RED) is Release.DECLINE


def test_advisory_records_and_disputed_persons_always_need_a_person() -> None:
    assert rule(Sharing.GREEN, advisory=True) is Release.ASK_A_PERSON
    assert rule(Sharing.GREEN, wrong_person_disputed=True) is Release.ASK_A_PERSON
    assert rule(Sharing.RED, wrong_person_disputed=True) is Release.DECLINE


@pytest.mark.parametrize(
    ("case", "consent", "officer"),
    [
        ("R" * 129, "C", "O"),
        ("R", "C" * 257, "O"),
        ("R", "C", "Ö" * 129),
        ("R\n1", "C", "O"),
        ("R", "C", "\x1b[2J"),
    ],
)
def test_papers_that_a_request_has_no_room_for_are_refused_before_anything_is_asked(
    case: str, consent: str, officer: str
) -> None:
    with pytest.raises(InputInvalid):
        check_paperwork(Purpose.J_APPLICANT, case, consent, officer)
