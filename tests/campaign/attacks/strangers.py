"""Attacks that need no HTTP/2, and mostly no certificate: connections, handshakes, and the log's HTTPS
port.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from contextlib import suppress

from tests.campaign.attacks.wire import Place, Post, connect, handshake

# The beginning of a TLS handshake, cut off: a record header that promises 512 octets.
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)
HALF_OPEN = 30
HELD = 200
_RESET = struct.pack("ii", 1, 0)


def half_open(post: Post, place: Place) -> None:
    """Handshakes that are begun and left, thirty at a time from each attacker, begun anew when they end."""
    held: list[socket.socket] = []
    while not post.over:
        held = [each for each in held if not _ended(each)]
        while len(held) < HALF_OPEN and not post.over:
            try:
                one = connect(post, place)
                one.sendall(HALF_HELLO if len(held) % 2 else b"")
            except OSError:
                post.counts["refused"] += 1
                post.pause(0.05)
                break
            held.append(one)
            post.counts["half handshakes"] += 1
        post.pause(0.1)
    _end(held)


def connections(post: Post, place: Place) -> None:
    """Connections opened and reset, with a whole handshake and without, as fast as they go."""
    while not post.over:
        try:
            if post.counts["connections"] % 2:
                one: socket.socket = handshake(post, place)
            else:
                one = connect(post, place)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            one.close()
            post.counts["connections"] += 1
        except OSError:
            post.counts["refused"] += 1
            post.pause(0.01)


def held_connections(post: Post, place: Place) -> None:
    """As many connections as are to be had, up to 200 from each attacker, opened and held in silence."""
    held: list[ssl.SSLSocket] = []
    while not post.over:
        held = [each for each in held if not _ended(each)]
        try:
            while len(held) < HELD and not post.over:
                held.append(handshake(post, place, "h2" if place is not post.scene.log else "http/1.1"))
                post.counts["connections"] += 1
        except OSError:
            post.counts["refused"] += 1
        post.pause(0.1)
    post.counts["held at the end"] += len(held)
    _end(held)


def no_tls(post: Post, place: Place) -> None:
    """Plain HTTP and garbage where TLS is spoken."""
    said = (
        b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(90),
        bytes(16_000),
    )
    while not post.over:
        with suppress(OSError), connect(post, place) as one:
            one.sendall(said[post.counts["connections"] % len(said)])
            one.settimeout(0.5)
            one.recv(100)
        post.counts["connections"] += 1


# --- the log's port --------------------------------------------------------------------------------------


def _page(path: str, *more: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: log", *more, "", ""]).encode()


def page_flood(post: Post, place: Place) -> None:
    """Pages of the log, one after the other, on one connection after the other."""
    paths = [
        "/log/shards",
        "/log/1/checkpoint",
        *(f"/log/1/tile/{level}/{index:03}" for level in range(3) for index in range(40)),
        *(f"/log/1/tile/entries/{index:03}" for index in range(40)),
    ]
    _requests(post, place, [_page(path) for path in paths])


def deep_paths(post: Post, place: Place) -> None:
    """Paths of many parts, of dots and of codes, and of more octets than a header may have."""
    paths = [
        "/log/" + "x001/" * 300 + "001",
        "/log/1/tile/0/" + "x999/" * 20 + "999.p/255",
        "/log/../../../../etc/passwd",
        "/log/%2e%2e/%2e%2e/hub.db",
        "/log/1//checkpoint",
        "/" + "a/" * 3_000,
        "/log/" + "b" * 20_000,
    ]
    _requests(post, place, [_page(path) for path in paths])


def pipelined(post: Post, place: Place) -> None:
    """Two hundred requests at once on a connection, with bodies and ranges, and no answer is read."""
    one = _page("/log/1/checkpoint", "Range: bytes=0-1,2-3,4-5") + (
        b"POST /log/1/checkpoint HTTP/1.1\r\nHost: log\r\nContent-Length: 1000\r\n\r\n" + bytes(1_000)
    )
    while not post.over:
        try:
            with handshake(post, place, "http/1.1") as wire:
                post.counts["connections"] += 1
                wire.settimeout(1.0)
                while not post.over:
                    wire.sendall(one * 100)
                    post.counts["requests"] += 200
        except OSError:
            post.counts["refused"] += 1
            post.pause(0.02)


def slow_headers(post: Post, place: Place) -> None:
    """Requests of one octet a second (slowloris), on as many connections as are to be had, up to 50 each."""
    octets = _page("/log/1/checkpoint", *(f"X-{number}: y" for number in range(200)))
    held: list[tuple[ssl.SSLSocket, float]] = []
    while not post.over:
        with suppress(OSError):
            if len(held) < 50:
                held.append((handshake(post, place, "http/1.1"), time.monotonic()))
                post.counts["connections"] += 1
        still = []
        for wire, began in held:
            at = int(time.monotonic() - began)
            try:
                wire.send(octets[at : at + 1])
                still.append((wire, began))
            except OSError:
                post.counts["cut"] += 1
        held = still
        post.pause(0.05 if len(held) < 50 else 0.5)
    post.counts["held at the end"] += len(held)
    _end([wire for wire, _ in held])


def _requests(post: Post, place: Place, requests: list[bytes]) -> None:
    number = post.number
    while not post.over:
        try:
            with handshake(post, place, "http/1.1") as wire:
                post.counts["connections"] += 1
                wire.settimeout(5.0)
                while not post.over:
                    wire.sendall(requests[number % len(requests)])
                    number += 1
                    if not _response(wire):
                        break
                    post.counts["requests"] += 1
        except OSError:
            post.counts["refused"] += 1
            post.pause(0.02)


def _response(wire: ssl.SSLSocket) -> bool:
    """Read a whole response; False when the connection is over."""
    octets = b""
    while b"\r\n\r\n" not in octets:
        some = wire.recv(65_536)
        if not some:
            return False
        octets += some
    head, _, body = octets.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        some = wire.recv(65_536)
        if not some:
            return False
        body += some
    return b"connection: close" not in head.lower()


# --- sockets ---------------------------------------------------------------------------------------------


def _ended(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(4_096) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def _end(held: list[socket.socket] | list[ssl.SSLSocket]) -> None:
    for one in held:
        with suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            one.close()
