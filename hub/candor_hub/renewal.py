"""Certifying a member's next TLS key (docs/protocol.md §8.6).

Rules of this file:
- who asks is known from the certificate of the call, and proves besides that it holds the signing key in the
  directory: a copied TLS key does not certify its successor;
- certificate and the request it answers are one transaction;
- a reply may be lost, so the very same request is answered with the very same certificate;
- a member has at most MAX_LIVE_CERTIFICATES at a time, which bounds how often it can renew as well.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.authority import Authority
from candor_certs.chain import PeerIdentity
from candor_certs.names import PeerName, Role
from candor_certs.requests import check_request
from candor_hub.authorities import chain_of
from candor_hub.keys import HubKeys
from candor_hub.store import Store, Transaction
from candor_hub.store.certificates import CertificateRecord
from candor_proto.canonical import digest
from candor_proto.directory import Member, MemberStatus
from candor_proto.errors import (
    CertificateRefused,
    CertificateRevoked,
    LimitExceeded,
    MemberSuspended,
    NotAMember,
)
from candor_proto.ids import Digest, NodeId
from candor_proto.possession import check_possession

# A member needs two while it changes from one to the next; more is a program gone wild, or a thief.
MAX_LIVE_CERTIFICATES = 8


class Renewal:
    """Issues certificates to members; safe to use from several threads."""

    def __init__(self, store: Store, keys: Callable[[], HubKeys]) -> None:
        self._store = store
        self._keys = keys

    def renew(
        self, request_der: bytes, signature: bytes, member: Member, caller: PeerIdentity, now: datetime
    ) -> tuple[bytes, ...]:
        """A certificate chain (DER) for the key in `request_der`; durable when this returns.

        Raises SignatureInvalid, MemberSuspended, CertificateRevoked, CertificateRefused (a key that was
        certified before), LimitExceeded, and what `requests.check_request` raises.
        """
        node, federation = member.node, self._keys().authority.federation
        public_key = check_request(request_der, PeerName(federation, Role.NODE, node))
        check_possession(signature, member.signing_key, federation, node, request_der)
        request = Digest(digest("certificate-request", request_der))
        with self._store.write() as tx:
            _check_standing(tx, node, caller)
            earlier = tx.certificates.answer_to(node, request)
            if earlier is not None:
                return again(tx, earlier)
            check_fresh(public_key, tx.certificates.of(node))
            check_live(tx, node, now)
            authority = self._keys().as_of(tx).authority
            leaf = authority.issue_node(request_der, node, now)
            record_certificate(tx, node, leaf, authority, now)
            tx.certificates.add_renewal(node, request, leaf.serial_number, caller.serial)
        return chain_der(authority, leaf)


def check_live(tx: Transaction, node: NodeId, now: datetime) -> None:
    """Raises LimitExceeded when the member has as many live certificates as it may."""
    live = sum(1 for certificate in tx.certificates.of(node) if certificate.live(now))
    if live >= MAX_LIVE_CERTIFICATES:
        raise LimitExceeded(
            f"{node} has {live} certificates that are still good, and may have no more.",
            remedy=f"Wait until one ends; `candor-hub certificates {node}` lists them.",
        )


def record_certificate(
    tx: Transaction, node: NodeId, leaf: x509.Certificate, authority: Authority, now: datetime
) -> None:
    """Store a certificate, in the transaction that issues it."""
    der, issuer = leaf.public_bytes(Encoding.DER), authority.certificate.serial_number
    tx.members.add_certificate(node, leaf.serial_number, der, now, leaf.not_valid_after_utc, issuer)


def chain_der(authority: Authority, leaf: x509.Certificate) -> tuple[bytes, ...]:
    """What a node gets: its certificate, then every authority below the root."""
    return tuple(each.public_bytes(Encoding.DER) for each in authority.chain(leaf))


def _check_standing(tx: Transaction, node: NodeId, caller: PeerIdentity) -> None:
    """Once more, in the transaction: what was revoked a moment ago certifies nothing any more."""
    status = tx.members.statuses({node}).get(node)
    if status is None:
        raise NotAMember(f"{node} is not a member.")
    if status is not MemberStatus.ACTIVE:
        raise MemberSuspended(f"{node} is suspended.", remedy="Ask the hub's operator.")
    if tx.certificates.any_denied({caller.serial, *caller.authorities}):
        raise CertificateRevoked(f"The certificate of {node} (serial {caller.serial:x}) has been revoked.")


def again(tx: Transaction, earlier: CertificateRecord) -> tuple[bytes, ...]:
    """The answer that was given before, whatever authority is in use now.

    Raises CertificateRevoked, or CertificateRefused when its authority is not known any more.
    """
    if earlier.denied:
        raise CertificateRevoked(
            f"The certificate of {earlier.node} (serial {earlier.serial:x}) has been revoked.",
            remedy="Ask with a new key.",
        )
    return chain_of(tx, earlier)


def check_fresh(public_key: object, earlier: tuple[CertificateRecord, ...]) -> None:
    """Raises CertificateRefused when one of the member's earlier certificates holds this key."""
    # A key that is certified for ever is one key: who copied it once would be renewed along with it.
    for certificate in earlier:
        if x509.load_der_x509_certificate(certificate.der).public_key() == public_key:
            raise CertificateRefused(
                "This key was certified before.", remedy="Make a new TLS key for each certificate."
            )
