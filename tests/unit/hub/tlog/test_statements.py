"""What members have logged (§14.8, §15.2): what anybody would refuse the log for is refused at the door."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_hub.tlog import due, outside, statements
from candor_hub.tlog.files import ShardFiles
from candor_proto.canonical import Writer
from candor_proto.errors import (
    AlreadyExists,
    ClockWrong,
    IdentityMismatch,
    InputInvalid,
    MalformedMessage,
    NotCanonical,
    NotYetValid,
    QuotaSpent,
    Rollback,
    SignatureInvalid,
    WrongStanding,
)
from candor_proto.ids import FederationName
from candor_proto.signing import SigningKey
from candor_proto.tlog.entries import Requests, Statement
from candor_proto.tlog.note import COSIGNATURE_ML_DSA_44, VerifierKey
from candor_proto.tlog.policy import MAX_POLICY_OCTETS, PolicyWitness
from candor_proto.tlog.signatures import WitnessKeys
from candor_proto.tlog.statements import HEARTBEAT, WITNESS_KEY, Heartbeat, received_bits, witness_name
from tests.hub_members import FEDERATION, Member
from tests.unit.hub.tlog.desks import LogDesk, log_desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[LogDesk]:
    with log_desk(tmp_path) as made:
        yield made


@pytest.fixture
def alpha(desk: LogDesk) -> Member:
    member = desk.hub.join("alpha")
    desk.settle()
    return member


def heartbeat(desk: LogDesk, member: Member, **changes: Any) -> Heartbeat:
    """A heartbeat about all that is signed, which has received everything."""
    size = desk.shard().size
    entries = desk.read("signed").last.entries
    count = sum(len(entry.commitments) for entry in entries if isinstance(entry, Requests))
    made = Heartbeat(
        FEDERATION,
        member.node,
        desk.shard().origin,
        1,
        0,
        size,
        received_bits([True] * count),
        0,
        0,
        0,
        bytes(32),
        desk.now,
    )
    return replace(made, **changes)


def put(desk: LogDesk, member: Member, said: Heartbeat, key: SigningKey | None = None) -> None:
    statement = (key or member.signing_key).sign(HEARTBEAT, said.encode())
    desk.statements.put(HEARTBEAT, statement, desk.entry(member), desk.now)


# --- witness keys --------------------------------------------------------------------------------------


def test_a_witness_key_is_logged_once_and_its_repetition_is_nothing(desk: LogDesk, alpha: Member) -> None:
    keys = desk.make_witness(alpha)
    desk.statements.put(WITNESS_KEY, desk.witness_statement(alpha, keys), desk.entry(alpha), desk.now)
    desk.settle()
    assert len(desk.read().of(Statement)) == 1


def test_a_younger_witness_key_takes_the_place_of_the_older(desk: LogDesk, alpha: Member) -> None:
    old = desk.make_witness(alpha)
    before = desk.witness_statement(alpha, WitnessKeys.generate(old.name))
    desk.hub.clock.advance(seconds=5)
    desk.make_witness(alpha)
    with pytest.raises(Rollback):
        desk.statements.put(WITNESS_KEY, before, desk.entry(alpha), desk.now)
    desk.settle()
    assert len(desk.read().of(Statement)) == 2


def test_a_witness_key_from_the_future_is_refused(desk: LogDesk, alpha: Member) -> None:
    keys = WitnessKeys.generate(witness_name(FEDERATION, alpha.node))
    desk.hub.clock.advance(minutes=6)
    statement = desk.witness_statement(alpha, keys)
    desk.hub.clock.advance(minutes=-6)
    with pytest.raises(NotYetValid):
        desk.statements.put(WITNESS_KEY, statement, desk.entry(alpha), desk.now)


def test_another_members_witness_key_is_refused_even_one_that_it_had(desk: LogDesk, alpha: Member) -> None:
    """Two lines with one key: the policy would not parse, and nobody could read the log on."""
    keys = desk.make_witness(alpha)
    desk.hub.clock.advance(seconds=5)
    desk.make_witness(alpha)
    bravo = desk.hub.join("bravo")
    ed25519, ml_dsa = keys.ed25519_seed, keys.ml_dsa_seed
    stolen = WitnessKeys(witness_name(FEDERATION, bravo.node), ed25519, ml_dsa)
    with pytest.raises(AlreadyExists):
        desk.statements.put(WITNESS_KEY, desk.witness_statement(bravo, stolen), desk.entry(bravo), desk.now)


# --- whose it is ---------------------------------------------------------------------------------------


def test_a_statement_is_its_members_own(desk: LogDesk, alpha: Member) -> None:
    bravo = desk.hub.join("bravo")
    desk.settle()
    said = heartbeat(desk, alpha)
    with pytest.raises(IdentityMismatch):
        desk.statements.put(
            HEARTBEAT, alpha.signing_key.sign(HEARTBEAT, said.encode()), desk.entry(bravo), desk.now
        )
    with pytest.raises(IdentityMismatch):
        put(desk, alpha, replace(said, federation=FederationName("other.example")))
    with pytest.raises(SignatureInvalid):
        put(desk, alpha, said, bravo.signing_key)
    statement = alpha.signing_key.sign(WITNESS_KEY, said.encode())
    with pytest.raises(SignatureInvalid):
        desk.statements.put(HEARTBEAT, statement, desk.entry(alpha), desk.now)


def test_nothing_of_another_context_is_logged(desk: LogDesk, alpha: Member) -> None:
    statement = alpha.signing_key.sign("lookup", b"body")
    with pytest.raises(MalformedMessage):
        desk.statements.put("lookup", statement, desk.entry(alpha), desk.now)


def test_an_adopted_pack_is_logged(desk: LogDesk, alpha: Member) -> None:
    body = Writer("pack-adoption").text(str(FEDERATION)).text("alpha").text("ca-post").integer(3, 4)
    statement = alpha.signing_key.sign("pack-adoption", body.fixed(bytes(32), 32).time(desk.now).finish())
    desk.statements.put("pack-adoption", statement, desk.entry(alpha), desk.now)
    desk.settle()
    logged = [entry for entry in desk.read().entries if isinstance(entry, Statement)]
    assert [entry.context for entry in logged] == ["pack-adoption"]


def test_a_member_does_not_make_the_log_grow_without_end(
    desk: LogDesk, alpha: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "MAX_STATEMENTS_AN_HOUR", 2)
    size = desk.shard().size
    for number in (1, 2, 3):
        said = heartbeat(desk, alpha, number=number, start=0 if number == 1 else size, end=size)
        if number == 3:
            with pytest.raises(QuotaSpent):
                put(desk, alpha, said)
            desk.hub.clock.advance(hours=1)
            said = replace(said, issued_at=desk.now)
        put(desk, alpha, said)


# --- heartbeats ----------------------------------------------------------------------------------------


def test_heartbeats_follow_each_other_and_are_logged(desk: LogDesk, alpha: Member) -> None:
    first = heartbeat(desk, alpha)
    put(desk, alpha, first)
    put(desk, alpha, first)  # a reply was lost
    desk.settle()
    following = heartbeat(desk, alpha, number=2, start=first.end)
    for wrong in (
        replace(following, number=3),
        replace(following, start=0),
        replace(following, start=first.end + 1),
        replace(first, answered=7),
    ):
        with pytest.raises(Rollback):
            put(desk, alpha, wrong)
    put(desk, alpha, following)
    desk.settle()
    assert len(desk.read().of(Statement)) == 2


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_heartbeat_of_another_time_is_refused(desk: LogDesk, alpha: Member, minutes: int) -> None:
    with pytest.raises(ClockWrong):
        put(desk, alpha, heartbeat(desk, alpha, issued_at=desk.now + timedelta(minutes=minutes)))


def test_a_heartbeat_is_about_what_the_shard_holds(desk: LogDesk, alpha: Member) -> None:
    said = heartbeat(desk, alpha)
    for wrong in (replace(said, end=said.end + 1), replace(said, origin=said.origin[:-1] + "2")):
        with pytest.raises(WrongStanding):
            put(desk, alpha, wrong)


def test_the_bits_of_a_heartbeat_fit_its_range(desk: LogDesk, alpha: Member) -> None:
    desk.hub.submit(alpha.lookup([alpha]), alpha)
    desk.settle()
    said = heartbeat(desk, alpha)
    for wrong in (b"", b"\x80\x00", b"\xc0"):
        with pytest.raises(NotCanonical):
            put(desk, alpha, replace(said, received=wrong))
    put(desk, alpha, said)


def test_a_heartbeat_without_the_bit_of_a_lookup_that_lives_is_refused(desk: LogDesk, alpha: Member) -> None:
    """§14.8: logged, it would prove that this hub dropped the lookup (§17.1)."""
    bravo = desk.hub.join("bravo")
    desk.hub.submit(alpha.lookup([alpha, bravo]), alpha)
    desk.settle()
    lacking = heartbeat(desk, bravo, received=b"\x00")
    with pytest.raises(WrongStanding, match="leaves out a lookup"):
        put(desk, bravo, lacking)
    # Once it has expired, nobody can have it any more.
    desk.hub.clock.advance(hours=25)
    put(desk, bravo, replace(lacking, issued_at=desk.now))


def test_a_lookup_that_found_the_mailbox_full_counts_as_well(
    desk: LogDesk, alpha: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    from candor_hub import relay

    bravo = desk.hub.join("bravo")
    desk.hub.submit(alpha.sealed(bravo.node), alpha)
    monkeypatch.setattr(relay, "MAX_MAILBOX_ROWS_PER_RECIPIENT", 1)
    assert desk.hub.submit(alpha.lookup([alpha, bravo]), alpha).recipients == 1
    desk.settle()
    with pytest.raises(WrongStanding, match="leaves out a lookup"):
        put(desk, bravo, heartbeat(desk, bravo, received=b"\x00"))


def test_a_lookup_that_does_not_name_the_member_needs_no_bit(desk: LogDesk, alpha: Member) -> None:
    bravo = desk.hub.join("bravo")
    desk.hub.submit(alpha.lookup([alpha]), alpha)
    desk.settle()
    put(desk, bravo, heartbeat(desk, bravo, received=b"\x00"))
    desk.settle()
    desk.read()


def test_a_heartbeat_over_many_entries_reads_each_bundle_once(
    desk: LogDesk, alpha: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range may name 65,536 entries: read one by one, a member would keep the hub busy for minutes."""
    with desk.hub.store.write() as tx:
        shard = desk.shard()
        first = shard.size
        for number in range(600):
            tx.log.wait([(Requests.KIND, number.to_bytes(32, "big"))], desk.now)
    for _ in range(3):
        desk.append()
    read = list[int]()
    original = ShardFiles.bundle

    def bundle(reader: ShardFiles, index: int, width: int) -> tuple[bytes, ...]:
        read.append(index)
        return original(reader, index, width)

    monkeypatch.setattr(ShardFiles, "bundle", bundle)
    found = desk.statements._commitments(desk.shard(), list(range(first, desk.shard().size)))
    assert found == [number.to_bytes(32, "big") for number in range(600)]
    assert len(read) == len(set(read))
    # Nothing lives that names this member: its count is in the database.
    read.clear()
    put(desk, alpha, heartbeat_of(desk, alpha, 600))
    assert read == []


