"""`candor-node doctor`: is everything as it should be, and if not, what to do.

It works beside a running node and without one, and with the network down; what is told, and what never is,
stands in `candor_watch.findings`, the list of what is looked at in `findings.catalogue`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from candor_node.clock import Clock, SystemClock
from candor_node.config import load_config
from candor_node.findings.catalogue import CATALOGUE
from candor_node.findings.exchange import Exchange
from candor_node.findings.look import Look
from candor_node.findings.outward import Outward
from candor_node.findings.own import Own
from candor_proto.errors import CandorError
from candor_watch.findings import BOUND_SECONDS, Found, Report, failed, look
from candor_watch.versions import own_version

PROGRAM = "candor-node"
DEEP_SECONDS = 4 * 3_600.0


async def examine(
    path: Path, clock: Clock | None = None, *, deep: bool = False, bound_seconds: float | None = None
) -> Report:
    """Every check that can be made with the settings in `path`, in the order of the catalogue.

    `deep` also reads a large database whole, and takes the time for it.
    """
    version = own_version()
    try:
        config = load_config(path)
    except CandorError as error:
        return Report(PROGRAM, version, CATALOGUE, (failed("settings", error),), runnable=False)
    this = Look(path, config, clock or SystemClock(), deep)
    checks: dict[str, Callable[[], Awaitable[Found]]] = {}
    for part in (Own(this), Outward(this), Exchange(this)):
        checks.update(part.checks())
    bound = bound_seconds or (DEEP_SECONDS if deep else BOUND_SECONDS)
    found, seconds = await look({key: checks[key] for key in CATALOGUE}, bound)
    return Report(PROGRAM, version, CATALOGUE, tuple(found), seconds)
