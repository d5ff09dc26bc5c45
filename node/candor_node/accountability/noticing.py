"""Whoever notices misbehaviour makes evidence of it at once (docs/protocol.md §17.2).

Rules of this file:
- every function runs inside a transaction of `Store`, mostly the one in which the misbehaviour is dealt with;
- nothing is sent, nothing is written to the ledger, and nothing waits for it: who looks at this node from
  outside sees no difference;
- local failures (§7.6) are none of this file's: they wait for the calendar digest (`digests`);
- what is kept here is no proof yet: the file is checked as a whole when a person takes it (`exporting`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import datetime, timedelta

from candor_node.accountability import evidence_store, held_heads, own_lookups
from candor_node.accountability.evidence_store import Noticed
from candor_node.reading import Misdeed
from candor_node.store import Database
from candor_node.tlog import contradictions
from candor_node.tlog.contradictions import Contradiction
from candor_proto.accountability.evidence import HUB, Item, Kind
from candor_proto.canonical import to_milliseconds
from candor_proto.directory import IndexHead
from candor_proto.disclosure import DisclosureRequest
from candor_proto.errors import CandorError
from candor_proto.ids import BlobId, FederationName, LookupId, NodeId, RequestId
from candor_proto.signing import SIGNATURE_OCTETS, SignedStatement
from candor_proto.statements import LOOKUP_LIFE, Lookup
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.entries import log_origin
from candor_proto.tlog.policy import Policy
from candor_proto.tlog.statements import Heartbeat

# §17.1: a heartbeat that old speaks of a lookup that had not expired.
HEARTBEAT_MARGIN = timedelta(minutes=10)


def members(asker: NodeId, owner: NodeId) -> dict[str, list[str | int]]:
    """The keys of §17.1 that show both parties' entries."""
    return {"asker_member": ["member", str(asker)], "owner_member": ["member", str(owner)]}


def owner_member(owner: NodeId) -> dict[str, list[str | int]]:
    return {"owner_member": ["member", str(owner)]}


# --- at the asker ------------------------------------------------------------------------------------------


def answer(db: Database, misdeed: Misdeed, now: datetime) -> None:
    """An answer that contradicts its owner's head (WRONG_KEY) or the lookup (WRONG_EPOCH)."""
    kind, head = misdeed.kind, misdeed.head
    items: dict[str, Item] = {"lookup": misdeed.draft.statement, "answer": misdeed.answer}
    wanted = members(misdeed.draft.lookup.asker, misdeed.owner)
    if kind is Kind.WRONG_KEY:
        held = None if head is None else held_heads.find(db, head)
        if held is None:
            return
        items["head"] = held.statement
        wanted["head_logged"] = ["head", held.digest.hex()]
    evidence_store.keep(db, Noticed(kind, str(misdeed.owner), items, wanted), now)


def heads(db: Database, verified: Iterable[tuple[IndexHead, SignedStatement]], now: datetime) -> None:
    """Heads whose signature was verified, whether or not they are taken up: kept, and compared (§6.7)."""
    known = list(verified)
    for head, statement in known:
        name = held_heads.head_digest(statement)
        if held_heads.by_digest(db, name) is not None:
            continue
        for other in held_heads.of_node(db, head.node):
            if _contradict(head, IndexHead.decode(other.statement.body)):
                items: dict[str, Item] = {"first": other.statement, "second": statement}
                noticed = Noticed(Kind.TWO_HEADS, str(head.node), items, owner_member(head.node))
                evidence_store.keep(db, noticed, now)
                break
    held_heads.keep(db, known, now)


def _contradict(one: IndexHead, other: IndexHead) -> bool:
    if one.sequence == other.sequence:
        return one != other
    earlier, later = sorted((one, other), key=lambda head: head.sequence)
    return later.epoch < earlier.epoch or (one.epoch == other.epoch and one.keys != other.keys)


def segment(db: Database, head: IndexHead, octets: bytes, now: datetime) -> None:
    """Octets that a head names by their address and that are no segment of it."""
    held = held_heads.find(db, head)
    if held is not None:
        items: dict[str, Item] = {"head": held.statement, "segment": octets}
        noticed = Noticed(Kind.MALFORMED_SEGMENT, str(head.node), items, owner_member(head.node))
        evidence_store.keep(db, noticed, now)


