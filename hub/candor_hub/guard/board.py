"""A page of memory that guard and hub share: one slot for each connection, by its port on the guard's side.

The guard connects to gRPC from a port of its own for each connection it passes on: that port is in gRPC's
name of the peer, so it is the slot's number. Each field has one writer, and is read whole or a moment old.

    octets  0-8    octets of messages that were read                 hub
            8-16   what pays for octets that came (budget)           hub
            16-24  the member: 0 none, else a digest of its id       hub
            24-28  calls under way that bring several messages       hub
            28-32  generation: how often the slot was taken          guard
            32-48  address of the client, IPv4 mapped into IPv6      guard
    48-56  until when nothing is read, as its member is      hub
           held off (seconds of the monotonic clock)

No connection has the port 0: its slot's first eight octets say until when the hub is busy, in seconds of the
machine's monotonic clock (hub).
"""

from __future__ import annotations

import ipaddress
import mmap
import os
import struct
from dataclasses import dataclass

SLOT_OCTETS = 64
PORTS = 65_536
_FOUR, _SECONDS = struct.Struct("=I"), struct.Struct("=d")
_SHOWN = struct.Struct("=QQQI")
_MAPPED = b"\0" * 10 + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Shown:
    """What the hub says of a connection."""

    octets: int = 0
    paid: int = 0
    member: int = 0
    streaming: int = 0


class Board:
    """The page, in either process."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._page = mmap.mmap(descriptor, PORTS * SLOT_OCTETS)

    @classmethod
    def create(cls) -> Board:
        descriptor = os.memfd_create("candor-guard", 0)
        os.ftruncate(descriptor, PORTS * SLOT_OCTETS)
        return cls(descriptor)

    # --- the guard --------------------------------------------------------------------------------------

    def take(self, port: int, address: str) -> None:
        """A connection begins: nothing is shown for it yet."""
        at = port * SLOT_OCTETS
        (generation,) = _FOUR.unpack_from(self._page, at + 28)
        self._page[at : at + 28] = bytes(28)
        self._page[at + 48 : at + 56] = bytes(8)
        _FOUR.pack_into(self._page, at + 28, (generation + 1) % (1 << 32))
        ip = ipaddress.ip_address(address.partition("%")[0])
        self._page[at + 32 : at + 48] = ip.packed if ip.version == 6 else _MAPPED + ip.packed

    def shown(self, port: int) -> Shown:
        return Shown(*_SHOWN.unpack_from(self._page, port * SLOT_OCTETS))

    def busy(self, now: float) -> bool:
        """Whether the hub said a moment ago that it is."""
        until: float = _SECONDS.unpack_from(self._page, 0)[0]
        return now < until

    def is_held(self, port: int, now: float) -> bool:
        """Whether nothing of this connection is to be read now."""
        until: float = _SECONDS.unpack_from(self._page, port * SLOT_OCTETS + 48)[0]
        return now < until

    # --- the hub ----------------------------------------------------------------------------------------

    def hold(self, port: int, until: float) -> None:
        """Nothing of this connection is read until then (`time.monotonic`)."""
        _SECONDS.pack_into(self._page, port * SLOT_OCTETS + 48, until)

    def busy_until(self, until: float) -> None:
        """Say that the hub is busy; it is taken back by itself at `until` (`time.monotonic`)."""
        _SECONDS.pack_into(self._page, 0, until)

    def generation(self, port: int) -> int:
        number: int = _FOUR.unpack_from(self._page, port * SLOT_OCTETS + 28)[0]
        return number

    def address(self, port: int) -> str:
        """Where the connection really comes from."""
        packed = self._page[port * SLOT_OCTETS + 32 : port * SLOT_OCTETS + 48]
        if packed.startswith(_MAPPED):
            return str(ipaddress.IPv4Address(packed[12:]))
        return str(ipaddress.IPv6Address(packed))

    def show(self, port: int, shown: Shown) -> None:
        """Replace what is shown for this connection."""
        _SHOWN.pack_into(
            self._page, port * SLOT_OCTETS, shown.octets, shown.paid, shown.member, shown.streaming
        )

    def close(self) -> None:
        self._page.close()
        os.close(self.descriptor)
