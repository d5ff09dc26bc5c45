"""What `candor-verify log` costs: memory by size of the log, and entries a second beside bare hashing.

Two logs on disk as a hub serves them, of 100,000 and of 1,000,000 entries (as a busy federation's: lists of
commitments, heads, heartbeats), each read by the command in a process of its own. Bare hashing is what the
least reader of the same files would do: read each bundle, cut it, hash leaves and nodes; in turns with the
command, so that other programs slow both alike.
"""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from bench import harness
from candor_proto.ids import NodeId
from candor_proto.tlog.entries import Receipts, Requests, Statement, head_entry
from candor_proto.tlog.statements import Heartbeat, received_bits
from candor_verify.tiles import WIDTH, decode_bundle, tile_path
from tests.parties import FEDERATION
from tests.unit.verify.served import ServedLog

QUICK = bool(os.environ.get("BENCH_QUICK"))
SIZES = (2_000, 20_000) if QUICK else (100_000, 1_000_000)
ROUNDS = 1 if QUICK else 3
HEARTBEAT_EVERY, HEAD_EVERY = 1_000, 2_000


class BigLog(ServedLog):
    """As a busy federation leaves it."""

    def fill(self, size: int) -> None:
        """Up to `size` entries: lookups and their receipts, now and then a head and a heartbeat."""
        end, commitments, heartbeats = 0, 0, 0
        while len(self.entries) < size:
            index = len(self.entries)
            if index % HEARTBEAT_EVERY == 0:
                beat = Heartbeat(
                    FEDERATION, NodeId("alpha"), self.origin, heartbeats, end, index,
                    received_bits([True] * commitments), 5, 1, 10, bytes(32), self.now,
                )  # fmt: skip
                signed = self.parties["alpha"].signing.sign("heartbeat", beat.encode())
                self.entries.append(Statement("heartbeat", signed).encode())
                end, commitments, heartbeats = index, 0, heartbeats + 1
            elif index % HEAD_EVERY == 1:
                party = self.parties["beta"]
                party.sequence += 1
                self.entries.append(head_entry(party.signed_head()).encode())
            elif index % 2:
                number = 1 + index % 7
                self.entries.append(Requests(_commitments(number)).encode())
                commitments += number
            else:
                self.entries.append(Receipts(_commitments(1 + index % 15)).encode())


def _commitments(number: int) -> tuple[bytes, ...]:
    return tuple(sorted(secrets.token_bytes(32) for _ in range(number)))


def make(folder: Path, size: int) -> ServedLog:
    log = BigLog(folder, now=datetime.now(UTC) - timedelta(minutes=10))
    log.make_policy()
    log.keep("policy/2", log.publish(witnesses=()))
    log.fill(size)
    log.publish()
    (folder / "policy.txt").write_bytes(log.first_policy)
    return log


def bare(folder: Path, size: int) -> bytes:
    """Every bundle read, cut and hashed into one root, and nothing else."""
    border: list[tuple[int, bytes]] = []
    for number in range(-(-size // WIDTH)):
        width = min(WIDTH, size - number * WIDTH)
        octets = (folder / "1" / tile_path(None, number, width)).read_bytes()
        for entry in decode_bundle(octets, width):
            height, carry = 0, sha256(b"\x00" + entry).digest()
            while border and border[-1][0] == height:
                carry = sha256(b"\x01" + border.pop()[1] + carry).digest()
                height += 1
            border.append((height, carry))
    _, root = border.pop()
    while border:
        root = sha256(b"\x01" + border.pop()[1] + root).digest()
    return root


def verify(folder: Path) -> tuple[float, float]:
    """Processor seconds and peak MiB of one run of the command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", _MEASURED, "log", str(folder), "--policy", str(folder / "policy.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(done.stderr.strip().rpartition(" ")[2]) / 1024


_MEASURED = """
import sys
from datetime import UTC, datetime
from candor_verify.cli import run
status = run(sys.argv[1:], datetime.now(UTC))
# The process's own: ru_maxrss would hold what the benchmark used before it began this one.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", peak, file=sys.stderr)
sys.exit(status)
"""


def measure(size: int, folder: Path) -> dict[str, object]:
    log = make(folder, size)
    octets = sum(2 + len(entry) for entry in log.entries)
    entries = len(log.entries)
    del log
    checked, hashed, peaks = [], [], []
    for _ in range(ROUNDS):
        start = time.process_time()
        bare(folder, entries)
        hashed.append(time.process_time() - start)
        seconds, peak = verify(folder)
        checked.append(seconds)
        peaks.append(peak)
    ratios = [one / other for one, other in zip(checked, hashed, strict=True)]
    return {
        "entries": entries,
        "octets_an_entry": round(octets / entries),
        "verify_cpu_seconds": harness.spread(checked),
        "bare_cpu_seconds": harness.spread(hashed),
        "over_bare_hashing": harness.spread(ratios),
        "peak_mib": harness.spread(peaks, 1),
    }


def folders() -> Iterator[Path]:
    while True:
        yield Path(tempfile.mkdtemp(prefix="candor-bench-"))


def main() -> None:
    results = []
    for size, folder in zip(SIZES, folders(), strict=False):
        try:
            results.append(measure(size, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    _, large = results
    rate = large["entries"] / large["verify_cpu_seconds"]["median"]  # type: ignore[index]  # as made above
    peaks = [each["peak_mib"]["median"] for each in results]  # type: ignore[index]  # as made above
    result = {
        "quick": QUICK,
        "machine": harness.machine(),
        "versions": harness.versions("cryptography"),
        "headline": {
            "entries_a_second": round(rate),
            "over_bare_hashing": large["over_bare_hashing"]["median"],  # type: ignore[index]  # as made above
            f"peak_mib_{SIZES[0]}": peaks[0],
            f"peak_mib_{SIZES[1]}": peaks[1],
            "peak_growth": round(peaks[1] / peaks[0], 3),
        },
        "runs": results,
    }
    harness.write("verify_log", result)
    harness.print_table(("figure", "value"), list(result["headline"].items()))  # type: ignore[attr-defined]  # a dict


if __name__ == "__main__":
    main()
