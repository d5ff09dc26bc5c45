"""`candor-node review`: how this node was used, read and signed every week; and sensitive subjects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node import table_out
from candor_node.cli_common import FILE, by_option, config_option, json_option, printable, show, table
from candor_node.cli_office import running_office
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_wire.v1 import office_pb2

_SECONDS = 120


@click.group()
def review() -> None:
    """Review how this node was used.

    \b
      candor-node review weekly --out week.html      (last whole week)
      candor-node review sign 2026-W48 --digest 3f…  (as the review says)
      candor-node review sensitive add --first Jo --last Doe --birth-date 1990-02-03 --reason "..."
    """


@review.command("weekly")
@click.option("--week", default="", metavar="WEEK", help="As 2026-W48; default: the last whole week.")
@click.option("--out", type=FILE, default=None, help="Write it as a page (HTML) to this file.")
@by_option
@config_option
@json_option
def weekly(week: str, out: Path | None, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show a week: alerts, a sample to look into, what took two people, and what was refused.

    An alert is a reason to ask, not a finding. The sample is drawn by the ledger, so that nobody can choose
    what is looked into. Nobody who was asked about stands in it by name.
    """
    from candor_wire.v1 import office_pb2

    if out is not None:
        _check_page(out)
    with running_office(config_file, by) as node:
        reply = node.WeeklyReview(office_pb2.WeeklyReviewRequest(week=week), timeout=_SECONDS)
    if out is not None:
        with table_out.private_file(out) as beside:
            beside.write_text(page(reply), "utf-8")
    show(reply, as_json, lambda: [f"Written to {out}."] if out is not None else _lines(reply))


def _check_page(out: Path) -> None:
    """Raises InputInvalid before the node is asked."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputInvalid("The page is written as HTML.", remedy="Name a file that ends in .html.")
    table_out.check_free(out, replace=True)


@review.command("sign")
@click.argument("week", metavar="WEEK")
@click.option("--digest", required=True, help="Of the review that you have read; it stands at its end.")
@click.option("--note", default="", help="What came of it, without names.")
@by_option
@config_option
@json_option
def sign(week: str, digest: str, note: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Record that the review of WEEK was read. It is refused if the review has changed since."""
    from candor_wire.v1 import office_pb2

    request = office_pb2.SignReviewRequest(week=week, digest=digest, note=note)
    with running_office(config_file, by) as node:
        reply = node.SignReview(request, timeout=_SECONDS)
    show(reply, as_json, lambda: [f"Week {week} is signed, {reply.signed_at}."])


# --- sensitive subjects ----------------------------------------------------------------------------------


@review.group()
def sensitive() -> None:
    """Subjects about whom a lookup takes two people: relatives of staff, people in the news.

    Only keyed digests of the particulars are kept. Marks hold for lookups, not for releases of own records.
    """


