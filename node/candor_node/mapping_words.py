"""What records systems call things: headings by column of the template, and words by code.

Data of `mapping_proposals`; everything is written as `mapping.fold` leaves it. A proposal is only that: a
person sees each before it is used, so a word stands here when it usually means this, not always.
"""

from __future__ import annotations

HEADINGS: dict[str, tuple[str, ...]] = {
    "agency_record_id": (
        "agency record id", "record id", "record number", "record no", "case number", "case no", "case #",
        "case id",
        "ia number", "ia no", "ia #", "ia case", "ia case number", "file number", "file no", "file #",
        "control number",
        "incident file", "matter id", "matter number", "complaint number", "id",
    ),
    "record_kind": (
        "record kind", "kind", "type", "record type", "action type", "disposition type", "case type",
        "event type",
        "action", "disposition", "final disposition", "separation type", "reason for separation",
        "separation reason",
        "type of action", "outcome",
    ),
    "first": (
        "first", "first name", "fname", "firstname", "given name", "officer first", "officer first name",
        "emp first name",
        "employee first name", "first nm", "name first", "forename",
    ),
    "middle": (
        "middle", "middle name", "mname", "middlename", "mi", "middle initial", "officer middle",
        "officer middle name",
        "name middle", "middle nm", "employee middle name",
    ),
    "last": (
        "last", "last name", "lname", "lastname", "surname", "family name", "officer last",
        "officer last name",
        "emp last name", "employee last name", "last nm", "name last",
    ),
    "suffix": ("suffix", "name suffix", "sfx", "generation", "suffix name", "jr sr"),
    "former_last": (
        "former last", "former last name", "former name", "maiden name", "previous last name",
        "prior last name",
        "other last name", "alias last name", "aka last", "birth name",
    ),
    "birth_date": (
        "birth date", "dob", "date of birth", "birthdate", "birth dt", "officer dob", "birthday", "d o b",
        "employee dob",
    ),
    "ssn4": (
        "ssn4", "ssn last 4", "ssn last four", "last 4 ssn", "last four ssn", "last 4 of ssn",
        "last four", "last4",
        "last 4", "ssn last4", "social last 4",
    ),
    "sex": ("sex", "gender", "officer sex", "officer gender", "sex code"),
    "post_state": (
        "post state", "certifying state", "certificate state", "license state", "state of certification",
        "cert state",
        "state", "issuing state",
    ),
    "post_id": (
        "post id", "post #", "post no", "post number", "post cert", "certificate number",
        "certificate no", "cert number",
        "cert no", "cert #", "license number", "license no", "license #", "certification number",
        "certification no",
        "peace officer id", "pid", "officer certification number", "post cert no", "tcole pid",
        "post certificate number",
    ),
    "effective_on": (
        "effective on", "effective date", "eff date", "effective", "separation date", "sep date",
        "date of separation",
        "termination date", "term date", "date of action", "action date", "discharge date",
        "revocation date",
        "date separated",
    ),
    "decided_on": (
        "decided on", "decision date", "date of decision", "disposition date", "disp date",
        "finding date", "date decided",
        "sustained date", "closed date", "date closed", "final disposition date", "order date",
        "judgment date",
        "conviction date",
    ),
    "decision_maker": (
        "decision maker", "decided by", "deciding authority", "deciding official", "authority",
        "final authority",
        "adjudicator", "decision by",
    ),
    "standard_of_proof": (
        "standard of proof", "standard", "burden of proof", "proof standard", "evidence standard",
    ),
    "notice_given_on": (
        "notice given on", "notice date", "date of notice", "notice given", "date notified",
        "charges served",
        "date charges served", "notice of charges date", "notice served", "skelly notice date",
        "officer notified date",
    ),
    "notice_method": (
        "notice method", "method of notice", "service method", "how notified", "how served",
        "notice type", "served by",
    ),
    "opportunity": (
        "opportunity", "opportunity to respond", "hearing offered", "skelly hearing", "loudermill hearing",
        "pre disciplinary hearing", "predisciplinary hearing", "hearing", "hearing status",
        "pretermination hearing",
    ),
    "opportunity_on": (
        "opportunity on", "hearing date", "date of hearing", "skelly date", "loudermill date",
        "response date",
        "hearing held on",
    ),
    "finality": (
        "finality", "appeal status", "final status", "appeal", "finality status", "status of appeal",
    ),
    "appeal_until": (
        "appeal until", "appeal deadline", "appeal by", "appeal due", "last day to appeal",
        "appeal period ends",
        "appeal expires",
    ),
    "subject_notified_on": (
        "subject notified on", "report notice date", "officer told of report", "subject notified",
        "notified of report on", "date subject notified",
    ),
    "sharing": (
        "sharing", "sharing level", "share", "dissemination", "sharing colour", "sharing color",
        "release level",
    ),
    "on_duty": ("on duty", "onduty", "on duty flag", "duty status", "on duty y n", "was on duty"),
    "use_of_force_related": (
        "use of force related", "use of force", "uof", "uof flag", "force", "force related",
        "force involved",
        "uof related",
    ),
    "allegation_categories": (
        "allegation categories", "allegation", "allegations", "allegation type", "allegation category",
        "charge",
        "charges", "violation", "violation type", "misconduct type", "category", "cause",
    ),
    "source_of_record": ("source of record", "source", "record source", "source document", "basis"),
    "narrative": (
        "narrative", "summary", "synopsis", "description", "notes", "comments", "remarks", "case summary",
        "narrative summary", "details",
    ),
}  # fmt: skip

