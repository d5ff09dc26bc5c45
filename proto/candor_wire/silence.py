"""How long a node lets its stream be silent: what it says of that when it attaches (docs/protocol.md §8.3).

In the call's metadata and not in the hello, which a hub of the first release would refuse with a field more.
"""

from __future__ import annotations

from candor_wire.limits import SILENCE_SECONDS

METADATA_KEY = "candor-silence"
_MAX_DIGITS = 5


def own() -> tuple[tuple[str, str], ...]:
    """What a node says of itself, as metadata of the call."""
    return ((METADATA_KEY, str(int(SILENCE_SECONDS))),)


def read(text: object) -> int | None:
    """So many seconds, or None: nothing was said, or in a stranger's way."""
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS:
        return None
    return int(text)
