"""`candor-node doctor`: is everything as it should be, and if not, what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc

from candor_certs.profiles import overdue_time, renewal_time
from candor_certs.store import read_certificates, read_identity
from candor_node import backup
from candor_node.clock import Clock, SystemClock
from candor_node.config import NodeConfig, load_config
from candor_node.driver import DatabaseError, explain, open_database
from candor_node.founding import Keys
from candor_node.hub_client import HubClient
from candor_proto.errors import (
    CandorError,
    ConfigInvalid,
    Expired,
    LogInconsistent,
    LogUnwitnessed,
    NotYetValid,
    StoreUnusable,
    Unreachable,
)
from candor_wire.v1 import local_pb2, local_pb2_grpc

SOCKET_SECONDS = 5.0
REJOIN = (
    "ask the hub's operator for an invitation to join again (`candor-hub invite --rejoin`), then run "
    "`candor-node join --rejoin`."
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    well: bool
    message: str
    remedy: str = ""


async def examine(path: Path, clock: Clock | None = None) -> list[Check]:
    """Every check, in order; what cannot be looked at without the settings is left out."""
    clock = clock or SystemClock()
    try:
        config = load_config(path)
    except CandorError as error:
        return [Check("settings", False, error.message, error.remedy)]
    status = await _status(config)
    checks = [Check("settings", True, f"{path} holds the settings of {config.node}.")]
    works: dict[str, Callable[[], Awaitable[str]]] = {
        "keys": lambda: _keys(config),
        "database": lambda: _database(config, status),
        "certificate": lambda: _certificate(config, status, clock),
        "clock": lambda: _clock(config, status, clock),
        "socket": lambda: _socket(config, status),
        "log": lambda: _log(config, status),
        "users": lambda: _users(status),
        "review": lambda: _review(status),
        "overdue": lambda: _overdue(status),
        "recalls": lambda: _recalls(status),
        "late matches": lambda: _late_matches(status),
        "backups": lambda: _backups(config),
    }
    for name, work in works.items():
        try:
            checks.append(Check(name, True, await work()))
        except CandorError as error:
            checks.append(Check(name, False, error.message, error.remedy))
    return checks


async def _status(config: NodeConfig) -> local_pb2.StatusResponse | None:
    """What the running node says; None when it does not run."""
    if not config.socket.exists():
        return None
    async with grpc.aio.insecure_channel(f"unix:{config.socket}") as channel:
        stub = local_pb2_grpc.LocalServiceStub(channel)
        try:
            reply = await stub.Status(local_pb2.StatusRequest(), timeout=SOCKET_SECONDS)
        except grpc.aio.AioRpcError:
            return None
    return reply if isinstance(reply, local_pb2.StatusResponse) else None


async def _keys(config: NodeConfig) -> str:
    Keys.load(config)
    return "Signing key and disclosure key are there, and nobody else may read them."


async def _database(config: NodeConfig, status: local_pb2.StatusResponse | None) -> str:
    key = config.database_key()
    if status is not None:
        return f"The running node has it open: {status.records} records."

    def look() -> None:
        open_database(config.database_file, key).conn.close()

    await asyncio.to_thread(look)
    return f"{config.database_file} opens with its key."


async def _certificate(config: NodeConfig, status: local_pb2.StatusResponse | None, clock: Clock) -> str:
    _ = config.federation_name
    own, now = read_identity(config.tls_identity_file).chain[0], clock.now()
    ends, begins = own.not_valid_after_utc, own.not_valid_before_utc
    if now < begins:
        raise NotYetValid(
            f"The certificate begins on {begins:%Y-%m-%d %H:%M} UTC, this machine's clock says "
            f"{now:%Y-%m-%d %H:%M}.",
            remedy="Set this machine's clock.",
        )
    if now > ends:
        raise Expired(
            f"The certificate ended on {ends:%Y-%m-%d %H:%M} UTC.",
            remedy=REJOIN[0].upper() + REJOIN[1:],
        )
    trouble = status.renewal_trouble if status is not None else ""
    if now >= overdue_time(begins, ends):
        raise Expired(
            f"The certificate ends on {ends:%Y-%m-%d %H:%M} UTC and should have been renewed long ago"
            + (f": {trouble}" if trouble else "; the node does not run." if status is None else "."),
            remedy="Let the node run and reach the hub before then. Afterwards: " + REJOIN,
        )
    left = ends - now
    days = f"{left / timedelta(days=1):.1f} days left"
    due = renewal_time(begins, ends)
    return (
        f"Good until {ends:%Y-%m-%d %H:%M} UTC, {days}; renewed by the running node around "
        f"{due:%Y-%m-%d %H:%M}." + (f" The last attempt failed: {trouble}" if trouble else "")
    )


async def _clock(config: NodeConfig, status: local_pb2.StatusResponse | None, clock: Clock) -> str:
    federation = config.federation_name
    if status is not None:
        if not status.attached:
            raise Unreachable(status.trouble or "The node is not attached to the hub yet.")
        return "The running node is attached, so the clocks agree."
    identity = read_identity(config.tls_identity_file)
    roots = read_certificates(config.root_certificates_file)
    proxy = config.proxy_to(config.hub_address)
    hub = HubClient(config.hub_address, federation, identity, roots, clock, proxy=proxy)
    try:
        difference = clock.now() - await hub.time()
    finally:
        await hub.close()
    return f"The hub's clock and this machine's differ by {abs(difference).total_seconds():.1f} s."


async def _log(config: NodeConfig, status: local_pb2.StatusResponse | None) -> str:
    """What contradicts itself comes before what is old, and old before who does not sign."""
    config.own_log_policy()
    if status is None:
        return "The running node follows the federation's log; it does not run."
    log = status.log
    if log.alarms:
        raise LogInconsistent(
            " ".join(log.alarms), remedy="`candor-node status` shows all of it; keep this node's database."
        )
    if log.notice:
        raise LogUnwitnessed(
            log.notice + (f" It was not followed the last time: {log.trouble}" if log.trouble else ""),
            remedy="See that the hub can be reached, and call the agencies whose nodes do not sign, or the "
            "hub's operator.",
        )
    missing = f"; not signing: {', '.join(log.missing)}" if log.missing else ""
    return (
        f"{log.origin} was read to its {log.size}th entry, witnessed {log.witnessed_at}; {log.witnesses} "
        f"witnesses{missing}."
    )


async def _users(status: local_pb2.StatusResponse | None) -> str:
    if status is None:
        return "The running node knows its users; it does not run."
    if not status.users:
        return (
            "No users are registered: whoever may use the socket may do everything, under any name. "
            "Begin with `candor-node users add`."
        )
    return f"{status.users} users are registered; nobody acts without signing in."


async def _review(status: local_pb2.StatusResponse | None) -> str:
    if status is not None and status.reviews_due:
        raise Expired(
            f"Nobody has reviewed how this node was used in {', '.join(status.reviews_due)}.",
            remedy=f"Run: candor-node review weekly --week {status.reviews_due[0]}; then `review sign`.",
        )
    return "No past week waits for its review."


async def _overdue(status: local_pb2.StatusResponse | None) -> str:
    """Said, and no fault of the installation: a monitor that fails for weeks is switched off."""
    if status is None:
        return "The running node knows what is overdue; it does not run."
    if status.overdue:
        return (
            f"{status.overdue} things are overdue under {status.policy}: notices, answers, reviews, ends of "
            "retention or recalls. People see to them: candor-node records due; candor-node recalls list."
        )
    return f"Nothing is overdue under {status.policy}."


async def _recalls(status: local_pb2.StatusResponse | None) -> str:
    if status is not None and status.recalls_unread:
        return (
            f"Nobody here has read {status.recalls_unread} recalls of records that others released to this "
            "agency: candor-node recalls list; then `recalls acknowledge`."
        )
    return "No recall of a record that others released waits to be read."


async def _late_matches(status: local_pb2.StatusResponse | None) -> str:
    if status is not None and status.late_matches:
        return (
            f"{status.late_matches} lookups have a candidate that came after their result was shown, and "
            "nobody has acknowledged it: candor-node lookups list --news; then `lookups seen`."
        )
    return "No late match waits to be acknowledged."


async def _backups(config: NodeConfig) -> str:
    """Looked up in the database itself, beside the running node or without it."""
    key = config.database_key()

    def look() -> list[str]:
        db = open_database(config.database_file, key)
        with closing(db.conn):
            try:
                return backup.unreachable(db)
            except DatabaseError as error:
                raise explain(error, config.database_file) from None

    if behind := await asyncio.to_thread(look):
        raise StoreUnusable(
            f"Backups in {', '.join(behind)} still hold keys of what was destroyed here since.",
            remedy="Connect their disks while the node runs: it writes the keys anew within a minute.",
        )
    return "No known backup holds a key of what was destroyed here since."


async def _socket(config: NodeConfig, status: local_pb2.StatusResponse | None) -> str:
    if status is None:
        return f"The node is not running; the commands will find it at {config.socket}."
    mode = config.socket.stat().st_mode & 0o777
    if mode != 0o600 or config.socket.parent.stat().st_mode & 0o077:
        raise ConfigInvalid(
            f"{config.socket} may be opened by other users of this machine.",
            remedy=f"Run: chmod 700 {config.socket.parent}; then restart the node.",
        )
    return f"{config.socket} answers, and only this user may open it."
