"""A certificate request that is under way, kept on the disk until its answer is there.

The hub may have certified a key although nobody heard of it. So key and request are stored, in one file and
in one step, before anything is sent: after whatever went wrong the very same request is sent again, and the
hub answers it with the very same certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.names import PeerName
from candor_certs.profiles import TlsPrivateKey
from candor_certs.requests import certificate_request, check_request, new_tls_key
from candor_certs.store import key_pem, read_key, read_private, write_new_private
from candor_proto.errors import CandorError


@dataclass(frozen=True)
class PendingRequest:
    """A fresh TLS key and the request (PKCS #10, DER) made with it."""

    key: TlsPrivateKey = field(repr=False)
    der: bytes = field(repr=False)


def begin(path: Path, name: PeerName) -> PendingRequest:
    """A new key and request for `name`, durably at `path` in place of older ones; raises StoreUnusable."""
    key = new_tls_key()
    der = certificate_request(key, name.federation, name.node, name.role)
    request_pem = x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)
    forget(path)
    write_new_private(path, key_pem(key) + request_pem)
    return PendingRequest(key, der)


def take_up(path: Path, name: PeerName) -> PendingRequest | None:
    """The request that is under way, if there is one and it is whole and for `name`."""
    if not path.exists():
        return None
    try:
        key = read_key(path)
        der = x509.load_pem_x509_csr(read_private(path)).public_bytes(Encoding.DER)
        public = check_request(der, name)
    except (CandorError, ValueError):
        return None
    if not isinstance(key, TlsPrivateKey) or public != key.public_key():
        return None
    return PendingRequest(key, der)


def forget(path: Path) -> None:
    """The request is answered, or was refused."""
    # Asked first: on a read-only disk even a name that is not there cannot be removed.
    if path.exists():
        path.unlink()
