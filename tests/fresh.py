"""From a fresh machine to a joined node that answers: the commands of docs/operations.md, each one's effect.

    told = await play(machine, bundle, scratch, version)      one line for each effect that was seen

The hub and the member that asks run here, out of the checkout. The machine is a folder that is / for it (the
campaign `fresh`: a minimal Debian), or a folder of this machine (the short form in `make test`); it has the
two files that an agency gets, and nothing of the project.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from candor_certs.invitation import format_invitation
from candor_proto.ids import NodeId
from candor_proto.result import Overall
from tests.federation import Federation, federation, until
from tests.services import LAUNCH, Service, Unit, account

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/operations.md"
NODE, ORI = "fresh", "ZZ0099990"
MADE_BY_JOIN = {
    ".": "drwx------",
    "node.toml": "-rw-------",
    "keys": "drwx------",
    "keys/database.key": "-rw-------",
    "keys/signing.key": "-rw-------",
    "keys/disclosure.key": "-rw-------",
    "keys/tls.pem": "-rw-------",
    "keys/root.crt": "-rw-r--r--",
    "data": "drwx------",
    "data/node.db": "-rw-------",
    "data/node.db.lock": "-rw-------",
}
QUESTION = "Is that the fingerprint"
COMMAND_SECONDS = 120


def commands(page: Path = PAGE) -> list[str]:
    """The lines of the block under "Five commands"."""
    section = page.read_text("utf-8").partition("## Five commands\n")[2].partition("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return block[1].splitlines()


@dataclass(frozen=True)
class Machine:
    """Where the commands run: `home` is where whoever gives them is, `environment` all that they know."""

    root: Path
    home: Path
    environment: Mapping[str, str]
    programs: Path
    state: Path
    units: Path
    user: str = ""

    def service_user(self) -> tuple[int, int]:
        """uid and gid of the service's user, whom the third command makes; without one whoever runs this."""
        return account(self.root, self.user) if self.user else (os.getuid(), os.getgid())

    def here(self, path: Path) -> Path:
        """A path of the machine as it is called here."""
        return path if self.root == Path("/") else self.root / path.relative_to("/")

    def run(self, line: str, answers: Mapping[str, str] | None = None) -> str:
        """Run a line as a person does, on a terminal; what it showed. Fails unless it ended with status 0."""
        wishes = {"root": str(self.root), "uid": os.getuid(), "gid": os.getgid(), "folder": str(self.home)}
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-I", str(LAUNCH), json.dumps({**wishes, "filter": ""}), "/bin/sh", "-c", line],
            env=dict(self.environment),
            cwd="/",
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown, waiting, deadline = "", dict(answers or {}), time.monotonic() + COMMAND_SECONDS
        try:
            while time.monotonic() < deadline:
                if select.select([ours], [], [], 0.2)[0]:
                    try:
                        piece = os.read(ours, 65536)
                    except OSError:  # what Linux says when nobody has the terminal any more
                        break
                    if not piece:
                        break
                    shown += piece.decode(errors="replace")
                for question in [question for question in waiting if question in shown]:
                    os.write(ours, f"{waiting.pop(question)}\n".encode())
        finally:
            os.close(ours)
            if process.poll() is None and time.monotonic() >= deadline:
                process.kill()
            status = process.wait()
        assert status == 0, f"{line}: status {status}:\n{shown}"
        assert not waiting, f"{line} did not ask: {waiting}\n{shown}"
        return shown


def modes(folder: Path) -> dict[str, str]:
    """Every file and folder in `folder`, by its path, with its mode as `ls -l` has it."""
    found = {str(path.relative_to(folder)): path for path in (folder, *folder.rglob("*"))}
    return {name: stat.filemode(path.lstat().st_mode) for name, path in found.items()}


