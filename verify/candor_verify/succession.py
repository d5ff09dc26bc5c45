"""A shard that continues one that was never closed (§19): more than half of the members must have said so."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from candor_verify import entries, note
from candor_verify.checkpoint import LogKeys, parse_checkpoint
from candor_verify.entries import Entry, parse_entry
from candor_verify.errors import LogInconsistent, LogUnwitnessed, Malformed, Refused
from candor_verify.fold import End, State
from candor_verify.heads import ACTIVE, Member
from candor_verify.names import origin_of
from candor_verify.policy import parse_policy
from candor_verify.source import Source
from candor_verify.statements import parse_succession
from candor_verify.tiles import MAX_BUNDLE_OCTETS, WIDTH, decode_bundle, tile_path

# Opening entries of 2,000 members, and their consents.
MAX_ENTRIES = 16_384


@dataclass(frozen=True)
class Old:
    """The shard that was not closed: its entries, and the signing keys that it names, by node."""

    federation: str
    shard: int
    size: int
    root: bytes
    signing_keys: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class Judged:
    """A successor's shard: its keys, its first policy, who consented, and how many members are active."""

    keys: LogKeys
    policy: entries.PolicyEntry = field(repr=False)
    consents: tuple[str, ...]
    active: int


@dataclass(frozen=True)
class Found:
    """A successor, and what its shard takes over."""

    end: End
    judged: Judged


def judge(read: Sequence[Entry], old: Old) -> Judged:
    """Whether a shard that begins with these entries is the successor of `old` for everybody (§19.5).

    Raises a Refused: Malformed, LogInconsistent, or LogUnwitnessed when too few members consented.
    """
    number, opened = old.shard + 1, read[0] if read else None
    end = next((at for at, one in enumerate(read) if isinstance(one, entries.DirectoryEntry)), None)
    if end is None:
        raise Malformed(f"shard {number} does not repeat the last directory")
    # Of a member the newest entry before that directory counts, and what lies behind it names nobody.
    begun = read[:end]
    policy = next((one for one in begun if isinstance(one, entries.PolicyEntry)), None)
    if not isinstance(opened, entries.Opened) or policy is None:
        raise Malformed(f"shard {number} does not begin as a shard does")
    if (opened.federation, opened.shard) != (old.federation, number):
        raise Malformed(f"shard {number} opens another one")
    if opened.previous_origin != origin_of(old.federation, old.shard):
        raise Malformed(f"shard {number} continues another log")
    try:
        keys = parse_policy(policy.text).log_keys(origin_of(old.federation, number))
    except Refused:
        raise Malformed(f"the first policy of shard {number} does not name both of its keys") from None
    if (opened.previous_size, opened.previous_root) != (old.size, old.root):
        raise LogInconsistent(f"shard {number} does not continue the entries of shard {old.shard}")
    members: dict[str, Member] = {}
    for one in begun:
        if isinstance(one, Member):
            members[one.node] = one
    active = {node for node, member in members.items() if member.status == ACTIVE}
    consents = _consents(read, old, keys, policy, active)
    if 2 * len(consents) <= len(active):
        raise LogUnwitnessed(
            f"shard {number} begins, shard {old.shard} is not closed, and {len(consents)} of {len(active)} "
            "members consented to it as its successor: more than half are needed"
        )
    return Judged(keys, policy, tuple(sorted(consents)), len(active))


def find(source: Source, state: State, root: bytes) -> Found:
    """The successor of the shard that `state` is of, after all of its entries, with their root.

    Raises as `judge`.
    """
    keys = {node: known.member.signing_key for node, known in state.members.items()}
    old = Old(state.federation, state.shard, state.size, root, keys)
    judged = judge(_read(source, state.shard + 1), old)
    before = 0 if state.policy is None else state.policy.version
    if judged.policy.version != before + 1:
        raise LogInconsistent(f"a successor begins with policy {judged.policy.version}, behind {before}")
    end = End(
        shard=state.shard,
        origin=state.origin,
        size=state.size,
        root=root,
        next_keys=judged.keys,
        directory_version=None if state.directory is None else state.directory.version,
        state=state.directory_state() if state.directory is None else state.directory.state,
        policy=state.policy,
        succeeded=True,
    )
    return Found(end, judged)


def _read(source: Source, number: int) -> list[Entry]:
    """The first entries of a shard, under the newest head that was signed."""
    octets = source.read(f"{number}/signed", note.MAX_NOTE_OCTETS)
    octets = octets or source.read(f"{number}/checkpoint", note.MAX_NOTE_OCTETS)
    if octets is None:
        raise Malformed(f"shard {number} has no head")
    size, found = parse_checkpoint(octets).size, list[Entry]()
    for index in range(-(-min(size, MAX_ENTRIES) // WIDTH)):
        width = min(WIDTH, size - index * WIDTH)
        bundle = source.read(f"{number}/{tile_path(None, index, width)}", MAX_BUNDLE_OCTETS)
        found += [parse_entry(one) for one in decode_bundle(bundle or b"", width)]
    if not found:
        raise Malformed(f"shard {number} is empty")
    return found


def _consents(
    read: Sequence[Entry], old: Old, keys: LogKeys, policy: entries.PolicyEntry, active: set[str]
) -> set[str]:
    """Active members whose consent to this very shard verifies under the key that the old shard names."""
    digest = hashlib.sha256(policy.text).digest()
    wanted = old.federation, old.shard, old.size, old.root, keys.ed25519.key, keys.ml_dsa.key, digest
    found: set[str] = set()
    for one in read:
        if not isinstance(one, entries.Statement) or one.context != "succession":
            continue
        said = parse_succession(one.part.body)
        named = said.federation, said.shard, said.size, said.root, said.ed25519, said.ml_dsa, said.policy
        key = old.signing_keys.get(said.node)
        if key is None or said.node not in active or named != wanted:
            continue
        try:
            one.part.verify(one.context, key, said.node)
        except Refused:
            continue
        found.add(said.node)
    return found
