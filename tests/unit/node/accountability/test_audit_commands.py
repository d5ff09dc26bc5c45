"""Receipts, evidence and an audit from the first command to the last, and an invented case number (§18)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node import ledger, lookup_store
from candor_node.accountability import auditing, digests, openings, own_lookups
from candor_node.app import Node
from candor_node.cli_common import EXIT_FAILED, EXIT_INCOMPLETE
from candor_proto.accountability.draw import Month
from candor_proto.accountability.file_form import encode_file
from candor_proto.accountability.opening_file import parse_opening
from candor_proto.errors import (
    AlreadyExists,
    CommitmentMismatch,
    Expired,
    IdentityMismatch,
    InputInvalid,
    LogUnwitnessed,
    NotLogged,
    SealedDataInvalid,
    SignatureInvalid,
    UnknownObject,
)
from candor_proto.tlog.checkpoint import SignedCheckpoint
from tests.byzantine.forging import answers_with, under
from tests.federation import Federation, eventually, federation
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row
from tests.unit.node.accountability.scenes import SCREENING, kept, party
from tests.unit.node.accountability.scenes import play as play_pair
from tests.unit.node.test_cli import Run, ended, play

VERIFY = Path(sys.executable).parent / "candor-verify"


async def asked(fed: Federation, case: str = "REQ-2026-17") -> str:
    """A lookup of alpha about bravo's officer, once the log holds it."""
    alpha, bravo = fed.nodes
    await fed.file(bravo, [make_row()])
    view = await fed.ask(alpha, shape=SCREENING, case=case)
    await logged(alpha)
    return str(view.row.search_id)


async def logged(node: Node) -> None:
    async def look() -> tuple[int, int]:
        await node.follower.follow()
        return await node.store.run(own_lookups.count)

    await eventually(look, lambda counts: counts[0] == counts[1] > 0)


def policy_file(node: Node, folder: Path) -> Path:
    path = folder / "policy.txt"
    assert node.follower.view is not None
    path.write_bytes(node.follower.view.policy.text)
    return path


def draws_now(node: Node, month: Month) -> None:
    """The hub keeps the newest head as the draw of `month`, and no other."""
    proofs = node.accountant.proofs
    honest = proofs._kept

    async def served(shard: int, name: str) -> SignedCheckpoint:
        if name == f"draw/{month}":
            return proofs.view().signed
        if name.startswith("draw/"):
            raise UnknownObject("There is no such draw.")
        return await honest(shard, name)

    proofs._kept = served  # type: ignore[method-assign]  # a hub that keeps one draw


