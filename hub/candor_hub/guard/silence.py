"""Connections on which nothing but pings is expected, whose pings wake nobody.

Each ping that came alone would wake the guard, and threads of gRPC, for itself, which is most of what a quiet
hub costs. So the kernel is told to report only what is longer; pings are read at the guard's look of the
second, and passed on together (`relay`).
"""

from __future__ import annotations

import socket
from contextlib import suppress

from candor_hub.guard.link import End, Link

# HTTP/2's PING, or the answer to one, in a record of TLS 1.3. Should it be something else: where nobody has
# said anything for QUIET_AFTER_SECONDS, nothing of that length is worth a hurry. Pings come after 15 seconds
# (first release) or 18.
PING_OCTETS = 5 + 9 + 8 + 1 + 16
QUIET_AFTER_SECONDS, PINGS_AFTER_SECONDS = 10.0, 14.0


def be_quiet(link: Link, quiet: bool) -> None:
    """Whether less than a ping and an octet, alone, waits for the next look."""
    link.quiet = quiet
    with suppress(OSError):
        link.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, PING_OCTETS + 1 if quiet else 1)


def has_said_more(end: End) -> bool:
    """Whether octets are waiting: a guard that was kept from reading them in time cuts nobody for it."""
    try:
        end.socket.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a hang-up, of which the poll tells
    return True
