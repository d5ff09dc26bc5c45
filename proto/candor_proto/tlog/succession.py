"""Whether a shard is the successor of one that was not closed (docs/protocol.md §19).

Two ways lead over: a member's own consent, which a person gave; and, for everybody who was not asked, the
consents of more than half of the members. Pure: entries go in, a judgement or a typed error comes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from candor_proto.directory import MemberStatus
from candor_proto.errors import LogInconsistent, LogUnwitnessed, MalformedMessage, SignatureInvalid
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import VerifyingKey
from candor_proto.tlog.entries import (
    DirectoryEntry,
    Entry,
    MemberEntry,
    Opened,
    PolicyEntry,
    Statement,
    log_origin,
)
from candor_proto.tlog.note import COSIGNATURE_ML_DSA_44, ED25519, VerifierKey
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.state import LogState
from candor_proto.tlog.statements import SUCCESSION, SuccessionConsent, parse_statement

KeyOf = Callable[[NodeId], bytes | None]


@dataclass(frozen=True)
class Successor:
    """What the first entries of a shard say of themselves: what it continues, under which keys and policy."""

    federation: FederationName
    shard: int
    previous_size: int
    previous_root: bytes
    keys: tuple[VerifierKey, VerifierKey]
    policy: PolicyEntry
    members: tuple[MemberEntry, ...] = field(repr=False)

    @property
    def policy_digest(self) -> bytes:
        return hashlib.sha256(self.policy.text).digest()

    @property
    def active(self) -> tuple[NodeId, ...]:
        """The members that count when consents are counted."""
        return tuple(sorted(one.node for one in self.members if one.status is MemberStatus.ACTIVE))

    def covers(self, consent: SuccessionConsent) -> bool:
        """Whether a consent is to this very shard; whose root it names is for the member to know."""
        return (
            consent.federation == self.federation
            and (consent.shard, consent.size, consent.root)
            == (self.shard - 1, self.previous_size, self.previous_root)
            and (consent.ed25519_key, consent.ml_dsa_key) == tuple(key.key for key in self.keys)
            and consent.policy_digest == self.policy_digest
        )


def read_successor(federation: FederationName, shard: int, opening: Sequence[Entry]) -> Successor:
    """What a shard begins with, unverified; raises MalformedMessage when it cannot be a successor's.

    `opening` are its first entries, up to the first `directory` entry at least: what lies behind that one
    names no members here, and of a member the newest entry before it counts, as in its state (§14.4).
    """
    first = opening[0] if opening else None
    end = next((at for at, entry in enumerate(opening) if isinstance(entry, DirectoryEntry)), None)
    if end is None:
        raise MalformedMessage(f"Shard {shard} of the log does not repeat the last directory.")
    begun = opening[:end]
    policies = [entry for entry in begun if isinstance(entry, PolicyEntry)]
    if not isinstance(first, Opened) or not policies:
        raise MalformedMessage(f"Shard {shard} of the log does not begin as a shard does.")
    if first.shard != shard or first.federation != federation or shard < 2:
        raise MalformedMessage("It opens another shard, or that of another federation.")
    if first.previous_origin != log_origin(federation, shard - 1):
        raise MalformedMessage("It continues another log.")
    keys = parse_policy(policies[0].text).log_keys(log_origin(federation, shard))
    if [key.kind for key in keys] != [ED25519, COSIGNATURE_ML_DSA_44]:
        raise MalformedMessage("Its first policy does not name both of its keys.")
    members: dict[NodeId, MemberEntry] = {}
    for entry in begun:
        if isinstance(entry, MemberEntry):
            members[entry.node] = entry
    return Successor(
        federation, shard, first.previous_size, first.previous_root, (keys[0], keys[1]), policies[0],
        tuple(members.values()),
    )  # fmt: skip


def check_opening(successor: Successor, entries: Iterable[Entry], before: LogState) -> None:
    """Raises LogInconsistent unless these entries, up to the first `directory` entry, keep the rules of §14.5
    as the shard after `before`: its members are then those of the last directory there.

    Whoever counts consents asks first: who may be counted stands in the opening alone.
    """
    if before.directory is None:
        raise LogInconsistent("The log that is to be continued holds no directory, so nobody may be counted.")
    state = before.succeeded(successor.previous_size, successor.previous_root)
    for index, entry in enumerate(entries):
        state.apply(index, entry.encode())
        if isinstance(entry, DirectoryEntry):
            return


def consents(successor: Successor, entries: Iterable[Entry], key_of: KeyOf) -> frozenset[NodeId]:
    """The active members that consented, as these entries of the successor's shard say.

    `key_of` gives the signing key that the shard before names for a member; what does not verify under it,
    or is about another successor, is nobody's consent.
    """
    active, found = frozenset(successor.active), set[NodeId]()
    for entry in entries:
        if not isinstance(entry, Statement) or entry.context != SUCCESSION:
            continue
        consent = parse_statement(entry.context, entry.signed.body)
        if not isinstance(consent, SuccessionConsent) or consent.node not in active:
            continue
        key = key_of(consent.node)
        if key is None or not successor.covers(consent):
            continue
        try:
            entry.signed.verify(SUCCESSION, VerifyingKey(key), str(consent.node))
        except (SignatureInvalid, MalformedMessage):
            continue
        found.add(consent.node)
    return frozenset(found)


def check_succeeds(successor: Successor, entries: Iterable[Entry], key_of: KeyOf) -> frozenset[NodeId]:
    """The members that consented, who are more than half (§19.5); raises LogUnwitnessed if they are not."""
    found, active = consents(successor, entries, key_of), successor.active
    if 2 * len(found) <= len(active):
        raise LogUnwitnessed(
            f"Shard {successor.shard} of the log calls itself the successor of the one before, and "
            f"{len(found)} of {len(active)} members say so; more than half are needed.",
            remedy="Wait for the others, or ask the operator why they have not gone over.",
        )
    return found


def check_first_policy(successor: Successor, last_version: int) -> None:
    """Raises MalformedMessage unless the first policy follows the last one of the shard before (§19.2)."""
    if successor.policy.version != last_version + 1:
        raise MalformedMessage(
            f"The successor begins with policy version {successor.policy.version}; the last one was "
            f"{last_version}."
        )
