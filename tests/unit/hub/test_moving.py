"""`candor-hub migrate-store`: an embedded hub moves to PostgreSQL, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from candor_certs.authority import create_issuing
from candor_certs.chain import verify_peer
from candor_certs.folders import load_root
from candor_hub.authorities import adopt
from candor_hub.cli import cli
from candor_hub.config import load_config
from candor_hub.driver import Connection, insert_many
from candor_hub.founding import Wishes, found, open_keys, open_store
from candor_hub.moving import Move, look, move_store
from candor_hub.places import vault
from candor_hub.store import Store
from candor_hub.store.copying import OWN_TABLES, tables
from candor_hub.tlog.files import Lock
from candor_proto.errors import AlreadyExists, ConfigInvalid, StoreUnusable
from candor_proto.segment import address
from tests.moves import Interrupted, Scene, Stand, rows_of, stopped_hub
from tests.postgres import new_database, unsafe
from tests.unit.hub.offices import office, opened
from tests.unit.hub.tlog.desks import desk_over


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The hub that each test gets a copy of."""
    return stopped_hub(tmp_path_factory.mktemp("moving"))


@pytest.fixture
def scene(tmp_path: Path, stopped: Scene) -> Iterator[Scene]:
    with unsafe():
        yield stopped.copied(tmp_path / "hub", new_database())


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


def test_a_move_that_is_interrupted_before_the_settings_name_the_target_is_finished(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target is a hub by then, and may even run: nothing of it is touched any more."""
    with monkeypatch.context() as patched:
        patched.setattr("candor_hub.moving._settle", _interrupted)
        with pytest.raises(Interrupted):
            scene.move()
    assert scene.stand() is Stand.NEITHER
    with pytest.raises(StoreUnusable, match="has moved to"):
        scene.move()
    store = Store.open(scene.url, b"", str(scene.config.federation))
    with store.write() as tx:
        tx.facts.put("since", "it ran")
    look(Move(scene.config, scene.url, again=True))
    scene.move(again=True)
    assert scene.stand() is Stand.TARGET
    with store.read() as tx:
        assert tx.facts.get("since") == "it ran"
    store.close()


def _interrupted(*_: object) -> None:
    raise Interrupted


def test_a_hub_with_another_log_is_not_taken_for_the_target(scene: Scene, tmp_path: Path) -> None:
    """Named by the same address, as after somebody has made a new hub there."""
    with pytest.raises(Interrupted):
        scene.move(stop_at="finishing 0")
    other = Store.begin(scene.url, b"")
    other.finish(str(scene.config.federation))
    other.close()
    with pytest.raises(AlreadyExists):
        scene.move(again=True)
    assert load_config(scene.file).embedded


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


def test_an_authority_that_was_adopted_issues_in_the_new_place(tmp_path: Path) -> None:
    """Its key is nowhere but in the vault, and comes along; the folder has that of the one before."""
    with office(tmp_path) as hub:
        config, clock, file = hub.config, hub.clock, hub.config.data / "hub.toml"
        clock.advance(seconds=1)
        root = load_root(config.data / "authority/root")
        adopted = create_issuing(root, config.federation, clock.now())
        with hub.store.write() as tx:
            adopt(tx, vault(config, hub.store), adopted, clock.now())
        hub.tick()
    with unsafe():
        move = Move(config, new_database())
        move_store(move, file, clock.now(), lambda what, reached, total: None)
        # A replica elsewhere has the settings and the database's key, and nothing else.
        elsewhere = tmp_path / "elsewhere"
        (elsewhere / "keys").mkdir(parents=True, mode=0o700)
        for name in ("hub.toml", "keys/database.key"):
            shutil.move(config.data / name, elsewhere / name)
        shutil.rmtree(config.data)
        config = load_config(elsewhere / "hub.toml")
        store = open_store(config)
        open_keys(config, store, clock.now())
        store.close()
        with opened(config, clock) as hub:
            assert hub.keys.authority.certificate == adopted.certificate
            newcomer = hub.newcomer("zulu")
            chain = hub.enrolment.enrol(hub.request(newcomer, hub.invite(newcomer)), clock.now())
            issued_by = verify_peer(chain, [root.certificate], clock.now()).authorities
            assert adopted.certificate.serial_number in issued_by


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
