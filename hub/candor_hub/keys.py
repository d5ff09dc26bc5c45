"""The hub's own keys and certificates, and their renewal.

    keys/database.key     32 octets; without it the database cannot be read
    keys/directory.key    Ed25519, signs the directory; directory.crt is its chain
    keys/hub.pem          the TLS key and its chain

Rules of this file:
- keys are made by `candor-hub init` alone; renewal makes a new TLS key, and certifies the same directory key;
- what is due is renewed at two thirds of its life, by the hub itself, because it holds the issuing authority;
- what hangs from another authority than the present one is due: an authority that was replaced may be denied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.authority import Authority
from candor_certs.names import Role, enrolment_dns_name
from candor_certs.profiles import renewal_time
from candor_certs.requests import certificate_request, new_tls_key
from candor_certs.store import (
    TlsIdentity,
    read_certificates,
    read_identity,
    read_key,
    replace_identity,
    write_certificates,
)
from candor_proto.errors import ConfigInvalid, InputInvalid
from candor_proto.ids import FederationName
from candor_proto.signing import SigningKey

DATABASE_KEY, DIRECTORY_KEY, DIRECTORY_CHAIN, TLS = (
    "database.key",
    "directory.key",
    "directory.crt",
    "hub.pem",
)


@dataclass(frozen=True)
class HubKeys:
    """What the hub signs with and shows."""

    folder: Path
    authority: Authority
    tls: TlsIdentity
    directory_key: SigningKey
    directory_chain: tuple[x509.Certificate, ...]

    @property
    def root(self) -> x509.Certificate:
        return self.authority.root

    @property
    def directory_chain_der(self) -> tuple[bytes, ...]:
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in self.directory_chain)


def load_keys(folder: Path, issuing: Path, federation: FederationName) -> HubKeys:
    """Raises StoreUnusable, InputInvalid, CertificateRefused or ConfigInvalid."""
    # Here, because `folders` is one of the slower imports and only `run`, `invite` and their like need it.
    from candor_certs.folders import load_issuing

    authority = load_issuing(issuing)
    if authority.federation != federation:
        raise ConfigInvalid(
            f"The issuing authority in {issuing} is that of {authority.federation}, not of {federation}.",
            remedy="Correct `issuing` or `federation` in the configuration.",
        )
    key = read_key(folder / DIRECTORY_KEY)
    if not isinstance(key, Ed25519PrivateKey):
        raise InputInvalid(f"{folder / DIRECTORY_KEY} is not an Ed25519 key.", remedy="Restore the folder.")
    chain = read_certificates(folder / DIRECTORY_CHAIN)
    if chain[0].public_key() != key.public_key():
        raise InputInvalid(
            f"{DIRECTORY_KEY} and {DIRECTORY_CHAIN} in {folder} do not belong together.",
            remedy="Restore both from the same backup.",
        )
    return HubKeys(folder, authority, read_identity(folder / TLS), SigningKey(key.private_bytes_raw()), chain)


def issue_tls(folder: Path, authority: Authority, now: datetime) -> TlsIdentity:
    """A new TLS key and its certificate, stored in place of the old pair."""
    key = new_tls_key()
    request = certificate_request(key, authority.federation, None, Role.HUB)
    leaf = authority.issue_hub(request, now, dns_names=[enrolment_dns_name(authority.federation)])
    identity = TlsIdentity(key, authority.chain(leaf))
    replace_identity(folder / TLS, identity)
    return identity


def issue_directory(
    folder: Path, authority: Authority, key: SigningKey, now: datetime
) -> tuple[x509.Certificate, ...]:
    """A new certificate of the directory key, stored in place of the old one."""
    public = Ed25519PrivateKey.from_private_bytes(key.seed()).public_key()
    chain = authority.chain(authority.issue_directory(public, now))
    write_certificates(folder / DIRECTORY_CHAIN, chain)
    return chain


def renew(keys: HubKeys, now: datetime) -> HubKeys:
    """`keys` with fresh certificates where they are due; the same object if none is."""
    renewed = keys
    if _due(keys.tls.chain, keys.authority, now):
        renewed = replace(renewed, tls=issue_tls(keys.folder, keys.authority, now))
    if _due(keys.directory_chain, keys.authority, now):
        chain = issue_directory(keys.folder, keys.authority, keys.directory_key, now)
        renewed = replace(renewed, directory_chain=chain)
    return renewed


def _due(chain: tuple[x509.Certificate, ...], authority: Authority, now: datetime) -> bool:
    own = chain[0]
    if chain != authority.chain(own):
        return True
    return now >= renewal_time(own.not_valid_before_utc, own.not_valid_after_utc)
