"""What late answers change of a result that people have seen, and who has seen it since (docs/coverage.md).

Rules of this file:
- whatever changes a line of the coverage or a candidate after the first showing is a revision: it has a
  number and a time, and says what changed. A result that only grew older is none;
- a candidate that came late is an alarm until a person who has looked at it says so; nothing else ends it;
- all of it stays at this node: no message is sent because a result was amended, looked at or acknowledged.

Everything runs inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_node import ledger
from candor_node.lookup_store import SearchRow
from candor_node.store import Database
from candor_node.targets import int_in, time_in
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import InputInvalid
from candor_proto.ids import LookupId, NodeId
from candor_proto.result import MOST_NAMES, Coverage, Hit, LookupResult, Overall, TargetState
from candor_records.roles import same_user


@dataclass(frozen=True)
class Change:
    """What became of one node since the revision before."""

    node: NodeId
    before: TargetState
    after: TargetState
    reason: str = ""


@dataclass(frozen=True)
class Revision:
    """One amendment of a result; `candidates` are new ones, `closed`: the last that there will be."""

    number: int
    at: datetime
    before: Overall
    after: Overall
    changes: tuple[Change, ...]
    answered: int
    asked: int
    candidates: int = 0
    closed: bool = False
    seen_at: datetime | None = None
    seen_by: str = ""

    @property
    def alarm(self) -> bool:
        """Whether it brought a candidate that no person has acknowledged."""
        return self.candidates > 0 and self.seen_at is None

    def words(self) -> tuple[str, ...]:
        """What changed, a phrase each, for example "1 new candidate", "lake-so: pending -> answered"."""
        return summary((self,))


def summary(revisions: Sequence[Revision]) -> tuple[str, ...]:
    """What all of `revisions`, oldest first, changed together."""
    if not revisions:
        return ()
    first, last, parts = revisions[0], revisions[-1], list[str]()
    if first.before is not last.after:
        parts.append(f"{first.before.value} -> {last.after.value}")
    if count := sum(one.candidates for one in revisions):
        parts.append(f"{count} new candidate{'s' * (count != 1)}")
    by_node: dict[NodeId, Change] = {}
    for change in (change for one in revisions for change in one.changes):
        earlier = by_node.get(change.node)
        before = earlier.before if earlier else change.before
        by_node[change.node] = Change(change.node, before, change.after, change.reason)
    named = [_words(by_node[node]) for node in sorted(by_node)]
    parts += named[:MOST_NAMES]
    if more := len(named) - MOST_NAMES:
        parts += [f"and {more} more nodes"] if more > 0 else []
    return tuple(parts)


def _words(change: Change) -> str:
    after = change.after.value + (f" ({change.reason})" if change.reason else "")
    return f"{change.node}: {change.before.value} -> {after}"


# --- amending ------------------------------------------------------------------------------------------


def differences(before: Coverage, after: Coverage) -> tuple[Change, ...]:
    """Nodes whose line says something else; that time has passed is no difference."""
    known = {report.node: report for report in before.reports}
    return tuple(
        Change(report.node, known[report.node].state, report.state, "" if report.answered else report.reason)
        for report in after.reports
        if report.node in known
        and (report.state, report.reason) != (known[report.node].state, known[report.node].reason)
    )


def new_candidates(before: LookupResult, after: LookupResult) -> list[Hit]:
    """Candidates that were not in the result before; one that is set aside is none."""
    known = {(hit.owner, hit.epoch, hit.blob_id) for hit in before.hits if not hit.set_aside}
    return [
        hit for hit in after.hits if not hit.set_aside and (hit.owner, hit.epoch, hit.blob_id) not in known
    ]


def amend(
    db: Database, before: LookupResult, after: LookupResult, now: datetime, *, closed: bool
) -> Revision | None:
    """Number and store what changed of a result that had been shown; None when nothing has.

    A new candidate is an alarm from then on; the caller accounts for it (`account_for`).
    """
    changes = differences(before.coverage, after.coverage)
    candidates = len(new_candidates(before, after))
    if not changes and not candidates and before.overall is after.overall:
        return None
    search_id, found = after.lookup_id, after.coverage
    row = db.execute(
        "UPDATE searches SET revision = revision + 1, amended_at = ? WHERE search_id = ? RETURNING revision",
        (to_milliseconds(now), search_id.value),
    ).fetchone()
    revision = Revision(
        row[0],
        now,
        before.overall,
        after.overall,
        changes,
        found.answered,
        found.asked,
        candidates,
        closed,
    )
    db.execute(
        "INSERT INTO result_changes (search_id, revision, at, before, after, changes, answered, asked,"
        " candidates, closed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            search_id.value,
            revision.number,
            to_milliseconds(now),
            before.overall.value,
            after.overall.value,
            json.dumps([[str(one.node), one.before.value, one.after.value, one.reason] for one in changes]),
            found.answered,
            found.asked,
            candidates,
            int(closed),
        ),
    )
    return revision


def account_for(db: Database, search_id: LookupId, revision: Revision, refs: Mapping[str, str]) -> None:
    """The entry of the ledger for an alarm, if the revision is one."""
    if revision.candidates:
        details: dict[str, ledger.Value] = {"revision": revision.number, "candidates": revision.candidates}
        named = {**refs, "search_id": str(search_id)}
        ledger.append(db, revision.at, "lookup.late_match", named, details)


# --- reading -------------------------------------------------------------------------------------------

_COLUMNS = "revision, at, before, after, changes, answered, asked, candidates, closed, seen_at, seen_by"


def revisions(db: Database, search_id: LookupId) -> list[Revision]:
    """Every amendment of a result, oldest first."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM result_changes WHERE search_id = ? ORDER BY revision",  # noqa: S608
        (search_id.value,),
    ).fetchall()
    return [_read(row) for row in rows]


