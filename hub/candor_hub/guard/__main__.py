"""The guard's process: `python -m candor_hub.guard`, told in one argument which descriptors it was given."""

from __future__ import annotations

import json
import resource
import signal
import socket
import sys
from contextlib import suppress

from candor_hub.guard.board import Board
from candor_hub.guard.link import DoorSpec
from candor_hub.guard.relay import Relay
from candor_hub.guard.turns import Limits


def main() -> None:
    # It ends when the hub closes its end of the control socket, after the hub's own last words.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now < most:
        # A service may be forbidden to do so; its unit then says how many it needs.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    told = json.loads(sys.argv[1])
    doors = [
        DoorSpec(
            Board(one["board"]),
            tuple(_listening(descriptor) for descriptor in one["listening"]),
            tuple(one["ports"]),
            Limits(**{**one["limits"], "balancers": frozenset(one["limits"]["balancers"])}),
            one["members"],
            one["silent_seconds"],
        )
        for one in told["doors"]
    ]
    control = socket.socket(fileno=told["control"])
    control.setblocking(False)
    Relay(control, doors).run()


def _listening(descriptor: int) -> socket.socket:
    listening = socket.socket(fileno=descriptor)
    listening.setblocking(False)
    return listening


if __name__ == "__main__":
    main()
