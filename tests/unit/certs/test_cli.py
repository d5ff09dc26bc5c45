"""`candor-certs`."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from candor_certs import cli
from candor_certs.folders import load_issuing
from candor_certs.store import write_certificates
from tests.certificates import FlawedCertificates

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the entry point: (exit status, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["candor-certs", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def ceremony(run: Run, tmp_path: Path) -> Path:
    """A folder with `root` and `issuing` made by the commands."""
    assert run("root", "create", "--federation", "demo.example", "--out", tmp_path / "root")[0] == 0
    assert run("issuing", "create", "--root", tmp_path / "root", "--out", tmp_path / "issuing")[0] == 0
    return tmp_path


def test_the_ceremony_makes_folders_the_hub_can_use(ceremony: Path) -> None:
    authority = load_issuing(ceremony / "issuing")
    assert str(authority.federation) == "demo.example"
    assert FlawedCertificates(authority).good().leaf.serial_number


def test_show_prints_what_a_certificate_claims(run: Run, ceremony: Path) -> None:
    status, out, _ = run("show", ceremony / "root" / "root.crt")
    assert status == 0
    assert "spiffe://demo.example  (root)" in out
    assert "SHA256:" in out
    status, out, _ = run("show", ceremony / "issuing", "--json")
    reports = json.loads(out)
    assert [report["role"] for report in reports] == ["issuing", "root", "issuing"]
    assert not any("key" in report["file"] for report in reports)


def test_show_marks_an_expired_certificate(run: Run, ceremony: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_now", lambda: datetime.now(UTC) + timedelta(days=400))
    _, out, _ = run("show", ceremony / "issuing" / "issuing.crt")
    assert "EXPIRED" in out


def test_show_survives_a_certificate_that_is_not_ours(run: Run, ceremony: Path) -> None:
    flawed = FlawedCertificates(load_issuing(ceremony / "issuing"))
    for number, shown in enumerate((flawed.no_name(), flawed.unknown_role(), flawed.weak_rsa())):
        write_certificates(ceremony / f"{number}.crt", shown.chain[:1])
        assert run("show", ceremony / f"{number}.crt")[0] == 0


def test_verify_says_good_or_why_not(run: Run, ceremony: Path) -> None:
    authority = load_issuing(ceremony / "issuing")
    flawed = FlawedCertificates(authority)
    root = ceremony / "root" / "root.crt"
    directory = authority.issue_directory(Ed25519PrivateKey.generate().public_key(), datetime.now(UTC))
    for chain in (flawed.good().chain, flawed.good_hub().chain, authority.chain(directory)):
        write_certificates(ceremony / "member.crt", chain)
        status, out, _ = run("verify", ceremony / "member.crt", "--root", root)
        assert (status, "is good until" in out) == (0, True)
    for bad in (flawed.expired(), flawed.other_authority(), flawed.weak_rsa(), flawed.two_names()):
        write_certificates(ceremony / "member.crt", bad.chain)
        status, out, err = run("verify", ceremony / "member.crt", "--root", root, "--json")
        assert (status, out) == (2, "")
        assert err.startswith("candor-certs: ")


def test_verify_trusts_only_a_root(run: Run, ceremony: Path) -> None:
    write_certificates(
        ceremony / "member.crt", FlawedCertificates(load_issuing(ceremony / "issuing")).good().chain
    )
    status, _, err = run("verify", ceremony / "member.crt", "--root", ceremony / "issuing" / "issuing.crt")
    assert status == 2
    assert "root" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("root", "create", "--federation", "Bad Name", "--out", "x"),
        ("root", "create", "--federation", "a..b", "--out", "x"),
        ("root", "create"),
        ("issuing", "create", "--root", "nowhere", "--out", "x"),
        ("show", "nowhere"),
        ("show", "."),
        ("verify", "nowhere", "--root", "nowhere"),
        ("unknown",),
    ],
)
def test_an_error_is_a_sentence_and_exit_status_2(
    run: Run, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert status == 2
    assert err.strip()
    assert "Traceback" not in out + err
    assert not (tmp_path / "x" / "issuing.key").exists()


def test_nothing_is_overwritten(run: Run, ceremony: Path) -> None:
    before = (ceremony / "root" / "root.key").read_bytes()
    status, _, err = run("root", "create", "--federation", "demo.example", "--out", ceremony / "root")
    assert (status, "exists already" in err) == (2, True)
    assert (ceremony / "root" / "root.key").read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [(), ("root",), ("root", "create"), ("issuing",), ("issuing", "create"), ("show",), ("verify",)],
)
def test_help_teaches(run: Run, command: tuple[str, ...]) -> None:
    status, out, _ = run(*command, "--help")
    assert status == 0
    assert "Usage" in out
    assert len(out.splitlines()) > 8


def test_no_secret_is_printed(run: Run, ceremony: Path) -> None:
    secret = "".join((ceremony / "root" / "root.key").read_text().splitlines()[1:-1])
    for command in (("show", ceremony / "root"), ("show", ceremony / "issuing", "--json")):
        _, out, err = run(*command)
        assert secret[40:80] not in out + err


def test_two_persons_sign_an_issuing_authority_and_one_does_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    _, out, _ = run("root", "create", "--persons", "2", "--federation", "demo.example", "--out", root)
    first, second = re.findall(r"Code of person \d: (\S+)", out)
    sign = ("issuing", "create", "--root", root, "--out", tmp_path / "issuing")
    wrong = second[:-1] + ("2" if second[-1] != "2" else "3")
    for typed in (f"{first}\n{first}\n", f"{first}\n{wrong}\n", f"{first}\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        status, _, err = run(*sign)
        assert status == 2, err
        assert "Traceback" not in err
        assert first not in err
        assert not (tmp_path / "issuing").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{second.lower()}\n{first}\n"))
    assert run(*sign)[0] == 0
    check = ("issuing", "check", tmp_path / "issuing", "--root")
    assert run(*check, root / "root.crt")[0] == 0
    run("root", "create", "--federation", "demo.example", "--out", tmp_path / "other")
    status, _, err = run(*check, tmp_path / "other" / "root.crt")
    assert (status, "another root" in err) == (2, True)
    monkeypatch.setattr(cli, "_now", lambda: datetime.now(UTC) + timedelta(days=400))
    assert run(*check, root / "root.crt")[0] == 2
