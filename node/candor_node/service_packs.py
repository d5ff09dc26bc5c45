"""What the commands ask of the running node about policy packs: a thin servicer.

Rule of this file: no handler holds a try; errors become a status in `local_server`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from candor_node import approvals, packs, shipped_packs
from candor_node.doors import Context, acting
from candor_node.local_view import moment
from candor_node.packs import Adoption
from candor_node.store import Database
from candor_proto.errors import UnknownObject
from candor_records.roles import Operation
from candor_wire.v1 import packs_pb2 as pb
from candor_wire.v1 import packs_pb2_grpc

if TYPE_CHECKING:
    from candor_node.app import Node

OPERATIONS: Mapping[str, Operation] = {
    "ListPacks": Operation.VIEW_PACKS,
    "ReadPack": Operation.VIEW_PACKS,
    "AdoptPack": Operation.ADOPT_PACK,
}


class PacksServicer(packs_pb2_grpc.PacksServiceServicer):
    """One method a command; whatever they do is done in `packs`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def ListPacks(self, request: pb.ListPacksRequest, context: Context) -> pb.ListPacksResponse:
        def work(db: Database) -> pb.ListPacksResponse:
            return pb.ListPacksResponse(
                policy=packs.in_force(db).label, adopted=[_adopted(each) for each in packs.adoptions(db)]
            )

        response = await self._node.store.run(work)
        for name in shipped_packs.names():
            pack = shipped_packs.shipped(name).pack
            response.shipped.add(name=pack.name, version=pack.version, title=pack.title)
        return response

    async def ReadPack(self, request: pb.ReadPackRequest, context: Context) -> pb.ReadPackResponse:
        found = await self._node.store.run(packs.adoptions)
        for each in found:
            if each.pack.name == request.name:
                return pb.ReadPackResponse(octets=each.pack.octets, signature=each.signature.text)
        raise UnknownObject(
            "No pack of that name was adopted here.", remedy="`candor-node packs list` shows them."
        )

    async def AdoptPack(self, request: pb.AdoptPackRequest, context: Context) -> pb.AdoptPackResponse:
        now, actor, trusted = self._node.clock.now(), acting(context), self._node.pack_issuers
        oris = self._node.config.oris

        def work(db: Database) -> pb.AdoptPackResponse:
            pack, digest = packs.offer(db, now, request.octets, request.signature, trusted)
            about = f"{pack.name}:{pack.version}"
            approval_id = approvals.propose(
                db, now, Operation.ADOPT_PACK, actor, about, {"digest": digest}, request.reason, once=True
            )
            return pb.AdoptPackResponse(
                name=pack.name,
                version=pack.version,
                digest=digest,
                approval_id=str(approval_id),
                warning=packs.warning(pack, oris),
            )

        return await self._node.store.run(work)


def _adopted(adoption: Adoption) -> pb.AdoptedPack:
    pack = adoption.pack
    return pb.AdoptedPack(
        name=pack.name,
        version=pack.version,
        title=pack.title,
        jurisdiction=pack.jurisdiction,
        issuer=pack.issuer,
        effective_on=pack.effective_on.isoformat(),
        rules=len(pack.rules),
        adopted_at=moment(adoption.adopted_at),
        by=adoption.by,
        second=adoption.second,
        in_force=adoption.in_force,
        digest=packs.pack_digest(pack.octets).hex(),
    )
