"""Several replicas on one database are one hub (docs/replicas.md)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from candor_hub import enrolment
from candor_hub.store.replicas import ReplicaRecord
from candor_proto.budget import Quota
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    CertificateRevoked,
    ClockWrong,
    DenyListStale,
    QuotaSpent,
    StoreUnusable,
)
from candor_proto.ids import NodeId
from candor_proto.statements import Lookup
from candor_wire import codec
from tests.hub_members import ori_for
from tests.hubs import QUICK, MemberClient, RunningHub, ShiftedClock, enrol, running_hub
from tests.replicas import TOLD_ONLY, at, bare, listening, replicas, until

Act = Callable[[tuple[RunningHub, ...]], Awaitable[None]]


def play(tmp_path: Path, act: Act, count: int = 2, **more: object) -> None:
    async def scene() -> None:
        async with replicas(tmp_path, count, **more) as hubs:  # type: ignore[arg-type]
            await listening(*hubs)
            await act(hubs)

    asyncio.run(scene())


def test_what_is_handed_in_at_one_replica_is_delivered_at_another_at_once(tmp_path: Path) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha, bravo = await enrol(first, "alpha"), await enrol(first, "bravo")
        async with at(bravo, second).attached() as stream, alpha.attached() as asking:
            for _ in range(3):
                lookup = alpha.lookup([bravo])
                began = time.monotonic()
                assert await alpha.submit(lookup) == 1
                delivery = await stream.delivery()
                assert delivery.envelope.envelope_id == lookup.envelope_id
                await stream.submit((1, bravo.answer(lookup)))
                answer = await asking.delivery()
                assert answer.envelope.kind is codec.MessageKind.ANSWER
                assert time.monotonic() - began < TOLD_ONLY.poll_seconds / 4

    play(tmp_path, act, timing=TOLD_ONLY)


def test_a_notification_that_is_lost_delays_and_loses_nothing(tmp_path: Path) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha, bravo = await enrol(first, "alpha"), await enrol(first, "bravo")
        for hub in hubs:
            hub.hub.courier.heard = lambda: None  # type: ignore[method-assign]
            listener = hub.hub.listener
            assert listener is not None
            listener._heard = dict.fromkeys(listener._heard, lambda: None)
        async with at(bravo, second).attached() as stream:
            lookup = alpha.lookup([bravo])
            await alpha.submit(lookup)
            assert (await stream.delivery()).envelope.envelope_id == lookup.envelope_id

    play(tmp_path, act, timing=QUICK)


def test_a_newer_stream_elsewhere_ends_the_older_one_at_once(tmp_path: Path) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha = await enrol(first, "alpha")
        async with alpha.attached() as older, at(alpha, second).attached() as newer:
            assert isinstance(await older.end(5), AlreadyExists)
            await until(lambda: not first.hub.streams.attached())
            await alpha.submit(alpha.sealed(alpha.node))
            assert await newer.delivery()

    play(tmp_path, act, timing=TOLD_ONLY)


async def asks_until(member: MemberClient, end: float) -> None:
    """Raises what a call was refused with before `end` (`time.monotonic`)."""
    while time.monotonic() < end:
        await member.quota()


@pytest.mark.parametrize("how", ["the member is revoked", "its certificate is denied"])
def test_who_is_shut_out_at_one_replica_is_cut_at_every_one_and_comes_in_at_none(
    tmp_path: Path, how: str
) -> None:
    """The replica where the operator says so among them; long before the next poll."""

    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first = hubs[0]
        directory, now = first.hub.directory, first.clock.now
        for hub, name in zip(hubs, ("alpha", "bravo", "charlie"), strict=True):
            member = await enrol(first, name)
            async with at(member, hub).attached() as stream:
                began = time.monotonic()
                if how == "the member is revoked":
                    await asyncio.to_thread(directory.revoke, member.node, now())
                else:
                    await asyncio.to_thread(directory.deny, member.chain[0].serial_number, now())
                assert isinstance(await stream.end(5), CertificateRevoked)
                assert time.monotonic() - began < 2
            for other in hubs:
                with pytest.raises(CertificateRevoked):
                    await asks_until(at(member, other), began + 2)

    play(tmp_path, act, 3, timing=TOLD_ONLY)


def test_one_replica_writes_the_log_and_all_show_it(tmp_path: Path) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        assert [hub.hub.log.leads for hub in hubs] == [True, False]
        alpha = await enrol(hubs[1], "alpha")
        versions = [await hub.announced() for hub in hubs]
        assert versions[0] == versions[1]
        heads = {hub.hub.log.get("1/checkpoint").octets for hub in hubs}
        assert len(heads) == 1
        await alpha.close()

    play(tmp_path, act, timing=TOLD_ONLY)


@pytest.mark.parametrize("how", ["stopped", "session-lost"])
def test_the_log_goes_on_at_another_replica(tmp_path: Path, how: str) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha = await enrol(second, "alpha")
        await second.announced()
        if how == "stopped":
            await first.hub.stop(0.1)
        else:
            with first.hub._store.write() as tx:
                tx.members._connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                    " AND objsubid = 1 AND pid <> pg_backend_pid()"
                )
        await until(lambda: first.hub.log.leads or second.hub.log.leads)
        leader = second if how == "stopped" else next(hub for hub in hubs if hub.hub.log.leads)
        now, suspended = leader.clock.now(), MemberStatus.SUSPENDED
        await asyncio.to_thread(leader.hub.directory.set_status, alpha.node, suspended, now)
        await leader.announced()

    play(tmp_path, act)


# --- what is shared ------------------------------------------------------------------------------------


def test_a_quota_is_not_exceeded_by_asking_at_several_replicas(tmp_path: Path) -> None:
    quota = Quota(total=40, weak=40, match=40, code=40, day_share=1)

    async def act(hubs: tuple[RunningHub, ...]) -> None:
        alpha, bravo = await enrol(hubs[0], "alpha"), await enrol(hubs[0], "bravo")
        one = sum(Lookup.decode(alpha.lookup([bravo]).body).cost.values())
        assert 2 * one <= quota.total < 3 * one
        clients = [at(alpha, hub) for hub in hubs]
        outcomes = await asyncio.gather(
            *(client.submit(client.lookup([bravo])) for client in clients * 4), return_exceptions=True
        )
        assert [outcome for outcome in outcomes if not isinstance(outcome, QuotaSpent)] == [1, 1]

    play(tmp_path, act, 3, quota=quota)


def test_the_same_message_handed_to_two_replicas_at_once_is_accepted_once(tmp_path: Path) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        alpha, bravo = await enrol(hubs[0], "alpha"), await enrol(hubs[0], "bravo")
        clients = [at(alpha, hub) for hub in hubs]
        lookups = [alpha.lookup([bravo]) for _ in range(5)]
        for lookup in lookups:
            assert await asyncio.gather(*(client.submit(lookup) for client in clients)) == [1] * len(clients)
        waiting = hubs[0].hub.mailbox.waiting(bravo.node, (), 100, hubs[0].clock.now())
        assert {delivery.envelope.envelope_id for delivery in waiting} == {
            lookup.envelope_id for lookup in lookups
        }
        assert len(waiting) == len(lookups)
        # Another body under the same id is refused, wherever it comes.
        changed = replace(lookups[0], body=bravo.lookup([alpha]).body)
        with pytest.raises(CandorError):
            await clients[-1].submit(changed)

    play(tmp_path, act, 3)


def test_attempts_to_enrol_are_counted_over_all_replicas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "ATTEMPTS_PER_MINUTE_AND_ADDRESS", 4)

    async def act(hubs: tuple[RunningHub, ...]) -> None:
        invitation = await asyncio.to_thread(hubs[0].invite, "alpha", ori_for("alpha"))
        outcomes = list[str]()
        for number in range(7):
            try:
                await enrol(hubs[number % 2], "alpha", ori_for("bravo"), invitation=invitation)
            except CandorError as error:
                outcomes.append(error.code)
        assert outcomes == ["invitation_invalid"] * 4 + ["quota_spent"] * 3
        for hub in hubs:
            hub.clock.advance(minutes=2)
        assert await enrol(hubs[1], "alpha", invitation=invitation)

    play(tmp_path, act)


def test_two_streams_at_once_may_both_deliver_and_nothing_is_lost(tmp_path: Path) -> None:
    """At least once: a node knows a delivery that came twice (§8.3)."""

    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha, bravo = await enrol(first, "alpha"), await enrol(first, "bravo")
        sealed = alpha.sealed(bravo.node)
        async with bravo.attached() as older:
            await alpha.submit(sealed)
            assert (await older.delivery()).envelope == sealed
            # Not acknowledged: the newer stream, at another replica, gets it as well.
            async with at(bravo, second).attached() as newer:
                delivery = await newer.delivery()
                assert delivery.envelope == sealed
                assert isinstance(await older.end(5), AlreadyExists)
                await newer.acknowledge(delivery.delivery_id)
                now = first.clock.now()
                await until(lambda: not first.hub.mailbox.waiting(bravo.node, (), 10, now))

    play(tmp_path, act, timing=TOLD_ONLY)


def test_a_stream_that_ends_takes_nothing_from_the_newer_one(tmp_path: Path) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha = await enrol(first, "alpha")
        async with alpha.attached() as older, at(alpha, second).attached():
            await older.end(5)
            await until(lambda: not first.hub.streams.attached())
            await asyncio.sleep(0.2)  # whatever the older one leaves is written down
            assert attached(first) == {alpha.node}
        await until(lambda: not attached(first))

    play(tmp_path, act)


def attached(hub: RunningHub) -> set[NodeId]:
    with hub.hub._store.read() as tx:
        return set(tx.replicas.attached(hub.clock.now()))


def test_what_a_dead_replica_held_is_forgotten_and_its_nodes_are_still_reached(tmp_path: Path) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha = await enrol(first, "alpha")
        async with alpha.attached():
            name = first.hub.replica.name
            for task in first.hub._tasks:
                task.cancel()  # as if it had died: it writes nothing any more
            with second.hub._store.write() as tx:
                tx.replicas._connection.exec_driver_sql(
                    "UPDATE replicas SET seen_at = seen_at - 60000 WHERE replica = %s", (name,)
                )
            await until(lambda: name not in {one.replica for one in running(second)})
            assert attached(second) == set()
            async with at(alpha, second).attached() as stream:
                await at(alpha, second).submit(alpha.sealed(alpha.node))
                assert await stream.delivery()

    play(tmp_path, act)


def running(hub: RunningHub) -> tuple[ReplicaRecord, ...]:
    with hub.hub._store.read() as tx:
        return tx.replicas.all(hub.clock.now())


def test_a_replica_that_was_thought_dead_says_that_it_is_not(tmp_path: Path) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha, bravo = await enrol(first, "alpha"), await enrol(first, "bravo")
        async with alpha.attached() as kept, bravo.attached() as older:
            name = first.hub.replica.name
            with second.hub._store.write() as tx:
                tx.replicas.leave(name)
            assert attached(second) == set()
            # Meanwhile one of its nodes has gone elsewhere.
            async with at(bravo, second).attached():
                await until(lambda: attached(second) == {alpha.node, bravo.node})
                assert isinstance(await older.end(5), AlreadyExists)
                assert name in {one.replica for one in running(second)}
                await at(alpha, second).submit(alpha.sealed(alpha.node))
                assert await kept.delivery()

    play(tmp_path, act)


# --- a database that is nobody's any more --------------------------------------------------------------


def test_a_replica_that_cannot_write_its_row_closes_when_its_deny_list_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A former primary that is cut off still answers; what it says of denied certificates may be old."""

    async def act(hubs: tuple[RunningHub, ...]) -> None:
        (hub,) = hubs
        alpha = await enrol(hub, "alpha")

        tried = asyncio.Event()
        loop = asyncio.get_running_loop()

        def waits_for_ever(_: object) -> NoReturn:
            loop.call_soon_threadsafe(tried.set)
            raise StoreUnusable("The standby has not got it.")

        async with alpha.attached() as stream:
            monkeypatch.setattr(hub.hub.replica, "_be_seen", waits_for_ever)
            await tried.wait()
            hub.hub.replica._vouched_at -= 600
            assert isinstance(await stream.end(5), DenyListStale)
            with pytest.raises(DenyListStale):
                await alpha.quota()

    play(tmp_path, act, 1)


