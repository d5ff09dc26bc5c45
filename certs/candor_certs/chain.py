"""From a certificate chain to a peer's identity, or an error: the one place that judges a chain.

Rules of this file:
- path building, signatures and path lengths are `cryptography`'s (x509.verification);
- what that leaves open is checked here: one URI name, no host names but the hub's, exactly the role's
  purposes, key strength, signature algorithm, and the federation of the root (URI name constraints are
  beyond the library);
- nothing from a certificate is repeated in a message except names and times that were parsed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from candor_certs.names import PeerName, Role, hub_dns_name, parse_spiffe, parse_trust_domain
from candor_certs.profiles import PROFILES, SIGNATURE_ALGORITHMS, Profile, TlsPublicKey, check_tls_key
from candor_proto.errors import CertificateRefused, Expired, InputInvalid, MalformedMessage, NotYetValid
from candor_proto.ids import Digest, FederationName

MAX_CERTIFICATE_OCTETS = 16 * 1024
MAX_CHAIN = 4
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True)
class PeerIdentity:
    """Who is at the other end, as the certificate says.

    `authorities` are the serials of the certificates presented above it.
    """

    name: PeerName
    serial: int
    fingerprint: Digest
    not_before: datetime
    not_after: datetime
    public_key: TlsPublicKey = field(repr=False, compare=False)
    authorities: frozenset[int] = frozenset()

    def check_time(self, now: datetime) -> None:
        """Raises Expired or NotYetValid; the certificate's last second still counts."""
        if now > self.not_after:
            raise Expired(
                f"The certificate of {self.name} ended on {self.not_after:%Y-%m-%d %H:%M:%S} UTC.",
                remedy="Renew it; `candor-node doctor` says why renewal failed.",
            )
        if now < self.not_before:
            raise NotYetValid(
                f"The certificate of {self.name} begins on {self.not_before:%Y-%m-%d %H:%M:%S} UTC.",
                remedy="Check the clocks of both machines.",
            )


def verify_peer(
    chain: Sequence[bytes], trust_roots: Sequence[x509.Certificate], now: datetime
) -> PeerIdentity:
    """The identity behind `chain` (DER, own certificate first), good at `now` under one of the roots.

    Raises CertificateRefused, Expired or NotYetValid.
    """
    leaf, above = _load_chain(chain)
    identity = leaf_identity(leaf, above)
    identity.check_time(now)
    _verify_path(leaf, above, trust_roots, now, identity.name)
    return identity


def verify_directory_certificate(
    chain: Sequence[bytes],
    trust_roots: Sequence[x509.Certificate],
    federation: FederationName,
    now: datetime,
) -> Ed25519PublicKey:
    """The federation's directory key, if `chain` (DER, its certificate first) certifies it at `now`.

    Raises CertificateRefused, Expired or NotYetValid.
    """
    leaf, above = _load_chain(chain)
    name, public_key = _check_profile(leaf)
    if name != PeerName(federation, Role.DIRECTORY):
        raise _refused(f"The certificate is for {name}, not for the directory key of {federation}.")
    if not isinstance(public_key, Ed25519PublicKey):
        raise _refused("The directory certificate does not hold an Ed25519 key.")
    if now > leaf.not_valid_after_utc:
        raise Expired(
            f"The directory key's certificate ended on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC.",
            remedy="The hub's operator renews it; until then no new directory can be trusted.",
        )
    if now < leaf.not_valid_before_utc:
        raise NotYetValid(
            f"The directory key's certificate begins on {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC.",
            remedy="Check this machine's clock.",
        )
    _verify_path(leaf, above, trust_roots, now, name)
    return public_key


def leaf_identity(leaf: x509.Certificate, above: Sequence[x509.Certificate] = ()) -> PeerIdentity:
    """What `leaf` says, if it keeps its role's profile. Raises CertificateRefused.

    Who issued it, and whether it is still valid, is *not* checked: the handshake verified the path, and
    `check_time` belongs to the call.
    """
    name, public_key = _check_profile(leaf)
    if name.role is Role.DIRECTORY:
        raise _refused("A directory key's certificate does not open connections.")
    return PeerIdentity(
        name=name,
        serial=leaf.serial_number,
        fingerprint=certificate_fingerprint(leaf),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        public_key=check_tls_key(public_key),
        authorities=frozenset(certificate.serial_number for certificate in above),
    )


