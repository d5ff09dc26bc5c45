"""A database that went back: what its journal knows is done again, what nobody knows is not done twice."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from candor_node import (
    backup,
    epochs,
    filings,
    journal_files,
    ledger,
    lifecycle,
    mail_store,
    publisher,
    record_seals,
    rollback,
    users,
)
from candor_node.founding import MIGRATIONS
from candor_node.journal import Journals
from candor_node.journal_files import Place
from candor_node.number_floors import EPOCH, SEQUENCE, floor
from candor_node.publisher import Settings
from candor_node.restore import Restored, restore
from candor_node.rollback import Cause, Tail
from candor_node.store import Database, Store
from candor_node.tlog import log_store, watching
from candor_proto.errors import AlreadyExists, StaleEpoch, StoreUnusable, UnknownObject, WentBack
from candor_proto.ids import FederationName, LookupId, NodeId
from candor_proto.statements import AnswerStatus
from candor_records.life import Act
from candor_records.records import Record
from candor_records.roles import ALL_ROLES, Actor, Role
from tests.desk import desk_store, doing, filed
from tests.recalls import Couple
from tests.records import NODE, NOW, STORE_KEY

LATER = NOW + timedelta(minutes=3)
RESTORED = NOW + timedelta(hours=1)
SETTINGS = Settings(FederationName("test.candor.example"), NODE)
ADMINISTRATOR = Actor("admin", ALL_ROLES)


class Clock:
    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment


class Office:
    """A node's store with a journal beside it and one in its backup folder, that loses its database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backup = folder / "backup"
        self.clock = Clock()
        self.store = desk_store(folder)
        self.journals = Journals(self.store, self.clock, [folder / "journal", self.backup])
        self.backup.mkdir()
        self.ship()

    def ship(self, *, closed: bool = False) -> None:
        asyncio.run(self.journals.ship(closed=closed))

    def back_up(self) -> None:
        backup.write(self.store, NODE, self.backup, self.clock.moment)
        self.clock.moment += timedelta(minutes=1)

    def do(self, work: Callable[[Database], Any]) -> Any:
        return self.store.run_sync(work)

    def lose(self, journals: Sequence[Path] = ()) -> tuple[Restored, Store]:
        """The machine burns, but for `journals`; the database comes back from the backup folder."""
        self.store.close()
        to = self.folder / "restored" / "node.db"
        restored = restore(self.backup, to, STORE_KEY, RESTORED, journals=journals)
        self.store = Store.open(to, STORE_KEY, MIGRATIONS)
        return restored, self.store


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.store.close()


def _lines(store: Store) -> list[tuple[str, str]]:
    found = store.run_sync(rollback.newest)
    assert found is not None
    return [(line.event, line.healed) for line in store.run_sync(lambda db: rollback.acts(db, found.number))]


def _act(office: Office, record: Record, act: Act, **changes: object) -> None:
    from dataclasses import replace

    now = replace(record.circumstances, **changes) if changes else None  # type: ignore[arg-type]
    office.do(lambda db: lifecycle.change(db, record.dcn, act, doing(LATER, second="chief-2"), now))


# --- the ledger ---------------------------------------------------------------------------------------------


def test_what_the_journal_knows_of_the_ledger_is_put_back_entry_by_entry(office: Office) -> None:
    filed(office.store)
    office.back_up()
    filed(office.store, agency_record_id="IA-2")
    head = office.do(ledger.head)
    office.ship()
    restored, store = office.lose()
    assert restored.rollback.put_back == 1
    assert store.run_sync(lambda db: ledger.holds(db, *head))
    assert store.run_sync(ledger.verify) == restored.ledger_entries
    entries = store.run_sync(lambda db: ledger.entries(db, event=ledger.WENT_BACK))
    assert [(one.number, one.details["after"], one.details["put_back"]) for one in entries] == [
        (1_000_000, head[0], 1)
    ]


def test_a_number_of_the_ledger_that_nobody_kept_is_not_used_again(office: Office) -> None:
    filed(office.store)
    office.back_up()
    filed(office.store, agency_record_id="IA-2")
    lost = office.do(ledger.head)[0]
    _, store = office.lose()
    numbers = {
        row[0] for row in store.run_sync(lambda db: db.execute("SELECT number FROM ledger").fetchall())
    }
    assert lost not in numbers
    assert min(number for number in numbers if number > lost) == 1_000_000


