"""The commands of the records desk against a running node: words, exit statuses, and what they never say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from candor_node.cli import cli
from candor_node.cli_acts import fields_of
from candor_node.cli_common import EXIT_OPERATOR
from candor_proto.errors import (
    AlreadyExists,
    InputInvalid,
    SignatureInvalid,
    StoreUnusable,
    UnknownObject,
    WrongStanding,
)
from candor_proto.ids import NodeId
from candor_proto.signing import SigningKey
from candor_records.retention import Certificate, file_of, sign
from tests.federation import Federation
from tests.records import NOW, generated_rows, make_row
from tests.unit.node.test_cli import Run, ended, play

CORRECTED = "Falsified one overtime report."


async def _json(run: Run, *words: str) -> Any:
    done = await run(*words, "--json")
    assert ended(done) == 0, done.output
    return json.loads(done.stdout)


def test_the_life_of_a_record_at_the_desk(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        report = tmp_path / "report.json"
        report.write_text(json.dumps(make_row()))
        filed = await _json(run, "records", "file", "--json-file", str(report), "--draft", "--by", "clerk-7")
        dcn = filed["record"]["dcn"]
        assert filed["record"]["standing"] == "DRAFT"

        why = await run("records", "why", dcn)
        assert "is held back: it cannot match" in why.output.splitlines()[0]
        assert "a second person has not reviewed it" in why.output.splitlines()[1]
        with pytest.raises(Exception, match="themselves"):
            ended(await run("records", "review", dcn, "--by", "clerk-7"))
        reviewed = await run("records", "review", dcn, "--by", "clerk-8")
        assert "is shared: it may match" in reviewed.output

        text = f"narrative={CORRECTED}"
        corrected = await _json(run, "records", "correct", dcn, "--set", text, "--reason", "a slip")
        assert corrected["changed"] == ["narrative"]
        held = await run("records", "appeal", "IA-2021-0001", "--id", "--forum", "court")
        assert "an appeal is pending" in held.output
        listed = await run("records", "list", "--held-because", "final")
        assert "1 of 1 records" in listed.output
        upheld = await run("records", "appeal-decided", dcn, "--outcome", "UPHELD", "--on", "2022-01-10")
        assert "ACTIVE" in upheld.output

        shown = await run("records", "show", dcn)
        for words in ("CORRECTION", "NOTICE_OF_APPEAL", CORRECTED, "version 4"):
            assert words in shown.output
        history = await run("records", "history", dcn)
        assert [
            line.split(", by ")[0].split("  ")[-1] for line in history.output.splitlines() if ", by" in line
        ] == [
            "filed",
            "reviewed",
            "corrected",
            "appealed",
            "appeal decided",
        ]
        assert "a slip" in history.output

    play(tmp_path, scene, agencies=1)


def test_what_takes_two_is_proposed_and_done_when_another_person_agrees(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[0], [make_row()])
        (record,) = (await _json(run, "records", "list"))["records"]
        dcn = record["dcn"]
        assert ended(await run("records", "sharing", dcn, "red")) == 0
        opening = await _json(
            run, "records", "sharing", dcn, "green", "--reason", "settled", "--by", "clerk-7"
        )
        assert opening["approval_id"]
        (record,) = (await _json(run, "records", "list"))["records"]
        assert record["sharing"] == "RED"
        approve = ("approvals", "approve", opening["approval_id"], "--by", "chief-2")
        assert ended(await run(*approve)) == 0
        (record,) = (await _json(run, "records", "list"))["records"]
        assert record["sharing"] == "GREEN"

        voided = await _json(run, "records", "void", dcn, "--reason", "wrong person", "--by", "clerk-7")
        assert ended(await run("approvals", "approve", voided["approval_id"], "--by", "chief-2")) == 0
        with pytest.raises(WrongStanding) as caught:
            ended(await run("records", "seal", dcn, "--order", "Order 3"))
        assert "is void" in str(caught.value)
        assert "file a new report" in caught.value.remedy

        gone = await _json(run, "records", "expunge", dcn, "--order", "Order 9", "--by", "clerk-7")
        assert ended(await run("approvals", "approve", gone["approval_id"], "--by", "chief-2")) == 0
        with pytest.raises(UnknownObject):
            ended(await run("records", "show", dcn))
        history = await run("records", "history", dcn)
        assert "expunged, by clerk-7 and chief-2" in history.output
        assert "The record was destroyed" in history.output
        assert "wrong person" not in history.output

    play(tmp_path, scene, agencies=1)


def test_a_search_finds_in_spite_of_a_slip_and_leaves_no_word_in_the_ledger(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[0], [make_row(), *generated_rows(20)])
        found = await run("records", "search", "placeholdresen,", "quentin")
        assert "Placeholderson, Quentin Zebulon" in found.output
        assert "1 of 1 found" in found.output
        asked = await run("records", "search", stdin="Placeholderson 1984\n")
        assert "1 of 1 found" in asked.output
        ledger = await run("audit", "ledger", "--event", "record.searched")
        assert "found=1" in ledger.output
        assert "laceholder" not in ledger.output.lower()

    play(tmp_path, scene, agencies=1)


def test_lists_come_in_pages(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[0], list(generated_rows(7)))
        seen: list[str] = []
        after = ""
        for _ in range(3):
            page = await _json(run, "records", "list", "--limit", "3", "--after", after)
            seen += [record["dcn"] for record in page["records"]]
            assert page["total"] == 7
            after = page["following"]
        assert after == ""
        assert len(set(seen)) == 7

    play(tmp_path, scene, agencies=1)


def test_retention_and_its_certificate(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        due = await run("records", "retention", "due")
        assert due.output.strip() == "Nothing ends in that time."
        dry = await run("records", "retention", "run", "--dry-run")
        assert "Nothing would be destroyed" in dry.output
        with pytest.raises(InputInvalid, match="nothing to destroy"):
            ended(await run("records", "retention", "run", "--by", "clerk-7"))
        assert "Nothing was destroyed yet" in (await run("records", "certificates", "list")).output
        assert "Nothing is due" in (await run("records", "due")).output

    play(tmp_path, scene, agencies=1)


def test_a_certificate_is_verified_under_the_nodes_own_key_and_no_other(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        own, other = fed.nodes[0].keys.signing, SigningKey(bytes(range(32)))
        certificate = Certificate(1, NodeId("alpha"), NOW, "clerk-7", "chief-2", (), (), 9, bytes(32))
        right, forged = tmp_path / "right.json", tmp_path / "forged.json"
        right.write_bytes(file_of(sign(certificate, own), own.public))
        forged.write_bytes(file_of(sign(certificate, other), other.public))
        verified = await _json(run, "records", "certificates", "verify", str(right))
        assert verified["verified"] is True
        assert verified["ledger_number"] == 9
        with pytest.raises(SignatureInvalid):
            ended(await run("records", "certificates", "verify", str(forged)))
        key = other.public.value.hex()
        named = await run("records", "certificates", "verify", str(forged), "--key", key)
        assert named.output.startswith("The signature is right.")
        with pytest.raises(InputInvalid, match="no key"):
            ended(await run("records", "certificates", "verify", str(forged), "--key", "zz"))

    play(tmp_path, scene, agencies=1)


def test_backup_of_a_running_node_and_its_restoring(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        await fed.file(fed.nodes[0], list(generated_rows(4)))
        written = await _json(run, "backup", "--out", str(tmp_path / "backup"))
        assert written["filings"] == 4
        again = await run("restore", "--from", str(tmp_path / "backup"), "--to", str(tmp_path / "again"))
        assert ended(again) == 0
        assert "4 records in 4 versions, all of them opened" in again.output
        with pytest.raises(AlreadyExists):
            ended(await run("restore", "--from", str(tmp_path / "backup"), "--to", str(tmp_path / "again")))
        Path(written["keys_file"]).write_bytes(bytes(4096))
        with pytest.raises(StoreUnusable):
            ended(await run("restore", "--from", str(tmp_path / "backup"), "--to", str(tmp_path / "third")))

    play(tmp_path, scene, agencies=1)


@pytest.mark.parametrize("sets", [("last",), ("=Placeholderson",), ("last=A", "last=Placeholderson")])
def test_a_field_that_cannot_be_read_is_refused_without_its_value(sets: tuple[str, ...]) -> None:
    with pytest.raises(InputInvalid) as caught:
        fields_of(sets)
    assert "Placeholderson" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ("records", "reviewed", "X", "--keep", "--until", "2026-01-01"),
        ("records", "reviewed", "X"),
        ("records", "file", "--json-file", "nowhere.json"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_asked(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, list(words), standalone_mode=False)
    assert isinstance(done.exception, InputInvalid)
    assert done.exception.remedy
    assert EXIT_OPERATOR == 2
