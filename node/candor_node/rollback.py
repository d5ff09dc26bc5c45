"""A database that went back: restored, copied back, or reverted with its machine (docs/backup.md, "Going
back").

    ledger of before:   1 … 940 │ 941 … 967        what was done after the state that is here now
    ledger from now on: 1 … 940 │ 941 … 967 (put back, where they were kept elsewhere) │ 1,000,000 …

Rules of this file:
- a number that was perhaps used is not used again: heads, epochs and the ledger go on at the next full
  million (epochs: thousand), lookups and recalls have random ids;
- what others may hold a signature or an answer of cannot be answered in another way: the seeds of all epochs
  are destroyed, the witness keys retired, and no head is signed before the log has said which ones were;
- what had been done since is done again as far as that is known and safe (`rollback_acts`); nothing is shared
  until a person has read the list and confirmed it, unless the node had ended in order and nothing is
  missing;
- all of it is one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from candor_node import epochs, ledger
from candor_node.journal_files import Frame, Place
from candor_node.ledger import Raw
from candor_node.number_floors import EPOCH, SEQUENCE, raise_floor
from candor_node.rollback_acts import BY, Healed, Healing, heal_act
from candor_node.store import Database
from candor_node.tlog import log_store, watching, witness_store
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import AlreadyExists, CandorError, UnknownObject, WentBack

SEQUENCE_ERA, EPOCH_ERA = 1_000_000, 1_000
# Who confirms where nothing was lost.
BY_ITSELF = "the journal, which is whole"
CONFIRM = "Read `candor-node restore review`, do what it asks for, then `candor-node restore confirm`."


class Cause(Enum):
    """How it was noticed."""

    RESTORED = "a backup was restored"
    JOURNAL = "the journal beside the database, or in the backup folder, is ahead of it"
    BACKUP = "the backup folder holds a newer state"
    LOG = "the federation's log holds what this node signed and does not remember"


@dataclass(frozen=True)
class Tail:
    """Entries of the ledger that were kept elsewhere and are not in this database, oldest first.

    `behind`: the database is. `known_until`: so far the journal reaches; `closed` when its last word is that
    the node ended in order, everywhere where it is kept: one that was away meanwhile cannot know better.
    """

    behind: bool = True
    rows: tuple[Raw, ...] = ()
    requests: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    known_until: datetime | None = None
    last: tuple[int, bytes] | None = None
    closed: bool = False


@dataclass(frozen=True)
class Rollback:
    """Once that this database went back."""

    number: int
    noticed_at: datetime
    cause: str
    state_of: datetime | None
    known_until: datetime | None
    put_back: int
    confirmed_at: datetime | None
    confirmed_by: str

    def sentence(self) -> str:
        """For people."""
        state = f"{self.state_of:%Y-%m-%d %H:%M:%S} UTC" if self.state_of else "an unknown time"
        return f"This node's database went back to its state of {state}: {self.cause}."


# --- what is missing ----------------------------------------------------------------------------------------


def missing(db: Database, places: Sequence[Place]) -> Tail:
    """What journals say was done and this database does not hold.

    Places that cannot be read are passed over: what they know is missing to nobody's knowledge.
    """
    rows: dict[int, Raw] = {}
    requests: dict[bytes, bytes] = {}
    newest: Frame | None = None
    ends: list[Frame] = []
    behind = False
    for place in places:
        try:
            whole = place.ends_whole()
            for at, frame in enumerate(place.frames_backwards()):
                if at == 0 and whole:
                    ends.append(frame)
                if newest is None or (frame.at, frame.ledger[0]) > (newest.at, newest.ledger[0]):
                    newest = frame
                if knows(db, *frame.ledger):
                    break
                behind = True
                requests.update(frame.requests)
                for row in frame.rows:
                    # Of two histories under one number the newer one, which is met first.
                    if not knows(db, row.number, row.digest):
                        rows.setdefault(row.number, row)
        except (CandorError, OSError):
            continue
    if newest is None:
        return Tail(behind=False)
    ordered = tuple(rows[number] for number in sorted(rows))
    agreed = len(ends) == len(places) > 1
    closed = agreed and all(frame.closed and frame.ledger == newest.ledger for frame in ends)
    return Tail(behind, ordered, requests, newest.at, newest.ledger, closed)


def knows(db: Database, number: int, digest: bytes) -> bool:
    """Whether the ledger, as it was then, is here or was healed already."""
    if number == 0 or ledger.holds(db, number, digest):
        return True
    row = db.execute("SELECT 1 FROM rollback_entries WHERE digest = ?", [digest]).fetchone()
    return row is not None


# --- healing ------------------------------------------------------------------------------------------------


def heal(db: Database, now: datetime, cause: Cause, tail: Tail) -> Rollback:
    """Everything that a database that went back must not do again, in the caller's transaction."""
    state_of = _last_entry_at(db)
    count = ledger.put_back(db, tail.rows)
    # Nothing was done after this state: the node ended in it.
    whole = tail.closed and not tail.rows and ledger.head(db) == tail.last
    for row in tail.rows:
        db.execute("INSERT INTO rollback_entries VALUES (?) ON CONFLICT DO NOTHING", [row.digest])
    if tail.last is not None:
        db.execute("INSERT INTO rollback_entries VALUES (?) ON CONFLICT DO NOTHING", [tail.last[1]])
    number = int(db.execute("SELECT coalesce(max(number), 0) + 1 FROM rollbacks").fetchone()[0])
    used = max((row.number for row in tail.rows), default=0)
    refs = {"user": BY}
    details: dict[str, ledger.Value] = {"cause": cause.name, "put_back": count, "rollback": number}
    ledger.begin_anew(db, now, max(used, tail.last[0] if tail.last else 0), refs, details)
    entries = [row.entry for row in tail.rows]
    healing = Healing.of(db, now, entries, tail.requests)
    acts = [healed for entry in entries if (healed := heal_act(healing, entry)) is not None]
    _raise_floors(db, entries)
    _end_epochs(db, now)
    witness_store.retire(db)
    log_store.restored(db, now)
    watching.unknown_received(db, now)
    db.execute(
        "INSERT INTO rollbacks VALUES (?, ?, ?, ?, ?, ?, NULL, '')",
        [
            number,
            to_milliseconds(now),
            cause.value,
            to_milliseconds(state_of) if state_of else None,
            to_milliseconds(tail.known_until) if tail.known_until else None,
            count,
        ],
    )
    _keep_acts(db, number, acts)
    if whole and cause is Cause.RESTORED:
        confirm(db, now, BY_ITSELF)
    return _rollbacks(db, "number = ?", [number])[0]


