"""Plays a case and its honest twin, and judges them: what was expected came out, and nothing else did.

Of every case, whatever it expects:
- no result was ever "no record", unless that is the truth and everybody who was asked has answered;
- nobody but the liar is accused, in the evidence of any party;
- databases, ledgers and the log of all who are honest verify, and no quota was charged or exceeded wrongly;
- of a local failure nothing shows: the asker's frames (kinds, counts, sizes, order, times) and what its
  commands say are those of the twin, in which the owner has no such record.
"""

from __future__ import annotations

import difflib
import random
import re
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from unittest.mock import patch

import structlog

from candor_node import local_server, workers
from candor_node import store as node_store
from tests.byzantine.case import Case, Covered, Expected, Liar, Proved, Refused
from tests.byzantine.cases import CASES
from tests.byzantine.evidence import counted, evidence_at, log_findings, objections
from tests.byzantine.patching import undo
from tests.byzantine.world import ACCOUNTS, LOG, NOT_ASKED, ROW, SOMEBODY_ELSE, ByzantineFederation, World
from tests.history import Fault, Name
from tests.simulator.faults import Plan
from tests.simulator.federation import _NoLocalServer
from tests.simulator.template import new_folder
from tests.simulator.virtual_time import Inline, VirtualLoop, run

T = TypeVar("T")
SEED = 7
# Who refuses and holds nothing that could be compared here.
ELSEWHERE = ("hub", "auditor")
AGENCIES = 3
# Faults that no liar can excuse at whoever is honest.
INEXCUSABLE = frozenset(
    {
        Name.DAMAGED,
        Name.BROKEN_LEDGER,
        Name.FALSE_NO_RECORD,
        Name.RESULT_BEHIND,
        Name.ANSWERED_TWICE,
        Name.CHARGED_WRONGLY,
        Name.QUOTA_EXCEEDED,
    }
)
# What people at the asking agency can look at.
SCREENS = ("lookups show", "requests list", "status", "ledger", "audit status")
# Drawn from the operating system's generator: ids, and when a certificate is renewed.
_DRAWN = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{32})\b|(?<=certificate_renewal: )\S+")


@dataclass(frozen=True)
class Seen:
    """What can be seen of an asker from outside, and by its own people."""

    frames: tuple[tuple[float, tuple[tuple[str, int], ...]], ...]
    screens: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Verdict:
    """What is wrong with how a case went; nothing if `complaints` is empty."""

    complaints: tuple[str, ...]
    seen: Seen


NOTHING = Seen((), ())


def judge(case: Case) -> Verdict:
    """Play a case, and its twin where nothing may show."""
    verdict = play(case)
    if not case.local:
        return verdict
    return replace(verdict, complaints=(*verdict.complaints, *differences(verdict.seen, twin())))


@lru_cache
def twin() -> Seen:
    """The same scene without a liar: bravo has a record of somebody else, and alpha asks the same."""

    async def scene(world: World) -> None:
        await world.fed.file(world.bravo, [NOT_ASKED])
        await world.fed.settled()
        await world.begin()
        await world.ask()
        await world.settle()

    honest = Covered("complete: true", overall="NO_RECORD")
    verdict = play(
        Case(
            "honest twin",
            Liar.OWNER,
            "",
            honest,
            scene,
            "",
            local=True,
            no_record=True,
            prepared=False,
        )
    )
    assert not verdict.complaints, verdict.complaints
    return verdict.seen


def differences(seen: Seen, honest: Seen) -> list[str]:
    found = []
    if seen.frames != honest.frames:
        unlike = [pair for pair in zip(seen.frames, honest.frames, strict=False) if pair[0] != pair[1]]
        found.append(f"the asker's frames are not those of the twin: {unlike[:3] or 'more or fewer'}")
    for (where, said), (_, said_then) in zip(seen.screens, honest.screens, strict=True):
        if said != said_then:
            lines = difflib.unified_diff(
                said_then.splitlines(), said.splitlines(), "twin", where, lineterm="", n=1
            )
            found.append("\n".join(lines))
    return found


