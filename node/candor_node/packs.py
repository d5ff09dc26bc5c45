"""Which policy packs this node adopted, who decided it, and the policy they make (RECORDS.md §3.5).

Rules of this file:
- a policy changes by the act of two people and by nothing else: what a new installation ships is not in force
  before it is adopted. A fresh node begins with the default pack of its installation;
- before it is adopted a pack is checked whole: issuer, octets, cases. The same name and version is always the
  same octets, and a version never goes back;
- with the adoption, in its transaction, every record gets its times and its gate's word anew, and the node
  signs what it adopted, so that anybody may later be shown under which rules it shares;
- beside the default one pack is in force, of the state, and it is the one adopted last;
- a review or an end that people set by hand, apart from what the old packs said, is theirs and stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from candor_node import due_process, filings, ledger, shipped_packs
from candor_node.driver import Migrations
from candor_node.store import Database
from candor_proto.canonical import Writer, digest, from_milliseconds, to_milliseconds
from candor_proto.errors import AlreadyExists, InputInvalid, Rollback
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement, SigningKey, VerifyingKey
from candor_records.gate import gate_day
from candor_records.life import LIVE
from candor_records.pack import PackPolicy
from candor_records.pack_cases import check_cases
from candor_records.pack_reader import read_pack
from candor_records.pack_rules import COUNTRY, DEFAULT_PACK, Pack
from candor_records.pack_signature import PackSignature, check_signature
from candor_records.records import Record

packs_migrations = Migrations("packs")

INSTALLATION = "installation"
ADOPTION_CONTEXT = "policy-adoption"

_TABLES = (
    # What somebody proposed to adopt, as it came; the proposal itself names its digest.
    """CREATE TABLE offered_packs (
        digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
        octets BLOB NOT NULL,
        signature TEXT NOT NULL,
        offered_at INTEGER NOT NULL
    ) STRICT""",
    # `statement` and its signature are by this node's own key; the first row, of the installation, has none.
    """CREATE TABLE adopted_packs (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        version INTEGER NOT NULL CHECK (version >= 1),
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        octets BLOB NOT NULL,
        signature TEXT NOT NULL,
        adopted_at INTEGER NOT NULL,
        by TEXT NOT NULL,
        second TEXT NOT NULL,
        statement BLOB,
        statement_signature BLOB
    ) STRICT""",
    """CREATE TRIGGER adopted_packs_keep BEFORE DELETE ON adopted_packs
        BEGIN SELECT RAISE(ABORT, 'adoptions are append-only'); END""",
    """CREATE TRIGGER adopted_packs_stay BEFORE UPDATE ON adopted_packs
        BEGIN SELECT RAISE(ABORT, 'adoptions are append-only'); END""",
)


@packs_migrations()
def initial(db: Database) -> None:
    """Packs offered and adopted; the default pack of this installation is in force."""
    for statement in _TABLES:
        db.execute(statement)
    shipped = shipped_packs.shipped(DEFAULT_PACK)
    db.execute(
        "INSERT INTO adopted_packs (name, version, digest, octets, signature, adopted_at, by, second)"
        " VALUES (?, ?, ?, ?, ?, 1000 * unixepoch(), ?, '')",
        [*_identified(shipped.pack), shipped.pack.octets, shipped.signature.text, INSTALLATION],
    )


@dataclass(frozen=True)
class Adoption:
    """One pack that was adopted: by whom, with whom, when; and whether it is in force."""

    pack: Pack
    signature: PackSignature
    adopted_at: datetime
    by: str
    second: str
    in_force: bool
    statement: SignedStatement | None = field(default=None, repr=False)


class Approved(Protocol):
    """What is needed of a proposal that a second person approved."""

    @property
    def arguments(self) -> Mapping[str, str]: ...
    @property
    def proposed_by(self) -> str: ...
    @property
    def decided_by(self) -> str: ...


# --- in force --------------------------------------------------------------------------------------


def in_force(db: Database) -> PackPolicy:
    """The policy of the packs in force: the default, and the state's over it."""
    default = _last(db, "name = ?")
    state = _last(db, "name <> ?")
    assert default is not None
    return _policy((default,) if state is None else (default, state))


