"""Proofs of logging that anybody checks offline (C2SP tlog-proof v1; docs/protocol.md §16.1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from candor_proto import merkle
from candor_proto.errors import LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.merkle import HASH_OCTETS
from candor_proto.tlog.base64lines import MAX_COUNT, decode_count, decode_hash, encode_octets
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.note import MAX_NOTE_OCTETS
from candor_proto.tlog.policy import Policy
from candor_proto.tlog.signatures import verify_log

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
MAX_PROOF_OCTETS = MAX_NOTE_OCTETS + 64 * 45 + 256


@dataclass(frozen=True)
class LogProof:
    """Where an entry stands, the hashes from its sibling up, and the head that they lead to."""

    index: int
    hashes: tuple[bytes, ...]
    signed: SignedCheckpoint

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_COUNT:
            raise MalformedMessage("The index of a proof is below 2^63.")
        if len(self.hashes) > MAX_HASHES:
            raise LimitExceeded(f"A proof holds at most {MAX_HASHES} hashes.")
        if any(len(piece) != HASH_OCTETS for piece in self.hashes):
            raise MalformedMessage(f"A hash is {HASH_OCTETS} octets.")

    def encode(self) -> bytes:
        """The text, without an `extra` line."""
        lines = [HEADER, f"index {self.index}", *(encode_octets(piece) for piece in self.hashes), "", ""]
        return "\n".join(lines).encode("ascii") + self.signed.encode()

    def verify(self, entry: bytes, policy: Policy, now: datetime) -> datetime:
        """Check that `entry` is logged under a head that `policy` accepts; the time of witness.

        The head carries the log's two signatures and then known ones in order, nothing else: a proof has
        no room for remarks. Raises SignatureInvalid, NotCanonical, LogUnwitnessed or ProofInvalid.
        """
        signed = self.signed
        verify_log(signed, policy.log_keys(signed.checkpoint.origin))
        if policy.knows(signed) != signed:
            raise NotCanonical(
                "A proof whose head carries signatures that its policy does not know, or in disorder."
            )
        moment = policy.time_of_witness(signed, now)
        merkle.verify_inclusion(
            merkle.leaf_hash(entry), self.index, signed.checkpoint.size, self.hashes, signed.checkpoint.root
        )
        return moment


def parse_proof(octets: bytes) -> LogProof:
    """Raises MalformedMessage, NotCanonical or LimitExceeded; a proof with an `extra` line is refused."""
    if len(octets) > MAX_PROOF_OCTETS:
        raise LimitExceeded(f"A proof is at most {MAX_PROOF_OCTETS} octets.")
    head, separator, rest = octets.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise MalformedMessage("A proof is not ASCII before its checkpoint.") from None
    if not separator or len(lines) < 2 or lines[0] != HEADER or not lines[1].startswith("index "):
        raise MalformedMessage("Not a proof of logging without extra data.")
    if len(lines) > 2 + MAX_HASHES:
        raise LimitExceeded(f"A proof holds at most {MAX_HASHES} hashes.")
    index = decode_count(lines[1].removeprefix("index "))
    proof = LogProof(index, tuple(decode_hash(line) for line in lines[2:]), parse_checkpoint(rest))
    if proof.encode() != octets:
        raise NotCanonical("A proof that does not re-encode to itself.")
    return proof
