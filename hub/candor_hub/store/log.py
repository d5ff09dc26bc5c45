"""Rows of the transparency log: its shards, what waits for it, policies, where directory versions stand.

What was logged is in files (`candor_hub.tlog.files`); what the hub vouches for of them is here, and a
checkpoint that is not here was shown to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from candor_hub.driver import Connection, RowMapping, change_matching, insert_many, sa, single
from candor_hub.store.notices import Notices
from candor_hub.tables import (
    log_directories,
    log_draws,
    log_outside,
    log_policies,
    log_round,
    log_shards,
    log_waiting,
    meta,
)
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import StoreUnusable
from candor_proto.merkle import CompactRange
from candor_proto.tlog.note import COSIGNATURE_ML_DSA_44, ED25519, VerifierKey, parse_vkey
from candor_proto.tlog.policy import PolicyWitness

_FACT = "log-"
# The fact of what witnesses claim to know besides (`tlog.confirmed`).
WITNESS_CLAIMS = "witness-claims"
# Kinds of entries that are made of what waits, and not what waits itself.
COMMITMENTS = (10, 11)


@dataclass(frozen=True)
class Waiting:
    """Something to be logged; `entry` is a commitment for the kinds 10 and 11."""

    number: int
    kind: int
    at: datetime
    entry: bytes = field(repr=False)


@dataclass(frozen=True)
class ShardRecord:
    """A shard: what of it is signed, and what of it is witnessed. Checkpoints are empty before the first."""

    shard: int
    origin: str
    ed25519_key: bytes = field(repr=False)
    ml_dsa_key: bytes = field(repr=False)
    range: CompactRange = field(repr=False)
    signed: bytes = field(repr=False)
    signed_at: datetime
    witnessed: bytes = field(repr=False)
    witnessed_size: int
    witnessed_at: datetime
    closed: bool

    @property
    def size(self) -> int:
        """Of the newest checkpoint signed."""
        return self.range.size

    @property
    def verifier_keys(self) -> tuple[VerifierKey, VerifierKey]:
        return (
            VerifierKey(self.origin, ED25519, self.ed25519_key),
            VerifierKey(self.origin, COSIGNATURE_ML_DSA_44, self.ml_dsa_key),
        )

    @property
    def ended(self) -> bool:
        """Whether its last entry is under a witnessed head: the next shard may begin."""
        return self.closed and self.witnessed_size == self.size


@dataclass(frozen=True)
class PolicyRecord:
    """A policy; `checkpoint` put it in force (None before, empty of the first one)."""

    version: int
    made_at: datetime
    text: bytes = field(repr=False)
    shard: int | None
    index: int | None
    checkpoint: bytes | None = field(repr=False)

    @property
    def in_force(self) -> bool:
        return self.checkpoint is not None


@dataclass(frozen=True)
class LogNews:
    """What a look shows: whether something waits, numbers that change with what is signed or witnessed."""

    waits: bool = False
    mark: tuple[int, ...] = ()


class Log:
    """Shards, what waits, and where things stand."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- what waits -------------------------------------------------------------------------------------

    def wait(self, entries: Iterable[tuple[int, bytes]], now: datetime, *, opening: bool = False) -> None:
        """Have these (kind, entry) logged, in their order; `opening` ones before all others."""
        at = to_milliseconds(now)
        rows = [(int(opening), kind, at, entry) for kind, entry in entries]
        insert_many(self._connection, "log_waiting", ("opening", "kind", "at", "entry"), rows)
        if any(kind not in COMMITMENTS for _, kind, _, _ in rows):
            # Nobody waits for a commitment: whoever looks once in a second takes it up.
            Notices(self._connection).log_waits()

    def news(self) -> LogNews:
        """Cheap: it is read once in every second.

        A rotation that was asked for waits as well: for its next step.
        """
        waits = single(
            self._connection,
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM log_waiting)"
            " OR EXISTS (SELECT 1 FROM meta WHERE name = 'log-rotation')",
        )
        shard, sums = log_shards.c, sa.func.coalesce
        marks = self._connection.execute(
            sa.select(
                sums(sa.func.sum(shard.size), 0),
                sums(sa.func.max(shard.signed_at), 0),
                sums(sa.func.sum(shard.witnessed_size), 0),
                sums(sa.func.max(shard.witnessed_at), 0),
                sums(sa.select(log_round.c.number).scalar_subquery(), 0),
            )
        ).one()
        return LogNews(waits is not None, tuple(int(mark) for mark in marks))

    def waiting_count(self) -> int:
        return single(self._connection, "SELECT count(*) FROM log_waiting") or 0

    def waiting_since(self) -> datetime | None:
        """When the oldest that waits was stored."""
        at = single(self._connection, "SELECT min(at) FROM log_waiting")
        return None if at is None else from_milliseconds(at)

    def waiting(self, limit: int) -> tuple[Waiting, ...]:
        """The first `limit` in order."""
        query = (
            sa.select(log_waiting.c.number, log_waiting.c.kind, log_waiting.c.at, log_waiting.c.entry)
            .order_by(log_waiting.c.opening.desc(), log_waiting.c.number)
            .limit(limit)
        )
        rows = self._connection.execute(query)
        return tuple(Waiting(number, kind, from_milliseconds(at), entry) for number, kind, at, entry in rows)

    def drop_waiting(self, numbers: Iterable[int]) -> int:
        """These are logged; how many there were."""
        keys = [(number,) for number in sorted(numbers)]
        return change_matching(self._connection, "DELETE FROM log_waiting", ("number",), keys)

    # --- shards -----------------------------------------------------------------------------------------

    def shards(self) -> tuple[ShardRecord, ...]:
        """In order."""
        rows = self._connection.execute(sa.select(log_shards).order_by(log_shards.c.shard)).mappings()
        return tuple(map(_shard, rows))

    def newest_shard(self) -> ShardRecord | None:
        query = sa.select(log_shards).order_by(log_shards.c.shard.desc()).limit(1)
        row = self._connection.execute(query).mappings().first()
        return _shard(row) if row else None

    def add_shard(self, shard: int, keys: Sequence[VerifierKey], now: datetime) -> None:
        """An empty shard; `keys` are its Ed25519 and its ML-DSA-44 key."""
        ed25519, ml_dsa = keys
        self._connection.execute(
            sa.insert(log_shards).values(
                shard=shard,
                origin=ed25519.name,
                ed25519_key=ed25519.key,
                ml_dsa_key=ml_dsa.key,
                size=0,
                compact_range=CompactRange.EMPTY.encode(),
                signed=b"",
                signed_at=0,
                witnessed=b"",
                witnessed_size=0,
                witnessed_at=0,
                closed=0,
            )
        )

    def set_signed(
        self, shard: int, before: int, range_: CompactRange, signed: bytes, signed_at: datetime, closed: bool
    ) -> None:
        """A further checkpoint of a shard that has `before` entries; raises StoreUnusable if it has not.

        A shard never shrinks, and is never signed from two states (§14.6).
        """
        known = (log_shards.c.shard == shard) & (log_shards.c.size == before)
        changed = self._connection.execute(
            sa.update(log_shards)
            .where(known, log_shards.c.size <= range_.size)
            .values(
                size=range_.size,
                compact_range=range_.encode(),
                signed=signed,
                signed_at=to_milliseconds(signed_at),
                closed=int(closed),
            )
        )
        if changed.rowcount != 1:
            raise StoreUnusable(
                "Somebody else appended to the log; nothing of this step was stored.",
                remedy="End the other candor-hub that uses this database.",
            )

    def set_witnessed(self, shard: int, size: int, witnessed: bytes, now: datetime) -> bool:
        """The newest checkpoint with a quorum; False, and nothing changed, if a newer one is known."""
        known = (log_shards.c.shard == shard) & (log_shards.c.witnessed_size <= size)
        changed = self._connection.execute(
            sa.update(log_shards)
            .where(known)
            .values(witnessed=witnessed, witnessed_size=size, witnessed_at=to_milliseconds(now))
        )
        return changed.rowcount == 1

    # --- directory versions -----------------------------------------------------------------------------

    def add_directory(self, version: int, shard: int, index: int) -> None:
        self._connection.execute(
            sa.insert(log_directories).values(version=version, shard=shard, at_index=index)
        )

    def witnessed_directory(self) -> int:
        """The newest version that a witnessed head holds; 0 before the first."""
        # By hand, because it is read for every version that is made.
        return (
            single(
                self._connection,
                "SELECT max(d.version) FROM log_directories d JOIN log_shards s ON s.shard = d.shard"
                " WHERE d.at_index < s.witnessed_size",
            )
            or 0
        )

    def directories(self, shard: int) -> dict[int, int]:
        """Index by version."""
        query = sa.select(log_directories.c.version, log_directories.c.at_index).where(
            log_directories.c.shard == shard
        )
        return {row.version: row.at_index for row in self._connection.execute(query)}

    # --- policies ---------------------------------------------------------------------------------------

    def policies(self) -> tuple[PolicyRecord, ...]:
        """In order."""
        rows = self._connection.execute(sa.select(log_policies).order_by(log_policies.c.version)).mappings()
        return tuple(map(_policy, rows))

    def policy(self, version: int) -> PolicyRecord | None:
        query = sa.select(log_policies).where(log_policies.c.version == version)
        row = self._connection.execute(query).mappings().first()
        return _policy(row) if row else None

    def newest_policy(self) -> PolicyRecord | None:
        query = sa.select(log_policies).order_by(log_policies.c.version.desc()).limit(1)
        row = self._connection.execute(query).mappings().first()
        return _policy(row) if row else None

    def policy_in_force(self) -> PolicyRecord | None:
        query = (
            sa.select(log_policies)
            .where(log_policies.c.checkpoint.is_not(None))
            .order_by(log_policies.c.version.desc())
            .limit(1)
        )
        row = self._connection.execute(query).mappings().first()
        return _policy(row) if row else None

    def add_policy(self, version: int, text: bytes, now: datetime, *, in_force: bool = False) -> None:
        self._connection.execute(
            sa.insert(log_policies).values(
                version=version,
                made_at=to_milliseconds(now),
                text=text,
                checkpoint=b"" if in_force else None,
            )
        )

    def place_policy(self, version: int, shard: int, index: int) -> None:
        """Where a policy was logged first."""
        fresh = (log_policies.c.version == version) & log_policies.c.shard.is_(None)
        self._connection.execute(sa.update(log_policies).where(fresh).values(shard=shard, at_index=index))

    def put_in_force(self, version: int, checkpoint: bytes) -> None:
        waiting = (log_policies.c.version == version) & log_policies.c.checkpoint.is_(None)
        self._connection.execute(sa.update(log_policies).where(waiting).values(checkpoint=checkpoint))

    def outside(self) -> tuple[PolicyWitness, ...]:
        """The operator's own witnesses, in order."""
        rows = self._connection.execute(sa.select(log_outside).order_by(log_outside.c.place)).mappings()
        return tuple(PolicyWitness(row["name"], parse_vkey(row["vkey"]), row["url"]) for row in rows)

    def set_outside(self, witnesses: Sequence[PolicyWitness]) -> None:
        self._connection.execute(sa.delete(log_outside))
        for place, witness in enumerate(witnesses):
            self._connection.execute(
                sa.insert(log_outside).values(
                    place=place, name=witness.name, vkey=witness.key.encode(), url=witness.url
                )
            )

    # --- draws and facts --------------------------------------------------------------------------------

    def add_draw(self, shard: int, month: str, checkpoint: bytes) -> bool:
        """Keep the checkpoint unless the month has one, in whatever shard; whether it is kept.

        The end of a shard is a month of its own, in each shard.
        """
        known = sa.select(log_draws.c.month).where(log_draws.c.month == month)
        if not month[0].isdigit():
            known = known.where(log_draws.c.shard == shard)
        if self._connection.execute(known).first() is not None:
            return False
        self._connection.execute(sa.insert(log_draws).values(shard=shard, month=month, checkpoint=checkpoint))
        return True

    def draws(self, shard: int) -> dict[str, bytes]:
        """Checkpoints by month."""
        query = sa.select(log_draws.c.month, log_draws.c.checkpoint).where(log_draws.c.shard == shard)
        return {row.month: row.checkpoint for row in self._connection.execute(query)}

    def fact(self, name: str) -> str:
        """Something small that is remembered; empty if it is not."""
        query = sa.select(meta.c.value).where(meta.c.name == _FACT + name)
        return self._connection.execute(query).scalar() or ""

    def is_claimed_against(self) -> bool:
        """Whether the fact `WITNESS_CLAIMS` is remembered."""
        # By hand, because it is read for every call; named as `set_fact` names it.
        found = single(self._connection, "SELECT 1 FROM meta WHERE name = 'log-witness-claims'")
        return found is not None

    def set_fact(self, name: str, value: str) -> None:
        self._connection.execute(sa.delete(meta).where(meta.c.name == _FACT + name))
        if value:
            self._connection.execute(sa.insert(meta).values(name=_FACT + name, value=value))


def _shard(row: RowMapping) -> ShardRecord:
    return ShardRecord(
        shard=row["shard"],
        origin=row["origin"],
        ed25519_key=row["ed25519_key"],
        ml_dsa_key=row["ml_dsa_key"],
        range=CompactRange.decode(row["compact_range"]),
        signed=row["signed"],
        signed_at=from_milliseconds(row["signed_at"]),
        witnessed=row["witnessed"],
        witnessed_size=row["witnessed_size"],
        witnessed_at=from_milliseconds(row["witnessed_at"]),
        closed=bool(row["closed"]),
    )


def _policy(row: RowMapping) -> PolicyRecord:
    return PolicyRecord(
        version=row["version"],
        made_at=from_milliseconds(row["made_at"]),
        text=row["text"],
        shard=row["shard"],
        index=row["at_index"],
        checkpoint=row["checkpoint"],
    )
