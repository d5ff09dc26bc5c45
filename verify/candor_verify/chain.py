"""Which policy is in force at which entry (§15.4), beginning with the reviewer's own.

A reviewer's policy that is one of the log's own stands for itself, and each later one is in force once a
head covers it that satisfies the one before. A policy that is none of the log's is the only one that counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from candor_verify import note
from candor_verify.checkpoint import Checkpoint, LogKeys
from candor_verify.entries import PolicyEntry
from candor_verify.errors import LogUnwitnessed, Refused
from candor_verify.names import shard_of
from candor_verify.note import VerifierKey
from candor_verify.policy import Policy, parse_policy


@dataclass
class PolicyChain:
    """`given` is the reviewer's; `known` are the keys of all policies read so far."""

    given: Policy
    now: datetime
    version: int | None = None
    deferred: list[tuple[str, Checkpoint, LogKeys]] = field(default_factory=list)
    _anchor: tuple[int, int] = (0, 0)
    _steps: list[tuple[int, int, Policy]] = field(default_factory=list)
    known: set[VerifierKey] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.known |= {*self.given.logs, *self.given.witnesses.values()}

    @property
    def in_force(self) -> Policy:
        return self._steps[-1][2] if self._steps else self.given

    def see(self, entry: PolicyEntry, shard: int, index: int) -> bool:
        """A policy entry was read; returns whether the head that brought it into force is to be shown."""
        policy = parse_policy(entry.text)
        self.known |= {*policy.logs, *policy.witnesses.values()}
        if self.version is None:
            if entry.text == self.given.text:
                self.version, self._anchor = entry.version, (shard, index)
            return False
        return entry.version > self.version

    def advance(self, entry: PolicyEntry, index: int, head: Checkpoint, keys: LogKeys) -> None:
        """The head shown covers the entry and satisfies the policy before. Raises a Refused."""
        if head.size <= index:
            raise LogUnwitnessed(f"The head shown for policy {entry.version} does not cover its entry.")
        self.in_force.time_of_witness(head, keys, self.now)
        self._steps.append((shard_of(head.origin)[1], head.size, parse_policy(entry.text)))
        self.version = entry.version

    def succeed(self, entry: PolicyEntry, shard: int) -> None:
        """The first policy of a successor: members consented to it, no head puts it in force (§19.2)."""
        if self.version is not None and entry.version > self.version:
            self._steps.append((shard, 0, parse_policy(entry.text)))
            self.version = entry.version

    def predates(self, head: Checkpoint) -> bool:
        """Whether a head is older than the policy given, which then says nothing of it."""
        return self.version is not None and (shard_of(head.origin)[1], head.size) <= self._anchor

    def judge(self, head: Checkpoint, keys: LogKeys) -> datetime:
        """Time of witness of a head under the policy that was in force for it.

        At the very size of the head that brought a policy into force, it or the one before is good.
        Raises a Refused.
        """
        place = (shard_of(head.origin)[1], head.size)
        behind = [policy for shard, size, policy in self._steps if (shard, size) < place]
        at = [policy for shard, size, policy in self._steps if (shard, size) == place]
        candidates = [*reversed(at), behind[-1] if behind else self.given]
        for policy in candidates[:-1]:
            try:
                return policy.time_of_witness(head, keys, self.now)
            except Refused:
                continue
        return candidates[-1].time_of_witness(head, keys, self.now)


def unknown_lines(head: Checkpoint, keys: LogKeys, known: set[VerifierKey]) -> list[note.NoteSignature]:
    """Signature lines by nobody known; each line by somebody known is verified. Raises SignatureInvalid."""
    strangers = []
    for line in head.signatures:
        by = next((key for key in (keys.ed25519, keys.ml_dsa, *known) if key.made(line)), None)
        if by is None:
            strangers.append(line)
        else:
            head.verify(by, line)
    return strangers
