"""Rows of what was logged of members: entries, denied serials, witness keys, heartbeats, lookups."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from candor_hub.driver import Connection, change_matching, insert_many, sa
from candor_hub.tables import (
    denied,
    log_denied,
    log_heartbeats,
    log_members,
    log_requests,
    log_witness_keys,
    log_witnesses,
    lookup_targets,
    lookup_unreached,
    members,
)
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.directory import MemberStatus
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement

NO_HEAD = bytes(32)


@dataclass(frozen=True)
class LoggedMember:
    """Leaf hashes of a member's newest entries, `head_hash` zeros if it has no head; the head's statement."""

    member_hash: bytes
    head_hash: bytes
    head_statement: bytes


@dataclass(frozen=True)
class DeniedRecord:
    """A denied certificate; `node` is None for an authority's."""

    serial: int
    node: NodeId | None
    denied_at: datetime


@dataclass(frozen=True)
class WitnessRecord:
    """The keys that a member cosigns with, and the statement that says so."""

    node: NodeId
    ed25519_key: bytes = field(repr=False)
    ml_dsa_key: bytes = field(repr=False)
    issued_at: datetime
    statement: SignedStatement = field(repr=False)


@dataclass(frozen=True)
class HeartbeatRecord:
    """A member's last heartbeat: its number, where the next one begins, and the digest of its octets."""

    shard: int
    number: int
    until: int
    digest: bytes
    at: datetime


