"""A policy pack as values: who issues it, for where, and rules that each cite a source and show two cases.

Rules of this file:
- a rule is one term of a closed set with its parameters. There is no term that touches notice or opportunity:
  what a pack cannot say it cannot loosen (RECORDS.md §3.5);
- `words` of a term is the rule in one sentence, for a lawyer who reads no TOML;
- a pack says of itself that counsel has to look at it: it is data, not advice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum

from candor_proto.errors import InputInvalid
from candor_proto.ids import Purpose
from candor_proto.record import RecordKind
from candor_records.codes import JudgmentForm
from candor_records.gate_rules import ADVISORY_SEPARATION, FINAL_APPEAL_PENDING, Tighten, Tightening
from candor_records.life import Overturning

DEFAULT_PACK = "default"
COUNTRY = "US"
STATUS = "verify with counsel"


class PackInvalid(InputInvalid):
    """A pack that cannot be used; every fault with its place in `faults`."""

    def __init__(self, faults: Sequence[str]) -> None:
        many = "" if len(faults) == 1 else "s"
        super().__init__(
            f"The pack has {len(faults)} fault{many}: {'; '.join(faults)}.",
            remedy="docs/packs.md says what a pack looks like.",
        )
        self.faults = tuple(faults)


# --- codes -----------------------------------------------------------------------------------------


class GateException(Enum):
    """What may stand in the place of a final decision, and nothing else may."""

    FINAL_APPEAL_PENDING = FINAL_APPEAL_PENDING
    ADVISORY_SEPARATION = ADVISORY_SEPARATION


class Anchor(Enum):
    """The day from which a time runs; the value completes a sentence.

    FINAL is the later of the effective day and the day on which no appeal lay any more; while one is pending
    the time does not run.
    """

    EFFECTIVE = "the day the action took effect"
    DECIDED = "the day of the decision"
    FINAL = "the day on which action and appeals were over"
    REPORTED = "the day of the report"


class Counting(Enum):
    """BUSINESS days are Monday to Friday: a pack knows no holidays."""

    CALENDAR = "calendar"
    BUSINESS = "business"


# --- terms -----------------------------------------------------------------------------------------


class Terms:
    """What a rule says: one of the classes below."""

    @property
    def words(self) -> str:
        """The rule in one sentence, without its end."""
        raise NotImplementedError


@dataclass(frozen=True)
class Excepts(Terms):
    """GATE_EXCEPTION: loosens the clause `final`."""

    exception: GateException

    @property
    def words(self) -> str:
        if self.exception is GateException.FINAL_APPEAL_PENDING:
            return "a decision in effect may be shared while an appeal is pending, and says so"
        return "the fact of a separation under investigation may be shared, as advisory, without a finding"


@dataclass(frozen=True)
class Tightens(Terms):
    """GATE_TIGHTENING: one condition more."""

    what: Tighten
    severity: str = ""
    nexus: tuple[str, ...] = ()
    waiting_days: int = 0

    @property
    def words(self) -> str:
        match self.what:
            case Tighten.NAME_CLEARING:
                return "shared only if a name-clearing hearing was offered"
            case Tighten.REPRESENTATION:
                return "shared only if the officer could be represented"
            case Tighten.SUBJECT_NOTIFIED if self.waiting_days:
                return f"shared only {_days(self.waiting_days)} after the officer was told of the report"
            case Tighten.SUBJECT_NOTIFIED:
                return "shared only once the officer was told of the report"
            case Tighten.MINIMUM_SEVERITY:
                return f"shared only if the matter was {self.severity.lower()} or worse"
            case Tighten.NEXUS_REQUIRED:
                return f"shared only if one of {', '.join(self.nexus)} is recorded as YES"
        return "not shared at all"

    def tightening(self, rule: str, source: str) -> Tightening:
        """As the gate takes it."""
        return Tightening(self.what, rule, source, self.severity, self.nexus, self.waiting_days)


@dataclass(frozen=True)
class Reports(Terms):
    """REPORTING_CLOCK: until when a report is on time."""

    days: int
    counted: Counting
    anchor: Anchor

    @property
    def words(self) -> str:
        return f"reported within {self.days} {self.counted.value} days of {self.anchor.value}"


@dataclass(frozen=True)
class Keeps(Terms):
    """RETENTION: how long a record is kept, and when somebody asks whether it is still justified.

    `years` and `days` both None: for life, and then there is a review. `until_field` names a field with a
    date that ends the time earlier, for example the end of a suspension.
    """

    anchor: Anchor
    years: int | None = None
    days: int | None = None
    review_years: int | None = None
    until_field: str = ""

    @property
    def words(self) -> str:
        if self.years is not None:
            kept = f"kept {_count(self.years, 'year')} from {self.anchor.value}"
        elif self.days is not None:
            kept = f"kept {_days(self.days)} from {self.anchor.value}"
        else:
            kept = "kept until it is withdrawn"
        until = f", or until `{self.until_field}` if the record states it" if self.until_field else ""
        review = ""
        if self.review_years:
            review = f"; reviewed {_count(self.review_years, 'year')} from {self.anchor.value}"
        return kept + until + review


@dataclass(frozen=True)
class Withdraws(Terms):
    """WITHDRAW_ON: what takes a record out of the index at once, and when it is destroyed then."""

    overturnings: tuple[Overturning, ...]
    destroy_days: int | None = None

    @property
    def words(self) -> str:
        names = ", ".join(overturning.name for overturning in self.overturnings)
        destroyed = "" if self.destroy_days is None else f", and destroyed within {_days(self.destroy_days)}"
        return f"withdrawn at once when {names}{destroyed}"


@dataclass(frozen=True)
class Disputes(Terms):
    """DISPUTE_CLOCK: how long the agency has to answer, and who decides then."""

    days: int
    resolver: str

    @property
    def words(self) -> str:
        answered = f"a dispute is answered within {_days(self.days)}"
        return f"{answered}; after that the officer may send it to {self.resolver}"


@dataclass(frozen=True)
class Judgments(Terms):
    """JUDGMENT_FORMS: which ends of a civil case are reported."""

    forms: tuple[JudgmentForm, ...]

    @property
    def words(self) -> str:
        return f"civil cases are reported if they ended as {' or '.join(form.name for form in self.forms)}"


@dataclass(frozen=True)
class Defers(Terms):
    """DEFERRAL_LIMIT: how long an officer may not be shown a lookup."""

    days: int

    @property
    def words(self) -> str:
        return f"showing a lookup to the officer may be put off for at most {_days(self.days)}"


@dataclass(frozen=True)
class Recalls(Terms):
    """RECALL_OVERDUE: when a recipient that has not acknowledged a recall is overdue."""

    days: int

    @property
    def words(self) -> str:
        return f"a recall is acknowledged within {_days(self.days)}"


@dataclass(frozen=True)
class Purposes(Terms):
    """PURPOSES: for what this node may be asked."""

    allowed: tuple[Purpose, ...]

    @property
    def words(self) -> str:
        return f"lookups are answered for {', '.join(purpose.name for purpose in self.allowed)}"


class Term(Enum):
    """What a rule can be about, as packs write it."""

    GATE_EXCEPTION = Excepts
    GATE_TIGHTENING = Tightens
    REPORTING_CLOCK = Reports
    RETENTION = Keeps
    WITHDRAW_ON = Withdraws
    DISPUTE_CLOCK = Disputes
    JUDGMENT_FORMS = Judgments
    DEFERRAL_LIMIT = Defers
    RECALL_OVERDUE = Recalls
    PURPOSES = Purposes

    @property
    def of_kinds(self) -> bool:
        """Whether the rule names the kinds of record it is for; otherwise it is for the whole node."""
        return self in _OF_KINDS


_OF_KINDS = (
    Term.GATE_EXCEPTION, Term.GATE_TIGHTENING, Term.REPORTING_CLOCK, Term.RETENTION, Term.WITHDRAW_ON,
)  # fmt: skip

# --- rules -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where the rule comes from. `verified`: compared with the text as whoever made it publishes it."""

    citation: str
    url: str = ""
    verified: bool = False
    note: str = ""


