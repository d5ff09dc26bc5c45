"""Importing records: seconds and memory by rows, from file to stored records, and the gate's time a record.

Run `make bench NAME=intake` (about three minutes) or, to try it, `BENCH_QUICK=1 python -m bench.intake`.

A node's service of imports runs in a process of its own on a real encrypted database; this process is the
command: it reads the file (CSV, then the same as a workbook), sends rows over the Unix socket and hears what
becomes of each. Then the same file again, which changes nothing, as a nightly export does. Memory is the peak
of each process (VmHWM) above what it held before the import. Linear: CPU time a row at the largest size
over that at the smallest, for other programs share the machine.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio

from bench.harness import machine, print_table, versions, write
from candor_node import cli_import, table_out
from candor_node.badge import signed_in
from candor_node.doors import Doors, methods
from candor_node.founding import MIGRATIONS
from candor_node.mapping import REQUIRED
from candor_node.service_intake import OPERATIONS, IntakeServicer
from candor_node.store import Store
from candor_node.table_file import Reading
from candor_records.gate import gate, gate_day
from candor_records.policy import NoPack
from candor_wire.v1 import intake_pb2, intake_pb2_grpc
from tests.records import NODE, NOW, ORI, STORE_KEY, generated_rows, make_record

QUICK = bool(os.environ.get("BENCH_QUICK"))
SIZES = (1_000, 2_000) if QUICK else (12_500, 25_000, 50_000)
GATES = (1_000, 2_000) if QUICK else (12_500, 25_000, 50_000)


def rows(count: int) -> Iterator[list[str]]:
    """Rows of different officers: each has a day of its own, so that none is another's likely duplicate."""
    draw = random.Random(7)
    for number, row in enumerate(generated_rows(count, seed=7)):
        row["effective_on"] = str(date(2021, 6, 14) + timedelta(days=number % 1_000))
        row["birth_date"] = str(date(1960, 1, 1) + timedelta(days=number // 1_000 * 97 + draw.randrange(97)))
        # Of random numbers some look like placeholders, and are refused.
        row["post_id"] = f"7{number:06d}3"
        yield [row[name] for name in REQUIRED]


# --- the node ------------------------------------------------------------------------------------------


async def _serve(folder: Path, ready: Any) -> None:
    store = Store.create(folder / "node.db", STORE_KEY, MIGRATIONS)

    async def acted() -> bool:
        return False

    node: Any = SimpleNamespace(
        store=store,
        config=SimpleNamespace(ori=lambda _: ORI, node_id=NODE, review_filings=False),
        clock=SimpleNamespace(now=lambda: NOW),
        policy=lambda db: NoPack(),
        aftermath=SimpleNamespace(acted=acted),
    )
    operations = methods(OPERATIONS, intake_pb2, "IntakeService")
    server = grpc.aio.server(interceptors=[Doors(store, node.clock, operations)])
    intake_pb2_grpc.add_IntakeServiceServicer_to_server(IntakeServicer(node), server)
    server.add_insecure_port(f"unix:{folder / 'socket'}")
    await server.start()
    ready.set()
    await server.wait_for_termination()


def _node(folder: str, ready: Any) -> None:
    asyncio.run(_serve(Path(folder), ready))


@contextmanager
def running(folder: Path) -> Iterator[tuple[Any, int]]:
    """A stub of a node's service, and the process that runs it."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_node, args=(str(folder), ready))
    process.start()
    try:
        ready.wait(60)
        with grpc.insecure_channel(f"unix:{folder / 'socket'}") as channel:
            yield intake_pb2_grpc.IntakeServiceStub(signed_in(channel, "bench", "")), process.pid or 0
    finally:
        process.terminate()
        process.join()


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _forget_peak(pid: int) -> float:
    """Begin a new peak; what the process holds now, in MiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _peak_mib(pid)


# --- what is measured ----------------------------------------------------------------------------------


def _cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


AS_IT_IS = {"dry_run": False, "allow_duplicates": False, "pass_over_ended": False}


@dataclass(frozen=True)
class Imported:
    """What an import took: on the clock, of CPU time in both processes, and in memory of each, in MiB."""

    report: Any
    seconds: float
    cpu_seconds: float
    node_grew: float
    command_grew: float


def imported(node: Any, pid: int, file: Path) -> Imported:
    """Import a file of which no row is wrong."""
    gc.collect()
    before_node, before_command = _forget_peak(pid), _forget_peak(os.getpid())
    cpu = _cpu_seconds(pid) + _cpu_seconds(os.getpid())
    began = time.perf_counter()
    table = cli_import._Table(file, None, Reading())
    report, results = cli_import._send(node, table, "bench", "", AS_IT_IS, quiet=True)
    seconds = time.perf_counter() - began
    if report.error_count or len(results) != table.sent:
        raise RuntimeError(f"rows that were made for the import are refused: {report.errors[:3]}")
    cpu = _cpu_seconds(pid) + _cpu_seconds(os.getpid()) - cpu
    grew = _peak_mib(pid) - before_node, _peak_mib(os.getpid()) - before_command
    return Imported(report, seconds, cpu, *grew)


def measure(size: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"rows": size}
    for form in ("csv", "xlsx"):
        file, place = folder / f"{size}.{form}", folder / f"{size}-{form}"
        place.mkdir()
        table_out.write(file, REQUIRED, (table_out.Line(row) for row in rows(size)))
        with running(place) as (node, pid):
            first = imported(node, pid, file)
            if first.report.new != size:
                raise RuntimeError(f"{first.report.new} of {size} rows are new")
            found[form] = {
                "seconds": round(first.seconds, 2),
                "cpu_seconds": round(first.cpu_seconds, 2),
                "cpu_microseconds_a_row": round(first.cpu_seconds / size * 1e6),
                "node_grew_mib": round(first.node_grew, 1),
                "command_grew_mib": round(first.command_grew, 1),
            }
            again = imported(node, pid, file)
            if again.report.unchanged != size:
                raise RuntimeError(f"{again.report.unchanged} of {size} rows are unchanged")
            found[form]["again_seconds"] = round(again.seconds, 2)
    return found


def gate_time(size: int) -> float:
    """Microseconds of CPU time a record."""
    made = [make_record(agency_record_id=f"G-{number}") for number in range(size // 10)]
    today, rules = gate_day(NOW), NoPack().gate_rules(made[0].kind)
    began = time.process_time()
    for _ in range(10):
        for record in made:
            gate(record, today, rules)
    return (time.process_time() - began) / size * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        sizes = [measure(size, Path(folder)) for size in SIZES]
    gates = {size: round(gate_time(size), 2) for size in GATES}
    largest, smallest = sizes[-1], sizes[0]
    ratio = largest["csv"]["cpu_microseconds_a_row"] / smallest["csv"]["cpu_microseconds_a_row"]
    headline = {
        "rows": largest["rows"],
        "csv_seconds": largest["csv"]["seconds"],
        "csv_cpu_seconds": largest["csv"]["cpu_seconds"],
        "xlsx_seconds": largest["xlsx"]["seconds"],
        "again_seconds": largest["csv"]["again_seconds"],
        "node_grew_mib": largest["csv"]["node_grew_mib"],
        "cpu_time_a_row_largest_over_smallest": round(ratio, 2),
        "gate_time_largest_over_smallest": round(gates[GATES[-1]] / gates[GATES[0]], 2),
    }
    write(
        "intake",
        {
            "machine": machine(),
            "versions": versions("grpcio", "sqlcipher3", "python-calamine", "xlsxwriter"),
            "headline": headline,
            "sizes": sizes,
            "gate_microseconds_a_record": gates,
        },
    )
    print_table(
        ("rows", "CSV s", "CPU s", "CPU µs/row", "again s", "Excel s", "node MiB", "command MiB"),
        [
            (
                each["rows"],
                each["csv"]["seconds"],
                each["csv"]["cpu_seconds"],
                each["csv"]["cpu_microseconds_a_row"],
                each["csv"]["again_seconds"],
                each["xlsx"]["seconds"],
                each["csv"]["node_grew_mib"],
                each["csv"]["command_grew_mib"],
            )
            for each in sizes
        ],
    )


if __name__ == "__main__":
    main()
