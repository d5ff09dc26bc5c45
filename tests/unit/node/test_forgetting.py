"""A result is forgotten when its time is over; what was asked stays for audits (RECORDS.md §4.4)."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from candor_node import cases, forgetting, ledger, local_view, lookup_store, rechecking, request_store
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_node.result_page import lines
from candor_node.store import Database
from candor_proto.disclosure import RequesterState
from candor_proto.errors import Expired
from candor_proto.ids import RequestId
from tests.federation import Federation, eventually, federation
from tests.records import make_row

DAYS = 45
COVERED = ["2 of 2 nodes answered", "2", "2", "", "2026-03-02", "", "2026-03-02 12:00Z"]
ROW = json.dumps(["MATCH", "0.9990", "1", "bravo", "strong", *COVERED, ""])


def test_results_are_forgotten_and_what_was_asked_is_not(tmp_path: Path) -> None:
    async def whole() -> None:
        async with federation(tmp_path, 2) as fed:
            alpha, bravo = fed.nodes
            await fed.file(bravo, [make_row()])
            view = await fed.ask(alpha)
            await scene(fed, alpha, bravo, view)

    asyncio.run(whole())


async def scene(fed: Federation, alpha: Node, bravo: Node, view: SearchView) -> None:
    search_id, asked = view.row.search_id, view.row.created_at
    in_time, late = asked + timedelta(days=DAYS, seconds=-1), asked + timedelta(days=DAYS, seconds=1)

    async def forget(now: datetime) -> int:
        return await alpha.store.run(lambda db: forgetting.forget_results(db, now, DAYS))

    # Somebody still waits for answers, then for the record.
    assert await forget(late) == 0
    request_id = await alpha.requester.send(search_id, 1, "dana")
    await alpha.store.run(lambda db: lookup_store.close(db, search_id))
    await alpha.store.run(lambda db: as_row_of_a_batch(db, search_id.value))
    assert await forget(late) == 0
    await released(alpha, bravo, request_id)
    assert await forget(in_time) == 0
    assert await forget(late) == 1
    assert await forget(late) == 0

    def left(db: Database) -> None:
        rows = db.execute("SELECT labels, explanation, blob FROM hits").fetchall()
        assert rows == [("[]", forgetting._NOTHING, b"")]
        # The signed answers stay for receipts, for as long as openings do.
        assert db.execute("SELECT count(*) FROM lookup_targets WHERE answer_body NOT NULL").fetchone() == (2,)
        (results,) = db.execute("SELECT results FROM batch_rows").fetchone()
        assert json.loads(results) == ["MATCH", "", "", "", "", *COVERED, forgetting.WORDS]
        # What was asked can still be opened, and the record that was released is a copy of its own.
        (ask,) = lookup_store.asks(db, search_id)
        assert ask.opening.particulars.last == "Placeholderson"
        sent = request_store.sent(db, request_id)
        assert sent is not None
        assert sent.record is not None
        entry = ledger.entries(db, event="lookup.forgotten")[-1]
        assert entry.details == {"lookups": 1, "hits": 1, "never_acknowledged": 0}
        assert ledger.entries(db, event="lookup.shown")

    await alpha.store.run(left)
    now = await alpha.store.run(lambda db: cases.load_view(db, search_id))
    assert (now.result, now.hits, now.row.forgotten_at) == (None, (), late)
    shown = "\n".join(lines(local_view.lookup(now, str)))
    assert shown.startswith("FORGOTTEN")
    assert view.row.case in shown
    with pytest.raises(Expired, match="forgotten"):
        await alpha.requester.send(search_id, 1, "dana")
    with pytest.raises(Expired, match="forgotten"):
        await alpha.store.run(lambda db: rechecking.recheck_lookup(db, search_id, {}, late, "dana"))


async def released(alpha: Node, bravo: Node, request_id: RequestId) -> None:
    await eventually(
        lambda: bravo.store.run(lambda db: request_store.received(db, request_id)),
        lambda known: known is not None,
    )
    await bravo.owner.approve(request_id, "chief")
    await eventually(
        lambda: alpha.store.run(lambda db: request_store.sent(db, request_id)),
        lambda known: known is not None and known.state is RequesterState.OPENED,
    )


def as_row_of_a_batch(db: Database, search_id: bytes) -> None:
    db.execute(
        "INSERT INTO batches (batch_id, digest, generation, state, purpose, shape, columns, wait_seconds,"
        " created_at) VALUES (zeroblob(16), zeroblob(32), 1, 'done', 1, 1, '[]', 1, 0)"
    )
    db.execute(
        "INSERT INTO batch_rows VALUES (zeroblob(16), 1, 'done', '[]', '{}', 'REQ-1', 'C-1', 'Roe', ?, ?)",
        [search_id, ROW],
    )
