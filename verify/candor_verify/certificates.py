"""From a certificate chain to the federation's directory key (§10.1), as of a given moment.

Path, signatures, validity, authority bits, path lengths and URI name constraints are judged here, by
RFC 5280; an extension that is critical and not known refuses the certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from candor_verify.errors import CertificateRefused, Expired, LimitExceeded, NotYetValid
from candor_verify.octets import digest

MAX_CHAIN = 4
MAX_CERTIFICATE_OCTETS = 16 * 1024
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion)
_KNOWN = (
    x509.BasicConstraints.oid,
    x509.KeyUsage.oid,
    x509.ExtendedKeyUsage.oid,
    x509.SubjectAlternativeName.oid,
    x509.NameConstraints.oid,
    x509.SubjectKeyIdentifier.oid,
    x509.AuthorityKeyIdentifier.oid,
)


def chain_digest(chain: Sequence[bytes]) -> bytes:
    """What a directory says of the chain that it comes with (§10.1)."""
    return digest("certificate-chain", *chain)


def read_root(octets: bytes) -> x509.Certificate:
    """The reviewer's root, in PEM. Raises CertificateRefused."""
    try:
        return x509.load_pem_x509_certificate(octets)
    except _UNREADABLE:
        raise CertificateRefused("The root is no certificate in PEM.") from None


def directory_key(chain: Sequence[bytes], root: x509.Certificate, federation: str, moment: datetime) -> bytes:
    """The Ed25519 key of `spiffe://<federation>/hub/directory` under the root at that moment.

    Raises CertificateRefused, Expired, NotYetValid or LimitExceeded.
    """
    if not 0 < len(chain) <= MAX_CHAIN or any(len(der) > MAX_CERTIFICATE_OCTETS for der in chain):
        raise LimitExceeded("A certificate chain is empty, too long, or holds something too long.")
    try:
        return _directory_key(list(map(x509.load_der_x509_certificate, chain)), root, federation, moment)
    except _UNREADABLE:
        raise CertificateRefused("A certificate of the chain cannot be read.") from None


def _directory_key(
    chain: list[x509.Certificate], root: x509.Certificate, federation: str, moment: datetime
) -> bytes:
    if chain[-1] != root:
        chain.append(root)
    leaf, authorities = chain[0], chain[1:]
    if not authorities:
        raise CertificateRefused("The root itself is no directory certificate.")
    for depth, (certificate, issuer) in enumerate(zip(chain, [*authorities, root], strict=True)):
        _check_time(certificate, moment)
        _check_extensions(certificate)
        if depth:
            _check_authority(certificate, below=depth - 1)
        try:
            certificate.verify_directly_issued_by(issuer)
        except InvalidSignature:
            raise CertificateRefused("A certificate of the chain is not issued by the next one.") from None
    name = f"spiffe://{federation}/hub/directory"
    _check_leaf(leaf, name)
    for authority in authorities:
        _check_constraints(authority, name)
    key = leaf.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise CertificateRefused("The directory certificate does not hold an Ed25519 key.")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _check_time(certificate: x509.Certificate, moment: datetime) -> None:
    if moment < certificate.not_valid_before_utc:
        raise NotYetValid("A certificate of the chain begins after the moment that counts.")
    if moment > certificate.not_valid_after_utc:
        raise Expired("A certificate of the chain ended before the moment that counts.")


def _check_extensions(certificate: x509.Certificate) -> None:
    if any(each.critical and each.oid not in _KNOWN for each in certificate.extensions):
        raise CertificateRefused("A certificate of the chain holds a critical extension that is not known.")


def _check_authority(certificate: x509.Certificate, below: int) -> None:
    """`below`: authorities between it and the leaf."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise CertificateRefused("A certificate of the chain does not say that it is an authority.") from None
    too_long = basic.path_length is not None and below > basic.path_length
    if not basic.ca or not usage.key_cert_sign or too_long:
        raise CertificateRefused("A certificate of the chain may not issue the one below it.")


def _check_leaf(leaf: x509.Certificate, name: str) -> None:
    try:
        names = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise CertificateRefused("The directory certificate has no name, or no purpose.") from None
    if names != [x509.UniformResourceIdentifier(name)]:
        raise CertificateRefused("The certificate is not that of the federation's directory key.")
    if not usage.digital_signature or usage.key_cert_sign:
        raise CertificateRefused("The directory certificate is not for signatures alone.")
    try:
        basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return
    if basic.ca:
        raise CertificateRefused("The directory certificate is an authority's.")


def _check_constraints(authority: x509.Certificate, name: str) -> None:
    """URI constraints (RFC 5280 §4.2.1.10): a host as it is, or a domain that begins with a stop."""
    try:
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return
    host = urlsplit(name).hostname or ""

    def covered(subtrees: list[x509.GeneralName] | None) -> list[bool]:
        values = [each.value for each in subtrees or [] if isinstance(each, x509.UniformResourceIdentifier)]
        return [host.endswith(value) if value.startswith(".") else host == value for value in values]

    permitted = covered(constraints.permitted_subtrees)
    if (permitted and not any(permitted)) or any(covered(constraints.excluded_subtrees)):
        raise CertificateRefused("An authority of the chain may not issue this name.")
