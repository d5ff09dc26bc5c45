"""A batch of 50,000, interrupted ten times: the same file as one that was not, and fair to others meanwhile.

Two agencies and a hub as real processes. One asks about ROWS synthetic persons (screening), once undisturbed
and once while its node, its command and the hub are killed (SIGKILL) INTERRUPTIONS times at random moments;
the command is simply run again. The other agency looks single persons up, in quiet and while the batch runs.

Checked: both files are equal to the last octet; no row was asked twice; the median single lookup takes at
most twice its quiet time; the asking node's memory does not grow with the rows (at most GROWTH_MEGABYTES).

    ROWS=2000 INTERRUPTIONS=3 make campaign NAME=interrupted
"""

from __future__ import annotations

import asyncio
import csv
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

from candor_node.batch_file import WHEN
from candor_wire.v1 import local_pb2, local_pb2_grpc
from tests.history import read_node
from tests.processes import Founded, found_federation
from tests.records import csv_bytes, make_row

ROWS = int(os.environ.get("ROWS") or 50_000)
INTERRUPTIONS = int(os.environ.get("INTERRUPTIONS") or 10)
SEED = int(os.environ.get("SEED") or 20261124)
KNOWN_EVERY = 50
QUIET_LOOKUPS, BUSY_LOOKUPS = 15, 40
GROWTH_MEGABYTES = 150.0
SLOWER = 2.0
READY_SECONDS = 60.0
SCRIPTS = Path(sys.executable).parent


def person(number: int) -> dict[str, str]:
    """A synthetic applicant; each number is another person, and resembles no other."""
    draw = random.Random(f"person {number}")
    letters = "".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(9))
    birth = f"19{draw.randint(50, 99)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
    return {
        "id": f"A-{number}",
        "first": f"Q{letters[:5]}",
        "last": f"Placeholder{letters[4:]}",
        "birth_date": birth,
        "ssn4": f"{draw.randint(1, 9998):04}",
    }


def record(number: int) -> dict[str, str]:
    one = person(number)
    identity = {key: one[key] for key in ("first", "last", "birth_date", "ssn4")}
    missing = dict.fromkeys(("middle", "former_last", "suffix", "post_state", "post_id"), "")
    return make_row(agency_record_id=f"R-{number}", **identity, **missing)


class Place:
    """The processes of the campaign."""

    def __init__(self, folder: Path, founded: Founded) -> None:
        self.folder = folder
        self.founded = founded
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start the hub or a node, and wait until it says that it is ready."""
        program = "candor-hub" if name == "hub" else "candor-node"
        config = self.founded.hub_file if name == "hub" else self.founded.node_files[name]
        log = (self.folder / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [str(SCRIPTS / program), "run", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        log.close()
        self.running[name] = process
        assert process.stdout is not None
        deadline = time.monotonic() + READY_SECONDS
        os.set_blocking(process.stdout.fileno(), False)
        while b"ready" not in (process.stdout.read() or b""):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{name} did not start; see {self.folder / name}.log")
            time.sleep(0.05)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.running.pop(name)
        process.send_signal(number)
        process.wait(60)

    def stop(self) -> None:
        for name in [*self.running][::-1]:
            self.kill(name, signal.SIGTERM)

    def command(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        config = str(self.founded.node_files[name])
        return subprocess.Popen(
            [str(SCRIPTS / "candor-node"), *words, "--config", config, "--json"],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "commands.log").open("ab"),
            stdin=subprocess.DEVNULL,
        )

    def do(self, name: str, *words: str) -> None:
        status = self.command(name, *words).wait(600)
        if status:
            said = (self.folder / "commands.log").read_text("utf-8", "replace")[-600:]
            raise AssertionError(f"{words[0]} ended with status {status}: {said}")

    def batch(self, rows: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
        return self.command(
            "alpha", "batch", str(rows), "--out", str(out), "--screening", "--case", "RE-CHECK", "--consent",
            "roster", "--officer", "Sgt. Example", "--wait", "600", *more,
        )  # fmt: skip

    def megabytes(self, name: str) -> float:
        pages = int(Path(f"/proc/{self.running[name].pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def single_lookup(self, number: int) -> float:
        """Milliseconds of one screening lookup of the other agency, as its node's console would make it."""
        one = person(number)
        request = local_pb2.LookupRequest(
            person=local_pb2.Person(**{key: one[key] for key in ("first", "last", "birth_date", "ssn4")}),
            purpose="J_APPLICANT",
            shape="SCREENING",
            case_number=f"SINGLE-{number}-{time.monotonic_ns()}",
            consent="form",
            officer="Sgt. Example",
            wait_seconds=60,
        )
        with grpc.insecure_channel(f"unix:{self.founded.nodes['bravo'].socket}") as channel:
            node = local_pb2_grpc.LocalServiceStub(channel)
            began = time.perf_counter()
            parts = list(node.Lookup(request, timeout=120))
            milliseconds = (time.perf_counter() - began) * 1e3
        if not parts[-1].result.coverage.complete:
            raise AssertionError(f"a single lookup was not answered: {parts[-1].result.coverage.sentence}")
        return milliseconds


