"""Names of parties and of logs (§2, §14.1, §15.2), and the times that statements carry."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from candor_verify.errors import Malformed
from candor_verify.octets import Reader

CLOCK_TOLERANCE = timedelta(minutes=5)
HUB = "hub"
_PART = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_FEDERATION = re.compile(rf"(?=.{{3,63}}\Z){_PART}(?:\.{_PART})*\Z")
_NODE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?\Z")
_ORI = re.compile(r"[A-Z]{2}[A-Z0-9]{6}[0-9ABCEGIJ]\Z")
_SHARD = re.compile(r"[1-9][0-9]{0,9}\Z")
RULE_NAME = re.compile(r"[a-z0-9_]+\Z")
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


def check_federation(value: str) -> str:
    """A federation's name (§2.1). Raises Malformed."""
    if not _FEDERATION.match(value):
        raise Malformed("What stands for a federation is none.")
    return value


def check_node(value: str) -> str:
    """A node id (§2.2). Raises Malformed."""
    if not _NODE.match(value):
        raise Malformed("What stands for a node id is none.")
    return value


def check_ori(value: str) -> str:
    """An ORI (§2.3). Raises Malformed."""
    if not _ORI.match(value):
        raise Malformed("What stands for an ORI is none.")
    return value


def federation(reader: Reader) -> str:
    return check_federation(reader.text(63))


def node(reader: Reader) -> str:
    return check_node(reader.text(40))


def ori(reader: Reader) -> str:
    return check_ori(reader.text(9))


def uri_of(federation_name: str, role: str, name: str | None) -> str:
    """The name in a certificate (§2.6). Raises Malformed."""
    parts = {
        ("node", True): f"node/{name}",
        ("hub", False): "hub",
        ("hub/directory", False): "hub/directory",
        ("credentialing-body", True): f"credentialing-body/{name}",
        ("auditor", True): f"auditor/{name}",
    }
    if (role, name is not None) not in parts:
        raise Malformed("There is no name of this role.")
    if name is not None:
        check_node(name)
    return f"spiffe://{check_federation(federation_name)}/{parts[role, name is not None]}"


def read_uri(uri: str) -> tuple[str, str, str | None]:
    """Federation, role and id of a name in a certificate. Raises Malformed."""
    scheme, _, rest = uri.partition("://")
    federation_name, _, path = rest.partition("/")
    kind, _, name = path.partition("/")
    role, who = (path, None) if path == "hub/directory" else (kind, name or None)
    if scheme != "spiffe" or uri_of(federation_name, role, who) != uri:
        raise Malformed("A name in a certificate is none.")
    return federation_name, role, who


def origin_of(federation_name: str, shard: int) -> str:
    """The origin of a shard (§14.1)."""
    return f"{federation_name}/log/{shard}"


def shard_of(origin: str) -> tuple[str, int]:
    """Federation and number of the shard with this origin. Raises Malformed."""
    name, middle, number = origin.partition("/log/")
    if not middle or not _SHARD.match(number) or int(number) >= 2**32:
        raise Malformed("An origin is not that of a federation's log.")
    return check_federation(name), int(number)


def at(milliseconds: int) -> datetime:
    """A time of §3.1."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)


def at_seconds(seconds: int) -> datetime:
    """A POSIX time of a cosignature. Raises Malformed beyond the year 9999."""
    if not 0 < seconds < 253_402_300_800:
        raise Malformed("The time of a signature is zero, or beyond the year 9999.")
    return datetime.fromtimestamp(seconds, UTC)


def say_time(moment: datetime) -> str:
    """As reports write it."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
