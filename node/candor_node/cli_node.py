"""`candor-node init`, `join`, `run`, `status` and `doctor`: the node itself."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import (
    FILE,
    FOLDER,
    config_option,
    config_path,
    json_option,
    load,
    running_node,
    show,
    show_dict,
    table,
)
from candor_proto.errors import CandorError, InputInvalid
from candor_proto.ids import NodeId

if TYPE_CHECKING:
    from candor_certs.invitation import Invitation
    from candor_wire.v1 import local_pb2


@click.command()
@click.option("--dir", "folder", required=True, type=FOLDER, help="New folder for the node.")
@click.option("--node", required=True, help="The node's id: 1-40 of a-z 0-9 -, for good.")
@json_option
def init(folder: Path, node: str, as_json: bool) -> None:
    """Make a node: settings, keys, encrypted database. Nothing is overwritten.

    `join` does this by itself when there is no node yet. Keep DIR/keys apart from backups of DIR/data:
    together they open everything.
    """
    from candor_certs.service_manager import work_as_owner
    from candor_node.joining import found

    work_as_owner(folder)
    path = found(folder, NodeId(node))
    show_dict(
        {"config": str(path), "node": node},
        as_json,
        [
            f"The node {node} is in {path.parent}.",
            f"Next: candor-node join INVITATION --config {path}",
        ],
    )


@click.command()
@click.argument("invitation_file", metavar="INVITATION", type=FILE)
@click.option("--fingerprint", help="The root's fingerprint, as the operator said it by another channel.")
@click.option("--node", default="", help="The node's id to be, if the invitation names none.")
@click.option("--rejoin", is_flag=True, help="This node is a member, and its certificate has ended.")
@config_option
@json_option
def join(
    invitation_file: Path,
    fingerprint: str | None,
    node: str,
    rejoin: bool,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Join the federation of INVITATION, the file that the hub's operator sent.

    Makes the node first if there is none: settings, keys, encrypted database, in the folder of the settings.

    Whoever can change the invitation on its way could lead this node to a false federation. So compare the
    root's fingerprint with what the operator tells you by another channel (telephone, letter): give it with
    --fingerprint, or answer when asked. A join that failed can be repeated.
    """
    from candor_certs.service_manager import work_as_owner
    from candor_node.clock import SystemClock
    from candor_node.joining import first_log_policy, found
    from candor_node.joining import join as enrol

    invitation = read_invitation(invitation_file, fingerprint)
    path, clock = config_path(config_file), SystemClock()
    work_as_owner(path.parent)
    made = not path.exists()
    if made:
        found(path.parent, _node_to_be(path, invitation, node, rejoin))
    joined = asyncio.run(enrol(path, invitation, clock, rejoin=rejoin))
    policy, trouble = "", ""
    try:
        policy = asyncio.run(first_log_policy(path, clock))
    except CandorError as error:
        trouble = error.message
    show_dict(
        {
            "federation": str(joined.federation),
            "hub_address": joined.hub_address,
            "certificate_ends": joined.certificate_ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "log_policy_sha256": policy,
            "config": str(path),
        },
        as_json,
        [
            *([f"A new node: settings, keys and database are in {path.resolve().parent}."] if made else []),
            f"Joined {joined.federation}; the hub is at {joined.hub_address}.",
            f"The certificate ends on {joined.certificate_ends:%Y-%m-%d %H:%M} UTC.",
            *_log_policy_lines(policy, trouble),
            "Next: candor-node run, or systemctl enable --now candor-node"
            + ("; restart it if it runs" if rejoin else ""),
        ],
    )