def test_numbers_missing_elsewhere_than_where_it_went_back_are_an_alteration(office: Office) -> None:
    filed(office.store)
    office.do(lambda db: ledger.begin_anew(db, NOW, 0, {}, {}))
    assert office.do(ledger.verify) == 2
    office.do(lambda db: ledger.begin_anew(db, NOW, 5_000_000, {}, {}))
    assert [entry.number for entry in office.do(ledger.entries)][1:] == [1_000_000, 6_000_000]
    office.do(lambda db: db.execute("DROP TRIGGER ledger_keeps"))
    office.do(lambda db: db.execute("DELETE FROM ledger WHERE number = 1"))
    with pytest.raises(StoreUnusable, match="entry 1 is missing"):
        office.do(ledger.verify)


# --- what is done again -------------------------------------------------------------------------------------


def test_an_expungement_that_only_the_journal_knows_is_done_again(office: Office) -> None:
    """The keys in the folder could not be renewed any more, and would still open the record."""
    record = filed(office.store)
    office.back_up()
    office.do(lambda db: lifecycle.expunge(db, record.dcn, doing(LATER, second="chief-2")))
    office.ship()
    _, store = office.lose()
    assert store.run_sync(lambda db: record_seals.find_key(db, record.record_id)) is None
    assert store.run_sync(filings.sealed_current) == []
    assert _lines(store) == [("record.expunge", "Destroyed again; whoever had received it is told again.")]


@pytest.mark.parametrize("act", ["void", "correct", "seal", "dispute"])
def test_a_record_that_was_acted_on_since_matches_nobody_until_a_person_has_looked(
    office: Office, act: str
) -> None:
    record = filed(office.store)
    assert office.do(lambda db: len(filings.sealed_current(db, matchable=True))) == 1
    office.back_up()
    if act == "void":
        office.do(lambda db: lifecycle.void(db, record.dcn, doing(LATER, second="chief-2")))
    elif act == "correct":
        from dataclasses import replace

        content = replace(record.content, narrative="Put right.")
        office.do(lambda db: lifecycle.correct(db, record.dcn, content, doing(LATER)))
    elif act == "seal":
        _act(office, record, Act.SEAL, sealed_by_order=True)
    else:
        _act(office, record, Act.STATEMENT, subject_statement="It was otherwise.")
    office.ship()
    _, store = office.lose()
    assert store.run_sync(lambda db: filings.sealed_current(db, matchable=True)) == []
    held = store.run_sync(lambda db: filings.find_current(db, record.record_id))
    assert not held.circumstances.reviewed
    ((event, healed),) = _lines(store)
    assert event.startswith("record.")
    assert "do it again, then `candor-node records review`" in healed


def test_what_was_released_of_it_before_and_has_not_left_stays_here(tmp_path: Path) -> None:
    """The response is as the record was when it lay in the outbox of the backup."""
    couple = Couple(tmp_path)
    store, now = couple.bravo.store, couple.clock.now()
    dcn, other = couple.file(), couple.file(agency_record_id="IA-2")
    couple.release(dcn)
    kept = couple.release(other)
    number, digest = store.run_sync(ledger.head)
    refs, details = {"dcn": str(dcn), "user": "chief"}, {"act": Act.VOID.name}
    entry = ledger.Raw(number + 1, 0, "record.void", json.dumps(refs), json.dumps(details), digest)
    store.run_sync(lambda db: rollback.heal(db, now, Cause.RESTORED, Tail(rows=(entry,))))
    left = [envelope.envelope_id for envelope in couple.take(couple.bravo)]
    assert left == [kept.request_id.value]
    couple.close()


def test_a_report_that_is_lost_is_said_with_its_control_number(office: Office) -> None:
    filed(office.store)
    office.back_up()
    lost = filed(office.store, agency_record_id="IA-2")
    office.do(lambda db: lifecycle.void(db, lost.dcn, doing(LATER, second="chief-2")))
    office.ship()
    _, store = office.lose()
    found = store.run_sync(rollback.newest)
    assert found is not None
    lines = store.run_sync(lambda db: rollback.acts(db, found.number))
    assert [(line.about == str(lost.dcn), line.healed[:19]) for line in lines] == [
        (True, "This report is lost"),
        (False, "Lost, with the reco"),
    ]