@sensitive.command("add")
@click.option("--first", required=True, help="First name.")
@click.option("--middle", default="", help="Middle name.")
@click.option("--last", required=True, help="Last name.")
@click.option("--former-last", default="", help="Former last name.")
@click.option("--birth-date", required=True, help="YYYY-MM-DD.")
@click.option("--ssn4", default="", help="Last four of the SSN.")
@click.option("--post", default="", metavar="STATE:NUMBER", help="POST certificate.")
@click.option("--reason", required=True, help="Why, in a sentence without names.")
@by_option
@config_option
@json_option
def mark(
    first: str,
    middle: str,
    last: str,
    former_last: str,
    birth_date: str,
    ssn4: str,
    post: str,
    reason: str,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Mark a subject as sensitive."""
    from candor_wire.v1 import office_pb2

    state, _, number = post.partition(":")
    request = office_pb2.MarkSensitiveRequest(
        first=first,
        middle=middle,
        last=last,
        former_last=former_last,
        birth_date=birth_date,
        ssn4=ssn4,
        post_state=state,
        post_id=number,
        reason=reason,
    )
    with running_office(config_file, by) as node:
        reply = node.MarkSensitive(request, timeout=_SECONDS)
    show(reply, as_json, lambda: [f"Marked, as {reply.mark_id}: a lookup takes two people from now on."])


@sensitive.command("list")
@by_option
@config_option
@json_option
def list_marks(by: str | None, config_file: Path | None, as_json: bool) -> None:
    """List the marks, also those that were taken away; whom they are about is not kept."""
    from candor_wire.v1 import office_pb2

    with running_office(config_file, by) as node:
        reply = node.ListSensitive(office_pb2.ListSensitiveRequest(), timeout=_SECONDS)
    rows = [
        (each.mark_id, each.marked_at, each.marked_by, each.removed_at or "-", each.reason)
        for each in reply.marks
    ]
    head = ("MARK", "SINCE", "BY", "REMOVED", "REASON")
    show(reply, as_json, lambda: table(rows, head) if rows else ["No subject is marked."])


@sensitive.command("remove")
@click.argument("mark_id", metavar="MARK")
@click.option("--reason", required=True, help="Why, in a sentence without names.")
@by_option
@config_option
@json_option
def unmark(mark_id: str, reason: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Take a mark away; the weekly review shows it."""
    from candor_wire.v1 import office_pb2

    with running_office(config_file, by) as node:
        reply = node.UnmarkSensitive(
            office_pb2.UnmarkSensitiveRequest(mark_id=mark_id, reason=reason), timeout=_SECONDS
        )
    show(reply, as_json, lambda: ["The mark was taken away."])


# --- as text and as a page -------------------------------------------------------------------------------


def _lines(reply: office_pb2.WeeklyReviewResponse) -> list[str]:
    shown = [f"Week {reply.week}, {reply.starts} to {reply.ends}", *reply.notes]
    for section in reply.sections:
        shown += ["", f"{section.title}: {section.words}"]
        rows = [tuple(row.cells) for row in section.rows]
        shown += [f"  {line}" for line in table(rows, tuple(section.head))] if rows else ["  none"]
    return [*shown, "", *_signing(reply)]


def _signing(reply: office_pb2.WeeklyReviewResponse) -> list[str]:
    if reply.signed_by:
        return [f"Signed by {reply.signed_by}, {reply.signed_at}."]
    return [f"Once read: candor-node review sign {reply.week} --digest {reply.digest}"]


_STYLE = (
    "body{font:1rem/1.5 sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#111;"
    "background:#fff}table{border-collapse:collapse;width:100%}th,td{border:1px solid #767676;"
    "padding:.3rem .5rem;"
    "text-align:left;vertical-align:top;overflow-wrap:anywhere}th{background:#eee}"
)


def page(reply: office_pb2.WeeklyReviewResponse) -> str:
    """The review as one page without scripts; every cell is escaped, whatever was typed into it."""
    from html import escape

    def cells(values: list[str], kind: str) -> str:
        scope = ' scope="col"' if kind == "th" else ""
        return "".join(f"<{kind}{scope}>{escape(printable(value))}</{kind}>" for value in values)

    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>Review of week {escape(reply.week)}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>Review of week {escape(reply.week)}</h1>",
        f"<p>{escape(reply.starts)} to {escape(reply.ends)}</p>",
        *(f"<p><strong>{escape(note)}</strong></p>" for note in reply.notes),
    ]
    for section in reply.sections:
        parts.append(f"<h2>{escape(section.title)}</h2><p>{escape(section.words)}</p>")
        if not section.rows:
            parts.append("<p>None.</p>")
            continue
        parts.append(f"<table><thead><tr>{cells(list(section.head), 'th')}</tr></thead><tbody>")
        parts += [f"<tr>{cells(list(row.cells), 'td')}</tr>" for row in section.rows]
        parts.append("</tbody></table>")
    parts += [f"<p>{escape(line)}</p>" for line in _signing(reply)]
    return "\n".join([*parts, "</main></body></html>", ""])
