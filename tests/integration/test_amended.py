"""Late answers through a whole federation: told, shown, acknowledged by a person, exported again."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from candor_node import batch_file, ledger, workbook
from candor_node.app import Node
from candor_node.cli import cli
from candor_node.cli_common import EXIT_INCOMPLETE
from candor_proto.errors import InputInvalid, UnknownObject
from candor_wire.codec import Envelope
from tests.federation import OFFICER, Federation, federation, instead, question
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row

Run = Callable[..., Awaitable[Result]]
PERSON = json.dumps({key: OFFICER[key] for key in ("first", "last", "birth_date", "ssn4")})
PAPERS = ("--purpose", "J_APPLICANT", "--case", "REQ-1", "--consent", "C-1", "--officer", "Inv. Roe")


def play(folder: Path, scene: Callable[[Federation, Run], Awaitable[None]], agencies: int = 3) -> None:
    async def whole() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), federation(folder, agencies) as fed:

            async def run(*words: str, user: str = "dana", stdin: str | None = None) -> Result:
                environment = {"CANDOR_NODE_CONFIG": str(folder / "alpha/node.toml"), "CANDOR_USER": user}
                return await asyncio.to_thread(
                    CliRunner().invoke, cli, list(words), stdin, environment, standalone_mode=False
                )

            await scene(fed, run)

    with capture_logs():
        asyncio.run(whole())


def said(result: Result) -> str:
    """What a command printed; raises what it raised."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


async def back(fed: Federation, node: Node) -> Node:
    """A node that was stopped runs again."""
    again = Node(node.config, fed.hub.clock)
    await again.start()
    return again


def a_while(fed: Federation) -> str:
    """How long to wait for those who are there."""
    return f"{fed.a_while_seconds:.1f}"


async def json_of(run: Run, *words: str, user: str = "dana") -> Any:
    return json.loads(said(await run(*words, "--json", user=user)))


async def until_amended(run: Run, lookup_id: str) -> None:
    """Asked in passing, so that nobody has looked at it because of that."""
    while not (await json_of(run, "lookups", "history", lookup_id))["revision"]:
        await asyncio.sleep(0.05)


