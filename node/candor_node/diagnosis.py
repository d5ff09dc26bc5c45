"""Why a connection to the hub failed, in a sentence that an operator can act on.

gRPC says of most failures only that there was one. So the same way is gone once more, step by step: own
certificate, name, network or proxy, TLS, the certificate that is shown there, its times. What is seen on the
way is used to explain, and for nothing else.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from candor_certs.names import PeerName, Role, parse_spiffe
from candor_certs.store import TlsIdentity
from candor_node.clock import Clock, whose_clock
from candor_node.proxy import Proxy, open_socket
from candor_proto.errors import CandorError, CertificateRefused, ClockWrong, Unreachable
from candor_proto.ids import FederationName

PROBE_SECONDS, DIAGNOSIS_SECONDS = 3.0, 4.0
_MAX_NAME_CHARACTERS = 60


@dataclass(frozen=True)
class Shown:
    """What answers at an address, unverified."""

    certificate: x509.Certificate
    tls_version: str


async def diagnose(
    address: str,
    clock: Clock,
    identity: TlsIdentity | None = None,
    details: str = "",
    *,
    proxy: Proxy | None = None,
    federation: FederationName | None = None,
    server_name: str = "",
) -> CandorError:
    """The most helpful sentence for a connection to the hub that failed without saying why.

    `details` are gRPC's own words, `federation` is the one whose hub should answer, if that is known, and
    `server_name` what the handshake asks for, for it may decide who answers (docs/firewalls.md).
    """
    now = clock.now()
    if identity is not None:
        own = identity.chain[0]
        if now < own.not_valid_before_utc:
            return _clock_behind("this node's certificate", own, now)
        if now > own.not_valid_after_utc:
            return CertificateRefused(
                f"This node's certificate ended on {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; this "
                f"machine's clock says {now:%Y-%m-%d %H:%M} UTC.",
                remedy="If the clock is right, ask the hub's operator to run `candor-hub readmit` with this "
                "node's id: the node comes back by itself then. If not, set the clock.",
            )
    try:
        # A name server that says nothing is waited for by the system, much longer than anybody wants to.
        async with asyncio.timeout(DIAGNOSIS_SECONDS):
            shown = await asyncio.to_thread(probe, address, proxy, server_name)
    except TimeoutError:
        return Unreachable(
            f"Cannot reach the hub at {address}: no answer within {DIAGNOSIS_SECONDS:.0f} seconds, of a name "
            "server, a proxy, or the hub.",
            remedy="Check this machine's network and DNS; `candor-node doctor` goes step by step.",
        )
    except ssl.SSLError:
        return Unreachable(
            f"What answers at {address} is not a Candor hub: it does not speak TLS 1.3.",
            remedy="Check the address and port; a filter in between may answer in the hub's place.",
        )
    except Unreachable as error:
        return error
    except OSError:
        return Unreachable(
            f"The hub at {address} answers, but the connection breaks off before it is encrypted.",
            remedy="A firewall that lets connections begin and then cuts them looks like this: ask who runs "
            "it, or the hub's operator.",
        )
    return (
        _somebody_else(address, shown, federation)
        or _times(shown.certificate, now)
        or _refused(address, details)
    )


def probe(
    address: str,
    proxy: Proxy | None = None,
    server_name: str = "",
    timeout_seconds: float = PROBE_SECONDS,
) -> Shown:
    """Who answers at `address`, unverified. Blocks; raises Unreachable in words, or OSError (TLS)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # An old version is looked at as well: what holds TLS at one is found by its certificate.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    with (
        open_socket(address, proxy, timeout_seconds) as plain,
        context.wrap_socket(plain, server_hostname=server_name or None) as secured,
    ):
        der, version = secured.getpeercert(binary_form=True), secured.version()
    if not der:
        raise ssl.SSLError("no certificate was shown")
    return Shown(x509.load_der_x509_certificate(der), version or "")


def _somebody_else(address: str, shown: Shown, federation: FederationName | None) -> CandorError | None:
    """Whether what answers claims to be no Candor hub, or another one than is expected."""
    claimed = _claimed(shown.certificate)
    if claimed is None or claimed.role is not Role.HUB:
        return Unreachable(
            f"TLS is intercepted: at {address} a certificate is shown that no Candor hub has (issued by "
            f"{_issuer(shown.certificate)}). What opens the encryption in between, a web filter or virus "
            "scanner as a rule, cannot pass Candor on; or this is another service's address.",
            remedy=f"Ask who runs firewall or proxy to except {address} from TLS inspection.",
        )
    if federation is not None and claimed.federation != federation:
        return Unreachable(
            f"The hub at {address} is that of {claimed.federation}, not of {federation}.",
            remedy="Check the hub's address with its operator.",
        )
    return None


def _times(hub: x509.Certificate, now: datetime) -> CandorError | None:
    if now < hub.not_valid_before_utc:
        return _clock_behind("the hub's certificate", hub, now)
    if now > hub.not_valid_after_utc:
        return ClockWrong(
            f"The hub's certificate ended on {hub.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, but this "
            f"machine's clock says {now:%Y-%m-%d %H:%M} UTC. {whose_clock()}",
            remedy="Check this machine's clock; if it is right, tell the hub's operator.",
        )
    return None


def _refused(address: str, details: str) -> CandorError:
    if "CERTIFICATE_VERIFY_FAILED" in details or "certificate" in details.lower():
        return Unreachable(
            f"The hub at {address} shows a certificate that this federation's root does not vouch for.",
            remedy="Check the address; if it is right, call the hub's operator before trying again.",
        )
    return Unreachable(
        f"The hub at {address} answers, but the connection broke off.",
        remedy="It is tried again; if it lasts, ask the hub's operator whether this node is still admitted.",
    )


def _claimed(certificate: x509.Certificate) -> PeerName | None:
    """The name of this kind of federation that a certificate carries, if it is one."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        return parse_spiffe(uris[0]) if len(uris) == 1 else None
    except (ValueError, CandorError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return None
    except x509.UnsupportedGeneralNameType:
        return None


def _issuer(certificate: x509.Certificate) -> str:
    """Who says to have issued it, as a short printable text: it is a stranger's."""
    try:
        issuer = certificate.issuer
    except ValueError:
        return "an unreadable name"
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in issuer.get_attributes_for_oid(kind):
            text = "".join(letter for letter in str(attribute.value) if letter.isprintable()).strip()
            if text:
                return f"{text[:_MAX_NAME_CHARACTERS]!r}"
    return "an empty name"


def _clock_behind(whose: str, certificate: x509.Certificate, now: datetime) -> ClockWrong:
    return ClockWrong(
        f"This machine's clock says {now:%Y-%m-%d %H:%M:%S} UTC, but {whose} begins on "
        f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC: one clock is wrong. {whose_clock()}",
        remedy="Set this machine's clock (for example `timedatectl set-ntp true`) and try again; if it is "
        "right, tell the hub's operator.",
    )