async def by_verifier(*words: str | Path) -> tuple[int, str]:
    """candor-verify shares no code with the node."""

    def verify() -> tuple[int, str]:
        command = [str(VERIFY), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        return done.returncode, done.stdout + done.stderr

    return await asyncio.to_thread(verify)


# --- receipts --------------------------------------------------------------------------------------------


def test_receipts_are_written_one_an_answer_and_checked_by_the_verifier(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        lookup_id, out = await asked(fed), tmp_path / "receipts"
        policy = policy_file(fed.nodes[0], tmp_path)
        json_by_dana = ("--by", "dana", "--json")
        made = await run("lookups", "receipts", lookup_id[:12], "--out", str(out), *json_by_dana)
        while ended(made) == EXIT_INCOMPLETE:  # an answer was logged a moment ago
            await fed.nodes[0].follower.follow()
            made = await run(
                "lookups", "receipts", lookup_id, "--out", str(out), "--force", "--by", "dana", "--json"
            )
        report = json.loads(made.stdout)
        assert sorted(one["owner"] for one in report["receipts"]) == ["alpha", "bravo"]
        for one in report["receipts"]:
            path = out / one["file"]
            assert path.stat().st_mode & 0o777 == 0o600
            status, said = await by_verifier("receipt", path, "--policy", policy)
            assert status == 0, said
        with pytest.raises(AlreadyExists):
            ended(await run("lookups", "receipts", lookup_id, "--out", str(out), "--by", "dana"))
        by_case = await run(
            "lookups", "receipts", "REQ-2026-17", "--out", str(tmp_path / "case"), "--by", "dana"
        )
        assert "2 receipts" in by_case.output
        with pytest.raises(UnknownObject):
            ended(await run("lookups", "receipts", "NO-SUCH-CASE", "--out", str(out), "--by", "dana"))

    play(tmp_path, scene)


# --- evidence --------------------------------------------------------------------------------------------


def test_evidence_is_listed_exported_and_accepted_by_the_verifier(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        alpha, bravo = fed.nodes
        assert "No misbehaviour" in (await run("audit", "evidence")).output
        answers_with(party(bravo), under(bytes(32)))
        await fed.ask(alpha, shape=SCREENING, wait_seconds=fed.a_while_seconds)
        await eventually(lambda: kept(alpha), lambda held: bool(held))
        await logged(alpha)
        listed = json.loads((await run("audit", "evidence", "--json")).stdout)["evidence"]
        assert [(one["kind"], one["accused"], one["state"]) for one in listed] == [
            ("wrong-key", "bravo", "ready")
        ]
        out = tmp_path / "evidence.json"
        exported = await run("audit", "evidence", "export", "1", "--out", str(out), "--by", "auditor-5")
        assert ended(exported) == 0
        assert "wrong-key against bravo" in exported.output
        status, said = await by_verifier("evidence", out, "--policy", policy_file(alpha, tmp_path))
        assert status == 0, said
        assert "bravo" in said
        listed = json.loads((await run("audit", "evidence", "--json")).stdout)["evidence"]
        assert listed[0]["state"] == "exported"
        events = await alpha.store.run(lambda db: ledger.entries(db, event="evidence"))
        assert [(one.event, one.details["by"]) for one in events] == [("evidence.exported", "auditor-5")]
        with pytest.raises(UnknownObject):
            ended(await run("audit", "evidence", "export", "9", "--out", str(tmp_path / "x"), "--by", "a"))

    play(tmp_path, scene)


def test_the_digest_is_read_and_reviewed_by_command(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        alpha = fed.nodes[0]
        with pytest.raises(UnknownObject):
            ended(await run("audit", "digest", "--by", "auditor-5"))
        month = Month.of(alpha.clock.now()).before
        moment = alpha.clock.now()
        await alpha.store.run(
            lambda db: db.execute("INSERT INTO digests (month, made_at) VALUES (?, 1)", [str(month)])
        )
        status = await run("audit", "status")
        assert str(month) in status.output
        shown = await run("audit", "digest", "--by", "auditor-5")
        assert "Nothing failed." in shown.output
        done = await run("audit", "digest", str(month), "--review", "--note", "seen", "--by", "auditor-5")
        assert "Reviewed by auditor-5. Evidence made: none" in done.output
        assert await alpha.store.run(digests.waiting) == []
        assert moment

    play(tmp_path, scene)


# --- an audit ----------------------------------------------------------------------------------------------


def test_an_audit_from_the_draw_to_the_check(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        alpha = fed.nodes[0]
        lookup_id = await asked(fed)
        month = Month.of(alpha.clock.now())
        draws_now(alpha, month)
        drawn = json.loads(
            (await run("audit", "draw", "--rate", "10000", "--by", "auditor-5", "--json")).stdout
        )
        assert [one["lookup_id"] for one in drawn["lookups"]] == [lookup_id]
        few = json.loads((await run("audit", "draw", "--month", str(month), "--by", "a", "--json")).stdout)
        assert few["own"] == 1
        key, sealed, opening = tmp_path / "auditor.key", tmp_path / "sealed.json", tmp_path / "opening.json"
        made = await run(
            "audit", "auditor-key", "auditor-5", "--federation", alpha.config.federation, "--out", str(key)
        )
        assert ended(made) == 0
        assert key.stat().st_mode & 0o777 == 0o600
        public = tmp_path / "auditor.key.pub"
        words = ("--auditor", str(public), "--out", str(sealed), "--by", "auditor-5")
        assert ended(await run("audit", "open", lookup_id[:10], *words)) == 0
        assert b"Placeholderson" not in sealed.read_bytes()
        assert ended(await run("audit", "read", str(sealed), "--key", str(key), "--out", str(opening))) == 0
        assert b"Placeholderson" in opening.read_bytes()
        policy, register = policy_file(alpha, tmp_path), tmp_path / "cases.txt"
        register.write_text("REQ-2026-16\nREQ-2026-17\n")
        check = ("--policy", str(policy), "--cases", str(register))
        good = await run("audit", "check", str(opening), *check)
        assert ended(good) == 0
        assert "explained slot by slot" in good.output
        status, said = await by_verifier("evidence", "--opening", opening, *check)
        assert status == 0, said
        events = await alpha.store.run(lambda db: ledger.entries(db, event="audit"))
        assert [one.event for one in events] == ["audit.drawn", "audit.drawn", "audit.opened"]
        assert events[-1].refs == {"lookup_id": lookup_id, "auditor": "auditor-5"}

    play(tmp_path, scene)


def test_a_draw_is_judged_by_the_policy_of_its_time(tmp_path: Path) -> None:
    """It was kept when nobody was a witness yet; by now every head takes two of three (§15.4)."""

    async def scene() -> None:
        async with federation(tmp_path, 3) as fed:
            alpha = fed.nodes[0]
            openings_of = alpha.accountant.openings

            async def quorum() -> str:
                await alpha.follower.follow()
                return alpha.accountant.proofs.view().policy.quorum

            await eventually(quorum, lambda name: name != "none")
            drawn = await openings_of.draw(None, alpha.clock.now())
            assert (drawn.draw.start, drawn.lookups) == (0, ())
            signed = await alpha.accountant.proofs.draw(drawn.shard, drawn.name)
            with pytest.raises(LogUnwitnessed):
                alpha.accountant.proofs.view().policy.verify(signed, alpha.clock.now())
            draws_now(alpha, Month.of(alpha.clock.now()))
            assert (await openings_of.draw(None, alpha.clock.now())).draw.end > drawn.draw.end
            newest = alpha.accountant.proofs.view().signed
            unsigned = replace(newest, signatures=newest.signatures[1:])

            async def served(shard: int, name: str) -> SignedCheckpoint:
                return unsigned

            alpha.accountant.proofs._kept = served  # type: ignore[method-assign]  # a hub without its key
            with pytest.raises(SignatureInvalid):
                await openings_of.draw(None, alpha.clock.now())

    asyncio.run(scene())


def test_an_invented_case_number_is_caught_either_way(tmp_path: Path) -> None:
    """Shown as it was committed to it does not stand in the register; shown as another one it is refused."""

    async def scene(fed: Federation, run: Run) -> None:
        alpha = fed.nodes[0]
        lookup_id = await asked(fed, case="INVENTED-7")
        key, policy = tmp_path / "auditor.key", policy_file(alpha, tmp_path)
        register = tmp_path / "cases.txt"
        register.write_text("REQ-2026-17\n")
        await run(
            "audit", "auditor-key", "auditor-5", "--federation", alpha.config.federation, "--out", str(key)
        )
        sealed, shown = tmp_path / "sealed.json", tmp_path / "opening.json"
        words = ("--auditor", str(tmp_path / "auditor.key.pub"), "--out", str(sealed), "--by", "auditor-5")
        await run("audit", "open", lookup_id, *words)
        await run("audit", "read", str(sealed), "--key", str(key), "--out", str(shown))
        check = ("--policy", str(policy), "--cases", str(register))

        found = await run("audit", "check", str(shown), *check)
        assert ended(found) == EXIT_FAILED
        assert "FINDING: case not in the register: INVENTED-7" in found.output
        status, said = await by_verifier("evidence", "--opening", shown, *check)
        assert status != 0
        assert "INVENTED-7" in said

        lied = tmp_path / "lied.json"
        value = json.loads(shown.read_bytes())
        value["persons"][0]["case"] = "REQ-2026-17"
        lied.write_bytes(encode_file(value))
        with pytest.raises(CommitmentMismatch, match="The case shown is not the one"):
            ended(await run("audit", "check", str(lied), *check))
        status, said = await by_verifier("evidence", "--opening", lied, *check)
        assert status != 0
        assert "VERIFIED" not in said.upper().split() or "not" in said

    play(tmp_path, scene)


def test_an_opening_is_read_by_its_auditor_only(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        await asked(fed)
        private, public = auditing.make_key("auditor-5", alpha.config.federation)
        other, _ = auditing.make_key("auditor-5", alpha.config.federation)
        third, _ = auditing.make_key("auditor-6", alpha.config.federation)
        (mine,) = await alpha.store.run(lambda db: own_lookups.named(db, ""))
        from candor_proto.accountability.opening_file import parse_auditor_key

        sealed = (await alpha.accountant.openings.open(mine, parse_auditor_key(public))).encode()
        assert parse_opening(auditing.unseal(sealed, private)).asker == alpha.config.node_id
        with pytest.raises(SealedDataInvalid):
            auditing.unseal(sealed, other)
        with pytest.raises(IdentityMismatch):
            auditing.unseal(sealed, third)
        _, elsewhere = auditing.make_key("auditor-5", "elsewhere.example")
        with pytest.raises(IdentityMismatch):
            await alpha.accountant.openings.open(mine, parse_auditor_key(elsewhere))
        unplaced = own_lookups.OwnLookup(mine.lookup_id, mine.flight, mine.issued_at, None)
        with pytest.raises(NotLogged):
            await alpha.accountant.openings.open(unplaced, parse_auditor_key(public))
        assert bravo

    play_pair(tmp_path, scene)


def test_a_register_is_a_text_one_case_a_line() -> None:
    assert auditing.read_register("\ufeffREQ-1\r\n  REQ-2  \n\n".encode()) == ["REQ-1", "REQ-2"]
    with pytest.raises(InputInvalid):
        auditing.read_register(b"\xff\xfe")


# --- after two years ---------------------------------------------------------------------------------------


def test_openings_and_answers_are_destroyed_after_two_years(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        await asked(fed)
        (mine,) = await alpha.store.run(lambda db: own_lookups.named(db, ""))
        almost, over = mine.issued_at + openings.KEPT, mine.issued_at + openings.KEPT + timedelta(seconds=1)
        assert await alpha.store.run(lambda db: openings.destroy_old(db, almost)) == 0
        statement, kept = await alpha.store.run(lambda db: openings.opening_of(db, mine))
        assert kept[0].particulars.last == "Placeholderson"
        assert await alpha.store.run(lambda db: openings.destroy_old(db, over)) == 1
        assert await alpha.store.run(lambda db: openings.destroy_old(db, over)) == 0

        def left(db):  # type: ignore[no-untyped-def]  # one transaction
            (opening,) = db.execute("SELECT opening FROM lookups").fetchone()
            answers = db.execute("SELECT count(*) FROM lookup_targets WHERE answer_body NOT NULL").fetchone()
            return opening, answers[0], own_lookups.count(db), lookup_store.search(db, mine.lookup_id)

        opening, answers, known, search = await alpha.store.run(left)
        assert (opening, answers, known) == ("", 0, (0, 0))
        # The account of it stays: who asked, when, under which case.
        assert search is not None
        assert search.case == "REQ-2026-17"
        with pytest.raises(Expired, match="two years are over"):
            await alpha.store.run(lambda db: openings.opening_of(db, mine))
        assert (await alpha.cases.view(search.search_id)).row.case == "REQ-2026-17"
        alpha.cases.drop(search.search_id)
        with pytest.raises(Expired, match="two years are over"):
            await alpha.cases.get(search.search_id)
        assert statement.body

    play_pair(tmp_path, scene)
