"""What happens between two steps: a rotation, a failing disk, a withdrawal (docs/protocol.md §7, §9)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from candor_node import hit_store, request_store
from candor_node.app import Node
from candor_node.cases import Case
from candor_proto.disclosure import RequesterState
from candor_proto.errors import StoreUnusable
from candor_proto.ids import LookupId
from candor_proto.result import Overall, TargetState
from tests.federation import Federation, eventually, federation, until
from tests.records import make_row


def test_a_rotation_between_two_lookups_of_one_person_is_never_no_record(tmp_path: Path) -> None:
    """Outputs of the old epoch find nothing in the new index: that is not an answer."""

    async def story(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row()])
        send_plan = alpha.searcher._send_plan
        rotated = False

        async def after_rotation(case: Case, *arguments: Any) -> None:
            nonlocal rotated
            await until(
                lambda: all(
                    target.state is TargetState.ANSWERED
                    for ask in case.asks.values()
                    for target in ask.targets.values()
                )
            )
            if not rotated:
                rotated = True
                await bravo.publishing.publish(rotate=True)
                await fed.settled()
            await send_plan(case, *arguments)

        alpha.searcher._send_plan = after_rotation  # type: ignore[method-assign,assignment]  # a bad moment
        view = await fed.ask(alpha, last="Placeholderson Bellweather", former_last="Quarrington")
        assert view.row.plans > 1
        assert rotated
        assert view.result is not None
        assert view.result.overall is Overall.MATCH

    asyncio.run(with_federation(tmp_path, story))


def test_a_hit_whose_asker_died_while_it_waited_is_shown_by_the_next_run(tmp_path: Path) -> None:
    async def story(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        await fed.file(bravo, [make_row()])
        await fed.stop(charlie)
        asking = asyncio.create_task(fed.ask(alpha, wait_seconds=60))

        def bravo_answered() -> bool:
            return any(
                ask.targets[bravo.config.node_id].state is TargetState.ANSWERED
                for case in alpha.cases._cases.values()
                for ask in case.asks.values()
            )

        await until(bravo_answered)
        (search_id,) = alpha.cases._cases
        asking.cancel()
        await fed.stop(alpha)
        again = Node(alpha.config, fed.hub.clock)
        await again.start()
        try:
            view = await eventually(lambda: again.cases.view(search_id), lambda view: view.result is not None)
            assert view.result is not None
            assert view.result.overall is Overall.MATCH
            answered = {str(report.node) for report in view.result.coverage.reports if report.answered}
            assert "bravo" in answered
            assert "charlie" not in answered
        finally:
            await again.stop()

    asyncio.run(with_federation(tmp_path, story, agencies=3))


def test_a_disk_that_fails_while_an_answer_is_taken_in_loses_no_hit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row()])
        add_hits = hit_store.add_hits
        failed: list[LookupId] = []

        def failing_once(db: Any, search_id: LookupId, found: Any, now: Any) -> None:
            if found and not failed:
                failed.append(search_id)
                raise StoreUnusable("The disk is full.")
            add_hits(db, search_id, found, now)

        monkeypatch.setattr(hit_store, "add_hits", failing_once)
        view = await fed.ask(alpha)
        assert failed
        assert view.result is not None
        assert view.result.overall is Overall.MATCH

    asyncio.run(with_federation(tmp_path, story))


def test_a_record_withdrawn_while_it_is_sealed_is_not_released_by_rule(tmp_path: Path) -> None:
    async def story(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row(sharing="GREEN")])
        view = await fed.ask(alpha)
        answer = bravo.owner._answer
        sealed: list[object] = []

        def withdrawn_meanwhile(*arguments: Any, **options: Any) -> Any:
            if not sealed:
                bravo.store.run_sync(lambda db: db.execute("UPDATE record_heads SET matchable = 0"))
            sealed.append(arguments)
            return answer(*arguments, **options)

        bravo.owner._answer = withdrawn_meanwhile  # type: ignore[method-assign]  # a bad moment
        request_id = await alpha.requester.send(view.row.search_id, 1, "Inv. Dana Roe")

        async def known() -> Any:
            return await alpha.store.run(lambda db: request_store.sent(db, request_id))

        settled = await eventually(known, lambda sent: sent.state is not RequesterState.SENT)
        assert settled.state is RequesterState.DECLINED
        assert settled.record is None

    asyncio.run(with_federation(tmp_path, story))


def test_messages_wait_for_the_directory_and_are_not_dropped_without_one(tmp_path: Path) -> None:
    async def story(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row(sharing="GREEN")])
        view = await fed.ask(alpha)
        directory, alpha.indexes.directory = alpha.indexes.directory, None
        try:
            alpha.indexes.directory = directory
            request_id = await alpha.requester.send(view.row.search_id, 1, "Inv. Dana Roe")
            alpha.indexes.directory = None
            await asyncio.sleep(1.0)
        finally:
            alpha.indexes.directory = directory

        async def known() -> Any:
            return await alpha.store.run(lambda db: request_store.sent(db, request_id))

        settled = await eventually(known, lambda sent: sent.state is not RequesterState.SENT)
        assert settled.state is RequesterState.OPENED

    asyncio.run(with_federation(tmp_path, story))


async def with_federation(folder: Path, story: Any, agencies: int = 2) -> None:
    async with federation(folder, agencies) as fed:
        await story(fed)
