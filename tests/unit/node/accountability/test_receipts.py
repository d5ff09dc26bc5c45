"""Receipts of answers and disclosures out of a running federation, checked with the policy alone (§16)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node import lookup_store, request_store
from candor_node.accountability import receipts
from candor_node.accountability.receipts import MadeReceipt
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_proto.accountability.receipt import AnswerReceipt, DisclosureReceipt, parse_receipt
from candor_proto.disclosure import Outcome, RequesterState
from candor_proto.errors import NotLogged, WrongStanding
from candor_proto.ids import LookupShape, RequestId
from candor_proto.statements import AnswerStatus
from tests.federation import Federation, eventually, federation
from tests.records import make_row

Scene = Callable[[Federation, Node, Node, SearchView], Awaitable[None]]


def play(folder: Path, scene: Scene, **changes: object) -> None:
    """Alpha has asked about the officer whose record bravo holds."""

    async def whole() -> None:
        async with federation(folder, 2) as fed:
            alpha, bravo = fed.nodes
            await fed.file(bravo, [make_row()])
            view = await fed.ask(alpha, shape=LookupShape.SCREENING)
            await scene(fed, alpha, bravo, view)

    asyncio.run(whole())


async def made(node: Node, view: SearchView) -> list[MadeReceipt]:
    """Receipts of all answers, once the log holds them."""
    answers = await node.store.run(lambda db: receipts.answers(db, [view.row.search_id]))

    async def look() -> list[MadeReceipt]:
        await node.follower.follow()
        return [await node.accountant.receipts.of_answer(answer) for answer in answers]

    return await eventually(look, lambda found: all(one.trouble is None for one in found))


def test_every_answer_has_a_receipt_that_the_policy_alone_checks(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        found = await made(alpha, view)
        assert [str(one.owner) for one in found] == ["alpha", "bravo"]
        for one in found:
            receipt = parse_receipt(one.octets)
            assert isinstance(receipt, AnswerReceipt)
            shown = receipt.verify(alpha.accountant.proofs.trust())
            assert shown.answer.status is AnswerStatus.EVALUATED
            assert shown.head is not None
            # Anybody with the policy: another member too.
            receipt.verify(bravo.accountant.proofs.trust())
            assert not any(word in one.octets for word in (b"Placeholderson", b"REQ-2026-17"))
            assert one.name == f"answer-{view.row.search_id}-{one.owner}.json"

    play(tmp_path, scene)


def test_a_refusal_has_a_receipt_too(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        later = bravo.clock.now() + timedelta(days=31)
        await bravo.store.run(lambda db: db.execute("UPDATE epochs SET grace_ends_at = 0"))
        again = await fed.ask(alpha, case="REQ-2026-18", shape=LookupShape.SCREENING)
        asks = await alpha.store.run(lambda db: lookup_store.asks(db, again.row.search_id))
        assert later
        found = await made(alpha, again)
        statuses = {one.status for one in found}
        assert len(asks) >= 1
        assert "STALE_EPOCH" in statuses
        refusal = next(one for one in found if one.status == "STALE_EPOCH")
        receipt = parse_receipt(refusal.octets)
        assert isinstance(receipt, AnswerReceipt)
        assert receipt.head is None
        receipt.verify(alpha.accountant.proofs.trust())

    play(tmp_path, scene)


def test_what_is_not_logged_yet_is_said_plainly(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        (answer, *_) = await alpha.store.run(lambda db: receipts.answers(db, [view.row.search_id]))
        await alpha.store.run(lambda db: db.execute("UPDATE tlog_watched SET shard = NULL"))
        receipt = await alpha.accountant.receipts.of_answer(answer)
        assert isinstance(receipt.trouble, NotLogged)
        assert "is not in the log yet" in str(receipt.trouble)

    play(tmp_path, scene)


async def released(alpha: Node, bravo: Node, view: SearchView) -> RequestId:
    request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
    await eventually(
        lambda: bravo.store.run(lambda db: request_store.received(db, request_id)),
        lambda known: known is not None,
    )
    await bravo.owner.approve(request_id, "chief")
    await eventually(
        lambda: alpha.store.run(lambda db: request_store.sent(db, request_id)),
        lambda known: known is not None and known.state is RequesterState.OPENED,
    )
    return request_id


def test_a_disclosure_has_the_same_receipt_at_both_ends(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await released(alpha, bravo, view)
        shown = []
        for node in (alpha, bravo):
            receipt = parse_receipt(await node.accountant.receipts.of_disclosure(request_id))
            assert isinstance(receipt, DisclosureReceipt)
            shown.append(receipt.verify(node.accountant.proofs.trust()))
        assert shown[0] == shown[1]
        assert shown[0].record is not None
        assert shown[0].record.fields["last"] == "Placeholderson"

    play(tmp_path, scene)


def test_declining_has_a_receipt_at_both_ends(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        await eventually(
            lambda: bravo.store.run(lambda db: request_store.received(db, request_id)),
            lambda known: known is not None,
        )
        with pytest.raises(WrongStanding):
            await bravo.accountant.receipts.of_disclosure(request_id)
        await bravo.owner.decline(request_id, "chief", "no reason that leaves the house")
        await eventually(
            lambda: alpha.store.run(lambda db: request_store.sent(db, request_id)),
            lambda known: known is not None and known.state is RequesterState.DECLINED,
        )
        for node in (alpha, bravo):
            receipt = parse_receipt(await node.accountant.receipts.of_disclosure(request_id))
            assert isinstance(receipt, DisclosureReceipt)
            verified = receipt.verify(node.accountant.proofs.trust())
            assert verified.response.outcome is Outcome.DECLINED

    play(tmp_path, scene)


def test_a_record_that_was_destroyed_has_no_receipt_any_more(tmp_path: Path) -> None:
    """The receipt holds the record, so it goes with it at both ends."""

    async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
        request_id = await released(alpha, bravo, view)
        await bravo.store.run(lambda db: db.execute("DELETE FROM record_keys"))
        with pytest.raises(WrongStanding):
            await bravo.accountant.receipts.of_disclosure(request_id)
        await alpha.store.run(
            lambda db: request_store.forget_record(db, request_id, RequesterState.RECALLED, "recalled")
        )
        with pytest.raises(WrongStanding, match="no response as it was signed is held"):
            await alpha.accountant.receipts.of_disclosure(request_id)

    play(tmp_path, scene)
