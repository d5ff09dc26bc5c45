"""Which version this is, how the two ends of a connection tell each other, and what to think of a difference.

The hub says its version in the metadata of its replies, a node in its user agent: both are for people, decide
nothing, and are passed over by versions that do not know them.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata

from candor_watch.findings import Figure, Finding, good, unknown, warning

DISTRIBUTION = "candor-exchange"
METADATA_KEY = "candor-version"
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(\.[0-9a-z.+-]{1,24})?\Z")
_AGENT = re.compile(r"candor-node/([0-9A-Za-z.+-]{1,32})(?: |\Z)")


@cache
def own_version() -> str:
    """Of the installed distribution; "0" where it is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0"


def user_agent() -> str:
    """What a node's calls begin their user agent with."""
    return f"candor-node/{own_version()}"


def of_agent(text: object) -> str:
    """The version in a user agent, or "": it is a stranger's text."""
    found = _AGENT.match(text if isinstance(text, str) else "")
    return checked(found.group(1)) if found else ""


def checked(text: object) -> str:
    """`text` if it is a version, else ""."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    return text if isinstance(text, str) and _VERSION.match(text) else ""


def release(version: str) -> tuple[int, int]:
    """What has to be near each other: major and minor; raises ValueError."""
    found = _VERSION.match(version)
    if not found:
        raise ValueError("no version")
    return int(found.group(1)), int(found.group(2))


def skew(key: str, own: str, theirs: str, who: str) -> Finding:
    """How far the other end, `who`, is from this one. A release works with the one before it."""
    figures: dict[str, Figure] = {"own": own, "theirs": theirs or None}
    if not theirs:
        return unknown(key, f"This is {own}; the {who} does not say which version it is.", "", **figures)
    (major, minor), (their_major, their_minor) = release(own), release(theirs)
    if (major, minor) == (their_major, their_minor):
        return good(key, f"This is {own}, the {who} is {theirs}.", **figures)
    told = f"This is {own}, the {who} is {theirs}."
    if major != their_major or abs(minor - their_minor) > 1:
        remedy = "Upgrade the older one, release by release: only neighbours are tested together."
        return warning(key, told, remedy, **figures)
    if (their_major, their_minor) < (major, minor) and who == "hub":
        return warning(key, told, "The hub comes first in an upgrade: tell its operator.", **figures)
    return good(key, f"{told} They are neighbours, which work together.", **figures)
