"""How a node reads the log: what it takes up, and what it does not (docs/protocol.md §14, §15)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from candor_node.tlog import contradictions, log_store, taking_up
from candor_proto.errors import (
    IdentityMismatch,
    LogInconsistent,
    LogUnwitnessed,
    Rollback,
    SignatureInvalid,
)
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.entries import PolicyEntry
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.tiles import encode_bundle
from tests.memory_log import NOW, Log, later
from tests.unit.node.tlog.scenes import Reader, play

BOTH = ("alpha", "bravo")


def test_a_fresh_node_reads_the_whole_log(tmp_path: Path) -> None:
    log = Log()
    log.grow(300)
    log.publish(NOW, *BOTH)

    async def scene(reader: Reader) -> None:
        view = await reader.follower.follow()
        assert (view.size, view.shard, view.policy_version) == (log.size, 1, 2)
        assert view.directory == log.state.directory
        assert view.time_of_witness == NOW.replace(microsecond=0)

    play(tmp_path, scene, log)


def test_a_head_without_its_quorum_changes_nothing(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        before = await reader.follower.follow()
        log.grow()
        log.publish(later(minutes=1), "alpha")
        reader.clock.pass_(minutes=2)
        error = await reader.refused()
        assert isinstance(error, LogUnwitnessed)
        assert reader.follower.view == before
        assert reader.follower.missing == ("member/bravo", "member/charlie")

    play(tmp_path, scene)


def test_cosignatures_of_strangers_count_for_nothing(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, others = reader.log, Log()
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        log.grow()
        signed = log.head(later(minutes=1), "alpha")
        for keys in others.witnesses.values():
            signed = signed.with_signatures(keys.cosign(signed.checkpoint, NOW)[:1])
        log.files["1/checkpoint"] = signed.encode()
        assert isinstance(await reader.refused(), (LogUnwitnessed, SignatureInvalid))

    play(tmp_path, scene)


def test_a_cosignature_that_does_not_verify_refuses_the_head(tmp_path: Path) -> None:
    """Even if the others make the quorum: it says that somebody changed something (§15.5)."""

    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        of_another_head = log.head(NOW, "charlie").signatures[-2:]
        log.grow()
        signed = log.head(later(minutes=1), *BOTH)
        log.files["1/checkpoint"] = signed.with_signatures(of_another_head).encode()
        assert isinstance(await reader.refused(), SignatureInvalid)

    play(tmp_path, scene)


def test_a_head_below_the_one_seen_is_a_rollback(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.grow(5)
        log.publish(NOW, *BOTH)
        view = await reader.follower.follow()
        log.publish(later(minutes=1), *BOTH, size=log.size - 2)
        assert isinstance(await reader.refused(), Rollback)
        assert reader.follower.view == view
        (kept,) = await reader.contradictions()
        assert kept.kind == "rolled-back-log"

    play(tmp_path, scene)


def test_a_hub_that_contradicts_itself_without_end_does_not_fill_the_disk(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, store = reader.log, reader.store
        log.grow(40)
        log.publish(NOW, *BOTH)
        view = await reader.follower.follow()
        for number in range(1, contradictions.MAX_KEPT + 3):
            log.publish(later(minutes=number), *BOTH, size=log.size - number)
            assert isinstance(await reader.refused(), Rollback)
        assert (
            len(await reader.contradictions()) == len(reader.follower.warnings()) == contradictions.MAX_KEPT
        )
        other = contradictions.Contradiction("forked-log", view.origin, b"one", b"two")
        large = replace(other, second=bytes(contradictions.MAX_OCTETS))
        for found in (other, large):
            await store.run(lambda db, found=found: contradictions.keep(db, found, NOW))  # type: ignore[misc]
        assert [one.second for one in await reader.contradictions() if one.kind == other.kind] == [b"two"]

    play(tmp_path, scene)


def test_an_old_head_shown_again_is_a_rollback_and_no_evidence(tmp_path: Path) -> None:
    """Its signing time is the older one: an honest log signed both."""

    async def scene(reader: Reader) -> None:
        log = reader.log
        old = log.publish(NOW, *BOTH)
        log.grow(2)
        log.publish(later(minutes=1), *BOTH)
        await reader.follower.follow()
        log.files["1/checkpoint"] = old.encode()
        assert isinstance(await reader.refused(), Rollback)
        assert await reader.contradictions() == []

    play(tmp_path, scene)


def test_a_restart_keeps_what_was_seen(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.grow(5)
        log.publish(NOW, *BOTH)
        view = await reader.follower.follow()
        log.publish(later(minutes=1), *BOTH, size=log.size - 2)
        reader.restart()
        await reader.follower.load()
        assert reader.follower.view == view
        assert isinstance(await reader.refused(), Rollback)

    play(tmp_path, scene)


def test_another_root_of_the_same_size_is_a_fork(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, fork = reader.log, reader.log.fork()
        log.grow()
        fork.grow()
        log.publish(NOW, *BOTH)
        fork.publish(later(minutes=1), *BOTH)
        view = await reader.follower.follow()
        reader.log = fork
        assert isinstance(await reader.refused(), LogInconsistent)
        assert reader.follower.view == view
        (kept,) = await reader.contradictions()
        assert kept.kind == "forked-log"
        assert kept.extra["proof"] == []
        assert any("forked-log" in warning for warning in reader.follower.warnings())

    play(tmp_path, scene)


def test_a_larger_head_of_another_branch_is_a_fork_with_its_proof(tmp_path: Path) -> None:
    """The split view: two members are shown two logs, and one of them is shown the other's (§15.5)."""

    async def scene(reader: Reader) -> None:
        log, fork = reader.log, reader.log.fork()
        log.grow(3)
        fork.grow(7)
        log.publish(NOW, *BOTH)
        fork.publish(later(minutes=1), *BOTH)
        view = await reader.follower.follow()
        reader.log = fork
        error = await reader.refused()
        assert isinstance(error, LogInconsistent)
        assert "does not continue" in error.message
        assert reader.follower.view == view
        (kept,) = await reader.contradictions()
        assert kept.kind == "forked-log"
        assert kept.extra["proof"]
        assert (kept.first, kept.second) == (log.heads[1].encode(), fork.heads[1].encode())

    play(tmp_path, scene)


