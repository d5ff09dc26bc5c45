"""What a command shows at the doors of the running node: the user it acts for, and that user's token.

Rules of this file:
- the token is read from a file that nobody else may read: CANDOR_TOKEN_FILE, else ~/.config/candor/token. It
  stands in no argument and no environment variable, where other processes could see it;
- metadata has room for ASCII only: a name at an open node may be anything, and is percent-encoded.
"""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import grpc

from candor_proto.errors import ConfigInvalid

USER_METADATA_KEY, TOKEN_METADATA_KEY = "candor-user", "candor-token"
TOKEN_VARIABLE = "CANDOR_TOKEN_FILE"  # noqa: S105 (the name of a variable)
KEYS = (USER_METADATA_KEY, TOKEN_METADATA_KEY)
MAX_CHARACTERS = 400


def read_token() -> str:
    """The token of this person; "" when there is none, as at a node without users.

    Raises ConfigInvalid for a file that is named and not there, or that others may read.
    """
    named = os.environ.get(TOKEN_VARIABLE)
    path = Path(named) if named else Path.home() / ".config" / "candor" / "token"
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigInvalid(
                f"The token {path} may be read by others.", remedy=f"Run: chmod 600 {path}; or get a new one."
            )
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        if named:
            raise ConfigInvalid(f"There is no token at {path}.", remedy=f"Check {TOKEN_VARIABLE}.") from None
        return ""
    except (OSError, ValueError):
        raise ConfigInvalid(f"The token {path} cannot be read.", remedy="Check the file.") from None


def metadata(user: str, token: str) -> tuple[tuple[str, str], ...]:
    """User and token as a call carries them."""
    pairs = ((USER_METADATA_KEY, quote(user, safe="@+")), (TOKEN_METADATA_KEY, quote(token)))
    return tuple(pair for pair in pairs if pair[1])


def shown(carried: Mapping[str, str | bytes]) -> tuple[str, str]:
    """User and token out of the metadata of a call; "" for what is missing or too long."""

    def text(key: str) -> str:
        value = carried.get(key, "")
        return unquote(value) if isinstance(value, str) and len(value) <= MAX_CHARACTERS else ""

    return text(USER_METADATA_KEY), text(TOKEN_METADATA_KEY)


_Details = namedtuple(
    "_Details", ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression")
)


class _Shows(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Puts user and token on every call of a channel."""

    def __init__(self, user: str, token: str) -> None:
        self._metadata = metadata(user, token)

    def _call(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        carried = (*(details.metadata or ()), *self._metadata)
        return continuation(
            _Details(
                details.method,
                details.timeout,
                carried,
                details.credentials,
                details.wait_for_ready,
                details.compression,
            ),
            request,
        )

    # grpc's types want four methods that differ in what they call their last parameter.
    intercept_unary_unary = _call  # type: ignore[assignment]
    intercept_unary_stream = _call  # type: ignore[assignment]
    intercept_stream_unary = _call  # type: ignore[assignment]
    intercept_stream_stream = _call  # type: ignore[assignment]


def signed_in(channel: grpc.Channel, user: str, token: str) -> grpc.Channel:
    """`channel`, whose calls carry user and token."""
    return grpc.intercept_channel(channel, _Shows(user, token))
