"""Runs a hub in the foreground: logging, signals, a clean end."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable

from candor_certs import service_manager
from candor_hub.app import Hub, Interceptors
from candor_hub.config import Config
from candor_watch import logs

# Threads that talk to the database must not keep the event loop from the interpreter for long: it needs it
# again after every few microseconds inside gRPC. The default is 5 ms.
SWITCH_SECONDS = 0.0005
# A thousand streams are some hundred thousand objects that live for days: with Python's default of 700 new
# ones the collector would walk them all several times a second.
COLLECT_AFTER = (20_000, 20, 20)


def set_up_process(log_level: str = "info") -> None:
    """How this process logs (one JSON object a line on standard error), takes turns between threads, and
    collects garbage.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*COLLECT_AFTER)
    logs.set_up(json_lines=True, level=log_level)


async def serve(
    config: Config, ready: Callable[[str, str, str], None], interceptors: Interceptors = ()
) -> None:
    """Run until SIGTERM or SIGINT; `ready` hears the addresses of members, enrolment and log.

    Raises StoreUnusable, ConfigInvalid, InputInvalid or CertificateRefused.
    """
    set_up_process(config.log_level)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    hub = Hub(config, interceptors=interceptors, guarded=config.guard)
    try:
        await hub.start()
        ports = hub.ports
        ready(
            _real(config.address, ports.hub),
            _real(config.enrolment_address, ports.enrolment),
            _real(config.log_address, ports.log),
        )
        service_manager.notify("READY=1", f"STATUS=hub of {config.federation}, port {ports.hub}")
        watchdog = asyncio.create_task(service_manager.feed_watchdog())
        await stopping.wait()
        service_manager.notify("STOPPING=1")
        watchdog.cancel()
    finally:
        await hub.stop()


def _real(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"
