"""Run the benchmarks, then print one table of the headline figures: `make bench [NAME=x]`.

A benchmark is a module bench/<name>.py with a `main()` that writes bench/results/<name>.json. Its headline
figures are the members of `headline` in that file or, where there is none, every top-level number.
Each runs in a process of its own, so that none pays for what another has loaded or warmed.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

from bench.harness import RESULTS, print_table

FOLDER = Path(__file__).resolve().parent


def benchmarks() -> dict[str, str]:
    """Name to first docstring line of every benchmark."""
    found = {}
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        module = ast.parse(path.read_text("utf-8"))
        if any(isinstance(part, ast.FunctionDef) and part.name == "main" for part in module.body):
            found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def headline(path: Path) -> list[tuple[str, str, str]]:
    """Benchmark, figure and value for each headline figure of one result file."""
    result = json.loads(path.read_text("utf-8"))
    figures = result.get("headline", result)
    return [
        (path.stem, name, str(value).lower() if isinstance(value, bool) else str(value))
        for name, value in figures.items()
        if isinstance(value, bool | int | float) or (figures is not result and isinstance(value, str))
    ]


def main(arguments: list[str] | None = None) -> int:
    known = benchmarks()
    listing = "\n".join(f"  {name:16} {what}" for name, what in known.items())
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Run benchmarks and print their headline figures.",
        epilog=f"benchmarks:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", help="only these")
    parser.add_argument(
        "--table", action="store_true", help="run nothing: print the figures of the last runs"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.name) - known.keys():
        print(
            f"bench: no benchmark named {', '.join(sorted(unknown))}. There are:\n{listing}", file=sys.stderr
        )
        return 2
    chosen = options.name or list(known)
    failed = []
    for name in [] if options.table else chosen:
        print(f"== {name}: {known[name]}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=FOLDER.parent).returncode != 0:
            failed.append(name)
        print(flush=True)
    rows = [row for name in chosen if (path := RESULTS / f"{name}.json").exists() for row in headline(path)]
    print_table(("benchmark", "figure", "value"), rows)
    if failed:
        print(f"bench: failed: {', '.join(failed)}; the table shows their last results", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
