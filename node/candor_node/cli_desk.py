"""`candor-node records`: find records, see why they are shared or not, and what has to be done about them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_node.cli_common import by_option, config_option, json_option, running_node, show, table

if TYPE_CHECKING:
    from candor_wire.v1 import records_pb2 as pb

CALL_SECONDS = 60
KINDS = (
    "TERMINATION_FOR_CAUSE, SEPARATION_UNDER_INVESTIGATION, DECERTIFICATION, CRIMINAL_CONVICTION, "
    "CIVIL_JUDGMENT, SUSTAINED_FORCE_FINDING, COMMENDATION"
)


@click.group()
def records() -> None:
    """The agency's own records: find, file, correct, appeal, withdraw, keep and destroy.

    A record is named by its DCN, the control number of any of its versions, or with --id by the agency's
    own id. What withdraws, destroys or opens a record takes two people: the command proposes it, and somebody
    else decides with `candor-node approvals`.

    \b
    Every day:   records due · records list --standing HELD · records why DCN · records search "Doe, Jo"
    Filing:      records file · records review · records correct · records revise
    Appeals:     records appeal · records appeal-decided · records overturn
    Orders:      records seal · records unseal · records hold · records lift-hold · records expunge
    Choices:     records sharing · records void · records reviewed
    The end:     records retention due · records retention run · records certificates list
    """


def desk(config_file: Path | None, by: str | None = None) -> AbstractContextManager[Any]:
    """A stub for the records desk of the running node."""
    from candor_wire.v1 import records_pb2_grpc

    return running_node(config_file, by=by, stub=records_pb2_grpc.RecordsServiceStub)


@dataclass(frozen=True)
class Call:
    """What every command about one record is given."""

    record: str = field(repr=False)
    agency_id: bool
    ori: str
    by: str | None
    config_file: Path | None
    as_json: bool

    def named(self) -> pb.RecordName:
        from candor_wire.v1 import records_pb2 as pb

        return pb.RecordName(name=self.record, agency_id=self.agency_id, ori=self.ori)


def on_record(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command RECORD and the options that go with it, as one `Call`."""

    @wraps(command)
    def called(
        record: str,
        agency_id: bool,
        ori: str,
        by: str | None,
        config_file: Path | None,
        as_json: bool,
        **rest: Any,
    ) -> None:
        command(Call(record, agency_id, ori, by, config_file, as_json), **rest)

    decorated: Callable[..., None] = called
    for decorate in (
        json_option,
        config_option,
        by_option,
        click.option("--ori", default="", help="With --id: the agency, if the node stands for several."),
        click.option("--id", "agency_id", is_flag=True, help="RECORD is the agency's own id, not a DCN."),
        click.argument("record"),
    ):
        decorated = decorate(decorated)
    return decorated


# --- lists ------------------------------------------------------------------------------------------------


