"""The archive of a hub on PostgreSQL, by the commands of docs/postgresql.md, section 4, as they stand there.

with archived_primary() as (primary, archive):     what is acknowledged there is in the archive
    archive.run(block("sh", "pg_basebackup"))
    with archive.restored(folder) as server:       from the base backup and the log in `folder`
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.patience import PATIENCE_SECONDS
from tests.postgres import DROP, PostgresServer, programs

PAGE = Path(__file__).resolve().parents[1] / "docs/postgresql.md"


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
