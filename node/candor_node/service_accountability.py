"""What the commands ask about receipts, evidence and audits: a thin servicer, like `service`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING

from candor_node import ledger
from candor_node.accountability import (
    digests,
    evidence_store,
    exporting,
    openings,
    own_lookups,
    receipts,
    reviewing,
)
from candor_node.accountability.digests import Digest
from candor_node.accountability.evidence_store import EvidenceState, KeptEvidence
from candor_node.accountability.own_lookups import OwnLookup
from candor_node.accountability.receipts import StoredAnswer
from candor_node.doors import speaking_as
from candor_node.local_view import moment
from candor_node.service import Context, LocalServicer
from candor_node.service_lookups import id_prefix, none_or_many
from candor_node.store import Database
from candor_proto.accountability.draw import LEAST_RATE, Month
from candor_proto.accountability.opening_file import parse_auditor_key
from candor_proto.errors import InputInvalid, UnknownObject
from candor_records.roles import Operation
from candor_wire.v1 import accountability_pb2 as pb
from candor_wire.v1 import accountability_pb2_grpc

if TYPE_CHECKING:
    from candor_node.app import Node

OPERATIONS: Mapping[str, Operation] = {
    "MakeReceipts": Operation.TAKE_RECEIPTS,
    "MakeDisclosureReceipt": Operation.TAKE_RECEIPTS,
    "AuditStatus": Operation.VIEW_STATUS,
    "ListEvidence": Operation.HANDLE_EVIDENCE,
    "ExportEvidence": Operation.HANDLE_EVIDENCE,
    "OpenDigest": Operation.REVIEW_FAILURES,
    "ReviewDigest": Operation.REVIEW_FAILURES,
    "DrawLookups": Operation.OPEN_LOOKUPS,
    "OpenLookup": Operation.OPEN_LOOKUPS,
}
PART_OCTETS = 256 * 1024


class AccountabilityServicer(accountability_pb2_grpc.AccountabilityServiceServicer):
    """One method a command; whatever they do is done elsewhere."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._local = LocalServicer(node)

    # --- receipts ----------------------------------------------------------------------------------------

    async def MakeReceipts(
        self, request: pb.MakeReceiptsRequest, context: Context
    ) -> AsyncIterator[pb.MakeReceiptsResponse]:
        by, found = speaking_as(context, request.by), await self._answers(request)
        refs = {"lookup_id": request.lookup_id.strip()} if request.lookup_id.strip() else {}
        await self._account("receipt.taken", refs, {"by": by, "answers": len(found)})
        for stored in found:
            receipt = await self._node.accountant.receipts.of_answer(stored)
            head = pb.MakeReceiptsResponse(
                owner=str(receipt.owner),
                lookup_id=str(receipt.lookup_id),
                status=receipt.status,
            )
            if receipt.trouble is not None:
                head.trouble, head.last = str(receipt.trouble), True
                yield head
                continue
            head.file = receipt.name
            parts = list(_parts(receipt.octets))
            for number, part in enumerate(parts, 1):
                head.octets, head.last = part, number == len(parts)
                yield head

    async def _answers(self, request: pb.MakeReceiptsRequest) -> list[StoredAnswer]:
        if bool(request.lookup_id) == bool(request.case_number):
            raise InputInvalid("Receipts are of a lookup, or of a case.", remedy="Give one of the two.")
        if request.case_number:
            case = request.case_number
            searches = await self._node.store.run(lambda db: receipts.searches_of_case(db, case))
            if not searches:
                raise UnknownObject(f"There is no lookup of the case {case[:40]}.")
        else:
            searches = [await self._local.search_id(request.lookup_id, request.row)]
        return await self._node.store.run(lambda db: receipts.answers(db, searches))

    async def MakeDisclosureReceipt(
        self, request: pb.MakeDisclosureReceiptRequest, context: Context
    ) -> AsyncIterator[pb.MakeDisclosureReceiptResponse]:
        by = speaking_as(context, request.by)
        request_id = await self._local.request_id(request.request_id)
        octets = await self._node.accountant.receipts.of_disclosure(request_id)
        await self._account("receipt.disclosure", {"request_id": str(request_id)}, {"by": by})
        for part in _parts(octets):
            yield pb.MakeDisclosureReceiptResponse(octets=part)

    # --- evidence ----------------------------------------------------------------------------------------

    async def AuditStatus(self, request: pb.AuditStatusRequest, context: Context) -> pb.AuditStatusResponse:
        view, now = self._node.follower.view, self._node.clock.now()

        def work(db: Database) -> pb.AuditStatusResponse:
            kept, logged = own_lookups.count(db)
            known = evidence_store.kept(db)
            return pb.AuditStatusResponse(
                digests_waiting=digests.waiting(db),
                evidence=len(known),
                evidence_exported=sum(one.state is EvidenceState.EXPORTED for one in known),
                lookups_kept=kept,
                lookups_logged=logged,
                openings_kept_from=moment(now - openings.KEPT),
            )

        status = await self._node.store.run(work)
        if view is not None:
            status.shard, status.log_size = view.shard, view.size
            status.witnessed_at = moment(view.time_of_witness)
        return status

    async def ListEvidence(
        self, request: pb.ListEvidenceRequest, context: Context
    ) -> pb.ListEvidenceResponse:
        await self._node.accountant.take_contradictions()
        found = await self._node.store.run(evidence_store.kept)
        return pb.ListEvidenceResponse(evidence=[_evidence(one) for one in found])

    async def ExportEvidence(
        self, request: pb.ExportEvidenceRequest, context: Context
    ) -> AsyncIterator[pb.ExportEvidenceResponse]:
        by, node, number = speaking_as(context, request.by), self._node, request.number
        federation, proofs = node.config.federation_name, node.accountant.proofs
        octets, finding = await exporting.evidence_file(node.store, proofs, federation, number)
        now = node.clock.now()

        def work(db: Database) -> KeptEvidence:
            evidence_store.exported(db, number, now)
            refs = {"kind": finding.kind.value}
            details: dict[str, ledger.Value] = {"by": by, "number": number, "accused": finding.accused}
            ledger.append(db, now, "evidence.exported", refs, details)
            return evidence_store.find(db, number)[0]

        kept = await node.store.run(work)
        head = pb.ExportEvidenceResponse(evidence=_evidence(kept), shows=finding.words)
        for part in _parts(octets):
            head.octets = part
            yield head
            head = pb.ExportEvidenceResponse()

    # --- digests -----------------------------------------------------------------------------------------

    async def OpenDigest(self, request: pb.OpenDigestRequest, context: Context) -> pb.OpenDigestResponse:
        by, now = speaking_as(context, request.by), self._node.clock.now()

        def work(db: Database) -> pb.OpenDigestResponse:
            waiting = digests.waiting(db)
            if not request.month and not waiting:
                raise UnknownObject("Every digest was reviewed.", remedy="Name a month to see it again.")
            month = Month.parse(request.month or waiting[0])
            digest, failed = digests.open_digest(db, month, now, by)
            return pb.OpenDigestResponse(
                digest=_digest(digest),
                failed=[
                    pb.FailedView(node=str(one.node), code=one.code, count=one.count, lookups=one.searches)
                    for one in failed
                ],
            )

        return await self._node.store.run(work)

    async def ReviewDigest(
        self, request: pb.ReviewDigestRequest, context: Context
    ) -> pb.ReviewDigestResponse:
        by, node = speaking_as(context, request.by), self._node
        reviewed = await reviewing.review(
            node.store,
            node.accountant.kept,
            node.config.federation_name,
            Month.parse(request.month),
            node.clock.now(),
            by,
            request.note,
        )
        return pb.ReviewDigestResponse(
            digest=_digest(reviewed.digest), evidence=reviewed.evidence, unproved=reviewed.unproved
        )

    # --- audits ------------------------------------------------------------------------------------------

    async def DrawLookups(self, request: pb.DrawLookupsRequest, context: Context) -> pb.DrawLookupsResponse:
        by, now = speaking_as(context, request.by), self._node.clock.now()
        rate, found = request.rate or LEAST_RATE, self._node.accountant.openings
        if request.ended_shard:
            drawn = await found.end(request.ended_shard, now, rate)
        else:
            drawn = await found.draw(Month.parse(request.month) if request.month else None, now, rate)
        details: dict[str, ledger.Value] = {"by": by, "own": drawn.own, "drawn": len(drawn.lookups)}
        await self._account("audit.drawn", {"draw": drawn.name, "shard": str(drawn.shard)}, details)
        return pb.DrawLookupsResponse(
            draw=drawn.name,
            shard=drawn.shard,
            first_entry=drawn.draw.start,
            end=drawn.draw.end,
            rate=rate,
            own=drawn.own,
            lookups=[_drawn(one) for one in drawn.lookups],
        )

    async def OpenLookup(
        self, request: pb.OpenLookupRequest, context: Context
    ) -> AsyncIterator[pb.OpenLookupResponse]:
        by, key = speaking_as(context, request.by), parse_auditor_key(request.auditor_key)
        prefix = id_prefix(request.lookup_id, "lookup")
        found = await self._node.store.run(lambda db: own_lookups.named(db, prefix))
        if len(found) != 1:
            raise none_or_many(request.lookup_id, "logged lookup", len(found))
        sealed = await self._node.accountant.openings.open(found[0], key)
        refs = {"lookup_id": str(found[0].lookup_id), "auditor": str(key.auditor)}
        await self._account("audit.opened", refs, {"by": by})
        head = pb.OpenLookupResponse(lookup_id=str(found[0].lookup_id), auditor=str(key.auditor))
        for part in _parts(sealed.encode()):
            head.octets = part
            yield head
            head = pb.OpenLookupResponse()

    async def _account(
        self, event: str, refs: Mapping[str, str], details: Mapping[str, ledger.Value]
    ) -> None:
        """What a person took out of this node is accounted for before it leaves."""
        now = self._node.clock.now()
        await self._node.store.run(lambda db: ledger.append(db, now, event, refs, details))


def _parts(octets: bytes) -> Iterator[bytes]:
    for at in range(0, len(octets), PART_OCTETS):
        yield octets[at : at + PART_OCTETS]


def _evidence(one: KeptEvidence) -> pb.EvidenceView:
    return pb.EvidenceView(
        number=one.number,
        kind=one.kind.value,
        accused=one.accused,
        state=one.state.value,
        noticed_at=moment(one.noticed_at),
        exported_at=moment(one.exported_at),
    )


def _digest(one: Digest) -> pb.DigestView:
    return pb.DigestView(
        month=str(one.month),
        made_at=moment(one.made_at),
        reviewed_at=moment(one.reviewed_at),
        reviewed_by=one.reviewed_by,
        note=one.note,
    )


def _drawn(one: OwnLookup) -> pb.DrawnLookup:
    return pb.DrawnLookup(
        lookup_id=str(one.lookup_id),
        issued_at=moment(one.issued_at),
        entry=one.place.position if one.place else 0,
        position=one.place.place if one.place else 0,
        batch=one.flight,
    )
