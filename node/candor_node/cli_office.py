"""`candor-node users` and `candor-node approvals`: who may do what, and what waits for a second person."""

from __future__ import annotations

import os
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
    table,
)
from candor_proto.errors import AlreadyExists

if TYPE_CHECKING:
    from candor_wire.v1 import office_pb2

_SECONDS = 60


@contextmanager
def running_office(config_file: Path | None, by: str | None) -> Iterator[Any]:
    """A stub for the office of the running node."""
    from candor_wire.v1 import office_pb2_grpc

    with running_node(config_file, by=by, stub=office_pb2_grpc.OfficeServiceStub) as node:
        yield node


# --- users -----------------------------------------------------------------------------------------------


@click.group()
def users() -> None:
    """Who may use this node: user ids, roles and tokens.

    While nobody is registered, whoever may use the socket may do everything under any name. The first user is
    an administrator; from then on every command needs CANDOR_USER (or --by) and a token in CANDOR_TOKEN_FILE
    or ~/.config/candor/token.

    \b
    Roles:
      CLERK          files and changes records, serves subjects
      INVESTIGATOR   looks people up and requests records
      APPROVER       is the second person; decides about requests and disputes; marks sensitive subjects
      AUDITOR        reviews use, sees ledger and lookups, changes nothing
      ADMINISTRATOR  registers users and runs the machine; sees no record and no lookup

    \b
      candor-node users add admin-1 --role ADMINISTRATOR --token-file admin-1.token
      candor-node users add clerk-7 --role CLERK --first Jo --last Doe --token-file clerk-7.token
      candor-node users roles clerk-7 --give APPROVER --reason "deputy of the chief"
      candor-node users disable clerk-7
    """


_ROLE = click.Choice(["CLERK", "INVESTIGATOR", "APPROVER", "AUDITOR", "ADMINISTRATOR"], case_sensitive=False)


