"""`candor-node doctor`: what waits for people, what is to be forgotten, what the own entry says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from candor_node import backup, lifecycle
from candor_node.driver import open_database
from candor_node.findings.exchange import Exchange
from candor_node.findings.outward import Outward
from candor_node.findings.own import Own, _whole
from candor_node.findings.readings import OwnEntry, Queue, Readings
from candor_node.store import Store
from candor_node.tlog.log_copy import LogCopy
from candor_proto.errors import StoreUnusable
from candor_proto.ids import NodeId
from candor_watch.findings import Finding, Once, State
from candor_wire.v1 import local_pb2
from tests.desk import desk_store, doing, filed
from tests.memory_log import Log
from tests.records import NODE, NOW, STORE_KEY

QUIET = Readings(
    directory_version=7,
    directory_received_at=NOW,
    own_entry=OwnEntry.GOOD,
    own_index_issued_at=NOW - timedelta(hours=3),
    own_index_confirmed=True,
    others={NodeId("bravo"): NOW - timedelta(hours=2)},
    log_origin="demo.example/log/1",
    log_size=12,
    log_shard=1,
    log_witnessed_at=NOW - timedelta(minutes=2),
    witness_signed_at=NOW - timedelta(minutes=2),
    outbox=Queue(),
    inbox=Queue(),
    dead_letters=0,
    users=2,
    reviews_due=(),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as made:
        yield made


class _Config:
    """What doctor needs of the settings to look into a database."""

    def __init__(self, path: Path) -> None:
        self.database_file = path
        self.node = "alpha"
        self.kept_log_folder = path.parent / "log-copy"

    def database_key(self) -> bytes:
        return STORE_KEY

    def own_log_policy(self) -> None:
        return None


def seen(status: local_pb2.StatusResponse | None = None, **changes: Any) -> Any:
    """A look at a node of which these readings are known."""
    from dataclasses import replace

    async def read() -> Readings:
        return replace(QUIET, **changes)

    async def told() -> local_pb2.StatusResponse | None:
        return status

    return SimpleNamespace(
        readings=Once(read), status=Once(told), now=NOW, joined=True, config=_Config(Path("node.db"))
    )


def exchange(key: str, look: Any) -> Finding:
    found: Any = asyncio.run(Exchange(look).checks()[key]())  # type: ignore[arg-type]  # a coroutine
    assert isinstance(found, Finding)
    return found


LONG_AGO = NOW - timedelta(days=3)


@pytest.mark.parametrize(
    ("key", "changes", "state"),
    [
        ("index", {}, State.GOOD),
        ("index", {"own_index_issued_at": None}, State.WARNING),
        ("index", {"own_index_confirmed": False}, State.WARNING),
        ("index", {"own_index_issued_at": LONG_AGO}, State.BAD),
        ("copies", {}, State.GOOD),
        ("copies", {"others": {NodeId("bravo"): LONG_AGO}}, State.WARNING),
        ("copies", {"others": {NodeId("bravo"): None}}, State.WARNING),
        ("outbox", {}, State.GOOD),
        ("outbox", {"dead_letters": 2}, State.WARNING),
        ("outbox", {"outbox": Queue(1, NOW - timedelta(minutes=20))}, State.WARNING),
        ("outbox", {"outbox": Queue(1, LONG_AGO)}, State.BAD),
        ("inbox", {}, State.GOOD),
        ("inbox", {"inbox": Queue(9, LONG_AGO)}, State.BAD),
        ("log", {}, State.GOOD),
        ("log", {"log_witnessed_at": None}, State.WARNING),
        ("log", {"log_witnessed_at": LONG_AGO}, State.WARNING),
        ("witness", {}, State.GOOD),
        ("witness", {"witness_signed_at": None}, State.WARNING),
        ("sharing", {}, State.GOOD),
        ("sharing", {"went_back": "The database went back."}, State.BAD),
        ("users", {}, State.GOOD),
        ("users", {"users": 0}, State.WARNING),
        ("review", {}, State.GOOD),
        ("review", {"reviews_due": ("2026-W40",)}, State.WARNING),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else "-".join(value) or "quiet" if isinstance(value, dict) else ""
    ),
)
def test_what_stands_in_the_database_is_judged(key: str, changes: dict[str, Any], state: State) -> None:
    found = exchange(key, seen(**changes))
    assert (found.key, found.state) == (key, state)
    assert bool(found.remedy) == (state is not State.GOOD)


@pytest.mark.parametrize(
    ("trouble", "state", "remedy"),
    [
        ("This node's certificate ended; this machine's clock says …", State.UNKNOWN, "See `cert"),
        ("This machine's clock is 12 minutes behind the hub's", State.BAD, "Set the clock"),
        ("Cannot reach the hub at hub.example:7443: refused.", State.UNKNOWN, ""),
    ],
    ids=["certificate-ended", "clock-wrong", "unreachable"],
)
def test_a_clock_is_called_wrong_only_when_nothing_else_explains_it(
    trouble: str, state: State, remedy: str
) -> None:
    look = seen(local_pb2.StatusResponse(attached=False, trouble=trouble))
    found = asyncio.run(Outward(look).clock())
    assert found.state == state
    assert found.remedy.startswith(remedy)


def test_a_running_node_is_believed_about_its_log_and_its_copies() -> None:
    running = local_pb2.StatusResponse(attached=True)
    running.members.add(node="bravo", active=True, epoch=3, index_held=False)
    assert "not held here: bravo" in exchange("copies", seen(running)).detail
    # Attached, and its own witness not asked for days: the hub leaves it out.
    assert exchange("witness", seen(running, witness_signed_at=LONG_AGO)).state is State.WARNING
    assert exchange("log", seen(running, log_witnessed_at=LONG_AGO)).state is State.BAD


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        (OwnEntry.GOOD, State.GOOD),
        (OwnEntry.NO_DIRECTORY, State.WARNING),
        (OwnEntry.MISSING, State.BAD),
        (OwnEntry.SUSPENDED, State.BAD),
        (OwnEntry.OTHER_SIGNING_KEY, State.BAD),
        (OwnEntry.OTHER_DISCLOSURE_KEY, State.BAD),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, OwnEntry) else value.value,
)
def test_the_keys_are_held_against_the_directory(entry: OwnEntry, state: State) -> None:
    found = asyncio.run(Own(seen(own_entry=entry)).own_entry())
    assert found.state is state
    assert bool(found.remedy) == (state is not State.GOOD)


def owed(look: Any, numbers: tuple[str, int, int, int]) -> dict[str, Finding]:
    """The findings about what waits for people, with these numbers in place of the database's."""
    exchange_ = Exchange(look)

    async def read() -> tuple[str, int, int, int]:
        return numbers

    exchange_._owed = Once(read)

    async def all_of_them() -> list[Finding]:
        return [await exchange_.overdue(), await exchange_.recalls(), await exchange_.late_matches()]

    return {each.key: each for each in asyncio.run(all_of_them())}


