"""A node keeps the log that it has read: for the day when the hub is gone (docs/succession.md)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from candor_node.tlog import log_store
from candor_node.tlog.follower import Follower
from candor_node.tlog.kept_log import KeptLog, hand_over
from candor_node.tlog.log_copy import LogCopy
from candor_proto.errors import (
    CandorError,
    LogInconsistent,
    MalformedMessage,
    Rollback,
    StoreUnusable,
    UnknownObject,
)
from candor_verify.cli import run as verify
from tests.memory_log import NOW, Log, later
from tests.unit.node.tlog.scenes import Reader, play

BOTH = ("alpha", "bravo")


def keep_in(reader: Reader, folder: Path) -> KeptLog:
    """The reader's node keeps what it reads, as `Node` does."""
    kept = KeptLog(folder)
    follower = reader.follower
    follower.kept = follower._taking_up._kept = follower._policies._kept = kept
    return kept


def trouble(kept: KeptLog) -> type[CandorError] | None:
    return None if kept.trouble is None else type(kept.trouble)


def checks(folder: Path, log: Log) -> int:
    policy = folder.parent / "policy.txt"
    policy.write_bytes(log.policy_without_witnesses)
    return verify(["log", str(folder), "--policy", str(policy)], later(minutes=30), lambda text: None)


