"""Rows of processes, and of which one holds a node's stream (docs/replicas.md, section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from candor_hub.store.replicas import GONE_AFTER
from candor_proto.ids import NodeId
from tests.unit.hub.offices import Office, office

pytestmark = pytest.mark.usefixtures("each_database")

ALPHA, BRAVO = NodeId("alpha"), NodeId("bravo")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        for node in (ALPHA, BRAVO):
            made.join(str(node))
        for name in ("a", "b"):
            with made.store.write() as tx:
                tx.replicas.seen(name, "1.0", made.clock.now())
        yield made


def attach(hub: Office, replica: str, *nodes: NodeId) -> dict[NodeId, int]:
    with hub.store.write() as tx:
        return tx.replicas.attach(replica, nodes, hub.clock.now())


def attached(hub: Office) -> set[NodeId]:
    with hub.store.read() as tx:
        return set(tx.replicas.attached(hub.clock.now()))


def gone(hub: Office, replica: str) -> None:
    """As if this process had written its row for the last time a while ago."""
    moment = hub.clock.now() - 2 * GONE_AFTER
    with hub.store.write() as tx:
        tx.replicas.now = lambda now: moment  # type: ignore[method-assign]
        tx.replicas.seen(replica, "1.0", moment)


def test_each_stream_of_a_node_is_newer_than_the_one_before_wherever_it_is(hub: Office) -> None:
    generations = [attach(hub, replica, ALPHA)[ALPHA] for replica in ("a", "b", "a", "a")]
    assert generations == sorted(set(generations))
    with hub.store.read() as tx:
        assert tx.replicas.older("b", {ALPHA: generations[1]}) == (ALPHA,)
        assert tx.replicas.older("a", {ALPHA: generations[3]}) == ()


def test_an_older_stream_that_ends_is_not_the_newers_end(hub: Office) -> None:
    older, newer = attach(hub, "a", ALPHA), attach(hub, "a", ALPHA)
    with hub.store.write() as tx:
        tx.replicas.detach("a", older, hub.clock.now())
    assert attached(hub) == {ALPHA}
    with hub.store.write() as tx:
        tx.replicas.detach("b", newer, hub.clock.now())
    assert attached(hub) == {ALPHA}
    with hub.store.write() as tx:
        tx.replicas.detach("a", newer, hub.clock.now())
    assert attached(hub) == set()
    # A generation is never given again, or a stream from before would pass for the newest.
    assert attach(hub, "b", ALPHA)[ALPHA] > newer[ALPHA]


def test_who_ends_says_when_its_nodes_were_seen_last_by_one_clock(hub: Office, each_database: str) -> None:
    """By the database's where it has one: the replica that a node leaves may have another time."""
    given = attach(hub, "a", ALPHA)
    before = hub.clock.now()
    hub.clock.advance(minutes=4)
    with hub.store.write() as tx:
        tx.replicas.detach("a", given, hub.clock.now())
        record = tx.members.find(ALPHA)
    assert record is not None
    assert record.last_seen_at is not None
    shift = record.last_seen_at - before
    assert shift < timedelta(minutes=1) if each_database == "postgresql" else shift > timedelta(minutes=3)


def test_a_process_that_is_not_seen_any_more_holds_no_streams(hub: Office) -> None:
    held = attach(hub, "a", ALPHA) | attach(hub, "b", BRAVO)
    gone(hub, "a")
    assert attached(hub) == {BRAVO}
    with hub.store.write() as tx:
        assert tx.replicas.drop_gone(hub.clock.now()) == 1
        assert [record.replica for record in tx.replicas.all(hub.clock.now())] == ["b"]
    # It was only stopped, and goes on: what nobody else has taken is its own again.
    with hub.store.write() as tx:
        tx.replicas.seen("a", "1.0", hub.clock.now())
        assert tx.replicas.claim("a", {ALPHA: held[ALPHA]}) == ()
    assert attached(hub) == {ALPHA, BRAVO}


def test_a_process_that_comes_back_does_not_take_what_went_elsewhere(hub: Office) -> None:
    held = attach(hub, "a", ALPHA, BRAVO)
    with hub.store.write() as tx:
        tx.replicas.leave("a")
    attach(hub, "b", ALPHA)
    with hub.store.write() as tx:
        tx.replicas.seen("a", "1.0", hub.clock.now())
        assert tx.replicas.claim("a", held) == (ALPHA,)
        assert tx.replicas.older("b", {ALPHA: 2}) == ()
    assert attached(hub) == {ALPHA, BRAVO}
