"""What the subject says to a record: their statement, and their dispute with its clock (RECORDS.md §4.2).

    OPEN -> STOOD_BY -> IN_RESOLUTION -> RESOLVED, or -> DECIDED -> RESOLVED
    OPEN -> AGREED -> RESOLVED
    OPEN, AGREED -> IN_RESOLUTION, once the agency's days are over; all -> RESOLVED when the record is voided

Rules of this file:
- one table says which event is possible in which state; all else raises WrongStanding, as persons ask for it;
- a dispute settles nothing by itself: it hides no record, and what was promised or decided stays due until it
  is carried out, and travels as unsettled until then;
- the agency's last day counts as over only when it is over everywhere on earth (`gate_day` gives `today`);
- the statement is the subject's own: nobody edits it. What a report may not carry is a warning here, and
  only a whole social security number is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from enum import Enum

from candor_proto.errors import InputInvalid, SealedDataInvalid, WrongStanding
from candor_proto.record import DisputeStatus
from candor_records.refusals import REASONS, Refusal
from candor_records.refused_text import in_text

MAX_STATEMENT_CHARACTERS = 4_000
DISPUTE_DAYS = 60

_LINE_BREAKS = re.compile(r"\r\n?")
# What the subject may want to know of their words before these travel; nothing of it is refused.
_WARNED_OF = (
    Refusal.COMPELLED_STATEMENT,
    Refusal.MEDICAL,
    Refusal.JUVENILE,
    Refusal.VICTIM_OR_WITNESS,
    Refusal.CRIMINAL_HISTORY,
)


class DisputeGround(Enum):
    """What the subject says is wrong."""

    FACTUAL_INACCURACY = "a fact in it is wrong"
    NOT_REPORTABLE = "it should not have been reported"
    WRONG_PERSON = "it is about somebody else"


class DisputeAnswer(Enum):
    """What the reporting agency does about it."""

    CORRECT = "corrects the record"
    VOID = "voids the record"
    STAND_BY = "stands by the record"


class Resolution(Enum):
    """What the independent resolver decides, which the agency must carry out."""

    UNCHANGED = "the record stays as it is"
    CORRECT = "the record must be corrected"
    VOID = "the record must be voided"


class DisputeState(Enum):
    """How far a dispute is; finer than the status that travels."""

    OPEN = "open"
    STOOD_BY = "answered: the agency stands by the record"
    AGREED = "answered: the agency has still to do what it said"
    IN_RESOLUTION = "with the independent resolver"
    DECIDED = "decided by the resolver; the agency has still to carry it out"
    RESOLVED = "resolved"


class DisputeEvent(Enum):
    """What may happen to a dispute."""

    STANDS_BY = "answered"
    AGREES = "answered, with a remedy"
    REFER = "referred"
    KEEPS = "resolved without a change"
    DECIDES = "decided with a change"
    CARRY_OUT = "settled by a correction"
    VOIDED = "settled by a void"


_UNSETTLED = tuple(state for state in DisputeState if state is not DisputeState.RESOLVED)

_STATES: Mapping[tuple[DisputeState, DisputeEvent], DisputeState] = {
    (DisputeState.OPEN, DisputeEvent.STANDS_BY): DisputeState.STOOD_BY,
    (DisputeState.OPEN, DisputeEvent.AGREES): DisputeState.AGREED,
    (DisputeState.OPEN, DisputeEvent.REFER): DisputeState.IN_RESOLUTION,
    (DisputeState.STOOD_BY, DisputeEvent.REFER): DisputeState.IN_RESOLUTION,
    (DisputeState.AGREED, DisputeEvent.REFER): DisputeState.IN_RESOLUTION,
    (DisputeState.AGREED, DisputeEvent.CARRY_OUT): DisputeState.RESOLVED,
    (DisputeState.IN_RESOLUTION, DisputeEvent.KEEPS): DisputeState.RESOLVED,
    (DisputeState.IN_RESOLUTION, DisputeEvent.DECIDES): DisputeState.DECIDED,
    (DisputeState.DECIDED, DisputeEvent.CARRY_OUT): DisputeState.RESOLVED,
    # A void is all that any dispute can ask for.
    **{(state, DisputeEvent.VOIDED): DisputeState.RESOLVED for state in _UNSETTLED},
}

# A record that must be corrected or voided, and is not yet, does not travel as settled.
_STATUS: Mapping[DisputeState, DisputeStatus] = {
    DisputeState.OPEN: DisputeStatus.OPEN,
    DisputeState.STOOD_BY: DisputeStatus.OPEN,
    DisputeState.AGREED: DisputeStatus.OPEN,
    DisputeState.IN_RESOLUTION: DisputeStatus.IN_RESOLUTION,
    DisputeState.DECIDED: DisputeStatus.IN_RESOLUTION,
    DisputeState.RESOLVED: DisputeStatus.RESOLVED,
}


@dataclass(frozen=True)
class Dispute:
    """One dispute of a record. `about` is the control number of the version that was disputed.

    `account` is what the subject says, `answer_reasons` and `resolution_reasons` what they were told.
    """

    ground: DisputeGround
    opened_on: date
    deadline: date
    about: str
    account: str = field(default="", repr=False)
    state: DisputeState = DisputeState.OPEN
    answer: DisputeAnswer | None = None
    answered_on: date | None = None
    answer_reasons: str = field(default="", repr=False)
    resolver: str = ""
    referred_on: date | None = None
    resolution: Resolution | None = None
    decided_on: date | None = None
    resolution_reasons: str = field(default="", repr=False)
    resolved_on: date | None = None

    @property
    def status(self) -> DisputeStatus:
        """What travels with every release."""
        return _STATUS[self.state]

    @property
    def open(self) -> bool:
        """Not settled yet; while WRONG_PERSON is, a person checks the identity at every release."""
        return self.state is not DisputeState.RESOLVED

    @property
    def owed(self) -> str:
        """CORRECT or VOID while the agency has still to do that, else nothing."""
        if self.state is DisputeState.AGREED and self.answer is not None:
            return self.answer.name
        if self.state is DisputeState.DECIDED and self.resolution is not None:
            return self.resolution.name
        return ""

    def due(self) -> tuple[date, str] | None:
        """The last day for the agency's next step, and what that is; None while nothing is the agency's."""
        match self.state:
            case DisputeState.OPEN:
                return self.deadline, "answer the dispute"
            case DisputeState.AGREED:
                return self.deadline, f"carry out the answer: {self.owed}"
            case DisputeState.DECIDED if self.decided_on is not None:
                return self.decided_on, f"carry out the resolution: {self.owed}"
        return None

    def overdue(self, today: date) -> bool:
        due = self.due()
        return due is not None and today > due[0]

    def fields(self) -> dict[str, str]:
        """As texts, which `read` takes back."""
        return {name: _text(value) for name, value in asdict(self).items()}

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Dispute:
        """What `fields` wrote; raises SealedDataInvalid for anything else."""
        try:
            dispute = cls(
                ground=DisputeGround[fields["ground"]],
                opened_on=date.fromisoformat(fields["opened_on"]),
                deadline=date.fromisoformat(fields["deadline"]),
                about=fields["about"],
                account=fields["account"],
                state=DisputeState[fields["state"]],
                answer=DisputeAnswer[fields["answer"]] if fields["answer"] else None,
                answered_on=_day(fields["answered_on"]),
                answer_reasons=fields["answer_reasons"],
                resolver=fields["resolver"],
                referred_on=_day(fields["referred_on"]),
                resolution=Resolution[fields["resolution"]] if fields["resolution"] else None,
                decided_on=_day(fields["decided_on"]),
                resolution_reasons=fields["resolution_reasons"],
                resolved_on=_day(fields["resolved_on"]),
            )
        except (KeyError, ValueError):
            raise SealedDataInvalid("A stored dispute cannot be read.") from None
        if dispute.fields() != dict(fields):
            raise SealedDataInvalid("A stored dispute is not written as this build writes it.")
        return dispute


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Enum):
        return value.name
    return value.isoformat() if isinstance(value, date) else str(value)


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


# --- steps -------------------------------------------------------------------------------------------


def open_dispute(
    former: Dispute | None,
    ground: DisputeGround,
    on: date,
    about: str,
    account: str = "",
    days: int = DISPUTE_DAYS,
) -> Dispute:
    """A new dispute of the version `about`; the agency has `days` to answer it.

    `former` is the record's last one. Raises WrongStanding while that is unsettled, or when the resolver has
    decided the same ground against the subject: another ground may always be raised.
    """
    if former is not None and former.open:
        raise WrongStanding(
            f"The record is disputed already: {former.state.value}.",
            remedy="Answer, refer or settle that dispute first. The subject may add to it in a statement.",
        )
    if former is not None and former.ground is ground and former.resolution is Resolution.UNCHANGED:
        raise WrongStanding(
            "The independent resolver has decided on this ground, and left the record as it is.",
            remedy="Another ground may be raised, and the subject may enter a statement at any time.",
        )
    if former is not None and former.resolved_on is not None:
        _check_order(on, former.resolved_on, "the former dispute was settled")
    return Dispute(ground, on, on + timedelta(days=days), about, check_words(account) if account else "")


def answer(dispute: Dispute | None, said: DisputeAnswer, on: date, reasons: str) -> Dispute:
    """The agency's answer, even a late one. Raises WrongStanding, and InputInvalid without reasons."""
    event = DisputeEvent.STANDS_BY if said is DisputeAnswer.STAND_BY else DisputeEvent.AGREES
    known, state = _after(dispute, event)
    _check_order(on, known.opened_on, "the dispute was opened")
    return replace(known, state=state, answer=said, answered_on=on, answer_reasons=check_words(reasons))


