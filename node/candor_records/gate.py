"""The fair-process gate: which records may match at all (RECORDS.md §3.5).

    matchable = notice ∧ opportunity ∧ (final ∨ exception) ∧ ¬void ∧ ¬expunged ∧ ¬expired
    commendation: matchable = opt-in ∧ ¬void ∧ ¬expired
    both: ∧ reviewed ∧ ¬sealed by order ∧ every tightening of the policy pack

Rules of this file:
- `gate` is one pure function of record, day and rules. Clerk, subject and auditor read its words;
- the node asks it on every write, on every tick that can change its word, and again at release;
- a doubt closes it: a missing fact fails its clause, what is dated into the future has not happened, and a
  day counts as over only when it is over everywhere on earth (`gate_day`), for "until 3 May" ends later in
  Guam than in Greenwich.

A commendation counts as opted in when the agency marks it GREEN or YELLOW; an empty sharing cell means RED.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from candor_proto.policy import Sharing
from candor_proto.record import RecordKind, Tier
from candor_records import tightenings
from candor_records.advisory import advisory_clause
from candor_records.codes import Finality, JudgmentForm, Missing, Opportunity
from candor_records.content import Content, DueProcess, content_fields
from candor_records.gate_rules import ADVISORY_SEPARATION, FINAL_APPEAL_PENDING, Clause, GateRules, Tighten
from candor_records.records import Record, ReportType, Standing

# Days of a kind's own fields that a clause reads.
_OWN_DAYS = ("separated_on", "investigation_opened_on", "officer_informed_on", "appeal_decided_on")
# The clause that a draft fails.
UNREVIEWED = "reviewed"
# Every clause by its name; those behind the common ones are a policy pack's to set.
CLAUSES = (
    "notice", "opportunity", "final", "opt-in", "not expunged", "not void", "not expired", UNREVIEWED,
    "not sealed", *(each.value for each in Tighten),
)  # fmt: skip
_LAST_ZONE = timezone(timedelta(hours=-12))
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class GateState:
    """What the fair-process gate said, as stored: what fails, in words and by name, and when to ask again."""

    matchable: bool
    reasons: tuple[str, ...]
    recheck_on: date | None
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateDecision:
    """Whether the record may match, every clause's words, and the day on which that may change by itself."""

    matchable: bool
    reasons: tuple[Clause, ...]
    recheck_on: date | None = None

    @property
    def failed(self) -> tuple[Clause, ...]:
        return tuple(clause for clause in self.reasons if not clause.holds)

    def state(self) -> GateState:
        """What the node stores of it."""
        failed = self.failed
        words, names = tuple(clause.words for clause in failed), tuple(clause.name for clause in failed)
        return GateState(self.matchable, words, self.recheck_on, names)


def gate_day(now: datetime) -> date:
    """The latest day that has begun everywhere on earth."""
    return now.astimezone(_LAST_ZONE).date()


_NO_RULES = GateRules()


def gate(record: Record, today: date, rules: GateRules = _NO_RULES) -> GateDecision:
    """Whether `record` may match on `today`; `rules` are those of the policy pack in force for its kind."""
    common = [_not_void(record), _not_expired(record, today), _reviewed(record), _not_sealed(record)]
    if record.kind is RecordKind.COMMENDATION:
        clauses = [_opted_in(record), _not_overturned(record), *common]
    else:
        facts = record.content.due_process
        advisory = record.tier is Tier.ADVISORY
        final = _advisory(record, today, rules) if advisory else _final(record.content, today, rules)
        clauses = [_notice(facts, today), _opportunity(facts, today), final]
        clauses += [_not_overturned(record), *_settlement(record, rules), *common]
    clauses += tightenings.clauses(record, rules, today)
    recheck_on = _next_change(record, today, rules)
    return GateDecision(all(clause.holds for clause in clauses), tuple(clauses), recheck_on)


