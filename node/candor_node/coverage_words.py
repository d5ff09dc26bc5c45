"""The coverage in words for people: one phrase a node, and what of it stands beside a row of a batch.

Rules of this file:
- whatever is not "answered" says in words why, and never reads like an answer;
- nothing is told by colour or place alone, and a sentence about a thousand nodes stays short: the whole list
  is in `--json`, in `lookups show --nodes` and on the coverage sheet of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from candor_proto.errors import (
    IdentityMismatch,
    KeyMismatch,
    MalformedMessage,
    NotAMember,
    ProofInvalid,
    SignatureInvalid,
    Unreachable,
)
from candor_proto.result import Coverage, TargetReport, TargetState, age
from candor_proto.statements import CLOCK_TOLERANCE, LOOKUP_LIFE

# Nodes that a cell of a batch names; a workbook's cell ends at 32,767 characters.
MOST_IN_A_CELL = 20
_WHY: Mapping[TargetState, str] = {
    TargetState.PENDING: "has not answered yet",
    TargetState.REFUSED: "refused",
    TargetState.QUOTA: "refused",
    TargetState.STALE_EPOCH: "did not answer for the index that is held",
    TargetState.STALE_INDEX: "answered, but its index is too old to count",
    TargetState.NO_INDEX: "could not be asked: no index of it is held",
    TargetState.UNKNOWN_SCHEME: "could not be asked",
    TargetState.INVALID: "what came is no answer",
    TargetState.EXPIRED: "did not answer in time, and will not any more: ask again",
}
# What does not verify, by the code of its error.
_INVALID: Mapping[str, str] = {
    SignatureInvalid.code: "its signature does not verify",
    ProofInvalid.code: "its proof does not verify under the node's key",
    KeyMismatch.code: "it was made under another key than the one asked for",
    IdentityMismatch.code: "it answers something else, or names others",
    MalformedMessage.code: "it cannot be read",
    NotAMember.code: "it comes from no member",
    Unreachable.code: "there was no directory to check it against",
}


def clock(value: datetime) -> str:
    """ISO 8601 in UTC, to the minute."""
    return value.strftime("%Y-%m-%d %H:%MZ")


def day(value: datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d}"


def line(report: TargetReport) -> str:
    """What a node did, for example "answered 2026-03-02 12:00Z, late; index of 2026-03-02 09:00Z (3 h)"."""
    late = ", late" if report.late else ""
    index = _index(report)
    if report.answered:
        said = f"answered {_own_time(report)}" if report.answered_at else "answered"
        return f"{said}{late}{index}"
    words = _WHY[report.state]
    if reason := _INVALID.get(report.reason, report.reason):
        words += f": {reason}"
    if report.answered_at is not None:
        words += f" ({_own_time(report)}{late})"
    elif report.late:
        words += " (late)"
    if (since := report.stale_since) is not None:
        words += f"; stale since {clock(since)}"
    return words + index


def _own_time(report: TargetReport) -> str:
    """When it answered, by its own word; one that cannot be is marked as such."""
    if report.answered_at is None:
        return ""
    apart = timedelta(0) if report.as_of is None else report.as_of - report.answered_at
    believable = -CLOCK_TOLERANCE <= apart <= LOOKUP_LIFE + CLOCK_TOLERANCE
    return clock(report.answered_at) + ("" if believable else " by its own clock, which is wrong")


def _index(report: TargetReport) -> str:
    """The head in which the answer was looked up, and how old it was then."""
    if report.index_issued_at is None:
        return ""
    old = f" ({age(report.as_of, report.index_issued_at)})" if report.as_of else ""
    return f"; index of {clock(report.index_issued_at)}{old}"


def reason(report: TargetReport) -> str:
    """Why a node does not count as answered, in short: "refused: purpose not answered there"."""
    said = _INVALID.get(report.reason, report.reason)
    return f"{report.state.value}: {said}" if said else report.state.value


def not_answered(found: Coverage) -> str:
    """Who does not count as answered and why, at most MOST_IN_A_CELL by name."""
    missing = [report for report in found.reports if not report.answered]
    return _named([f"{report.node} ({reason(report)})" for report in missing])


def late(found: Coverage) -> str:
    """Who answered after the result had been shown."""
    return _named([str(report.node) for report in found.reports if report.answered and report.late])


def _named(names: list[str]) -> str:
    more = [f"and {len(names) - MOST_IN_A_CELL} more"] if len(names) > MOST_IN_A_CELL else []
    return "; ".join([*names[:MOST_IN_A_CELL], *more])


def sentence(found: Coverage) -> str:
    """Who answered; the day of the oldest index, for an age would be another one in a minute; a late log."""
    parts, oldest = [found.words(late=False)], found.oldest_index()
    if oldest is not None:
        parts.append(f"oldest index {day(oldest)}")
    if found.log is not None and found.log.late:
        parts.append(f"the log was LATE: witnessed {clock(found.log.witnessed_at)}")
    return "; ".join(parts)


def cells(found: Coverage) -> tuple[str, ...]:
    """The coverage beside a row of a batch: the cells of `batch_file.COVERAGE`."""
    return (
        sentence(found),
        str(found.answered),
        str(found.asked),
        not_answered(found),
        day(found.oldest_index()),
        late(found),
        clock(found.as_of),
    )
