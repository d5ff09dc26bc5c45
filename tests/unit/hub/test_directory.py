"""Directory versions: signed, counted, one for each change (docs/protocol.md §10)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_certs.chain import verify_directory_certificate
from candor_hub.keys import load_keys, renew
from candor_hub.store.directories import KEPT_LATEST, KEPT_WITNESSED
from candor_hub.vault import FolderVault
from candor_proto.directory import MemberStatus, VerifiedDirectory, verify_directory
from candor_proto.errors import CertificateRevoked, DenyListStale, NotAMember, UnknownObject
from candor_proto.ids import NodeId
from candor_proto.signing import VerifyingKey
from candor_wire.codec import chain_digest
from tests.hub_members import FEDERATION
from tests.unit.hub.offices import Office, office, opened
from tests.unit.hub.tlog.desks import desk_over


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


def verified(hub: Office) -> VerifiedDirectory:
    """As a member would verify it."""
    stored, now = hub.directory.latest().stored, hub.clock.now()
    key = verify_directory_certificate(stored.chain, [hub.keys.root], FEDERATION, now)
    public = VerifyingKey(key.public_bytes_raw())
    return verify_directory(stored.statement, public, chain_digest(stored.chain), FEDERATION, now)


def test_a_member_can_verify_the_directory_up_to_the_root(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    assert verified(hub).nodes() == (alpha.node, bravo.node)
    assert verified(hub).member(alpha.node) == hub.directory.latest().view.member(alpha.node)


def test_every_change_is_a_version(hub: Office) -> None:
    hub.join("alpha")
    version = hub.directory.latest().version
    assert hub.directory.set_status(NodeId("alpha"), MemberStatus.SUSPENDED, hub.clock.now()) == version + 1
    assert verified(hub).version == version + 1
    assert verified(hub).member(NodeId("alpha")).status is MemberStatus.SUSPENDED
    assert verified(hub).nodes() == ()
    assert hub.directory.revoke(NodeId("alpha"), hub.clock.now()) == (version + 2, 1)


def test_another_process_sees_a_change_at_once(hub: Office) -> None:
    hub.join("alpha")
    with opened(hub.config, hub.clock) as other:
        before = other.directory.latest()
        hub.directory.revoke(NodeId("alpha"), hub.clock.now())
        after = other.directory.latest()
        assert after.version == before.version + 1
        assert not before.serials
        assert len(after.serials) == 1


def test_a_look_where_nobody_has_committed_reads_nothing_and_makes_the_deny_list_young(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hub.store.server is not None:
        pytest.skip("a server has no mark of what was committed")
    hub.join("alpha")
    first, news = hub.directory.look()
    reads = counted_reads(hub, monkeypatch)
    again = hub.directory.look()
    assert (again[0].version, again[1]) == (first.version, news)
    assert again[0].read_at_seconds > first.read_at_seconds
    assert hub.directory.known is again[0]
    assert reads == []


def test_a_look_sees_what_another_process_has_committed_since_the_last_one(hub: Office) -> None:
    hub.join("alpha")
    with opened(hub.config, hub.clock) as other:
        before, _ = other.directory.look()
        assert other.directory.look()[0].version == before.version
        hub.directory.revoke(NodeId("alpha"), hub.clock.now())
        after, _ = other.directory.look()
        assert after.version == before.version + 1
        assert len(after.serials) == 1


def test_what_is_committed_while_a_look_reads_is_seen_by_the_next(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.join("alpha")
    with opened(hub.config, hub.clock) as other:
        fresh = other.directory._fresh

        def slow(tx: Any, read_at: float) -> Any:
            snapshot = fresh(tx, read_at)
            hub.directory.revoke(NodeId("alpha"), hub.clock.now())
            return snapshot

        monkeypatch.setattr(other.directory, "_fresh", slow)
        before, _ = other.directory.look()
        monkeypatch.undo()
        assert other.directory.look()[0].version == before.version + 1


def counted_reads(hub: Office, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows with each transaction that reads."""
    reads, read = list[None](), hub.store.read

    def counting() -> Any:
        reads.append(None)
        return read()

    monkeypatch.setattr(hub.store, "read", counting)
    return reads


