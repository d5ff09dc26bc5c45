"""A batch through a whole federation: a file in, a file out, nothing asked twice."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import batch_file, batch_results, flight_store
from candor_node.app import Node
from candor_node.batch_store import DONE, BatchRecord
from candor_node.batches import Order
from candor_node.mail_store import InboxRow
from candor_proto.ids import LookupShape, Purpose
from tests.federation import OFFICER, Federation, eventually, federation, instead, question
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row

ORDER = Order(Purpose.J_APPLICANT, LookupShape.DETAILED, "REQ-2026-17", "CONSENT-88", "Inv. Dana Roe", 10.0)


def play(folder: Path, scene: Callable[[Federation], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), federation(folder, **options) as fed:
            await scene(fed)

    asyncio.run(run())


_SOUNDS = ("ba", "ce", "do", "fi", "gu", "ka", "le", "mo", "ni", "ru")


def person(number: int, **changes: str) -> dict[str, str]:
    """A synthetic applicant; each number is another person, whose names neither begin nor end alike."""
    first, last = (
        "".join(one[int(digit)] for digit in f"{number:03}"[::-1]) for one in (_SOUNDS, _SOUNDS[::-1])
    )
    return {
        "id": f"A-{number}",
        "first": first.capitalize(),
        "last": last.capitalize(),
        "birth_date": f"19{60 + number % 40}-0{1 + number % 9}-1{number % 10}",
        "ssn4": f"{1000 + 113 * number % 9000}",
        **changes,
    }


def file_of(rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


async def finished(node: Node, batch_id: bytes, seconds: float = PATIENCE_SECONDS) -> BatchRecord:
    record, _ = await eventually(
        lambda: node.batches.progress(batch_id), lambda found: found[0].state == DONE, seconds
    )
    return record


async def written(node: Node, batch_id: bytes) -> list[dict[str, str]]:
    """The rows of the result file, as a spreadsheet would read them."""
    record, _ = await node.batches.progress(batch_id)
    unasked = ("?",) * len(batch_file.RESULTS)
    rows = await node.store.run(lambda db: batch_results.result_rows(db, batch_id, 0, 100_000, unasked))
    text = "".join(batch_file.lines(record.columns, rows))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def timeless(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Without what says when: another run of the same file is the same but for that."""
    return [{name: cell for name, cell in row.items() if name not in batch_file.WHEN} for row in rows]


def test_each_row_has_its_outcome_and_a_wrong_row_keeps_no_other_from_being_asked(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        await fed.file(bravo, [make_row()])
        await fed.file(charlie, [make_row()])
        known = {"id": "K", **{key: OFFICER[key] for key in ("first", "last", "birth_date", "ssn4")}}
        rows = [
            person(1),
            known,
            person(2, birth_date="07/23/84"),
            person(3, first="", birth_date="", ssn4=""),
        ]
        record = await alpha.batches.start(ORDER, file_of(rows))
        await finished(alpha, record.batch_id)
        first, second, third, fourth = await written(alpha, record.batch_id)
        assert (first["row"], first["id"], first["outcome"]) == ("2", "A-1", "NO_RECORD")
        assert first["coverage"].startswith("3 of 3 nodes answered; oldest index ")
        assert second["outcome"] == "MATCH"
        assert second["owners"] == "bravo; charlie"
        assert second["candidates"] == "2"
        assert 0.5 < float(second["probability"]) <= 1
        assert "surname" in second["explanation"]
        assert third["outcome"] == "ERROR"
        assert third["error"].startswith("birth_date: ")
        assert fourth["outcome"] == "ERROR"
        assert "Too little is known" in fourth["error"]
        assert "ssn4" not in first

    play(tmp_path, scene)


def test_a_batch_matches_exactly_what_single_lookups_match(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        filed = [make_row(**_filed(number)) for number in range(0, 12, 2)]
        await fed.file(bravo, filed[:3])
        await fed.file(charlie, filed[3:])
        people = [person(number) for number in range(12)]
        record = await alpha.batches.start(ORDER, file_of(people))
        await finished(alpha, record.batch_id)
        found = await written(alpha, record.batch_id)
        for number, row in enumerate(found):
            identity = {key: people[number][key] for key in ("first", "last", "birth_date", "ssn4")}
            asked = question(person={**identity, "middle": "", "sex": ""})
            view = await alpha.searcher.ask(asked, 10.0)
            assert view.result is not None
            assert row["outcome"] == view.result.overall.value
            assert row["owners"] == "; ".join(str(hit.owner) for hit in view.result.hits if not hit.set_aside)
        assert [row["outcome"] for row in found] == ["MATCH", "NO_RECORD"] * 6

    play(tmp_path, scene)


def test_single_lookups_and_rows_of_a_batch_weigh_by_the_same_number_of_records(tmp_path: Path) -> None:
    """docs/matching.md §6: twice as many cost one bit; what is shown already stays."""

    async def weights(node: Node) -> list[int]:
        rows = await node.store.run(lambda db: db.execute("SELECT explanation FROM hits").fetchall())
        return sorted(json.loads(row[0])["centibits"] for row in rows)

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row(**_filed(1))])
        one = person(1)
        identity = {key: one[key] for key in ("first", "last", "birth_date", "ssn4")}

        async def look() -> None:
            record = await alpha.batches.start(ORDER, file_of([one]))
            await finished(alpha, record.batch_id)
            await alpha.searcher.ask(question(person={**identity, "middle": "", "sex": ""}), 10.0)

        await look()
        first, second = await weights(alpha)
        assert first == second
        alpha.indexes._federation_records = 14_000
        await look()
        assert await weights(alpha) == [first - 100] * 2 + [first] * 2

    play(tmp_path, scene, agencies=2, federation_records=7_000)


