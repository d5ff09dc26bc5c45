"""The columns of the kinds in synthetic records: what `generate_officers` writes beside the first 29.

Rules of this file:
- drawn from a stream of the row's own, so that whatever is added here changes nothing else;
- days fit those of the row (no separation before the appointment, no conviction before the offence), and the
  values fit its narrative: a certificate is revoked, a finding sustained;
- about one cell in seven is empty, as in real files.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date, timedelta

from candor_records.codes import Award, Cause, CauseOfAction, Ground
from candor_records.kinds import FIELDS

_STATES = ("OH", "TX", "MA", "PA", "CA", "NH", "RI", "CT")
_COURTS = ("Superior Court", "District Court", "Court of Common Pleas", "Circuit Court")
_RANKS = ("Officer", "Officer", "Deputy", "Corporal", "Sergeant", "Lieutenant")
_LEVELS = (("FELONY", "18 months"), ("MISDEMEANOR", "12 months of probation"))
_FORCE = {"DEADLY", "LESS_LETHAL", "NECK_RESTRAINT", "UNHOLSTERED", "K9", "VEHICLE", "RESTRAINT_POSITION"}


def details(row: Mapping[str, str]) -> dict[str, str]:
    """The other columns of a row, "" where they hold nothing."""
    draw = random.Random(f"details {row['agency_record_id']} {row['record_kind']}")
    effective = date.fromisoformat(row["effective_on"])
    decided = date.fromisoformat(row["decided_on"]) if row["decided_on"] else effective
    notice = date.fromisoformat(row["notice_given_on"]) if row["notice_given_on"] else decided
    born = date.fromisoformat(row["birth_date"])
    appointed = born.replace(year=born.year + 21, day=1)
    found = {
        "appointed_on": appointed.isoformat() if appointed < notice - timedelta(days=400) else "",
        "rank": draw.choice(_RANKS),
        "sworn": "YES",
        "employment_form": draw.choice(("FULL_TIME", "FULL_TIME", "FULL_TIME", "PART_TIME", "RESERVE")),
        "document_hashes": draw.randbytes(32).hex(),
    }
    if row["record_kind"] != "COMMENDATION":
        found |= {
            "severity": draw.choice(("SERIOUS", "SERIOUS", "GRAVE")),
            "representation_available": draw.choice(("YES", "YES", "NO")),
            "name_clearing_offered": draw.choice(("YES", "NO")),
        }
    found |= _own(draw, row, effective, decided, notice)
    kept = {name: value for name, value in found.items() if draw.random() > 0.15}
    return {name: kept.get(name, "") for name in FIELDS}


def _own(
    draw: random.Random, row: Mapping[str, str], effective: date, decided: date, notice: date
) -> dict[str, str]:
    categories = row["allegation_categories"].split(";")
    match row["record_kind"]:
        case "TERMINATION_FOR_CAUSE":
            causes = {one for one in categories if one in Cause.__members__}
            causes.add(draw.choice(("POLICY_VIOLATION", "NEGLECT_OF_DUTY")))
            return {
                "separated_on": str(effective),
                "cause_codes": ";".join(
                    sorted({*causes, draw.choice(("POLICY_VIOLATION", "NEGLECT_OF_DUTY"))})
                ),
                "policy_sections": f"{draw.randrange(1, 9)}.{draw.randrange(1, 40)}",
                "sustained_allegation_ids": f"{decided.year % 100}-{draw.randrange(1, 400):03d}/1",
                "discipline_imposed": "DISMISSAL",
                "eligible_for_rehire": "NO",
                "last_chance_agreement": draw.choice(("NO", "NO", "YES")),
            }
        case "SEPARATION_UNDER_INVESTIGATION":
            return {
                "separated_on": str(effective),
                "separation_form": draw.choice(("RESIGNED", "RESIGNED", "RETIRED", "IN_LIEU")),
                "investigation_opened_on": str(notice - timedelta(days=draw.randrange(1, 30))),
                "officer_informed_on": str(notice),
                "status_at_separation": draw.choice(("FULL_DUTY", "ADMINISTRATIVE_LEAVE", "SUSPENDED")),
                "carried_to_completion": "NO",
                "investigation_outcome": draw.choice(("PENDING", "PENDING", "CLOSED_WITHOUT_FINDING")),
                "settlement_or_nda": draw.choice(("NO", "NO", "YES")),
                "in_lieu_offered": draw.choice(("NO", "YES")),
            }
        case "DECERTIFICATION":
            return {
                "deciding_post": row["post_state"] or draw.choice(_STATES),
                "certificate_class": draw.choice(("BASIC", "BASIC", "INTERMEDIATE", "ADVANCED")),
                "certificate_action": "REVOKED",
                "action_grounds": draw.choice(list(Ground.__members__)[:6]),
                "order_number": f"D-{decided.year}-{draw.randrange(1, 600)}",
                "reinstatement_eligible": draw.choice(("NO", "NO", "YES")),
                "reported_to_ndi_on": str(effective + timedelta(days=draw.randrange(1, 10))),
            }
        case "CRIMINAL_CONVICTION":
            level, sentence = draw.choice(_LEVELS)
            return _court(draw, decided) | {
                "statute": f"Penal Code {draw.randrange(100, 700)}",
                "offence_on": str(decided - timedelta(days=draw.randrange(150, 700))),
                "convicted_on": str(decided),
                "plea_or_verdict": draw.choice(("GUILTY_PLEA", "NO_CONTEST_PLEA", "JURY_VERDICT")),
                "offence_level": level,
                "sentence": sentence,
                "post_judgment_relief": "NONE",
            }
        case "CIVIL_JUDGMENT":
            return _court(draw, decided) | {
                "cause_of_action": draw.choice(list(CauseOfAction.__members__)),
                "capacity": draw.choice(("INDIVIDUAL", "INDIVIDUAL", "BOTH")),
                "judgment_on": str(decided),
                "judgment_form": "ADJUDICATED_LIABILITY",
                "amount": f"{draw.randrange(5, 900)}000.00",
                "indemnified": draw.choice(("YES", "NO")),
                "satisfied": draw.choice(("YES", "NO")),
            }
        case "SUSTAINED_FORCE_FINDING":
            incident = notice - timedelta(days=draw.randrange(5, 90))
            trained = decided + timedelta(days=draw.randrange(1, 25))
            return {
                "incident_number": f"{incident.year}-{draw.randrange(1000, 99_999):06d}",
                "incident_on": str(incident),
                "force_types": ";".join(sorted(_FORCE.intersection(categories)) or ["PHYSICAL"]),
                "subject_injury": draw.choice(("NONE", "MINOR", "MINOR", "SERIOUS")),
                "standard_applied": draw.choice(("GRAHAM", "POLICY", "BOTH")),
                "finding": "SUSTAINED",
                "reviewing_body": draw.choice(("FORCE_REVIEW_BOARD", "INTERNAL_AFFAIRS")),
                "discipline_imposed": draw.choice(("SUSPENSION", "REPRIMAND;TRAINING", "TRAINING")),
                "training_ordered": "YES",
                "training_completed_on": str(trained),
            }
    return {
        "award": draw.choice(list(Award.__members__)),
        "award_level": draw.choice(("AGENCY", "AGENCY", "LOCAL", "STATE")),
        "citation_on": str(effective),
        "award_public": "YES",
    }


def _court(draw: random.Random, decided: date) -> dict[str, str]:
    return {
        "court": draw.choice(_COURTS),
        "court_jurisdiction": draw.choice(_STATES),
        "docket": f"{decided.year}-{draw.choice(('CR', 'CV'))}-{draw.randrange(100, 9999)}",
    }
