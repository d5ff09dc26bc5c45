"""Submissions in batches: as if each had come alone, and nobody's many delay another's one (§7.2)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candor_hub import intake as intake_module
from candor_hub import relay as relay_module
from candor_hub.desk import Submission
from candor_hub.governor import Gauge
from candor_hub.intake import Intake
from candor_hub.pace import Rate
from candor_hub.relay import Outcome, Receipt, Relay
from candor_proto.budget import Quota
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    CandorError,
    ConflictingResubmission,
    LimitExceeded,
    QuotaSpent,
    StoreUnusable,
    Unreachable,
)
from candor_proto.ids import NodeId, Purpose
from candor_proto.signing import SigningKey
from candor_wire.codec import Envelope
from tests.hub_members import Member
from tests.unit.hub.offices import Office, office


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


def submissions(hub: Office, *handed_in: tuple[Envelope, Member]) -> list[Submission]:
    view = hub.directory.latest().view
    return [Submission(envelope, member.node, view) for envelope, member in handed_in]


def told(outcome: Outcome) -> tuple[str, int]:
    """What the sender sees."""
    return ("accepted", outcome.recipients) if isinstance(outcome, Receipt) else (outcome.code, 0)


def everything_waiting(hub: Office, *members: Member) -> list[list[bytes]]:
    return [[delivery.envelope.body for delivery in hub.waiting(member)] for member in members]


# --- a batch and its members one by one ---------------------------------------------------------------


def test_a_batch_has_the_outcomes_of_its_submissions_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "MAX_WAITING_FROM_ONE_SENDER", 3)
    monkeypatch.setattr(relay_module, "MAX_MAILBOX_ROWS_PER_RECIPIENT", 9)
    quota = Quota(total=640, weak=10_000, match=10_000, code=10_000)  # four screening lookups a day
    with office(tmp_path / "one", quota) as single, office(tmp_path / "many", quota) as batch:
        alpha, bravo, charlie = [single.join(name) for name in ("alpha", "bravo", "charlie")]
        suspended = single.join("delta")
        for member in (alpha, bravo, charlie, suspended):  # the same members, with the same keys
            request = batch.request(member, batch.invite(member))
            batch.enrolment.enrol(request, batch.clock.now())
        for each in (single, batch):
            each.directory.set_status(suspended.node, MemberStatus.SUSPENDED, each.clock.now())
        first, second = alpha.lookup([bravo, charlie]), alpha.lookup([bravo])
        sealed = [alpha.sealed(bravo.node) for _ in range(5)]
        handed_in = [
            (first, alpha),
            (first, alpha),  # again
            (alpha.lookup([bravo], lookup_id=first.envelope_id), alpha),  # its id, another body
            (bravo.answer(first), bravo),  # an answer to what the same batch asks
            (charlie.answer(second), charlie),  # was not asked
            (second, alpha),
            (replace(second, sender=bravo.node), bravo),
            (alpha.lookup([bravo], purpose=Purpose.C), alpha),
            (alpha.lookup([bravo], signing_key=SigningKey.generate()), alpha),
            (alpha.lookup([suspended]), alpha),
            (suspended.lookup([bravo]), suspended),
            *((one, alpha) for one in sealed),  # two lookups wait already: the third of these is refused
            (alpha.lookup([bravo, charlie]), alpha),
            (alpha.lookup([charlie]), alpha),
            (alpha.lookup([charlie]), alpha),  # over the quota
            *((charlie.sealed(bravo.node), charlie) for _ in range(5)),
            *((bravo.sealed(bravo.node), bravo) for _ in range(5)),  # the mailbox is full
            (bravo.lookup([bravo, charlie]), bravo),  # and takes no lookup
            (replace(sealed[0], body=secrets.token_bytes(len(sealed[0].body))), alpha),
            (alpha.sealed(NodeId("nobody")), alpha),
        ]
        now = single.clock.now()
        alone = [single.relay.submit_all(submissions(single, one), now)[0] for one in handed_in]
        together = batch.relay.submit_all(submissions(batch, *handed_in), now)
        assert [told(one) for one in together] == [told(one) for one in alone]
        assert {told(one)[0] for one in alone} >= {
            "accepted",
            "conflicting_resubmission",
            "wrong_recipient",
            "identity_mismatch",
            "purpose_refused",
            "signature_invalid",
            "member_suspended",
            "limit_exceeded",
            "quota_spent",
        }
        for member in (alpha, bravo, charlie):
            assert single.used(member) == batch.used(member)
        parties = (alpha, bravo, charlie)
        assert everything_waiting(single, *parties) == everything_waiting(batch, *parties)


def test_two_lookups_of_one_batch_do_not_spend_the_same_quota(tmp_path: Path) -> None:
    with office(tmp_path, Quota(total=480, weak=10_000, match=10_000, code=10_000)) as hub:
        alpha, bravo = hub.join("alpha"), hub.join("bravo")
        lookups = [(alpha.lookup([bravo]), alpha) for _ in range(5)]
        outcomes = hub.relay.submit_all(submissions(hub, *lookups), hub.clock.now())
        assert [type(one) for one in outcomes] == [Receipt] * 3 + [QuotaSpent] * 2
        assert hub.used(alpha) == 48


def test_a_duplicate_within_a_batch_is_one_delivery(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    lookup = alpha.lookup([bravo])
    first, second = hub.relay.submit_all(submissions(hub, *[(lookup, alpha)] * 2), hub.clock.now())
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert (first.again, second.again, second.recipients) == (False, True, 1)
    assert len(hub.waiting(bravo)) == 1
    assert hub.used(alpha) == 16


def test_a_conflict_within_a_batch_is_refused(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    lookup = alpha.lookup([bravo])
    other = alpha.lookup([bravo], lookup_id=lookup.envelope_id)
    outcomes = hub.relay.submit_all(submissions(hub, (lookup, alpha), (other, alpha)), hub.clock.now())
    assert [type(one) for one in outcomes] == [Receipt, ConflictingResubmission]
    assert [delivery.envelope for delivery in hub.waiting(bravo)] == [lookup]


def test_a_batch_is_one_commit(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    before = hub.store.commits
    batch = [(alpha.sealed(bravo.node), alpha) for _ in range(50)]
    outcomes = hub.relay.submit_all(submissions(hub, *batch), hub.clock.now())
    assert all(isinstance(one, Receipt) for one in outcomes)
    assert hub.store.commits - before == 1


# --- the queue ----------------------------------------------------------------------------------------


class Judge:
    """Stands for the rules: accepts everything once it is let, and notes what came together."""

    def __init__(self) -> None:
        self.batches: list[list[NodeId]] = []
        self.fail: Callable[[list[Submission]], None] = lambda batch: None

    def submit_all(self, batch: list[Submission], now: object) -> list[Outcome]:
        self.batches.append([one.caller for one in batch])
        self.fail(batch)
        return [Receipt(1, frozenset()) for _ in batch]


class Set(Gauge):
    """A process that is as busy as a test says."""

    def look(self, now: float) -> bool:
        return self.busy


class Scene:
    """An intake over a Judge; `woken` counts how often deliveries were announced."""

    def __init__(self, hub: Office) -> None:
        self.judge = Judge()
        self.woken = 0
        self.view = hub.directory.latest().view
        judge: Any = self.judge
        self.gauge = Set()
        self.intake = Intake(judge, hub.clock, self._accepted, gauge=self.gauge)

    def _accepted(self, receipts: Sequence[Receipt], began: float) -> None:
        self.woken += 1

    def offer(self, envelope: Envelope, caller: NodeId) -> asyncio.Future[Receipt]:
        return self.intake.offer(envelope, caller, self.view)


def play(hub: Office, act: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        scene = Scene(hub)
        try:
            await act(scene)
        finally:
            await scene.intake.close()

    asyncio.run(whole())


def test_callers_take_turns_so_that_a_thousand_do_not_delay_one(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "MAX_BATCH", 4)
    monkeypatch.setattr(intake_module, "TURN_WEIGHT", 1)
    alpha, bravo, charlie = [hub.newcomer(name) for name in ("alpha", "bravo", "charlie")]
    envelope = alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        futures = [scene.offer(envelope, alpha.node) for _ in range(20)]
        futures += [scene.offer(envelope, bravo.node) for _ in range(3)]
        futures.append(scene.offer(envelope, charlie.node))
        running = asyncio.create_task(scene.intake.run())
        await asyncio.gather(*futures)
        running.cancel()
        a, b, c = alpha.node, bravo.node, charlie.node
        assert scene.judge.batches[:3] == [[a, b, c, a], [b, a, b, a], [a, a, a, a]]

    play(hub, act)


def test_who_keeps_within_his_share_comes_before_twenty_who_do_not(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They still get a part of every batch."""
    monkeypatch.setattr(intake_module, "OWN_SHARE", Rate(0, 200))
    modest, *greedy = [hub.newcomer(f"node-{number}") for number in range(21)]
    one, many = modest.lookup([greedy[0]]), greedy[0].lookup([modest])

    async def act(scene: Scene) -> None:
        futures = [scene.offer(many, each.node) for _ in range(40) for each in greedy]
        running = asyncio.create_task(scene.intake.run())
        while len(scene.judge.batches) < 40:
            await asyncio.sleep(0)  # until their shares are spent
        before = len(scene.judge.batches)
        futures += [scene.offer(one, modest.node) for _ in range(9)]
        await asyncio.gather(*futures)
        running.cancel()
        after = scene.judge.batches[before:]
        assert modest.node in after[0] + after[1]
        assert all(set(batch) != {modest.node} for batch in after[:3])

    play(hub, act)


