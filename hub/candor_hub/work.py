"""The kinds of work of a hub, each with a queue and threads of its own (`turns`), so that none starves
another.

Lookups do not pass here: they have `intake` and `courier`, which take turns and have threads themselves.
"""

from __future__ import annotations

from candor_hub.downloads import Downloads
from candor_hub.governor import Gauge
from candor_hub.pace import Pace, Rate, Together
from candor_hub.turns import Turns

# A node at work makes a few calls a minute beside its stream; one that catches up with the log, or fetches
# everybody's segments, some thousand, as fast as it gets them.
CALLS = Rate(a_second=5, at_once=4), Rate(a_second=100, at_once=5), Together(60, 400, at_once=4)
# Of who has just come: forty that begin at once must not all have what one had who has rested.
FIRST_CALLS = 1.0
# A stream is held for hours; after a bad line it is opened again once in a while.
STREAMS = Rate(a_second=0.2, at_once=2), Rate(a_second=5, at_once=1), Together(25, 100, at_once=2)
# Frames of a stream: each counts as one, and as one more for each envelope that it hands in.
# There is no rate for all together: a frame may count as sixty, and what one member owes nobody else may pay.
FRAMES = Rate(a_second=60, at_once=40), Rate(a_second=2_000, at_once=40)
# Envelopes on a stream that were refused: who hands in what is no good is soon read slowly.
REFUSED = Rate(a_second=5, at_once=10), Rate(a_second=50, at_once=5)
NEWCOMERS = Rate(a_second=1, at_once=3), Rate(a_second=20, at_once=5)


class Work:
    """One for each process; the event loop owns it."""

    def __init__(self) -> None:
        self.gauge = Gauge()
        self.pace = Pace(*CALLS, self.gauge, FIRST_CALLS)
        self.pace_of_streams = Pace(*STREAMS, self.gauge, FIRST_CALLS)
        self.pace_of_newcomers = Pace(*NEWCOMERS, None, self.gauge)
        self.pace_of_frames = Pace(*FRAMES, None, self.gauge)
        self.pace_of_refused = Pace(*REFUSED, None, self.gauge)
        # Calls that are being admitted: connections that nobody was admitted on share their address's turn.
        self.calls = Turns("calls", 32, 8)
        self.gate = Turns("gate", 2)
        self.reads = Turns("reads", 3, 2)
        self.writes = Turns("writes", 2, 1)
        self.segments_in = Turns("segments-in", 1)
        self.segments_out = Turns("segments-out", 3, 1)
        self.enrolments = Turns("enrolments", 2, 1)
        self.downloads = Downloads()

    def close(self) -> None:
        """Wait for what runs in threads. Blocks."""
        for each in (
            self.gate,
            self.reads,
            self.writes,
            self.segments_in,
            self.segments_out,
            self.enrolments,
        ):
            each.close()
