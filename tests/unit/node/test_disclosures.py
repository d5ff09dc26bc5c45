"""Asking for records and releasing them (docs/protocol.md §9), over a real hub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import (
    approvals,
    hit_store,
    importer,
    ledger,
    lifecycle,
    mail_store,
    request_store,
    subjects,
)
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_node.lifecycle import Doing
from candor_node.mail_store import InboxRow
from candor_node.request_store import ReceivedRequest, SentRequest
from candor_node.store import Database
from candor_proto.directory import MemberStatus
from candor_proto.disclosure import Outcome, OwnerState, RequesterState, open_response, seal_request
from candor_proto.errors import (
    AlreadyExists,
    CommitmentMismatch,
    GateClosed,
    InputInvalid,
    PurposeRefused,
    UnknownObject,
    WrongRole,
    WrongStanding,
)
from candor_proto.ids import Digest, Handle, NodeId, Ori, RequestId
from candor_proto.normalise import Particulars
from candor_proto.policy import Sharing
from candor_proto.scoring import Band
from candor_proto.sealing import DisclosureKey
from candor_records.gate import gate
from candor_records.life import Act
from candor_records.records import Dcn, canonical
from candor_records.roles import ALL_ROLES, Actor
from candor_wire.codec import Envelope, MessageKind
from tests.federation import Federation, eventually, federation, instead
from tests.packs import PURPOSES, adopted
from tests.records import csv_bytes, make_row

Scene = Callable[[Federation, Node, Node, SearchView], Awaitable[None]]
OPEN_STATES = (RequesterState.SENT,)


def play(folder: Path, scene: Scene, *rows: dict[str, str], **changes: Any) -> None:
    """Alpha has looked up the officer of whom bravo filed `rows`; `scene` gets the result."""

    async def whole() -> None:
        async with federation(folder, 2, **changes) as fed:
            alpha, bravo = fed.nodes
            await fed.file(bravo, rows or [make_row()])
            await scene(fed, alpha, bravo, await fed.ask(alpha))

    asyncio.run(whole())


async def sent(node: Node, request_id: RequestId) -> SentRequest:
    """Our request, once it is no longer open."""
    known = await eventually(
        lambda: node.store.run(lambda db: request_store.sent(db, request_id)),
        lambda known: known is not None and known.state not in OPEN_STATES,
    )
    assert known is not None
    return known


async def received(node: Node, request_id: RequestId) -> ReceivedRequest:
    known = await eventually(
        lambda: node.store.run(lambda db: request_store.received(db, request_id)),
        lambda known: known is not None,
    )
    assert known is not None
    return known


async def events(node: Node) -> list[str]:
    found = await node.store.run(lambda db: ledger.entries(db, event="disclosure"))
    return [entry.event for entry in found]


# --- the owner's rule (§9.6) ---------------------------------------------------------------------------


def test_green_is_released_by_the_standing_rule(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        mine = await sent(alpha, request_id)
        assert (mine.state, mine.outcome) == (RequesterState.OPENED, Outcome.RELEASED)
        assert mine.record is not None
        assert mine.record.fields["last"] == "Placeholderson"
        theirs = await received(bravo, request_id)
        assert (theirs.state, theirs.settled_by) == (OwnerState.RELEASED, "standing rule")
        assert await events(alpha) == ["disclosure.requested", "disclosure.opened"]
        assert await events(bravo) == ["disclosure.received", "disclosure.released"]

    play(tmp_path, scene, make_row(sharing="GREEN"))


def test_yellow_waits_for_a_person(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        theirs = await received(bravo, request_id)
        assert theirs.state is OwnerState.WAITING
        assert theirs.settled_at is None
        await asyncio.sleep(0.2)
        waiting = await alpha.store.run(lambda db: request_store.sent(db, request_id))
        assert waiting is not None
        assert waiting.state is RequesterState.SENT
        assert waiting.record is None

        decided = await bravo.owner.approve(request_id, "chief", "identity checked")
        assert (decided.state, decided.settled_by) == (OwnerState.RELEASED, "chief")
        assert (await sent(alpha, request_id)).state is RequesterState.OPENED
        with pytest.raises(AlreadyExists, match="released already"):
            await bravo.owner.decline(request_id, "chief", "changed my mind")
        assert await events(bravo) == [
            "disclosure.received",
            "disclosure.waiting",
            "disclosure.released",
        ]

    play(tmp_path, scene)


def test_what_turned_red_while_it_waited_is_released_to_nobody(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        dcn = Dcn((await received(bravo, request_id)).dcn)

        def redden(db: Database) -> None:
            record, how = lifecycle.current(db, dcn), Doing(bravo.clock.now(), "clerk-7", bravo.policy(db))
            red = replace(record.circumstances, sharing=Sharing.RED)
            lifecycle.change(db, dcn, Act.CHANGE_SHARING, how, red)

        await bravo.store.run(redden)
        with pytest.raises(WrongStanding, match="RED"):
            await bravo.owner.approve(request_id, "chief")
        assert (await received(bravo, request_id)).state is OwnerState.WAITING

    play(tmp_path, scene)


def test_a_record_of_a_sensitive_subject_is_released_by_two_people_only(tmp_path: Path) -> None:
    """Not by the standing rule, not by one approver, not by the same one twice."""

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        now, row = bravo.clock.now(), make_row()
        about = Particulars(first=row["first"], last=row["last"], birth_date=row["birth_date"])
        await bravo.store.run(lambda db: subjects.mark(db, now, about, "relative of staff", "chief"))
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        theirs = await received(bravo, request_id)
        assert (theirs.state, "sensitive" in theirs.reason) == (OwnerState.WAITING, True)
        with pytest.raises(WrongRole, match="two people"):
            await bravo.owner.approve(request_id, "chief")
        held = await bravo.owner.second(request_id, "chief", "Identity checked.")
        assert held is not None
        assert await bravo.owner.second(request_id, "chief-3") == held

        async def decide(user: str) -> None:
            actor = Actor(user, ALL_ROLES)
            await bravo.store.run(
                lambda db: approvals.decide(db, now, held, actor, True, "Seen.", bravo.executors)
            )

        with pytest.raises(WrongRole, match="themselves"):
            await decide("Chief ")
        await decide("chief-2")
        bravo.outbox.wake()
        assert (await sent(alpha, request_id)).state is RequesterState.OPENED
        theirs = await received(bravo, request_id)
        assert (theirs.settled_by, theirs.note) == ("chief, chief-2", "Identity checked.")
        last = (await bravo.store.run(lambda db: ledger.entries(db, event="disclosure.released")))[-1]
        assert (last.details["by"], last.details["second"]) == ("chief", "chief-2")

    play(tmp_path, scene, make_row(sharing="GREEN"))


def test_what_a_person_notes_about_a_request_goes_with_the_record(tmp_path: Path) -> None:
    """It may name somebody: it stands in no ledger, and opens with the record's own key alone."""
    words = "Not him: Placeholderson of Lakeview is born in 1971."

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        dcn = Dcn((await received(bravo, request_id)).dcn)
        await bravo.owner.decline(request_id, "chief", words, not_same_person=True)
        assert (await received(bravo, request_id)).note == words
        found = await bravo.store.run(lambda db: ledger.entries(db))
        assert "Lakeview" not in repr(found)

        def expunge(db: Database) -> None:
            lifecycle.expunge(db, dcn, Doing(bravo.clock.now(), "clerk-7", bravo.policy(db), "", "chief-2"))

        await bravo.store.run(expunge)
        assert (await received(bravo, request_id)).note == ""

    play(tmp_path, scene)


