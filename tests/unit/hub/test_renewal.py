"""Certifying a member's next key, and denying one certificate of it (docs/protocol.md §8.2, §8.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.chain import PeerIdentity, verify_peer
from candor_certs.profiles import TlsPrivateKey
from candor_certs.requests import certificate_request, new_tls_key
from candor_hub import renewal as renewal_module
from candor_hub.enrolment import FORGOTTEN_AFTER
from candor_hub.issued import Issued
from candor_hub.renewal import MAX_LIVE_CERTIFICATES
from candor_hub.store.certificates import CertificateRecord
from candor_hub.turns import Turns
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    CertificateRefused,
    CertificateRevoked,
    IdentityMismatch,
    InputInvalid,
    LimitExceeded,
    MemberSuspended,
    SignatureInvalid,
    StoreUnusable,
    UnknownObject,
)
from candor_proto.ids import NodeId
from candor_proto.possession import sign_certificate_request
from candor_proto.signing import SigningKey
from tests.certificates import FlawedCertificates
from tests.hub_members import FEDERATION, Member
from tests.unit.hub.offices import Office, office


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


@pytest.fixture
def alpha(hub: Office) -> Member:
    return hub.join("alpha")


def certificates(hub: Office, member: Member) -> tuple[CertificateRecord, ...]:
    with hub.store.read() as tx:
        return tx.certificates.of(member.node)


def identity(hub: Office, member: Member) -> PeerIdentity:
    """The one that `member` shows: its newest."""
    newest = x509.load_der_x509_certificate(certificates(hub, member)[-1].der)
    return verified(hub, tuple(each.public_bytes(Encoding.DER) for each in hub.keys.authority.chain(newest)))


def verified(hub: Office, chain: tuple[bytes, ...]) -> PeerIdentity:
    return verify_peer(chain, [hub.keys.root], hub.clock.now())


def ask(
    hub: Office,
    member: Member,
    request: bytes | None = None,
    *,
    key: TlsPrivateKey | None = None,
    signing_key: SigningKey | None = None,
    shown: PeerIdentity | None = None,
) -> tuple[bytes, ...]:
    """What the hub answers to a request for a certificate of `member`."""
    request = request or certificate_request(key or new_tls_key(), FEDERATION, member.node)
    signature = sign_certificate_request(signing_key or member.signing_key, FEDERATION, member.node, request)
    entry = hub.directory.latest().view.member(member.node)
    return hub.renewal.renew(request, signature, entry, shown or identity(hub, member), hub.clock.now())


def test_a_fresh_key_is_certified_under_the_same_node_id(hub: Office, alpha: Member) -> None:
    hub.clock.advance(days=5)
    key, before = new_tls_key(), identity(hub, alpha)
    renewed = verified(hub, ask(hub, alpha, key=key))
    assert renewed.name == before.name
    assert renewed.public_key == key.public_key()
    # Certificates know whole seconds, and the clock may have gone on by one.
    assert timedelta(days=5) <= renewed.not_after - before.not_after <= timedelta(days=5, seconds=5)
    assert certificates(hub, alpha)[-1].renewed_with == before.serial
    assert hub.directory.latest().version == 2  # founding and joining: renewing changes nothing for others


def test_a_lost_reply_to_a_renewal_can_be_asked_for_again(hub: Office, alpha: Member) -> None:
    request = certificate_request(new_tls_key(), FEDERATION, alpha.node)
    shown = identity(hub, alpha)
    first = ask(hub, alpha, request, shown=shown)
    hub.clock.advance(days=1)
    assert ask(hub, alpha, request, shown=shown) == first
    assert len(certificates(hub, alpha)) == 2


def test_a_copied_tls_key_alone_renews_nothing(hub: Office, alpha: Member) -> None:
    thief = SigningKey.generate()
    with pytest.raises(SignatureInvalid):
        ask(hub, alpha, signing_key=thief)
    request = certificate_request(new_tls_key(), FEDERATION, alpha.node)
    entry = hub.directory.latest().view.member(alpha.node)
    elsewhere = sign_certificate_request(alpha.signing_key, FEDERATION, NodeId("bravo"), request)
    for signature in (b"", bytes(64), elsewhere):
        with pytest.raises(SignatureInvalid):
            hub.renewal.renew(request, signature, entry, identity(hub, alpha), hub.clock.now())
    assert len(certificates(hub, alpha)) == 1


def test_a_request_in_another_members_name_is_refused(hub: Office, alpha: Member) -> None:
    bravo = hub.join("bravo")
    request = certificate_request(new_tls_key(), FEDERATION, bravo.node)
    with pytest.raises(IdentityMismatch):
        ask(hub, alpha, request)


def test_a_key_that_was_certified_before_is_refused(hub: Office, alpha: Member) -> None:
    key = new_tls_key()
    for used in (alpha.tls_key, key):
        if used is key:
            ask(hub, alpha, key=key)
        with pytest.raises(CertificateRefused, match="certified before"):
            ask(hub, alpha, key=used)


def test_a_member_has_a_bounded_number_of_certificates(hub: Office, alpha: Member) -> None:
    shown = identity(hub, alpha)
    for _ in range(MAX_LIVE_CERTIFICATES - 1):
        ask(hub, alpha, shown=shown)
    with pytest.raises(LimitExceeded):
        ask(hub, alpha, shown=shown)
    # A denied or ended one makes room.
    hub.directory.deny(certificates(hub, alpha)[-1].serial, hub.clock.now())
    ask(hub, alpha, shown=shown)
    with pytest.raises(LimitExceeded):
        ask(hub, alpha, shown=shown)
    hub.clock.advance(days=7, minutes=1)
    ask(hub, alpha, shown=shown)


def test_the_suspended_and_the_revoked_get_no_certificate(hub: Office, alpha: Member) -> None:
    shown = identity(hub, alpha)
    hub.directory.set_status(alpha.node, MemberStatus.SUSPENDED, hub.clock.now())
    with pytest.raises(MemberSuspended):
        ask(hub, alpha, shown=shown)
    hub.directory.revoke(alpha.node, hub.clock.now())
    with pytest.raises(MemberSuspended):
        ask(hub, alpha, shown=shown)
    assert len(certificates(hub, alpha)) == 1


@pytest.mark.parametrize("what", ["its own", "its authority's"])
def test_a_certificate_denied_a_moment_ago_renews_nothing(hub: Office, alpha: Member, what: str) -> None:
    """The gate let the call in before the operator's command was done."""
    shown = identity(hub, alpha)
    (authority,) = shown.authorities
    with hub.store.write() as tx:
        tx.members.deny(alpha.node, [shown.serial if what == "its own" else authority], hub.clock.now())
    with pytest.raises(CertificateRevoked):
        ask(hub, alpha, shown=shown)


