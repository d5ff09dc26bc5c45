"""The head that all replicas have witnessed now, and what witnesses signed of it, wherever they are attached.

Rules of this file:
- the sequencer alone begins a round, with a head that is stored; what the round before brought is dropped;
- a cosignature is put here by the replica that has verified it, and counts for its own round only;
- whoever completes the quorum takes the head up (`witnessed`); if it dies in between, the sequencer does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from candor_hub.store import Store, Transactions
from candor_hub.store.fence import Deposed
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.note import NoteSignature

# By `named` witness.
Cosigned = Mapping[str, tuple[NoteSignature, ...]]


def named(key: bytes) -> str:
    """What a witness is called here: the SHA-256 of its ML-DSA-44 key, in hexadecimal."""
    return sha256(key).hexdigest()


@dataclass(frozen=True)
class Round:
    """A head as the log signed it, and what came of it."""

    number: int
    shard: int
    signed: SignedCheckpoint = field(repr=False)
    cosigned: Cosigned = field(repr=False)


class Rounds:
    """Rounds in the database; safe to use from several threads."""

    def __init__(self, store: Store, fenced: Transactions | None = None) -> None:
        """`fenced` is what the sequencer of this replica writes with, if it has one."""
        self._store = store
        self.fenced = fenced

    def begin(self, shard: int, signed: SignedCheckpoint) -> int:
        """Have this head witnessed; the number of its round. Raises StoreUnusable, Deposed."""
        fenced = self.fenced
        if fenced is None:
            # Deposed between its turn and this: a round of its own would drop what the new one's has brought.
            raise Deposed
        with fenced.write() as tx:
            number = tx.rounds.begin(shard, signed.encode())
            tx.notices.round_began()
        return number

    def present(self) -> Round | None:
        """None before the first one; raises StoreUnusable."""
        with self._store.read() as tx:
            record = tx.rounds.present()
            cosigned = tx.rounds.cosigned(record.number) if record else {}
        if record is None:
            return None
        signed = parse_checkpoint(record.signed)
        return Round(record.number, record.shard, signed, _parsed(cosigned))

    def add(self, number: int, cosigned: Cosigned) -> Cosigned | None:
        """Add what came here; all that came anywhere, or None if the round is over. Raises StoreUnusable."""
        with self._store.write() as tx:
            record = tx.rounds.present()
            if record is None or record.number != number:
                return None
            signed = parse_checkpoint(record.signed)
            for witness, signatures in cosigned.items():
                lines = SignedCheckpoint(signed.checkpoint, signatures).encode()
                tx.rounds.add(number, witness, lines)
            found = tx.rounds.cosigned(number)
        return _parsed(found)


def _parsed(found: Mapping[str, bytes]) -> Cosigned:
    return {witness: parse_checkpoint(octets).signatures for witness, octets in found.items()}
