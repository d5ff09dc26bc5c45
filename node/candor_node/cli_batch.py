"""`candor-node batch` and `batches`: ask about everybody in a file, and read what came back."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from candor_node import batch_out, table_out
from candor_node.batch_out import Written
from candor_node.cli_common import (
    EXIT_INCOMPLETE,
    FILE,
    config_option,
    json_option,
    running_node,
    show,
    show_dict,
    table,
    to_dict,
)
from candor_proto.errors import InputInvalid, SecondPersonNeeded

if TYPE_CHECKING:
    from candor_wire.v1 import local_pb2

_COVERAGE = click.option(
    "--coverage",
    "coverage_file",
    type=FILE,
    default=None,
    help="Who answered, a line a node, .xlsx or .csv; an .xlsx result has it as a sheet.",
)
_START_SECONDS = 600.0
_OUTCOMES = ("MATCH", "NO_RECORD", "INCOMPLETE", "ERROR")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=FILE, help="The result, .xlsx or else CSV; replaced whole or not.")
@_COVERAGE
@click.option("--purpose", default="J_APPLICANT", show_default=True, help="Purpose code for all rows.")
@click.option("--case", "case_number", default="", help="Case number of rows that have none of their own.")
@click.option("--consent", default="", help="Consent reference of rows that have none of their own.")
@click.option("--officer", default="", help="Officer in charge of rows that name none; default: the user.")
@click.option(
    "--screening/--detailed",
    "screening",
    default=False,
    help="A detailed lookup (the default) also compares the single fields; not after a screening one.",
)
@click.option("--wait", "wait_seconds", type=float, default=0.0, help="Seconds to wait for a row's answers.")
@click.option("--again", is_flag=True, help="Ask once more what this file with these papers asked before.")
@click.option("--in-part", is_flag=True, help="Start although quotas do not reach for all rows.")
@config_option
@json_option
def batch(
    file: Path,
    out: Path,
    coverage_file: Path | None,
    purpose: str,
    case_number: str,
    consent: str,
    officer: str,
    screening: bool,
    wait_seconds: float,
    again: bool,
    in_part: bool,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Ask all agencies about every person in FILE, a CSV file.

    The header names the columns: any of first, middle, last, suffix, former_last, birth_date (YYYY-MM-DD),
    ssn4, sex, post_state, post_id; and case_number, consent, officer for papers of single rows. Other columns
    pass through. The result has all of them but ssn4, and outcome, probability, candidates, owners,
    explanation; coverage, nodes_answered, nodes_asked, not_answered (who and why), oldest_index, as_of;
    error; revision and changed.

    The running node asks, also when this command is interrupted: the same command again goes on where it was
    and asks nothing twice. Afterwards it writes the result again, with the answers that came late: `changed`
    says of each row what changed since you wrote it last.

    \b
      candor-node batch class.csv --out result.csv --case REQ-2026-17 \\
          --consent "file 17" --officer "Inv. Roe"
      candor-node lookups show BATCH --row 12       (one row in full)
      candor-node requests send BATCH HIT --row 12  (after a person has looked at the candidate)

    Exit status: 0 when every row is MATCH or NO_RECORD, 3 when any is INCOMPLETE or ERROR, 2 when nothing
    could be asked.
    """
    from candor_wire.v1 import local_pb2

    _check_out(out, coverage_file)
    order = local_pb2.BatchOrder(
        purpose=purpose,
        shape="SCREENING" if screening else "DETAILED",
        case_number=case_number,
        consent=consent,
        officer=officer,
        wait_seconds=wait_seconds,
        again=again,
        in_part=in_part,
    )
    began = time.monotonic()
    with running_node(config_file) as node:
        started = node.StartBatch(_parts(file, order), timeout=_START_SECONDS)
        if not as_json:
            words = "goes on" if started.resumed else "started"
            click.echo(
                f"Batch {started.batch_id[:12]} {words}: {started.rows:,} rows. {started.quota}", err=True
            )
        view = _watch(node, started)
        if view.state == "proposed":
            raise SecondPersonNeeded(
                f"Nothing was asked yet: batch {started.batch_id[:12]} takes a second person.",
                remedy=f"{view.note}; the same command then goes on. If that has ended: "
                f"candor-node batches stop {started.batch_id[:12]}, and the command with --again.",
            )
        written = batch_out.write(node, started.batch_id, out, coverage_file)
    report = _report(view, written, out, time.monotonic() - began)
    show_dict(report, as_json, _lines(report, view))
    if report["incomplete"] or report["error"]:
        raise Exit(EXIT_INCOMPLETE)


def _check_out(out: Path, coverage_file: Path | None) -> None:
    for path in (out, coverage_file):
        if path is not None and not path.parent.is_dir():
            raise InputInvalid(f"The folder {path.parent} does not exist.", remedy="Name another file.")
        if path is not None and not os.access(path.parent, os.W_OK):
            raise InputInvalid(f"{path.parent} cannot be written.", remedy="Name another file.")
    if coverage_file is not None:
        table_out.check_target(coverage_file, replace=True, source=out if out.exists() else None)


def _parts(file: Path, order: local_pb2.BatchOrder) -> Iterator[local_pb2.StartBatchRequest]:
    from candor_wire.limits import CHUNK_BYTES
    from candor_wire.v1 import local_pb2

    yield local_pb2.StartBatchRequest(order=order)
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield local_pb2.StartBatchRequest(chunk=chunk)


