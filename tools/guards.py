"""Switch off each guard of the code in turn and expect a named test to fail: `make guards [NAME=x]`.

A guard is a check that an attack or an accident would have to pass: of a signature, an expiry, a replay.
tools/guards.toml names each one, the snippet of source that is the check, and what stands there when the
check is gone. A guard whose removal no named test notices is a promise nobody keeps.

Rules of this file:
- the work tree is never touched: everything runs in copies below a temporary folder;
- every named test must first pass unmodified there;
- noticing means that a test *fails in its body*. A test that cannot be collected or set up, or that trips
  over a name or syntax error that the replacement brought, has noticed nothing;
- the process that runs the tests reports which file the guarded module was imported from: if it is not the
  copy's, the run is void.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path("tools/guards.toml")
PARALLEL = 2
TIMEOUT_SECONDS = 900
NOT_COPIED = (
    *(".git", ".venv", "__pycache__", "*.pyc", "*.egg-info", "node_modules", "dist", "build"),
    *(".*_cache", ".hypothesis", ".coverage", "demo-federation"),
)
# Failures that a botched replacement causes by itself.
BOTCHED = frozenset({"NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError"})

# Runs inside pytest, named by -p and independent of every conftest: writes what happened as JSON.
WATCHER = """\
import importlib, json, os, sys

seen = {"passed": [], "failed": {}, "broken": {}, "modules": {}}

def pytest_collectreport(report):
    if report.failed:
        seen["broken"][report.nodeid] = "not collected"

def pytest_runtest_makereport(item, call):
    if call.excinfo is not None and call.when == "call":
        item.candor_error = call.excinfo.type.__name__

def pytest_runtest_protocol(item, nextitem):
    items[item.nodeid] = item

items = {}

def pytest_runtest_logreport(report):
    if report.failed and report.when == "call":
        seen["failed"][report.nodeid] = getattr(items[report.nodeid], "candor_error", "?")
    elif report.failed:
        seen["broken"][report.nodeid] = "error in " + report.when
    elif report.passed and report.when == "call":
        seen["passed"].append(report.nodeid)

def pytest_sessionfinish(session):
    for name in os.environ["CANDOR_GUARD_MODULES"].split():
        try:
            module = importlib.import_module(name)
            seen["modules"][name] = os.path.realpath(module.__file__)
        except Exception as error:
            seen["modules"][name] = f"cannot be imported: {error!r}"
    with open(os.environ["CANDOR_GUARD_REPORT"], "w") as report:
        json.dump(seen, report)
"""


class TableInvalid(Exception):
    """The table of guards does not fit the sources; one line for each fault."""


@dataclass(frozen=True)
class Guard:
    """One check, and what notices its absence."""

    name: str
    protects: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What happened when one guard was switched off."""

    guard: Guard
    noticed: bool
    detail: str


@dataclass(frozen=True)
class Run:
    """What one pytest process reported."""

    passed: list[str]
    failed: dict[str, str]
    broken: dict[str, str]
    modules: dict[str, str]
    tail: str


