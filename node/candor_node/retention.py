"""The end of retention: what is destroyed in a run, what a legal hold keeps, and the certificate.

Rules of this file:
- destroyed is what a rule says: a record that has expired, or that was voided and whose time is over as well.
  A person may only ask for all of it, see it before (`plan`), and needs a second one to agree;
- a run destroys what was shown and approved, and nothing else: what a hold was put on since is kept, what has
  come to its end since waits for the next run;
- destruction, history, ledger and certificate are one transaction. Certificates are for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from candor_node import dues, filings, ledger, lifecycle
from candor_node.dues import Due, What
from candor_node.lifecycle import Doing
from candor_node.store import Database
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import InputInvalid, UnknownObject
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement, SigningKey
from candor_records.gate import gate_day
from candor_records.life import Act
from candor_records.policy import Policy
from candor_records.records import Dcn, Standing
from candor_records.retention import Certificate, Destroyed, sign

MOST_A_RUN = 10_000
_OVER = (Standing.EXPIRED, Standing.VOID)


@dataclass(frozen=True)
class Ending:
    """A record whose time to be kept ends, and by which rule."""

    due: Due
    rule: str


@dataclass(frozen=True)
class Plan:
    """What a run would destroy now, and what a legal hold keeps."""

    destroy: tuple[Ending, ...]
    kept: tuple[Ending, ...]


def ending(db: Database, until: date, policy: Policy, limit: int = 500) -> list[Ending]:
    """What ends up to `until`, earliest first: the due list of retention."""
    return [_with_rule(db, due, policy) for due in dues.dues(db, until, [What.RETENTION], limit=limit)]


def plan(db: Database, today: date, policy: Policy) -> Plan:
    """What a run would do today: a dry run is this, and nothing more."""
    over = [
        due for due in dues.dues(db, today, [What.RETENTION], limit=2 * MOST_A_RUN) if due.standing in _OVER
    ]
    destroy = [_with_rule(db, due, policy) for due in over if not due.legal_hold][:MOST_A_RUN]
    kept = [_with_rule(db, due, policy) for due in over if due.legal_hold]
    return Plan(tuple(destroy), tuple(kept))


def run(
    db: Database, approved: tuple[Dcn, ...], node: NodeId, key: SigningKey, doing: Doing
) -> SignedStatement:
    """Destroy what was `approved` and may still be destroyed; the signed certificate.

    Raises InputInvalid when nothing of it may be, any more. Call `Store.checkpoint` and `backup.tidy` after
    the commit, so that neither the write-ahead log nor a backup still holds a key.
    """
    if not doing.second:
        raise AssertionError("a run takes two people")
    now = plan(db, gate_day(doing.now), doing.policy)
    wanted = set(approved)
    destroyed = [_destroy(db, end, doing) for end in now.destroy if end.due.dcn in wanted]
    if not destroyed:
        raise InputInvalid(
            "Nothing of what was approved may be destroyed any more: it is gone already, or held.",
            remedy="Look at `candor-node records retention run --dry-run` and propose again.",
        )
    kept = tuple(end.due.dcn for end in now.kept)
    refs = {"user": doing.by, "second": doing.second}
    ledger.append(db, doing.now, "retention.run", refs, {"destroyed": len(destroyed), "kept": len(kept)})
    entry, digest = ledger.head(db)
    last: int = db.execute("SELECT coalesce(max(number), 0) FROM certificates").fetchone()[0]
    at = doing.now.replace(microsecond=0)
    certificate = Certificate(
        last + 1, node, at, doing.by, doing.second, tuple(destroyed), kept, entry, digest
    )
    signed = sign(certificate, key)
    db.execute(
        "INSERT INTO certificates VALUES (?, ?, ?, ?, ?)",
        [certificate.number, to_milliseconds(at), len(destroyed), signed.body, signed.signature],
    )
    return signed


def _destroy(db: Database, end: Ending, doing: Doing) -> Destroyed:
    numbers = filings.control_numbers(db, end.due.record_id)
    lifecycle.expunge(db, end.due.dcn, replace(doing, reason=""), Act.DESTROY)
    return Destroyed(tuple(map(Dcn, numbers)), end.due.kind, end.due.standing, end.due.due_on, end.rule)


def _with_rule(db: Database, due: Due, policy: Policy) -> Ending:
    """By the pack in force now; a day that another pack set is said to be so."""
    record = filings.find_current(db, due.record_id)
    retention = policy.retention(record.content, gate_day(record.reported_at))
    if retention.expires_on == due.due_on and retention.why:
        return Ending(due, retention.why)
    if record.overturned:
        return Ending(due, "the rule about decisions that were taken away")
    return Ending(due, "the rule in force when it was filed")


# --- certificates -----------------------------------------------------------------------------------------


def certificates(db: Database) -> list[Certificate]:
    """All of them, newest first."""
    rows = db.execute("SELECT body FROM certificates ORDER BY number DESC")
    return [Certificate.parse(body) for (body,) in rows]


def certificate(db: Database, number: int) -> SignedStatement:
    """As it was issued; raises UnknownObject."""
    row = db.execute("SELECT body, signature FROM certificates WHERE number = ?", [number]).fetchone()
    if row is None:
        raise UnknownObject(
            f"There is no certificate {number}.", remedy="`candor-node records certificates list` shows them."
        )
    return SignedStatement(row[0], row[1])
