"""Answers that wait are taken together, and what one of them holds costs no other anything (§7.5-§7.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candor_node import hit_store, mail_store, reading
from candor_node.store import Database
from candor_proto import candidates
from candor_proto.candidates import Findings, NodeIndex
from candor_proto.errors import StoreUnusable
from candor_proto.ids import NodeId
from candor_proto.result import TargetState
from tests.empty import empty_store
from tests.gathered import BRAVO, OWNERS, PARTIES, Scene
from tests.parties import FEDERATION, NOW
from tests.patience import PATIENCE_SECONDS
from tests.records import STORE_KEY


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with empty_store(tmp_path / "node.db", STORE_KEY) as store:
        scene = Scene(store)
        yield scene
        scene.workers.close()


def play(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await work()

    asyncio.run(bounded())


def test_answers_that_wait_are_stored_in_one_transaction(scene: Scene) -> None:
    async def work() -> None:
        first, second = scene.ask(1), scene.ask(2)
        rows = [scene.arrive(draft, node) for node in OWNERS for draft in (second, first)]
        for draft in (first, second):
            await scene.cases.get(draft.lookup.lookup_id)
        scene.works.clear()
        await scene.gatherer.process_together(rows)
        assert scene.works == ["Gatherer._keep.<locals>.work"]
        for draft in (first, second):
            assert set((await scene.states(draft)).values()) == {TargetState.ANSWERED}
            assert scene.hits(draft) == ["bravo"]
        assert scene.waiting() == 0

    play(work)


def test_twice_the_records_cost_a_hit_one_bit_and_a_hit_that_was_found_stays_as_it_was(
    scene: Scene,
) -> None:
    """docs/matching.md §6: what came early is not weighed anew when the federation grows."""

    async def work() -> None:
        draft = scene.ask(1)
        await scene.gatherer.process(scene.arrive(draft, BRAVO))
        (early,) = scene.found(draft)
        scene.held.records *= 2
        other = scene.ask(2)
        await scene.gatherer.process(scene.arrive(other, BRAVO))
        (dearer,) = scene.found(other)
        assert early.hit.explanation.centibits - dearer.hit.explanation.centibits == 100
        # A late answer amends the result: nothing of what is shown already changes.
        await scene.gatherer.process(scene.arrive(draft, OWNERS[1]))
        await scene.gatherer.process(scene.arrive(draft, BRAVO))
        assert scene.found(draft) == [early]
        again = replace(early.hit, explanation=dearer.hit.explanation)
        scene.store.run_sync(
            lambda db: hit_store.add_hits(db, draft.lookup.lookup_id, [(again, early.blob)], NOW)
        )
        assert scene.found(draft) == [early]

    play(work)


def test_an_answer_that_does_not_verify_keeps_no_good_one_out(scene: Scene) -> None:
    async def work() -> None:
        draft = scene.ask(1)
        rows = [
            scene.arrive(draft, OWNERS[0], spoilt=True),
            *(scene.arrive(draft, one) for one in OWNERS[1:]),
        ]
        await scene.gatherer.process_together(rows)
        assert (await scene.states(draft))["bravo"] is TargetState.INVALID
        assert list((await scene.states(draft)).values()).count(TargetState.ANSWERED) == 3
        spoilt_again = scene.arrive(draft, OWNERS[0], spoilt=True)
        await scene.gatherer.process_together([spoilt_again, scene.arrive(draft, OWNERS[0])])
        assert set((await scene.states(draft)).values()) == {TargetState.ANSWERED}
        assert scene.hits(draft) == ["bravo"]

    play(work)


def test_the_same_answer_twice_in_a_group_counts_once(scene: Scene) -> None:
    async def work() -> None:
        draft = scene.ask(1)
        good, bad = scene.arrive(draft, OWNERS[0]), scene.arrive(draft, OWNERS[0], spoilt=True)
        await scene.gatherer.process_together([good, replace(good, number=good.number), bad])
        assert (await scene.states(draft))["bravo"] is TargetState.ANSWERED
        assert scene.hits(draft) == ["bravo"]
        assert scene.waiting() == 0

    play(work)


def test_an_answer_to_nothing_that_was_asked_is_dropped_alone(scene: Scene) -> None:
    async def work() -> None:
        draft, other = scene.ask(1), PARTIES.draft("asker")
        rows = [scene.arrive(other, OWNERS[0]), scene.arrive(draft, OWNERS[0])]
        await scene.gatherer.process_together(rows)
        assert (await scene.states(draft))["bravo"] is TargetState.ANSWERED
        assert scene.store.run_sync(mail_store.counts).inbox_dropped == 1

    play(work)


def test_a_bug_in_one_answer_stores_nothing_and_leaves_the_others_to_be_taken_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = candidates.find_hits

    def fail_at_charlie(outputs: Any, index: NodeIndex, *rest: Any) -> Findings:
        if str(index.head.node) == "charlie":
            raise KeyError("a bug")
        return find(outputs, index, *rest)

    monkeypatch.setattr(reading, "find_hits", fail_at_charlie)

    async def work() -> None:
        draft = scene.ask(1)
        rows = [scene.arrive(draft, node) for node in OWNERS]
        with pytest.raises(KeyError):
            await scene.gatherer.process_together(rows)
        assert set((await scene.states(draft)).values()) == {TargetState.PENDING}
        assert scene.waiting() == len(OWNERS)
        for row in (rows[0], *rows[2:]):
            await scene.gatherer.process(row)
        assert list((await scene.states(draft)).values()).count(TargetState.ANSWERED) == 3

    play(work)


@pytest.mark.parametrize("told", [False, True])
def test_cases_are_as_the_database_whatever_became_of_the_transaction(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """§7.8: a commit that failed may be on the disk all the same."""
    run = scene.store.run

    async def fail(work: Callable[[Database], Any]) -> Any:
        if "Gatherer" not in work.__qualname__:
            return await run(work)
        if told:
            await run(work)
        raise StoreUnusable("The disk is full.")

    async def work() -> None:
        drafts = [scene.ask(1), scene.ask(2)]
        rows = [scene.arrive(draft, OWNERS[0]) for draft in drafts]
        monkeypatch.setattr(scene.store, "run", fail)
        with pytest.raises(StoreUnusable):
            await scene.gatherer.process_together(rows)
        expected = TargetState.ANSWERED if told else TargetState.PENDING
        for draft in drafts:
            assert (await scene.states(draft))["bravo"] is expected

    play(work)


def test_groups_that_hold_the_same_cases_do_not_wait_for_each_other_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        drafts = [scene.ask(1), scene.ask(2)]
        here = [scene.arrive(draft, OWNERS[0]) for draft in drafts]
        there = [scene.arrive(draft, OWNERS[1]) for draft in reversed(drafts)]
        for draft in drafts:
            # Whoever takes a lock takes the next one a moment later, as another task may.
            case = await scene.cases.get(draft.lookup.lookup_id)
            acquire = case.lock.acquire

            async def slowly(acquire: Callable[[], Any] = acquire) -> bool:
                await acquire()
                await asyncio.sleep(0.01)
                return True

            monkeypatch.setattr(case.lock, "acquire", slowly)
        together = scene.gatherer.process_together
        await asyncio.wait_for(asyncio.gather(together(here), together(there)), 10)
        for draft in drafts:
            assert list((await scene.states(draft)).values()).count(TargetState.ANSWERED) == 2

    play(work)


def test_answers_are_examined_on_no_more_threads_than_were_allowed() -> None:
    """Some here, the others where `map` runs them; each once and in its place."""
    handed: list[slice] = []

    def spread(work: Callable[[slice], Any], parts: Any) -> Any:
        parts = list(parts)
        handed.extend(parts)
        return [work(part) for part in parts]

    class Known(reading.Known):
        def examine(self, draft: Any, node: NodeId, statement: Any) -> Any:
            return statement

    known = Known(None, {}, FEDERATION, NOW, 1)
    jobs: list[Any] = [("draft", NodeId("bravo"), number) for number in range(11)]
    seen: Any = reading.examine_all([*jobs, None], known, threads=2, map=spread)
    assert [*seen] == [*range(11), None]
    assert len(handed) == 1
    handed.clear()
    reading.examine_all(jobs[: reading.MIN_SLICE], known, threads=2, map=spread)
    assert not handed
