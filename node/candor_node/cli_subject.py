"""`candor-node subject`: what an agency owes the person a record is about, and does for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import (
    FILE,
    by_option,
    config_option,
    json_option,
    show,
    show_dict,
    table,
    to_dict,
)
from candor_node.cli_disputes import RECEIVED, SECONDS, dispute, dispute_lines, running_subject, words_of

if TYPE_CHECKING:
    from candor_wire.v1 import subject_pb2

_REPORT_SECONDS = 900
_OUT = click.option("--out", type=FILE, required=True, help="Where the page goes: FILE.html or FILE.pdf.")


@click.group()
def subject() -> None:
    """The rights of the person a record is about: notice, statement, dispute, report (docs/subject.md).

    A record is named by its control number (DCN), of whichever version. What the person writes is theirs: it
    is kept as it is, and travels with the record to everybody who gets it.

    \b
      candor-node subject notices                                   (whom to write to, longest overdue first)
      candor-node subject notice DCN --out letter.pdf
      candor-node subject notified DCN --on 2026-03-04 --method MAIL
      candor-node subject statement DCN --file words.txt --received-on 2026-03-09
      candor-node subject dispute open DCN --ground WRONG_PERSON --file letter.txt
      candor-node subject report DCN --identity-proof "file 2026/117" --out report.pdf
    """


subject.add_command(dispute)


# --- notices --------------------------------------------------------------------------------------------


@subject.command("notices")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
@by_option
@config_option
@json_option
def notices(limit: int, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """List the notices that are due to subjects, the longest overdue first, without names."""
    from candor_wire.v1 import subject_pb2

    with running_subject(config_file, by) as node:
        reply = node.ListNotices(subject_pb2.ListNoticesRequest(limit=limit), timeout=SECONDS)
    rows = [
        (one.due_on + (" overdue" if one.overdue else ""), one.dcn, one.act, one.done_on)
        for one in reply.notices
    ]
    head = ("DUE", "DCN", "ABOUT", "DONE")
    last = f"{len(rows)} of {reply.total} notices; write one with `candor-node subject notice DCN --out FILE`"
    show(reply, as_json, lambda: [*table(rows, head), last] if rows else ["No notice is due."])


@subject.command("notice")
@click.argument("dcn")
@_OUT
@by_option
@config_option
@json_option
def notice(dcn: str, out: Path, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Write the letter to the subject about what was done last to the record DCN.

    It says what was filed and what it means, whether the record is shared and why, and what the subject may
    do. Send it, then say so with `candor-node subject notified`.
    """
    from candor_node import pages
    from candor_wire.v1 import subject_pb2

    pages.check_out(out)
    with running_subject(config_file, by) as node:
        reply = node.WriteNotice(subject_pb2.WriteNoticeRequest(dcn=dcn), timeout=SECONDS)
    pages.write(reply.html, out)
    show_dict({"dcn": reply.dcn, "out": str(out)}, as_json, [f"The letter is in {out}. It names a person."])


