"""Invitations and admissions, rule by rule (docs/protocol.md §8.5)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_certs.chain import verify_peer
from candor_certs.invitation import format_invitation, parse_invitation
from candor_certs.names import Role
from candor_certs.requests import certificate_request, new_tls_key
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    AlreadyExists,
    CertificateRefused,
    ClockWrong,
    ConfigInvalid,
    IdentityMismatch,
    InputInvalid,
    InvitationInvalid,
    MalformedMessage,
)
from candor_proto.ids import NodeId, Ori
from candor_proto.sealing import PUBLIC_KEY_OCTETS
from candor_proto.signing import SigningKey
from tests.hub_members import FEDERATION
from tests.unit.hub.offices import Office, office


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


def members(hub: Office) -> list[str]:
    return [str(node) for node in hub.directory.latest().view.nodes()]


def test_an_invitation_can_be_written_and_read_and_its_token_is_nowhere(hub: Office) -> None:
    invitation = hub.enrolment.invite(Ori("CA0340000"), NodeId("alpha"), "Alpha", hub.clock.now())
    assert parse_invitation(format_invitation(invitation)) == invitation
    assert invitation.hub_address == "127.0.0.1:7443"
    for file in hub.config.data.rglob("*"):
        if file.is_file():
            assert invitation.token not in file.read_bytes()


def test_a_node_joins_and_is_in_the_next_directory(tmp_path: Path) -> None:
    with office(tmp_path, wait_hours=24) as hub:
        before = hub.directory.latest().version
        member = hub.newcomer("alpha")
        chain = hub.enrolment.enrol(hub.request(member, hub.invite(member)), hub.clock.now())
        identity = verify_peer(chain, [hub.keys.root], hub.clock.now())
        assert (identity.name.role, identity.name.node) == (Role.NODE, member.node)
        latest = hub.directory.latest()
        assert latest.version == before + 1
        entry = latest.view.member(member.node)
        assert entry.oris == (member.ori,)
        assert entry.signing_key == member.signing_key.public
        assert entry.tls_subject == f"spiffe://{FEDERATION}/node/alpha"
        assert entry.status is MemberStatus.ACTIVE
        assert entry.answered_from - entry.joined_at == timedelta(hours=24)


def test_an_unknown_token_is_refused(hub: Office) -> None:
    member = hub.newcomer("alpha")
    hub.invite(member)
    with pytest.raises(InvitationInvalid):
        hub.enrolment.enrol(hub.request(member, secrets.token_bytes(32)), hub.clock.now())
    assert members(hub) == []


def test_a_used_token_is_refused(hub: Office) -> None:
    member = hub.newcomer("alpha")
    token = hub.invite(member)
    hub.enrolment.enrol(hub.request(member, token), hub.clock.now())
    thief = replace(member, tls_key=new_tls_key(), signing_key=SigningKey.generate())
    with pytest.raises(InvitationInvalid):
        hub.enrolment.enrol(hub.request(thief, token), hub.clock.now())
    assert hub.directory.latest().view.member(member.node).signing_key == member.signing_key.public


def test_a_lost_reply_can_be_asked_for_again(hub: Office) -> None:
    member = hub.newcomer("alpha")
    request = hub.request(member, hub.invite(member))
    first = hub.enrolment.enrol(request, hub.clock.now())
    version = hub.directory.latest().version
    assert hub.enrolment.enrol(request, hub.clock.now()) == first
    assert hub.directory.latest().version == version


def test_an_expired_token_is_refused(hub: Office) -> None:
    member = hub.newcomer("alpha")
    token = hub.invite(member, life=timedelta(days=1))
    hub.clock.advance(days=1)
    with pytest.raises(InvitationInvalid):
        hub.enrolment.enrol(hub.request(member, token), hub.clock.now())


def test_an_invitation_is_good_for_at_most_fourteen_days(hub: Office) -> None:
    with pytest.raises(InputInvalid):
        hub.invite(hub.newcomer("alpha"), life=timedelta(days=15))


def test_a_token_of_another_ori_or_node_is_refused(hub: Office) -> None:
    member = hub.newcomer("alpha")
    token = hub.invite(member)
    with pytest.raises(InvitationInvalid):
        hub.enrolment.enrol(hub.request(replace(member, ori=Ori("NY0010000")), token), hub.clock.now())
    other = replace(member, node=NodeId("bravo"))
    with pytest.raises(InvitationInvalid):
        hub.enrolment.enrol(hub.request(other, token), hub.clock.now())
    assert members(hub) == []


def test_a_failed_attempt_consumes_nothing(hub: Office) -> None:
    member = hub.newcomer("alpha")
    good = hub.request(member, hub.invite(member))
    stranger = new_tls_key()
    bad_requests = {
        b"no request": MalformedMessage,
        certificate_request(stranger, FEDERATION, NodeId("bravo")): IdentityMismatch,
        good.certificate_request[:-1] + bytes([good.certificate_request[-1] ^ 1]): CertificateRefused,
    }
    for octets, error in bad_requests.items():
        with pytest.raises(error):
            hub.enrolment.enrol(replace(good, certificate_request=octets), hub.clock.now())
    with pytest.raises(MalformedMessage):
        hub.enrolment.enrol(replace(good, disclosure_key=b"\xff" * PUBLIC_KEY_OCTETS), hub.clock.now())
    assert members(hub) == []
    hub.enrolment.enrol(good, hub.clock.now())
    assert members(hub) == ["alpha"]


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_clock_that_is_off_is_refused_with_both_times(hub: Office, minutes: int) -> None:
    member = hub.newcomer("alpha")
    request = hub.request(member, hub.invite(member))
    wrong = request.node_time + timedelta(minutes=minutes)
    with pytest.raises(ClockWrong) as caught:
        hub.enrolment.enrol(replace(request, node_time=wrong), hub.clock.now())
    assert f"{wrong:%H:%M:%S} UTC" in caught.value.message
    assert f"{request.node_time:%H:%M}" in caught.value.message
    hub.enrolment.enrol(request, hub.clock.now())


def test_a_node_id_is_never_given_twice(hub: Office) -> None:
    first, second = hub.newcomer("alpha"), hub.newcomer("alpha", "NY0010000")
    tokens = [hub.invite(first), hub.invite(second)]
    hub.enrolment.enrol(hub.request(first, tokens[0]), hub.clock.now())
    with pytest.raises(AlreadyExists):
        hub.enrolment.enrol(hub.request(second, tokens[1]), hub.clock.now())
    with pytest.raises(AlreadyExists):
        hub.invite(second)
    hub.directory.revoke(first.node, hub.clock.now())
    with pytest.raises(AlreadyExists):
        hub.invite(second)


def test_an_ori_has_one_node_until_that_is_revoked(hub: Office) -> None:
    first, second = hub.newcomer("alpha", "CA0340000"), hub.newcomer("bravo", "CA0340000")
    tokens = [hub.invite(first), hub.invite(second)]
    hub.enrolment.enrol(hub.request(first, tokens[0]), hub.clock.now())
    with pytest.raises(AlreadyExists):
        hub.enrolment.enrol(hub.request(second, tokens[1]), hub.clock.now())
    hub.directory.revoke(first.node, hub.clock.now())
    hub.enrolment.enrol(hub.request(second, tokens[1]), hub.clock.now())
    assert members(hub) == ["bravo"]


def test_two_members_cannot_have_the_same_signing_key(hub: Office) -> None:
    first = hub.join("alpha")
    copycat = replace(hub.newcomer("bravo"), signing_key=first.signing_key)
    with pytest.raises(AlreadyExists):
        hub.enrolment.enrol(hub.request(copycat, hub.invite(copycat)), hub.clock.now())


@pytest.mark.parametrize("address", ["0.0.0.0:7443", "[::]:7443"])
@pytest.mark.parametrize("setting", ["public_address", "public_enrolment_address"])
def test_an_invitation_to_an_address_that_nobody_can_dial_is_not_made(
    hub: Office, address: str, setting: str
) -> None:
    hub.enrolment.announce(replace(hub.config, **{setting: address}))  # type: ignore[arg-type]
    with pytest.raises(ConfigInvalid) as caught:
        hub.invite(hub.newcomer("alpha"))
    assert f"`{setting}`" in caught.value.remedy