def test_a_revoked_member_stays_suspended_for_good(hub: Office) -> None:
    hub.join("alpha")
    hub.directory.revoke(NodeId("alpha"), hub.clock.now())
    with pytest.raises(CertificateRevoked):
        hub.directory.set_status(NodeId("alpha"), MemberStatus.ACTIVE, hub.clock.now())
    assert verified(hub).nodes() == ()
    assert len(verified(hub).directory.denied_serials) == 1


def test_strangers_are_unknown(hub: Office) -> None:
    with pytest.raises(UnknownObject):
        hub.directory.revoke(NodeId("nobody"), hub.clock.now())
    with pytest.raises(UnknownObject):
        hub.directory.set_status(NodeId("nobody"), MemberStatus.SUSPENDED, hub.clock.now())
    with pytest.raises(NotAMember):
        hub.directory.latest().view.member(NodeId("nobody"))


def kept(hub: Office) -> set[int]:
    """Of which versions the octets are kept."""
    with hub.store.read() as tx:
        rows = tx.directories._connection.exec_driver_sql(
            "SELECT version, length(body), length(signature) FROM directories"
        ).all()
    assert {signature for _, _, signature in rows} == {64}
    return {version for version, body, _ in rows if body}


def test_of_versions_that_nobody_fetches_only_digest_and_signature_stay(hub: Office) -> None:
    hub.join("alpha")
    desk = desk_over(hub)
    desk.settle()
    witnessed = hub.directory.latest().version
    for _ in range(KEPT_LATEST + 2):
        hub.directory.set_status(NodeId("alpha"), MemberStatus.ACTIVE, hub.clock.now())
    latest = hub.directory.latest().version
    # The witnessed one is what members get, however many came behind it.
    assert kept(hub) == {*range(1, witnessed + 1), *range(latest - KEPT_LATEST + 1, latest + 1)}
    desk.settle()
    hub.directory.set_status(NodeId("alpha"), MemberStatus.ACTIVE, hub.clock.now())
    assert kept(hub) == set(range(latest - KEPT_WITNESSED + 1, latest + 2))


def test_a_member_gets_the_newest_witnessed_version_or_the_one_it_asks_for(hub: Office) -> None:
    desk = desk_over(hub)
    with pytest.raises(UnknownObject):
        hub.directory.shown(0, None)
    hub.join("alpha")
    desk.settle()
    witnessed = hub.directory.latest().version
    hub.directory.set_status(NodeId("alpha"), MemberStatus.SUSPENDED, hub.clock.now())
    assert hub.directory.latest().version == witnessed + 1
    assert hub.directory.shown(witnessed, None).version == witnessed
    assert hub.directory.shown(witnessed, witnessed + 1).version == witnessed + 1
    with pytest.raises(UnknownObject):
        hub.directory.shown(witnessed, witnessed + 2)


def test_a_snapshot_that_is_too_old_admits_nobody(hub: Office) -> None:
    snapshot = hub.directory.latest()
    snapshot.deny_list(hub.clock.now()).check_fresh(hub.clock.now())
    old = replace(snapshot, read_at_seconds=time.monotonic() - 301)
    with pytest.raises(DenyListStale):
        old.deny_list(hub.clock.now()).check_fresh(hub.clock.now())


def test_certificates_are_renewed_when_due_and_published(hub: Office) -> None:
    version = hub.directory.latest().version
    assert renew(hub.keys, hub.clock.now()) is hub.keys
    later = hub.clock.now() + timedelta(days=5)
    renewed = renew(hub.keys, later)
    assert renewed.tls.chain[0] != hub.keys.tls.chain[0]
    assert renewed.directory_chain == hub.keys.directory_chain
    hub.clock.advance(days=61)
    renewed = renew(renewed, hub.clock.now())
    assert renewed.directory_chain != hub.keys.directory_chain
    assert renewed.directory_key.public == hub.keys.directory_key.public
    on_disk = load_keys(hub.config.keys, FolderVault(hub.config.keys), hub.config.issuing, FEDERATION)
    assert on_disk.directory_chain == renewed.directory_chain
    assert on_disk.tls.chain == renewed.tls.chain
    with opened(hub.config, hub.clock) as again:
        assert again.directory.latest().version == version + 1
        assert again.directory.latest().stored.chain == renewed.directory_chain_der
        assert verified(again).version == version + 1
