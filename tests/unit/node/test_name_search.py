"""The index of names beside its store: it follows every act, keeps nothing, and accounts for searches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from candor_node import filings, ledger, lifecycle, name_search
from candor_node.name_search import NameSearch
from candor_node.store import Store
from candor_records.record_fields import amended
from tests.desk import desk_store, doing, filed
from tests.pages import found_in, pages
from tests.patience import PATIENCE_SECONDS
from tests.records import NOW, STORE_KEY


class _Clock:
    def now(self) -> datetime:
        return NOW


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as made:
        yield made


def _with(store: Store, scene: Callable[[NameSearch], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            search = NameSearch(store, _Clock())
            await search.build()
            await scene(search)

    asyncio.run(bounded())


async def _found(search: NameSearch, words: str) -> list[str]:
    hits = await search.find(words, "clerk-7")
    assert hits.complete
    assert hits.total == len(hits.hits)
    return [str(hit.record.dcn) for hit in hits.hits]


def test_a_search_finds_what_was_there_and_what_was_filed_since(store: Store) -> None:
    record = filed(store)

    async def scene(search: NameSearch) -> None:
        assert await _found(search, "Placeholdersen") == [str(record.dcn)]
        later = filed(store, agency_record_id="IA-2", last="Dunmarsh")
        assert await _found(search, "dunmarsh, q") == [str(later.dcn)]

    _with(store, scene)


def test_a_search_finds_the_current_version_under_its_new_name_only(store: Store) -> None:
    record = filed(store)

    async def scene(search: NameSearch) -> None:
        content = amended(record.content, {"last": "Fernhollow"})
        event = store.run_sync(lambda db: lifecycle.correct(db, record.dcn, content, doing()))
        assert event is not None
        assert await _found(search, "Placeholderson") == []
        assert await _found(search, "Fernhollow") == [str(event.after.dcn)]

    _with(store, scene)


def test_an_expunged_record_is_found_no_more_and_no_word_of_it_is_left_in_memory(store: Store) -> None:
    record = filed(store)

    async def scene(search: NameSearch) -> None:
        assert await _found(search, "Placeholderson") == [str(record.dcn)]
        store.run_sync(lambda db: lifecycle.expunge(db, record.dcn, doing(second="chief-2")))
        await search.follow()
        assert not any(search._index._surnames._words)
        assert await _found(search, "Placeholderson") == []

    _with(store, scene)


def test_an_act_that_was_undone_is_not_found(store: Store) -> None:
    def fails(db: Any) -> None:
        lifecycle.void(db, record.dcn, doing(second="chief-2"))
        raise RuntimeError("undone")

    record = filed(store)

    async def scene(search: NameSearch) -> None:
        with pytest.raises(RuntimeError):
            store.run_sync(fails)
        hits = await search.find("Placeholderson", "clerk-7")
        assert hits.hits[0].record == store.run_sync(lambda db: filings.find(db, record.dcn))

    _with(store, scene)


def test_a_search_is_in_the_ledger_with_who_and_how_many_and_never_with_its_words(store: Store) -> None:
    filed(store)

    async def scene(search: NameSearch) -> None:
        await search.find("Placeholderson, Zachary", "clerk-7")
        (entry,) = store.run_sync(lambda db: ledger.entries(db, event="record.searched"))
        assert dict(entry.refs) == {"user": "clerk-7"}
        assert dict(entry.details) == {"found": 1, "shown": 1}

    _with(store, scene)


def test_neither_names_nor_words_of_a_search_come_to_lie_in_the_database(store: Store) -> None:
    filed(store)

    async def scene(search: NameSearch) -> None:
        await search.find("Placeholderson Zz-Needle", "clerk-7")

    _with(store, scene)
    for part in pages(store.path, STORE_KEY):
        for word in (b"Placeholderson", b"placeholderson", b"Needle", b"needle"):
            assert found_in([part], [word]) == []


def test_a_search_before_the_index_is_whole_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    filed(store)
    monkeypatch.setattr(name_search, "WAIT_SECONDS", 0.01)

    async def scene() -> None:
        hits = await NameSearch(store, _Clock()).find("Placeholderson", "clerk-7")
        assert (hits.complete, hits.searched, hits.hits) == (False, 0, ())

    asyncio.run(scene())


def test_an_index_that_is_built_again_forgets_what_went_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_search, "BATCH", 1)
    records = [filed(store, agency_record_id=f"IA-{number}") for number in range(3)]

    async def scene() -> None:
        search = NameSearch(store, _Clock())
        add, calls = search._add, 0

        def fails_once(rows: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise RuntimeError("in the middle")
            add(rows)

        monkeypatch.setattr(search, "_add", fails_once)
        with pytest.raises(RuntimeError):
            await search.build()
        for record in records:
            store.run_sync(lambda db: lifecycle.expunge(db, record.dcn, doing(second="chief-2")))  # noqa: B023
        await search.build()
        assert await _found(search, "Placeholderson") == []
        assert len(search._index) == 0

    asyncio.run(scene())
