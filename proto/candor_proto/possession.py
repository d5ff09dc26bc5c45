"""Proof that who asks for a certificate holds the member's signing key (docs/protocol.md §8.6, §8.7).

The TLS key only opens connections and changes every few days. If it alone could have its successor certified,
whoever copied it once would stay for ever.
"""

from __future__ import annotations

from candor_proto.canonical import Writer
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SignedStatement, SigningKey, VerifyingKey

CONTEXT = "certificate-request"


def sign_certificate_request(
    key: SigningKey, federation: FederationName, node: NodeId, request_der: bytes
) -> bytes:
    """The signature that goes with a certificate request (PKCS #10, DER), 64 octets."""
    return key.sign(CONTEXT, _body(federation, node, request_der)).signature


def check_possession(
    signature: bytes, key: VerifyingKey, federation: FederationName, node: NodeId, request_der: bytes
) -> None:
    """Raises SignatureInvalid unless the holder of `key` signed this request for this node."""
    SignedStatement(_body(federation, node, request_der), signature).verify(CONTEXT, key, str(node))


def _body(federation: FederationName, node: NodeId, request_der: bytes) -> bytes:
    return Writer(CONTEXT).text(str(federation)).text(str(node)).octets(request_der).finish()
