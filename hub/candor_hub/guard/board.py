"""A page of memory that guard and hub share: one slot for each connection, by its port on the guard's side.

The guard connects to gRPC from a port of its own for each connection it passes on: that port is in gRPC's
name of the peer, so it is the slot's number. Each field has one writer, and is read whole or a moment old.

    octets  0-8    octets of messages that were read                 hub
            8-16   what pays for octets that came (budget)           hub
            16-24  the member: 0 none, else a digest of its id       hub
            24-28  calls under way that bring several messages       hub
            28-32  generation: how often the slot was taken          guard
            32-48  address of the client, IPv4 mapped into IPv6      guard
"""

from __future__ import annotations

import ipaddress
import mmap
import os
import struct
from dataclasses import dataclass

SLOT_OCTETS = 64
PORTS = 65_536
_EIGHT, _FOUR = struct.Struct("=Q"), struct.Struct("=I")
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
        _FOUR.pack_into(self._page, at + 28, (generation + 1) % (1 << 32))
        ip = ipaddress.ip_address(address.partition("%")[0])
        self._page[at + 32 : at + 48] = ip.packed if ip.version == 6 else _MAPPED + ip.packed

    def shown(self, port: int) -> Shown:
        return Shown(*_SHOWN.unpack_from(self._page, port * SLOT_OCTETS))

    # --- the hub ----------------------------------------------------------------------------------------

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
