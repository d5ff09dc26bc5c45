"""Deliveries wait, in order, until acknowledged or expired (docs/protocol.md §8.3)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_hub.driver import sa
from candor_hub.tables import envelopes
from tests.unit.hub.offices import Office, office, opened

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


def test_deliveries_keep_the_order_of_acceptance(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    sent = [alpha.sealed(bravo.node) for _ in range(5)]
    for envelope in sent:
        hub.submit(envelope, alpha)
    assert [delivery.envelope for delivery in hub.waiting(bravo)] == sent
    first, second, *_ = hub.waiting(bravo)
    rest = hub.mailbox.waiting(bravo.node, [first.delivery_id], 2, hub.clock.now())
    assert [delivery.envelope for delivery in rest] == sent[1:3]
    assert rest[0].delivery_id == second.delivery_id


def test_a_delivery_outlives_the_process(tmp_path: Path) -> None:
    with office(tmp_path) as hub:
        alpha, bravo = hub.join("alpha"), hub.join("bravo")
        lookup = alpha.lookup([bravo])
        hub.submit(lookup, alpha)
    with opened(hub.config, hub.clock) as again:
        assert [delivery.envelope for delivery in again.waiting(bravo)] == [lookup]


def test_nobody_acknowledges_for_another(hub: Office) -> None:
    alpha, bravo, charlie = hub.join("alpha"), hub.join("bravo"), hub.join("charlie")
    hub.submit(alpha.sealed(bravo.node), alpha)
    (delivery,) = hub.waiting(bravo)
    assert hub.mailbox.acknowledge(charlie.node, [delivery.delivery_id]) == 0
    assert hub.waiting(bravo) == (delivery,)
    assert hub.mailbox.acknowledge(bravo.node, [delivery.delivery_id]) == 1
    assert hub.waiting(bravo) == ()


def test_a_repeated_acknowledgement_never_hits_a_later_delivery(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    hub.submit(alpha.sealed(bravo.node), alpha)
    (old,) = hub.waiting(bravo)
    hub.mailbox.acknowledge(bravo.node, [old.delivery_id])
    hub.submit(alpha.sealed(bravo.node), alpha)
    hub.mailbox.acknowledge(bravo.node, [old.delivery_id])
    assert len(hub.waiting(bravo)) == 1


def test_an_expired_delivery_is_not_delivered_and_then_forgotten(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    hub.submit(alpha.sealed(bravo.node, life=timedelta(hours=1)), alpha)
    hub.submit(alpha.sealed(bravo.node, life=timedelta(hours=3)), alpha)
    hub.clock.advance(hours=2)
    assert len(hub.waiting(bravo)) == 1
    assert hub.mailbox.forget(hub.clock.now()) == 1
    hub.clock.advance(hours=2)
    assert hub.mailbox.forget(hub.clock.now()) == 1


def test_a_body_is_dropped_when_its_last_recipient_has_it(hub: Office) -> None:
    alpha, bravo, charlie = hub.join("alpha"), hub.join("bravo"), hub.join("charlie")
    hub.submit(alpha.lookup([bravo, charlie]), alpha)

    def bodies() -> list[bytes]:
        with hub.store.read() as tx:
            return list(tx.mailbox._connection.execute(sa.select(envelopes.c.body)).scalars())

    for member, left in ((bravo, True), (charlie, False)):
        hub.mailbox.acknowledge(member.node, [delivery.delivery_id for delivery in hub.waiting(member)])
        assert [bool(body) for body in bodies()] == [left]


def test_a_message_of_another_process_is_news_once(tmp_path: Path) -> None:
    with office(tmp_path) as hub, opened(hub.config, hub.clock) as other:
        alpha, bravo = hub.join("alpha"), hub.join("bravo")
        newest = other.mailbox.newest()
        hub.submit(alpha.sealed(bravo.node), alpha)
        (row,) = other.mailbox.news(newest, 10, {bravo.node}, hub.clock.now()).rows
        assert row.recipient == bravo.node
        assert other.mailbox.news(row.delivery_id, 10, {bravo.node}, hub.clock.now()).rows == ()


def test_a_look_for_news_where_nobody_has_committed_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with office(tmp_path) as hub, opened(hub.config, hub.clock) as other:
        if hub.store.server is not None:
            pytest.skip("a server has no mark of what was committed")
        alpha, bravo = hub.join("alpha"), hub.join("bravo")
        reads, read = list[None](), other.store.read

        def counting() -> Any:
            reads.append(None)
            return read()

        monkeypatch.setattr(other.store, "read", counting)
        at = other.mailbox.newest()
        found = list[int]()
        for message in (None, None, alpha.sealed(bravo.node), None):
            if message is not None:
                hub.submit(message, alpha)
            news = other.mailbox.news(at, 10, {bravo.node}, hub.clock.now())
            at = news.up_to
            found.append(len(news.rows))
        assert found == [0, 0, 1, 0]
        assert len(reads) == 1 + 2  # the newest; the first look, and the one after the message


def test_where_there_are_more_news_than_were_wanted_the_next_look_reads_on(tmp_path: Path) -> None:
    with office(tmp_path) as hub, opened(hub.config, hub.clock) as other:
        alpha, bravo = hub.join("alpha"), hub.join("bravo")
        at, found = other.mailbox.newest(), list[int]()
        for _ in range(5):
            hub.submit(alpha.sealed(bravo.node), alpha)
        for _ in range(4):
            news = other.mailbox.news(at, 2, {bravo.node}, hub.clock.now())
            at = news.up_to
            found.append(len(news.rows))
        assert found == [2, 2, 1, 0]


def test_senders_take_turns_so_that_a_thousand_do_not_delay_one(hub: Office) -> None:
    alpha, bravo, charlie = hub.join("alpha"), hub.join("bravo"), hub.join("charlie")
    many = [alpha.sealed(bravo.node) for _ in range(6)]
    few = [charlie.sealed(bravo.node) for _ in range(2)]
    for envelope in many:
        hub.submit(envelope, alpha)
    for envelope in few:
        hub.submit(envelope, charlie)
    next_ones = hub.mailbox.waiting(bravo.node, (), 5, hub.clock.now())
    assert [one.envelope for one in next_ones] == [many[0], few[0], many[1], few[1], many[2]]


def test_an_acknowledgement_of_two_nodes_deletes_the_owners_only(hub: Office) -> None:
    alpha, bravo, charlie = hub.join("alpha"), hub.join("bravo"), hub.join("charlie")
    hub.submit(alpha.sealed(bravo.node), alpha)
    hub.submit(alpha.sealed(charlie.node), alpha)
    (own,), (others,) = hub.waiting(bravo), hub.waiting(charlie)
    named = {bravo.node: [own.delivery_id, others.delivery_id]}
    assert hub.mailbox.acknowledge_all(named) == 1
    assert hub.waiting(charlie) == (others,)
    both = {bravo.node: [others.delivery_id], charlie.node: [others.delivery_id]}
    assert hub.mailbox.acknowledge_all(both) == 1
