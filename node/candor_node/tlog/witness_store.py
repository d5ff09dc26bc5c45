"""What a witness keeps: its keys, and the newest checkpoint of each log that it cosigned.

Every function runs inside a transaction of `Store`. `keep` is called in the transaction that read `cosigned`,
and what was signed leaves the node only once that is on the disk (docs/protocol.md §15.3).
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from candor_node.store import Database
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.signatures import WitnessKeys

_RETIRED = "retired:"


def make_keys(db: Database, name: str, now: datetime) -> WitnessKeys:
    """The keys under this name, made at the first call."""
    known = keys(db)
    if known is not None and known.name == name:
        return known
    made = WitnessKeys.generate(name)
    db.execute(
        "INSERT INTO witness_keys (name, ed25519_seed, ml_dsa_seed, made_at) VALUES (?, ?, ?, ?)",
        [name, made.ed25519_seed, made.ml_dsa_seed, to_milliseconds(now)],
    )
    return made


def keys(db: Database) -> WitnessKeys | None:
    """The keys that were made last, if they are not retired."""
    row = db.execute(
        "SELECT name, ed25519_seed, ml_dsa_seed FROM witness_keys WHERE substr(name, 1, length(?1)) <> ?1"
        " ORDER BY number DESC LIMIT 1",
        [_RETIRED],
    ).fetchone()
    return WitnessKeys(*row) if row else None


def keys_made_at(db: Database) -> datetime | None:
    """When the present keys were made."""
    row = db.execute("SELECT made_at FROM witness_keys ORDER BY number DESC LIMIT 1").fetchone()
    return from_milliseconds(row[0]) if row else None


def retire(db: Database) -> None:
    """Of a database that went back: what it signed since is not known, so that these keys must not sign on.

    With them it could cosign two heads that contradict each other, and stand accused of it. They stay in
    their rows, for a person to take up again (`reinstate`): a log whose quorum is gone for good is over.
    """
    db.execute(
        "UPDATE witness_keys SET name = ?1 || name WHERE substr(name, 1, length(?1)) <> ?1", [_RETIRED]
    )
    db.execute("DELETE FROM witness_cosigned")


def reinstate(db: Database, now: datetime) -> bool:
    """Take up the keys that were retired last, whatever they may have signed; False when there are none."""
    row = db.execute(
        "SELECT name, ed25519_seed, ml_dsa_seed FROM witness_keys WHERE substr(name, 1, length(?1)) = ?1"
        " ORDER BY number DESC LIMIT 1",
        [_RETIRED],
    ).fetchone()
    if row is None:
        return False
    db.execute(
        "INSERT INTO witness_keys (name, ed25519_seed, ml_dsa_seed, made_at) VALUES (?, ?, ?, ?)",
        [row[0].removeprefix(_RETIRED), row[1], row[2], to_milliseconds(now)],
    )
    return True


def cosigned(db: Database, origin: str) -> SignedCheckpoint | None:
    """The newest checkpoint of this log that was cosigned, with the cosignatures that were answered."""
    row = db.execute("SELECT checkpoint FROM witness_cosigned WHERE origin = ?", [origin]).fetchone()
    return parse_checkpoint(row[0]) if row else None


def cosigned_by_hash(db: Database, digest: str) -> bytes | None:
    """The checkpoint of the log whose origin has this SHA-256 in lower-case hexadecimal, as octets."""
    for origin, octets in db.execute("SELECT origin, checkpoint FROM witness_cosigned"):
        if hashlib.sha256(str(origin).encode()).hexdigest() == digest:
            return bytes(octets)
    return None


def all_cosigned(db: Database) -> list[tuple[SignedCheckpoint, datetime]]:
    """The newest of each log, and when it was cosigned."""
    rows = db.execute("SELECT checkpoint, at FROM witness_cosigned ORDER BY origin").fetchall()
    return [(parse_checkpoint(octets), from_milliseconds(at)) for octets, at in rows]


def keep(db: Database, signed: SignedCheckpoint, now: datetime) -> None:
    """Remember a checkpoint as the newest of its log; the database refuses a smaller one."""
    checkpoint = signed.checkpoint
    db.execute(
        "INSERT INTO witness_cosigned VALUES (?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE"
        " SET size = excluded.size, checkpoint = excluded.checkpoint, at = excluded.at",
        [checkpoint.origin, checkpoint.size, signed.encode(), to_milliseconds(now)],
    )
