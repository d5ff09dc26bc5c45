"""Lint and tests at the same time: `python -m tests.beside PYTEST-ARGUMENTS`, which is `make test`.

mypy is one process, and takes as long as an eighth of the tests do. What lint says stands before pytest's
closing line, which stays the last; the status is that of whichever found something.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOUND = "make test: lint found something, see above"
POLL_SECONDS = 0.05
# So many files are named with what they took.
DEAREST = 60
# The file into which lint writes; beside it, once it has ended, its status. Taken away at once, so that a
# pytest that a test starts knows nothing of it.
_LOG = os.environ.pop("CANDOR_LINT", "")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the time went; wait for lint, and say what it said."""
    if not _LOG:
        return
    _tell_files(terminalreporter)
    log, ended = Path(_LOG), _status_file(Path(_LOG))
    while not ended.exists():
        time.sleep(POLL_SECONDS)
    terminalreporter.section("lint")
    terminalreporter.write(log.read_text())
    if ended.read_text() != "0":
        terminalreporter.write_line(FOUND)
    log.unlink()


def _tell_files(terminalreporter: pytest.TerminalReporter) -> None:
    """Which files took longest, all their tests together."""
    seconds: dict[str, float] = defaultdict(float)
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section(f"{sum(seconds.values()):.0f} s of tests, by file")
    for file, took in sorted(seconds.items(), key=lambda item: -item[1])[:DEAREST]:
        terminalreporter.write_line(f"{took:7.1f} s {file}")


def _status_file(log: Path) -> Path:
    return log.with_name("status")


def main(arguments: list[str], lint: tuple[str, ...] = ("make", "--no-print-directory", "lint")) -> int:
    """The status: of pytest, or 1 if only lint found something."""
    with tempfile.TemporaryDirectory(prefix="candor-lint-") as folder:
        log = Path(folder) / "log"
        part = _status_file(log).with_suffix(".part")
        script = '"$@" >"$LOG" 2>&1 </dev/null; printf %s $? >"$PART"; mv "$PART" "$STATUS"'
        places = {"LOG": str(log), "PART": str(part), "STATUS": str(_status_file(log))}
        linting = subprocess.Popen(["sh", "-c", script, "sh", *lint], cwd=ROOT, env={**os.environ, **places})
        words = [sys.executable, "-m", "pytest", *arguments]
        status = subprocess.run(words, cwd=ROOT, env={**os.environ, "CANDOR_LINT": str(log)}).returncode
        linting.wait()
        found = _status_file(log).read_text() != "0"
        if log.exists():  # pytest did not get as far as its summary
            print(log.read_text(), end="")
            if found:
                print(FOUND)
        return status or int(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
