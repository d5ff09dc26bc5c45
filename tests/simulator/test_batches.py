"""A batch under everything that can go wrong: no row is asked twice, and the file that comes out is the same.

That no row was asked twice is the history checker's (`Name.ASKED_TWICE`), after every scene.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import product
from typing import TypeVar

import pytest

from candor_node import batch_results, batches
from candor_node.app import Node
from candor_node.batch_file import RESULTS, WHEN
from candor_node.batch_store import DONE
from candor_node.batches import Order
from candor_proto.errors import CandorError
from candor_proto.ids import LookupShape, Purpose
from tests.history import read_node
from tests.records import make_row
from tests.schemes import NEXT, both_known
from tests.simulator import Federation, Party, Rates, Simulator, Trouble
from tests.simulator.federation import Killed
from tests.thorough import examples, sampled

T = TypeVar("T")
Results = list[tuple[str, ...]]
ROWS = 7
DEATHS = (Trouble.DIES_BEFORE, Trouble.DIES_AFTER)
FAILURES = (Trouble.NOT_STORED, Trouble.STORED_UNTOLD)
ANYTHING = Rates(call=0.05, submission=0.10, frame=0.10, transaction=0.02)


@pytest.fixture(autouse=True)
def several_flights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flights are small, so that a batch that takes seconds has several."""
    monkeypatch.setattr(batches, "MAX_PERSONS", 4)


def person(number: int) -> dict[str, str]:
    """A synthetic applicant; each number is another person."""
    letters = "".join("abcdefghij"[int(digit)] for digit in f"{number:03}")
    return {
        "first": f"Quentin{letters}",
        "last": f"Placeholder{letters}",
        "birth_date": f"19{60 + number}-0{1 + number % 9}-1{number % 10}",
        "ssn4": f"{1000 + number}",
    }


def applicants() -> bytes:
    """Two on record, one whose birth date cannot be read, and others."""
    rows = [person(number) for number in range(ROWS)]
    rows[3]["birth_date"] = "07/23/84"
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def order(case: str) -> Order:
    return Order(Purpose.J_APPLICANT, LookupShape.DETAILED, case, "CONSENT-88", "Inv. Dana Roe", 900.0)


async def filed(fed: Federation) -> None:
    """Two of the applicants are on record, one at each other party."""
    for party, number in zip(fed.parties[1:], (1, 5), strict=False):
        await fed.file(party, [make_row(agency_record_id=f"R-{number}", middle="", **person(number))])
    await fed.settled()


async def told(party: Party, make: Callable[[Node], Awaitable[T]]) -> T:
    """What a command hears; its connection breaks when its node dies."""
    life = party.life
    if life is None:
        raise Killed(party.name)
    task: asyncio.Task[T] = asyncio.ensure_future(make(life.node))
    life.clients.add(task)
    try:
        return await task
    except asyncio.CancelledError:
        if not life.dead:
            raise
        raise Killed(party.name) from None
    finally:
        life.clients.discard(task)


async def asked(party: Party, case: str, content: bytes) -> Results:
    """As an officer does it: the same command again whenever it broke off, until there is a file."""

    async def once(node: Node) -> Results | None:
        record = await node.batches.known(order(case), content) or await node.batches.start(
            order(case), content
        )
        while record.state != DONE:
            await asyncio.sleep(1.0)
            record, _ = await node.batches.progress(record.batch_id)
        rows = await node.store.run(
            lambda db: batch_results.result_rows(db, record.batch_id, 0, 1_000, ("?",) * len(RESULTS))
        )
        # But for when: another run of the same rows is the same in everything else.
        return [
            tuple(cell for name, cell in zip(RESULTS, row.results, strict=True) if name not in WHEN)
            for row in rows
        ]

    async with asyncio.timeout(7_200):
        while True:
            try:
                results = await told(party, once)
            except (CandorError, Killed):
                await asyncio.sleep(1.0)
            else:
                assert results is not None
                return results


async def told_another_scheme(fed: Federation) -> None:
    """Bravo is restarted with the setting of an operator who changes the scheme."""
    alpha, bravo, *_ = fed.parties
    bravo.config = bravo.config.model_copy(update={"publish_scheme": NEXT.version})
    await fed.restart(bravo)
    await fed.until(
        lambda: NEXT.version in {head.scheme_version for head in alpha.node.indexes.heads().values()}
    )
    await fed.settled()


def check_undisturbed(results: Results) -> None:
    outcomes = [row[0] for row in results]
    assert outcomes == [
        "NO_RECORD", "MATCH", "NO_RECORD", "ERROR", "NO_RECORD", "MATCH", "NO_RECORD",
    ]  # fmt: skip


def batches_of(party: Party) -> int:
    return len({batch for batch, _ in read_node(party.config).rows_asked})


