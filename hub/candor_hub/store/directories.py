"""Rows of signed directory versions and of the members' index heads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from candor_hub.driver import Connection, sa, single
from candor_hub.tables import directories, heads
from candor_proto.canonical import Reader, Writer, digest, to_milliseconds
from candor_proto.directory import IndexHead
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement

_MAX_CERTIFICATE_OCTETS = 16 * 1024
_MAX_CHAIN = 4
KEPT_WITNESSED = 8
KEPT_LATEST = 64


@dataclass(frozen=True)
class StoredDirectory:
    """A version as members get it: signed octets, and the chain (DER) of the key that signed them."""

    version: int
    statement: SignedStatement
    chain: tuple[bytes, ...]


@dataclass(frozen=True)
class StoredHead:
    """What is remembered of a member's index head."""

    sequence: int
    epoch: int
    statement: SignedStatement


class Directories:
    """Directory versions and index heads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def latest_version(self) -> int:
        """0 before the first one."""
        # By hand, because it is read for every call and every batch of submissions.
        return single(self._connection, "SELECT max(version) FROM directories") or 0

    def load(self, version: int) -> StoredDirectory:
        """A version that is among the latest ones."""
        query = sa.select(directories).where(directories.c.version == version)
        row = self._connection.execute(query).mappings().one()
        chain = Reader(row["chain"]).sequence(_MAX_CHAIN, lambda read: read.octets(_MAX_CERTIFICATE_OCTETS))
        return StoredDirectory(version, SignedStatement(row["body"], row["signature"]), chain)

    def add(self, directory: StoredDirectory, now: datetime, witnessed: int) -> None:
        """Store a version; of those that nobody fetches any more only digest and signature stay.

        Members fetch the newest one that a witnessed head holds, `witnessed`: it and those just before it are
        kept, for transfers under way, and the latest ones, which may become it.
        """
        chain = Writer().sequence(directory.chain, lambda out, der: out.octets(der)).finish()
        self._connection.execute(
            sa.insert(directories).values(
                version=directory.version,
                issued_at=to_milliseconds(now),
                digest=digest("directory", directory.statement.body),
                body=directory.statement.body,
                signature=directory.statement.signature,
                chain=chain,
            )
        )
        passed = directories.c.version <= witnessed - KEPT_WITNESSED
        skipped = (directories.c.version > witnessed) & (
            directories.c.version <= directory.version - KEPT_LATEST
        )
        gone = sa.update(directories).where(passed | skipped, directories.c.body != b"")
        self._connection.execute(gone.values(body=b"", chain=b""))

    def kept(self, up_to: int) -> int:
        """The newest version up to this one whose octets are kept; 0 if none is."""
        query = sa.select(sa.func.max(directories.c.version)).where(
            directories.c.version <= up_to, directories.c.body != b""
        )
        return self._connection.execute(query).scalar() or 0

    def find(self, version: int) -> StoredDirectory | None:
        """The version, if it is kept."""
        query = sa.select(directories.c.version).where(
            directories.c.version == version, directories.c.body != b""
        )
        known = self._connection.execute(query).first() is not None
        return self.load(version) if known else None

    def head(self, node: NodeId) -> StoredHead | None:
        query = sa.select(heads).where(heads.c.node == str(node))
        row = self._connection.execute(query).mappings().first()
        if row is None:
            return None
        return StoredHead(row["sequence"], row["epoch"], SignedStatement(row["body"], row["signature"]))

    def set_head(self, head: IndexHead, statement: SignedStatement) -> None:
        self._connection.execute(sa.delete(heads).where(heads.c.node == str(head.node)))
        self._connection.execute(
            sa.insert(heads).values(
                node=str(head.node),
                sequence=head.sequence,
                epoch=head.epoch,
                issued_at=to_milliseconds(head.issued_at),
                body=statement.body,
                signature=statement.signature,
            )
        )
