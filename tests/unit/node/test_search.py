"""Asking about a person and gathering the answers (docs/protocol.md §7), over a real hub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import hit_store, ledger, lookup_store, mail_store, reading
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_node.lookup_store import Ask
from candor_node.mail_store import InboxRow, OutboxRow
from candor_node.outbox import Outbox
from candor_proto.budget import Quota
from candor_proto.candidates import Findings, LocalFailure
from candor_proto.errors import (
    ClockWrong,
    InputInvalid,
    PurposeRefused,
    QuotaSpent,
    SealedDataInvalid,
    Unreachable,
)
from candor_proto.exchange import LookupState
from candor_proto.ids import BlobId, KeyClass, LookupId, LookupShape, NodeId, Purpose
from candor_proto.opening import open_lookup
from candor_proto.result import Overall, TargetState
from candor_proto.signing import SigningKey
from candor_wire.codec import Envelope, MessageKind
from tests.federation import Federation, eventually, federation, instead, question, until
from tests.packs import PURPOSES, adopted
from tests.records import make_row

Scene = Callable[[Federation], Awaitable[None]]


def play(folder: Path, scene: Scene, agencies: int = 2, **changes: Any) -> None:
    async def whole() -> None:
        async with federation(folder, agencies, **changes) as fed:
            await scene(fed)

    asyncio.run(whole())


async def asks_of(node: Node, search_id: LookupId) -> list[Ask]:
    return await node.store.run(lambda db: lookup_store.asks(db, search_id))


async def searches(node: Node) -> int:
    return len(await node.store.run(lambda db: lookup_store.list_searches(db, 10)))


def state_of(view: SearchView, node: str) -> TargetState:
    assert view.result is not None
    return next(report.state for report in view.result.coverage.reports if report.node == NodeId(node))


# --- before anything is sent ---------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["case", "consent", "officer"])
def test_a_lookup_without_its_papers_is_denied_before_anything_is_stored(
    tmp_path: Path, missing: str
) -> None:
    async def scene(fed: Federation) -> None:
        papers: dict[str, Any] = {"case": "REQ-1", "consent": "C-1", "officer": "Roe", missing: " "}
        with pytest.raises(PurposeRefused, match=f"--{missing}"):
            await fed.nodes[0].searcher.ask(question(**papers), 1)
        assert await searches(fed.nodes[0]) == 0

    play(tmp_path, scene, agencies=1)


def test_a_purpose_that_is_off_is_denied(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        with pytest.raises(PurposeRefused, match="are off"):
            await fed.nodes[0].searcher.ask(question(purpose=Purpose.C), 1)

    play(tmp_path, scene, agencies=1)


def test_a_purpose_that_the_pack_in_force_leaves_out_is_denied(tmp_path: Path) -> None:
    """What is off in the federation stays off, whatever the pack names."""

    async def scene(fed: Federation) -> None:
        alpha = fed.nodes[0]
        await alpha.store.run(lambda db: adopted(db, alpha.clock.now(), PURPOSES))
        with pytest.raises(PurposeRefused, match="does not allow J_APPLICANT"):
            await alpha.searcher.ask(question(), 1)
        with pytest.raises(PurposeRefused, match="are off in this federation"):
            await alpha.searcher.ask(question(purpose=Purpose.C), 1)
        assert await searches(alpha) == 0

    play(tmp_path, scene, agencies=1)


def test_too_little_to_open_any_record_is_denied(tmp_path: Path) -> None:
    """Its NO_RECORD would look like knowledge."""

    async def scene(fed: Federation) -> None:
        person = dict.fromkeys(("first", "middle", "birth_date", "ssn4", "sex"), "")
        with pytest.raises(InputInvalid, match="Too little is known"):
            await fed.nodes[0].searcher.ask(question(person=person), 1)
        assert await searches(fed.nodes[0]) == 0

    play(tmp_path, scene, agencies=1)


def test_a_detailed_lookup_after_a_screening_one_is_denied(tmp_path: Path) -> None:
    """§5.3: it would say "candidate"."""

    async def scene(fed: Federation) -> None:
        alpha = fed.nodes[0]
        await fed.ask(alpha, case="REQ-1", shape=LookupShape.SCREENING)
        with pytest.raises(PurposeRefused, match="screened already"):
            await fed.ask(alpha, case=" req-1 ")
        await fed.ask(alpha, case="REQ-2")
        assert await searches(alpha) == 2

    play(tmp_path, scene, agencies=1)


def test_the_own_quota_is_looked_at_first(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha = fed.nodes[0]
        alpha.searcher._quota = Quota(total=500, weak=500, match=500, code=500)
        await fed.ask(alpha, case="REQ-1")
        with pytest.raises(QuotaSpent, match="alpha has used 40 of 50"):
            await fed.ask(alpha, case="REQ-2")
        assert await searches(alpha) == 1

    play(tmp_path, scene, agencies=1)


def test_with_a_wrong_clock_nothing_is_asked(tmp_path: Path) -> None:
    """§8.4."""

    async def scene(fed: Federation) -> None:
        alpha = fed.nodes[0]
        alpha.connection.trouble = ClockWrong("The clocks differ.")
        with pytest.raises(ClockWrong):
            await fed.ask(alpha)
        assert await searches(alpha) == 0

    play(tmp_path, scene, agencies=1)


def test_a_node_that_is_not_attached_asks_nothing(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha = fed.nodes[0]
        alpha.connection.attached = False
        with pytest.raises(Unreachable):
            await fed.ask(alpha)
        assert await searches(alpha) == 0

    play(tmp_path, scene, agencies=1)


# --- what is stored and sent ---------------------------------------------------------------------------


def test_blinds_and_papers_are_stored_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§7.8; and what is stored explains every slot to an auditor (§7.10)."""

    async def scene(fed: Federation) -> None:
        alpha, seen = fed.nodes[0], list[Ask]()
        send = Outbox.send

        async def watch(self: Outbox, row: OutboxRow) -> None:
            if row.envelope.kind is MessageKind.LOOKUP:
                search_id = LookupId(row.envelope.envelope_id)
                seen.extend(await alpha.store.run(lambda db: lookup_store.asks(db, search_id)))
            await send(self, row)

        monkeypatch.setattr(Outbox, "send", watch)
        await fed.ask(alpha)
        (ask,) = seen
        assert ask.state is LookupState.STORED
        (plan,) = open_lookup(ask.draft.lookup, [ask.opening])
        assert tuple(slot.input for slot in plan.slots) == ask.opening.inputs

    play(tmp_path, scene, agencies=1)


