"""A node's database of the release before, upgraded by programs that are killed at any statement.

    python -m tests.campaign.node_migrations [--quick]      KILLS=n: at least so many (100)

The folder is made by the kept wheel. After each kill the database is whole, this checkout finishes the
upgrade, every row is there, the copy from before can be read; in the end the release before opens what it has
become. The hub's steps are one transaction: tests/unit/hub/test_migrations.py.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from candor_node.config import load_config
from candor_node.driver import open_database
from candor_node.founding import open_store
from candor_node.schema import copies
from tests.upgrades.versions import Version, previous_wheel, unpacked

ROWS = 5_000
# Opens the database as `candor-node run` does and dies at that statement; says how many there are.
_UPGRADE = """
import os, signal, sys
from pathlib import Path
from candor_node import store
from candor_node.config import load_config
from candor_node.founding import open_store
left, opened = int(sys.argv[2]), store.open_database
seen = 0
def count(statement):
    global seen
    seen += 1
    if seen == left:
        os.kill(os.getpid(), signal.SIGKILL)
def watched(path, key):
    database = opened(path, key)
    database.conn.set_trace_callback(count)
    return database
store.open_database = watched
open_store(load_config(Path(sys.argv[1]))).close()
print(seen)
"""


def upgrade(settings: Path, die_at: int) -> tuple[int, int]:
    """Exit status, and how many statements there were if it lived."""
    done = subprocess.run(
        [sys.executable, "-c", _UPGRADE, str(settings), str(die_at)], capture_output=True, text=True
    )
    return done.returncode, int(done.stdout.splitlines()[-1]) if done.returncode == 0 else 0


def _open_with(places: tuple[Path, ...], settings: Path) -> None:
    """The release before opens the database."""
    code = (
        "import sys; from pathlib import Path; from candor_node.config import load_config\n"
        "from candor_node.founding import open_store; open_store(load_config(Path(sys.argv[1]))).close()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    subprocess.run([sys.executable, "-P", "-c", code, str(settings)], env=environment, check=True)


def fill(settings: Path) -> None:
    """Rows of the table that the step is about, as the release before has it."""
    config = load_config(settings)
    database = open_database(config.database_file, config.database_key())
    with database.conn:
        database.conn.executemany(
            "INSERT INTO tlog_watched VALUES (?, ?, NULL, NULL, NULL)",
            [(number.to_bytes(32, "big"), number) for number in range(ROWS)],
        )
    database.conn.close()


def check(settings: Path) -> None:
    """Finish the upgrade; everything is there, in the database and in the copy from before."""
    config = load_config(settings)
    with open_store(config) as store:
        sound = store.run_sync(lambda db: db.execute("PRAGMA integrity_check").fetchone()[0])
        rows = store.run_sync(
            lambda db: db.execute("SELECT count(*), sum(watched_at) FROM tlog_watched").fetchone()
        )
    assert sound == "ok", sound
    assert rows == (ROWS, ROWS * (ROWS - 1) // 2), rows
    for copy in copies(config.database_file):
        database = open_database(copy, config.database_key())
        assert database.execute("SELECT count(*) FROM tlog_watched").fetchone()[0] == ROWS
        database.conn.close()


def campaign(folder: Path, kills: int) -> str:
    wheel = previous_wheel()
    assert wheel is not None
    with Version(unpacked(wheel), folder / "old") as old:
        made = folder / "made"
        old.run("candor-node", "init", "--dir", made, "--node", "alpha")
        fill(made / "node.toml")
        whole = shutil.copytree(made, folder / "whole")
        status, statements = upgrade(whole / "node.toml", 0)
        assert status == 0
        assert copies(whole / "data/node.db"), "no step was taken: there is nothing to try"
        points = list(range(1, statements + 1))
        draw = random.Random(kills)
        while len(points) < kills:
            points.append(draw.randint(1, statements))
        done = 0
        chosen = points if len(points) <= kills else draw.sample(points, kills)
        for point in chosen:
            place = folder / "place"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(made, place)
            status, _ = upgrade(place / "node.toml", point)
            assert status == -signal.SIGKILL, status
            done += 1
            check(place / "node.toml")
        _open_with(unpacked(wheel), place / "node.toml")
    return (
        f"{done} kills at {len(set(chosen))} of {statements} statements, {ROWS} rows: 0 lost, 0 copies unread"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.node_migrations")
    parser.add_argument("--quick", action="store_true", help="ten kills")
    options = parser.parse_args()
    if previous_wheel() is None:
        print("node_migrations: needs a kept release in deploy/releases: not run")
        return 2
    with tempfile.TemporaryDirectory(prefix="candor-migrations-") as name:
        print(f"  {campaign(Path(name), 10 if options.quick else int(os.environ.get('KILLS', '100')))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