def play(case: Case) -> Verdict:
    """One scene in the simulator, prepared, played and looked at."""
    if case.together:
        return _together(case.together)[case.name]
    template = _begun(case.prepared)
    return _scene(case.settings, template, lambda fed, logs: _played([case], fed, logs))[case.name]


@lru_cache
def _together(group: str) -> dict[str, Verdict]:
    """The verdicts of all cases of a group: nothing of them stays, so that one scene does for all."""
    cases = [case for case in CASES if case.together == group]
    return _scene({}, _begun(True), lambda fed, logs: _played(cases, fed, logs))


@lru_cache
def _begun(filed: bool) -> TemporaryDirectory[str]:
    """A federation that has run a while: its members are known to each other, and records are filed."""
    holder = new_folder()

    async def scene(fed: ByzantineFederation, _: list[Any]) -> None:
        async with _running(fed):
            await fed.file(fed.parties[2], [SOMEBODY_ELSE])
            if filed:
                await fed.file(fed.parties[1], [ROW])
            await fed.settled()

    _scene({}, None, scene, Path(holder.name))
    return holder


def _scene(
    settings: Mapping[str, Any],
    template: TemporaryDirectory[str] | None,
    scene: Callable[[ByzantineFederation, list[Any]], Coroutine[Any, Any, T]],
    where: Path | None = None,
) -> T:
    """Run `scene` in a federation of its own (in the folder `where`, if that is to stay)."""
    plan, state = Plan(SEED), random.getstate()
    random.seed(f"program {SEED}")

    try:
        with (
            new_folder() as folder,
            patch.object(local_server, "LocalServer", _NoLocalServer),
            patch.object(node_store, "ThreadPoolExecutor", Inline),
            patch.object(workers, "ThreadPoolExecutor", Inline),
            structlog.testing.capture_logs() as logs,
        ):

            def begin(loop: VirtualLoop) -> Coroutine[Any, Any, T]:
                begun = None if template is None else Path(template.name)
                fed = ByzantineFederation(where or Path(folder), loop, AGENCIES, plan, dict(settings), begun)
                # What a template was made of is no future.
                fed.clock.advance(seconds=0 if template is None else 60)
                return scene(fed, logs)

            return run(SEED, begin)
    finally:
        random.setstate(state)


@asynccontextmanager
async def _running(fed: ByzantineFederation) -> AsyncIterator[None]:
    try:
        await fed.start()
        yield
    finally:
        await fed.close()
    assert not fed.broken, fed.broken


async def _played(cases: Sequence[Case], fed: ByzantineFederation, logs: list[Any]) -> dict[str, Verdict]:
    """One case after the other, in one federation, whose liar is honest again in between."""
    verdicts = {}
    async with _running(fed):
        for case in cases:
            fed.network.honest()
            try:
                verdicts[case.name] = await _judged(case, World(fed, logs, _watched(case.expect)))
            finally:
                undo()
    found, log = fed.look(), log_findings(fed)
    for case in cases:
        faults = [str(fault) for fault in found if _inexcusable(fault, case)]
        verdict = verdicts[case.name]
        verdicts[case.name] = replace(verdict, complaints=(*verdict.complaints, *faults, *log))
    return verdicts


async def _judged(case: Case, world: World) -> Verdict:
    await world.begin()
    world.evidence = counted(world)
    try:
        await case.play(world)
    except Exception:
        # Of several cases in one scene the others are to be heard as well.
        return Verdict((traceback.format_exc(),), NOTHING)
    seen = await _seen(world) if case.local else NOTHING
    if case.local:
        await world.month_ends()
        seen = Seen((*seen.frames, *(later := await _seen(world)).frames), (*seen.screens, *later.screens))
        await world.review(world.alpha)
    complaints = [*await _outcome(world, case), *await _never(world, case)]
    return Verdict(tuple(complaints), seen)


