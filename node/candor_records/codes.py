"""The closed code sets of a record (RECORDS.md §3.1 to §3.4): what a code column may say, and nothing else.

Rules of this file:
- a code that exists is never given another meaning. A code that is added raises CODE_SET_VERSION, which
  travels with every release;
- there is no code for what may not be reported: allegations, criminal history information (`refusals` has
  their words, so that whoever writes one is told why). The one exception is a settlement, which a pack may
  let in.
"""

from __future__ import annotations

from enum import Enum

CODE_SET_VERSION = 1

# --- all kinds ---------------------------------------------------------------------------------------


class Missing(Enum):
    """Why an optional field holds no value (RECORDS.md §3.1)."""

    UNKNOWN = "UNKNOWN"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    WITHHELD = "WITHHELD"


class AdjudicationStatus(Enum):
    """FINAL_APPEAL_PENDING: in effect, but an appeal is lodged; not final for the gate."""

    FINAL = "FINAL"
    FINAL_APPEAL_PENDING = "FINAL_APPEAL_PENDING"
    REVERSED = "REVERSED"
    VACATED = "VACATED"
    EXPUNGED = "EXPUNGED"


class DecisionMaker(Enum):
    CHIEF = "CHIEF"
    TRIAL_BOARD = "TRIAL_BOARD"
    ARBITRATOR = "ARBITRATOR"
    CIVIL_SERVICE = "CIVIL_SERVICE"
    POST = "POST"
    COURT = "COURT"


class StandardOfProof(Enum):
    PREPONDERANCE = "PREPONDERANCE"
    CLEAR_AND_CONVINCING = "CLEAR_AND_CONVINCING"
    BEYOND_REASONABLE_DOUBT = "BEYOND_REASONABLE_DOUBT"


class NoticeMethod(Enum):
    MAIL = "MAIL"
    IN_PERSON = "IN_PERSON"
    COUNSEL = "COUNSEL"
    COURT_SERVICE = "COURT_SERVICE"


class Opportunity(Enum):
    """A chance to respond before the decision."""

    OFFERED_HELD = "OFFERED_HELD"
    OFFERED_WAIVED = "OFFERED_WAIVED"
    NOT_OFFERED = "NOT_OFFERED"


class Finality(Enum):
    FINAL = "FINAL"
    APPEAL_TIME_RUNNING = "APPEAL_TIME_RUNNING"
    APPEAL_PENDING = "APPEAL_PENDING"
    EXHAUSTED = "EXHAUSTED"
    WAIVED = "WAIVED"


class Nexus(Enum):
    """Answer to `on_duty` and `use_of_force_related` (EO 13929 section 3(b))."""

    YES = "YES"
    NO = "NO"
    UNKNOWN = "UNKNOWN"
    NOT_APPLICABLE = "NOT_APPLICABLE"


class SourceOfRecord(Enum):
    COURT = "COURT"
    POST_ORDER = "POST_ORDER"
    PERSONNEL_ACTION = "PERSONNEL_ACTION"
    OVERSIGHT_BODY = "OVERSIGHT_BODY"


class AllegationCategory(Enum):
    """What a completed decision was about: California's nine, and the sub-types of force."""

    DISHONESTY = "DISHONESTY"
    ABUSE_OF_POWER = "ABUSE_OF_POWER"
    EXCESSIVE_FORCE = "EXCESSIVE_FORCE"
    SEXUAL_ASSAULT = "SEXUAL_ASSAULT"
    BIAS = "BIAS"
    EGREGIOUS_OR_REPEATED = "EGREGIOUS_OR_REPEATED"
    GANG_PARTICIPATION = "GANG_PARTICIPATION"
    FAILURE_TO_COOPERATE = "FAILURE_TO_COOPERATE"
    FAILURE_TO_INTERCEDE = "FAILURE_TO_INTERCEDE"
    DEADLY = "DEADLY"
    LESS_LETHAL = "LESS_LETHAL"
    NECK_RESTRAINT = "NECK_RESTRAINT"
    UNHOLSTERED = "UNHOLSTERED"
    K9 = "K9"
    VEHICLE = "VEHICLE"
    RESTRAINT_POSITION = "RESTRAINT_POSITION"
    FAILURE_TO_RENDER_AID = "FAILURE_TO_RENDER_AID"


