"""Who is calling: from what gRPC reports of a connection to a PeerIdentity, on every call.

The handshake has verified the path to the federation's root, once. Everything else is checked here, and again
on each call, because a stream outlives its handshake: TLS version, profile, name, key, validity *now*, deny
list, role. Nothing in a request's body is believed about identity.

What `context.auth_context()` holds, tried with grpc.aio 1.85.1 over mTLS (a dict of lists of bytes):
  transport_security_type           [b"ssl"]           the key is absent on an insecure port
  ssl_tls_version                   [b"TLSv1.3"]       or b"TLSv1.2", which gRPC still offers
  security_level                    [b"TSI_PRIVACY_AND_INTEGRITY"]
  ssl_negotiated_key_exchange_group [b"X25519MLKEM768"]
  ssl_session_reused                [b"false"]
  ssl_requested_server_name         [the client's SNI, that is grpc.ssl_target_name_override]
  x509_pem_cert                     [the peer's own certificate, PEM]; absent if it sent none
  x509_pem_cert_chain               [one PEM text of what it sent besides; on the server *without* the leaf]
  x509_subject, x509_common_name    [subject]; may be empty, never used
  x509_subject_alternative_name     [every name]; peer_uri, peer_spiffe_id: the URI among them
The names are read from x509_pem_cert, not from the lists: one parser decides, and it is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import lru_cache

from cryptography import x509

from candor_certs.chain import MAX_CERTIFICATE_OCTETS, MAX_CHAIN, PeerIdentity, leaf_identity
from candor_certs.names import Role
from candor_certs.revocation import DenyList
from candor_proto.errors import CandorError, CertificateRefused, IdentityMismatch, NotAuthenticated, WrongRole
from candor_proto.ids import FederationName, NodeId

TLS_VERSION = b"TLSv1.3"


def identity_from_auth_context(
    auth_context: Mapping[str, Iterable[bytes]],
    *,
    federation: FederationName,
    now: datetime,
    deny_list: DenyList,
    required_roles: Collection[Role],
) -> PeerIdentity:
    """The caller, if its certificate is good at `now` and its role is one of `required_roles`.

    Raises NotAuthenticated, CertificateRefused, Expired, NotYetValid, CertificateRevoked, DenyListStale or
    WrongRole, in the order authenticate, revocation, authorise.
    """
    if list(auth_context.get("transport_security_type", ())) != [b"ssl"]:
        raise NotAuthenticated(
            "The connection is not encrypted with TLS.", remedy="Connect to the hub's address over TLS."
        )
    leaf_pem = list(auth_context.get("x509_pem_cert", ()))
    if len(leaf_pem) != 1:
        raise NotAuthenticated(
            "The caller presented no certificate.", remedy="Join the federation first: `candor-node join`."
        )
    if list(auth_context.get("ssl_tls_version", ())) != [TLS_VERSION]:
        raise CertificateRefused(
            "The connection does not use TLS 1.3.", remedy="Remove whatever holds TLS at an older version."
        )
    identity = _identity(leaf_pem[0], b"".join(auth_context.get("x509_pem_cert_chain", ())))
    if identity.name.federation != federation:
        raise CertificateRefused(
            f"The certificate of {identity.name} is not one of {federation}.",
            remedy="Check which federation's hub is being called.",
        )
    identity.check_time(now)
    deny_list.check(identity, now)
    if identity.name.role not in required_roles:
        raise WrongRole(
            f"A certificate of the role {identity.name.role.value} may not call this method.",
            remedy="Use the certificate of the role that may, or ask the hub's operator.",
        )
    return identity


def shown_node(auth_context: Mapping[str, Iterable[bytes]]) -> NodeId | None:
    """Which member's certificate this connection was made with; None if none is shown, or none can be read.

    For turns alone: neither its validity now nor the deny list is looked at.
    """
    leaf_pem = list(auth_context.get("x509_pem_cert", ()))
    if len(leaf_pem) != 1:
        return None
    try:
        return _identity(leaf_pem[0], b"".join(auth_context.get("x509_pem_cert_chain", ()))).name.node
    except CandorError:
        return None


def check_claimed_node(identity: PeerIdentity, claimed: NodeId) -> None:
    """Raises IdentityMismatch unless the certificate is that of the node a message names as its sender."""
    if identity.name.role is not Role.NODE or identity.name.node != claimed:
        raise IdentityMismatch(
            f"The message claims to come from {claimed}; the certificate is {identity.name}.",
            remedy="Send it from the node it names.",
        )


# Parsing costs more than all other checks and depends on neither time nor deny list.
@lru_cache(maxsize=4096)
def _identity(leaf_pem: bytes, above_pem: bytes) -> PeerIdentity:
    if len(leaf_pem) + len(above_pem) > 2 * MAX_CERTIFICATE_OCTETS:
        raise _unusable("too long")
    try:
        leaf = x509.load_pem_x509_certificate(leaf_pem)
        above = x509.load_pem_x509_certificates(above_pem) if above_pem else []
    except (ValueError, TypeError, x509.InvalidVersion):
        raise _unusable("unreadable") from None
    if len(above) > MAX_CHAIN:
        raise _unusable("too many")
    # The deny list takes a whole issuing authority along by its serial, so that certificate has to be shown.
    if not above:
        raise _unusable("shown without their authority's")
    return leaf_identity(leaf, above)


def _unusable(how: str) -> CertificateRefused:
    return CertificateRefused(
        f"The caller's certificates are {how}.",
        remedy="Present the node's certificate with the issuing authority's after it, as enrolled.",
    )
