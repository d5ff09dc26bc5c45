"""What was seen of the directory: the SQL of rollback protection (docs/protocol.md §10.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from candor_node.store import Database
from candor_proto.canonical import Reader, Writer, to_milliseconds
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement
from candor_wire.limits import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH


@dataclass(frozen=True)
class FetchedDirectory:
    """The directory as the hub sent it, unverified. The chain is DER, the directory key's own first."""

    statement: SignedStatement = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)


def keep(
    db: Database,
    fetched: FetchedDirectory,
    version: int,
    sequences: Mapping[NodeId, int],
    now: datetime,
) -> None:
    """Remember a verified directory and the sequence of every head in it; what was seen never goes down."""
    chain = Writer().sequence(fetched.chain, lambda out, der: out.octets(der)).finish()
    db.execute(
        "INSERT OR REPLACE INTO directory_state (id, version, body, signature, chain, received_at)"
        " VALUES (1, ?, ?, ?, ?, ?)",
        (version, fetched.statement.body, fetched.statement.signature, chain, to_milliseconds(now)),
    )
    for node, sequence in sequences.items():
        db.execute(
            "INSERT INTO seen_heads (node, sequence) VALUES (?, ?)"
            " ON CONFLICT (node) DO UPDATE SET sequence = max(sequence, excluded.sequence)",
            (str(node), sequence),
        )


def seen(db: Database) -> tuple[int, dict[NodeId, int]]:
    """The highest directory version seen (0: none), and the highest sequence of each node's head."""
    row = db.execute("SELECT version FROM directory_state").fetchone()
    heads = db.execute("SELECT node, sequence FROM seen_heads").fetchall()
    return (row[0] if row else 0), {NodeId(node): sequence for node, sequence in heads}


def kept(db: Database) -> FetchedDirectory | None:
    """The last directory that was verified."""
    row = db.execute("SELECT body, signature, chain FROM directory_state").fetchone()
    if row is None:
        return None
    reader = Reader(row[2])
    chain = reader.sequence(MAX_CHAIN_LENGTH, lambda read: read.octets(MAX_CERTIFICATE_BYTES))
    reader.finish()
    return FetchedDirectory(SignedStatement(row[0], row[1]), chain)
