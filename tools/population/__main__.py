"""`python -m tools.population OUT_DIR --seed N ...`: write a labelled synthetic population."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.population.files import generate, write
from tools.population.mixes import MIXES, Mix, from_json
from tools.population.origins import ORIGINS


def _mix(name: str, file: Path | None) -> Mix:
    return from_json(file.read_text("utf-8")) if file else MIXES[name]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.population", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--records", type=int, default=20_000, help="rows of A.csv (default 20000)")
    parser.add_argument("--queries", type=int, default=5_000, help="rows of B.csv (default 5000)")
    parser.add_argument("--mix", choices=sorted(MIXES), default="dev", help="how much goes wrong")
    parser.add_argument("--mix-file", type=Path, help="a mix as JSON in the place of --mix")
    parser.add_argument("--origins", choices=sorted(ORIGINS), default="census", help="what people are called")
    parser.add_argument("--members", type=float, default=0.5, help="share of queries that have a record")
    arguments = parser.parse_args()
    try:
        mix = _mix(arguments.mix, arguments.mix_file)
        population = generate(
            arguments.seed,
            arguments.records,
            arguments.queries,
            mix,
            arguments.origins,
            arguments.members,
        )
    except ValueError as error:
        parser.error(str(error))
    write(population, arguments.folder)


if __name__ == "__main__":
    main()