def test_a_request_whose_certificate_was_denied_is_not_answered_again(hub: Office, alpha: Member) -> None:
    request = certificate_request(new_tls_key(), FEDERATION, alpha.node)
    shown = identity(hub, alpha)
    denied = verified(hub, ask(hub, alpha, request, shown=shown))
    hub.directory.deny(denied.serial, hub.clock.now())
    with pytest.raises(CertificateRevoked, match=f"{denied.serial:x}"):
        ask(hub, alpha, request, shown=shown)


def test_a_certificate_and_its_request_are_one(
    hub: Office, alpha: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> int:
        with hub.store.read() as tx:
            return len(tx.certificates.of(alpha.node))

    before, shown = count(), identity(hub, alpha)
    record = renewal_module.record_certificate

    def full(*arguments: Any) -> None:
        record(*arguments)
        raise StoreUnusable("The disk is full.")

    monkeypatch.setattr(renewal_module, "record_certificate", full)
    with pytest.raises(StoreUnusable):
        ask(hub, alpha, shown=shown)
    assert count() == before
    monkeypatch.setattr(renewal_module, "record_certificate", record)
    ask(hub, alpha, shown=shown)
    assert count() == before + 1


def test_ended_certificates_are_forgotten_and_denied_ones_stay_denied(hub: Office, alpha: Member) -> None:
    ask(hub, alpha)
    old = certificates(hub, alpha)
    hub.directory.deny(old[0].serial, hub.clock.now())
    hub.clock.advance(days=6)
    newest = verified(hub, ask(hub, alpha))
    hub.clock.advance(days=FORGOTTEN_AFTER.days + 3)
    with hub.store.write() as tx:
        assert tx.certificates.drop_ended(hub.clock.now() - FORGOTTEN_AFTER) == 2
    assert [kept.serial for kept in certificates(hub, alpha)] == [newest.serial]
    assert old[0].serial in hub.directory.latest().serials


# --- what the gate knows -----------------------------------------------------------------------------------


def test_a_certificate_that_this_hub_did_not_issue_is_refused(hub: Office, alpha: Member) -> None:
    """Somebody has stolen the issuing key."""
    issued, forged = Issued(hub.store, hub.clock), FlawedCertificates(hub.keys.authority)
    genuine = identity(hub, alpha)
    issued.look_up(genuine)
    with pytest.raises(CertificateRefused, match="not issued by this hub"):
        issued.look_up(verified(hub, tuple(forged.good(alpha.node).chain_der)))
    twin = forged.good(alpha.node, serial=genuine.serial)
    with pytest.raises(CertificateRefused, match="not issued by this hub"):
        issued.look_up(verified(hub, tuple(twin.chain_der)))
    bravo = hub.join("bravo")
    with pytest.raises(CertificateRefused, match="not issued by this hub"):
        issued.look_up(replace(genuine, name=identity(hub, bravo).name))


def test_a_known_certificate_costs_no_look_into_the_database(hub: Office, alpha: Member) -> None:
    issued, own = Issued(hub.store, hub.clock), identity(hub, alpha)
    assert not issued.knows(own)
    issued.look_up(own)
    issued.remember(own)
    hub.store.close()
    assert issued.knows(own)


def test_those_who_come_at_once_share_a_look_and_each_is_judged_for_itself(
    hub: Office, alpha: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all nodes of a replica that died do."""
    forged = FlawedCertificates(hub.keys.authority)
    own = [identity(hub, alpha), *(identity(hub, hub.join(f"node-{number}")) for number in range(5))]
    false = verified(hub, tuple(forged.good(alpha.node, serial=own[0].serial).chain_der))
    issued, looks = Issued(hub.store, hub.clock), list[int]()
    original = issued.ours

    def counted(identities: Sequence[PeerIdentity]) -> frozenset[PeerIdentity]:
        looks.append(len(identities))
        return original(identities)

    monkeypatch.setattr(issued, "ours", counted)

    async def scene() -> list[object]:
        turns = Turns("looks", 1)
        return await asyncio.gather(
            *(issued.check(one, turns) for one in (*own, false)), return_exceptions=True
        )

    *outcomes, refused = asyncio.run(scene())
    assert outcomes == [None] * len(own)
    assert isinstance(refused, CertificateRefused)
    assert looks == [len(own) + 1]
    with hub.store.read() as tx:
        assert all(record.used_at for record in tx.certificates.find_all(one.serial for one in own).values())


# --- what the operator denies ------------------------------------------------------------------------------


def test_one_certificate_is_denied_and_no_other(hub: Office, alpha: Member) -> None:
    ask(hub, alpha)
    old, _ = certificates(hub, alpha)
    assert hub.directory.deny(old.serial, hub.clock.now()) == (3, alpha.node)
    latest = hub.directory.latest()
    assert latest.serials == {old.serial}
    assert latest.view.member(alpha.node).status is MemberStatus.ACTIVE
    latest.deny_list(hub.clock.now()).check(identity(hub, alpha), hub.clock.now())
    assert [row.denied for row in certificates(hub, alpha)] == [True, False]


def test_a_serial_that_nobody_has_is_denied_only_as_an_authoritys(hub: Office) -> None:
    with pytest.raises(UnknownObject, match="--authority"):
        hub.directory.deny(4711, hub.clock.now())
    hub.directory.deny(4711, hub.clock.now(), authority=True)
    with pytest.raises(InputInvalid, match="root"):
        hub.directory.deny(hub.keys.root.serial_number, hub.clock.now(), authority=True)
