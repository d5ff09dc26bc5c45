"""Why a record is shared or not, and what would change that, in plain words (RECORDS.md §3.5).

Rules of this file:
- the words of the clauses are the gate's own: clerk, subject and auditor read the same ones;
- what fails comes first, each with what would open it. If nothing can, that is said;
- when time alone opens or closes the record, the day is named: it is found by asking the gate itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from candor_proto.policy import Sharing
from candor_proto.record import Tier
from candor_records.codes import Finality
from candor_records.gate import GateDecision, gate
from candor_records.gate_rules import ADVISORY_SEPARATION, GateRules
from candor_records.records import Record, Standing

# Dates on which time may change a clause; a record has no more of them than this.
_MOST_DAYS = 16


@dataclass(frozen=True)
class Why:
    """`headline` says whether it is shared; `failing` are (the clause's words, what would open it)."""

    shared: bool
    headline: str
    failing: tuple[tuple[str, str], ...]
    holding: tuple[str, ...]
    by_itself: str

    def lines(self) -> list[str]:
        """All of it, as a person reads it."""
        shown = [self.headline]
        for words, remedy in self.failing:
            shown += [f"  {words}", f"    {remedy}"]
        shown += [f"  {words}" for words in self.holding]
        return [*shown, *([self.by_itself] if self.by_itself else [])]


def why(record: Record, today: date, rules: GateRules) -> Why:
    """Why `record` may be found on `today`, or not."""
    decision = gate(record, today, rules)
    failing = tuple((clause.words, _remedy(record, clause.name, today, rules)) for clause in decision.failed)
    holding = tuple(clause.words for clause in decision.reasons if clause.holds)
    return Why(
        decision.matchable,
        _headline(record, decision),
        failing,
        holding,
        _by_itself(record, decision, today, rules),
    )


def _headline(record: Record, decision: GateDecision) -> str:
    if not decision.matchable:
        return f"The record {record.dcn} is held back: it cannot match."
    return f"The record {record.dcn} is shared: it may match. {_SHARING[record.sharing]}"


_SHARING: Mapping[Sharing, str] = {
    Sharing.GREEN: "It is GREEN: the standing rule releases it for the purposes that it names.",
    Sharing.YELLOW: "It is YELLOW: a person here decides about each release.",
    Sharing.RED: "It is RED: whoever finds it learns that it exists, and every release is declined.",
}

_NOTHING = "Nothing opens it again."
_REMEDIES: Mapping[str, str] = {
    "notice": "If notice was given before the decision, correct notice_given_on and notice_method. "
    "If not, it is never shared.",
    "opportunity": "If the officer could respond before the decision, correct opportunity and "
    "opportunity_on. If not, it is never shared.",
    "not expunged": f"{_NOTHING} A new decision is a new report under a new id.",
    "not void": f"{_NOTHING} If the void was a mistake, file a new report under a new id.",
    "not expired": f"{_NOTHING} It is destroyed by the next retention run, unless a legal hold keeps it.",
    "reviewed": "A second person reviews it: `candor-node records review`.",
    "not sealed": "An order that unseals it opens it: `candor-node records unseal`.",
    "settlement": "It opens under a policy pack that lets settlements be reported, and only then.",
    "kind": "It opens under a policy pack that lets records of this kind be shared, and only then.",
    "subject notified": "Tell the officer and enter the day: `candor-node subject notified`. Where that was "
    "done already, it opens by itself once the days that the policy pack sets are over.",
    "opt-in": "If the officer has opted in, mark it YELLOW or GREEN: `candor-node records sharing`.",
}
_TIGHTENED = (
    "The policy pack in force demands this. If the record says it wrongly, correct it: `candor-node records "
    "correct`."
)


def _remedy(record: Record, clause: str, today: date, rules: GateRules) -> str:
    """What would make a failing clause hold."""
    if clause != "final":
        return _REMEDIES.get(clause, _TIGHTENED)
    decided = record.content.due_process.decided_on
    if record.tier is Tier.ADVISORY and ADVISORY_SEPARATION in rules.exceptions:
        if record.content.resolved_in_favour:
            return "Nothing opens it: it is to be voided, `candor-node records void`."
        return "If the facts are recorded wrongly, correct them: `candor-node records correct`."
    if record.tier is Tier.ADVISORY:
        return (
            "It opens when the matter is sustained and the record corrected to say so, or under a policy "
            "pack that allows advisory records."
        )
    if isinstance(decided, date) and decided > today:
        return "It opens on the day of the decision at the earliest. If that is wrong, correct decided_on."
    if record.content.appeal_open:
        return "Enter how the appeal was decided: `candor-node records appeal-decided`."
    match record.content.due_process.finality:
        case Finality.APPEAL_TIME_RUNNING:
            return "It opens by itself once that time is over, if no appeal is entered."
        case _:
            return (
                "Once the decision is final, correct decided_on and finality: `candor-node records correct`."
            )


def _by_itself(record: Record, decision: GateDecision, today: date, rules: GateRules) -> str:
    if record.circumstances.standing not in (Standing.DRAFT, Standing.HELD, Standing.ACTIVE):
        return ""
    day = _next_turn(record, decision, rules)
    if day is None:
        return "" if decision.matchable else "Time alone does not open it."
    if decision.matchable:
        return f"It closes by itself on {day}."
    return f"It opens by itself on {day}, if nothing else happens."


def _next_turn(record: Record, decision: GateDecision, rules: GateRules) -> date | None:
    """The first day on which the gate says otherwise, if nothing happens until then."""
    day = decision.recheck_on
    for _ in range(_MOST_DAYS):
        if day is None:
            return None
        later = gate(record, day, rules)
        if later.matchable is not decision.matchable:
            return day
        day = later.recheck_on
    return None
