"""The HTTP proxy that every connection of this node goes out through, where there is one (docs/firewalls.md).

    proxy                     "" (the default): as the environment says; "none": never; or http://host:port
    proxy_credentials_file    a private file that holds user:password
    https_proxy, no_proxy     the environment's, in either case; grpc_proxy and no_grpc_proxy go before them

Rules of this file:
- a proxy is asked for a tunnel (CONNECT) and sees host, port and how much passes: what passes is TLS between
  node and hub, which neither trusts nor needs the proxy;
- user and password stand in no message, no log and no repr;
- gRPC and this module's own probes go the same way, so that what a probe finds explains what gRPC met.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from candor_certs.mtls import Options
from candor_certs.store import read_private
from candor_proto.errors import ConfigInvalid, Unreachable

NEVER = "none"
_VARIABLES = ("grpc_proxy", "https_proxy", "HTTPS_PROXY", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy", "NO_PROXY")
_MAX_CREDENTIALS_OCTETS = 1_024
_MAX_HEAD_OCTETS = 8_192
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r)")


@dataclass(frozen=True)
class Proxy:
    """Where connections go out; `source` says who named it, for people."""

    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    source: str = ""

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def header(self) -> dict[str, str]:
        """What proves who asks (RFC 7617), if anything does."""
        if not self.user:
            return {}
        told = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {told}"}


def check_proxy(text: str) -> None:
    """Raises ConfigInvalid unless `text` may stand in the setting `proxy`."""
    if text not in ("", NEVER):
        _parse(text, "the setting proxy")


def proxy_for(
    address: str, setting: str, credentials_file: Path | None, environment: Mapping[str, str] = os.environ
) -> Proxy | None:
    """The proxy for connections to `address` (host:port); None when they go out directly.

    Raises ConfigInvalid or StoreUnusable (the credentials).
    """
    host = _split(address)[0]
    if setting == NEVER or _is_excepted(host, environment):
        return None
    if setting:
        found = _parse(setting, "the setting proxy")
    else:
        # A hub on this very machine is never behind the proxy that the environment names for the internet.
        named = None if _is_loopback(host) else _from(environment)
        if named is None:
            return None
        found = named
    if credentials_file is None:
        return found
    user, password = read_credentials(credentials_file)
    return Proxy(found.host, found.port, user, password, found.source)


def read_credentials(path: Path) -> tuple[str, str]:
    """User and password of a private file; raises ConfigInvalid or StoreUnusable."""
    octets = read_private(path)
    try:
        text = octets.decode().strip("\r\n")
    except UnicodeDecodeError:
        text = ""
    user, colon, password = text.partition(":")
    if not user or not colon or len(octets) > _MAX_CREDENTIALS_OCTETS or not text.isprintable():
        raise ConfigInvalid(
            f"{path} does not hold a proxy's user and password.", remedy="Write one line: user:password"
        )
    return user, password


def channel_options(proxy: Proxy | None) -> Options:
    """What makes a gRPC channel go out as decided here, whatever the environment says."""
    if proxy is None:
        return [("grpc.enable_http_proxy", 0)]
    told = f"{quote(proxy.user, safe='')}:{quote(proxy.password, safe='')}@" if proxy.user else ""
    return [("grpc.enable_http_proxy", 1), ("grpc.http_proxy", f"http://{told}{proxy.address}")]


def open_socket(address: str, proxy: Proxy | None, timeout_seconds: float) -> socket.socket:
    """A TCP connection to `address`, through `proxy` if there is one. Blocks; raises Unreachable in words."""
    host, port = _split(address)
    if proxy is None:
        return _dial(f"the hub at {address}", host, port, timeout_seconds, _NO_WAY_OUT)
    where = f"the proxy {proxy.address} ({proxy.source})" if proxy.source else f"the proxy {proxy.address}"
    opened = _dial(where, proxy.host, proxy.port, timeout_seconds, _NO_PROXY)
    try:
        status = _ask_for_tunnel(opened, address, proxy, timeout_seconds)
    except OSError:
        status = 0
    if 200 <= status < 300:
        return opened
    opened.close()
    raise _refused(status, where, address, proxy)


# --- where it is named -----------------------------------------------------------------------------------


def _from(environment: Mapping[str, str]) -> Proxy | None:
    for name in _VARIABLES:
        if name in environment:
            # As elsewhere: what is set and empty means none, and what cannot be used here is not for us.
            try:
                return _parse(environment[name], f"the environment's {name}") if environment[name] else None
            except ConfigInvalid:
                return None
    return None


def _parse(text: str, source: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme != "http" or parts.path not in ("", "/") or parts.query or not text.isascii():
        raise ConfigInvalid(
            f"{source} names no proxy that can be used.",
            remedy="Write http://host:port (what passes through it is encrypted all the same), or none.",
        )
    return Proxy(host, port or 80, unquote(parts.username or ""), unquote(parts.password or ""), source)


def _is_excepted(host: str, environment: Mapping[str, str]) -> bool:
    """Whether the environment's list says to go there directly, read as gRPC reads it."""
    listed = next((environment[name] for name in _EXCEPTIONS if name in environment), "")
    for entry in filter(None, (part.strip().casefold() for part in listed.split(","))):
        if entry == "*" or host.casefold().endswith(entry):
            return True
        try:
            if "/" in entry and ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


