"""Where a node stands with its hub, and whether it may send lookups now (docs/protocol.md §8.4)."""

from __future__ import annotations

import asyncio
from datetime import datetime

from candor_proto.errors import CandorError, ClockWrong, Unreachable


class Connection:
    """Where the node stands with the hub. Belongs to the event loop."""

    def __init__(self) -> None:
        self.attached = False
        self.hub_time: datetime | None = None
        self.trouble: CandorError | None = None
        self.first_attached = asyncio.Event()

    def check_ready(self) -> None:
        """Raises when this node must not, or cannot, send lookups now (§8.4)."""
        if isinstance(self.trouble, ClockWrong):
            raise ClockWrong(self.trouble.message, remedy=self.trouble.remedy)
        if self.attached:
            return
        if self.trouble is not None:
            raise Unreachable(self.trouble.message, remedy=self.trouble.remedy)
        raise Unreachable("This node is not connected to the hub yet.", remedy="Try again in a moment.")
