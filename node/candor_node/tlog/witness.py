"""A C2SP witness over a durable store: judged, stored and signed in one transaction, then answered (§15.3).

Rules of this file:
- `latest` is read in the very transaction in which what was accepted is stored: of two requests at a time
  one comes after the other, and none rolls the witness back;
- the cosignatures are made inside it, because they are kept as they are answered, and leave it only once it
  is on the disk: a crash before that has signed nothing that anybody saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from candor_node.clock import Clock
from candor_node.store import Database, Store
from candor_node.tlog import witness_store
from candor_proto.errors import StoreUnusable
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.policy import Policy
from candor_proto.tlog.witness import UNPROCESSABLE, Verdict, add_checkpoint, cosignature_lines


class Rules(Protocol):
    """Which logs a witness knows, and what it holds of them besides its own cosignatures."""

    def keys_of(self, db: Database, origin: str) -> Sequence[VerifierKey]:
        """The keys that must have signed a checkpoint of this log; none of an unknown one."""

    def seen(self, db: Database, origin: str) -> SignedCheckpoint | None:
        """The largest checkpoint that was seen of it by other ways."""

    def refusal(self, db: Database, checkpoint: Checkpoint) -> str:
        """Why this checkpoint is not cosigned although it continues the one before; empty if it is."""


class Witness:
    """Answers requests to cosign. Any task may call it: the store does one after the other."""

    def __init__(self, store: Store, rules: Rules, clock: Clock) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock

    async def add_checkpoint(self, request: bytes) -> Verdict:
        """Status, content type and body of tlog-witness; raises StoreUnusable, having signed nothing."""
        return await self._store.run(lambda db: self.judge(db, request))

    def judge(self, db: Database, request: bytes) -> Verdict:
        """The same inside the caller's transaction: the body must not leave before it has ended."""
        now = self._clock.now()
        verdict = add_checkpoint(
            request,
            lambda origin: self._rules.keys_of(db, origin),
            lambda origin: self._latest(db, origin),
        )
        if verdict.accepted is None:
            return verdict
        checkpoint = verdict.accepted.checkpoint
        if reason := self._rules.refusal(db, checkpoint):
            return Verdict(UNPROCESSABLE, f"{reason}\n".encode())
        keys = witness_store.keys(db)
        if keys is None:
            raise StoreUnusable("This witness has no keys.", remedy="Restart it: it makes them at its start.")
        signatures = keys.cosign(checkpoint, now)
        own = self._own_lines(db, verdict.accepted)
        witness_store.keep(db, own.with_signatures(signatures), now)
        return replace(verdict, body=cosignature_lines(signatures))

    def _own_lines(self, db: Database, signed: SignedCheckpoint) -> SignedCheckpoint:
        """The checkpoint with the lines that were verified, and without those of strangers."""
        keys = self._rules.keys_of(db, signed.checkpoint.origin)
        known = tuple(line for line in signed.signatures if any(line.is_by(key) for key in keys))
        return SignedCheckpoint(signed.checkpoint, known)

    def _latest(self, db: Database, origin: str) -> SignedCheckpoint | None:
        """What a request must continue: the larger of what was cosigned and what was seen.

        Keys that were made anew have cosigned nothing; whoever holds them still knows what the log was.
        """
        known = [witness_store.cosigned(db, origin), self._rules.seen(db, origin)]
        return max((one for one in known if one is not None), key=_size, default=None)

    async def checkpoint(self, digest: str) -> bytes | None:
        """The newest cosigned checkpoint of the log whose origin has this SHA-256, in hexadecimal."""

        def work(db: Database) -> bytes | None:
            return witness_store.cosigned_by_hash(db, digest)

        return await self._store.run(work)


def _size(signed: SignedCheckpoint) -> int:
    return signed.checkpoint.size


class PolicyRules:
    """Of a witness that stands alone: the logs of a policy file, and nothing else."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def keys_of(self, db: Database, origin: str) -> Sequence[VerifierKey]:
        return self._policy.log_keys(origin)

    def seen(self, db: Database, origin: str) -> SignedCheckpoint | None:
        return None

    def refusal(self, db: Database, checkpoint: Checkpoint) -> str:
        return ""
