"""How many octets a connection may bring now.

What a connection owes are octets that came and are in no message: handshake, headers, frames of all kinds,
and what is on its way of a message that is not whole. Messages pay for themselves and for their headers,
calls that end pay for theirs, and so does what the hub has written, for window updates. Honest connections
owe next to nothing; floods owe all of it, and come to a halt: they are not read any more.

Rules of this file:
- before a member's call was admitted on it, a connection may owe what a handshake and the first call take;
- afterwards it may owe as much more as it has brought of messages, up to a bound, which on a stream of
  requests is the largest message: a window that grows with what comes through it;
- debt goes away slowly by itself, so that nothing honest is stuck for ever; whoever stands still for
  STALLED_SECONDS with more to say, is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from candor_hub.guard.board import Shown

# TLS with a chain of two certificates and a post-quantum key share, HTTP/2's preface, headers, a hello.
FIRST_OCTETS = 8 * 1024
MEMBER_OCTETS = 16 * 1024
CALLS_OCTETS = 64 * 1024
FIRST_STREAM_OCTETS = 128 * 1024
STREAM_OCTETS = (1 << 20) + (64 << 10)
# Octets a second that are forgiven: before and after a call was admitted; on a stream of requests a message
# of 1 MiB comes in half a minute at worst.
FIRST_RATE = 2 * 1024
MEMBER_RATE = 2 * 1024
STREAM_RATE = 64 * 1024
# Who leaves owing so much was up to no good, or in the middle of a large message.
BAD_DEBT = 8 * 1024
# Less is not worth a turn.
LEAST_OCTETS = 256
MOST_OCTETS = 64 * 1024

# Why a connection is ended. The others are `relay`'s: more of a member than it may have, no place or no
# turn for one that waited, a silent one in front of others, a line that has died, no descriptor left, a hub
# that does not answer on loopback, and a mistake in the guard itself.
NO_CALL, FLOOD = "no_call", "flood"
TOO_MANY, NO_PLACE, NO_TURN = "too_many_of_a_member", "no_place", "no_turn"
GAVE_WAY, SILENT = "gave_way", "silent"
NO_DESCRIPTOR, HUB_AWAY, FAILED = "no_descriptor", "hub_away", "failed"
REASONS = (NO_CALL, FLOOD, TOO_MANY, NO_PLACE, NO_TURN, GAVE_WAY, SILENT, NO_DESCRIPTOR, HUB_AWAY, FAILED)

FIRST_CALL_SECONDS = 10.0
STALLED_SECONDS = 30.0
# A node that hears nothing pings after 18 s (`candor_certs.mtls`), 15 in the first release, and what is lost
# on the way is sent again within some more.
SILENT_SECONDS = 27.0

# What pays, besides a message's own octets: a record and frame of it, a call's headers, and a share of what
# was written for the window updates that answer it.
SHARE_OF_MESSAGES = 16
OCTETS_PER_MESSAGE = 128
OCTETS_PER_CALL = 2 * 1024
OCTETS_PER_WRITTEN = 256
SHARE_OF_WRITTEN = 128


@dataclass(slots=True)
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
        window, rate = FIRST_OCTETS, FIRST_RATE
        if shown.member:
            if shown.streaming:
                window, rate = min(STREAM_OCTETS, FIRST_STREAM_OCTETS + shown.octets), STREAM_RATE
            else:
                window, rate = min(CALLS_OCTETS, MEMBER_OCTETS + shown.octets), MEMBER_RATE
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
            return NO_CALL
        if self.stalled_at is not None and now - self.stalled_at >= STALLED_SECONDS:
            return FLOOD
        return ""