def test_a_late_match_is_told_shown_and_acknowledged_and_nobody_else_hears_of_it(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        await fed.stop(bravo)
        found = await run("lookup", "--person", "-", *PAPERS, "--wait", a_while(fed), "--json", stdin=PERSON)
        assert found.return_value == EXIT_INCOMPLETE
        first = json.loads(found.stdout)
        name = first["lookup_id"][:12]
        reports = {report["node"]: report for report in first["coverage"]["reports"]}
        assert reports["bravo"]["state"] == "pending"
        assert reports["bravo"]["answered_at"] == ""
        assert reports["alpha"]["answered_at"] != ""
        assert reports["alpha"]["index_issued"] != ""
        assert reports["alpha"]["index_sequence"] >= 1
        assert reports["charlie"]["name"]
        log = first["coverage"]["log"]
        assert log["size"] > 0
        assert (log["late"], log["witnessed_at"] != "") == (False, True)
        assert said(await run("lookups", "list", "--news")) == "Nothing is new to you.\n"

        again = await back(fed, bravo)
        try:
            await until_amended(run, name)
            left: list[Envelope] = []
            submit = alpha.hub.submit

            async def counted(envelope: Envelope) -> int:
                left.append(envelope)
                return await submit(envelope)

            instead(alpha.hub, "submit", counted)
            listed = said(await run("lookups", "list", "--news"))
            assert "LATE MATCH, not acknowledged; INCOMPLETE -> MATCH; 1 new candidate; and 1 more" in listed
            assert "2 late" not in listed
            assert "3 of 3, 1 late" in listed
            status = said(await run("status"))
            assert "late matches that nobody has acknowledged: 1 (lookups list --news)" in status
            assert "lookups list --news" in said(await run("doctor"))

            with pytest.raises(InputInvalid, match="not looked at this result yet"):
                said(await run("lookups", "seen", name, user="kim"))
            nothing = said(await run("lookups", "seen", name))
            assert nothing.startswith("Nothing of this result that you have looked at waits")
            assert f"There is a newer one: candor-node lookups show {name}" in nothing

            view = await json_of(run, "lookups", "show", name)
            assert view["news"] == "LATE MATCH, not acknowledged"
            assert view["late_match"] is True
            assert view["revision"] == 1
            assert view["amended_at"] != ""
            assert view["changed"] == ["INCOMPLETE -> MATCH", "1 new candidate", "bravo: pending -> answered"]
            (revision,) = view["revisions"]
            assert (revision["before"], revision["after"]) == ("INCOMPLETE", "MATCH")
            assert revision["nodes"] == [
                {"node": "bravo", "before": "pending", "after": "answered", "reason": ""}
            ]
            assert view["coverage"]["late"] == 1
            text = said(await run("lookups", "show", name))
            assert "LATE MATCH: a candidate came after this result had been shown" in text
            assert "Amended: revision 1 on " in text
            assert ", late; index of " in text
            assert text.index("LATE MATCH") < text.index("Coverage: ")

            done = said(await run("lookups", "seen", name))
            assert done == "Acknowledged by dana: the late candidates of 1 amendment.\n"
            assert "LATE MATCH" not in said(await run("lookups", "show", name))
            history = said(await run("lookups", "history", name))
            assert "first shown: INCOMPLETE" in history
            assert "late candidates of revision 1 seen by dana" in history
            assert said(await run("lookups", "list", "--news")) == "Nothing is new to you.\n"
            assert "nobody has acknowledged: 0\n" in said(await run("status"))
            events = await alpha.store.run(lambda db: ledger.entries(db, event="lookup.seen"))
            assert [entry.details["by"] for entry in events] == ["dana"]
            assert left == []
        finally:
            await again.stop()

    play(tmp_path, scene)


def test_who_asked_and_was_never_shown_the_result_is_told(tmp_path: Path) -> None:
    """The terminal was closed while the lookup waited."""

    async def scene(fed: Federation, run: Run) -> None:
        alpha, *_ = fed.nodes
        view = await alpha.searcher.ask(replace(question(), user="dana"), 10.0)
        name = str(view.row.search_id)[:12]
        (told,) = (await json_of(run, "lookups", "list", "--news"))["lookups"]
        assert (told["lookup_id"][:12], told["news"]) == (name, "you have not looked yet")
        officer = (await json_of(run, "lookups", "list", "--news", user="Inv. Dana Roe"))["lookups"]
        assert [one["lookup_id"] for one in officer] == [told["lookup_id"]]
        assert said(await run("lookups", "list", "--news", user="kim")) == "Nothing is new to you.\n"
        said(await run("lookups", "show", name))
        assert said(await run("lookups", "list", "--news")) == "Nothing is new to you.\n"

    play(tmp_path, scene, agencies=1)


def test_lookups_of_a_case_are_found_by_its_number(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        said(await run("lookup", "--person", "-", *PAPERS, stdin=PERSON))
        assert len((await json_of(run, "lookups", "list", "--case", " req-1 "))["lookups"]) == 1
        none = said(await run("lookups", "list", "--case", "REQ-2"))
        assert none == "There are no such lookups.\n"
        with pytest.raises(UnknownObject):
            said(await run("lookups", "history", "abcdef"))

    play(tmp_path, scene, agencies=1)


def sheet(book: Path, name: str) -> list[list[str]]:
    return [cells for _, cells in workbook.rows(book, name, 100, 40)]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_batch_is_written_again_with_its_late_answers_and_says_which_rows_changed(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        _, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        await fed.stop(bravo)
        people, out, nodes = (tmp_path / name for name in ("people.csv", "out.csv", "nodes.csv"))
        known = {key: OFFICER[key] for key in ("first", "last", "birth_date", "ssn4")}
        with people.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(known))
            writer.writeheader()
            writer.writerow(known)
            writer.writerow({"first": "Belinda", "last": "Other", "birth_date": "1991-02-03", "ssn4": "7719"})
            writer.writerow({"first": "", "last": "Nobody", "birth_date": "", "ssn4": ""})
        command = (
            "batch",
            str(people),
            "--out",
            str(out),
            *PAPERS,
            "--wait",
            a_while(fed),
            "--coverage",
            str(nodes),
        )
        said(await run(*command))
        first, second, third = rows_of(out)
        assert [row["outcome"] for row in (first, second, third)] == ["INCOMPLETE", "INCOMPLETE", "ERROR"]
        assert (first["nodes_answered"], first["nodes_asked"]) == ("2", "3")
        assert first["not_answered"] == "bravo (pending)"
        assert first["oldest_index"] != ""
        assert first["as_of"] != ""
        assert (first["late"], first["revision"], first["changed"]) == ("", "", "")
        assert (third["coverage"], third["changed"]) == ("", "")
        with nodes.open(encoding="utf-8-sig", newline="") as lines:
            by_node = {row["node"]: row for row in csv.DictReader(lines)}
        assert by_node["bravo"]["rows_answered"] == "0"
        assert by_node["bravo"]["not_answered_as"] == "2 pending"
        assert (by_node["alpha"]["rows_asked"], by_node["alpha"]["rows_answered"]) == ("2", "2")
        said(await run(*command))
        assert [row["changed"] for row in rows_of(out)] == ["", "", ""]

        again = await back(fed, bravo)
        try:
            batch_id = (await json_of(run, "batches", "list"))["batches"][0]["batch_id"]
            for row in ("2", "3"):
                while not (await json_of(run, "lookups", "history", batch_id, "--row", row))["revision"]:
                    await asyncio.sleep(0.05)
            # Somebody who writes it for the first time is told of no change; dana is, each time once.
            other = tmp_path / "kim.csv"
            said(await run("batches", "write", batch_id[:8], "--out", str(other), user="kim"))
            assert [row["changed"] for row in rows_of(other)] == ["", "", ""]
            book = tmp_path / "out.xlsx"
            text = said(await run("batches", "write", batch_id[:8], "--out", str(book)))
            assert "2 rows changed since you wrote it on" in text
            head, one, two, _ = sheet(book, "rows")
            assert tuple(head)[-2:] == batch_file.CHANGED
            assert one[-1] == "INCOMPLETE -> MATCH; 1 new candidate; bravo: pending -> answered"
            assert two[-1] == "INCOMPLETE -> NO_RECORD; bravo: pending -> answered"
            late = {row[0]: row[4] for row in sheet(book, "coverage")[1:]}
            assert (late["bravo"], late["alpha"]) == ("2", "0")
            about = {row[0]: row[1] for row in sheet(book, "about")}
            assert about["rows that changed since"] == "2"
            assert about["rows MATCH"] == "1"
            assert "not NO_RECORD" in about["INCOMPLETE"]

            report = await json_of(run, *command)
            assert (report["changed"], report["late_matches"], report["late_rows"]) == (0, 1, [2])
            first, second, _ = rows_of(out)
            assert (first["outcome"], first["late"], first["revision"]) == ("MATCH", "bravo", "1")
            assert second["outcome"] == "NO_RECORD"
            text = said(await run(*command))
            assert (
                f"1 LATE MATCH, not acknowledged (row 2): candor-node lookups show {batch_id[:12]} --row 2"
                in text
            )
            assert "1 not acknowledged" in said(await run("batches", "list"))
            assert f"{batch_id[:12]} --row 2" in said(await run("lookups", "list", "--news"))
            said(await run("lookups", "show", batch_id[:12], "--row", "2"))
            said(await run("lookups", "seen", batch_id[:12], "--row", "2"))
            assert "not acknowledged" not in said(await run("batches", "list"))
            assert said(await run("lookups", "list", "--news")) == "Nothing is new to you.\n"
        finally:
            await again.stop()

    play(tmp_path, scene)


def test_a_file_that_could_not_be_written_hides_no_change(tmp_path: Path) -> None:
    """What changed is told again until it is in a file."""

    async def scene(fed: Federation, run: Run) -> None:
        _, bravo = fed.nodes
        await fed.stop(bravo)
        people, out = tmp_path / "people.csv", tmp_path / "out.csv"
        people.write_text("first,last,birth_date,ssn4\nBelinda,Other,1991-02-03,7719\n")
        said(await run("batch", str(people), "--out", str(out), *PAPERS, "--wait", a_while(fed)))
        again = await back(fed, bravo)
        try:
            batch_id = (await json_of(run, "batches", "list"))["batches"][0]["batch_id"]
            while not (await json_of(run, "lookups", "history", batch_id, "--row", "2"))["revision"]:
                await asyncio.sleep(0.05)
            with pytest.raises(InputInvalid):
                said(await run("batches", "write", batch_id, "--out", str(tmp_path / "no folder/out.csv")))
            blocked = tmp_path / "a folder.csv"
            blocked.mkdir()
            broken = await run("batches", "write", batch_id, "--out", str(out), "--coverage", str(blocked))
            assert broken.exception is not None
            said(await run("batches", "write", batch_id, "--out", str(out)))
            assert [row["changed"] for row in rows_of(out)] == [
                "INCOMPLETE -> NO_RECORD; bravo: pending -> answered"
            ]
            said(await run("batches", "write", batch_id, "--out", str(out)))
            assert [row["changed"] for row in rows_of(out)] == [""]
        finally:
            await again.stop()

    play(tmp_path, scene, agencies=2)


def test_a_stub_that_names_a_change_to_come_is_not_believed(tmp_path: Path) -> None:
    """Else whoever wrote a batch once would never hear of what changes."""
    from candor_wire.v1 import local_pb2
    from tests.federation import local

    async def scene(fed: Federation, run: Run) -> None:
        (alpha,) = fed.nodes
        people, out = tmp_path / "people.csv", tmp_path / "out.csv"
        people.write_text("first,last,birth_date,ssn4\nBelinda,Other,1991-02-03,7719\n")
        said(await run("batch", str(people), "--out", str(out), *PAPERS))
        batch_id = (await json_of(run, "batches", "list"))["batches"][0]["batch_id"]
        async with local(alpha) as stub:
            await stub.BatchWritten(local_pb2.BatchWrittenRequest(batch_id=batch_id, change=1 << 40))
        rows = await alpha.store.run(
            lambda db: db.execute("SELECT max(change) FROM batch_exports").fetchall()
        )
        assert rows == [(0,)]

    play(tmp_path, scene, agencies=1)