def test_a_replica_that_cannot_read_its_deny_list_closes_alone_and_opens_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can be told from somebody revoked there: no call is let in, streams end once the list is old.

    Elsewhere everybody is served.
    """

    async def act(hubs: tuple[RunningHub, ...]) -> None:
        blind, other = hubs
        alpha, bravo = await enrol(other, "alpha"), await enrol(other, "bravo")
        directory = blind.hub.directory

        def cannot() -> NoReturn:
            raise StoreUnusable("The database cannot be reached.")

        async with at(alpha, blind).attached() as stream, bravo.attached() as elsewhere:
            with monkeypatch.context() as patched:
                patched.setattr(directory, "look", cannot)
                patched.setattr(directory, "latest", cannot)
                with pytest.raises(CandorError):
                    await at(alpha, blind).quota()
                assert blind.hub.streams.of(alpha.node) is not None  # not yet too old
                known = replace(directory.known, read_at_seconds=time.monotonic() - 51)
                patched.setattr(directory, "_snapshot", known)
                assert isinstance(await stream.end(5), DenyListStale)
                with pytest.raises(CandorError):
                    async with at(alpha, blind).attached():
                        pass
                async with alpha.attached():
                    await alpha.quota()
                await bravo.submit(bravo.sealed(bravo.node))
                assert await elsewhere.delivery()
            await until(lambda: time.monotonic() - directory.known.read_at_seconds < 10)
            async with at(alpha, blind).attached():
                await at(alpha, blind).quota()

    play(tmp_path, act, 2)


def test_streams_outlive_a_database_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        (hub,) = hubs
        alpha = await enrol(hub, "alpha")
        async with alpha.attached() as stream:
            store, original = hub.hub._store, hub.hub._store.read

            def away() -> NoReturn:
                raise StoreUnusable("The database cannot be reached.")

            await alpha.submit(alpha.sealed(alpha.node))
            monkeypatch.setattr(store, "read", away)
            session = hub.hub.streams.of(alpha.node)
            assert session is not None
            session.look_again()
            await asyncio.sleep(0.3)
            assert hub.hub.streams.of(alpha.node) is session
            monkeypatch.setattr(store, "read", original)
            assert await stream.delivery()

    play(tmp_path, act, 1)


# --- whose clock ---------------------------------------------------------------------------------------


def test_a_replica_whose_clock_runs_ahead_forgets_nothing_of_the_others(tmp_path: Path) -> None:
    """Its clock alone says that forty days have passed: mail, ids and quotas of all would be dropped."""

    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha, bravo = await enrol(first, "alpha"), await enrol(first, "bravo")
        await alpha.submit(alpha.lookup([bravo]))
        used = await asyncio.to_thread(first.hub.relay.left, alpha.node, first.clock.now())
        second.clock.advance(days=40)
        with pytest.raises(ClockWrong, match=r"(39|40) days ahead"):
            await asyncio.to_thread(second.hub.maintain)
        assert len(first.hub.mailbox.waiting(bravo.node, (), 9, first.clock.now())) == 1
        assert await asyncio.to_thread(first.hub.relay.left, alpha.node, first.clock.now()) == used

    play(tmp_path, act)


@pytest.mark.parametrize("hours", [-2, 2], ids=["behind", "ahead"])
def test_a_replica_whose_clock_is_wrong_closes_at_once_and_leaves_the_log(tmp_path: Path, hours: int) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        first, second = hubs
        alpha = await enrol(first, "alpha")
        assert first.hub.log.leads
        async with alpha.attached() as stream:
            first.clock.advance(hours=hours)
            began = time.monotonic()
            assert not isinstance(await stream.end(), EOFError | TimeoutError)
            await until(lambda: second.hub.log.leads and not first.hub.log.leads)
            assert time.monotonic() - began < 10
        ready = await first.hub.watched.health.look()
        assert "clock" in ready.reasons
        # The other one goes on, and this one when its clock is right again.
        there = replace(at(alpha, second), clock=second.clock)
        async with there.attached() as stream:
            await there.submit(there.sealed(alpha.node))
            assert await stream.delivery()
        first.clock.advance(hours=-hours)
        await until(lambda: first.hub.replica.trusted)
        async with alpha.attached() as stream:
            await alpha.submit(alpha.sealed(alpha.node))
            assert await stream.delivery()

    play(tmp_path, act)


def test_a_replica_whose_clock_is_wrong_does_not_start(tmp_path: Path) -> None:
    async def act(hubs: tuple[RunningHub, ...]) -> None:
        (first,) = hubs
        config = bare(first.config, tmp_path / "late")
        clock = ShiftedClock()
        clock.advance(minutes=6)
        with pytest.raises(ClockWrong, match="ahead of the database's"):
            async with running_hub(tmp_path, config=config, clock=clock):
                pytest.fail("it started")

    play(tmp_path, act, 1)