def _watched(expect: Expected) -> str:
    return expect.by if isinstance(expect, Refused) and expect.by not in ELSEWHERE else ""


# --- what was expected ---------------------------------------------------------------------------------


async def _outcome(world: World, case: Case) -> list[str]:
    match case.expect:
        case Refused(code, by, may_change):
            about_the_log = case.section == "log"
            moved = _moved(world) if about_the_log and by not in ELSEWHERE else []
            return [*_refused(world, code, by, may_change if about_the_log else may_change | LOG), *moved]
        case Covered(words, overall, where, at):
            return await _covered(world, words, overall, where, at)
        case Proved(kind, by, also):
            seen = [] if also is None else await _outcome(world, replace(case, expect=also))
            if case.section in ("log", "directory"):
                # Nobody asks for it: housekeeping takes what the follower found, by itself.
                await world.settle(61.0)
            return [*seen, *await _proved(world, kind, by)]


def _refused(world: World, code: str, by: str, may_change: frozenset[str]) -> list[str]:
    complaints, found = [], world.refused(by)
    if code not in found:
        complaints.append(f"{by} did not refuse it by {code}, but by {sorted(found) or 'nothing'}")
    stored = set() if by in ELSEWHERE else world.changed() - ACCOUNTS - may_change
    if stored:
        complaints.append(f"{by} refused it and stored something all the same: {sorted(stored)}")
    return complaints


def _moved(world: World) -> list[str]:
    """The log that is in use is the one that was in use before."""
    view = world.party(world.watched).node.follower.view
    return [] if view == world.view else [f"{world.watched} follows another log: {view}"]


async def _covered(world: World, words: str, overall: str, where: str, at: str) -> list[str]:
    complaints, said = [], await world.shown(where, at)
    if words not in said:
        complaints.append(f"{where} at {at} does not say {words!r}:\n{said}")
    if overall and world.overall() != overall:
        complaints.append(f"the result is not {overall}: {world.overall() or 'none'}")
    return complaints


async def _proved(world: World, kind: str, by: str) -> list[str]:
    files = [kept for kept in evidence_at(world, by) if kept.kind == kind]
    if not files:
        others = [kept.kind for kept in evidence_at(world, by)]
        return [f"{by} made no evidence of the kind {kind}, but {others or 'none'}"]
    return [complaint for kept in files for complaint in await objections(world, by, kept)]


# --- what must never happen ----------------------------------------------------------------------------


async def _never(world: World, case: Case) -> list[str]:
    complaints = []
    if "NO_RECORD" in (results := world.results()) and not case.no_record:
        complaints.append(f"silently no record: {results}")
    if (
        case.no_record
        and "NO_RECORD" in results
        and "complete: true" not in await world.shown("lookups show")
    ):
        complaints.append("no record, and not everybody has answered")
    for party in world.fed.parties:
        if party.life is None or party.name in case.liar.parties():
            continue
        for kept in evidence_at(world, party.name):
            if kept.accused not in case.liar.may_be_accused():
                complaints.append(f"{party.name} accuses {kept.accused}, who is honest, of {kept.kind}")
    return complaints


def _inexcusable(fault: Fault, case: Case) -> bool:
    # What a liar made by hand stands in nobody's database but the hub's.
    about_a_liar = any(fault.what.startswith(f"{name} ") for name in case.liar.parties())
    return fault.name in INEXCUSABLE and fault.party not in case.liar.may_be_accused() and not about_a_liar


async def _seen(world: World) -> Seen:
    frames = tuple(
        (round(each.at - world.began, 6), each.parts)
        for each in world.lies.sent
        if each.party == "alpha" and each.at >= world.began
    )
    screens = [(where, _DRAWN.sub("<drawn>", await world.shown(where))) for where in SCREENS]
    return Seen(frames, tuple(screens))
