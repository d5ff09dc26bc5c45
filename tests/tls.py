"""One connection at a time, with exactly the TLS that a test wants: what a caller offers, what it gets.

    offer = Offer(shown=certificate, groups="X448")
    call(port, offer, folder) == Result(Door.CONNECTION)

Callers use OpenSSL (Python's `ssl`), which the hub's members do not: what is refused is refused to anybody.
gRPC says with no alert why it ends a connection, so a caller sees only that it ended.
"""

from __future__ import annotations

import _ssl
import ctypes
import enum
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from cryptography import x509
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

from candor_certs.authority import certificates_pem
from tests.certificates import Presented
from tests.patience import PATIENCE_SECONDS

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Keys and ciphers that OpenSSL itself would not offer: whether they are taken is for the other side to say.
ANYTHING = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
# SSL_CTRL_SET_GROUPS_LIST of OpenSSL's ssl.h.
_SET_GROUPS_LIST = 92


class Door(enum.Enum):
    """How far a caller gets."""

    CONNECTION = "the connection ends"  # in the handshake or right after, before anything was read
    CALL = "the call is refused"
    OPEN = "answered"


@dataclass(frozen=True)
class Offer:
    """What one side brings to a handshake. Empty: as usual."""

    shown: Presented | None = None
    alpn: tuple[str, ...] = ("h2",)
    server_name: str | None = ""
    version: ssl.TLSVersion | None = None
    ciphers: str = ANYTHING
    group: str = ""
    plain: bool = False


@dataclass(frozen=True)
class Result:
    """`says` is the answer's message: why a call was refused."""

    door: Door
    code: str = ""
    says: str = ""
    version: str | None = None
    session: ssl.SSLSession | None = field(default=None, compare=False)
    resumed: bool = False


def client_context(offer: Offer, root: x509.Certificate, folder: Path) -> ssl.SSLContext:
    """What a caller is before it connects; a session is resumed with the one that it was made with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whom the caller trusts is another table's.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_verify_locations(cadata=certificates_pem([root]).decode())
    return _set_up(context, offer, folder)


def _set_up(context: ssl.SSLContext, offer: Offer, folder: Path) -> ssl.SSLContext:
    context.set_ciphers(offer.ciphers)
    if offer.shown is not None:
        path = folder / "shown.pem"
        path.write_bytes(offer.shown.key_pem + offer.shown.chain_pem)
        context.load_cert_chain(path)
    if offer.alpn:
        context.set_alpn_protocols(list(offer.alpn))
    if offer.group:
        _agree_by(context, offer.group)
    if offer.version is not None:
        with warnings.catch_warnings():  # of versions that nobody should use
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = offer.version
    return context


def _agree_by(context: ssl.SSLContext, group: str) -> None:
    """Offer this group alone; raises OSError where neither Python nor its OpenSSL takes it."""
    try:
        context.set_ecdh_curve(group)
    except (ssl.SSLError, ValueError):
        # Python 3.11.2, of Debian 12, knows curves of one kind only. Its context holds OpenSSL's first.
        library = ctypes.CDLL(_ssl.__file__ if hasattr(_ssl, "__file__") else None)
        library.SSL_CTX_ctrl.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
        library.SSL_CTX_ctrl.restype = ctypes.c_long
        held = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
        if library.SSL_CTX_ctrl(held, _SET_GROUPS_LIST, 0, group.encode()) != 1:
            raise OSError(f"this OpenSSL knows no group {group}") from None


def call(
    port: int,
    offer: Offer,
    context: ssl.SSLContext,
    method: str,
    server_name: str,
    session: ssl.SSLSession | None = None,
) -> Result:
    """Connect and call `method` with an empty message; a method without a slash in front is a page to get."""
    name = server_name if offer.server_name == "" else offer.server_name
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as plain:
            if offer.plain:
                return _request(plain, method)
            with context.wrap_socket(plain, server_hostname=name, session=session) as connection:
                return _request(connection, method)
    except (ssl.SSLError, ConnectionError):
        return Result(Door.CONNECTION)


def _request(connection: socket.socket, method: str) -> Result:
    made = _get(connection, method) if method.startswith("log/") else _call(connection, method)
    if not isinstance(connection, ssl.SSLSocket):
        return made
    return Result(
        made.door,
        made.code,
        made.says,
        connection.version(),
        connection.session,
        bool(connection.session_reused),
    )


def _get(connection: socket.socket, page: str) -> Result:
    connection.sendall(f"GET /{page} HTTP/1.1\r\nHost: log\r\nConnection: close\r\n\r\n".encode())
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    status = received.partition(b"\r\n")[0].decode()
    if not status.startswith("HTTP/1.1 "):
        return Result(Door.CONNECTION)
    return Result(Door.OPEN if status.split()[1] == "200" else Door.CALL, status.split()[1])


def _call(connection: socket.socket, method: str) -> Result:
    """A gRPC call by hand: which TLS the library would bring is what is to be chosen."""
    http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    http.initiate_connection()
    http.send_headers(
        1,
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", method),
            (":authority", "hub"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ],
    )
    http.send_data(1, bytes(5), end_stream=True)
    connection.sendall(http.data_to_send())
    found: dict[str, str] = {}
    while octets := connection.recv(65_536):
        for event in http.receive_data(octets):
            if isinstance(event, ResponseReceived | TrailersReceived):
                found.update((str(name), str(value)) for name, value in event.headers or ())
            elif isinstance(event, StreamEnded):
                code = found.get("candor-error", found["grpc-status"])
                says = unquote(found.get("grpc-message", ""))
                return Result(Door.OPEN if code == "0" else Door.CALL, code, says)
            elif isinstance(event, StreamReset | ConnectionTerminated):
                return Result(Door.CONNECTION)
        connection.sendall(http.data_to_send())
    return Result(Door.CONNECTION)


# --- the other end ---------------------------------------------------------------------------------------


class Listener:
    """Says of the one that called it whether it went on to speak: then it took this side for the hub."""

    def __init__(self, offer: Offer, folder: Path) -> None:
        self._context = _set_up(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), offer, folder)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.heard = b""
        self._thread = threading.Thread(target=self._hear)

    def _hear(self) -> None:
        plain, _ = self._listening.accept()
        plain.settimeout(PATIENCE_SECONDS)
        try:
            with plain, self._context.wrap_socket(plain, server_side=True) as connection:
                while len(self.heard) < len(PREFACE) and (octets := connection.recv(4096)):
                    self.heard += octets
        except (ssl.SSLError, ConnectionError):
            pass
        finally:
            self._listening.close()

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Its port; what it heard is there afterwards."""
        self._thread.start()
        try:
            yield self.port
        finally:
            self._thread.join()
