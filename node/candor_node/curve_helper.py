"""A process of its own for the curve work of batches: octets in, octets out, on one socket.

    python -m candor_node.curve_helper       (started by `helpers`, which holds the other end)

Rules of this file:
- it knows no database, no configuration and no key: what it is to compute comes over the socket, and what it
  computed goes back that way;
- it ends when the other end closes, as it does however the node ends;
- it is niced like the bulk threads: a single lookup passes.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from array import array
from collections.abc import Sequence

from candor_proto.errors import CandorError
from candor_proto.group import Element, elements_of, scalars_of
from candor_proto.oprf import BlindedBatch, Proof, finalize

NICENESS = 15
# A batch of 4,096 elements with long inputs stays far below.
MAX_FRAME_OCTETS = 64 * 1024 * 1024
_HEAD = struct.Struct("!B")
_LENGTH = struct.Struct("!I")


class BrokenFrame(Exception):
    """The other end closed, or sent what is no frame."""


def send(connection: socket.socket, parts: Sequence[bytes]) -> None:
    """One message of several octet strings."""
    lengths = [_LENGTH.pack(len(part)) for part in parts]
    connection.sendall(b"".join((_HEAD.pack(len(parts)), *lengths, *parts)))


def receive(connection: socket.socket) -> list[bytes]:
    """The next message; raises BrokenFrame or OSError (a timeout among others)."""
    (count,) = _HEAD.unpack(_exactly(connection, _HEAD.size))
    lengths = [_LENGTH.unpack(_exactly(connection, _LENGTH.size))[0] for _ in range(count)]
    if sum(lengths) > MAX_FRAME_OCTETS:
        raise BrokenFrame
    return [_exactly(connection, length) for length in lengths]


def _exactly(connection: socket.socket, octets: int) -> bytes:
    taken = bytearray()
    while len(taken) < octets:
        piece = connection.recv(min(octets - len(taken), 1 << 20))
        if not piece:
            raise BrokenFrame
        taken += piece
    return bytes(taken)


# --- what is computed ------------------------------------------------------------------------------------


def write_batch(
    batch: BlindedBatch, evaluated: Sequence[Element], public: Element, proof: Proof
) -> list[bytes]:
    """What `oprf.finalize` takes, as octets."""
    return [
        array("H", [len(one) for one in batch.inputs]).tobytes(),
        b"".join(batch.inputs),
        b"".join([element.to_bytes() for element in batch.elements]),
        b"".join([inverse.to_bytes() for inverse in batch.inverses]),
        b"".join([element.to_bytes() for element in evaluated]),
        public.to_bytes(),
        proof.to_bytes(),
    ]


def compute(parts: Sequence[bytes]) -> list[bytes]:
    """The code of what is wrong, or nothing; then the outputs one behind the other."""
    sizes, joined, elements, inverses, evaluated, public, proof = parts
    inputs, at = [], 0
    for size in array("H", sizes):
        inputs.append(joined[at : at + size])
        at += size
    batch = BlindedBatch(inputs, elements_of(elements), scalars_of(inverses))
    try:
        outputs = finalize(batch, elements_of(evaluated), Element.parse(public), Proof.parse(proof))
    except CandorError as error:
        return [error.code.encode(), b""]
    return [b"", b"".join(outputs)]


def main() -> None:
    """Compute until the other end closes."""
    # Whoever presses Ctrl-C means the node, which closes its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A niced thread may have started it, whose niceness it has then already.
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    with socket.socket(fileno=os.dup(0)) as connection:
        try:
            while True:
                send(connection, compute(receive(connection)))
        except (BrokenFrame, OSError):
            return


if __name__ == "__main__":
    main()
