"""What a node says in the log, and what others say there in its name (docs/protocol.md §14.8, §15.2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from candor_node import mail_store
from candor_node.tlog import log_store, member, watching, witness_store
from candor_node.tlog.heartbeats import Heartbeats
from candor_node.tlog.own_statements import OwnStatements
from candor_proto.errors import Unreachable
from candor_proto.ids import NodeId
from candor_proto.merkle import leaf_hash
from candor_proto.signing import SignedStatement
from candor_proto.tlog.entries import Statement, head_entry, member_entry, request_commitment
from candor_proto.tlog.statements import HEARTBEAT, WITNESS_KEY, Heartbeat, WitnessKeyStatement
from candor_wire.codec import Envelope, MessageKind
from tests.memory_log import FEDERATION, NOW, Log, later
from tests.unit.node.tlog.scenes import OWN, Reader, play

BOTH = ("alpha", "bravo")


class Hub:
    """Takes statements; `take` puts them into the log."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.put: list[tuple[str, SignedStatement]] = []
        self.away = False

    async def put_statement(self, context: str, statement: SignedStatement) -> None:
        if self.away:
            raise Unreachable("The hub is away.")
        self.put.append((context, statement))

    def take(self) -> None:
        for context, statement in self.put:
            self.log.append(Statement(context, statement))
        self.put.clear()


async def followed(reader: Reader, *signers: str, **amount: float) -> None:
    reader.log.publish(later(**amount), *(signers or BOTH))
    reader.clock.moment = max(reader.clock.moment, later(**amount))
    await reader.follower.follow()


def heartbeats(reader: Reader, hub: Hub) -> Heartbeats:
    of_hub: Any = hub
    key = reader.log.parties.all[OWN].signing
    return Heartbeats(reader.store, of_hub, FEDERATION, OWN, key, reader.clock)


def envelope(number: int) -> Envelope:
    return Envelope(
        bytes([number]) * 16,
        MessageKind.LOOKUP,
        NodeId("bravo"),
        OWN,
        b"a lookup %d" % number,
        bytes([number]) * 64,
        later(hours=20),
    )


def commitment(number: int) -> bytes:
    return request_commitment(envelope(number).statement)


# --- heartbeats --------------------------------------------------------------------------------------


