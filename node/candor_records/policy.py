"""What is asked of the policy in force: gate rules, retention, withdrawal (RECORDS.md §3.4, §3.5, §4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

from candor_proto.record import RecordKind
from candor_records.content import Content
from candor_records.gate_rules import GateRules
from candor_records.life import Overturning


@dataclass(frozen=True)
class Retention:
    """When a record is looked at again, when it is kept no longer, and by which rule."""

    review_on: date | None = None
    expires_on: date | None = None
    why: str = ""


class Policy(Protocol):
    """Kept by the packs in force."""

    def gate_rules(self, kind: RecordKind) -> GateRules: ...

    def retention(self, content: Content, filed_on: date) -> Retention: ...

    def withdraws(self, kind: RecordKind, how: Overturning) -> bool:
        """Whether what takes a decision away takes the record out of the index."""
        ...


class NoPack:
    """No pack at all: no exception is granted, nothing ends, whatever was overturned is withdrawn."""

    def gate_rules(self, kind: RecordKind) -> GateRules:
        return GateRules()

    def retention(self, content: Content, filed_on: date) -> Retention:
        return Retention()

    def withdraws(self, kind: RecordKind, how: Overturning) -> bool:
        return True
