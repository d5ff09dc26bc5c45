"""The systemd units: systemd reads them, finds them closed, and what they forbid node and hub do not need."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.federation import new_node
from tests.hubs import founded, running_hub
from tests.services import Service, Unit, allowed_calls, filter_program, have_seccomp, missing

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
BIN = Path(sys.executable).parent
# systemd's own scale from 0.0 (closed) to 10.0, times ten: a unit with everything but a network has 12.
MOST_EXPOSED = 15

pytestmark = pytest.mark.skipif(bool(missing(["systemd-analyze"])), reason="systemd-analyze is not here")
each_unit = pytest.mark.parametrize("path", UNITS, ids=[path.stem.replace("@", "-of") for path in UNITS])


@each_unit
def test_systemd_understands_every_line(path: Path, tmp_path: Path) -> None:
    text = path.read_text().replace("/opt/candor/current/bin", str(BIN))
    name = path.name.replace("@.", "@a.")
    (tmp_path / path.name).write_text(text)
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr, done.stderr


@each_unit
def test_a_unit_is_open_for_nothing_but_its_network(path: Path) -> None:
    done = subprocess.run(
        [
            *("systemd-analyze", "security", "--no-pager", "--offline=true"),
            *(f"--threshold={MOST_EXPOSED}", str(path)),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@each_unit
def test_a_unit_keeps_what_it_promises(path: Path) -> None:
    unit = Unit.read(path)
    assert unit.one("Type") == "notify"
    assert unit.one("LimitCORE") == "0"  # a core dump holds keys
    assert unit.one("Restart") == "always"
    assert unit.one("StartLimitIntervalSec", "Unit") == "0"  # for ever
    assert int(unit.one("WatchdogSec")) >= 60
    assert unit.one("User") != "root"
    assert not allowed_calls(unit) & {"ptrace", "mount", "bpf", "init_module", "reboot", "chroot", "setuid"}
    assert Path(unit.command[0]).parent == Path("/opt/candor/current/bin")


@pytest.mark.skipif(not have_seccomp(), reason="libseccomp is not here")
def test_the_filter_that_is_tried_here_does_forbid() -> None:
    """Else the test below would show nothing."""
    unit = Unit.read(DEPLOY / "systemd/candor-node.service")
    with tempfile.NamedTemporaryFile() as program:
        program.write(filter_program(unit))
        program.flush()
        code = (
            "import mmap, os, socket\n"
            "for what in (lambda: os.chroot('/'), lambda: socket.socket(socket.AF_PACKET),\n"
            "        lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)):\n"
            "    try:\n        what()\n        print('allowed')\n"
            "    except PermissionError:\n        print('refused')\n"
            "socket.socket()\n"
        )
        wishes = f'{{"root": "/", "uid": {os.getuid()}, "gid": 0, "folder": "/", "filter": "{program.name}"}}'
        launch = Path(__file__).resolve().parents[2] / "launch.py"
        done = subprocess.run(
            [sys.executable, str(launch), wishes, sys.executable, "-c", code], capture_output=True, text=True
        )
    assert done.stdout.split() == ["refused"] * 3, done.stderr


@pytest.mark.skipif(not have_seccomp(), reason="libseccomp is not here")
def test_a_node_runs_under_its_unit(tmp_path: Path) -> None:
    """With its system calls, credentials and notifications: it attaches, and ends when it is told to."""
    unit = Unit.read(DEPLOY / "systemd/candor-node.service")

    async def scene() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            config = await new_node(hub, tmp_path / "alpha", "alpha", "ZZ0000010")
            key = tmp_path / "elsewhere.key"
            config.database_key_file.rename(key)  # only the credential is left
            command = [
                str(BIN / "candor-node"),
                "run",
                "--json-log",
                "--config",
                str(tmp_path / "alpha/node.toml"),
            ]
            assert command[1:-1] == unit.command[1:-1]
            with Service(
                unit, command=command, user=(os.getuid(), os.getgid()), credentials={"database.key": key}
            ) as service:
                await asyncio.to_thread(service.ready)
                await asyncio.to_thread(service.ready, word="STATUS=alpha is attached")
                await asyncio.to_thread(service.ready, word="WATCHDOG=1")
                assert await asyncio.to_thread(service.stop) == 0
                log = service.log.read_text()
            assert not re.search("Traceback|PermissionError|not permitted", log), log

    asyncio.run(scene())


@pytest.mark.skipif(not have_seccomp(), reason="libseccomp is not here")
def test_a_hub_runs_under_its_unit(tmp_path: Path) -> None:
    unit = Unit.read(DEPLOY / "systemd/candor-hub.service")
    config = founded(tmp_path / "hub")
    key = tmp_path / "elsewhere.key"
    (config.keys / "database.key").rename(key)
    command = [str(BIN / "candor-hub"), "run", "--config", str(tmp_path / "hub/hub.toml")]
    assert command[1:-1] == unit.command[1:-1]
    with Service(
        unit, command=command, user=(os.getuid(), os.getgid()), credentials={"database.key": key}
    ) as service:
        service.ready()
        service.ready(word="WATCHDOG=1")
        assert service.stop() == 0
        log = service.log.read_text()
    assert not re.search("Traceback|PermissionError|not permitted", log), log
