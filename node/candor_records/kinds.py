"""The fields of the seven record kinds, as tables to be read beside RECORDS.md §3.2 to §3.4.

Rules of this file:
- a name means one thing: it is the column of a file, the key in `Content.details` and the field of a
  release; a field that two kinds have is one field;
- every field is optional, for a file of the first format does not have it: what is missing is UNKNOWN in
  its own kind, and nothing at all in another, where a value is an error. `expected` says what a complete
  report of the kind gives; `wanting` (content) names what is missing of it;
- what the gate, a pack or the life cycle reads of it is read there; here is what a field holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from candor_proto.record import RecordKind
from candor_records import codes
from candor_records.field_types import (
    AMOUNT,
    DATE,
    DIGESTS,
    OFFENCE_CODE,
    STATE,
    YES_NO,
    FieldType,
    one_of,
    some_of,
    text,
)


@dataclass(frozen=True)
class Field:
    """One field: its column, what it may hold, and what it means in one line."""

    name: str
    type: FieldType
    meaning: str
    expected: bool = False


# --- fields of several kinds -------------------------------------------------------------------------

EMPLOYMENT = (
    Field("appointed_on", DATE, "first day of the employment"),
    Field("rank", text(60), "rank or title at the time"),
    Field("sworn", YES_NO, "sworn officer at the time"),
    Field("employment_form", one_of(codes.EmploymentForm), "how the officer was employed"),
    Field("document_hashes", DIGESTS, "digests of the documents, which stay at the agency"),
)
# Of a decision or separation: its weight, its process, its appeal.
DECISION = (
    Field("severity", one_of(codes.Severity), "how grave the conduct is by the agency's own matrix"),
    Field("representation_available", YES_NO, "the officer could be represented"),
    Field("name_clearing_offered", YES_NO, "a hearing to clear the name was offered"),
    Field("appeal_forum", one_of(codes.AppealForum), "who hears, or heard, the appeal"),
    Field("appeal_filed_on", DATE, "day on which the appeal was lodged"),
    Field("appeal_docket", text(60), "number of the appeal at its forum"),
    Field("appeal_outcome", one_of(codes.AppealOutcome), "how the appeal ended"),
    Field("appeal_decided_on", DATE, "day on which the appeal was decided"),
)

_SEPARATED_ON = Field("separated_on", DATE, "last day of the employment", expected=True)
_ALLEGATION_IDS = Field("sustained_allegation_ids", text(200), "the agency's numbers of what was sustained")
_DISCIPLINE = Field("discipline_imposed", some_of(codes.Discipline), "what was imposed")
_COURT = Field("court", text(120), "name of the court", expected=True)
_JURISDICTION = Field(
    "court_jurisdiction", STATE, "state of the court; US for a federal court", expected=True
)
_DOCKET = Field("docket", text(60), "number of the case at the court", expected=True)
_INCIDENT_NUMBER = Field("incident_number", text(60), "the agency's number of the incident")

# --- the kinds ---------------------------------------------------------------------------------------

OWN_FIELDS: Mapping[RecordKind, tuple[Field, ...]] = {
    RecordKind.TERMINATION_FOR_CAUSE: (
        _SEPARATED_ON,
        Field("cause_codes", some_of(codes.Cause), "why the employment was ended", expected=True),
        Field("policy_sections", text(200), "sections of the policy that were violated"),
        _ALLEGATION_IDS,
        _DISCIPLINE,
        Field("eligible_for_rehire", YES_NO, "the agency would employ the officer again", expected=True),
        Field("last_chance_agreement", YES_NO, "the officer worked under a last-chance agreement"),
        Field("arbitration_outcome", one_of(codes.ArbitrationOutcome), "what an arbitrator made of it"),
    ),
    RecordKind.SEPARATION_UNDER_INVESTIGATION: (
        _SEPARATED_ON,
        Field("separation_form", one_of(codes.SeparationForm), "how the officer left", expected=True),
        Field("investigation_opened_on", DATE, "day on which the investigation was opened", expected=True),
        Field("officer_informed_on", DATE, "day on which the officer was told of it", expected=True),
        Field("status_at_separation", one_of(codes.StatusAtSeparation), "duty status on the last day"),
        Field("carried_to_completion", YES_NO, "the investigation was brought to its end"),
        Field(
            "investigation_outcome", one_of(codes.InvestigationOutcome),
            "how it ended: SUSTAINED makes the record adjudicated, a result in favour voids it",
            expected=True,
        ),
        Field("settlement_or_nda", YES_NO, "there is a settlement or a promise of silence"),
        Field("in_lieu_offered", YES_NO, "resignation instead of termination was offered"),
    ),
    RecordKind.DECERTIFICATION: (
        Field("deciding_post", STATE, "state of the body that acted", expected=True),
        Field("certificate_class", one_of(codes.CertificateClass), "class of the certificate"),
        Field("certificate_action", one_of(codes.CertificateAction), "what was done to it", expected=True),
        Field("action_authority", text(200), "statute or rule under which it was done"),
        Field("action_grounds", some_of(codes.Ground), "on what it was done", expected=True),
        Field("order_number", text(60), "number of the order"),
        Field("action_ends_on", DATE, "end of a suspension"),
        Field("reinstatement_eligible", YES_NO, "the officer may apply for reinstatement"),
        Field("reported_to_ndi_on", DATE, "day of its report to the National Decertification Index"),
    ),
    RecordKind.CRIMINAL_CONVICTION: (
        _COURT,
        _JURISDICTION,
        _DOCKET,
        Field("statute", text(120), "statute under which the officer was convicted", expected=True),
        Field("ncic_offence_code", OFFENCE_CODE, "offence by the uniform four-digit code"),
        Field("offence_on", DATE, "day of the offence"),
        Field("convicted_on", DATE, "day of the judgment of conviction", expected=True),
        Field("plea_or_verdict", one_of(codes.PleaOrVerdict), "on what the court convicted", expected=True),
        Field("offence_level", one_of(codes.OffenceLevel), "felony or misdemeanor", expected=True),
        Field("sentence", text(500), "the sentence as pronounced"),
        Field("dv_misdemeanor", YES_NO, "misdemeanor of domestic violence, 18 USC 922(g)(9)"),
        Field("post_judgment_relief", one_of(codes.Relief), "what was granted later and left it standing"),
    ),
    RecordKind.CIVIL_JUDGMENT: (
        _COURT,
        _JURISDICTION,
        _DOCKET,
        Field("cause_of_action", one_of(codes.CauseOfAction), "the law it was found under", expected=True),
        Field("capacity", one_of(codes.Capacity), "in which the officer was sued"),
        Field("judgment_on", DATE, "day of the judgment", expected=True),
        Field("judgment_form", one_of(codes.JudgmentForm), "how it ended", expected=True),
        Field("amount", AMOUNT, "sum awarded, only if it is public"),
        Field("indemnified", YES_NO, "the employer paid or pays"),
        Field("appeal_bond", YES_NO, "a bond stays execution pending appeal"),
        Field("satisfied", YES_NO, "the judgment was paid"),
    ),
    RecordKind.SUSTAINED_FORCE_FINDING: (
        _INCIDENT_NUMBER,
        Field("incident_on", DATE, "day of the incident", expected=True),
        Field("force_types", some_of(codes.ForceType), "what force was used", expected=True),
        Field("subject_injury", one_of(codes.InjuryLevel), "how badly the person was hurt"),
        Field("standard_applied", one_of(codes.StandardApplied), "by what it was judged", expected=True),
        Field("finding", one_of(codes.Finding), "only findings that sustain are reported", expected=True),
        _ALLEGATION_IDS,
        Field("reviewing_body", one_of(codes.ReviewingBody), "who made the finding", expected=True),
        _DISCIPLINE,
        Field("training_ordered", YES_NO, "training was ordered"),
        Field("training_completed_on", DATE, "day on which the training was completed"),
    ),
    RecordKind.COMMENDATION: (
        Field("award", one_of(codes.Award), "what was awarded", expected=True),
        Field("award_level", one_of(codes.AwardLevel), "who it is an award of", expected=True),
        Field("citation_on", DATE, "day of the citation", expected=True),
        _INCIDENT_NUMBER,
        Field("awarding_body", text(120), "who gave it"),
        Field("award_public", YES_NO, "the award is public"),
    ),
}  # fmt: skip

FIELDS_OF: Mapping[RecordKind, Mapping[str, Field]] = {
    kind: {
        field.name: field
        for field in (*own, *EMPLOYMENT, *(() if kind is RecordKind.COMMENDATION else DECISION))
    }
    for kind, own in OWN_FIELDS.items()
}
# Every field by name, in the order of the columns of a template.
FIELDS: Mapping[str, Field] = {
    field.name: field for fields in (EMPLOYMENT, DECISION, *OWN_FIELDS.values()) for field in fields
}


def kinds_with(name: str) -> tuple[RecordKind, ...]:
    """The kinds that have the field of this name."""
    return tuple(kind for kind, fields in FIELDS_OF.items() if name in fields)