def load(root: Path = ROOT) -> list[Guard]:
    """The guards of `root`/tools/guards.toml. Raises TableInvalid for a table of the wrong form."""
    try:
        rows = tomllib.loads((root / TABLE).read_text("utf-8")).get("guard", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TableInvalid(f"{TABLE}: {error}") from None
    faults: list[str] = []
    guards = [guard for row in rows if (guard := _guard(row, faults))]
    names = [guard.name for guard in guards]
    faults += [f"{name}: the name occurs twice" for name in sorted(set(names)) if names.count(name) > 1]
    if not guards:
        faults.append(f"{TABLE} holds no guard")
    if faults:
        raise TableInvalid("\n".join(faults))
    return guards


def _guard(row: dict[str, Any], faults: list[str]) -> Guard | None:
    texts = ("name", "protects", "file", "find", "replace")
    name = row.get("name", "a guard without a name")
    if row.keys() != {*texts, "tests"}:
        faults.append(f"{name}: the keys are {', '.join(texts)} and tests, each of them once")
        return None
    tests = row["tests"]
    if not all(isinstance(row[key], str) for key in texts) or not isinstance(tests, list):
        faults.append(f"{name}: tests is a list of node ids, everything else a text")
        return None
    if not tests or not row["find"].strip() or not re.fullmatch(r"[a-z0-9-]+", name):
        faults.append(f"{name}: needs a name of a-z 0-9 -, a snippet to find, and at least one test")
        return None
    return Guard(
        name=name,
        protects=row["protects"],
        file=row["file"],
        find=row["find"],
        replace=row["replace"],
        tests=tuple(tests),
    )


def check(guards: Sequence[Guard], root: Path = ROOT) -> None:
    """Raise TableInvalid unless each snippet occurs once, still parses once replaced, and all tests exist."""
    faults = []
    for guard in guards:
        path = root / guard.file
        text = path.read_text("utf-8") if path.is_file() else ""
        count = text.count(guard.find)
        if count != 1:
            faults.append(f"{guard.name}: the snippet occurs {count} times in {guard.file}, not once")
        elif guard.file.endswith(".py") and not _still_parses(text, guard):
            faults.append(f"{guard.name}: {guard.file} is no valid Python once the snippet is replaced")
        if guard.find == guard.replace:
            faults.append(f"{guard.name}: the replacement changes nothing")
        faults += [f"{guard.name}: no test {node}" for node in guard.tests if not _exists(node, root)]
    if faults:
        raise TableInvalid("\n".join(faults))


def _still_parses(text: str, guard: Guard) -> bool:
    """Whether the file, which is `text`, is valid Python once the snippet is replaced."""
    return _parses(_around(text, guard.find).replace(guard.find, guard.replace)) or _parses(
        text.replace(guard.find, guard.replace)
    )


def _around(text: str, snippet: str) -> str:
    """The statements of the module in which the snippet stands: to read all of it for each guard takes long.

    Where they are valid once more, so is the module: they end where they ended.
    """
    at = text.index(snippet)
    first, last = text.count("\n", 0, at), text.count("\n", 0, at + len(snippet))
    met = [(begin, end) for begin, end in _statements(text) if begin <= last and first < end]
    if not met:
        return text
    around = "\n".join(text.split("\n")[met[0][0] : met[-1][1]]) + "\n"
    return around if snippet in around else text


@cache
def _statements(text: str) -> tuple[tuple[int, int], ...]:
    """Of each statement of a module the number of its first line, and that of the first after it, from 0."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return ()
    return tuple(
        (
            min([each.lineno, *(line.lineno for line in getattr(each, "decorator_list", []))]) - 1,
            each.end_lineno or 0,
        )
        for each in body
    )


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _exists(node: str, root: Path) -> bool:
    """Whether the node id names a test file, or a class or function that stands in it."""
    file, *names = node.split("[")[0].split("::")
    path = root / file
    if not path.is_file() or path.suffix != ".py":
        return False
    return not names or "::".join(names) in _tests_in(path.read_text("utf-8"))


@cache
def _tests_in(text: str) -> frozenset[str]:
    """The classes and functions of a test file, as node ids name them; many guards name the same files."""

    def named(body: Sequence[ast.stmt], before: str) -> Iterator[str]:
        for statement in body:
            if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield before + statement.name
                yield from named(statement.body, f"{before}{statement.name}::")

    return frozenset(named(ast.parse(text).body, ""))


def source_roots(root: Path) -> list[Path]:
    """The folders that hold the packages, as the wheel build of pyproject.toml names them."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return list(dict.fromkeys(root / Path(package).parent for package in packages))


def module_name(file: str, root: Path) -> str | None:
    """The module that `file` is imported as; None if it is no module of ours."""
    for folder in source_roots(root):
        if (root / file).is_relative_to(folder) and file.endswith(".py"):
            parts = (root / file).relative_to(folder).with_suffix("").parts
            return ".".join(part for part in parts if part != "__init__")
    return None


def run_tests(copy: Path, tests: Sequence[str], files: Sequence[str]) -> Run:
    """Run `tests` in `copy` and say what happened.

    Raises RuntimeError (the run is void) if a module of `files` came from elsewhere, or nothing was reported.
    """
    modules = [name for file in files if (name := module_name(file, copy))]
    with tempfile.TemporaryDirectory(prefix="candor-watch-") as folder:
        watch, report = Path(folder, "candor_guard_watch.py"), Path(folder, "report.json")
        watch.write_text(WATCHER, "utf-8")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [*source_roots(copy), copy, folder])),
            "PYTHONDONTWRITEBYTECODE": "1",  # a replacement within the same second must not meet a stale .pyc
            "CANDOR_GUARD_REPORT": str(report),
            "CANDOR_GUARD_MODULES": " ".join(modules),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "candor_guard_watch", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, "-p", "no:randomly", *tests],
                cwd=copy,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"the tests did not end within {TIMEOUT_SECONDS} s") from None
        if not report.exists():
            raise RuntimeError(f"pytest ended with status {done.returncode}:\n{done.stdout[-2000:]}")
        run = Run(**json.loads(report.read_text("utf-8")), tail=done.stdout[-2000:])
    for name, file in run.modules.items():
        if not Path(file).is_relative_to(copy.resolve()):
            raise RuntimeError(f"{name} was not imported from the copy but: {file}")
    return run