def test_a_heartbeat_says_which_lookups_came(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        hub = Hub(reader.log)
        beating = heartbeats(reader, hub)
        assert await beating.beat() is None
        first = reader.log.request(commitment(1), commitment(2), commitment(3))
        reader.log.request(commitment(4))
        await followed(reader)
        for number in (1, 4):
            arrived = envelope(number)
            await reader.store.run(partial(mail_store.receive, envelope=arrived, now=NOW))
        # What was logged a moment ago may be on its way.
        assert await beating.beat() is None
        reader.clock.pass_(minutes=6)
        heartbeat = await beating.beat()
        assert heartbeat is not None
        assert (heartbeat.number, heartbeat.start, heartbeat.end) == (1, first, reader.log.size)
        here = {commitment(1), commitment(4)}
        logged = [*sorted(map(commitment, (1, 2, 3))), commitment(4)]
        assert [heartbeat.has_received(at) for at in range(4)] == [one in here for one in logged]
        heartbeat.check_covers(4)
        hub.take()
        await followed(reader, minutes=7)
        reader.clock.pass_(minutes=6)
        assert await beating.beat() is None

    play(tmp_path, scene)


def test_the_next_heartbeat_goes_on_where_the_logged_one_ended(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        hub = Hub(reader.log)
        beating = heartbeats(reader, hub)
        reader.log.request(commitment(1))
        await followed(reader)
        reader.clock.pass_(minutes=6)
        first = await beating.beat()
        hub.take()
        reader.log.request(commitment(2))
        await followed(reader, minutes=7)
        reader.clock.pass_(minutes=6)
        second = await beating.beat()
        assert first is not None
        assert second is not None
        assert (second.number, second.start) == (2, first.end)
        # One that the hub did not log is made anew, from the same place.
        hub.put.clear()
        third = await beating.beat()
        assert third is not None
        assert (third.number, third.start) == (2, first.end)

    play(tmp_path, scene)


def test_a_lookup_that_was_dropped_was_here_all_the_same(tmp_path: Path) -> None:
    """Also one that was never stored before it was judged (§14.8: holds durably)."""

    async def scene(reader: Reader) -> None:
        row = mail_store.unstored(envelope(1))
        await reader.store.run(lambda db: mail_store.finish(db, row, NOW, "expired"))
        reader.log.request(commitment(1))
        await followed(reader)
        reader.clock.pass_(minutes=6)
        heartbeat = await heartbeats(reader, Hub(reader.log)).beat()
        assert heartbeat is not None
        assert heartbeat.has_received(0)

    play(tmp_path, scene)


def test_a_heartbeat_covers_no_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from candor_node.tlog import heartbeats as module

    monkeypatch.setattr(module, "MAX_COVERED", 4)

    async def scene(reader: Reader) -> None:
        reader.log.request(commitment(1), commitment(2), commitment(3))
        edge = reader.log.request(commitment(4), commitment(5))
        await followed(reader)
        reader.clock.pass_(minutes=6)
        heartbeat = await heartbeats(reader, Hub(reader.log)).beat()
        assert heartbeat is not None
        assert heartbeat.end == edge
        heartbeat.check_covers(3)

    play(tmp_path, scene)


# --- watched commitments -------------------------------------------------------------------------------


def test_a_watched_commitment_is_found_early_and_late(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, store = reader.log, reader.store
        await store.run(lambda db: watching.watch(db, commitment(1), NOW))
        log.grow(2)
        position = log.request(commitment(1), commitment(2))
        await followed(reader)
        await store.run(lambda db: watching.watch(db, commitment(2), NOW))
        places = [
            await store.run(lambda db, n=number: watching.place_of(db, commitment(n)))  # type: ignore[misc]
            for number in (1, 2, 3)
        ]
        order = sorted((commitment(1), commitment(2)))
        assert places == [
            watching.Place(1, position, order.index(commitment(1))),
            watching.Place(1, position, order.index(commitment(2))),
            None,
        ]
        await store.run(lambda db: watching.watch(db, commitment(3), NOW))
        assert await store.run(lambda db: watching.unplaced(db, later(minutes=1))) == [commitment(3)]

    play(tmp_path, scene)


def test_observers_see_every_entry_in_order_with_the_transaction(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        seen: list[tuple[int, int, bytes]] = []
        reader.follower.observers.append(
            lambda db, now, shard, at, octets, entry: seen.append((shard, at, octets))
        )
        reader.log.grow(3)
        await followed(reader)
        reader.log.rotate(later(minutes=1), *BOTH)
        await followed(reader, minutes=2)
        assert seen == [
            (number, at, octets)
            for number, entries in enumerate(reader.log.entries, 1)
            for at, octets in enumerate(entries)
        ]

    play(tmp_path, scene)


# --- statements --------------------------------------------------------------------------------------


def statements(reader: Reader, hub: Hub) -> OwnStatements:
    of_hub: Any = hub
    key = reader.log.parties.all[OWN].signing
    return OwnStatements(reader.store, of_hub, FEDERATION, OWN, key, reader.clock, lambda: None)


def test_a_witness_key_is_handed_in_until_it_is_logged(tmp_path: Path) -> None:
    log = Log(quorum=False)

    async def scene(reader: Reader) -> None:
        hub = Hub(log)
        saying = statements(reader, hub)
        hub.away = True
        with pytest.raises(Unreachable):
            await saying.hand_in()
        hub.away = False
        assert await saying.hand_in() == 1
        (context, first), *_ = hub.put
        assert context == WITNESS_KEY
        # Not again at once, and with the same octets later.
        assert await saying.hand_in() == 0
        reader.clock.pass_(minutes=11)
        assert await saying.hand_in() == 1
        assert hub.put[1] == (WITNESS_KEY, first)
        hub.put.pop()
        hub.take()
        await followed(reader, minutes=11)
        reader.clock.pass_(minutes=11)
        assert await saying.hand_in() == 0

    play(tmp_path, scene, log)


def test_new_keys_are_younger_than_the_logged_ones(tmp_path: Path) -> None:
    """Whatever the clock says: the hub refuses a statement that is not (§15.2)."""

    async def scene(reader: Reader) -> None:
        hub = Hub(reader.log)
        await followed(reader)
        logged = reader.log.state.nodes[OWN].witness
        assert logged is not None
        await reader.store.run(lambda db: member.own_keys(db, FEDERATION, OWN, NOW - timedelta(days=3)))
        await statements(reader, hub).hand_in()
        statement = WitnessKeyStatement.decode(hub.put[0][1].body)
        assert statement.issued_at > logged.issued_at
        hub.take()
        await followed(reader, minutes=1)
        await reader.store.run(witness_store.retire)
        assert await statements(reader, hub).hand_in() == 1
        assert hub.put[0][1].body != statement.encode()

    play(tmp_path, scene)


# --- what others say in its name -----------------------------------------------------------------------


def test_an_index_head_that_this_node_did_not_sign_is_an_alarm(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, party = reader.log, reader.log.parties.all[OWN]
        known = head_entry(party.signed_head())
        await reader.store.run(
            lambda db: log_store.signed_head(db, leaf_hash(known.encode()), known.sequence)
        )
        log.append(known)
        await followed(reader)
        assert reader.follower.warnings() == []
        party.sequence = 2
        log.append(head_entry(party.signed_head()))
        await followed(reader, minutes=1)
        (warning,) = reader.follower.warnings()
        assert "index head 2 of this node" in warning
        head = await reader.store.run(log_store.logged_head)
        assert head is not None
        assert head.sequence == 2

    play(tmp_path, scene)


def test_a_head_that_verifies_under_the_own_key_explains_those_before_it(tmp_path: Path) -> None:
    """A node that was restored does not remember them, and its signature says that it made them."""

    async def scene(reader: Reader) -> None:
        log, party = reader.log, reader.log.parties.all[OWN]
        for party.sequence in (1, 2):
            log.append(head_entry(party.signed_head()))
        await followed(reader)
        assert len(reader.follower.warnings()) == 2
        leaf = leaf_hash(head_entry(party.signed_head()).encode())
        await reader.store.run(lambda db: log_store.own_head_verified(db, leaf, 2))
        await reader.follower.load()
        assert reader.follower.warnings() == []

    play(tmp_path, scene)


def test_a_member_entry_with_other_keys_is_an_alarm(tmp_path: Path) -> None:
    log = Log()

    async def scene(reader: Reader) -> None:
        from candor_node.tlog.folding import Self

        wrong = Self(OWN, bytes(32), log.parties.all[OWN].disclosure.public)
        reader.follower._taking_up._own = wrong
        await followed(reader)
        (warning,) = reader.follower.warnings()
        assert "names other keys for this node" in warning

    play(tmp_path, scene, log)


def test_what_changes_of_a_member_is_no_alarm(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        renamed = replace(reader.log.parties.all[OWN].member(), name="Another name")
        reader.log.append(member_entry(renamed))
        await followed(reader)
        assert reader.follower.warnings() == []

    play(tmp_path, scene)


def test_a_heartbeat_of_tests_is_one() -> None:
    """The form that the hub logs (§14.8)."""
    beat = Heartbeat(FEDERATION, OWN, "o", 1, 0, 0, b"", 0, 0, 0, bytes(32), NOW)
    assert Heartbeat.decode(beat.encode()) == beat
    assert HEARTBEAT == "heartbeat"
