"""Rows of a batch travel in flights: their receipts, openings, failures and the end of their two years."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node.accountability import auditing, openings, own_lookups, receipts
from candor_node.app import Node
from candor_node.lookup_store import search
from candor_proto.accountability.evidence import Kind
from candor_proto.accountability.opening_file import parse_auditor_key, parse_opening
from candor_proto.accountability.receipt import parse_receipt
from candor_proto.errors import Expired
from candor_proto.ids import LookupId, LookupShape
from tests.federation import OFFICER, Federation, eventually
from tests.integration.test_batch import ORDER, file_of, finished, person
from tests.records import make_row
from tests.unit.node.accountability.scenes import NOBODY_KNOWN, WHOM, Planted, exported, kept, play
from tests.unit.node.accountability.test_digests import garbage_shares, month_passes, reviewed

KNOWN = {"id": "K", **{key: OFFICER[key] for key in ("first", "last", "birth_date", "ssn4")}}
SCREENED = replace(ORDER, shape=LookupShape.SCREENING)


async def flown(fed: Federation, alpha: Node) -> own_lookups.OwnLookup:
    """A batch of three rows has its results, and the log holds its one flight."""
    started = await alpha.batches.start(SCREENED, file_of([person(1), KNOWN, person(2)]))
    await finished(alpha, started.batch_id)

    async def look() -> list[own_lookups.OwnLookup]:
        await alpha.follower.follow()
        return await alpha.store.run(lambda db: own_lookups.named(db, ""))

    (mine,) = await eventually(look, lambda found: bool(found) and found[0].place is not None)
    assert mine.flight
    return mine


async def row_search(alpha: Node) -> LookupId:
    (value,) = await alpha.store.run(
        lambda db: db.execute("SELECT search_id FROM batch_rows WHERE row = 2").fetchone()
    )
    return LookupId(value)


def test_a_row_has_the_receipts_of_its_flight(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        await fed.file(bravo, [make_row()])
        mine = await flown(fed, alpha)
        search_id = await row_search(alpha)
        stored = await alpha.store.run(lambda db: receipts.answers(db, [search_id]))
        assert [(one.lookup_id, str(one.owner)) for one in stored] == [
            (mine.lookup_id, "alpha"),
            (mine.lookup_id, "bravo"),
        ]

        async def made() -> list[receipts.MadeReceipt]:
            await alpha.follower.follow()
            return [await alpha.accountant.receipts.of_answer(one) for one in stored]

        for one in await eventually(made, lambda found: all(each.trouble is None for each in found)):
            parse_receipt(one.octets).verify(bravo.accountant.proofs.trust())

    play(tmp_path, scene)


def test_a_flight_is_opened_person_by_person(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        mine = await flown(fed, alpha)
        private, public = auditing.make_key("auditor-5", alpha.config.federation)
        sealed = await alpha.accountant.openings.open(mine, parse_auditor_key(public))
        opening = parse_opening(auditing.unseal(sealed.encode(), private))
        checked = opening.check(alpha.accountant.proofs.trust())
        assert len(checked.openings) == 4
        # Three were asked about, and one person fills the flight up.
        assert checked.cases() == ("REQ-2026-17",) * 3
        assert checked.cases_not_in(["REQ-2026-17"]) == ()
        assert bravo

    play(tmp_path, scene)


def test_what_failed_in_a_row_is_proved_like_any_other(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        planted = Planted(bravo, [WHOM, NOBODY_KNOWN])
        await planted.give(alpha, garbage_shares(planted))
        await flown(fed, alpha)
        assert await kept(alpha) == []
        month, later = await month_passes(alpha)
        done = await reviewed(alpha, month, later)
        assert len(done.evidence) == 1
        _, finding = await exported(alpha, done.evidence[0])
        assert finding.kind is Kind.GARBAGE_SHARES

    play(tmp_path, scene)


def test_after_two_years_a_batch_says_whom_it_was_about_no_more(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        mine = await flown(fed, alpha)
        search_id = await row_search(alpha)
        over = mine.issued_at + openings.KEPT + timedelta(seconds=1)
        assert await alpha.store.run(lambda db: openings.destroy_old(db, over)) == 1

        def left(db):  # type: ignore[no-untyped-def]  # one transaction
            rows = db.execute("SELECT person, cells FROM batch_rows").fetchall()
            answers = db.execute("SELECT count(*) FROM flight_targets WHERE answer_body NOT NULL").fetchone()
            secrets = db.execute("SELECT DISTINCT secrets FROM flight_persons").fetchall()
            return rows, answers[0], secrets, search(db, search_id)

        rows, answers, secrets, found = await alpha.store.run(left)
        assert all(row_person == "{}" and set(cells) <= set('["",]') for row_person, cells in rows)
        assert (answers, secrets) == (0, [(b"",)])
        assert found is not None
        with pytest.raises(Expired):
            await alpha.store.run(lambda db: openings.opening_of(db, mine))
        assert bravo

    play(tmp_path, scene)