def test_a_user_who_was_disabled_or_had_a_new_token_does_not_come_back_as_before(office: Office) -> None:
    def add(db: Database, name: str, role: Role) -> None:
        new = users.NewUser(name, frozenset({role}))
        users.add(db, NOW, ADMINISTRATOR, new)

    for name, role in (("admin-1", Role.ADMINISTRATOR), ("clerk-1", Role.CLERK), ("clerk-2", Role.CLERK)):
        office.do(partial(add, name=name, role=role))
    office.back_up()
    office.do(lambda db: users.disable(db, LATER, ADMINISTRATOR, "clerk-1"))
    office.do(lambda db: users.renew_token(db, LATER, ADMINISTRATOR, "clerk-2"))
    office.ship()
    _, store = office.lose()
    found = [store.run_sync(partial(users.find, user_id=name)) for name in ("clerk-1", "clerk-2")]
    assert [user.state(RESTORED) for user in found] == ["disabled", "locked"]


# --- what is not done twice ---------------------------------------------------------------------------------


def test_heads_and_epochs_go_on_above_everything_that_was_perhaps_signed(office: Office) -> None:
    filed(office.store)
    office.do(lambda db: publisher.build_tick(db, NOW, SETTINGS))
    office.back_up()
    for _ in range(3):
        office.do(lambda db: publisher.build_tick(db, LATER, SETTINGS, rotate=True))
    _, store = office.lose()
    store.run_sync(lambda db: rollback.confirm(db, RESTORED, "chief"))
    made = store.run_sync(lambda db: publisher.build_tick(db, RESTORED, SETTINGS))
    assert (made.head.sequence, made.head.epoch) == (1_000_000, 1_000)
    again = store.run_sync(lambda db: publisher.refresh_head(db, RESTORED))
    assert again.head.sequence == 1_000_001
    assert store.run_sync(lambda db: (floor(db, SEQUENCE), floor(db, EPOCH))) == (999_999, 999)


def test_no_lookup_is_answered_under_an_epoch_of_before(office: Office) -> None:
    epoch = office.do(lambda db: epochs.rotate(db, NOW))
    office.back_up()
    _, store = office.lose()
    with pytest.raises(StaleEpoch):
        store.run_sync(lambda db: epochs.usable(db, epoch.number, RESTORED))
    assert store.run_sync(lambda db: db.execute("SELECT count(*) FROM epoch_seeds").fetchone()) == (0,)


def test_a_lookup_that_the_journal_knows_as_answered_is_a_replay_and_its_elements_stay_used(
    office: Office,
) -> None:
    asker, lookup_id = NodeId("bravo"), LookupId(bytes(range(16)))
    office.back_up()
    office.do(
        lambda db: ledger.append(
            db,
            LATER,
            "lookup.answered",
            {"lookup_id": str(lookup_id), "asker": str(asker)},
            {"elements": 40, "status": AnswerStatus.EVALUATED.name},
        )
    )
    office.ship()
    _, store = office.lose()
    with pytest.raises(Exception, match="was seen before"):
        store.run_sync(lambda db: mail_store.check_new(db, asker, lookup_id))
    assert [use.match for use in store.run_sync(lambda db: mail_store.quota_uses(db, asker))] == [40]
    assert _lines(store) == []


def test_a_heartbeat_denies_no_lookup_that_came_before_it_went_back(office: Office) -> None:
    """A bit that is wrongly 0 would be evidence against the hub (§17.1)."""
    before, since = bytes([1]) * 32, bytes([2]) * 32
    office.do(lambda db: watching.read_commitments(db, NOW, 1, 7, [before], request=True))
    office.back_up()
    _, store = office.lose()
    store.run_sync(lambda db: watching.read_commitments(db, RESTORED, 1, 9, [since], request=True))
    flags, _ = store.run_sync(lambda db: watching.received_flags(db, 1, 0, 10, 100))
    assert flags == [True, True]
    store.run_sync(lambda db: log_store.caught_up(db, RESTORED + timedelta(seconds=1)))
    store.run_sync(lambda db: watching.read_commitments(db, RESTORED, 1, 11, [bytes(32)], request=True))
    flags, _ = store.run_sync(lambda db: watching.received_flags(db, 1, 10, 12, 100))
    assert flags == [False]


# --- until a person has looked ------------------------------------------------------------------------------


def test_nothing_is_shared_until_a_person_has_confirmed_what_was_lost(office: Office) -> None:
    filed(office.store)
    office.back_up()
    _, store = office.lose()
    with pytest.raises(WentBack, match="a backup was restored"):
        store.run_sync(rollback.check_sharing)
    store.run_sync(lambda db: rollback.confirm(db, RESTORED, "chief"))
    store.run_sync(rollback.check_sharing)
    with pytest.raises(AlreadyExists):
        store.run_sync(lambda db: rollback.confirm(db, RESTORED, "chief"))
    (entry,) = store.run_sync(lambda db: ledger.entries(db, event="store.rollback_confirmed"))
    assert entry.details["by"] == "chief"


