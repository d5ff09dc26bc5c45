"""Drafts where a second person reviews every filing: `review_filings`, `records review`, and old scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from candor_proto.errors import InputInvalid, WrongRole
from tests.federation import Federation
from tests.records import csv_bytes, generated_rows, make_row
from tests.unit.node.test_cli import Run, ended, play


async def listed(run: Run, *words: str) -> Any:
    return json.loads((await run("records", "list", *words, "--json")).stdout)


@pytest.fixture
def reviewing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_NODE_REVIEW_FILINGS", "true")


@pytest.mark.usefixtures("reviewing")
def test_import_is_drafts_until_somebody_else_reviewed_them(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([*generated_rows(3), make_row(notice_given_on="", notice_method="")]))
        done = await run("import", str(file), "--by", "clerk-7")
        assert ended(done) == 0, done.output
        assert done.output.splitlines() == [
            "4 new, 0 changed, 0 unchanged; 1 held back by the fair-process gate.",
            "Held back by: notice (1).",
            "Drafts until a second person has reviewed them: 4.",
            "Somebody else reviews the drafts before they can match: "
            "candor-node records review --all-from clerk-7",
        ]
        assert (await listed(run, "--standing", "DRAFT"))["total"] == 4
        assert "Nothing is due" in (await run("records", "due", "--what", "notice")).output

        own = await run("records", "review", "--all-from", "clerk-7", "--by", "clerk-7")
        assert isinstance(own.exception, WrongRole)
        reviewed = await run("records", "review", "--all-from", "clerk-7", "--by", "chief")
        assert ended(reviewed) == 0, reviewed.output
        assert "4 reviewed: 3 may match, the gate holds the others." in reviewed.output
        assert (await listed(run, "--standing", "DRAFT"))["total"] == 0
        again = await run("records", "review", "--all-from", "clerk-7", "--by", "chief")
        assert "No draft of clerk-7 waits for a review." in again.output

        # A change of what was reviewed is no draft again.
        file.write_bytes(csv_bytes([make_row(narrative="Corrected.")]))
        assert "Drafts" not in (await run("import", str(file), "--by", "clerk-7")).output

    play(tmp_path, scene, agencies=1)


@pytest.mark.usefixtures("reviewing")
def test_records_that_are_named_are_reviewed_all_or_none(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        numbers = []
        for row in generated_rows(2):
            report = tmp_path / "report.json"
            report.write_text(json.dumps(row))
            filed = await run("records", "file", "--json-file", str(report), "--by", "clerk-7", "--json")
            assert json.loads(filed.stdout)["record"]["standing"] == "DRAFT"
            numbers.append(json.loads(filed.stdout)["record"]["dcn"])
        wrong = await run("records", "review", *numbers, numbers[0], "--by", "chief")
        assert wrong.exception is not None
        assert (await listed(run, "--standing", "DRAFT"))["total"] == 2
        done = await run("records", "review", *numbers, "--by", "chief", "--json")
        assert [record["standing"] for record in json.loads(done.stdout)["records"]] == ["ACTIVE"] * 2
        assert isinstance((await run("records", "review")).exception, InputInvalid)
        both = await run("records", "review", numbers[0], "--all-from", "clerk-7")
        assert isinstance(both.exception, InputInvalid)

    play(tmp_path, scene, agencies=1)


def test_scripts_of_before_read_lists_and_records_as_they_did(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[0], list(generated_rows(5)))
        whole = await listed(run)
        pages = [await listed(run, "--limit", "2", "--offset", str(offset)) for offset in (0, 2, 4)]
        assert [one for page in pages for one in page["records"]] == whole["records"]
        assert whole["total"] == 5
        assert {
            "dcn", "version", "report_type", "kind", "tier", "sharing", "adjudication_status", "ori",
            "effective_on", "matchable",
        } <= set(whole["records"][0])  # fmt: skip
        shown = json.loads((await run("records", "show", whole["records"][0]["dcn"], "--json")).stdout)
        assert {"summary", "fields", "gate", "recheck_on"} <= set(shown)
        assert set(shown["fields"][0]) == {"name", "value"}
        assert set(shown["gate"][0]) == {"name", "holds", "words"}
        assert shown["summary"]["dcn"] == whole["records"][0]["dcn"]

    play(tmp_path, scene, agencies=1)


def test_list_says_what_it_does_not_know(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        for words, said in (
            (("--held-because", "foo"), "The gate has no such clause"),
            (("--kind", "foo"), "There is no such kind"),
            (("--ori", "Placeholder"), "This node stands for"),
        ):
            refused = await run("records", "list", *words)
            assert isinstance(refused.exception, InputInvalid), words
            assert said in str(refused.exception)
            assert refused.exception.remedy
            assert "Placeholder" not in str(refused.exception)
        assert ended(await run("records", "list", "--held-because", " Name  Clearing")) == 0

    play(tmp_path, scene, agencies=1)
