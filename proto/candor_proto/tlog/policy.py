"""Which logs and witnesses are trusted, and how many of them make a head (C2SP tlog-policy; §15.4, §15.5).

The text is read as octets; names of witnesses and groups mean nothing outside of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from candor_proto.errors import LimitExceeded, LogUnwitnessed, MalformedMessage, SignatureInvalid
from candor_proto.ids import NodeId
from candor_proto.statements import CLOCK_TOLERANCE
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_ML_DSA_44,
    ED25519,
    VerifierKey,
    parse_vkey,
)
from candor_proto.tlog.signatures import verify_log, verify_signature

MAX_POLICY_OCTETS = 60_000
MAX_LOGS, MAX_WITNESSES, MAX_GROUPS = 64, 64, 64
MAX_MEMBER_WITNESSES = 24
MIN_MEMBER_WITNESSES = 3
NONE, MEMBERS, OUTSIDE, BOTH, MEMBER_PREFIX = "none", "members", "outside", "both", "member/"
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_NUMBER = re.compile(r"[1-9][0-9]{0,3}\Z")
_LOG_KINDS = (ED25519, COSIGNATURE_ML_DSA_44)
_WITNESS_KINDS = (COSIGNATURE_ED25519, COSIGNATURE_ML_DSA_44)


@dataclass(frozen=True)
class PolicyLog:
    """A `log` line; the key's name is the log's origin."""

    key: VerifierKey
    url: str = ""


@dataclass(frozen=True)
class PolicyWitness:
    """A `witness` line."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True)