def _read(row: Sequence[object]) -> Revision:
    number, at, before, after, changes, answered, asked, candidates, closed, seen, seen_by = row
    return Revision(
        int_in(number),
        from_milliseconds(int_in(at)),
        Overall(before),
        Overall(after),
        tuple(
            Change(NodeId(node), TargetState(old), TargetState(new), reason)
            for node, old, new, reason in json.loads(str(changes))
        ),
        int_in(answered),
        int_in(asked),
        int_in(candidates),
        bool(closed),
        time_in(seen),
        str(seen_by),
    )


def waiting(db: Database) -> set[LookupId]:
    """Searches with a late candidate that nobody has acknowledged, rows of batches among them."""
    sql = "SELECT DISTINCT search_id FROM result_changes WHERE candidates > 0 AND seen_at IS NULL"
    return {LookupId(value) for (value,) in db.execute(sql).fetchall()}


def waiting_rows(db: Database, batch_id: bytes) -> list[int]:
    """Rows of a batch with a late candidate that nobody has acknowledged."""
    rows = db.execute(
        "SELECT DISTINCT row FROM result_changes JOIN batch_rows USING (search_id)"
        " WHERE candidates > 0 AND seen_at IS NULL AND batch_id = ? ORDER BY row",
        (batch_id,),
    ).fetchall()
    return [row for (row,) in rows]


# --- looking and acknowledging --------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """Which revision of a result somebody looked at last, and when."""

    revision: int
    at: datetime


def last_look(db: Database, search_id: LookupId, user: str) -> Look | None:
    row = db.execute(
        "SELECT revision, at FROM result_looks WHERE search_id = ? AND user_id = ?", (search_id.value, user)
    ).fetchone()
    return None if row is None else Look(row[0], from_milliseconds(row[1]))


def look(db: Database, search_id: LookupId, user: str, revision: int, now: datetime) -> None:
    """`user` has been shown `revision` of a result. It is no entry of the ledger: nothing came of it."""
    db.execute(
        "INSERT INTO result_looks VALUES (?1, ?2, ?3, ?4) ON CONFLICT (search_id, user_id)"
        " DO UPDATE SET revision = max(revision, ?3), at = ?4",
        (search_id.value, user, revision, to_milliseconds(now)),
    )


@dataclass(frozen=True)
class Account:
    """How a result came to be what it is, as somebody who asks for it sees it.

    `looked` is what they saw last; `concerned`: they asked, or are the officer in charge. A row of a batch
    says which.
    """

    revisions: tuple[Revision, ...] = ()
    looked: Look | None = None
    concerned: bool = False
    batch_id: bytes = b""
    row: int = 0

    @property
    def late_match(self) -> bool:
        return any(one.alarm for one in self.revisions)

    @property
    def since(self) -> tuple[Revision, ...]:
        """The amendments that they have not seen."""
        known = self.looked.revision if self.looked else 0
        return tuple(one for one in self.revisions if one.number > known)

    @property
    def news(self) -> str:
        if self.late_match:
            return LATE_MATCH
        if self.looked is not None and self.since:
            return AMENDED
        return NOT_LOOKED if self.looked is None and self.concerned else ""


