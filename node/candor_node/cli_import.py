"""`candor-node import`: records from CSV and Excel. The file is read here; the node is sent rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_node.cli_common import (
    EXIT_OPERATOR,
    FILE,
    by_option,
    config_option,
    json_option,
    person_in_charge,
    running_node,
    show,
)
from candor_proto.errors import CandorError, InputInvalid

if TYPE_CHECKING:
    from candor_node.import_report import RowResult
    from candor_node.mapping import Mapper, Profile
    from candor_node.table_file import Reading, Row
    from candor_wire.v1 import intake_pb2

IMPORT_SECONDS = 3600.0
_CHUNK_ROWS, _CHUNK_OCTETS = 500, 256 * 1024
_ERRORS_SHOWN = 20


@click.command("import")
@click.argument("file", type=FILE, required=False)
@click.option("--template", type=FILE, help="Write a table to fill in, .xlsx or .csv, and end.")
@click.option("--force", is_flag=True, help="With --template: replace a file that is there.")
@click.option("--profile", "profile_name", default="", help="Read the file by this profile.")
@click.option("--sheet", default="", help="The sheet of a workbook that has several.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and store nothing.")
@click.option("--report", type=FILE, help="Write the table again with what is wrong in it, .xlsx or .csv.")
@click.option("--allow-duplicates", is_flag=True, help="You have looked: the likely duplicates are none.")
@click.option(
    "--pass-over-ended", is_flag=True, help="Rows of records that are over here do not stop the others."
)
@click.option("--propose", is_flag=True, help="Propose a profile from the file, and end.")
@click.option(
    "--save-profile", default="", metavar="NAME", help="With --propose: save it, if nothing is open."
)
@click.option("--map", "maps", multiple=True, metavar="HEADING=COLUMN", help="This heading is that column.")
@click.option("--value", "words", multiple=True, metavar="COLUMN:WORD=CODE", help="This word is that code.")
@click.option("--date", "dates", multiple=True, metavar="COLUMN=FORM", help="How its days are written.")
@click.option("--set", "fixed", multiple=True, metavar="COLUMN=VALUE", help="The same in every row.")
@click.option("--ignore", "ignored", multiple=True, metavar="HEADING", help="Leave this column out.")
@click.option("--encoding", default="utf-8", show_default=True, help="With --propose: utf-8 or windows-1252.")
@click.option("--ori", default="", help="The agency the records are of, if the node stands for several.")
@by_option
@config_option
@json_option
@click.pass_context
def import_(
    context: click.Context,
    file: Path | None,
    template: Path | None,
    force: bool,
    profile_name: str,
    sheet: str,
    dry_run: bool,
    report: Path | None,
    allow_duplicates: bool,
    pass_over_ended: bool,
    propose: bool,
    save_profile: str,
    maps: tuple[str, ...],
    words: tuple[str, ...],
    dates: tuple[str, ...],
    fixed: tuple[str, ...],
    ignored: tuple[str, ...],
    encoding: str,
    ori: str,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Import records from a CSV file or an Excel workbook: all of it or nothing.

    A row is known by its agency_record_id: the same content again changes nothing, other content becomes a
    new version, so that the whole export may be sent every night. Errors name row and column, never a value.
    Exit status 2 if anything was wrong, and then nothing was stored.

    \b
    From your own system's export:
      candor-node import export.xlsx --propose                       (what is which column, and what is open)
      candor-node import export.xlsx --propose --date birth_date=MM/DD/YYYY --save-profile our-system
      candor-node import export.xlsx --profile our-system --dry-run --report report.xlsx
    Correct what is coloured in report.xlsx, then import the report itself:
      candor-node import report.xlsx --profile our-system
    """
    from candor_node import cli_imports, table_out

    if template is not None:
        table_out.check_target(template, replace=force)
        cli_imports.write_template(template, as_json)
        return
    if file is None:
        raise InputInvalid(
            "Which file?", remedy="`candor-node import FILE`, or --template FILE for one to fill in."
        )
    person = person_in_charge(by)
    if propose:
        answers = cli_imports.answers(
            save_profile or "proposal", maps, words, dates, fixed, ignored, encoding, sheet
        )
        if not cli_imports.propose(file, answers, save_profile, person, config_file, as_json):
            context.exit(EXIT_OPERATOR)
        return
    if maps or words or dates or fixed or ignored or save_profile or encoding != "utf-8":
        raise InputInvalid(
            "--map, --value, --date, --set, --ignore, --encoding and --save-profile make a profile; they are "
            "not followed by an import.",
            remedy="Nothing was stored. Say --propose with them, save the profile, then --profile NAME.",
        )
    if report is not None:
        table_out.check_target(report, replace=True, source=file)
    with running_node(config_file, by=person, stub=cli_imports.stub()) as node:
        profile, reading = _profile(node, profile_name, sheet)
        table = _Table(file, profile, reading)
        how = {"dry_run": dry_run, "allow_duplicates": allow_duplicates, "pass_over_ended": pass_over_ended}
        reply, results = _send(node, table, person, ori, how, quiet=as_json)
    if report is not None:
        from candor_node import import_report

        import_report.write(report, file, reading, table.mapper, results)
    show(reply, as_json, lambda: [*_lines(reply, table.mapper, person), *_passed_over(table.passed_over)])
    if reply.error_count:
        many = "s" * (reply.error_count != 1)
        click.echo(
            f"candor-node: {file} has {reply.error_count} error{many}; nothing was stored.\n"
            "  Correct the rows and import the file again"
            + (
                f": they stand in {report}." if report else "; --report FILE.xlsx writes them into the table."
            ),
            err=True,
        )
        if reply.duplicates:
            click.echo("  Likely duplicates: if they are not, say --allow-duplicates.", err=True)
        context.exit(EXIT_OPERATOR)


