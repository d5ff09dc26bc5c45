"""Faults planted on purpose: a campaign that does not find them finds nothing.

`plant(name)` breaks one promise in this process, in a way that only a badly timed end of the process shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from candor_hub.service import HubServicer
from candor_node import mail_store
from candor_wire.v1 import hub_pb2
from tests.federation import instead

LATE_SECONDS = 0.1


def _acknowledged_early() -> None:
    """The hub says that it has accepted an envelope, and stores it a moment later."""
    submit = HubServicer.Submit
    tasks: set[asyncio.Task[Any]] = set()

    async def early(
        self: HubServicer, request: hub_pb2.SubmitRequest, context: Any
    ) -> hub_pb2.SubmitResponse:
        async def later() -> None:
            await asyncio.sleep(LATE_SECONDS)
            await submit(self, request, context)

        task = asyncio.create_task(later())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return hub_pb2.SubmitResponse(recipients=1)

    instead(HubServicer, "Submit", early)


def _replay_forgotten() -> None:
    """A node does not remember what it had decided about a lookup that it has not answered yet."""
    accept_once = mail_store.accept_once

    def forgetful(db: Any, asker: Any, lookup_id: Any, *rest: Any) -> Any:
        known = "DELETE FROM answered_lookups WHERE asker = ? AND lookup_id = ? AND answered = 0"
        db.execute(known, (str(asker), lookup_id.value))
        return accept_once(db, asker, lookup_id, *rest)

    instead(mail_store, "accept_once", forgetful)


PLANTS: dict[str, Callable[[], None]] = {
    "acknowledged-early": _acknowledged_early,
    "replay-forgotten": _replay_forgotten,
}


def plant(name: str) -> None:
    """Break one promise; the empty name breaks none."""
    if name:
        PLANTS[name]()
