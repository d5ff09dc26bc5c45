"""`candor-hub migrate-store`: an embedded hub moves to PostgreSQL, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from candor_hub.cli import cli
from candor_hub.config import Config, load_config
from candor_hub.driver import Connection, insert_many, sa
from candor_hub.founding import Wishes, found, open_keys, open_store
from candor_hub.moving import Move, look, move_store
from candor_hub.store import Store, Transaction
from candor_hub.store.copying import OWN_TABLES, tables
from candor_hub.tlog.files import Lock
from candor_hub.tlog.rotation import ask_for
from candor_proto.directory import MemberStatus
from candor_proto.errors import AlreadyExists, ConfigInvalid, StoreUnusable
from candor_proto.segment import address
from candor_wire.codec import Envelope
from tests.hub_members import Member, ShiftedClock
from tests.postgres import new_database, unsafe
from tests.unit.hub.offices import opened
from tests.unit.hub.tlog.desks import LogDesk, desk_over, log_desk


class Interrupted(Exception):
    """Somebody pulled the plug."""


@dataclass
class Scene:
    """A stopped hub with data in every table, and what its members will say next."""

    config: Config
    clock: ShiftedClock
    members: list[Member]
    lookup: Envelope
    octets: bytes
    delivered: int
    url: str
    file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.file = self.config.data / "hub.toml"

    def move(self, *, again: bool = False, stop_at: str = "") -> None:
        def progress(what: str, reached: int, total: int) -> None:
            if stop_at and f"{what} {reached}".startswith(stop_at):
                raise Interrupted

        move_store(Move(self.config, self.url, again=again), self.file, self.clock.now(), progress)


def fill(tx: Transaction) -> None:
    """At least one row in every table: of plausible types, naming rows that are there."""
    connection = tx.facts._connection
    for table in tables():
        if connection.execute(sa.select(sa.func.count()).select_from(table)).scalar():
            continue
        row: dict[str, object] = {}
        for column in table.columns:
            key = next(iter(column.foreign_keys), None)
            if key is not None:
                row[column.name] = connection.execute(sa.select(key.column).limit(1)).scalar()
            elif isinstance(column.type, sa.LargeBinary):
                row[column.name] = b"\x00\xff octets"
            elif isinstance(column.type, sa.Text):
                row[column.name] = "Ä text with ' and \\"
            else:
                row[column.name] = (1 << 40) + 7 if isinstance(column.type, sa.BigInteger) else 7
        connection.execute(sa.insert(table).values(row))


def grown(desk: LogDesk) -> tuple[list[Member], Envelope, bytes, int]:
    hub = desk.hub
    alpha, bravo = members = [hub.join(name) for name in ("alpha", "bravo")]
    desk.make_witness(alpha)
    desk.settle()
    octets = alpha.segment()
    hub.index.put_segment(address(octets), octets, alpha.node, desk.now)
    head = alpha.signing_key.sign("index-head", alpha.head([octets]).encode())
    hub.index.put_head(head, desk.entry(alpha), desk.now)
    lookup = alpha.lookup([alpha, bravo])
    hub.submit(lookup, alpha)
    for _ in range(3):
        hub.submit(alpha.sealed(bravo.node), alpha)
    (*_, last) = hub.waiting(bravo)
    hub.mailbox.acknowledge(bravo.node, [last.delivery_id])
    hub.directory.set_status(bravo.node, MemberStatus.SUSPENDED, desk.now)
    hub.directory.set_status(bravo.node, MemberStatus.ACTIVE, desk.now)
    desk.settle()
    with hub.store.write() as tx:
        ask_for(tx)
    desk.settle()
    hub.submit(bravo.answer(lookup), bravo)  # waits to be logged
    with hub.store.write() as tx:
        fill(tx)
    return members, lookup, octets, last.delivery_id


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The hub that each test gets a copy of."""
    with log_desk(tmp_path_factory.mktemp("moving")) as desk:
        members, lookup, octets, delivered = grown(desk)
        return Scene(desk.hub.config, desk.hub.clock, members, lookup, octets, delivered, "")


@pytest.fixture
def scene(tmp_path: Path, stopped: Scene) -> Iterator[Scene]:
    shutil.copytree(stopped.config.data, tmp_path / "hub")
    config = load_config(tmp_path / "hub/hub.toml")
    with unsafe():
        yield replace(stopped, config=config, url=new_database())


def rows_of(store: Store) -> dict[str, list[tuple[object, ...]]]:
    with store.read() as tx:
        connection = tx.facts._connection
        return {
            table.name: [
                tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))
            ]
            for table in tables()
        }


def test_nothing_is_lost_and_members_go_on(scene: Scene) -> None:
    with opened(scene.config, scene.clock) as before:
        kept, key = rows_of(before.store), before.keys.directory_key.seed()
    assert {name for name, rows in kept.items() if not rows} == set()
    scene.move()
    config = load_config(scene.file)
    assert config.database == scene.url
    store = open_store(config)
    moved = rows_of(store)
    assert open_keys(config, store).directory_key.seed() == key
    store.close()
    for name in kept:
        wanted = [row for row in kept[name] if name != "meta" or row[0] not in ("moved",)]
        assert sorted(map(repr, moved[name])) == sorted(map(repr, wanted)), name
    alpha, bravo = scene.members
    with opened(config, scene.clock) as hub:
        desk = desk_over(hub)
        desk.check_start()
        assert b"".join(hub.index.get_segment(address(scene.octets))) == scene.octets
        # What was accepted is answered as before, and no delivery id is given twice.
        assert hub.submit(scene.lookup, alpha).again
        waiting = {one.delivery_id for one in hub.waiting(bravo)}
        assert scene.delivered not in waiting
        hub.submit(alpha.sealed(bravo.node), alpha)
        (new,) = {one.delivery_id for one in hub.waiting(bravo)} - waiting
        assert new > max(scene.delivered, *waiting)
        # The log goes on, with its keys.
        assert desk.append() is not None
        assert desk.waiting() == 0


