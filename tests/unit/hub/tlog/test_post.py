"""Asking a witness by its URL costs so many seconds, whatever the witness does (§15.3)."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from candor_hub.clock import SystemClock
from candor_hub.tlog import post
from candor_hub.tlog.post import WitnessUrl
from candor_proto.errors import Unreachable

SECONDS = 0.4
# What drips does so for five minutes.
LONG_SECONDS = 60.0


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server called localhost, and of a client that trusts it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), SystemClock().now()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=certificate.decode())


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[WitnessUrl]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with suppress(OSError):
                held, _ = server.accept()
                with held:
                    serve(held)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield WitnessUrl.parse(f"https://localhost:{server.getsockname()[1]}/log")
        thread.join(10)


def drip(held: socket.socket) -> None:
    """An octet now and then: no single one keeps anybody waiting for long."""
    for _ in range(6_000):
        time.sleep(0.05)
        held.sendall(b"x")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "POST_SECONDS", SECONDS)


def ask(url: WitnessUrl, context: ssl.SSLContext) -> float:
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        post.post(url, b"request", context)
    return time.monotonic() - begun


def test_a_body_that_comes_octet_by_octet_is_not_waited_for(tmp_path: Path) -> None:
    server, client = contexts(tmp_path)

    def serve(held: socket.socket) -> None:
        with server.wrap_socket(held, server_side=True) as secure:
            secure.recv(4096)
            # `Connection: close` makes http.client forget its socket, and whoever wants to cut it.
            secure.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n")
            drip(secure)

    with listening(serve) as url:
        assert ask(url, client) < LONG_SECONDS


def test_a_handshake_that_does_not_end_is_not_waited_for(tmp_path: Path) -> None:
    _, client = contexts(tmp_path)

    def serve(held: socket.socket) -> None:
        held.sendall(b"\x16\x03\x03\x3f\xff")
        drip(held)

    with listening(serve) as url:
        assert ask(url, client) < LONG_SECONDS


def test_what_a_witness_answers_in_time_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "POST_SECONDS", LONG_SECONDS)
    server, client = contexts(tmp_path)

    def serve(held: socket.socket) -> None:
        with server.wrap_socket(held, server_side=True) as secure:
            # Whoever closes with something unread resets the connection, and the answer with it.
            taken = b""
            while not taken.endswith(b"\r\n\r\nrequest"):
                taken += secure.recv(4096)
            assert taken.startswith(b"POST /log/add-checkpoint HTTP/1.1\r\n")
            secure.sendall(b"HTTP/1.1 409 Conflict\r\nContent-Length: 3\r\n\r\n17\n")

    with listening(serve) as url:
        assert post.post(url, b"request", client) == (409, b"17\n")
