"""What the authority writes, and what it refuses to certify."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from candor_certs.authority import Authority, create_issuing, create_root
from candor_certs.names import Role
from candor_certs.profiles import DOCUMENT_SIGNING
from candor_certs.requests import certificate_request, new_tls_key
from candor_proto.errors import Expired, IdentityMismatch, InputInvalid, NotYetValid
from candor_proto.ids import FederationName
from tests.certificates import FEDERATION, NODE, OTHER_NODE

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROOT = create_root(FEDERATION, NOW)
ISSUING = create_issuing(ROOT, FEDERATION, NOW)
REQUEST = certificate_request(new_tls_key(), FEDERATION, NODE)
HUB_REQUEST = certificate_request(new_tls_key(), FEDERATION, None, Role.HUB)


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


def purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def life(certificate: x509.Certificate) -> tuple[timedelta, timedelta]:
    return certificate.not_valid_before_utc - NOW, certificate.not_valid_after_utc - NOW


def test_a_root_lives_ten_years_and_an_issuing_authority_one() -> None:
    early = -timedelta(minutes=5)
    assert life(ROOT.certificate) == (early, timedelta(days=3652))
    assert life(ISSUING.certificate) == (early, timedelta(days=365))
    for authority, length in ((ROOT, 1), (ISSUING, 0)):
        constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=length)
        assert constraints.critical
        assert names(authority.certificate) == [f"spiffe://{FEDERATION}"]
    ISSUING.certificate.verify_directly_issued_by(ROOT.certificate)


def test_a_node_gets_its_uri_seven_days_and_client_authentication() -> None:
    leaf = ISSUING.issue_node(REQUEST, NODE, NOW)
    assert names(leaf) == [f"spiffe://{FEDERATION}/node/{NODE}"]
    assert purposes(leaf) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert life(leaf) == (-timedelta(minutes=5), timedelta(days=7))
    leaf.verify_directly_issued_by(ISSUING.certificate)


def test_the_hub_gets_its_uri_its_host_name_and_server_authentication() -> None:
    leaf = ISSUING.issue_hub(
        HUB_REQUEST, NOW, dns_names=["hub.county.example"], ip_addresses=[ipaddress.IPv4Address("127.0.0.1")]
    )
    assert names(leaf) == [
        f"spiffe://{FEDERATION}/hub",
        f"hub.{FEDERATION}",
        "hub.county.example",
        "127.0.0.1",
    ]
    assert purposes(leaf) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_the_directory_key_is_certified_for_ninety_days_and_for_no_connection() -> None:
    leaf = ISSUING.issue_directory(Ed25519PrivateKey.generate().public_key(), NOW)
    assert names(leaf) == [f"spiffe://{FEDERATION}/hub/directory"]
    assert purposes(leaf) == [DOCUMENT_SIGNING]
    assert life(leaf) == (-timedelta(minutes=5), timedelta(days=90))


def test_serials_are_random_and_can_be_given() -> None:
    serials = {ISSUING.issue_node(REQUEST, NODE, NOW).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert all(0 < serial < 1 << 159 for serial in serials)
    assert max(serials) > 1 << 140
    assert ISSUING.issue_node(REQUEST, NODE, NOW, serial=7).serial_number == 7


def test_a_request_for_another_node_is_not_certified() -> None:
    with pytest.raises(IdentityMismatch):
        ISSUING.issue_node(REQUEST, OTHER_NODE, NOW)
    with pytest.raises(IdentityMismatch):
        ISSUING.issue_hub(REQUEST, NOW)


def test_no_leaf_outlives_its_issuer() -> None:
    late = NOW + timedelta(days=363)
    leaf = ISSUING.issue_node(REQUEST, NODE, late)
    assert leaf.not_valid_after_utc == ISSUING.certificate.not_valid_after_utc


def test_no_issuing_authority_outlives_its_root() -> None:
    late = NOW + timedelta(days=3600)
    issuing = create_issuing(ROOT, FEDERATION, late)
    assert issuing.certificate.not_valid_after_utc == ROOT.certificate.not_valid_after_utc


def test_an_authority_outside_its_own_life_certifies_nothing() -> None:
    with pytest.raises(Expired) as refused:
        ISSUING.issue_node(REQUEST, NODE, NOW + timedelta(days=365))
    assert "issuing create" in refused.value.remedy
    with pytest.raises(NotYetValid):
        ISSUING.issue_node(REQUEST, NODE, NOW - timedelta(minutes=6))


def test_the_root_certifies_no_leaf_and_an_issuing_authority_no_authority() -> None:
    with pytest.raises(InputInvalid):
        ROOT.issue_node(REQUEST, NODE, NOW)
    with pytest.raises(InputInvalid):
        create_issuing(ISSUING, FEDERATION, NOW)


def test_an_issuing_authority_is_of_its_roots_federation() -> None:
    with pytest.raises(InputInvalid):
        create_issuing(ROOT, FederationName("other.example"), NOW)


def test_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(InputInvalid):
        ISSUING.issue_hub(HUB_REQUEST, NOW, dns_names=["bücher.example"])


def test_the_chain_that_is_presented_leaves_the_root_out() -> None:
    leaf = ISSUING.issue_node(REQUEST, NODE, NOW)
    assert ISSUING.chain(leaf) == (leaf, ISSUING.certificate)
    assert ISSUING.root == ROOT.certificate == ROOT.root


def test_an_authoritys_repr_does_not_show_its_key() -> None:
    assert "PrivateKey" not in repr(ISSUING)
    assert "key=" not in repr(ISSUING)
    assert isinstance(ISSUING, Authority)
