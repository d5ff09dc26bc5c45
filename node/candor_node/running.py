"""`candor-node run`: the node until somebody ends it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from candor_certs import service_manager
from candor_node.app import Node
from candor_node.channel import WrapChannel
from candor_node.clock import Clock
from candor_node.config import NodeConfig
from candor_node.metrics import Watched

READY_CHECK_SECONDS = 0.05


async def run_node(
    config: NodeConfig,
    say: Callable[[str], None],
    clock: Clock | None = None,
    wrap_channel: WrapChannel = lambda channel: channel,
) -> None:
    """Run until SIGTERM or SIGINT; `say` gets the one line that says that the node is ready.

    Raises what kept a task from working, when it kept failing.
    """
    node = Node(config, clock, wrap_channel)
    watched = Watched(node)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        await node.start()
        await watched.start()
        # A node whose hub is down has started all the same: it goes on trying, and its commands work.
        service_manager.notify("READY=1", f"STATUS=reaching the hub at {config.hub_address}")
        watchdog = asyncio.create_task(service_manager.feed_watchdog())
        announcing = asyncio.create_task(_announce(node, say))
        ending = asyncio.create_task(ended.wait())
        failing = asyncio.create_task(node.failure())
        await asyncio.wait({ending, failing}, return_when=asyncio.FIRST_COMPLETED)
        service_manager.notify("STOPPING=1")
        watchdog.cancel()
        announcing.cancel()
        ending.cancel()
        if failing.done():
            failing.result()
        failing.cancel()
    finally:
        await watched.stop()
        await node.stop()


async def _announce(node: Node, say: Callable[[str], None]) -> None:
    """One line, once the node is attached, its own index is out, and it has looked at every member's."""
    await node.connection.first_attached.wait()
    while node.indexes.version < node.indexes.announced or node.config.node_id not in node.indexes.indexes:
        await asyncio.sleep(READY_CHECK_SECONDS)
    held, members = len(node.indexes.indexes), len(node.indexes.require_directory().nodes())
    line = (
        f"{node.config.node} is attached to {node.config.federation} at {node.config.hub_address} and ready: "
        f"{held} of {members} indexes held."
    )
    service_manager.notify(f"STATUS={line}")
    say(line)
