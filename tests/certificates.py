"""Certificates for tests: good ones from the real authority, and bad ones with exactly one flaw each.

    authority = federation_authority()
    flawed = FlawedCertificates(authority)
    channel = grpc.aio.secure_channel(address, flawed.weak_rsa(NODE).channel_credentials(authority.root), ...)

What has a flaw is built by hand, beside `candor_certs`, which refuses to make it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from candor_certs.authority import Authority, certificates_pem, create_issuing, create_root
from candor_certs.names import Role, hub_dns_name, spiffe_uri
from candor_certs.profiles import DOCUMENT_SIGNING
from candor_certs.requests import certificate_request, new_tls_key
from candor_proto.ids import FederationName, NodeId

FEDERATION = FederationName("demo-exchange.example")
NODE = NodeId("alpha")
OTHER_NODE = NodeId("bravo")
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
AnyPrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def federation_authority(now: datetime | None = None, federation: FederationName = FEDERATION) -> Authority:
    """A fresh root and the issuing authority under it, valid at `now` (default: this moment)."""
    moment = now or datetime.now(UTC)
    return create_issuing(create_root(federation, moment), federation, moment)


@dataclass(frozen=True)
class Presented:
    """A key and the certificates that are shown with it, own certificate first."""

    key: AnyPrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def chain_pem(self) -> bytes:
        return certificates_pem(self.chain)

    @property
    def chain_der(self) -> list[bytes]:
        return [certificate.public_bytes(Encoding.DER) for certificate in self.chain]

    def channel_credentials(self, *roots: x509.Certificate) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(certificates_pem(roots), self.key_pem, self.chain_pem)

    def server_credentials(self, *roots: x509.Certificate) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials(
            [(self.key_pem, self.chain_pem)], certificates_pem(roots), require_client_auth=True
        )


class FlawedCertificates:
    """One method per flaw; whatever the flaw is not about is as it should be."""

    def __init__(self, authority: Authority, now: datetime | None = None) -> None:
        """`authority` is an issuing one; `now` (default: this moment) is when the certificates are made."""
        self.authority = authority
        self.federation = authority.federation
        self.now = now or datetime.now(UTC)

    # --- good ---------------------------------------------------------------------------------------

    def good(self, node: NodeId = NODE, serial: int | None = None) -> Presented:
        key = new_tls_key()
        request = certificate_request(key, self.federation, node)
        return self._present(key, self.authority.issue_node(request, node, self.now, serial))

    def good_rsa(self, node: NodeId = NODE) -> Presented:
        return self._keyed(rsa.generate_private_key(65537, 2048), node)

    def good_p384(self, node: NodeId = NODE) -> Presented:
        return self._keyed(ec.generate_private_key(ec.SECP384R1()), node)

    def good_hub(self) -> Presented:
        key = new_tls_key()
        request = certificate_request(key, self.federation, None, Role.HUB)
        return self._present(key, self.authority.issue_hub(request, self.now))

    # --- wrong authority ----------------------------------------------------------------------------

    def other_authority(self, node: NodeId = NODE) -> Presented:
        """The right name, certified by a federation of the same name that somebody else made up."""
        return FlawedCertificates(federation_authority(self.now, self.federation), self.now).good(node)

    def self_signed(self, node: NodeId = NODE) -> Presented:
        key = new_tls_key()
        return Presented(key, (self.certify(key, [self._uri(node)], signer=key),))

    def issued_by_a_member(self, node: NodeId = NODE) -> Presented:
        """Signed by the key of a good node, with that node's certificate in the chain."""
        member, key = self.good(OTHER_NODE), new_tls_key()
        assert isinstance(member.key, ec.EllipticCurvePrivateKey)
        leaf = self.certify(key, [self._uri(node)], signer=member.key, issuer=member.leaf.subject)
        return Presented(key, (leaf, *member.chain))

    # --- time ---------------------------------------------------------------------------------------

    def expired(self, node: NodeId = NODE) -> Presented:
        return self._node(node, start=self.now - timedelta(days=8), end=self.now - timedelta(days=1))

    def not_yet_valid(self, node: NodeId = NODE) -> Presented:
        return self._node(node, start=self.now + timedelta(days=1), end=self.now + timedelta(days=8))

    # --- names --------------------------------------------------------------------------------------

    def other_agency(self, node: NodeId = NODE) -> Presented:
        """A perfectly good certificate of another member than `node`."""
        return self.good(OTHER_NODE if node != OTHER_NODE else NODE)

    def no_name(self) -> Presented:
        return self._named([])

    def two_names(self, node: NodeId = NODE) -> Presented:
        return self._named([self._uri(node), self._uri(OTHER_NODE)])

    def expired_hub(self) -> Presented:
        return self._hub(start=self.now - timedelta(days=8), end=self.now - timedelta(days=1))

    def hub_not_yet_valid(self) -> Presented:
        return self._hub(start=self.now + timedelta(days=1), end=self.now + timedelta(days=8))

    def self_signed_hub(self) -> Presented:
        key = new_tls_key()
        return Presented(key, (self.certify(key, self._hub_names(), signer=key, purposes=[SERVER_AUTH]),))

    def hub_without_a_host_name(self) -> Presented:
        return self._named(self._hub_names()[:1], purposes=[SERVER_AUTH])

    def hub_of_before(self) -> Presented:
        """Without the name for enrolment at the hub's own address, as hubs had it first."""
        return self._named(self._hub_names(), purposes=[SERVER_AUTH])

    def hub_for_both(self) -> Presented:
        return self._named(self._hub_names(), purposes=[CLIENT_AUTH, SERVER_AUTH])

    def hub_with_two_names(self) -> Presented:
        """A hub that also has a node's URI; a hub may have further names, but host names only."""
        hub, host = self._hub_names()
        return self._named([hub, self._uri(NODE), host], purposes=[SERVER_AUTH])

    def foreign_federation(self, node: NodeId = NODE) -> Presented:
        """Certified by this federation's authority in the name of another federation."""
        return self._named(
            [x509.UniformResourceIdentifier(spiffe_uri(FederationName("other.example"), Role.NODE, node))]
        )

    def unknown_role(self) -> Presented:
        return self._named([x509.UniformResourceIdentifier(f"spiffe://{self.federation}/janitor/alpha")])

    def node_with_the_hubs_host_name(self, node: NodeId = NODE) -> Presented:
        """What a node would need to pose as the hub, short of serverAuth."""
        return self._named([self._uri(node), self._hub_host()])

    # --- role and purpose ---------------------------------------------------------------------------

    def wrong_role(self, role: Role = Role.AUDITOR) -> Presented:
        """A client certificate of another role than a node's."""
        name = NodeId("county-auditor") if role.named else None
        uri = x509.UniformResourceIdentifier(spiffe_uri(self.federation, role, name))
        return self._named([uri])

    def wrong_purpose(self, node: NodeId = NODE) -> Presented:
        """Of a node, but made for serving."""
        return self._named([self._uri(node)], purposes=[SERVER_AUTH])

    def both_purposes(self, node: NodeId = NODE) -> Presented:
        return self._named([self._uri(node)], purposes=[CLIENT_AUTH, SERVER_AUTH])

    def claims_to_be_an_authority(self, node: NodeId = NODE) -> Presented:
        key = new_tls_key()
        return self._present(key, self.certify(key, [self._uri(node)], authority=True))

    def no_purpose(self, node: NodeId = NODE) -> Presented:
        """Of a node, and says nothing of what it is for."""
        return self._named([self._uri(node)], purposes=())

    def directory_key_for_tls(self) -> Presented:
        """The directory's certificate, but for a key that TLS could use."""
        uri = x509.UniformResourceIdentifier(spiffe_uri(self.federation, Role.DIRECTORY))
        return self._named([uri], purposes=[DOCUMENT_SIGNING])

    def node_with_all_of_the_hub_but_its_uri(self, node: NodeId = NODE) -> Presented:
        """What would let a node pose as the hub to gRPC; the authority never makes it."""
        return self._named([self._uri(node), self._hub_host()], purposes=[SERVER_AUTH])

    # --- keys and signatures ------------------------------------------------------------------------

    def weak_rsa(self, node: NodeId = NODE) -> Presented:
        return self._keyed(rsa.generate_private_key(65537, 1024), node)

    def weak_rsa_hub(self) -> Presented:
        """The hub, all but its key."""
        key = rsa.generate_private_key(65537, 1024)
        return self._present(key, self.certify(key, self._hub_names(), purposes=[SERVER_AUTH]))

    def weak_curve(self, node: NodeId = NODE) -> Presented:
        """P-192; no TLS library here can use it, so it never gets as far as a call."""
        return self._keyed(ec.generate_private_key(ec.SECP192R1()), node)

    def unusual_curve(self, node: NodeId = NODE) -> Presented:
        """P-521: strong, but in no profile."""
        return self._keyed(ec.generate_private_key(ec.SECP521R1()), node)

    def weak_signature(self, node: NodeId = NODE) -> Presented:
        """Signed by the authority with SHA-224."""
        key = new_tls_key()
        return self._present(key, self.certify(key, [self._uri(node)], digest=hashes.SHA224()))

    # --- building -----------------------------------------------------------------------------------

    def _uri(self, node: NodeId) -> x509.GeneralName:
        return x509.UniformResourceIdentifier(spiffe_uri(self.federation, Role.NODE, node))

    def _hub_host(self) -> x509.GeneralName:
        return x509.DNSName(hub_dns_name(self.federation))

    def _keyed(self, key: AnyPrivateKey, node: NodeId) -> Presented:
        return self._present(key, self.certify(key, [self._uri(node)]))

    def _hub_names(self) -> list[x509.GeneralName]:
        hub = x509.UniformResourceIdentifier(spiffe_uri(self.federation, Role.HUB))
        return [hub, self._hub_host()]

    def _hub(self, start: datetime, end: datetime) -> Presented:
        key = new_tls_key()
        leaf = self.certify(key, self._hub_names(), purposes=[SERVER_AUTH], start=start, end=end)
        return self._present(key, leaf)

    def _present(self, key: AnyPrivateKey, leaf: x509.Certificate) -> Presented:
        return Presented(key, self.authority.chain(leaf))

    def _named(
        self, names: list[x509.GeneralName], purposes: Sequence[ObjectIdentifier] = (CLIENT_AUTH,)
    ) -> Presented:
        key = new_tls_key()
        return self._present(key, self.certify(key, names, purposes=purposes))

    def _node(self, node: NodeId, start: datetime, end: datetime) -> Presented:
        key = new_tls_key()
        return self._present(key, self.certify(key, [self._uri(node)], start=start, end=end))

    def certify(
        self,
        key: AnyPrivateKey,
        names: list[x509.GeneralName],
        *,
        purposes: Sequence[ObjectIdentifier] = (CLIENT_AUTH,),
        start: datetime | None = None,
        end: datetime | None = None,
        signer: ec.EllipticCurvePrivateKey | None = None,
        issuer: x509.Name | None = None,
        authority: bool = False,
        agreement: bool = False,
        digest: hashes.SHA224 | hashes.SHA256 | None = None,
    ) -> x509.Certificate:
        """Any leaf at all, signed by the authority (or by `signer`); for flaws that have no method here."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "flawed")])
        signing = signer or self.authority.key
        if issuer is None:
            issuer = subject if signer else self.authority.certificate.subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start or self.now - timedelta(minutes=5))
            .not_valid_after(end or self.now + timedelta(days=7))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(_digital_signature(agreement), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
            )
        )
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signing, digest or hashes.SHA256())


def _digital_signature(agreement: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=agreement,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
