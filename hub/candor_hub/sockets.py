"""The TCP connections of this process, as the kernel knows them: gRPC names neither them nor their octets.

Linux only; elsewhere there are none to be seen. Safe against descriptors that are closed and used again
meanwhile: what is cut is looked at once more, under a descriptor of its own.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")
_MEMORY = Path("/proc/self/statm")
# struct tcp_info of linux/tcp.h: bytes_acked and bytes_received stand behind 120 octets.
_TCP_INFO, _COUNTS, _COUNTS_AT = 11, struct.Struct("<QQ"), 120
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4_096


@dataclass(frozen=True, slots=True)
class Socket:
    """One accepted connection; `peer` is spelt as gRPC spells it."""

    descriptor: int
    inode: int
    port: int
    address: str
    peer: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A connection, and how many octets came in and were acknowledged by the other end."""

    socket: Socket
    received: int
    sent: int


class Sockets:
    """Looks at this process's own descriptors; one thread owns it."""

    def __init__(self, ports: Collection[int]) -> None:
        self._ports = frozenset(ports)
        self._known: dict[int, tuple[int, Socket | None]] = {}
        self._library = ctypes.CDLL(None, use_errno=True) if _DESCRIPTORS.is_dir() else None
        self._buffer = ctypes.create_string_buffer(256)

    def look(self) -> list[Seen]:
        """Every connection to one of our ports."""
        if self._library is None:
            return []
        present: dict[int, tuple[int, Socket | None]] = {}
        found = []
        for name in os.listdir(_DESCRIPTORS):
            descriptor = int(name)
            try:
                inode = os.fstat(descriptor).st_ino
            except OSError:
                continue
            known = self._known.get(descriptor)
            if known is None or known[0] != inode:
                known = inode, self._described(descriptor, inode)
            present[descriptor] = known
            if known[1] is not None and (counts := self._counts(descriptor)) is not None:
                found.append(Seen(known[1], *counts))
        self._known = present
        return found

    def _described(self, descriptor: int, inode: int) -> Socket | None:
        with _held(descriptor) as held:
            if held is None or held.family not in (socket.AF_INET, socket.AF_INET6):
                return None
            try:
                port, place = held.getsockname()[1], held.getpeername()
            except OSError:  # it listens, or is gone already
                return None
        if port not in self._ports:
            return None
        address = place[0].removeprefix("::ffff:")
        kind, host = ("ipv6", f"%5B{address}%5D") if ":" in address else ("ipv4", address)
        return Socket(descriptor, inode, port, address, f"{kind}:{host}:{place[1]}")

    def _counts(self, descriptor: int) -> tuple[int, int] | None:
        assert self._library is not None
        size = ctypes.c_uint32(len(self._buffer))
        status = self._library.getsockopt(
            descriptor, socket.IPPROTO_TCP, _TCP_INFO, self._buffer, ctypes.byref(size)
        )
        if status != 0 or size.value < _COUNTS_AT + _COUNTS.size:
            return None
        sent, received = _COUNTS.unpack_from(self._buffer, _COUNTS_AT)
        return received, sent


def cut(connection: Socket) -> None:
    """End a connection, if it is still this one; whoever owns it finds it closed."""
    with suppress(OSError), _held(connection.descriptor) as held:
        if held is not None and os.fstat(held.fileno()).st_ino == connection.inode:
            held.shutdown(socket.SHUT_RDWR)


@contextmanager
def _held(descriptor: int) -> Iterator[socket.socket | None]:
    """The socket behind a descriptor, under one of our own; None if there is none."""
    try:
        own = os.dup(descriptor)
    except OSError:
        yield None
        return
    try:
        held = socket.socket(fileno=own)
    except OSError:
        os.close(own)
        yield None
        return
    with held:
        yield held


def resident_octets() -> int:
    """Memory of this process; 0 where it cannot be known."""
    try:
        return int(_MEMORY.read_text("ascii").split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