@records.command("list")
@click.option("--kind", default="", help=f"Only this kind: {KINDS}.")
@click.option("--standing", default="", help="Only DRAFT, HELD, ACTIVE, EXPIRED, VOID or EXPUNGED.")
@click.option("--sharing", default="", help="Only GREEN, YELLOW or RED.")
@click.option(
    "--held-because",
    default="",
    metavar="CLAUSE",
    help="Only what this clause of the gate holds back: notice, opportunity, final, reviewed, not sealed …",
)
@click.option("--ori", default="", help="Only records of this agency.")
@click.option("--since", default="", metavar="DAY", help="Only what was filed on this day or later.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
@click.option("--after", default="", help="Go on where a page ended.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out so many; --after is quicker.")
@by_option
@config_option
@json_option
def records_list(
    kind: str,
    standing: str,
    sharing: str,
    held_because: str,
    ori: str,
    since: str,
    limit: int,
    after: str,
    offset: int,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """List records, newest filing first, without names.

    \b
    What the gate holds back for want of notice:   records list --held-because notice
    Decertifications filed since March:            records list --kind DECERTIFICATION --since 2026-03-01
    """
    from candor_wire.v1 import records_pb2 as pb

    request = pb.ListRecordsPageRequest(
        kind=kind,
        standing=standing,
        sharing=sharing,
        held_because=held_because,
        ori=ori,
        since=since,
        limit=limit,
        after=after,
        offset=offset,
    )
    with desk(config_file, by) as node:
        reply = node.ListRecordsPage(request, timeout=CALL_SECONDS)
    show(reply, as_json, lambda: _page_lines(reply))


_HEAD = ("DCN", "KIND", "STANDING", "SHARING", "HELD BECAUSE", "EFFECTIVE")


def _page_lines(reply: pb.ListRecordsPageResponse) -> list[str]:
    if not reply.records:
        return ["No records."]
    total = f"{reply.total - 1:,} and more" if reply.total > 10_000 else f"{reply.total:,}"
    lines = [*table([_row(record) for record in reply.records], _HEAD), ""]
    lines.append(f"{len(reply.records)} of {total} records.")
    if reply.following:
        lines.append(f"The next page: add --after {reply.following}")
    return lines


def _row(record: pb.RecordLine) -> tuple[str, ...]:
    failed = ", ".join(record.failed) if record.standing == "HELD" else ""
    hold = " (legal hold)" if record.legal_hold else ""
    return (
        record.dcn,
        record.kind,
        record.standing + hold,
        record.sharing,
        failed,
        record.effective_on,
    )


@records.command("due")
@click.option("--until", "--due-before", default="", metavar="DAY", help="Up to this day; default: 30 days.")
@click.option(
    "--what",
    multiple=True,
    help="Only review, retention, appeal, dispute, notice or recall; may be repeated.",
)
@click.option("--kind", default="", help=f"Only this kind: {KINDS}.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="At most so many.")
@by_option
@config_option
@json_option
def records_due(
    until: str,
    what: tuple[str, ...],
    kind: str,
    limit: int,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """What has to be done about records, the longest overdue first."""
    from candor_wire.v1 import records_pb2 as pb

    with desk(config_file, by) as node:
        reply = node.ListDues(
            pb.ListDuesRequest(until=until, what=what, kind=kind, limit=limit), timeout=CALL_SECONDS
        )
    rows = [
        (due.due_on, due.dcn, due.kind, due.words + (" (legal hold)" if due.legal_hold else ""))
        for due in reply.dues
    ]
    show(
        reply,
        as_json,
        lambda: table(rows, ("DAY", "DCN", "KIND", "WHAT")) if rows else ["Nothing is due."],
    )


@records.command("search")
@click.argument("words", nargs=-1)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="At most so many.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out so many.")
@by_option
@config_option
@json_option
def records_search(
    words: tuple[str, ...], limit: int, offset: int, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Find the agency's own records by a name, nearest first; slips, nicknames and parts of names are found.

    \b
    records search Doe                 a last name, a first name, or a part of one
    records search "Doe, Jo"           last name, then first
    records search Jo Doe 1990         with the year of birth
    records search                     asks for the name, which then stays out of the shell's history

    Each search is in the ledger with who made it and how many were found, without its words. This searches
    this agency only: `candor-node lookup` asks the others.
    """
    from candor_wire.v1 import records_pb2 as pb

    asked = " ".join(words) or click.prompt("Name", err=True)
    request = pb.SearchRecordsRequest(words=asked, limit=limit, offset=offset)
    with desk(config_file, by) as node:
        reply = node.SearchRecords(request, timeout=CALL_SECONDS)
    show(reply, as_json, lambda: _found_lines(reply))


def _found_lines(reply: pb.SearchRecordsResponse) -> list[str]:
    rows = [
        (
            str(found.score),
            found.name,
            found.birth_date,
            found.record.dcn,
            found.record.kind,
            found.record.standing,
        )
        for found in reply.records
    ]
    lines = ["Nobody of that name."]
    if rows:
        lines = table(rows, ("NEAR", "NAME", "BORN", "DCN", "KIND", "STANDING"))
        lines += ["", f"{len(rows)} of {reply.total} found; 100 is the very name."]
    if not reply.complete:
        lines.append(f"The index of names is still being built: {reply.searched} records were searched yet.")
    return lines


# --- one record -------------------------------------------------------------------------------------------


def _open(call: Call) -> pb.OpenRecordResponse:
    from candor_wire.v1 import records_pb2 as pb

    with desk(call.config_file, call.by) as node:
        reply: pb.OpenRecordResponse = node.OpenRecord(
            pb.OpenRecordRequest(record=call.named()), timeout=CALL_SECONDS
        )
    return reply


@records.command("show")
@on_record
def records_show(call: Call) -> None:
    """Show one record: what it says, its versions, how it stands, and why it is, or is not, shared."""
    reply = _open(call)
    show(reply, call.as_json, lambda: _record_lines(reply))


def _record_lines(reply: pb.OpenRecordResponse) -> list[str]:
    summary = reply.summary
    lines = [
        f"{summary.dcn}, version {summary.version} ({summary.report_type}): {summary.kind}, {summary.tier}, "
        f"{summary.standing}",
        *why_lines(reply.why),
        "",
    ]
    marks = [
        ("A draft: a second person has not reviewed it.", not reply.reviewed),
        ("Sealed by order.", reply.sealed_by_order),
        ("Under legal hold: it is not destroyed.", summary.legal_hold),
        (f"Dispute: {summary.dispute_status}.", summary.dispute_status != "NONE"),
        (f"To be reviewed on {summary.review_on}.", bool(summary.review_on)),
        (f"Kept until {summary.expires_on}.", bool(summary.expires_on)),
        (f"Released {reply.disclosures} times, to {reply.recipients} agencies.", bool(reply.disclosures)),
    ]
    lines += [words for words, said in marks if said]
    if reply.statement:
        lines += ["The officer's statement:", f"  {reply.statement}"]
    lines += ["", "Versions:"]
    for version in reply.versions:
        changed = f": {', '.join(version.changed)}" if version.changed else ""
        lines.append(
            f"  {version.version}  {version.dcn}  {version.report_type}  {version.filed_at}  by {version.by}"
            f"{changed}"
        )
    return [*lines, "", *(f"  {field.name}: {field.value}" for field in reply.fields)]


def why_lines(why: pb.RecordWhy) -> list[str]:
    lines = [why.headline]
    for obstacle in why.failing:
        lines += [f"  {obstacle.words}", f"    {obstacle.remedy}"]
    lines += [f"  {words}" for words in why.holding]
    return [*lines, *([why.by_itself] if why.by_itself else [])]


@records.command("why")
@on_record
def records_why(call: Call) -> None:
    """Why a record is shared or not: what fails first, what would open it, and when time alone would."""
    reply = _open(call)
    show(reply.why, call.as_json, lambda: why_lines(reply.why))


@records.command("history")
@on_record
def records_history(call: Call) -> None:
    """Everything that happened to a record: when, who, with whom, why. Nothing of it is ever overwritten."""
    from candor_wire.v1 import records_pb2 as pb

    with desk(call.config_file, call.by) as node:
        reply = node.ListHistory(pb.ListHistoryRequest(record=call.named()), timeout=CALL_SECONDS)
    show(reply, call.as_json, lambda: _history_lines(reply))


def _history_lines(reply: pb.ListHistoryResponse) -> list[str]:
    lines = []
    for entry in reply.entries:
        second = f" and {entry.second}" if entry.second else ""
        lines.append(f"{entry.at}  {entry.dcn}  {entry.words}, by {entry.by}{second}")
        if entry.reason:
            lines.append(f"    {entry.reason}")
    if not reply.readable:
        lines.append("The record was destroyed; what it said, and every reason, went with it.")
    return lines
