"""The federation's certificate authority: a root, and under it an issuing authority for everybody else.

Rules of this file:
- what a certificate says comes from `profiles`, never from a request;
- nothing outlives its issuer, so a valid leaf never hangs from an expired authority;
- private keys are made here or handed in, and never printed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from candor_certs import profiles
from candor_certs.names import PeerName, Role, hub_dns_name, trust_domain_uri
from candor_certs.profiles import PROFILES, Profile, TlsPublicKey
from candor_certs.requests import check_request, new_tls_key
from candor_proto.errors import Expired, InputInvalid, NotYetValid
from candor_proto.ids import FederationName, NodeId

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
LeafPublicKey = TlsPublicKey | Ed25519PublicKey


@dataclass(frozen=True)
class Authority:
    """A certificate that signs certificates, its key, and the certificates above it, root last."""

    federation: FederationName
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    parents: tuple[x509.Certificate, ...] = ()

    @property
    def root(self) -> x509.Certificate:
        return self.parents[-1] if self.parents else self.certificate

    def chain(self, leaf: x509.Certificate) -> tuple[x509.Certificate, ...]:
        """What a peer presents: `leaf`, then every authority below the root."""
        return (leaf, *(above for above in (self.certificate, *self.parents) if above != self.root))

    def issue_node(
        self, request_der: bytes, node: NodeId, now: datetime, serial: int | None = None
    ) -> x509.Certificate:
        """A client certificate for `node`; raises what `requests.check_request` raises."""
        name = PeerName(self.federation, Role.NODE, node)
        return self._issue_leaf(name, check_request(request_der, name), now, serial)

    def issue_hub(
        self,
        request_der: bytes,
        now: datetime,
        serial: int | None = None,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[IpAddress] = (),
    ) -> x509.Certificate:
        """A server certificate for the hub: its URI, `hub.<federation>`, further hosts for other software."""
        name = PeerName(self.federation, Role.HUB)
        hosts = [hub_dns_name(self.federation), *dns_names]
        return self._issue_leaf(
            name, check_request(request_der, name), now, serial, _host_names(hosts, ip_addresses)
        )

    def issue_directory(
        self, public_key: Ed25519PublicKey, now: datetime, serial: int | None = None
    ) -> x509.Certificate:
        """Certify the key that signs the federation's directory (docs/protocol.md §10.1)."""
        return self._issue_leaf(PeerName(self.federation, Role.DIRECTORY), public_key, now, serial)

    def _issue_leaf(
        self,
        name: PeerName,
        public_key: LeafPublicKey,
        now: datetime,
        serial: int | None,
        host_names: Iterable[x509.GeneralName] = (),
    ) -> x509.Certificate:
        if self.certificate == self.root:
            raise InputInvalid(
                "The root authority certifies issuing authorities only.",
                remedy="Make one with `candor-certs issuing create` and use its folder.",
            )
        common_name = name.role.value if name.node is None else name.node.value
        names = [x509.UniformResourceIdentifier(name.uri), *host_names]
        subject = _subject(self.federation, common_name)
        return _sign(PROFILES[name.role], subject, names, public_key, now, serial, issuer=self)


def create_root(federation: FederationName, now: datetime) -> Authority:
    """A new root with a fresh P-256 key."""
    key = new_tls_key()
    subject = _subject(federation, "Candor root authority")
    names = [x509.UniformResourceIdentifier(trust_domain_uri(federation))]
    return Authority(federation, _self_sign(subject, names, key, now), key)


def create_issuing(root: Authority, federation: FederationName, now: datetime) -> Authority:
    """A new authority under `root`, with a fresh P-256 key; raises InputInvalid, Expired, NotYetValid."""
    if root.federation != federation:
        raise InputInvalid(
            f"The root belongs to the federation {root.federation}, not {federation}.",
            remedy="Use the folder of this federation's root.",
        )
    if root.parents:
        raise InputInvalid(
            "Only a root authority certifies an issuing authority.", remedy="Use the root's folder."
        )
    key = new_tls_key()
    subject = _subject(federation, f"Candor issuing authority {now:%Y-%m-%d}")
    names = [x509.UniformResourceIdentifier(trust_domain_uri(federation))]
    certificate = _sign(profiles.ISSUING, subject, names, key.public_key(), now, None, issuer=root)
    return Authority(federation, certificate, key, (root.certificate,))


def _subject(federation: FederationName, common_name: str) -> x509.Name:
    """For the human reader of certificate tools; nothing in Candor reads a subject."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, federation.value),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _host_names(names: Iterable[str], addresses: Iterable[IpAddress]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.DNSName(name))
        except ValueError:
            raise InputInvalid(f"{name[:70]!r} is not a host name.") from None
    return [*found, *(x509.IPAddress(address) for address in dict.fromkeys(addresses))]


def _sign(
    profile: Profile,
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    public_key: LeafPublicKey,
    now: datetime,
    serial: int | None,
    *,
    issuer: Authority,
) -> x509.Certificate:
    above = issuer.certificate
    if now >= above.not_valid_after_utc:
        raise Expired(
            f"The authority's own certificate ended on {above.not_valid_after_utc:%Y-%m-%d %H:%M} UTC.",
            remedy="Make a new one with `candor-certs issuing create`, and give it to the hub: "
            "`candor-hub issuing adopt`.",
        )
    if now < above.not_valid_before_utc:
        raise NotYetValid(
            f"The authority's own certificate begins on {above.not_valid_before_utc:%Y-%m-%d %H:%M} UTC.",
            remedy="Check this machine's clock.",
        )
    start, end = profile.validity(now)
    # A leaf may be shorter than its profile, but never longer than what it hangs from.
    end = min(end, above.not_valid_after_utc)
    builder = _builder(profile, subject, names, public_key, serial, start, end)
    builder = builder.issuer_name(above.subject).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
    )
    return builder.sign(issuer.key, hashes.SHA256())


def _self_sign(
    subject: x509.Name, names: Sequence[x509.GeneralName], key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.Certificate:
    start, end = profiles.ROOT.validity(now)
    builder = _builder(profiles.ROOT, subject, names, key.public_key(), None, start, end)
    return builder.issuer_name(subject).sign(key, hashes.SHA256())


def _builder(
    profile: Profile,
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    public_key: LeafPublicKey,
    serial: int | None,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    authority = profile.path_length is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        # 159 random bits (RFC 5280 §4.1.2.2 allows 20 octets, positive): no counter to keep, none to guess.
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=profile.path_length), critical=True)
        .add_extension(profile.key_usage(), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    if profile.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(profile.purposes), critical=False)
    return builder


def certificates_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """The certificates one after the other, as PEM."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
