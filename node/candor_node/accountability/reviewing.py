"""From a month's local failures to evidence, when a person signs the review (docs/protocol.md §7.6, §17.2).

Rule of this file: it works from what is stored, whatever the indexes are by now: openings, answers, the head
under which something failed, and the segments that were kept for it. What is gone proves nothing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_node import coverage, directory_store, flight_store, lookup_store
from candor_node.accountability import digests, evidence_store, held_heads, noticing
from candor_node.accountability.digests import Digest, Failures
from candor_node.accountability.evidence_store import Noticed
from candor_node.accountability.kept_segments import KeptSegments
from candor_node.store import Database, Store
from candor_proto.accountability.draw import Month
from candor_proto.accountability.evidence import Item, Kind
from candor_proto.accountability.suspicion import Suspicion, suspicions
from candor_proto.candidates import NodeIndex
from candor_proto.directory import IndexHead
from candor_proto.errors import CandorError
from candor_proto.exchange import Draft, Outputs
from candor_proto.ids import FederationName, LookupId, NodeId
from candor_proto.segment import Segment
from candor_proto.signing import SignedStatement, VerifyingKey

# One answer to one lookup of the searched person, and which person of it that is.
_Answered = tuple[Draft, SignedStatement, int]


@dataclass(frozen=True)
class Reviewed:
    """What came of a review: numbers of the evidence made, and how many failures prove nothing."""

    digest: Digest
    evidence: tuple[int, ...]
    unproved: int


async def review(
    store: Store,
    kept: KeptSegments,
    federation: FederationName,
    month: Month,
    now: datetime,
    by: str,
    note: str,
) -> Reviewed:
    """Make evidence of what failed in a month, and sign that its digest was read.

    Raises as `digests.review`.
    """
    await store.run(lambda db: digests.find(db, month))
    noticed: list[Noticed] = []
    unproved = 0
    for failed in await store.run(lambda db: digests.failures(db, month)):
        found = await _prove(store, kept, federation, failed)
        noticed += found
        unproved += not found

    def work(db: Database) -> tuple[Digest, list[int]]:
        numbers = [number for one in noticed if (number := evidence_store.keep(db, one, now))]
        return digests.review(db, month, now, by, note, numbers), numbers

    digest, numbers = await store.run(work)
    return Reviewed(digest, tuple(numbers), unproved)


async def _prove(
    store: Store, kept: KeptSegments, federation: FederationName, failed: Failures
) -> list[Noticed]:
    def look(db: Database) -> tuple[list[_Answered], VerifyingKey | None, SignedStatement | None]:
        held = [
            one.statement
            for one in held_heads.of_node(db, failed.node)
            if _is_of(IndexHead.decode(one.statement.body), failed)
        ]
        keys = directory_store.seen(db).keys.get(failed.node)
        key = None if keys is None else keys.signing_key
        return _answered(db, failed.search_id, failed.node), key, next(iter(held), None)

    answered, key, statement = await store.run(look)
    if key is None or statement is None or not answered:
        return []
    return await asyncio.to_thread(_proved, answered, key, statement, kept, federation)


def _is_of(head: IndexHead, failed: Failures) -> bool:
    return (head.epoch, head.sequence) == (failed.epoch, failed.sequence)


def _answered(db: Database, search_id: LookupId, node: NodeId) -> list[_Answered]:
    """The answers of a node to a search: of its own lookups, or of the flights that carried its row."""
    try:
        newest = coverage.latest(lookup_store.asks(db, search_id), node)
    except CandorError:
        return []
    asks = {ask.lookup_id: ask for ask in lookup_store.asks(db, search_id)}
    found: list[_Answered] = [
        (asks[lookup_id].draft, target.answer, 0)
        for lookup_id, target in newest.values()
        if target.answer is not None
    ]
    rows = db.execute(
        "SELECT p.lookup_id, p.position FROM batch_rows AS b JOIN flights AS f ON f.batch_id = b.batch_id"
        " JOIN flight_persons AS p ON p.lookup_id = f.lookup_id AND p.row = b.row"
        " WHERE b.search_id = ? AND p.secrets <> x'' ORDER BY f.issued_at, p.position",
        [search_id.value],
    ).fetchall()
    for lookup_id, position in rows:
        flight = flight_store.load_flight(db, LookupId(lookup_id))
        answer = flight_store.answers(db, LookupId(lookup_id)).get(node)
        if flight is not None and answer is not None:
            found.append((flight.draft, answer, position))
    return found


def _proved(
    answered: Sequence[_Answered],
    key: VerifyingKey,
    statement: SignedStatement,
    kept: KeptSegments,
    federation: FederationName,
) -> list[Noticed]:
    head = IndexHead.decode(statement.body)
    octets = {ref.number: kept.read(ref.address.value) for ref in head.segments}
    held = {number: found for number, found in octets.items() if found is not None}
    try:
        index = NodeIndex(head, tuple(Segment(found) for found in held.values()))
        outputs: list[Outputs] = []
        for draft, answer, person in answered:
            seen = coverage.examine(draft, head.node, key, answer, index)
            if seen.outputs is not None:
                outputs.append(seen.outputs[person])
        together = [item for own in outputs for item in own]
        found = suspicions(together, index, federation)
    except CandorError:
        return []
    return [_noticed(one, statement, head.node, held) for one in found]


def _noticed(found: Suspicion, head: SignedStatement, owner: NodeId, segments: dict[int, bytes]) -> Noticed:
    items: dict[str, Item] = {"head": head}
    if found.kind is Kind.MALFORMED_ENTRY:
        items |= {"segment": segments[found.entry_segment], "output": found.output, "counter": found.counter}
        return Noticed(found.kind, str(owner), items, noticing.owner_member(owner))
    assert found.blob_id is not None  # of a blob that opened, or should have
    items |= {"blob": found.blob_id.value, "secret": found.secret}
    if found.kind is Kind.MALFORMED_BLOB:
        items["segment"] = segments[found.blob_segment]
        return Noticed(found.kind, str(owner), items, noticing.owner_member(owner))
    same = found.entry_segment == found.blob_segment
    items |= {
        "blob_segment": segments[found.blob_segment],
        "entry_segment": None if same else segments[found.entry_segment],
        "output": found.output,
        "counter": found.counter,
    }
    return Noticed(found.kind, str(owner), items, noticing.owner_member(owner))
