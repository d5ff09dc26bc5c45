"""Learn the table of weights and write proto/candor_proto/weights.py: `python -m tools.training [--check]`.

Needs nothing but the project: populations are generated, the development sets are carried. About ten minutes
on two cores. `--check` writes nothing and fails when a weight differs by more than ROUNDING hundredths of a
bit (other machines' arithmetic).

Rules of this file:
- weights are whole hundredths of a bit, so that every machine adds up the same;
- signs are held (candor_proto.evidence.sign): agreement never counts against a person;
- what is published as calibration was measured on seeds that nobody trained on, with the written weights.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.environments import run_in
from candor_proto import weights
from candor_proto.evidence import Evidence, features, sign
from tools.training.report import measure, render
from tools.training.sets import CALIBRATION, TRAINING, Found, collect, without_fields

ROOT = Path(__file__).resolve().parent.parent.parent
OUTPUT = ROOT / "proto" / "candor_proto" / "weights.py"
REFERENCE_POPULATION = 20_000
ROUNDING = 2
RIDGE = 2.0
# A feature of fewer pairs than this says nothing that one could rely on: it is left out, and counts nothing.
LEAST_PAIRS = 30


def fit(found: Sequence[Found], view: Callable[[Evidence], Evidence]) -> dict[str, int]:
    """Weights in hundredths of a bit by feature, and `prior`; every source counts by its share."""
    rows = [
        (features(view(pair.evidence)), pair.true, one.source.share, one.population)
        for one in found
        for pair in one.pairs
    ]
    counts: dict[str, int] = {}
    for own, *_ in rows:
        for name in own:
            counts[name] = counts.get(name, 0) + 1
    names = sorted(name for name, count in counts.items() if count >= LEAST_PAIRS)
    places = {name: place for place, name in enumerate(names)}
    told = run_in(
        "training",
        "../tools/training/fit.py",
        input_text=json.dumps(
            {
                "features": names,
                "signs": [sign(name) for name in names],
                "rows": [[places[name] for name in own if name in places] for own, *_ in rows],
                "true": [int(true) for _, true, *_ in rows],
                "shares": [share for *_, share, _ in rows],
                "offsets": [-math.log2(size / REFERENCE_POPULATION) for *_, size in rows],
                "ridge": RIDGE,
            }
        ),
    )
    print(f"  {len(rows)} pairs, {len(names)} features, loss {told['loss']:.5f} bits", file=sys.stderr)
    learnt = {name: round(100 * weight) for name, weight in zip(names, told["weights"], strict=True)}
    kept = {name: weight for name, weight in learnt.items() if weight}
    return {"prior": round(100 * told["prior"]), **kept}


def differences(old: Mapping[str, int], new: Mapping[str, int]) -> Iterable[str]:
    """Weights that are further apart than rounding."""
    for name in sorted({*old, *new}):
        if abs(old.get(name, 0) - new.get(name, 0)) > ROUNDING:
            yield f"{name}: {old.get(name, 0)} is now {new.get(name, 0)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it is not current")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    print(f"training: {len(TRAINING)} sources", file=sys.stderr, flush=True)
    found = collect(TRAINING, arguments.workers)
    screening = fit(found, without_fields)
    detailed = fit(found, lambda evidence: evidence)
    if arguments.check:
        wrong = [
            *differences(weights.SCREENING, screening),
            *differences(weights.DETAILED, detailed),
        ]
        if wrong:
            raise SystemExit("The table is not what this tool learns:\n  " + "\n  ".join(wrong))
        return
    print(f"calibration: {len(CALIBRATION)} sources", file=sys.stderr, flush=True)
    # What is measured is the new table, not the one that was imported.
    weights.SCREENING, weights.DETAILED = screening, detailed
    measured = measure(collect(CALIBRATION, arguments.workers))
    OUTPUT.write_text(render(screening, detailed, REFERENCE_POPULATION, RIDGE, measured), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(OUTPUT)], check=True)


if __name__ == "__main__":
    main()
