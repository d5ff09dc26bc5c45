"""The rules of the house, as tests: docs/style.md says why each of them stands."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = [ROOT / name for name in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
BIN = Path(sys.executable).parent

MAX_LINES = 450
GENERATED = re.compile(r"_pb2(_grpc)?\.py$|^name_tables\.py$")

PURE = ("proto/candor_proto", "node/candor_records")

# What pure packages may not do, because their callers could not see it (import contracts do the rest).
FORBIDDEN_CALLS = frozenset({"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint"})
FORBIDDEN_CLOCKS = frozenset({"now", "utcnow", "today"})
FORBIDDEN_MODULES = frozenset({"time", "random"})
EXEMPT_FROM_PURITY = frozenset({"proto/candor_proto/sodium.py"})


def impurities(source: str) -> list[str]:
    """What `source` does that a pure package may not, one line each."""
    tree = ast.parse(source)
    clocks = {"datetime", "date"}
    for part in ast.walk(tree):
        if isinstance(part, ast.ImportFrom) and part.module == "datetime":
            clocks |= {name.asname or name.name for name in part.names if name.name in {"datetime", "date"}}
    return list(_impurities(tree, clocks, frozenset()))


def _impurities(part: ast.AST, clocks: set[str], local: frozenset[str]) -> Iterator[str]:
    """`local` are the names bound in the functions around `part`: RFC 9497 calls a parameter `input`."""
    where = f"line {getattr(part, 'lineno', 0)}"
    if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id in FORBIDDEN_CALLS - local:
        yield f"{where}: {part.id}"
    elif isinstance(part, ast.Attribute) and part.attr in FORBIDDEN_CLOCKS:
        owner = part.value
        name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
        if name in clocks:
            yield f"{where}: {name}.{part.attr}"
    elif isinstance(part, ast.Import):
        modules = {name.name.split(".")[0] for name in part.names}
        yield from (f"{where}: import {name}" for name in sorted(modules & FORBIDDEN_MODULES))
    elif isinstance(part, ast.ImportFrom) and (part.module or "").split(".")[0] in FORBIDDEN_MODULES:
        yield f"{where}: from {part.module}"

    inside = local
    if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        inside |= {argument.arg for argument in ast.walk(part.args) if isinstance(argument, ast.arg)}
    if isinstance(
        part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ListComp | ast.GeneratorExp | ast.SetComp
    ):
        stored = (name for name in ast.walk(part) if isinstance(name, ast.Name))
        inside |= {name.id for name in stored if isinstance(name.ctx, ast.Store)}
    for child in ast.iter_child_nodes(part):
        # Defaults and decorators are evaluated outside.
        outside = isinstance(child, ast.arguments)
        yield from _impurities(child, clocks, local if outside else inside)


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted(package.rglob("*.py"))


def committed_texts() -> Iterator[tuple[Path, str]]:
    """Every text file that is committed or would be."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:  # a source archive: no repository, so no list
        made = re.compile(r"\.git|\.venv|__pycache__|\.hypothesis|\..*_cache|dist|build")
        paths = [
            path
            for path in ROOT.rglob("*")
            if not any(made.fullmatch(part) for part in path.relative_to(ROOT).parts)
        ]
    for path in paths:
        if path.is_file():
            try:
                yield path, path.read_text("utf-8")
            except UnicodeDecodeError:
                continue


