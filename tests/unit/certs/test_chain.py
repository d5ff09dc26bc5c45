"""Chains: accepted, or refused for exactly one flaw."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from candor_certs.authority import create_issuing, create_root
from candor_certs.chain import (
    certificate_fingerprint,
    leaf_identity,
    load_certificate,
    root_federation,
    verify_directory_certificate,
    verify_peer,
)
from candor_certs.names import PeerName, Role
from candor_certs.requests import new_tls_key
from candor_proto.errors import CandorError, CertificateRefused, Expired, NotYetValid
from candor_proto.ids import FederationName
from tests.certificates import (
    FEDERATION,
    NODE,
    SERVER_AUTH,
    FlawedCertificates,
    Presented,
    federation_authority,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AUTHORITY = federation_authority(NOW)
FLAWED = FlawedCertificates(AUTHORITY, NOW)
ROOTS = [AUTHORITY.root]
GOOD = FLAWED.good()
DIRECTORY_KEY = Ed25519PrivateKey.generate().public_key()


def directory_chain(certificate: x509.Certificate | None = None) -> list[bytes]:
    leaf = certificate or AUTHORITY.issue_directory(DIRECTORY_KEY, NOW)
    return [each.public_bytes(Encoding.DER) for each in AUTHORITY.chain(leaf)]


def test_a_good_nodes_identity() -> None:
    identity = verify_peer(GOOD.chain_der, ROOTS, NOW)
    assert identity.name == PeerName(FEDERATION, Role.NODE, NODE)
    assert identity.serial == GOOD.leaf.serial_number
    assert identity.fingerprint == certificate_fingerprint(GOOD.leaf)
    assert identity.not_after == NOW + timedelta(days=7)
    assert identity.public_key == GOOD.key.public_key()
    assert identity.authorities == {AUTHORITY.certificate.serial_number}


def test_a_good_hubs_identity() -> None:
    assert verify_peer(FLAWED.good_hub().chain_der, ROOTS, NOW).name == PeerName(FEDERATION, Role.HUB)


def test_any_of_several_roots_will_do() -> None:
    other = federation_authority(NOW)
    assert verify_peer(GOOD.chain_der, [other.root, *ROOTS], NOW).name.node == NODE


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(FLAWED.other_authority, id="other_authority"),
        pytest.param(FLAWED.self_signed, id="self_signed"),
        pytest.param(FLAWED.issued_by_a_member, id="issued_by_a_member"),
        pytest.param(FLAWED.no_name, id="no_name"),
        pytest.param(FLAWED.two_names, id="two_names"),
        pytest.param(FLAWED.hub_with_two_names, id="hub_with_two_names"),
        pytest.param(FLAWED.directory_key_for_tls, id="directory_key_for_tls"),
        pytest.param(FLAWED.foreign_federation, id="foreign_federation"),
        pytest.param(FLAWED.unknown_role, id="unknown_role"),
        pytest.param(FLAWED.node_with_the_hubs_host_name, id="node_with_the_hubs_host_name"),
        pytest.param(FLAWED.node_with_all_of_the_hub_but_its_uri, id="node_with_all_of_the_hub_but_its_uri"),
        pytest.param(lambda: FLAWED.wrong_role(Role.HUB), id="hub_made_for_a_client"),
        pytest.param(lambda: FLAWED.wrong_role(Role.DIRECTORY), id="directory_made_for_a_client"),
        pytest.param(FLAWED.wrong_purpose, id="wrong_purpose"),
        pytest.param(FLAWED.both_purposes, id="both_purposes"),
        pytest.param(FLAWED.claims_to_be_an_authority, id="claims_to_be_an_authority"),
        pytest.param(FLAWED.weak_rsa, id="weak_rsa"),
        pytest.param(FLAWED.weak_curve, id="weak_curve"),
        pytest.param(FLAWED.unusual_curve, id="unusual_curve"),
        pytest.param(FLAWED.weak_signature, id="weak_signature"),
    ],
)
def test_a_flawed_certificate_is_refused(make: Callable[[], Presented]) -> None:
    with pytest.raises(CertificateRefused):
        verify_peer(make().chain_der, ROOTS, NOW)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(FLAWED.no_name, id="no_name"),
        pytest.param(FLAWED.two_names, id="two_names"),
        pytest.param(FLAWED.unknown_role, id="unknown_role"),
        pytest.param(FLAWED.node_with_the_hubs_host_name, id="node_with_the_hubs_host_name"),
        pytest.param(lambda: FLAWED.wrong_role(Role.HUB), id="hub_made_for_a_client"),
        pytest.param(FLAWED.both_purposes, id="both_purposes"),
        pytest.param(FLAWED.claims_to_be_an_authority, id="claims_to_be_an_authority"),
        pytest.param(FLAWED.weak_rsa, id="weak_rsa"),
        pytest.param(FLAWED.weak_signature, id="weak_signature"),
    ],
)
def test_the_profile_alone_refuses_what_the_handshake_lets_pass(make: Callable[[], Presented]) -> None:
    with pytest.raises(CertificateRefused):
        leaf_identity(make().leaf)


def test_time_is_a_typed_error() -> None:
    with pytest.raises(Expired):
        verify_peer(FLAWED.expired().chain_der, ROOTS, NOW)
    with pytest.raises(NotYetValid):
        verify_peer(FLAWED.not_yet_valid().chain_der, ROOTS, NOW)
    last = GOOD.leaf.not_valid_after_utc
    assert verify_peer(GOOD.chain_der, ROOTS, last).name.node == NODE
    with pytest.raises(Expired):
        verify_peer(GOOD.chain_der, ROOTS, last + timedelta(seconds=1))


def test_a_chain_without_its_authority_is_refused() -> None:
    with pytest.raises(CertificateRefused):
        verify_peer(GOOD.chain_der[:1], ROOTS, NOW)


@pytest.mark.parametrize("length", [0, 5])
def test_a_chain_of_unreasonable_length_is_refused(length: int) -> None:
    with pytest.raises(CertificateRefused):
        verify_peer(GOOD.chain_der[:1] * length, ROOTS, NOW)


def test_no_roots_means_no_trust() -> None:
    with pytest.raises(CertificateRefused):
        verify_peer(GOOD.chain_der, [], NOW)


def test_the_authoritys_own_certificate_opens_no_connection() -> None:
    with pytest.raises(CertificateRefused):
        verify_peer([AUTHORITY.certificate.public_bytes(Encoding.DER)], ROOTS, NOW)


def test_another_federations_authority_cannot_certify_our_names_even_if_its_root_is_trusted() -> None:
    """What URI name constraints would do, were they supported."""
    other = federation_authority(NOW, FederationName("other.example"))
    ours_by_them = FlawedCertificates(
        type(other)(FEDERATION, other.certificate, other.key, other.parents), NOW
    ).good()
    with pytest.raises(CertificateRefused, match="another federation"):
        verify_peer(ours_by_them.chain_der, [*ROOTS, other.root], NOW)


def test_an_issuing_authority_cannot_make_authorities() -> None:
    """Path length 0: a stolen issuing key makes leaves, which the deny list reaches, nothing above them."""
    rogue = create_issuing(type(AUTHORITY)(FEDERATION, AUTHORITY.certificate, AUTHORITY.key), FEDERATION, NOW)
    leaf = FlawedCertificates(rogue, NOW).good().leaf
    shown = [each.public_bytes(Encoding.DER) for each in (leaf, rogue.certificate, AUTHORITY.certificate)]
    with pytest.raises(CertificateRefused):
        verify_peer(shown, ROOTS, NOW)


@given(st.integers(0, len(GOOD.chain_der[0]) - 1), st.integers(1, 255))
def test_every_flipped_octet_is_refused_with_a_typed_error(position: int, flip: int) -> None:
    changed = bytearray(GOOD.chain_der[0])
    changed[position] ^= flip
    with pytest.raises(CandorError):
        verify_peer([bytes(changed), *GOOD.chain_der[1:]], ROOTS, NOW)


@given(st.binary(max_size=200))
def test_octets_that_are_no_certificate_are_refused_with_a_typed_error(data: bytes) -> None:
    with pytest.raises(CertificateRefused):
        load_certificate(data)


def test_a_huge_certificate_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(CertificateRefused, match="at most"):
        load_certificate(bytes(1 << 20))


# --- the directory key ------------------------------------------------------------------------------


def test_the_directory_key_is_read_from_its_certificate() -> None:
    assert verify_directory_certificate(directory_chain(), ROOTS, FEDERATION, NOW) == DIRECTORY_KEY


def test_a_directory_certificate_has_its_time() -> None:
    with pytest.raises(Expired):
        verify_directory_certificate(directory_chain(), ROOTS, FEDERATION, NOW + timedelta(days=91))
    with pytest.raises(NotYetValid):
        verify_directory_certificate(directory_chain(), ROOTS, FEDERATION, NOW - timedelta(minutes=6))


def test_a_directory_certificate_of_another_authority_is_refused() -> None:
    with pytest.raises(CertificateRefused):
        verify_directory_certificate(directory_chain(), [federation_authority(NOW).root], FEDERATION, NOW)


def test_a_directory_certificate_of_another_federation_is_refused() -> None:
    with pytest.raises(CertificateRefused):
        verify_directory_certificate(directory_chain(), ROOTS, FederationName("other.example"), NOW)


def test_a_node_or_the_hub_cannot_sign_directories_with_its_tls_certificate() -> None:
    for shown in (GOOD, FLAWED.good_hub(), FLAWED.wrong_role(Role.DIRECTORY)):
        with pytest.raises(CertificateRefused):
            verify_directory_certificate(shown.chain_der, ROOTS, FEDERATION, NOW)


def test_a_directory_certificate_opens_no_connection() -> None:
    with pytest.raises(CertificateRefused):
        verify_peer(directory_chain(), ROOTS, NOW)


# --- roots ------------------------------------------------------------------------------------------


def test_a_root_names_its_federation() -> None:
    assert root_federation(AUTHORITY.root) == FEDERATION


def test_what_is_no_root_is_refused_as_one() -> None:
    for certificate in (AUTHORITY.certificate, GOOD.leaf, FLAWED.self_signed().leaf):
        with pytest.raises(CertificateRefused):
            root_federation(certificate)


def test_a_hub_of_a_federation_that_is_no_host_name_is_refused() -> None:
    key = new_tls_key()
    uri = x509.UniformResourceIdentifier("spiffe://a..b/hub")
    leaf = FLAWED.certify(key, [uri], purposes=[SERVER_AUTH])
    with pytest.raises(CandorError):
        verify_peer([each.public_bytes(Encoding.DER) for each in AUTHORITY.chain(leaf)], ROOTS, NOW)


def test_another_key_usage_than_the_roles_is_refused() -> None:
    wrong = FLAWED.certify(
        new_tls_key(),
        [x509.UniformResourceIdentifier(f"spiffe://{FEDERATION}/node/{NODE}")],
        agreement=True,
    )
    with pytest.raises(CertificateRefused):
        leaf_identity(wrong)


def test_a_self_signed_certificate_that_is_no_authority_is_no_root() -> None:
    key = new_tls_key()
    trust_domain = x509.UniformResourceIdentifier(f"spiffe://{FEDERATION}")
    with pytest.raises(CertificateRefused):
        root_federation(FLAWED.certify(key, [trust_domain], signer=key))
    assert root_federation(FLAWED.certify(key, [trust_domain], signer=key, authority=True)) == FEDERATION


def test_refusals_say_what_to_do_next() -> None:
    for make in (FLAWED.two_names, FLAWED.other_authority, FLAWED.weak_rsa, FLAWED.expired, FLAWED.no_name):
        with pytest.raises(CandorError) as refused:
            verify_peer(make().chain_der, ROOTS, NOW)
        assert refused.value.remedy


def test_errors_do_not_repeat_what_a_certificate_says() -> None:
    with pytest.raises(CertificateRefused) as refused:
        verify_peer(FLAWED.unknown_role().chain_der, ROOTS, NOW)
    assert "janitor" not in str(refused.value)


def test_an_expired_root_verifies_nothing() -> None:
    old = create_root(FEDERATION, NOW - timedelta(days=4000))
    shown = FlawedCertificates(
        type(old)(FEDERATION, AUTHORITY.certificate, AUTHORITY.key, (old.certificate,)), NOW
    ).good()
    with pytest.raises(CertificateRefused):
        verify_peer(shown.chain_der, [old.certificate], NOW)
