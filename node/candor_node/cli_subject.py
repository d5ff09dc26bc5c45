"""`candor-node subject`: what an agency owes the person a record is about, and does for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_node.cli_common import (
    FILE,
    by_option,
    config_option,
    json_option,
    running_node,
    show,
    show_dict,
    table,
    to_dict,
)
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_wire.v1 import subject_pb2

_SECONDS = 120
_REPORT_SECONDS = 900
_OUT = click.option("--out", type=FILE, required=True, help="Where the page goes: FILE.html or FILE.pdf.")


@contextmanager
def _running(config_file: Path | None, by: str | None) -> Iterator[Any]:
    """A stub for what the running node does for subjects."""
    from candor_wire.v1 import subject_pb2_grpc

    with running_node(config_file, by=by, stub=subject_pb2_grpc.SubjectServiceStub) as node:
        yield node


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


def _words(file: str) -> str:
    """The text of a file, or of standard input for `-`."""
    try:
        octets = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InputInvalid(f"{file} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputInvalid(f"{file} is not plain text.", remedy="Save it as text in UTF-8.") from None


# --- notices --------------------------------------------------------------------------------------------


@subject.command("notices")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
@by_option
@config_option
@json_option
def notices(limit: int, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """List the notices that are due to subjects, the longest overdue first, without names."""
    from candor_wire.v1 import subject_pb2

    with _running(config_file, by) as node:
        reply = node.ListNotices(subject_pb2.ListNoticesRequest(limit=limit), timeout=_SECONDS)
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
    with _running(config_file, by) as node:
        reply = node.WriteNotice(subject_pb2.WriteNoticeRequest(dcn=dcn), timeout=_SECONDS)
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
    with _running(config_file, by) as node:
        reply = node.MarkNotified(request, timeout=_SECONDS)
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

    with _running(config_file, by) as node:
        reply = node.ShowSubject(subject_pb2.ShowSubjectRequest(dcn=dcn), timeout=_SECONDS)
    show(reply, as_json, lambda: _subject_lines(reply))


def _subject_lines(reply: subject_pb2.ShowSubjectResponse) -> list[str]:
    shown = [f"Record {reply.dcn} ({reply.standing})", "", "Statement:"]
    shown += [f"  {line}" for line in reply.statement.splitlines()] or ["  none"]
    shown += ["", "Dispute:"]
    shown += _dispute_lines(reply.dispute) if reply.HasField("dispute") else ["  none"]
    shown += ["", "Notices:"]
    for one in reply.notices:
        became = f"sent on {one.sent_on} ({one.method})" if one.sent_on else f"due on {one.due_on}"
        shown.append(f"  {one.done_on} {one.act}: {became}{', overdue' if one.overdue else ''}")
    return shown if reply.notices else [*shown, "  none"]


def _dispute_lines(one: subject_pb2.SubjectDispute) -> list[str]:
    shown = [
        f"  {one.ground}, opened on {one.opened_on} about {one.about}; travels as {one.status}",
        f"  {one.clock}",
    ]
    shown += [f"  said: {line}" for line in one.account.splitlines()]
    if one.answer:
        shown.append(f"  answered on {one.answered_on}: {one.answer}")
        shown += [f"    {line}" for line in one.answer_reasons.splitlines()]
    if one.referred_on:
        shown.append(f"  referred on {one.referred_on} to {one.resolver}")
    if one.resolution:
        shown.append(f"  decided on {one.decided_on}: {one.resolution}")
        shown += [f"    {line}" for line in one.resolution_reasons.splitlines()]
    return shown


_RECEIVED = click.option(
    "--received-on", default="", metavar="DAY", help="The day on which it came; default: today."
)


@subject.command("statement")
@click.argument("dcn")
@click.option("--file", required=True, help="The subject's words as plain text; - for standard input.")
@_RECEIVED
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

    request = subject_pb2.EnterStatementRequest(dcn=dcn, text=_words(file), received_on=received_on)
    with _running(config_file, by) as node:
        reply = node.EnterStatement(request, timeout=_SECONDS)
    warned = [f"Warning: {warning} Ask the subject whether it is to stay." for warning in reply.warnings]
    show(reply, as_json, lambda: [f"Entered: {reply.characters:,} characters of at most 4,000.", *warned])


@subject.group("dispute")
def dispute() -> None:
    """A subject's dispute of a record, step by step.

    The agency has 60 days (or what the policy pack says) to answer: CORRECT, VOID or STAND_BY, with reasons.
    Once it stands by the record, or those days are over, the subject may have it referred to the independent
    resolver of the policy pack. What was promised or decided stays due until it is carried out.
    """


@dispute.command("open")
@click.argument("dcn")
@click.option("--ground", required=True, help="FACTUAL_INACCURACY, NOT_REPORTABLE or WRONG_PERSON.")
@click.option("--file", default="", help="What the subject says is wrong, as text; - for standard input.")
@_RECEIVED
@by_option
@config_option
@json_option
def dispute_open(
    dcn: str,
    ground: str,
    file: str,
    received_on: str,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Open a dispute: from now on every release says that the record is disputed.

    While WRONG_PERSON is open a person checks the identity at every release, whatever the record's colour. A
    dispute hides no record.
    """
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.OpenDisputeRequest(
        dcn=dcn, ground=ground, account=_words(file) if file else "", received_on=received_on
    )
    with _running(config_file, by) as node:
        reply = node.OpenDispute(request, timeout=_SECONDS)
    _show_step(reply, as_json)