# --- layers and purity --------------------------------------------------------------------------------


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [BIN / "lint-imports", "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contracts_bite_on_a_planted_breach(tmp_path: Path) -> None:
    """The same contracts, over packages in which everybody reaches for what is not theirs."""
    for name in PROJECT["tool"]["importlinter"]["root_packages"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "candor_node/search.py").write_text(
        "def look() -> None:\n    import candor_hub\n    import sqlite3\n"
    )
    (tmp_path / "candor_proto/policy.py").write_text("import time\n")
    (tmp_path / "candor_records/gate.py").write_text("import candor_wire\nimport os\n")
    (tmp_path / "candor_hub/relay.py").write_text("import candor_records\n")
    (tmp_path / "candor_proto/sodium.py").write_text("import ctypes\n")
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    (tmp_path / "pyproject.toml").write_text(text)
    done = subprocess.run(
        [BIN / "lint-imports", "--no-logo", "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "5 broken" in done.stdout, done.stdout
    assert "candor_records.gate -> os" in done.stdout
    assert "candor_proto.sodium" not in done.stdout


@pytest.mark.parametrize(
    "path",
    [path for package in PURE for path in sorted((ROOT / package).rglob("*.py"))],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_the_core_and_the_model_of_a_record_are_pure(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() not in EXEMPT_FROM_PURITY:
        assert impurities(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "node/candor_records").rglob("*.py")), ids=lambda path: path.stem
)
def test_what_a_record_is_needs_the_protocol_and_the_standard_library_only(path: Path) -> None:
    imported: set[str] = set()
    for part in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(part, ast.Import):
            imported |= {name.name.split(".")[0] for name in part.names}
        elif isinstance(part, ast.ImportFrom):
            imported.add((part.module or "").split(".")[0])
    assert imported - sys.stdlib_module_names <= {"candor_proto", "candor_records"}


@pytest.mark.parametrize(
    "source",
    [
        "open('x')",
        "print(1)",
        "input()",
        "eval('1')",
        "exec('1')",
        "compile('1', '', 'eval')",
        "__import__('os')",
        "show = print",
        "breakpoint()",
        "from datetime import datetime\ndatetime.now()",
        "from datetime import datetime, UTC\ndatetime.now(UTC)",
        "from datetime import datetime as moment\nmoment.utcnow()",
        "import datetime\ndatetime.datetime.now()",
        "import datetime as d\nd.date.today()",
        "from datetime import date\nclock = date.today",
        "import time\ntime.time()",
        "from time import monotonic",
        "import random",
        "from random import choice",
        "def late() -> None:\n    import random",
        "def late(file: str) -> object:\n    return open(file)",
        "def late(show: object = print) -> None: ...",
        "def shown(input: str) -> None:\n    print(input)",
    ],
)
def test_the_purity_test_bites(source: str) -> None:
    assert impurities(source)


@pytest.mark.parametrize(
    "source",
    [
        "import secrets\nsecrets.token_bytes(16)",
        "import re\nre.compile('a')",
        "def check(now: object) -> object:\n    return now",
        "class Result:\n    def open(self) -> None: ...\nResult().open()",
        "from datetime import datetime, UTC\ndatetime(2026, 1, 1, tzinfo=UTC)",
        "class Blinded:\n    input: bytes",
        "def blind(input: bytes) -> bytes:\n    return input",
        "def double(inputs: list[bytes]) -> list[bytes]:\n    return [input + input for input in inputs]",
    ],
)
def test_the_purity_test_lets_pure_code_pass(source: str) -> None:
    assert impurities(source) == []


# --- layout -------------------------------------------------------------------------------------------


def test_source_roots_are_no_packages() -> None:
    """A regular package `proto` at the top would shadow another project's, for whoever runs from here."""
    roots = {package.parent for package in PACKAGES}
    assert {root.name for root in roots} >= {"proto", "certs", "node", "hub"}
    assert [str(root) for root in roots if (root / "__init__.py").exists()] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_packages_are_typed(package: Path) -> None:
    assert (package / "py.typed").exists()
    assert (package / "__init__.py").exists()


def test_modules_are_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in modules()
        if not GENERATED.search(path.name)
    }
    assert {path: lines for path, lines in lengths.items() if lines >= MAX_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules()
        if not GENERATED.search(path.name)
        and path.read_text("utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_no_committed_file_names_a_path_of_one_machine() -> None:
    homes = re.compile(r"(?<![\w.<])/(?:home|Users|root|work)/[A-Za-z0-9._-]")
    # A checkout in a folder such as /src says nothing: that may be a container's path.
    here = re.compile(rf"(?<![\w.]){re.escape(str(ROOT))}(?![\w-])" if len(ROOT.parts) > 2 else r"(?!)")
    found = []
    for path, text in committed_texts():
        for number, line in enumerate(text.splitlines(), 1):
            if homes.search(line) or here.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


# --- what is delivered --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(PROJECT["project"]["scripts"]))
def test_every_command_explains_itself(command: str) -> None:
    done = subprocess.run(
        [BIN / command, "--help"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "usage" in done.stdout.lower()
    assert len(done.stdout.splitlines()) > 5


def test_the_lock_files_pin_every_requirement_by_hash() -> None:
    for name in (
        "requirements.lock",
        "deploy/requirements.lock",
        "deploy/requirements-extras.lock",
        "tools/wire-requirements.lock",
    ):
        text = (ROOT / name).read_text("utf-8")
        blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
        assert [
            block for block in blocks if not re.match(r"[\w.-]+==\S+ .*\\\n +--hash=sha256:", block)
        ] == []


def test_the_lock_file_knows_every_direct_dependency() -> None:
    project = PROJECT["project"]
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    locked = {
        match.group(1).lower()
        for match in re.finditer(
            r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE
        )
    }
    names = {re.split(r"[\[<>=!~;, ]", requirement)[0].lower() for requirement in wanted}
    assert names - locked == set(), "run `make lock`"


def test_every_direct_dependency_is_explained() -> None:
    project = PROJECT["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    page = (ROOT / "docs/dependencies.md").read_text("utf-8")
    explained = {name.lower() for name in re.findall(r"`([\w.-]+)`(?: [>=<]=?[\d.]+)", page)}
    names = {re.split(r"[\[<>=!~;, ]", requirement)[0].lower() for requirement in wanted}
    assert names - explained == set(), "add a line to docs/dependencies.md"


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_the_plan_of_the_house_has_every_room() -> None:
    plan = (ROOT / "docs/architecture.md").read_text("utf-8").split("```")[1]
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    folders = {name.split("/")[0] for name in tracked if "/" in name and not name.startswith(".")}
    wanted = {f"{folder}/" for folder in folders} | {f"{package.name}/" for package in PACKAGES}
    assert sorted(name for name in wanted if name not in plan) == []
