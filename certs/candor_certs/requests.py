"""Certificate requests (PKCS #10): made where the key lives, checked strictly where it is certified.

The authority takes the public key from a request and nothing else: names, usages and times come from the
profile and from what the operator or the directory says about the applicant.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.names import PeerName, Role
from candor_certs.profiles import TlsPrivateKey, TlsPublicKey, check_tls_key
from candor_proto.errors import CertificateRefused, IdentityMismatch, LimitExceeded, MalformedMessage
from candor_proto.ids import FederationName, NodeId

MAX_REQUEST_OCTETS = 8192
_REMEDY = "Join with `candor-node join`, which makes the request from the invitation."
_SIGNATURE_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def new_tls_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key: BoringSSL (inside gRPC) offers it in every handshake, Ed25519 it does not."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate_request(
    key: TlsPrivateKey, federation: FederationName, node: NodeId | None, role: Role = Role.NODE
) -> bytes:
    """A PKCS #10 request in DER for the name (federation, role, node), signed with `key`."""
    name = PeerName(federation, role, node)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name.uri)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(Encoding.DER)


def check_request(request_der: bytes, expected: PeerName) -> TlsPublicKey:
    """The public key of a request that is signed by it, strong enough, and made for exactly `expected`.

    Raises MalformedMessage, LimitExceeded, IdentityMismatch (another name) or CertificateRefused.
    """
    if len(request_der) > MAX_REQUEST_OCTETS:
        raise LimitExceeded(f"A certificate request is at most {MAX_REQUEST_OCTETS} octets.", remedy=_REMEDY)
    try:
        request = x509.load_der_x509_csr(request_der)
        names = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        public_key = request.public_key()
        digest = request.signature_hash_algorithm
    except x509.ExtensionNotFound:
        raise IdentityMismatch("The certificate request names nobody.", remedy=_REMEDY) from None
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion):
        raise MalformedMessage(
            "The certificate request is not a readable PKCS #10 request in DER.", remedy=_REMEDY
        ) from None
    key = check_tls_key(public_key)
    if not isinstance(digest, _SIGNATURE_HASHES):
        raise CertificateRefused("The certificate request is not signed with SHA-2.", remedy=_REMEDY)
    # Proof of possession: without it a member could have another's public key certified under its own name.
    if not _signed_by_its_own_key(request):
        raise CertificateRefused("The certificate request is not signed by the key it holds.", remedy=_REMEDY)
    if names != [x509.UniformResourceIdentifier(expected.uri)]:
        raise IdentityMismatch(
            f"The certificate request is not for {expected.uri} alone.",
            remedy=_REMEDY,
        )
    return key


def _signed_by_its_own_key(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
