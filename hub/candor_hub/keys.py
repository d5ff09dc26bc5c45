"""The hub's own keys and certificates, and their renewal.

    keys/database.key     32 octets; without it the database cannot be read
    directory.key         Ed25519, signs the directory; directory.crt is its chain: both in the vault
    issuing-….pem         the issuing authority in use, in the vault; or the folder that `issuing` names
    keys/hub.pem          the TLS key and its chain, of each replica its own, made anew when it is not there

Rules of this file:
- keys are made by `candor-hub init` alone; renewal makes a new TLS key, and certifies the same directory key;
- what is due is renewed at two thirds of its life, by the hub itself, because it holds the issuing authority;
- what hangs from another authority than the present one is due: an authority that was replaced may be denied.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.authority import Authority, certificates_pem
from candor_certs.names import Role, enrolment_dns_name, hub_dns_name
from candor_certs.profiles import renewal_time
from candor_certs.requests import certificate_request, new_tls_key
from candor_certs.store import (
    TlsIdentity,
    key_pem,
    parse_certificates,
    parse_key,
    read_identity,
    replace_identity,
)
from candor_hub.authorities import load_authority
from candor_hub.store import Transaction
from candor_hub.store.authorities import AuthorityRecord
from candor_hub.vault import Vault
from candor_proto.errors import InputInvalid, StoreUnusable
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
    """What the hub signs with and shows; `folder` is where the TLS key is, `issuing` that of the settings.

    `own_tls` is None in a process that has none yet; `renew` makes it.
    """

    folder: Path
    issuing: Path
    vault: Vault = field(repr=False)
    authority: Authority
    own_tls: TlsIdentity | None
    directory_key: SigningKey
    directory_chain: tuple[x509.Certificate, ...]

    @property
    def tls(self) -> TlsIdentity:
        """The TLS key of this process, and its chain; raises StoreUnusable before there is one."""
        if self.own_tls is None:
            raise StoreUnusable(
                f"There is no {self.folder / TLS} yet.", remedy="`candor-hub run` makes it when it starts."
            )
        return self.own_tls

    @property
    def root(self) -> x509.Certificate:
        return self.authority.root

    @property
    def directory_chain_der(self) -> tuple[bytes, ...]:
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in self.directory_chain)

    def as_of(self, tx: Transaction) -> HubKeys:
        """These, with the authority and the directory's chain as they are in `tx`.

        The operator's command may have adopted another authority a moment ago, and another replica renewed
        the chain. Whoever issues or publishes asks here, in the transaction that does so. Raises
        StoreUnusable, InputInvalid or CertificateRefused when the authority in use cannot be used.
        """
        record = tx.authorities.newest()
        authority = self.authority
        if record is not None and record.serial != authority.certificate.serial_number:
            authority = load_authority(self.vault, self.issuing, authority.federation, record, tx)
        chain = _directory_chain(self.vault, tx)
        if chain == self.directory_chain and authority is self.authority:
            return self
        return replace(self, authority=authority, directory_chain=chain)


def load_keys(
    folder: Path,
    vault: Vault,
    issuing: Path,
    federation: FederationName,
    in_use: AuthorityRecord | None = None,
    now: datetime | None = None,
) -> HubKeys:
    """`in_use` is what the database says of the authority; None: the folder `issuing` has it. With `now` a
    TLS key is made if there is none: a replica brings nothing but the database's key.

    Raises StoreUnusable, InputInvalid, CertificateRefused or ConfigInvalid.
    """
    authority = load_authority(vault, issuing, federation, in_use)
    key = parse_key(_stored(vault, DIRECTORY_KEY), vault.place(DIRECTORY_KEY))
    if not isinstance(key, Ed25519PrivateKey):
        raise InputInvalid(f"{vault.place(DIRECTORY_KEY)} is not an Ed25519 key.", remedy="Restore it.")
    chain = _directory_chain(vault)
    if chain[0].public_key() != key.public_key():
        raise InputInvalid(
            f"{vault.place(DIRECTORY_KEY)} and {DIRECTORY_CHAIN} do not belong together.",
            remedy="Restore both from the same backup.",
        )
    signing_key = SigningKey(key.private_bytes_raw())
    own: TlsIdentity | None = None
    if (folder / TLS).exists():
        own = read_identity(folder / TLS)
    elif now is not None:
        own = issue_tls(folder, authority, now)
    return HubKeys(folder, issuing, vault, authority, own, signing_key, chain)


def _directory_chain(vault: Vault, tx: Transaction | None = None) -> tuple[x509.Certificate, ...]:
    return parse_certificates(_stored(vault, DIRECTORY_CHAIN, tx), vault.place(DIRECTORY_CHAIN))


def _stored(vault: Vault, name: str, tx: Transaction | None = None) -> bytes:
    found = vault.get(name, tx)
    if found is None:
        raise StoreUnusable(
            f"There is no {vault.place(name)}.", remedy="Restore it from the backup of the hub's keys."
        )
    return found


def make_directory_key(vault: Vault, authority: Authority, now: datetime) -> None:
    """The key that signs the directory, and its first certificate; raises AlreadyExists, StoreUnusable."""
    key = SigningKey.generate()
    with vault.write() as tx:
        vault.add(DIRECTORY_KEY, key_pem(Ed25519PrivateKey.from_private_bytes(key.seed())), tx)
        _issue_directory(vault, authority, key, now, tx)


def issue_tls(folder: Path, authority: Authority, now: datetime) -> TlsIdentity:
    """A new TLS key and its certificate, stored in place of the old pair."""
    key = new_tls_key()
    request = certificate_request(key, authority.federation, None, Role.HUB)
    leaf = authority.issue_hub(request, now, dns_names=[enrolment_dns_name(authority.federation)])
    identity = TlsIdentity(key, authority.chain(leaf))
    replace_identity(folder / TLS, identity)
    return identity


def _issue_directory(
    vault: Vault, authority: Authority, key: SigningKey, now: datetime, tx: Transaction | None
) -> tuple[x509.Certificate, ...]:
    """A new certificate of the directory key, stored in place of the old one."""
    public = Ed25519PrivateKey.from_private_bytes(key.seed()).public_key()
    chain = authority.chain(authority.issue_directory(public, now))
    vault.put(DIRECTORY_CHAIN, certificates_pem(chain), tx)
    return chain


def renew(keys: HubKeys, now: datetime) -> HubKeys:
    """`keys` with fresh certificates where they are due; the same object if none is."""
    renewed = keys
    own = keys.own_tls
    if own is None or _lacks_a_name(own) or _due(own.chain, keys.authority, now):
        renewed = replace(renewed, own_tls=issue_tls(keys.folder, keys.authority, now))
    if _due(keys.directory_chain, keys.authority, now):
        with keys.vault.write() as tx:
            # Another replica may have renewed it, or the operator adopted an authority.
            present = keys if tx is None else keys.as_of(tx)
            chain = _directory_chain(keys.vault, tx)
            if _due(chain, present.authority, now):
                chain = _issue_directory(keys.vault, present.authority, keys.directory_key, now, tx)
        renewed = replace(renewed, directory_chain=chain)
    return renewed


def _lacks_a_name(tls: TlsIdentity) -> bool:
    """Whether the certificate is from before enrolment had a name of its own."""
    names = tls.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return len(names.get_values_for_type(x509.DNSName)) < len((hub_dns_name, enrolment_dns_name))


def _due(chain: tuple[x509.Certificate, ...], authority: Authority, now: datetime) -> bool:
    own = chain[0]
    if chain != authority.chain(own):
        return True
    return now >= renewal_time(own.not_valid_before_utc, own.not_valid_after_utc)
