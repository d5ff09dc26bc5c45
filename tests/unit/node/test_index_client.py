"""Segments as a node takes them in (docs/protocol.md §6.8)."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from candor_node.clock import SystemClock
from candor_node.index_client import FEWEST_RECORDS, MAX_INDEX_OCTETS, IndexClient
from candor_proto.candidates import NodeIndex
from candor_proto.directory import IndexHead, SegmentRef
from candor_proto.errors import CommitmentMismatch, IdentityMismatch, StoreUnusable
from candor_proto.group import hash_to_group
from candor_proto.ids import Digest, FederationName, KeyClass, NodeId
from candor_proto.normalise import SCHEME_VERSION
from candor_proto.sealed_index import BLOB_OCTETS, IndexOwner
from candor_proto.segment import MIN_BLOBS, Segment, address, build, padded_count
from tests.schemes import UNKNOWN_VERSION

FEDERATION, NODE = FederationName("demo-exchange.example"), NodeId("bravo")
OCTETS = build(IndexOwner(FEDERATION, NODE, 1), 4, [], [], [])
CHANGED = OCTETS[:-1] + bytes([OCTETS[-1] ^ 1])
REF = SegmentRef(4, address(OCTETS), len(OCTETS))
HEAD = IndexHead(
    FEDERATION,
    NODE,
    1,
    1,
    {key_class: hash_to_group(bytes([key_class.value])) for key_class in KeyClass},
    3,
    SCHEME_VERSION,
    (REF,),
    datetime(2026, 3, 2, tzinfo=UTC),
)


@dataclass
class Hub:
    octets: bytes
    fetched: int = 0

    async def get_segment(self, named: Digest) -> bytes:
        self.fetched += 1
        return self.octets


class Forgetful:
    """A store that keeps nothing."""

    async def run(self, work: object) -> None:
        return None


def client(folder: Path, hub: Hub, federation_records: int | None = None) -> IndexClient:
    unused: Any = None
    of_hub: Any = hub
    store: Any = Forgetful()
    return IndexClient(of_hub, store, folder, FEDERATION, [], SystemClock(), unused, federation_records)


def take(folder: Path, hub: Hub, head: IndexHead = HEAD, ref: SegmentRef = REF) -> Any:
    async def scene() -> Any:
        return await client(folder, hub)._segment(head, ref, True)

    return asyncio.run(scene())


def test_a_segment_is_fetched_once_and_kept(tmp_path: Path) -> None:
    hub = Hub(OCTETS)
    assert take(tmp_path, hub).header.number == 4
    assert take(tmp_path, hub).header.number == 4
    assert hub.fetched == 1
    assert [path.name for path in tmp_path.iterdir()] == [REF.address.hex()]


@pytest.mark.parametrize(
    "octets", [OCTETS[:-1], OCTETS[:-1] + bytes([OCTETS[-1] ^ 1])], ids=["cut", "changed"]
)
def test_other_octets_than_those_named_are_not_kept(tmp_path: Path, octets: bytes) -> None:
    with pytest.raises(CommitmentMismatch):
        take(tmp_path, Hub(octets))
    assert list(tmp_path.iterdir()) == []


def test_octets_changed_on_disk_are_fetched_again(tmp_path: Path) -> None:
    (tmp_path / REF.address.hex()).write_bytes(CHANGED)
    hub = Hub(OCTETS)
    take(tmp_path, hub)
    assert hub.fetched == 1
    assert (tmp_path / REF.address.hex()).read_bytes() == OCTETS


@pytest.mark.parametrize(
    "changes", [{"node": NodeId("alpha")}, {"epoch": 2}, {"federation": FederationName("other.example")}]
)
def test_a_segment_of_another_index_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(IdentityMismatch):
        take(tmp_path, Hub(OCTETS), replace(HEAD, **changes))


def test_a_segment_under_another_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityMismatch):
        take(tmp_path, Hub(OCTETS), HEAD, replace(REF, number=5))


def test_a_disk_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="cannot be written: No such file"):
        take(tmp_path / "gone", Hub(OCTETS))


class OneMember:
    """A directory of one member with this head."""

    def __init__(self, head: IndexHead) -> None:
        self._head = head
        self.head_troubles: dict[NodeId, Exception] = {}

    def nodes(self) -> tuple[NodeId, ...]:
        return (NODE,)

    def head(self, node: NodeId) -> IndexHead:
        return self._head


def held_after(folder: Path, *heads: IndexHead) -> list[bool]:
    """Whether an index is held after each of `heads`, taken in by one client."""

    async def scene() -> list[bool]:
        taking, held = client(folder, Hub(OCTETS)), []
        for head in heads:
            directory: Any = OneMember(head)
            await taking._hold_indexes(directory, from_hub=True)
            held.append(NODE in taking.indexes)
        return held

    return asyncio.run(scene())


def test_a_new_head_of_the_same_epoch_keeps_the_segments_held(tmp_path: Path) -> None:
    assert held_after(tmp_path, HEAD, replace(HEAD, sequence=2)) == [True, True]


def test_a_new_epoch_that_names_a_segment_of_the_old_one_is_no_index(tmp_path: Path) -> None:
    """It would count as answered and never match."""
    assert held_after(tmp_path, HEAD, replace(HEAD, sequence=2, epoch=2)) == [True, False]


def test_an_index_larger_than_members_hold_is_not_fetched(tmp_path: Path) -> None:
    huge = replace(HEAD, segments=(REF, SegmentRef(5, Digest(bytes(32)), MAX_INDEX_OCTETS)))
    assert held_after(tmp_path, huge) == [False]
    assert list(tmp_path.iterdir()) == []


# --- how many records there are ------------------------------------------------------------------------


def holding(folder: Path, *blobs: int, version: int = SCHEME_VERSION, **options: Any) -> IndexClient:
    """A client that holds an index of so many blobs from each of some members."""
    held = client(folder, Hub(OCTETS), **options)
    for number, count in enumerate(blobs):
        node = NodeId(f"member-{number}")
        octets = build(
            IndexOwner(FEDERATION, node, 1),
            0,
            [],
            [secrets.token_bytes(BLOB_OCTETS) for _ in range(count)],
            [],
        )
        head = replace(HEAD, node=node, scheme_version=version)
        held.indexes[node] = NodeIndex(head, (Segment(octets), Segment(octets)))
    return held


def test_the_population_is_what_the_indexes_held_can_hold_with_their_padding(tmp_path: Path) -> None:
    """§6.6: 9,000 blobs are padded by Padmé, in both segments of both members."""
    padded = padded_count(9000, MIN_BLOBS)
    assert padded > 9000
    assert holding(tmp_path, 9000, 9000).population() == 4 * padded
    assert holding(tmp_path, 900, version=UNKNOWN_VERSION).population() == FEWEST_RECORDS


@pytest.mark.parametrize("blobs", [(), (1,), (1, 1)])
def test_a_small_federation_counts_as_one_in_which_a_record_is_no_likelier(
    tmp_path: Path, blobs: tuple[int, ...]
) -> None:
    assert holding(tmp_path, *blobs).population() == FEWEST_RECORDS


@pytest.mark.parametrize("said", [1, 500_000])
def test_what_the_operator_says_goes_before_every_estimate(tmp_path: Path, said: int) -> None:
    assert holding(tmp_path, 900, 600, federation_records=said).population() == said


def test_in_place_of_a_head_that_does_not_stand_up_the_last_good_index_stays(tmp_path: Path) -> None:
    async def scene() -> NodeIndex | None:
        taking, troubled = client(tmp_path, Hub(OCTETS)), Troubled()
        good: Any = OneMember(HEAD)
        await taking._hold_indexes(good, from_hub=True)
        await taking._hold_indexes(troubled, from_hub=True)  # type: ignore[arg-type]  # all that it reads
        return taking.indexes.get(NODE)

    held = asyncio.run(scene())
    assert held is not None
    assert held.head == HEAD


class Troubled:
    """A directory whose one head does not verify."""

    head_troubles: dict[NodeId, Exception] = {NODE: IdentityMismatch("another node's")}

    def nodes(self) -> tuple[NodeId, ...]:
        return (NODE,)

    def head(self, node: NodeId) -> None:
        return None
