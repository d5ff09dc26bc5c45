"""Whether a member's node is really there: never seen, online, or stale since when.

Rules of this file:
- it is said from the database alone, by whoever asks: the running hub, a command beside it, or one after a
  crash;
- online is who has a stream at a process of this hub that was seen a moment ago: a process that ended without
  a word takes its members along within 15 seconds;
- stale since is the last moment at which a node is known to have been there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from candor_hub.store import Transaction
from candor_hub.store.members import MemberRecord
from candor_proto.ids import NodeId


class Reach(Enum):
    """The three states; the value is what JSON and metrics say."""

    NEVER_SEEN = "never_seen"
    ONLINE = "online"
    STALE = "stale"


@dataclass(frozen=True)
class Presence:
    """`since` is None of a node that was never seen."""

    reach: Reach
    since: datetime | None = None

    @property
    def words(self) -> str:
        if self.since is None:
            return "never seen"
        word = "online" if self.reach is Reach.ONLINE else "stale"
        return f"{word} since {self.since:%Y-%m-%d %H:%M:%S} UTC"


def presences(tx: Transaction, records: tuple[MemberRecord, ...], now: datetime) -> Mapping[NodeId, Presence]:
    """Of each of these members."""
    attached, held_until = tx.replicas.attached(now), tx.replicas.held_until(now)
    found = {}
    for record in records:
        node = record.member.node
        if node in attached:
            found[node] = Presence(Reach.ONLINE, attached[node])
            continue
        seen = [moment for moment in (record.last_seen_at, held_until.get(node)) if moment is not None]
        found[node] = Presence(Reach.STALE, max(seen)) if seen else Presence(Reach.NEVER_SEEN)
    return found