def _profile(node: Any, name: str, sheet: str) -> tuple[Profile | None, Reading]:
    from candor_node.mapping import parse_profile
    from candor_node.table_file import Reading
    from candor_wire.v1 import intake_pb2

    if not name:
        return None, Reading(sheet=sheet)
    profile = parse_profile(node.GetProfile(intake_pb2.GetProfileRequest(name=name), timeout=30).profile)
    known = profile.reading
    return profile, Reading(known.encoding, known.delimiter, sheet or known.sheet)


# --- rows on their way to the node ---------------------------------------------------------------------


class _Table:
    """The rows of a file as they go to the node, and what went wrong with the file on the way."""

    def __init__(self, file: Path, profile: Profile | None, reading: Reading) -> None:
        """Raises InputInvalid for a file that is no table, or whose header does not fit."""
        from candor_node import csv_file, mapping, table_file

        header, self._rows = table_file.table(file, reading)
        self.mapper: Mapper = mapping.Mapper(profile, header)
        self._width = len(header)
        self._unguarded = csv_file.unguarded if self.mapper.guarded else None
        self.error: CandorError | None = None
        self.sent = 0
        self.passed_over = 0

    def requests(self, start: intake_pb2.ImportStart) -> Iterator[intake_pb2.ImportRequest]:
        """Never raises: gRPC would hide the reason. Without its last word the node stores nothing."""
        from candor_wire.v1 import intake_pb2

        yield intake_pb2.ImportRequest(start=start)
        chunk, octets = intake_pb2.ImportRows(), 0
        try:
            for row in self._rows:
                if self.mapper.passes_over(row.cells):
                    self.passed_over += 1
                    continue
                chunk.rows.append(self._row(row))
                octets += chunk.rows[-1].ByteSize()
                self.sent += 1
                if len(chunk.rows) >= _CHUNK_ROWS or octets >= _CHUNK_OCTETS:
                    yield intake_pb2.ImportRequest(rows=chunk)
                    chunk, octets = intake_pb2.ImportRows(), 0
        except CandorError as error:
            self.error = error
            return
        if chunk.rows:
            yield intake_pb2.ImportRequest(rows=chunk)
        yield intake_pb2.ImportRequest(end=intake_pb2.ImportEnd(rows=self.sent))

    def _row(self, row: Row) -> intake_pb2.ImportRow:
        from candor_node import importer
        from candor_wire.v1 import intake_pb2

        cells = row.cells if self._unguarded is None else [self._unguarded(cell) for cell in row.cells]
        found = importer.given(self.mapper, row.number, cells, self._width)
        return intake_pb2.ImportRow(number=found.number, cells=found.cells, fault=found.fault)


