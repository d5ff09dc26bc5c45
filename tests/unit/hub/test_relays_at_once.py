"""Three relays on one database: nothing twice, nothing too much, nothing skipped (docs/replicas.md §3).

Each relay has a store of its own, as another process would; nothing is shared between them but the database.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from candor_hub.desk import Submission
from candor_hub.relay import Receipt
from candor_proto.budget import Quota
from candor_proto.errors import QuotaSpent
from candor_proto.statements import Lookup
from candor_wire.codec import Envelope
from tests.hub_members import Member, ShiftedClock
from tests.postgres import new_database, unsafe
from tests.replicas import founded_on
from tests.unit.hub.offices import Office, opened

RELAYS = 3
QUOTA = Quota(total=16 * 7, weak=16 * 7, match=16 * 7, code=16 * 7, day_share=1)
Outcomes = list[Receipt | Exception]


@dataclass
class Reader:
    """What the courier of another process would read: every delivery above those that it has seen."""

    hub: Office
    seen: int = 0
    ids: list[int] = field(default_factory=list)

    def look(self) -> int:
        news = self.hub.mailbox.news(self.seen, 7, (), self.hub.clock.now())
        self.ids += [row.delivery_id for row in news.rows]
        self.seen = max(self.seen, news.up_to)
        return len(news.rows)


@contextmanager
def relays(tmp_path: Path) -> Iterator[tuple[list[Office], list[Member]]]:
    with unsafe(), ExitStack() as stack:
        config = founded_on(tmp_path / "hub", new_database())
        config = replace(config, public_address="hub:7443", public_enrolment_address="hub:7444")
        clock = ShiftedClock()
        offices = [stack.enter_context(opened(config, clock, QUOTA)) for _ in range(RELAYS)]
        yield offices, [offices[0].join(name) for name in ("alpha", "bravo", "charlie")]


def together(*works: Callable[[], None]) -> None:
    """Run these at once, each in a thread; raises what one of them raised."""
    failed = list[BaseException]()
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        gate.wait()
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def hand_in(hub: Office, envelopes: list[Envelope], sender: Member, draw: random.Random) -> Outcomes:
    """In batches of one to four; a step that is undone in between leaves a gap in the numbers."""
    view, outcomes, left = hub.directory.latest().view, Outcomes(), list(envelopes)
    while left:
        size = draw.randint(1, 4)
        batch, left = left[:size], left[size:]
        submissions = [Submission(envelope, sender.node, view) for envelope in batch]
        outcomes += hub.relay.submit_all(submissions, hub.clock.now())
        if draw.random() < 0.3:
            with suppress(InterruptedError), hub.store.write() as tx:
                tx.mailbox._connection.exec_driver_sql(
                    "INSERT INTO mailbox (recipient, envelope, sender, expires_at)"
                    " SELECT recipient, envelope, sender, expires_at FROM mailbox LIMIT 3"
                )
                raise InterruptedError
    return outcomes


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_accepted_twice_or_over_the_quota_or_skipped(tmp_path: Path, seed: int) -> None:
    with relays(tmp_path) as (offices, (alpha, bravo, charlie)):
        sealed = [bravo.sealed(charlie.node) for _ in range(24)]
        lookups = [alpha.lookup([bravo, charlie]) for _ in range(18)]
        cost = sum(Lookup.decode(lookups[0].body).cost.values())
        told = [(Outcomes(), Outcomes()) for _ in offices]
        readers, over = [Reader(hub) for hub in offices], threading.Event()

        def write(number: int) -> None:
            hub, draw = offices[number], random.Random(seed * 10 + number)
            # Everybody hands in the same, in an order of his own.
            mine, asked = draw.sample(sealed, len(sealed)), draw.sample(lookups, len(lookups))
            by_id = {envelope.envelope_id: place for place, envelope in enumerate(sealed)}
            found = hand_in(hub, mine, bravo, draw)
            order = [by_id[envelope.envelope_id] for envelope in mine]
            placed = sorted(zip(order, found, strict=True), key=_place)
            told[number][0].extend(outcome for _, outcome in placed)
            told[number][1].extend(hand_in(hub, asked, alpha, draw))

        def read(reader: Reader) -> None:
            while not over.is_set():
                reader.look()
            while reader.look():
                pass

        def writing() -> None:
            try:
                together(*(lambda number=number: write(number) for number in range(RELAYS)))
            finally:
                over.set()

        together(writing, *(lambda reader=reader: read(reader) for reader in readers))

        # Each sealed message once, and first at one of the three.
        for of_one in zip(*(outcomes for outcomes, _ in told), strict=True):
            assert all(isinstance(outcome, Receipt) for outcome in of_one)
            assert [getattr(outcome, "again", None) for outcome in of_one].count(False) == 1
        accepted = Counter[str]()
        for _, outcomes in told:
            assert all(isinstance(outcome, Receipt | QuotaSpent) for outcome in outcomes)
            receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
            accepted.update("again" if receipt.again else "new" for receipt in receipts)
        assert accepted["new"] == QUOTA.total // cost
        assert offices[0].used(alpha) == QUOTA.total // cost * cost
        # At the mailboxes: a row for each recipient of what was accepted, and no other.
        hub = offices[0]
        waiting = [
            hub.mailbox.waiting(member.node, (), 1_000, hub.clock.now()) for member in (bravo, charlie)
        ]
        assert [len(found) for found in waiting] == [accepted["new"], accepted["new"] + len(sealed)]
        rows = sorted(one.delivery_id for found in waiting for one in found)
        assert rows != list(range(rows[0], rows[-1] + 1))  # there are gaps
        for reader in readers:
            assert reader.ids == rows


def _place(pair: tuple[int, object]) -> int:
    return pair[0]