def basis(db: Database, request_id: RequestId, head: IndexHead, address: bytes, secret: bytes) -> None:
    """From which index a person asks for a record: in the transaction that stores the request."""
    held = held_heads.find(db, head)
    if held is not None and secret:
        db.execute(
            "INSERT OR REPLACE INTO request_bases VALUES (?, ?, ?, ?)",
            [request_id.value, held.digest, address, secret],
        )


def basis_address(db: Database, request_id: RequestId) -> bytes | None:
    """The address of the segment that a record was asked from."""
    row = db.execute("SELECT address FROM request_bases WHERE request_id = ?", [request_id.value]).fetchone()
    return None if row is None else row[0]


def phantom(
    db: Database,
    request: DisclosureRequest,
    asked: SignedStatement,
    response: SignedStatement,
    blob_id: BlobId | None,
    octets: bytes | None,
    now: datetime,
) -> None:
    """A record was released that its blob is not committed to; `octets` are those of the segment."""
    row = db.execute(
        "SELECT head, secret FROM request_bases WHERE request_id = ?", [request.request_id.value]
    ).fetchone()
    held = None if row is None else held_heads.by_digest(db, row[0])
    if held is None or octets is None or blob_id is None:
        return
    items: dict[str, Item] = {
        "head": held.statement,
        "segment": octets,
        "blob": blob_id.value,
        "secret": row[1],
        "request": asked,
        "response": response,
    }
    wanted = members(request.requester, request.owner)
    evidence_store.keep(db, Noticed(Kind.PHANTOM, str(request.owner), items, wanted), now)


# --- at the owner ------------------------------------------------------------------------------------------


def answered(db: Database, lookup: Lookup, statement: SignedStatement) -> None:
    """A lookup of another member is answered: it is kept until it expires."""
    db.execute(
        "INSERT OR IGNORE INTO seen_lookups VALUES (?, ?, ?, ?, ?)",
        [
            str(lookup.asker),
            lookup.lookup_id.value,
            statement.body,
            statement.signature,
            to_milliseconds(lookup.expires_at),
        ],
    )


def replayed(db: Database, lookup: Lookup, statement: SignedStatement, now: datetime) -> None:
    """A lookup came under an id that was answered before: another one, signed by the same asker?"""
    row = db.execute(
        "SELECT body, signature FROM seen_lookups WHERE asker = ? AND lookup_id = ?",
        [str(lookup.asker), lookup.lookup_id.value],
    ).fetchone()
    if row is None or row[0] == statement.body:
        return
    items: dict[str, Item] = {"first": SignedStatement(row[0], row[1]), "second": statement}
    wanted: dict[str, list[str | int]] = {"asker_member": ["member", str(lookup.asker)]}
    evidence_store.keep(db, Noticed(Kind.TWO_LOOKUPS, str(lookup.asker), items, wanted), now)


def forget_answered(db: Database, now: datetime) -> None:
    db.execute("DELETE FROM seen_lookups WHERE expires_at < ?", [to_milliseconds(now - timedelta(hours=1))])


# --- in the log --------------------------------------------------------------------------------------------


def heartbeat(
    db: Database,
    own: NodeId,
    federation: FederationName,
    said: Heartbeat,
    shard: int,
    position: int,
    now: datetime,
) -> None:
    """A heartbeat was read in the log: are lookups of this node missing there that it should have (§14.8)?"""
    if said.node == own or said.origin != log_origin(federation, shard):
        return
    since = said.issued_at - LOOKUP_LIFE
    for mine in own_lookups.logged_between(db, shard, said.start, said.end, since):
        assert mine.place is not None  # it was found by its place
        bit = _lookups_before(db, shard, mine.place.position) - _lookups_before(db, shard, said.start)
        try:
            if said.has_received(bit + mine.place.place):
                continue
        except CandorError:
            continue
        statement = _own_statement(db, mine.lookup_id, flight=mine.flight)
        lookup = None if statement is None else Lookup.decode(statement.body)
        if statement is None or lookup is None or lookup.epoch_for(said.node) is None:
            continue
        if said.issued_at + HEARTBEAT_MARGIN > lookup.expires_at:
            continue
        range_: list[str | int] = ["range", shard, said.start, mine.place.position]
        wanted: dict[str, list[str | int]] = {
            **members(own, said.node),
            "request_logged": ["place", shard, mine.place.position],
            "heartbeat_logged": ["place", shard, position],
            "entries": range_,
        }
        items: dict[str, Item] = {"lookup": statement, "owner": said.node}
        evidence_store.keep(db, Noticed(Kind.DROPPED_LOOKUP, HUB, items, wanted), now)