def test_what_a_node_has_read_is_kept_whole_without_one_more_call_of_the_hub(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, folder = reader.log, tmp_path / "log-copy"
        kept = keep_in(reader, folder)
        for minute, grown in enumerate((3, 600, 1, 0, 255, 2), 1):
            log.grow(grown)
            reader.clock.pass_(minutes=1)
            log.publish(later(minutes=minute), *BOTH)
            served = len(log.served)
            await reader.follower.follow()
            held = kept.files.head(1)
            assert held is not None
            assert (held.size, kept.trouble) == (log.size, None)
            assert not [path for path in log.served[served:] if path.startswith("1/tile/0")]
        # Handed over, it is what a stranger takes for the log: every tile grew out of the entries.
        await hand_over(folder, tmp_path / "out", reader.clock.now())
        assert checks(tmp_path / "out", log) == 0
        whole = tmp_path / "whole"
        await LogCopy(log.get, whole).update(reader.clock.now())
        tiles = {
            path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and "tile" in path.parts
        }
        assert len(tiles) > 6
        for tile in tiles:
            assert (folder / tile).read_bytes() == (whole / tile).read_bytes(), tile

    play(tmp_path, scene)


def test_entries_are_kept_before_the_node_remembers_that_it_has_read_them(tmp_path: Path) -> None:
    """What it has read its hub's successor must hold (§19.4): nobody could go over if nobody had it."""

    async def scene(reader: Reader) -> None:
        log, folder = reader.log, tmp_path / "log-copy"
        kept = keep_in(reader, folder)
        await reader.follower.follow()
        held: list[int] = []
        run = reader.store.run

        async def watched(work):  # type: ignore[no-untyped-def]
            found = await run(work)
            shard = await run(log_store.last_shard)
            assert shard is not None
            assert kept.files.entries(1) >= shard.entries.size
            held.append(shard.entries.size)
            return found

        reader.store.run = watched  # type: ignore[method-assign]
        log.grow(1_500)
        log.publish(later(minutes=1), *BOTH)
        reader.clock.pass_(minutes=1)
        await reader.follower.follow()
        reader.store.run = run  # type: ignore[method-assign]
        assert len(set(held)) > 2, "it was read in pieces"

    play(tmp_path, scene)


def test_the_head_of_entries_that_were_kept_is_made_up_for_after_a_crash(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        folder = tmp_path / "log-copy"
        kept = keep_in(reader, folder)
        reader.log.publish(NOW, *BOTH)
        await reader.follower.follow()
        (folder / "1/checkpoint").unlink()
        reader.restart()
        kept = keep_in(reader, folder)
        await reader.follower.follow()
        head = kept.files.head(1)
        assert head is not None
        assert head.size == reader.log.size

    play(tmp_path, scene)


def test_what_was_read_before_there_was_a_kept_log_is_copied_from_the_hub(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, folder = reader.log, tmp_path / "log-copy"
        log.grow(400)
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        reader.restart()
        kept = keep_in(reader, folder)
        log.grow(20)
        log.publish(later(minutes=1), *BOTH)
        reader.clock.pass_(minutes=1)
        await reader.follower.follow()
        assert kept.files.head(1) is None, "a part of a log is no copy"
        await reader.follower._top_up()
        assert kept.trouble is None
        assert checks(folder, log) == 0
        # Once a day is enough, for what was read lies here.
        served = len(log.served)
        await reader.follower._top_up()
        assert len(log.served) == served
        reader.clock.pass_(days=1)
        await reader.follower._top_up()
        assert len(log.served) > served

    play(tmp_path, scene)


def test_a_full_disk_stops_nobody_and_is_made_up_for(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        folder = tmp_path / "log-copy"
        kept = keep_in(reader, folder)
        folder.write_text("no folder")
        await reader.follower.follow()
        assert trouble(kept) is StoreUnusable
        assert reader.follower.is_open()
        folder.unlink()
        await reader.follower._top_up()
        assert kept.trouble is None
        assert checks(folder, reader.log) == 0

    play(tmp_path, scene)


def test_a_copy_that_cannot_be_read_stops_nobody(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        folder = tmp_path / "log-copy"
        kept = keep_in(reader, folder)
        (folder / "1/checkpoint").mkdir(parents=True)
        await reader.follower.follow()
        await reader.follower._top_up()
        assert trouble(kept) is StoreUnusable
        await kept.top_up(reader.log.get, {}, NOW)  # before anything was read whole

    play(tmp_path, scene)


def test_a_restored_node_that_is_shown_another_log_keeps_the_one_it_had(tmp_path: Path) -> None:
    log = Log()
    fork = log.fork()
    log.grow(30)
    log.publish(later(minutes=1), *BOTH)
    fork.grow(60)
    fork.publish(later(minutes=2), *BOTH)
    folder = tmp_path / "log-copy"
    shutil.rmtree(folder, ignore_errors=True)
    asyncio.run(LogCopy(log.get, folder).update(NOW))
    before = (folder / "1/checkpoint").read_bytes()

    async def scene(reader: Reader) -> None:
        """An empty database, and the files of before: as after a restore from a backup."""
        kept = keep_in(reader, folder)
        reader.clock.pass_(minutes=2)
        await reader.follower.follow()
        assert trouble(kept) is LogInconsistent
        await reader.follower._top_up()
        assert (folder / "1/checkpoint").read_bytes() == before
        assert checks(folder, log) == 0

    play(tmp_path, scene, fork)


def test_a_restored_node_reads_the_log_again_and_its_copy_does_not_get_shorter(
    tmp_path: Path,
) -> None:
    log = Log()
    log.publish(NOW, *BOTH)
    older, folder = log.fork(), tmp_path / "log-copy"
    log.grow(300)
    log.publish(later(minutes=1), *BOTH)
    asyncio.run(LogCopy(log.get, folder).update(NOW))

    async def scene(reader: Reader) -> None:
        """An empty database, the files of before, and a hub that serves an older head for now."""
        kept = keep_in(reader, folder)
        await reader.follower.follow()
        head = kept.files.head(1)
        assert head is not None
        assert (head.size, kept.trouble) == (log.size, None)
        reader.log = log
        reader.clock.pass_(minutes=1)
        await reader.follower.follow()
        assert kept.trouble is None
        assert checks(folder, log) == 0

    play(tmp_path, scene, older)


def test_it_is_handed_over_when_the_hub_is_gone_and_never_in_place_of_a_longer_copy(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, folder, out = reader.log, tmp_path / "log-copy", tmp_path / "out"
        with pytest.raises(UnknownObject, match="no copy"):
            await hand_over(folder, out, NOW)
        keep_in(reader, folder)
        await reader.follower.follow()
        copied = await hand_over(folder, out, NOW)
        assert (copied.shards, copied.entries) == (1, log.size)
        assert checks(out, log) == 0
        log.grow(5)
        log.publish(later(minutes=1), *BOTH)
        await LogCopy(log.get, out).update(later(minutes=1))
        with pytest.raises(Rollback):
            await hand_over(folder, out, NOW)
        bundle = next((folder / "1/tile/entries").rglob("*.p")) / str(copied.entries)
        octets = bundle.read_bytes()
        bundle.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
        with pytest.raises((LogInconsistent, MalformedMessage)):
            await hand_over(folder, tmp_path / "other", NOW)

    play(tmp_path, scene)


def test_a_follower_without_a_folder_keeps_nothing(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        follower: Follower = reader.follower
        await follower.follow()
        await follower._top_up()
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []

    play(tmp_path, scene)