def _send(
    node: Any, table: _Table, person: str, ori: str, how: Mapping[str, bool], *, quiet: bool
) -> tuple[intake_pb2.ImportReport, dict[int, RowResult]]:
    """Send the rows and hear what becomes of them. Raises the file's own error before the node's."""
    import grpc

    from candor_node.import_report import RowResult
    from candor_wire.v1 import intake_pb2

    start = intake_pb2.ImportStart(
        contributor=person,
        ori=ori,
        columns=table.mapper.columns,
        dry_run=how["dry_run"],
        allow_duplicates=how["allow_duplicates"],
        pass_over_ended=how["pass_over_ended"],
    )
    results: dict[int, RowResult] = {}
    reply = intake_pb2.ImportReport()
    with _progress(quiet) as shown:
        try:
            for part in node.Import(table.requests(start), timeout=IMPORT_SECONDS):
                match part.WhichOneof("part"):
                    case "outcomes":
                        for row in part.outcomes.rows:
                            problems = tuple((each.column, each.reason) for each in row.problems)
                            results[row.row] = RowResult(
                                row.status,
                                row.report,
                                tuple(row.held),
                                problems,
                                tuple(each.code for each in row.problems if each.code),
                                tuple(row.wanting),
                            )
                        shown(len(results), "rows looked at")
                    case "storing":
                        shown(len(results), "rows are being stored")
                    case "report":
                        reply = part.report
        except grpc.RpcError:
            if table.error is not None:
                raise table.error from None
            raise
    return reply, results


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, str], None]]:
    """How far an import is, on a terminal only."""
    if quiet or not sys.stderr.isatty():
        yield lambda rows, what: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,} {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("rows looked at", total=None)
        yield lambda rows, what: progress.update(task, completed=rows, description=what)


# --- what is said of it --------------------------------------------------------------------------------


def _passed_over(rows: int) -> list[str]:
    if not rows:
        return []
    words = "1 row that begins with # was" if rows == 1 else f"{rows} rows that begin with # were"
    return [f"{words} passed over."]


def _lines(reply: intake_pb2.ImportReport, mapper: Mapper, person: str) -> list[str]:
    from candor_node.import_report import problem

    if reply.error_count:
        shown = [
            f"row {each.row}, {problem(mapper, each.column, each.reason)}"
            for each in reply.errors[:_ERRORS_SHOWN]
        ]
        more = reply.error_count - len(shown)
        shown += [f"… and {more} more"] if more > 0 else []
        if reply.refused_because:
            shown.append(f"May not be reported: {_counted(reply.refused_because)}.")
        if not reply.dry_run:
            return shown
        return [*shown, *_counts(reply), *_hints(reply)]
    lines = _counts(reply)
    if reply.dry_run:
        return [*lines, *_hints(reply), "A dry run: nothing was stored."]
    if not reply.new and not reply.changed:
        return [*lines, "Nothing to publish."]
    if reply.drafts:
        lines.append(
            f"Somebody else reviews the drafts before they can match: candor-node records review --all-from "
            f"{person}"
        )
    if reply.drafts == reply.new and not reply.changed:
        return lines
    return [*lines, "Published." if reply.published else "Published on the next publication day."]


def _counts(reply: intake_pb2.ImportReport) -> list[str]:
    held = f"; {reply.held} held back by the fair-process gate" if reply.held else ""
    lines = [f"{reply.new} new, {reply.changed} changed, {reply.unchanged} unchanged{held}."]
    changes = {name: count for name, count in reply.reports.items() if name != "INITIAL"}
    if changes:
        lines.append(
            "Changes: " + ", ".join(f"{count} {name}" for name, count in sorted(changes.items())) + "."
        )
    if reply.held_because:
        lines.append(f"Held back by: {_counted(reply.held_because)}.")
    if reply.passed_over:
        lines.append(f"Passed over, for they are over here for good: {reply.passed_over}.")
    if reply.drafts:
        lines.append(f"Drafts until a second person has reviewed them: {reply.drafts}.")
    if reply.opening:
        lines.append(f"{reply.opening} stay RED: opening them takes a second person.")
    return lines


def _hints(reply: intake_pb2.ImportReport) -> list[str]:
    """What complete reports would give; nothing is refused for it."""
    if not reply.wanting:
        return []
    return [f"Complete reports also give: {_counted(reply.wanting)}. No row is refused for that."]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items(), key=_most))


def _most(item: tuple[str, int]) -> tuple[int, str]:
    # The order of a map on the wire says nothing.
    return -item[1], item[0]
