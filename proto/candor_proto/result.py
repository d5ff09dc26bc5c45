"""Hits and coverage in one value (docs/protocol.md §7.7; RECORDS.md §6).

Rules of this file:
- a result that cannot say who answered, who did not, as of when and how old the indexes are cannot be
  constructed, and NO_RECORD is never anything but complete coverage without a hit;
- a line that says more than was heard of its node (an answer of one that is silent, an index that was past
  its age when it was looked into) cannot be constructed either;
- that an answer came late changes nothing of what it counts for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from candor_proto.directory import MAX_HEAD_AGE
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


# Of these nothing has been heard that verifies, so that there is no time at which they said it.
_SILENT = frozenset(
    {TargetState.PENDING, TargetState.EXPIRED, TargetState.UNKNOWN_SCHEME, TargetState.INVALID}
)
# Names that a sentence holds of each state; the list of all stands beside it.
MOST_NAMES = 5


@dataclass(frozen=True)
class TargetReport:
    """One line of the coverage: a node, what it did, and how old its index is.

    `answered_at` is its own signed word for when it answered, `as_of` when this node took the answer in and
    looked into the index of `index_issued_at` and `index_sequence`. `late`: the result had been shown before.
    """

    node: NodeId
    state: TargetState
    index_issued_at: datetime | None = None
    reason: str = ""
    answered_at: datetime | None = None
    as_of: datetime | None = None
    index_sequence: int | None = None
    late: bool = False

    @property
    def answered(self) -> bool:
        return self.state is TargetState.ANSWERED

    @property
    def stale_since(self) -> datetime | None:
        """Since when the index has been too old to count (§6.7), for a node whose is."""
        stale = self.state is TargetState.STALE_INDEX and self.index_issued_at is not None
        return self.index_issued_at + MAX_HEAD_AGE if stale and self.index_issued_at else None

    def check(self) -> None:
        """Raises MalformedMessage for a line that says more than was heard."""
        issued = self.index_issued_at
        if self.answered and issued is None:
            raise MalformedMessage("An answered target without the age of its index.")
        if self.answered and self.as_of and issued and self.as_of - issued > MAX_HEAD_AGE:
            raise MalformedMessage("A target that counts as answered with an index past its age.")
        if self.state in _SILENT and self.answered_at is not None:
            raise MalformedMessage("The time of an answer of a target that has not answered.")
        if self.late and self.state in (TargetState.PENDING, TargetState.EXPIRED):
            raise MalformedMessage("A late answer of a target that has not answered.")


@dataclass(frozen=True)
class LogSeen:
    """What was known of the federation's log: how far it was read, and when that was witnessed (§15.6).

    `late`: the witnesses' word was more than an hour old then.
    """

    origin: str
    size: int
    witnessed_at: datetime
    late: bool = False


@dataclass(frozen=True)
class Coverage:
    """Who answered, as of when, under which directory version and view of the log. Never empty."""

    reports: tuple[TargetReport, ...]
    as_of: datetime
    directory_version: int
    log: LogSeen | None = None

    def __post_init__(self) -> None:
        nodes = [report.node for report in self.reports]
        if not nodes:
            raise MalformedMessage("Coverage of no node at all is no coverage.")
        if nodes != sorted(set(nodes)):
            raise MalformedMessage("Coverage names each target once, in order.")
        for report in self.reports:
            report.check()

    @property
    def answered(self) -> int:
        return sum(report.answered for report in self.reports)

    @property
    def late(self) -> int:
        """How many of those answered were heard of after the result had been shown."""
        return sum(report.answered and report.late for report in self.reports)

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

    def words(self, *, late: bool = True) -> str:
        """For example "4 of 5 nodes answered, 1 of them late (lake-so); 1 pending (harbor-pd)"."""
        parts = [f"{self.answered} of {self.asked} nodes answered"]
        if late and self.late:
            names = [str(report.node) for report in self.reports if report.answered and report.late]
            parts[0] += f", {len(names)} of them late ({_names(names)})"
        for state in TargetState:
            names = [str(report.node) for report in self.reports if report.state is state]
            if names and state is not TargetState.ANSWERED:
                parts.append(f"{len(names)} {state.value} ({_names(names)})")
        return "; ".join(parts)

    def sentence(self) -> str:
        """`words`, the age of the oldest index, and that of the log when it is late."""
        parts, oldest = [self.words()], self.oldest_index()
        if oldest is not None:
            parts.append(f"oldest index {age(self.as_of, oldest)}")
        if self.log is not None and self.log.late:
            parts.append(f"the log is LATE: witnessed {age(self.as_of, self.log.witnessed_at)} before")
        return "; ".join(parts)


def _names(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")


def age(now: datetime, then: datetime) -> str:
    """The time between in short words: "90 min", "26 h", "4 days"."""
    minutes = max(0, int((now - then).total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 72 else f"{hours // 24} days"


@dataclass(frozen=True)
class Hit:
    """A record behind the gate: a *candidate* until its owner confirms the identity.

    `marker` is what the owner's index holds from the moment on when it is withdrawn (§6.5), `secret` what
    opens the blob: for evidence, should the record not be the one it is committed to (§17.1).
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
    secret: bytes = field(default=b"", repr=False)

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