def read_invitation(path: Path, pinned: str | None) -> Invitation:
    """The invitation in a file whose root has the fingerprint `pinned`, or one that a person compares now.

    Raises InputInvalid, CertificateRefused, Expired, or what is wrong with the file.
    """
    from candor_certs.invitation import check_fingerprint, parse_invitation
    from candor_node.clock import SystemClock

    try:
        invitation = parse_invitation(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text file"
        raise InputInvalid(f"{path} cannot be read: {reason}.", remedy="Check the path.") from None
    invitation.check_unexpired(SystemClock().now())
    if pinned is not None:
        check_fingerprint(invitation, pinned)
    else:
        _compare(invitation)
    return invitation


def _node_to_be(path: Path, invitation: Invitation, given: str, rejoin: bool) -> NodeId:
    """The id of the node that `join` makes; raises InputInvalid."""
    from candor_node.config import FILE_NAME

    if rejoin or path.name != FILE_NAME:
        raise InputInvalid(
            f"There is no settings file {path}.",
            remedy="Name the node's settings with --config"
            + ("; a member joins again from the folder that holds its keys." if rejoin else "."),
        )
    if not given and invitation.node is None:
        raise InputInvalid(
            "The invitation names no node id.",
            remedy="Choose one with --node, for good: 1-40 of a-z 0-9 -, for example example-sheriff.",
        )
    if given and invitation.node is not None and given != str(invitation.node):
        raise InputInvalid(
            f"The invitation is for the node {invitation.node}, not for {given}.",
            remedy="Leave out --node, or ask the hub's operator for another invitation.",
        )
    return NodeId(given) if given else invitation.node or NodeId(given)


def _log_policy_lines(policy: str, trouble: str) -> list[str]:
    if not policy:
        return [f"The log's policy could not be read yet: {trouble} `candor-node status` shows it later."]
    return [
        f"SHA-256 of the log's policy: {policy}",
        "Compare it with what the hub's operator and another member say by telephone or letter.",
    ]


def _compare(invitation: Invitation) -> None:
    if not sys.stdin.isatty():
        raise InputInvalid(
            "Nobody has compared the root's fingerprint.",
            remedy="Give --fingerprint with what the hub's operator says by another channel.",
        )
    click.echo(
        f"Federation:  {invitation.federation}\nAgency:      {invitation.agency_name} ({invitation.ori})"
    )
    click.echo(f"Root:        {invitation.fingerprint}")
    if not click.confirm("Is that the fingerprint that the hub's operator told you by another channel?"):
        raise InputInvalid(
            "The fingerprint was not confirmed; nothing was sent.",
            remedy="Call the hub's operator and compare it digit by digit.",
        )


@click.command()
@click.option("--json-log", is_flag=True, help="Log JSON lines.")
@config_option
def run(json_log: bool, config_file: Path | None) -> None:
    """Run the node until SIGTERM or Ctrl-C. Logs go to standard error.

    One line on standard output says when it is attached to the hub and holds the others' indexes. While the
    hub cannot be reached it keeps trying.
    """
    from candor_certs.service_manager import work_as_owner
    from candor_node.logs import configure
    from candor_node.running import run_node

    work_as_owner(config_path(config_file).parent)
    config = load(config_file)
    configure(json_lines=json_log, level=config.log_level)
    asyncio.run(run_node(config, lambda line: click.echo(line)))


@click.command()
@config_option
@json_option
def status(config_file: Path | None, as_json: bool) -> None:
    """Say how the running node is: connection, indexes held, mail, what waits for a person."""
    from candor_wire.v1 import local_pb2

    with running_node(config_file) as node:
        reply = node.Status(local_pb2.StatusRequest(), timeout=30)
    show(reply, as_json, lambda: _status_lines(reply))


def _status_lines(reply: local_pb2.StatusResponse) -> list[str]:
    connection = "attached to" if reply.attached else "NOT attached to"
    shown = [
        f"{reply.node} ({reply.name}, {', '.join(reply.oris)}) of {reply.federation}",
        f"{connection} the hub at {reply.hub_address}, since {reply.connection_since}",
        *([f"  through the proxy {reply.proxy}"] if reply.proxy else []),
    ]
    shown += [f"  {trouble}" for trouble in (reply.trouble, reply.directory_trouble) if trouble]
    shown += [f"  NOTHING IS SHARED: {reply.went_back} See `candor-node restore review`."] * bool(
        reply.went_back
    )
    shown += [
        f"certificate ends {reply.certificate_ends}, to be renewed {reply.certificate_renewal}",
        f"this machine's clock says {reply.node_time}",
        *([f"  not renewed: {reply.renewal_trouble}"] if reply.renewal_trouble else []),
        f"newest backup: {reply.backed_up_at or 'none'}"
        + (
            f"; the journal is behind since {reply.journal_behind_since}"
            if reply.journal_behind_since
            else ""
        ),
        *([f"  backup failed: {reply.backup_failure}"] if reply.backup_failure else []),
        f"records: {reply.records}, of which {reply.matchable_records} may match",
        f"requests that wait for a person: {reply.requests_waiting}",
        f"policy: {reply.policy}",
        f"proposals that wait for a second person: {reply.approvals_waiting}",
        f"recalls that nobody has read: {reply.recalls_unread} · overdue: {reply.overdue} (records due)",
        f"late matches that nobody has acknowledged: {reply.late_matches}"
        + (" (lookups list --news)" if reply.late_matches else ""),
        *(f"  not reviewed: week {week}" for week in reply.reviews_due),
        *([] if reply.users else ["  NO USERS are registered: whoever may use the socket may do everything"]),
        f"mail: {reply.inbox_waiting} in, {reply.outbox_waiting} out, {reply.inbox_dropped} dropped, "
        f"{len(reply.dead_letters)} refused by the hub",
        *(
            f"  refused: {letter.kind} to {letter.recipient or 'all'}: {letter.reason}"
            for letter in reply.dead_letters
        ),
        "",
        *_log_lines(reply.log),
        "",
        f"directory version {reply.directory_version}",
        *(f"  WARNING: {warning}" for warning in reply.directory_warnings),
    ]
    rows = [
        (
            member.node,
            "active" if member.active else "suspended",
            "held" if member.index_held else "NOT held",
            str(member.epoch or "-"),
            member.index_issued or "-",
        )
        for member in reply.members
    ]
    return [*shown, *table(rows, ("NODE", "STATUS", "INDEX", "EPOCH", "ISSUED"))]


def _log_lines(log: local_pb2.LogStatus) -> list[str]:
    own = "this node's own" if log.own_policy else ""
    if log.origin:
        shown = [
            f"log {log.origin}: {log.size} entries, witnessed {log.witnessed_at} ({log.age})",
            f"  policy: {own or log.policy_version}, {log.witnesses} witnesses"
            + (f"; not signing: {', '.join(log.missing)}" if log.missing else ""),
        ]
    else:
        shown = ["log: NOT followed yet"]
    if log.policy_sha256:
        which = "own" if log.own_policy else "first"
        shown.append(f"  SHA-256 of the {which} policy: {log.policy_sha256}")
    shown += [f"  {log.notice}"] if log.notice else []
    shown += [f"  not followed: {log.trouble}"] if log.trouble else []
    return [*shown, *(f"  ALARM: {alarm}" for alarm in log.alarms)]


@click.command()
@click.option("--deep", is_flag=True, help="Read a large database whole; takes minutes.")
@click.option("--strict", is_flag=True, help="Exit status 1 for warnings, and for what is unknown, too.")
@config_option
@json_option
@click.pass_context
def doctor(context: click.Context, deep: bool, strict: bool, config_file: Path | None, as_json: bool) -> None:
    """Look at everything that this node needs, from its keys to the hub's clock, and say what to do.

    Works whether or not the node runs and the hub can be reached, and within 15 seconds. What is looked at
    stands in docs/doctor.md.

    \b
    Exit status: 0 nothing is bad · 1 something is · 2 it could not be looked at (settings)
    """
    from candor_node.doctor import examine

    report = asyncio.run(examine(config_path(config_file), deep=deep))
    show_dict(report.as_json(), as_json, report.lines())
    context.exit(report.exit_status(strict=strict))
