"""Fills the database of a successor from a copy of the log and one member's directory (docs/protocol.md §19).

Rules of this file:
- members, heads and denials are entries as they were logged, octet for octet: the state of the new shard is
  that of the old one, or nobody follows it;
- a directory is believed because the log vouches for it, whoever brings it and whoever signed it;
- what only the old hub knew (mail, quotas spent, certificates, who was revoked for good) is gone, and said.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from candor_hub.directory import DirectoryKeeper
from candor_hub.founding import Begin
from candor_hub.keys import HubKeys
from candor_hub.places import log_files_in
from candor_hub.store import Store, Transaction
from candor_hub.store.directories import StoredDirectory
from candor_hub.store.logged import NO_HEAD, LoggedMember, WitnessRecord
from candor_hub.succession.copied_log import CopiedLog
from candor_hub.tlog import due
from candor_hub.tlog.files import SIGNED, LogFiles, is_known
from candor_hub.tlog.ring import KeyRing
from candor_proto.canonical import digest
from candor_proto.directory import IndexHead, MemberStatus
from candor_proto.directory_file import DirectoryFile
from candor_proto.errors import InputInvalid
from candor_proto.ids import NodeId
from candor_proto.merkle import leaf_hash
from candor_proto.tlog.entries import (
    Denied,
    DirectoryEntry,
    HeadEntry,
    MemberEntry,
    Opened,
    PolicyEntry,
    Statement,
)
from candor_proto.tlog.note import COSIGNATURE_ML_DSA_44, VerifierKey
from candor_proto.tlog.policy import members_policy
from candor_proto.tlog.signatures import LogKeys
from candor_proto.tlog.state import state_of
from candor_proto.tlog.statements import witness_name


@dataclass(frozen=True)
class Succession:
    """What a successor is founded from; `left_out` are witnesses that are gone for good."""

    copy: CopiedLog
    directory: DirectoryFile
    left_out: frozenset[NodeId]


def check_directory(copy: CopiedLog, file: DirectoryFile) -> None:
    """Raises InputInvalid unless the log vouches for this directory, as its last one."""
    entry, directory = copy.directory, file.directory
    if directory.version != entry.version:
        raise InputInvalid(
            f"The directory file holds version {directory.version}; the log ends with version "
            f"{entry.version}.",
            remedy="Ask another member for its directory, or for a newer copy of the log.",
        )
    said = directory.issued_at, directory.chain_digest.value, state_of(directory)
    if said != (entry.issued_at, entry.chain_digest, entry.state):
        raise InputInvalid(
            f"The log does not vouch for this directory version {directory.version}.",
            remedy="Somebody has changed the file, or the hub signed two directories: ask another member.",
        )


def check_left_out(copy: CopiedLog, left_out: Collection[NodeId]) -> None:
    """Raises InputInvalid for a name that is no member's."""
    unknown = sorted(set(left_out) - set(copy.members))
    if unknown:
        raise InputInvalid(f"There is no member {', '.join(map(str, unknown))} to be left out.")


def first_policy(succession: Succession, keys: LogKeys) -> bytes:
    """The first policy of the successor's shard (§19.2)."""
    copy = succession.copy
    active = [
        (node, said)
        for node, (_, said) in copy.witnesses.items()
        if copy.members[node][1].status is MemberStatus.ACTIVE and node not in succession.left_out
    ]
    active.sort(key=lambda one: (copy.members[one[0]][1].joined_at, one[0]))
    witnesses = [
        (node, VerifierKey(witness_name(copy.federation, node), COSIGNATURE_ML_DSA_44, said.ml_dsa_key))
        for node, said in active
    ]
    older = [key for shard in copy.shards[-(due.NAMED_SHARDS - 1) :] for key in shard.keys]
    return members_policy([*older, *keys.verifier_keys], witnesses)


def copy_files(copy: CopiedLog, source: LogFiles, target: LogFiles) -> None:
    """Put the files of the copy in their places: those of its shards and no others."""
    numbers = {str(shard.number) for shard in copy.shards}
    for path in source.all():
        shard, _, name = path.partition("/")
        if shard in numbers and is_known(name):
            target.write({path: source.read(path)})
    # What was signed beyond the last head is nobody's any more.
    target.write({f"{shard.number}/{SIGNED}": shard.head for shard in copy.shards})