def test_green_for_a_purpose_that_the_rule_does_not_name_waits(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        assert (await received(bravo, request_id)).state is OwnerState.WAITING

    play(tmp_path, scene, make_row(sharing="GREEN"), green_purposes=("CERTIFICATION",))


def test_a_purpose_that_the_owners_pack_leaves_out_is_declined_by_rule_and_by_person(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        waiting = await alpha.requester.send(view.row.search_id, 1, "dana")
        assert (await received(bravo, waiting)).state is OwnerState.WAITING
        await bravo.store.run(lambda db: adopted(db, bravo.clock.now(), PURPOSES))
        with pytest.raises(PurposeRefused, match="does not allow J_APPLICANT"):
            await bravo.owner.approve(waiting, "chief", "identity checked")
        assert (await received(bravo, waiting)).state is OwnerState.WAITING
        await bravo.owner.decline(waiting, "chief", "our pack does not allow it")
        assert (await sent(alpha, waiting)).state is RequesterState.DECLINED

    play(tmp_path, scene)


def test_a_purpose_that_the_owners_pack_left_out_before_is_declined_by_rule(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        await bravo.store.run(lambda db: adopted(db, bravo.clock.now(), PURPOSES))
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        assert (await sent(alpha, request_id)).state is RequesterState.DECLINED
        assert await events(bravo) == ["disclosure.received", "disclosure.declined"]

    play(tmp_path, scene, make_row(sharing="GREEN"))


def test_red_is_declined_and_logged(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        mine = await sent(alpha, request_id)
        assert (mine.state, mine.outcome) == (RequesterState.DECLINED, Outcome.DECLINED)
        assert mine.record is None
        assert await events(bravo) == ["disclosure.received", "disclosure.declined"]

    play(tmp_path, scene, make_row(sharing="RED"))


@pytest.mark.parametrize("other_person", [False, True])
def test_a_person_declines(tmp_path: Path, other_person: bool) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        await received(bravo, request_id)
        with pytest.raises(InputInvalid, match="needs a reason"):
            await bravo.owner.decline(request_id, "chief", " ")
        await bravo.owner.decline(request_id, "chief", "under seal", not_same_person=other_person)
        mine = await sent(alpha, request_id)
        wanted = Outcome.NOT_THE_SAME_PERSON if other_person else Outcome.DECLINED
        assert (mine.state, mine.outcome) == (RequesterState.DECLINED, wanted)
        assert "under seal" not in mine.reason

    play(tmp_path, scene)


def test_a_decision_needs_a_person(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        await received(bravo, request_id)
        with pytest.raises(InputInvalid, match="needs the person"):
            await bravo.owner.approve(request_id, " ")
        with pytest.raises(UnknownObject):
            await bravo.owner.approve(RequestId(bytes(16)), "chief")

    play(tmp_path, scene)


# --- the gate, once more -------------------------------------------------------------------------------


async def void(node: Node) -> None:
    """Make the record of `make_row` fail the gate, without publishing."""
    row = make_row(finality="APPEAL_PENDING")
    now = node.clock.now()
    await node.store.run(
        lambda db: importer.import_csv(
            db, csv_bytes([row]), now, Ori(node.config.oris[0]), node.config.node_id, "clerk-7"
        )
    )


def test_what_was_withdrawn_after_the_hit_is_declined(tmp_path: Path) -> None:
    """On the wire "withdrawn" and "declined" are one answer (§6.5)."""

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        await void(bravo)
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        mine = await sent(alpha, request_id)
        assert (mine.state, mine.outcome) == (RequesterState.DECLINED, Outcome.DECLINED)
        assert mine.reason == "declined by the owner"

    play(tmp_path, scene, make_row(sharing="GREEN"))


def test_the_gate_is_asked_again_at_release(tmp_path: Path) -> None:
    """§9.6: a person cannot release what has stopped passing while the request waited."""

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        await received(bravo, request_id)
        await void(bravo)
        with pytest.raises(GateClosed):
            await bravo.owner.approve(request_id, "chief")
        assert (await received(bravo, request_id)).state is OwnerState.WAITING
        assert await events(alpha) == ["disclosure.requested"]

    play(tmp_path, scene)


def test_time_alone_can_close_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is as it was published; only the gate's word at this moment is another."""

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        await received(bravo, request_id)

        def closed(record: Any, today: Any, rules: Any) -> Any:
            return replace(gate(record, today, rules), matchable=False)

        monkeypatch.setattr("candor_node.releases.gate", closed)
        with pytest.raises(GateClosed, match="fair-process gate"):
            await bravo.owner.approve(request_id, "chief")

    play(tmp_path, scene)


def test_a_record_changed_while_it_is_being_released_is_not_released(tmp_path: Path) -> None:
    """Sealing takes a moment, outside the transaction; the gate is asked in the one that releases."""

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        await received(bravo, request_id)
        answer = bravo.owner._answer
        row, now = make_row(finality="APPEAL_PENDING"), bravo.clock.now()

        def change(*arguments: Any) -> Any:
            bravo.store.run_sync(
                lambda db: importer.import_csv(
                    db, csv_bytes([row]), now, Ori(bravo.config.oris[0]), bravo.config.node_id, "clerk-7"
                )
            )
            return answer(*arguments)

        instead(bravo.owner, "_answer", change)
        with pytest.raises(GateClosed):
            await bravo.owner.approve(request_id, "chief")
        assert (await received(bravo, request_id)).state is OwnerState.WAITING

    play(tmp_path, scene)


# --- requests that are not what they seem --------------------------------------------------------------


def forged(alpha: Node, **changes: Any) -> None:
    make = alpha.requester._request

    def forge(*arguments: Any) -> Any:
        return replace(make(*arguments), **changes)

    instead(alpha.requester, "_request", forge)


@pytest.mark.parametrize(
    "changes",
    [{"handle": Handle(bytes(16))}, {"commitment": Digest(bytes(32))}],
    ids=["handle", "commitment"],
)
def test_a_request_for_nothing_known_is_declined_like_any_other(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        forged(alpha, **changes)
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        mine = await sent(alpha, request_id)
        assert (mine.state, mine.outcome) == (RequesterState.DECLINED, Outcome.DECLINED)

    play(tmp_path, scene, make_row(sharing="GREEN"))


def test_a_suspended_requester_gets_nothing(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        directory = bravo.indexes.require_directory()
        one = directory._members[NodeId("alpha")]
        directory._members[NodeId("alpha")] = replace(one, status=MemberStatus.SUSPENDED)
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        assert (await received(bravo, request_id)).state is OwnerState.DECLINED
        assert (await sent(alpha, request_id)).record is None

    play(tmp_path, scene, make_row(sharing="GREEN"))


def test_a_request_in_another_senders_envelope_is_dropped(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        instead(bravo.owner, "process", _hold)
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        del bravo.owner.process
        (row,) = await eventually(
            lambda: bravo.store.run(
                lambda db: mail_store.unsettled(db, MessageKind.DISCLOSURE_REQUEST, NodeId("bravo"), 9)
            ),
            lambda rows: bool(rows),
        )
        await bravo.owner.process(InboxRow(row.number, replace(row.envelope, sender=NodeId("bravo"))))
        assert await bravo.store.run(lambda db: request_store.received(db, request_id)) is None
        assert (await bravo.store.run(mail_store.counts)).inbox_dropped == 1

    def wrap(node: Node) -> None:
        if node.config.node == "bravo":
            instead(node.owner, "process", _hold)

    play(tmp_path, scene, wrap=wrap)


async def _hold(_: InboxRow) -> None:
    await asyncio.sleep(0.2)


def test_the_same_request_twice_is_decided_once(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        await sent(alpha, request_id)
        known = await received(bravo, request_id)
        alpha_key, owner = alpha.keys.signing, bravo.keys.disclosure.public
        sealed = seal_request(known.request, alpha_key, owner)
        again = Envelope(
            request_id.value,
            MessageKind.DISCLOSURE_REQUEST,
            NodeId("alpha"),
            NodeId("bravo"),
            sealed,
            b"",
            known.request.expires_at,
        )
        await bravo.deliver(again)
        await eventually(
            lambda: bravo.store.run(
                lambda db: mail_store.unsettled(db, MessageKind.DISCLOSURE_REQUEST, NodeId("bravo"), 9)
            ),
            lambda rows: not rows,
        )
        assert await events(bravo) == ["disclosure.received", "disclosure.released"]

    play(tmp_path, scene, make_row(sharing="GREEN"))


# --- the requester -------------------------------------------------------------------------------------


def test_a_request_needs_a_person_who_confirms_it(tmp_path: Path) -> None:
    """§9.1."""

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        with pytest.raises(InputInvalid, match="person who confirms"):
            await alpha.requester.send(view.row.search_id, 1, " ")
        with pytest.raises(UnknownObject, match="no hit 7"):
            await alpha.requester.send(view.row.search_id, 7, "dana")
        assert await events(alpha) == []

    play(tmp_path, scene)


def test_a_hit_that_was_set_aside_needs_a_second_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        read = hit_store.hits

        def doubt(db: Any, search_id: Any) -> list[hit_store.StoredHit]:
            return [
                replace(
                    one,
                    hit=replace(
                        one.hit,
                        explanation=replace(one.hit.explanation, band=Band.BELOW),
                    ),
                )
                for one in read(db, search_id)
            ]

        monkeypatch.setattr(hit_store, "hits", doubt)
        with pytest.raises(InputInvalid, match="another person"):
            await alpha.requester.send(view.row.search_id, 1, "dana")
        await alpha.requester.send(view.row.search_id, 1, "dana", even_if_set_aside=True)

    play(tmp_path, scene)


def test_a_record_is_asked_for_once(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        await alpha.requester.send(view.row.search_id, 1, "dana")
        with pytest.raises(AlreadyExists):
            await alpha.requester.send(view.row.search_id, 1, "dana")

    play(tmp_path, scene)


def test_the_reply_key_is_destroyed_when_the_record_is_open(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        assert (await sent(alpha, request_id)).reply_key == b""

    play(tmp_path, scene, make_row(sharing="GREEN"))


def test_a_record_that_does_not_open_its_commitment_is_refused_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§9.5: with request, reply key and blob it is evidence that anybody can check."""

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        def invented(record: Any) -> Any:
            made = canonical(record)
            return replace(made, fields={**made.fields, "narrative": "Something worse."})

        monkeypatch.setattr("candor_node.responses.canonical", invented)
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        mine = await sent(alpha, request_id)
        assert mine.state is RequesterState.INVALID
        assert mine.record is None
        assert mine.evidence_kept
        sealed = await alpha.store.run(lambda db: request_store.evidence(db, request_id))
        assert sealed is not None
        with pytest.raises(CommitmentMismatch):
            open_response(sealed, DisclosureKey(mine.reply_key), mine.request, bravo.keys.signing.public)
        (hit,) = await alpha.store.run(lambda db: hit_store.hits(db, view.row.search_id))
        assert len(hit.blob) == 475
        assert await events(alpha) == ["disclosure.requested", "disclosure.refused"]

    play(tmp_path, scene, make_row(sharing="GREEN"))


def test_a_response_of_somebody_else_is_dropped(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        known = await received(bravo, request_id)
        sealed = bytes(65_536 + 1_136)
        await alpha.deliver(
            Envelope(
                request_id.value,
                MessageKind.DISCLOSURE_RESPONSE,
                NodeId("alpha"),
                NodeId("alpha"),
                sealed,
                b"",
                known.request.expires_at,
            )
        )
        await eventually(lambda: alpha.store.run(mail_store.counts), lambda counts: counts.inbox_dropped == 1)
        mine = await alpha.store.run(lambda db: request_store.sent(db, request_id))
        assert mine is not None
        assert mine.state is RequesterState.SENT

    play(tmp_path, scene)


def test_unanswered_requests_end_at_both_sides(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        await received(bravo, request_id)
        fed.hub.clock.shift += timedelta(days=31)
        await alpha.requester.expire()
        await bravo.owner.expire()
        assert (await sent(alpha, request_id)).state is RequesterState.EXPIRED
        assert (await received(bravo, request_id)).state is OwnerState.EXPIRED
        assert (await events(alpha))[-1] == (await events(bravo))[-1] == "disclosure.expired"

    play(tmp_path, scene)
