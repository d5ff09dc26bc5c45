"""Hits and coverage in one value (docs/protocol.md §7.7; RECORDS.md §6).

Rule of this file: a result that cannot say who answered, who did not and how old the indexes are
cannot be constructed, and NO_RECORD is never anything but complete coverage without a hit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from candor_proto.errors import MalformedMessage
from candor_proto.ids import BlobId, Digest, Handle, LookupId, NodeId
from candor_proto.scoring import Band, Explanation


class TargetState(Enum):
    """What became of one target of a lookup (§7.8)."""

    PENDING = "pending"
    ANSWERED = "answered"
    REFUSED = "refused"
    QUOTA = "quota"
    STALE_EPOCH = "stale epoch"
    STALE_INDEX = "stale index"
    NO_INDEX = "no index"
    UNKNOWN_SCHEME = "unknown scheme"
    INVALID = "invalid answer"
    EXPIRED = "expired"


@dataclass(frozen=True)
class TargetReport:
    """One line of the coverage: a node, what it did, and how old its index is."""

    node: NodeId
    state: TargetState
    index_issued_at: datetime | None = None
    reason: str = ""

    @property
    def answered(self) -> bool:
        return self.state is TargetState.ANSWERED


@dataclass(frozen=True)
class Coverage:
    """Who answered, as of when, under which directory version. Never empty."""

    reports: tuple[TargetReport, ...]
    as_of: datetime
    directory_version: int

    def __post_init__(self) -> None:
        nodes = [report.node for report in self.reports]
        if not nodes:
            raise MalformedMessage("Coverage of no node at all is no coverage.")
        if nodes != sorted(set(nodes)):
            raise MalformedMessage("Coverage names each target once, in order.")
        if any(report.answered and report.index_issued_at is None for report in self.reports):
            raise MalformedMessage("An answered target without the age of its index.")

    @property
    def answered(self) -> int:
        return sum(report.answered for report in self.reports)

    @property
    def asked(self) -> int:
        return len(self.reports)

    @property
    def complete(self) -> bool:
        return self.answered == self.asked

    def oldest_index(self) -> datetime | None:
        """When the oldest index among those answered was issued."""
        times = [
            report.index_issued_at for report in self.reports if report.answered and report.index_issued_at
        ]
        return min(times, default=None)

    def words(self) -> str:
        """For example "4 of 5 nodes answered; 1 pending (harbor-pd)"."""
        parts = [f"{self.answered} of {self.asked} nodes answered"]
        for state in TargetState:
            names = [str(report.node) for report in self.reports if report.state is state]
            if names and state is not TargetState.ANSWERED:
                shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
                parts.append(f"{len(names)} {state.value} ({shown})")
        return "; ".join(parts)

    def sentence(self) -> str:
        """`words`, and the age of the oldest index: "…; oldest index 3 h"."""
        oldest = self.oldest_index()
        return self.words() if oldest is None else f"{self.words()}; oldest index {_age(self.as_of, oldest)}"


def _age(now: datetime, then: datetime) -> str:
    minutes = max(0, int((now - then).total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 72 else f"{hours // 24} days"


@dataclass(frozen=True)
class Hit:
    """A record behind the gate: a *candidate* until its owner confirms the identity.

    `marker` is what the owner's index holds from the moment on when it is withdrawn (§6.5).
    """

    owner: NodeId
    epoch: int
    blob_id: BlobId
    handle: Handle
    commitment: Digest
    kind: int
    tier: int
    expires_days: int
    labels: tuple[str, ...]
    explanation: Explanation
    marker: bytes = field(repr=False)

    @property
    def set_aside(self) -> bool:
        """Whether the evidence says that this is more likely somebody else."""
        return self.explanation.band is Band.BELOW


class Overall(Enum):
    """The one word for the whole lookup; DENIED is an error, never a result."""

    MATCH = "MATCH"
    NO_RECORD = "NO_RECORD"
    INCOMPLETE = "INCOMPLETE"


@dataclass(frozen=True)
class LookupResult:
    """What a lookup found and how far it looked; there is no default for coverage."""

    lookup_id: LookupId
    hits: tuple[Hit, ...]
    coverage: Coverage

    def __post_init__(self) -> None:
        if not isinstance(self.coverage, Coverage):
            raise MalformedMessage("A lookup result needs its coverage.")
        answered = {report.node for report in self.coverage.reports if report.answered}
        if any(hit.owner not in answered for hit in self.hits):
            raise MalformedMessage("A hit from a node that the coverage does not count as answered.")

    @property
    def overall(self) -> Overall:
        if any(not hit.set_aside for hit in self.hits):
            return Overall.MATCH
        return Overall.NO_RECORD if self.coverage.complete else Overall.INCOMPLETE


def order_hits(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """Strong ones first, set-aside ones last, likelier ones first, then by owner: the same every time."""
    rank = {Band.STRONG: 0, Band.REVIEW: 1, Band.BELOW: 2}
    return tuple(
        sorted(
            hits,
            key=lambda hit: (
                rank[hit.explanation.band],
                -hit.explanation.centibits,
                hit.owner,
                hit.blob_id,
            ),
        )
    )
