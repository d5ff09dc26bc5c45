"""Folders of authorities: `root.key root.crt`, and `issuing.key issuing.crt chain.crt`.

`chain.crt` is the issuing certificate followed by the root, so that an online machine with the issuing folder
alone knows what to trust while the root's key stays on its offline medium.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from candor_certs.authority import Authority, certificates_pem
from candor_certs.chain import root_federation, verify_issuing
from candor_certs.codes import passphrase
from candor_certs.store import (
    key_pem,
    locked_key_pem,
    make_private_folder,
    parse_certificates,
    parse_key,
    read_certificates,
    read_key,
    read_private,
    refuse_existing,
    write_certificates,
    write_new_key,
    write_new_private,
)
from candor_proto.errors import InputInvalid

ROOT_KEY, ROOT_CERTIFICATE = "root.key", "root.crt"
# What the key's file begins with when it lies under codes; readers of PEM pass over it.
_TITLE = "Candor root key, codes of persons: "
ISSUING_KEY, ISSUING_CERTIFICATE, CHAIN = "issuing.key", "issuing.crt", "chain.crt"


def save_root(authority: Authority, folder: Path, codes: Sequence[str] = ()) -> None:
    """Write a new root's folder, its key under `codes` (`codes.draw`) if there are any.

    Raises AlreadyExists, StoreUnusable.
    """
    make_private_folder(folder)
    refuse_existing(folder / ROOT_KEY, folder / ROOT_CERTIFICATE)
    # The key first: a certificate without its key would be trusted and never usable.
    if codes:
        title = f"{_TITLE}{len(codes)}\n".encode()
        write_new_private(folder / ROOT_KEY, title + locked_key_pem(authority.key, passphrase(codes)))
    else:
        write_new_key(folder / ROOT_KEY, authority.key)
    write_certificates(folder / ROOT_CERTIFICATE, [authority.certificate])


def persons(folder: Path) -> int:
    """How many persons have a code of the root's key in `folder`; 0 when it lies under none.

    Raises StoreUnusable.
    """
    title = read_private(folder / ROOT_KEY).partition(b"\n")[0].decode("ascii", "replace")
    number = title.removeprefix(_TITLE)
    return int(number) if title != number and number.isdigit() else 0


def load_root(folder: Path, codes: Sequence[str] = ()) -> Authority:
    """Raises StoreUnusable, InputInvalid (the codes are not those of the key) or CertificateRefused."""
    key = _authority_key(folder / ROOT_KEY, passphrase(codes) if codes else None)
    certificate = _one(folder / ROOT_CERTIFICATE)
    _check_pair(key, certificate, folder)
    return Authority(root_federation(certificate), certificate, key)


def save_issuing(authority: Authority, folder: Path) -> None:
    """Write a new issuing authority's folder; raises AlreadyExists, StoreUnusable."""
    make_private_folder(folder)
    refuse_existing(folder / ISSUING_KEY, folder / ISSUING_CERTIFICATE, folder / CHAIN)
    write_new_key(folder / ISSUING_KEY, authority.key)
    write_certificates(folder / ISSUING_CERTIFICATE, [authority.certificate])
    write_certificates(folder / CHAIN, [authority.certificate, *authority.parents])


def load_issuing(folder: Path) -> Authority:
    """Raises StoreUnusable, InputInvalid or CertificateRefused."""
    key = _authority_key(folder / ISSUING_KEY)
    certificate, *parents = read_certificates(folder / CHAIN)
    if len(parents) != 1 or certificate != _one(folder / ISSUING_CERTIFICATE):
        raise InputInvalid(
            f"{folder / CHAIN} is not {ISSUING_CERTIFICATE} followed by the root's certificate.",
            remedy="Restore the folder as `candor-certs issuing create` wrote it.",
        )
    return _issuing(key, certificate, parents[0], folder)


def issuing_pem(authority: Authority) -> bytes:
    """An issuing authority as one secret: key, certificate, root's certificate. For private places only."""
    return key_pem(authority.key) + certificates_pem([authority.certificate, *authority.parents])


def parse_issuing(octets: bytes, place: str) -> Authority:
    """What `issuing_pem` wrote; raises InputInvalid or CertificateRefused."""
    key, certificates = parse_key(octets, place), parse_certificates(octets, place)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or len(certificates) != 2:
        raise InputInvalid(f"{place} does not hold an issuing authority.", remedy="Restore it from a backup.")
    return _issuing(key, *certificates, place)


def _issuing(
    key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, root: x509.Certificate, place: Path | str
) -> Authority:
    _check_pair(key, certificate, place)
    federation = root_federation(root)
    verify_issuing(certificate, root)
    return Authority(federation, certificate, key, (root,))


def _authority_key(path: Path, locked: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    key = read_key(path, locked)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputInvalid(f"{path} does not hold an authority's key.")
    return key


def _one(path: Path) -> x509.Certificate:
    found = read_certificates(path)
    if len(found) != 1:
        raise InputInvalid(f"{path} holds {len(found)} certificates; it must hold one.")
    return found[0]


def _check_pair(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, place: Path | str) -> None:
    if certificate.public_key() != key.public_key():
        raise InputInvalid(
            f"Key and certificate in {place} do not belong together.",
            remedy="Restore both from the same backup.",
        )
