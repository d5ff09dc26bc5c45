"""`candor-node match evaluate`: how well matching works, on files whose true pairs are known."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import FILE, printable
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_node.evaluate import Progress, Run

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def match() -> None:
    """How well matching works. Needs no node, no configuration and no network."""


@match.command("evaluate")
@click.option("--records", required=True, type=_EXISTING, help="The records held, as CSV.")
@click.option("--queries", required=True, type=_EXISTING, help="The persons asked about, as CSV.")
@click.option("--truth", required=True, type=_EXISTING, help="The true pairs, as CSV: query_id, rec_id.")
@click.option(
    "--fields",
    type=click.Choice(["nd", "nds", "ndsmp"]),
    default="ndsmp",
    show_default=True,
    help="Blank other columns than name and date, and ssn4, and the rest.",
)
@click.option("--confirm", is_flag=True, help="Detailed lookups: compare the single fields behind the gate.")
@click.option(
    "--real-curve",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Send N queries the blinded way, too, and fail unless all is the same.",
)
@click.option(
    "--json", "as_json", metavar="OUT", help="Write the figures as JSON to OUT; - prints them alone."
)
@click.option("--scores", type=FILE, help="Write every pair behind the gate with its probability, as CSV.")
@click.option(
    "--population",
    type=click.IntRange(min=1),
    help="How many records a lookup reaches; default: those of the file.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes; default: one for each core.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Break figures down by this column of queries.")
def evaluate(
    records: Path,
    queries: Path,
    truth: Path,
    fields: str,
    confirm: bool,
    real_curve: int,
    as_json: str | None,
    scores: Path | None,
    population: int | None,
    workers: int | None,
    by: tuple[str, ...],
) -> None:
    """Match QUERIES against RECORDS as lookups do, and say how many of the pairs in TRUTH that finds.

    The header names the columns, in any order: rec_id, and any of first, middle, last, suffix, former_last,
    dob, ssn4, sex, post_state, post_id. A column that is absent is missing in every row. Labels such as
    entity_id, kind or address are never used to match; kind and origin of queries break the figures down.

    \b
      candor-node match evaluate --records A.csv --queries B.csv --truth truth.csv
      candor-node match evaluate --records A.csv --queries B.csv --truth truth.csv \\
          --confirm --population 500000 --real-curve 50 --json figures.json

    Exit status: 0 done · 1 the blinded way gave something else · 2 a file is not as it should be.
    """
    from candor_node import evaluate as evaluation
    from candor_node import evaluation_curve, evaluation_report
    from candor_node.evaluation_files import FieldSet
    from candor_node.workers import cores

    for out in (scores, Path(as_json) if as_json and as_json != "-" else None):
        _check_out(out)
    began = time.monotonic()
    order = evaluation.Order(
        records,
        queries,
        truth,
        FieldSet[fields.upper()],
        confirm,
        population,
        workers or cores(),
        by,
        keep=real_curve > 0,
    )
    with _progress() as progress:
        found = evaluation.run(order, progress)
    agreed = evaluation_curve.check(found, real_curve) if real_curve else None
    report = evaluation_report.report(found, time.monotonic() - began, agreed)
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    if scores:
        _write(scores, "".join(_scores(found)))
    if as_json == "-":
        click.echo(text, nl=False)
        return
    if as_json:
        _write(Path(as_json), text)
    click.echo("\n".join(map(printable, evaluation_report.lines(report))))


def _check_out(out: Path | None) -> None:
    if out is None:
        return
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputInvalid(f"{out} cannot be written.", remedy="Name a file in a folder that can be written.")


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("records"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("records", total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)


def _scores(run: Run) -> Iterator[str]:
    """One line for each pair behind the gate, by query and record."""
    from candor_node import evaluation_scheme as scheme

    yield "query_id,rec_id,probability,band,labels,true\r\n"
    for pair in run.opened:
        out = io.StringIO(newline="")
        labels = " ".join(label.name for label in scheme.labels(pair.hit))
        csv.writer(out, lineterminator="\r\n").writerow(
            (
                run.queries[pair.query].query_id,
                pair.record,
                f"{pair.score.probability:.6f}",
                pair.score.explanation.band.value,
                labels,
                int(pair.true),
            )
        )
        yield out.getvalue()


def _write(out: Path, text: str) -> None:
    """Beside its place, then moved there: OUT is whole or as it was."""
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.new")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
