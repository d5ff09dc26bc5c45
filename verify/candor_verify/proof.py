"""Proofs that an entry is in the log (C2SP tlog-proof; §16.1), and the policy they are judged by."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_verify.checkpoint import Checkpoint, LogKeys, parse_checkpoint, verify_log
from candor_verify.errors import LimitExceeded, Malformed, NotCanonical
from candor_verify.merkle import leaf_hash, verify_inclusion
from candor_verify.note import MAX_NOTE_OCTETS, VerifierKey, read_decimal, read_hash
from candor_verify.policy import Policy
from candor_verify.reading import Reading

FIRST_LINE = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63


@dataclass(frozen=True)
class Judge:
    """What a verifier is given: the reviewer's policy, the moment of checking, and perhaps the whole log."""

    policy: Policy
    now: datetime
    reading: Reading | None = None

    def witness_keys(self) -> Collection[VerifierKey]:
        """Whose cosignatures are known."""
        return self.policy.witnesses.values() if self.reading is None else self.reading.known


@dataclass(frozen=True)
class LogProof:
    """An index, the hashes from the leaf to the root, and the checkpoint; nothing is verified yet."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    def encode(self) -> bytes:
        lines = [
            FIRST_LINE,
            f"index {self.index}",
            *(base64.b64encode(step).decode() for step in self.hashes),
        ]
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint.encode()

    def verify(self, entry: bytes, judge: Judge) -> datetime:
        """That the log holds `entry` at `index` under a witnessed head; returns the time of witness.

        Raises SignatureInvalid, LogUnwitnessed or ProofInvalid.
        """
        keys = check_lines(self.checkpoint, judge)
        head = self.checkpoint
        if judge.reading is None:
            witnessed_at = judge.policy.time_of_witness(head, keys, judge.now)
        else:
            # The quorum stood when the log was read: what counts here is that it holds the entry.
            witnessed_at = verify_log(head, keys)
            judge.reading.check_entry(head.origin, self.index, entry)
        verify_inclusion(leaf_hash(entry), self.index, head.size, self.hashes, head.root)
        return witnessed_at


def check_lines(checkpoint: Checkpoint, judge: Judge) -> LogKeys:
    """The strict form of §16.1: the log's two lines, then known ones only, by key name and key id.

    Each of them is verified. Raises SignatureInvalid or NotCanonical.
    """
    known = judge.policy if judge.reading is None else judge.reading
    keys = known.log_keys(checkpoint.origin)
    verify_log(checkpoint, keys)
    others = checkpoint.signatures[2:]
    witnesses = judge.witness_keys()
    if not all(any(key.made(line) for key in witnesses) for line in others):
        raise NotCanonical("A checkpoint carries a signature that the policy does not know.")
    order = [(line.name.encode(), line.key_id) for line in others]
    if order != sorted(order):
        raise NotCanonical("The signatures of a checkpoint are not in the order of their key names.")
    for line in others:
        checkpoint.verify(next(key for key in witnesses if key.made(line)), line)
    return keys


def parse_proof(octets: bytes) -> LogProof:
    """Raises Malformed, NotCanonical or LimitExceeded."""
    if len(octets) > MAX_NOTE_OCTETS + 8_192:
        raise LimitExceeded(f"A proof of {len(octets)} octets is too long.")
    head, found, signed = octets.partition(b"\n\n")
    if not found:
        raise Malformed("A proof has no checkpoint.")
    try:
        first, index, *hashes = head.decode("ascii").split("\n")
    except (UnicodeDecodeError, ValueError):
        raise Malformed("What stands for a proof is none.") from None
    if first != FIRST_LINE or not index.startswith("index "):
        raise Malformed("A proof does not begin as one.")
    if len(hashes) > MAX_HASHES:
        raise LimitExceeded(f"A proof of {len(hashes)} hashes; at most {MAX_HASHES} are read.")
    proof = LogProof(
        read_decimal(index.removeprefix("index ")),
        tuple(map(read_hash, hashes)),
        parse_checkpoint(signed),
    )
    if proof.encode() != octets:
        raise NotCanonical("A proof is not in its one form.")
    return proof


def read_hashes(values: Sequence[bytes]) -> tuple[bytes, ...]:
    """Hashes of a proof inside a file. Raises Malformed or LimitExceeded."""
    if len(values) > MAX_HASHES:
        raise LimitExceeded(f"A proof of {len(values)} hashes; at most {MAX_HASHES} are read.")
    if any(len(value) != 32 for value in values):
        raise Malformed("A hash has 32 octets.")
    return tuple(values)