@dataclass(frozen=True)
class Case:
    """Facts over a record of a kind on a day, and what must come out (docs/packs.md says in which words)."""

    words: str
    expect: str
    kind: RecordKind | None = None
    fields: tuple[tuple[str, str], ...] = ()
    since: date | None = None
    on: date | None = None
    overturned: Overturning | None = None
    purpose: Purpose | None = None


@dataclass(frozen=True)
class Rule:
    """One rule: a term, for which kinds, why, and the two cases that show what it does."""

    id: str
    terms: Terms
    kinds: tuple[RecordKind, ...]
    source: Source
    passes: Case
    refuses: Case

    @property
    def term(self) -> Term:
        return Term(type(self.terms))

    @property
    def cited(self) -> str:
        """As sentences cite it."""
        return f"rule {self.id} ({self.source.citation}; {STATUS})"


@dataclass(frozen=True)
class Pack:
    """A versioned set of rules. `octets` are what was read, and what the issuer signed."""

    name: str
    title: str
    jurisdiction: str
    version: int
    effective_on: date
    issuer: str
    rules: tuple[Rule, ...]
    octets: bytes = field(repr=False)

    @property
    def label(self) -> str:
        return f"{self.name} {self.version}"


def _days(days: int) -> str:
    return _count(days, "day")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
