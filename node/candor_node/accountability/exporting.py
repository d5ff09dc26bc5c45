"""From what was noticed to a file that anybody can check (docs/protocol.md §17.1).

Rule of this file: a file is written only once it was checked whole, as whoever gets it will check it. What
would not convince them is refused here, so that nobody is accused in vain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from candor_node.accountability import evidence_store
from candor_node.accountability.evidence_store import Noticed
from candor_node.accountability.proofs import Proofs
from candor_node.store import Store
from candor_node.tlog.watching import Place
from candor_proto.accountability.evidence import Evidence, Item, parse_evidence
from candor_proto.accountability.file_form import LoggedPart
from candor_proto.accountability.judgement import Finding, verify_evidence
from candor_proto.errors import MalformedMessage
from candor_proto.ids import FederationName, NodeId


async def evidence_file(
    store: Store, proofs: Proofs, federation: FederationName, number: int
) -> tuple[bytes, Finding]:
    """The file of kept evidence, and what it shows.

    Raises UnknownObject, NotLogged (an entry is not logged yet), LimitExceeded (too large for a file) and
    whatever a check of the file raises.
    """
    _, noticed = await store.run(lambda db: evidence_store.find(db, number))
    evidence = await complete(noticed, proofs, federation)
    trust = proofs.trust()

    def write_and_check() -> tuple[bytes, Finding]:
        octets = evidence.encode()
        return octets, verify_evidence(parse_evidence(octets), trust)

    return await asyncio.to_thread(write_and_check)


async def complete(noticed: Noticed, proofs: Proofs, federation: FederationName) -> Evidence:
    """What was noticed, with the parts that the log holds."""
    items: dict[str, Item] = dict(noticed.items)
    ranges: list[list[str | int]] = []
    for name, where in noticed.wanted.items():
        if where[0] == "range":
            ranges.append(where)
        else:
            items[name] = await _logged(proofs, name, where)
    for where in ranges:
        logged = items["request_logged"]
        if not isinstance(logged, LoggedPart):
            raise MalformedMessage("A range of entries belongs to the entry that ends it.")
        shard, start = int(where[1]), int(where[2])
        found = await proofs.range_before(shard, start, logged)
        items["prefix"], items["entries"], items["consistency"] = found
    return Evidence(noticed.kind, federation, noticed.accused, items)


async def _logged(proofs: Proofs, name: str, where: Sequence[str | int]) -> LoggedPart:
    match where:
        case ["place", int(shard), int(position)]:
            return await proofs.logged(Place(shard, position, 0), f"The entry for {name}")
        case ["member", str(node)]:
            return await proofs.member(NodeId(node))
        case ["head", str(digest)]:
            return await proofs.head(bytes.fromhex(digest))
        case _:
            raise MalformedMessage("What was noticed does not say where the log holds its parts.")