def _watch(node: Any, started: local_pb2.StartBatchResponse) -> local_pb2.BatchView:
    """Follow a batch to its end; on a terminal with a bar that says how fast and how long still."""
    from candor_wire.v1 import local_pb2

    views = node.WatchBatch(local_pb2.WatchBatchRequest(batch_id=started.batch_id))
    view: local_pb2.BatchView | None = None
    if not sys.stderr.isatty():
        for part in views:
            view = part.batch
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as bar:
            task = bar.add_task("asking", total=started.rows, rate="")
            began, first = time.monotonic(), -1
            for part in views:
                view = part.batch
                completed = view.done + view.errors
                first = completed if first < 0 else first
                rate = (completed - first) / max(0.001, time.monotonic() - began)
                words = f"pauses: {view.note[:60]}" if view.state == "paused" else "asking"
                bar.update(task, completed=completed, description=words, rate=f"{rate:,.1f} rows/s")
    if view is None:
        raise AssertionError("a batch is watched until it is done, or there is an error")
    return view


def _report(view: local_pb2.BatchView, written: Written, out: Path, seconds: float) -> dict[str, Any]:
    counts = {name.lower(): view.outcomes.get(name, 0) for name in _OUTCOMES}
    return {
        "batch_id": view.batch_id,
        "rows": view.rows,
        **counts,
        "changed": written.changed,
        "written_before": written.written_before,
        "late_matches": view.late_matches,
        "late_rows": list(view.late_rows),
        "elements": view.elements,
        "seconds": round(seconds, 2),
        "out": str(out),
    }


def _lines(report: dict[str, Any], view: local_pb2.BatchView) -> list[str]:
    words = ", ".join(f"{report[name.lower()]:,} {name}" for name in _OUTCOMES if report[name.lower()])
    shown = [f"{report['rows']:,} rows: {words}", f"Written to {report['out']}"]
    if report["match"]:
        shown.append("A MATCH is a candidate until the owner confirms identity; no result is proof.")
        shown.append(f"One row in full: candor-node lookups show {view.batch_id[:12]} --row ROW")
    if report["changed"]:
        shown.append(f"{report['changed']:,} rows changed since you wrote it last: see the column `changed`.")
    shown += _late(view)
    if report["incomplete"]:
        shown.append("Late answers amend INCOMPLETE rows for 24 hours: the same command writes them.")
    return shown


def _late(view: local_pb2.BatchView) -> list[str]:
    """Late matches of a batch, if there are any that nobody has acknowledged."""
    if not view.late_matches:
        return []
    rows = ", ".join(map(str, view.late_rows)) + (", …" if view.late_matches > len(view.late_rows) else "")
    name = f"{view.batch_id[:12]} --row {view.late_rows[0]}"
    return [
        f"{view.late_matches:,} LATE MATCH, not acknowledged (row {rows}): candor-node lookups show {name}; "
        f"then lookups seen {name}"
    ]


# --- earlier batches -------------------------------------------------------------------------------------


@click.group()
def batches() -> None:
    """Batches of this node: how far they are, and their results."""


@batches.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@config_option
@json_option
def batches_list(limit: int, config_file: Path | None, as_json: bool) -> None:
    """List batches, newest first."""
    from candor_wire.v1 import local_pb2

    with running_node(config_file) as node:
        reply = node.ListBatches(local_pb2.ListBatchesRequest(limit=limit), timeout=120)
    rows = [
        (
            view.batch_id[:12],
            view.started_at,
            view.state,
            f"{view.done + view.errors:,} of {view.rows:,}",
            *(f"{view.outcomes.get(name, 0):,}" for name in _OUTCOMES),
            f"{view.late_matches:,} not acknowledged" if view.late_matches else "",
        )
        for view in reply.batches
    ]
    head = ("BATCH", "STARTED", "STATE", "ROWS", *_OUTCOMES, "LATE MATCH")
    show(reply, as_json, lambda: table(rows, head) if rows else ["There are no batches yet."])


@batches.command("write")
@click.argument("batch_id", metavar="BATCH")
@click.option("--out", required=True, type=FILE, help="The result, .xlsx or else CSV; replaced whole or not.")
@_COVERAGE
@config_option
@json_option
def batches_write(
    batch_id: str, out: Path, coverage_file: Path | None, config_file: Path | None, as_json: bool
) -> None:
    """Write the result of BATCH as it is now; rows without one say so.

    The column `changed` says of each row what late answers changed since you wrote it last.
    """
    _check_out(out, coverage_file)
    with running_node(config_file) as node:
        written = batch_out.write(node, batch_id, out, coverage_file)
    report = {"out": str(out), "rows": written.rows, "changed": written.changed}
    words = [f"Written to {out}"]
    if written.written_before:
        words.append(f"{written.changed:,} rows changed since you wrote it on {written.written_before}.")
    show_dict({**report, "written_before": written.written_before}, as_json, words)


@batches.command("stop")
@click.argument("batch_id", metavar="BATCH")
@config_option
@json_option
def batches_stop(batch_id: str, config_file: Path | None, as_json: bool) -> None:
    """Ask about no further row of BATCH; what was asked still comes in."""
    from candor_wire.v1 import local_pb2

    with running_node(config_file) as node:
        reply = node.StopBatch(local_pb2.StopBatchRequest(batch_id=batch_id), timeout=60)
    show_dict(to_dict(reply), as_json, [f"Stopped: {reply.left_out:,} rows were not asked about."])
