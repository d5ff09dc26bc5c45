"""`candor-node batch` and `batches`: ask about everybody in a file, and read what came back."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

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

_START_SECONDS = 600.0
_OUTCOMES = ("MATCH", "NO_RECORD", "INCOMPLETE", "ERROR")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=FILE, help="The result as CSV; replaced whole, or not touched.")
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
    explanation, coverage, error.

    The running node asks, also when this command is interrupted: the same command again goes on where it was
    and asks nothing twice. Afterwards it writes the result again, with the answers that came late.

    \b
      candor-node batch class.csv --out result.csv --case REQ-2026-17 \\
          --consent "file 17" --officer "Inv. Roe"
      candor-node lookups show BATCH --row 12       (one row in full)
      candor-node requests send BATCH HIT --row 12  (after a person has looked at the candidate)

    Exit status: 0 when every row is MATCH or NO_RECORD, 3 when any is INCOMPLETE or ERROR, 2 when nothing
    could be asked.
    """
    from candor_wire.v1 import local_pb2

    _check_out(out)
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
        _write(node, started.batch_id, out)
    report = _report(view, out, time.monotonic() - began)
    show_dict(report, as_json, _lines(report, view))
    if report["incomplete"] or report["error"]:
        raise Exit(EXIT_INCOMPLETE)


def _check_out(out: Path) -> None:
    if not out.parent.is_dir():
        raise InputInvalid(f"The folder {out.parent} does not exist.", remedy="Name another file with --out.")
    if not os.access(out.parent, os.W_OK):
        raise InputInvalid(f"{out.parent} cannot be written.", remedy="Name another file with --out.")


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


def _write(node: Any, batch_id: str, out: Path) -> None:
    """The result beside its place, then moved there: OUT is whole or as it was."""
    from candor_node.batch_file import ResultRow, lines
    from candor_wire.v1 import local_pb2

    parts = node.GetBatch(local_pb2.GetBatchRequest(batch_id=batch_id))
    columns = next(parts).columns.names
    rows = (
        ResultRow(row.row, tuple(row.cells), tuple(row.results)) for part in parts for row in part.rows.rows
    )
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.new")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), 0o600)
            file.writelines(lines(columns, rows))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def _report(view: local_pb2.BatchView, out: Path, seconds: float) -> dict[str, Any]:
    counts = {name.lower(): view.outcomes.get(name, 0) for name in _OUTCOMES}
    return {
        "batch_id": view.batch_id,
        "rows": view.rows,
        **counts,
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
    if report["incomplete"]:
        shown.append("Late answers amend INCOMPLETE rows for 24 hours: the same command writes them.")
    return shown


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
        )
        for view in reply.batches
    ]
    head = ("BATCH", "STARTED", "STATE", "ROWS", *_OUTCOMES)
    show(reply, as_json, lambda: table(rows, head) if rows else ["There are no batches yet."])


@batches.command("write")
@click.argument("batch_id", metavar="BATCH")
@click.option("--out", required=True, type=FILE, help="The result as CSV; replaced whole, or not touched.")
@config_option
@json_option
def batches_write(batch_id: str, out: Path, config_file: Path | None, as_json: bool) -> None:
    """Write the result of BATCH as it is now; rows without one say so."""
    _check_out(out)
    with running_node(config_file) as node:
        _write(node, batch_id, out)
    show_dict({"out": str(out)}, as_json, [f"Written to {out}"])


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