def _changed(octets: bytes) -> bytes:
    return octets[:-1] + bytes([octets[-1] ^ 1])


@pytest.mark.parametrize("how", ["truncated", "lengthened", "changed", "reordered", "replaced"])
def test_entries_that_are_not_those_of_the_head_are_refused(tmp_path: Path, how: str) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        view = await reader.follower.follow()
        log.grow(4)
        log.publish(later(minutes=1), *BOTH)
        path = f"1/tile/entries/000.p/{log.size}"
        octets, entries = log.file(path), log.entries[0]
        assert octets is not None
        served = {
            "truncated": octets[:-5],
            "lengthened": octets + b"\0\0",
            "changed": _changed(octets),
            "reordered": _bundle([*entries[:-2], entries[-1], entries[-2]]),
            "replaced": _bundle([*entries[:-1], entries[-2]]),
        }
        log.files[path] = served[how]
        assert (await reader.refused()).code in ("log_inconsistent", "malformed_message", "not_canonical")
        assert reader.follower.view == view
        del log.files[path]
        assert (await reader.follower.follow()).size == log.size

    play(tmp_path, scene)


def _bundle(entries: list[bytes]) -> bytes:
    from candor_proto.tlog.tiles import encode_bundle

    return encode_bundle(entries)


def test_an_entry_that_breaks_a_rule_refuses_the_log(tmp_path: Path) -> None:
    """Under whatever head: the witnesses vouch for one log, not for its sense (§14.5)."""

    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        view = await reader.follower.follow()
        fork = log.fork()
        fork.grow(2)
        fork.force(log.entries[0][0])
        fork.publish(later(minutes=1), *BOTH)
        reader.log = fork
        error = await reader.refused()
        assert isinstance(error, LogInconsistent)
        assert "breaks its rules" in error.message
        assert reader.follower.view == view
        # Every head above it is refused as well; the one before it still stands.
        fork.force(log.entries[0][0])
        fork.publish(later(minutes=2), *BOTH)
        assert isinstance(await reader.refused(), LogInconsistent)
        reader.log = log
        log.grow()
        log.publish(later(minutes=3), *BOTH)
        assert (await reader.follower.follow()).size == log.size
        # What came before the broken entry left nothing behind.
        held = await reader.store.run(log_store.state)
        assert held is not None
        assert held[0].shard == log.state.shard

    play(tmp_path, scene)


