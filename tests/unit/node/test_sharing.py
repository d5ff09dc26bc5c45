"""What tells that a database went back although nobody restored it, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node import backup, epochs, ledger, publisher, rollback
from candor_node.founding import MIGRATIONS
from candor_node.journal import Journals
from candor_node.publisher import Settings
from candor_node.rollback import Cause
from candor_node.sharing import Sharing
from candor_node.store import Store
from candor_node.tlog import log_store, witness_store
from candor_proto.errors import UnknownObject, Unreachable, WentBack
from candor_proto.ids import FederationName
from candor_proto.merkle import CompactRange
from candor_proto.signing import SigningKey
from candor_proto.tlog.checkpoint import Checkpoint
from candor_proto.tlog.entries import Statement, log_origin
from candor_proto.tlog.signatures import LogKeys
from candor_proto.tlog.statements import HEARTBEAT, Heartbeat
from tests.desk import desk_store, filed
from tests.records import NODE, NOW, STORE_KEY
from tests.unit.node.test_rollback import Clock

FEDERATION = FederationName("test.candor.example")
ORIGIN = log_origin(FEDERATION, 1)
KEY = SigningKey.generate()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as made:
        yield made


def _sharing(store: Store, folder: Path | None = None) -> Sharing:
    clock = Clock()
    clock.moment = NOW + timedelta(hours=1)
    places = [store.path.parent / "journal", *([folder] if folder else [])]
    return Sharing(store, NODE, KEY.public, clock, Journals(store, clock, places), folder)


def _heartbeat(number: int, digest: bytes, minutes: int = 30, key: SigningKey = KEY) -> Statement:
    said = Heartbeat(
        FEDERATION, NODE, ORIGIN, 7, 0, 9, b"", 0, 0, number, digest, NOW + timedelta(minutes=minutes)
    )
    signed = key.sign(HEARTBEAT, said.encode())
    return Statement(HEARTBEAT, signed)


def _observe(sharing: Sharing, store: Store, entry: Statement) -> None:
    store.run_sync(lambda db: sharing.observe(db, NOW + timedelta(hours=1), 1, 5, entry.encode(), entry))


def test_a_heartbeat_of_a_ledger_that_is_not_here_says_that_it_went_back(store: Store) -> None:
    filed(store)
    sharing = _sharing(store)
    _observe(sharing, store, _heartbeat(*store.run_sync(ledger.head)))
    assert sharing.is_open()
    _observe(sharing, store, _heartbeat(41, bytes([7]) * 32))
    assert not sharing.is_open()
    found = store.run_sync(rollback.newest)
    assert found is not None
    assert found.cause == Cause.LOG.value
    with pytest.raises(WentBack):
        sharing.check()
    # Said before it was healed, or of the same place: explained. Said after it: another copy says it.
    asyncio.run(sharing.confirm("chief"))
    _observe(sharing, store, _heartbeat(40, bytes([6]) * 32))
    _observe(sharing, store, _heartbeat(41, bytes([7]) * 32, minutes=90))
    assert sharing.is_open()
    _observe(sharing, store, _heartbeat(50, bytes([8]) * 32, minutes=90))
    assert not sharing.is_open()


def test_a_heartbeat_under_a_key_that_the_hub_made_up_closes_nothing(store: Store) -> None:
    """A shard may begin with other keys for this node, as long as no directory in it says so (§14.7)."""
    filed(store)
    epoch = store.run_sync(lambda db: epochs.rotate(db, NOW))
    sharing = _sharing(store)
    _observe(sharing, store, _heartbeat(41, bytes([7]) * 32, key=SigningKey.generate()))
    assert sharing.is_open()
    assert store.run_sync(rollback.newest) is None
    assert store.run_sync(lambda db: epochs.usable(db, epoch.number, NOW)).seed == epoch.seed


def test_what_was_said_after_the_journals_last_word_speaks_against_it(store: Store) -> None:
    """Both journals were put back with the database: the log remembers the day that they do not."""
    until = NOW + timedelta(minutes=10)
    tail = rollback.Tail(known_until=until, last=store.run_sync(ledger.head), closed=True)
    found = store.run_sync(lambda db: rollback.heal(db, NOW + timedelta(hours=1), Cause.RESTORED, tail))
    assert found.confirmed_by == rollback.BY_ITSELF
    sharing = _sharing(store)
    _observe(sharing, store, _heartbeat(41, bytes([7]) * 32, minutes=5))
    assert sharing.is_open()
    _observe(sharing, store, _heartbeat(42, bytes([8]) * 32, minutes=30))
    assert not sharing.is_open()


def test_a_head_that_its_key_signed_and_it_does_not_remember_closes_it(store: Store) -> None:
    sharing = _sharing(store)
    head = store.run_sync(lambda db: publisher.build_tick(db, NOW, Settings(FEDERATION, NODE))).head
    store.run_sync(lambda db: sharing.own_head(db, head))
    assert not sharing.is_open()


@pytest.mark.parametrize("known", [True, False])
def test_a_witness_looks_first_under_which_head_its_signature_is_shown(store: Store, known: bool) -> None:
    log_keys = LogKeys.generate(ORIGIN)
    keys = store.run_sync(lambda db: witness_store.make_keys(db, f"{FEDERATION}/witness/{NODE}", NOW))
    root = CompactRange.EMPTY.extend([bytes(32)]).root()
    signed = log_keys.sign(Checkpoint(ORIGIN, 1, root), NOW)
    signed = signed.with_signatures(keys.cosign(signed.checkpoint, NOW))
    shard = log_store.FollowedShard(1, log_keys.verifier_keys)
    store.run_sync(lambda db: log_store.keep_progress(db, shard))
    if known:
        store.run_sync(lambda db: witness_store.keep(db, signed, NOW))
    sharing = _sharing(store)

    async def get(path: str) -> bytes:
        if path == "1/signed":
            return signed.encode()
        raise UnknownObject("none")

    assert asyncio.run(sharing.may_cosign(get)) is known
    assert sharing.is_open() is known
    assert (store.run_sync(witness_store.keys) is None) is not known


def test_a_hub_that_cannot_be_reached_is_asked_again_before_the_witness_signs(store: Store) -> None:
    log_keys = LogKeys.generate(ORIGIN)
    shard = log_store.FollowedShard(1, log_keys.verifier_keys)
    store.run_sync(lambda db: log_store.keep_progress(db, shard))
    sharing = _sharing(store)

    async def away(path: str) -> bytes:
        raise Unreachable("away")

    async def nothing(path: str) -> bytes:
        raise UnknownObject("none")

    assert not asyncio.run(sharing.may_cosign(away))
    assert asyncio.run(sharing.may_cosign(nothing))


def test_a_backup_of_a_later_state_in_the_folder_is_noticed_at_the_start(
    store: Store, tmp_path: Path
) -> None:
    """The journals are gone: a whole disk was reverted, and the folder is on another one."""
    folder = tmp_path / "backup"
    filed(store)
    backup.write(store, NODE, folder, NOW)
    store.checkpoint()
    state = store.path.read_bytes()
    sharing = _sharing(store, folder)
    asyncio.run(sharing.start())
    assert sharing.is_open()
    filed(store, agency_record_id="IA-2")
    backup.write(store, NODE, folder, NOW + timedelta(minutes=5))
    store.close()
    reverted = tmp_path / "reverted" / "node.db"
    reverted.parent.mkdir()
    reverted.write_bytes(state)
    with Store.open(reverted, STORE_KEY, MIGRATIONS) as again:
        sharing = _sharing(again, folder)
        asyncio.run(sharing.start())
        assert sharing.rollback is not None
        assert sharing.rollback.cause == Cause.BACKUP.value
        # Once is enough.
        asyncio.run(sharing.confirm("chief", old_witness_keys=True))
        asyncio.run(_sharing(again, folder).start())
        assert again.run_sync(rollback.open_one) is None


def test_witness_keys_of_before_are_taken_up_again_by_a_person_alone(store: Store) -> None:
    name = f"{FEDERATION}/witness/{NODE}"
    old = store.run_sync(lambda db: witness_store.make_keys(db, name, NOW))
    sharing = _sharing(store)
    _observe(sharing, store, _heartbeat(41, bytes([7]) * 32))
    made = store.run_sync(lambda db: witness_store.make_keys(db, name, NOW))
    assert made.ed25519_seed != old.ed25519_seed
    asyncio.run(sharing.confirm("chief", old_witness_keys=True))
    held = store.run_sync(lambda db: witness_store.make_keys(db, name, NOW))
    assert held.ed25519_seed == old.ed25519_seed
    (entry,) = store.run_sync(lambda db: ledger.entries(db, event="store.witness_keys_reinstated"))
    assert entry.details == {"by": "chief"}