def heartbeat_of(desk: LogDesk, member: Member, count: int) -> Heartbeat:
    bits, size = received_bits([True] * count), desk.shard().size
    return Heartbeat(
        FEDERATION, member.node, desk.shard().origin, 1, 0, size, bits, 0, 0, 0, bytes(32), desk.now
    )


# --- policies ------------------------------------------------------------------------------------------


def outsiders(count: int) -> list[PolicyWitness]:
    keys = [WitnessKeys.generate(f"w{number}.example").verifier_keys[1] for number in range(count)]
    return [PolicyWitness(key.name, key, f"https://{key.name}/log") for key in keys]


def test_the_key_of_an_operators_witness_is_no_members(desk: LogDesk, alpha: Member) -> None:
    """Handed in while a policy waits, it would keep the next one from being made, and heads from counting."""
    keys = WitnessKeys.generate(witness_name(FEDERATION, alpha.node))
    theirs = PolicyWitness(
        "theirs", VerifierKey("theirs", COSIGNATURE_ML_DSA_44, keys.verifier_keys[1].key), "https://w.example"
    )
    with desk.hub.store.write() as tx:
        outside.set_outside(tx, FEDERATION, [theirs], 0, desk.now)
    with pytest.raises(AlreadyExists):
        desk.statements.put(WITNESS_KEY, desk.witness_statement(alpha, keys), desk.entry(alpha), desk.now)
    desk.settle()
    with desk.hub.store.write() as tx:
        outside.set_outside(tx, FEDERATION, [], 0, desk.now)
    desk.settle()
    desk.statements.put(WITNESS_KEY, desk.witness_statement(alpha, keys), desk.entry(alpha), desk.now)
    with pytest.raises(InputInvalid), desk.hub.store.write() as tx:
        outside.set_outside(tx, FEDERATION, [theirs], 0, desk.now)


def test_an_operators_witnesses_leave_room_for_the_members(desk: LogDesk) -> None:
    with desk.hub.store.write() as tx:
        assert outside.set_outside(tx, FEDERATION, outsiders(4), 1, desk.now) is not None
    with pytest.raises(InputInvalid), desk.hub.store.write() as tx:
        outside.set_outside(tx, FEDERATION, outsiders(12), 1, desk.now)


def test_a_policy_that_cannot_be_made_keeps_nobody_from_joining(desk: LogDesk, alpha: Member) -> None:
    desk.make_witness(alpha)
    desk.settle()
    with desk.hub.store.write() as tx:
        tx.log.set_outside(outsiders(MAX_POLICY_OCTETS // 1_700 + 1))
        assert due.log_policy(tx, FEDERATION, desk.now) is None
    desk.make_witness(desk.hub.join("bravo"))
    desk.settle()
    desk.read()
