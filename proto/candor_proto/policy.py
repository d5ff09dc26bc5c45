"""May this be asked, for this purpose, with this paperwork? (RECORDS.md §5, §3.6)

Pure decisions with their reasons in plain words. What is missing is said all at once.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from candor_proto.errors import InputInvalid, PurposeRefused
from candor_proto.ids import LookupShape, Purpose
from candor_proto.matchkeys import LookupPlan
from candor_proto.scheme import find_scheme, gate_weight

# What a disclosure request has room for (docs/protocol.md §9.2); UTF-8 of the NFC form.
MAX_CASE_OCTETS = 128
MAX_CONSENT_OCTETS = 256
MAX_OFFICER_OCTETS = 256


@dataclass(frozen=True)
class PurposeRule:
    """What a purpose needs before anything is asked, always a case, a consent or authority, and an officer.

    A missing item means DENIED.
    """

    meaning: str
    case_needed: str
    consent_needed: str
    allowed: bool = True


RULES: Mapping[Purpose, PurposeRule] = {
    Purpose.J_APPLICANT: PurposeRule(
        "hiring background check", "the requisition number", "the applicant's signed consent"
    ),
    Purpose.J_CURRENT: PurposeRule("check of an own officer", "the case number", "the notice reference"),
    Purpose.J_TASKFORCE: PurposeRule(
        "joining a task force", "the sponsor's ORI or case number", "the officer's consent"
    ),
    Purpose.CERTIFICATION: PurposeRule(
        "licensing by a POST body", "the application number", "the application's release"
    ),
    Purpose.SUBJECT_ACCESS: PurposeRule(
        "the officer's own request", "the number of the officer's request", "the proof of identity"
    ),
    # RECORDS.md §5: AUDIT opens a lookup that was logged already and never asks about a new subject.
    Purpose.AUDIT: PurposeRule(
        "opening of a logged lookup", "the audit ticket", "the second auditor", allowed=False
    ),
    Purpose.C: PurposeRule(
        "criminal investigation", "the case number", "the two-person approval", allowed=False
    ),
}


def check_purpose(purpose: Purpose, here: Collection[Purpose] | None = None) -> None:
    """Whether anything is asked or answered for `purpose`; raises PurposeRefused.

    `here` are the purposes that this node's policy names: it narrows what the federation allows, and what is
    off in the federation stays off.
    """
    rule = RULES[purpose]
    if not rule.allowed:
        raise PurposeRefused(
            f"Lookups for {purpose.name} ({rule.meaning}) are off in this federation.",
            remedy="Use the purpose that fits, for example J_APPLICANT for a hiring check.",
        )
    if here is not None and purpose not in here:
        raise PurposeRefused(
            f"The policy pack in force here does not allow {purpose.name} ({rule.meaning}).",
            remedy="Use a purpose that fits; `candor-node packs show` names those that the pack allows.",
        )


def check_paperwork(purpose: Purpose, case: str, consent: str, officer: str) -> None:
    """Whether everything that `purpose` needs is there; raises PurposeRefused naming all that is missing."""
    check_purpose(purpose)
    for name, value, octets in (
        ("case number", case, MAX_CASE_OCTETS),
        ("consent reference", consent, MAX_CONSENT_OCTETS),
        ("name of the officer in charge", officer, MAX_OFFICER_OCTETS),
    ):
        if len(unicodedata.normalize("NFC", value).encode("utf-8", "replace")) > octets:
            raise InputInvalid(f"The {name} is longer than {octets} octets.", remedy="Shorten it.")
        if any(unicodedata.category(letter).startswith("C") for letter in value):
            raise InputInvalid(f"The {name} holds a control character.", remedy="Type it on one line.")
    rule = RULES[purpose]
    missing = []
    if not case.strip():
        missing.append(f"{rule.case_needed} (--case)")
    if not consent.strip():
        missing.append(f"{rule.consent_needed} (--consent)")
    if not officer.strip():
        missing.append("the officer in charge (--officer)")
    if missing:
        raise PurposeRefused(
            f"{purpose.name} needs {', '.join(missing)}.", remedy="Nothing was asked; add it and ask again."
        )


def check_shape(shape: LookupShape, shapes_asked_for_case: frozenset[LookupShape]) -> None:
    """A detailed lookup after a screening one for the same case says "candidate" to every node (§5.3)."""
    if shape is LookupShape.DETAILED and LookupShape.SCREENING in shapes_asked_for_case:
        raise PurposeRefused(
            "This case was screened already; a detailed lookup now would tell every node of a candidate.",
            remedy="Use the screening result, or open a new case with its own number.",
        )


def check_askable(plans: Sequence[LookupPlan]) -> None:
    """Whether so much is known of a person that a record could be opened at all; raises InputInvalid.

    `plans` are those of one scheme, whose threshold counts. If not, NO_RECORD would look like knowledge.
    """
    labels = {slot.label for plan in plans for slot in plan.slots if slot.label is not None}
    if gate_weight(labels) < find_scheme(plans[0].scheme_version).threshold:
        raise InputInvalid(
            "Too little is known of this person: a lookup could open no record, whoever it is.",
            remedy="Give at least first and last name and the birth date or the last four of the SSN.",
        )


class Sharing(Enum):
    """The owner's sharing choice for a record (RECORDS.md §3.6)."""

    GREEN = "GREEN"
    YELLOW = "YELLOW"
    RED = "RED"


class Release(Enum):
    """What the owner's rule says to a disclosure request before any person looks at it."""

    RELEASE = "release"
    ASK_A_PERSON = "ask a person"
    DECLINE = "decline"


def release_by_rule(
    sharing: Sharing,
    *,
    advisory: bool,
    wrong_person_disputed: bool,
    purpose: Purpose,
    green_purposes: frozenset[Purpose],
) -> tuple[Release, str]:
    """The standing rule's decision and its reason in plain words (§9.6).

    YELLOW is the floor for advisory records; an open WRONG_PERSON dispute always needs a person.
    """
    if sharing is Sharing.RED:
        return Release.DECLINE, "The owner marked this record RED: every request is declined."
    if wrong_person_disputed:
        return Release.ASK_A_PERSON, "The subject disputes being this person: a human identity check is due."
    if advisory:
        return Release.ASK_A_PERSON, "An advisory record is released by a person only."
    if sharing is Sharing.GREEN and purpose in green_purposes:
        return Release.RELEASE, f"The owner's standing rule releases GREEN records for {purpose.name}."
    if sharing is Sharing.GREEN:
        return Release.ASK_A_PERSON, f"The standing rule for GREEN records does not name {purpose.name}."
    return Release.ASK_A_PERSON, "The owner marked this record YELLOW: a person decides."
