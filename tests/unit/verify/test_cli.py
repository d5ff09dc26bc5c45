"""The command: what it says, and its exit status for each class of findings (docs/verify.md)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from candor_proto.tlog import tiles
from candor_verify import cli
from candor_verify.errors import FindingClass
from candor_verify.form import encode
from candor_verify.note import read_base64
from candor_verify.report import Report, printable
from tests.accountable import Court
from tests.misdeeds import MISDEEDS
from tests.parties import MIKE, NOW
from tests.unit.proto.accountability.test_opening_file import asked, opened, papers
from tests.unit.verify.scene import Chain, chained, court_of, policy_of
from tests.unit.verify.served import ServedLog, small

ROOT = Path(__file__).resolve().parents[3]
LATER = NOW + timedelta(hours=1)


def run(*arguments: object, now: datetime = LATER) -> tuple[int, str]:
    said: list[str] = []
    status = cli.run([str(each) for each in arguments], now, said.append)
    return status, "\n".join(said)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> ServedLog:
    log = small(tmp_path_factory.mktemp("log") / "served")
    (log.folder.parent / "policy").write_bytes(log.first_policy)
    return log


@pytest.fixture(scope="module")
def court() -> Court:
    return Court()


@pytest.fixture
def policy(court: Court, tmp_path: Path) -> Path:
    (tmp_path / "policy").write_bytes(policy_of(court))
    return tmp_path / "policy"


def write(path: Path, octets: bytes) -> Path:
    path.write_bytes(octets)
    return path


def test_log(log: ServedLog) -> None:
    status, said = run("log", log.folder, "--policy", log.folder.parent / "policy")
    assert status == 0
    assert said.endswith("Verdict: VERIFIED")
    status, said = run("log", log.folder, "--policy", log.folder.parent / "policy", "--json")
    assert (status, json.loads(said)["verdict"]) == (0, "verified")


def test_log_with_a_draw_and_a_kept_checkpoint(log: ServedLog) -> None:
    status, said = run(
        *(
            "log",
            log.folder,
            "--policy",
            log.folder.parent / "policy",
            "--draw",
            "2026-03",
            "--rate",
            "10000",
        ),
        *("--from-checkpoint", log.folder / "1/policy/2"),
    )
    assert status == 0, said
    assert "3 lookups, 3 drawn at 10000/10,000" in said


def test_the_first_policy_is_shown_for_comparison(log: ServedLog, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = run("log", log.folder, "--first-policy")
    assert (status, said + "\n") == (0, log.first_policy.decode())
    digest = hashlib.sha256(log.first_policy).hexdigest()
    assert digest in capsys.readouterr().err
    status, said = run("log", log.folder, "--first-policy", "--json")
    assert json.loads(said) == {"policy": log.first_policy.decode(), "sha256": digest}


def test_a_first_policy_that_cannot_be_had_leaves_nothing_in_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("log", tmp_path / "nothing", "--first-policy") == (2, "")
    assert "no such folder" in capsys.readouterr().err


def test_a_damaged_log_says_what_is_damaged(log: ServedLog, tmp_path: Path) -> None:
    from shutil import copytree

    folder = copytree(log.folder, tmp_path / "copy")
    path = folder / "2" / tiles.bundle_path(0, 16)
    octets = path.read_bytes()
    path.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
    status, said = run("log", folder, "--policy", log.folder.parent / "policy", "--json")
    report = json.loads(said)
    assert status == report["status"] == 4
    assert [finding["where"] for finding in report["findings"]] == ["2/tile/entries/000.p/16"]


@pytest.mark.parametrize(
    "arguments",
    [["log", "/nowhere", "--policy", "/nowhere"], ["receipt", "/nowhere", "--policy", "/nowhere"],
     ["protocol-vectors", "/nowhere"], ["evidence", "--policy", "/nowhere"],
     ["log", "http://insecure.example/log", "--policy", "/nowhere"]],
)  # fmt: skip
def test_what_cannot_be_read_is_status_2(arguments: Sequence[str]) -> None:
    status, said = run(*arguments)
    assert status == 2
    assert "Traceback" not in said


def test_usage_is_status_2() -> None:
    with pytest.raises(SystemExit) as left:
        run("log")
    assert left.value.code == 2


def test_receipts(court: Court, policy: Path, tmp_path: Path) -> None:
    good = write(tmp_path / "good", court.answer_receipt().encode())
    other = write(tmp_path / "other", Court().disclosure_receipt().encode())
    status, said = run("receipt", good, "--policy", policy, now=NOW)
    assert status == 0, said
    status, said = run("receipt", good, other, "--policy", policy, now=NOW)
    assert status == 8
    assert f"[receipt] {other}" in said
    assert f"{good}:" in said


def test_evidence(tmp_path: Path) -> None:
    chain = Chain()
    with chained(chain):
        court = court_of(chain)
        octets = {
            name: MISDEEDS[name](court).encode() for name in ("two_heads_of_one_sequence", "false_directory")
        }
        policy = write(tmp_path / "policy", policy_of(court))
    root = write(tmp_path / "root", chain.root.public_bytes(Encoding.PEM))
    files = [write(tmp_path / name, each) for name, each in octets.items()]
    status, said = run("evidence", *files, "--policy", policy, "--root", root, now=NOW)
    assert status == 0, said
    assert "give --log" in said
    status, said = run("evidence", *files, "--policy", policy, now=NOW)
    assert status == 9
    assert "--root" in said


def test_evidence_counts_only_with_the_key_that_the_whole_log_knows(
    log: ServedLog, court: Court, policy: Path, tmp_path: Path
) -> None:
    """A log that lists another key once more can frame a member: reading all of it shows that."""
    file = write(tmp_path / "heads", MISDEEDS["two_heads_of_one_sequence"](court).encode())
    status, said = run("evidence", file, "--policy", policy, "--log", log.folder, now=LATER)
    assert status != 0
    assert "[evidence does not hold]" in said


def test_openings(court: Court, policy: Path, tmp_path: Path) -> None:
    octets = opened(court, *asked(court, [(MIKE, papers("REQ-1"))])).encode()
    file = write(tmp_path / "opening", octets)
    register = write(tmp_path / "register", b"REQ-1\n")
    status, said = run("evidence", "--opening", file, "--cases", register, "--policy", policy, now=NOW)
    assert status == 0, said
    write(register, b"REQ-2\n")
    status, said = run("evidence", "--opening", file, "--cases", register, "--policy", policy, now=NOW)
    assert status == 12
    assert "case 'REQ-1' is not in the register" in said


def test_index(court: Court, policy: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "receipt", court.answer_receipt().encode())
    segments = tmp_path / "segments"
    segments.mkdir()
    write(segments / "1", court.segment)
    status, said = run("index", file, "--segments", segments, "--policy", policy, now=NOW)
    assert status == 0, said
    assert "1 of 1 held and whole" in said
    write(segments / "1", court.segment[:-1])
    status, said = run("index", file, "--segments", segments, "--policy", policy, now=NOW)
    assert status == 10
    assert "missing" in said


def test_index_by_a_bare_head_and_a_proof_file(court: Court, policy: Path, tmp_path: Path) -> None:
    value = json.loads(court.answer_receipt().encode())
    head = write(tmp_path / "head", encode(value["head"]))
    proof = write(tmp_path / "proof", encode({key: value[key] for key in ("owner_member", "head_logged")}))
    assert run("index", head, "--proof", proof, "--policy", policy, now=NOW)[0] == 0
    assert run("index", head, "--policy", policy, now=NOW)[0] == 10


def test_index_in_a_log(log: ServedLog, tmp_path: Path) -> None:
    policy = log.folder.parent / "policy"
    for name, status in (("alpha", 0), ("beta", 0)):
        part = log.heads[name]
        value = {"body": base64_of(part.body), "signature": base64_of(part.signature)}
        head = write(tmp_path / name, encode(value))
        found, said = run("index", head, "--log", log.folder, "--policy", policy)
        assert found == status, said
        assert "0 later head(s)" in said


def base64_of(octets: bytes) -> str:
    from base64 import b64encode

    text = b64encode(octets).decode()
    assert read_base64(text) == octets
    return text


def test_the_vectors_of_the_protocol_verify() -> None:
    status, said = run("protocol-vectors", ROOT / "tests/vectors/protocol")
    assert status == 0, said


def test_a_vector_that_fails_is_status_11(tmp_path: Path) -> None:
    value = json.loads((ROOT / "tests/vectors/protocol/canonical.json").read_text())
    value["cases"] = [next(case for case in value["cases"] if case["operation"] == "hash")]
    value["cases"][0]["expect"]["digest"] = "00" * 32
    (tmp_path / "x.json").write_text(json.dumps(value))
    status, said = run("protocol-vectors", tmp_path)
    assert status == 11
    assert "digest" in said


def test_every_status_is_documented() -> None:
    text = (ROOT / "docs/verify.md").read_text("utf-8")
    for kind in FindingClass:
        assert re.search(rf"^\| {kind.value} \| `{kind.name.lower()}` \|", text, re.M), kind
    for command in ("log", "receipt", "evidence", "index", "protocol-vectors"):
        assert f"candor-verify {command}" in text


def test_a_report_cannot_move_the_cursor() -> None:
    report = Report("x")
    report.finding(FindingClass.RULE, "\x1b[2Jname\nVerdict: VERIFIED", "what\r")
    assert "\x1b" not in report.text()
    assert "\nVerdict: VERIFIED" not in report.text()
    assert printable("a\u202eb") == "a\\x202eb"


def test_a_failure_of_the_verifier_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(cli, "check_vectors", fail)
    status, said = run("protocol-vectors", "/nowhere")
    assert status == 2
    assert "this verifier failed: KeyError('x')" in said
