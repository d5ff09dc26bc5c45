"""What a node knows of the federation's log at a moment, and what its age allows (docs/protocol.md §15.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from candor_proto.errors import LogUnwitnessed
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


def late(view: LogView, now: datetime, missing: Sequence[str]) -> str:
    """What is said wherever this node speaks of the federation's state while the log is late."""
    return (
        f"The federation's log was last witnessed at {view.time_of_witness:%Y-%m-%d %H:%M} UTC, "
        f"{lasting(now - view.time_of_witness)} ago: members, keys and indexes may have changed since. "
        f"At {view.closes_at():%Y-%m-%d %H:%M} UTC this node stops asking and answering."
        f"{_missing(missing, view)}"
    )


def closed(view: LogView | None, now: datetime, missing: Sequence[str]) -> LogUnwitnessed:
    """What is raised where the log is too old to be relied on, or was never read."""
    if view is None:
        since = "This node has not seen a witnessed head of the federation's log yet"
    elif view.time_of_witness > now:
        since = (
            f"The newest head of the federation's log was witnessed at {view.time_of_witness:%Y-%m-%d %H:%M} "
            f"UTC, and this machine's clock says {now:%Y-%m-%d %H:%M}: how old it is cannot be told"
        )
    else:
        since = (
            f"No head of the federation's log has been witnessed since {view.time_of_witness:%Y-%m-%d %H:%M} "
            f"UTC, {lasting(now - view.time_of_witness)} ago"
        )
    return LogUnwitnessed(
        f"{since}. Until one comes this node asks nobody and answers nobody.{_missing(missing, view)}",
        remedy="`candor-node status` says whether the hub is reached and what is wrong with the log. If "
        "witnesses are missing, their agencies' nodes have to run; otherwise call the hub's operator.",
    )


def _missing(missing: Sequence[str], view: LogView | None) -> str:
    if not missing or view is None:
        return ""
    shown = ", ".join(missing[:8]) + (" and others" if len(missing) > 8 else "")
    return f" Of its {len(view.policy.witnesses)} witnesses these have not signed its newest head: {shown}."
