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
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    AlreadyExists,
    CertificateRefused,
    CertificateRevoked,
    IdentityMismatch,
    InputInvalid,
    InvitationInvalid,
    KeyMismatch,
    LimitExceeded,
    MemberSuspended,
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


# --- without an invitation ---------------------------------------------------------------------------------


def comes(hub: Office, member: Member, key: SigningKey | None = None) -> tuple[bytes, ...]:
    """The member asks for a certificate with nothing but its keys."""
    return hub.enrolment.enrol(signed(hub, member, b"", key), hub.clock.now())


@pytest.mark.usefixtures("each_database")
def test_a_member_that_the_operator_lets_back_comes_with_its_keys_alone(hub: Office, alpha: Member) -> None:
    with pytest.raises(InvitationInvalid, match="not let alpha back in") as refused:
        comes(hub, alpha)
    assert "candor-hub readmit alpha" in refused.value.remedy
    version = hub.directory.latest().version
    assert hub.enrolment.readmit([alpha.node], hub.clock.now()) == (alpha.node,)
    request = signed(hub, alpha, b"")
    chain = hub.enrolment.enrol(request, hub.clock.now())
    identity = verify_peer(chain, [hub.keys.root], hub.clock.now())
    assert (identity.name.node, identity.public_key) == (alpha.node, alpha.tls_key.public_key())
    assert hub.directory.latest().version == version
    # The reply was lost: the same request has the same answer. Another one has none: it was once.
    assert hub.enrolment.enrol(request, hub.clock.now()) == chain
    with pytest.raises(InvitationInvalid):
        comes(hub, replace(alpha, tls_key=new_tls_key()))


def test_whoever_is_let_back_still_has_to_be_the_member(hub: Office, alpha: Member) -> None:
    hub.enrolment.readmit([alpha.node], hub.clock.now())
    with pytest.raises(SignatureInvalid):
        comes(hub, alpha, SigningKey.generate())
    with pytest.raises(KeyMismatch):
        comes(hub, replace(alpha, signing_key=SigningKey.generate()))
    with pytest.raises(SignatureInvalid):
        hub.enrolment.enrol(hub.request(alpha, b""), hub.clock.now())
    with pytest.raises(UnknownObject):
        comes(hub, replace(hub.newcomer("nobody"), ori=alpha.ori))
    comes(hub, alpha)


def test_the_door_closes_again(hub: Office, alpha: Member) -> None:
    hub.enrolment.readmit([alpha.node], hub.clock.now(), timedelta(hours=2))
    hub.clock.advance(hours=2)
    with pytest.raises(InvitationInvalid):
        comes(hub, alpha)
    for life in (timedelta(0), timedelta(days=15)):
        with pytest.raises(InputInvalid):
            hub.enrolment.readmit([alpha.node], hub.clock.now(), life)


def test_all_means_whose_certificates_have_ended_and_nobody_who_was_shut_out(
    hub: Office, alpha: Member
) -> None:
    hub.join("bravo")  # has one that is good
    charlie, delta = hub.join("charlie"), hub.join("delta")
    hub.clock.advance(days=8)
    hub.join("echo")
    hub.directory.revoke(charlie.node, hub.clock.now())
    hub.directory.set_status(delta.node, MemberStatus.SUSPENDED, hub.clock.now())
    assert hub.enrolment.readmit(None, hub.clock.now()) == (NodeId("alpha"), NodeId("bravo"))
    with pytest.raises(CertificateRevoked):
        hub.enrolment.readmit([charlie.node], hub.clock.now())
    with pytest.raises(MemberSuspended):
        hub.enrolment.readmit([delta.node], hub.clock.now())
    with pytest.raises(UnknownObject):
        hub.enrolment.readmit([NodeId("nobody")], hub.clock.now())


def test_all_lets_nobody_back_whose_certificate_a_person_has_denied(hub: Office, alpha: Member) -> None:
    """Its machine may have been stolen with its signing key. What an authority took along comes back."""
    bravo = hub.join("bravo")
    with hub.store.read() as tx:
        (record,) = tx.certificates.of(bravo.node)
    hub.directory.deny(record.serial, hub.clock.now())
    assert hub.enrolment.readmit(None, hub.clock.now()) == (alpha.node,)
    with pytest.raises(InvitationInvalid):
        comes(hub, replace(bravo, tls_key=new_tls_key()))
    assert hub.enrolment.readmit([bravo.node], hub.clock.now()) == (bravo.node,)


def test_a_member_that_was_shut_out_after_it_was_let_back_does_not_come(hub: Office, alpha: Member) -> None:
    hub.enrolment.readmit([alpha.node], hub.clock.now())
    hub.directory.set_status(alpha.node, MemberStatus.SUSPENDED, hub.clock.now())
    with pytest.raises(MemberSuspended):
        comes(hub, alpha)
    hub.directory.revoke(alpha.node, hub.clock.now())
    with pytest.raises(CertificateRevoked):
        comes(hub, alpha)