def refer(dispute: Dispute | None, resolver: str, on: date, today: date) -> Dispute:
    """The subject took it to the resolver `on` a day: after STAND_BY, or once the agency's days are over."""
    known, state = _after(dispute, DisputeEvent.REFER)
    _check_order(on, known.answered_on or known.opened_on, "its last step")
    if known.state is not DisputeState.STOOD_BY and min(on, today) <= known.deadline:
        raise WrongStanding(
            f"The agency has until {known.deadline} to settle this dispute.",
            remedy="It can be referred once the agency stands by the record, or after that day.",
        )
    if not resolver.strip():
        raise InputInvalid(
            "No independent resolver is named.",
            remedy="The policy pack in force names it; adopt one that does.",
        )
    return replace(known, state=state, resolver=resolver.strip(), referred_on=on)


def resolve(dispute: Dispute | None, said: Resolution, on: date, reasons: str) -> Dispute:
    """The resolver's decision. Raises WrongStanding, and InputInvalid without reasons."""
    event = DisputeEvent.KEEPS if said is Resolution.UNCHANGED else DisputeEvent.DECIDES
    known, state = _after(dispute, event)
    _check_order(on, known.referred_on or known.opened_on, "it was referred")
    resolved_on = on if state is DisputeState.RESOLVED else None
    return replace(
        known,
        state=state,
        resolution=said,
        decided_on=on,
        resolution_reasons=check_words(reasons),
        resolved_on=resolved_on,
    )


