"""Random days of a federation with everything going wrong that can: thousands of seeds in the simulator.

SEEDS (default 1,000) and FROM (default 0) choose them; a seed that fails is printed with its plan, and
`SEEDS=1 FROM=<seed>` plays it again. Identifiers and keys come from the operating system, so that a run is
repeated in its order of faults and not in every octet.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import structlog

from tests.simulator.faults import Rates
from tests.simulator.federation import Simulator
from tests.simulator.workload import Workload

# From a day on which little goes wrong to one on which clients have to try many times. Much more, and nobody
# lives long enough to get anything done, which shows nothing.
RATES = (
    Rates(call=0.05, submission=0.05, frame=0.02, transaction=0.005),
    Rates(call=0.10, submission=0.10, frame=0.05, transaction=0.02),
    Rates(call=0.15, submission=0.15, frame=0.08, transaction=0.01),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one seed; `failure` is empty when all was in order."""

    seed: int
    failure: str
    troubles: Counter[str]


def play(seed: int) -> Outcome:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    said, troubles = io.StringIO(), Counter[str]()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            plan = Simulator().play(
                Workload(seed), agencies=2 + seed % 3, seed=seed, rates=RATES[seed % len(RATES)]
            )
        troubles.update(line.rpartition(": ")[2] for line in plan.log)
    except Exception as error:
        return Outcome(seed, f"{type(error).__name__}: {error}\n{said.getvalue()}", troubles)
    return Outcome(seed, "", troubles)


def main() -> int:
    first, count = int(os.environ.get("FROM", "0")), int(os.environ.get("SEEDS", "1000"))
    began, failed, troubles = time.monotonic(), 0, Counter[str]()
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for outcome in pool.map(play, range(first, first + count)):
            troubles.update(outcome.troubles)
            if outcome.failure:
                failed += 1
                print(f"seed {outcome.seed} failed: {outcome.failure[:4_000]}", flush=True)
    for name, times in sorted(troubles.items()):
        print(f"  {name:20} {times}")
    print(
        f"{count} days, {sum(troubles.values())} troubles, {failed} days with a fault, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
