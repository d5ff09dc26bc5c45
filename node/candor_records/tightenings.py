"""The conditions that a policy pack adds to the fair-process gate, as clauses with words (RECORDS.md §3.5).

Rules of this file:
- a doubt closes the gate here as well: a fact that is not recorded fails its clause;
- every sentence names the rule it comes from, so that whoever reads it can ask for the rule;
- a record is read through its flat fields: what is not among them is not recorded. Only that the subject was
  told may also be known from the notice that was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta

from candor_records.codes import Missing, Nexus
from candor_records.content import content_fields
from candor_records.gate_rules import SEVERITIES, Clause, GateRules, Tighten, Tightening
from candor_records.records import Record

_UNKNOWN = Missing.UNKNOWN.name
_YES = Nexus.YES.name
_DAY = timedelta(days=1)


def clauses(record: Record, rules: GateRules, today: date) -> tuple[Clause, ...]:
    """One clause for each tightening of `rules`, in their order."""
    if not rules.tightenings:
        return ()
    fields = content_fields(record.content)
    if (told := _told_on(record)) is not None:
        fields["subject_notified_on"] = told.isoformat()
    return tuple(_clause(tightening, fields, today) for tightening in rules.tightenings)


def recheck_days(record: Record, rules: GateRules) -> tuple[date, ...]:
    """The days on which time alone may change one of these clauses."""
    notified = _told_on(record)
    if notified is None:
        return ()
    return tuple(
        _open_on(notified, tightening)
        for tightening in rules.tightenings
        if tightening.what is Tighten.SUBJECT_NOTIFIED
    )


def _told_on(record: Record) -> date | None:
    """The first day on which the officer was told of the report, as filed or by the notice that was sent."""
    days = (record.content.due_process.subject_notified_on, record.circumstances.subject_told_on)
    return min((day for day in days if isinstance(day, date)), default=None)


def _clause(tightening: Tightening, fields: Mapping[str, str], today: date) -> Clause:
    holds, words = _CONDITIONS[tightening.what](tightening, fields, today)
    cited = f"rule {tightening.rule}, {tightening.source}"
    return Clause(tightening.what.value, holds, f"{'Holds' if holds else 'Fails'}: {words} ({cited}).")


# --- conditions: whether it is met, and the sentence without its end ---------------------------------

_Met = tuple[bool, str]


def _name_clearing(_: Tightening, fields: Mapping[str, str], today: date) -> _Met:
    if fields.get("name_clearing_offered") == _YES:
        return True, "a name-clearing hearing was offered"
    return False, "it is not recorded that a name-clearing hearing was offered"


def _representation(_: Tightening, fields: Mapping[str, str], today: date) -> _Met:
    if fields.get("representation_available") == _YES:
        return True, "the officer could be represented"
    return False, "it is not recorded that the officer could be represented"


def _subject_notified(tightening: Tightening, fields: Mapping[str, str], today: date) -> _Met:
    try:
        notified = date.fromisoformat(fields.get("subject_notified_on", _UNKNOWN))
    except ValueError:
        return False, "it is not recorded that the officer was told of this report"
    opens = _open_on(notified, tightening)
    if today >= opens:
        return True, f"the officer was told of this report on {notified}"
    return False, f"the officer was told of this report on {notified}; it is shared from {opens} on"


def _open_on(notified: date, tightening: Tightening) -> date:
    """The first day on which the officer has known of the report for long enough."""
    try:
        return notified + _DAY * tightening.waiting_days
    except OverflowError:
        return date.max


def _minimum_severity(tightening: Tightening, fields: Mapping[str, str], today: date) -> _Met:
    found = fields.get("severity", _UNKNOWN)
    if found not in SEVERITIES:
        return False, "it is not recorded how severe the matter was"
    if SEVERITIES.index(found) >= SEVERITIES.index(tightening.severity):
        return True, f"the matter was {found.lower()}"
    return False, f"the matter was {found.lower()}, less than {tightening.severity.lower()}"


def _nexus(tightening: Tightening, fields: Mapping[str, str], today: date) -> _Met:
    asked = " or ".join(_NEXUS_WORDS[name] for name in tightening.nexus)
    if any(fields.get(name) == _YES for name in tightening.nexus):
        return True, f"the conduct was {asked}"
    return False, f"it is not recorded that the conduct was {asked}"


def _excluded(_: Tightening, fields: Mapping[str, str], today: date) -> _Met:
    return False, "records of this kind are not shared here"


_NEXUS_WORDS: Mapping[str, str] = {"on_duty": "on duty", "use_of_force_related": "a use of force"}
_CONDITIONS: Mapping[Tighten, Callable[[Tightening, Mapping[str, str], date], _Met]] = {
    Tighten.NAME_CLEARING: _name_clearing,
    Tighten.SUBJECT_NOTIFIED: _subject_notified,
    Tighten.REPRESENTATION: _representation,
    Tighten.MINIMUM_SEVERITY: _minimum_severity,
    Tighten.NEXUS_REQUIRED: _nexus,
    Tighten.KIND_EXCLUDED: _excluded,
}
