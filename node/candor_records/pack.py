"""The packs in force as one policy: the default pack, and over it that of the state.

Rules of this file:
- a state's pack adds exceptions, tightenings and withdrawals to the default's and takes none of them away;
  clocks, retention and everything that is one for the node it replaces, kind by kind;
- the default pack answers every question, so that nothing is ever guessed: it is refused unless whole;
- each answer names the rule that it comes from; `why` is a sentence that may be shown to anybody;
- a time that lies beyond the calendar ends with it: nothing here raises for a strange date in a record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TypeVar

from candor_proto.ids import Purpose
from candor_proto.record import RecordKind
from candor_records.codes import Finality, JudgmentForm
from candor_records.content import Content, content_fields
from candor_records.gate_rules import GateRules
from candor_records.life import Overturning
from candor_records.pack_rules import (
    DEFAULT_PACK,
    Anchor,
    Counting,
    Defers,
    Disputes,
    Excepts,
    Judgments,
    Keeps,
    Pack,
    PackInvalid,
    Purposes,
    Recalls,
    Reports,
    Rule,
    Term,
    Terms,
    Tightens,
    Withdraws,
)
from candor_records.policy import Retention

T = TypeVar("T", bound=Terms)

_DAY = timedelta(days=1)
_SATURDAY = 5


@dataclass(frozen=True)
class Lateness:
    """When a report was due (None: the time does not run yet) and by how many days it is late."""

    due_on: date | None
    days_late: int
    why: str


@dataclass(frozen=True)
class Withdrawal:
    """A record leaves the index at once; `destroy_days` after that it is destroyed, None: it is kept."""

    destroy_days: int | None
    why: str


@dataclass(frozen=True)
class PackPolicy:
    """The packs in force, the default first. Raises PackInvalid for packs that leave a question open."""

    packs: tuple[Pack, ...]
    _of_kind: dict[tuple[type[Terms], RecordKind | None], tuple[Rule, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        if not self.packs or self.packs[0].name != DEFAULT_PACK:
            raise PackInvalid([f"a policy begins with the pack {DEFAULT_PACK}"])
        if any(pack.name == DEFAULT_PACK for pack in self.packs[1:]):
            raise PackInvalid([f"a policy has one pack {DEFAULT_PACK}"])
        for pack in self.packs:
            for rule in pack.rules:
                for kind in rule.kinds or (None,):
                    key = type(rule.terms), kind
                    self._of_kind[key] = (*self._of_kind.get(key, ()), rule)
        faults = [f"the pack {DEFAULT_PACK} has no rule for {what}" for what in self._open()]
        if faults:
            raise PackInvalid(faults)

    def _open(self) -> Iterator[str]:
        for term in (Term.REPORTING_CLOCK, Term.RETENTION):
            for kind in RecordKind:
                if not self.rules(term.value, kind):
                    yield f"{term.name} of {kind.name}"
        for term in Term:
            if not term.of_kinds and not self.rules(term.value):
                yield term.name

    @property
    def label(self) -> str:
        """The packs in force by name and version."""
        return " + ".join(pack.label for pack in self.packs)

    def rules(self, terms: type[Terms], kind: RecordKind | None = None) -> tuple[Rule, ...]:
        """The rules of a term for a kind (None: for the node), those of the default pack first."""
        return self._of_kind.get((terms, kind), ())

    def rule_of(self, terms: type[T], kind: RecordKind | None = None) -> tuple[Rule, T]:
        """The one rule that counts: the state's, else the default's."""
        rule = self.rules(terms, kind)[-1]
        assert isinstance(rule.terms, terms)
        return rule, rule.terms

    # --- the gate --------------------------------------------------------------------------------------

    def gate_rules(self, kind: RecordKind) -> GateRules:
        """Every exception and every tightening of every pack in force, for records of `kind`."""
        exceptions = frozenset(
            rule.terms.exception.value
            for rule in self.rules(Excepts, kind)
            if isinstance(rule.terms, Excepts)
        )
        tightenings = tuple(
            rule.terms.tightening(rule.id, rule.source.citation)
            for rule in self.rules(Tightens, kind)
            if isinstance(rule.terms, Tightens)
        )
        return GateRules(exceptions, tightenings, self.settlements_allowed)

    # --- times of a record -----------------------------------------------------------------------------

    def retention(self, content: Content, filed_on: date) -> Retention:
        """How long a record with this content is kept, filed on that day."""
        rule, terms = self.rule_of(Keeps, content.record_kind)
        start = _anchor_day(terms.anchor, content, filed_on)
        # While an appeal is pending nothing ends; but whether the record is justified is asked all the same.
        review_from = start or content.effective_on
        review = _years_after(review_from, terms.review_years) if terms.review_years else None
        ends = _end(terms, start)
        if (stated := _stated_day(content, terms.until_field)) is not None:
            ends = min(ends or date.max, _days_after(stated, 1))
        if ends is not None and review is not None and review >= ends:
            review = None
        kept = f"kept until {ends}" if ends else "kept until it is withdrawn"
        reviewed = f", reviewed on {review}" if review else ""
        return Retention(review, ends, f"{kept}{reviewed} by {rule.cited}")

    def reporting(self, content: Content, reported_on: date) -> Lateness:
        """When a report with this content was due, and how late it came."""
        rule, terms = self.rule_of(Reports, content.record_kind)
        start = _anchor_day(terms.anchor, content, reported_on)
        if start is None:
            return Lateness(None, 0, f"the time to report does not run yet by {rule.cited}")
        business = terms.counted is Counting.BUSINESS
        due = _business_days_after(start, terms.days) if business else _days_after(start, terms.days)
        count = _business_days_between if business else _days_between
        late = max(0, count(due, reported_on))
        words = f"due on {due} by {rule.cited}"
        return Lateness(due, late, words)

    def days_late(self, content: Content, reported_on: date) -> int | None:
        """By how many days, counted as the rule counts, a report came late; None while no time runs."""
        clock = self.reporting(content, reported_on)
        return None if clock.due_on is None else clock.days_late

    def withdraws(self, kind: RecordKind, how: Overturning) -> bool:
        """Whether what takes a decision away takes a record of `kind` out of the index."""
        return self.withdrawal(kind, how) is not None

    def destroyed_after(self, kind: RecordKind, how: Overturning) -> int | None:
        """Within how many days what was withdrawn is destroyed; None where it is kept as it was."""
        found = self.withdrawal(kind, how)
        return None if found is None else found.destroy_days

    def withdrawal(self, kind: RecordKind, how: Overturning) -> Withdrawal | None:
        """What happens to a record of `kind` whose decision was taken away like this; None: nothing."""
        found = [
            rule
            for rule in self.rules(Withdraws, kind)
            if isinstance(rule.terms, Withdraws) and how in rule.terms.overturnings
        ]
        if not found:
            return None
        # With several packs the one that destroys soonest counts: a tightening.
        times = [(rule, rule.terms.destroy_days) for rule in found if isinstance(rule.terms, Withdraws)]
        rule, days = min(times, key=lambda pair: (pair[1] is None, pair[1] or 0))
        return Withdrawal(days, f"withdrawn at once because {how.name} by {rule.cited}")

    # --- one for the node ------------------------------------------------------------------------------

    @property
    def dispute_days(self) -> int:
        """How many days the agency has to answer a dispute."""
        return self.rule_of(Disputes)[1].days

    @property
    def resolver(self) -> str:
        """Who decides a dispute independently."""
        return self.rule_of(Disputes)[1].resolver

    @property
    def settlements_allowed(self) -> bool:
        """Whether a settlement without admission is reported at all."""
        return JudgmentForm.SETTLEMENT_NO_ADMISSION in self.rule_of(Judgments)[1].forms

    @property
    def deferral_days(self) -> int:
        """For how many days at most an officer may not be shown a lookup."""
        return self.rule_of(Defers)[1].days

    @property
    def overdue_days(self) -> int:
        """After how many days a recall that was not acknowledged is overdue."""
        return self.rule_of(Recalls)[1].days

    @property
    def purposes(self) -> frozenset[Purpose]:
        """For what this node may be asked."""
        return frozenset(self.rule_of(Purposes)[1].allowed)

    def why(self, terms: type[Terms]) -> str:
        """The rule for the whole node on this term, in words and cited."""
        rule = self.rule_of(terms)[0]
        return f"{rule.terms.words}, by {rule.cited}"


# --- days ------------------------------------------------------------------------------------------


def _anchor_day(anchor: Anchor, content: Content, filed_on: date) -> date | None:
    """The day from which a time runs; None while it does not run."""
    decided = content.due_process.decided_on
    match anchor:
        case Anchor.REPORTED:
            return filed_on
        case Anchor.DECIDED:
            return decided if isinstance(decided, date) else content.effective_on
        case Anchor.FINAL:
            over = _appeals_over(content)
            return None if over is None else max(content.effective_on, over)
    return content.effective_on


def _appeals_over(content: Content) -> date | None:
    """The day from which on no appeal lay; None while one is pending."""
    facts = content.due_process
    decided = facts.decided_on if isinstance(facts.decided_on, date) else content.effective_on
    if facts.finality is Finality.APPEAL_PENDING:
        return None
    if facts.finality is Finality.APPEAL_TIME_RUNNING and isinstance(facts.appeal_until, date):
        return facts.appeal_until
    return max(decided, _stated_day(content, "appeal_decided_on") or decided)


def _stated_day(content: Content, name: str) -> date | None:
    """The date in a field of the record, by its flat name; None if it states none."""
    try:
        return date.fromisoformat(content_fields(content).get(name, "")) if name else None
    except ValueError:
        return None


def _end(terms: Keeps, start: date | None) -> date | None:
    if start is None:
        return None
    if terms.years is not None:
        return _years_after(start, terms.years)
    return None if terms.days is None else _days_after(start, terms.days)


def _years_after(day: date, years: int) -> date:
    """29 February becomes 1 March: a record is rather kept a day longer than destroyed a day early."""
    if day.year + years > date.max.year:
        return date.max
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def _days_after(day: date, days: int) -> date:
    return date.max if (date.max - day).days < days else day + _DAY * days


def _business_days_after(day: date, days: int) -> date:
    while days and day < date.max:
        day += _DAY
        days -= day.weekday() < _SATURDAY
    return day


def _days_between(one: date, other: date) -> int:
    return (other - one).days


def _business_days_between(one: date, other: date) -> int:
    """Monday to Friday behind `one`, up to and with `other`; 0 if that is none."""
    days = (other - one).days
    if days <= 0:
        return 0
    weeks, rest = divmod(days, 7)
    return weeks * 5 + sum((one.weekday() + 1 + step) % 7 < _SATURDAY for step in range(rest))
