"""What follows an act outside of its transaction: recipients are told, the index goes out, what was destroyed
leaves the disk.

Rules of this file:
- nothing here decides anything: whoever dies before it finds all of it due in the database, and does it
  later;
- an act was done once its transaction was committed, whatever becomes of what follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from candor_node.backups import Backups
from candor_node.publishing import Publishing
from candor_records.roles import Operation

DESTRUCTIONS = frozenset({Operation.EXPUNGE_RECORD, Operation.DESTROY_RECORDS})


@dataclass(frozen=True)
class Aftermath:
    """Belongs to the event loop."""

    publishing: Publishing
    wake_recalls: Callable[[], None]
    backups: Backups

    async def acted(self) -> bool:
        """Something happened to records; whether the hub has the index without, or with, it already."""
        self.wake_recalls()
        return await self.publishing.after_import()

    async def decided(self, operation: Operation) -> None:
        """A second person approved `operation`, and it was done."""
        if operation in DESTRUCTIONS:
            await self.backups.tidy()
        await self.acted()
