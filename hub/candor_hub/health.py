"""`candor-hub doctor`: what an operator would look at first, each with what to do about it.

It works beside a running hub and without one; what is told, and what never is, stands in
`candor_watch.findings`, the list of what is looked at in `findings.catalogue`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from candor_hub.config import load_config
from candor_hub.findings.catalogue import CATALOGUE
from candor_hub.findings.log import Log
from candor_hub.findings.look import Look
from candor_hub.findings.members import Members
from candor_hub.findings.own import Own
from candor_hub.findings.reach import Reach
from candor_proto.errors import CandorError
from candor_watch.findings import (
    BOUND_SECONDS,
    Check,
    Finding,
    Report,
    State,
    failed,
    look,
    unknown,
)
from candor_watch.versions import own_version

PROGRAM = "candor-hub"
DEEP_SECONDS = 4 * 3_600.0


async def examine(
    path: Path, now: datetime, *, deep: bool = False, bound_seconds: float | None = None
) -> Report:
    """Every check that can be made with the settings in `path`, in the order of the catalogue.

    `deep` also reads a large database whole, and takes the time for it.
    """
    version = own_version()
    try:
        config = load_config(path)
    except CandorError as error:
        return Report(PROGRAM, version, CATALOGUE, (failed("settings", error),), runnable=False)
    this = Look(path, config, now, deep)
    checks: dict[str, Check] = {}
    for part in (Own(this), Reach(this), Log(this), Members(this)):
        checks.update(part.checks())
    bound = bound_seconds or (DEEP_SECONDS if deep else BOUND_SECONDS)
    found, seconds = await look({key: checks[key] for key in CATALOGUE}, bound)
    return Report(PROGRAM, version, CATALOGUE, tuple(_said_once(found)), seconds)


# Whoever is named last says it for the others.
_SOURCES = ("keys", "database")


def _said_once(found: Sequence[Finding]) -> list[Finding]:
    """What cannot be looked at for want of the database or the keys: their own findings say why."""
    bad = {each.key: each for each in found if each.state is State.BAD}
    why = {bad[key].detail: key for key in _SOURCES if key in bad}
    return [
        unknown(each.key, f"This needs what cannot be read: see `{why[each.detail]}`.")
        if each.state is State.BAD and why.get(each.detail, each.key) != each.key
        else each
        for each in found
    ]
