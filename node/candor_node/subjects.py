"""Who was asked about, as traces: what lets this node find misuse of its own lookups (RELIABILITY.md §8).

Rules of this file:
- only the asking node can look for misuse of a subject: blinding hides the subject from everybody else;
- a trace is HMAC-SHA-256, cut to 16 octets, under a key of this database that never leaves it: whoever reads
  the tables without the key, or a report, learns no name;
- of a search it is stored who asked, the person, the name, the surname and the sex code, in the transaction
  that stores the search: what cannot be traced is not asked;
- a mark on a sensitive subject is compared more widely than a search (a changed given name or surname, a
  certificate, digits of the SSN), for asking a second person once too often costs little; and as widely as an
  index would be: whoever would get a hit on the person's record, however names or dates are misspelt, meets
  the mark;
- everything here runs inside the caller's transaction.
"""

from __future__ import annotations

import hmac
import secrets
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from candor_node import ledger
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import InputInvalid, UnknownObject
from candor_proto.ids import LookupId
from candor_proto.matchkeys import GATE_THRESHOLD, Label, gate_weight, record_keys
from candor_proto.normalise import Particulars, Person, normalise

TRACE_OCTETS = 16
HOUR = timedelta(hours=1)
MAX_REASON_CHARACTERS = 500


@dataclass(frozen=True, repr=False)
class TraceKey:
    """The key of this database's traces."""

    octets: bytes

    def __repr__(self) -> str:
        return "TraceKey(<redacted>)"

    def trace(self, kind: str, *parts: str) -> bytes:
        """The trace of some normal forms; kinds do not collide."""
        text = "\x00".join((kind, *parts)).encode()
        return hmac.digest(self.octets, text, "sha256")[:TRACE_OCTETS]

    def full_name(self, first: str, last: str) -> bytes:
        """Of given name and surname as written."""
        person = normalise(Particulars(first=first, last=last))
        return self.trace("full-name", person.first, person.surname)

    def surname(self, last: str) -> bytes:
        return self.trace("surname", normalise(Particulars(last=last)).surname)


@dataclass(frozen=True)
class Subject:
    """The traces of one person who is asked about."""

    person: bytes
    full_name: bytes
    surname: bytes
    sex: str
    # Those by which searches about the person are found again, and those that marks are compared with.
    narrow: frozenset[bytes]
    wide: frozenset[bytes]
    key: TraceKey
    normal: Person = field(repr=False)

    def match_keys(self) -> dict[bytes, Label]:
        """The traces of what the person would stand under in an index, with their labels."""
        found = record_keys(self.normal)
        return {self.key.trace("match-key", one.label.name, one.input.hex()): one.label for one in found}


@dataclass(frozen=True)
class SearchAbout:
    """A search that was about somebody, by id: who asked and when."""

    search_id: LookupId
    user: str
    at: datetime


@dataclass(frozen=True)
class Mark:
    """A subject that takes two people to look up. The reason is a code or a sentence without a name."""

    mark_id: str
    reason: str
    marked_by: str
    marked_at: datetime
    removed_by: str = ""
    removed_at: datetime | None = None


def trace_key(db: Database) -> TraceKey:
    row = db.execute("SELECT value FROM node_secrets WHERE name = 'subject-traces'").fetchone()
    return TraceKey(bytes(row[0]))


def subject(key: TraceKey, particulars: Particulars) -> Subject:
    """The traces of a person. Raises InputInvalid for a field that is too long."""
    person = normalise(particulars)
    narrow = _narrow(key, person)
    return Subject(
        person=key.trace("person", person.first, person.surname, _birth(person)),
        full_name=key.trace("full-name", person.first, person.surname),
        surname=key.trace("surname", person.surname),
        sex=person.sex,
        narrow=narrow,
        wide=narrow | _wide(key, person),
        key=key,
        normal=person,
    )


def _birth(person: Person) -> str:
    return f"{person.year}-{person.month}-{person.day}"


def _surnames(person: Person) -> list[str]:
    names = (person.surname, *person.other_surnames, person.former_last.replace(" ", ""))
    return [name for name in dict.fromkeys(names) if name]


def _narrow(key: TraceKey, person: Person) -> frozenset[bytes]:
    found = {key.trace("person", person.first, name, _birth(person)) for name in _surnames(person)}
    if person.post_state and person.post_id:
        found.add(key.trace("certificate", person.post_state, person.post_id))
    return frozenset(found)


def _wide(key: TraceKey, person: Person) -> frozenset[bytes]:
    born, found = _birth(person), set[bytes]()
    if not (person.year and person.month and person.day):
        return frozenset(key.trace("full-name", person.first, name) for name in _surnames(person))
    found |= {key.trace("born", name, born) for name in _surnames(person)}
    if person.first:
        found.add(key.trace("given", person.first, born))
    if person.ssn4:
        found.add(key.trace("digits", person.ssn4, born))
    return frozenset(found)


# --- searches ------------------------------------------------------------------------------------------


def note(
    db: Database, search_id: LookupId, user: str, about: Subject, at: datetime, batch_id: bytes | None = None
) -> None:
    """Keep the traces of one search."""
    db.execute(
        "INSERT INTO search_subjects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            search_id.value,
            user,
            to_milliseconds(at),
            batch_id,
            about.person,
            about.full_name,
            about.surname,
            about.sex,
        ],
    )
    db.conn.executemany(
        "INSERT INTO search_traces VALUES (?, ?)", [(trace, search_id.value) for trace in about.narrow]
    )


