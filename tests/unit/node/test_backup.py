"""Backups in two parts, and what can be found in them: with the key, page by page."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from candor_backup import folders
from candor_node import backup, backup_drill, epochs, filings, ledger, lifecycle, record_seals
from candor_node.founding import MIGRATIONS
from candor_node.restore import Restored, restore
from candor_node.store import Store
from candor_node.tlog import log_store, witness_store
from candor_proto.errors import AlreadyExists, InputInvalid, SealedDataInvalid, StoreUnusable
from candor_records.records import Record
from tests.desk import desk_store, doing, filed
from tests.pages import found_in, keys_that_open, pages
from tests.records import NODE, NOW, STORE_KEY

NAME = b"Placeholderson"
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def whole_backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, two files of changes and keys."""
    folder = tmp_path_factory.mktemp("whole")
    with desk_store(folder) as made:
        filed(made)
        backup.write(made, NODE, folder / "backup", NOW)
        filed(made, agency_record_id="IA-2")
        backup.write(made, NODE, folder / "backup", LATER)
    return folder / "backup"


def _key(store: Store, record: Record) -> bytes:
    return store.run_sync(lambda db: record_seals.key_of(db, record.record_id))


def _sealed(store: Store, record: Record) -> tuple[bytes, bytes]:
    """A version as it is sealed, and what it is bound to."""
    sql, values = "SELECT sealed FROM records WHERE dcn = ?", [str(record.dcn)]
    found: bytes = store.run_sync(lambda db: db.execute(sql, values).fetchone()[0])
    return found, filings._associated(record.record_id, str(record.dcn), record.version)


def _expunge(store: Store, record: Record, now: datetime = NOW) -> None:
    store.run_sync(lambda db: lifecycle.expunge(db, record.dcn, doing(now, second="chief-2")))
    store.checkpoint()


def _write(store: Store, folder: Path, now: datetime = NOW) -> backup.Written:
    return backup.write(store, NODE, folder, now)


def _restore(folder: Path, tmp_path: Path, now: datetime = NOW) -> tuple[Restored, Store]:
    restored = restore(folder, tmp_path / "restored" / "node.db", STORE_KEY, now)
    return restored, Store.open(tmp_path / "restored" / "node.db", STORE_KEY, MIGRATIONS)


def test_a_backup_restores_to_the_same_records_ledger_and_numbers(store: Store, tmp_path: Path) -> None:
    one, other = filed(store), filed(store, agency_record_id="IA-2")
    store.run_sync(lambda db: epochs.rotate(db, NOW))
    written = _write(store, tmp_path / "backup")
    assert (written.filings, written.keys_held) == (2, 3)
    restored, again = _restore(tmp_path / "backup", tmp_path)
    assert (restored.records, restored.versions, restored.destroyed) == (2, 2, 0)
    with again:
        for record in (one, other):
            assert again.run_sync(partial(filings.find, dcn=record.dcn)) == record
        # Behind what was there: that it went back, the end of its epoch, that it was restored.
        assert again.run_sync(ledger.verify) == store.run_sync(ledger.verify) + 3
        assert again.run_sync(ledger.head)[0] == 1_000_002
        # A number of the history is not given twice, and the rules of the tables came along.
        filed(again, agency_record_id="IA-3")
        numbers = again.run_sync(lambda db: list(db.execute("SELECT number FROM record_events ORDER BY 1")))
        assert numbers == [(1,), (2,), (3,)]
        with pytest.raises(Exception, match="append-only"):
            again.run_sync(lambda db: db.execute("DELETE FROM record_events"))


def test_the_part_with_the_records_holds_no_key_on_any_page(store: Store, tmp_path: Path) -> None:
    record = filed(store)
    epoch = store.run_sync(lambda db: epochs.rotate(db, NOW))
    written = _write(store, tmp_path / "backup")
    in_records, in_keys = pages(written.records, STORE_KEY), pages(written.keys, STORE_KEY)
    sealed, bound = _sealed(store, record)
    assert found_in(in_records, [sealed])
    assert found_in(in_records, [_key(store, record), epoch.seed, NAME]) == []
    assert keys_that_open(in_records, sealed, bound) == set()
    assert keys_that_open(in_keys, sealed, bound) == {_key(store, record)}
    assert found_in(in_keys, [str(record.dcn).encode(), sealed, NAME]) == []


