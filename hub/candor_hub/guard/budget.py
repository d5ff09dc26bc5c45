"""How many octets a connection may bring now.

What a connection owes are octets that came and are in no message: handshake, headers, frames of all kinds, and
what is on its way of a message that is not whole. Messages pay for themselves and for their headers, calls
that end pay for theirs, and so does what the hub has written, for window updates. Honest connections owe next
to nothing; floods owe all of it, and come to a halt: they are not read any more.

Rules of this file:
- before a member's call was admitted on it, a connection may owe what a handshake and the first call take;
- afterwards more, and on a stream of requests as much again as it has brought of messages, up to the largest
  message: a window that grows with what comes through it;
- debt goes away slowly by itself, so that nothing honest is stuck for ever; whoever stands still for
  STALLED_SECONDS with more to say, is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from candor_hub.guard.board import Shown

# TLS with a chain of two certificates and a post-quantum key share, HTTP/2's preface, headers, a hello.
FIRST_OCTETS = 12 * 1024
MEMBER_OCTETS = 64 * 1024
STREAM_OCTETS = (1 << 20) + (64 << 10)
# Octets a second that are forgiven; on a stream of requests a message of 1 MiB comes in half a minute at worst.
MEMBER_RATE = 2 * 1024
STREAM_RATE = 32 * 1024
# Less is not worth a turn.
LEAST_OCTETS = 256
MOST_OCTETS = 64 * 1024

FIRST_CALL_SECONDS = 10.0
STALLED_SECONDS = 30.0

# What pays, besides a message's own octets: a record and frame of it, a call's headers, and a share of what was
# written for the window updates that answer it.
SHARE_OF_MESSAGES = 16
OCTETS_PER_MESSAGE = 128
OCTETS_PER_CALL = 2 * 1024
OCTETS_PER_WRITTEN = 256
SHARE_OF_WRITTEN = 128


@dataclass
class Budget:
    """One connection's; times in seconds of a monotonic clock. `members`: its door is theirs."""

    began: float
    members: bool = True
    debt: float = 0.0
    stalled_at: float | None = None
    _at: float = field(default=0.0, repr=False)
    _paid: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self._at = self.began

    def allowed(self, shown: Shown, now: float) -> int:
        """How many octets may be read now; fewer than LEAST_OCTETS count as none."""
        rate = 0
        window = FIRST_OCTETS
        if shown.member:
            window, rate = MEMBER_OCTETS, MEMBER_RATE
            if shown.streaming:
                window, rate = min(STREAM_OCTETS, window + shown.octets), STREAM_RATE
        paid = max(0, shown.paid - self._paid)
        self.debt = max(0.0, self.debt - paid - rate * (now - self._at))
        self._paid, self._at = shown.paid, now
        left = int(window - self.debt)
        return 0 if left < LEAST_OCTETS else min(left, MOST_OCTETS)

    def took(self, octets: int) -> None:
        """So many were read and passed on."""
        self.debt += octets
        self.stalled_at = None

    def stalled(self, now: float) -> None:
        """There is more to read, and none of it may be."""
        if self.stalled_at is None:
            self.stalled_at = now

    def over(self, shown: Shown, now: float) -> str:
        """Why the connection has to end; empty while it need not."""
        if self.members and not shown.member and now - self.began >= FIRST_CALL_SECONDS:
            return "no_call"
        if self.stalled_at is not None and now - self.stalled_at >= STALLED_SECONDS:
            return "flood"
        return ""