@subject.command("notified")
@click.argument("dcn")
@click.option("--on", default="", metavar="DAY", help="The day on which they were told; default: today.")
@click.option("--method", required=True, help="MAIL, IN_PERSON, COUNSEL or COURT_SERVICE.")
@by_option
@config_option
@json_option
def notified(dcn: str, on: str, method: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Note that the subject was told of all that was done to the record DCN by that day."""
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.MarkNotifiedRequest(dcn=dcn, on=on, method=method)
    with running_subject(config_file, by) as node:
        reply = node.MarkNotified(request, timeout=SECONDS)
    many = "s" * (reply.settled != 1)
    show(reply, as_json, lambda: [f"{reply.settled} notice{many} settled."])


# --- statement and dispute ------------------------------------------------------------------------------


@subject.command("show")
@click.argument("dcn")
@by_option
@config_option
@json_option
def show_subject(dcn: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show statement, dispute with its clock, and notices of the record DCN."""
    from candor_wire.v1 import subject_pb2

    with running_subject(config_file, by) as node:
        reply = node.ShowSubject(subject_pb2.ShowSubjectRequest(dcn=dcn), timeout=SECONDS)
    show(reply, as_json, lambda: _subject_lines(reply))


def _subject_lines(reply: subject_pb2.ShowSubjectResponse) -> list[str]:
    shown = [f"Record {reply.dcn} ({reply.standing})", "", "Statement:"]
    shown += [f"  {line}" for line in reply.statement.splitlines()] or ["  none"]
    shown += ["", "Dispute:"]
    shown += dispute_lines(reply.dispute) if reply.HasField("dispute") else ["  none"]
    shown += ["", "Notices:"]
    for one in reply.notices:
        became = f"sent on {one.sent_on} ({one.method})" if one.sent_on else f"due on {one.due_on}"
        shown.append(f"  {one.done_on} {one.act}: {became}{', overdue' if one.overdue else ''}")
    return shown if reply.notices else [*shown, "  none"]


@subject.command("statement")
@click.argument("dcn")
@click.option("--file", required=True, help="The subject's words as plain text; - for standard input.")
@RECEIVED
@by_option
@config_option
@json_option
def statement(
    dcn: str, file: str, received_on: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Enter the subject's own statement, or put it in place of the former one: at most 4,000 characters.

    It travels with every release from now on, and earlier recipients are sent it. Only a whole social
    security number is refused; of what else the subject may not want to have sent, this warns: ask them.
    """
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.EnterStatementRequest(dcn=dcn, text=words_of(file), received_on=received_on)
    with running_subject(config_file, by) as node:
        reply = node.EnterStatement(request, timeout=SECONDS)
    warned = [f"Warning: {warning} Ask the subject whether it is to stay." for warning in reply.warnings]
    show(reply, as_json, lambda: [f"Entered: {reply.characters:,} characters of at most 4,000.", *warned])


# --- the report -----------------------------------------------------------------------------------------


@subject.command("report")
@click.argument("dcns", nargs=-1, metavar="[DCN]...")
@click.option("--identity-proof", required=True, help="Where the proof of identity is on file.")
@click.option("--first", default="", help="As the proof of identity has it; likewise the others.")
@click.option("--last", default="", help="The surname.")
@click.option("--birth-date", default="", help="YYYY-MM-DD.")
@click.option("--post-state", default="", help="State of the certificate.")
@click.option("--post-id", default="", help="Number of the certificate.")
@_OUT
@by_option
@config_option
@json_option
def report(
    dcns: tuple[str, ...],
    identity_proof: str,
    first: str,
    last: str,
    birth_date: str,
    post_state: str,
    post_id: str,
    out: Path,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Write down everything that this agency holds about one person, for that person.

    Each record and why it is shared or not, clause by clause; every agency that asked for it, when and why;
    what became of the copies; statement, dispute and notices; how long it is kept; the lookups that this
    agency made.

    Name the person as the proof of identity has them (name and birth date, or certificate), a record of
    theirs by its control number, or both. Records that agree only in part are left out and listed here: look
    at them, and name them if they are the person's. A record of another person is never shown.

    \b
      candor-node subject report DCN --identity-proof "file 2026/117" --out report.pdf
      candor-node subject report --first Jo --last Doe --birth-date 1990-02-03 \\
          --identity-proof "file 2026/117" --out report.html
    """
    from candor_node import pages
    from candor_wire.v1 import subject_pb2

    pages.check_out(out)
    request = subject_pb2.MakeReportRequest(
        dcns=dcns,
        identity_proof=identity_proof,
        first=first,
        last=last,
        birth_date=birth_date,
        post_state=post_state,
        post_id=post_id,
    )
    with running_subject(config_file, by) as node:
        parts = node.MakeReport(request, timeout=_REPORT_SECONDS)
        summary = next(parts).summary
        page = b"".join(part.chunk for part in parts)
    pages.write(page.decode("utf-8"), out)
    counted = f"Records: {len(summary.dcns)}; lookups: {summary.lookups}"
    lines = [f"{counted}. The report is in {out}. It names a person."]
    if summary.unsure:
        lines += ["Left out, for they agree only in part; look at them, and name them if they are theirs:"]
        lines += [f"  {dcn}" for dcn in summary.unsure]
    show_dict({**to_dict(summary), "out": str(out)}, as_json, lines)


# --- delayed visibility ---------------------------------------------------------------------------------


@subject.command("defer")
@click.argument("entry", metavar="LOOKUP|REQUEST")
@click.option("--until", required=True, metavar="DAY", help="The day on which the subject is shown it.")
@click.option("--reason", required=True, help="Why, for the second person and for audits; no names.")
@click.option("--basis", default="", help="The law or order that allows it; not needed for purpose C.")
@by_option
@config_option
@json_option
def defer(
    entry: str,
    until: str,
    reason: str,
    basis: str,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Have a lookup, or another agency's request, not shown to its subject yet. Takes two people.

    Only for a lawful investigation, and for at most 180 days (or what the policy pack says) from the lookup
    or request. It ends by itself; the entry then appears with the note that it was not shown before.
    """
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.DeferVisibilityRequest(entry=entry, until=until, basis=basis, reason=reason)
    with running_subject(config_file, by) as node:
        reply = node.DeferVisibility(request, timeout=SECONDS)
    show(
        reply,
        as_json,
        lambda: [f"Proposed. A second person decides: candor-node approvals show {reply.approval_id}"],
    )


@subject.command("deferrals")
@by_option
@config_option
@json_option
def deferrals(by: str | None, config_file: Path | None, as_json: bool) -> None:
    """List what is, or was, not shown to its subject for a time."""
    from candor_wire.v1 import subject_pb2

    with running_subject(config_file, by) as node:
        reply = node.ListDeferrals(subject_pb2.ListDeferralsRequest(), timeout=SECONDS)
    rows = [
        (
            one.what,
            one.entry[:12],
            one.until + (" ended" if one.ended else ""),
            one.proposed_by,
            one.decided_by,
        )
        for one in reply.deferrals
    ]
    head = ("WHAT", "ENTRY", "UNTIL", "PROPOSED BY", "DECIDED BY")
    show(reply, as_json, lambda: table(rows, head) if rows else ["Nothing is deferred."])
