"""Certificate requests: what the authority takes from them, and what it does not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from candor_certs.names import PeerName, Role
from candor_certs.requests import MAX_REQUEST_OCTETS, certificate_request, check_request, new_tls_key
from candor_proto.errors import (
    CandorError,
    CertificateRefused,
    IdentityMismatch,
    LimitExceeded,
    MalformedMessage,
)
from tests.certificates import FEDERATION, NODE, OTHER_NODE, FlawedCertificates, federation_authority

NAME = PeerName(FEDERATION, Role.NODE, NODE)
KEY = new_tls_key()
GOOD = certificate_request(KEY, FEDERATION, NODE)
Signer = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def request(
    key: Signer = KEY,
    names: Sequence[x509.GeneralName] = (x509.UniformResourceIdentifier(NAME.uri),),
    extra: Sequence[x509.ExtensionType] = (),
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extra:
        builder = builder.add_extension(extension, critical=False)
    used = None if isinstance(key, ed25519.Ed25519PrivateKey) else digest or hashes.SHA256()
    return builder.sign(key, used).public_bytes(Encoding.DER)  # type: ignore[arg-type]  # any digest, for the test


def test_a_request_made_here_is_accepted_and_yields_its_key() -> None:
    assert check_request(GOOD, NAME) == KEY.public_key()
    hub = certificate_request(KEY, FEDERATION, None, Role.HUB)
    assert check_request(hub, PeerName(FEDERATION, Role.HUB)) == KEY.public_key()


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([], id="no_name"),
        pytest.param([x509.UniformResourceIdentifier(f"spiffe://{FEDERATION}/hub")], id="the_hubs_name"),
        pytest.param(
            [x509.UniformResourceIdentifier("spiffe://other.example/node/alpha")], id="other_federation"
        ),
        pytest.param(
            [x509.UniformResourceIdentifier(NAME.uri), x509.UniformResourceIdentifier(NAME.uri)], id="twice"
        ),
        pytest.param(
            [x509.UniformResourceIdentifier(NAME.uri), x509.DNSName(f"hub.{FEDERATION}")],
            id="a_host_name_besides",
        ),
        pytest.param([x509.DNSName(NAME.uri.removeprefix("spiffe://"))], id="as_host_name"),
    ],
)
def test_a_request_for_another_name_is_refused(names: list[x509.GeneralName]) -> None:
    with pytest.raises(IdentityMismatch):
        check_request(request(names=names), NAME)


def test_a_request_of_another_member_is_refused() -> None:
    with pytest.raises(IdentityMismatch):
        check_request(certificate_request(KEY, FEDERATION, OTHER_NODE), NAME)


def test_a_request_signed_by_another_key_than_it_holds_is_refused() -> None:
    """Proof of possession: the last octets are the signature's."""
    parsed = x509.load_der_x509_csr(GOOD)
    other = x509.load_der_x509_csr(certificate_request(KEY, FEDERATION, OTHER_NODE))
    forged = GOOD.replace(parsed.signature, other.signature)
    if len(parsed.signature) != len(other.signature):  # DER lengths differ by an octet now and then
        forged = GOOD[:-4] + bytes(4)
    with pytest.raises(CertificateRefused):
        check_request(forged, NAME)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), id="rsa1024"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP192R1()), id="p192"),
        pytest.param(ed25519.Ed25519PrivateKey.generate, id="ed25519"),
    ],
)
def test_a_request_with_an_unsuitable_key_is_refused(key: object) -> None:
    with pytest.raises(CertificateRefused):
        check_request(request(key=key()), NAME)  # type: ignore[operator]  # a factory


def test_a_request_signed_with_a_short_digest_is_refused() -> None:
    with pytest.raises(CertificateRefused):
        check_request(request(digest=hashes.SHA224()), NAME)


def test_nothing_but_the_key_is_taken_from_a_request() -> None:
    """A request that asks to be an authority, and to serve, gets a plain client certificate."""
    authority = federation_authority()
    wishes = request(
        extra=[
            x509.BasicConstraints(ca=True, path_length=None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        ]
    )
    given_ = authority.issue_node(wishes, NODE, datetime.now(UTC))
    plain = FlawedCertificates(authority).good().leaf
    assert given_.subject == plain.subject
    for kind in (x509.BasicConstraints, x509.ExtendedKeyUsage, x509.SubjectAlternativeName, x509.KeyUsage):
        wished = given_.extensions.get_extension_for_class(kind)
        assert wished.value == plain.extensions.get_extension_for_class(kind).value
    assert len(given_.extensions) == len(plain.extensions)


@pytest.mark.parametrize(
    "data", [b"", b"\x30", GOOD[:-1], GOOD + b"\x00", b"-----BEGIN CERTIFICATE REQUEST-----"]
)
def test_what_is_no_request_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        check_request(data, NAME)


def test_a_long_request_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(LimitExceeded):
        check_request(bytes(MAX_REQUEST_OCTETS + 1), NAME)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_every_flipped_octet_is_refused_with_a_typed_error(position: int, flip: int) -> None:
    changed = bytearray(GOOD)
    changed[position] ^= flip
    with pytest.raises(CandorError):
        check_request(bytes(changed), NAME)


def test_a_private_keys_repr_shows_nothing() -> None:
    secret = KEY.private_numbers().private_value
    assert str(secret) not in repr(KEY)
    assert f"{secret:x}" not in repr(KEY)