@dispute.command("answer")
@click.argument("dcn")
@click.argument("answer", metavar="CORRECT|VOID|STAND_BY")
@click.option(
    "--file", required=True, help="The reasons, as the subject will read them; - for standard input."
)
@click.option("--on", default="", metavar="DAY", help="The day of the answer; default: today.")
@by_option
@config_option
@json_option
def dispute_answer(
    dcn: str, answer: str, file: str, on: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Answer a dispute, with reasons. A correction or void is then still to be filed."""
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.AnswerDisputeRequest(dcn=dcn, answer=answer, reasons=_words(file), on=on)
    with _running(config_file, by) as node:
        reply = node.AnswerDispute(request, timeout=_SECONDS)
    _show_step(reply, as_json)


@dispute.command("refer")
@click.argument("dcn")
@_RECEIVED
@by_option
@config_option
@json_option
def dispute_refer(
    dcn: str, received_on: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Note that the subject takes the dispute to the independent resolver."""
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.ReferDisputeRequest(dcn=dcn, received_on=received_on)
    with _running(config_file, by) as node:
        reply = node.ReferDispute(request, timeout=_SECONDS)
    _show_step(reply, as_json)


@dispute.command("resolve")
@click.argument("dcn")
@click.argument("resolution", metavar="UNCHANGED|CORRECT|VOID")
@click.option("--file", required=True, help="The resolver's reasons, as plain text; - for standard input.")
@click.option("--on", default="", metavar="DAY", help="The day of the decision; default: today.")
@by_option
@config_option
@json_option
def dispute_resolve(
    dcn: str, resolution: str, file: str, on: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Enter what the resolver decided. The agency must carry it out, and it is overdue until then."""
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.ResolveDisputeRequest(dcn=dcn, resolution=resolution, reasons=_words(file), on=on)
    with _running(config_file, by) as node:
        reply = node.ResolveDispute(request, timeout=_SECONDS)
    _show_step(reply, as_json)


@dispute.command("done")
@click.argument("dcn")
@by_option
@config_option
@json_option
def dispute_done(dcn: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Settle a dispute by the correction that was filed. (A void settles it by itself.)"""
    from candor_wire.v1 import subject_pb2

    with _running(config_file, by) as node:
        reply = node.CarryOutDispute(subject_pb2.CarryOutDisputeRequest(dcn=dcn), timeout=_SECONDS)
    _show_step(reply, as_json)


def _show_step(reply: Any, as_json: bool) -> None:
    show(reply, as_json, lambda: _dispute_lines(reply.dispute))


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
    with _running(config_file, by) as node:
        parts = node.MakeReport(request, timeout=_REPORT_SECONDS)
        summary = next(parts).summary
        page = b"".join(part.chunk for part in parts)
    pages.write(page.decode("utf-8"), out)
    counted = f"{len(summary.dcns)} records, {summary.lookups} lookups"
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
    with _running(config_file, by) as node:
        reply = node.DeferVisibility(request, timeout=_SECONDS)
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

    with _running(config_file, by) as node:
        reply = node.ListDeferrals(subject_pb2.ListDeferralsRequest(), timeout=_SECONDS)
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