def test_the_source_refuses_to_run_and_is_not_moved_elsewhere(scene: Scene) -> None:
    scene.move()
    with pytest.raises(StoreUnusable, match="has moved to") as caught:
        open_store(scene.config)
    assert "two places" in caught.value.message
    for again in (False, True):
        with pytest.raises(StoreUnusable, match="has moved to"):
            look(Move(scene.config, new_database(), again=again))
    with pytest.raises(AlreadyExists):
        look(Move(scene.config, scene.url, again=True))
    kept = list(scene.config.data.glob("hub.toml.before-*"))
    assert [load_config(path).embedded for path in kept] == [True]


@pytest.mark.parametrize("stop_at", ["rows", "log 3", "segments", "checking 0", "checking 3"])
def test_a_move_that_is_interrupted_leaves_a_source_that_runs(scene: Scene, stop_at: str) -> None:
    with pytest.raises(Interrupted):
        scene.move(stop_at=stop_at)
    open_store(scene.config).close()
    assert load_config(scene.file).embedded
    with pytest.raises(StoreUnusable, match="not finished"):
        Store.open(scene.url, b"", str(scene.config.federation))
    with pytest.raises(StoreUnusable, match="what a move"):
        scene.move()
    scene.move(again=True)
    open_store(load_config(scene.file)).close()


def test_a_move_that_is_interrupted_at_its_very_end_is_finished(scene: Scene) -> None:
    """Neither of the two runs until it is: a log that goes on in both would be a fork."""
    with pytest.raises(Interrupted):
        scene.move(stop_at="finishing 0")
    with pytest.raises(StoreUnusable, match="has moved to"):
        open_store(scene.config)
    with pytest.raises(StoreUnusable, match="not finished"):
        Store.open(scene.url, b"", str(scene.config.federation))
    scene.move(again=True)
    open_store(load_config(scene.file)).close()


def test_a_new_hub_is_not_made_over_a_move_that_may_be_under_way(scene: Scene, tmp_path: Path) -> None:
    """`init` in the same database would empty it between the copy and its end."""
    with pytest.raises(Interrupted):
        scene.move(stop_at="finishing 0")
    wishes = Wishes(scene.config.federation, "127.0.0.1:1", "127.0.0.1:2", database_url=scene.url)
    with pytest.raises(StoreUnusable, match="a move that began at"):
        found(tmp_path / "another", wishes, datetime.now(UTC))
    scene.move(again=True)
    open_store(load_config(scene.file)).close()


def test_a_running_hub_is_not_moved(scene: Scene) -> None:
    lock = Lock(scene.config.log)
    lock.take()
    with pytest.raises(StoreUnusable, match="writes this log"):
        scene.move()
    lock.give_back()


def test_a_hub_that_is_there_is_not_written_over(scene: Scene) -> None:
    Store.create(scene.url, b"", "other.example").close()
    for again in (False, True):
        with pytest.raises(AlreadyExists):
            scene.move(again=again)
    open_store(scene.config).close()


def test_a_damaged_segment_is_not_moved(scene: Scene) -> None:
    name = address(scene.octets).hex()
    path = scene.config.segments / name[:2] / name
    path.write_bytes(scene.octets[:-1] + bytes([scene.octets[-1] ^ 1]))
    with pytest.raises(StoreUnusable, match="damaged"):
        scene.move()
    open_store(scene.config).close()


def test_a_damaged_log_is_not_moved(scene: Scene) -> None:
    (bundle,) = scene.config.log.glob("1/tile/entries/000.p/*")
    octets = bytearray(bundle.read_bytes())
    octets[-1] ^= 1
    bundle.write_bytes(octets)
    with pytest.raises(StoreUnusable, match="not sound"):
        scene.move()
    open_store(scene.config).close()


def test_a_row_that_was_copied_otherwise_is_noticed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(
        connection: Connection, table: str, columns: list[str], rows: list[tuple[object, ...]]
    ) -> object:
        if table == "quota_uses":
            rows = [(*row[:-1], 1) for row in rows]
        return insert_many(connection, table, columns, rows)

    monkeypatch.setattr("candor_hub.store.copying.insert_many", lying)
    with pytest.raises(StoreUnusable, match="quota_uses was not copied"):
        scene.move()
    open_store(scene.config).close()


def test_the_command_says_what_it_would_do_and_does_it(scene: Scene) -> None:
    with (scene.file).open("a") as file:
        file.write("[quota]\ntotal = 100000\n")
    arguments = ["migrate-store", "--to", scene.url, "--config", str(scene.file), "--json"]
    dry = CliRunner().invoke(cli, [*arguments, "--dry-run"], catch_exceptions=False)
    said = json.loads(dry.output)
    assert said["moved"] is False
    assert load_config(scene.file).embedded
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    report = json.loads(done.output)
    assert report == {**said, "moved": True, "log_entries": report["log_entries"]}
    assert report["log_entries"] > 10
    assert report["segments"] == 1
    config = load_config(scene.file)
    assert (config.database, config.quota.total) == (scene.url, 100_000)


def test_a_password_in_the_url_is_refused_and_not_repeated(scene: Scene) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Move(scene.config, "postgresql://candor:sentinel@db/candor")
    assert "sentinel" not in caught.value.message + caught.value.remedy


def test_every_table_is_copied_or_named_as_one_that_is_not() -> None:
    from candor_hub.tables import metadata

    assert {table.name for table in tables()} | set(OWN_TABLES) == set(metadata.tables)
