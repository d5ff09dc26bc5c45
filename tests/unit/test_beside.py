"""`make test`: what lint found stands above pytest's closing line, and is its status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.beside import FOUND, ROOT
from tests.patience import PATIENCE_SECONDS

LINT = ("sh", "-c", "echo E501; exit 3")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One test in `folder`, beside a lint that finds something."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_one.py").write_text("def test_one() -> None:\n    pass\n")
    arguments = ["-c", str(folder / "pytest.ini"), "-p", "tests.beside", str(folder), *words]
    program = f"import sys; from tests.beside import main; sys.exit(main({arguments!r}, lint={LINT!r}))"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def test_what_lint_finds_is_told_before_the_closing_line(tmp_path: Path) -> None:
    told = run(tmp_path)
    lines = told.stdout.strip().splitlines()
    assert told.returncode == 1
    assert lines.index("E501") < lines.index(FOUND) == len(lines) - 2
    assert "1 passed in " in lines[-1]
    assert re.search(r"^ +\d+\.\d s +\d+\.\d s test_one\.py$", told.stdout, re.M)


def test_what_lint_finds_is_told_though_pytest_ends_early(tmp_path: Path) -> None:
    told = run(tmp_path, "--no-such-option")
    assert told.returncode == 4
    assert told.stdout.strip().splitlines() == ["E501", FOUND]
