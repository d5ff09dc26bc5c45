"""Files of the log as rows: the same promises as in a folder (ADR 0032)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from candor_hub.store import Store
from candor_hub.store.objects import LOG, PIECE_OCTETS, SEGMENTS
from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.rotation import ask_for
from candor_hub.tlog.rows import Rows
from candor_proto.directory import MemberStatus
from candor_proto.errors import StoreUnusable, UnknownObject
from candor_proto.ids import NodeId
from tests.postgres import chosen_url
from tests.unit.hub.tlog.desks import LogDesk, log_desk

KEY = bytes(range(32))


@pytest.fixture
def store(tmp_path: Path, each_database: str) -> Iterator[Store]:
    made = Store.create(chosen_url() or f"sqlite:///{tmp_path / 'hub.db'}", KEY, "demo.example")
    yield made
    made.close()


def log_of(store: Store) -> LogFiles:
    return LogFiles(Rows(store.read, store.write))


def test_a_file_is_what_was_written_last(store: Store) -> None:
    files = log_of(store)
    with pytest.raises(UnknownObject):
        files.read("1/tile/0/000")
    files.write({"1/tile/0/000": b"first", "1/tile/0/001": b""})
    files.write({"1/tile/0/000": b"second"})
    assert files.read("1/tile/0/000") == b"second"
    assert files.read("1/tile/0/001") == b""
    files.remove(["1/tile/0/000", "1/tile/0/000", "nowhere"])
    with pytest.raises(UnknownObject):
        files.read("1/tile/0/000")


def test_what_stands_in_other_rows_is_no_file_of_its_own(store: Store) -> None:
    """Heads, policies and draws are read from what was signed: a copy could say something else."""
    files = log_of(store)
    for name in ("shards", "1/signed", "1/checkpoint", "1/policy/2", "1/draw/2026-11"):
        files.write({name: b"a copy"})
        with pytest.raises(UnknownObject):
            files.read(name)
    assert list(files.all()) == []


def test_a_large_file_is_in_pieces_and_whole_or_absent(store: Store) -> None:
    files, octets = log_of(store), random.Random(1).randbytes(2 * PIECE_OCTETS + 17)
    files.write({"1/tile/entries/000": octets})
    assert files.read("1/tile/entries/000") == octets
    with store.read() as tx:
        count, last = tx.objects.piece(LOG, "1/tile/entries/000", 2) or (0, b"")
        assert (count, len(last)) == (3, 17)
        assert tx.objects.piece(LOG, "1/tile/entries/000", 3) is None
    files.write({"1/tile/entries/000": b"short"})
    assert files.read("1/tile/entries/000") == b"short"
    # A piece that is lost is no file.
    files.write({"1/tile/entries/000": octets})
    with store.write() as tx:
        connection = tx.objects._connection
        connection.exec_driver_sql("DELETE FROM objects WHERE piece = 1")
    with pytest.raises(UnknownObject):
        files.read("1/tile/entries/000")


def test_what_is_written_together_is_stored_together(store: Store) -> None:
    files = log_of(store)

    def interrupted() -> None:
        with store.write() as tx:
            within = files.within(tx)
            within.write({"1/tile/0/000.p/3": b"tile"})
            assert within.read("1/tile/0/000.p/3") == b"tile"
            assert within.widths("1/tile/0/000") == (3,)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert list(files.all()) == []


def test_names_are_found_in_their_folder_alone(store: Store) -> None:
    files = log_of(store)
    names = ["2/tile/0/000", "10/tile/0/000", "1/tile/0/000.p/3", "1/tile/0/000.p/17"]
    names += ["1/tile/0/000", "1/tile/0/000.pq", "1/tile/0/0000/9"]
    files.write({name: name.encode() for name in names})
    with store.write() as tx:
        tx.objects.put(SEGMENTS, "7/other", b"of another place")
    assert files.shards() == (1, 2, 10)
    assert files.widths("1/tile/0/000") == (3, 17)
    assert files.widths("1/tile/0/001") == ()
    assert files.unfinished("1/tile/0/000") == []
    assert sorted(files.all()) == sorted(names)
    assert files.piece("1/tile/0/000", 4) == (b"1/tile/0/000.p/17", 17)
    assert files.piece("1/tile/0/000", 18) == (b"1/tile/0/000", 256)


def test_all_names_are_found_some_at_a_time(store: Store) -> None:
    files = log_of(store)
    names = {f"1/tile/0/x{number:06}" for number in range(2_300)}
    files.write(dict.fromkeys(names, b"1"))
    assert set(files.all()) == names
    files.remove(names)
    assert list(files.all()) == []


# --- the log over them ----------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogDesk]:
    monkeypatch.setattr("tests.unit.hub.offices.chosen_url", lambda: postgresql_url)
    with log_desk(tmp_path) as made:
        yield made


def grow(desk: LogDesk, times: int = 1) -> None:
    for _ in range(times):
        for status in (MemberStatus.SUSPENDED, MemberStatus.ACTIVE):
            desk.hub.directory.set_status(NodeId("alpha"), status, desk.now)


def test_a_log_in_rows_grows_rotates_and_is_read(desk: LogDesk) -> None:
    desk.make_witness(desk.hub.join("alpha"))
    desk.settle()
    grow(desk, 40)
    desk.settle()
    before = desk.read()
    with desk.hub.store.write() as tx:
        ask_for(tx)
    desk.settle()
    grow(desk)
    desk.settle()
    assert [shard.ended for shard in desk.shards()] == [True, False]
    reading = desk.read()
    assert len(reading.entries) > len(before.entries) > 80
    desk.check_start()
    assert not (desk.hub.config.log / "1").exists()


@pytest.mark.parametrize("name", ["tile/0/000.p/", "tile/entries/000.p/"])
@pytest.mark.parametrize("change", ["gone", "changed", "shorter"])
def test_rows_that_lack_what_was_signed_are_refused(desk: LogDesk, name: str, change: str) -> None:
    desk.hub.join("alpha")
    desk.settle()
    (path,) = [each for each in desk.files.all() if each.startswith(f"1/{name}")]
    octets = desk.files.read(path)
    if change == "gone":
        desk.files.remove([path])
    else:
        desk.files.write({path: octets[:-1] + (b"" if change == "shorter" else bytes([octets[-1] ^ 1]))})
    with pytest.raises(StoreUnusable, match="not what was written"):
        desk.check_start()
    grow(desk)
    with pytest.raises(StoreUnusable, match="not what was written"):
        desk.append()
