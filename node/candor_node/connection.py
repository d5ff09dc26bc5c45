"""Where a node stands with its hub, and whether it may send lookups now (docs/protocol.md §8.4)."""

from __future__ import annotations

import asyncio
from datetime import datetime

from candor_proto.errors import CandorError, ClockWrong, Unreachable


class Connection:
    """Where the node stands with the hub, and since when. Belongs to the event loop."""

    def __init__(self, now: datetime) -> None:
        self.attached = False
        # Since when it is attached, or is not, on this machine's clock.
        self.since = now
        self.hub_time: datetime | None = None
        self.trouble: CandorError | None = None
        self.first_attached = asyncio.Event()

    def welcomed(self, hub_time: datetime, now: datetime) -> None:
        """The hub has taken this node in."""
        self.attached, self.since, self.trouble, self.hub_time = True, now, None, hub_time
        self.first_attached.set()

    def lost(self, error: CandorError, now: datetime) -> None:
        """The stream ended, or could not be opened once more; the first time counts, and the last reason."""
        if self.attached:
            self.since = now
        self.attached, self.trouble = False, error

    def check_ready(self) -> None:
        """Raises when this node must not, or cannot, send lookups now (§8.4)."""
        if isinstance(self.trouble, ClockWrong):
            raise ClockWrong(self.trouble.message, remedy=self.trouble.remedy)
        if self.attached:
            return
        if self.trouble is not None:
            raise Unreachable(self.trouble.message, remedy=self.trouble.remedy)
        raise Unreachable("This node is not connected to the hub yet.", remedy="Try again in a moment.")
