"""The policy of witnesses (C2SP tlog-policy; §15.4): which logs, which witnesses, what quorum.

A policy counts cosignatures that verify. Its time of witness (§15.5) is the latest time t such that the
cosignatures of time t or later make the quorum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from candor_verify import note
from candor_verify.checkpoint import Checkpoint, LogKeys, verify_log
from candor_verify.errors import LimitExceeded, LogUnwitnessed, Malformed, SignatureInvalid
from candor_verify.names import CLOCK_TOLERANCE, at_seconds
from candor_verify.note import VerifierKey, parse_vkey

MAX_POLICY_OCTETS = 60_000
MAX_NAMED = 64
NONE = b"none"
_CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_LOG_KINDS = (note.ED25519, note.ML_DSA_44)
_WITNESS_KINDS = (note.ED25519_COSIGNATURE, note.ML_DSA_44)


@dataclass(frozen=True)
class Group:
    """At least `threshold` of the members, which are witnesses or groups."""

    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True)
class Policy:
    """As parsed; `text` is the file, octet for octet."""

    text: bytes
    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[bytes, VerifierKey]
    groups: Mapping[bytes, Group]
    quorum: bytes
    log_urls: tuple[bytes, ...] = ()
    witness_urls: Mapping[bytes, bytes] = field(default_factory=dict)

    def log_keys(self, origin: str) -> LogKeys:
        """Both keys of a shard. Raises SignatureInvalid if the policy does not name them."""
        found = {key.kind: key for key in self.logs if key.name == origin}
        if note.ED25519 not in found or note.ML_DSA_44 not in found:
            raise SignatureInvalid(f"The policy does not name both keys of the log {origin}.")
        return LogKeys(found[note.ED25519], found[note.ML_DSA_44])

    def cosignatures(self, checkpoint: Checkpoint) -> dict[bytes, int]:
        """Witness → POSIX time, of the lines whose keys the policy knows; each of them MUST verify.

        Raises SignatureInvalid.
        """
        times: dict[bytes, int] = {}
        for name, key in self.witnesses.items():
            line = note.find_line(key, checkpoint.signatures)
            if line is not None:
                seconds = checkpoint.verify(key, line)
                if seconds is not None:
                    times[name] = seconds
        return times

    def knows(self, signature: note.NoteSignature) -> bool:
        """Whether a line is by a log or a witness of this policy."""
        return any(key.made(signature) for key in (*self.logs, *self.witnesses.values()))

    def time_of_witness(self, checkpoint: Checkpoint, keys: LogKeys, now: datetime) -> datetime:
        """The time of witness of a checkpoint, whose log signatures are verified here, too.

        Raises SignatureInvalid, or LogUnwitnessed without a quorum; times more than five minutes ahead of
        `now` do not count.
        """
        signed_at = verify_log(checkpoint, keys)
        if self.quorum == NONE:
            self.cosignatures(checkpoint)
            if signed_at > now + CLOCK_TOLERANCE:
                raise LogUnwitnessed("The checkpoint was signed in the future.")
            return signed_at
        latest = int((now + CLOCK_TOLERANCE).timestamp())
        known = self.cosignatures(checkpoint)
        times = {name: seconds for name, seconds in known.items() if seconds <= latest}
        reached = self.reached(times)
        if reached is None:
            raise LogUnwitnessed(
                f"The quorum is missing: {len(known)} of {len(self.witnesses)} known witnesses cosigned"
                + (", some of them in the future." if len(times) < len(known) else ".")
            )
        return at_seconds(reached)

    def reached(self, times: Mapping[bytes, int]) -> int | None:
        """The latest time by which the quorum is made of cosignatures of these times, None without it."""
        return self._reached(self.quorum, times)

    def _reached(self, name: bytes, times: Mapping[bytes, int]) -> int | None:
        """Groups name only what stands before them, so that this ends."""
        group = self.groups.get(name)
        if group is None:
            return times.get(name)
        reached = (self._reached(member, times) for member in group.members)
        counted = sorted((seconds for seconds in reached if seconds is not None), reverse=True)
        return counted[group.threshold - 1] if len(counted) >= group.threshold else None

    @property
    def summary(self) -> str:
        """In words."""
        if self.quorum == NONE:
            return "no witnesses (quorum none)"
        group = self.groups.get(self.quorum)
        if group is None:
            return f"the witness {self.quorum.decode(errors='replace')}"
        return f"{group.threshold} of {len(group.members)} ({self.quorum.decode(errors='replace')})"


def parse_policy(octets: bytes) -> Policy:
    """Raises Malformed, NotCanonical or LimitExceeded."""
    if len(octets) > MAX_POLICY_OCTETS:
        raise LimitExceeded(f"A policy of {len(octets)} octets; at most {MAX_POLICY_OCTETS} are read.")
    if _CONTROLS.search(octets):
        raise Malformed("A policy holds control characters.")
    if octets and not octets.endswith(b"\n"):
        raise Malformed("The last line of a policy does not end.")
    parser = _Parser()
    for line in octets.split(b"\n"):
        words = line.replace(b"\t", b" ").split(b" ")
        if (items := [word for word in words if word]) and not items[0].startswith(b"#"):
            parser.line(items)
            if max(len(parser.logs), len(parser.witnesses), len(parser.groups)) > MAX_NAMED:
                raise LimitExceeded(f"A policy names at most {MAX_NAMED} logs, witnesses, groups each.")
    if parser.quorum is None:
        raise Malformed("A policy has no quorum line.")
    return Policy(
        octets,
        tuple(parser.logs),
        parser.witnesses,
        parser.groups,
        parser.quorum,
        tuple(parser.log_urls),
        parser.witness_urls,
    )


class _Parser:
    """What has been read of a policy so far."""

    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.log_urls: list[bytes] = []
        self.witnesses: dict[bytes, VerifierKey] = {}
        self.witness_urls: dict[bytes, bytes] = {}
        self.groups: dict[bytes, Group] = {}
        self.quorum: bytes | None = None
        self._keys: set[tuple[bool, bytes]] = set()
        self._grouped: set[bytes] = set()

    def line(self, items: list[bytes]) -> None:
        match items:
            case [b"log", vkey, *url] if len(url) <= 1:
                self.logs.append(self._key(vkey, _LOG_KINDS))
                self.log_urls.append(b"".join(url))
            case [b"witness", name, vkey, *url] if len(url) <= 1:
                self._free(name)
                self.witnesses[name] = self._key(vkey, _WITNESS_KINDS)
                self.witness_urls[name] = b"".join(url)
            case [b"group", name, threshold, *members] if members:
                self._free(name)
                self.groups[name] = self._group(threshold, members)
            case [b"quorum", name]:
                if self.quorum is not None or (name != NONE and not self._defined(name)):
                    raise Malformed("A policy has two quorum lines, or one that names nobody.")
                self.quorum = name
            case _:
                raise Malformed("A line of a policy is none.")

    def _key(self, vkey: bytes, kinds: tuple[int, int]) -> VerifierKey:
        try:
            key = parse_vkey(vkey.decode("utf-8"))
        except UnicodeDecodeError:
            raise Malformed("A verifier key is not UTF-8.") from None
        if key.kind not in kinds:
            raise Malformed("A verifier key is of a type that does not belong on its line.")
        mark = (kinds is _LOG_KINDS, key.key)
        if mark in self._keys:
            raise Malformed("A policy names a key twice.")
        self._keys.add(mark)
        return key

    def _free(self, name: bytes) -> None:
        if name == NONE or self._defined(name):
            raise Malformed("A policy gives one name twice, or the name “none”.")

    def _defined(self, name: bytes) -> bool:
        return name in self.witnesses or name in self.groups

    def _group(self, threshold: bytes, members: list[bytes]) -> Group:
        for member in members:
            if not self._defined(member) or member in self._grouped:
                raise Malformed("A group of a policy names nobody, or somebody who is in a group already.")
            self._grouped.add(member)
        match threshold:
            case b"all":
                needed = len(members)
            case b"any":
                needed = 1
            case _:
                needed = note.read_decimal(threshold.decode("latin-1"))
        if not 1 <= needed <= len(members):
            raise Malformed("The threshold of a group is zero, or above the number of its members.")
        return Group(needed, tuple(members))
