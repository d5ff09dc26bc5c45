"""Reading a policy pack, strictly: TOML in, a `Pack` or everything that is wrong with it out.

Rules of this file:
- a key that nobody knows is an error: a misspelt `kinds` must not make a rule for nothing;
- every fault is reported at once, with its place, and repeats no value: a pack is a text from outside;
- a rule without a source or without both cases does not exist.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, datetime

from candor_proto.ids import Purpose
from candor_proto.record import RecordKind
from candor_records.codes import JudgmentForm
from candor_records.field_types import DATE
from candor_records.gate_rules import NEXUS_FIELDS, SEVERITIES, Tighten
from candor_records.kinds import FIELDS
from candor_records.life import Overturning
from candor_records.pack_rules import (
    COUNTRY,
    DEFAULT_PACK,
    STATUS,
    Anchor,
    Case,
    Counting,
    Defers,
    Disputes,
    Excepts,
    GateException,
    Judgments,
    Keeps,
    Pack,
    PackInvalid,
    Purposes,
    Recalls,
    Reports,
    Rule,
    Source,
    Term,
    Terms,
    Tightens,
    Withdraws,
)
from candor_records.toml_table import FIELD_NAME, Table, one_of, text_value

FORMAT = 1
MAX_OCTETS = 256 * 1024
MAX_RULES = 200
MAX_DAYS = 36_500
MAX_YEARS = 100
MAX_VERSION = 1_000_000
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
_RULE_ID = re.compile(r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*){1,5}\Z")
_JURISDICTION = re.compile(r"[A-Z]{2}\Z")
_DATES = tuple(name for name, field in FIELDS.items() if field.type is DATE)
_URL = re.compile(r"https?://[!-~]{1,400}\Z")
_NO_CASE = Case("", "")


def _fields(value: object) -> tuple[tuple[str, str], ...]:
    """Overrides of a record's fields; a date may stand without quotes."""
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    found = []
    for name, given in value.items():
        if not FIELD_NAME.match(name):
            raise ValueError("names a field that cannot be one")
        date_given = isinstance(given, date) and not isinstance(given, datetime)
        # An empty text is the empty cell of an import.
        found.append((name, str(given) if date_given else "" if given == "" else text_value(given)))
    return tuple(found)


# --- terms -----------------------------------------------------------------------------------------


def _excepts(table: Table) -> Terms:
    return Excepts(table.code("exception", GateException, GateException.FINAL_APPEAL_PENDING))


def _tightens(table: Table) -> Terms:
    what = table.code("tightening", Tighten, Tighten.KIND_EXCLUDED)
    severity, nexus, waiting = "", tuple[str, ...](), 0
    if what is Tighten.MINIMUM_SEVERITY:
        severity = table.take("severity", one_of(SEVERITIES), "")
    elif what is Tighten.NEXUS_REQUIRED:
        nexus = table.list_of("nexus", one_of(NEXUS_FIELDS))
    elif what is Tighten.SUBJECT_NOTIFIED:
        waiting = table.optional_integer("waiting_days", 0, 365) or 0
    return Tightens(what, severity, nexus, waiting)


def _reports(table: Table) -> Terms:
    return Reports(
        table.integer("days", 1, 365),
        table.code("counted", Counting, Counting.CALENDAR),
        table.code("from", Anchor, Anchor.EFFECTIVE),
    )


def _keeps(table: Table) -> Terms:
    years = table.optional_integer("keep_years", 1, MAX_YEARS)
    days = table.optional_integer("keep_days", 1, MAX_DAYS)
    for_life = table.flag("for_life")
    if (years is not None) + (days is not None) + for_life != 1:
        table.wrong("", "needs exactly one of keep_years, keep_days and for_life = true")
    review = table.optional_integer("review_after_years", 1, MAX_YEARS)
    if for_life and review is None:
        table.wrong("review_after_years", "is missing: nothing is kept for life without being looked at")
    return Keeps(
        table.code("from", Anchor, Anchor.EFFECTIVE),
        years,
        days,
        review,
        table.take("until_field", one_of(_DATES), "", optional=True),
    )


