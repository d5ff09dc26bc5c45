"""The two cases of every rule of a pack, run through the gate, the clocks and the retention that nodes run.

What a case expects, word for word:

    GATE_EXCEPTION, GATE_TIGHTENING   shared | held: CLAUSE, CLAUSE …
    REPORTING_CLOCK                   on time | N days late | not due yet
    RETENTION                         kept until DATE | kept until it is withdrawn
                                      review since DATE | ended on DATE
    WITHDRAW_ON                       stays | withdrawn at once | withdrawn at once, destroyed within N days
    DISPUTE_CLOCK                     in time | N days over, goes to RESOLVER
    DEFERRAL_LIMIT, RECALL_OVERDUE    in time | N days over
    JUDGMENT_FORMS                    reportable | not reportable
    PURPOSES                          answered | refused

Rules of this file:
- a case runs under the policy that the pack would make, the default pack under it: what counts is what a node
  would do, not what a rule says alone;
- a rule of a state's pack that could be left out without changing either of its cases is a fault: its cases
  do not show what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time

from candor_proto.ids import NodeId, Ori
from candor_proto.record import RecordKind
from candor_records.content import CONTENT_FIELDS, Content
from candor_records.gate import gate
from candor_records.kinds import FIELDS
from candor_records.pack import PackPolicy
from candor_records.pack_rules import (
    DEFAULT_PACK,
    Case,
    Defers,
    Disputes,
    Judgments,
    Pack,
    PackInvalid,
    Purposes,
    Recalls,
    Rule,
    Term,
)
from candor_records.record_fields import parse
from candor_records.records import Record, initial

# An officer whom nobody is; the facts are complete and fair.
_FACTS = {
    "agency_record_id": "CASE-1",
    "first": "Jo",
    "middle": "NOT_APPLICABLE",
    "last": "Casefile",
    "suffix": "",
    "former_last": "",
    "birth_date": "1984-07-23",
    "ssn4": "",
    "sex": "",
    "post_state": "",
    "post_id": "",
    "effective_on": "2021-06-14",
    "decided_on": "2021-06-07",
    "decision_maker": "TRIAL_BOARD",
    "standard_of_proof": "PREPONDERANCE",
    "notice_given_on": "2021-04-01",
    "notice_method": "IN_PERSON",
    "opportunity": "OFFERED_HELD",
    "opportunity_on": "2021-05-11",
    "finality": "FINAL",
    "appeal_until": "",
    "subject_notified_on": "2021-06-20",
    "sharing": "YELLOW",
    "on_duty": "YES",
    "use_of_force_related": "NO",
    "allegation_categories": "DISHONESTY",
    "source_of_record": "PERSONNEL_ACTION",
    "narrative": "",
}
_COURT = {"decision_maker": "COURT", "source_of_record": "COURT", "notice_method": "COURT_SERVICE"}
_NO_DECISION = {"decided_on": "", "decision_maker": "", "standard_of_proof": "", "finality": ""}
_NO_DUE_PROCESS = {
    **_NO_DECISION,
    "notice_given_on": "",
    "notice_method": "",
    "opportunity": "",
    "opportunity_on": "",
    "subject_notified_on": "",
    "allegation_categories": "",
}
_OF_KIND: Mapping[RecordKind, Mapping[str, str]] = {
    RecordKind.TERMINATION_FOR_CAUSE: {},
    RecordKind.SEPARATION_UNDER_INVESTIGATION: {
        **_NO_DECISION,
        "separated_on": "2021-06-14",
        "investigation_opened_on": "2021-04-01",
        "officer_informed_on": "2021-04-01",
        "investigation_outcome": "PENDING",
    },
    RecordKind.DECERTIFICATION: {"decision_maker": "POST", "source_of_record": "POST_ORDER"},
    RecordKind.CRIMINAL_CONVICTION: _COURT,
    RecordKind.CIVIL_JUDGMENT: {**_COURT, "judgment_form": "ADJUDICATED_LIABILITY"},
    RecordKind.SUSTAINED_FORCE_FINDING: {"use_of_force_related": "YES"},
    RecordKind.COMMENDATION: _NO_DUE_PROCESS,
}
_ORI, _NODE = Ori("ZZ0010000"), NodeId("case")


@dataclass(frozen=True)
class Outcome:
    """One case of one rule: what was expected, what came out, and the words that were said with it."""

    rule: Rule
    passes: bool
    expected: str
    found: str
    why: str

    @property
    def holds(self) -> bool:
        return self.expected == self.found

    @property
    def case(self) -> Case:
        return self.rule.passes if self.passes else self.rule.refuses


def run_cases(pack: Pack, default: Pack) -> list[Outcome]:
    """Every case of every rule, the passing one first. `default` is the pack it would be adopted over."""
    packs = (pack,) if pack.name == DEFAULT_PACK else (default, pack)
    policy = PackPolicy(packs)
    return [outcome for rule in pack.rules for outcome in _both(rule, policy, _without(rule, packs))]


def check_cases(pack: Pack, default: Pack) -> None:
    """Raises PackInvalid naming every case that does not come out."""
    faults = [
        f"rule {outcome.rule.id}: expected {outcome.expected}, found {outcome.found}"
        for outcome in run_cases(pack, default)
        if not outcome.holds
    ]
    if faults:
        raise PackInvalid(faults)


def _without(rule: Rule, packs: tuple[Pack, ...]) -> PackPolicy | None:
    """The policy without that rule; None if it would be no policy, so that the rule is needed for sure."""
    *before, pack = packs
    rest = replace(pack, rules=tuple(other for other in pack.rules if other.id != rule.id))
    try:
        return PackPolicy((*before, rest))
    except PackInvalid:
        return None


def _both(rule: Rule, policy: PackPolicy, without: PackPolicy | None) -> Iterator[Outcome]:
    found = [_found(rule, case, policy) for case in (rule.passes, rule.refuses)]
    idle = without is not None and all(
        _found(rule, case, without)[0] == outcome
        for case, (outcome, _) in zip((rule.passes, rule.refuses), found, strict=True)
    )
    for case, (outcome, why) in zip((rule.passes, rule.refuses), found, strict=True):
        if idle:
            outcome = f"{outcome}, with the rule or without it: its cases do not show what it does"
        yield Outcome(rule, case is rule.passes, case.expect, outcome, why)


def _found(rule: Rule, case: Case, policy: PackPolicy) -> tuple[str, str]:
    """What comes out of a case, and the words said with it."""
    return _RUNS[rule.term](case, policy)


# --- what comes out --------------------------------------------------------------------------------

_Found = tuple[str, str]


def _gate(case: Case, policy: PackPolicy) -> _Found:
    record = _record(case, policy)
    if isinstance(record, str):
        return record, ""
    decision = gate(record, _on(case), policy.gate_rules(record.kind))
    failed = ", ".join(clause.name for clause in decision.failed)
    words = " ".join(clause.words for clause in decision.failed or decision.reasons)
    return (f"held: {failed}" if failed else "shared"), words


def _reporting(case: Case, policy: PackPolicy) -> _Found:
    content = _content(case)
    if isinstance(content, str):
        return content, ""
    clock = policy.reporting(content, _on(case))
    if clock.due_on is None:
        return "not due yet", clock.why
    return (_many(clock.days_late, "late") if clock.days_late else "on time"), clock.why


def _retention(case: Case, policy: PackPolicy) -> _Found:
    record = _record(case, policy)
    if isinstance(record, str):
        return record, ""
    retention = policy.retention(record.content, _filed_on(case))
    ends, review = retention.expires_on, retention.review_on
    over = any(clause.name == "not expired" for clause in gate(record, _on(case)).failed)
    if over:
        return f"ended on {ends}", retention.why
    if review is not None and _on(case) >= review:
        return f"review since {review}", retention.why
    return (f"kept until {ends}" if ends else "kept until it is withdrawn"), retention.why


def _withdrawal(case: Case, policy: PackPolicy) -> _Found:
    assert case.kind is not None
    assert case.overturned is not None
    found = policy.withdrawal(case.kind, case.overturned)
    if found is None:
        return "stays", ""
    if found.destroy_days is None:
        return "withdrawn at once", found.why
    days = f"{found.destroy_days} day{'' if found.destroy_days == 1 else 's'}"
    return f"withdrawn at once, destroyed within {days}", found.why


def _over(case: Case, days: int) -> str:
    """How far the time from `since` to `on` is over the limit."""
    assert case.since is not None
    over = (_on(case) - case.since).days - days
    return _many(over, "over") if over > 0 else "in time"


def _dispute(case: Case, policy: PackPolicy) -> _Found:
    found = _over(case, policy.dispute_days)
    return (found if found == "in time" else f"{found}, goes to {policy.resolver}"), policy.why(Disputes)


def _deferral(case: Case, policy: PackPolicy) -> _Found:
    return _over(case, policy.deferral_days), policy.why(Defers)


def _recall(case: Case, policy: PackPolicy) -> _Found:
    return _over(case, policy.overdue_days), policy.why(Recalls)


def _judgment(case: Case, policy: PackPolicy) -> _Found:
    form = dict(case.fields).get("judgment_form", "")
    _, terms = policy.rule_of(Judgments)
    found = form in {known.name for known in terms.forms}
    return ("reportable" if found else "not reportable"), policy.why(Judgments)


def _purpose(case: Case, policy: PackPolicy) -> _Found:
    return ("answered" if case.purpose in policy.purposes else "refused"), policy.why(Purposes)


_RUNS: Mapping[Term, Callable[[Case, PackPolicy], _Found]] = {
    Term.GATE_EXCEPTION: _gate,
    Term.GATE_TIGHTENING: _gate,
    Term.REPORTING_CLOCK: _reporting,
    Term.RETENTION: _retention,
    Term.WITHDRAW_ON: _withdrawal,
    Term.DISPUTE_CLOCK: _dispute,
    Term.DEFERRAL_LIMIT: _deferral,
    Term.RECALL_OVERDUE: _recall,
    Term.JUDGMENT_FORMS: _judgment,
    Term.PURPOSES: _purpose,
}

# --- the facts of a case ---------------------------------------------------------------------------


def _content(case: Case) -> Content | str:
    """The content of the case, or what is wrong with its facts."""
    assert case.kind is not None
    for name, _ in case.fields:
        if name not in CONTENT_FIELDS and name not in FIELDS:
            return f"no record has the field {name}"
    row = {**_FACTS, "record_kind": case.kind.name, **_OF_KIND[case.kind], **dict(case.fields)}
    content, faults = parse(row)
    if content is None:
        return f"no record can say this: {' '.join(fault.message for fault in faults)}"
    return content


def _record(case: Case, policy: PackPolicy) -> Record | str:
    """The record of the case as a node would hold it."""
    content = _content(case)
    if isinstance(content, str):
        return content
    filed_on = _filed_on(case)
    record = initial(content, datetime.combine(filed_on, time(12), UTC), _ORI, _NODE, "case")
    ends = policy.retention(content, filed_on).expires_on
    return replace(record, expires_on=ends, circumstances=replace(record.circumstances, expires_on=ends))


def _on(case: Case) -> date:
    assert case.on is not None
    return case.on


def _filed_on(case: Case) -> date:
    """`since` where the case says when the report was filed, else the day it is asked about."""
    return case.since or _on(case)


def _many(days: int, what: str) -> str:
    return f"{days} day{'' if days == 1 else 's'} {what}"