class YesNo(Enum):
    """Yes or no; that nobody knows is said by `Missing`."""

    YES = "YES"
    NO = "NO"


class Severity(Enum):
    """How grave the conduct is by the agency's own matrix: MINOR is reprimanded, GRAVE ends a career."""

    MINOR = "MINOR"
    SERIOUS = "SERIOUS"
    GRAVE = "GRAVE"


class EmploymentForm(Enum):
    FULL_TIME = "FULL_TIME"
    PART_TIME = "PART_TIME"
    RESERVE = "RESERVE"


class AppealForum(Enum):
    """Who hears an appeal."""

    ARBITRATION = "ARBITRATION"
    CIVIL_SERVICE = "CIVIL_SERVICE"
    ADMINISTRATIVE_HEARING = "ADMINISTRATIVE_HEARING"
    POST = "POST"
    COURT = "COURT"


class AppealOutcome(Enum):
    """How an appeal ended: REVERSED takes the decision away, MODIFIED changes it, all others leave it."""

    UPHELD = "UPHELD"
    MODIFIED = "MODIFIED"
    REVERSED = "REVERSED"
    DISMISSED = "DISMISSED"
    WITHDRAWN = "WITHDRAWN"


class Discipline(Enum):
    """What was imposed."""

    DISMISSAL = "DISMISSAL"
    DEMOTION = "DEMOTION"
    SUSPENSION = "SUSPENSION"
    LOSS_OF_LEAVE_OR_PAY = "LOSS_OF_LEAVE_OR_PAY"
    TRANSFER = "TRANSFER"
    REPRIMAND = "REPRIMAND"
    TRAINING = "TRAINING"
    NONE = "NONE"


# --- TERMINATION_FOR_CAUSE ---------------------------------------------------------------------------


class Cause(Enum):
    """Why an employment was ended: the nine of `AllegationCategory`, and what a chief writes besides."""

    DISHONESTY = "DISHONESTY"
    ABUSE_OF_POWER = "ABUSE_OF_POWER"
    EXCESSIVE_FORCE = "EXCESSIVE_FORCE"
    SEXUAL_ASSAULT = "SEXUAL_ASSAULT"
    BIAS = "BIAS"
    EGREGIOUS_OR_REPEATED = "EGREGIOUS_OR_REPEATED"
    GANG_PARTICIPATION = "GANG_PARTICIPATION"
    FAILURE_TO_COOPERATE = "FAILURE_TO_COOPERATE"
    FAILURE_TO_INTERCEDE = "FAILURE_TO_INTERCEDE"
    CRIMINAL_CONDUCT = "CRIMINAL_CONDUCT"
    DOMESTIC_VIOLENCE = "DOMESTIC_VIOLENCE"
    SEXUAL_MISCONDUCT_OR_HARASSMENT = "SEXUAL_MISCONDUCT_OR_HARASSMENT"
    EVIDENCE_OR_PROPERTY = "EVIDENCE_OR_PROPERTY"
    MISUSE_OF_INFORMATION = "MISUSE_OF_INFORMATION"
    MISUSE_OF_POSITION = "MISUSE_OF_POSITION"
    UNLAWFUL_SEARCH_OR_ARREST = "UNLAWFUL_SEARCH_OR_ARREST"
    PURSUIT_OR_DRIVING = "PURSUIT_OR_DRIVING"
    INSUBORDINATION = "INSUBORDINATION"
    NEGLECT_OF_DUTY = "NEGLECT_OF_DUTY"
    ATTENDANCE = "ATTENDANCE"
    CONDUCT_UNBECOMING = "CONDUCT_UNBECOMING"
    LOST_QUALIFICATION = "LOST_QUALIFICATION"
    POLICY_VIOLATION = "POLICY_VIOLATION"


