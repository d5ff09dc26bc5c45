"""Epochs, their keys, and the end of their seeds (docs/protocol.md §5.2)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from candor_node import epochs, ledger
from candor_node.store import Store
from candor_proto.canonical import Writer
from candor_proto.errors import StaleEpoch
from candor_proto.ids import FederationName, KeyClass, NodeId
from candor_proto.oprf import derive_key_pair
from tests.records import NODE, NOW, new_store

FEDERATION = FederationName("fed.test")
DAY = timedelta(days=1)
SEED = bytes(range(32))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def seeds(store: Store) -> list[tuple[int, bytes]]:
    return store.run_sync(lambda db: list(db.execute("SELECT epoch, seed FROM epoch_seeds ORDER BY epoch")))


def test_epoch_lasts_thirty_days_and_the_next_one_has_another_seed(store: Store) -> None:
    first = store.run_sync(lambda db: epochs.current(db, NOW))
    assert (first.number, first.starts_at, first.ends_at) == (1, NOW, NOW + 30 * DAY)
    assert len(first.seed) == 32
    same = store.run_sync(lambda db: epochs.current(db, NOW + 30 * DAY - timedelta(seconds=1)))
    assert same == first
    second = store.run_sync(lambda db: epochs.current(db, NOW + 30 * DAY))
    assert second.number == 2
    assert second.seed != first.seed
    events = store.run_sync(lambda db: [entry.event for entry in ledger.entries(db)])
    assert events == ["epoch.begun", "epoch.begun"]


def test_clock_that_runs_back_does_not_bring_an_epoch_back(store: Store) -> None:
    store.run_sync(lambda db: epochs.current(db, NOW))
    store.run_sync(lambda db: epochs.rotate(db, NOW + DAY))
    assert store.run_sync(lambda db: epochs.current(db, NOW - 400 * DAY)).number == 2


def test_old_epoch_answers_for_its_grace_and_no_longer(store: Store) -> None:
    store.run_sync(lambda db: epochs.current(db, NOW))
    late = NOW + 40 * DAY  # this node was off when its epoch should have ended
    assert store.run_sync(lambda db: epochs.usable(db, 1, late)).number == 1
    store.run_sync(lambda db: epochs.current(db, late))
    grace = late + timedelta(hours=24)
    assert (
        store.run_sync(lambda db: epochs.usable(db, 1, grace - timedelta(seconds=1))).grace_ends_at == grace
    )
    with pytest.raises(StaleEpoch):
        store.run_sync(lambda db: epochs.usable(db, 1, grace))
    assert store.run_sync(lambda db: epochs.usable(db, 2, grace)).number == 2
    with pytest.raises(StaleEpoch):
        store.run_sync(lambda db: epochs.usable(db, 3, grace))


def test_seed_is_destroyed_when_the_grace_ends_and_not_before(store: Store) -> None:
    store.run_sync(lambda db: epochs.current(db, NOW))
    second = store.run_sync(lambda db: epochs.rotate(db, NOW + DAY))
    end = NOW + DAY + epochs.GRACE
    assert store.run_sync(lambda db: epochs.destroy_expired(db, end - timedelta(seconds=1))) == ()
    assert [number for number, _ in seeds(store)] == [1, 2]
    assert store.run_sync(lambda db: epochs.destroy_expired(db, end)) == (1,)
    assert seeds(store) == [(2, second.seed)]
    assert store.run_sync(lambda db: epochs.destroy_expired(db, end)) == ()
    with pytest.raises(StaleEpoch):
        store.run_sync(lambda db: epochs.usable(db, 1, NOW))
    # Its number is never given again.
    assert store.run_sync(lambda db: epochs.rotate(db, end)).number == 3
    events = store.run_sync(lambda db: [entry.event for entry in ledger.entries(db, event="epoch.destroyed")])
    assert events == ["epoch.destroyed"]


def test_keys_are_derived_as_the_protocol_says() -> None:
    keys = epochs.keys_for(SEED, FEDERATION, NODE, 7)
    assert set(keys) == set(KeyClass)
    for key_class, pair in keys.items():
        info = Writer("epoch-key").text("fed.test").text(str(NODE)).integer(7, 4)
        info.integer(key_class.value, 1)
        assert pair == derive_key_pair(SEED, info.finish())
    publics = {pair.public.to_bytes() for pair in keys.values()}
    for other in (
        epochs.keys_for(SEED, FEDERATION, NODE, 8),
        epochs.keys_for(SEED, FEDERATION, NodeId("shelbyville-pd"), 7),
        epochs.keys_for(SEED, FederationName("fed.other"), NODE, 7),
        epochs.keys_for(bytes(32), FEDERATION, NODE, 7),
    ):
        publics |= {pair.public.to_bytes() for pair in other.values()}
    assert len(publics) == 15


def test_usable_keys_are_those_of_the_stored_seed(store: Store) -> None:
    epoch = store.run_sync(lambda db: epochs.current(db, NOW))
    keys = store.run_sync(lambda db: epochs.usable_keys(db, 1, NOW, FEDERATION, NODE))
    assert keys == epochs.keys_for(epoch.seed, FEDERATION, NODE, 1)
    with pytest.raises(StaleEpoch):
        store.run_sync(lambda db: epochs.usable_keys(db, 2, NOW, FEDERATION, NODE))


def test_seed_is_not_printed(store: Store) -> None:
    epoch = store.run_sync(lambda db: epochs.current(db, NOW))
    assert epoch.seed.hex() not in repr(epoch)
    assert repr(epoch.seed) not in repr(epoch)
