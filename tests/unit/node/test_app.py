"""The node as a whole: what it takes in, what stops it, what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candor_node import founding, lookup_store, mail_store, supervision
from candor_node.app import Node
from candor_node.mail_store import InboxRow
from candor_proto.errors import ClockWrong, ConfigInvalid, InputInvalid, StoreUnusable
from candor_proto.ids import NodeId
from candor_wire.codec import Envelope, MessageKind
from tests.federation import Federation, eventually, federation, instead, until
from tests.patience import PATIENCE_SECONDS


def play(folder: Path, scene: Callable[[Federation, Node], Awaitable[None]], **changes: Any) -> None:
    async def whole() -> None:
        async with federation(folder, 1, **changes) as fed:
            await scene(fed, fed.nodes[0])

    asyncio.run(whole())


async def lookup_envelope(fed: Federation, node: Node, case: str) -> Envelope:
    """A lookup of the node's own that it has answered already."""
    view = await fed.ask(node, case=case)
    (ask,) = await node.store.run(lambda db: lookup_store.asks(db, view.row.search_id))
    statement = ask.draft.statement
    return Envelope(
        ask.lookup_id.value,
        MessageKind.LOOKUP,
        NodeId("alpha"),
        NodeId("alpha"),
        statement.body,
        statement.signature,
        ask.draft.lookup.expires_at,
    )


async def inbox(node: Node) -> mail_store.MailCounts:
    return await node.store.run(mail_store.counts)


def test_a_delivery_for_somebody_else_is_not_kept(tmp_path: Path) -> None:
    async def scene(fed: Federation, node: Node) -> None:
        envelope = await lookup_envelope(fed, node, "REQ-1")
        count = "SELECT count(*) FROM inbox"
        before = await node.store.run(lambda db: db.execute(count).fetchone()[0])
        await node.deliver(replace(envelope, envelope_id=bytes(16), recipient=NodeId("bravo")))
        assert await node.store.run(lambda db: db.execute(count).fetchone()[0]) == before

    play(tmp_path, scene)


def test_with_a_wrong_clock_nothing_is_answered(tmp_path: Path) -> None:
    """§8.4: it waits in the inbox until the clock is right."""

    async def scene(fed: Federation, node: Node) -> None:
        envelope = await lookup_envelope(fed, node, "REQ-1")
        node.connection.trouble = ClockWrong("The clocks differ.")
        await node.deliver(replace(envelope, envelope_id=bytes(16)))
        await asyncio.sleep(0.3)
        assert (await inbox(node)).inbox_waiting == 1
        node.connection.trouble = None
        node._inbox[MessageKind.LOOKUP].wake()
        await eventually(lambda: inbox(node), lambda counts: counts.inbox_waiting == 0)

    play(tmp_path, scene)


def test_what_waited_for_a_directory_is_judged_as_soon_as_it_is_taken_up(tmp_path: Path) -> None:
    """Else every lookup stands still for seconds whenever a member joins, or an authority is replaced."""

    async def scene(fed: Federation, node: Node) -> None:
        envelope, box = await lookup_envelope(fed, node, "REQ-1"), node._inbox[MessageKind.LOOKUP]
        woken, wake = list[bool](), box.wake

        def heard() -> None:
            woken.append(node.may_judge())
            wake()

        instead(box, "wake", heard)
        node.indexes.announced = node.indexes.version + 1
        await node.deliver(replace(envelope, envelope_id=bytes(16)))
        assert (await inbox(node)).inbox_waiting == 1
        node.indexes.announced = node.indexes.version
        await node.indexes.refresh()
        assert woken
        assert all(woken)
        await eventually(lambda: inbox(node), lambda counts: counts.inbox_waiting == 0)

    play(tmp_path, scene)


def test_a_message_that_trips_a_bug_does_not_stop_those_behind_it(tmp_path: Path) -> None:
    async def scene(fed: Federation, node: Node) -> None:
        view = await fed.ask(node, case="REQ-1")
        assert view.result is not None
        assert view.result.coverage.complete
        assert (await inbox(node)).inbox_dropped == 1

    def wrap(node: Node) -> None:
        process, tripped = node.answerer.process, list[int]()

        async def trip(row: InboxRow) -> None:
            if not tripped:
                tripped.append(row.number)
                raise KeyError("a bug")
            await process(row)

        instead(node.answerer, "process", trip)

    async def first_one_trips(fed: Federation, node: Node) -> None:
        await fed.ask(node, case="REQ-0", wait_seconds=0.3)
        await scene(fed, node)

    play(tmp_path, first_one_trips, wrap=wrap)


def test_a_task_that_crashes_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "CRASH_PAUSE_SECONDS", 0.01)

    async def scene(fed: Federation, node: Node) -> None:
        runs: list[int] = []

        async def crash_once() -> None:
            runs.append(1)
            if len(runs) == 1:
                raise RuntimeError("once")
            await asyncio.Event().wait()

        task = asyncio.create_task(node._supervisor.supervise("test", crash_once))
        await until(lambda: len(runs) == 2)
        task.cancel()

    play(tmp_path, scene)


def test_a_task_that_keeps_crashing_ends_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "CRASH_PAUSE_SECONDS", 0.01)

    async def scene(fed: Federation, node: Node) -> None:
        async def crash() -> None:
            raise InputInvalid("A bug.")

        task = asyncio.create_task(node._supervisor.supervise("test", crash))
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(InputInvalid, match="A bug"):
                await node.failure()
        await task

    play(tmp_path, scene)


def test_a_full_disk_is_waited_for_however_long_and_does_not_end_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "CRASH_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(supervision, "STORE_PAUSE_SECONDS", 0.01)

    async def scene(fed: Federation, node: Node) -> None:
        runs: list[int] = []

        async def full() -> None:
            runs.append(1)
            if len(runs) <= 4 * supervision.CRASHES_ALLOWED:
                raise StoreUnusable("The disk is full.")
            await asyncio.Event().wait()

        task = asyncio.create_task(node._supervisor.supervise("test", full))
        await until(lambda: len(runs) > 4 * supervision.CRASHES_ALLOWED)
        assert node._supervisor.failures.empty()
        task.cancel()

    play(tmp_path, scene)


def test_a_folder_that_others_may_open_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    founding.make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(ConfigInvalid, match="may be opened by others"):
        founding.make_folder(folder)
