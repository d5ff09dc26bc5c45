"""What a database says of its own soundness, for `doctor`; each statement only one of the two understands."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

# A larger file is read whole only when somebody takes the time.
QUICK_OCTETS = 512 * 1024 * 1024
QUICK_SECONDS = 7.0


def damage(connection: Connection, octets: int, *, deep: bool) -> str | None:
    """What is damaged in an embedded database of `octets`: "" if every page is whole, None: no time to see.

    A page that is wrong in the file, and right in the write-ahead log, is sound: a power cut in the middle of
    a checkpoint leaves such, and so does a checkpoint under way. SQLCipher's own check reads the file alone;
    what it finds is damage when reading through the log fails too. What the library says names pages and
    indexes, and no value. Raises DBAPIError.
    """
    if octets > QUICK_OCTETS and not deep:
        return None
    raw: Any = connection.connection.dbapi_connection
    until = time.monotonic() + QUICK_SECONDS
    if not deep:
        raw.set_progress_handler(lambda: int(time.monotonic() > until), 10_000)
    pages: list[str] = []
    try:
        pages = [
            str(row[0]) for row in connection.exec_driver_sql("PRAGMA cipher_integrity_check").fetchmany(3)
        ]
        if pages:
            # What is in memory would hide what the file has become.
            connection.exec_driver_sql("PRAGMA shrink_memory")
        rows = connection.exec_driver_sql(f"PRAGMA {'integrity' if deep else 'quick'}_check(3)")
        found = [str(row[0]) for row in rows if row[0] != "ok"]
        found = found and (pages or found)
    except DBAPIError as error:
        if "interrupted" in str(error.orig):
            return None
        if not pages:
            raise
        found = pages
    finally:
        raw.set_progress_handler(None, 0)
    return "; ".join(" ".join(each.split()) for each in found)


@dataclass(frozen=True)
class Replication:
    """What a PostgreSQL primary says of its standbys. `states`: how many there are of each state, such as
    `sync` or `quorum`; None where this user may not see it.
    """

    version: str
    synchronous_names: str
    states: Mapping[str, int] | None = field(default_factory=dict)
    # By which the standby that is furthest behind is behind, in octets of the write-ahead log.
    behind_octets: int | None = None


def replication(connection: Connection) -> Replication:
    """Of the server behind `connection`; raises DBAPIError."""
    version, names = connection.exec_driver_sql(
        "SELECT current_setting('server_version'), current_setting('synchronous_standby_names')"
    ).one()
    rows = connection.exec_driver_sql(
        "SELECT sync_state, pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn)::bigint FROM pg_stat_replication"
    ).fetchall()
    if any(state is None for state, _ in rows):
        return Replication(version, names, None)
    states: dict[str, int] = {}
    for state, _ in rows:
        states[state] = states.get(state, 0) + 1
    behind = [int(lag) for _, lag in rows if lag is not None]
    return Replication(version, names, states, max(behind, default=None))


def unguarded(connection: Connection) -> str:
    """How this connection to a server could be listened to or led elsewhere; empty if it could not."""
    info: Any = getattr(connection.connection.dbapi_connection, "info", None)
    host = info.host if info is not None else ""
    if info is None or host.startswith(("/", "@")) or _is_here(info.hostaddr or host):
        return ""
    if not info.pgconn.ssl_in_use:
        return f"is not encrypted on its way to {host}"
    mode = info.get_parameters().get("sslmode", "prefer")
    return "" if mode == "verify-full" else f"does not check who answers at {host} (sslmode={mode})"


def _is_here(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
