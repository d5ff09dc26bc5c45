"""What `doctor` says: one finding for each thing that was looked at, and what to do about it.

Rules of this file:
- a finding never holds a secret, and nobody but members and machines: who shows a screen shows it to others;
- checks run beside each other and in a bounded time; one that does not end is `unknown`, and the others are
  told all the same;
- a check says what is wrong by raising a CandorError or by returning a finding; anything else that it raises
  is a fault of ours, and its text is not shown (`redaction.describe`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from candor_proto.errors import CandorError
from candor_watch.redaction import describe, sentence

T = TypeVar("T")
SCHEMA = 1
# All of doctor, in seconds: somebody waits for it.
BOUND_SECONDS = 13.0
EXIT_GOOD, EXIT_BAD, EXIT_CANNOT_RUN = 0, 1, 2
LONG_SENTENCE = 2_000

Figure = int | float | str | bool | None


class State(StrEnum):
    """How it is; `unknown` is what could not be looked at, or not in time."""

    GOOD = "good"
    UNKNOWN = "unknown"
    WARNING = "warning"
    BAD = "bad"


_ORDER = (State.GOOD, State.UNKNOWN, State.WARNING, State.BAD)


@dataclass(frozen=True)
class Entry:
    """A line of the catalogue: what a check is about. `key` is for machines and never changes."""

    key: str
    group: str
    looks_at: str
    bad: str
    warning: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `figures` have units in their names."""

    key: str
    state: State
    detail: str
    remedy: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return self.state is State.GOOD


def good(key: str, detail: str, **figures: Figure) -> Finding:
    return Finding(key, State.GOOD, detail, "", figures)


def warning(key: str, detail: str, remedy: str, **figures: Figure) -> Finding:
    return Finding(key, State.WARNING, detail, remedy, figures)


def bad(key: str, detail: str, remedy: str, **figures: Figure) -> Finding:
    return Finding(key, State.BAD, detail, remedy, figures)


def unknown(key: str, detail: str, remedy: str = "", **figures: Figure) -> Finding:
    return Finding(key, State.UNKNOWN, detail, remedy, figures)


def failed(key: str, error: CandorError) -> Finding:
    return Finding(key, State.BAD, error.message, error.remedy)


@dataclass(frozen=True)
class Report:
    """Everything that was found, in the order of the catalogue."""

    program: str
    version: str
    catalogue: Mapping[str, Entry]
    findings: tuple[Finding, ...]
    seconds: float = 0.0
    runnable: bool = True

    @property
    def state(self) -> State:
        """The gravest one."""
        return max((finding.state for finding in self.findings), key=_ORDER.index, default=State.UNKNOWN)

    def of(self, key: str) -> Finding:
        """The finding of that key; raises KeyError."""
        return {finding.key: finding for finding in self.findings}[key]

    def exit_status(self, *, strict: bool = False) -> int:
        """0 good, 1 something is bad, 2 it could not run; with `strict`, 1 for anything that is not good."""
        if not self.runnable:
            return EXIT_CANNOT_RUN
        least = State.UNKNOWN if strict else State.BAD
        return EXIT_BAD if _ORDER.index(self.state) >= _ORDER.index(least) else EXIT_GOOD

    def as_json(self) -> dict[str, Any]:
        """The schema of docs/doctor.md."""
        counts = {state.value: 0 for state in _ORDER}
        for finding in self.findings:
            counts[finding.state.value] += 1
        return {
            "schema": SCHEMA,
            "program": self.program,
            "version": self.version,
            "state": self.state.value,
            "counts": counts,
            "seconds": round(self.seconds, 2),
            "findings": [
                {
                    "key": finding.key,
                    "group": self.catalogue[finding.key].group,
                    "state": finding.state.value,
                    "detail": finding.detail,
                    "remedy": finding.remedy,
                    "figures": dict(finding.figures),
                }
                for finding in self.findings
            ],
        }

    def lines(self) -> list[str]:
        """For people: by groups, what is not good with what to do about it, and one line at the end."""
        shown: list[str] = []
        width = max((len(finding.key) for finding in self.findings), default=0)
        for group in dict.fromkeys(self.catalogue[finding.key].group for finding in self.findings):
            shown += ["", group] if shown else [group]
            for finding in self.findings:
                if self.catalogue[finding.key].group != group:
                    continue
                word = finding.state.value
                mark = word if finding.state in (State.GOOD, State.UNKNOWN) else word.upper()
                shown.append(f"  {mark:7}  {finding.key:{width}}  {finding.detail}")
                if finding.remedy and finding.state is not State.GOOD:
                    shown.append(f"  {'':7}  {'':{width}}  -> {finding.remedy}")
        counts = self.as_json()["counts"]
        told = ", ".join(f"{counts[state.value]} {state.value}" for state in reversed(_ORDER))
        return [*shown, "", f"{len(self.findings)} looked at: {told}."]