LATE_MATCH = "LATE MATCH, not acknowledged"
AMENDED = "amended since you looked"
NOT_LOOKED = "you have not looked yet"


def account(db: Database, row: SearchRow, user: str) -> Account:
    """What `user` is told of a search beside its result."""
    own = db.execute(
        "SELECT batch_id, row FROM batch_rows WHERE search_id = ?", (row.search_id.value,)
    ).fetchone()
    return Account(
        tuple(revisions(db, row.search_id)),
        last_look(db, row.search_id, user),
        row.shown_at is not None
        and row.forgotten_at is None
        and (same_user(row.officer, user) or same_user(_asked_by(db, row.search_id), user)),
        *(own or (b"", 0)),
    )


def _asked_by(db: Database, search_id: LookupId) -> str:
    row = db.execute("SELECT user_id FROM search_subjects WHERE search_id = ?", (search_id.value,)).fetchone()
    return "" if row is None else str(row[0])


def news(db: Database, user: str, limit: int) -> list[LookupId]:
    """Searches of which there is something new for `user`: alarms first, then the last amended."""
    rows = db.execute(
        "SELECT s.search_id, s.officer, coalesce(a.user_id, ''), EXISTS (SELECT 1 FROM result_changes AS c"
        "  WHERE c.search_id = s.search_id AND c.candidates > 0 AND c.seen_at IS NULL) AS alarm,"
        " l.revision IS NULL AS unseen FROM searches AS s"
        " LEFT JOIN result_looks AS l ON l.search_id = s.search_id AND l.user_id = ?"
        " LEFT JOIN search_subjects AS a ON a.search_id = s.search_id"
        " WHERE s.shown_at IS NOT NULL AND s.forgotten_at IS NULL AND (alarm OR l.revision < s.revision"
        "  OR (unseen AND s.batch_id IS NULL))"
        " ORDER BY alarm DESC, coalesce(s.amended_at, s.shown_at) DESC, s.search_id",
        (user,),
    )
    found: list[LookupId] = []
    for search_id, officer, asked_by, alarm, unseen in rows:
        if alarm or not unseen or same_user(officer, user) or same_user(asked_by, user):
            found.append(LookupId(search_id))
        if len(found) == limit:
            break
    return found


def acknowledge(db: Database, search_id: LookupId, user: str, now: datetime) -> int:
    """`user` has seen the late candidates of a result; how many revisions that settles.

    Only those that this person was shown. Raises InputInvalid before the first look.
    """
    seen = last_look(db, search_id, user)
    if seen is None:
        raise InputInvalid(
            "You have not looked at this result yet.",
            remedy=f"Look at it first: candor-node lookups show {str(search_id)[:12]}",
        )
    settled: int = db.execute(
        "UPDATE result_changes SET seen_at = ?, seen_by = ?"
        " WHERE search_id = ? AND revision <= ? AND candidates > 0 AND seen_at IS NULL",
        (to_milliseconds(now), user, search_id.value, seen.revision),
    ).rowcount
    if settled:
        details: dict[str, ledger.Value] = {"revisions": settled, "by": user}
        ledger.append(db, now, "lookup.seen", {"search_id": str(search_id)}, details)
    return settled


def forget(db: Database, search_ids: Iterable[LookupId]) -> int:
    """Forget what changed, with the results; how many late candidates nobody had acknowledged."""
    these = "search_id IN (SELECT unhex(value) FROM json_each(?))"
    ids = json.dumps([str(one) for one in search_ids])
    count = db.execute(
        "SELECT count(DISTINCT search_id) FROM result_changes"  # noqa: S608
        f" WHERE candidates > 0 AND seen_at IS NULL AND {these}",
        [ids],
    ).fetchone()
    db.execute(f"DELETE FROM result_changes WHERE {these}", [ids])  # noqa: S608
    db.execute(f"DELETE FROM result_looks WHERE {these}", [ids])  # noqa: S608
    return int(count[0])
