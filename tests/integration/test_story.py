"""One record from filing to nothing, over five real nodes: everything that fair process asks for, in order.

Filed, notice, appeal, shared with the appeal's flag under a pack's exception, disclosed to two agencies,
reversed on appeal, both recipients acknowledged, the subject's report shows all of it, expunged, nothing left
to find.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from candor_backup import folders
from candor_node import filings, history, record_seals, request_store, restore
from candor_node.app import Node
from candor_node.driver import open_database
from candor_node.founding import MIGRATIONS
from candor_node.shipped_packs import shipped
from candor_node.store import Database, Store
from candor_records.codes import Missing
from candor_records.content import content_fields
from candor_records.records import Dcn, canonical
from candor_wire.v1 import (
    local_pb2,
    local_pb2_grpc,
    office_pb2,
    office_pb2_grpc,
    packs_pb2,
    packs_pb2_grpc,
    recall_local_pb2,
    recall_local_pb2_grpc,
    records_pb2,
    records_pb2_grpc,
    subject_pb2,
    subject_pb2_grpc,
)
from tests.federation import OFFICER, Federation, eventually, federation
from tests.pages import found_in, keys_that_open, pages
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row

CLERK, CHIEF, COUNSEL = "clerk-7", "chief-2", "counsel-1"
STATEMENT = "I was cleared by the arbitrator of the same facts in spring."
REASON = "Arbitrator set the termination aside in full."
NOTE = "Q. Placeholderson of Lakeview, seen with licence and badge."
NARRATIVE = "Left his post during a barricade of eleven hours; sustained after a hearing."
# What tombstone, history and packs say too: numbers and codes of a record, its owner, days of acts.
NAMES_NOBODY = frozenset(
    {
        "record_kind", "report_type", "dcn", "previous_dcn", "sharing", "adjudication_status", "finality",
        "appeal_outcome", "appeal_decided_on", "reporting_agency", "publishing_node", "reported_on",
        "notice_method",
    }
)  # fmt: skip


@dataclass
class Office:
    """The services of one node, as one of its people reaches them."""

    node: Node
    local: Any
    records: Any
    subject: Any
    recalls: Any
    office: Any
    packs: Any

    def by(self, user: str) -> dict[str, Any]:
        """Who calls, and for how long."""
        return {"metadata": (("candor-user", user),), "timeout": PATIENCE_SECONDS}

    async def decide(self, approval_id: str, user: str) -> None:
        request = office_pb2.DecideApprovalRequest(approval_id=approval_id, approve=True, reason="Read it.")
        reply = await self.office.DecideApproval(request, **self.by(user))
        assert reply.approval.state == "APPROVED", reply


@asynccontextmanager
async def office(node: Node) -> AsyncIterator[Office]:
    async with grpc.aio.insecure_channel(f"unix:{node.config.socket}") as channel:
        yield Office(
            node,
            local_pb2_grpc.LocalServiceStub(channel),
            records_pb2_grpc.RecordsServiceStub(channel),
            subject_pb2_grpc.SubjectServiceStub(channel),
            recall_local_pb2_grpc.RecallServiceStub(channel),
            office_pb2_grpc.OfficeServiceStub(channel),
            packs_pb2_grpc.PacksServiceStub(channel),
        )


def named(dcn: str) -> records_pb2.RecordName:
    return records_pb2.RecordName(name=dcn)


async def adopt(owner: Office, pack: str) -> None:
    signed = shipped(pack)
    request = packs_pb2.AdoptPackRequest(
        octets=signed.pack.octets, signature=signed.signature.text, reason="Read with counsel."
    )
    proposed = await owner.packs.AdoptPack(request, **owner.by(COUNSEL))
    await owner.decide(proposed.approval_id, CHIEF)


async def file(owner: Office) -> records_pb2.ActResponse:
    today = owner.node.clock.now().date()
    fields = make_row(
        effective_on=str(today - timedelta(days=9)),
        decided_on=str(today - timedelta(days=10)),
        opportunity_on=str(today - timedelta(days=30)),
        notice_given_on=str(today - timedelta(days=60)),
        finality="APPEAL_TIME_RUNNING",
        appeal_until="2099-12-31",
        narrative=NARRATIVE,
        subject_notified_on="",
    )
    fields = {name: value for name, value in fields.items() if value}
    request = records_pb2.FileRecordRequest(fields=fields)
    reply: records_pb2.ActResponse = await owner.records.FileRecord(request, **owner.by(CLERK))
    return reply


async def look_up(asker: Office, case: str) -> local_pb2.LookupView:
    request = local_pb2.LookupRequest(
        person=local_pb2.Person(**OFFICER),
        purpose="J_APPLICANT",
        shape="DETAILED",
        case_number=case,
        consent=f"consent {case}",
        officer="inv-roe",
        wait_seconds=PATIENCE_SECONDS,
    )
    view = local_pb2.LookupView()
    async for part in asker.local.Lookup(request, **asker.by("inv-roe")):
        if part.WhichOneof("part") == "result":
            view = part.result
    return view


async def obtain(asker: Office, owner: Office, case: str) -> str:
    """Look the officer up, ask for the record, have it released; the request's id."""
    view = await look_up(asker, case)
    assert view.overall == "MATCH", view
    sent = await asker.local.SendRequest(
        local_pb2.SendRequestRequest(lookup_id=view.lookup_id, hit=1, confirmed_by="inv-roe"),
        **asker.by("inv-roe"),
    )

    async def waiting() -> Sequence[Any]:
        listed = await owner.local.ListRequests(local_pb2.ListRequestsRequest(), **owner.by(CHIEF))
        return [one for one in listed.received if one.request_id == sent.request_id]

    await eventually(waiting, lambda found: bool(found) and found[0].state == "waiting")
    decision = local_pb2.DecideRequestRequest(request_id=sent.request_id, approve=True, by=CHIEF, reason=NOTE)
    await owner.local.DecideRequest(decision, **owner.by(CHIEF))
    await eventually(lambda: shown(asker, sent.request_id), lambda view: view.state == "opened")
    return str(sent.request_id)


