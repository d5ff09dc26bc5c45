"""The hub's keys are where they belong, and nowhere in clear (ADR 0032)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from candor_hub.driver import sa
from candor_hub.founding import open_keys
from candor_hub.keys import renew
from candor_hub.places import vault
from candor_hub.store import Store
from candor_hub.tables import metadata
from candor_hub.tlog.ring import KeyRing
from candor_hub.vault import FolderVault, SealedVault, Vault
from candor_proto.errors import AlreadyExists, StoreUnusable
from tests.hub_members import FEDERATION
from tests.postgres import chosen_url
from tests.unit.hub.offices import Office, office, opened

KEY = bytes(range(32))


def now() -> datetime:
    return datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, each_database: str) -> Iterator[Store]:
    made = Store.create(chosen_url() or f"sqlite:///{tmp_path / 'hub.db'}", KEY, "demo.example")
    yield made
    made.close()


@pytest.fixture(params=["folder", "rows"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vault]:
    if request.param == "folder":
        yield FolderVault(tmp_path / "keys")
        return
    made = Store.create(f"sqlite:///{tmp_path / 'hub.db'}", KEY, "demo.example")
    yield SealedVault(made, KEY, now)
    made.close()


def test_a_secret_is_added_once_and_replaced_on_purpose(held: Vault) -> None:
    assert held.get("log-1.key") is None
    held.add("log-1.key", b"first")
    with pytest.raises(AlreadyExists):
        held.add("log-1.key", b"second")
    assert held.get("log-1.key") == b"first"
    held.put("log-1.key", b"third")
    held.put("issuing/17.pem", b"authority")
    held.put("directory.crt", b"chain")
    assert held.get("log-1.key") == b"third"
    assert held.names() == ["directory.crt", "issuing/17.pem", "log-1.key"]
    assert held.names("issuing/") == ["issuing/17.pem"]
    held.remove("log-1.key")
    held.remove("log-1.key")
    assert held.get("log-1.key") is None
    assert "third" not in repr(held)


def test_a_secret_of_a_folder_is_its_owners_alone(tmp_path: Path) -> None:
    held = FolderVault(tmp_path / "keys")
    held.add("issuing/17.pem", b"authority")
    path = tmp_path / "keys/issuing/17.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o640)
    with pytest.raises(StoreUnusable, match="other users"):
        held.get("issuing/17.pem")


def test_a_row_under_another_name_does_not_open(store: Store) -> None:
    """Otherwise who writes the database would have the directory signed with a shard's key."""
    held = SealedVault(store, KEY, now)
    held.add("log-1.key", b"one")
    held.add("log-2.key", b"two")
    with store.write() as tx:
        one, two = tx.secrets.get("log-1.key"), tx.secrets.get("log-2.key")
        assert one is not None
        assert two is not None
        tx.secrets.put("log-1.key", two, now())
        tx.secrets.put("log-2.key", one, now())
    for name in ("log-1.key", "log-2.key"):
        with pytest.raises(StoreUnusable, match="does not open"):
            held.get(name)


@pytest.mark.parametrize("at", [0, 1, 13, -1])
def test_a_changed_row_does_not_open(store: Store, at: int) -> None:
    held = SealedVault(store, KEY, now)
    held.add("log-1.key", b"one")
    with store.write() as tx:
        sealed = bytearray(tx.secrets.get("log-1.key") or b"")
        sealed[at] ^= 1
        tx.secrets.put("log-1.key", bytes(sealed), now())
    with pytest.raises(StoreUnusable, match="does not open"):
        held.get("log-1.key")


def test_another_key_does_not_open(store: Store) -> None:
    SealedVault(store, KEY, now).add("log-1.key", b"sentinel")
    with pytest.raises(StoreUnusable, match="does not open") as caught:
        SealedVault(store, bytes(32), now).get("log-1.key")
    assert "Every replica needs" in caught.value.remedy
    assert "sentinel" not in repr(caught.value)


def test_a_secret_belongs_to_its_transaction(store: Store) -> None:
    held = SealedVault(store, KEY, now)

    def interrupted() -> None:
        with held.write() as tx:
            held.add("log-1.key", b"one", tx)
            assert held.get("log-1.key", tx) == b"one"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert held.names() == []


# --- of a hub ---------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr("tests.unit.hub.offices.chosen_url", lambda: postgresql_url)
    with office(tmp_path) as made:
        yield made


def test_no_key_stands_in_the_database_in_clear(hub: Office) -> None:
    hub.join("alpha")
    keys = open_keys(hub.config, hub.store)
    ring = KeyRing(vault(hub.config, hub.store), FEDERATION)
    with hub.store.read() as tx:
        shard_keys = ring.of(tx.log.shards()[0])
    secret = [keys.directory_key.seed(), shard_keys.ed25519_seed, shard_keys.ml_dsa_seed]
    secret += [(hub.config.keys / "database.key").read_bytes()]
    with hub.store.read() as tx:
        rows = [
            row
            for table in metadata.sorted_tables
            for row in tx.secrets._connection.execute(sa.select(table))
        ]
    octets = [value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row]
    assert len(octets) > 50
    for value in octets:
        assert not any(one in value for one in secret)
        assert b"PRIVATE KEY" not in value
    assert sorted(path.name for path in hub.config.keys.iterdir()) == ["database.key", "hub.pem"]


def test_a_renewed_chain_reaches_the_other_replica_and_is_not_taken_back(hub: Office) -> None:
    """Each published the chain that it held, one after the other, for ever."""
    with opened(hub.config, hub.clock) as other:
        held = {"here": hub.keys, "there": other.keys}
        hub.clock.advance(days=90)
        held["here"] = renew(held["here"], hub.clock.now())
        assert held["here"].directory_chain != held["there"].directory_chain
        hub.directory._keys = lambda: held["here"]
        other.directory._keys = lambda: held["there"]
        assert hub.directory.publish_if_certified_anew(hub.clock.now()) is not None
        assert other.directory.publish_if_certified_anew(hub.clock.now()) is None
        # What the other publishes for another reason is certified by the new chain as well.
        other.join("alpha")
        assert other.directory.latest().stored.chain == held["here"].directory_chain_der
        held["there"] = renew(replace(held["there"]), hub.clock.now())
        assert held["there"].directory_chain == held["here"].directory_chain
        hub.clock.advance(seconds=1)
        assert hub.clock.now() - now() > timedelta(0)