def searches_about(db: Database, particulars: Particulars) -> list[SearchAbout]:
    """The searches of this node about a person: the same name and birth date, or the same certificate."""
    found = subject(trace_key(db), particulars).narrow
    marks = ", ".join("?" * len(found))
    rows = db.execute(
        "SELECT DISTINCT s.search_id, s.user_id, s.at FROM search_traces AS t JOIN search_subjects AS s"  # noqa: S608
        f" USING (search_id) WHERE t.trace IN ({marks}) ORDER BY s.at, s.search_id",
        list(found),
    ).fetchall()
    return [SearchAbout(LookupId(search_id), user, from_milliseconds(at)) for search_id, user, at in rows]


def subjects_in_last_hour(db: Database, user: str, now: datetime, besides: bytes) -> int:
    """How many distinct people a user has asked about singly within the hour, one person aside."""
    row = db.execute(
        "SELECT count(DISTINCT person) FROM search_subjects"
        " WHERE user_id = ? AND at > ? AND batch_id IS NULL AND person <> ?",
        [user, to_milliseconds(now - HOUR), besides],
    ).fetchone()
    return int(row[0])


# --- marks ---------------------------------------------------------------------------------------------


def mark(db: Database, now: datetime, particulars: Particulars, reason: str, by: str) -> str:
    """Mark a subject as sensitive; the id of the mark. Raises InputInvalid."""
    person = normalise(particulars)
    if not (person.first and person.surname and person.year and person.month and person.day):
        raise InputInvalid(
            "A mark needs first and last name and the whole birth date.",
            remedy="With less it would catch other people, or miss the one it is for.",
        )
    if not reason.strip() or len(reason) > MAX_REASON_CHARACTERS:
        raise InputInvalid(
            f"A mark needs a reason of at most {MAX_REASON_CHARACTERS} characters.",
            remedy="Say why in a sentence without names, for example `relative of staff`.",
        )
    key, mark_id = trace_key(db), secrets.token_bytes(8)
    about = subject(key, particulars)
    found = about.wide | about.match_keys().keys()
    found |= {key.trace("full-name", person.first, name) for name in _surnames(person)}
    db.execute(
        "INSERT INTO sensitive_subjects (mark_id, reason, marked_by, marked_at) VALUES (?, ?, ?, ?)",
        [mark_id, reason.strip(), by, to_milliseconds(now)],
    )
    db.conn.executemany("INSERT INTO sensitive_traces VALUES (?, ?)", [(trace, mark_id) for trace in found])
    ledger.append(db, now, "sensitive.marked", {"mark_id": mark_id.hex()}, {"by": by})
    return mark_id.hex()


def unmark(db: Database, now: datetime, mark_id: str, reason: str, by: str) -> None:
    """Take a mark away; it stays in the list. Raises UnknownObject or InputInvalid."""
    if not reason.strip() or len(reason) > MAX_REASON_CHARACTERS:
        raise InputInvalid("Taking a mark away needs a reason.", remedy="Say why with --reason.")
    known = next((each for each in marks(db) if each.mark_id == mark_id and each.removed_at is None), None)
    if known is None:
        raise UnknownObject(
            "There is no such mark.", remedy="`candor-node review sensitive list` shows them."
        )
    octets = bytes.fromhex(mark_id)
    db.execute("DELETE FROM sensitive_traces WHERE mark_id = ?", [octets])
    db.execute(
        "UPDATE sensitive_subjects SET removed_by = ?, removed_at = ?, reason = reason || ?"
        " WHERE mark_id = ?",
        [by, to_milliseconds(now), f"; taken away: {reason.strip()}", octets],
    )
    # A reason may name somebody after all: it stands in the list of marks, never in the ledger.
    ledger.append(db, now, "sensitive.unmarked", {"mark_id": mark_id}, {"by": by})


def marks(db: Database) -> list[Mark]:
    """Every mark, also those that were taken away, oldest first."""
    rows = db.execute(
        "SELECT mark_id, reason, marked_by, marked_at, removed_by, removed_at FROM sensitive_subjects"
        " ORDER BY marked_at, mark_id"
    ).fetchall()
    return [
        Mark(
            bytes(mark_id).hex(),
            reason,
            by,
            from_milliseconds(at),
            removed_by,
            None if removed_at is None else from_milliseconds(removed_at),
        )
        for mark_id, reason, by, at, removed_by, removed_at in rows
    ]


def any_marked(db: Database) -> bool:
    """Whether any subject is marked now."""
    return db.execute("SELECT 1 FROM sensitive_traces LIMIT 1").fetchone() is not None


def sensitive(db: Database, about: Subject) -> bool:
    """Whether a mark fits this subject: by one wide trace, or by match keys that open the gate together."""
    if _met(db, about.wide):
        return True
    if not any_marked(db):
        return False
    keys, hit = about.match_keys(), defaultdict[bytes, set[Label]](set)
    for mark_id, trace in _met(db, keys):
        hit[mark_id].add(keys[trace])
    return any(gate_weight(labels) >= GATE_THRESHOLD for labels in hit.values())


def _met(db: Database, traces: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """Which of these traces belong to which mark."""
    marks = ", ".join("?" * len(traces))
    sql = f"SELECT mark_id, trace FROM sensitive_traces WHERE trace IN ({marks})"  # noqa: S608
    return db.execute(sql, list(traces)).fetchall()
