"""Lint and tests at the same time: `python -m tests.beside PYTEST-ARGUMENTS`, which is `make test`.

What lint says stands before pytest's
closing line, which stays the last; the status is that of whichever found something.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOUND = "make test: lint found something, see above"
POLL_SECONDS = 0.05
# So many files are named with what they took.
DEAREST = 60
# What a test computed, a property of its last report.
CPU = "cpu_seconds"
# The file into which lint writes; beside it, once it has ended, its status. Taken away at once, so that a
# pytest that a test starts knows nothing of it.
_LOG = os.environ.pop("CANDOR_LINT", "")
_BEFORE = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Note what the process, and those it waited for, had computed before the test and its fixtures."""
    item.stash[_BEFORE] = _cpu_seconds()
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Who waits costs nothing while others run: what was computed is told apart from what it took."""
    if call.when == "teardown":
        now = _cpu_seconds()
        item.user_properties.append((CPU, now - item.stash.get(_BEFORE, now)))


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


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
    """Which files took longest and computed most, all their tests together."""
    took: dict[str, float] = defaultdict(float)
    computed: dict[str, float] = defaultdict(float)
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if isinstance(report, pytest.TestReport):
            file = report.nodeid.partition("::")[0]
            took[file] += report.duration
            computed[file] += sum(float(str(value)) for name, value in report.user_properties if name == CPU)
    total, cpu = sum(took.values()), sum(computed.values())
    terminalreporter.section(f"{total:.0f} s of tests, {cpu:.0f} s of them computed, by file")
    for file, seconds in sorted(took.items(), key=lambda item: -item[1])[:DEAREST]:
        terminalreporter.write_line(f"{seconds:7.1f} s {computed[file]:7.1f} s {file}")


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
