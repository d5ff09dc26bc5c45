"""The commands for subjects, on real nodes: what is owed, what travels, what is shown to whom."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pypdf
import pytest

from candor_node.cli_common import EXIT_OPERATOR
from candor_proto.errors import InputInvalid, PurposeRefused, UnknownObject, WrongRole, WrongStanding
from tests.accessible import faults, needs_pango, text_of
from tests.federation import Federation, eventually
from tests.records import make_row
from tests.unit.node.test_cli import PAPERS, Run, ended, play

PERSON = ("--first", "Quentin", "--last", "Placeholderson", "--birth-date", "1984-07-23")
NAMESAKE = {"agency_record_id": "N-1", "birth_date": "1979-01-30", "post_id": "B-1", "ssn4": "7719"}
PROOF = ("--identity-proof", "licence seen, file 2026/117")


async def answered(run: Run, *words: str, at: str = "bravo", stdin: str | None = None) -> dict[str, Any]:
    """What a command says as JSON; raises what it raised."""
    result = await run(*words, "--json", at=at, stdin=stdin)
    assert ended(result) == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


async def the_record(run: Run) -> str:
    (record,) = (await answered(run, "records", "list"))["records"]
    dcn: str = record["dcn"]
    return dcn


async def requested(run: Run) -> str:
    """Alpha has looked the officer up and asked bravo for the record."""
    person = (
        "--first",
        "Quentin",
        "--last",
        "Placeholderson",
        "--birth-date",
        "1984-07-23",
        "--ssn4",
        "4821",
    )
    view = await answered(run, "lookup", *person, *PAPERS, at="alpha")
    sent = await answered(run, "requests", "send", view["lookup_id"], "1", "--by", "dana", at="alpha")
    request: str = sent["request_id"]
    return request


async def became(run: Run, request: str, state: str, at: str) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        result = await run("requests", "show", request, "--json", at=at)
        return json.loads(result.stdout) if result.exception is None else {}

    return await eventually(look, lambda found: found.get("state") == state)


def test_from_the_notice_to_the_report(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[1], [make_row(sharing="GREEN", subject_notified_on="")])
        dcn = await the_record(run)

        (notice,) = (await answered(run, "subject", "notices"))["notices"]
        assert (notice["dcn"], notice["act"], notice["overdue"]) == (dcn, "FILE", False)
        letter = tmp_path / "letter.html"
        await answered(run, "subject", "notice", dcn, "--out", str(letter))
        assert faults(letter.read_text("utf-8")) == []
        assert "To: Quentin Placeholderson" in text_of(letter.read_text("utf-8"))
        assert (await answered(run, "subject", "notified", dcn, "--method", "mail"))["settled"] == 1
        assert (await answered(run, "subject", "notices"))["notices"] == []

        said = "I was never heard.\nMy Garrity interview is not in this file."
        entered = await answered(run, "subject", "statement", dcn, "--file", "-", stdin=said)
        assert entered["characters"] == len(said)
        assert any("compelled statement" in warning for warning in entered["warnings"])
        opened = await answered(
            run, "subject", "dispute", "open", dcn, "--ground", "wrong-person", "--file", "-", stdin="Not me."
        )
        assert opened["dispute"]["status"] == "OPEN"

        # GREEN would be released by the standing rule; while WRONG_PERSON is open a person looks.
        request = await requested(run)
        assert "disputes being this person" in (await became(run, request, "waiting", "bravo"))["reason"]
        await answered(run, "requests", "approve", request, "--by", "chief")
        got = (await became(run, request, "opened", "alpha"))["record"]
        assert (got["subject_statement"], got["dispute_status"]) == (said, "OPEN")

        out = tmp_path / "report.html"
        made = await answered(run, "subject", "report", dcn, *PROOF, "--out", str(out), "--by", "clerk-7")
        assert (made["dcns"], made["unsure"]) == ([dcn], [])
        page = out.read_text("utf-8")
        assert faults(page) == []
        for part in (
            "Not me.",
            "I was never heard.",
            "alpha",
            "REQ-1",
            "Hiring background check",
            "statement entered",
        ):
            assert part in text_of(page), part
        assert out.stat().st_mode & 0o077 == 0

    play(tmp_path, scene)


@needs_pango
def test_the_report_as_pdf_is_made_from_the_person_alone(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(
            fed.nodes[1],
            [
                make_row(),
                make_row(agency_record_id="N-1", birth_date="1979-01-30", post_id="B-1", ssn4="7719"),
            ],
        )
        out = tmp_path / "report.pdf"
        made = await answered(run, "subject", "report", *PERSON, *PROOF, "--out", str(out))
        assert len(made["dcns"]) == 1
        reader = pypdf.PdfReader(io.BytesIO(out.read_bytes()))
        said = " ".join(page.extract_text() for page in reader.pages)
        assert "1984-07-23" in said
        assert "1979" not in said

    play(tmp_path, scene)


def test_a_dispute_goes_its_way_by_commands(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[1], [make_row()])
        dcn = await the_record(run)
        path = ("subject", "dispute")
        with pytest.raises(InputInvalid, match="no ground"):
            ended(await run(*path, "open", dcn, "--ground", "UNFAIR", at="bravo"))
        await answered(run, *path, "open", dcn, "--ground", "FACTUAL_INACCURACY")
        with pytest.raises(WrongStanding, match="has until"):
            ended(await run(*path, "refer", dcn, at="bravo"))
        kept = await answered(
            run, *path, "answer", dcn, "stand-by", "--file", "-", stdin="The order says so."
        )
        assert kept["dispute"]["state"] == "STOOD_BY"
        referred = await answered(run, *path, "refer", dcn)
        assert (referred["dispute"]["status"], bool(referred["dispute"]["resolver"])) == (
            "IN_RESOLUTION",
            True,
        )
        decided = await answered(run, *path, "resolve", dcn, "CORRECT", "--file", "-", stdin="It was May.")
        assert decided["dispute"]["state"] == "DECIDED"
        with pytest.raises(WrongStanding, match="has to be corrected"):
            ended(await run(*path, "done", dcn, at="bravo"))
        await fed.file(fed.nodes[1], [make_row(effective_on="2021-05-14")])
        assert (await answered(run, *path, "done", dcn))["dispute"]["state"] == "RESOLVED"
        shown = await run("subject", "show", dcn, at="bravo")
        assert "decided on" in shown.output
        assert "travels as RESOLVED" in shown.output

    play(tmp_path, scene)


def test_a_deferral_takes_a_second_person_and_is_listed(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[1], [make_row(sharing="GREEN")])
        dcn, request = await the_record(run), await requested(run)
        await became(run, request, "released", "bravo")
        until = str((fed.nodes[1].clock.now().date()).replace(month=12, day=31))
        defer = ("subject", "defer", request, "--until", until, "--reason", "An inquiry runs.")
        with pytest.raises(PurposeRefused, match="legal basis"):
            ended(await run(*defer, "--by", "clerk-7", at="bravo"))
        basis = ("--basis", "State Code 12.3, court order")
        waiting = await answered(run, *defer, *basis, "--by", "clerk-7")
        approve = ("approvals", "approve", waiting["approval_id"])
        with pytest.raises(WrongRole, match="two people"):
            ended(await run(*approve, "--by", "clerk-7", at="bravo"))
        assert ended(await run(*approve, "--by", "chief", at="bravo")) == 0
        (one,) = (await answered(run, "subject", "deferrals"))["deferrals"]
        assert (one["entry"], one["proposed_by"], one["decided_by"]) == (request, "clerk-7", "chief")
        out = tmp_path / "report.html"
        await answered(run, "subject", "report", dcn, *PROOF, "--out", str(out))
        assert "It was given to nobody." in text_of(out.read_text("utf-8"))

    play(tmp_path, scene)


def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[1], [make_row()])
        dcn, out = await the_record(run), tmp_path / "report.html"
        without = await run("subject", "report", dcn, "--out", str(out), at="bravo")
        assert without.exit_code == EXIT_OPERATOR or without.exception is not None
        for words, error in (
            (("report", dcn, "--identity-proof", " ", "--out", str(out)), InputInvalid),
            (("report", dcn, *PROOF, "--out", str(tmp_path / "report.doc")), InputInvalid),
            (("report", dcn, *PROOF, "--first", "Edgar", "--last", "Birchwater", "--birth-date", "1970-02-02",
              "--out", str(out)), InputInvalid),
            (("report", *PROOF, "--last", "Placeholderson", "--out", str(out)), InputInvalid),
            (("notice", "0000000000000000A", "--out", str(out)), InputInvalid),
            (("statement", dcn, "--file", str(tmp_path / "missing.txt")), InputInvalid),
            (("notified", dcn, "--method", "PIGEON"), InputInvalid),
            (("notified", dcn, "--method", "MAIL"), WrongStanding),
            (("defer", "ffffffff", "--until", "2027-01-01", "--reason", "An inquiry."), UnknownObject),
        ):  # fmt: skip
            with pytest.raises(error):
                ended(await run("subject", *words, at="bravo"))
        long = tmp_path / "long.txt"
        long.write_text("x" * 4_001)
        with pytest.raises(InputInvalid, match="4001"):
            ended(await run("subject", "statement", dcn, "--file", str(long), at="bravo"))
        assert not out.exists()

    play(tmp_path, scene)
