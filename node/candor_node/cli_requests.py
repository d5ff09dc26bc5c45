"""`candor-node requests`: ask for the record behind a hit, and decide about what others ask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import (
    by_option,
    config_option,
    json_option,
    person_in_charge,
    running_node,
    show,
    table,
)

if TYPE_CHECKING:
    from candor_wire.v1 import local_pb2


@click.group()
def requests() -> None:
    """Disclosure requests, in both directions."""


@requests.command("send")
@click.argument("lookup_id", metavar="LOOKUP")
@click.argument("hit", type=click.IntRange(1))
@click.option("--row", type=click.IntRange(1), default=None, help="LOOKUP is a batch; this row of it.")
@click.option("--even-if-set-aside", is_flag=True, help="A person has checked a hit that was set aside.")
@by_option
@config_option
@json_option
def send(
    lookup_id: str,
    hit: int,
    row: int | None,
    even_if_set_aside: bool,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Ask the owner of hit HIT of lookup LOOKUP for its record.

    Running this command is the confirmation that a person has looked at the candidate: the owner learns that
    this agency is interested in this record, and the hub sees that the two talk. --by goes into the ledger.
    """
    from candor_wire.v1 import local_pb2

    request = local_pb2.SendRequestRequest(
        lookup_id=lookup_id,
        hit=hit,
        row=row or 0,
        confirmed_by=person_in_charge(by),
        even_if_set_aside=even_if_set_aside,
    )
    with running_node(config_file, by=by) as node:
        reply = node.SendRequest(request, timeout=60)
    show(
        reply,
        as_json,
        lambda: [
            f"Sent: request {reply.request_id}.",
            f"See what becomes of it: candor-node requests show {reply.request_id[:12]}",
        ],
    )


@requests.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True, help="At most so many.")
@config_option
@json_option
def list_(limit: int, config_file: Path | None, as_json: bool) -> None:
    """List requests sent and received, newest first. Those `waiting` wait for a person here."""
    from candor_wire.v1 import local_pb2

    with running_node(config_file) as node:
        reply = node.ListRequests(local_pb2.ListRequestsRequest(limit=limit), timeout=30)
    rows = [
        (
            view.request_id[:12],
            "to" if view.direction == "sent" else "from",
            view.other_node,
            view.state,
            view.purpose,
            view.case_number,
            view.issued_at,
            view.dcn,
            _recalled(view),
        )
        for view in (*reply.received, *reply.sent)
    ]
    head = ("REQUEST", "", "NODE", "STATE", "PURPOSE", "CASE", "ISSUED", "RECORD", "RECALLED")
    show(reply, as_json, lambda: table(rows, head) if rows else ["There are no requests."])


@requests.command("show")
@click.argument("request_id", metavar="REQUEST")
@config_option
@json_option
def show_(request_id: str, config_file: Path | None, as_json: bool) -> None:
    """Show a request and, once it was released, the record. REQUEST is its id or the beginning of it."""
    from candor_wire.v1 import local_pb2

    with running_node(config_file) as node:
        reply = node.ShowRequest(local_pb2.ShowRequestRequest(request_id=request_id), timeout=30)
    show(reply.request, as_json, lambda: lines(reply.request))


@requests.command("approve")
@click.argument("request_id", metavar="REQUEST")
@click.option("--note", default="", help="A note for the own ledger; not sent.")
@by_option
@config_option
@json_option
def approve(request_id: str, note: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Release the record to the agency that asks. The fair-process gate is asked once more."""
    _decide(config_file, by, as_json, request_id=request_id, approve=True, reason=note)


@requests.command("decline")
@click.argument("request_id", metavar="REQUEST")
@click.option("--reason", required=True, help="Why, for the own ledger; the other side learns only that.")
@click.option("--not-same-person", is_flag=True, help="Say that the record is of another person.")
@by_option
@config_option
@json_option
def decline(
    request_id: str,
    reason: str,
    not_same_person: bool,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Decline a request. The other agency learns that it was declined, not why."""
    _decide(
        config_file,
        by,
        as_json,
        request_id=request_id,
        approve=False,
        reason=reason,
        not_same_person=not_same_person,
    )


def _decide(config_file: Path | None, by: str | None, as_json: bool, **decision: str | bool) -> None:
    from candor_wire.v1 import local_pb2

    request = local_pb2.DecideRequestRequest(**decision)  # type: ignore[arg-type]  # keyword by keyword above
    request.by = person_in_charge(by)
    with running_node(config_file, by=by) as node:
        reply = node.DecideRequest(request, timeout=60)
    held = [
        "Its subject is marked as sensitive: it waits for a second person:",
        f"  candor-node approvals approve {reply.approval_id}",
    ]
    if as_json and reply.approval_id:
        show(reply, as_json, lambda: held)
        return
    show(reply.request, as_json, lambda: lines(reply.request) + (held if reply.approval_id else []))


def _recalled(view: local_pb2.RequestView) -> str:
    """The last recall, and whether somebody still has to read one."""
    if not view.recalls:
        return ""
    last = view.recalls[-1]
    unread = "" if all(one.read_at for one in view.recalls) else "; read it"
    return f"{last.done.lower().replace('_', ' ')} on {last.acted_at[:10]}{unread}"


def lines(view: local_pb2.RequestView) -> list[str]:
    """A request for people."""
    direction = "to" if view.direction == "sent" else "from"
    shown = [
        f"Request {view.request_id} {direction} {view.other_node}: {view.state}"
        + (f" ({view.reason})" if view.reason else ""),
        f"  {view.purpose}, case {view.case_number or '-'}, officer in charge {view.officer}",
        f"  issued {view.issued_at}, ends {view.expires_at}",
    ]
    if view.direction == "sent":
        shown.append(f"  hit {view.hit} of lookup {view.lookup_id[:12]}, confirmed by {view.confirmed_by}")
    if view.dcn:
        shown.append(f"  record {view.dcn}: candor-node records show {view.dcn}")
    if view.settled_at:
        shown.append(f"  settled {view.settled_at}" + (f" by {view.settled_by}" if view.settled_by else ""))
    if view.evidence_kept:
        shown.append("  The response did not verify and is kept as evidence.")
    for recall in view.recalls:
        done = recall.done.lower().replace("_", " ")
        shown.append(f"  recalled {recall.acted_at}: the record was {recall.words}; {done} here")
        if not recall.read_at:
            shown.append(f"    Read? candor-node recalls acknowledge {recall.recall_id[:12]}")
    if view.HasField("record"):
        for version in (*view.earlier, view.record):
            shown += ["", *_version(version)]
        shown.append(f"  dispute: {view.record.dispute_status}")
        if view.record.subject_statement:
            shown.append(f"  statement of the subject: {view.record.subject_statement}")
    if view.state == "waiting":
        shown += [
            "",
            f"Decide: candor-node requests approve {view.request_id[:12]}",
            f"    or: candor-node requests decline {view.request_id[:12]} --reason …",
        ]
    return shown


def _version(version: local_pb2.ReleasedRecord) -> list[str]:
    """One version of a record, and where it comes from."""
    origin = {
        "": "it is the record that the owner's index committed to",
        "CORRECTED": "its owner's correction, in place of what was released",
        "REVISED": "a later action, beside what was released before",
    }[version.recall_kind]
    shown = [f"{version.kind}, {version.tier}; {origin}."]
    if version.changed:
        shown.append(f"  changed: {', '.join(version.changed)}")
    return [*shown, *(f"  {field.name}: {field.value}" for field in version.fields)]