def adoptions(db: Database) -> list[Adoption]:
    """All of them, the newest first."""
    rows = db.execute(
        "SELECT octets, signature, adopted_at, by, second, statement, statement_signature FROM adopted_packs"
        " ORDER BY number DESC"
    ).fetchall()
    found, seen = [], set[bool]()
    for octets, signature, at, by, second, statement, signed in rows:
        pack = _read(octets)
        is_default = pack.name == DEFAULT_PACK
        found.append(
            Adoption(
                pack,
                PackSignature.parse(signature),
                from_milliseconds(at),
                by,
                second,
                is_default not in seen,
                None if statement is None else SignedStatement(statement, signed),
            )
        )
        seen.add(is_default)
    return found


def _last(db: Database, which: str) -> bytes | None:
    row = db.execute(
        f"SELECT octets FROM adopted_packs WHERE {which} ORDER BY number DESC LIMIT 1",  # noqa: S608
        [DEFAULT_PACK],
    ).fetchone()
    return row[0] if row else None


@lru_cache(maxsize=64)
def _read(octets: bytes) -> Pack:
    return read_pack(octets)


@lru_cache(maxsize=8)
def _policy(packs: tuple[bytes, ...]) -> PackPolicy:
    return PackPolicy(tuple(map(_read, packs)))


# --- offering --------------------------------------------------------------------------------------


def offer(
    db: Database, now: datetime, octets: bytes, signature: str, trusted: Collection[VerifyingKey]
) -> tuple[Pack, str]:
    """Check a pack and keep it for the second person; the pack, and the digest that names it.

    Raises PackInvalid, InputInvalid, IdentityMismatch, SignatureInvalid, AlreadyExists or Rollback.
    """
    pack = _checked(db, now, octets, signature, trusted)
    name = pack_digest(octets)
    db.execute(
        "INSERT OR IGNORE INTO offered_packs VALUES (?, ?, ?, ?)",
        [name, octets, signature, to_milliseconds(now)],
    )
    return pack, name.hex()


def warning(pack: Pack, oris: Collection[str]) -> str:
    """What a person should know before adopting it: that it is of another state than the node's agencies."""
    states = sorted({ori[:2] for ori in oris})
    if pack.jurisdiction == COUNTRY or not states or pack.jurisdiction in states:
        return ""
    return (
        f"The pack {pack.label} is of {pack.jurisdiction}, and this node's agencies are of "
        f"{', '.join(states)}: it would loosen and tighten what is shared by another state's law."
    )


def pack_digest(octets: bytes) -> bytes:
    """What names these octets, 32 octets."""
    return digest(f"{ADOPTION_CONTEXT}-pack", octets)


def _checked(
    db: Database, now: datetime, octets: bytes, signature: str, trusted: Collection[VerifyingKey]
) -> Pack:
    check_signature(octets, PackSignature.parse(signature), trusted)
    pack = read_pack(octets)
    if pack.effective_on > gate_day(now):
        raise InputInvalid(
            f"The pack {pack.label} takes effect on {pack.effective_on}.", remedy="Adopt it then."
        )
    policy = in_force(db)
    check_cases(pack, policy.packs[0])
    if pack.name == DEFAULT_PACK:
        PackPolicy((pack, *policy.packs[1:]))
    _check_version(db, pack, policy)
    return pack


