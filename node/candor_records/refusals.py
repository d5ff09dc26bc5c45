"""What may not be reported, and the sentence that a clerk reads instead (RECORDS.md §3, §7.2).

Rules of this file:
- a refusal is a code with one sentence and one remedy; neither repeats what was written, for that may be a
  name;
- a code column that holds the word for such a thing is refused with the reason, not with "unknown code".
  How texts are searched is in `refused_text`;
- nothing here is legal advice. The law is named where the rule comes from. Of these rules a
  policy pack can lift one: SETTLEMENT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Refusal(Enum):
    """Why something may not be reported."""

    ALLEGATION_ONLY = "ALLEGATION_ONLY"
    IN_FAVOUR = "IN_FAVOUR"
    SETTLEMENT = "SETTLEMENT"
    NOT_A_CONVICTION = "NOT_A_CONVICTION"
    NO_LONGER_STANDS = "NO_LONGER_STANDS"
    COMPELLED_STATEMENT = "COMPELLED_STATEMENT"
    MEDICAL = "MEDICAL"
    JUVENILE = "JUVENILE"
    VICTIM_OR_WITNESS = "VICTIM_OR_WITNESS"
    CRIMINAL_HISTORY = "CRIMINAL_HISTORY"
    BRADY_LIST = "BRADY_LIST"
    WHOLE_SSN = "WHOLE_SSN"
    PLACEHOLDER = "PLACEHOLDER"


@dataclass(frozen=True)
class Reason:
    """What a clerk is told: what is wrong, what to do; and where the rule comes from (not verified)."""

    sentence: str
    remedy: str
    source: str

    @property
    def words(self) -> str:
        return f"{self.sentence}; {self.remedy}"


REASONS: Mapping[Refusal, Reason] = {
    Refusal.ALLEGATION_ONLY: Reason(
        "an allegation without a sustained decision is never reported; only completed decisions are",
        "leave it out, and file the decision once it is made",
        "EO 13929 section 3(b): fair process",
    ),
    Refusal.IN_FAVOUR: Reason(
        "an investigation that ended in the officer's favour is never reported",
        "leave it out; a record that was filed before is voided by correcting it to say so",
        "RECORDS.md §3.6: voided by itself",
    ),
    Refusal.SETTLEMENT: Reason(
        "a settlement is not a judgment and is not reported",
        "report a judgment that found liability, or nothing",
        "EO 13929 section 3(b): civil judgments",
    ),
    Refusal.NOT_A_CONVICTION: Reason(
        "deferred adjudication, diversion, dismissal, nolle prosequi and acquittal are no convictions",
        "report a judgment of conviction, or nothing",
        "EO 13929 section 3(b): criminal convictions",
    ),
    Refusal.NO_LONGER_STANDS: Reason(
        "a decision that was reversed, vacated, expunged or sealed is not reported",
        "if it was reported before, void or overturn that record instead",
        "RECORDS.md §3.4: withdraw at once",
    ),
    Refusal.COMPELLED_STATEMENT: Reason(
        "mentions a compelled statement, which no report may carry (Garrity)",
        "say what was found, not what the officer was made to say",
        "Garrity v. New Jersey, 385 U.S. 493 (1967)",
    ),
    Refusal.MEDICAL: Reason(
        "holds medical, fitness-for-duty or treatment data, which no report may carry",
        "say what was done and decided, without health or treatment",
        "ADA, GINA, HIPAA, 42 CFR Part 2",
    ),
    Refusal.JUVENILE: Reason(
        "holds what looks like the identity of a juvenile, which no report may carry",
        "write only that a juvenile was concerned, without name, initials or address",
        "state juvenile confidentiality law",
    ),
    Refusal.VICTIM_OR_WITNESS: Reason(
        "holds what looks like the identity of a victim or witness, which no report may carry",
        "write only that a victim, witness or complainant was concerned, without name or address",
        "state victim and witness confidentiality law",
    ),
    Refusal.CRIMINAL_HISTORY: Reason(
        "criminal history information from III or NCIC may not be reported (28 CFR 20.33)",
        "use the court's own record",
        "28 CFR 20.33",
    ),
    Refusal.BRADY_LIST: Reason(
        "an entry on a prosecutor's credibility list (Brady, Giglio) is no decision and is not reported",
        "report the sustained finding behind it, or nothing",
        "Brady v. Maryland; Giglio v. United States: the prosecutor's list, not the agency's record",
    ),
    Refusal.WHOLE_SSN: Reason(
        "holds what looks like a social security number",
        "take it out: only its last four digits may be given, in the column ssn4",
        "Privacy Act 1974, section 7",
    ),
    Refusal.PLACEHOLDER: Reason(
        "is a placeholder, not a particular of anybody",
        "leave it empty where nothing is known",
        "RECORDS.md §3.1",
    ),
}


class Refused(ValueError):
    """Raised by whatever reads a value that may not be reported; `reason` says it better for one field."""

    def __init__(self, refusal: Refusal, reason: str = "") -> None:
        super().__init__(reason or REASONS[refusal].words)
        self.refusal = refusal


# --- words in code columns ---------------------------------------------------------------------------

_CODE_WORDS: Mapping[Refusal, str] = {
    Refusal.ALLEGATION_ONLY: """
        ALLEGATION ALLEGED COMPLAINT ACCUSATION INVESTIGATION OPEN_INVESTIGATION ARREST CHARGE CHARGED
        INDICTMENT NOT_SUSTAINED NON_SUSTAINED UNSUSTAINED UNFOUNDED EXONERATED POLICY_FAILURE SUSPECTED
        """,
    Refusal.SETTLEMENT: """
        SETTLEMENT SETTLED CIVIL_SETTLEMENT SETTLEMENT_NO_ADMISSION CONSENT_DECREE CONSENT_JUDGMENT
        STIPULATED_DISMISSAL
        """,
    Refusal.NOT_A_CONVICTION: """
        DEFERRED_ADJUDICATION DEFERRED_PROSECUTION DEFERRED_DISPOSITION ADJUDICATION_WITHHELD
        NOLLE_PROSEQUI NOLLE_PROS DISMISSED CHARGES_DROPPED ACQUITTED ACQUITTAL NOT_GUILTY DIVERSION
        PRETRIAL_DIVERSION CONTINUED_WITHOUT_A_FINDING CWOF PROBATION_BEFORE_JUDGMENT
        """,
    Refusal.NO_LONGER_STANDS: """
        REVERSED VACATED VACATUR SET_ASIDE EXPUNGED EXPUNGEMENT SEALED PARDONED_FOR_INNOCENCE
        """,
    Refusal.COMPELLED_STATEMENT: "GARRITY GARRITY_STATEMENT COMPELLED_STATEMENT LYBARGER KALKINES",
    Refusal.MEDICAL: """
        MEDICAL MEDICAL_LEAVE MEDICAL_RETIREMENT MEDICALLY_RETIRED FITNESS_FOR_DUTY UNFIT_FOR_DUTY
        FAILED_FITNESS_FOR_DUTY DISABILITY DISABILITY_RETIREMENT SUBSTANCE_ABUSE_TREATMENT
        PSYCHOLOGICAL_EVALUATION
        """,
    Refusal.JUVENILE: "JUVENILE JUVENILE_ADJUDICATION JUVENILE_RECORD ADJUDICATED_DELINQUENT",
    Refusal.CRIMINAL_HISTORY: "CHRI III NCIC FBI RAP_SHEET CRIMINAL_HISTORY NGI IDENTITY_HISTORY",
    Refusal.BRADY_LIST: "BRADY BRADY_LIST GIGLIO GIGLIO_LIST BRADY_GIGLIO GIGLIO_IMPAIRED",
}
_BY_WORD = {word: refusal for refusal, words in _CODE_WORDS.items() for word in words.split()}


def of_code(text: str) -> Refusal | None:
    """Why the thing that a code column names may not be reported; None for any other word."""
    return _BY_WORD.get(re.sub(r"[\s/-]+", "_", text.upper()))
