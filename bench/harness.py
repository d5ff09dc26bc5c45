"""What every benchmark shares: the machine, the spread of a sample, the result file, the table.

A benchmark writes `bench/results/<name>.json` with its machine and versions, so that a figure in a
document can be traced to the run it came from.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    """CPU model, cores this process may use, system, and the load that other programs put on it now."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def versions(*distributions: str) -> dict[str, str]:
    """Python's version and those of installed distributions."""
    return {"python": platform.python_version()} | {name: version(name) for name in distributions}


def spread(samples: Sequence[float], digits: int = 3) -> dict[str, float | int]:
    """Median, extremes and quartiles of `samples`, in their own unit."""
    quartiles = (
        statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else [samples[0]] * 3
    )
    figures = {
        "median": statistics.median(samples),
        "min": min(samples),
        "q1": quartiles[0],
        "q3": quartiles[2],
        "max": max(samples),
    }
    return {name: round(value, digits) for name, value in figures.items()} | {"runs": len(samples)}


def timed(work: Callable[[], T], clock: Callable[[], float] = time.perf_counter) -> tuple[float, T]:
    """Seconds on `clock` that `work` took, and what it returned."""
    start = clock()
    result = work()
    return clock() - start, result


def write(name: str, result: dict[str, object]) -> Path:
    """Write `bench/results/<name>.json` and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print `rows` under `headings`, every column but the first flushed right."""
    cells = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(headings), *cells]) for column in range(len(headings))]
    for line in [list(headings), ["-" * width for width in widths], *cells]:
        first, *rest = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip())