def test_both_parts_are_encrypted_and_readable_for_their_owner_only(store: Store, tmp_path: Path) -> None:
    record = filed(store)
    written = _write(store, tmp_path / "backup")
    for path in (written.records, written.keys):
        assert path.stat().st_mode & 0o777 == 0o600
        raw = path.read_bytes()
        assert _key(store, record) not in raw
        assert str(record.dcn).encode() not in raw
        assert b"SQLite format" not in raw


def test_a_link_in_the_folder_is_deleted_and_what_it_leads_to_is_left_as_it_is(
    store: Store, tmp_path: Path
) -> None:
    """Whoever looks after the other machine may write into the folder, and into nothing else."""
    filed(store)
    folder = tmp_path / "backup"
    _write(store, folder)
    link = folder / "keys-20200101T000000000000Z.db"
    link.symlink_to(store.path)
    filed(store, agency_record_id="IA-2")
    _write(store, folder, LATER)
    assert not link.is_symlink()
    backup.check_whole(store.path, STORE_KEY)


def test_a_part_that_became_a_link_meanwhile_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    begun = folders.begin(tmp_path / "records-20260302T120000000000Z.db")
    begun.unlink()
    begun.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        folders.open_begun(begun)
    assert folders.begin(tmp_path / "records-20260302T120000000000Z.db") == begun
    assert not begun.is_symlink()
    assert victim.read_bytes() == b"precious"