async def shown(asker: Office, request_id: str) -> Any:
    request = local_pb2.ShowRequestRequest(request_id=request_id)
    return (await asker.local.ShowRequest(request, **asker.by("inv-roe"))).request


async def report(owner: Office, dcn: str) -> str:
    request = subject_pb2.MakeReportRequest(dcns=[dcn], identity_proof="ID-2026-3")
    parts = [part async for part in owner.subject.MakeReport(request, **owner.by(CLERK))]
    return b"".join(part.chunk for part in parts).decode()


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_a_record_from_filing_to_nothing(tmp_path: Path) -> None:
    asyncio.run(over_five_nodes(tmp_path))


async def over_five_nodes(tmp_path: Path) -> None:
    async with federation(tmp_path, agencies=5) as fed:
        alpha, bravo, charlie, delta, _ = fed.nodes
        async with (
            office(alpha) as owner,
            office(bravo) as one,
            office(charlie) as two,
            office(delta) as late,
        ):
            await story(fed, owner, (one, two), late, tmp_path)


async def story(
    fed: Federation, owner: Office, askers: tuple[Office, Office], late: Office, folder: Path
) -> None:
    await adopt(owner, "arizona")

    # Filed: held back, for it can still be appealed; a notice to the officer is due.
    filed = await file(owner)
    dcn = filed.record.dcn
    assert (filed.record.standing, list(filed.record.failed)) == ("HELD", ["final"])
    assert "can be appealed until 2099-12-31" in filed.why.headline + repr(filed.why.failing)
    due = await owner.subject.ListNotices(subject_pb2.ListNoticesRequest(limit=10), **owner.by(CLERK))
    assert [notice.dcn for notice in due.notices] == [dcn]
    letter = await owner.subject.WriteNotice(subject_pb2.WriteNoticeRequest(dcn=dcn), **owner.by(CLERK))
    assert "60 days" in text_of(letter.html)
    today = owner.node.clock.now().date().isoformat()
    await owner.subject.MarkNotified(
        subject_pb2.MarkNotifiedRequest(dcn=dcn, on=today, method="IN_PERSON"), **owner.by(CLERK)
    )
    await owner.subject.EnterStatement(
        subject_pb2.EnterStatementRequest(dcn=dcn, text=STATEMENT), **owner.by(CLERK)
    )

    # Appealed: shared all the same, by the pack's exception, and it says so.
    appealed = await owner.records.ActOnRecord(
        records_pb2.ActOnRecordRequest(record=named(dcn), act="NOTICE_APPEAL", reason="Appeal of Monday."),
        **owner.by(CLERK),
    )
    assert (appealed.record.standing, appealed.record.report_type) == ("ACTIVE", "NOTICE_OF_APPEAL")
    await owner.node.publishing.publish()
    await fed.settled()

    # Disclosed to two agencies, with the appeal's flag and the statement.
    requests = [await obtain(asker, owner, f"REQ-{number}") for number, asker in enumerate(askers)]
    for asker, request_id in zip(askers, requests, strict=True):
        record = (await shown(asker, request_id)).record
        fields = {field.name: field.value for field in record.fields}
        assert fields["adjudication_status"] == "FINAL_APPEAL_PENDING"
        assert "finality was APPEAL_TIME_RUNNING" in fields["earlier_reports"]
        assert record.subject_statement == STATEMENT
        assert record.commitment_verified

    # A backup of this day, to be looked at when all is over.
    kept = folder / "old-backup"
    await asyncio.to_thread(kept.mkdir)
    saved = await owner.records.BackUp(records_pb2.BackUpRequest(folder=str(kept)), **owner.by(COUNSEL))
    old_keys = await asyncio.to_thread(Path(saved.keys_file).read_bytes)
    assert old_keys

    # Reversed on appeal: both recipients' nodes destroy their copies, and somebody there reads of it.
    await owner.records.ActOnRecord(
        records_pb2.ActOnRecordRequest(
            record=named(dcn),
            act="DECIDE_APPEAL",
            how="REVERSED",
            fields={"appeal_decided_on": today},
            reason=REASON,
        ),
        **owner.by(CLERK),
    )
    for asker, request_id in zip(askers, requests, strict=True):
        await acknowledge(asker, request_id)

    async def recalls() -> Any:
        return await owner.recalls.ListRecalls(
            recall_local_pb2.ListRecallsRequest(limit=50), **owner.by(CLERK)
        )

    def all_read(found: Any) -> bool:
        destroyed = [recall for recall in found.sent if recall.action == "DESTROY"]
        return len(destroyed) == 2 and all(recall.read_at for recall in destroyed)

    found = await eventually(recalls, all_read)
    assert {recall.other_node for recall in found.sent} == {asker.node.config.node for asker in askers}
    assert 0 < found.time_to_forget.longest_seconds < 30

    # The subject's report shows all of it.
    text = text_of(await report(owner, dcn))
    for words in (
        NARRATIVE,
        STATEMENT,
        "REQ-0",
        "REQ-1",
        *(asker.node.config.name for asker in askers),
        "reversed",
        "acknowledged",
        "Fails: the decision was reversed.",
    ):
        assert words.lower() in text.lower(), words

    said = await owner.node.store.run(lambda db: everything_said(db, Dcn(dcn)))
    await expunge(owner, dcn)
    await nothing_is_left(owner, dcn, said, folder, kept)
    for asker in askers:
        await no_copy_is_left(asker, said)
    await owner.node.publishing.publish()
    await fed.settled()
    view = await look_up(late, "REQ-9")
    assert (view.overall, view.coverage.complete) == ("NO_RECORD", True)