def _withdraws(table: Table) -> Terms:
    return Withdraws(
        table.codes("overturnings", Overturning), table.optional_integer("destroy_days", 0, MAX_DAYS)
    )


def _judgments(table: Table) -> Terms:
    forms = table.codes("forms", JudgmentForm)
    if forms and JudgmentForm.ADJUDICATED_LIABILITY not in forms:
        table.wrong("forms", "must name ADJUDICATED_LIABILITY, for that is a judgment")
    return Judgments(forms)


_READERS: Mapping[Term, Callable[[Table], Terms]] = {
    Term.GATE_EXCEPTION: _excepts,
    Term.GATE_TIGHTENING: _tightens,
    Term.REPORTING_CLOCK: _reports,
    Term.RETENTION: _keeps,
    Term.WITHDRAW_ON: _withdraws,
    Term.DISPUTE_CLOCK: lambda table: Disputes(table.integer("days", 1, 365), table.text("resolver")),
    Term.JUDGMENT_FORMS: _judgments,
    Term.DEFERRAL_LIMIT: lambda table: Defers(table.integer("days", 1, MAX_DAYS)),
    Term.RECALL_OVERDUE: lambda table: Recalls(table.integer("days", 1, 365)),
    Term.PURPOSES: lambda table: Purposes(table.codes("allowed", Purpose)),
}

# --- rules -----------------------------------------------------------------------------------------

_AFTER_NOTHING = (Tighten.KIND_EXCLUDED,)


def _rule(values: object, number: int, faults: list[str]) -> Rule | None:
    table = Table(values, f"rule {number}", faults)
    before = len(faults)
    name = table.text("id", pattern=_RULE_ID)
    if name:
        table.place = f"rule {name}"
    term = table.code("term", Term, Term.RETENTION)
    if len(faults) > before:
        return None
    kinds = table.codes("kinds", RecordKind) if term.of_kinds else ()
    terms = _READERS[term](table)
    _check_kinds(table, terms, kinds)
    source = _source(table.table("source"))
    passes, refuses = _case(table.table("passes"), term), _case(table.table("refuses"), term)
    table.finish()
    return Rule(name, terms, kinds, source, passes, refuses)


def _check_kinds(table: Table, terms: Terms, kinds: tuple[RecordKind, ...]) -> None:
    """Rules that would say nothing of the kinds they name."""
    separation, commendation = RecordKind.SEPARATION_UNDER_INVESTIGATION, RecordKind.COMMENDATION
    match terms:
        case Excepts(GateException.ADVISORY_SEPARATION) if set(kinds) - {separation}:
            table.wrong("kinds", f"must be {separation.name} alone: no other kind is advisory")
        case Excepts() | Withdraws() if commendation in kinds:
            table.wrong("kinds", "must not name COMMENDATION: it is no decision")
        case Tightens(what) if commendation in kinds and what not in _AFTER_NOTHING:
            table.wrong("kinds", "must not name COMMENDATION: it has no due-process facts")


def _source(table: Table | None) -> Source:
    if table is None:
        return Source("")
    source = Source(
        table.text("citation"),
        table.text("url", pattern=_URL, optional=True),
        table.flag("verified"),
        table.text("note", optional=True),
    )
    if source.verified and not source.url:
        table.wrong("url", "is missing: a verified source says where its text is published")
    table.finish()
    return source


def _case(table: Table | None, term: Term) -> Case:
    if table is None:
        return _NO_CASE
    case = Case(
        table.text("case"),
        table.text("expect"),
        table.code("kind", RecordKind, RecordKind.TERMINATION_FOR_CAUSE) if term.of_kinds else None,
        table.take("fields", _fields, (), optional=True),
        table.optional_day("since"),
        table.optional_day("on"),
        table.optional_code("overturned", Overturning),
        table.optional_code("purpose", Purpose),
    )
    for key, given in _NEEDED[term]:
        if not given(case):
            table.wrong(key, "is missing")
    table.finish()
    return case