def test_while_the_process_is_busy_little_is_left_for_who_wants_more(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they wait with costs nothing; worked off at once it would keep the process busy."""
    monkeypatch.setattr(intake_module, "OWN_SHARE", Rate(0, 1))
    monkeypatch.setattr(intake_module, "OTHERS", Rate(0, 40))
    modest, greedy = hub.newcomer("modest"), hub.newcomer("greedy")
    many, one = greedy.lookup([modest]), modest.lookup([greedy])

    async def act(scene: Scene) -> None:
        scene.gauge.busy = True
        futures = [scene.offer(many, greedy.node) for _ in range(30)]
        running = asyncio.create_task(scene.intake.run())
        # One within his share, and three more of what all others have.
        await asyncio.gather(*futures[:4])
        assert (await scene.offer(one, modest.node)).recipients == 1
        assert sum(each.done() for each in futures) == 4
        scene.gauge.busy = False
        await asyncio.gather(*futures)
        running.cancel()

    play(hub, act)


def test_who_is_asked_much_answers_as_fast_as_others_ask(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are in nobody's share, and a turn is as many of them as a lookup weighs."""
    monkeypatch.setattr(intake_module, "OWN_SHARE", Rate(0, 1))
    asked, *askers = [hub.newcomer(f"node-{number}") for number in range(5)]
    lookups = [each.lookup([asked]) for each in askers]
    answers = [asked.answer(lookup) for lookup in lookups]

    async def act(scene: Scene) -> None:
        for _ in range(3):
            for lookup, each in zip(lookups, askers, strict=True):
                scene.offer(lookup, each.node)
        futures = [scene.offer(answer, asked.node) for _ in range(4) for answer in answers]
        running = asyncio.create_task(scene.intake.run())
        await asyncio.gather(*futures)
        running.cancel()
        batch = [caller for batch in scene.judge.batches[:1] for caller in batch]
        assert batch.count(asked.node) == 16

    play(hub, act)


def test_lookups_weigh_more_than_answers_so_that_no_batch_is_long(hub: Office) -> None:
    """Who hands one in waits for the batch under way: it is bounded by what it costs, not by their number."""
    alpha, bravo = hub.newcomer("alpha"), hub.newcomer("bravo")
    lookup, other = alpha.lookup([bravo]), alpha.sealed(bravo.node)
    large = alpha.lookup([bravo], persons=64)

    async def act(scene: Scene) -> None:
        futures = [scene.offer(lookup, alpha.node) for _ in range(100)]
        running = asyncio.create_task(scene.intake.run())
        await asyncio.gather(*futures)
        of_lookups = len(scene.judge.batches[0])
        await asyncio.gather(*(scene.offer(other, alpha.node) for _ in range(150)))
        await asyncio.gather(*(scene.offer(large, alpha.node) for _ in range(4)))
        running.cancel()
        assert 8 <= of_lookups <= 16
        assert max(map(len, scene.judge.batches)) >= 100
        assert len(scene.judge.batches[-1]) <= 2

    play(hub, act)


def test_what_gathers_during_a_batch_is_the_next_one(hub: Office) -> None:
    alpha, bravo = hub.newcomer("alpha"), hub.newcomer("bravo")
    envelope = alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        running = asyncio.create_task(scene.intake.run())
        await scene.offer(envelope, alpha.node)
        await asyncio.gather(*(scene.offer(envelope, alpha.node) for _ in range(30)))
        running.cancel()
        assert [len(batch) for batch in scene.judge.batches] == [1, 30]
        assert scene.woken == 2

    play(hub, act)


def test_a_caller_may_have_only_so_much_waiting(hub: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "MAX_WAITING_FROM_ONE_CALLER", 5)
    alpha, bravo = hub.newcomer("alpha"), hub.newcomer("bravo")
    envelope = alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        for _ in range(5):
            scene.offer(envelope, alpha.node)
        # Nobody works here: what is not refused at once would wait for ever.
        assert isinstance(scene.offer(envelope, alpha.node).exception(), LimitExceeded)
        assert not scene.offer(envelope, bravo.node).done()
        monkeypatch.setattr(intake_module, "MAX_WAITING_OCTETS_FROM_ONE_CALLER", len(envelope.body))
        assert isinstance(scene.offer(envelope, bravo.node).exception(), LimitExceeded)

    play(hub, act)


def test_one_that_trips_a_bug_does_not_take_the_others_down(hub: Office) -> None:
    alpha, bravo = hub.newcomer("alpha"), hub.newcomer("bravo")
    good, bad = alpha.sealed(bravo.node), alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        def trip(batch: list[Submission]) -> None:
            if any(one.envelope is bad for one in batch):
                raise ZeroDivisionError

        scene.judge.fail = trip
        futures = [scene.offer(one, alpha.node) for one in (good, bad, good)]
        running = asyncio.create_task(scene.intake.run())
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        running.cancel()
        assert [type(one) for one in outcomes] == [Receipt, ZeroDivisionError, Receipt]

    play(hub, act)


def test_when_the_database_fails_nobody_of_the_batch_is_told_accepted(hub: Office) -> None:
    alpha, bravo = hub.newcomer("alpha"), hub.newcomer("bravo")
    envelope = alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        def fail(batch: list[Submission]) -> None:
            raise StoreUnusable("The disk is full.")

        scene.judge.fail = fail
        futures = [scene.offer(envelope, alpha.node) for _ in range(3)]
        running = asyncio.create_task(scene.intake.run())
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        running.cancel()
        assert [type(one) for one in outcomes] == [StoreUnusable] * 3
        assert scene.woken == 0
        assert len(scene.judge.batches) == 1  # it is not tried one by one

    play(hub, act)


def test_what_waits_when_the_hub_stops_is_unknown_not_accepted(hub: Office) -> None:
    alpha, bravo = hub.newcomer("alpha"), hub.newcomer("bravo")
    envelope = alpha.sealed(bravo.node)

    async def act(scene: Scene) -> None:
        running = asyncio.create_task(scene.intake.run())
        await asyncio.sleep(0)
        running.cancel()
        waiting = scene.offer(envelope, alpha.node)
        await asyncio.gather(running, return_exceptions=True)
        late = scene.offer(envelope, alpha.node)
        for future in (waiting, late):
            with pytest.raises(Unreachable):
                await future

    play(hub, act)


def test_many_submissions_over_the_real_rules_cost_few_fsyncs(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    before = hub.store.commits

    async def whole() -> None:
        intake = Intake(Relay(hub.store, hub.config.quota), hub.clock, lambda *_: None, gauge=Set())
        view = hub.directory.latest().view
        running = asyncio.create_task(intake.run())
        futures = [intake.offer(alpha.lookup([bravo]), alpha.node, view) for _ in range(60)]
        receipts = await asyncio.gather(*futures)
        running.cancel()
        await intake.close()
        assert sum(receipt.recipients for receipt in receipts) == 60

    asyncio.run(whole())
    assert len(hub.waiting(bravo)) == 60
    assert hub.store.commits - before < 10


def test_every_refusal_is_a_typed_error(hub: Office) -> None:
    alpha, bravo = hub.join("alpha"), hub.join("bravo")
    (outcome,) = hub.relay.submit_all(submissions(hub, (alpha.sealed(bravo.node), bravo)), hub.clock.now())
    assert isinstance(outcome, CandorError)