def _last_entry_at(db: Database) -> datetime | None:
    row = db.execute("SELECT max(at) FROM ledger").fetchone()
    return None if row[0] is None else from_milliseconds(row[0])


def _raise_floors(db: Database, entries: Iterable[ledger.Entry]) -> None:
    """Sequences and epochs go on above all that this database, the journal or the log knows of."""
    said = [entry.refs for entry in entries if entry.event in ("index.published", "index.refreshed")]
    begun = [entry.refs for entry in entries if entry.event == "epoch.begun"]
    logged = log_store.logged_head(db)
    own = db.execute("SELECT coalesce(max(sequence), 0) FROM index_state").fetchone()[0]
    sequences = [own, logged.sequence if logged else 0, *(int(refs["sequence"]) for refs in said)]
    last = db.execute("SELECT coalesce(max(number), 0) FROM epochs").fetchone()[0]
    numbers = [last, logged.epoch if logged else 0, *(int(refs["epoch"]) for refs in (*said, *begun))]
    raise_floor(db, SEQUENCE, max(sequences), SEQUENCE_ERA)
    raise_floor(db, EPOCH, max(numbers), EPOCH_ERA)


def _end_epochs(db: Database, now: datetime) -> None:
    """Lookups were perhaps answered under these epochs: none is answered again, askers ask under a new
    one."""
    at = to_milliseconds(now)
    db.execute(
        "UPDATE epochs SET ended_at = coalesce(ended_at, ?1),"
        " grace_ends_at = min(coalesce(grace_ends_at, ?1), ?1)",
        [at],
    )
    epochs.destroy_expired(db, now)


def _keep_acts(db: Database, number: int, acts: Sequence[Healed]) -> None:
    db.conn.executemany(
        "INSERT INTO rollback_acts VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (number, place, to_milliseconds(act.entry.at), act.entry.event, act.about, act.by, act.healed)
            for place, act in enumerate(acts)
        ],
    )


# --- until a person has looked ------------------------------------------------------------------------------


def open_one(db: Database) -> Rollback | None:
    """The newest rollback that nobody has confirmed; None when this node may share."""
    found = _rollbacks(db, "confirmed_at IS NULL ORDER BY number DESC LIMIT 1")
    return found[0] if found else None


def newest(db: Database) -> Rollback | None:
    found = _rollbacks(db, "1 ORDER BY number DESC LIMIT 1")
    return found[0] if found else None


def check_sharing(db: Database) -> None:
    """Raises WentBack while a rollback is not confirmed: nothing is published, answered or released."""
    found = open_one(db)
    if found is not None:
        raise closed(found)


def closed(found: Rollback) -> WentBack:
    """What is told while nothing is shared."""
    return WentBack(
        f"{found.sentence()} Until a person has confirmed what was lost, nothing is published, answered or "
        "released here.",
        remedy=CONFIRM,
    )


@dataclass(frozen=True)
class Line:
    """An act that had been done before the database went back."""

    at: datetime
    event: str
    about: str
    by: str
    healed: str


def acts(db: Database, number: int) -> list[Line]:
    """In the order in which they were done."""
    rows = db.execute(
        "SELECT at, event, about, by, healed FROM rollback_acts WHERE rollback = ? ORDER BY position",
        [number],
    )
    return [Line(from_milliseconds(at), *rest) for at, *rest in rows]


def confirm(db: Database, now: datetime, by: str) -> Rollback:
    """A person has read what was lost: this node shares again. Raises UnknownObject, AlreadyExists."""
    found = open_one(db)
    if found is None:
        if newest(db) is not None:
            raise AlreadyExists("This was confirmed already.", remedy="Nothing needs to be done.")
        raise UnknownObject("This node's database did not go back.", remedy="Nothing needs to be done.")
    db.execute(
        "UPDATE rollbacks SET confirmed_at = ?, confirmed_by = ? WHERE confirmed_at IS NULL",
        [to_milliseconds(now), by],
    )
    ledger.append(db, now, "store.rollback_confirmed", {}, {"by": by, "rollback": found.number})
    return found


_ROLLBACK = (
    "SELECT number, noticed_at, cause, state_of, known_until, put_back, confirmed_at, confirmed_by"
    " FROM rollbacks WHERE"
)


def _rollbacks(db: Database, where: str, values: Sequence[object] = ()) -> list[Rollback]:
    # `where` is one of the constants of this module.
    rows = db.execute(f"{_ROLLBACK} {where}", list(values)).fetchall()
    return [
        Rollback(
            number,
            from_milliseconds(noticed_at),
            cause,
            from_milliseconds(state_of) if state_of is not None else None,
            from_milliseconds(known_until) if known_until is not None else None,
            put_back,
            from_milliseconds(confirmed_at) if confirmed_at is not None else None,
            confirmed_by,
        )
        for number, noticed_at, cause, state_of, known_until, put_back, confirmed_at, confirmed_by in rows
    ]
