"""A hub on PostgreSQL goes on from its archive: from the whole of it, and from one that lacks a write.

The commands are those of docs/postgresql.md, section 4, as they stand there; the server, the hub and its
three nodes are real. The primary is killed. Restored from the whole archive nothing that was acknowledged is
lost, and the log goes on; the time is the figure. Restored from an older one the log would go back: the hub
signs nothing, and says why.

    python -m tests.campaign.archive [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

from candor_hub.config import Config
from candor_hub.driver.postgresql import UNSAFE_FOR_TESTS
from candor_node.app import Node
from candor_proto.directory import MemberStatus
from candor_proto.result import Overall
from tests.archives import archived_primary, block, copied
from tests.federation import federation, until
from tests.hubs import QUICK, RunningHub, running_hub, stop_for_good
from tests.moves import moved
from tests.postgres import PostgresServer, unsafe
from tests.records import make_row

RTO_SECONDS = 900


async def play(tmp_path: Path) -> float:
    """Seconds from the start of the restore to the first record that is filed after it."""
    with archived_primary() as (primary, archive):
        async with federation(tmp_path, 3) as fed:
            alpha, bravo = fed.nodes[:2]
            config = await moved(fed.hub, primary.url("candor"))
            async with running_hub(tmp_path / "unused", config=config, clock=fed.hub.clock) as hub:
                await fed.back(hub)
                await fed.file(bravo, [make_row(sharing="GREEN")])
                await asyncio.to_thread(archive.run, block("sh", "pg_basebackup"))
                older = await asyncio.to_thread(copied, primary, archive)
                await fed.file(alpha, [make_row(sharing="GREEN", agency_record_id="IA-late")])
                newest = hub.shard
                primary.kill()
                config = await stop_for_good(hub)

            with archive.restored(older) as server:
                async with running_on(server, config, hub) as again:
                    await until(lambda: bool(again.went_back))
                    signed = again.shard.signed
                    assert again.shard.size < newest.size
                    suspended = alpha.config.node_id, MemberStatus.SUSPENDED, again.clock.now()
                    await asyncio.to_thread(again.hub.directory.set_status, *suspended)
                    waited = again.stopwatch()
                    await until(lambda: waited() > 10 * QUICK.poll_seconds)
                    assert again.shard.signed == signed
                    for node in fed.nodes:
                        assert (size(node), node.follower.warnings()) == (newest.size, [])

            began = time.monotonic()
            with archive.restored(Path(archive.folder, "backup")) as server:
                await asyncio.to_thread(look_as_the_page_says, server, config, tmp_path)
                async with running_on(server, config, hub) as again:
                    assert again.shard.size >= newest.size
                    await fed.back(again)
                    await fed.file(bravo, [make_row(sharing="GREEN", agency_record_id="IA-after")])
                    seconds = time.monotonic() - began
                    view = await fed.ask(alpha)
                    assert view.result is not None
                    assert view.result.overall is Overall.MATCH
                    assert not again.went_back
                    for node in fed.nodes:
                        assert size(node) > newest.size
                        assert node.follower.warnings() == []
                        await fed.stop(node)

    return seconds


def running_on(
    server: PostgresServer, config: Config, hub: RunningHub
) -> AbstractAsyncContextManager[RunningHub]:
    """The hub of before on this server."""
    return running_hub(
        config.data / "unused", config=replace(config, database_url=server.url("candor")), clock=hub.clock
    )


def look_as_the_page_says(server: PostgresServer, config: Config, folder: Path) -> None:
    file = config.data / "hub.toml"
    file.write_text(
        re.sub(r"(?m)^database_url = .*$", f'database_url = "{server.url("candor")}"', file.read_text())
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CANDOR_HUB_CONFIG": str(file),
        UNSAFE_FOR_TESTS: "1",
    }
    first, second = block("sh", "candor-hub log fsck").split("\n")[:2]
    # Its status is 1: no hub has signed for a while, and that is what it says.
    words = ["sh", "-euc", f"{first}\n{second} || true"]
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every entry is the one that was signed" in done.stdout


def size(node: Node) -> int:
    assert node.follower.view is not None
    return node.follower.view.size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same: it takes under a minute")
    parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="candor-archive-", dir="/tmp") as folder, unsafe():
        seconds = asyncio.run(play(Path(folder)))
    print(f"archive: nothing lost, no fork; logging again {seconds:.1f} s after the restore began")
    return 0 if seconds <= RTO_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
