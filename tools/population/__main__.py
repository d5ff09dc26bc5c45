"""Write a labelled synthetic population, or say how its errors compare with those of another.

  python -m tools.population OUT_DIR --seed N [--mix hard] [--origins diverse] ...
  python -m tools.population --compare officers-dev DIR ... --seed N [--mix dev] ...
  python -m tools.population OUT_DIR --development officers-dev
  python -m tools.population --show-mix dev

OUT_DIR gets A.csv (records), B.csv (queries) and truth.csv (the pairs that are one person).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.population.compare import kinds, measured, table
from tools.population.development import NAMES, load
from tools.population.files import Labelled, Population, generate, held, read, write
from tools.population.mixes import MIXES, from_json, to_json
from tools.population.origins import ORIGINS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.population",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, nargs="?", help="where the three files go")
    parser.add_argument("--seed", type=int, help="a whole number: the same one gives the same octets")
    parser.add_argument("--records", type=int, default=20_000, help="rows of A.csv (default 20000)")
    parser.add_argument("--queries", type=int, default=5_000, help="rows of B.csv (default 5000)")
    parser.add_argument(
        "--mix", choices=sorted(MIXES), default="dev", help="how often what goes wrong (default dev)"
    )
    parser.add_argument("--mix-file", type=Path, help="a mix as JSON in the place of --mix (see --show-mix)")
    parser.add_argument(
        "--origins", choices=sorted(ORIGINS), default="census", help="what people are called (default census)"
    )
    parser.add_argument(
        "--members", type=float, default=0.5, help="share of queries that have a record (default 0.5)"
    )
    parser.add_argument(
        "--compare", nargs="+", metavar="DIR", help="folders, or names of development sets, to measure beside"
    )
    parser.add_argument("--development", choices=NAMES, help="write this development set as it was carried")
    parser.add_argument("--show-mix", choices=sorted(MIXES), help="print a mix as JSON")
    return parser


def _population(arguments: argparse.Namespace) -> Population:
    """The population that the arguments ask for; raises ValueError or OSError for a mix that is none."""
    file: Path | None = arguments.mix_file
    mix = from_json(file.read_text("utf-8")) if file else MIXES[arguments.mix]
    return generate(
        arguments.seed, arguments.records, arguments.queries, mix, arguments.origins, arguments.members
    )


def _compared(population: Population, others: list[str], name: str) -> str:
    """The table of `--compare`, the generated population in its last column."""
    data: dict[str, Labelled] = {
        other: load(other) if other in NAMES else read(Path(other)) for other in others
    }
    data[name] = held(population)
    text = table({of: measured(one) for of, one in data.items()})
    for of, one in data.items():
        for side, rows in (("A", one.records), ("B", one.queries)):
            counted = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds(rows).items()))
            text += f"{of} {side}: {counted}\n"
    return text


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.show_mix:
        sys.stdout.write(to_json(MIXES[arguments.show_mix]))
        return
    if not arguments.folder and not arguments.compare:
        parser.error("OUT_DIR or --compare is needed.")
    if arguments.development:
        write(load(arguments.development), arguments.folder)
        return
    if arguments.seed is None:
        parser.error("--seed is needed.")
    try:
        population = _population(arguments)
        if arguments.compare:
            sys.stdout.write(_compared(population, arguments.compare, f"generated {arguments.mix}"))
        if arguments.folder:
            write(population, arguments.folder)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
