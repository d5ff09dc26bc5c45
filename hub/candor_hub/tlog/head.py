"""A head on its way to its quorum, and what witnesses sign of it (docs/protocol.md §15.3, §15.4)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from candor_proto.errors import LimitExceeded, SignatureInvalid
from candor_proto.statements import CLOCK_TOLERANCE
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.note import NoteSignature, VerifierKey
from candor_proto.tlog.policy import Policy
from candor_proto.tlog.signatures import verify_signature

# The log's own signatures, which come first.
LOG_LINES = 2


@dataclass(eq=False)
class Head:
    """A head to be witnessed, with what witnesses said so far; `until` is when another may take its turn.

    `signed` is by the log alone at first, and `base` stays so. Among several replicas `round` is the number
    of its round, 0 before it has one; by witness, `unshared` is what was signed here and the others do not
    know yet, `heard` what was signed elsewhere.
    """

    shard: int
    signed: SignedCheckpoint
    signed_by: set[str] = field(default_factory=set)
    taken: bool = False
    stored: int = 0
    until: float = 0.0
    round: int = 0
    unshared: dict[str, tuple[NoteSignature, ...]] = field(default_factory=dict)
    heard: dict[str, tuple[NoteSignature, ...]] = field(default_factory=dict)
    base: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.base = self.signed.encode()

    @property
    def size(self) -> int:
        return self.signed.checkpoint.size


def verified(
    signatures: Sequence[NoteSignature], keys: Sequence[VerifierKey], signed: SignedCheckpoint, now: datetime
) -> tuple[NoteSignature, ...]:
    """Those of `signatures` that are by `keys`, the first of which must have signed.

    Raises SignatureInvalid when one does not verify, is missing, or states a time that has not come.
    """
    found = []
    for key in keys:
        for signature in signatures:
            if signature.is_by(key):
                moment = verify_signature(key, signed.checkpoint, signature)
                if moment is not None and moment > now + CLOCK_TOLERANCE:
                    raise SignatureInvalid(f"{key.name} signed with a time that has not come.")
                found.append(signature)
    if not found or not found[0].is_by(keys[0]):
        raise SignatureInvalid(f"{keys[0].name} answered without its signature.")
    return tuple(found)


def merged(signed: SignedCheckpoint, signatures: Sequence[NoteSignature], policy: Policy) -> SignedCheckpoint:
    """A checkpoint has 64 lines: when they are full, what the policy in force does not name makes room."""
    for some in (signatures, signatures[:1]):
        with suppress(LimitExceeded):
            return signed.with_signatures(some)
    keys = [witness.key for witness in policy.witnesses]
    named = [line for line in signatures if any(line.is_by(key) for key in keys)]
    return policy.knows(signed).with_signatures(named)