def standing(record: Record, decision: GateDecision) -> Standing:
    """Where a record that is still alive stands now that the gate has spoken."""
    if not record.circumstances.reviewed:
        return Standing.DRAFT
    return Standing.ACTIVE if decision.matchable else Standing.HELD


def _notice(facts: DueProcess, today: date) -> Clause:
    given, decided = facts.notice_given_on, facts.decided_on
    if isinstance(given, Missing):
        return Clause("notice", False, "Fails: no notice to the officer before the decision is recorded.")
    if isinstance(decided, date) and given > decided:
        return Clause(
            "notice", False, f"Fails: notice was given on {given}, after the decision of {decided}."
        )
    if given > today:
        return Clause("notice", False, f"Fails: the day of the notice, {given}, has not come yet.")
    method = facts.notice_method.name.lower().replace("_", " ")
    return Clause("notice", True, f"Holds: the officer was given notice on {given} ({method}).")


def _opportunity(facts: DueProcess, today: date) -> Clause:
    held_on, decided, given = facts.opportunity_on, facts.decided_on, facts.notice_given_on
    if facts.opportunity not in (Opportunity.OFFERED_HELD, Opportunity.OFFERED_WAIVED):
        words = "Fails: the officer was offered no opportunity to respond before the decision."
        return Clause("opportunity", False, words)
    if isinstance(held_on, date) and isinstance(decided, date) and held_on > decided:
        words = f"Fails: the opportunity to respond, on {held_on}, came after the decision of {decided}."
        return Clause("opportunity", False, words)
    if isinstance(held_on, date) and held_on > today:
        words = f"Fails: the day of the opportunity to respond, {held_on}, has not come yet."
        return Clause("opportunity", False, words)
    noticed = isinstance(given, date) and not (isinstance(decided, date) and given > decided)
    if isinstance(held_on, date) and isinstance(given, date) and noticed and held_on < given:
        words = f"Fails: the opportunity to respond, on {held_on}, came before the notice of {given}."
        return Clause("opportunity", False, words)
    if facts.opportunity is Opportunity.OFFERED_WAIVED:
        return Clause("opportunity", True, "Holds: an opportunity to respond was offered and waived.")
    return Clause("opportunity", True, f"Holds: the opportunity to respond was held on {held_on}.")


def _final(content: Content, today: date, rules: GateRules) -> Clause:
    facts = content.due_process
    decided, ended = facts.decided_on, content.detail("appeal_decided_on")
    if not isinstance(decided, date) or decided > today:
        return Clause("final", False, "Fails: there is no decision in effect yet.")
    if content.appeal_open:
        return _appealed(content, today, rules)
    if isinstance(ended, date) and ended > today:
        return Clause("final", False, f"Fails: the appeal is decided on {ended}, which has not come yet.")
    match facts.finality:
        case Finality.FINAL:
            return Clause("final", True, f"Holds: the decision of {decided} is final.")
        case Finality.EXHAUSTED:
            return Clause(
                "final", True, f"Holds: all appeals against the decision of {decided} are exhausted."
            )
        case Finality.WAIVED:
            return Clause("final", True, f"Holds: appeal against the decision of {decided} was waived.")
        case Finality.APPEAL_TIME_RUNNING if isinstance(facts.appeal_until, date):
            if today > facts.appeal_until:
                words = (
                    f"Holds: the time to appeal ran out on {facts.appeal_until} and no appeal is recorded."
                )
                return Clause("final", True, words)
            words = f"Fails: the decision can be appealed until {facts.appeal_until}."
            return Clause("final", False, words)
    return Clause("final", False, "Fails: it is not recorded that the decision is final.")


