"""How old what is known of the log may be (docs/protocol.md §15.6)."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from candor_proto.statements import CLOCK_TOLERANCE

MAX_CURRENT = timedelta(hours=1)
MAX_LATE = timedelta(hours=24)


class LogAge(Enum):
    """Current; late, which is said; closed, where nothing is asked or answered."""

    CURRENT = "current"
    LATE = "late"
    CLOSED = "closed"


def age_of(time_of_witness: datetime, now: datetime) -> LogAge:
    """The age of a log whose newest head has this time of witness.

    A time that `now` is not near yet says nothing of its age: the clock was set back, and the log is closed.
    """
    behind = now - time_of_witness
    if behind < -CLOCK_TOLERANCE:
        return LogAge.CLOSED
    if behind <= MAX_CURRENT:
        return LogAge.CURRENT
    return LogAge.LATE if behind <= MAX_LATE else LogAge.CLOSED
