"""The template of an import file: every column with its meaning, and one example of each kind.

Rules of this file:
- a row whose first cell begins with COMMENT is for people: whoever reads the file passes it over, so that a
  template that is sent in untouched files nobody. No record id can begin so;
- the examples are whole: without their mark they parse, to a report of their kind that wants nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records import codes
from candor_records.content import ALL_FIELDS, MAX_NAME_CHARACTERS
from candor_records.field_types import DATE, one_of, some_of, text
from candor_records.kinds import FIELDS, FIELDS_OF

COMMENT = "#"

_NAME = text(MAX_NAME_CHARACTERS).words
# The columns of the first format, which every file has (RECORDS.md §3.2, §3.3): what they hold and mean.
COMMON: Mapping[str, tuple[str, str]] = {
    "agency_record_id": ("at most 64 letters, digits and . _ / # : -", "the agency's own number"),
    "record_kind": (one_of(RecordKind).words, "which of the seven kinds"),
    "first": (_NAME, "given name; UNKNOWN if nobody knows it"),
    "middle": (_NAME, "middle name or initial"),
    "last": (_NAME, "surname"),
    "suffix": (_NAME, "Jr, Sr, III"),
    "former_last": (_NAME, "former surname"),
    "birth_date": ("date YYYY-MM-DD, YYYY-MM or YYYY", "date of birth as far as it is known"),
    "ssn4": ("four digits", "last four of the social security number, never the whole"),
    "sex": ("one of M, F, X", "sex as filed"),
    "post_state": ("two letters of a state", "state of the body that issued the certificate"),
    "post_id": (_NAME, "number of the certificate"),
    "effective_on": (DATE.words, "day on which the action took effect"),
    "decided_on": (DATE.words, "day of the decision"),
    "decision_maker": (one_of(codes.DecisionMaker).words, "who decided"),
    "standard_of_proof": (one_of(codes.StandardOfProof).words, "by what standard it was found"),
    "notice_given_on": (DATE.words, "day on which the officer was given notice"),
    "notice_method": (one_of(codes.NoticeMethod).words, "how notice was given"),
    "opportunity": (one_of(codes.Opportunity).words, "chance to respond before the decision"),
    "opportunity_on": (DATE.words, "day of the hearing or response"),
    "finality": (one_of(codes.Finality).words, "whether the decision can still be appealed"),
    "appeal_until": (DATE.words, "last day to appeal, while it is running"),
    "subject_notified_on": (DATE.words, "day on which the officer was told of this report"),
    "sharing": (one_of(Sharing).words, "may be released by rule, by a person, or not; empty is YELLOW"),
    "on_duty": (one_of(codes.Nexus).words, "the conduct was on duty"),
    "use_of_force_related": (one_of(codes.Nexus).words, "the conduct was a use of force"),
    "allegation_categories": (some_of(codes.AllegationCategory).words, "what the decision was about"),
    "source_of_record": (one_of(codes.SourceOfRecord).words, "where the facts come from"),
    "narrative": ("text of at most 4000 characters", "what was found, without whom it harmed"),
}  # fmt: skip

_OFFICER = {
    "first": "Quentin", "middle": "Zebulon", "last": "Placeholderson", "birth_date": "1984-07-23",
    "ssn4": "4821", "sex": "M", "post_state": "ZZ", "post_id": "B-204417", "effective_on": "2021-06-14",
    "sharing": "YELLOW", "on_duty": "YES", "use_of_force_related": "NO",
    "source_of_record": "PERSONNEL_ACTION",
    "appointed_on": "2009-03-02", "rank": "Officer", "sworn": "YES", "employment_form": "FULL_TIME",
}  # fmt: skip
_DECIDED = _OFFICER | {
    "decided_on": "2021-06-07", "decision_maker": "TRIAL_BOARD", "standard_of_proof": "PREPONDERANCE",
    "notice_given_on": "2021-04-01", "notice_method": "IN_PERSON", "opportunity": "OFFERED_HELD",
    "opportunity_on": "2021-05-11", "finality": "FINAL", "subject_notified_on": "2021-06-20",
    "severity": "GRAVE", "representation_available": "YES", "name_clearing_offered": "YES",
}  # fmt: skip
_IN_COURT = _DECIDED | {
    "source_of_record": "COURT", "decision_maker": "COURT", "notice_method": "COURT_SERVICE",
    "court": "Superior Court of Example County", "court_jurisdiction": "ZZ", "docket": "21-0417",
}  # fmt: skip

_EXAMPLES: Mapping[RecordKind, Mapping[str, str]] = {
    RecordKind.TERMINATION_FOR_CAUSE: _DECIDED | {
        "allegation_categories": "DISHONESTY", "narrative": "Falsified two overtime reports.",
        "separated_on": "2021-06-14", "cause_codes": "DISHONESTY;POLICY_VIOLATION", "policy_sections": "4.12",
        "sustained_allegation_ids": "21-017/2", "discipline_imposed": "DISMISSAL",
        "eligible_for_rehire": "NO", "last_chance_agreement": "NO", "arbitration_outcome": "UPHELD",
    },
    RecordKind.SEPARATION_UNDER_INVESTIGATION: _DECIDED | {
        "decided_on": "", "decision_maker": "", "standard_of_proof": "", "finality": "",
        "separated_on": "2021-06-14", "separation_form": "RESIGNED", "investigation_opened_on": "2021-03-15",
        "officer_informed_on": "2021-04-01", "status_at_separation": "ADMINISTRATIVE_LEAVE",
        "carried_to_completion": "NO", "investigation_outcome": "PENDING", "settlement_or_nda": "NO",
        "in_lieu_offered": "NO",
    },
    RecordKind.DECERTIFICATION: _DECIDED | {
        "decision_maker": "POST", "standard_of_proof": "CLEAR_AND_CONVINCING",
        "source_of_record": "POST_ORDER", "deciding_post": "ZZ",
        "certificate_class": "BASIC", "certificate_action": "SUSPENDED",
        "action_authority": "Example Code 1510.8", "action_grounds": "DISHONESTY", "order_number": "D-21-118",
        "action_ends_on": "2024-06-13", "reinstatement_eligible": "YES", "reported_to_ndi_on": "2021-06-21",
    },
    RecordKind.CRIMINAL_CONVICTION: _IN_COURT | {
        "standard_of_proof": "BEYOND_REASONABLE_DOUBT", "statute": "Example Penal Code 245",
        "ncic_offence_code": "1315", "offence_on": "2020-11-02", "convicted_on": "2021-06-07",
        "plea_or_verdict": "JURY_VERDICT", "offence_level": "FELONY", "sentence": "24 months of probation",
        "dv_misdemeanor": "NO", "post_judgment_relief": "NONE",
    },
    RecordKind.CIVIL_JUDGMENT: _IN_COURT | {
        "use_of_force_related": "YES", "cause_of_action": "SECTION_1983", "capacity": "INDIVIDUAL",
        "judgment_on": "2021-06-07", "judgment_form": "ADJUDICATED_LIABILITY", "amount": "125000.00",
        "indemnified": "YES", "appeal_bond": "NO", "satisfied": "YES",
    },
    RecordKind.SUSTAINED_FORCE_FINDING: _DECIDED | {
        "use_of_force_related": "YES", "allegation_categories": "EXCESSIVE_FORCE;NECK_RESTRAINT",
        "severity": "SERIOUS", "incident_number": "2020-118734", "incident_on": "2020-11-02",
        "force_types": "NECK_RESTRAINT", "subject_injury": "MINOR", "standard_applied": "BOTH",
        "finding": "SUSTAINED", "sustained_allegation_ids": "20-233/1",
        "reviewing_body": "FORCE_REVIEW_BOARD", "discipline_imposed": "SUSPENSION;TRAINING",
        "training_ordered": "YES",
        "training_completed_on": "2021-09-30",
    },
    RecordKind.COMMENDATION: _OFFICER | {
        "on_duty": "YES", "narrative": "Pulled a driver from a burning car.", "award": "LIFESAVING",
        "award_level": "AGENCY", "citation_on": "2021-06-14", "incident_number": "2021-004512",
        "awarding_body": "Example Police Department", "award_public": "YES",
    },
}  # fmt: skip


def example(kind: RecordKind) -> dict[str, str]:
    """A whole report of this kind as a row of all columns. Nobody's."""
    row = dict.fromkeys(ALL_FIELDS, "")
    number = f"EXAMPLE-{kind.value}"
    return row | {"agency_record_id": number, "record_kind": kind.name} | dict(_EXAMPLES[kind])


def template_rows() -> list[list[str]]:
    """The header, what each column holds, and an example of each kind; all but the header are comments."""
    hints = [_hint(name) for name in ALL_FIELDS]
    examples = (list(example(kind).values()) for kind in RecordKind)
    return [list(ALL_FIELDS), *([f"{COMMENT} {row[0]}", *row[1:]] for row in (hints, *examples))]


def _hint(name: str) -> str:
    if name in COMMON:
        words, meaning = COMMON[name]
        return f"{meaning}: {words}"
    field = FIELDS[name]
    return f"{field.meaning}: {field.type.words} [{belongs_to(name)}]"


def belongs_to(name: str) -> str:
    """For which kinds a field is, in the fewest words."""
    missing = [kind for kind in RecordKind if name not in FIELDS_OF[kind]]
    if not missing:
        return "all kinds"
    if missing == [RecordKind.COMMENDATION]:
        return "all but COMMENDATION"
    return ", ".join(kind.name for kind in RecordKind if kind not in missing)
