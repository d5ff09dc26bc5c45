"""Checks of the members as the hub sees them: who is there, their indexes, what waits, what they used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from candor_certs.lifetime import span
from candor_hub.findings.look import Look, Stored
from candor_proto.directory import MAX_HEAD_AGE
from candor_proto.ids import NodeId
from candor_watch.findings import Check, Figure, Finding, bad, good, unknown, warning
from candor_watch.versions import own_version, release
from candor_wire.limits import MAX_MAILBOX_ROWS_PER_RECIPIENT

AWAY_AFTER = timedelta(hours=24)
MAX_SHOWN = 8


class Members:
    """Checks of the members; their names stand in the findings, and nobody's else."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def checks(self) -> Mapping[str, Check]:
        return {
            "members": self.members,
            "indexes": self.indexes,
            "mailbox": self.mailbox,
            "quotas": self.quotas,
            "versions": self.versions,
        }

    async def members(self) -> Finding:
        stored: Stored = await self._look.stored()
        running, now = await self._look.running(), self._look.now
        active = [each for each in stored.members if each.counts]
        attached = {str(node) for node in stored.online} | set(_names(running, "attached"))
        never = [
            str(each.node) for each in active if each.last_seen_at is None and str(each.node) not in attached
        ]
        away = [
            f"{each.node} ({span(now - each.last_seen_at)})"
            for each in active
            if each.last_seen_at is not None
            and now - each.last_seen_at > AWAY_AFTER
            and str(each.node) not in attached
        ]
        figures: dict[str, Figure] = {
            "active": len(active),
            "attached": len(attached),
            "never_seen": len(never),
            "away": len(away),
        }
        told = [
            f"{words} {some(names)}"
            for words, names in (("not seen for a day:", away), ("never seen:", never))
            if names
        ]
        if told:
            remedy = "Call those agencies: while they are away every lookup is incomplete."
            ended = [str(each.node) for each in active if each.node not in stored.certified]
            if ended:
                remedy += (
                    f" No good certificate is left to {some(ended)}: each comes back by itself after "
                    f"`candor-hub readmit {' '.join(ended[:MAX_SHOWN])}`, or `candor-hub readmit --all`."
                )
            return warning("members", f"Of {len(active)} members {'; '.join(told)}.", remedy, **figures)
        return good("members", f"All {len(active)} active members were seen within a day.", **figures)

    async def indexes(self) -> Finding:
        stored: Stored = await self._look.stored()
        now = self._look.now
        active = [each for each in stored.members if each.counts]
        none = [str(each.node) for each in active if each.index_issued_at is None]
        stale = [
            f"{each.node} ({span(now - each.index_issued_at)})"
            for each in active
            if each.index_issued_at is not None and now - each.index_issued_at > MAX_HEAD_AGE
        ]
        figures: dict[str, Figure] = {"without": len(none), "stale": len(stale)}
        told = [f"{words} {some(names)}" for words, names in (("stale:", stale), ("none:", none)) if names]
        if told:
            remedy = "Call those agencies: lookups pass their records over, and say so."
            return warning(
                "indexes", f"Indexes of {len(active)} members: {'; '.join(told)}.", remedy, **figures
            )
        return good("indexes", f"The indexes of all {len(active)} active members are fresh.", **figures)

    async def mailbox(self) -> Finding:
        stored: Stored = await self._look.stored()
        waiting, limit = stored.mailbox, MAX_MAILBOX_ROWS_PER_RECIPIENT
        age = self._look.now - waiting.oldest_at if waiting.oldest_at else timedelta(0)
        figures: dict[str, Figure] = {
            "deliveries": waiting.deliveries,
            "oldest_seconds": round(age.total_seconds()),
        }
        full = [str(node) for node, count in waiting.by_recipient.items() if count >= limit]
        half = [str(node) for node, count in waiting.by_recipient.items() if limit / 2 <= count < limit]
        remedy = "Call those agencies: what does not fit is refused, and lookups say whom they did not reach."
        if full:
            return bad("mailbox", f"Full: {some(sorted(full))}.", remedy, **figures)
        if half:
            return warning("mailbox", f"Half full: {some(sorted(half))}.", remedy, **figures)
        told = f"{waiting.deliveries:,} deliveries wait" + (f", the oldest for {span(age)}." if age else ".")
        return good("mailbox", told, **figures)

    async def quotas(self) -> Finding:
        stored: Stored = await self._look.stored()
        total = self._look.config.quota.total
        near = sorted(str(node) for node, used in stored.quota_used.items() if used > 0.9 * total)
        figures: dict[str, Figure] = {"near_the_limit": len(near), "total": total}
        if near:
            told = f"Less than a tenth of its quota is left to {some(near)}."
            return warning(
                "quotas", told, "Talk to that agency; `[quota]` in hub.toml sets the limit.", **figures
            )
        return good("quotas", "Every member has more than a tenth of its quota left.", **figures)

    async def versions(self) -> Finding:
        running, own = await self._look.running(), own_version()
        if running is None:
            return unknown(
                "versions", f"This is {own}; the hub that runs would know its nodes'.", "See `service`."
            )
        told = running.get("versions")
        counts = {str(name): int(count) for name, count in told.items()} if isinstance(told, dict) else {}
        far = sorted(name for name in counts if name and _distance(own, name) > 1)
        figures: dict[str, Figure] = {"own": own, "kinds": len(counts)}
        shown = ", ".join(f"{name or 'unknown'}: {count}" for name, count in sorted(counts.items()))
        if far:
            remedy = "Only neighbouring releases are tested together: have those agencies upgrade."
            return warning("versions", f"This is {own}; attached nodes are {shown}.", remedy, **figures)
        return good("versions", f"This is {own}; attached nodes are {shown or 'none'}.", **figures)


def _distance(own: str, theirs: str) -> int:
    try:
        (major, minor), (their_major, their_minor) = release(own), release(theirs)
    except ValueError:
        return 0
    return abs(minor - their_minor) if major == their_major else 2


def _names(running: Mapping[str, object] | None, key: str) -> Sequence[str]:
    found = (running or {}).get(key)
    return [str(NodeId(name)) for name in found] if isinstance(found, list) else []


def some(names: Sequence[str]) -> str:
    """The first of many."""
    shown = ", ".join(names[:MAX_SHOWN])
    return shown + (f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else "")
