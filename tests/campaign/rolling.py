"""A hub and its nodes, of the release before, replaced by this checkout one by one while clerks work.

    python -m tests.campaign.rolling [--quick]

1. Three replicas on PostgreSQL and two nodes: each replica, then each node; then one of each back.
2. One hub on its folder: stopped and started as the new version, then its nodes; then back.

Clerks at both nodes look up and send for records without a pause. Nothing may fail for a clerk whose node is
up; afterwards everything they were told is held against every database.

`--quick`: two replicas, and no way back. ROUNDS=n plays all of it n times.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.upgrades.rolling import both, hub_and_nodes, replicas_and_nodes
from tests.upgrades.versions import previous_wheel, unpacked


def _played(play: Callable[[], str]) -> bool:
    began = time.monotonic()
    try:
        counted = play()
    except AssertionError as error:
        print(f"  FAILED after {time.monotonic() - began:.0f} s: {error}", flush=True)
        return False
    print(f"  {counted} ({time.monotonic() - began:.0f} s)", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.rolling")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    quick = parser.parse_args().quick
    wheel = previous_wheel()
    if wheel is None:
        print("rolling: needs a kept release in deploy/releases: not run")
        return 2
    print(f"  the release before: {wheel.name}", flush=True)
    held, replicas, rounds = True, 2 if quick else 3, int(os.environ.get("ROUNDS", "1"))
    with tempfile.TemporaryDirectory(prefix="candor-rolling-") as name:
        folder = Path(name)
        with both(unpacked(wheel), folder) as two:
            for turn in range(rounds):
                held &= _played(
                    partial(
                        replicas_and_nodes,
                        *(folder / f"replicas-{turn}", two),
                        replicas=replicas,
                        back=not quick,
                    )
                )
                held &= _played(partial(hub_and_nodes, folder / f"embedded-{turn}", two, back=not quick))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