async def play(machine: Machine, bundle: Path, scratch: Path, version: str) -> list[str]:
    """Run the five commands and check the effect of each; what was seen, one line each."""
    told: list[str] = []
    check, unpack, install, join, start = commands()
    with ExitStack() as services:
        async with federation(scratch / "federation", 1) as fed:
            await asyncio.to_thread(_hand_over, machine, bundle, fed)
            fingerprint = fed.hub.invite("other", "ZZ0088880").fingerprint

            shown = await asyncio.to_thread(machine.run, check)
            assert f"{bundle.name}: OK" in shown
            told.append(f"{check}: the bundle is the one of that SHA-256")

            await asyncio.to_thread(machine.run, unpack)
            (unpacked,) = (path for path in machine.here(machine.home).iterdir() if path.is_dir())
            assert unpacked.name == f"candor-exchange-{version}"
            told.append(f"{unpack}: {len(list(unpacked.rglob('*')))} files, nothing run yet")

            await asyncio.to_thread(machine.run, install)
            await asyncio.to_thread(_check_installed, machine, version)
            told.append(f"{install}: candor-node {version} starts, imports nothing of a checkout")

            folder = machine.here(machine.state / "candor-node")
            assert not list(folder.iterdir())
            shown = await asyncio.to_thread(machine.run, join, {QUESTION: "y"})
            assert fingerprint in shown
            assert "SHA-256 of the log's policy: " in shown
            assert modes(folder) == MADE_BY_JOIN
            owners = {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}
            assert owners == {machine.service_user()[0]}
            await until(lambda: NodeId(NODE) in fed.nodes[0].indexes.require_directory().nodes())
            told.append(f"{join}: {len(MADE_BY_JOIN)} files and folders, of the service's user; a member")

            name = shlex.split(start)[-1]
            assert start == f"sudo systemctl enable --now {name}"
            unit = _unit(machine, name)
            service = services.enter_context(Service(unit, machine.root, user=machine.service_user()))
            await asyncio.to_thread(service.ready)
            await asyncio.to_thread(service.ready, word=f"STATUS={NODE} is attached")
            told.append(f"{start}: READY, attached, under the unit's user and system calls")
            await _check_answers(fed, told)
            assert await asyncio.to_thread(service.stop) == 0
            told.append("stopped by SIGTERM: status 0")
    return told


def _hand_over(machine: Machine, bundle: Path, fed: Federation) -> None:
    """The two files that an agency gets, and its proof of what the first one is."""
    home = machine.here(machine.home)
    for path in (bundle, bundle.with_name(f"{bundle.name}.sha256")):
        (home / path.name).write_bytes(path.read_bytes())
    invitation = home / "invitation.txt"
    invitation.touch(0o600)
    invitation.write_text(format_invitation(fed.hub.invite(NODE, ORI)))


def _unit(machine: Machine, name: str) -> Unit:
    """The unit as it was installed, or with the folders of a machine that is a folder of this one."""
    places = {"/opt/candor": str(machine.programs), "/var/lib": str(machine.state)}
    return Unit.read(machine.units / f"{name}.service", places if machine.root == Path("/") else None)


def _check_installed(machine: Machine, version: str) -> None:
    assert machine.run("candor-node --version").strip() == f"candor-node, version {version}"
    code = "import candor_node as n, candor_hub as h; print(n.__file__, h.__file__)"
    python = f"{machine.programs}/current/bin/python"
    for file in machine.run(f"{python} -c {shlex.quote(code)}").split():
        assert file.startswith(f"{machine.programs}/current/"), file
    assert machine.here(machine.programs / "current").readlink() == Path(version)
    for path in machine.here(machine.programs).rglob("*"):
        assert path.is_symlink() or not path.stat().st_mode & 0o022, path  # nobody else writes programs


async def _check_answers(fed: Federation, told: list[str]) -> None:
    """The hub has it online, its index is published, and another member's lookup is answered."""
    node, alpha = NodeId(NODE), fed.nodes[0]
    await until(lambda: node in fed.hub.hub.streams.nodes)
    await fed.settled()
    assert alpha.indexes.indexes[node].head.node == node
    told.append("the hub has it online; its index is published and held by another member")
    view = await fed.ask(alpha)
    assert view.result is not None
    answered = {report.node for report in view.result.coverage.reports if report.answered}
    assert node in answered
    assert view.result.overall is Overall.NO_RECORD
    told.append(f"a lookup of {alpha.config.node} is answered by {len(answered)} of {len(answered)} nodes")
