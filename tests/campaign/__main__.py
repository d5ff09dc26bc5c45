"""Run the long campaigns: `make campaign [NAME=x]`.

A campaign is a module tests/campaign/<name>.py with a one-line docstring and `main() -> int` (0: the target
held). It prints its own figure and writes nothing outside a temporary folder.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def campaigns() -> dict[str, str]:
    """Name to first docstring line of every campaign that exists."""
    found = {}
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        module = ast.parse(path.read_text("utf-8"))
        if any(isinstance(part, ast.FunctionDef) and part.name == "main" for part in module.body):
            found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def main(names: list[str]) -> int:
    known = campaigns()
    if not known:
        print("campaign: no campaign exists yet (tests/campaign/<name>.py with a main()); nothing was run.")
        return 2 if names else 0
    if unknown := set(names) - known.keys():
        print(f"campaign: no campaign named {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
        return 2
    for name, what in known.items():
        print(f"  {name:24} {what}")
    held = {}
    for name in names or known:
        print(f"\n== {name}", flush=True)
        held[name] = subprocess.run([sys.executable, "-m", f"tests.campaign.{name}"]).returncode == 0
    print("\n" + "\n".join(f"  {name:24} {'held' if ok else 'FAILED'}" for name, ok in held.items()))
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
