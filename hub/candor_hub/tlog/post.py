"""Asking a witness that has a URL: one POST, bounded in time and size, over HTTPS that is checked (§15.3)."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from candor_proto.errors import InputInvalid, LimitExceeded, Unreachable
from candor_wire.limits import MAX_COSIGNED_BYTES

POST_SECONDS = 10.0
_PATH = "/add-checkpoint"


@dataclass(frozen=True)
class WitnessUrl:
    """Where a witness takes requests: the submission prefix of tlog-witness."""

    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> WitnessUrl:
        """Raises InputInvalid for anything but https://host[:port][/prefix]."""
        refusal = InputInvalid(
            f"{url[:100]!r} is no address of a witness.", remedy="Write https://host[:port][/prefix]."
        )
        try:
            parts = urlsplit(url)
            port = parts.port or 443
        except ValueError:
            raise refusal from None
        plain = not (parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme != "https" or not parts.hostname or not plain or not url.isascii():
            raise refusal
        return cls(parts.hostname, port, parts.path.rstrip("/"))


def post(url: WitnessUrl, request: bytes, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """Status and body; blocks for POST_SECONDS at most. Raises Unreachable or LimitExceeded.

    Redirects are not followed: whom the policy names is asked, and nobody else.
    """
    connection = _Bounded(
        url.host, url.port, timeout=POST_SECONDS, context=context or ssl.create_default_context()
    )
    # The timeout of a socket begins anew with each octet that comes; this one does not.
    deadline = threading.Timer(POST_SECONDS, connection.cut)
    deadline.daemon = True
    deadline.start()
    try:
        connection.request("POST", url.prefix + _PATH, request, {"Content-Type": "text/plain; charset=utf-8"})
        response = connection.getresponse()
        body = response.read(MAX_COSIGNED_BYTES + 1)
        if connection.ended:
            raise TimeoutError
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        raise Unreachable(f"The witness at {url.host} could not be asked ({type(error).__name__}).") from None
    finally:
        deadline.cancel()
        connection.close()
    if len(body) > MAX_COSIGNED_BYTES:
        raise LimitExceeded(f"The witness at {url.host} answered with too much.")
    return response.status, body


class _Bounded(http.client.HTTPSConnection):
    """A connection that another thread can end, whatever it waits for."""

    _held: socket.socket | None = None
    ended = False

    def __init__(self, host: str, port: int, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls = context

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        # Held before the handshake, and when `sock` is given up to the response.
        held = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self._held = self.sock = held
        if self.ended:
            raise TimeoutError
        held.do_handshake()

    def cut(self) -> None:
        self.ended = True
        if self._held is not None:
            with suppress(OSError):
                # Not `SSLSocket.shutdown`, which drops the TLS state that the other thread is using.
                socket.socket.shutdown(self._held, socket.SHUT_RDWR)