@pytest.mark.parametrize("troubles", [DEATHS, FAILURES], ids=["deaths", "failures"])
def test_an_asker_interrupted_at_any_transaction_of_a_batch_asks_no_row_twice(
    simulator: Simulator, troubles: tuple[Trouble, ...]
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, *_ = fed.parties
        await filed(fed)
        undisturbed = await asked(alpha, "REQ", applicants())
        check_undisturbed(undisturbed)
        for trouble in troubles:
            for step in sampled(range(0, 40, 8), 3, trouble.name):
                fed.plan.once("transaction", trouble, "alpha", skip=step)
                assert await asked(alpha, f"REQ-{trouble.name}-{step}", applicants()) == undisturbed
                assert fed.plan.pending() == 0

    simulator.play(scene)


@pytest.mark.parametrize("trouble", FAILURES)
@pytest.mark.parametrize("step", ["Landing._take", "Landing.show", "Batches.sent", "Batches._store_and_send"])
def test_a_batch_whose_disk_fails_at_any_step_goes_on_as_the_disk_says(
    simulator: Simulator, step: str, trouble: Trouble
) -> None:
    """A flight in memory is never behind the database: an answer does not come a second time."""

    async def scene(fed: Federation) -> None:
        alpha, *_ = fed.parties
        await filed(fed)
        fed.plan.once(f"transaction {step}", trouble, "alpha")
        # Not only when patience with silent nodes ends.
        async with asyncio.timeout(120.0):
            check_undisturbed(await asked(alpha, "REQ", applicants()))
        assert fed.plan.pending() == 0
        assert batches_of(alpha) == 1

    simulator.play(scene)


@pytest.mark.parametrize("trouble", [*DEATHS, *FAILURES])
def test_a_flight_that_the_hub_denied_is_asked_once_whatever_happens_when_that_is_stored(
    simulator: Simulator, trouble: Trouble
) -> None:
    """It leaves the outbox in the transaction in which its rows wait again: not before, and not later."""

    async def scene(fed: Federation) -> None:
        alpha, *_ = fed.parties
        await filed(fed)
        ample = fed.hub_config.quota
        await fed.stop_hub()
        await fed.start_hub(quota=replace(ample, total=100, weak=100, match=100, code=100, day_share=1))
        await fed.until(lambda: alpha.node.connection.attached)
        fed.plan.once("transaction Batches.sent", trouble, "alpha")
        batch = asyncio.ensure_future(asked(alpha, "REQ", applicants()))
        await fed.until(lambda: not fed.plan.pending())
        await asyncio.sleep(30.0)
        await fed.stop_hub()
        await fed.start_hub(quota=ample)
        await fed.until(lambda: alpha.life is not None and alpha.node.connection.attached)
        async with asyncio.timeout(300.0):
            check_undisturbed(await batch)
        assert all(flight.shown for flight in alpha.node.batches.landing._flights.values())

    simulator.play(scene)


@pytest.mark.parametrize(
    "troubles",
    [
        (Trouble.LOST_BEFORE, Trouble.LOST_AFTER, Trouble.REFUSED),
        (Trouble.TWICE, Trouble.LATE, Trouble.BREAK),
        (Trouble.BREAK_AFTER, Trouble.HUB_DIES_BEFORE, Trouble.HUB_DIES_AFTER),
    ],
    ids=lambda troubles: " ".join(trouble.name for trouble in troubles),
)
def test_a_batch_whose_mail_is_lost_or_doubled_ends_as_one_that_was_not(
    simulator: Simulator, troubles: tuple[Trouble, ...]
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, *_ = fed.parties
        await filed(fed)
        undisturbed = await asked(alpha, "REQ", applicants())
        check_undisturbed(undisturbed)
        for trouble, point in product(troubles, ("submit LOOKUP", "submit ANSWER")):
            fed.plan.once(point, trouble, skip=1)
            assert await asked(alpha, f"{point} {trouble.name}", applicants()) == undisturbed
            assert fed.plan.pending() == 0

    simulator.play(scene)


@pytest.mark.parametrize("troubles", [DEATHS, FAILURES], ids=["deaths", "failures"])
def test_a_batch_over_two_schemes_that_is_interrupted_asks_no_row_twice(
    simulator: Simulator, troubles: tuple[Trouble, ...]
) -> None:
    """Each flight has another beside it, for the members of the other scheme: both are stored, or none."""

    async def scene(fed: Federation) -> None:
        alpha, *_ = fed.parties
        await filed(fed)
        await told_another_scheme(fed)
        undisturbed = await asked(alpha, "REQ", applicants())
        check_undisturbed(undisturbed)
        for trouble in troubles:
            for step in sampled(range(0, 40, 8), 2, trouble.name):
                fed.plan.once("transaction", trouble, "alpha", skip=step)
                assert await asked(alpha, f"REQ-{trouble.name}-{step}", applicants()) == undisturbed
                assert fed.plan.pending() == 0

    with both_known():
        simulator.play(scene)


@pytest.mark.parametrize("seed", sampled([1, 2, 20, 21], 2, "days"))
def test_a_batch_on_a_day_when_everything_goes_wrong_ends_as_on_any_other(
    simulator: Simulator, seed: int
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, *_ = fed.parties
        fed.plan.rates = Rates()
        await filed(fed)
        undisturbed = await asked(alpha, "REQ", applicants())
        fed.plan.rates = ANYTHING
        disturbed = await asked(alpha, "REQ-1", applicants())
        assert disturbed == undisturbed
        assert batches_of(alpha) == 2

    plan = simulator.play(scene, seed=seed)
    assert plan.log


@pytest.mark.parametrize("seed", [2, 20][: examples(1, thorough=2)])
def test_a_batch_over_two_schemes_on_such_a_day_ends_as_on_any_other(simulator: Simulator, seed: int) -> None:
    async def scene(fed: Federation) -> None:
        alpha, *_ = fed.parties
        fed.plan.rates = Rates()
        await filed(fed)
        await told_another_scheme(fed)
        undisturbed = await asked(alpha, "REQ", applicants())
        check_undisturbed(undisturbed)
        fed.plan.rates = ANYTHING
        assert await asked(alpha, "REQ-1", applicants()) == undisturbed
        assert batches_of(alpha) == 2

    with both_known():
        plan = simulator.play(scene, seed=seed)
    assert plan.log