class Group:
    """A `group` line: witnessed when `threshold` of its members, witnesses or groups, are."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """A parsed policy; `text` are the octets that it was read from, and part of its value."""

    text: bytes
    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[Group, ...]
    quorum: str

    def log_keys(self, origin: str) -> tuple[VerifierKey, ...]:
        """The keys of the log of this origin, Ed25519 first; none if it is not listed."""
        keys = [log.key for log in self.logs if log.key.name == origin]
        return tuple(sorted(keys, key=lambda key: key.kind))

    def cosignatures(self, signed: SignedCheckpoint) -> Mapping[str, datetime]:
        """Time of cosigning by witness, of all witnesses of this policy that signed.

        Raises SignatureInvalid when one of them did not verify; unknown signatures are ignored.
        """
        found: dict[str, datetime] = {}
        for witness in self.witnesses:
            for signature in signed.signatures:
                if signature.is_by(witness.key):
                    moment = verify_signature(witness.key, signed.checkpoint, signature)
                    assert moment is not None  # no witness key is of type 0x01
                    found[witness.name] = moment
        return found

    def has_quorum(self, names: set[str]) -> bool:
        """Whether these witnesses make the quorum."""
        witnessed = set(names)
        for group in self.groups:
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum == NONE or self.quorum in witnessed

    def time_of_witness(self, signed: SignedCheckpoint, now: datetime) -> datetime:
        """The latest time t such that cosignatures of time t or later make the quorum (§15.5).

        Without a quorum rule it is the log's own ML-DSA-44 time, with both its signatures checked; else
        the log's signatures are not looked at (`verify`). Times more than 5 minutes ahead of `now` do
        not count. Raises LogUnwitnessed; SignatureInvalid when a known signature fails.
        """
        times = self.cosignatures(signed)
        limit = now + CLOCK_TOLERANCE
        if self.quorum == NONE:
            moment = verify_log(signed, self.log_keys(signed.checkpoint.origin))
            if moment > limit:
                raise _unwitnessed("the log's own signature is from the future")
            return moment
        counted: set[str] = set()
        for name, moment in sorted(times.items(), key=lambda item: item[1], reverse=True):
            if moment > limit:
                continue
            counted.add(name)
            if self.has_quorum(counted):
                return moment
        raise _unwitnessed(f"{len(counted)} of {len(self.witnesses)} known witnesses signed it")

    def verify(self, signed: SignedCheckpoint, now: datetime) -> datetime:
        """Check both signatures of a log of this policy and the quorum; the time of witness.

        Raises SignatureInvalid (also: no log of this policy) or LogUnwitnessed.
        """
        verify_log(signed, self.log_keys(signed.checkpoint.origin))
        return self.time_of_witness(signed, now)

    def knows(self, signed: SignedCheckpoint) -> SignedCheckpoint:
        """The checkpoint as a proof carries it: the log's two signatures, then known ones in order (§16.1).

        Checks nothing but that the log's two lines are there.
        """
        keys = self.log_keys(signed.checkpoint.origin)
        own = [line for key in keys for line in signed.signatures if line.is_by(key)]
        if not keys or len(own) != len(keys):
            raise SignatureInvalid(
                f"A checkpoint of {signed.checkpoint.origin} lacks a signature of its log."
            )
        known = [
            line for line in signed.signatures if any(line.is_by(witness.key) for witness in self.witnesses)
        ]
        ordered = sorted(known, key=lambda line: line.sort_key)
        return SignedCheckpoint(signed.checkpoint, (*own, *ordered))


def _unwitnessed(reason: str) -> LogUnwitnessed:
    return LogUnwitnessed(
        f"A head of the log lacks its quorum: {reason}.",
        remedy="Wait for the witnesses; if it lasts, ask the hub operator and other members.",
    )


# The same few policies are read for every head: reading one takes as long as checking thirty signatures.
@lru_cache(maxsize=32)
def parse_policy(octets: bytes) -> Policy:
    """Raises MalformedMessage or LimitExceeded; the message names the line."""
    if len(octets) > MAX_POLICY_OCTETS:
        raise LimitExceeded(f"A policy is at most {MAX_POLICY_OCTETS} octets.")
    if _CONTROL.search(octets):
        raise MalformedMessage("A policy holds a control character.")
    if octets and not octets.endswith(b"\n"):
        raise MalformedMessage("A policy whose last line has no newline.")
    # Octets above 0x7F are opaque; surrogate escapes keep each of them.
    lines = octets.decode("utf-8", "surrogateescape").split("\n")[:-1]
    reading = _Reading()
    for number, line in enumerate(lines, start=1):
        items = [item for item in re.split("[ \t]+", line) if item]
        if items and not items[0].startswith("#"):
            try:
                reading.line(items)
            except LimitExceeded:
                raise
            except MalformedMessage as error:
                raise MalformedMessage(f"Line {number} of the policy: {error.message}") from None
    if reading.quorum is None:
        raise MalformedMessage("A policy without a quorum line.")
    return Policy(
        octets, tuple(reading.logs), tuple(reading.witnesses), tuple(reading.groups), reading.quorum
    )


class _Reading:
    """The lines of a policy read so far."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self._free: set[str] = set()  # names that no group holds yet
        self._defined: set[str] = set()

    def line(self, items: Sequence[str]) -> None:
        kind, count = items[0], len(items)
        if kind == "log" and count in (2, 3):
            self._log(_vkey(items[1], _LOG_KINDS), *items[2:])
        elif kind == "witness" and count in (3, 4):
            self._witness(items[1], _vkey(items[2], _WITNESS_KINDS), *items[3:])
        elif kind == "group" and count >= 4:
            self._group(items[1], items[2], tuple(items[3:]))
        elif kind == "quorum" and count == 2:
            self._quorum(items[1])
        else:
            raise MalformedMessage(
                "neither log, witness, group nor quorum, or with too few or too many items."
            )

    def _log(self, key: VerifierKey, url: str = "") -> None:
        if any(key.key == log.key.key for log in self.logs):
            raise MalformedMessage("a log key that another line has.")
        if any((key.name, key.kind) == (log.key.name, log.key.kind) for log in self.logs):
            raise MalformedMessage("a second key of one type for one log.")
        self.logs.append(PolicyLog(key, url))
        _limit(self.logs, MAX_LOGS, "logs")

    def _witness(self, name: str, key: VerifierKey, url: str = "") -> None:
        if any(key.key == witness.key.key for witness in self.witnesses):
            raise MalformedMessage("a witness key that another line has.")
        self._define(name)
        self.witnesses.append(PolicyWitness(name, key, url))
        _limit(self.witnesses, MAX_WITNESSES, "witnesses")

    def _group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        if len(set(members)) != len(members) or not set(members) <= self._free:
            raise MalformedMessage("a group member that is not defined above, or stands in a group already.")
        known = {"any": 1, "all": len(members)}
        if threshold not in known and not _NUMBER.match(threshold):
            raise MalformedMessage("a threshold that is neither any, all nor a number.")
        needed = known[threshold] if threshold in known else int(threshold)
        if needed > len(members):
            raise MalformedMessage("a threshold above the number of members.")
        self._free -= set(members)
        self._define(name)
        self.groups.append(Group(name, needed, members))
        _limit(self.groups, MAX_GROUPS, "groups")

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise MalformedMessage("a second quorum.")
        if name != NONE and name not in self._defined:
            raise MalformedMessage("a quorum that is not defined above.")
        self.quorum = name

    def _define(self, name: str) -> None:
        if name == NONE or name in self._defined:
            raise MalformedMessage("a name that is taken.")
        self._defined.add(name)
        self._free.add(name)