class Logged:
    """What the log holds of each member, or will hold when what waits is appended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- members ----------------------------------------------------------------------------------------

    def members(self) -> dict[NodeId, LoggedMember]:
        rows = self._connection.execute(sa.select(log_members)).mappings()
        return {
            NodeId(row["node"]): LoggedMember(
                row["member_hash"], row["head_hash"] or NO_HEAD, row["head_statement"] or b""
            )
            for row in rows
        }

    def set_members(self, changed: dict[NodeId, LoggedMember]) -> None:
        keys = [(str(node),) for node in sorted(changed)]
        change_matching(self._connection, "DELETE FROM log_members", ("node",), keys)
        rows = [
            (
                str(node),
                one.member_hash,
                one.head_statement or None,
                one.head_hash if one.head_statement else None,
            )
            for node, one in sorted(changed.items())
        ]
        columns = ("node", "member_hash", "head_statement", "head_hash")
        insert_many(self._connection, "log_members", columns, rows)

    # --- denied serials ---------------------------------------------------------------------------------

    def denied(self) -> tuple[DeniedRecord, ...]:
        """All that were logged, oldest first."""
        query = sa.select(denied).join(log_denied, log_denied.c.serial == denied.c.serial)
        return self._denied(query)

    def not_logged(self) -> tuple[DeniedRecord, ...]:
        """Those denied that were not, oldest first."""
        query = (
            sa.select(denied)
            .outerjoin(log_denied, log_denied.c.serial == denied.c.serial)
            .where(log_denied.c.serial.is_(None))
        )
        return self._denied(query)

    def _denied(self, query: sa.Select[tuple[object, ...]]) -> tuple[DeniedRecord, ...]:
        rows = self._connection.execute(query.order_by(denied.c.denied_at, denied.c.serial)).mappings()
        return tuple(
            DeniedRecord(
                int(row["serial"], 16),
                NodeId(row["node"]) if row["node"] else None,
                from_milliseconds(row["denied_at"]),
            )
            for row in rows
        )

    def add_denied(self, records: Iterable[DeniedRecord]) -> None:
        rows = [(f"{record.serial:x}",) for record in records]
        insert_many(self._connection, "log_denied", ("serial",), rows)

    # --- witness keys -----------------------------------------------------------------------------------

    def witnesses(self) -> tuple[WitnessRecord, ...]:
        """Of all members that have one, sorted by node."""
        rows = self._connection.execute(sa.select(log_witnesses).order_by(log_witnesses.c.node)).mappings()
        return tuple(map(_witness, rows))

    def active_witnesses(self) -> tuple[WitnessRecord, ...]:
        """Of active members, in the order in which they joined."""
        query = (
            sa.select(log_witnesses)
            .join(members, members.c.node == log_witnesses.c.node)
            .where(members.c.status == MemberStatus.ACTIVE.value)
            .order_by(members.c.joined_at, members.c.node)
        )
        return tuple(map(_witness, self._connection.execute(query).mappings()))

    def witness(self, node: NodeId) -> WitnessRecord | None:
        query = sa.select(log_witnesses).where(log_witnesses.c.node == str(node))
        row = self._connection.execute(query).mappings().first()
        return _witness(row) if row else None

    def witness_key_is_taken(self, node: NodeId, keys: Collection[bytes]) -> bool:
        """Whether one of these keys is, or was, another member's."""
        digests = [sha256(key).digest() for key in keys]
        query = sa.select(log_witness_keys.c.node).where(
            log_witness_keys.c.node != str(node), log_witness_keys.c.digest.in_(digests)
        )
        return self._connection.execute(query).first() is not None

    def set_witness(self, record: WitnessRecord) -> None:
        self._connection.execute(sa.delete(log_witnesses).where(log_witnesses.c.node == str(record.node)))
        self._connection.execute(
            sa.insert(log_witnesses).values(
                node=str(record.node),
                ed25519_key=record.ed25519_key,
                ml_dsa_key=record.ml_dsa_key,
                issued_at=to_milliseconds(record.issued_at),
                body=record.statement.body,
                signature=record.statement.signature,
            )
        )
        digests = [sha256(key).digest() for key in (record.ed25519_key, record.ml_dsa_key)]
        query = sa.select(log_witness_keys.c.digest).where(log_witness_keys.c.digest.in_(digests))
        known = set(self._connection.execute(query).scalars())
        new = [(one, str(record.node)) for one in digests if one not in known]
        insert_many(self._connection, "log_witness_keys", ("digest", "node"), new)

    # --- heartbeats -------------------------------------------------------------------------------------

    def heartbeat(self, node: NodeId) -> HeartbeatRecord | None:
        query = sa.select(log_heartbeats).where(log_heartbeats.c.node == str(node))
        row = self._connection.execute(query).mappings().first()
        if row is None:
            return None
        at = from_milliseconds(row["at"])
        return HeartbeatRecord(row["shard"], row["number"], row["until"], row["digest"], at)

    def heartbeats(self) -> dict[NodeId, HeartbeatRecord]:
        rows = self._connection.execute(sa.select(log_heartbeats)).mappings()
        return {
            NodeId(row["node"]): HeartbeatRecord(
                row["shard"], row["number"], row["until"], row["digest"], from_milliseconds(row["at"])
            )
            for row in rows
        }

    def set_heartbeat(self, node: NodeId, record: HeartbeatRecord) -> None:
        self._connection.execute(sa.delete(log_heartbeats).where(log_heartbeats.c.node == str(node)))
        self._connection.execute(
            sa.insert(log_heartbeats).values(
                node=str(node),
                shard=record.shard,
                number=record.number,
                until=record.until,
                digest=record.digest,
                at=to_milliseconds(record.at),
            )
        )

    # --- lookups ----------------------------------------------------------------------------------------

    def live_requests(self, node: NodeId, now: datetime) -> frozenset[bytes]:
        """Commitments to the lookups that name `node`, whether it reached it or not, and have not expired."""
        found = set[bytes]()
        for targets in (lookup_targets, lookup_unreached):
            query = (
                sa.select(log_requests.c.commitment)
                .join(targets, targets.c.envelope == log_requests.c.envelope)
                .where(targets.c.node == str(node), log_requests.c.expires_at > to_milliseconds(now))
            )
            found.update(self._connection.execute(query).scalars())
        return frozenset(found)

    def drop_requests(self, expired_before: datetime) -> int:
        """Forget commitments of lookups that expired before; how many."""
        gone = sa.delete(log_requests).where(log_requests.c.expires_at < to_milliseconds(expired_before))
        return self._connection.execute(gone).rowcount


def _witness(row: sa.RowMapping) -> WitnessRecord:
    return WitnessRecord(
        NodeId(row["node"]),
        row["ed25519_key"],
        row["ml_dsa_key"],
        from_milliseconds(row["issued_at"]),
        SignedStatement(row["body"], row["signature"]),
    )