@users.command("add")
@click.argument("user_id", metavar="USER")
@click.option("--role", "roles", type=_ROLE, multiple=True, help="May be given several times.")
@click.option("--first", default="", help="Kept as a keyed digest only, for the detectors of misuse.")
@click.option("--last", default="", help="Likewise.")
@click.option("--from", "active_from", default="", metavar="DAY", help="First day; default: now.")
@click.option("--until", "active_until", default="", metavar="DAY", help="The day on which access ends.")
@click.option(
    "--token-file", type=FILE, required=True, help="Where the token is written, readable for you only."
)
@by_option
@config_option
@json_option
def add(
    user_id: str,
    roles: tuple[str, ...],
    first: str,
    last: str,
    active_from: str,
    active_until: str,
    token_file: Path,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Register USER, a pseudonym such as clerk-7, and write its token to a file.

    The token is written once and kept nowhere else. Giving APPROVER or ADMINISTRATOR takes a second person.
    """
    from candor_wire.v1 import office_pb2

    request = office_pb2.AddUserRequest(
        user_id=user_id,
        roles=roles,
        first=first,
        last=last,
        active_from=active_from,
        active_until=active_until,
    )
    with _new_file(token_file) as file:
        with running_office(config_file, by) as node:
            reply = node.AddUser(request, timeout=_SECONDS)
        os.write(file, reply.token.encode() + b"\n")
    reply.ClearField("token")
    lines = [f"Registered {user_id}: {_roles(reply.user)}. The token is in {token_file}."]
    show(reply, as_json, lambda: [*lines, *_waiting(reply.approval_id)])


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """A new file for its owner only; it is removed when what was to fill it fails."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise AlreadyExists(f"{path} exists already.", remedy="Name another file.") from None
    try:
        yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


@users.command("list")
@by_option
@config_option
@json_option
def list_users(by: str | None, config_file: Path | None, as_json: bool) -> None:
    """List every user there ever was, with roles and state."""
    from candor_wire.v1 import office_pb2

    with running_office(config_file, by) as node:
        reply = node.ListUsers(office_pb2.ListUsersRequest(), timeout=_SECONDS)
    rows = [
        (user.user_id, user.state, _roles(user), user.created_by, user.created_at) for user in reply.users
    ]
    head = ("USER", "STATE", "ROLES", "REGISTERED BY", "AT")
    show(reply, as_json, lambda: table(rows, head) if rows else ["No users are registered."])


@users.command("roles")
@click.argument("user_id", metavar="USER")
@click.option("--give", type=_ROLE, multiple=True, help="A role to give; may be given several times.")
@click.option("--take", type=_ROLE, multiple=True, help="A role to take away.")
@click.option("--reason", default="", help="Needed where a second person decides.")
@by_option
@config_option
@json_option
def roles_(
    user_id: str,
    give: tuple[str, ...],
    take: tuple[str, ...],
    reason: str,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Give USER roles and take them away. Giving APPROVER or ADMINISTRATOR waits for a second person."""
    from candor_wire.v1 import office_pb2

    request = office_pb2.ChangeRolesRequest(user_id=user_id, give=give, take=take, reason=reason)
    with running_office(config_file, by) as node:
        reply = node.ChangeRoles(request, timeout=_SECONDS)
    show(reply, as_json, lambda: [f"{user_id}: {_roles(reply.user)}.", *_waiting(reply.approval_id)])


@users.command("disable")
@click.argument("user_id", metavar="USER")
@by_option
@config_option
@json_option
def disable(user_id: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """End the access of USER with the next command. What USER proposed can no longer be approved."""
    from candor_wire.v1 import office_pb2

    with running_office(config_file, by) as node:
        reply = node.DisableUser(office_pb2.DisableUserRequest(user_id=user_id), timeout=_SECONDS)
    show(reply, as_json, lambda: [f"{user_id} may not sign in any more."])


@users.command("token")
@click.argument("user_id", metavar="USER")
@click.option(
    "--token-file", type=FILE, required=True, help="Where the token is written, readable for you only."
)
@by_option
@config_option
@json_option
def token(user_id: str, token_file: Path, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Write a new token for USER; the old one ends at once."""
    from candor_wire.v1 import office_pb2

    with _new_file(token_file) as file:
        with running_office(config_file, by) as node:
            reply = node.RenewToken(office_pb2.RenewTokenRequest(user_id=user_id), timeout=_SECONDS)
        os.write(file, reply.token.encode() + b"\n")
    reply.ClearField("token")
    told = [f"The new token of {user_id} is in {token_file}."]
    if reply.approval_id:
        told.append(f"Roles that take two rest until: candor-node approvals approve {reply.approval_id}")
    show(reply, as_json, lambda: told)


@users.command("release")
@click.argument("user_id", metavar="USER")
@by_option
@config_option
@json_option
def release(user_id: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Take the lock off USER that five failed sign-ins have put on."""
    from candor_wire.v1 import office_pb2

    with running_office(config_file, by) as node:
        reply = node.ReleaseUser(office_pb2.ReleaseUserRequest(user_id=user_id), timeout=_SECONDS)
    show(reply, as_json, lambda: [f"{user_id} may sign in again."])


def _roles(user: office_pb2.UserView) -> str:
    return ", ".join(user.roles) or "no role"


def _waiting(approval_id: str) -> list[str]:
    if not approval_id:
        return []
    return [
        f"The other roles wait for a second person, as approval {approval_id}:",
        f"  candor-node approvals approve {approval_id}",
    ]


# --- approvals -------------------------------------------------------------------------------------------


@click.group()
def approvals() -> None:
    """What waits for a second person: voiding, expunging, opening a red record, a policy pack, and more.

    Whoever decides is somebody else than who proposed, with a role for it. What is approved is done at once,
    exactly as it was proposed; a proposal ends after seven days.
    """


@approvals.command("list")
@click.option("--all", "all_", is_flag=True, help="Also those that are decided.")
@by_option
@config_option
@json_option
def list_approvals(all_: bool, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """List proposals, newest first."""
    from candor_wire.v1 import office_pb2

    with running_office(config_file, by) as node:
        reply = node.ListApprovals(office_pb2.ListApprovalsRequest(all=all_), timeout=_SECONDS)
    rows = [
        (each.approval_id, each.operation, each.about, each.state, each.proposed_by, each.expires_at)
        for each in reply.approvals
    ]
    head = ("APPROVAL", "OPERATION", "ABOUT", "STATE", "PROPOSED BY", "ENDS")
    show(reply, as_json, lambda: table(rows, head) if rows else ["Nothing waits for a second person."])


@approvals.command("show")
@click.argument("approval_id", metavar="APPROVAL")
@by_option
@config_option
@json_option
def show_approval(approval_id: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show a proposal whole: what is to be done, and why. The ledger keeps who looked."""
    from candor_wire.v1 import office_pb2

    with running_office(config_file, by) as node:
        reply = node.ShowApproval(office_pb2.ShowApprovalRequest(approval_id=approval_id), timeout=_SECONDS)
    show(reply.approval, as_json, lambda: _lines(reply.approval))


@approvals.command("approve")
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--reason", default="", help="A note that stays with the approval.")
@by_option
@config_option
@json_option
def approve(approval_id: str, reason: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Agree to a proposal as the second person: it is done at once."""
    _decide(config_file, by, as_json, approval_id=approval_id, approve=True, reason=reason)


@approvals.command("reject")
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--reason", required=True, help="Why; stays with the approval.")
@by_option
@config_option
@json_option
def reject(approval_id: str, reason: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Refuse a proposal; nothing is done."""
    _decide(config_file, by, as_json, approval_id=approval_id, approve=False, reason=reason)


@approvals.command("withdraw")
@click.argument("approval_id", metavar="APPROVAL")
@by_option
@config_option
@json_option
def withdraw(approval_id: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Take back what you have proposed yourself."""
    from candor_wire.v1 import office_pb2

    request = office_pb2.WithdrawApprovalRequest(approval_id=approval_id)
    with running_office(config_file, by) as node:
        reply = node.WithdrawApproval(request, timeout=_SECONDS)
    show(reply.approval, as_json, lambda: [f"{reply.approval.approval_id}: {reply.approval.state}."])


def _decide(
    config_file: Path | None, by: str | None, as_json: bool, *, approval_id: str, approve: bool, reason: str
) -> None:
    from candor_wire.v1 import office_pb2

    request = office_pb2.DecideApprovalRequest(approval_id=approval_id, approve=approve, reason=reason)
    with running_office(config_file, by) as node:
        reply = node.DecideApproval(request, timeout=_SECONDS)
    done = f"{reply.approval.approval_id}: {reply.approval.state}."
    show(reply.approval, as_json, lambda: [done])


def _lines(view: office_pb2.ApprovalView) -> list[str]:
    shown = [
        f"{view.approval_id}: {view.operation} about {view.about}, {view.state}",
        f"  proposed by {view.proposed_by} at {view.proposed_at}, ends {view.expires_at}",
    ]
    if view.decided_at:
        shown.append(
            f"  decided by {view.decided_by or 'nobody'} at {view.decided_at} {view.decision_reason}"
        )
    if not view.readable:
        return [*shown, "  What it was about was expunged; nothing else can be read."]
    shown += [f"  reason: {view.reason}"]
    shown += [f"  {name}: {value}" for name, value in sorted(view.arguments.items())]
    if view.lookup_id:
        shown.append(f"  sent: candor-node lookups show {view.lookup_id[:12]}")
    if view.trouble:
        shown.append(f"  not sent: {view.trouble}")
    return shown
