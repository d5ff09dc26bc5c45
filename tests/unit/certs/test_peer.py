"""Who is calling, from what gRPC reports; over real connections: integration/test_refused_certificates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from candor_certs.authority import certificates_pem
from candor_certs.chain import PeerIdentity
from candor_certs.names import PeerName, Role
from candor_certs.peer import check_claimed_node, identity_from_auth_context
from candor_certs.revocation import DenyList
from candor_proto.errors import (
    CertificateRefused,
    CertificateRevoked,
    DenyListStale,
    Expired,
    IdentityMismatch,
    NotAuthenticated,
    NotYetValid,
    WrongRole,
)
from candor_proto.ids import FederationName
from tests.certificates import (
    FEDERATION,
    NODE,
    OTHER_NODE,
    FlawedCertificates,
    Presented,
    federation_authority,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AUTHORITY = federation_authority(NOW)
FLAWED = FlawedCertificates(AUTHORITY, NOW)
GOOD = FLAWED.good()
EMPTY = DenyList(frozenset(), issued_at=NOW)


def reported(shown: Presented = GOOD) -> dict[str, list[bytes]]:
    """What grpc.aio 1.85.1 reports for `shown`, as far as it is read."""
    return {
        "transport_security_type": [b"ssl"],
        "ssl_tls_version": [b"TLSv1.3"],
        "x509_pem_cert": [certificates_pem(shown.chain[:1])],
        "x509_pem_cert_chain": [certificates_pem(shown.chain[1:])],
    }


def identify(
    context: Mapping[str, Iterable[bytes]],
    *,
    now: datetime = NOW,
    federation: FederationName = FEDERATION,
    deny_list: DenyList = EMPTY,
    roles: tuple[Role, ...] = (Role.NODE,),
) -> PeerIdentity:
    return identity_from_auth_context(
        context, federation=federation, now=now, deny_list=deny_list, required_roles=roles
    )


def test_a_good_caller() -> None:
    identity = identify(reported())
    assert identity.name == PeerName(FEDERATION, Role.NODE, NODE)
    check_claimed_node(identity, NODE)


def test_one_of_several_roles_will_do() -> None:
    auditor = FLAWED.wrong_role(Role.AUDITOR)
    assert identify(reported(auditor), roles=(Role.NODE, Role.AUDITOR)).name.role is Role.AUDITOR


@pytest.mark.parametrize(
    "missing", ["transport_security_type", "x509_pem_cert"], ids=["no_tls", "no_certificate"]
)
def test_a_caller_without_tls_or_certificate_is_nobody(missing: str) -> None:
    context = reported()
    del context[missing]
    with pytest.raises(NotAuthenticated):
        identify(context)


@pytest.mark.parametrize("kind", [b"insecure", b"local", b"alts"])
def test_another_transport_than_tls_is_refused(kind: bytes) -> None:
    with pytest.raises(NotAuthenticated):
        identify(reported() | {"transport_security_type": [kind]})


@pytest.mark.parametrize("versions", [[], [b"TLSv1.2"], [b""], [b"TLSv1.3", b"TLSv1.2"]])
def test_anything_but_tls_1_3_is_refused(versions: list[bytes]) -> None:
    with pytest.raises(CertificateRefused, match="TLS"):
        identify(reported() | {"ssl_tls_version": versions})


def test_a_certificate_of_another_federation_is_refused() -> None:
    with pytest.raises(CertificateRefused):
        identify(reported(), federation=FederationName("other.example"))


def test_time_is_that_of_the_call() -> None:
    with pytest.raises(Expired):
        identify(
            reported(), now=NOW + timedelta(days=8), deny_list=DenyList(frozenset(), NOW + timedelta(days=8))
        )
    with pytest.raises(NotYetValid):
        identify(reported(), now=NOW - timedelta(minutes=6))


def test_a_revoked_caller_is_refused() -> None:
    with pytest.raises(CertificateRevoked):
        identify(reported(), deny_list=DenyList(frozenset({GOOD.leaf.serial_number}), NOW))
    with pytest.raises(CertificateRevoked):
        identify(reported(), deny_list=DenyList(frozenset({AUTHORITY.certificate.serial_number}), NOW))


def test_a_stale_deny_list_admits_nobody() -> None:
    with pytest.raises(DenyListStale):
        identify(reported(), deny_list=DenyList(frozenset(), NOW - timedelta(hours=1)))


def test_a_role_that_may_not_call_is_refused() -> None:
    with pytest.raises(WrongRole):
        identify(reported(), roles=(Role.AUDITOR,))
    with pytest.raises(WrongRole):
        identify(reported(), roles=())


def test_a_claim_to_be_another_node_is_refused() -> None:
    with pytest.raises(IdentityMismatch):
        check_claimed_node(identify(reported()), OTHER_NODE)


def test_an_auditor_with_a_nodes_id_is_not_that_node() -> None:
    auditor = FLAWED.wrong_role(Role.AUDITOR)
    identity = identify(reported(auditor), roles=(Role.AUDITOR,))
    assert identity.name.node is not None
    with pytest.raises(IdentityMismatch):
        check_claimed_node(identity, identity.name.node)


@pytest.mark.parametrize("pem", [b"", b"not a certificate", certificates_pem(GOOD.chain[:1])[:-40]])
def test_certificates_that_cannot_be_read_are_refused(pem: bytes) -> None:
    with pytest.raises(CertificateRefused):
        identify(reported() | {"x509_pem_cert": [pem]})
    with pytest.raises(CertificateRefused):
        identify(reported() | {"x509_pem_cert_chain": [b"rubbish"]})


def test_a_certificate_shown_without_its_authoritys_is_refused() -> None:
    """Else a revoked issuing authority's serial could not be seen."""
    with pytest.raises(CertificateRefused, match="without"):
        identify(reported() | {"x509_pem_cert_chain": []})


def test_more_certificates_than_a_chain_has_are_refused() -> None:
    with pytest.raises(CertificateRefused, match="too many"):
        identify(reported() | {"x509_pem_cert_chain": [certificates_pem(GOOD.chain[1:] * 5)]})
    with pytest.raises(CertificateRefused, match="too long"):
        identify(reported() | {"x509_pem_cert_chain": [bytes(40_000)]})
