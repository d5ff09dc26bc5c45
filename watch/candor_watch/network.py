"""Checks of the way to a server: its name, and whose certificate is shown there.

A proxy that opens TLS to look inside shows a certificate of its own, which neither node nor hub ever
accepts. These checks say that it is so, and who issued what was shown, in place of a handshake that failed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from candor_watch.findings import Figure, Finding, bad, good, unknown, warning

PROBE_SECONDS = 5.0
DNS_SLOW_SECONDS = 2.0
Connect = Callable[[], socket.socket]


def dns(key: str, host: str) -> Finding:
    """Whether `host` has an address, and how long the answer takes."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    else:
        return good(key, f"{host} is an address; no name has to be resolved.", addresses=1)
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or "it is no name").lower()
        return bad(
            key,
            f"The name {host} has no address: {reason}.",
            "Check the name and this machine's name servers (/etc/resolv.conf, `resolvectl status`).",
            addresses=0,
        )
    seconds = time.monotonic() - began
    families = {"IPv6" if each[0] is socket.AF_INET6 else "IPv4" for each in found}
    figures: dict[str, Figure] = {"addresses": len({each[4] for each in found}), "seconds": round(seconds, 3)}
    told = f"{host} has {figures['addresses']} addresses ({' and '.join(sorted(families))})"
    if seconds > DNS_SLOW_SECONDS:
        remedy = "Check this machine's name servers: the first one may be dead."
        return warning(key, f"{told}, but the answer took {seconds:.1f} s.", remedy, **figures)
    return good(key, f"{told}.", **figures)


@dataclass(frozen=True)
class Shown:
    """What a server showed. `trouble` is empty if its certificate hangs from our roots and has our name."""

    version: str
    protocol: str
    certificate: x509.Certificate | None
    trouble: str


def handshake(connect: Connect, roots: Sequence[x509.Certificate], name: str) -> Shown:
    """Speak TLS over `connect()` as a member would; raises OSError (ssl.SSLError if it is no TLS)."""
    try:
        return _shake(connect, roots, name)
    except ssl.SSLCertVerificationError as error:
        told = error.verify_message or "it does not verify"
    shown = _shake(connect, None, name)
    return Shown(shown.version, shown.protocol, shown.certificate, told)


def _shake(connect: Connect, roots: Sequence[x509.Certificate] | None, name: str) -> Shown:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    if roots is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata="".join(_pem(root) for root in roots))
    with contextlib.closing(connect()) as plain, context.wrap_socket(plain, server_hostname=name) as secured:
        der = secured.getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(der) if der else None
        return Shown(secured.version() or "", secured.selected_alpn_protocol() or "", certificate, "")


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def tls(key: str, connect: Connect, roots: Sequence[x509.Certificate], name: str, where: str) -> Finding:
    """Whether `where` shows a certificate of this federation: else who issued what is shown there."""
    try:
        shown = handshake(connect, roots, name)
    except ssl.SSLError:
        return bad(
            key,
            f"What answers at {where} does not speak TLS.",
            "Check the address and port; ask the network's staff whether something stands in between.",
        )
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or type(error).__name__).lower()
        return unknown(key, f"Nothing could be shown: {where} does not answer ({reason}).", _REACH)
    issuer, subject = _names(shown.certificate)
    figures: dict[str, Figure] = {"version": shown.version, "issuer": issuer, "subject": subject}
    if shown.trouble:
        return bad(
            key,
            f"{where} shows a certificate that does not hang from this federation's root: issued by {issuer} "
            f"for {subject} ({shown.trouble}).",
            "If that is a proxy of yours that looks into TLS: have it let this address pass untouched. If "
            "nobody knows that issuer, call the hub's operator before trying again.",
            **figures,
        )
    if shown.version != "TLSv1.3" or shown.protocol != "h2":
        told = f"{where} speaks {shown.version or 'an old TLS'} with {shown.protocol or 'no HTTP/2'}."
        return bad(key, told, "Something stands in between: Candor needs TLS 1.3 and HTTP/2.", **figures)
    return good(key, f"{where} shows the certificate of this federation, over {shown.version}.", **figures)


_REACH = "See what is said about the name, the proxy and the hub."


def _names(certificate: x509.Certificate | None) -> tuple[str, str]:
    """Issuer and subject as a person reads them; the other side may write there what it likes."""
    if certificate is None:
        return "nobody", "nobody"
    return tuple(_short(name) for name in (certificate.issuer, certificate.subject))  # type: ignore[return-value]  # two of two


def _short(name: x509.Name) -> str:
    try:
        text = name.rfc4514_string()
    except ValueError:
        text = "a name that cannot be read"
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return (shown or "a certificate without a name")[:120]