def _appealed(content: Content, today: date, rules: GateRules) -> Clause:
    """`final` while an appeal is open: it takes an exception, and a decision that is in effect."""
    if FINAL_APPEAL_PENDING not in rules.exceptions:
        return Clause("final", False, "Fails: an appeal is pending and no policy pack allows that.")
    if content.effective_on > today:
        words = f"Fails: an appeal is pending, and the decision takes effect on {content.effective_on} only."
        return Clause("final", False, words)
    words = f"Holds: an appeal is pending; the policy pack allows it ({FINAL_APPEAL_PENDING})."
    return Clause("final", True, words)


def _settlement(record: Record, rules: GateRules) -> list[Clause]:
    """A settlement is no judgment: it is shared for as long only as a pack in force says that it may be."""
    if record.content.detail("judgment_form") is not JudgmentForm.SETTLEMENT_NO_ADMISSION:
        return []
    if rules.settlements:
        return [Clause("settlement", True, "Holds: the policy pack lets a settlement be reported.")]
    return [Clause("settlement", False, "Fails: a settlement is no judgment, and no policy pack allows it.")]


def _advisory(record: Record, today: date, rules: GateRules) -> Clause:
    if ADVISORY_SEPARATION in rules.exceptions:
        return advisory_clause(content_fields(record.content), today)
    words = "Fails: no finding was made, and no policy pack allows a separation under investigation to match."
    return Clause("final", False, words)


def _not_overturned(record: Record) -> Clause:
    if record.overturned:
        status = record.adjudication_status.name.lower()
        return Clause("not expunged", False, f"Fails: the decision was {status}.")
    if taken_away := record.content.taken_away:
        words = f"Fails: the record itself says what took the decision away ({taken_away})."
        return Clause("not expunged", False, words)
    return Clause("not expunged", True, "Holds: the decision was not reversed, vacated or expunged.")


def _not_void(record: Record) -> Clause:
    if record.report_type is ReportType.VOID or record.circumstances.standing is Standing.VOID:
        return Clause("not void", False, "Fails: the report was voided.")
    return Clause("not void", True, "Holds: the report was not voided.")


def _not_expired(record: Record, today: date) -> Clause:
    ends = record.circumstances.expires_on
    if record.circumstances.standing is Standing.EXPIRED:
        return Clause("not expired", False, "Fails: the time to keep this record is over.")
    if ends is None:
        return Clause("not expired", True, "Holds: no end of retention is set.")
    # The asker reads the label's expiry in the same way: that day is the first without the record.
    if today >= ends:
        return Clause("not expired", False, f"Fails: the time to keep this record ended on {ends}.")
    return Clause("not expired", True, f"Holds: the record is kept until {ends}.")


def _reviewed(record: Record) -> Clause:
    if record.circumstances.reviewed:
        return Clause(UNREVIEWED, True, "Holds: the report is no draft any more.")
    return Clause(UNREVIEWED, False, "Fails: the report is a draft; a second person has not reviewed it.")


def _not_sealed(record: Record) -> Clause:
    if record.circumstances.sealed_by_order:
        return Clause("not sealed", False, "Fails: an order seals the record; nobody may find it.")
    return Clause("not sealed", True, "Holds: no order seals the record.")


def _opted_in(record: Record) -> Clause:
    if record.sharing is Sharing.RED:
        return Clause("opt-in", False, "Fails: the officer has not opted in to sharing this commendation.")
    return Clause("opt-in", True, "Holds: the officer opted in to sharing this commendation.")


def _next_change(record: Record, today: date, rules: GateRules) -> date | None:
    """The next day on which time alone may change a clause."""
    content, facts = record.content, record.content.due_process
    own = [content.detail(name) for name in _OWN_DAYS]
    stated = [facts.decided_on, facts.notice_given_on, facts.opportunity_on, content.effective_on, *own]
    days = [day for day in (*stated, record.circumstances.expires_on) if isinstance(day, date)]
    if isinstance(facts.appeal_until, date):
        days.append(facts.appeal_until + _DAY)
    days += tightenings.recheck_days(record, rules)
    return min((day for day in days if day > today), default=None)
