"""`candor-node recalls`: who was told that a record changed, who has acted, and what others recalled here."""

from __future__ import annotations

from datetime import timedelta
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
    from candor_wire.v1 import recall_local_pb2 as pb


@click.group()
def recalls() -> None:
    """Recalls, in both directions.

    When a record that was released to others is corrected, revised, voided, overturned, sealed, expunged,
    appealed or disputed, this node tells each of them by itself, again and again until their node says that
    it has destroyed, replaced or annotated its copy. What others recall is done here at once, and a person
    reads of it afterwards.
    """


@recalls.command("list")
@click.option("--overdue", is_flag=True, help="Only own recalls that nobody has acknowledged in time.")
@click.option(
    "--days", type=click.IntRange(1, 365), default=7, show_default=True, help="Overdue after so many days."
)
@click.option("--unread", is_flag=True, help="Only what others recalled and no person here has read.")
@click.option("--record", "dcn", default="", help="Only recalls of this own record (a control number).")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="At most so many.")
@config_option
@json_option
def list_(
    overdue: bool, days: int, unread: bool, dcn: str, limit: int, config_file: Path | None, as_json: bool
) -> None:
    """List recalls sent and received, newest first, and how long it takes others to forget."""
    from candor_wire.v1 import recall_local_pb2, recall_local_pb2_grpc

    request = recall_local_pb2.ListRecallsRequest(
        overdue=overdue, overdue_days=days, unread=unread, dcn=dcn, limit=limit
    )
    with running_node(config_file, stub=recall_local_pb2_grpc.RecallServiceStub) as node:
        reply = node.ListRecalls(request, timeout=30)
    show(reply, as_json, lambda: _listed(reply))


def _listed(reply: pb.ListRecallsResponse) -> list[str]:
    rows = [
        (
            view.recall_id[:12],
            "to" if view.direction == "sent" else "from",
            view.other_node,
            view.kind,
            view.action,
            view.state + (", OVERDUE" if view.overdue else ""),
            view.done.lower().replace("_", " "),
            view.effective_at,
            view.dcn or f"request {view.request_id[:12]}",
        )
        for view in (*reply.received, *reply.sent)
    ]
    head = ("RECALL", "", "NODE", "KIND", "ACTION", "STATE", "DONE", "SINCE", "ABOUT")
    shown = table(rows, head) if rows else ["There are no such recalls."]
    if reply.unacknowledged:
        shown += ["", f"Not acknowledged: {reply.unacknowledged}, of these overdue: {reply.overdue}."]
    forgot = reply.time_to_forget
    if forgot.recalls:
        median, longest = _duration(forgot.median_seconds), _duration(forgot.longest_seconds)
        shown += ["", f"Time to forget, over {forgot.recalls}: median {median}, longest {longest}."]
    return shown


@recalls.command("show")
@click.argument("recall_id", metavar="RECALL")
@config_option
@json_option
def show_(recall_id: str, config_file: Path | None, as_json: bool) -> None:
    """Show one recall. RECALL is its id or the beginning of it."""
    from candor_wire.v1 import recall_local_pb2, recall_local_pb2_grpc

    with running_node(config_file, stub=recall_local_pb2_grpc.RecallServiceStub) as node:
        reply = node.ShowRecall(recall_local_pb2.ShowRecallRequest(recall_id=recall_id), timeout=30)
    show(reply.recall, as_json, lambda: lines(reply.recall))


@recalls.command("acknowledge")
@click.argument("recall_id", metavar="RECALL")
@by_option
@config_option
@json_option
def acknowledge(recall_id: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Say that you have read what another agency recalled, and will not act on what it said before.

    The node has destroyed, replaced or annotated the copy already; printouts and notes are yours to destroy.
    The other agency learns that a person has read it, not who. --by goes into the ledger here.
    """
    from candor_wire.v1 import recall_local_pb2, recall_local_pb2_grpc

    person = person_in_charge(by)
    request = recall_local_pb2.AcknowledgeRecallRequest(recall_id=recall_id, by=person)
    with running_node(config_file, by=person, stub=recall_local_pb2_grpc.RecallServiceStub) as node:
        reply = node.AcknowledgeRecall(request, timeout=30)
    show(reply.recall, as_json, lambda: lines(reply.recall))


def lines(view: pb.RecallView) -> list[str]:
    """A recall for people."""
    sent = view.direction == "sent"
    shown = [
        f"Recall {view.recall_id} {'to' if sent else 'from'} {view.other_node}: {view.state}"
        + (", OVERDUE" if view.overdue else ""),
        f"  the record was {view.words} on {view.effective_at}: {view.action}",
        f"  request {view.request_id}",
    ]
    if view.dcn:
        shown.append(f"  record {view.dcn}: candor-node records show {view.dcn}")
    if view.lookup_id:
        shown.append(f"  hit {view.hit} of lookup {view.lookup_id[:12]}")
    if view.changed:
        shown.append(f"  changed: {', '.join(view.changed)}")
    if view.sendings:
        shown.append(f"  sent {view.sendings} times, first {view.first_sent_at}")
    if view.send_at:
        shown.append(f"  goes again {view.send_at} unless it is acknowledged")
    if view.done:
        after = f", {_duration(view.seconds_to_act)} after the act" if sent else ""
        shown.append(f"  {view.done.lower().replace('_', ' ')} {view.acted_at}{after}")
    if view.read_at:
        shown.append(f"  read {view.read_at}" + (f" by {view.read_by}" if view.read_by else ""))
    elif not sent:
        shown.append(f"  Read? candor-node recalls acknowledge {view.recall_id[:12]}")
    return shown


def _duration(seconds: float) -> str:
    whole = str(timedelta(seconds=int(seconds)))
    # Most copies are forgotten within a second; "0:00:00" would say nothing of it.
    return f"{whole}.{int(seconds * 10) % 10}" if seconds < 60 else whole