def test_doctor_says_what_is_overdue_and_which_recalls_nobody_has_read() -> None:
    quiet, loud = owed(seen(), ("default 1", 0, 0, 0)), owed(seen(), ("arizona 1", 3, 2, 1))
    assert {each.state for each in quiet.values()} == {State.GOOD}
    assert {each.state for each in loud.values()} == {State.WARNING}
    assert "3 things are overdue under arizona 1" in loud["overdue"].detail
    assert "candor-node records due" in loud["overdue"].remedy
    assert "2 recalls" in loud["recalls"].detail
    assert "candor-node lookups list --news" in loud["late_matches"].remedy


def test_doctor_says_that_what_a_successor_is_founded_from_is_not_kept(tmp_path: Path) -> None:
    log = Log()
    look = seen(log_size=log.size)
    look.config = _Config(tmp_path / "node.db")
    found = exchange("kept_log", look)
    assert (found.state, found.figures) == (State.WARNING, {"entries": 0, "read": log.size})
    asyncio.run(LogCopy(log.get, tmp_path / "log-copy").update(NOW))
    assert exchange("kept_log", look).state is State.GOOD
    look = seen(log_size=log.size + 1)
    look.config = _Config(tmp_path / "node.db")
    assert exchange("kept_log", look).state is State.WARNING


def test_what_is_owed_is_read_from_the_database_itself(store: Store) -> None:
    look: Any = SimpleNamespace(now=NOW, config=_Config(store.path), joined=True)
    filed(store)
    assert exchange("overdue", look).detail == "Nothing is overdue under default 1."


def test_doctor_names_the_backups_that_still_hold_what_was_destroyed(store: Store, tmp_path: Path) -> None:
    """Beside the node that has the database open."""
    look: Any = SimpleNamespace(config=_Config(store.path))
    record, folder = filed(store), tmp_path / "backup"
    backup.write(store, NODE, folder, NOW)
    assert "No known backup" in asyncio.run(Own(look).backup_keys()).detail
    store.run_sync(lambda db: lifecycle.expunge(db, record.dcn, doing(NOW, second="chief-2")))
    with pytest.raises(StoreUnusable, match=str(folder)):
        asyncio.run(Own(look).backup_keys())
    backup.tidy(store, NODE, NOW + timedelta(minutes=1))
    assert "No known backup" in asyncio.run(Own(look).backup_keys()).detail


@pytest.mark.parametrize("keep_log", [True, False], ids=["the log has it", "the log does not"])
def test_a_page_torn_in_a_checkpoint_is_damage_only_without_the_log(tmp_path: Path, keep_log: bool) -> None:
    """A power cut in the middle of a checkpoint leaves half pages, and the write-ahead log has them whole."""
    path, cut = tmp_path / "node.db", tmp_path / "cut.db"
    path.touch()
    with closing(open_database(path, STORE_KEY).conn) as connection:
        connection.execute("CREATE TABLE things (thing)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute("INSERT INTO things VALUES (1)")
        connection.commit()
        octets, log = bytearray(path.read_bytes()), path.with_name("node.db-wal").read_bytes()
        page = int.from_bytes(log[8:12], "big")
        for at in range(32, len(log), 24 + page):
            end = int.from_bytes(log[at : at + 4], "big") * page
            octets[end - 512 : end] = bytes(512)
    cut.write_bytes(octets)
    if keep_log:
        cut.with_name("cut.db-wal").write_bytes(log)
    opened = open_database(cut, STORE_KEY)
    with closing(opened.conn):
        for deep in (False, True):
            assert (_whole(opened, len(octets), deep) == "") == keep_log
