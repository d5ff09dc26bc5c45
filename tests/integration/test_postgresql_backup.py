"""The commands of docs/postgresql.md, section 4, as they stand there: a real PostgreSQL, and a hub on it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from candor_hub.config import Config
from candor_node.app import Node
from candor_proto.directory import MemberStatus
from candor_proto.result import Overall
from tests.federation import federation, until
from tests.hubs import QUICK, RunningHub, running_hub, stop_for_good
from tests.moves import moved
from tests.patience import PATIENCE_SECONDS
from tests.postgres import DROP, UNSAFE_FOR_TESTS, PostgresServer, programs, unsafe
from tests.records import make_row

PAGE = Path(__file__).resolve().parents[2] / "docs/postgresql.md"


def block(kind: str, words: str) -> str:
    """The one fenced block of the page's section about backups that holds `words`."""
    section = PAGE.read_text("utf-8").partition("## 4. Backups")[2].partition("\n## 5.")[0]
    (found,) = (text for text in re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) if words in text)
    return str(found)


class Archive:
    """The third machine: a folder, and the primary under the name that the page gives it."""

    def __init__(self, folder: Path, primary: PostgresServer) -> None:
        self.folder = folder
        service = folder / "pg_service.conf"
        service.write_text(
            f"[candor-archive]\nhost=127.0.0.1\nport={primary.port}\nuser=archive\napplication_name=archive\n"
        )
        self._environment = {
            "PATH": f"{programs()}:{os.environ['PATH']}",
            "PGSERVICEFILE": str(service),
            "BACKUP": str(folder / "backup"),
        }

    def run(self, text: str, **more: str) -> None:
        """Run a block to its end, as who the server runs as."""
        words = ["sh", "-euc", text]
        done = subprocess.run(
            words, env={**self._environment, **more}, cwd=self.folder, capture_output=True, text=True, **DROP
        )
        assert done.returncode == 0, f"{text}: {done.stdout}{done.stderr}"

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """The block that runs for ever, meanwhile."""
        words = ["sh", "-euc", block("sh", "--synchronous")]
        process = subprocess.Popen(words, env=self._environment, cwd=self.folder, **DROP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_SECONDS)

    @property
    def base(self) -> str:
        (found,) = (self.folder / "backup").glob("base-*")
        return str(found)

    @contextmanager
    def restored(self, archive: Path) -> Iterator[PostgresServer]:
        """A server on the base backup and this archive, once it is a primary."""
        place = PostgresServer(Path(tempfile.mkdtemp(prefix="candor-pg-")))
        if DROP:
            shutil.chown(place.folder, "postgres", "postgres")
        self.run(
            block("sh", "recovery.signal"),
            BACKUP=str(archive),
            BASE=self.base,
            RESTORED=str(place.folder / "data"),
        )
        place.start("fsync=off", "synchronous_commit=on")
        try:
            patiently(lambda: place.execute("SELECT NOT pg_is_in_recovery()") == [(True,)])
            yield place
        finally:
            place.stop()
            place.remove()


