"""Writes the result of a batch to a file, CSV or Excel by its name, and who answered beside it.

Rules of this file:
- the file is whole or as it was, and readable by its owner alone;
- the node hears that the rows are in a file only once they are: a file that was not finished hides no change;
- a row that changed says so in words; its colour in a workbook only repeats them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candor_node import batch_file, table_out
from candor_node.batch_file import ResultRow
from candor_node.table_out import Line, Sheet, private_file

if TYPE_CHECKING:
    from candor_wire.v1 import local_pb2

NODES = (
    "node",
    "name",
    "rows_asked",
    "rows_answered",
    "rows_late",
    "rows_not_answered",
    "not_answered_as",
    "reasons",
    "answered_last",
    "oldest_index",
)
_HOW_TO_READ = (
    ("MATCH", "a candidate until its owner confirms identity; no proof and no disqualification"),
    ("NO_RECORD", "every node answered with a fresh index and none holds a record; never say clear"),
    ("INCOMPLETE", "not every node answered; nothing is known of the others. It is not NO_RECORD"),
    ("ERROR", "nobody was asked about this row; the column error says why"),
    ("late", "came after the result was shown and amended it; it counts like any other answer"),
    ("revision", "how often late answers amended the row; empty: never"),
    ("changed", "what changed since you wrote this batch last; empty: nothing, or it is the first time"),
)


@dataclass
class Written:
    """What a file holds: how many rows changed since the last time, which is None if there was none."""

    rows: int = 0
    changed: int = 0
    written_before: str = ""
    outcomes: dict[str, int] = field(default_factory=dict)


def write(node: Any, batch_id: str, out: Path, nodes_out: Path | None = None) -> Written:
    """The result of a batch as it is now in `out`, and who answered in `nodes_out` or on a sheet of its own.

    Raises InputInvalid; then the files are as they were.
    """
    from candor_wire.v1 import local_pb2

    parts = node.GetBatch(local_pb2.GetBatchRequest(batch_id=batch_id))
    columns = next(parts).columns
    written, coverage = Written(written_before=columns.written_at), list[local_pb2.NodeRows]()

    def rows() -> Iterator[ResultRow]:
        for part in parts:
            if part.WhichOneof("part") == "coverage":
                coverage.extend(part.coverage.nodes)
            for row in part.rows.rows:
                written.rows += 1
                written.changed += bool(row.changed)
                outcome = row.results[0]
                written.outcomes[outcome] = written.outcomes.get(outcome, 0) + 1
                yield ResultRow(row.row, tuple(row.cells), tuple(row.results), row.revision, row.changed)

    with private_file(out) as beside:
        if table_out.is_workbook(out):
            table_out.write_workbook(beside, _sheets(columns, rows(), coverage, written))
        else:
            with beside.open("w", encoding="utf-8", newline="") as file:
                file.writelines(batch_file.lines(columns.names, rows()))
    if nodes_out is not None:
        table_out.write(nodes_out, NODES, _node_lines(coverage))
    node.BatchWritten(local_pb2.BatchWrittenRequest(batch_id=batch_id, change=columns.change), timeout=60)
    return written


def _sheets(
    columns: local_pb2.BatchColumns,
    rows: Iterator[ResultRow],
    coverage: Sequence[local_pb2.NodeRows],
    written: Written,
) -> Iterator[Sheet]:
    lines = (Line(row.written(), marked=bool(row.changed)) for row in rows)
    yield Sheet("rows", batch_file.header(columns.names), lines)
    yield Sheet("coverage", NODES, _node_lines(coverage))
    yield Sheet("about", ("what", "says"), map(Line, _about(columns, written)))


def _node_lines(coverage: Sequence[local_pb2.NodeRows]) -> Iterator[Line]:
    """A line a node; those that did not answer every row are marked, and say so in words."""
    for one in coverage:
        missing = one.asked - one.answered
        states = "; ".join(f"{count} {state}" for state, count in sorted(one.not_answered.items()))
        numbers = (str(one.asked), str(one.answered), str(one.late), str(missing))
        texts = (states, "; ".join(one.reasons), one.answered_last, one.oldest_index)
        yield Line((one.node, one.name, *numbers, *texts), marked=missing > 0)


def _about(columns: local_pb2.BatchColumns, written: Written) -> Iterator[tuple[str, str]]:
    yield "batch", columns.batch_id
    yield "as of", columns.as_of
    yield "you wrote it before on", columns.written_at or "never"
    yield "rows that changed since", str(written.changed)
    for outcome, count in sorted(written.outcomes.items()):
        yield f"rows {outcome}", str(count)
    yield from _HOW_TO_READ
