"""Lookups and disclosures between real nodes over a real hub with real mTLS on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from candor_node import ledger, lookup_store, mail_store, publisher, request_store
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_node.mail_store import InboxRow
from candor_proto import oprf
from candor_proto.disclosure import OwnerState, RequesterState
from candor_proto.errors import CandorError, Rollback
from candor_proto.exchange import LookupState
from candor_proto.ids import NodeId
from candor_proto.result import Overall, TargetState
from candor_proto.scoring import Band
from candor_proto.statements import Lookup
from candor_wire.codec import Envelope, MessageKind
from tests.federation import Federation, eventually, federation, instead, local, until
from tests.records import generated_rows, make_row

Scene = Callable[[Federation], Awaitable[None]]


def play(folder: Path, scene: Scene, agencies: int = 3, **changes: Any) -> None:
    async def whole() -> None:
        async with federation(folder, agencies, **changes) as fed:
            await scene(fed)

    asyncio.run(whole())


def state_of(view: SearchView, node: str) -> TargetState:
    assert view.result is not None
    return next(report.state for report in view.result.coverage.reports if report.node == NodeId(node))


def test_a_typo_still_finds_the_record_and_a_person_releases_it(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        await fed.file(bravo, [make_row(), *generated_rows(20)], settle=False)
        await fed.file(charlie, generated_rows(20, seed=2))

        view = await fed.ask(alpha, last="Placeholdersen", middle="Z")
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        assert view.result.coverage.sentence().startswith("3 of 3 nodes answered")
        strong = [one for one in view.hits if one.hit.explanation.band is Band.STRONG]
        assert [(one.number, one.hit.owner) for one in strong] == [(1, NodeId("bravo"))]

        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        waiting = await eventually(
            lambda: bravo.store.run(lambda db: request_store.received(db, request_id)),
            lambda known: known is not None,
        )
        assert waiting is not None
        assert waiting.state is OwnerState.WAITING
        await bravo.owner.approve(request_id, "chief")
        opened = await eventually(
            lambda: alpha.store.run(lambda db: request_store.sent(db, request_id)),
            lambda known: known is not None and known.state is RequesterState.OPENED,
        )
        assert opened is not None
        assert opened.record is not None
        assert opened.record.fields["last"] == "Placeholderson"
        for node in fed.nodes:
            await node.store.run(ledger.verify)

    play(tmp_path, scene)


def test_nobody_of_that_name_is_no_record_among_all(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, generated_rows(20))
        view = await fed.ask(alpha)
        assert view.result is not None
        assert view.result.overall is Overall.NO_RECORD
        assert view.result.hits == ()
        assert view.result.coverage.complete

    play(tmp_path, scene)


def test_an_own_record_is_found_as_well(tmp_path: Path) -> None:
    """The own node is a target like any other: a set without it would say something."""

    async def scene(fed: Federation) -> None:
        (alpha,) = fed.nodes
        await fed.file(alpha, [make_row()])
        view = await fed.ask(alpha)
        assert view.result is not None
        assert [hit.owner for hit in view.result.hits] == [NodeId("alpha")]

    play(tmp_path, scene, agencies=1)


def test_a_node_that_is_away_leaves_the_answer_incomplete_and_amends_it_later(tmp_path: Path) -> None:
    """§7.7, §7.8."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        await fed.stop(bravo)
        first = await fed.ask(alpha, wait_seconds=fed.a_while_seconds)
        view = await eventually(
            lambda: alpha.cases.view(first.row.search_id),
            lambda one: one.result is not None and one.result.coverage.sentence().startswith("2 of 3"),
        )
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE
        assert view.result.coverage.sentence().startswith("2 of 3 nodes answered; 1 pending (bravo)")

        again = Node(bravo.config, fed.hub.clock)
        await again.start()
        amended = await eventually(
            lambda: alpha.cases.view(view.row.search_id),
            lambda one: one.result is not None and one.result.coverage.complete,
        )
        await again.stop()
        assert amended.result is not None
        assert amended.result.overall is Overall.MATCH
        events = await alpha.store.run(lambda db: ledger.entries(db, event="lookup"))
        assert [entry.event for entry in events if entry.event != "lookup.answered"] == [
            "lookup.sent",
            "lookup.shown",
            "lookup.amended",
            "lookup.late_match",
        ]
        assert events[-2].details["overall"] == "MATCH"
        assert events[-1].details == {"revision": 1, "candidates": 1}

    play(tmp_path, scene)


