"""Checks of what passes between the members: indexes, mail, the log; and of what waits for people."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta

from candor_certs.lifetime import span
from candor_node import amendments, dues, packs, recall_store
from candor_node.driver import Database, DatabaseError, explain, open_database
from candor_node.findings.look import Look, not_joined
from candor_node.findings.readings import STUCK_AFTER, Queue, Readings
from candor_node.tlog.log_folder import LogFolder
from candor_node.tlog.view import lasting
from candor_proto.directory import MAX_HEAD_AGE
from candor_proto.errors import LogInconsistent, LogUnwitnessed
from candor_proto.tlog.age import MAX_CURRENT, MAX_LATE
from candor_records.gate import gate_day
from candor_watch.findings import Check, Figure, Finding, Once, bad, good, in_thread, warning

MAX_MAIL_AGE = timedelta(hours=1)
MAX_SHOWN = 8
MAX_OVERDUE = 1_000


class Exchange:
    """Checks of the federation as this node sees it."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._config = look.config
        self._owed = Once(self._read_owed)

    def checks(self) -> Mapping[str, Check]:
        return {
            "index": self.index,
            "copies": self.copies,
            "sharing": self.sharing,
            "outbox": self.outbox,
            "inbox": self.inbox,
            "log": self.log,
            "kept_log": self.kept_log,
            "witness": self.witness,
            "users": self.users,
            "review": self.review,
            "overdue": self.overdue,
            "recalls": self.recalls,
            "late_matches": self.late_matches,
        }

    # --- indexes -------------------------------------------------------------------------------------------

    async def index(self) -> Finding:
        if not self._look.joined:
            return not_joined("index")
        found: Readings = await self._look.readings()
        issued = found.own_index_issued_at
        if issued is None:
            return warning(
                "index", "This node has published no index yet.", "Let it run; it publishes by itself."
            )
        age = self._look.now - issued
        figures: dict[str, Figure] = {
            "age_seconds": round(age.total_seconds()),
            "confirmed": found.own_index_confirmed,
        }
        told = f"This node's index was signed {span(age)} ago."
        if age > MAX_HEAD_AGE:
            told += " Others pass it over as stale: nothing that is filed here is found."
            return bad("index", told, "Let the node run and reach the hub; it signs daily.", **figures)
        if not found.own_index_confirmed:
            told += " The hub has not confirmed it yet."
            return warning("index", told, "Let the node run and reach the hub.", **figures)
        return good("index", told, **figures)

    async def copies(self) -> Finding:
        if not self._look.joined:
            return not_joined("copies")
        found, status = await self._look.readings(), await self._look.status()
        now = self._look.now
        none = sorted(str(node) for node, issued in found.others.items() if issued is None)
        stale = sorted(
            f"{node} ({span(now - issued)})"
            for node, issued in found.others.items()
            if issued is not None and now - issued > MAX_HEAD_AGE
        )
        missing = sorted(
            member.node
            for member in (status.members if status is not None else ())
            if member.active and member.epoch and not member.index_held and member.node != self._config.node
        )
        figures: dict[str, Figure] = {
            "members": len(found.others),
            "without": len(none),
            "stale": len(stale),
            "not_held": len(missing) if status is not None else None,
        }
        told = [
            f"{words} {_some(names)}"
            for words, names in (
                ("older than 36 hours:", stale),
                ("not held here:", missing),
                ("nothing published:", none),
            )
            if names
        ]
        if told:
            remedy = "Lookups say who is missing. Call those agencies; not held: see `hub` and `disk_space`."
            return warning("copies", f"Of {len(found.others)} others: {'; '.join(told)}.", remedy, **figures)
        return good("copies", f"The indexes of all {len(found.others)} others are fresh.", **figures)

    async def sharing(self) -> Finding:
        found: Readings = await self._look.readings()
        if found.went_back:
            return bad("sharing", found.went_back, "Run: candor-node restore review; then `restore confirm`.")
        return good("sharing", "The database has not gone back, or a person has confirmed it.")

    # --- mail ----------------------------------------------------------------------------------------------

    async def outbox(self) -> Finding:
        found: Readings = await self._look.readings()
        waits = self._queue(
            "outbox", found.outbox, "to be sent", "See `hub`: they go out once it is reached."
        )
        if waits.good and found.dead_letters:
            told = f"{found.dead_letters} messages were refused by the hub for good."
            return warning(
                "outbox", told, "See why: candor-node status.", dead=found.dead_letters, **waits.figures
            )
        return waits

    async def inbox(self) -> Finding:
        found: Readings = await self._look.readings()
        remedy = "Let the node run; if it does, see `log` and `clock`: with either wrong it judges nothing."
        return self._queue("inbox", found.inbox, "to be judged", remedy)

    def _queue(self, key: str, queue: Queue, to_be: str, remedy: str) -> Finding:
        age = self._look.now - queue.since if queue.since else timedelta(0)
        figures: dict[str, Figure] = {"stuck": queue.stuck, "oldest_seconds": round(age.total_seconds())}
        if not queue.stuck:
            return good(key, f"Nothing has waited {to_be} for more than {lasting(STUCK_AFTER)}.", **figures)
        told = f"{queue.stuck} messages wait {to_be}, the oldest for {span(age)}."
        make = bad if age > MAX_MAIL_AGE else warning
        return make(key, told, remedy, **figures)

    # --- the log -------------------------------------------------------------------------------------------

    async def log(self) -> Finding:
        """What contradicts itself comes before what is old, and old before who does not sign."""
        if not self._look.joined:
            return not_joined("log")
        self._config.own_log_policy()
        status, found = await self._look.status(), await self._look.readings()
        log = status.log if status is not None else None
        if log is not None and log.alarms:
            raise LogInconsistent(
                " ".join(log.alarms),
                remedy="`candor-node status` shows all of it; keep this node's database.",
            )
        if log is not None and log.notice:
            raise LogUnwitnessed(
                log.notice + (f" It was not followed the last time: {log.trouble}" if log.trouble else ""),
                remedy="See that the hub can be reached; call the agencies whose nodes do not sign, or the "
                "hub's operator.",
            )
        if found.log_witnessed_at is None:
            return warning(
                "log", "The federation's log was not read yet.", "Let the node run and reach the hub."
            )
        age = self._look.now - found.log_witnessed_at
        figures: dict[str, Figure] = {"age_seconds": round(age.total_seconds()), "entries": found.log_size}
        told = f"{found.log_origin} was read to its {found.log_size}th entry, witnessed {lasting(age)} ago"
        if age > MAX_CURRENT:
            if status is None:
                return warning(
                    "log", f"{told}; the node does not run.", "Start it; it catches up by itself.", **figures
                )
            closed = " This node asks and answers nothing." if age > MAX_LATE else ""
            return bad("log", f"{told}.{closed}", "Call the hub's operator; see `hub`.", **figures)
        missing = f"; not signing: {', '.join(log.missing)}" if log is not None and log.missing else ""
        return good("log", f"{told}{missing}.", **figures)

    async def kept_log(self) -> Finding:
        """When the hub is gone, these files are what a successor is founded from (docs/succession.md)."""
        if not self._look.joined:
            return not_joined("kept_log")
        found: Readings = await self._look.readings()
        folder = self._config.kept_log_folder
        head = await asyncio.to_thread(LogFolder(folder).head, found.log_shard)
        held = head.size if head is not None else 0
        figures: dict[str, Figure] = {"entries": held, "read": found.log_size}
        if held < found.log_size:
            told = f"Of {found.log_size} entries of the log that were read, {held} are kept in {folder}."
            remedy = (
                "Let the node run: it copies what is missing. If it does not, its log says what hinders it."
            )
            return warning("kept_log", told, remedy, **figures)
        return good("kept_log", f"{held} entries of the log are kept in {folder}.", **figures)

    async def witness(self) -> Finding:
        """Whether the hub asks this node's own witness, as it asks every member's."""
        if not self._look.joined:
            return not_joined("witness")
        found: Readings = await self._look.readings()
        signed, status = found.witness_signed_at, await self._look.status()
        if signed is None:
            return warning(
                "witness", "This node's witness has signed no head yet.", "Let the node run and be attached."
            )
        age = self._look.now - signed
        figures: dict[str, Figure] = {"age_seconds": round(age.total_seconds())}
        told = f"This node's witness signed last {lasting(age)} ago."
        if age > MAX_CURRENT and status is not None and status.attached:
            remedy = "Tell the hub's operator: the hub is attached to, and does not ask this witness."
            return warning("witness", told, remedy, **figures)
        return good("witness", told, **figures)

    # --- people --------------------------------------------------------------------------------------------

    async def users(self) -> Finding:
        found: Readings = await self._look.readings()
        if not found.users:
            told = "No users are registered: whoever may use the socket may do everything, under any name."
            return warning("users", told, "Begin with: candor-node users add", users=0)
        told = f"{found.users} users are registered; nobody acts without signing in."
        return good("users", told, users=found.users)

    async def review(self) -> Finding:
        found: Readings = await self._look.readings()
        if found.reviews_due:
            told = f"Nobody has reviewed how this node was used in {', '.join(found.reviews_due)}."
            remedy = f"Run: candor-node review weekly --week {found.reviews_due[0]}; then `review sign`."
            return warning("review", told, remedy, weeks=len(found.reviews_due))
        return good("review", "No past week waits for its review.", weeks=0)

    async def _read_owed(self) -> tuple[str, int, int, int]:
        def read(db: Database) -> tuple[str, int, int, int]:
            policy = packs.in_force(db)
            yesterday = gate_day(self._look.now) - timedelta(days=1)
            overdue = dues.dues(db, yesterday, limit=MAX_OVERDUE, overdue_days=policy.overdue_days)
            return policy.label, len(overdue), recall_store.count_unread(db), len(amendments.waiting(db))

        def work() -> tuple[str, int, int, int]:
            db = open_database(self._config.database_file, self._config.database_key())
            with closing(db.conn):
                try:
                    return read(db)
                except DatabaseError as error:
                    raise explain(error, self._config.database_file) from None

        return await in_thread(work)

    async def overdue(self) -> Finding:
        policy, overdue, _, _ = await self._owed()
        if overdue:
            told = (
                f"{overdue} things are overdue under {policy}: notices, answers, reviews, ends of retention "
                "or recalls."
            )
            return warning(
                "overdue",
                told,
                "People see to them: candor-node records due; candor-node recalls list.",
                count=overdue,
            )
        return good("overdue", f"Nothing is overdue under {policy}.", count=0)

    async def recalls(self) -> Finding:
        _, _, unread, _ = await self._owed()
        if unread:
            told = f"Nobody here has read {unread} recalls of records that others released to this agency."
            return warning(
                "recalls", told, "Run: candor-node recalls list; then `recalls acknowledge`.", count=unread
            )
        return good("recalls", "No recall of a record that others released waits to be read.", count=0)

    async def late_matches(self) -> Finding:
        _, _, _, late = await self._owed()
        if late:
            told = (
                f"{late} lookups have a candidate that came after their result was shown, and nobody has "
                "acknowledged it."
            )
            return warning(
                "late_matches", told, "Run: candor-node lookups list --news; then `lookups seen`.", count=late
            )
        return good("late_matches", "No late match waits to be acknowledged.", count=0)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_SHOWN])
    return shown + (f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else "")