def _lookups_before(db: Database, shard: int, position: int) -> int:
    """How many commitments to lookups stand in the entries of a shard before this one."""
    row = db.execute(
        "SELECT total FROM tlog_requests WHERE shard = ? AND position < ? ORDER BY position DESC LIMIT 1",
        [shard, position],
    ).fetchone()
    return int(row[0]) if row else 0


def _own_statement(db: Database, lookup_id: LookupId, *, flight: bool) -> SignedStatement | None:
    table = "flights" if flight else "lookups"
    row = db.execute(
        f"SELECT body, signature FROM {table} WHERE lookup_id = ?",  # noqa: S608
        [lookup_id.value],
    ).fetchone()
    return SignedStatement(row[0], row[1]) if row else None


# --- what the follower found -------------------------------------------------------------------------------


def take_contradictions(db: Database, policy: Policy, now: datetime) -> None:
    """What the follower of the log has kept, as evidence; whoever calls it again gets nothing new."""
    for found in contradictions.kept(db):
        at = found.at or now
        try:
            for noticed in _noticed(db, found, policy):
                evidence_store.keep(db, noticed, at)
        except CandorError:
            # Signed by keys that the policy in force does not name any more: nobody could check it.
            continue


def _noticed(db: Database, found: Contradiction, policy: Policy) -> list[Noticed]:
    items: dict[str, Item]
    if found.kind == Kind.FALSE_DIRECTORY.value:
        return _false_directory(db, found)
    if found.kind == Kind.TWO_DIRECTORIES.value:
        items = {"first": _signed(found.first), "second": _signed(found.second), "chain": _chain(found)}
        return [Noticed(Kind.TWO_DIRECTORIES, HUB, items, {})]
    first, second = (policy.knows(parse_checkpoint(octets)) for octets in (found.first, found.second))
    items = {"first": first, "second": second}
    if found.kind == Kind.ROLLED_BACK_LOG.value:
        return [Noticed(Kind.ROLLED_BACK_LOG, HUB, items, {})]
    proof = tuple(base64.b64decode(str(piece)) for piece in _list(found.extra["proof"]))
    root = base64.b64decode(str(found.extra["prefix_root"]))
    made = [Noticed(Kind.FORKED_LOG, HUB, {**items, "proof": proof, "prefix_root": root}, {})]
    if first.checkpoint.size == second.checkpoint.size:
        keys = [
            witness.key.name
            for witness in policy.witnesses
            if all(any(line.is_by(witness.key) for line in signed.signatures) for signed in (first, second))
        ]
        made += [Noticed(Kind.TWO_COSIGNATURES, name, items, {}) for name in sorted(set(keys))]
    return made


def _false_directory(db: Database, found: Contradiction) -> list[Noticed]:
    row = db.execute(
        "SELECT shard, position FROM tlog_directories WHERE version = ?", [found.extra["version"]]
    ).fetchone()
    if row is None:
        return []
    items: dict[str, Item] = {"directory": _signed(found.first), "chain": _chain(found)}
    return [Noticed(Kind.FALSE_DIRECTORY, HUB, items, {"directory_logged": ["place", row[0], row[1]]})]


def _signed(octets: bytes) -> SignedStatement:
    """A directory as the follower keeps it: body ‖ signature."""
    return SignedStatement(octets[:-SIGNATURE_OCTETS], octets[-SIGNATURE_OCTETS:])


def _chain(found: Contradiction) -> tuple[bytes, ...]:
    return tuple(base64.b64decode(str(der)) for der in _list(found.extra["chain"]))


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
