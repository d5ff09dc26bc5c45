"""Import profiles, saved by name in the node's database.

Rules of this file:
- saving under a known name makes the next version; earlier ones stay, so that it can be said how an old
  import was read;
- what is stored is the JSON form, parsed again whenever it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from candor_node import ledger
from candor_node.mapping import Profile, format_profile, parse_profile
from candor_node.store import Database, Migrations
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import UnknownObject

import_migrations = Migrations("import")


@import_migrations()
def profiles_table(db: Database) -> None:
    """Profiles by name and version."""
    db.execute(
        """CREATE TABLE import_profiles (
            name TEXT NOT NULL,
            version INTEGER NOT NULL CHECK (version >= 1),
            profile TEXT NOT NULL,
            saved_at INTEGER NOT NULL,
            saved_by TEXT NOT NULL,
            deleted INTEGER NOT NULL CHECK (deleted IN (0, 1)),
            PRIMARY KEY (name, version)
        ) STRICT"""
    )


@dataclass(frozen=True)
class SavedProfile:
    """A profile as it is stored, in its newest version."""

    profile: Profile
    version: int
    saved_at: datetime
    saved_by: str


_NEWEST = (
    "SELECT profile, max(version), saved_at, saved_by, deleted FROM import_profiles {where} "
    "GROUP BY name HAVING deleted = 0 ORDER BY name"
)


def save(db: Database, profile: Profile, now: datetime, by: str) -> SavedProfile:
    """Store the next version of a profile; the same again makes none."""
    text = format_profile(profile)
    newest, latest = _version(db, profile.name)
    if text != latest:
        newest += 1
        db.execute(
            "INSERT INTO import_profiles VALUES (?, ?, ?, ?, ?, 0)",
            [profile.name, newest, text, to_milliseconds(now), by],
        )
        ledger.append(
            db, now, "import.profile_saved", {"profile": profile.name, "user": by}, {"version": newest}
        )
    return find(db, profile.name)


def _version(db: Database, name: str) -> tuple[int, str]:
    """Number and text of the newest version; no text when it was deleted."""
    row = db.execute(
        "SELECT max(version), profile, deleted FROM import_profiles WHERE name = ?", [name]
    ).fetchone()
    return (row[0] or 0, row[1] if row[0] and not row[2] else "")


def find(db: Database, name: str) -> SavedProfile:
    """Raises UnknownObject."""
    row = db.execute(_NEWEST.format(where="WHERE name = ?"), [name]).fetchone()
    if row is None:
        raise UnknownObject(
            "There is no import profile of this name.", remedy="`candor-node imports list` shows them."
        )
    return SavedProfile(parse_profile(row[0]), row[1], from_milliseconds(row[2]), row[3])


def all_profiles(db: Database) -> list[SavedProfile]:
    """The newest version of each, by name."""
    return [
        SavedProfile(parse_profile(text), version, from_milliseconds(at), by)
        for text, version, at, by, _ in db.execute(_NEWEST.format(where=""))
    ]


def delete(db: Database, name: str, now: datetime, by: str) -> None:
    """Nobody finds it any more; its versions stay. Raises UnknownObject."""
    known = find(db, name)
    db.execute("UPDATE import_profiles SET deleted = 1 WHERE name = ?", [name])
    ledger.append(
        db, now, "import.profile_deleted", {"profile": name, "user": by}, {"version": known.version}
    )
