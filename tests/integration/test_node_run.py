"""`candor-node run` as a service manager sees it: one line when ready, a clean end, a hub that comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from candor_node.config import load_config
from tests.federation import new_node
from tests.hubs import running_hub
from tests.patience import PATIENCE_SECONDS

COMMAND = Path(sys.executable).parent / "candor-node"


@asynccontextmanager
async def running(settings: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        str(COMMAND),
        "run",
        "--config",
        str(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "CANDOR_NODE_PUBLISH_INTERVAL_HOURS": "0"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        return (await process.stdout.readline()).decode()


async def status(settings: Path) -> int:
    done = await asyncio.create_subprocess_exec(
        str(COMMAND),
        "status",
        "--config",
        str(settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await done.wait()


def test_it_says_when_it_is_ready_and_ends_cleanly(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            await new_node(hub, tmp_path / "alpha", "alpha", "ZZ0000010")
            settings = tmp_path / "alpha" / "node.toml"
            async with running(settings) as process:
                expected = f"alpha is attached to {hub.config.federation} at {hub.address} and ready: "
                assert await line(process) == expected + "1 of 1 indexes held.\n"
                assert await status(settings) == 0
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    out, err = await process.communicate()
                assert process.returncode == 0
                assert out == b""
                assert b"Traceback" not in err
            assert not load_config(settings).socket.exists()

    asyncio.run(scene())


def test_it_waits_for_a_hub_that_is_down(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            await new_node(hub, tmp_path / "alpha", "alpha", "ZZ0000010")
            config, port = hub.config, hub.hub.ports.hub
        settings = tmp_path / "alpha" / "node.toml"
        async with running(settings) as process:
            while await status(settings) != 0:
                await asyncio.sleep(0.2)
            address = f"127.0.0.1:{port}"
            again = replace(config, address=address, public_address=address)
            async with running_hub(tmp_path / "hub", config=again):
                assert (await line(process)).startswith("alpha is attached")
                process.send_signal(signal.SIGINT)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    _, err = await process.communicate()
            assert process.returncode == 0
            assert b"Cannot reach the hub" in err
            assert b"Traceback" not in err

    asyncio.run(scene())
