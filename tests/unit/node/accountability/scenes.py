"""Two agencies, of which bravo does not keep the protocol: for tests of what alpha notices and proves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from candor_node import epochs
from candor_node.accountability import evidence_store, exporting, noticing
from candor_node.accountability.evidence_store import KeptEvidence
from candor_node.app import Node
from candor_node.index_client import IndexClient
from candor_proto.accountability.evidence import Kind
from candor_proto.accountability.judgement import Finding
from candor_proto.candidates import NodeIndex
from candor_proto.directory import IndexHead, SegmentRef
from candor_proto.ids import LookupShape
from candor_proto.normalise import Particulars
from candor_proto.sealed_index import IndexOwner
from candor_proto.segment import Segment, address
from tests.federation import OFFICER, Federation, eventually, federation, instead
from tests.indexes import SealedPerson, Sealer

WHOM = Particulars(**OFFICER)
NOBODY_KNOWN = Particulars(first="Erika", last="Mustermann", birth_date="1970-08-12", ssn4="5151", sex="F")
Scene = Callable[[Federation, Node, Node], Awaitable[None]]


def play(folder: Path, scene: Scene, **changes: Any) -> None:
    async def whole() -> None:
        async with federation(folder, 2, **changes) as fed:
            alpha, bravo = fed.nodes
            await scene(fed, alpha, bravo)

    asyncio.run(whole())


def party(node: Node) -> Any:
    """As tests.byzantine.forging takes it."""
    return SimpleNamespace(node=node)


async def kept(node: Node) -> list[KeptEvidence]:
    return await node.store.run(evidence_store.kept)


async def exported(node: Node, number: int) -> tuple[bytes, Finding]:
    """The file and what it shows; checked by whoever made it, as anybody checks it."""
    await node.follower.follow()
    federation_name = node.config.federation_name
    return await exporting.evidence_file(node.store, node.accountant.proofs, federation_name, number)


async def only(node: Node, kind: Kind, accused: str) -> Finding:
    """The one piece of evidence that is held, once it is, exported."""
    (one,) = await eventually(lambda: kept(node), lambda held: bool(held))
    assert (one.kind, one.accused) == (kind, accused)
    octets, finding = await exported(node, one.number)
    assert (finding.kind, finding.accused) == (kind, accused)
    assert octets
    return finding


async def _nothing() -> None:
    """In place of a refresh, which would bring bravo's published index back."""


async def move_on(node: Node) -> None:
    """The node takes up what bravo really publishes; what was planted goes out of use."""
    await IndexClient.refresh(node.indexes)


class Planted:
    """An index of bravo's with records of its choice, as alpha holds it: under bravo's own epoch keys."""

    def __init__(self, bravo: Node, people: Sequence[Particulars]) -> None:
        self.bravo = bravo
        self.head: IndexHead = bravo.indexes.heads()[bravo.config.node_id]
        owner = IndexOwner(self.head.federation, self.head.node, self.head.epoch)
        seed = bravo.store.run_sync(lambda db: epochs.latest(db)).seed  # type: ignore[union-attr]  # it has published
        keys = epochs.keys_for(seed, owner.federation, owner.node, owner.epoch)
        self.owner, self.keys = owner, keys
        self.sealer = Sealer(keys, owner, 1, self.head.threshold)
        self.people = [self.sealer.seal(person) for person in people]

    def segment(self, people: Sequence[SealedPerson] | None = None) -> bytes:
        return Sealer(self.keys, self.owner, 1, self.head.threshold).segment(
            self.people if people is None else people
        )

    async def give(self, alpha: Node, octets: bytes) -> None:
        """Alpha holds this segment under a head that bravo signed, as if it had come with a directory."""
        ref = SegmentRef(1, address(octets), len(octets))
        head = replace(self.head, segments=(ref,), sequence=self.head.sequence + 1)
        statement = self.bravo.keys.signing.sign("index-head", head.encode())
        now = alpha.clock.now()
        await alpha.store.run(lambda db: noticing.heads(db, [(head, statement)], now))
        instead(alpha.indexes, "refresh", _nothing)
        # Not while a refresh is under way that began before.
        async with alpha.indexes._lock:
            (alpha.config.index_folder / ref.address.hex()).write_bytes(octets)
            alpha.indexes.indexes[head.node] = NodeIndex(head, (Segment(octets),))


SCREENING = LookupShape.SCREENING
