"""The office of a real node: signing in, lookups that take two, batches that wait, the weekly review."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from candor_node import approvals, batch_store, ledger, lookup_store, permits, reviews, subjects, users
from candor_node.app import Node
from candor_node.approvals import Approval, State
from candor_node.batch_store import PROPOSED
from candor_node.batches import Order
from candor_node.cli import cli
from candor_node.store import Database
from candor_proto.errors import CandorError, PurposeRefused, SecondPersonNeeded, WrongRole
from candor_proto.ids import LookupId
from candor_proto.normalise import Particulars
from candor_records.roles import Actor, Role
from tests.federation import OFFICER, Federation, eventually, federation, instead, question
from tests.hubs import ShiftedClock
from tests.integration.test_batch import ORDER, file_of, finished, person, written
from tests.offices import ADMIN, APPROVER, ASKER, AUDITOR, CLERK, STAFF, actor, register
from tests.patience import PATIENCE_SECONDS
from tests.records import csv_bytes, make_row

Scene = Callable[[Federation], Awaitable[None]]
PEOPLE = ("Jo", "Anna", "Hans", "Maria", "Quinlan")


def play(folder: Path, scene: Scene, **changes: Any) -> None:
    async def whole() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), federation(folder, 2, **changes) as fed:
            await scene(fed)

    with capture_logs():
        asyncio.run(whole())


def asked_by(user: str, first: str = "Quentin") -> Any:
    case = f"REQ-{first}"
    return replace(question(case=case, officer=user, person={"first": first}), user=user)


async def staffed(node: Node) -> dict[str, str]:
    now = node.clock.now()
    return await node.store.run(lambda db: register(db, now))


async def pending(node: Node) -> list[Approval]:
    return await node.store.run(lambda db: approvals.list_approvals(db, pending=True))


async def decided(node: Node, by: Actor, approve: bool = True) -> None:
    """Decide about the one proposal that waits, as the servicer does."""
    (held,) = await pending(node)
    now = node.clock.now()
    await node.store.run(
        lambda db: approvals.decide(db, now, held.approval_id, by, approve, "seen", node.executors)
    )
    node.allowed_lookups.decided.set()
    node.batches.landing.changed.set()


async def searches(node: Node) -> int:
    return len(await node.store.run(lambda db: lookup_store.list_searches(db, 100)))


async def marked(node: Node) -> None:
    now = node.clock.now()
    about = Particulars(**OFFICER)
    await node.store.run(lambda db: subjects.mark(db, now, about, "relative of staff", APPROVER))


# --- lookups -------------------------------------------------------------------------------------------


def test_a_lookup_about_a_sensitive_subject_is_sent_once_somebody_else_has_approved(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        await marked(node)
        for _ in range(2):  # asked again it is the same proposal
            with pytest.raises(SecondPersonNeeded):
                await node.searcher.ask(asked_by(ASKER), 5)
        assert await searches(node) == 0
        with pytest.raises(WrongRole):
            await decided(node, actor(ASKER))
        await decided(node, actor(APPROVER))
        await eventually(lambda: searches(node), lambda count: count == 1)
        await node.allowed_lookups.send()
        assert await searches(node) == 1
        # A permit is of one lookup: the next one takes two people again.
        with pytest.raises(SecondPersonNeeded):
            await node.searcher.ask(asked_by(ASKER), 5)

    play(tmp_path, scene)


def test_a_lookup_that_was_rejected_is_never_sent(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        await marked(node)
        with pytest.raises(SecondPersonNeeded):
            await node.searcher.ask(asked_by(ASKER), 5)
        await decided(node, actor(APPROVER), approve=False)
        await node.allowed_lookups.send()
        assert await searches(node) == 0

    play(tmp_path, scene)


def test_a_lookup_that_was_allowed_is_not_sent_for_a_user_who_has_left(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        await marked(node)
        with pytest.raises(SecondPersonNeeded):
            await node.searcher.ask(asked_by(ASKER), 5)
        (held,) = await pending(node)
        now = node.clock.now()

        def leave(db: Database) -> None:
            approvals.decide(db, now, held.approval_id, actor(APPROVER), True, "", node.executors)
            users.disable(db, now, actor(ADMIN), ASKER)

        await node.store.run(leave)
        await node.allowed_lookups.send()
        assert await searches(node) == 0

    play(tmp_path, scene)


def test_a_permit_ends_after_a_day(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        await marked(node)
        with pytest.raises(SecondPersonNeeded):
            await node.searcher.ask(asked_by(ASKER), 5)
        (held,) = await pending(node)
        now = node.clock.now() - timedelta(days=2)
        await node.store.run(lambda db: permits.allow(db, held, now))
        with pytest.raises(SecondPersonNeeded):
            await node.searcher.ask(asked_by(ASKER), 5, permit=held.approval_id)
        assert await searches(node) == 0

    play(tmp_path, scene)


def test_a_permit_is_used_once(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        await marked(node)
        with pytest.raises(SecondPersonNeeded):
            await node.searcher.ask(asked_by(ASKER), 5)
        (held,) = await pending(node)
        await decided(node, actor(APPROVER))
        await eventually(lambda: searches(node), lambda count: count == 1)
        # As if two runs had read it as unsent at the same time.
        now, again = node.clock.now(), LookupId(bytes(16))
        with pytest.raises(PurposeRefused, match="sent already"):
            await node.store.run(
                lambda db: permits.begin(db, now, asked_by(ASKER), again, 25, held.approval_id)
            )

    play(tmp_path, scene)


def test_a_mark_that_is_set_while_a_lookup_is_drafted_still_stops_it(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        draft = node.searcher._drafts.draft

        def late(*given: Any) -> Any:
            asyncio.run_coroutine_threadsafe(marked(node), loop).result()
            return draft(*given)

        loop = asyncio.get_running_loop()
        instead(node.searcher._drafts, "draft", late)
        with pytest.raises(PurposeRefused, match="second person by now"):
            await node.searcher.ask(asked_by(ASKER), 5)
        assert await searches(node) == 0

    play(tmp_path, scene)


def test_many_people_in_an_hour_take_a_second_person(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        for first in PEOPLE[:2]:
            await node.searcher.ask(asked_by(ASKER, first), 5)
        with pytest.raises(SecondPersonNeeded):
            await node.searcher.ask(asked_by(ASKER, PEOPLE[2]), 5)
        # Asking about the same person once more is no other person.
        await node.searcher.ask(asked_by(ASKER, PEOPLE[1]), 5)
        fed.hub.clock.shift += timedelta(minutes=61)
        await node.searcher.ask(asked_by(ASKER, PEOPLE[2]), 5)

    play(tmp_path, scene, subjects_an_hour=2, clock=ShiftedClock())


def test_an_open_node_has_no_limit_by_the_hour_for_nobody_is_known_there(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        for first in PEOPLE[:3]:
            await node.searcher.ask(asked_by("whoever", first), 5)
        assert await searches(node) == 3

    play(tmp_path, scene, subjects_an_hour=1)


@pytest.mark.parametrize("missing", ["case", "consent", "officer"])
def test_no_path_sends_a_lookup_without_papers(tmp_path: Path, missing: str) -> None:
    """Single lookups, rows of batches, and whatever is drafted behind those checks."""

    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        lacking = replace(asked_by("Inv. Roe"), **{missing: " "})
        with pytest.raises(PurposeRefused):
            await node.searcher.ask(lacking, 5)
        batch = await node.batches.start(Order(**{**vars(ORDER), missing: " "}), file_of([person(1)]))
        await finished(node, batch.batch_id)
        (row,) = await written(node, batch.batch_id)
        assert row["outcome"] == "ERROR"
        # As if the check of the question were forgotten: what signs refuses all the same.
        instead(node.searcher, "_check", lambda question, permit: unchecked(question))
        with pytest.raises(PurposeRefused):
            await node.searcher.ask(lacking, 5)
        assert not await node.store.run(lambda db: ledger.entries(db, event="lookup.sent"))

    async def unchecked(asked: Any) -> Any:
        from candor_node.asking import Checked
        from candor_proto.normalise import normalise

        return Checked(asked, normalise(asked.particulars), 1, False)

    play(tmp_path, scene)


# --- batches -------------------------------------------------------------------------------------------


def test_a_batch_of_many_rows_waits_whole_for_a_second_person(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        order = replace(ORDER, officer=ASKER, user=ASKER)
        record = await node.batches.start(order, file_of([person(n) for n in range(4)]))
        assert record.state == PROPOSED
        assert not await node.store.run(lambda db: ledger.entries(db, event="lookup.sent"))
        with pytest.raises(WrongRole):
            await decided(node, actor(ASKER))
        await decided(node, actor(APPROVER))
        await finished(node, record.batch_id)
        assert {row["outcome"] for row in await written(node, record.batch_id)} == {"NO_RECORD"}

    play(tmp_path, scene, subjects_an_hour=3)


def test_a_batch_that_was_stopped_while_it_waited_is_not_begun(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        order = replace(ORDER, officer=ASKER, user=ASKER)
        record = await node.batches.start(order, file_of([person(n) for n in range(4)]))
        assert await node.batches.stop(record.batch_id) == 4
        await finished(node, record.batch_id)
        with pytest.raises(CandorError, match="does not wait"):
            await decided(node, actor(APPROVER))
        assert (await pending(node))[0].state is State.PENDING

    play(tmp_path, scene, subjects_an_hour=3)


def test_rows_about_sensitive_subjects_or_of_other_officers_are_not_asked(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        await marked(node)
        rows = [
            person(1, officer=""),
            {**{name: OFFICER.get(name, "") for name in person(1)}, "id": "A-2", "officer": ""},
            person(3, officer="Inv. Dana Roe"),
        ]
        record = await node.batches.start(replace(ORDER, officer=ASKER, user=ASKER), file_of(rows))
        await finished(node, record.batch_id)
        found = await written(node, record.batch_id)
        assert [row["outcome"] for row in found] == ["NO_RECORD", "ERROR", "ERROR"]
        kept = await node.store.run(lambda db: subjects.searches_about(db, Particulars(**OFFICER)))
        assert kept == []

    play(tmp_path, scene)


def test_a_batch_stops_when_its_user_may_not_act_any_more(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]
        await staffed(node)
        now = node.clock.now()
        order = replace(ORDER, officer=ASKER, user=ASKER)

        def leave(db: Database) -> None:
            users.disable(db, now, actor(ADMIN), ASKER)

        await node.store.run(leave)
        record = await node.batches.start(order, file_of([person(1)]))
        await eventually(
            lambda: node.batches.progress(record.batch_id),
            lambda found: found[0].state == batch_store.PAUSED and "may not act" in found[0].note,
        )
        assert not await node.store.run(lambda db: ledger.entries(db, event="lookup.sent"))

    play(tmp_path, scene)


# --- by commands ---------------------------------------------------------------------------------------


def test_an_office_from_the_first_user_to_the_signed_review(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()

    async def scene(fed: Federation) -> None:
        node = fed.nodes[0]

        async def run(*words: str, by: str = "", status: int = 0) -> Any:
            environment = {"CANDOR_NODE_CONFIG": str(tmp_path / "alpha" / "node.toml"), "CANDOR_USER": by}
            if by:
                environment["CANDOR_TOKEN_FILE"] = str(tokens / by)
            found: Result = await asyncio.to_thread(
                CliRunner().invoke, cli, [*words, "--json"], None, environment, standalone_mode=False
            )
            if status:
                assert isinstance(found.exception, CandorError), found.output
                return found.exception
            if found.exception is not None and not isinstance(found.exception, SystemExit):
                raise found.exception
            return json.loads(found.stdout)

        assert (await run("status"))["users"] == 0
        for user, role in STAFF.items():
            by = "" if user == ADMIN else ADMIN
            words = ("--role", role.value, "--token-file", str(tokens / user))
            reply = await run("users", "add", user, *words, by=by)
            if held := reply.get("approval_id"):
                # There is an approver by now: who decides about roles is appointed by two.
                await run("approvals", "approve", held, by=APPROVER)
                assert user == AUDITOR
                continue
            assert (reply["user"]["roles"], reply["token"]) == ([role.value], "")
        assert (tokens / CLERK).stat().st_mode & 0o777 == 0o600
        assert (await run("records", "list", by=CLERK))["total"] == 0
        other = make_row(
            first="Bettina", last="Coldfellby", birth_date="1971-02-03", ssn4="9921", post_id="X-1"
        )
        (tmp_path / "records.csv").write_bytes(csv_bytes([other]))
        assert (await run("import", str(tmp_path / "records.csv"), by=CLERK))["new"] == 1
        await run("import", str(tmp_path / "records.csv"), by=ASKER, status=1)
        await run("records", "list", by=ADMIN, status=1)
        await run("records", "list", status=1)

        person_words = ("--first", "Quentin", "--last", "Placeholderson", "--birth-date", "1984-07-23")
        papers = ("--purpose", "j_applicant", "--case", "REQ-1", "--consent", "C-1")
        found = await run("lookup", *person_words, "--ssn4", "4821", *papers, by=ASKER)
        assert (found["overall"], found["officer"]) == ("NO_RECORD", ASKER)
        await run("lookup", *person_words, *papers, "--officer", "Inv. Roe", by=ASKER, status=1)
        await run("review", "sensitive", "add", *person_words, "--reason", "in the news", by=APPROVER)
        error = await run("lookup", *person_words, *papers, by=ASKER, status=1)
        assert isinstance(error, SecondPersonNeeded)
        (held,) = (await run("approvals", "list", by=APPROVER))["approvals"]
        shown = await run("approvals", "show", held["approval_id"], by=APPROVER)
        assert shown["arguments"]["person.last"] == "Placeholderson"
        await run("approvals", "approve", held["approval_id"], by=ASKER, status=1)
        assert (await run("approvals", "approve", held["approval_id"], by=APPROVER))["state"] == "APPROVED"
        await eventually(lambda: searches(node), lambda count: count == 2)
        sent = await run("approvals", "show", held["approval_id"], by=ASKER)
        assert sent["lookup_id"]

        (tmp_path / "class.csv").write_bytes(file_of([person(n) for n in range(26)]))
        out = tmp_path / "result.csv"
        batch = ("batch", str(tmp_path / "class.csv"), "--out", str(out), "--case", "C-1", "--consent", "F-1")
        error = await run(*batch, by=ASKER, status=1)
        assert isinstance(error, SecondPersonNeeded)
        assert not out.exists()
        (held,) = (await run("approvals", "list", by=APPROVER))["approvals"]
        await run("approvals", "approve", held["approval_id"], by=APPROVER)
        assert (await run(*batch, by=ASKER))["no_record"] == 26

        fed.hub.clock.shift += timedelta(days=8)
        await node.store.run(lambda db: ledger.append(db, node.clock.now(), "test.later"))
        week = str(reviews.Week.of(node.clock.now() - timedelta(days=8)))
        assert (await run("status"))["reviews_due"] == [week]
        page = tmp_path / "review.html"
        review = await run("review", "weekly", "--week", week, "--out", str(page), by=AUDITOR)
        sections = {section["title"]: section for section in review["sections"]}
        assert len(sections["Sample"]["rows"]) == 5
        assert [row["cells"][1] for row in sections["What took two people"]["rows"]] == [
            "GRANT_ROLE",
            "LOOK_UP_SENSITIVE",
            "LOOK_UP_SENSITIVE",
        ]
        refused = [row["cells"][0] for row in sections["Refused at the door"]["rows"]]
        assert any(cell.startswith("user.denied") for cell in refused)
        text = page.read_text("utf-8")
        assert "Placeholderson" not in text
        assert "<h1>Review of week" in text
        await run("review", "sign", week, "--digest", review["digest"], by=CLERK, status=1)
        await run("review", "sign", week, "--digest", review["digest"], by=AUDITOR)
        assert (await run("status"))["reviews_due"] == []

        await run("users", "disable", ASKER, by=ADMIN)
        await run("lookups", "list", by=ASKER, status=1)
        listed = {user["user_id"]: user for user in (await run("users", "list", by=AUDITOR))["users"]}
        assert (listed[ASKER]["state"], listed[CLERK]["roles"]) == ("disabled", [Role.CLERK.value])

    play(tmp_path, scene, clock=ShiftedClock())
