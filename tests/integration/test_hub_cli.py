"""`candor-hub` as an operator meets it: real processes, sentences instead of tracebacks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from candor_certs.invitation import parse_invitation
from candor_proto.directory import MemberStatus
from candor_proto.errors import CertificateRevoked
from tests import commands
from tests.hubs import enrol, founded, running_hub
from tests.patience import PATIENCE_SECONDS

COMMAND = Path(sys.executable).parent / "candor-hub"
COMMANDS = ("init", "run", "invite", "agencies", "suspend", "revoke", "certificates", "deny", "doctor")


def hub(*arguments: object, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = commands.run("candor-hub", *arguments, environment=environment)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def init(folder: Path, *more: object) -> Path:
    """The configuration of a hub made by the command, on ports that nobody has."""
    address, enrolment, log = (f"127.0.0.1:{free_port()}" for _ in range(3))
    hub(
        "init",
        *("--dir", folder, "--federation", "demo.example"),
        *("--address", address, "--enrolment-address", enrolment, "--log-address", log, *more),
    )
    return folder / "hub.toml"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


@contextmanager
def running(config: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the line it said when it was ready."""
    process = subprocess.Popen(
        [COMMAND, "run", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def test_every_command_teaches() -> None:
    for command in COMMANDS:
        shown = hub(command, "--help").stdout
        assert "Usage" in shown
        assert "--json" in shown


def test_the_help_of_run_names_every_setting() -> None:
    from candor_hub.config import SETTINGS

    shown = hub("run", "--help").stdout
    assert [name for name in SETTINGS if name not in shown] == []


def test_the_version_comes_quickly() -> None:
    """What is slow to import is imported where it is used: 0.2 s on a quiet machine."""
    assert "candor-hub" in hub("--version").stdout
    done = subprocess.run(
        [sys.executable, "-c", "import sys, candor_hub.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"grpc", "sqlalchemy", "cryptography", "pydantic"}.isdisjoint(done.stdout.split())


def test_from_init_to_a_listed_agency(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    assert json.loads(hub("agencies", "--config", config, "--json").stdout) == []
    out = tmp_path / "invitation.txt"
    made = hub(
        "invite",
        "CA0340000",
        *("--node", "alpha", "--name", "Alpha County Sheriff", "--out", out, "--json"),
        CANDOR_HUB_CONFIG=str(config),
    )
    report = json.loads(made.stdout)
    invitation = parse_invitation(out.read_text())
    assert out.stat().st_mode & 0o077 == 0
    assert report["fingerprint"] == invitation.fingerprint
    assert invitation.agency_name == "Alpha County Sheriff"
    assert invitation.token.hex() not in made.stdout + made.stderr
    again = hub(
        *("invite", "CA0340000", "--node", "alpha", "--name", "A", "--out", out, "--config", config), status=2
    )
    assert "exists already" in again.stderr


def test_init_says_that_the_root_key_belongs_offline(tmp_path: Path) -> None:
    done = hub(
        "init",
        *("--dir", tmp_path / "hub", "--federation", "demo.example"),
        *("--address", "127.0.0.1:1", "--enrolment-address", "127.0.0.1:2"),
    )
    assert "SHA256:" in done.stdout
    assert "offline" in done.stdout
    other = init(tmp_path / "other", "--issuing", tmp_path / "hub/authority/issuing")
    assert not (tmp_path / "other/authority").exists()
    assert json.loads(hub("doctor", "--config", other, "--json").stdout)["counts"]["bad"] == 0


def test_the_hub_runs_says_when_it_is_ready_and_stops_cleanly(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    for number in (signal.SIGTERM, signal.SIGINT):
        with running(config) as (process, line):
            assert line.startswith("candor-hub: ready on 127.0.0.1:")
            process.send_signal(number)
            _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0, stderr
            assert "Traceback" not in stderr
            assert [json.loads(entry)["event"] for entry in stderr.splitlines()] == ["started", "stopped"]


def test_an_address_in_use_is_said_in_words(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = hub("run", "--config", config, status=2, CANDOR_HUB_ADDRESS=address)
    assert f"cannot listen on {address}: Address already in use" in one_sentence(done)


def test_the_commands_work_beside_a_running_hub(tmp_path: Path) -> None:
    async def act() -> None:
        folder = tmp_path / "hub"
        config = await asyncio.to_thread(founded, folder)
        async with running_hub(folder, config=config) as running_one:
            alpha = await enrol(running_one, "alpha")
            async with alpha.attached() as stream:
                file = folder / "hub.toml"
                said = await asyncio.to_thread(hub, "suspend", "alpha", "--config", file, "--json")
                assert json.loads(said.stdout)["status"] == "suspended"
                await stream.end()
                await asyncio.to_thread(hub, "suspend", "alpha", "--lift", "--config", file)
                assert (await alpha.directory()).member(alpha.node).status is MemberStatus.ACTIVE
            async with alpha.attached() as stream:
                said = await asyncio.to_thread(hub, "revoke", "alpha", "--config", file, "--json")
                assert json.loads(said.stdout)["denied_certificates"] == 1
                assert type(await stream.end()) is CertificateRevoked
            (row,) = json.loads((await asyncio.to_thread(hub, "agencies", "--config", file, "--json")).stdout)
            assert (row["node"], row["status"], row["oris"]) == ("alpha", "revoked", [str(alpha.ori)])
            assert "revoked" in (await asyncio.to_thread(hub, "agencies", "--config", file)).stdout
            await alpha.close()

    asyncio.run(act())


# --- errors -------------------------------------------------------------------------------------------


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.splitlines()
    assert lines[0].startswith("candor-hub: ")
    assert len(lines) == 2, done.stderr  # the sentence and the remedy
    return lines[0]


def test_a_missing_configuration(tmp_path: Path) -> None:
    assert "There is no configuration" in one_sentence(
        hub("agencies", "--config", tmp_path / "hub.toml", status=2)
    )


def test_a_wrong_database_key(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    key = tmp_path / "hub/keys/database.key"
    key.write_bytes(bytes(32))
    for command in ("agencies", "run"):
        assert "key does not fit" in one_sentence(hub(command, "--config", config, status=2))
    told = json.loads(hub("doctor", "--config", config, "--json", status=1).stdout)
    (database,) = [finding for finding in told["findings"] if finding["key"] == "database"]
    assert (database["state"], "key does not fit" in database["detail"]) == ("bad", True)


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    (tmp_path / "hub/keys/database.key").chmod(0o644)
    assert "other users" in one_sentence(hub("run", "--config", config, status=2))


def test_an_unknown_node_and_a_malformed_one(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    assert "There is no member nobody" in one_sentence(hub("revoke", "nobody", "--config", config, status=2))
    done = hub("revoke", "No Body", "--config", config, status=2)
    assert "is not a node id" in done.stderr
    done = hub(
        "invite", "X", "--node", "alpha", "--name", "A", "--out", tmp_path / "i", "--config", config, status=2
    )
    assert "is not an ORI" in done.stderr


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = hub(
        "init",
        *("--dir", tmp_path / "file/hub", "--federation", "demo.example"),
        *("--address", "127.0.0.1:1", "--enrolment-address", "127.0.0.1:2"),
        status=2,
    )
    assert "cannot be created" in one_sentence(done)


def test_init_twice(tmp_path: Path) -> None:
    init(tmp_path / "hub")
    done = hub(
        "init",
        *("--dir", tmp_path / "hub", "--federation", "demo.example"),
        *("--address", "127.0.0.1:1", "--enrolment-address", "127.0.0.1:2"),
        status=2,
    )
    assert "exists already" in one_sentence(done)


@pytest.mark.parametrize("arguments", [("frobnicate",), ("run", "--nonsense"), ("invite",)])
def test_a_wrong_command_line(arguments: tuple[str, ...]) -> None:
    hub(*arguments, status=2)