async def acknowledge(asker: Office, request_id: str) -> None:
    """The copy is gone; a person reads why, and says so."""
    view = await eventually(lambda: shown(asker, request_id), lambda view: not view.record.fields)
    assert STATEMENT not in repr(view)
    listed = await asker.recalls.ListRecalls(
        recall_local_pb2.ListRecallsRequest(unread=True, limit=50), **asker.by("inv-roe")
    )
    for recall in listed.received:
        await asker.recalls.AcknowledgeRecall(
            recall_local_pb2.AcknowledgeRecallRequest(recall_id=recall.recall_id, by="inv-roe"),
            **asker.by("inv-roe"),
        )


async def expunge(owner: Office, dcn: str) -> None:
    """By order, and by two."""
    request = records_pb2.ExpungeRecordRequest(record=named(dcn), reason="Order 12 of the county court.")
    proposed = await owner.records.ExpungeRecord(request, **owner.by(CLERK))
    assert proposed.approval_id
    with pytest.raises(grpc.aio.AioRpcError):
        await owner.decide(proposed.approval_id, CLERK)
    await owner.decide(proposed.approval_id, CHIEF)


def everything_said(db: Database, dcn: Dcn) -> dict[str, str]:
    """Every field of every version, and every sealed text of every table, by what it is."""
    record_id = filings.record_id_of(db, dcn)
    found: dict[str, str] = {}
    for record in filings.versions(db, record_id):
        fields = {**content_fields(record.content), **canonical(record).fields}
        found.update({f"{name} of version {record.version}": value for name, value in fields.items()})
        found["statement"] = record.circumstances.subject_statement
    found.update({f"reason {event.number}": event.reason for event in history.events(db, record_id)})
    for one in request_store.released(db, filings.control_numbers(db, record_id)):
        found[f"note {one.request.request_id}"] = one.note
    # What is shorter, and words for nothing, stand everywhere.
    return {
        what: value
        for what, value in found.items()
        if len(value) > 3 and value not in Missing.__members__ and what.split()[0] not in NAMES_NOBODY
    }


