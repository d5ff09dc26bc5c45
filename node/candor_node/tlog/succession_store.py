"""What a node keeps of a succession: its own consent, whether it has published since (docs/protocol.md §19).

Every function runs inside a transaction of `Store`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from candor_node.store import Database
from candor_node.tlog import log_store
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import AlreadyExists
from candor_proto.signing import SignedStatement
from candor_proto.tlog.entries import PolicyEntry, log_origin
from candor_proto.tlog.note import COSIGNATURE_ML_DSA_44, ED25519, VerifierKey
from candor_proto.tlog.statements import SuccessionConsent


@dataclass(frozen=True)
class KeptConsent:
    """This node's consent to the successor of a shard, as it signed it."""

    consent: SuccessionConsent
    statement: SignedStatement = field(repr=False)

    @property
    def next_shard(self) -> int:
        return self.consent.shard + 1

    @property
    def keys(self) -> tuple[VerifierKey, VerifierKey]:
        """Of the successor's shard."""
        origin = log_origin(self.consent.federation, self.next_shard)
        return (
            VerifierKey(origin, ED25519, self.consent.ed25519_key),
            VerifierKey(origin, COSIGNATURE_ML_DSA_44, self.consent.ml_dsa_key),
        )


def keep(db: Database, kept: KeptConsent, policy: PolicyEntry, now: datetime) -> None:
    """Store a consent, the successor's first policy as in force; raises AlreadyExists for a second one."""
    consent = kept.consent
    known = of_shard(db, consent.shard)
    if known is not None:
        if known.consent != consent:
            raise AlreadyExists(
                f"This node has consented to another successor of shard {consent.shard} already.",
                remedy="It goes to one only: ask the other members which one they chose.",
            )
        return
    db.execute(
        "INSERT INTO tlog_successions (shard, body, signature, made_at, published) VALUES (?, ?, ?, ?, 0)",
        [consent.shard, kept.statement.body, kept.statement.signature, to_milliseconds(now)],
    )
    enforce_first_policy(db, kept.next_shard, policy)


def enforce_first_policy(db: Database, shard: int, policy: PolicyEntry) -> None:
    """Heads of the successor's shard are judged by its first policy, which no head puts in force (§19.2)."""
    # Where it stands is told again when its entry is read; until then, after `opened`.
    log_store.keep_policy(db, shard, 1, policy)
    log_store.enforce_policy(db, policy.version)


def of_shard(db: Database, shard: int) -> KeptConsent | None:
    """The consent to a successor of this shard."""
    row = db.execute("SELECT body, signature FROM tlog_successions WHERE shard = ?", [shard]).fetchone()
    return _kept(row) if row else None


def newest(db: Database) -> KeptConsent | None:
    """The consent that was given last."""
    row = db.execute("SELECT body, signature FROM tlog_successions ORDER BY shard DESC LIMIT 1").fetchone()
    return _kept(row) if row else None


def _kept(row: tuple[bytes, bytes]) -> KeptConsent:
    return KeptConsent(SuccessionConsent.decode(row[0]), SignedStatement(row[0], row[1]))


def publication_due(db: Database) -> bool:
    """Whether the successor has no index of this node yet that it published there."""
    return db.execute("SELECT 1 FROM tlog_successions WHERE published = 0").fetchone() is not None


def published(db: Database) -> None:
    """A new epoch was published to the hub of now."""
    db.execute("UPDATE tlog_successions SET published = 1 WHERE published = 0")