def test_a_target_that_has_moved_to_a_new_epoch_is_asked_again(tmp_path: Path) -> None:
    """§7.9: under a new id with fresh blinds, once, without anybody's doing."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        # Alpha has not heard of bravo's new epoch, and the grace of the old one is over.
        instead(alpha.indexes, "announce", lambda version: None)
        await bravo.publishing.publish(rotate=True)
        await until(lambda: bravo.indexes.indexes[NodeId("bravo")].head.epoch == 2)
        await bravo.store.run(
            lambda db: db.execute("UPDATE epochs SET grace_ends_at = 0 WHERE number = 1") and None
        )
        view = await fed.ask(alpha)
        assert view.result is not None
        assert view.result.overall is Overall.MATCH
        assert view.result.coverage.complete
        asks = await alpha.store.run(lambda db: lookup_store.asks(db, view.row.search_id))
        first, second = asks
        assert first.targets[NodeId("bravo")].state is TargetState.STALE_EPOCH
        assert list(second.targets) == [NodeId("bravo")]
        assert second.attempt == 1
        assert first.lookup_id != second.lookup_id
        assert {slot.blinded.element for slot in first.draft.persons[0]}.isdisjoint(
            slot.blinded.element for slot in second.draft.persons[0]
        )

    play(tmp_path, scene)


def test_a_lookup_that_the_hub_replays_is_not_evaluated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§7.3; attack A8."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        view = await fed.ask(alpha)
        (ask,) = await alpha.store.run(lambda db: lookup_store.asks(db, view.row.search_id))
        await until(lambda: not bravo.store.run_sync(mail_store.counts).inbox_waiting)
        evaluations: list[int] = []
        evaluate = oprf.blind_evaluate

        def count(*arguments: Any, **named: Any) -> Any:
            evaluations.append(1)
            return evaluate(*arguments, **named)

        monkeypatch.setattr("candor_node.answerer.oprf.blind_evaluate", count)
        # As after a month: the inbox has forgotten the delivery, the replay cache not the lookup.
        await bravo.store.run(lambda db: db.execute("DELETE FROM inbox") and None)
        statement = ask.draft.statement
        await bravo.deliver(
            Envelope(
                ask.lookup_id.value,
                MessageKind.LOOKUP,
                NodeId("alpha"),
                NodeId("bravo"),
                statement.body,
                statement.signature,
                ask.draft.lookup.expires_at,
            )
        )
        await eventually(lambda: bravo.store.run(mail_store.counts), lambda counts: counts.inbox_dropped == 1)
        assert evaluations == []

    play(tmp_path, scene)


def test_a_delivery_repeated_octet_for_octet_is_one_message(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.ask(alpha)
        kept = await bravo.store.run(lambda db: db.execute("SELECT count(*) FROM inbox").fetchone()[0])
        rows: list[InboxRow] = []
        process = bravo.answerer.process

        async def remember(row: InboxRow) -> None:
            rows.append(row)
            await process(row)

        instead(bravo.answerer, "process", remember)
        view = await fed.ask(alpha, case="REQ-2")
        (ask,) = await alpha.store.run(lambda db: lookup_store.asks(db, view.row.search_id))
        statement = ask.draft.statement
        for _ in range(3):
            await bravo.deliver(
                Envelope(
                    ask.lookup_id.value,
                    MessageKind.LOOKUP,
                    NodeId("alpha"),
                    NodeId("bravo"),
                    statement.body,
                    statement.signature,
                    ask.draft.lookup.expires_at,
                )
            )
        after = await bravo.store.run(lambda db: db.execute("SELECT count(*) FROM inbox").fetchone()[0])
        assert after == kept + 1

    play(tmp_path, scene)


# --- what others see -----------------------------------------------------------------------------------


class Recorder(grpc.aio.ServerInterceptor):
    """What the hub gets to see: method, size and body of everything members send."""

    def __init__(self) -> None:
        self.submitted: list[tuple[int, int]] = []
        self.bodies: list[bytes] = []
        self.fetched: list[str] = []

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if details.method.endswith("/GetSegment"):
            self.fetched.append(details.method)
        if not details.method.endswith("/Attach"):
            return handler

        def reading(octets: bytes) -> Any:
            message = handler.request_deserializer(octets)
            for submission in message.mail.submissions:
                self.submitted.append((submission.envelope.kind, submission.ByteSize()))
                self.bodies.append(submission.envelope.body)
            return message

        return grpc.stream_stream_rpc_method_handler(
            handler.stream_stream, reading, handler.response_serializer
        )


def test_hit_and_miss_look_the_same_from_outside(tmp_path: Path) -> None:
    """P1: kinds, sizes and fetches do not depend on the person or on whether anything matched."""

    async def scene(fed: Federation, recorder: Recorder) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        seen, fetches = [], len(recorder.fetched)
        nobody: dict[str, Any] = {"first": "Jo", "last": "Nobody", "ssn4": "1111"}
        persons: list[tuple[str, dict[str, Any]]] = [("REQ-1", {}), ("REQ-2", nobody)]
        for case, changes in persons:
            recorder.submitted.clear()
            view = await fed.ask(alpha, case=case, **changes)
            await until(lambda: len(recorder.submitted) >= 4)
            seen.append((sorted(recorder.submitted), view.result.overall if view.result else None))
        (hit, first), (miss, second) = seen
        assert (first, second) == (Overall.MATCH, Overall.NO_RECORD)
        assert hit == miss
        assert len(recorder.fetched) == fetches
        text = b"".join(recorder.bodies).lower()
        assert b"placeholder" not in text
        assert b"req-1" not in text
        assert b"4821" not in text

    recorder = Recorder()

    async def whole() -> None:
        async with federation(tmp_path, 3, hub_interceptors=[recorder]) as fed:
            await scene(fed, recorder)

    asyncio.run(whole())


def test_every_member_is_asked_by_default(tmp_path: Path) -> None:
    """§7.1: a chosen subset would reveal a suspicion."""

    async def scene(fed: Federation) -> None:
        view = await fed.ask(fed.nodes[0])
        (ask,) = await fed.nodes[0].store.run(lambda db: lookup_store.asks(db, view.row.search_id))
        lookup = Lookup.decode(ask.draft.statement.body)
        assert [str(target.node) for target in lookup.targets] == ["alpha", "bravo", "charlie"]
        assert ask.state is LookupState.SHOWN

    play(tmp_path, scene)


# --- directory and indexes -----------------------------------------------------------------------------


def test_a_segment_damaged_on_disk_is_fetched_again(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        await fed.stop(alpha)
        for path in alpha.config.index_folder.iterdir():
            octets = bytearray(path.read_bytes())
            octets[-1] ^= 1
            path.write_bytes(bytes(octets))
        again = Node(alpha.config, fed.hub.clock)
        await again.start()
        await until(lambda: again.connection.attached and len(again.indexes.indexes) == 3)
        view = await fed.ask(again)
        await again.stop()
        assert view.result is not None
        assert view.result.overall is Overall.MATCH

    play(tmp_path, scene)


def test_a_segment_that_is_not_the_one_named_is_no_index(tmp_path: Path) -> None:
    """§6.8: octets are compared with their address; what does not match is not held."""

    def wrap(node: Node) -> None:
        if node.config.node == "alpha":
            fetch = node.hub.get_segment

            async def other(named: Any) -> bytes:
                octets = await fetch(named)
                return octets[:-1] + bytes([octets[-1] ^ 1]) if spoil else octets

            instead(node.hub, "get_segment", other)

    spoil: list[int] = []

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        spoil.append(1)
        await fed.file(bravo, [make_row()], settle=False)
        await until(lambda: NodeId("bravo") not in alpha.indexes.indexes)
        view = await fed.ask(alpha)
        assert state_of(view, "bravo") is TargetState.NO_INDEX
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE

    play(tmp_path, scene, wrap=wrap)


def test_a_directory_older_than_one_seen_is_refused(tmp_path: Path) -> None:
    """§10.2: the version seen is remembered over a restart."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        old = await alpha.hub.get_directory()
        await fed.file(bravo, [make_row()])
        version = alpha.indexes.version
        await fed.stop(alpha)
        again = Node(alpha.config, fed.hub.clock)

        async def stale() -> Any:
            return old

        instead(again.hub, "get_directory", stale)
        with pytest.raises(Rollback, match=f"{version} was seen before"):
            await again.indexes.refresh()
        assert again.indexes.version == 0
        await again.stop()

    play(tmp_path, scene, agencies=2)