def fill(
    tx: Transaction, succession: Succession, keys: LogKeys, keeper: DirectoryKeeper, now: datetime
) -> int:
    """Everything that a new database needs, in one transaction; the version of its first own directory."""
    copy, file = succession.copy, succession.directory
    last, directory = copy.last, copy.directory
    if now < directory.issued_at:
        raise InputInvalid(
            "This machine's clock is before the last directory of the log.", remedy="Set the clock."
        )
    _members(tx, succession)
    _shards(tx, copy, keys, now)
    _policies(tx, copy)
    text, version = first_policy(succession, keys), copy.policies[-1].version + 1
    tx.log.add_policy(version, text, now, in_force=True)
    stored = StoredDirectory(directory.version, file.statement, file.chain)
    tx.directories.add(stored, directory.issued_at, 0)
    for number, shard, index in copy.directories:
        tx.log.add_directory(number, shard, index)
    begun = copy.state.succeeded(last.range.size, last.range.root())
    tx.log_states.save(begun.take_changes(), anew=True)
    tx.log.wait(_opening(copy, version, text, now), now, opening=True)
    return keeper.publish(tx, now)


def begin(source: Path, succession: Succession, now: datetime) -> Begin:
    """What `founding.found` begins the log with, instead of shard 1."""

    def begun(folder: Path, held: HubKeys, store: Store) -> None:
        copy = succession.copy
        copy_files(copy, source_files(source), log_files_in(folder / "log", store))
        log_keys = KeyRing(held.vault, copy.federation).make(copy.last.number + 1)
        with store.write() as tx:
            fill(tx, succession, log_keys, DirectoryKeeper(store, lambda: held), now)

    return begun


def _members(tx: Transaction, succession: Succession) -> None:
    copy = succession.copy
    logged: dict[NodeId, LoggedMember] = {}
    for member in succession.directory.directory.members:
        tx.members.add(member)
        octets, _ = copy.members[member.node]
        head_hash, statement = NO_HEAD, b""
        if member.head is not None:
            tx.directories.set_head(IndexHead.decode(member.head.body), member.head)
            head_hash = leaf_hash(copy.heads[member.node][0])
            statement = digest("logged/index-head", member.head.body, member.head.signature)
        logged[member.node] = LoggedMember(leaf_hash(octets), head_hash, statement)
    tx.logged.set_members(logged)
    for one in copy.denied:
        tx.members.deny(one.node, (one.serial,), one.denied_at)
    tx.logged.add_denied(tx.logged.not_logged())
    for node, (entry, said) in sorted(copy.witnesses.items()):
        tx.logged.set_witness(
            WitnessRecord(node, said.ed25519_key, said.ml_dsa_key, said.issued_at, entry.signed)
        )


def _shards(tx: Transaction, copy: CopiedLog, keys: LogKeys, now: datetime) -> None:
    for shard in copy.shards:
        size = shard.range.size
        tx.log.add_shard(shard.number, shard.keys, now)
        # Ended for us, with or without a `closed` entry: nothing is ever appended to it here.
        tx.log.set_signed(shard.number, 0, shard.range, shard.head, shard.signed_at, closed=True)
        tx.log.set_witnessed(shard.number, size, shard.head, shard.signed_at)
        for month, checkpoint in shard.draws.items():
            tx.log.add_draw(shard.number, month, checkpoint)
    tx.log.add_shard(copy.last.number + 1, keys.verifier_keys, now)


def _policies(tx: Transaction, copy: CopiedLog) -> None:
    for policy in copy.policies:
        first = policy.in_force and policy.checkpoint is None
        tx.log.add_policy(policy.version, policy.text, policy.made_at, in_force=first)
        tx.log.place_policy(policy.version, policy.shard, policy.index)
        if policy.checkpoint is not None:
            tx.log.put_in_force(policy.version, policy.checkpoint)


def _opening(copy: CopiedLog, version: int, text: bytes, now: datetime) -> list[due.Row]:
    """What the successor's shard begins with (§19.2): members, heads and denials octet for octet."""
    last = copy.last
    origin = last.keys[0].name
    opened = Opened(copy.federation, last.number + 1, now, origin, last.range.size, last.range.root())
    rows: list[due.Row] = [
        (Opened.KIND, opened.encode()),
        (PolicyEntry.KIND, PolicyEntry(version, now, text).encode()),
    ]
    for node in sorted(copy.members):
        rows.append((MemberEntry.KIND, copy.members[node][0]))
        if node in copy.heads:
            rows.append((HeadEntry.KIND, copy.heads[node][0]))
        if node in copy.witnesses:
            rows.append((Statement.KIND, copy.witnesses[node][0].encode()))
    rows += [(Denied.KIND, one.encode()) for one in copy.denied]
    rows.append((DirectoryEntry.KIND, copy.directory.encode()))
    return rows


def source_files(folder: Path) -> LogFiles:
    """The copy at `folder`: either the log's own folder or one that holds it as `log`."""
    for place in (folder, folder / "log"):
        if (place / "1").is_dir():
            return LogFiles(place)
    raise InputInvalid(
        f"There is no copy of a log in {folder}: it has no folder `1`.",
        remedy="Name the folder that `candor-node log copy` wrote, or the old hub's folder `log`.",
    )