def _check_version(db: Database, pack: Pack, policy: PackPolicy) -> None:
    """Raises AlreadyExists or Rollback."""
    rows = db.execute("SELECT version, digest FROM adopted_packs WHERE name = ?", [pack.name]).fetchall()
    own = pack_digest(pack.octets)
    if any(version == pack.version and known != own for version, known in rows):
        raise AlreadyExists(
            f"Another pack was adopted as {pack.label} before.",
            remedy="A pack that was changed gets a new version from its issuer.",
        )
    if pack in policy.packs:
        raise AlreadyExists(f"The pack {pack.label} is in force already.", remedy="Nothing needs to be done.")
    if any(version > pack.version for version, _ in rows):
        raise Rollback(
            f"A newer version than {pack.label} was adopted before.",
            remedy="A version never goes back; the issuer publishes what shall hold as a new version.",
        )


# --- adopting --------------------------------------------------------------------------------------


def adopter(
    node: NodeId, key: SigningKey, trusted: Collection[VerifyingKey]
) -> Callable[[Database, Approved, datetime], None]:
    """What is done once a second person approved ADOPT_PACK."""

    def execute(db: Database, approval: Approved, now: datetime) -> None:
        name = bytes.fromhex(approval.arguments["digest"])
        row = db.execute("SELECT octets, signature FROM offered_packs WHERE digest = ?", [name]).fetchone()
        if row is None or pack_digest(row[0]) != name:
            raise InputInvalid(
                "The pack that was proposed is not here any more.", remedy="Propose it once more."
            )
        adopt(db, now, row[0], row[1], trusted, node, key, approval.proposed_by, approval.decided_by)

    return execute


def adopt(
    db: Database,
    now: datetime,
    octets: bytes,
    signature: str,
    trusted: Collection[VerifyingKey],
    node: NodeId,
    key: SigningKey,
    by: str,
    second: str,
) -> PackPolicy:
    """Put a pack in force inside the caller's transaction; the policy that holds now. Raises as `offer`."""
    before = in_force(db)
    pack = _checked(db, now, octets, signature, trusted)
    body = (
        Writer(ADOPTION_CONTEXT)
        .text(str(node))
        .text(pack.name)
        .integer(pack.version, 4)
        .fixed(pack_digest(octets), 32)
        .time(now)
        .finish()
    )
    statement = key.sign(ADOPTION_CONTEXT, body)
    db.execute(
        "INSERT INTO adopted_packs (name, version, digest, octets, signature, adopted_at, by, second,"
        " statement, statement_signature) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            *_identified(pack),
            octets,
            signature,
            to_milliseconds(now),
            by,
            second,
            statement.body,
            statement.signature,
        ],
    )
    after = in_force(db)
    dated = _redate(db, before, after)
    turned = due_process.refresh(db, now, after, every=True)
    refs = {"pack": f"{pack.name}:{pack.version}", "digest": pack_digest(octets).hex(), "user": by}
    if second:
        refs["second"] = second
    ledger.append(db, now, "pack.adopted", refs, {"times_changed": dated, "opened_or_closed": turned})
    return after


def _identified(pack: Pack) -> tuple[str, int, bytes]:
    return pack.name, pack.version, pack_digest(pack.octets)


def _redate(db: Database, before: PackPolicy, after: PackPolicy) -> int:
    """Give every living record the times of the new policy; returns how many got others."""
    changed = 0
    for row in filings.sealed_current(db):
        record = row.open()
        if record.circumstances.standing not in LIVE:
            continue
        dated = _dated(record, before, after)
        if dated != record:
            changed += 1
            filings.set_times(db, dated)
    return changed


def _dated(record: Record, before: PackPolicy, after: PackPolicy) -> Record:
    filed_on = gate_day(record.reported_at)
    old, new = before.retention(record.content, filed_on), after.retention(record.content, filed_on)
    now = record.circumstances
    return replace(
        record,
        circumstances=replace(
            now,
            review_on=new.review_on if now.review_on in (old.review_on, None) else now.review_on,
            expires_on=new.expires_on if now.expires_on in (old.expires_on, None) else now.expires_on,
        ),
    )