def test_a_clock_that_was_ahead_once_neither_hides_later_states_nor_makes_each_a_whole_one(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    _write(store, folder, NOW + timedelta(days=365))
    kept = []
    for minute in range(3):
        kept.append(filed(store, agency_record_id=f"IA-{minute}"))
        written = _write(store, folder, NOW + timedelta(minutes=5 * minute))
        assert not written.whole
    assert _write(store, folder, NOW + timedelta(hours=1)).keys == written.keys
    restored, again = _restore(folder, tmp_path, NOW + timedelta(hours=2))
    with again:
        assert restored.records == len(kept)


def test_what_a_drill_that_was_killed_has_left_is_deleted_and_one_that_lives_is_not(tmp_path: Path) -> None:
    """Its database holds every key of the backup, also of what is forgotten here since."""
    place = tmp_path / "drill-00000000"
    living = backup_drill._hold(place)
    (place / "node.db.restoring").write_bytes(b"keys")
    assert backup_drill.clear_left(tmp_path) == 0
    assert (place / "node.db.restoring").read_bytes() == b"keys"
    os.close(living)
    assert backup_drill.clear_left(tmp_path) == 1
    assert not place.exists()


def test_a_drill_leaves_nothing(store: Store, tmp_path: Path) -> None:
    filed(store)
    _write(store, tmp_path / "backup")
    scratch = tmp_path / "scratch"
    found = backup_drill.drill(tmp_path / "backup", scratch, STORE_KEY, NOW)
    assert found.restored.records == 1
    assert list(scratch.iterdir()) == []


def test_what_was_expunged_is_nowhere_here_nor_in_a_backup_restored_beside_it(
    store: Store, tmp_path: Path
) -> None:
    record = filed(store)
    filed(store, agency_record_id="IA-2", last="Dunmarsh")
    key, (sealed, bound) = _key(store, record), _sealed(store, record)
    _write(store, tmp_path / "backup")
    _expunge(store, record)
    assert store.run_sync(backup.unreachable) == [str(tmp_path / "backup")]
    assert backup.tidy(store, NODE, LATER) == 1
    assert store.run_sync(backup.unreachable) == []
    restored, again = _restore(tmp_path / "backup", tmp_path, LATER)
    again.close()
    assert (restored.records, restored.destroyed) == (1, 1)
    everything = [
        page for path in (*tmp_path.glob("*.db"), *tmp_path.glob("*/*.db")) for page in pages(path, STORE_KEY)
    ]
    assert found_in(everything, [key, NAME]) == []
    assert keys_that_open(everything, sealed, bound) == set()
    # The words of a version that was destroyed lie in the old backup; nothing opens them.
    beside = [page for page in everything if page.file.startswith(("node", "keys"))]
    assert found_in(beside, [sealed]) == []


def test_restoring_an_old_backup_does_not_bring_back_what_was_expunged_since(
    store: Store, tmp_path: Path
) -> None:
    record = filed(store)
    _write(store, tmp_path / "backup")
    _expunge(store, record)
    backup.tidy(store, NODE, LATER)
    _, again = _restore(tmp_path / "backup", tmp_path, LATER)
    with again:
        columns = "standing, matchable, adjudication_status"
        heads = again.run_sync(lambda db: list(db.execute(f"SELECT {columns} FROM record_heads")))
        assert heads == [("EXPUNGED", 0, "EXPUNGED")]
        assert again.run_sync(filings.sealed_current) == []


def test_a_second_backup_holds_what_changed_and_deletes_the_older_keys(store: Store, tmp_path: Path) -> None:
    filed(store)
    first = _write(store, tmp_path / "backup")
    one = filed(store, agency_record_id="IA-2")
    second = _write(store, tmp_path / "backup", LATER)
    assert (first.whole, second.whole) == (True, False)
    assert 0 < second.changed < second.pages
    changes = first.records.with_suffix(".delta")
    assert sorted(tmp_path.glob("backup/*")) == sorted([first.records, changes, second.records, second.keys])
    restored, again = _restore(tmp_path / "backup", tmp_path, LATER)
    with again:
        assert restored.records == 2
        assert again.run_sync(partial(filings.find, dcn=one.dcn)) == one


def test_keys_that_did_not_change_are_not_written_again_until_their_time_runs(
    store: Store, tmp_path: Path
) -> None:
    filed(store)
    first = _write(store, tmp_path / "backup")
    assert _write(store, tmp_path / "backup", LATER).keys == first.keys
    assert _write(store, tmp_path / "backup", NOW + timedelta(days=3)).keys != first.keys


def test_what_is_kept_and_for_how_long(store: Store, tmp_path: Path) -> None:
    """A new base after a week, and the generation before goes when all of it is older than is kept."""
    filed(store)
    first = _write(store, tmp_path / "backup")
    _write(store, tmp_path / "backup", NOW + timedelta(days=6))
    second = _write(store, tmp_path / "backup", NOW + timedelta(days=7))
    assert second.whole
    assert first.records.exists()
    _write(store, tmp_path / "backup", NOW + timedelta(days=13, hours=1))
    assert not first.records.exists()
    assert len(list(tmp_path.glob("backup/*"))) == 4


def test_keys_that_expired_are_refused_and_deleted(store: Store, tmp_path: Path) -> None:
    filed(store)
    written = _write(store, tmp_path / "backup")
    after = written.expires_at
    with pytest.raises(StoreUnusable, match="expired on 2026-03-09"):
        restore(tmp_path / "backup", tmp_path / "restored" / "node.db", STORE_KEY, after)
    assert not list((tmp_path / "restored").glob("*"))
    backup.tidy(store, NODE, after)
    assert sorted(tmp_path.glob("backup/*")) == [written.records, written.records.with_suffix(".delta")]
    with pytest.raises(InputInvalid, match="no keys"):
        restore(tmp_path / "backup", tmp_path / "restored" / "node.db", STORE_KEY, NOW)


def test_a_restore_writes_over_no_database(store: Store, tmp_path: Path) -> None:
    _write(store, tmp_path / "backup")
    before = store.path.read_bytes()
    with pytest.raises(AlreadyExists):
        restore(tmp_path / "backup", store.path, STORE_KEY, NOW)
    assert store.path.read_bytes() == before


def test_a_restore_refuses_keys_of_another_database(store: Store, tmp_path: Path) -> None:
    filed(store)
    one = _write(store, tmp_path / "one")
    (tmp_path / "second").mkdir()
    with desk_store(tmp_path / "second") as second:
        other = _write(second, tmp_path / "other", LATER)
    one.keys.unlink()
    other.keys.rename(tmp_path / "one" / other.keys.name)
    with pytest.raises(StoreUnusable, match="of another database"):
        restore(tmp_path / "one", tmp_path / "restored" / "node.db", STORE_KEY, LATER)
    assert not list((tmp_path / "restored").glob("*"))


def test_a_restore_refuses_keys_that_are_older_than_the_records(store: Store, tmp_path: Path) -> None:
    """Else every record that was filed since would count as destroyed, and its holders be told so."""
    filed(store)
    first = _write(store, tmp_path / "backup")
    kept = first.keys.read_bytes()
    filed(store, agency_record_id="IA-2")
    second = _write(store, tmp_path / "backup", LATER)
    second.keys.unlink()
    first.keys.write_bytes(kept)
    with pytest.raises(StoreUnusable, match="older than its records"):
        restore(tmp_path / "backup", tmp_path / "restored" / "node.db", STORE_KEY, LATER)


def test_newer_keys_go_with_an_older_state_and_bring_back_nothing(store: Store, tmp_path: Path) -> None:
    """The newest changes are lost: the state before them is restored, and says what is missing."""
    record = filed(store)
    _write(store, tmp_path / "backup")
    kept = filed(store, agency_record_id="IA-2", last="Dunmarsh")
    _write(store, tmp_path / "backup", LATER)
    filed(store, agency_record_id="IA-3", last="Bexley")
    _expunge(store, record, LATER)
    last = _write(store, tmp_path / "backup", LATER + timedelta(hours=1))
    with last.records.open("r+b") as file:
        file.truncate(5_000)
    restored, again = _restore(tmp_path / "backup", tmp_path, LATER)
    with again:
        assert (restored.written_at, restored.records, restored.destroyed) == (LATER, 1, 1)
        assert last.records.name in restored.lost[0]
        assert [sealed.open() for sealed in again.run_sync(filings.sealed_current)] == [kept]


def test_a_state_between_is_restored_when_it_is_asked_for(store: Store, tmp_path: Path) -> None:
    filed(store)
    _write(store, tmp_path / "backup")
    filed(store, agency_record_id="IA-2")
    _write(store, tmp_path / "backup", LATER)
    to = tmp_path / "restored" / "node.db"
    restored = restore(tmp_path / "backup", to, STORE_KEY, LATER, until=LATER - timedelta(seconds=1))
    assert (restored.written_at, restored.records) == (NOW, 1)


@pytest.mark.parametrize("place", ["beginning", "middle", "end"])
@pytest.mark.parametrize("which", ["base", "first", "last", "keys"])
def test_one_flipped_octet_anywhere_is_found_and_nothing_is_restored(
    whole_backup: Path, tmp_path: Path, which: str, place: str
) -> None:
    folder = shutil.copytree(whole_backup, tmp_path / "backup")
    changes = sorted(folder.glob("*.delta"))
    file = {
        "base": next(folder.glob("records-*.db")),
        "first": changes[0],
        "last": changes[-1],
        "keys": next(folder.glob("keys-*")),
    }[which]
    octets = bytearray(file.read_bytes())
    octets[{"beginning": 3, "middle": len(octets) // 2, "end": len(octets) - 1}[place]] ^= 1
    file.write_bytes(octets)
    if which == "last":
        # Changes that are damaged leave the state before them, and that is said.
        restored = restore(folder, tmp_path / "restored" / "node.db", STORE_KEY, LATER)
        assert (restored.records, restored.written_at) == (1, NOW)
        assert file.name in restored.lost[0]
        return
    with pytest.raises((StoreUnusable, SealedDataInvalid)):
        restore(folder, tmp_path / "restored" / "node.db", STORE_KEY, LATER)
    assert not list((tmp_path / "restored").glob("*"))


def test_a_restore_with_another_database_key_says_so(store: Store, tmp_path: Path) -> None:
    _write(store, tmp_path / "backup")
    with pytest.raises(SealedDataInvalid, match="another database key"):
        restore(tmp_path / "backup", tmp_path / "restored" / "node.db", bytes(32), NOW)


def test_a_backup_that_fails_leaves_nothing_and_keeps_the_older_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filed(store)
    written = _write(store, tmp_path / "backup")

    def fails(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.glob("backup/*"))
    filed(store, agency_record_id="IA-2")
    for where in ("candor_node.backup_keys._verify", "candor_node.backup.copier.run"):
        with monkeypatch.context() as patched:
            patched.setattr(where, fails)
            with pytest.raises(StoreUnusable, match="No space left"):
                _write(store, tmp_path / "backup", LATER)
        assert sorted(tmp_path.glob("backup/*")) == before
    assert written.records in before
    assert not _write(store, tmp_path / "backup", LATER).whole


def test_a_folder_that_cannot_be_reached_is_said_and_tried_again(store: Store, tmp_path: Path) -> None:
    record = filed(store)
    _write(store, tmp_path / "backup")
    _expunge(store, record)
    (tmp_path / "backup").rename(tmp_path / "unmounted")
    assert backup.tidy(store, NODE, LATER) == 0
    assert store.run_sync(backup.unreachable) == [str(tmp_path / "backup")]
    (tmp_path / "unmounted").rename(tmp_path / "backup")
    assert backup.tidy(store, NODE, LATER) == 1


def test_a_destroyed_key_leaves_the_log_too_once_nobody_reads_it_any_more(
    store: Store, tmp_path: Path
) -> None:
    record = filed(store)
    key = _key(store, record)
    reader = store.reader()
    reader.conn.execute("BEGIN")
    reader.conn.execute("SELECT count(*) FROM records").fetchone()
    store.run_sync(lambda db: lifecycle.expunge(db, record.dcn, doing(second="chief-2")))
    reading = threading.Thread(target=backup.tidy, args=(store, NODE, NOW))
    reading.start()
    reading.join()
    assert found_in(pages(store.path, STORE_KEY), [key])
    reader.conn.execute("COMMIT")
    reader.conn.close()
    backup.tidy(store, NODE, NOW)
    assert found_in(pages(store.path, STORE_KEY), [key]) == []


@pytest.mark.parametrize("days", [0, -1, 91])
def test_keys_live_for_a_time_that_ends(store: Store, tmp_path: Path, days: int) -> None:
    with pytest.raises(InputInvalid, match="between"):
        backup.write(store, NODE, tmp_path / "backup", NOW, timedelta(days=days))


def test_a_restored_node_cosigns_with_no_key_of_the_backup_and_waits_for_the_log(
    store: Store, tmp_path: Path
) -> None:
    """What was cosigned and published since is not known: neither is done a second time in another way."""
    old = store.run_sync(lambda db: witness_store.make_keys(db, "alpha/witness", NOW))
    _write(store, tmp_path / "backup")
    _, again = _restore(tmp_path / "backup", tmp_path, LATER)
    with again:
        assert again.run_sync(witness_store.keys) is None
        made = again.run_sync(lambda db: witness_store.make_keys(db, "alpha/witness", LATER))
        assert made.ed25519_seed != old.ed25519_seed
        held = again.run_sync(witness_store.keys)
        assert held is not None
        assert held.ed25519_seed == made.ed25519_seed
        assert again.run_sync(log_store.restored_at) == LATER
        again.run_sync(lambda db: log_store.caught_up(db, LATER))
        assert again.run_sync(log_store.restored_at) == LATER
        again.run_sync(lambda db: log_store.caught_up(db, LATER + timedelta(seconds=1)))
        assert again.run_sync(log_store.restored_at) is None
