"""kill -9 and a full disk at every write of import, void, expungement and recall of records.

For each operation databases are prepared and copied. A child process does the operation on the copy and is
killed before its Nth write, sync, truncation or creation, for N = 1, 2, ... until there is no Nth step; then
the same with a disk that fills up at the Nth. Each time the databases are opened again: the invariants of
`tests.lives` hold, what stands there is what stood before or all of what was to be done, and what was
acknowledged is there. Then it is done again, and must be done.

    python -m tests.campaign.lives [--quick]
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from candor_node import importer, lifecycle, record_digests, staging
from candor_node.lifecycle import Doing
from candor_node.store import Database, Store
from candor_proto.errors import CandorError, StoreUnusable
from candor_records.policy import NoPack
from candor_records.records import Dcn
from tests.campaign import shim
from tests.campaign.shim import Control, Mode
from tests.forking import fork_alone
from tests.lives import violations
from tests.parties import NOW
from tests.patience import PATIENCE_SECONDS
from tests.recalls import BRAVO, Couple
from tests.records import CONTRIBUTOR, ORI, csv_bytes, generated_rows, make_row

MOST_STEPS = 400
ROWS, CHUNK = 40, 15
# Each recall is a transaction of its own: with one there is nothing between nothing and all.
RELEASES = 1
DOING = Doing(NOW, CONTRIBUTOR, NoPack(), "as ordered", "chief-2")

Fingerprint = tuple[tuple[str, ...], ...]

# --- what is done --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """Something that two nodes do, of which `work` may be repeated until it is done."""

    name: str
    work: Callable[[Couple], object]
    # What goes before it, without a fault.
    before: Callable[[Couple], object] = lambda couple: None


def _target(db: Database) -> Dcn:
    """The control number of the record that things happen to, destroyed or not."""
    key = record_digests.agency_key(db, ORI, "IA-2021-0001")
    return Dcn(db.execute("SELECT dcn FROM record_heads WHERE agency_key = ?", [key]).fetchone()[0])


def _import(couple: Couple) -> object:
    """As `service_intake` does it: rows wait in transactions of their own, one makes them records."""
    store, secret = couple.bravo.store, couple.bravo.store.run_sync(record_digests.digest_secret)
    columns, rows = importer.csv_rows(csv_bytes([make_row(ssn4="4822"), *generated_rows(ROWS, seed=5)]))
    work = importer.Import(Doing(NOW, CONTRIBUTOR, NoPack()), ORI, BRAVO, columns, secret)
    store.run_sync(staging.begin)
    while chunk := list(islice(rows, CHUNK)):
        read = work.read(chunk)
        _, staged = work.plan(read, store.run_sync(lambda db, read=read: work.look_up(db, read)))  # type: ignore[misc]
        store.run_sync(lambda db, staged=staged: staging.add(db, staged))  # type: ignore[misc]
    store.run_sync(lambda db: work.finish(db, importer.no_opening))
    while not store.run_sync(staging.clear):
        pass
    return work.report()


def _void(couple: Couple) -> object:
    return couple.bravo.store.run_sync(lambda db: lifecycle.void(db, _target(db), DOING))


def _expunge(couple: Couple) -> object:
    return couple.bravo.store.run_sync(lambda db: lifecycle.expunge(db, _target(db), DOING))


def _tell(couple: Couple) -> None:
    """The owner seals the recalls that are due."""
    while couple.send():
        pass


def _told(couple: Couple) -> None:
    _void(couple)
    _tell(couple)
    couple.take(couple.bravo)


def _apply(couple: Couple) -> None:
    """The holder takes in what the hub delivers, and what it left when it died."""
    for envelope in couple.sent[-RELEASES:]:
        couple.deliver(envelope)
    couple.work_off(couple.alpha)


OPERATIONS = (
    Operation("import", _import),
    Operation("void", _void),
    Operation("expunge", _expunge),
    Operation("recall, told", _tell, _void),
    Operation("recall, applied", _apply, _told),
)


def prepare(folder: Path, operation: Operation) -> Couple:
    """Two nodes, of which one holds a few records and the other copies of one; closed."""
    folder.mkdir()
    couple = Couple(folder)
    rows = csv_bytes([make_row(), *generated_rows(5, seed=3)])
    couple.bravo.store.run_sync(lambda db: importer.import_csv(db, rows, NOW, ORI, BRAVO, CONTRIBUTOR))
    for hit in range(1, RELEASES + 1):
        couple.release(couple.bravo.store.run_sync(_target), hit)
    couple.carry()
    operation.before(couple)
    couple.close()
    return couple


@contextmanager
def opened(couple: Couple, folder: Path) -> Iterator[Couple]:
    twin = couple.at(folder)
    try:
        # As a node does that starts.
        twin.bravo.store.run_sync(staging.clear_all)
        yield twin
    finally:
        twin.close()


def fingerprint(couple: Couple) -> Fingerprint:
    """What stands there, but for what is drawn at random."""
    owner = (
        "SELECT hex(agency_key), standing, (SELECT group_concat(act) FROM record_events"
        " WHERE record_events.record_id = record_heads.record_id), (SELECT count(*) FROM record_keys"
        " WHERE record_keys.record_id = record_heads.record_id) FROM record_heads ORDER BY 1",
        "SELECT kind, state, sendings, body = x'' FROM recalls ORDER BY number",
        "SELECT kind, count(*) FROM outbox GROUP BY kind",
    )
    holder = (
        "SELECT 'copies', (SELECT count(*) FROM copy_keys), (SELECT count(*) FROM copies)",
        "SELECT state FROM sent_requests ORDER BY hit_number",
        "SELECT kind, done FROM received_recalls ORDER BY 1, 2",
        "SELECT kind, count(*) FROM outbox GROUP BY kind",
    )

    def read(store: Store, queries: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for sql in queries:
            rows: list[tuple[Any, ...]] = store.run_sync(lambda db, sql=sql: db.execute(sql).fetchall())  # type: ignore[misc]
            yield from (tuple(map(str, row)) for row in rows)

    return (*read(couple.bravo.store, owner), ("--",), *read(couple.alpha.store, holder))


# --- what comes in between -----------------------------------------------------------------------------


@dataclass
class Tally:
    """What happened."""

    points: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """Where an operation suffers: prepared databases, and what they look like before and after."""

    root: Path
    couple: Couple
    operation: Operation
    before: Fingerprint
    after: Fingerprint

    @classmethod
    def build(cls, root: Path, operation: Operation) -> Bench:
        couple = prepare(root / "template", operation)
        with opened(couple, shutil.copytree(couple.folder, root / "done")) as twin:
            before = fingerprint(twin)
            operation.work(twin)
            return cls(root, couple, operation, before, fingerprint(twin))

    def suffer(self, mode: Mode, nth: int, tally: Tally) -> bool:
        """One crash point; whether the operation has an `nth` step at all."""
        where = f"{self.operation.name}, {mode.name.lower()} at step {nth}"
        folder, page = self.root / "copy", self.root / "orders"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.couple.folder, folder)
        Control.create(page).close()
        status = self._child(folder, page, mode, nth)
        with Control.open(page) as control:
            if not control.fired:
                if status != 0:
                    tally.wrong.append(f"{where}: nothing came, and it ended with {status}")
                return False
        tally.points[f"{self.operation.name}: {mode.name.lower()}"] += 1
        if status not in (0, 3, -9):
            tally.wrong.append(f"{where}: it ended with {status}")
        with opened(self.couple, folder) as twin:
            tally.wrong += [f"{where}: {sentence}" for sentence in self._faults(twin, status)]
        return True

    def _child(self, folder: Path, page: Path, mode: Mode, nth: int) -> int:
        """Do the operation in a process of its own: 0 acknowledged, 3 refused, -9 killed, 5 never ended."""
        pid = fork_alone()
        if pid == 0:
            os._exit(self._work(folder, page, mode, nth))
        end = select.poll()
        descriptor = os.pidfd_open(pid)
        end.register(descriptor, select.POLLIN)
        hangs = not end.poll(PATIENCE_SECONDS * 1_000)
        os.close(descriptor)
        if hangs:
            os.kill(pid, signal.SIGKILL)
        _, ended = os.waitpid(pid, 0)
        return 5 if hangs else os.waitstatus_to_exitcode(ended)

    def _work(self, folder: Path, page: Path, mode: Mode, nth: int) -> int:
        try:
            shim.attach(self.root, page)
            twin = self.couple.at(folder)
            with Control.open(page) as control:
                control.arm(mode, nth, sticky=mode is Mode.NO_SPACE)
                try:
                    self.operation.work(twin)
                except StoreUnusable:
                    return 3
                finally:
                    control.disarm()
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
            return 4
        return 0

    def _faults(self, twin: Couple, status: int) -> Iterator[str]:
        found = fingerprint(twin)
        if found not in self._between():
            yield "a half state"
        if status == 0 and found != self.after:
            yield "it was acknowledged and is not there"
        yield from violations(twin.bravo.store, NOW)
        try:
            self.operation.work(twin)
        except CandorError as error:
            if found != self.after:
                yield f"it cannot be done again: {error.message}"
        if fingerprint(twin) != self.after:
            yield "it was done again and is not there"
        yield from (f"done again: {sentence}" for sentence in violations(twin.bravo.store, NOW))

    def _between(self) -> tuple[Fingerprint, ...]:
        return (self.before, self.after)


def run(quick: bool) -> int:
    tally = Tally()
    for operation in OPERATIONS:
        with tempfile.TemporaryDirectory(prefix="candor-", dir="/tmp") as folder:
            bench = Bench.build(Path(folder), operation)
            if bench.before == bench.after:
                tally.wrong.append(f"{operation.name} changes nothing")
            for mode in (Mode.KILL, Mode.NO_SPACE):
                # A sample from the first steps on and, by running on, to the last.
                steps = [nth for nth in range(1, MOST_STEPS + 1) if not quick or nth == 2 or nth % 58 == 0]
                for nth in steps:
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