def carry_out(dispute: Dispute | None, on: date, *, corrected: bool) -> Dispute:
    """Settle what was promised or decided, once the record was `corrected` since it was disputed.

    Raises WrongStanding while that is not done, or when a void is owed.
    """
    known, state = _after(dispute, DisputeEvent.CARRY_OUT)
    if known.owed != "CORRECT" or not corrected:
        needed = "be corrected" if known.owed == "CORRECT" else "be voided"
        raise WrongStanding(
            f"What is owed to the subject has not been done: the record has to {needed}.",
            remedy="File that first; the dispute is settled then.",
        )
    return replace(known, state=state, resolved_on=on)


def voided(dispute: Dispute | None, on: date) -> Dispute | None:
    """What becomes of a record's dispute when the record is voided."""
    if dispute is None or not dispute.open:
        return dispute
    known, state = _after(dispute, DisputeEvent.VOIDED)
    return replace(known, state=state, resolved_on=on)


def _after(dispute: Dispute | None, event: DisputeEvent) -> tuple[Dispute, DisputeState]:
    if dispute is None:
        raise WrongStanding("The record is not disputed.", remedy="Open a dispute first.")
    state = _STATES.get((dispute.state, event))
    if state is None:
        raise WrongStanding(
            f"The dispute is {dispute.state.value}: it cannot be {event.value} now.",
            remedy="`candor-node subject show` says what its next step is.",
        )
    return dispute, state


def _check_order(on: date, before: date, what: str) -> None:
    if on < before:
        raise InputInvalid(f"That day lies before {what} ({before}).", remedy="Check the date.")


# --- the subject's own words -------------------------------------------------------------------------


def check_words(text: str) -> str:
    """A statement, account or reason as it is kept: NFC, lines ended by line feeds. Raises InputInvalid."""
    kept = unicodedata.normalize("NFC", _LINE_BREAKS.sub("\n", text)).strip()
    if not kept:
        raise InputInvalid("There are no words in it.", remedy="Write what is to be kept.")
    if len(kept) > MAX_STATEMENT_CHARACTERS:
        raise InputInvalid(
            f"It has {len(kept)} characters; at most {MAX_STATEMENT_CHARACTERS} can be kept and sent.",
            remedy="Ask the subject for a shorter one. Nobody else may shorten a statement.",
        )
    if any(unicodedata.category(letter).startswith("C") and letter not in "\n\t" for letter in kept):
        raise InputInvalid("It holds a control character.", remedy="Save it as plain text.")
    if Refusal.WHOLE_SSN in in_text(kept):
        raise InputInvalid(
            "It holds what looks like a whole social security number.",
            remedy="Ask the subject to leave it out: the words are sent to everybody who gets the record.",
        )
    return kept


def warnings(text: str) -> tuple[str, ...]:
    """What the subject may be told of their words; it is theirs to leave them as they are."""
    found = in_text(text)
    return tuple(f"It {REASONS[refusal].sentence}." for refusal in _WARNED_OF if refusal in found)