_ON = ("on", lambda case: case.on)
_SINCE = ("since", lambda case: case.since)
_NEEDED: Mapping[Term, tuple[tuple[str, Callable[[Case], object]], ...]] = {
    Term.GATE_EXCEPTION: (_ON,),
    Term.GATE_TIGHTENING: (_ON,),
    Term.REPORTING_CLOCK: (_ON,),
    Term.RETENTION: (_ON,),
    Term.WITHDRAW_ON: (("overturned", lambda case: case.overturned),),
    Term.DISPUTE_CLOCK: (_SINCE, _ON),
    Term.JUDGMENT_FORMS: (("fields", lambda case: case.fields),),
    Term.DEFERRAL_LIMIT: (_SINCE, _ON),
    Term.RECALL_OVERDUE: (_SINCE, _ON),
    Term.PURPOSES: (("purpose", lambda case: case.purpose),),
}


def read_pack(octets: bytes) -> Pack:
    """The pack in `octets`; raises PackInvalid with every fault."""
    if len(octets) > MAX_OCTETS:
        raise PackInvalid([f"it is longer than {MAX_OCTETS} octets"])
    try:
        values = tomllib.loads(octets.decode("utf-8"))
    except UnicodeDecodeError:
        raise PackInvalid(["it is not UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        # The library's sentence names line and column; it may quote one character, never a value.
        raise PackInvalid([f"it is not TOML: {_ascii(str(error))}"]) from None
    except (ValueError, RecursionError):
        raise PackInvalid(["it is not TOML: a number is too long, or lists are nested too deeply"]) from None
    faults: list[str] = []
    table = Table(values, "", faults)
    if table.integer("format", 1, 1_000) != FORMAT and not faults:
        raise PackInvalid([f"format must be {FORMAT}: this version of Candor reads no other"])
    name = table.text("name", pattern=_NAME)
    title = table.text("title")
    jurisdiction = table.text("jurisdiction", pattern=_JURISDICTION)
    version = table.integer("version", 1, MAX_VERSION)
    effective_on = table.day("effective_on")
    if table.text("status") not in (STATUS, ""):
        table.wrong("status", f'must be "{STATUS}": no pack is advice')
    issuer = table.text("issuer")
    if name and (name == DEFAULT_PACK) != (jurisdiction == COUNTRY):
        table.wrong("jurisdiction", f"must be {COUNTRY} for the pack {DEFAULT_PACK}, and for no other")
    listed: list[object] = table.take("rule", _rules, [])
    rules = [rule for number, each in enumerate(listed, 1) if (rule := _rule(each, number, faults))]
    table.finish()
    faults += _clashes(rules)
    if faults:
        raise PackInvalid(faults)
    return Pack(name, title, jurisdiction, version, effective_on, issuer, tuple(rules), octets)


def _rules(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be given as [[rule]], at least once")
    if len(value) > MAX_RULES:
        raise ValueError(f"occurs more than {MAX_RULES} times")
    return value


def _clashes(rules: list[Rule]) -> list[str]:
    """Two rules of one id, or that say two things about the same."""
    faults, ids, said = [], set[str](), dict[tuple[object, ...], str]()
    for rule in rules:
        if rule.id in ids:
            faults.append(f"rule {rule.id}, id occurs twice")
        ids.add(rule.id)
        for kind in rule.kinds or (None,):
            about = (rule.term, kind, *_which(rule.terms))
            if about in said:
                faults.append(f"rule {rule.id}, kinds says again what rule {said[about]} says")
                break
            said[about] = rule.id
    return faults


def _which(terms: Terms) -> tuple[object, ...]:
    """What may stand several times for one kind, each under its own name."""
    match terms:
        case Excepts(exception):
            return (exception,)
        case Tightens(what):
            return (what,)
    return ()


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