# --- looking -------------------------------------------------------------------------------------------

Found = Finding | Iterable[Finding]
Check = Callable[[], Awaitable[Found]]


async def look(
    checks: Mapping[str, Check], bound_seconds: float = BOUND_SECONDS
) -> tuple[list[Finding], float]:
    """Run all `checks`, named by the key that each is about; the findings in their order, and the seconds.

    What is not there after `bound_seconds` is `unknown`.
    """
    began = time.monotonic()
    tasks = {key: asyncio.create_task(_one(key, check)) for key, check in checks.items()}
    _, late = await asyncio.wait(tasks.values(), timeout=bound_seconds)
    for task in late:
        task.cancel()
    found: list[Finding] = []
    for key, task in tasks.items():
        if task in late:
            found.append(
                unknown(key, f"This could not be looked at within {bound_seconds:.0f} seconds.", _LATE)
            )
        else:
            found += task.result()
    return [_tidy(finding) for finding in found], time.monotonic() - began


_LATE = "Look at what this needs (disk, database, network), and run doctor again."


async def _one(key: str, check: Check) -> list[Finding]:
    try:
        found = await check()
    except CandorError as error:
        return [failed(key, error)]
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        return [unknown(key, f"This could not be looked at: {reason}.", "Run doctor as the service's user.")]
    except Exception as error:
        told = f"This could not be looked at: {describe(error)}."
        return [unknown(key, told, "Report this line; it holds nothing secret.")]
    return [found] if isinstance(found, Finding) else list(found)


def _tidy(finding: Finding) -> Finding:
    """On one line: a sentence can come from a peer."""
    return replace(
        finding,
        detail=sentence(finding.detail, LONG_SENTENCE),
        remedy=sentence(finding.remedy, LONG_SENTENCE),
    )


async def in_thread(work: Callable[[], T]) -> T:
    """`work` in a thread that nobody waits for at the program's end: a name server or disk can hang."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None only beside an error

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as caught:
            error = caught
        # The loop is closed when doctor has given up on this.
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            return

    threading.Thread(target=run, daemon=True).start()
    return await done


class Once:
    """A fact that several checks want: made by the first, shared by all, its error too."""

    def __init__(self, make: Callable[[], Awaitable[Any]]) -> None:
        self._make = make
        self._task: asyncio.Task[Any] | None = None

    async def __call__(self) -> Any:
        if self._task is None:
            self._task = asyncio.ensure_future(self._make())
        return await asyncio.shield(self._task)


def catalogue(entries: Sequence[Entry]) -> dict[str, Entry]:
    """By key, in their order."""
    return {entry.key: entry for entry in entries}


def table(entries: Mapping[str, Entry]) -> str:
    """The catalogue as a table of docs/doctor.md."""
    rows = [
        f"| `{entry.key}` | {entry.group} | {entry.looks_at} | {entry.bad} | {entry.warning or '-'} |"
        for entry in entries.values()
    ]
    return "\n".join(
        ["| key | group | what is looked at | bad when | warning when |", "|---|---|---|---|---|", *rows]
    )
