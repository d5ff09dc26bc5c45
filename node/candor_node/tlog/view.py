"""What a node knows of the federation's log at a moment, and what its age allows (docs/protocol.md §15.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from candor_proto.tlog.age import MAX_LATE, LogAge, age_of
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.entries import DirectoryEntry
from candor_proto.tlog.policy import Policy


@dataclass(frozen=True)
class LogView:
    """The newest head that was taken up whole, and what the log adds up to under it.

    `directory` is the newest `directory` entry; `policy` is the one in force for the next head, which this
    one need not satisfy.
    """

    shard: int
    signed: SignedCheckpoint = field(repr=False)
    directory: DirectoryEntry | None
    policy: Policy = field(repr=False)
    policy_version: int
    time_of_witness: datetime

    @property
    def origin(self) -> str:
        return self.signed.checkpoint.origin

    @property
    def size(self) -> int:
        return self.signed.checkpoint.size

    @property
    def root(self) -> bytes:
        return self.signed.checkpoint.root

    def age(self, now: datetime) -> LogAge:
        return age_of(self.time_of_witness, now)

    def closes_at(self) -> datetime:
        """When nothing is asked and answered any more, unless a newer head comes."""
        return self.time_of_witness + MAX_LATE


def lasting(span: timedelta) -> str:
    """A length of time as people say it."""
    minutes = max(0, int(span.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def missing_words(missing: Sequence[str], policy: Policy | None) -> str:
    """A sentence about the witnesses that did not sign, with a space before it; empty without any."""
    if not missing or policy is None:
        return ""
    shown = ", ".join(missing[:8]) + (" and others" if len(missing) > 8 else "")
    return f" Of its {len(policy.witnesses)} witnesses these have not signed its newest head: {shown}."
