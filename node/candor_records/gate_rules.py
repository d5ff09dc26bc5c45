"""What a policy pack may say to the fair-process gate, and what the gate answers clause by clause."""

from __future__ import annotations

from dataclasses import dataclass

# Names of the exceptions that a policy pack may grant. They loosen `final`, and nothing else can be loosened.
ADVISORY_SEPARATION = "ADVISORY_SEPARATION"
FINAL_APPEAL_PENDING = "FINAL_APPEAL_PENDING"


@dataclass(frozen=True)
class Clause:
    """One condition of the gate: whether it holds, and why, in words that anybody may read."""

    name: str
    holds: bool
    words: str


@dataclass(frozen=True)
class GateRules:
    """The exceptions that the pack in force grants."""

    exceptions: frozenset[str] = frozenset()
