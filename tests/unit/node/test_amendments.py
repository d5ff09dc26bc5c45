"""Late answers amend a result, are numbered, told and acknowledged (docs/protocol.md §7.7-§7.8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candor_node import amendments, batch_results, cases, coverage_words, forgetting, ledger, lookup_store
from candor_node.amendments import AMENDED, LATE_MATCH, NOT_LOOKED, Account, Revision
from candor_node.batch_file import RESULTS
from candor_node.cases import SearchView
from candor_node.coverage import Outlook
from candor_node.driver import Migrations
from candor_node.exchange_migrations import batches, initial
from candor_node.founding import MIGRATIONS
from candor_node.store import ALL_MIGRATIONS, Database, Store
from candor_proto.canonical import to_milliseconds
from candor_proto.directory import MAX_HEAD_AGE
from candor_proto.errors import InputInvalid
from candor_proto.exchange import Draft
from candor_proto.ids import LookupId, NodeId
from candor_proto.result import Overall, TargetReport, TargetState
from candor_proto.statements import AnswerStatus
from tests.empty import empty_store
from tests.gathered import BRAVO, INDEXES, OWNERS, Scene
from tests.parties import NOW
from tests.patience import PATIENCE_SECONDS
from tests.records import STORE_KEY

OTHERS = OWNERS[1:]
LATER = NOW + timedelta(hours=2)


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


async def shown_without(scene: Scene, *missing: NodeId) -> Draft:
    """A lookup that everybody but `missing` answered before it was shown, two hours ago by now."""
    draft = scene.ask(1)
    await scene.gatherer.process_together(
        [scene.arrive(draft, node) for node in OWNERS if node not in missing]
    )
    await scene.show(draft)
    scene.clock.time = LATER
    return draft


def revisions(scene: Scene, draft: Draft) -> list[Revision]:
    return scene.store.run_sync(lambda db: amendments.revisions(db, draft.lookup.lookup_id))


def account(scene: Scene, draft: Draft, user: str) -> Account:
    def work(db: object) -> Account:
        row = lookup_store.search(db, draft.lookup.lookup_id)  # type: ignore[arg-type]  # what run_sync gives
        assert row is not None
        return amendments.account(db, row, user)  # type: ignore[arg-type]  # likewise

    return scene.store.run_sync(work)


def look(scene: Scene, draft: Draft, user: str, revision: int) -> None:
    search_id = draft.lookup.lookup_id
    scene.store.run_sync(lambda db: amendments.look(db, search_id, user, revision, scene.clock.now()))


def events(scene: Scene, area: str = "lookup") -> list[str]:
    return [entry.event for entry in scene.store.run_sync(lambda db: ledger.entries(db, event=area))]


def line_of(view: SearchView, node: NodeId) -> TargetReport:
    assert view.result is not None
    return next(report for report in view.result.coverage.reports if report.node == node)


# --- amending ------------------------------------------------------------------------------------------


def test_a_late_answer_amends_the_result_and_says_what_changed(scene: Scene) -> None:
    async def work() -> None:
        draft = await shown_without(scene, OTHERS[0])
        late = scene.arrive(draft, OTHERS[0], answered_at=LATER - timedelta(minutes=1))
        await scene.gatherer.process(late)
        view = await scene.view(draft)
        assert view.result is not None
        assert (view.row.revision, view.row.amended_at) == (1, LATER)
        assert view.result.coverage.sentence().startswith("4 of 4 nodes answered, 1 of them late (charlie)")
        line = line_of(view, OTHERS[0])
        assert (line.late, line.as_of, line.answered_at) == (True, LATER, LATER - timedelta(minutes=1))
        assert line_of(view, BRAVO).late is False
        (revision,) = revisions(scene, draft)
        assert (revision.before, revision.after) == (Overall.MATCH, Overall.MATCH)
        assert revision.words() == ("charlie: pending -> answered",)
        assert not revision.alarm

    play(work)


def test_incomplete_becomes_no_record_only_with_the_last_late_answer(scene: Scene) -> None:
    async def work() -> None:
        del scene.held.indexes[BRAVO]
        scene.held.indexes[BRAVO] = replace(INDEXES[OTHERS[0]], head=INDEXES[BRAVO].head)
        draft = await shown_without(scene, *OTHERS)
        for node in OTHERS:
            view = await scene.view(draft)
            assert view.result is not None
            assert view.result.overall is Overall.INCOMPLETE
            await scene.gatherer.process(scene.arrive(draft, node))
        view = await scene.view(draft)
        assert view.result is not None
        assert view.result.overall is Overall.NO_RECORD
        assert [one.words()[0] for one in revisions(scene, draft)][-1] == "INCOMPLETE -> NO_RECORD"
        assert amendments.summary(revisions(scene, draft))[0] == "INCOMPLETE -> NO_RECORD"

    play(work)


def test_answers_in_time_and_repeated_ones_are_no_amendment(scene: Scene) -> None:
    async def work() -> None:
        draft = await shown_without(scene)
        await scene.gatherer.process(scene.arrive(draft, BRAVO))
        await scene.show(draft)
        assert revisions(scene, draft) == []
        assert events(scene) == ["lookup.shown"]

    play(work)


def test_a_late_refusal_amends_as_well_and_counts_as_no_answer(scene: Scene) -> None:
    async def work() -> None:
        draft = await shown_without(scene, OTHERS[0])
        refusal = scene.arrive(draft, OTHERS[0], status=AnswerStatus.REFUSED_PURPOSE)
        await scene.gatherer.process(refusal)
        view = await scene.view(draft)
        assert view.result is not None
        line = line_of(view, OTHERS[0])
        assert (line.state, line.late, line.answered) == (TargetState.REFUSED, True, False)
        assert view.result.coverage.answered == 3
        assert view.result.coverage.late == 0
        (revision,) = revisions(scene, draft)
        assert revision.words() == ("charlie: pending -> refused (purpose not answered there)",)
        assert "late" in coverage_words.line(line)

    play(work)


def test_a_target_that_never_answered_expires_with_words_and_does_not_count(scene: Scene) -> None:
    async def work() -> None:
        draft = await shown_without(scene, OTHERS[0])
        scene.clock.time = NOW + timedelta(hours=25)
        await scene.gatherer.expire()
        view = await scene.view(draft)
        assert view.result is not None
        line = line_of(view, OTHERS[0])
        assert (line.state, line.answered, line.answered_at) == (TargetState.EXPIRED, False, None)
        assert "will not any more" in coverage_words.line(line)
        assert not view.result.coverage.complete
        (revision,) = revisions(scene, draft)
        assert revision.closed
        assert revision.words() == ("charlie: pending -> expired",)
        # Whatever comes now changes nothing of it.
        await scene.gatherer.process(scene.arrive(draft, OTHERS[0]))
        assert line_of(await scene.view(draft), OTHERS[0]).state is TargetState.EXPIRED
        assert len(revisions(scene, draft)) == 1

    play(work)


def test_a_spoilt_late_answer_that_expires_is_not_called_late(scene: Scene) -> None:
    async def work() -> None:
        draft = await shown_without(scene, OTHERS[0])
        await scene.gatherer.process(scene.arrive(draft, OTHERS[0], spoilt=True))
        assert line_of(await scene.view(draft), OTHERS[0]).state is TargetState.INVALID
        scene.clock.time = NOW + timedelta(hours=25)
        await scene.gatherer.expire()
        line = line_of(await scene.view(draft), OTHERS[0])
        assert (line.state, line.late) == (TargetState.EXPIRED, False)
        assert "its signature does not verify" in coverage_words.line(line)

    play(work)


def test_a_member_that_was_suspended_meanwhile_is_still_pending_and_says_why(scene: Scene) -> None:
    async def work() -> None:
        draft = scene.ask(1)
        await scene.gatherer.process_together([scene.arrive(draft, node) for node in OWNERS[:3]])
        suspended = Outlook(gone={OWNERS[3]: "suspended since it was asked"})
        scene.cases._outlook = lambda asked: suspended
        line = line_of(await scene.show(draft), OWNERS[3])
        assert (line.state, line.answered) == (TargetState.PENDING, False)
        assert coverage_words.line(line) == "has not answered yet: suspended since it was asked"

    play(work)


# --- the order of answers ------------------------------------------------------------------------------


def signature(view: SearchView) -> object:
    """What a result says, but for when and what was late."""
    assert view.result is not None
    reports = [
        (report.node, report.state, report.reason, report.index_issued_at, report.index_sequence)
        for report in view.result.coverage.reports
    ]
    hits = [(hit.owner, hit.blob_id, hit.explanation) for hit in view.result.hits]
    return view.result.overall, reports, hits


ANSWERS = ("answered", "refused", "quota", "spoilt", "none")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(ANSWERS), min_size=4, max_size=4),
    st.permutations(range(4)),
    st.integers(0, 4),
)
def test_the_amended_result_is_that_of_all_answers_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, kinds: Sequence[str], order: Sequence[int], shown_after: int
) -> None:
    """However many came before the first showing, and in whatever order; and late counts as in time."""
    folder = tmp_path_factory.mktemp("order")
    with empty_store(folder / "node.db", STORE_KEY) as store:
        scene = Scene(store)

        async def work() -> None:
            first, second = scene.ask(1), scene.ask(2)
            await take(first, list(range(4)))
            in_time = await scene.show(first)
            places = list(order)
            await take(second, places[:shown_after])
            await scene.show(second)
            for place in places[shown_after:]:
                await take(second, [place])
            amended = await scene.view(second)
            assert signature(amended) == signature(in_time)
            late = {OWNERS[place] for place in places[shown_after:] if kinds[place] not in ("none",)}
            assert amended.result is not None
            marked = {report.node for report in amended.result.coverage.reports if report.late}
            assert marked == late
            numbers = [one.number for one in revisions(scene, second)]
            assert numbers == list(range(1, len(numbers) + 1))
            assert amended.row.revision == len(numbers)

        async def take(draft: Draft, places: list[int]) -> None:
            statuses = {"refused": AnswerStatus.REFUSED, "quota": AnswerStatus.QUOTA}
            for place in places:
                kind = kinds[place]
                if kind == "none":
                    continue
                changes = {"status": statuses[kind]} if kind in statuses else {}
                row = scene.arrive(draft, OWNERS[place], spoilt=kind == "spoilt", **changes)
                await scene.gatherer.process(row)

        play(work)
        scene.workers.close()


def test_an_answer_that_waits_for_a_fresh_index_counts_once_there_is_one(scene: Scene) -> None:
    """Whether the head or the answer came first: the node was away for days, and its answer is quicker."""

    async def work() -> None:
        draft = scene.ask(1)
        old = replace(INDEXES[BRAVO].head, issued_at=NOW - MAX_HEAD_AGE - timedelta(minutes=1))
        scene.held.indexes[BRAVO] = replace(INDEXES[BRAVO], head=old)
        await scene.gatherer.process_together([scene.arrive(draft, node) for node in OWNERS])
        view = await scene.show(draft)
        line = line_of(view, BRAVO)
        assert (line.state, line.answered) == (TargetState.STALE_INDEX, False)
        assert line.stale_since == NOW - timedelta(minutes=1)
        assert "stale since 2026-03-02 14:29Z" in coverage_words.line(line)
        assert scene.hits(draft) == []
        await scene.gatherer.look_again()
        assert line_of(await scene.view(draft), BRAVO).state is TargetState.STALE_INDEX

        scene.clock.time = LATER
        scene.held.indexes[BRAVO] = replace(
            INDEXES[BRAVO], head=replace(old, issued_at=LATER, sequence=old.sequence + 1)
        )
        scene.held.open = False  # nothing is judged while the log is closed (§15.6)
        await scene.gatherer.look_again()
        assert line_of(await scene.view(draft), BRAVO).state is TargetState.STALE_INDEX
        scene.held.open = True
        await scene.gatherer.look_again()
        after = await scene.view(draft)
        assert after.result is not None
        assert after.result.overall is Overall.MATCH
        line = line_of(after, BRAVO)
        assert (line.state, line.late, line.index_sequence) == (TargetState.ANSWERED, True, old.sequence + 1)
        (revision,) = revisions(scene, draft)
        assert revision.words() == (
            "INCOMPLETE -> MATCH",
            "1 new candidate",
            "bravo: stale index -> answered",
        )
        await scene.gatherer.look_again()
        assert len(revisions(scene, draft)) == 1

    play(work)


def test_a_waiting_answer_is_not_made_worse_by_looking_again(scene: Scene) -> None:
    """A fresh index that does not fit, or no directory to check by, leaves things as they are."""

    async def work() -> None:
        draft = scene.ask(1)
        kept = scene.held.indexes.pop(BRAVO)
        await scene.gatherer.process_together([scene.arrive(draft, node) for node in OWNERS])
        before = line_of(await scene.show(draft), BRAVO)
        assert before.state is TargetState.NO_INDEX
        await scene.gatherer.look_again()
        scene.held.indexes[BRAVO], directory = kept, scene.held.directory
        scene.held.directory = None  # type: ignore[assignment]  # as before the first one is held
        await scene.gatherer.look_again()
        assert line_of(await scene.view(draft), BRAVO) == before
        assert revisions(scene, draft) == []
        scene.held.directory = directory
        await scene.gatherer.look_again()
        assert line_of(await scene.view(draft), BRAVO).state is TargetState.ANSWERED

    play(work)


def test_an_answer_that_waits_for_an_index_of_an_epoch_gone_by_is_asked_again(scene: Scene) -> None:
    async def work() -> None:
        draft = scene.ask(1)
        kept = scene.held.indexes.pop(BRAVO)
        await scene.gatherer.process_together([scene.arrive(draft, node) for node in OWNERS])
        assert line_of(await scene.show(draft), BRAVO).state is TargetState.NO_INDEX
        scene.held.indexes[BRAVO] = replace(kept, head=replace(kept.head, epoch=2))
        await scene.gatherer.look_again()
        assert line_of(await scene.view(draft), BRAVO).state is TargetState.STALE_EPOCH
        assert scene.stale == [draft.lookup.lookup_id]

    play(work)


# --- the alarm -----------------------------------------------------------------------------------------


def test_a_late_match_is_an_alarm_until_a_person_who_looked_says_so(scene: Scene) -> None:
    async def work() -> None:
        draft = await shown_without(scene, BRAVO)
        await scene.gatherer.process(scene.arrive(draft, BRAVO))
        (revision,) = revisions(scene, draft)
        assert revision.words()[:2] == ("INCOMPLETE -> MATCH", "1 new candidate")
        assert revision.alarm
        assert events(scene) == ["lookup.shown", "lookup.amended", "lookup.late_match"]
        search_id = draft.lookup.lookup_id
        assert scene.store.run_sync(amendments.waiting) == {search_id}

        def acknowledge(user: str) -> int:
            return scene.store.run_sync(lambda db: amendments.acknowledge(db, search_id, user, LATER))

        with pytest.raises(InputInvalid, match="not looked"):
            acknowledge("dana")
        # Who has seen only the result before it has not seen the candidate.
        look(scene, draft, "dana", 0)
        assert acknowledge("dana") == 0
        assert account(scene, draft, "dana").news == LATE_MATCH
        look(scene, draft, "dana", 1)
        assert account(scene, draft, "dana").news == LATE_MATCH
        assert acknowledge("dana") == 1
        (revision,) = revisions(scene, draft)
        assert (revision.seen_by, revision.seen_at, revision.alarm) == ("dana", LATER, False)
        assert scene.store.run_sync(amendments.waiting) == set()
        assert acknowledge("dana") == 0
        (entry,) = scene.store.run_sync(lambda db: ledger.entries(db, event="lookup.seen"))
        assert entry.details == {"revisions": 1, "by": "dana"}
        # Nothing leaves: neither the alarm nor the acknowledgement is anybody else's to know.
        assert scene.store.run_sync(lambda db: db.execute("SELECT count(*) FROM outbox").fetchone()[0]) == 0

    play(work)


def test_what_was_amended_since_is_told_to_who_looked_and_to_the_officer_in_charge(scene: Scene) -> None:
    async def work() -> None:
        draft = await shown_without(scene, OTHERS[0])
        look(scene, draft, "dana", 0)
        assert account(scene, draft, "dana").news == ""
        # The officer in charge of the lookup is told even before a first look; nobody else is.
        assert account(scene, draft, "roe").news == NOT_LOOKED
        assert account(scene, draft, "kim").news == ""
        await scene.gatherer.process(scene.arrive(draft, OTHERS[0]))
        told = account(scene, draft, "dana")
        assert told.news == AMENDED
        assert amendments.summary(told.since) == ("charlie: pending -> answered",)
        assert account(scene, draft, "kim").news == ""
        search_id = draft.lookup.lookup_id
        for user, expected in (("dana", [search_id]), ("ROE", [search_id]), ("kim", [])):
            found = scene.store.run_sync(lambda db, user=user: amendments.news(db, user, 10))  # type: ignore[misc]
            assert found == expected
        look(scene, draft, "dana", 1)
        assert account(scene, draft, "dana").news == ""
        assert scene.store.run_sync(lambda db: amendments.news(db, "dana", 10)) == []

    play(work)


def test_forgotten_results_take_their_amendments_with_them_and_count_what_nobody_saw(scene: Scene) -> None:
    async def work() -> None:
        draft = await shown_without(scene, BRAVO)
        await scene.gatherer.process(scene.arrive(draft, BRAVO))
        scene.clock.time = NOW + timedelta(days=46)
        await scene.gatherer.expire()
        now = scene.clock.now()
        assert scene.store.run_sync(lambda db: forgetting.forget_results(db, now, 45)) == 1
        assert revisions(scene, draft) == []
        (entry,) = scene.store.run_sync(lambda db: ledger.entries(db, event="lookup.forgotten"))
        assert entry.details == {"lookups": 1, "hits": 1, "never_acknowledged": 1}
        assert scene.store.run_sync(amendments.waiting) == set()

    play(work)


# --- words ---------------------------------------------------------------------------------------------


def test_many_changes_are_counted_and_no_sentence_grows_with_the_federation() -> None:
    changes = tuple(
        amendments.Change(NodeId(f"node-{number:04}"), TargetState.PENDING, TargetState.ANSWERED)
        for number in range(1_000)
    )
    words = Revision(
        1, NOW, Overall.INCOMPLETE, Overall.NO_RECORD, changes, answered=1_000, asked=1_000
    ).words()
    assert words[0] == "INCOMPLETE -> NO_RECORD"
    assert words[-1] == "and 995 more nodes"
    assert len(words) == 7


def test_several_amendments_are_told_as_one_from_where_somebody_stood() -> None:
    node = NodeId("bravo")
    moved = amendments.Change(node, TargetState.PENDING, TargetState.STALE_EPOCH, "moved")
    came = amendments.Change(node, TargetState.STALE_EPOCH, TargetState.ANSWERED)
    first = Revision(1, NOW, Overall.INCOMPLETE, Overall.INCOMPLETE, (moved,), 1, 2)
    second = Revision(2, NOW, Overall.INCOMPLETE, Overall.MATCH, (came,), 2, 2, candidates=2)
    assert amendments.summary((first, second)) == (
        "INCOMPLETE -> MATCH",
        "2 new candidates",
        "bravo: pending -> answered",
    )
    assert amendments.summary(()) == ()


def test_what_changed_names_no_person(scene: Scene) -> None:
    async def work() -> None:
        draft = await shown_without(scene, BRAVO)
        await scene.gatherer.process(scene.arrive(draft, BRAVO))
        rows = scene.store.run_sync(lambda db: db.execute("SELECT * FROM result_changes").fetchall())
        entries = scene.store.run_sync(lambda db: ledger.entries(db, event="lookup"))
        text = json.dumps([[str(cell) for cell in row] for row in rows]) + repr(entries)
        for name in ("Schmidt", "Mike", "4071", "1980-11-02"):
            assert name not in text

    play(work)


# --- what an earlier build left ------------------------------------------------------------------------


def test_results_of_an_earlier_build_are_read_and_amended(tmp_path: Path) -> None:
    """What was not known of them is not said, and nothing of it is an amendment."""
    before, key, path = Migrations("exchange"), STORE_KEY, tmp_path / "node.db"
    for step in (initial, batches):
        before()(step)
    search, flight = bytes(16), bytes([1] * 16)
    stored = {
        "as_of": to_milliseconds(NOW),
        "directory_version": 7,
        "reports": [["bravo", "answered", to_milliseconds(NOW), ""], ["charlie", "pending", None, ""]],
    }
    results = ["INCOMPLETE", "", "0", "", "", "1 of 2 nodes answered", ""]

    def fill(db: Database) -> None:
        db.execute(
            "INSERT INTO searches (search_id, purpose, shape, case_number, consent, officer, created_at,"
            " expires_at, plans, incomplete, directory_version, missing, shown_at, result)"
            " VALUES (?, 1, 2, 'REQ-1', 'C-1', 'Roe', 0, 0, 1, 0, 7, '[]', 1, ?)",
            [search, json.dumps(stored)],
        )
        db.execute(
            "INSERT INTO batches (batch_id, digest, generation, state, purpose, shape, columns, wait_seconds,"
            " created_at) VALUES (?, ?, 1, 'done', 1, 2, '[]', 1, 0)",
            [flight, flight],
        )
        db.execute(
            "INSERT INTO batch_rows VALUES (?, 2, 'done', '[]', '{}', 'REQ-1', 'C-1', 'Roe', ?, ?)",
            [flight, search, json.dumps(results)],
        )

    with Store.create(path, key, (*ALL_MIGRATIONS, before)) as store:
        store.run_sync(fill)
    with Store.open(path, key, MIGRATIONS) as store:
        view = store.run_sync(lambda db: cases.load_view(db, LookupId(search)))
        result = view.result
        assert result is not None
        assert (view.row.revision, view.row.amended_at) == (0, None)
        line = line_of(view, BRAVO)
        assert (line.answered, line.answered_at, line.as_of, line.late) == (True, None, None, False)
        assert coverage_words.line(line) == "answered; index of 2026-03-02 14:30Z"
        unasked = ("",) * len(RESULTS)
        (row,) = store.run_sync(lambda db: batch_results.result_rows(db, flight, 0, 10, unasked))
        found = dict(zip(RESULTS, row.results, strict=True))
        assert (found["outcome"], found["coverage"]) == ("INCOMPLETE", "1 of 2 nodes answered")
        assert (found["as_of"], found["error"], row.revision) == ("", "", 0)
        answered, pending = result.coverage.reports
        refused = replace(pending, state=TargetState.REFUSED, late=True)
        after = replace(result, coverage=replace(result.coverage, reports=(answered, refused)))
        assert store.run_sync(lambda db: amendments.amend(db, result, result, LATER, closed=False)) is None
        revision = store.run_sync(lambda db: amendments.amend(db, result, after, LATER, closed=False))
        assert revision is not None
        assert revision.words() == ("charlie: pending -> refused",)