_YES_NO = {
    "yes": "YES", "y": "YES", "true": "YES", "t": "YES", "1": "YES", "on": "YES",
    "no": "NO", "n": "NO", "false": "NO", "f": "NO", "0": "NO", "off": "NO",
    "unknown": "UNKNOWN", "unk": "UNKNOWN", "u": "UNKNOWN",
    "n a": "NOT_APPLICABLE", "na": "NOT_APPLICABLE", "not applicable": "NOT_APPLICABLE",
}  # fmt: skip

# Words that are codes by themselves in another spelling ("Trial board") need not stand here.
WORDS: dict[str, dict[str, str]] = {
    "record_kind": {
        "terminated": "TERMINATION_FOR_CAUSE", "termination": "TERMINATION_FOR_CAUSE",
        "fired": "TERMINATION_FOR_CAUSE",
        "discharged": "TERMINATION_FOR_CAUSE", "dismissed": "TERMINATION_FOR_CAUSE",
        "dismissal": "TERMINATION_FOR_CAUSE",
        "terminated for cause": "TERMINATION_FOR_CAUSE", "involuntary termination": "TERMINATION_FOR_CAUSE",
        "resigned under investigation": "SEPARATION_UNDER_INVESTIGATION",
        "resigned pending investigation": "SEPARATION_UNDER_INVESTIGATION",
        "retired under investigation": "SEPARATION_UNDER_INVESTIGATION",
        "retired pending investigation": "SEPARATION_UNDER_INVESTIGATION",
        "resigned in lieu": "SEPARATION_UNDER_INVESTIGATION",
        "resigned in lieu of termination": "SEPARATION_UNDER_INVESTIGATION",
        "resignation in lieu of termination": "SEPARATION_UNDER_INVESTIGATION",
        "decertified": "DECERTIFICATION", "revoked": "DECERTIFICATION", "revocation": "DECERTIFICATION",
        "certificate revoked": "DECERTIFICATION", "license revoked": "DECERTIFICATION",
        "convicted": "CRIMINAL_CONVICTION", "conviction": "CRIMINAL_CONVICTION",
        "criminal": "CRIMINAL_CONVICTION",
        "civil": "CIVIL_JUDGMENT", "judgment": "CIVIL_JUDGMENT", "judgement": "CIVIL_JUDGMENT",
        "civil judgement": "CIVIL_JUDGMENT",
        "sustained force": "SUSTAINED_FORCE_FINDING", "sustained use of force": "SUSTAINED_FORCE_FINDING",
        "force sustained": "SUSTAINED_FORCE_FINDING",
        "excessive force sustained": "SUSTAINED_FORCE_FINDING",
        "award": "COMMENDATION", "medal": "COMMENDATION", "citation for merit": "COMMENDATION",
    },
    "sex": {"male": "M", "man": "M", "female": "F", "woman": "F", "nonbinary": "X", "non binary": "X"},
    "decision_maker": {
        "chief of police": "CHIEF", "sheriff": "CHIEF", "commissioner": "CHIEF", "director": "CHIEF",
        "board": "TRIAL_BOARD", "disciplinary board": "TRIAL_BOARD", "review board": "TRIAL_BOARD",
        "arbitration": "ARBITRATOR", "civil service commission": "CIVIL_SERVICE",
        "civil service board": "CIVIL_SERVICE",
        "post commission": "POST", "post board": "POST", "judge": "COURT", "jury": "COURT",
    },
    "standard_of_proof": {
        "preponderance of the evidence": "PREPONDERANCE", "preponderance of evidence": "PREPONDERANCE",
        "clear convincing": "CLEAR_AND_CONVINCING", "clear and convincing evidence": "CLEAR_AND_CONVINCING",
        "beyond a reasonable doubt": "BEYOND_REASONABLE_DOUBT", "brd": "BEYOND_REASONABLE_DOUBT",
    },
    "notice_method": {
        "certified mail": "MAIL", "usps": "MAIL", "mailed": "MAIL", "personal": "IN_PERSON",
        "personal service": "IN_PERSON", "hand delivered": "IN_PERSON", "in hand": "IN_PERSON",
        "attorney": "COUNSEL",
        "lawyer": "COUNSEL", "via attorney": "COUNSEL", "summons": "COURT_SERVICE",
        "process server": "COURT_SERVICE",
    },
    "opportunity": {
        "held": "OFFERED_HELD", "hearing held": "OFFERED_HELD", "completed": "OFFERED_HELD",
        "attended": "OFFERED_HELD", "waived": "OFFERED_WAIVED", "declined": "OFFERED_WAIVED",
        "hearing waived": "OFFERED_WAIVED", "not held": "NOT_OFFERED", "none": "NOT_OFFERED",
        "not offered": "NOT_OFFERED",
    },
    "finality": {
        "no appeal": "FINAL", "closed": "FINAL", "not appealed": "FINAL",
        "appeal pending": "APPEAL_PENDING",
        "appealed": "APPEAL_PENDING", "pending": "APPEAL_PENDING", "on appeal": "APPEAL_PENDING",
        "appeal denied": "EXHAUSTED", "appeals exhausted": "EXHAUSTED", "upheld": "EXHAUSTED",
        "appeal waived": "WAIVED", "appeal period open": "APPEAL_TIME_RUNNING",
    },
    "on_duty": {**_YES_NO, "on duty": "YES", "off duty": "NO"},
    "use_of_force_related": _YES_NO,
    "sharing": {"open": "GREEN", "pointer": "YELLOW", "restricted": "RED"},
    "allegation_categories": {
        "untruthfulness": "DISHONESTY", "lying": "DISHONESTY", "truthfulness": "DISHONESTY",
        "falsification": "DISHONESTY", "false report": "DISHONESTY", "force": "EXCESSIVE_FORCE",
        "unreasonable force": "EXCESSIVE_FORCE", "uof": "EXCESSIVE_FORCE",
        "abuse of authority": "ABUSE_OF_POWER",
        "discrimination": "BIAS", "biased policing": "BIAS", "sexual misconduct": "SEXUAL_ASSAULT",
        "failure to intervene": "FAILURE_TO_INTERCEDE", "choke hold": "NECK_RESTRAINT",
        "chokehold": "NECK_RESTRAINT",
        "taser": "LESS_LETHAL", "canine": "K9", "pursuit": "VEHICLE",
    },
    "source_of_record": {
        "hr": "PERSONNEL_ACTION", "human resources": "PERSONNEL_ACTION", "personnel": "PERSONNEL_ACTION",
        "personnel file": "PERSONNEL_ACTION", "internal affairs": "PERSONNEL_ACTION",
        "court record": "COURT",
        "court records": "COURT", "post": "POST_ORDER", "civilian review board": "OVERSIGHT_BODY",
        "oversight": "OVERSIGHT_BODY", "inspector general": "OVERSIGHT_BODY",
    },
}  # fmt: skip