def switch_off(guard: Guard, copy: Path) -> Outcome:
    """Replace the guard in `copy`, run its tests, put it back."""
    path = copy / guard.file
    original = path.read_text("utf-8")
    try:
        path.write_text(original.replace(guard.find, guard.replace), "utf-8")
        run = run_tests(copy, guard.tests, [guard.file])
    except RuntimeError as error:
        return Outcome(guard, False, f"void: {error}")
    finally:
        path.write_text(original, "utf-8")
    botched = {test: error for test, error in run.failed.items() if error in BOTCHED}
    honest = [test for test in run.failed if test not in botched]
    if run.broken:
        return Outcome(guard, False, f"void: {_first(run.broken)}")
    if honest:
        more = f" and {len(honest) - 1} more" if len(honest) > 1 else ""
        return Outcome(guard, True, f"{honest[0].rpartition('/')[2]}{more}")
    if botched:
        return Outcome(guard, False, f"void: the replacement is botched: {_first(botched)}")
    return Outcome(guard, False, f"NOT NOTICED by {', '.join(guard.tests)}")


def _first(found: dict[str, str]) -> str:
    node, what = next(iter(found.items()))
    return f"{node}: {what}"


def campaign(guards: Sequence[Guard], root: Path = ROOT, parallel: int = PARALLEL) -> list[Outcome]:
    """Switch off every guard in copies of `root`. Raises TableInvalid if a named test fails unmodified."""
    with tempfile.TemporaryDirectory(prefix="candor-guards-") as folder:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        first = Path(folder).resolve() / "copy0"
        for number in range(max(1, min(parallel, len(guards)))):
            copy = first.with_name(f"copy{number}")
            shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
            copies.put(copy)
        tests = list(dict.fromkeys(test for guard in guards for test in guard.tests))
        try:
            run = run_tests(first, tests, sorted({guard.file for guard in guards}))
        except RuntimeError as error:
            raise TableInvalid(f"the unmodified sources: {error}") from None
        if run.failed or run.broken or not run.passed:
            raise TableInvalid(f"a named test does not pass on the unmodified sources:\n{run.tail}")

        def work(guard: Guard) -> Outcome:
            copy = copies.get()
            try:
                outcome = switch_off(guard, copy)
            finally:
                copies.put(copy)
            verdict = "noticed" if outcome.noticed else "MISSED "
            print(f"  {verdict}  {guard.name}", file=sys.stderr, flush=True)
            return outcome

        with ThreadPoolExecutor(max_workers=parallel) as pool:
            return list(pool.map(work, guards))


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as text, one line each."""
    rows = [("guard", "protects", "switched off: which test fails")]
    rows += [(outcome.guard.name, outcome.guard.protects, outcome.detail) for outcome in outcomes]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{name:{widths[0]}}  {protects:{widths[1]}}  {detail}" for name, protects, detail in rows]
    missed = sum(not outcome.noticed for outcome in outcomes)
    lines.append(f"{len(outcomes)} guards, {len(outcomes) - missed} noticed, {missed} missed")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make guards", description="Switch off each guard in turn and expect a named test to fail."
    )
    parser.add_argument("name", nargs="*", help="only these guards")
    parser.add_argument("--check", action="store_true", help="only check that the table fits the sources")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    root: Path = options.root.resolve()
    try:
        guards = load(root)
        unknown = set(options.name) - {guard.name for guard in guards}
        if unknown:
            raise TableInvalid(f"no guard named {', '.join(sorted(unknown))}; see {TABLE}")
        chosen = [guard for guard in guards if not options.name or guard.name in options.name]
        check(chosen, root)
        if options.check:
            print(f"guards: {len(chosen)} guards fit the sources")
            return 0
        print(f"guards: {len(chosen)} to switch off, {PARALLEL} at a time", file=sys.stderr, flush=True)
        outcomes = campaign(chosen, root)
    except TableInvalid as error:
        print(f"guards: {error}", file=sys.stderr)
        return 1
    print(table(outcomes))
    return 0 if all(outcome.noticed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
