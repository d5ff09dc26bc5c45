"""Why a connection to the hub failed, in a sentence that an operator can act on."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import datetime

from cryptography import x509

from candor_certs.store import TlsIdentity
from candor_node.clock import Clock
from candor_proto.errors import CandorError, CertificateRefused, ClockWrong, Unreachable

PROBE_SECONDS = 3.0


async def diagnose(
    address: str, clock: Clock, identity: TlsIdentity | None = None, details: str = ""
) -> CandorError:
    """The most helpful sentence for a connection to the hub that failed without saying why."""
    now = clock.now()
    if identity is not None:
        own = identity.chain[0]
        if now < own.not_valid_before_utc:
            return _clock_behind("this node's certificate", own, now)
        if now > own.not_valid_after_utc:
            return CertificateRefused(
                f"This node's certificate ended on {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; this "
                f"machine's clock says {now:%Y-%m-%d %H:%M} UTC.",
                remedy="If the clock is right, ask the hub's operator for an invitation to join again, and "
                "use `candor-node join --rejoin`; if not, set the clock.",
            )
    try:
        hub = await asyncio.to_thread(_probe, address)
    except ssl.SSLError:
        return Unreachable(
            f"What answers at {address} is not a Candor hub: it does not speak TLS 1.3.",
            remedy="Check the address and port.",
        )
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        return Unreachable(
            f"Cannot reach the hub at {address}: {reason.lower()}.",
            remedy="Check the address, this machine's network, and whether the hub runs.",
        )
    if hub is not None and now < hub.not_valid_before_utc:
        return _clock_behind("the hub's certificate", hub, now)
    if hub is not None and now > hub.not_valid_after_utc:
        return ClockWrong(
            f"The hub's certificate ended on {hub.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, but this "
            f"machine's clock says {now:%Y-%m-%d %H:%M} UTC.",
            remedy="Check this machine's clock; if it is right, tell the hub's operator.",
        )
    if "CERTIFICATE_VERIFY_FAILED" in details or "certificate" in details.lower():
        return Unreachable(
            f"The hub at {address} shows a certificate that this federation's root does not vouch for.",
            remedy="Check the address; if it is right, call the hub's operator before trying again.",
        )
    return Unreachable(
        f"The hub at {address} answers, but the connection broke off.",
        remedy="It is tried again; if it lasts, ask the hub's operator whether this node is still admitted.",
    )


def _clock_behind(whose: str, certificate: x509.Certificate, now: datetime) -> ClockWrong:
    return ClockWrong(
        f"This machine's clock is probably wrong: it says {now:%Y-%m-%d %H:%M:%S} UTC, but {whose} begins on "
        f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC.",
        remedy="Set this machine's clock (for example `timedatectl set-ntp true`) and try again.",
    )


def _probe(address: str) -> x509.Certificate | None:
    """The certificate shown at `address`, unverified: only its times are used, to explain a failure."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS) as plain,
        context.wrap_socket(plain) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der) if der else None