async def no_copy_is_left(asker: Office, said: dict[str, str]) -> None:
    """At a recipient, whose openings still say whom it asked about, and nothing else of the record."""
    config, store = asker.node.config, asker.node.store
    await asyncio.to_thread(store.checkpoint)
    everything = await asyncio.to_thread(pages, config.database_file, config.database_key())
    asked = {value.casefold() for value in OFFICER.values()}
    left = {
        what
        for what, value in said.items()
        if value.casefold() not in asked and found_in(everything, [value.encode()])
    }
    assert left == set()


async def nothing_is_left(owner: Office, dcn: str, said: dict[str, str], folder: Path, kept: Path) -> None:
    """Every page of database and log, and of the old backup restored beside it, decrypted by hand."""
    config, store = owner.node.config, owner.node.store
    assert {NARRATIVE, STATEMENT, NOTE, make_row()["last"]} <= set(said.values())
    needles = [value.encode() for value in said.values()] + [b"Order 12 of"]
    await asyncio.to_thread(store.checkpoint)
    key = config.database_key()
    everything = await asyncio.to_thread(pages, config.database_file, key)
    left = {what for what, value in said.items() if found_in(everything, [value.encode()])}
    assert left == set()
    assert found_in(everything, needles) == []

    record_id = await store.run(lambda db: filings.record_id_of(db, Dcn(dcn)))
    assert await store.run(lambda db: record_seals.find_key(db, record_id)) is None

    # The old backup restored beside it, with the keys that its folder has now.
    restored = folder / "restored" / "node.db"
    await asyncio.to_thread(restore.restore, kept, restored, key, owner.node.clock.now())
    (old_records,) = folders.parts(kept, "records", ".db")
    (keys_now,) = folders.parts(kept, "keys", ".db")
    beside = [page for file in (restored, old_records, keys_now) for page in pages(file, key)]
    # A record's own row says in clear by which days it is found; a backup that is older says so still.
    left = {what.split()[0] for what, value in said.items() if found_in(beside, [value.encode()])}
    assert left <= {"effective_on", "expires_on"}
    with Store.open(restored, key, MIGRATIONS) as opened:
        assert opened.run_sync(lambda db: record_seals.find_key(db, record_id)) is None
        assert opened.run_sync(lambda db: filings.versions(db, record_id)) == []

    # What the old backup still holds of it in ciphertext opens with no octets that are left anywhere.
    old = open_database(old_records, key)
    sealed = old.execute(
        "SELECT sealed, dcn, version FROM records WHERE record_id = ?", [record_id]
    ).fetchall()
    old.conn.close()
    assert sealed
    for octets, number, version in sealed:
        bound = b"version" + record_id + number.encode() + version.to_bytes(4, "big")
        assert keys_that_open([*everything, *beside], octets, bound) == set()
