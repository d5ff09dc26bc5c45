"""The restore drill, timed; and kill -9 and a full disk at every step of a backup.

A database is filled, backed up whole and in changes, and drilled: the time is the figure. Then a process that
backs up is killed before its Nth write, sync, rename or creation, N = 1, 2, …, and again with a disk that
fills up at the Nth. Each time the folder must restore to the last backup that was acknowledged, or a later
one, the node must open, and the next backup must work.

    RECORDS=1000000 python -m tests.campaign.restore [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from bench.backup_scene import made
from candor_node import backup
from candor_node.backup_drill import drill
from candor_node.founding import MIGRATIONS
from candor_node.journal import Journals
from candor_node.restore import restore
from candor_node.store import Store
from candor_proto.errors import CandorError
from tests.campaign import shim
from tests.campaign.shim import Control, Mode
from tests.desk import desk_store, filed
from tests.records import NODE, NOW, STORE_KEY
from tests.unit.node.test_rollback import Clock

RTO_SECONDS = 900
MOST_STEPS = 400


def timed_drill(records: int) -> float:
    """Seconds of a drill of so many records, with changes and a journal to put back."""
    with tempfile.TemporaryDirectory(prefix="candor-restore-", dir="/tmp") as temporary:
        folder = Path(temporary)
        with made(folder, records) as store:
            out, clock = folder / "backup", Clock()
            backup.write(store, NODE, out, NOW)
            journals = Journals(store, clock, [folder / "journal", out])
            asyncio.run(journals.ship())
            filed(store, agency_record_id="late-1")
            backup.write(store, NODE, out, NOW + timedelta(minutes=5))
            filed(store, agency_record_id="late-2")
            asyncio.run(journals.ship())
            found = drill(out, folder / "scratch", STORE_KEY, NOW + timedelta(minutes=6))
        assert found.restored.records == records + 1
        assert found.restored.rollback.put_back == 1
        assert not list((folder / "scratch").iterdir())
        return found.seconds


def _inside(folder: Path) -> int:
    """The process that suffers: one filing, one backup."""
    shim.attach(folder, folder / "orders", None)
    try:
        with Store.open(folder / "node.db", STORE_KEY, MIGRATIONS) as store:
            count = store.run_sync(lambda db: db.execute("SELECT count(*) FROM records").fetchone()[0])
            filed(store, agency_record_id=f"K-{count}-{os.getpid()}")
            backup.write(store, NODE, folder / "backup", NOW + timedelta(minutes=count))
    except CandorError:
        return 3
    return 0


def suffer(mode: Mode, step: int) -> tuple[int, list[str]]:
    """Every `step`-th point of one mode; how many there were, and what was wrong."""
    wrong: list[str] = []
    points = 0
    with tempfile.TemporaryDirectory(prefix="candor-restore-", dir="/tmp") as temporary:
        folder = Path(temporary)
        with desk_store(folder) as store:
            filed(store)
            backup.write(store, NODE, folder / "backup", NOW)
        acknowledged = 1
        for nth in range(1, MOST_STEPS, step):
            Control.create(folder / "orders").close()
            with Control.open(folder / "orders") as control:
                control.arm(mode, nth)
                status = shim.under_shim("tests.campaign.restore", "--inside", str(folder))
                fired = control.fired
            to = folder / "restored" / str(nth) / "node.db"
            try:
                with Store.open(folder / "node.db", STORE_KEY, MIGRATIONS) as store:
                    held = store.run_sync(lambda db: db.execute("SELECT count(*) FROM records").fetchone()[0])
                if status == 0:
                    acknowledged = held
                found = restore(folder / "backup", to, STORE_KEY, NOW + timedelta(minutes=held))
                if found.records < acknowledged:
                    wrong.append(f"{mode.name} {nth}: {found.records} of {acknowledged} records came back")
            except CandorError as error:
                wrong.append(f"{mode.name} {nth}: {error}")
            if not fired:
                break
            points += 1
    return points, wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="restore")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        return _inside(options.inside)
    records = int(os.environ.get("RECORDS") or (2_000 if options.quick else 1_000_000))
    began = time.monotonic()
    seconds = timed_drill(records)
    print(
        f"restore: a drill of {records:,} records took {seconds:.1f} s (target {RTO_SECONDS} s)", flush=True
    )
    held = seconds <= RTO_SECONDS
    for mode in (Mode.KILL, Mode.NO_SPACE):
        points, wrong = suffer(mode, 25 if options.quick else 4)
        print(f"restore: {mode.name.lower()} at {points} points of a backup: {len(wrong)} wrong")
        for sentence in wrong[:10]:
            print(f"  {sentence}")
        held = held and points > 0 and not wrong
    print(f"restore: {time.monotonic() - began:.0f} s in all")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