def patiently(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@contextmanager
def archived_primary() -> Iterator[tuple[PostgresServer, Archive]]:
    """A primary for which the archive counts, once it does."""
    primary = PostgresServer.made()
    folder = Path(tempfile.mkdtemp(prefix="candor-archive-"))
    if DROP:
        shutil.chown(folder, "postgres", "postgres")
    # What a kill leaves is in the kernel's hands: only a power cut would need the syncs.
    primary.start("fsync=off", "synchronous_commit=on", "max_connections=100")
    try:
        primary.execute("CREATE DATABASE candor")
        for statement in block("sql", "REPLICATION").split(";"):
            if statement.strip():
                primary.execute(statement)
        archive = Archive(folder, primary)
        archive.run(block("sh", "--create-slot"))
        with archive.receiving():
            counts = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'quorum'"
            patiently(lambda: primary.execute(counts) != [])
            yield primary, archive
    finally:
        with suppress(AssertionError):  # the test has killed it
            primary.stop()
        primary.remove()
        shutil.rmtree(folder)


def test_a_hub_goes_on_from_the_archive_and_notices_an_archive_that_lacks_something(tmp_path: Path) -> None:
    """The primary dies; with the whole archive nothing that was acknowledged is lost. With an older one the
    log would go back: the hub signs nothing, and says why.
    """

    async def scene() -> None:
        with archived_primary() as (primary, archive):
            async with federation(tmp_path, 3) as fed:
                alpha, bravo = fed.nodes[:2]
                config = await moved(fed.hub, primary.url("candor"))
                async with running_hub(tmp_path / "unused", config=config, clock=fed.hub.clock) as hub:
                    await fed.back(hub)
                    await fed.file(bravo, [make_row(sharing="GREEN")])
                    await asyncio.to_thread(archive.run, block("sh", "pg_basebackup"))
                    older = await asyncio.to_thread(copied, primary, archive)
                    await fed.file(alpha, [make_row(sharing="GREEN", agency_record_id="IA-late")])
                    newest = hub.shard
                    primary.kill()
                    config = await stop_for_good(hub)

                with archive.restored(older) as server:
                    async with running_on(server, config, hub) as again:
                        await until(lambda: bool(again.went_back))
                        signed = again.shard.signed
                        assert again.shard.size < newest.size
                        suspended = alpha.config.node_id, MemberStatus.SUSPENDED, again.clock.now()
                        await asyncio.to_thread(again.hub.directory.set_status, *suspended)
                        waited = again.stopwatch()
                        await until(lambda: waited() > 10 * QUICK.poll_seconds)
                        assert again.shard.signed == signed
                        for node in fed.nodes:
                            assert (size(node), node.follower.warnings()) == (newest.size, [])

                with archive.restored(Path(archive.folder, "backup")) as server:
                    await asyncio.to_thread(look_as_the_page_says, server, config, tmp_path)
                    async with running_on(server, config, hub) as again:
                        assert again.shard.size >= newest.size
                        await fed.back(again)
                        await fed.file(bravo, [make_row(sharing="GREEN", agency_record_id="IA-after")])
                        view = await fed.ask(alpha)
                        assert view.result is not None
                        assert view.result.overall is Overall.MATCH
                        assert not again.went_back
                        for node in fed.nodes:
                            assert size(node) > newest.size
                            assert node.follower.warnings() == []
                            await fed.stop(node)

    with unsafe():
        asyncio.run(scene())


def copied(primary: PostgresServer, archive: Archive) -> Path:
    """The archive as it is now, once it holds everything that the primary has written."""
    query = "SELECT flush_lsn >= pg_current_wal_lsn() FROM pg_stat_replication"
    patiently(lambda: primary.execute(query) == [(True,)])
    older = archive.folder / "older"
    shutil.copytree(archive.folder / "backup/wal", older / "wal")
    for path in (older, older / "wal", *(older / "wal").iterdir()):
        if DROP:
            shutil.chown(path, "postgres", "postgres")
    return older


def running_on(
    server: PostgresServer, config: Config, hub: RunningHub
) -> AbstractAsyncContextManager[RunningHub]:
    """The hub of before on this server."""
    return running_hub(
        config.data / "unused", config=replace(config, database_url=server.url("candor")), clock=hub.clock
    )


def look_as_the_page_says(server: PostgresServer, config: Config, folder: Path) -> None:
    file = config.data / "hub.toml"
    file.write_text(
        re.sub(r"(?m)^database_url = .*$", f'database_url = "{server.url("candor")}"', file.read_text())
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CANDOR_HUB_CONFIG": str(file),
        UNSAFE_FOR_TESTS: "1",
    }
    first, second = block("sh", "candor-hub log fsck").split("\n")[:2]
    # Its status is 1: no hub has signed for a while, and that is what it says.
    words = ["sh", "-euc", f"{first}\n{second} || true"]
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every entry is the one that was signed" in done.stdout


def size(node: Node) -> int:
    assert node.follower.view is not None
    return node.follower.view.size
