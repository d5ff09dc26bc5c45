"""What a policy pack may say to the fair-process gate, and what the gate answers clause by clause.

Rules of this file:
- an exception loosens the clause `final`, and there is no way to write down one that loosens another;
- a tightening adds a clause of its own and takes none away.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from candor_records.codes import Severity

# Names of the exceptions that a policy pack may grant. They loosen `final`, and nothing else can be loosened.
ADVISORY_SEPARATION = "ADVISORY_SEPARATION"
FINAL_APPEAL_PENDING = "FINAL_APPEAL_PENDING"


class Tighten(Enum):
    """Further conditions that a pack may set; the value is the name of the gate's clause."""

    NAME_CLEARING = "name clearing"
    SUBJECT_NOTIFIED = "subject notified"
    REPRESENTATION = "representation"
    MINIMUM_SEVERITY = "severity"
    NEXUS_REQUIRED = "nexus"
    KIND_EXCLUDED = "kind"


# In rising order.
SEVERITIES = tuple(Severity.__members__)
# Fields of `Content` that answer YES, NO or why not (EO 13929 section 3(b)).
NEXUS_FIELDS = ("on_duty", "use_of_force_related")


@dataclass(frozen=True)
class Clause:
    """One condition of the gate: whether it holds, and why, in words that anybody may read."""

    name: str
    holds: bool
    words: str


@dataclass(frozen=True)
class Tightening:
    """One further condition, and the rule of the pack that sets it. `source` is cited in the words.

    `severity` belongs to MINIMUM_SEVERITY, `nexus` (any of these fields) to NEXUS_REQUIRED, `waiting_days`
    to SUBJECT_NOTIFIED.
    """

    what: Tighten
    rule: str
    source: str
    severity: str = ""
    nexus: tuple[str, ...] = ()
    waiting_days: int = 0


@dataclass(frozen=True)
class GateRules:
    """What the packs in force say about records of one kind: exceptions granted, conditions added.

    `settlements`: a civil case that ended without a judgment may be reported.
    """

    exceptions: frozenset[str] = frozenset()
    tightenings: tuple[Tightening, ...] = ()
    settlements: bool = False
