"""The weekly review of how this node was used, and that somebody has read it (CJIS AU-6).

Rules of this file:
- it shows ids, users, counts and case numbers, never whom anybody asked about; an auditor who needs that
  demands that a lookup be opened;
- the sample cannot be chosen by those who are sampled: it follows from the digest of the first entry that the
  ledger got after the week was over. Anybody with the ledger draws the same again;
- what is signed is the very review that was read, by its digest; a week is signed once, after it is over;
- everything here runs inside the caller's transaction.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from candor_node import approvals, ledger, subjects, users
from candor_node.ledger import Entry
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import AlreadyExists, InputInvalid, WrongStanding
from candor_records.detectors import HISTORY, WEEK, Acted, Asked, Profile, Requested, detect
from candor_records.roles import Actor, Operation

SAMPLE_SHARE, SAMPLE_LEAST = 0.01, 5
WEEKS_LOOKED_BACK = 8
MAX_NOTE_CHARACTERS = 2000
_SHOWN_EVIDENCE = 10
_WEEK = re.compile(r"(\d{4})-W(\d{2})\Z")
_MOST_ENTRIES = 100_000


@dataclass(frozen=True)
class Week:
    """A calendar week (ISO 8601) in UTC, from Monday."""

    start: datetime

    @classmethod
    def parse(cls, text: str) -> Week:
        """Raises InputInvalid."""
        found = _WEEK.match(text)
        try:
            if found:
                monday = datetime.fromisocalendar(int(found[1]), int(found[2]), 1)
                return cls(monday.replace(tzinfo=UTC))
        except ValueError:
            pass
        raise InputInvalid("A week is written as 2026-W48.", remedy="Weeks begin on Monday, in UTC.")

    @classmethod
    def of(cls, moment: datetime) -> Week:
        year, number, _ = moment.astimezone(UTC).isocalendar()
        return cls(datetime.fromisocalendar(year, number, 1).replace(tzinfo=UTC))

    @property
    def end(self) -> datetime:
        return self.start + WEEK

    def __str__(self) -> str:
        year, number, _ = self.start.isocalendar()
        return f"{year:04d}-W{number:02d}"


@dataclass(frozen=True)
class Section:
    """One table of the review."""

    title: str
    words: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Signature:
    """That somebody read a review."""

    week: str
    signed_by: str
    signed_at: datetime
    digest: bytes


@dataclass(frozen=True)
class Review:
    """What happened in a week."""

    week: Week
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    signature: Signature | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the tables."""
        told = [[each.title, each.head, each.rows] for each in self.sections]
        text = json.dumps([str(self.week), told], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()


def open_review(db: Database, week: Week, now: datetime, actor: Actor) -> Review:
    """The review of a week, and an account of who looked at it."""
    ledger.append(db, now, "review.opened", {"week": str(week)}, {"by": actor.user})
    return build(db, week, now)


def sign(db: Database, week: Week, now: datetime, actor: Actor, digest: bytes, note: str) -> Signature:
    """Record that a review was read. Raises WrongStanding, AlreadyExists or InputInvalid."""
    if now < week.end:
        raise WrongStanding("This week is not over yet.", remedy="Sign it once it is.")
    if len(note) > MAX_NOTE_CHARACTERS:
        raise InputInvalid(f"A note has at most {MAX_NOTE_CHARACTERS} characters.", remedy="Shorten it.")
    if signature(db, week) is not None:
        raise AlreadyExists("This week was signed already.")
    review = build(db, week, now)
    if review.digest != digest:
        raise WrongStanding(
            "The review has changed since it was read.",
            remedy="Open it again with `candor-node review weekly`, then sign that.",
        )
    db.execute(
        "INSERT INTO reviews VALUES (?, ?, ?, ?, ?)",
        [str(week), actor.user, to_milliseconds(now), digest, note.strip()],
    )
    details: dict[str, ledger.Value] = {
        "by": actor.user,
        "digest": digest.hex(),
        "alerts": len(review.sections[0].rows),
    }
    ledger.append(db, now, "review.signed", {"week": str(week)}, details)
    return Signature(str(week), actor.user, now, digest)


def signature(db: Database, week: Week) -> Signature | None:
    row = db.execute(
        "SELECT week, signed_by, signed_at, digest FROM reviews WHERE week = ?", [str(week)]
    ).fetchone()
    return None if row is None else Signature(row[0], row[1], from_milliseconds(row[2]), bytes(row[3]))


def due(db: Database, now: datetime) -> list[str]:
    """Whole weeks of the last two months in which somebody was asked about or something took two people, and
    that nobody has signed."""
    found, week = [], Week.of(now)
    for _ in range(WEEKS_LOOKED_BACK):
        week = Week(week.start - WEEK)
        moments = [to_milliseconds(week.start), to_milliseconds(week.end)]
        used = db.execute(
            "SELECT 1 FROM search_subjects WHERE at >= ?1 AND at < ?2 UNION ALL SELECT 1 FROM approvals"
            " WHERE (proposed_at >= ?1 AND proposed_at < ?2) OR (decided_at >= ?1 AND decided_at < ?2)"
            " LIMIT 1",
            moments,
        ).fetchone()
        if used is not None and signature(db, week) is None:
            found.append(str(week))
    return sorted(found)


# --- the tables ----------------------------------------------------------------------------------------


def build(db: Database, week: Week, now: datetime) -> Review:
    """The review as it is now."""
    known, asked = users.list_users(db), _asked(db, week.start - HISTORY, week.end)
    entries = ledger.entries(db, during=(week.start, week.end), limit=_MOST_ENTRIES)
    inside = [each for each in asked if each.at >= week.start]
    seed, notes = ledger.first_digest(db, week.end), []
    if now < week.end:
        notes.append("This week is not over yet: what is shown is what happened so far.")
    if seed is None:
        notes.append("The sample is drawn once the ledger has an entry from after this week.")
    if not known:
        notes.append("No users are registered: names at this node prove nothing.")
    sections = (
        _alerts(db, week, asked, known, entries),
        _sample(db, inside, seed),
        _use(inside),
        _approvals(db, week),
        _marks(db, week),
        _late_matches(entries),
        _counted("Changes of users", "Who was registered, given or denied access.", entries, _USER_CHANGES),
        _counted("Administrators' views", "What administrators looked at.", entries, _VIEWS),
        _counted(
            "Refused at the door", "Failed sign-ins, locks, and operations without a role.", entries, _DOOR
        ),
        _counted("Refused second persons", "Own proposals, or no role for it.", entries, _ATTEMPTS),
        _counted("Records opened", "Who opened own and received records.", entries, _OPENED),
    )
    return Review(week, sections, tuple(notes), signature(db, week))


_USER_CHANGES = ("user.added", "user.changed", "user.disabled", "user.token_renewed", "user.released")
_VIEWS = ("user.administrator_viewed",)
_DOOR = ("user.refused", "user.locked", "user.denied")
_ATTEMPTS = ("approval.self_attempt", "approval.refused")
_OPENED = ("record.viewed", "disclosure.viewed")


def _asked(db: Database, since: datetime, until: datetime) -> list[Asked]:
    rows = db.execute(
        "SELECT search_id, user_id, at, person, full_name, surname, sex, batch_id FROM search_subjects"
        " WHERE at >= ? AND at < ? ORDER BY at, search_id",
        [to_milliseconds(since), to_milliseconds(until)],
    ).fetchall()
    return [
        Asked(
            search_id.hex(), user, from_milliseconds(at), person, full_name, surname, sex, batch is not None
        )
        for search_id, user, at, person, full_name, surname, sex, batch in rows
    ]


def _requested(db: Database, since: datetime, until: datetime) -> list[Requested]:
    rows = db.execute(
        "SELECT request_id, requester, records.record_id, received_at FROM received_requests"
        " JOIN records USING (dcn) WHERE received_at >= ? AND received_at < ?",
        [to_milliseconds(since), to_milliseconds(until)],
    ).fetchall()
    return [
        Requested(request_id.hex(), agency, record_id.hex(), from_milliseconds(at))
        for request_id, agency, record_id, at in rows
    ]


def _alerts(
    db: Database, week: Week, asked: Sequence[Asked], known: Iterable[users.User], entries: Iterable[Entry]
) -> Section:
    profiles = [
        Profile(user.user_id, user.full_name, user.surname, user.rarity, user.ended_at()) for user in known
    ]
    acted = [Acted(user, entry.at, f"ledger:{entry.number}") for entry in entries if (user := _who(entry))]
    requested = _requested(db, week.end - timedelta(days=28), week.end)
    found = detect(week.start, asked, profiles, acted, requested)
    return Section(
        "Alerts",
        "A reason to ask, not a finding: ask for the papers of these lookups, and note what came of it.",
        ("DETECTOR", "USER", "COUNT", "WHAT WAS SEEN", "EVIDENCE"),
        tuple(
            (each.detector.value, each.user or "-", str(each.count), each.words, _evidence(each.evidence))
            for each in found
        ),
    )


def _who(entry: Entry) -> str:
    """Who did what an entry accounts for; "" where it does not say."""
    if entry.event in ("user.refused", "user.denied", "import.done"):
        return entry.refs.get("user", "")
    return str(entry.details.get("by", ""))


def _evidence(ids: Sequence[str]) -> str:
    shown = ", ".join(each[:12] for each in ids[:_SHOWN_EVIDENCE])
    return f"{shown} and {len(ids) - _SHOWN_EVIDENCE} more" if len(ids) > _SHOWN_EVIDENCE else shown


def draw(asked: Sequence[Asked], seed: bytes) -> list[Asked]:
    """Of each user's searches one in a hundred and at least five: those whose digest under `seed` is least.

    Five a week are five a month whenever a user has asked so often.
    """
    of_user: dict[str, list[Asked]] = defaultdict(list)
    for each in asked:
        of_user[each.user].append(each)
    drawn = []
    for user in sorted(of_user):
        events = of_user[user]
        count = max(SAMPLE_LEAST, math.ceil(SAMPLE_SHARE * len(events)))
        drawn += sorted(events, key=lambda each: _lot(seed, each.search_id))[:count]
    return drawn


def _lot(seed: bytes, search_id: str) -> bytes:
    return hashlib.sha256(seed + bytes.fromhex(search_id)).digest()


def _sample(db: Database, inside: Sequence[Asked], seed: bytes | None) -> Section:
    rows = []
    for each in draw(inside, seed) if seed is not None else ():
        row = db.execute(
            "SELECT case_number, purpose FROM searches WHERE search_id = ?", [bytes.fromhex(each.search_id)]
        ).fetchone()
        case = row[0] if row else ""
        rows.append((each.user, each.search_id[:12], f"{each.at:%Y-%m-%d %H:%M}", case))
    return Section(
        "Sample",
        "Drawn by the ledger, not by people: look for the papers of each of these lookups.",
        ("USER", "LOOKUP", "ASKED AT", "CASE"),
        tuple(rows),
    )


def _use(inside: Sequence[Asked]) -> Section:
    rows = []
    for user in sorted({each.user for each in inside}):
        own = [each for each in inside if each.user == user]
        batch = sum(each.in_batch for each in own)
        rows.append((user, str(len(own) - batch), str(batch), str(len({each.person for each in own}))))
    return Section(
        "Use", "Who asked how often.", ("USER", "LOOKUPS", "ROWS OF BATCHES", "DISTINCT PEOPLE"), tuple(rows)
    )


def _approvals(db: Database, week: Week) -> Section:
    found = approvals.during(db, week.start, week.end)
    return Section(
        "What took two people",
        "Deferrals of visibility are DEFER_VISIBILITY; lookups of sensitive subjects, of many people and "
        "of long batches are LOOK_UP_SENSITIVE. What was proposed in one week and decided in another stands "
        "in both.",
        ("APPROVAL", "OPERATION", "ABOUT", "PROPOSED BY", "STATE", "DECIDED BY", "REASON"),
        tuple(
            (
                str(each.approval_id),
                each.operation.value,
                each.about,
                each.proposed_by,
                each.state.value,
                each.decided_by or "-",
                each.reason if each.operation in _REASONS_SHOWN else "",
            )
            for each in found
        ),
    )


# Reasons about records may say something of a person; these are about use.
_REASONS_SHOWN = (Operation.LOOK_UP_SENSITIVE, Operation.GRANT_ROLE, Operation.ADOPT_PACK)


def _marks(db: Database, week: Week) -> Section:
    rows = []
    for each in subjects.marks(db):
        if week.start <= each.marked_at < week.end:
            rows.append(("marked", each.mark_id, each.marked_by))
        if each.removed_at is not None and week.start <= each.removed_at < week.end:
            rows.append(("mark removed", each.mark_id, each.removed_by))
    return Section("Sensitive subjects", "Marks set and taken away.", ("WHAT", "MARK", "BY"), tuple(rows))


def _late_matches(entries: Iterable[Entry]) -> Section:
    """Out of the ledger, which says the same in every later week."""
    what = {"lookup.late_match": "came late", "lookup.seen": "acknowledged"}
    rows = [
        (
            entry.refs.get("search_id", "-")[:12],
            what[entry.event],
            entry.at.strftime("%Y-%m-%d %H:%MZ"),
            str(entry.details.get("by", "-")),
        )
        for entry in entries
        if entry.event in what
    ]
    return Section(
        "Late matches",
        "Candidates that came after a result had been shown, and who said that they had seen them. What "
        "nobody has acknowledged by now is under `lookups list --news`.",
        ("LOOKUP", "WHAT", "WHEN", "BY"),
        tuple(rows),
    )


def _counted(title: str, words: str, entries: Iterable[Entry], events: Sequence[str]) -> Section:
    counts: Counter[tuple[str, str, str]] = Counter()
    for entry in entries:
        if entry.event in events:
            by = str(entry.details.get("by", "-"))
            what = entry.refs.get("operation") or str(
                entry.details.get("why", entry.details.get("roles", ""))
            )
            counts[f"{entry.event} {what}".strip(), entry.refs.get("user", "-"), by] += 1
    rows = tuple((*key, str(count)) for key, count in sorted(counts.items()))
    return Section(title, words, ("WHAT", "USER", "BY", "TIMES"), rows)