# --- the tunnel ------------------------------------------------------------------------------------------

_NO_WAY_OUT = (
    "Check the address, this machine's network, and whether the hub runs. If this network lets nothing out "
    "but through a proxy, name it as `proxy` in node.toml."
)
_NO_PROXY = "Check `proxy` in node.toml (or the environment's https_proxy) and whether the proxy runs."


def _dial(what: str, host: str, port: int, timeout_seconds: float, remedy: str) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=timeout_seconds)
    except socket.gaierror as error:
        raise Unreachable(
            f"Cannot reach {what}: the name {host} cannot be looked up (DNS: {_reason(error)}).",
            remedy=f"Check the name, and this machine's DNS: `getent hosts {host}`.",
        ) from None
    except TimeoutError:
        raise Unreachable(
            f"Cannot reach {what}: no answer within {timeout_seconds:.0f} seconds. A firewall that drops "
            f"connections to port {port} looks like this.",
            remedy=remedy,
        ) from None
    except OSError as error:
        raise Unreachable(f"Cannot reach {what}: {_reason(error)}.", remedy=remedy) from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or "no answer").lower()


def _ask_for_tunnel(opened: socket.socket, address: str, proxy: Proxy, timeout_seconds: float) -> int:
    """The proxy's status for CONNECT (RFC 9110 §9.3.6)."""
    deadline = time.monotonic() + timeout_seconds
    lines = [f"CONNECT {address} HTTP/1.1", f"Host: {address}"]
    lines += [f"{name}: {value}" for name, value in proxy.header.items()]
    opened.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    # Octet by octet is no way around the deadline, and nothing behind the head is the proxy's.
    while not head.endswith(b"\r\n\r\n"):
        opened.settimeout(max(0.001, deadline - time.monotonic()))
        octet = opened.recv(1)
        if not octet or len(head) >= _MAX_HEAD_OCTETS:
            break
        head += octet
    opened.settimeout(timeout_seconds)
    found = _STATUS_LINE.match(head)
    return int(found.group(1)) if found else 0


def _refused(status: int, where: str, address: str, proxy: Proxy) -> Unreachable:
    if not status:
        return Unreachable(
            f"{where[0].upper()}{where[1:]} gave no answer that an HTTP proxy gives.",
            remedy="Check `proxy` in node.toml; `none` goes out without one.",
        )
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        said = (
            "does not accept the user and password given" if proxy.user else "asks for a user and a password"
        )
        return Unreachable(
            f"{where[0].upper()}{where[1:]} {said} (407).",
            remedy="Write user:password into a file of mode 0600 and name it as `proxy_credentials_file` in "
            "node.toml.",
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unreachable(
            f"{where[0].upper()}{where[1:]} cannot reach the hub at {address} ({status}).",
            remedy="Check the hub's address and whether the hub runs; else ask who runs the proxy.",
        )
    return Unreachable(
        f"{where[0].upper()}{where[1:]} refuses connections to {address} ({status}).",
        remedy=f"Ask who runs the proxy to allow CONNECT to {address}, without TLS inspection.",
    )
