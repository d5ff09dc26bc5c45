"""What was seen of the directory: the SQL of rollback protection (docs/protocol.md §10.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from candor_node.store import Database
from candor_proto.canonical import Reader, Writer, to_milliseconds
from candor_proto.directory import MemberKeys, Seen, SeenHead, VerifiedDirectory, statement_digest
from candor_proto.ids import Digest, NodeId
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_wire.limits import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH


@dataclass(frozen=True)
class FetchedDirectory:
    """The directory as the hub sent it, unverified. The chain is DER, the directory key's own first."""

    statement: SignedStatement = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)


def keep(db: Database, fetched: FetchedDirectory, verified: VerifiedDirectory, now: datetime) -> None:
    """Remember a verified directory, its heads, and the keys of members not seen before.

    What was seen never goes down, and the keys seen first stay.
    """
    chain = Writer().sequence(fetched.chain, lambda out, der: out.octets(der)).finish()
    db.execute(
        "INSERT OR REPLACE INTO directory_state (id, version, body, signature, chain, received_at)"
        " VALUES (1, ?, ?, ?, ?, ?)",
        (
            verified.version,
            fetched.statement.body,
            fetched.statement.signature,
            chain,
            to_milliseconds(now),
        ),
    )
    for member in verified.directory.members:
        db.execute(
            "INSERT INTO member_keys VALUES (?, ?, ?, ?) ON CONFLICT (node) DO NOTHING",
            (str(member.node), member.signing_key.value, member.disclosure_key, to_milliseconds(now)),
        )
        head = verified.head(member.node)
        if head is not None and member.head is not None:
            db.execute(
                "INSERT INTO seen_heads (node, sequence, body) VALUES (?, ?, ?) ON CONFLICT (node) DO UPDATE"
                " SET sequence = excluded.sequence, body = excluded.body WHERE excluded.sequence >= sequence",
                (str(member.node), head.sequence, statement_digest(member.head).value),
            )


def seen(db: Database) -> Seen:
    """The highest directory version seen, each member's newest head, and the keys it was first seen with."""
    held = kept(db)
    version = db.execute("SELECT version FROM directory_state").fetchone()
    heads = db.execute("SELECT node, sequence, body FROM seen_heads").fetchall()
    keys = db.execute("SELECT node, signing_key, disclosure_key FROM member_keys").fetchall()
    return Seen(
        version=version[0] if version else 0,
        body=statement_digest(held.statement) if held else None,
        heads={
            NodeId(node): SeenHead(sequence, Digest(body) if body else None) for node, sequence, body in heads
        },
        keys={
            NodeId(node): MemberKeys(VerifyingKey(signing), disclosure) for node, signing, disclosure in keys
        },
    )


def kept(db: Database) -> FetchedDirectory | None:
    """The last directory that was verified."""
    row = db.execute("SELECT body, signature, chain FROM directory_state").fetchone()
    if row is None:
        return None
    reader = Reader(row[2])
    chain = reader.sequence(MAX_CHAIN_LENGTH, lambda read: read.octets(MAX_CERTIFICATE_BYTES))
    reader.finish()
    return FetchedDirectory(SignedStatement(row[0], row[1]), chain)
