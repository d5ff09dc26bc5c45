"""§14.7: a shard ends and the next one begins with the same state; what was logged stays provable."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor_hub.tlog.rotation import ask_for, is_under_way
from candor_proto import merkle
from candor_proto.directory import MemberStatus
from candor_proto.errors import WrongStanding
from candor_proto.tlog.entries import Closed, Opened, PolicyEntry
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.tiles import inclusion_proof
from tests.logs import Get, Tiles
from tests.unit.hub.tlog.desks import LogDesk, log_desk


def get_of(desk: LogDesk) -> Get:
    def get(path: str) -> bytes:
        return desk.pages.get(path).octets

    return get


def rotate(desk: LogDesk) -> None:
    with desk.hub.store.write() as tx:
        ask_for(tx)
    desk.settle()


def test_twice_around_and_every_state_is_the_same(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        members = desk.join(("alpha", "bravo", "charlie"))
        get = get_of(desk)
        for shard in range(2, 7):
            before = desk.read().last
            desk.hub.directory.revoke(members[shard - 2].node, desk.now) if shard == 3 else None
            rotate(desk)
            reading = desk.read()
            assert [one.number for one in reading.shards] == list(range(1, shard + 1))
            ended, begun = reading.shards[-2], reading.last
            assert isinstance(ended.entries[-1], Closed)
            opened, policy = begun.entries[:2]
            assert isinstance(opened, Opened)
            assert isinstance(policy, PolicyEntry)
            assert (opened.previous_size, opened.previous_root) == (
                ended.signed.checkpoint.size,
                ended.signed.checkpoint.root,
            )
            origins = {log.key.name for log in parse_policy(policy.text).logs}
            # §15.4: of the newest four, so that what an auditor asks for after two years can be proved.
            assert origins == {one.signed.checkpoint.origin for one in reading.shards[-4:]}
            assert begun.state.directory == ended.state.directory
            assert begun.state.directory_state() == ended.state.directory_state()
            assert begun.state.witness_keys() == ended.state.witness_keys()
            # Entries of an ended shard stay served, and proofs in it good under its last head.
            size, root = ended.signed.checkpoint.size, ended.signed.checkpoint.root
            hashes = inclusion_proof(Tiles(get, ended.number), 3, size)
            merkle.verify_inclusion(merkle.leaf_hash(ended.octets[3]), 3, size, hashes, root)
            assert get(f"{ended.number}/draw/end") == get(f"{ended.number}/checkpoint")
            assert before.number == ended.number
        with desk.hub.store.read() as tx:
            assert not is_under_way(tx)
        assert get("shards").decode().splitlines() == [
            f"{one.signed.checkpoint.origin} {one.signed.checkpoint.size}" for one in reading.shards
        ]


def test_nothing_is_closed_before_its_witnesses_know_the_next_keys(tmp_path: Path) -> None:
    """The policy that names both shards is in force first: its head satisfies the one before."""
    with log_desk(tmp_path) as desk:
        members = desk.join(("alpha", "bravo", "charlie"))
        with desk.hub.store.write() as tx:
            ask_for(tx)
        for _ in range(5):
            desk.rotation.step(desk.now)
            desk.append()
        assert not desk.shards()[0].closed
        assert desk.witness("alpha", "bravo") is not None
        closed = desk.rotation.step(desk.now)
        assert closed is not None
        assert closed.closed
        desk.pages.show(desk.shards())
        # Until its end has its quorum the next shard does not begin, and nothing else follows the end.
        desk.hub.directory.set_status(members[0].node, MemberStatus.SUSPENDED, desk.now)
        assert desk.append() is None
        assert desk.rotation.step(desk.now) is None
        assert desk.witness("alpha") is None
        assert desk.append() is None
        desk.settle()
        assert [shard.closed for shard in desk.shards()] == [True, False]
        desk.read()


def test_nothing_is_closed_while_a_policy_waits_to_come_into_force(tmp_path: Path) -> None:
    """§14.7: the next shard repeats the last policy of this one, which has to be the one in force."""
    with log_desk(tmp_path) as desk:
        members = desk.join(("alpha", "bravo", "charlie", "delta"))
        with desk.hub.store.write() as tx:
            ask_for(tx)
        desk.rotation.step(desk.now)
        desk.append()
        # Made after the policy that names both shards, and logged once that one is in force.
        desk.hub.directory.set_status(members[3].node, MemberStatus.SUSPENDED, desk.now)
        desk.append()
        assert desk.witness() is not None
        assert desk.rotation.step(desk.now) is None
        desk.append()
        assert desk.rotation.step(desk.now) is None
        desk.settle()
        assert [shard.closed for shard in desk.shards()] == [True, False]
        begun = desk.read().last
        policy = begun.entries[1]
        assert isinstance(policy, PolicyEntry)
        assert b"member/delta" not in policy.text


def test_an_empty_log_is_not_rotated(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk, pytest.raises(WrongStanding), desk.hub.store.write() as tx:
        ask_for(tx)
