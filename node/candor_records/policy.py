"""What is asked of the policy in force: gate, retention, clocks, withdrawal (RECORDS.md §3.4, §3.5, §4).

Two answer: the packs that a node adopted (`pack.PackPolicy`), and `NoPack`, which grants nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

from candor_proto.ids import Purpose
from candor_proto.record import RecordKind
from candor_records.content import Content
from candor_records.gate_rules import GateRules
from candor_records.life import Overturning


@dataclass(frozen=True)
class Retention:
    """When a record is looked at again, the first day on which it is kept no longer, and by which rule."""

    review_on: date | None = None
    expires_on: date | None = None
    why: str = ""


class Policy(Protocol):
    """Kept by the packs in force."""

    def gate_rules(self, kind: RecordKind) -> GateRules: ...

    def retention(self, content: Content, filed_on: date) -> Retention: ...

    def days_late(self, content: Content, reported_on: date) -> int | None:
        """By how many days a report came after it was due; None where no time to report runs."""
        ...

    def withdraws(self, kind: RecordKind, how: Overturning) -> bool:
        """Whether what takes a decision away takes the record out of the index."""
        ...

    def destroyed_after(self, kind: RecordKind, how: Overturning) -> int | None:
        """Within how many days what was withdrawn is destroyed; None where it is kept as it was."""
        ...

    @property
    def dispute_days(self) -> int:
        """How many days the agency has to answer a dispute."""
        ...

    @property
    def resolver(self) -> str:
        """Who decides a dispute independently."""
        ...

    @property
    def settlements_allowed(self) -> bool:
        """Whether a settlement without admission is reported at all."""
        ...

    @property
    def deferral_days(self) -> int:
        """For how many days at most an officer may not be shown a lookup."""
        ...

    @property
    def overdue_days(self) -> int:
        """After how many days a recall that was not acknowledged is overdue."""
        ...

    @property
    def purposes(self) -> frozenset[Purpose]:
        """For what this node may be asked."""
        ...


class NoPack:
    """No pack at all: no exception is granted, nothing ends, whatever was overturned is withdrawn."""

    dispute_days = 60
    resolver = "the standards body of the state (POST)"
    settlements_allowed = False
    deferral_days = 180
    overdue_days = 14
    purposes = frozenset(Purpose) - {Purpose.C}

    def gate_rules(self, kind: RecordKind) -> GateRules:
        return GateRules()

    def retention(self, content: Content, filed_on: date) -> Retention:
        return Retention()

    def days_late(self, content: Content, reported_on: date) -> int | None:
        return None

    def withdraws(self, kind: RecordKind, how: Overturning) -> bool:
        return True

    def destroyed_after(self, kind: RecordKind, how: Overturning) -> int | None:
        return None
