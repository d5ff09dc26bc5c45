"""What goes out of a batch: its rows as they are now, what changed since the last time, and who answered.

Every function runs inside a transaction of `Store`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from candor_node import amendments, coverage_words, flight_store
from candor_node.amendments import Revision
from candor_node.batch_file import COVERAGE, RESULTS, ResultRow
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.ids import LookupId, NodeId
from candor_proto.result import TargetReport, TargetState

# Different reasons of one node that its line names.
MOST_REASONS = 3

# --- rows ----------------------------------------------------------------------------------------------


def result_rows(
    db: Database,
    batch_id: bytes,
    after: int,
    limit: int,
    unasked: Sequence[str],
    since: int | None = None,
) -> list[ResultRow]:
    """Rows behind number `after` as they go out; `unasked` are the results of one that has none yet.

    `since` is the change up to which they went out last; None when they never did.
    """
    rows = db.execute(
        "SELECT row, cells, results, coalesce(revision, 0)"
        " FROM batch_rows LEFT JOIN searches USING (search_id)"
        " WHERE batch_rows.batch_id = ? AND row > ? ORDER BY row LIMIT ?",
        (batch_id, after, limit),
    ).fetchall()
    changed = _changed(db, batch_id, after, rows[-1][0], since) if rows and since is not None else {}
    return [
        ResultRow(
            number,
            tuple(json.loads(cells)),
            _whole(json.loads(found)) if found else tuple(unasked),
            revision,
            "; ".join(amendments.summary(changed.get(number, ()))),
        )
        for number, cells, found, revision in rows
    ]


def _whole(results: Sequence[str]) -> tuple[str, ...]:
    """Results of a row as they are written now: those of earlier builds name the coverage in one cell."""
    missing = len(RESULTS) - len(results)
    place = RESULTS.index(COVERAGE[0]) + 1
    return (*results[:place], *("",) * missing, *results[place:])


def _changed(
    db: Database, batch_id: bytes, after: int, last: int, since: int
) -> Mapping[int, Sequence[Revision]]:
    """By row: its amendments behind the change `since`, oldest first."""
    rows = db.execute(
        "SELECT row, search_id, min(revision) FROM result_changes JOIN batch_rows USING (search_id)"
        " WHERE batch_id = ? AND row > ? AND row <= ? AND number > ? GROUP BY row, search_id",
        (batch_id, after, last, since),
    ).fetchall()
    return {
        row: [one for one in amendments.revisions(db, LookupId(search_id)) if one.number >= first]
        for row, search_id, first in rows
    }


# --- exports -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Export:
    """When somebody wrote a batch to a file last, and up to which change."""

    change: int
    at: datetime


def last_export(db: Database, batch_id: bytes, user: str) -> Export | None:
    row = db.execute(
        "SELECT change, at FROM batch_exports WHERE batch_id = ? AND user_id = ?", (batch_id, user)
    ).fetchone()
    return None if row is None else Export(row[0], from_milliseconds(row[1]))


def newest_change(db: Database) -> int:
    """The number of the last amendment of all: what is written now holds every change up to it."""
    (number,) = db.execute("SELECT coalesce(max(number), 0) FROM result_changes").fetchone()
    return int(number)


def note_export(db: Database, batch_id: bytes, user: str, change: int, now: datetime) -> None:
    """`user` has the rows in a file, with all changes up to `change`."""
    db.execute(
        "INSERT INTO batch_exports VALUES (?1, ?2, ?3, ?4) ON CONFLICT (batch_id, user_id)"
        " DO UPDATE SET change = max(change, ?3), at = ?4",
        (batch_id, user, change, to_milliseconds(now)),
    )


# --- who answered --------------------------------------------------------------------------------------


@dataclass
class NodeRows:
    """Of one node: for how many rows it answered or did not, when last, and how old its index was."""

    node: NodeId
    rows: Counter[TargetState] = field(default_factory=Counter)
    late: int = 0
    answered_last: datetime | None = None
    oldest_index: datetime | None = None
    reasons: list[str] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return self.rows.total()

    def add(self, report: TargetReport, rows: int) -> None:
        self.rows[report.state] += rows
        if report.late:
            self.late += rows
        if report.answered_at is not None:
            self.answered_last = max(report.answered_at, self.answered_last or report.answered_at)
        if report.answered and report.index_issued_at is not None:
            self.oldest_index = min(report.index_issued_at, self.oldest_index or report.index_issued_at)
        if not report.answered:
            reason = coverage_words.reason(report)
            if reason not in self.reasons and len(self.reasons) < MOST_REASONS:
                self.reasons.append(reason)


def shown_flights(db: Database, batch_id: bytes, after: int, limit: int) -> list[tuple[int, LookupId, int]]:
    """Flights whose rows have results, behind place `after`: place, id, rows."""
    rows = db.execute(
        "SELECT f.rowid, f.lookup_id, (SELECT count(DISTINCT row) FROM flight_persons AS p"
        "  WHERE p.lookup_id = f.lookup_id AND row IS NOT NULL)"
        " FROM flights AS f WHERE batch_id = ? AND first IS NULL AND result IS NOT NULL AND f.rowid > ?"
        " ORDER BY f.rowid LIMIT ?",
        (batch_id, after, limit),
    ).fetchall()
    return [(place, LookupId(lookup_id), count) for place, lookup_id, count in rows]


def add_flights(
    db: Database, flights: Sequence[tuple[int, LookupId, int]], nodes: dict[NodeId, NodeRows]
) -> None:
    """Add the coverage of some flights to what is known of each node."""
    for _, lookup_id, rows in flights:
        found = flight_store.result(db, lookup_id)
        for report in found.reports if found else ():
            nodes.setdefault(report.node, NodeRows(report.node)).add(report, rows)