@pytest.mark.parametrize("beside", ["there", "lost", "went on", "damaged", "begun"])
def test_a_node_that_ended_in_order_after_its_last_backup_has_lost_nothing(
    office: Office, beside: str
) -> None:
    """As far as both journals say so: the folder may have been away when the node went on."""
    filed(office.store)
    office.back_up()
    filed(office.store, agency_record_id="IA-2")
    office.back_up()
    office.ship(closed=True)
    own = office.folder / "journal"
    if beside == "went on":
        away = Journals(office.store, office.clock, [own])
        office.clock.moment += timedelta(minutes=1)
        filed(office.store, agency_record_id="IA-3")
        asyncio.run(away.ship())
    elif beside in ("damaged", "begun"):
        office.clock.moment += timedelta(minutes=1)
        asyncio.run(Journals(office.store, office.clock, [own]).ship())
        newest = sorted(own.iterdir())[-1]
        newest.write_bytes(newest.read_bytes()[: 32 if beside == "begun" else -1])
    restored, store = office.lose(() if beside == "lost" else (own,))
    assert (restored.rollback.confirmed_by == rollback.BY_ITSELF) is (beside == "there")
    if beside != "there":
        with pytest.raises(WentBack):
            store.run_sync(rollback.check_sharing)


def test_a_journal_that_is_closed_and_whose_acts_are_not_all_here_opens_nothing(office: Office) -> None:
    """The records that it speaks of are lost: a person has to hear of it."""
    office.back_up()
    filed(office.store, agency_record_id="IA-2")
    office.ship(closed=True)
    _, store = office.lose()
    with pytest.raises(WentBack):
        store.run_sync(rollback.check_sharing)


def test_a_database_that_never_went_back_has_nothing_to_confirm(office: Office) -> None:
    with pytest.raises(UnknownObject):
        office.do(lambda db: rollback.confirm(db, NOW, "chief"))
    assert office.do(rollback.newest) is None


# --- noticed without the command ----------------------------------------------------------------------------


def _revert(office: Office, state: bytes) -> None:
    office.store.close()
    office.store.path.write_bytes(state)
    office.store = Store.open(office.store.path, STORE_KEY, MIGRATIONS)
    office.journals = Journals(office.store, office.clock, [office.folder / "journal", office.backup])


def _state(office: Office) -> bytes:
    """As a snapshot of the disk has it."""
    office.store.checkpoint()
    return office.store.path.read_bytes()


@pytest.mark.parametrize("which", ["beside", "folder"])
def test_a_file_that_was_copied_back_is_noticed_by_the_journal_and_healed(office: Office, which: str) -> None:
    record = filed(office.store)
    office.ship()
    state = _state(office)
    office.do(lambda db: lifecycle.void(db, record.dcn, doing(LATER, second="chief-2")))
    office.ship()
    gone = office.folder / "journal" if which == "folder" else office.backup
    for path in gone.glob("journal-*"):
        path.unlink()
    _revert(office, state)
    office.clock.moment = RESTORED
    found = asyncio.run(office.journals.look_back())
    assert found is not None
    assert found.cause == Cause.JOURNAL.value
    assert found.put_back == 1
    assert office.do(lambda db: filings.sealed_current(db, matchable=True)) == []
    # Once is enough: what was healed is known.
    asyncio.run(office.journals.ship())
    assert asyncio.run(office.journals.look_back()) is None


def test_a_clock_that_was_ahead_once_hides_nothing_that_came_after_it(office: Office) -> None:
    office.clock.moment = NOW + timedelta(days=365)
    filed(office.store)
    office.ship()
    state = _state(office)
    office.clock.moment = LATER
    filed(office.store, agency_record_id="IA-2")
    office.ship()
    _revert(office, state)
    found = asyncio.run(office.journals.look_back())
    assert found is not None
    assert found.put_back == 1


def test_it_may_go_back_twice(office: Office) -> None:
    filed(office.store)
    office.ship()
    state = _state(office)
    for number in (2, 3):
        filed(office.store, agency_record_id=f"IA-{number}")
        office.ship()
        _revert(office, state)
        office.clock.moment += timedelta(hours=1)
        assert asyncio.run(office.journals.look_back()) is not None
        office.ship()
    assert office.do(ledger.verify) > 3
    heads = [entry.number for entry in office.do(lambda db: ledger.entries(db, event=ledger.WENT_BACK))]
    assert heads == [1_000_000, 2_000_000]
    assert office.do(lambda db: floor(db, SEQUENCE)) == 999_999


