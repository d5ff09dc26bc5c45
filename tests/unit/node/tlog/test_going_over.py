"""A shard that calls itself the successor, read by a node that nobody asked (docs/protocol.md §19.5)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import moving
from candor_node.tlog import log_store, succession_store, witness_store
from candor_node.tlog.going_over import Succession
from candor_node.tlog.log_store import DatabaseCounts, FollowedShard
from candor_node.tlog.succession_store import KeptConsent
from candor_node.tlog.taking_up import Following
from candor_proto.directory import MemberStatus
from candor_proto.errors import CandorError, LogInconsistent, LogUnwitnessed, Rollback
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.tlog.checkpoint import Checkpoint
from candor_proto.tlog.entries import DirectoryEntry, Entry, Opened, PolicyEntry, log_origin
from candor_proto.tlog.signatures import LogKeys
from candor_proto.tlog.statements import SuccessionConsent
from candor_proto.tlog.succession import read_successor
from tests.desk import desk_store
from tests.unit.proto.tlog.test_succession import (
    FEDERATION,
    LOG_KEYS,
    NAMES,
    NOW,
    before,
    consent,
    member,
    opening,
)

OLD_KEYS = LogKeys.generate(log_origin(FEDERATION, 1))


class Files:
    """The files of a hub that shows shard 2."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entry.encode() for entry in entries)
        root = CompactRange.EMPTY.extend([leaf_hash(one) for one in self._entries]).root()
        head = Checkpoint(log_origin(FEDERATION, 2), len(self._entries), root)
        self._signed = LOG_KEYS.sign(head, NOW).encode()

    async def signed(self, shard: int) -> bytes:
        return self._signed

    async def bundle(self, shard: int, index: int, width: int) -> tuple[bytes, ...]:
        return self._entries


def _followed() -> Following:
    """Shard 1 as a node has read it to its end, two hours ago."""
    state = before()
    entries = CompactRange.EMPTY.extend([bytes([number]) * 32 for number in range(17)])
    signed = OLD_KEYS.sign(Checkpoint(OLD_KEYS.origin, 17, entries.root()), NOW - timedelta(hours=2))
    shard = FollowedShard(1, OLD_KEYS.verifier_keys, entries, signed, NOW - timedelta(hours=2))
    return Following(shard, state, DatabaseCounts(1))


def _shard(
    following: Following, *, twice: bool, consents: Sequence[str], honest: bool = False
) -> list[Entry]:
    """A successor's shard; of the members but alpha it says first, or only, that they are suspended."""
    _, policy, *_ = opening()
    range_ = following.shard.entries
    opened = Opened(FEDERATION, 2, NOW, log_origin(FEDERATION, 1), range_.size, range_.root())
    status = MemberStatus.ACTIVE if honest else MemberStatus.SUSPENDED
    begun: list[Entry] = [opened, policy, member("alpha"), *(member(name, status) for name in NAMES[1:])]
    directory = DirectoryEntry(3, NOW, bytes(32), following.state.directory_state())
    found = read_successor(FEDERATION, 2, [*begun, directory])
    said = [consent(found, name, root=range_.root()) for name in consents]
    if twice:
        return [*begun, *said, *(member(name) for name in NAMES[1:]), directory]
    return [*begun, directory, *said]


def _judge(tmp_path: Path, entries: Sequence[Entry], following: Following) -> tuple[object, object]:
    """Where it goes on, or what is raised, and what policy is stored then."""

    class Clock:
        def now(self) -> Any:
            return NOW

    with desk_store(tmp_path) as store:
        files: Any = Files(entries)
        reader = Succession(files, store, FEDERATION, Clock(), own=False)
        found: object
        try:
            found = asyncio.run(reader.of_most(following))
        except CandorError as error:
            found = error
        return found, store.run_sync(log_store.policy_in_force)


@pytest.mark.parametrize(("twice", "expected"), [(True, LogUnwitnessed), (False, LogInconsistent)])
def test_one_member_leads_nobody_over_and_its_policy_is_not_taken_up(
    tmp_path: Path, twice: bool, expected: type[CandorError]
) -> None:
    following = _followed()
    entries = _shard(following, twice=twice, consents=["alpha"])
    found, policy = _judge(tmp_path, entries, following)
    assert type(found) is expected
    assert policy is None


def test_a_head_that_its_own_witness_signed_beyond_what_it_has_read_is_a_rollback(tmp_path: Path) -> None:
    following = _followed()
    head = Checkpoint(OLD_KEYS.origin, 17, following.shard.entries.root())
    with desk_store(tmp_path) as store:

        def check(checkpoint: Checkpoint, accepted: moving.Accepted = moving.STRICT) -> int:
            store.run_sync(lambda db: db.execute("DELETE FROM witness_cosigned"))
            store.run_sync(lambda db: witness_store.keep(db, OLD_KEYS.sign(checkpoint, NOW), NOW))
            return store.run_sync(lambda db: moving._check_cosigned(db, following, accepted))

        assert check(head) == 0
        check(Checkpoint(OLD_KEYS.origin, 16, bytes(32)))  # reading led over it
        with pytest.raises(Rollback, match="has not read the last 1"):
            check(Checkpoint(OLD_KEYS.origin, 18, bytes(32)))
        # A person may say that they were lost with the hub; that the log is another one nobody may.
        said = moving.Accepted(lost=True)
        assert check(Checkpoint(OLD_KEYS.origin, 18, bytes(32)), said) == 1
        for accepted in (moving.STRICT, said):
            with pytest.raises(LogInconsistent):
                check(Checkpoint(OLD_KEYS.origin, 17, bytes(32)), accepted)


def test_a_consent_to_the_first_successor_says_nothing_of_a_second_one_with_its_root(tmp_path: Path) -> None:
    root = hashlib.sha256(b"root").digest()
    statement = consent(read_successor(FEDERATION, 2, opening(*map(member, NAMES))), "alpha").signed
    said = KeptConsent(SuccessionConsent.decode(statement.body), statement)
    policy = PolicyEntry(4, NOW, b"quorum none\n")
    with desk_store(tmp_path) as store:
        store.run_sync(lambda db: log_store.keep_progress(db, FollowedShard(1, OLD_KEYS.verifier_keys)))
        assert not store.run_sync(lambda db: moving._was_interrupted(db, root))
        store.run_sync(lambda db: succession_store.keep(db, said, policy, NOW))
        assert store.run_sync(lambda db: moving._was_interrupted(db, root))
        assert not store.run_sync(lambda db: moving._was_interrupted(db, bytes(32)))
        store.run_sync(lambda db: log_store.keep_progress(db, FollowedShard(2, LOG_KEYS.verifier_keys)))
        assert not store.run_sync(lambda db: moving._was_interrupted(db, root))


def test_more_than_half_of_the_members_lead_over(tmp_path: Path) -> None:
    following = _followed()
    entries = _shard(following, twice=False, consents=NAMES[:3], honest=True)
    found, policy = _judge(tmp_path, entries, following)
    assert isinstance(found, Following)
    assert found.shard.number == 2
    assert policy is not None