def certificate_fingerprint(certificate: x509.Certificate) -> Digest:
    """SHA-256 of the certificate's DER."""
    return Digest(hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse one certificate in DER; raises CertificateRefused."""
    if len(der) > MAX_CERTIFICATE_OCTETS:
        raise _refused(f"A certificate is at most {MAX_CERTIFICATE_OCTETS} octets.")
    try:
        return x509.load_der_x509_certificate(der)
    except _UNREADABLE:
        raise _refused("A certificate cannot be read.") from None


def root_federation(certificate: x509.Certificate) -> FederationName:
    """The federation of a root certificate; its validity in time is not checked.

    Raises CertificateRefused unless it is a self-signed authority that names one federation.
    """
    try:
        certificate.verify_directly_issued_by(certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (*_UNREADABLE, InvalidSignature, x509.ExtensionNotFound):
        raise _refused("The root certificate is not a self-signed authority.") from None
    if not constraints.ca:
        raise _refused("The root certificate is not an authority's.")
    if certificate.signature_algorithm_oid not in SIGNATURE_ALGORITHMS:
        raise _refused("The root certificate is signed with an algorithm that is not accepted.")
    check_tls_key(certificate.public_key())
    names = _alternative_names(certificate)
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise _refused("The root certificate does not name exactly one federation.")
    try:
        return parse_trust_domain(names[0].value)
    except MalformedMessage:
        raise _refused("The root certificate does not name a federation.") from None


def verify_issuing(certificate: x509.Certificate, root: x509.Certificate) -> None:
    """Check that `root` certified `certificate` as an issuing authority; its time is not checked.

    Raises CertificateRefused.
    """
    try:
        certificate.verify_directly_issued_by(root)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (*_UNREADABLE, InvalidSignature, x509.ExtensionNotFound):
        raise _refused("The issuing authority was not certified by the root beside it.") from None
    if not constraints.ca or constraints.path_length != 0 or not usage.key_cert_sign:
        raise _refused("The certificate is not that of an issuing authority.")
    names = _alternative_names(certificate)
    if names != _alternative_names(root):
        raise _refused("Issuing authority and root do not name the same federation.")


def _load_chain(chain: Sequence[bytes]) -> tuple[x509.Certificate, list[x509.Certificate]]:
    if not 1 <= len(chain) <= MAX_CHAIN:
        raise _refused(f"A certificate chain has 1 to {MAX_CHAIN} certificates, not {len(chain)}.")
    leaf, *above = [load_certificate(der) for der in chain]
    return leaf, above


def _check_profile(leaf: x509.Certificate) -> tuple[PeerName, object]:
    """Name and public key of a certificate that keeps the profile of the role it names."""
    if leaf.signature_algorithm_oid not in SIGNATURE_ALGORITHMS:
        raise _refused("The certificate is signed with an algorithm that is not accepted.")
    names = _alternative_names(leaf)
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    if len(uris) != 1:
        raise _refused(f"The certificate carries {len(uris)} URI names; it must carry exactly one.")
    try:
        name = parse_spiffe(uris[0])
    except MalformedMessage:
        raise _refused("The certificate's URI name is not one of this kind of federation.") from None
    profile = PROFILES[name.role]
    # A host name in a node's certificate would let that node pose as the hub (see `mtls`).
    if len(names) != 1 and not profile.host_names:
        raise _refused(f"The certificate of {name} carries names besides its URI.")
    try:
        _check_usage(leaf, profile, name)
        return name, leaf.public_key()
    except x509.ExtensionNotFound:
        raise _refused(f"The certificate of {name} does not state its key's usage.") from None
    except _UNREADABLE:
        raise _refused(f"The certificate of {name} holds a key that cannot be read.") from None


def _check_usage(leaf: x509.Certificate, profile: Profile, name: PeerName) -> None:
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if set(purposes) != set(profile.purposes):
        raise _refused(f"The certificate of {name} is not made for the purposes of its role.")
    if leaf.extensions.get_extension_for_class(x509.KeyUsage).value != profile.key_usage():
        raise _refused(f"The certificate of {name} does not have the key usage of its role.")
    if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise _refused(f"The certificate of {name} claims to be an authority.")


def _alternative_names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []
    except _UNREADABLE:
        raise _refused("The certificate's names cannot be read.") from None


def _verify_path(
    leaf: x509.Certificate,
    above: Sequence[x509.Certificate],
    trust_roots: Sequence[x509.Certificate],
    now: datetime,
    name: PeerName,
) -> None:
    if not trust_roots:
        raise _refused("There is no root certificate to trust.")
    builder = verification.PolicyBuilder().store(verification.Store(list(trust_roots))).time(now)
    try:
        if name.role is Role.HUB:
            path = builder.build_server_verifier(x509.DNSName(hub_dns_name(name.federation))).verify(
                leaf, list(above)
            )
        elif name.role is Role.DIRECTORY:
            # The web's rules know no document signing; `_check_profile` has checked the leaf's extensions.
            builder = builder.extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
            path = builder.build_client_verifier().verify(leaf, list(above)).chain
        else:
            path = builder.build_client_verifier().verify(leaf, list(above)).chain
    except (verification.VerificationError, InputInvalid, *_UNREADABLE):
        raise CertificateRefused(
            f"The certificate of {name} was not issued by an authority that is trusted here.",
            remedy="Compare the root fingerprints of both sides; `candor-certs show` prints them.",
        ) from None
    # The stand-in for a URI name constraint, which the library cannot check.
    if root_federation(path[-1]) != name.federation:
        raise _refused(f"The certificate of {name} hangs from the root of another federation.")


def _refused(message: str) -> CertificateRefused:
    return CertificateRefused(
        message,
        remedy="The federation's authority writes no such certificate: ask the hub's operator, "
        "and enrol again.",
    )
