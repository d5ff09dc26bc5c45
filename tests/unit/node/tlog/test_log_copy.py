"""A copy of the log is whole, or ends with the head before (docs/succession.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from candor_node.tlog.log_copy import Copied, LogCopy
from candor_proto.errors import LogInconsistent, MalformedMessage, Rollback, StoreUnusable, Unreachable
from candor_verify.cli import run as verify
from tests.memory_log import NOW, Log, later

BOTH = ("alpha", "bravo")


def update(log: Log, folder: Path, get: Callable[[str], Awaitable[bytes]] | None = None) -> Copied:
    return asyncio.run(LogCopy(get or log.get, folder).update(NOW))


def checks(folder: Path, log: Log, tmp_path: Path) -> int:
    policy = tmp_path / "policy.txt"
    policy.write_bytes(log.policy_without_witnesses)
    return verify(["log", str(folder), "--policy", str(policy)], later(minutes=30), lambda text: None)


def test_a_stranger_verifies_the_copy_and_the_next_one_fetches_only_what_is_new(tmp_path: Path) -> None:
    log, folder = Log(), tmp_path / "copy"
    log.grow(600)
    log.publish(NOW, *BOTH)
    first = update(log, folder)
    assert (first.shards, first.entries) == (1, log.size)
    assert checks(folder, log, tmp_path) == 0
    log.grow(3)
    log.publish(later(minutes=1), *BOTH)
    log.served.clear()
    second = update(log, folder)
    assert second.entries == log.size
    bundles = [path for path in log.served if "entries" in path]
    assert len(bundles) == 1, "full bundles are not fetched again"
    assert checks(folder, log, tmp_path) == 0


def test_a_copy_that_was_interrupted_ends_with_the_head_before_and_goes_on(tmp_path: Path) -> None:
    log, folder = Log(), tmp_path / "copy"
    log.publish(NOW, *BOTH)
    update(log, folder)
    before = (folder / "1/checkpoint").read_bytes()
    log.grow(600)
    log.publish(later(minutes=1), *BOTH)
    asked = 0

    async def breaking(path: str) -> bytes:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise Unreachable("gone")
        return await log.get(path)

    with pytest.raises(Unreachable):
        update(log, folder, breaking)
    assert (folder / "1/checkpoint").read_bytes() == before
    assert checks(folder, log, tmp_path) == 0
    assert update(log, folder).entries == log.size
    assert (folder / "1/checkpoint").read_bytes() != before


def test_entries_that_are_not_those_of_the_head_are_no_copy(tmp_path: Path) -> None:
    log, folder = Log(), tmp_path / "copy"
    other = Log()
    log.publish(NOW, *BOTH)
    other.publish(NOW, *BOTH)

    async def mixed(path: str) -> bytes:
        return await (other if "entries" in path else log).get(path)

    with pytest.raises((LogInconsistent, MalformedMessage)):
        update(log, folder, mixed)
    assert not (folder / "1/checkpoint").exists()


def test_what_was_damaged_on_the_disk_is_found_and_fetched_again(tmp_path: Path) -> None:
    log, folder = Log(), tmp_path / "copy"
    log.grow(300)
    log.publish(NOW, *BOTH)
    update(log, folder)
    bundle = folder / "1/tile/entries/000"
    octets = bundle.read_bytes()
    bundle.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
    assert update(log, folder).entries == log.size
    assert bundle.read_bytes() == octets


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    log = Log()
    log.publish(NOW, *BOTH)
    place = tmp_path / "file"
    place.write_text("no folder")
    with pytest.raises(StoreUnusable, match="cannot be written"):
        update(log, place)


def test_a_hub_that_went_back_or_shows_another_log_changes_no_copy(tmp_path: Path) -> None:
    log, folder = Log(), tmp_path / "copy"
    log.grow(300)
    log.publish(NOW, *BOTH)
    short, other = log.fork(), log.fork()
    log.grow(10)
    log.publish(later(minutes=1), *BOTH)
    update(log, folder)
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    with pytest.raises(Rollback, match="holds"):
        update(short, folder)
    other.grow(40)
    other.publish(later(minutes=2), *BOTH)
    with pytest.raises(LogInconsistent, match="copied before"):
        update(other, folder)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before
    assert checks(folder, log, tmp_path) == 0


def test_of_the_right_edge_only_the_widest_files_stay(tmp_path: Path) -> None:
    log, folder = Log(), tmp_path / "copy"
    for minute in range(12):
        log.grow(25)
        log.publish(later(minutes=minute), *BOTH)
        update(log, folder)
        partial = [path for path in folder.rglob("*") if path.is_file() and path.parent.suffix == ".p"]
        kinds = [path.parent for path in partial]
        assert len(kinds) == len(set(kinds)), "one of each"
        assert checks(folder, log, tmp_path) == 0
    assert log.size > 256
