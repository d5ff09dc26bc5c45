"""Certificate profiles, as data, and the keys and signatures that are good enough.

Rules of this file:
- one profile for each kind of certificate; `authority` writes exactly these, `chain` accepts only these;
- a key usage that has no purpose stated here is not given;
- only the hub's profile may carry a host name: that is what keeps a node from posing as the hub (see `mtls`).

No name constraints in the issuing certificate: `cryptography`'s verifier refuses a constraint on URIs
("unsupported name constraint"), so `chain` itself compares the federation of leaf and root.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier, SignatureAlgorithmOID

from candor_certs.names import Role
from candor_proto.errors import CertificateRefused

CLOCK_TOLERANCE = timedelta(minutes=5)
JITTER = 0.1  # of a certificate's life
# Of a certificate's life, 1 h 40 min of a week: within so long of hearing that its issuing authority was
# replaced a member renews, drawn evenly, so that a thousand of them do not come at once.
REPLACED_WITHIN = 0.01
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192  # a longer key only makes the verifier work
SIGNATURE_ALGORITHMS = frozenset(
    {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    }
)
# RFC 9336: a certificate whose key signs documents. It keeps the directory key out of TLS altogether.
DOCUMENT_SIGNING = ObjectIdentifier("1.3.6.1.5.5.7.3.36")

TlsPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
TlsPrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Profile:
    """What a certificate of one kind says; `path_length` is None unless it is an authority's."""

    title: str
    lifetime: timedelta
    digital_signature: bool = False
    sign_certificates: bool = False
    purposes: tuple[ObjectIdentifier, ...] = ()
    path_length: int | None = None
    host_names: bool = False

    def key_usage(self) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=self.digital_signature,  # a leaf's key signs TLS 1.3 handshakes, or directories
            key_cert_sign=self.sign_certificates,  # an authority's key signs certificates
            crl_sign=self.sign_certificates,  # and lists of withdrawn ones, for software that wants them
            content_commitment=False,  # statements are signed by the Ed25519 key of the directory entry
            key_encipherment=False,  # RSA key transport: gone with TLS 1.3
            data_encipherment=False,
            key_agreement=False,  # static Diffie-Hellman: gone with TLS 1.3
            encipher_only=False,
            decipher_only=False,
        )

    def validity(self, now: datetime) -> tuple[datetime, datetime]:
        """First and last moment of a certificate issued at `now` (aware), in whole seconds.

        It begins a clock tolerance early, for peers whose clock is behind.
        """
        start = now.replace(microsecond=0)
        return start - CLOCK_TOLERANCE, start + self.lifetime


ROOT = Profile("root authority", timedelta(days=3652), sign_certificates=True, path_length=1)
ISSUING = Profile("issuing authority", timedelta(days=365), sign_certificates=True, path_length=0)
CLIENT = Profile(
    "client",
    timedelta(days=7),
    digital_signature=True,
    # Not SERVER_AUTH: nobody dials into a node, so its certificate must not open a listening port.
    purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,),
)
HUB = Profile(
    "hub",
    timedelta(days=7),
    digital_signature=True,
    purposes=(ExtendedKeyUsageOID.SERVER_AUTH,),
    host_names=True,
)
DIRECTORY = Profile("directory key", timedelta(days=90), digital_signature=True, purposes=(DOCUMENT_SIGNING,))

PROFILES: dict[Role, Profile] = {
    Role.NODE: CLIENT,
    Role.CREDENTIALING_BODY: CLIENT,
    Role.AUDITOR: CLIENT,
    Role.HUB: HUB,
    Role.DIRECTORY: DIRECTORY,
}


def renewal_time(not_before: datetime, not_after: datetime, rng: Random | None = None) -> datetime:
    """When to renew: at two thirds of a certificate's life, which begins when it was issued.

    With `rng`, anywhere within a tenth of the life before or after, so that members certified in the same
    hour do not come back in the same minute for ever.
    """
    issued, life = issued_and_life(not_before, not_after)
    return issued + life * (2 / 3 + (rng.uniform(-JITTER, JITTER) if rng else 0))


def replaced_renewal_time(now: datetime, not_before: datetime, not_after: datetime, rng: Random) -> datetime:
    """When to renew what hangs from an authority that was replaced, as heard at `now`."""
    return now + issued_and_life(not_before, not_after)[1] * rng.uniform(0, REPLACED_WITHIN)


def overdue_time(not_before: datetime, not_after: datetime) -> datetime:
    """When a renewal that has not happened needs a person: at five sixths of a certificate's life."""
    issued, life = issued_and_life(not_before, not_after)
    return issued + life * 5 / 6


def issued_and_life(not_before: datetime, not_after: datetime) -> tuple[datetime, timedelta]:
    """When a certificate was issued, and how long it lives from then on."""
    # `validity` dates the beginning a clock tolerance back; a short life would be all tolerance.
    issued = min(not_before + CLOCK_TOLERANCE, not_after)
    return issued, not_after - issued


def check_tls_key(key: object) -> TlsPublicKey:
    """The key, if it is EC on P-256 or P-384, or RSA of 2048 to 8192 bits; else CertificateRefused.

    Nobody else checks this: when tried, gRPC accepted RSA-1024, `cryptography`'s verifier that and P-192.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
            return key
        raise _weak(f"an elliptic-curve key on {key.curve.name}")
    if isinstance(key, rsa.RSAPublicKey):
        if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return key
        raise _weak(f"an RSA key of {key.key_size} bits")
    raise _weak("a key of a kind that is not used for TLS here")


def _weak(found: str) -> CertificateRefused:
    return CertificateRefused(
        f"The certificate or request holds {found}.",
        remedy="Make a new key on P-256 (the default), P-384, or RSA of 2048 to 8192 bits.",
    )