def _vkey(text: str, kinds: Sequence[int]) -> VerifierKey:
    key = parse_vkey(text)
    if key.kind not in kinds:
        raise MalformedMessage(f"a key of signature type {key.kind} cannot stand here.")
    return key


def _limit(items: Sequence[object], limit: int, what: str) -> None:
    if len(items) > limit:
        raise LimitExceeded(f"A policy names at most {limit} {what}.")


def members_policy(
    logs: Sequence[VerifierKey],
    witnesses: Sequence[tuple[NodeId, VerifierKey]],
    extra: Sequence[PolicyWitness] = (),
    extra_threshold: int = 0,
) -> bytes:
    """The policy that the hub makes (§15.4).

    `logs` are the two keys of a shard, or of two; `witnesses` the ML-DSA-44 keys of active members in the
    order in which they joined, of which the first 24 are taken; `extra` an operator's own, of which
    `extra_threshold` must sign besides (0: they are asked, and not needed). Raises MalformedMessage or
    LimitExceeded, also when the outcome would not parse.
    """
    chosen = sorted(witnesses[:MAX_MEMBER_WITNESSES], key=lambda item: item[0])
    names = [f"{MEMBER_PREFIX}{node}" for node, _ in chosen]
    lines = [f"log {key.encode()}" for key in logs]
    lines += [f"witness {name} {key.encode()}" for name, (_, key) in zip(names, chosen, strict=True)]
    needed = []
    if len(names) >= MIN_MEMBER_WITNESSES:
        lines.append(f"group {MEMBERS} {len(names) // 2 + 1} {' '.join(names)}")
        needed.append(MEMBERS)
    for witness in extra:
        if witness.name in (NONE, MEMBERS, OUTSIDE, BOTH) or witness.name.startswith(MEMBER_PREFIX):
            raise MalformedMessage(f"A witness of the operator cannot be called {witness.name[:50]!r}.")
        lines.append(" ".join(("witness", witness.name, witness.key.encode(), witness.url)).rstrip())
    if extra_threshold:
        lines.append(f"group {OUTSIDE} {extra_threshold} {' '.join(witness.name for witness in extra)}")
        needed.append(OUTSIDE)
    if len(needed) == 2:
        lines.append(f"group {BOTH} all {MEMBERS} {OUTSIDE}")
        needed = [BOTH]
    lines.append(f"quorum {needed[0] if needed else NONE}")
    try:
        octets = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise MalformedMessage("A name or URL of a witness has no UTF-8 form.") from None
    parse_policy(octets)
    return octets
