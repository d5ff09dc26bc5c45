"""HTTP/2 over TLS, octet by octet, as an attacker speaks it: any frame at any time, read or unread.

    with Wire(post, post.scene.hub) as wire:
        wire.say(wire.open_call("/candor.v1.HubService/GetQuota", b""))
        wire.listen()

One thread owns a Wire. Frames are packed here and headers encoded by `hpack`, never indexed, so that a
block is good on every stream of every connection. A Wire ends all by itself when its post's time is over.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from hpack import Encoder
from hpack.struct import NeverIndexedHeaderTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
CANCEL = struct.pack(">I", 8)
MAX_WINDOW = (1 << 31) - 1
FIRST_WINDOW = 65_535
TIMEOUT_SECONDS = 5.0


class Lost(Exception):
    """The hub ended the connection, or the attack is over."""


@dataclass(frozen=True)
class Place:
    """A port of the hub, and whether it takes members' certificates."""

    port: int
    members: bool = False


@dataclass(frozen=True)
class Scene:
    """What is attacked."""

    folder: Path
    server_name: str
    hub: Place
    enrolment: Place
    log: Place


@dataclass
class Post:
    """One attacker: its number from 0, that of the attack, until when it attacks, what it counts."""

    scene: Scene
    number: int
    attack: int
    node: str
    signing_seed: bytes = field(repr=False)
    over_at: float
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def source(self) -> str:
        """An address of its own on the loopback interface, in each attack another."""
        return f"127.0.{self.attack + 1}.{self.number + 1}"

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.over_at

    def pause(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self.over_at - time.monotonic())))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame: s1 (table size), s3 (streams), s4 (window), s5 (frame size), s6 (headers)."""
    body = b"".join(struct.pack(">HI", int(name[1:]), value) for name, value in values.items())
    return frame(SETTINGS, 0, 0, body)


def message(octets: bytes) -> bytes:
    """A gRPC message behind its prefix."""
    return b"\0" + struct.pack(">I", len(octets)) + octets


@lru_cache(maxsize=64)
def headers_of(path: str, *extra: tuple[str, str]) -> bytes:
    """The header block of a call."""
    fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "hub"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *extra,
    ]
    return Encoder().encode([NeverIndexedHeaderTuple(*each) for each in fields])


@lru_cache(maxsize=64)
def _context(folder: Path, node: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "root.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if node:
        context.load_cert_chain(folder / "pem" / f"{node}.pem")
    return context


def connect(post: Post, place: Place) -> socket.socket:
    """A TCP connection from the attacker's own address; raises OSError."""
    plain = socket.create_connection(("127.0.0.1", place.port), TIMEOUT_SECONDS, (post.source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain


def handshake(post: Post, place: Place, protocol: str = "h2") -> ssl.SSLSocket:
    """A TLS connection, with the attacker's certificate where members have one; raises OSError."""
    context = _context(post.scene.folder, post.node if place.members else "")
    context.set_alpn_protocols([protocol])
    plain = connect(post, place)
    try:
        return context.wrap_socket(plain, server_hostname=post.scene.server_name)
    except BaseException:
        plain.close()
        raise


class Wire:
    """One HTTP/2 connection; raises Lost when it is over."""

    def __init__(self, post: Post, place: Place, first: bytes = b"", *, deaf: bool = False) -> None:
        """`first` are SETTINGS; `deaf` reads nothing, ever."""
        self._post = post
        self._deaf = deaf
        try:
            self.socket = handshake(post, place)
        except OSError as error:
            post.counts[f"connect: {type(error).__name__}"] += 1
            post.pause(0.05)
            raise Lost from None
        post.counts["connections"] += 1
        self.socket.setblocking(False)
        self._incoming = bytearray()
        self.stream = -1
        self.window = FIRST_WINDOW
        self.windows: dict[int, int] = {}
        self.ended: set[int] = set()
        wide = settings(s4=MAX_WINDOW) + frame(
            WINDOW_UPDATE, 0, 0, struct.pack(">I", MAX_WINDOW - FIRST_WINDOW)
        )
        self.say(PREFACE + (first or wide))

    # --- streams ----------------------------------------------------------------------------------------

    def next_stream(self) -> int:
        self.stream += 2
        self.windows[self.stream] = FIRST_WINDOW
        return self.stream

    def open_call(self, path: str, octets: bytes | None = None, *extra: tuple[str, str]) -> bytes:
        """Frames of a new call: without `octets` it stays open, with them it is one whole message."""
        stream = self.next_stream()
        opened = frame(HEADERS, END_HEADERS, stream, headers_of(path, *extra))
        return opened if octets is None else opened + frame(DATA, END_STREAM, stream, message(octets))

    # --- octets -----------------------------------------------------------------------------------------

    def say(self, octets: bytes) -> None:
        """Send all of it, hearing (unless deaf) what comes meanwhile."""
        view = memoryview(octets)
        while view:
            if self._post.over:
                raise Lost
            try:
                view = view[self.socket.send(view) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if not self._deaf:
                    self.hear()
                self._wait(0.05, writing=True)
            except OSError:
                self._lost()

    def hear(self) -> None:
        """Take in what has come; never waits."""
        while True:
            try:
                octets = self.socket.recv(65_536)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError:
                self._lost()
            if not octets:
                self._lost()
            self._incoming += octets
        for kind, flags, stream, payload in self._frames():
            self._take(kind, flags, stream, payload)

    def listen(self, seconds: float = 0.05) -> None:
        """Wait for something to come, for so long at most, and take it in."""
        if self._post.over:
            raise Lost
        if not self.socket.pending():
            self._wait(seconds)
        self.hear()

    def _wait(self, seconds: float, *, writing: bool = False) -> None:
        events = select.POLLIN | (select.POLLOUT if writing else 0)
        ready = select.poll()
        ready.register(self.socket, select.POLLOUT if self._deaf else events)
        ready.poll(seconds * 1000)

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        at, held = 0, self._incoming
        while len(held) - at >= 9:
            size = int.from_bytes(held[at : at + 3], "big")
            if len(held) - at < 9 + size:
                break
            stream = int.from_bytes(held[at + 5 : at + 9], "big") & MAX_WINDOW
            yield held[at + 3], held[at + 4], stream, bytes(held[at + 9 : at + 9 + size])
            at += 9 + size
        del held[:at]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        counts = self._post.counts
        if kind == SETTINGS and not flags & ACK:
            self.say(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.say(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if stream:
                self.windows[stream] = self.windows.get(stream, 0) + more
            else:
                self.window += more
        elif kind == RST_STREAM:
            counts["streams reset by the hub"] += 1
            self._end(stream)
        elif kind == GOAWAY:
            counts["sent away"] += 1
        elif kind in (DATA, HEADERS) and flags & END_STREAM:
            counts["calls ended"] += 1
            self._end(stream)

    def _end(self, stream: int) -> None:
        self.windows.pop(stream, None)
        self.ended.add(stream)

    def _lost(self) -> None:
        self._post.counts["connections lost"] += 1
        raise Lost from None

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