def test_a_head_of_the_same_size_is_younger_or_nothing(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(later(minutes=10), *BOTH)
        reader.clock.pass_(minutes=20)
        assert (await reader.follower.follow()).time_of_witness == later(minutes=10)
        log.publish(later(minutes=5), *BOTH)
        assert (await reader.follower.follow()).time_of_witness == later(minutes=10)
        log.publish(later(minutes=20), *BOTH)
        assert (await reader.follower.follow()).time_of_witness == later(minutes=20)

    play(tmp_path, scene)


def test_cosignatures_from_the_future_do_not_make_it_younger(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        signed = log.head(NOW, "alpha")
        for name, minutes in (("bravo", 3), ("charlie", 10)):
            keys = log.witnesses[log.parties[name].node]
            signed = signed.with_signatures(keys.cosign(signed.checkpoint, later(minutes=minutes)))
        log.files["1/checkpoint"] = signed.encode()
        assert (await reader.follower.follow()).time_of_witness == NOW

    play(tmp_path, scene)


def test_the_head_of_another_log_is_refused(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, other = reader.log, Log()
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        other.grow(3)
        other.publish(NOW, *BOTH)
        reader.log = other
        assert isinstance(await reader.refused(), SignatureInvalid)

    play(tmp_path, scene)


def test_the_head_of_another_shard_is_refused(tmp_path: Path) -> None:
    """Also one of the same federation, and before its signatures are looked at."""

    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        fork = log.fork()
        fork.rotate(later(minutes=1), *BOTH)
        fork.publish(later(minutes=2), *BOTH)
        log.files["1/checkpoint"] = fork.files["2/checkpoint"]
        assert isinstance(await reader.refused(), IdentityMismatch)

    play(tmp_path, scene)


def test_without_a_quorum_a_known_cosignature_must_still_verify(tmp_path: Path) -> None:
    log = Log(quorum=False)
    key = log.witnesses[log.parties["alpha"].node].verifier_keys[1]
    own = log.policy_without_witnesses.replace(b"quorum", f"witness a {key.encode()}\nquorum".encode())

    async def scene(reader: Reader) -> None:
        of_another_head = log.head(NOW, "alpha").signatures[-1:]
        log.grow()
        signed = log.head(NOW)
        log.files["1/checkpoint"] = signed.with_signatures(of_another_head).encode()
        assert isinstance(await reader.refused(), SignatureInvalid)
        log.publish(NOW, "alpha")
        await reader.follower.follow()

    play(tmp_path, scene, log, policy=parse_policy(own))


def test_without_a_quorum_a_head_from_the_future_does_not_count(tmp_path: Path) -> None:
    log = Log(quorum=False)

    async def scene(reader: Reader) -> None:
        log.publish(later(minutes=6))
        assert isinstance(await reader.refused(), LogUnwitnessed)
        reader.clock.pass_(minutes=2)
        await reader.follower.follow()

    play(tmp_path, scene, log)


# --- policies ---------------------------------------------------------------------------------------


def test_a_policy_comes_into_force_under_the_one_before_it(tmp_path: Path) -> None:
    """A new policy's own witnesses cannot bring it in (§15.4)."""

    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        log.files.pop("1/policy/3", None)
        log.add_policy(_alone(log))
        signed = log.head(later(minutes=1), "charlie")
        log.files["1/checkpoint"] = signed.encode()
        assert isinstance(await reader.refused(), LogUnwitnessed)
        # Nor does a head that the hub says was enough for it.
        log.files["1/policy/3"] = signed.encode()
        assert isinstance(await reader.refused(), LogUnwitnessed)
        assert reader.follower.view is not None
        assert reader.follower.view.policy_version == 2
        log.files["1/policy/3"] = log.head(later(minutes=2), *BOTH).encode()
        view = await reader.follower.follow()
        assert view.policy_version == 3
        assert view.policy == parse_policy(_alone(log))

    play(tmp_path, scene)


def _alone(log: Log) -> bytes:
    """A policy that needs charlie and nobody else."""
    key = log.witnesses[log.parties["charlie"].node].verifier_keys[1]
    logs = "".join(f"log {key.encode()}\n" for key in log.keys[-1].verifier_keys)
    return f"{logs}witness only {key.encode()}\nquorum only\n".encode()


def test_several_policies_are_taken_one_after_the_other(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        log.add_policy(_alone(log))
        log.publish(later(minutes=1), *BOTH)
        log.grow()
        log.add_policy(log.policy_of("alpha", "bravo", "charlie"))
        log.publish(later(minutes=2), "charlie")
        log.grow(3)
        log.publish(later(minutes=3), *BOTH)
        view = await reader.follower.follow()
        assert (view.policy_version, view.size) == (4, log.size)

    play(tmp_path, scene)


def test_a_head_that_only_an_older_policy_is_satisfied_with_is_not_enough(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        log.add_policy(_alone(log))
        log.publish(later(minutes=1), *BOTH)
        assert (await reader.follower.follow()).policy_version == 3
        log.grow()
        log.publish(later(minutes=2), *BOTH)
        assert isinstance(await reader.refused(), LogUnwitnessed)

    play(tmp_path, scene)


def test_an_operators_own_policy_is_used_and_none_of_the_log(tmp_path: Path) -> None:
    log = Log()
    own = parse_policy(_alone(log))

    async def scene(reader: Reader) -> None:
        log.publish(NOW, *BOTH)
        assert isinstance(await reader.refused(), LogUnwitnessed)
        log.publish(NOW, "charlie")
        view = await reader.follower.follow()
        assert (view.policy_version, view.policy) == (0, own)
        log.add_policy()
        log.publish(later(minutes=1), *BOTH)
        assert isinstance(await reader.refused(), LogUnwitnessed)

    play(tmp_path, scene, log, policy=own)


def test_the_first_policy_stays_the_one_that_was_seen_first(tmp_path: Path) -> None:
    """Who comes with another first policy is another log: people compared this one (§15.4)."""

    async def scene(reader: Reader) -> None:
        log, other = reader.log, Log(quorum=False)
        log.publish(NOW, *BOTH)
        await reader.follower._policies.in_force()
        other.publish(NOW)
        reader.log = other
        assert isinstance(await reader.refused(), SignatureInvalid)
        reader.log = log
        await reader.follower.follow()

    play(tmp_path, scene)


def test_a_first_policy_under_another_number_is_refused(tmp_path: Path) -> None:
    """It would stay in force beside the log's first one, which people compare and find right (§15.4)."""

    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        false = PolicyEntry(1_000, NOW, log.policy_without_witnesses)
        path = f"1/tile/entries/000.p/{log.size}"
        log.files[path] = encode_bundle([log.entries[0][0], *[false.encode()] * (log.size - 1)])
        assert isinstance(await reader.refused(), LogInconsistent)
        assert await reader.store.run(log_store.policy_in_force) is None
        del log.files[path]
        view = await reader.follower.follow()
        assert (view.policy_version, view.policy.text) == (2, log.policy_of("alpha", "bravo", "charlie"))

    play(tmp_path, scene)


def test_a_policy_that_was_read_on_the_way_is_not_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece is under the head, but the head was not taken up: its policy judges nothing yet."""
    monkeypatch.setattr(taking_up, "PIECE_ENTRIES", 256)

    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        log.add_policy(_alone(log))
        log.grow(600)
        log.publish(later(minutes=1), *BOTH)
        log.files[f"1/tile/entries/002.p/{log.size - 512}"] = log.files["1/tile/entries/002"] = None
        assert (await reader.refused()).code == "unknown_object"
        reader.restart()
        await reader.follower.load()
        assert reader.follower.view is not None
        assert reader.follower.view.policy_version == 2

    play(tmp_path, scene)


def two_policies(log: Log) -> None:
    """Policies 3 and 4 under one head, which 2 is satisfied with and 3 is not."""
    for number in (3, 4):
        log.files[f"1/policy/{number}"] = None
    log.add_policy(_alone(log))
    log.add_policy(log.policy_of("alpha", "bravo", "charlie"))
    log.grow()
    log.publish(later(minutes=1), *BOTH)


def test_two_policies_under_one_head_come_in_one_by_one(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        two_policies(log)
        assert (await reader.follower.follow()).policy_version == 3
        assert (await reader.refused()).code == "log_unwitnessed"
        log.files["1/policy/4"] = log.head(later(minutes=2), "charlie").encode()
        assert (await reader.follower.follow()).policy_version == 4

    play(tmp_path, scene)


def test_the_head_kept_for_a_policy_may_be_below_the_one_held(tmp_path: Path) -> None:
    """The hub had it before: it is of this log, and satisfies the policy before (§15.4)."""

    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        two_policies(log)
        log.files["1/policy/4"] = log.head(later(minutes=1), "charlie", size=log.size - 1).encode()
        assert (await reader.follower.follow()).policy_version == 4

    play(tmp_path, scene)


def test_the_head_kept_for_a_policy_needs_the_quorum_before_it(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        two_policies(log)
        log.files["1/policy/4"] = log.head(later(minutes=1), *BOTH, size=log.size - 1).encode()
        assert isinstance(await reader.refused(), LogUnwitnessed)

    play(tmp_path, scene)


def test_the_head_kept_for_a_policy_covers_it(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        two_policies(log)
        log.files["1/policy/4"] = log.head(later(minutes=1), "charlie", size=log.size - 2).encode()
        assert "does not cover it" in (await reader.refused()).message

    play(tmp_path, scene)


def test_the_head_kept_for_a_policy_is_of_this_log(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        fork = log.fork()
        two_policies(log)
        fork.grow(9)
        log.files["1/policy/4"] = fork.head(later(minutes=1), "charlie").encode()
        log.files.update({f"1/tile/0/000.p/{fork.size}": fork.file(f"1/tile/0/000.p/{fork.size}")})
        assert isinstance(await reader.refused(), LogInconsistent)
        assert reader.follower.view is not None
        assert reader.follower.view.policy_version == 3

    play(tmp_path, scene)


# --- shards -----------------------------------------------------------------------------------------


def test_the_next_shard_is_followed_when_this_one_is_closed(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.add_directory()
        log.publish(NOW, *BOTH)
        before = await reader.follower.follow()
        log.rotate(later(minutes=1), *BOTH)
        # Closed, and nothing of the next one is witnessed yet.
        view = await reader.follower.follow()
        assert (view.shard, view.directory) == (1, before.directory)
        log.publish(later(minutes=2), "alpha")
        assert isinstance(await reader.refused(), LogUnwitnessed)
        log.publish(later(minutes=3), *BOTH)
        view = await reader.follower.follow()
        assert (view.shard, view.size, view.directory) == (2, log.size, before.directory)
        log.add_directory()
        log.publish(later(minutes=4), *BOTH)
        reader.restart()
        view = await reader.follower.follow()
        assert view.directory is not None
        assert before.directory is not None
        assert view.directory.version == before.directory.version + 1

    play(tmp_path, scene)


def test_a_fresh_node_goes_through_all_shards(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        for minutes in (1, 2):
            log.rotate(later(minutes=minutes), *BOTH)
            log.publish(later(minutes=minutes), *BOTH)
        view = await reader.follower.follow()
        assert (view.shard, view.size, view.policy_version) == (3, log.size, 4)

    play(tmp_path, scene)


def test_a_shard_under_other_keys_than_the_closed_one_names_is_refused(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log = reader.log
        log.publish(NOW, *BOTH)
        fork = log.fork()
        log.rotate(later(minutes=1), *BOTH)
        fork.rotate(later(minutes=1), *BOTH)
        log.publish(later(minutes=2), *BOTH)
        fork.publish(later(minutes=2), *BOTH)
        log.files["2/checkpoint"] = fork.files["2/checkpoint"]
        assert isinstance(await reader.refused(), SignatureInvalid)
        assert reader.follower.view is not None
        assert reader.follower.view.shard == 1

    play(tmp_path, scene)


def test_an_operators_policy_may_begin_with_a_later_shard(tmp_path: Path) -> None:
    """A shard says itself what came before it: its head is witnessed, and that is all that is relied on."""
    log = Log()
    log.rotate(later(minutes=1), *BOTH)
    log.publish(later(minutes=2), *BOTH)

    async def scene(reader: Reader) -> None:
        view = await reader.follower.follow()
        assert (view.shard, view.size, view.directory) == (2, log.size, log.state.directory)
        assert not any(path.startswith("1/") for path in log.served)
        log.add_directory()
        log.rotate(later(minutes=3), *BOTH)
        log.publish(later(minutes=4), *BOTH)
        assert (await reader.follower.follow()).shard == 3

    play(tmp_path, scene, log, policy=parse_policy(log.policy_of("alpha", "bravo", "charlie")))


def test_a_further_shard_repeats_the_policy_to_the_octet(tmp_path: Path) -> None:
    """Under one version nobody is brought in who was not there (§14.7)."""

    async def scene(reader: Reader) -> None:
        log = reader.log
        log.rotate(later(minutes=1), *BOTH)
        other = PolicyEntry(log.policy_version, NOW, _alone(log)).encode()
        log.entries[1][1] = other
        log.publish(later(minutes=2), *BOTH)
        error = await reader.refused()
        assert isinstance(error, LogInconsistent)
        assert "two texts" in error.message

    play(tmp_path, scene)


# --- a long way -------------------------------------------------------------------------------------


def test_a_long_way_is_gone_in_pieces_that_are_all_under_the_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_up, "PIECE_ENTRIES", 256)
    log = Log()
    log.grow(1_500)
    log.publish(NOW, *BOTH)

    async def scene(reader: Reader) -> None:
        path = f"1/tile/entries/005.p/{log.size - 5 * 256}"
        octets = log.file(path)
        assert octets is not None
        log.files[path] = _changed(octets)
        assert isinstance(await reader.refused(), LogInconsistent)
        # What was stored is under the head, and it is not said to be witnessed before the end.
        assert reader.follower.view is None
        reader.restart()
        del log.files[path]
        log.served.clear()
        assert (await reader.follower.follow()).size == log.size
        assert "1/tile/entries/000" not in log.served

    play(tmp_path, scene, log)


def test_a_head_seen_with_the_first_piece_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that stopped on a long way has seen the head that it was going to (§15.5)."""
    monkeypatch.setattr(taking_up, "PIECE_ENTRIES", 256)
    log = Log()
    log.grow(900)
    fork = log.fork()
    log.grow(100)
    fork.grow(300)
    log.publish(NOW, *BOTH)

    async def scene(reader: Reader) -> None:
        log.files[f"1/tile/entries/003.p/{log.size - 3 * 256}"] = None
        log.files["1/tile/entries/003"] = None
        assert (await reader.refused()).code == "unknown_object"
        reader.restart()
        log.publish(later(minutes=1), *BOTH, size=800)
        assert isinstance(await reader.refused(), Rollback)
        fork.publish(later(minutes=2), *BOTH)
        reader.log = fork
        assert isinstance(await reader.refused(), LogInconsistent)

    play(tmp_path, scene, log)


def test_a_piece_that_the_head_does_not_continue_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_up, "PIECE_ENTRIES", 256)
    log = Log()
    other = log.fork()
    log.grow(700)
    other.grow(700)
    log.publish(NOW, *BOTH)

    async def scene(reader: Reader) -> None:
        log.files["1/tile/entries/000"] = other.file("1/tile/entries/000")
        assert isinstance(await reader.refused(), LogInconsistent)
        assert await reader.store.run(log_store.last_shard) is None

    play(tmp_path, scene, log)


def test_what_is_read_leads_over_the_head_seen_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that stopped on its way to a head is not led past it on another branch (§15.5)."""
    monkeypatch.setattr(taking_up, "PIECE_ENTRIES", 256)
    log = Log()
    log.grow(400)
    fork = log.fork()
    log.grow(200)
    fork.grow(500)
    log.publish(NOW, *BOTH)
    fork.publish(later(minutes=1), *BOTH)

    async def scene(reader: Reader) -> None:
        log.files[f"1/tile/entries/001.p/{log.size - 256}"] = log.files["1/tile/entries/001"] = None
        log.files[f"1/tile/entries/002.p/{log.size - 512}"] = log.files["1/tile/entries/002"] = None
        await reader.refused()
        held = await reader.store.run(log_store.last_shard)
        assert held is not None
        assert (held.entries.size, held.seen_size) == (256, log.size)
        reader.log = fork
        signed = parse_checkpoint(await fork.get("1/checkpoint"))
        following = await reader.follower._begin()
        policy = parse_policy(fork.policy_of("alpha", "bravo", "charlie"))
        with pytest.raises(LogInconsistent):
            await reader.follower._taking_up.take_up(following, signed, NOW, policy)

    play(tmp_path, scene, log)
