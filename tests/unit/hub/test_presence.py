"""Is that node really online? Never seen, online or stale since: from the database, after a crash too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from candor_hub.overview import overview
from candor_hub.presence import Presence, Reach
from candor_hub.store.replicas import GONE_AFTER
from candor_proto.ids import NodeId
from tests.unit.hub.offices import Office, office

pytestmark = pytest.mark.usefixtures("each_database")
ALPHA, BRAVO = NodeId("alpha"), NodeId("bravo")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        made.join("alpha")
        made.join("bravo")
        yield made


def moment(hub: Office) -> datetime:
    """Of the clock by which replicas are judged: PostgreSQL has its own."""
    with hub.store.read() as tx:
        return tx.replicas.now(hub.clock.now())


def pulse(hub: Office, replica: str = "r1") -> None:
    with hub.store.write() as tx:
        tx.replicas.seen(replica, "0.1.0", hub.clock.now())


def attach(hub: Office, node: NodeId, replica: str = "r1") -> int:
    with hub.store.write() as tx:
        return tx.replicas.attach(replica, [node], hub.clock.now())[node]


def look(hub: Office, node: NodeId = ALPHA) -> Presence:
    """As `candor-hub agencies` says it."""
    rows = overview(hub.store, hub.config.quota, hub.clock.now())
    (found,) = [row for row in rows if row.node == node]
    said = found.as_json()
    assert said["reach"] == found.presence.reach.value
    assert (said["reach_since"] is None) == (found.presence.reach is Reach.NEVER_SEEN)
    return found.presence


def age(hub: Office, replica: str, by: timedelta) -> None:
    """As if this process had written its row so much earlier, and been killed then."""
    from candor_hub.driver import sa
    from candor_hub.tables import replicas

    with hub.store._engine.begin() as connection:
        earlier = sa.update(replicas).where(replicas.c.replica == replica)
        seen = replicas.c.seen_at - int(by.total_seconds() * 1000)
        connection.execute(earlier.values(seen_at=seen))


def test_a_member_is_never_seen_until_it_attaches_for_the_first_time(hub: Office) -> None:
    assert look(hub) == Presence(Reach.NEVER_SEEN)
    assert look(hub).words == "never seen"
    pulse(hub)
    attach(hub, ALPHA)
    found = look(hub)
    assert found.reach is Reach.ONLINE
    assert found.since is not None
    assert abs(found.since - moment(hub)) < timedelta(seconds=5)
    assert found.words.startswith("online since ")
    assert look(hub, BRAVO) == Presence(Reach.NEVER_SEEN)


def test_a_member_that_detached_is_stale_since_then(hub: Office) -> None:
    pulse(hub)
    generation = attach(hub, ALPHA)
    with hub.store.write() as tx:
        tx.replicas.detach("r1", {ALPHA: generation}, hub.clock.now())
    found = look(hub)
    assert found.reach is Reach.STALE
    assert found.since is not None
    assert abs(found.since - hub.clock.now()) < timedelta(seconds=5)
    assert found.words.startswith("stale since ")


def test_right_after_a_crash_of_the_hub_nobody_is_online_and_the_last_sign_of_life_counts(
    hub: Office,
) -> None:
    """kill -9: no row was changed, and nobody runs. A command says it, and so does the next process."""
    pulse(hub)
    attach(hub, ALPHA)
    age(hub, "r1", GONE_AFTER - timedelta(seconds=5))
    assert look(hub).reach is Reach.ONLINE  # a process may be late
    age(hub, "r1", timedelta(hours=2))
    died = moment(hub) - timedelta(hours=2) - GONE_AFTER + timedelta(seconds=5)
    # It attached after the row was written that says otherwise: the later of the two is the truth.
    attached = look(hub).since
    assert attached is not None
    assert look(hub).reach is Reach.STALE
    assert abs(attached - max(died, attached)) < timedelta(seconds=5)
    # The next process tidies up, and nothing is forgotten by it.
    pulse(hub, "r2")
    with hub.store.write() as tx:
        assert tx.replicas.drop_gone(hub.clock.now()) == 1
    assert look(hub) == Presence(Reach.STALE, attached)
    attach(hub, ALPHA, "r2")
    assert look(hub).reach is Reach.ONLINE


def test_the_last_pulse_of_a_process_that_died_is_when_its_nodes_were_there_last(hub: Office) -> None:
    pulse(hub)
    attach(hub, ALPHA)
    hub.clock.advance(minutes=10)
    pulse(hub)  # ten minutes later it still runs, and the stream is still there
    before = look(hub).since
    age(hub, "r1", GONE_AFTER + timedelta(seconds=1))
    found = look(hub)
    assert found.reach is Reach.STALE
    assert found.since is not None
    assert before is not None
    if hub.store.server is None:  # PostgreSQL's own clock was not moved
        assert found.since - before > timedelta(minutes=9)


def test_a_node_that_went_to_another_process_is_not_taken_along_by_the_death_of_the_first(
    hub: Office,
) -> None:
    pulse(hub)
    attach(hub, ALPHA)
    pulse(hub, "r2")
    attach(hub, ALPHA, "r2")
    age(hub, "r1", timedelta(hours=1))
    assert look(hub).reach is Reach.ONLINE
    with hub.store.write() as tx:
        tx.replicas.drop_gone(hub.clock.now())
    assert look(hub).reach is Reach.ONLINE
