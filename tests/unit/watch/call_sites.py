"""Every place in the sources that writes a line to the log, and what is wrong with it."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from candor_watch.redaction import ALLOWED, SENTENCES

ROOT = Path(__file__).resolve().parents[3]
LEVELS = frozenset(
    {"debug", "info", "warning", "error", "critical", "exception", "fatal", "warn", "log", "msg"}
)
LOGGERS = frozenset({"log", "logger", "_log", "_logger", "LOG", "logging"})
# An expression under a key may only take apart, name or round values; it never puts a text together.
CALLS = frozenset(
    {"str", "len", "int", "round", "float", "fingerprint", "type", "getattr", "isoformat", "is_final"}
)
PRINTERS = frozenset({"logs.py", "uncaught.py"})


@dataclass(frozen=True)
class Site:
    """One call that logs."""

    place: str
    level: str
    event: str | None
    keys: tuple[str, ...]
    faults: tuple[str, ...]


def packages() -> list[Path]:
    """The packages of the product that may log."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    names = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return [ROOT / name for name in names]


def sites() -> list[Site]:
    """Every call of a logger in the product."""
    return [
        site
        for package in packages()
        for path in sorted(package.rglob("*.py"))
        for site in of_source(path.read_text("utf-8"), str(path.relative_to(ROOT)))
    ]


def of_source(source: str, name: str) -> Iterator[Site]:
    """The calls in `source`, which is called `name`."""
    for part in ast.walk(ast.parse(source)):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in LEVELS:
            owner = part.func.value
            called = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            # `log.bind(…).info` is a call on what a call gave.
            chained = isinstance(owner, ast.Call) and getattr(owner.func, "attr", "") in {"bind", "new"}
            if called in LOGGERS or chained:
                yield _site(part, name, chained)


def _site(call: ast.Call, name: str, chained: bool) -> Site:
    faults = ["binds values, which no test reads"] if chained else []
    event: str | None = None
    if len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str):
        event = call.args[0].value
    else:
        faults.append("the event is no constant text, or there are further positional arguments")
    keys = []
    for keyword in call.keywords:
        if keyword.arg is None:
            faults.append("keys come out of a dictionary (**)")
            continue
        keys.append(keyword.arg)
        if keyword.arg == "exc_info":
            continue
        if keyword.arg not in ALLOWED or keyword.arg in {
            "event",
            "level",
            "timestamp",
            "failure",
            "withheld",
        }:
            faults.append(f"{keyword.arg}: no key of candor_watch.redaction.ALLOWED")
        faults += [f"{keyword.arg}: {fault}" for fault in _faults(keyword.value, keyword.arg)]
    if SENTENCES & set(keys) and "code" not in keys:
        faults.append("a sentence without the code of its error, which says whether it may be shown")
    level = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    return Site(f"{name}:{call.lineno}", level, event, tuple(keys), tuple(faults))


def _faults(value: ast.expr, key: str) -> Iterator[str]:
    for part in ast.walk(value):
        if isinstance(part, ast.JoinedStr) and key not in {"serial"}:
            yield "puts a text together (f-string)"
        if isinstance(part, ast.BinOp) and not _counts(part):
            yield "puts a text together (+ or %)"
        if isinstance(part, ast.Call):
            called = part.func.attr if isinstance(part.func, ast.Attribute) else getattr(part.func, "id", "?")
            if called not in CALLS and part.args:
                yield f"calls {called}()"
            if called in {"format", "join", "repr", "decode"}:
                yield f"calls {called}()"


def _counts(sum_: ast.BinOp) -> bool:
    """Whether a number stands on one side, so that the sum is one as well."""
    sides = (sum_.left, sum_.right)
    return any(isinstance(side, ast.Constant) and isinstance(side.value, int | float) for side in sides)


def streams(package: Path) -> Iterator[str]:
    """Where a package that runs as a service writes to a stream past the log."""
    for path in sorted(package.rglob("*.py")):
        if path.name in PRINTERS:
            continue
        for part in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(part, ast.Call):
                name = part.func.id if isinstance(part.func, ast.Name) else ""
                if name in {"print", "pprint"} or ast.unparse(part.func) in {
                    "sys.stderr.write",
                    "sys.stdout.write",
                    "traceback.print_exc",
                    "traceback.format_exc",
                    "logging.getLogger",
                    "warnings.warn",
                }:
                    yield f"{path.relative_to(ROOT)}:{part.lineno}: {ast.unparse(part.func)}"