def test_a_start_after_an_ordinary_end_or_crash_is_none(office: Office) -> None:
    filed(office.store)
    office.ship()
    filed(office.store, agency_record_id="IA-2")
    assert asyncio.run(office.journals.look_back()) is None
    office.journals = Journals(office.store, office.clock, [office.folder / "journal", office.backup])
    assert asyncio.run(office.journals.look_back()) is None
    office.ship()
    assert asyncio.run(office.journals.look_back()) is None


# --- the journal itself -------------------------------------------------------------------------------------


def test_the_journal_is_sealed_and_names_nobody(office: Office) -> None:
    record = filed(office.store, last="Placeholderson")
    office.ship()
    octets = b"".join(path.read_bytes() for path in office.backup.glob("journal-*"))
    for needle in (b"Placeholderson", str(record.dcn).encode(), b"record.filed", STORE_KEY):
        assert needle not in octets
    frames = list(Place(office.backup, STORE_KEY).frames_backwards())
    assert any(row.event == "record.filed" for frame in frames for row in frame.rows)
    assert list(Place(office.backup, bytes(32)).frames_backwards()) == []


def test_half_a_frame_is_cut_off_and_the_next_one_is_read(office: Office) -> None:
    filed(office.store)
    office.ship()
    (path,) = office.backup.glob("journal-*")
    with path.open("ab") as file:
        file.write(b"\0\0\1\0half")
    before = len(list(Place(office.backup, STORE_KEY).frames_backwards()))
    filed(office.store, agency_record_id="IA-2")
    office.ship()
    assert len(list(Place(office.backup, STORE_KEY).frames_backwards())) == before + 1


def test_nothing_is_written_through_a_link_in_a_journals_place(office: Office) -> None:
    """It would be cut to the journal's length, whatever it leads to."""
    filed(office.store)
    office.ship()
    (path,) = office.backup.glob("journal-*")
    victim = office.folder / "victim"
    victim.write_bytes(bytes(1 << 16))
    path.unlink()
    path.symlink_to(victim)
    filed(office.store, agency_record_id="IA-2")
    office.ship()
    assert victim.read_bytes() == bytes(1 << 16)
    assert office.journals.behind_since() == office.clock.moment


def test_an_altered_frame_ends_what_is_read_of_its_file(office: Office) -> None:
    for number in range(3):
        filed(office.store, agency_record_id=f"IA-{number}")
        office.ship()
    (path,) = office.backup.glob("journal-*")
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    frames = list(Place(office.backup, STORE_KEY).frames_backwards())
    assert 0 < len(frames) < 4


def test_a_journal_whose_disk_is_away_is_said_and_made_up_for(office: Office) -> None:
    filed(office.store)
    office.ship()
    away = office.backup.rename(office.folder / "away")
    office.backup.write_text("no folder", "utf-8")
    filed(office.store, agency_record_id="IA-2")
    office.ship()
    assert office.journals.behind_since() == office.clock.moment
    assert not office.do(lambda db: rollback.missing(db, office.journals.places)).behind
    office.backup.unlink()
    away.rename(office.backup)
    office.clock.moment += timedelta(minutes=5)
    office.ship()
    assert office.journals.behind_since() is None
    newest = journal_files.newest([Place(office.backup, STORE_KEY)])
    assert newest is not None
    assert newest.ledger == office.do(ledger.head)


def test_old_journals_are_deleted_and_new_ones_begun(office: Office) -> None:
    for hours in (0, 2, 20, 60):
        office.clock.moment = NOW + timedelta(hours=hours)
        filed(office.store, agency_record_id=f"IA-{hours}")
        office.ship()
    names = sorted(path.name for path in office.backup.glob("journal-*"))
    assert len(names) == 2
    assert all(os.stat(office.backup / name).st_mode & 0o777 == 0o600 for name in names)


def test_healing_undoes_itself_as_a_whole(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    filed(office.store)
    before = office.do(ledger.head)

    def fails(*arguments: object) -> None:
        raise StoreUnusable("The disk is full.")

    monkeypatch.setattr(rollback, "_keep_acts", fails)
    with pytest.raises(StoreUnusable):
        office.do(lambda db: rollback.heal(db, RESTORED, Cause.LOG, Tail()))
    assert office.do(ledger.head) == before
    assert office.do(rollback.newest) is None
