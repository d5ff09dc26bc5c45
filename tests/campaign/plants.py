"""Faults planted on purpose: a campaign that does not find them finds nothing.

`plant(name)` breaks one promise in this process, in a way that only a badly timed end of the process shows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from candor_hub.directory import CurrentDirectory
from candor_hub.intake import Intake
from candor_hub.relay import Receipt
from candor_node import mail_store
from candor_node.answerer import Answerer
from candor_node.mail_store import InboxRow
from candor_proto.ids import NodeId
from candor_wire.codec import Envelope
from tests.federation import instead

LATE_SECONDS = 0.1


def _acknowledged_early() -> None:
    """The hub says that it has accepted an envelope, and stores it a moment later."""
    hand_in = Intake.hand_in

    def early(
        self: Intake, envelope: Envelope, caller: NodeId, directory: CurrentDirectory, tell: Any
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(LATE_SECONDS, hand_in, self, envelope, caller, directory, lambda outcome: None)
        tell(Receipt(1, frozenset()))

    instead(Intake, "hand_in", early)


def _replay_forgotten() -> None:
    """A node answers first, and remembers that it did in a transaction of its own."""
    work_off, answer_once = Answerer._work_off, mail_store.answer_once
    finish = mail_store.finish
    unwritten: dict[bytes, tuple[Any, ...]] = {}

    def not_settled(db: Any, row: InboxRow, now: Any, note: str = "") -> int:
        if note:
            return finish(db, row, now, note)
        stored = row if row.number else mail_store.receive(db, row.envelope, now)
        return stored.number if stored else 0

    def not_entered(db: Any, asker: Any, lookup_id: Any, number: int, *rest: Any) -> None:
        unwritten[lookup_id.value] = (asker, lookup_id, number, *rest)

    def forgetful(self: Answerer, row: InboxRow) -> Any:
        answer = work_off(self, row)
        entry = unwritten.pop(row.envelope.envelope_id, None)
        if entry is not None:
            time.sleep(LATE_SECONDS)
            self._store.run_sync(lambda db: mail_store.settle(db, entry[2]))
            self._store.run_sync(lambda db: answer_once(db, *entry))
        return answer

    instead(mail_store, "finish", not_settled)
    instead(mail_store, "answer_once", not_entered)
    instead(Answerer, "_work_off", forgetful)


PLANTS: dict[str, Callable[[], None]] = {
    "acknowledged-early": _acknowledged_early,
    "replay-forgotten": _replay_forgotten,
}


def plant(name: str) -> None:
    """Break one promise; the empty name breaks none."""
    if name:
        PLANTS[name]()