class ArbitrationOutcome(Enum):
    PENDING = "PENDING"
    UPHELD = "UPHELD"
    REDUCED = "REDUCED"
    REINSTATED = "REINSTATED"
    WITHDRAWN = "WITHDRAWN"


# --- SEPARATION_UNDER_INVESTIGATION ------------------------------------------------------------------


class SeparationForm(Enum):
    """How the officer left; IN_LIEU is instead of a termination that was announced."""

    RESIGNED = "RESIGNED"
    RETIRED = "RETIRED"
    IN_LIEU = "IN_LIEU"


class StatusAtSeparation(Enum):
    FULL_DUTY = "FULL_DUTY"
    RESTRICTED_DUTY = "RESTRICTED_DUTY"
    ADMINISTRATIVE_LEAVE = "ADMINISTRATIVE_LEAVE"
    SUSPENDED = "SUSPENDED"
    OTHER_LEAVE = "OTHER_LEAVE"


class InvestigationOutcome(Enum):
    """SUSTAINED makes an advisory record adjudicated; the three after it void it (`IN_FAVOUR`)."""

    PENDING = "PENDING"
    SUSTAINED = "SUSTAINED"
    NOT_SUSTAINED = "NOT_SUSTAINED"
    UNFOUNDED = "UNFOUNDED"
    EXONERATED = "EXONERATED"
    CLOSED_WITHOUT_FINDING = "CLOSED_WITHOUT_FINDING"


IN_FAVOUR = frozenset(
    {InvestigationOutcome.NOT_SUSTAINED, InvestigationOutcome.UNFOUNDED, InvestigationOutcome.EXONERATED}
)

# --- DECERTIFICATION ---------------------------------------------------------------------------------


class CertificateAction(Enum):
    REVOKED = "REVOKED"
    SUSPENDED = "SUSPENDED"
    SURRENDERED = "SURRENDERED"
    DENIED = "DENIED"


class CertificateClass(Enum):
    BASIC = "BASIC"
    INTERMEDIATE = "INTERMEDIATE"
    ADVANCED = "ADVANCED"
    SUPERVISORY = "SUPERVISORY"
    MANAGEMENT = "MANAGEMENT"
    EXECUTIVE = "EXECUTIVE"
    RESERVE = "RESERVE"
    CORRECTIONS = "CORRECTIONS"
    PROVISIONAL = "PROVISIONAL"


class Ground(Enum):
    """On what an issuing body acted against a certificate."""

    SERIOUS_MISCONDUCT = "SERIOUS_MISCONDUCT"
    CRIMINAL_CONVICTION = "CRIMINAL_CONVICTION"
    DISHONESTY = "DISHONESTY"
    MORAL_CHARACTER = "MORAL_CHARACTER"
    EXCESSIVE_FORCE = "EXCESSIVE_FORCE"
    SEXUAL_MISCONDUCT = "SEXUAL_MISCONDUCT"
    FALSE_APPLICATION = "FALSE_APPLICATION"
    ACTION_IN_ANOTHER_STATE = "ACTION_IN_ANOTHER_STATE"
    TERMINATION_FOR_CAUSE = "TERMINATION_FOR_CAUSE"
    AGREED_SURRENDER = "AGREED_SURRENDER"
    STANDARDS_NOT_MET = "STANDARDS_NOT_MET"


# --- CRIMINAL_CONVICTION and CIVIL_JUDGMENT ----------------------------------------------------------


class PleaOrVerdict(Enum):
    GUILTY_PLEA = "GUILTY_PLEA"
    NO_CONTEST_PLEA = "NO_CONTEST_PLEA"
    JURY_VERDICT = "JURY_VERDICT"
    BENCH_VERDICT = "BENCH_VERDICT"


