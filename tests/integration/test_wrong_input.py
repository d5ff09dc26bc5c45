"""What goes wrong at an agency, over the real command: one sentence, a status, never a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from candor_certs.invitation import fingerprint, format_invitation
from candor_node.config import load_config
from candor_node.connection import LINE_SECONDS
from candor_node.joining import found
from candor_proto.ids import NodeId
from tests import commands
from tests.federation import federation
from tests.hubs import RunningHub, running_hub
from tests.patience import PATIENCE_SECONDS
from tests.records import csv_bytes, make_row

COMMAND = Path(sys.executable).parent / "candor-node"
PAPERS = ("--purpose", "J_APPLICANT", "--case", "R-1", "--consent", "C-1", "--officer", "Roe")
PERSON = ("--first", "Jo", "--last", "Doe", "--birth-date", "1990-02-03")


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    def check(self, *words: str, status: int | None = None) -> None:
        """One sentence, one remedy at most, and nothing of Python."""
        text = self.out + self.err
        assert self.status != 0, text
        assert status is None or self.status == status, text
        assert "Traceback" not in text
        assert "Error(" not in text
        errors = [line for line in self.err.splitlines() if not line.startswith("20")]  # without the log
        assert len(errors) in (1, 2), self.err
        assert errors[0].startswith("candor-node: "), self.err
        assert errors[0].endswith("."), self.err
        for word in words:
            assert word in self.err, self.err


async def candor_node(*words: str | Path, shift: str = "", **environment: str) -> Done:
    """Run the command; `shift` moves its clock, for example "-1h"."""
    if not shift:
        given = {"COLUMNS": "200", **environment}
        done = await asyncio.to_thread(commands.run, "candor-node", *words, environment=given)
        return Done(done.returncode, done.stdout, done.stderr)
    program = shutil.which("faketime")
    assert program, "tools/debian-packages.txt lists faketime; install it"
    process = await asyncio.create_subprocess_exec(
        # Timers stay as they are: only the wall clock is wrong.
        *(program, "--exclude-monotonic", "-f", shift, COMMAND),
        *map(str, words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200", **environment},
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        raise
    return Done(process.returncode or 0, out.decode(), err.decode())


@asynccontextmanager
async def hub_and_node(folder: Path) -> AsyncIterator[tuple[RunningHub, Path, Path]]:
    """A running hub, the settings of a node that has not joined, and its invitation."""
    async with running_hub(folder / "hub") as hub:
        settings = await asyncio.to_thread(found, folder / "node", NodeId("alpha"))
        yield hub, settings, await asyncio.to_thread(invited, hub, folder)


def invited(
    hub: RunningHub, folder: Path, ori: str = "ZZ0010000", life: timedelta = timedelta(days=1)
) -> Path:
    path = folder / f"{ori}-{secrets.token_hex(3)}.txt"
    path.write_text(format_invitation(hub.invite(None, ori, life)))
    return path


def pinned(hub: RunningHub) -> tuple[str, str]:
    from cryptography.hazmat.primitives.serialization import Encoding

    return "--fingerprint", fingerprint(hub.root.public_bytes(Encoding.DER))


def with_node(folder: Path, scene: Callable[[Path], Awaitable[None]]) -> None:
    """`scene` gets the settings of a node that runs."""

    async def whole() -> None:
        async with federation(folder, 1):
            await scene(folder / "alpha" / "node.toml")

    asyncio.run(whole())


# --- records -------------------------------------------------------------------------------------------


def test_a_missing_column(tmp_path: Path) -> None:
    async def scene(settings: Path) -> None:
        columns = [name for name in make_row() if name != "effective_on"]
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([make_row()], columns))
        done = await candor_node("import", file, "--config", settings)
        done.check("missing: effective_on", "Nothing was stored", status=2)

    with_node(tmp_path, scene)


def test_a_bad_date(tmp_path: Path) -> None:
    async def scene(settings: Path) -> None:
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([make_row(effective_on="14/06/2021")]))
        done = await candor_node("import", file, "--config", settings)
        done.check("nothing was stored", status=2)
        assert "row 2, effective_on:" in done.out
        assert "14/06/2021" not in done.out + done.err

    with_node(tmp_path, scene)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    async def scene(settings: Path) -> None:
        done = await candor_node("import", tmp_path / "none.csv", "--config", settings)
        done.check("cannot be read: No such file", status=2)

    with_node(tmp_path, scene)


# --- lookups -------------------------------------------------------------------------------------------


def test_an_unknown_purpose(tmp_path: Path) -> None:
    async def scene(settings: Path) -> None:
        words = ("--purpose", "CURIOSITY", *PAPERS[2:])
        done = await candor_node("lookup", *PERSON, *words, "--config", settings)
        done.check("'CURIOSITY' is not a purpose code", "J_APPLICANT")

    with_node(tmp_path, scene)


def test_missing_papers(tmp_path: Path) -> None:
    async def scene(settings: Path) -> None:
        done = await candor_node("lookup", *PERSON, "--purpose", "J_APPLICANT", "--config", settings)
        done.check("--case", "--consent", "--officer", "Nothing was asked")

    with_node(tmp_path, scene)


def test_too_little_about_the_person(tmp_path: Path) -> None:
    async def scene(settings: Path) -> None:
        done = await candor_node("lookup", "--last", "Doe", *PAPERS, "--config", settings)
        done.check("Too little is known of this person", status=2)

    with_node(tmp_path, scene)


def test_the_hub_is_down_when_a_lookup_is_asked(tmp_path: Path) -> None:
    async def whole() -> None:
        async with federation(tmp_path, 1) as fed:
            await fed.hub.hub.stop(grace_seconds=0.0)
            connection = fed.nodes[0].connection
            async with asyncio.timeout(PATIENCE_SECONDS):
                # What is said is what the last attempt met: the first one after the hub has gone is refused.
                while connection.trouble is None or "refused" not in connection.trouble.message:
                    await asyncio.sleep(0.05)
            # Lost a moment ago it might be back in another: a lookup would wait for it.
            fed.hub.clock.advance(seconds=LINE_SECONDS + 1)
            settings = tmp_path / "alpha" / "node.toml"
            done = await candor_node("lookup", *PERSON, *PAPERS, "--config", settings)
            if "broke off" in done.err:
                # The hub's going reached the first call in its middle.
                done = await candor_node("lookup", *PERSON, *PAPERS, "--config", settings)
            done.check("Cannot reach the hub at 127.0.0.1", "connection refused", status=2)

    asyncio.run(whole())


def test_the_node_is_not_running(tmp_path: Path) -> None:
    settings = found(tmp_path / "node", NodeId("alpha"))
    for words in (("status",), ("lookup", *PERSON, *PAPERS), ("publish",), ("audit", "ledger")):
        done = asyncio.run(candor_node(*words, "--config", settings))
        done.check("The node alpha is not running", "candor-node run", status=2)


# --- joining -------------------------------------------------------------------------------------------


def joins(folder: Path, scene: Callable[[RunningHub, Path, Path], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with hub_and_node(folder) as (hub, settings, invitation):
            await scene(hub, settings, invitation)

    asyncio.run(whole())


async def assert_can_still_join(hub: RunningHub, settings: Path, invitation: Path) -> None:
    """A join that failed leaves nothing half-done."""
    assert not load_config(settings).federation
    done = await candor_node("join", invitation, *pinned(hub), "--config", settings)
    assert done.status == 0, done.err
    assert load_config(settings).federation == str(hub.config.federation)
    keys = {path.name for path in (settings.parent / "keys").iterdir()}
    assert keys == {"database.key", "signing.key", "disclosure.key", "tls.pem", "root.crt"}


def test_joining_makes_the_node_that_the_invitation_names(tmp_path: Path) -> None:
    async def scene(hub: RunningHub, _: Path, __: Path) -> None:
        settings, invitation = tmp_path / "fresh" / "node.toml", tmp_path / "named.txt"
        named = await asyncio.to_thread(hub.invite, "alpha", "ZZ0030000")
        invitation.write_text(format_invitation(named))
        other = ("--node", "bravo", *pinned(hub), "--config", settings)
        done = await candor_node("join", invitation, *other)
        done.check("The invitation is for the node alpha, not for bravo", "Leave out --node", status=2)
        done = await candor_node("join", invitation, "--rejoin", *pinned(hub), "--config", settings)
        done.check("There is no settings file", "from the folder that holds its keys", status=2)
        assert not settings.parent.exists()
        done = await candor_node("join", invitation, *pinned(hub), "--config", settings)
        assert done.status == 0, done.err
        assert "A new node: settings, keys and database are in" in done.out
        config = load_config(settings)
        assert (config.node, config.federation) == ("alpha", str(hub.config.federation))

    joins(tmp_path, scene)


def test_a_wrong_fingerprint(tmp_path: Path) -> None:
    async def scene(hub: RunningHub, settings: Path, invitation: Path) -> None:
        wrong = ("--fingerprint", "SHA256:" + "00" * 32)
        done = await candor_node("join", invitation, *wrong, "--config", settings)
        done.check("root certificate is not the one you expect")
        await assert_can_still_join(hub, settings, invitation)

    joins(tmp_path, scene)


def test_nobody_compared_the_fingerprint(tmp_path: Path) -> None:
    async def scene(hub: RunningHub, settings: Path, invitation: Path) -> None:
        done = await candor_node("join", invitation, "--config", settings)
        done.check("Nobody has compared the root's fingerprint", status=2)

    joins(tmp_path, scene)


def test_an_invitation_that_has_ended(tmp_path: Path) -> None:
    async def scene(hub: RunningHub, settings: Path, invitation: Path) -> None:
        hub.clock.shift = -timedelta(days=15)
        old = await asyncio.to_thread(invited, hub, tmp_path, "ZZ0020000")
        hub.clock.shift = timedelta(0)
        done = await candor_node("join", old, *pinned(hub), "--config", settings)
        done.check("The invitation ended on", "Ask the hub's operator for a new one")
        await assert_can_still_join(hub, settings, invitation)

    joins(tmp_path, scene)


def test_an_invitation_that_was_used(tmp_path: Path) -> None:
    async def scene(hub: RunningHub, settings: Path, invitation: Path) -> None:
        await assert_can_still_join(hub, settings, invitation)
        other = await asyncio.to_thread(found, tmp_path / "other", NodeId("bravo"))
        done = await candor_node("join", invitation, *pinned(hub), "--config", other)
        done.check("This invitation was used already")
        assert not load_config(other).federation
        again = await candor_node("join", invitation, *pinned(hub), "--config", settings)
        again.check("alpha has joined", "already", status=2)

    joins(tmp_path, scene)


def test_an_invitation_that_was_cut(tmp_path: Path) -> None:
    async def scene(hub: RunningHub, settings: Path, invitation: Path) -> None:
        cut = tmp_path / "cut.txt"
        cut.write_text(invitation.read_text()[:-80])
        done = await candor_node("join", cut, *pinned(hub), "--config", settings)
        done.check("This is not an invitation, or part of it is missing")
        await assert_can_still_join(hub, settings, invitation)

    joins(tmp_path, scene)


def test_the_hub_is_down_when_a_node_joins(tmp_path: Path) -> None:
    async def whole() -> None:
        async with hub_and_node(tmp_path) as (hub, settings, invitation):
            words = ("join", invitation, *pinned(hub), "--config", settings)
        (await candor_node(*words)).check("Cannot reach the hub at 127.0.0.1", "connection refused", status=2)
        assert not load_config(settings).federation

    asyncio.run(whole())


@pytest.mark.parametrize("shift", ["-1h", "+1h"])
def test_the_clock_is_off_by_an_hour_when_a_node_joins(tmp_path: Path, shift: str) -> None:
    async def scene(hub: RunningHub, settings: Path, invitation: Path) -> None:
        words = ("join", invitation, *pinned(hub), "--config", settings)
        done = await candor_node(*words, shift=shift)
        done.check("clock", "UTC")
        assert "et " in done.err.splitlines()[1]  # "Set this machine's clock …"
        await assert_can_still_join(hub, settings, invitation)

    joins(tmp_path, scene)


@pytest.mark.parametrize("shift", ["-1h", "+1h"])
def test_the_clock_is_off_by_an_hour_and_the_doctor_says_so(tmp_path: Path, shift: str) -> None:
    async def whole() -> None:
        async with federation(tmp_path, 1) as fed:
            await fed.stop(fed.nodes[0])
            settings = tmp_path / "alpha" / "node.toml"
            well = await candor_node("doctor", "--config", settings)
            assert well.status == 0, well.out
            done = await candor_node("doctor", "--config", settings, shift=shift)
            assert done.status == 1
            (line,) = [line for line in done.out.splitlines() if line.split()[:2] == ["BAD", "clock"]]
            assert line.count("UTC") == 2  # both times are named
            assert "Traceback" not in done.out + done.err

    asyncio.run(whole())


# --- the node's own folder -----------------------------------------------------------------------------


def joined(folder: Path) -> Path:
    """The settings of a node that has joined and does not run."""

    async def whole() -> None:
        async with federation(folder, 1):
            pass

    asyncio.run(whole())
    return folder / "alpha" / "node.toml"


def test_a_wrong_database_key(tmp_path: Path) -> None:
    settings = joined(tmp_path)
    (settings.parent / "keys/database.key").write_bytes(secrets.token_bytes(32))
    done = asyncio.run(candor_node("run", "--config", settings))
    done.check("The database key does not fit this database", status=2)
    checked = asyncio.run(candor_node("doctor", "--config", settings))
    (line,) = [line for line in checked.out.splitlines() if line.split()[:2] == ["BAD", "database"]]
    assert "The database key does not fit" in line


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    settings = joined(tmp_path)
    (settings.parent / "keys/signing.key").chmod(0o644)
    done = asyncio.run(candor_node("run", "--config", settings))
    done.check("holds a secret, and other users of this machine may open it", "chmod 600", status=2)


def test_wrong_settings_are_all_named_at_once(tmp_path: Path) -> None:
    settings = joined(tmp_path)
    settings.write_text(settings.read_text() + 'colour = "blue"\nquota_day_share = 0\n')
    done = asyncio.run(candor_node("run", "--config", settings))
    done.check("holds 2 wrong settings", "colour: there is no such setting", "quota_day_share:", status=2)


def test_a_node_that_has_not_joined_does_not_run(tmp_path: Path) -> None:
    settings = found(tmp_path / "node", NodeId("alpha"))
    done = asyncio.run(candor_node("run", "--config", settings))
    done.check("alpha has not joined a federation yet", "candor-node join", status=2)


def test_a_second_init_overwrites_nothing(tmp_path: Path) -> None:
    settings = found(tmp_path / "node", NodeId("alpha"))
    before = settings.read_bytes()
    done = asyncio.run(candor_node("init", "--dir", settings.parent, "--node", "bravo"))
    done.check("exists already and is not overwritten", status=2)
    assert settings.read_bytes() == before


def test_a_node_id_that_is_none(tmp_path: Path) -> None:
    done = asyncio.run(candor_node("init", "--dir", tmp_path / "node", "--node", "Not A Node"))
    done.check("'Not A Node' is not a node id")
    assert not (tmp_path / "node").exists()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """`folder` as on a disk that is mounted read-only; root is not stopped by modes, but by a mount."""
    if os.geteuid() != 0:
        modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*")) if path.is_dir()}
        for path in modes:
            path.chmod(0o500)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_init_on_a_read_only_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with read_only(disk):
        done = asyncio.run(candor_node("init", "--dir", disk / "node", "--node", "alpha"))
    done.check("cannot be", status=2)
    assert list(disk.iterdir()) == []


def test_run_on_a_read_only_disk(tmp_path: Path) -> None:
    settings = joined(tmp_path)
    with read_only(settings.parent):
        done = asyncio.run(candor_node("run", "--config", settings))
    done.check("cannot be", status=2)


def test_join_on_a_read_only_disk(tmp_path: Path) -> None:
    async def scene(hub: RunningHub, settings: Path, invitation: Path) -> None:
        with read_only(settings.parent):
            words = ("join", invitation, *pinned(hub), "--config", settings)
            (await candor_node(*words)).check("cannot be", status=2)
        await assert_can_still_join(hub, settings, invitation)

    joins(tmp_path, scene)
