"""`candor-node packs`: read and tested by anybody, adopted by two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from candor_node import shipped_packs
from candor_node.cli import cli
from candor_proto.errors import (
    CandorError,
    IdentityMismatch,
    InputInvalid,
    SignatureInvalid,
    WrongRole,
)
from candor_records.pack_rules import PackInvalid
from tests.federation import Federation
from tests.packs import APPEAL, ISSUER, clock, pack_text, signed
from tests.records import make_row
from tests.unit.node.test_cli import Run, ended, play


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["packs", *words], standalone_mode=False)


def refused(result: Result, error: type[CandorError]) -> CandorError:
    assert isinstance(result.exception, error), result.exception or result.output
    return result.exception


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    octets, signature = signed(text)
    path.write_bytes(octets)
    path.with_name("mine.toml.sig").write_text(signature)
    return path


# --- without a node --------------------------------------------------------------------------------


def test_all_cases_of_all_shipped_packs_run_without_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("test")
    assert ended(result) == 0
    cases = sum(2 * len(shipped_packs.shipped(name).pack.rules) for name in shipped_packs.names())
    lines = result.output.splitlines()
    assert lines[-1] == f"{cases} cases, 0 failed"
    assert len(lines) == cases + 1


def test_a_case_that_does_not_come_out_is_shown_and_fails(tmp_path: Path) -> None:
    path = write(tmp_path, pack_text(clock().replace("1 day late", "2 days late")))
    result = run("test", str(path))
    assert ended(result) == 1
    assert "FAILED  testland 1  zz.clock refuses: On the day after it." in result.output
    assert "        expected: 2 days late" in result.output
    assert "        found:    1 day late" in result.output
    report = json.loads(run("test", str(path), "--json").stdout)
    assert report["failed"] == 1
    assert [case["ok"] for case in report["cases"]] == [True, False]


@pytest.mark.parametrize("name", shipped_packs.names())
def test_a_pack_is_shown_so_that_a_lawyer_can_read_it(name: str) -> None:
    pack, text = shipped_packs.shipped(name).pack, run("show", name).output
    assert "This is no legal advice: verify with counsel." in text
    for rule in pack.rules:
        assert f"{rule.id} ({rule.term.name})" in text
        assert rule.source.citation in text
        assert rule.passes.words in text
        assert rule.refuses.words in text


def test_one_rule_is_shown_alone_and_what_is_not_verified_says_so() -> None:
    text = run("show", "california", "ca.clock.separation").output
    assert "Reported within 10 calendar days of the day the action took effect." in text
    assert "Cal. Penal Code § 13510.9(a)(1) (not compared with the official text)" in text
    assert "ca.keep.sustained" not in text
    refused(run("show", "california", "ca.nothing"), InputInvalid)
    refused(run("show", "atlantis"), InputInvalid)
    assert json.loads(run("show", "texas", "--json").stdout)["status"] == "verify with counsel"


def test_a_pack_is_verified_by_the_keys_that_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, pack_text())
    refused(run("verify", str(path)), IdentityMismatch)
    assert "All cases of its" in run("verify", "california").output
    key = ISSUER.public.value.hex()
    assert f"Signed by the key {key}." in run("verify", str(path), "--issuer", key).output
    path.write_bytes(path.read_bytes().replace(b"days = 5", b"days = 6"))
    refused(run("verify", str(path), "--issuer", key), SignatureInvalid)
    path.with_name("mine.toml.sig").unlink()
    refused(run("verify", str(path), "--issuer", key), InputInvalid)
    broken = write(tmp_path, pack_text(clock(days=6)))
    refused(run("verify", str(broken), "--issuer", key), PackInvalid)


# --- with one --------------------------------------------------------------------------------------


def test_a_pack_holds_once_a_second_person_has_approved(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        row = make_row(finality="APPEAL_PENDING", decided_on="2025-06-07", effective_on="2025-06-14")
        await fed.file(fed.nodes[0], [row])

        async def report(*words: str) -> dict[str, Any]:
            return dict(json.loads((await run(*words, "--json")).stdout))

        async def matchable() -> bool:
            (record,) = (await report("records", "list"))["records"]
            return bool(record["matchable"])

        assert (await report("packs", "list"))["policy"] == "default 1"
        adopt = ("packs", "adopt", "arizona", "--reason", "counsel's letter", "--by", "clerk-7")
        proposed = await report(*adopt)
        assert "another state's law" in proposed["warning"]
        approve = ("approvals", "approve", proposed["approval_id"])
        own = await run(*approve, "--by", "clerk-7")
        assert isinstance(own.exception, WrongRole)
        assert (await report("packs", "list"))["policy"] == "default 1"
        assert not await matchable()

        assert ended(await run(*approve, "--by", "chief-1")) == 0
        listed = await report("packs", "list")
        assert listed["policy"] == "default 1 + arizona 1"
        assert (listed["adopted"][0]["by"], listed["adopted"][0]["second"]) == ("clerk-7", "chief-1")
        assert await matchable()
        shown = await run("packs", "show", "arizona", "--adopted")
        assert "az.gate.appeal" in shown.output
        assert "pack.adopted" in (await run("audit", "ledger", "--event", "pack")).output
        again = await run(*adopt)
        assert again.exception is not None
        assert "in force already" in str(again.exception)

    play(tmp_path, scene, agencies=1)


def test_a_node_refuses_a_pack_of_an_issuer_that_its_settings_do_not_name(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        path = write(tmp_path, pack_text(APPEAL))
        result = await run("packs", "adopt", str(path), "--reason", "x", "--by", "clerk-7")
        assert isinstance(result.exception, IdentityMismatch)
        assert "pack_issuers" in str(result.exception)

    play(tmp_path, scene, agencies=1)
