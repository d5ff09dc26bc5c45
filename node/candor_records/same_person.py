"""Whether a record is about the person who stands at the counter: for subject access, where a namesake's
record would be somebody else's secret (RECORDS.md §4.3).

Rules of this file:
- exact, not clever: matching finds candidates, this decides whose file is handed out;
- SAME needs two things that agree: the name and a whole birth date, or one of them and the certificate;
- birth dates that differ are OTHER, whatever the name says; only with one certificate a person looks;
- UNSURE is for a person to decide, who names the record; OTHER cannot be overruled by anybody.
"""

from __future__ import annotations

from enum import Enum

from candor_proto.errors import InputInvalid
from candor_proto.normalise import Particulars, Person, normalise


class Agreement(Enum):
    """What a record's identity is to the identity that was proved."""

    SAME = "the same person"
    UNSURE = "perhaps the same person"
    OTHER = "another person"


def check_claim(claimed: Particulars) -> None:
    """Whether enough is said to find one person's records; raises InputInvalid."""
    person = normalise(claimed)
    named = bool(person.surname and person.first)
    if named and (_whole_birth_date(person) or person.post_id):
        return
    if person.post_id and _whole_birth_date(person):
        return
    raise InputInvalid(
        "This is not enough to tell one person's records from a namesake's.",
        remedy="Give both names, and the whole birth date or the certificate, as the proof has them.",
    )


def agreement(one: Person, other: Person) -> Agreement:
    """What a record of one person is to the other, both in normal form."""
    names = bool(one.first) and one.first == other.first and bool(_surnames(one) & _surnames(other))
    certificate = bool(one.post_id) and (one.post_state, one.post_id) == (other.post_state, other.post_id)
    born = bool(_whole_birth_date(one)) and _whole_birth_date(one) == _whole_birth_date(other)
    if _differ(one.year, other.year) or _differ(one.month, other.month) or _differ(one.day, other.day):
        return Agreement.UNSURE if certificate else Agreement.OTHER
    if names + certificate + born >= 2:
        # A namesake born on the same day exists: what else is known must not speak against it.
        contradicted = _differ(one.ssn4, other.ssn4) or (not certificate and _apart(one, other))
        return Agreement.UNSURE if contradicted else Agreement.SAME
    return Agreement.UNSURE if names or certificate else Agreement.OTHER


def _surnames(person: Person) -> set[str]:
    former = person.former_last.replace(" ", "")
    return {name for name in (person.surname, former) if name}


def _whole_birth_date(person: Person) -> str:
    parts = (person.year, person.month, person.day)
    return "-".join(parts) if all(parts) else ""


def _differ(one: str, other: str) -> bool:
    return bool(one and other) and one != other


def _apart(one: Person, other: Person) -> bool:
    """Whether anything else tells two people of one name and one birth date apart."""
    initials = one.middle.startswith(other.middle) or other.middle.startswith(one.middle)
    told = _differ(one.suffix, other.suffix) or _differ(one.sex, other.sex) or not initials
    return told or _other_certificate(one, other)


def _other_certificate(one: Person, other: Person) -> bool:
    return one.post_state == other.post_state and _differ(one.post_id, other.post_id)
