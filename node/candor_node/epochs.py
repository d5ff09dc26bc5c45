"""Epochs and the keys of the blinded function (docs/protocol.md §5.2).

Rules of this file:
- a seed is 32 octets from the operating system, never in a long-lived backup, and is overwritten and
  deleted when its epoch's grace ends: from then on the epoch's index opens for nobody;
- epoch numbers only grow, whatever the clock does;
- an epoch ends when the next one begins, not on its planned day: a node that was off keeps answering under
  the epoch whose index its askers hold. The publisher rotates (`current`), in the transaction that stores
  the new index; everybody else only asks for an epoch that is still `usable`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from candor_node import ledger
from candor_node.store import Database
from candor_node.tlog.log_store import LoggedHead
from candor_proto.canonical import Writer, from_milliseconds, to_milliseconds
from candor_proto.errors import StaleEpoch
from candor_proto.ids import FederationName, KeyClass, NodeId
from candor_proto.oprf import SEED_BYTES, KeyPair, derive_key_pair
from candor_proto.statements import CLASSES

LIFE = timedelta(days=30)
GRACE = timedelta(hours=24)


@dataclass(frozen=True)
class Epoch:
    """An epoch of which the seed still exists. `ends_at` is planned; `grace_ends_at` known once it ended."""

    number: int
    starts_at: datetime
    ends_at: datetime
    grace_ends_at: datetime | None
    seed: bytes = field(repr=False)


def latest(db: Database) -> Epoch | None:
    """The epoch that was begun last, whether or not its time is over; None before the first."""
    row = db.execute(f"{_EPOCH} ORDER BY number DESC LIMIT 1").fetchone()
    return _epoch(row) if row else None


def current(
    db: Database,
    now: datetime,
    life: timedelta = LIFE,
    grace: timedelta = GRACE,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Epoch:
    """The epoch that is published under now; begins the first or the next one when it is due."""
    epoch = latest(db)
    if epoch is not None and now < epoch.ends_at:
        return epoch
    return rotate(db, now, life, grace, random_bytes)


def following(
    db: Database,
    now: datetime,
    life: timedelta = LIFE,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    above: int = 0,
) -> Epoch:
    """The epoch that comes next, not stored yet: an index is built under it before it begins.

    `above` is the last one that others know of, which a database that was restored may not.
    """
    last = db.execute("SELECT coalesce(max(number), 0) FROM epochs").fetchone()[0]
    return Epoch(max(last, above) + 1, now, now + life, None, random_bytes(SEED_BYTES))


def begin(db: Database, now: datetime, epoch: Epoch, grace: timedelta = GRACE) -> None:
    """End the current epoch at `now` and begin `epoch`, which must be the following one."""
    before = latest(db)
    if before is not None:
        db.execute(
            "UPDATE epochs SET ended_at = ?, grace_ends_at = ? WHERE number = ?",
            [to_milliseconds(now), to_milliseconds(now + grace), before.number],
        )
    db.execute(
        "INSERT INTO epochs (number, starts_at, ends_at) VALUES (?, ?, ?)",
        [epoch.number, to_milliseconds(epoch.starts_at), to_milliseconds(epoch.ends_at)],
    )
    db.execute("INSERT INTO epoch_seeds VALUES (?, ?)", [epoch.number, epoch.seed])
    ledger.append(db, now, "epoch.begun", {"epoch": str(epoch.number)})


def rotate(
    db: Database,
    now: datetime,
    life: timedelta = LIFE,
    grace: timedelta = GRACE,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Epoch:
    """End the current epoch and begin the next one, due or not. Its index is empty until the next tick."""
    epoch = following(db, now, life, random_bytes)
    begin(db, now, epoch, grace)
    return epoch


def usable(db: Database, number: int, now: datetime) -> Epoch:
    """Epoch `number` if it is the latest one or in its grace; raises StaleEpoch (docs/protocol.md §7.3)."""
    row = db.execute(f"{_EPOCH} WHERE number = ?", [number]).fetchone()
    epoch = _epoch(row) if row else None
    if epoch is None or (epoch.grace_ends_at is not None and now >= epoch.grace_ends_at):
        raise StaleEpoch(f"Epoch {number} is not current here.", remedy="Fetch this node's new index head.")
    return epoch


def usable_keys(
    db: Database, number: int, now: datetime, federation: FederationName, node: NodeId
) -> Mapping[KeyClass, KeyPair]:
    """The key pairs to answer a lookup under epoch `number` with; raises StaleEpoch."""
    return keys_for(usable(db, number, now).seed, federation, node, number)


def destroy_expired(db: Database, now: datetime) -> tuple[int, ...]:
    """Overwrite and delete the seeds of epochs whose grace ended; returns their numbers.

    Call `Store.checkpoint` afterwards, so that the write-ahead log forgets them too.
    """
    rows = db.execute(
        "SELECT number FROM epochs JOIN epoch_seeds ON epoch = number WHERE grace_ends_at <= ?",
        [to_milliseconds(now)],
    )
    numbers = tuple(row[0] for row in rows)
    for number in numbers:
        db.execute("UPDATE epoch_seeds SET seed = zeroblob(32) WHERE epoch = ?", [number])
        db.execute("DELETE FROM epoch_seeds WHERE epoch = ?", [number])
        ledger.append(db, now, "epoch.destroyed", {"epoch": str(number)})
    return numbers


def keys_for(seed: bytes, federation: FederationName, node: NodeId, epoch: int) -> Mapping[KeyClass, KeyPair]:
    """The epoch's key pair of each class (§5.2); some 60 µs each."""
    context = Writer("epoch-key").text(str(federation)).text(str(node)).integer(epoch, 4).finish()
    return {key_class: derive_key_pair(seed, context + bytes([key_class.value])) for key_class in KeyClass}


def is_outlived(epoch: Epoch, logged: LoggedHead | None, federation: FederationName, node: NodeId) -> bool:
    """Whether the log holds a later epoch of this node, or other keys for this one: it was restored."""
    if logged is None or logged.epoch < epoch.number:
        return False
    keys = keys_for(epoch.seed, federation, node, epoch.number)
    own = b"".join(keys[key_class].public.to_bytes() for key_class in CLASSES)
    return logged.epoch > epoch.number or logged.keys != own


_EPOCH = (
    "SELECT number, starts_at, ends_at, grace_ends_at, seed FROM epochs JOIN epoch_seeds ON epoch = number"
)


def _epoch(row: tuple[int, int, int, int | None, bytes]) -> Epoch:
    number, starts_at, ends_at, grace_ends_at, seed = row
    grace = from_milliseconds(grace_ends_at) if grace_ends_at is not None else None
    return Epoch(number, from_milliseconds(starts_at), from_milliseconds(ends_at), grace, seed)
