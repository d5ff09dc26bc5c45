"""A whole log that was read and checked, as the ground on which receipts and evidence are judged.

A policy that counted when a file was made may count no more. Whoever reads the log needs none of then: an
entry that the file shows is compared with the one that the log holds at its place, and a cosignature with the
keys that the log names, now or before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from candor_verify.checkpoint import LogKeys
from candor_verify.entries import Entry
from candor_verify.errors import NotLogged, SignatureInvalid
from candor_verify.merkle import leaf_hash
from candor_verify.note import VerifierKey

Place = tuple[str, int]  # origin, index


@dataclass
class Reading:
    """Leaves at the places that were wanted, and the keys that the log names."""

    wanted: frozenset[Place]
    leaves: dict[Place, bytes] = field(default_factory=dict)
    logs: dict[str, LogKeys] = field(default_factory=dict)
    known: set[VerifierKey] = field(default_factory=set)

    def see(self, origin: str, index: int, octets: bytes, _: Entry) -> None:
        """An entry, as the log is read."""
        if (origin, index) in self.wanted:
            self.leaves[origin, index] = leaf_hash(octets)

    def log_keys(self, origin: str) -> LogKeys:
        """Raises SignatureInvalid for a log that was not read."""
        if origin not in self.logs:
            raise SignatureInvalid(f"The log that was read is not {origin}.")
        return self.logs[origin]

    def check_entry(self, origin: str, index: int, entry: bytes) -> None:
        """That the log holds this entry at this place. Raises NotLogged."""
        if self.leaves.get((origin, index)) != leaf_hash(entry):
            raise NotLogged(f"The log that was read does not hold this entry at {index} of {origin}.")
