"""Coverage as text in the database: its lines, and members that could not be asked.

Rule of this file: what an earlier build wrote is read; what it did not know of a line is not known.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import NodeId
from candor_proto.result import Coverage, LogSeen, TargetReport, TargetState

Line = list[str | int | bool | None]


def write_report(report: TargetReport) -> Line:
    times = (report.index_issued_at, report.answered_at, report.as_of)
    issued, answered, as_of = (None if time is None else to_milliseconds(time) for time in times)
    more: Line = [answered, as_of, report.index_sequence, report.late]
    known = [str(report.node), report.state.value, issued, report.reason]
    return [*known, *more] if more != [None, None, None, False] else known


def read_report(stored: Sequence[Any]) -> TargetReport:
    node, state, issued, reason, *more = stored
    answered, as_of, sequence, late = more or (None, None, None, False)
    return TargetReport(
        NodeId(node), TargetState(state), _time(issued), reason, _time(answered), _time(as_of), sequence, late
    )


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_milliseconds(milliseconds)


def write_missing(missing: Sequence[TargetReport]) -> str:
    """Members that could not be asked: of one without an index the name alone, as it always was."""
    return json.dumps(
        [
            str(report.node) if report.state is TargetState.NO_INDEX else write_report(report)
            for report in missing
        ]
    )


def read_missing(text: str) -> tuple[TargetReport, ...]:
    return tuple(
        TargetReport(NodeId(stored), TargetState.NO_INDEX) if isinstance(stored, str) else read_report(stored)
        for stored in json.loads(text)
    )


def write_coverage(found: Coverage) -> str:
    stored: dict[str, Any] = {
        "as_of": to_milliseconds(found.as_of),
        "directory_version": found.directory_version,
        "reports": [write_report(report) for report in found.reports],
    }
    if found.log is not None:
        log = found.log
        stored["log"] = [log.origin, log.size, to_milliseconds(log.witnessed_at), log.late]
    return json.dumps(stored)


def read_coverage(text: str) -> Coverage:
    stored = json.loads(text)
    log = stored.get("log")
    return Coverage(
        tuple(read_report(report) for report in stored["reports"]),
        from_milliseconds(stored["as_of"]),
        stored["directory_version"],
        None if log is None else LogSeen(log[0], log[1], from_milliseconds(log[2]), log[3]),
    )
