"""A member whose certificate ended while it was away comes back under its node id (docs/protocol.md §8.7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_certs.chain import verify_peer
from candor_certs.requests import new_tls_key
from candor_hub.enrolment import EnrolmentRequest
from candor_hub.renewal import MAX_LIVE_CERTIFICATES
from candor_proto.errors import (
    AlreadyExists,
    CertificateRefused,
    CertificateRevoked,
    IdentityMismatch,
    InvitationInvalid,
    KeyMismatch,
    LimitExceeded,
    SignatureInvalid,
    UnknownObject,
)
from candor_proto.ids import NodeId, Ori
from candor_proto.possession import sign_certificate_request
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SigningKey
from tests.hub_members import FEDERATION, Member
from tests.unit.hub.offices import Office, office


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


@pytest.fixture
def alpha(hub: Office) -> Member:
    """Joined, and away until its certificate had ended; its next TLS key is made."""
    member = hub.join("alpha")
    hub.clock.advance(days=10)
    return replace(member, tls_key=new_tls_key())


def invite(hub: Office, member: Member) -> bytes:
    return hub.enrolment.invite(member.ori, member.node, "", hub.clock.now(), rejoin=True).token


def signed(hub: Office, member: Member, token: bytes, key: SigningKey | None = None) -> EnrolmentRequest:
    request = hub.request(member, token)
    signature = sign_certificate_request(
        key or member.signing_key, FEDERATION, member.node, request.certificate_request
    )
    return replace(request, signature=signature)


def test_it_gets_a_certificate_and_keeps_everything_else(hub: Office, alpha: Member) -> None:
    before = hub.directory.latest()
    invitation = hub.enrolment.invite(alpha.ori, alpha.node, "", hub.clock.now(), rejoin=True)
    assert invitation.agency_name == before.view.member(alpha.node).name
    request = signed(hub, alpha, invitation.token)
    chain = hub.enrolment.enrol(request, hub.clock.now())
    identity = verify_peer(chain, [hub.keys.root], hub.clock.now())
    assert identity.name.node == alpha.node
    assert identity.public_key == alpha.tls_key.public_key()
    assert hub.directory.latest().version == before.version
    # The reply was lost, and the token is good for nothing else.
    assert hub.enrolment.enrol(request, hub.clock.now()) == chain
    other = replace(alpha, tls_key=new_tls_key())
    with pytest.raises(InvitationInvalid):
        hub.enrolment.enrol(signed(hub, other, invitation.token), hub.clock.now())


def test_whoever_holds_the_token_but_not_the_signing_key_is_refused(hub: Office, alpha: Member) -> None:
    token = invite(hub, alpha)
    with pytest.raises(SignatureInvalid):
        hub.enrolment.enrol(signed(hub, alpha, token, SigningKey.generate()), hub.clock.now())
    with pytest.raises(AlreadyExists):  # as if it joined for the first time
        hub.enrolment.enrol(hub.request(alpha, token), hub.clock.now())
    hub.enrolment.enrol(signed(hub, alpha, token), hub.clock.now())


def test_other_keys_than_those_of_the_directory_are_refused(hub: Office, alpha: Member) -> None:
    token = invite(hub, alpha)
    for changed in (
        replace(alpha, signing_key=SigningKey.generate()),
        replace(alpha, disclosure_key=DisclosureKey.generate()),
    ):
        with pytest.raises(KeyMismatch):
            hub.enrolment.enrol(signed(hub, changed, token), hub.clock.now())


def test_the_revoked_do_not_come_back(hub: Office, alpha: Member) -> None:
    token = invite(hub, alpha)
    hub.directory.revoke(alpha.node, hub.clock.now())
    with pytest.raises(CertificateRevoked):
        hub.enrolment.enrol(signed(hub, alpha, token), hub.clock.now())
    with pytest.raises(CertificateRevoked):
        invite(hub, alpha)


def test_only_a_member_is_invited_again_and_only_for_its_ori(hub: Office, alpha: Member) -> None:
    with pytest.raises(UnknownObject):
        invite(hub, replace(alpha, node=NodeId("nobody")))
    with pytest.raises(IdentityMismatch):
        invite(hub, replace(alpha, ori=Ori("NY0010000")))


def test_a_key_certified_before_and_too_many_certificates_are_refused(hub: Office, alpha: Member) -> None:
    for _ in range(MAX_LIVE_CERTIFICATES):
        member = replace(alpha, tls_key=new_tls_key())
        hub.enrolment.enrol(signed(hub, member, invite(hub, member)), hub.clock.now())
        with pytest.raises(CertificateRefused, match="certified before"):
            hub.enrolment.enrol(signed(hub, member, invite(hub, member)), hub.clock.now())
    with pytest.raises(LimitExceeded):
        hub.enrolment.enrol(signed(hub, alpha, invite(hub, alpha)), hub.clock.now())


def test_an_invitation_to_join_again_ends_like_any_other(hub: Office, alpha: Member) -> None:
    token = invite(hub, alpha)
    hub.clock.advance(days=14)
    with pytest.raises(InvitationInvalid):
        hub.enrolment.enrol(
            signed(hub, replace(alpha, clock=hub.clock), token), hub.clock.now() + timedelta(seconds=1)
        )
