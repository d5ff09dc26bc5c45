"""Where metrics and health may be read, and where traces may be sent.

Nobody signs in there, so by default only this machine reaches it: an address that others reach wants
`metrics_allow_remote`, and then something in front that says who may come (docs/observability.md).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from candor_certs.invitation import check_address
from candor_proto.errors import ConfigInvalid

OFF = "off"


def split_address(address: str) -> tuple[str, int]:
    """Host (without brackets) and port of `address`; the port may be 0. Raises MalformedMessage."""
    host, colon, port = address.rpartition(":")
    check_address(f"{host}:1" if colon and port == "0" else address)
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches `host`. A name may mean anything, but for `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_metrics_address(address: str, *, allow_remote: bool) -> None:
    """Raises ConfigInvalid or MalformedMessage."""
    host, _ = split_address(address)
    if not allow_remote and not is_loopback(host):
        raise ConfigInvalid(
            f"metrics_address: other machines reach {host}, and nobody signs in there.",
            remedy="Name 127.0.0.1 or [::1]; or set `metrics_allow_remote = true` and let a firewall or a "
            "proxy say who may come.",
        )


def check_traces_endpoint(endpoint: str) -> None:
    """`http://` to this machine, `https://` to any; raises ConfigInvalid."""
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.path not in ("", "/"):
        raise ConfigInvalid(
            "traces_endpoint: this is no address of a collector, such as http://127.0.0.1:4317.",
            remedy="Name scheme, host and port, and nothing else.",
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigInvalid(
            f"traces_endpoint: {host} is another machine, and http is not encrypted.",
            remedy="Use https, or a collector on this machine.",
        )