def _filed(number: int) -> dict[str, str]:
    one = person(number)
    return {
        "agency_record_id": f"R-{number}",
        "first": one["first"],
        "middle": "",
        "last": one["last"],
        "former_last": "",
        "suffix": "",
        "birth_date": one["birth_date"],
        "ssn4": one["ssn4"],
        "post_state": "",
        "post_id": "",
    }


async def sent(node: Node) -> tuple[int, int]:
    """Lookups that left this node and the persons they were about."""
    return await node.store.run(
        lambda db: db.execute("SELECT count(*), coalesce(sum(persons), 0) FROM flights").fetchone()
    )


def test_the_same_file_with_the_same_papers_asks_nothing_twice(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        (alpha, *_) = fed.nodes
        content = file_of([person(number) for number in range(5)])
        record = await alpha.batches.start(ORDER, content)
        await finished(alpha, record.batch_id)
        before = await sent(alpha)
        known = await alpha.batches.known(ORDER, content)
        assert known is not None
        assert known.batch_id == record.batch_id
        assert await sent(alpha) == before == (2, 5)
        again = await alpha.batches.start(ORDER, content)
        await finished(alpha, again.batch_id)
        assert again.batch_id != record.batch_id
        assert timeless(await written(alpha, again.batch_id)) == timeless(
            await written(alpha, record.batch_id)
        )

    play(tmp_path, scene, agencies=2)


def test_a_batch_that_was_interrupted_goes_on_and_ends_with_the_same_file(tmp_path: Path) -> None:
    """Stopped again and again at whatever it was doing: each row is asked once, and the file is the same."""

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row(**_filed(number)) for number in range(0, 70, 7)])
        content = file_of([person(number) for number in range(70)])
        order = Order(**{**vars(ORDER), "shape": LookupShape.SCREENING})
        whole = await alpha.batches.start(order, content)
        await finished(alpha, whole.batch_id)
        expected = timeless(await written(alpha, whole.batch_id))
        assert sum(row["outcome"] == "MATCH" for row in expected) == 10

        record = await alpha.batches.start(order, content)
        node, stops = alpha, 0
        while stops < 4:
            await asyncio.sleep(0.05 * (stops + 1))
            await fed.stop(node)
            node = Node(alpha.config, fed.hub.clock)
            await node.start()
            stops += 1
        try:
            await finished(node, record.batch_id)
            assert timeless(await written(node, record.batch_id)) == expected
            rows = await node.store.run(
                lambda db: db.execute(
                    "SELECT row, count(*) FROM flight_persons JOIN flights USING (lookup_id)"
                    " WHERE batch_id = ? AND row IS NOT NULL AND first IS NULL AND plan_number = 0"
                    " AND state <> 'denied' GROUP BY row",
                    (record.batch_id,),
                ).fetchall()
            )
            assert [count for _, count in rows] == [1] * 70
        finally:
            await node.stop()

    play(tmp_path, scene, agencies=2)