class OffenceLevel(Enum):
    FELONY = "FELONY"
    MISDEMEANOR = "MISDEMEANOR"


class Relief(Enum):
    """What a court or a governor granted afterwards and left the conviction standing."""

    NONE = "NONE"
    REDUCED = "REDUCED"
    SENTENCE_COMMUTED = "SENTENCE_COMMUTED"
    RIGHTS_RESTORED = "RIGHTS_RESTORED"
    PARDONED = "PARDONED"


class CauseOfAction(Enum):
    SECTION_1983 = "SECTION_1983"
    STATE_CIVIL_RIGHTS = "STATE_CIVIL_RIGHTS"
    STATE_TORT = "STATE_TORT"
    WRONGFUL_DEATH = "WRONGFUL_DEATH"


class Capacity(Enum):
    """In which the officer was sued."""

    INDIVIDUAL = "INDIVIDUAL"
    OFFICIAL = "OFFICIAL"
    BOTH = "BOTH"


class JudgmentForm(Enum):
    """How a civil case ended. A settlement is refused unless the pack in force lets it in."""

    ADJUDICATED_LIABILITY = "ADJUDICATED_LIABILITY"
    SETTLEMENT_NO_ADMISSION = "SETTLEMENT_NO_ADMISSION"


# --- SUSTAINED_FORCE_FINDING -------------------------------------------------------------------------


class ForceType(Enum):
    DEADLY = "DEADLY"
    LESS_LETHAL = "LESS_LETHAL"
    NECK_RESTRAINT = "NECK_RESTRAINT"
    UNHOLSTERED = "UNHOLSTERED"
    K9 = "K9"
    VEHICLE = "VEHICLE"
    RESTRAINT_POSITION = "RESTRAINT_POSITION"
    FAILURE_TO_RENDER_AID = "FAILURE_TO_RENDER_AID"
    PHYSICAL = "PHYSICAL"


class InjuryLevel(Enum):
    """How badly the person was hurt on whom force was used; who that is, is nobody's business here."""

    NONE = "NONE"
    MINOR = "MINOR"
    SERIOUS = "SERIOUS"
    FATAL = "FATAL"


class StandardApplied(Enum):
    """By what the force was judged: the Constitution (Graham v. Connor), or the agency's stricter policy."""

    GRAHAM = "GRAHAM"
    POLICY = "POLICY"
    BOTH = "BOTH"


class Finding(Enum):
    """The findings that sustain; the others are not reported and have no code."""

    SUSTAINED = "SUSTAINED"
    MISCONDUCT_NOT_BASED_ON_COMPLAINT = "MISCONDUCT_NOT_BASED_ON_COMPLAINT"


class ReviewingBody(Enum):
    CHAIN_OF_COMMAND = "CHAIN_OF_COMMAND"
    INTERNAL_AFFAIRS = "INTERNAL_AFFAIRS"
    FORCE_REVIEW_BOARD = "FORCE_REVIEW_BOARD"
    CIVILIAN_OVERSIGHT = "CIVILIAN_OVERSIGHT"
    STATE_AGENCY = "STATE_AGENCY"


# --- COMMENDATION ------------------------------------------------------------------------------------


class Award(Enum):
    VALOR = "VALOR"
    LIFESAVING = "LIFESAVING"
    MERITORIOUS_SERVICE = "MERITORIOUS_SERVICE"
    DISTINGUISHED_SERVICE = "DISTINGUISHED_SERVICE"
    COMMUNITY_SERVICE = "COMMUNITY_SERVICE"
    DE_ESCALATION = "DE_ESCALATION"
    UNIT_CITATION = "UNIT_CITATION"
    LETTER = "LETTER"


class AwardLevel(Enum):
    AGENCY = "AGENCY"
    LOCAL = "LOCAL"
    STATE = "STATE"
    NATIONAL = "NATIONAL"
