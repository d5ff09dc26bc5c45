"""A shard that continues one that was never closed (§19): more than half of the members must have said so."""

from __future__ import annotations

import hashlib
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
class Found:
    """A successor: what its shard takes over, its first policy, and who consented."""

    end: End
    policy: entries.PolicyEntry = field(repr=False)
    consents: tuple[str, ...]
    active: int


def find(source: Source, state: State, root: bytes) -> Found:
    """The successor of the shard that `state` is of, after all of its entries, with their root.

    Raises a Refused: Malformed, LogInconsistent, or LogUnwitnessed when too few members consented.
    """
    number = state.shard + 1
    read = _read(source, number)
    opened, policy = read[0], next((one for one in read if isinstance(one, entries.PolicyEntry)), None)
    if not isinstance(opened, entries.Opened) or policy is None:
        raise Malformed(f"shard {number} does not begin as a shard does")
    if (opened.previous_origin, opened.previous_size, opened.previous_root) != (
        state.origin,
        state.size,
        root,
    ):
        raise LogInconsistent(f"shard {number} does not continue the entries of shard {state.shard}")
    keys = parse_policy(policy.text).log_keys(origin_of(state.federation, number))
    members: dict[str, Member] = {}
    for one in read:
        if isinstance(one, Member):
            members.setdefault(one.node, one)
    active = {node for node, member in members.items() if member.status == ACTIVE}
    consents = _consents(read, state, keys, policy, active)
    if 2 * len(consents) <= len(active):
        raise LogUnwitnessed(
            f"shard {number} begins, shard {state.shard} is not closed, and {len(consents)} of {len(active)} "
            "members consented to it as its successor: more than half are needed"
        )
    end = End(
        shard=state.shard,
        origin=state.origin,
        size=state.size,
        root=root,
        next_keys=keys,
        directory_version=None if state.directory is None else state.directory.version,
        state=state.directory_state() if state.directory is None else state.directory.state,
        policy=state.policy,
        succeeded=True,
    )
    return Found(end, policy, tuple(sorted(consents)), len(active))


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
    read: list[Entry], state: State, keys: LogKeys, policy: entries.PolicyEntry, active: set[str]
) -> set[str]:
    """Active members whose consent to this very shard verifies under the key that the old shard names."""
    wanted = (
        state.federation,
        state.shard,
        state.size,
        keys.ed25519.key,
        keys.ml_dsa.key,
        hashlib.sha256(policy.text).digest(),
    )
    found: set[str] = set()
    for one in read:
        if not isinstance(one, entries.Statement) or one.context != "succession":
            continue
        said = parse_succession(one.part.body)
        known = state.members.get(said.node)
        named = (said.federation, said.shard, said.size, said.ed25519, said.ml_dsa, said.policy)
        if known is None or said.node not in active or named != wanted:
            continue
        try:
            one.part.verify(one.context, known.member.signing_key, said.node)
        except Refused:
            continue
        found.add(said.node)
    return found
