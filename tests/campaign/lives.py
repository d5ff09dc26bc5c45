"""kill -9 and a full disk at every write of import, correction, void and expungement of records.

For each operation a database is prepared and copied. A child process does the operation on the copy and is
killed before its Nth write, sync, truncation or creation, for N = 1, 2, ... until there is no Nth step; then
the same with a disk that fills up at the Nth. Each time the database is opened again: the invariants of
`tests.lives` hold, what stands there is what stood before or all of what was to be done, and what was
acknowledged is there. Then it is done again, and must be done.

    python -m tests.campaign.lives [--quick]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from candor_node import importer, lifecycle, record_digests
from candor_node.app import MIGRATIONS
from candor_node.lifecycle import Doing
from candor_node.store import Database, Store
from candor_proto.errors import CandorError, StoreUnusable
from candor_records.policy import NoPack
from candor_records.records import Dcn
from tests.campaign import shim
from tests.campaign.shim import Control, Mode
from tests.lives import violations
from tests.records import (
    CONTRIBUTOR,
    NODE,
    NOW,
    ORI,
    STORE_KEY,
    csv_bytes,
    generated_rows,
    make_row,
    new_store,
)

MOST_STEPS = 400
LATER = NOW + timedelta(days=1)
ROWS = 40
DOING = Doing(LATER, CONTRIBUTOR, NoPack(), "as ordered", "chief-2")

Fingerprint = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Operation:
    """What is done, and how one sees that it was done already."""

    name: str
    work: Callable[[Store], object]


def _target(db: Database) -> Dcn:
    """The control number of the record that things happen to, destroyed or not."""
    key = record_digests.agency_key(db, ORI, "IA-2021-0001")
    return Dcn(db.execute("SELECT dcn FROM record_heads WHERE agency_key = ?", [key]).fetchone()[0])


def _import(store: Store) -> object:
    rows = [make_row(ssn4="4822"), *generated_rows(ROWS, seed=5)]
    return store.run_sync(lambda db: importer.import_csv(db, csv_bytes(rows), LATER, ORI, NODE, CONTRIBUTOR))


OPERATIONS = (
    Operation("import", _import),
    Operation("void", lambda store: store.run_sync(lambda db: lifecycle.void(db, _target(db), DOING))),
    Operation("expunge", lambda store: store.run_sync(lambda db: lifecycle.expunge(db, _target(db), DOING))),
)


def prepare(folder: Path) -> Path:
    """A database with a few records, closed."""
    folder.mkdir()
    with new_store(folder) as store:
        rows = [make_row(), *generated_rows(5, seed=3)]
        store.run_sync(lambda db: importer.import_csv(db, csv_bytes(rows), NOW, ORI, NODE, CONTRIBUTOR))
    return folder


def fingerprint(store: Store) -> Fingerprint:
    """What stands there, but for what is drawn at random."""

    def work(db: Database) -> Fingerprint:
        rows = db.execute(
            "SELECT hex(agency_key), standing, (SELECT group_concat(act) FROM record_events"
            " WHERE record_events.record_id = record_heads.record_id), (SELECT count(*) FROM record_keys"
            " WHERE record_keys.record_id = record_heads.record_id) FROM record_heads ORDER BY 1"
        )
        return tuple(tuple(map(str, row)) for row in rows)

    return store.run_sync(work)


@dataclass
class Tally:
    """What happened."""

    points: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def child(folder: Path, operation: Operation, below: Path, page: Path, mode: Mode, nth: int) -> int:
    """Do the operation in a process of its own: 0 acknowledged, 3 refused, -9 killed."""
    pid = os.fork()
    if pid == 0:
        status = 4
        try:
            shim.attach(below, page)
            with Control.open(page) as control:
                store = Store.open(folder / "node.db", STORE_KEY, MIGRATIONS)
                control.arm(mode, nth, sticky=mode is Mode.NO_SPACE)
                try:
                    operation.work(store)
                    status = 0
                except StoreUnusable:
                    status = 3
                finally:
                    control.disarm()
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
        os._exit(status)
    _, ended = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(ended)


@dataclass(frozen=True)
class Bench:
    """Where an operation suffers: a prepared database, and what it looks like before and after."""

    root: Path
    template: Path
    operation: Operation
    before: Fingerprint
    after: Fingerprint

    @classmethod
    def build(cls, root: Path, operation: Operation) -> Bench:
        template = prepare(root / "template")
        with opened(shutil.copytree(template, root / "done")) as store:
            before = fingerprint(store)
            operation.work(store)
            return cls(root, template, operation, before, fingerprint(store))

    def suffer(self, mode: Mode, nth: int, tally: Tally) -> bool:
        """One crash point; whether the operation has an `nth` step at all."""
        where = f"{self.operation.name}, {mode.name.lower()} at step {nth}"
        folder, page = self.root / "copy", self.root / "orders"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.template, folder)
        Control.create(page).close()
        status = child(folder, self.operation, self.root, page, mode, nth)
        with Control.open(page) as control:
            if not control.fired:
                if status != 0:
                    tally.wrong.append(f"{where}: nothing came, and it ended with {status}")
                return False
        tally.points[f"{self.operation.name}, {mode.name.lower()}"] += 1
        if status not in (0, 3, -9):
            tally.wrong.append(f"{where}: it ended with {status}")
        with opened(folder) as store:
            tally.wrong += [f"{where}: {sentence}" for sentence in self._faults(store, status)]
        return True

    def _faults(self, store: Store, status: int) -> Iterator[str]:
        found = fingerprint(store)
        if found not in (self.before, self.after):
            yield "a half state"
        if status == 0 and found != self.after:
            yield "it was acknowledged and is not there"
        yield from violations(store, LATER)
        try:
            self.operation.work(store)
        except CandorError as error:
            if found != self.after:
                yield f"it cannot be done again: {error.message}"
        if fingerprint(store) != self.after:
            yield "it was done again and is not there"
        yield from (f"done again: {sentence}" for sentence in violations(store, LATER))


def opened(folder: Path) -> Store:
    return Store.open(folder / "node.db", STORE_KEY, MIGRATIONS)


def run(quick: bool) -> int:
    tally = Tally()
    for operation in OPERATIONS:
        with tempfile.TemporaryDirectory(prefix="candor-", dir="/tmp") as folder:
            bench = Bench.build(Path(folder), operation)
            for mode in (Mode.KILL, Mode.NO_SPACE):
                steps = range(1, MOST_STEPS + 1)
                # A sample that has the first steps, the middle and, by running on, the last.
                chosen = [nth for nth in steps if not quick or nth <= 6 or nth % 7 == 0]
                for nth in chosen:
                    if not bench.suffer(mode, nth, tally):
                        break
    points = sum(tally.points.values())
    print(f"lives: {points} crash points, {dict(tally.points)}, {len(tally.wrong)} violations")
    for sentence in tally.wrong[:20]:
        print(f"  WRONG: {sentence}")
    return 1 if tally.wrong or not tally.points else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lives")
    parser.add_argument("--quick", action="store_true", help="a sample of the steps, for `make test`")
    given = arguments if arguments is not None else sys.argv[1:]
    options = parser.parse_args(given)
    if not shim.is_preloaded():
        return shim.under_shim("tests.campaign.lives", *given)
    return run(options.quick)


if __name__ == "__main__":
    sys.exit(main())