def found_in(result: Path) -> list[dict[str, str]]:
    """The rows of a result but for the columns that say when: those may differ."""
    with result.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [{name: cell for name, cell in row.items() if name not in WHEN} for row in rows]


def prepare(folder: Path) -> tuple[Place, Path]:
    founded = asyncio.run(found_federation(folder, ("alpha", "bravo")))
    place = Place(folder, founded)
    for name in ("hub", "alpha", "bravo"):
        place.start(name)
    filed = folder / "records.csv"
    filed.write_bytes(csv_bytes(record(number) for number in range(0, min(ROWS, 20_000), KNOWN_EVERY)))
    place.do("bravo", "import", str(filed))
    place.do("alpha", "publish")
    rows = folder / "rows.csv"
    with rows.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(person(0)))
        writer.writeheader()
        writer.writerows(person(number) for number in range(ROWS))
    time.sleep(3)  # both nodes fetch what was published just now
    return place, rows


def undisturbed(place: Place, rows: Path, out: Path) -> tuple[float, list[float], float]:
    """Seconds of the whole batch, single lookups meanwhile, and by how many megabytes the node grew."""
    busy: list[float] = []
    began, before = time.monotonic(), 0.0
    command = place.batch(rows, out)
    highest = 0.0
    while command.poll() is None:
        time.sleep(1)
        now = place.megabytes("alpha")
        # The first seconds load code and fill caches: growth counts from there.
        before = before or (now if time.monotonic() - began > 10 else 0.0)
        highest = max(highest, now)
        if len(busy) < BUSY_LOOKUPS and time.monotonic() - began > 5:
            busy.append(place.single_lookup(10_000_000 + len(busy)))
    if command.returncode not in (0, 3):
        raise AssertionError(f"the batch ended with status {command.returncode}")
    return time.monotonic() - began, busy, highest - (before or highest)


def interrupted(place: Place, rows: Path, out: Path, expected_seconds: float, draw: random.Random) -> int:
    """Run the same batch again as a new one, killing what it needs; how often it was interrupted."""
    command, count = place.batch(rows, out, "--again"), 0
    began = time.monotonic()
    while count < INTERRUPTIONS:
        time.sleep(draw.uniform(0.3, 0.9) * expected_seconds / (INTERRUPTIONS + 1))
        if command.poll() is not None and command.returncode == 0:
            break
        victim = draw.choice(("alpha", "alpha", "hub", "command"))
        command.kill()
        command.wait(60)
        if victim != "command":
            place.kill(victim)
            place.start(victim)
        count += 1
        print(f"  {time.monotonic() - began:.0f} s: {victim} killed", flush=True)
        command = place.batch(rows, out)
    while command.wait(3_600) not in (0, 3):
        command = place.batch(rows, out)
    return count


def main() -> int:
    draw, wrong = random.Random(SEED), []
    with tempfile.TemporaryDirectory(prefix="candor-", dir="/tmp") as name:
        folder = Path(name)
        place, rows = prepare(folder)
        try:
            quiet = [place.single_lookup(20_000_000 + number) for number in range(QUIET_LOOKUPS)]
            seconds, busy, growth = undisturbed(place, rows, folder / "whole.csv")
            grown = f"{growth:.0f} MB more at the node"
            print(f"  undisturbed: {ROWS:,} rows in {seconds:.0f} s, {grown}", flush=True)
            count = interrupted(place, rows, folder / "interrupted.csv", seconds, draw)
        finally:
            place.stop()
        whole, other = (found_in(folder / name) for name in ("whole.csv", "interrupted.csv"))
        if whole != other:
            differ = sum(a != b for a, b in zip(whole, other, strict=False))
            wrong.append(f"the files differ in {differ} lines")
        holding = read_node(place.founded.nodes["alpha"])
        twice = sum(times > 1 for times in holding.rows_asked.values())
        if twice or holding.damage or holding.ledger_fault:
            wrong.append(f"{twice} rows asked twice; {holding.damage} {holding.ledger_fault}")
        slower = statistics.median(busy) / statistics.median(quiet) if busy else 0.0
        if not busy or slower > SLOWER:
            wrong.append(f"a single lookup took {slower:.2f} times its quiet time ({len(busy)} measured)")
        if growth > GROWTH_MEGABYTES:
            wrong.append(f"the node grew by {growth:.0f} MB")
        matches = sum(row["outcome"] == "MATCH" for row in whole)
    meanwhile = statistics.median(busy) if busy else 0.0
    print(
        f"interrupted: {ROWS:,} rows, {count} interruptions, {matches} matches, "
        f"files equal: {whole == other}; single lookup {statistics.median(quiet):.0f} ms in quiet, "
        f"{meanwhile:.0f} ms meanwhile ({slower:.2f} times)"
    )
    for sentence in wrong:
        print(f"  WRONG: {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