def test_two_lookups_for_one_person_share_nothing_and_make_one_result(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row(last="Quarrington", former_last="")])
        view = await fed.ask(alpha, last="Placeholderson Bellweather", former_last="Quarrington")
        asks = await asks_of(alpha, view.row.search_id)
        assert len(asks) == view.row.plans > 1
        assert len({ask.lookup_id for ask in asks}) == len(asks)
        assert len({ask.opening.paperwork.filler_seed for ask in asks}) == len(asks)
        assert len({ask.draft.lookup.commitments[0].case for ask in asks}) == len(asks)
        elements = [
            element.to_bytes()
            for ask in asks
            for key_class in KeyClass
            for element in ask.draft.lookup.elements[key_class]
        ]
        assert len(set(elements)) == len(elements)
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        assert [hit.owner for hit in view.result.hits] == [NodeId("bravo")]

    play(tmp_path, scene)


def test_a_lookup_that_the_hub_denies_is_denied_and_not_counted(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha = fed.nodes[0]
        fed.hub.hub.relay._quota = Quota(total=500, weak=500, match=500, code=500)
        await fed.ask(alpha, case="REQ-1")
        with pytest.raises(QuotaSpent):
            await fed.ask(alpha, case="REQ-2")
        denied, _ = await alpha.store.run(lambda db: lookup_store.list_searches(db, 10))
        (ask,) = await asks_of(alpha, denied.search_id)
        assert ask.state is LookupState.DENIED
        assert denied.closed
        assert denied.result is None
        now = alpha.clock.now()
        uses = await alpha.store.run(lambda db: lookup_store.own_uses(db, now))
        assert sum(use.of(None) for use in uses) == 40
        mail = await alpha.store.run(mail_store.counts)
        assert [letter.kind for letter in mail.dead] == [MessageKind.LOOKUP]

    play(tmp_path, scene, agencies=1)


def test_a_hub_that_is_lost_while_sending_gets_the_lookup_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, submit = fed.nodes[0], fed.nodes[0].hub.submit
        lost: list[Envelope] = []

        async def lose(envelope: Envelope) -> int:
            if envelope.kind is MessageKind.LOOKUP and not lost:
                lost.append(envelope)
                raise Unreachable("gone")
            return await submit(envelope)

        monkeypatch.setattr(alpha.hub, "submit", lose)
        view = await fed.ask(alpha, wait_seconds=fed.a_while_seconds)
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE
        assert state_of(view, "alpha") is TargetState.PENDING

        alpha.outbox.wake()
        amended = await eventually(
            lambda: alpha.cases.view(view.row.search_id),
            lambda one: one.result is not None and one.result.coverage.complete,
        )
        assert amended.result is not None
        assert amended.result.overall is Overall.NO_RECORD

    play(tmp_path, scene, agencies=1)


# --- answers -------------------------------------------------------------------------------------------


def test_an_answer_that_does_not_verify_is_no_answer(tmp_path: Path) -> None:
    """§7.5: INCOMPLETE, never NO_RECORD."""

    def wrap(node: Node) -> None:
        if node.config.node == "bravo":
            node.answerer._key = SigningKey.generate()

    async def scene(fed: Federation) -> None:
        view = await fed.ask(fed.nodes[0])
        assert state_of(view, "bravo") is TargetState.INVALID
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE

    play(tmp_path, scene, wrap=wrap)


class Held:
    """Keeps a node from answering lookups until it is let go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.go = asyncio.Event()
        self.rows: list[InboxRow] = []

    def __call__(self, node: Node) -> None:
        if node.config.node == self.name:
            process = node.answerer.process

            async def wait(row: InboxRow) -> None:
                self.rows.append(row)
                await self.go.wait()
                await process(row)

            instead(node.answerer, "process", wait)


def test_a_spoilt_answer_does_not_keep_the_good_one_out(tmp_path: Path) -> None:
    """§7.8: the hub, not the node, may have spoilt it."""
    held = Held("bravo")

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row()])
        view = await fed.ask(alpha, wait_seconds=fed.a_while_seconds)
        assert state_of(view, "bravo") is TargetState.PENDING
        spoilt = Envelope(
            view.row.search_id.value,
            MessageKind.ANSWER,
            NodeId("bravo"),
            NodeId("alpha"),
            b"spoilt on the way",
            bytes(64),
            view.row.expires_at,
        )
        await alpha.deliver(spoilt)
        await eventually(
            lambda: alpha.cases.view(view.row.search_id),
            lambda one: state_of(one, "bravo") is TargetState.INVALID,
        )
        held.go.set()
        view = await eventually(
            lambda: alpha.cases.view(view.row.search_id),
            lambda one: state_of(one, "bravo") is TargetState.ANSWERED,
        )
        assert view.result is not None
        assert view.result.overall is Overall.MATCH

    play(tmp_path, scene, wrap=held)


def test_a_repeated_answer_changes_nothing(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha = fed.nodes[0]
        view = await fed.ask(alpha)
        (ask,) = await asks_of(alpha, view.row.search_id)
        entries = await alpha.store.run(lambda db: ledger.entries(db, event="lookup"))
        statement = ask.targets[NodeId("alpha")].answer
        assert statement is not None
        again = Envelope(
            view.row.search_id.value,
            MessageKind.ANSWER,
            NodeId("alpha"),
            NodeId("alpha"),
            statement.body,
            bytes(64),
            view.row.expires_at,
        )
        await alpha.deliver(again)
        await eventually(
            lambda: alpha.store.run(
                lambda db: mail_store.unsettled(db, MessageKind.ANSWER, NodeId("alpha"), 9)
            ),
            lambda rows: not rows,
        )
        assert (await alpha.cases.view(view.row.search_id)).result == view.result
        assert await alpha.store.run(lambda db: ledger.entries(db, event="lookup")) == entries

    play(tmp_path, scene, agencies=1)


def test_an_answer_to_nothing_that_was_asked_is_dropped(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha = fed.nodes[0]
        row = InboxRow(
            1,
            Envelope(
                bytes(16),
                MessageKind.ANSWER,
                NodeId("alpha"),
                NodeId("alpha"),
                b"x",
                bytes(64),
                alpha.clock.now(),
            ),
        )
        await alpha.deliver(row.envelope)
        counts = await eventually(
            lambda: alpha.store.run(mail_store.counts), lambda counts: counts.inbox_dropped == 1
        )
        assert counts.inbox_waiting == 0

    play(tmp_path, scene, agencies=1)


def test_a_local_failure_is_a_miss_and_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§7.6: no message, no state and nothing on the screen differs; only the digest knows."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row()])
        miss = await fed.ask(alpha, case="REQ-1", last="Othername", ssn4="1111", birth_date="1970-01-02")
        failure = LocalFailure(BlobId(bytes(16)), SealedDataInvalid("Made to fail for one person."))

        def fail(*_: object) -> Findings:
            return Findings((), (failure,))

        monkeypatch.setattr(reading, "find_hits", fail)
        view = await fed.ask(alpha, case="REQ-2")
        assert view.result is not None
        assert miss.result is not None
        assert view.result.overall is Overall.NO_RECORD
        assert view.result.hits == ()
        assert [(report.state, report.reason) for report in view.result.coverage.reports] == [
            (report.state, report.reason) for report in miss.result.coverage.reports
        ]
        kept = await alpha.store.run(
            lambda db: db.execute("SELECT node, code FROM failure_digest ORDER BY node").fetchall()
        )
        assert kept == [("alpha", "sealed_data_invalid"), ("bravo", "sealed_data_invalid")]
        events = [entry.event for entry in await alpha.store.run(ledger.entries)]
        assert not [event for event in events if "fail" in event]

    play(tmp_path, scene)


# --- coverage ------------------------------------------------------------------------------------------


def test_an_index_past_its_age_is_no_answer(tmp_path: Path) -> None:
    """§6.7: a stale index never makes NO_RECORD."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row()])
        await fed.stop(bravo)
        fed.hub.clock.advance(hours=37)
        await alpha.publishing.publish()
        await fed.settled()
        # Bravo is away: its answer comes from the same keys, but its index is too old to count.
        again = Node(bravo.config, fed.hub.clock)
        instead(again.publishing, "_check_ready", _never)
        await again.start()
        view = await fed.ask(alpha)
        await again.stop()
        assert state_of(view, "bravo") is TargetState.STALE_INDEX
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE

    play(tmp_path, scene)


def _never() -> None:
    raise Unreachable("not now")


def test_a_member_without_an_index_is_named(tmp_path: Path) -> None:
    """§6.8: without every segment of its head a node is "no index" and is asked nothing."""

    async def scene(fed: Federation) -> None:
        alpha, _ = fed.nodes
        del alpha.indexes.indexes[NodeId("bravo")]
        view = await fed.ask(alpha)
        assert state_of(view, "bravo") is TargetState.NO_INDEX
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE
        (ask,) = await asks_of(alpha, view.row.search_id)
        assert list(ask.targets) == [NodeId("alpha")]

    play(tmp_path, scene)


def test_the_end_of_its_life_closes_a_search(tmp_path: Path) -> None:
    held = Held("bravo")

    async def scene(fed: Federation) -> None:
        alpha, _ = fed.nodes
        view = await fed.ask(alpha, wait_seconds=fed.a_while_seconds)
        # A slow machine may not have brought alpha's own answer in "a while".
        await eventually(
            lambda: alpha.cases.view(view.row.search_id),
            lambda one: state_of(one, "alpha") is TargetState.ANSWERED,
        )
        fed.hub.clock.advance(hours=25)
        await alpha.gatherer.expire()
        after = await alpha.cases.view(view.row.search_id)
        assert state_of(after, "bravo") is TargetState.EXPIRED
        assert state_of(after, "alpha") is TargetState.ANSWERED
        assert after.row.closed
        (ask,) = await asks_of(alpha, view.row.search_id)
        assert ask.state is LookupState.CLOSED

    play(tmp_path, scene, wrap=held)


def test_hits_keep_the_numbers_under_which_they_were_shown(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        rows = [
            make_row(agency_record_id="A-1", first="Xavier", ssn4="9989", post_id="777"),
            make_row(agency_record_id="A-2"),
        ]
        await fed.file(bravo, rows)
        view = await fed.ask(alpha)
        assert view.result is not None
        shown = [hit.blob_id for hit in view.result.hits]
        numbered = await alpha.store.run(lambda db: hit_store.hits(db, view.row.search_id))
        assert [one.hit.blob_id for one in numbered] == shown
        assert [one.number for one in numbered] == list(range(1, len(shown) + 1))
        now = alpha.clock.now() + timedelta(seconds=1)
        added = await alpha.store.run(
            lambda db: hit_store.add_hits(
                db, view.row.search_id, [(one.hit, one.blob) for one in numbered], now
            )
        )
        assert added == 0

    play(tmp_path, scene)


def test_a_search_is_taken_up_after_a_restart(tmp_path: Path) -> None:
    """Blinds, inputs and answers are in the store: a late answer opens as if nothing had happened."""
    held = Held("bravo")

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row()])
        view = await fed.ask(alpha, wait_seconds=fed.a_while_seconds)
        await fed.stop(alpha)
        again = Node(alpha.config, fed.hub.clock)
        await again.start()
        await until(lambda: again.connection.attached and len(again.indexes.indexes) == 2)
        held.go.set()
        after = await eventually(
            lambda: again.cases.view(view.row.search_id),
            lambda one: one.result is not None and one.result.coverage.complete,
        )
        await again.stop()
        assert after.result is not None
        assert after.result.overall is Overall.MATCH

    play(tmp_path, scene, wrap=held)
