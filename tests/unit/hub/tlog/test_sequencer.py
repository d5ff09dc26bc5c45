"""The task that writes the log outlives whatever fails in it, and what it has signed goes on (§14.6)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from candor_hub.streams import Streams
from candor_hub.tlog import hub_log, start
from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.hub_log import HubLog
from candor_proto.errors import StoreUnusable
from candor_proto.tlog.checkpoint import parse_checkpoint
from tests.federation import instead
from tests.patience import PATIENCE_SECONDS
from tests.unit.hub.tlog.desks import log_desk


@pytest.mark.parametrize("error", [StoreUnusable("the disk is full"), RuntimeError("a bug of ours")])
def test_what_was_signed_is_witnessed_though_the_step_behind_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(hub_log, "RETRY_SECONDS", 0.01)
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")

        def failing(*_: Any) -> None:
            raise error

        async def run() -> None:
            hub = desk.hub
            log = HubLog(hub.config, hub.store, Streams(), hub.clock, hub.directory.publish, 0.0)
            await log.begin()
            tasks = [asyncio.create_task(work()) for work in (log.run, log.witness)]
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while not desk.shards()[0].witnessed_size:
                        await asyncio.sleep(0.01)
                assert not tasks[0].done()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await log.close()

        monkeypatch.setattr(start, "prune", failing)
        asyncio.run(run())


def test_checkpoint_files_that_cannot_be_written_stop_nothing_and_are_written_later(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        original = desk.files.write

        def full(*_: Any, **__: Any) -> None:
            raise StoreUnusable("the disk is full")

        desk.append()
        instead(desk.files, "write", full)
        taken = desk.witness()
        assert taken is not None
        shown = desk.pages.get("1/checkpoint").octets
        assert parse_checkpoint(shown).checkpoint.size == desk.shard().size
        draws = [path for path in taken.kept if "/draw/" in path]
        assert draws
        assert all(desk.pages.get(path).octets == taken.kept[path] for path in draws)
        instead(desk.files, "write", original)
        desk.pages.show(desk.shards(), {"1/policy/9": b"x"})
        assert LogFiles(desk.hub.config.log).read("1/checkpoint") == shown
        assert all(LogFiles(desk.hub.config.log).read(path) == taken.kept[path] for path in draws)