def test_a_directory_that_the_root_does_not_vouch_for_is_refused(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        (alpha,) = fed.nodes
        fetched = await alpha.hub.get_directory()
        forged = type(fetched)(type(fetched.statement)(fetched.statement.body, bytes(64)), fetched.chain)

        async def lie() -> Any:
            return forged

        instead(alpha.hub, "get_directory", lie)
        before = alpha.indexes.version
        with pytest.raises(CandorError, match="does not verify"):
            await alpha.indexes.refresh()
        assert alpha.indexes.version == before

    play(tmp_path, scene, agencies=1)


def test_the_directory_is_kept_over_a_restart_without_the_hub(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row()])
        version = alpha.indexes.version
        await fed.stop(alpha)
        again = Node(alpha.config, fed.hub.clock)
        await again.indexes.load()
        assert again.indexes.version == version
        assert sorted(map(str, again.indexes.indexes)) == ["alpha", "bravo"]
        await again.stop()

    play(tmp_path, scene, agencies=2)


# --- the commands' side --------------------------------------------------------------------------------


def test_the_socket_is_for_the_nodes_user_alone(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        (alpha,) = fed.nodes
        assert alpha.config.socket.stat().st_mode & 0o777 == 0o600
        assert alpha.config.socket.parent.stat().st_mode & 0o777 == 0o700
        async with local(alpha) as stub:
            from candor_wire.v1 import local_pb2

            reply = await stub.Status(local_pb2.StatusRequest())
        assert reply.attached
        assert reply.members[0].index_held

    play(tmp_path, scene, agencies=1)


def test_publication_waits_for_the_hub_and_is_sent_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        put_head, failed = bravo.hub.put_head, list[int]()

        async def once(head: Any) -> int:
            if not failed:
                failed.append(1)
                raise CandorError("lost on the way")
            return await put_head(head)

        instead(bravo.hub, "put_head", once)
        with pytest.raises(CandorError, match="lost on the way"):
            await fed.file(bravo, [make_row()])
        assert await bravo.store.run(publisher.pending) is not None
        bravo.publishing.wake()
        await fed_until_sequence(alpha, 2)
        assert await bravo.store.run(publisher.pending) is None

    async def fed_until_sequence(alpha: Node, sequence: int) -> None:
        def held() -> bool:
            index = alpha.indexes.indexes.get(NodeId("bravo"))
            return index is not None and index.head.sequence == sequence

        await until(held)

    play(tmp_path, scene, agencies=2)