def test_a_node_that_is_away_leaves_rows_incomplete_and_amends_them_when_it_is_back(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row(**_filed(0))])
        await fed.stop(bravo)
        order = Order(**{**vars(ORDER), "wait_seconds": fed.a_while_seconds})
        record = await alpha.batches.start(order, file_of([person(0), person(1)]))
        await finished(alpha, record.batch_id)
        rows = await eventually(
            lambda: written(alpha, record.batch_id),
            lambda rows: all("1 pending (bravo)" in row["coverage"] for row in rows),
        )
        assert [row["outcome"] for row in rows] == ["INCOMPLETE"] * 2
        back = Node(bravo.config, fed.hub.clock)
        await back.start()
        try:
            rows = await eventually(
                lambda: written(alpha, record.batch_id),
                lambda rows: [row["outcome"] for row in rows] == ["MATCH", "NO_RECORD"],
                30,
            )
        finally:
            await back.stop()

    play(tmp_path, scene, agencies=2)


def test_a_row_whose_answer_waited_for_a_fresh_index_has_its_match_once_there_is_one(tmp_path: Path) -> None:
    """§7.8: nobody is asked for it a second time."""
    go = asyncio.Event()

    def hold(node: Node) -> None:
        if node.config.node == "bravo":
            process = node.answerer.process

            async def wait(row: InboxRow) -> None:
                await go.wait()
                await process(row)

            instead(node.answerer, "process", wait)

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        await fed.file(bravo, [make_row(**_filed(0))])
        order = Order(**{**vars(ORDER), "wait_seconds": fed.a_while_seconds})
        record = await alpha.batches.start(order, file_of([person(0)]))
        await finished(alpha, record.batch_id)
        node, indexes = bravo.config.node_id, alpha.indexes.indexes
        fresh = indexes[node]
        old = replace(fresh.head, issued_at=fresh.head.issued_at - timedelta(hours=37))
        indexes[node] = replace(fresh, head=old)
        go.set()
        (row,) = await eventually(
            lambda: written(alpha, record.batch_id), lambda rows: "stale index" in rows[0]["coverage"], 30
        )
        assert (row["outcome"], row["not_answered"]) == ("INCOMPLETE", "bravo (stale index)")
        before = await sent(alpha)
        await alpha.batches.landing.look_again()
        assert (await written(alpha, record.batch_id))[0]["outcome"] == "INCOMPLETE"
        indexes[node] = fresh
        await alpha.batches.landing.look_again()
        (row,) = await written(alpha, record.batch_id)
        assert (row["outcome"], row["owners"], row["late"]) == ("MATCH", "bravo", "bravo")
        assert await sent(alpha) == before

    play(tmp_path, scene, agencies=2, wrap=hold)


def test_what_is_left_of_quotas_is_asked_before_a_batch_and_shows_in_its_rows(tmp_path: Path) -> None:
    from candor_node.allowance import estimate

    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.nodes
        allowed = await alpha.allowances.ask(Purpose.J_APPLICANT)
        assert allowed.silent == ()
        # A question costs one element.
        assert allowed.nodes[bravo.config.node_id].total == 79
        found = estimate(3, LookupShape.DETAILED, allowed)
        assert not found.fits
        assert "needs 120 of the 40 elements left at 2 nodes (alpha, bravo)" in found.sentence()
        assert estimate(1, LookupShape.DETAILED, allowed).fits
        stated = await alpha.store.run(flight_store.allowances)
        assert stated[bravo.config.node_id].left.total == 79
        record = await alpha.batches.start(ORDER, file_of([person(number) for number in range(3)]))
        await finished(alpha, record.batch_id)
        rows = await written(alpha, record.batch_id)
        assert [row["outcome"] for row in rows] == ["INCOMPLETE"] * 3
        assert all("2 quota (alpha, bravo)" in row["coverage"] for row in rows)

    play(tmp_path, scene, agencies=2, quota_elements=800)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_stopped_batch_asks_about_no_further_row(tmp_path: Path, stopped: bool) -> None:
    async def scene(fed: Federation) -> None:
        (alpha, *_) = fed.nodes
        record = await alpha.batches.start(ORDER, file_of([person(number) for number in range(6)]))
        left_out = await alpha.batches.stop(record.batch_id) if stopped else 0
        await finished(alpha, record.batch_id)
        rows = await written(alpha, record.batch_id)
        errors = [row for row in rows if row["outcome"] == "ERROR"]
        assert len(errors) == left_out
        assert all("the batch was stopped" in row["error"] for row in errors)

    play(tmp_path, scene, agencies=1)
