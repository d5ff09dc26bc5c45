"""Which of two PostgreSQL servers is the primary, when both say so.

A promotion begins a timeline. A primary that was succeeded and comes back is on the older one, and takes
writes as if nothing had happened: who worked on it now would accept what is lost, and append to a log that
goes on elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from candor_proto.errors import StoreUnusable

# Which cluster it is, and on which timeline: that is part of every file's name. 0: it is a standby.
LINEAGE = (
    "SELECT system_identifier::text, CASE WHEN pg_is_in_recovery() THEN 0 "
    "ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END, "
    "pg_postmaster_start_time()::text FROM pg_control_system()"
)


class FormerPrimary(StoreUnusable):
    """A server that was the primary before another one became it."""

    def __init__(self, name: str, timeline: int, newest: int) -> None:
        super().__init__(
            f"The database server {name} is a former primary: it is on timeline {timeline}, and timeline "
            f"{newest} was seen.",
            remedy="Stop it, and make it a standby of the present one (docs/postgresql.md, section 2).",
        )


class Lineage:
    """The newest timeline of each cluster that this process has worked on; for several threads."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._lock = threading.Lock()

    def check(self, told: Sequence[Any] | None, name: str) -> None:
        """`told` is what LINEAGE brought at the server `name`; raises FormerPrimary."""
        cluster, timeline, *_ = told or ("", 0)
        with self._lock:
            newest = self._newest.setdefault(cluster, timeline)
            if timeline < newest:
                raise FormerPrimary(name, timeline, newest)
            self._newest[cluster] = timeline


@dataclass(frozen=True)
class Primaries:
    """Of the servers that are named: who says it is the primary, with its timeline, and who is silent."""

    timelines: Mapping[str, int]
    silent: tuple[str, ...]
