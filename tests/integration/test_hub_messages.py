"""Handing in and delivering over the wire (docs/protocol.md §7.2, §8.3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candor_hub import streams
from candor_hub.pace import Pace, Rate
from candor_hub.streams import Timing
from candor_proto.budget import Quota
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    ClockWrong,
    ConflictingResubmission,
    Expired,
    IdentityMismatch,
    LimitExceeded,
    MalformedMessage,
    MemberSuspended,
    PurposeRefused,
    QuotaSpent,
    SignatureInvalid,
    UnsupportedVersion,
)
from candor_proto.ids import Purpose
from candor_wire import codec, limits
from candor_wire.v1 import hub_pb2
from tests.federation import instead, until
from tests.hubs import QUICK, RunningHub, Stream, enrol, running_hub


def test_a_lookup_goes_out_and_its_answers_come_back(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            members = [await enrol(hub, name) for name in ("alpha", "bravo", "charlie")]
            alpha, bravo, charlie = members
            async with alpha.attached() as asker, bravo.attached() as first, charlie.attached() as second:
                lookup = alpha.lookup([bravo, charlie])
                assert await alpha.submit(lookup) == 2
                arrived = [await stream.delivery() for stream in (first, second)]
                # The same octets to every target: nobody can tell from them whom else was asked first.
                written = [codec.write_envelope(each.envelope).SerializeToString() for each in arrived]
                assert written[0] == written[1]
                assert arrived[0].envelope == lookup
                for member in (bravo, charlie):
                    assert await member.submit(member.answer(lookup)) == 1
                answers = {(await asker.delivery()).envelope.sender for _ in range(2)}
                assert answers == {bravo.node, charlie.node}
            for member in members:
                await member.close()

    asyncio.run(act())


def test_what_is_not_in_order_is_refused_with_its_typed_error(tmp_path: Path) -> None:
    async def act() -> None:
        quota = Quota(total=480, weak=10_000, match=10_000, code=10_000)
        async with running_hub(tmp_path / "hub", quota=quota) as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            lookup = alpha.lookup([bravo])
            with pytest.raises(IdentityMismatch):
                await bravo.submit(lookup)
            with pytest.raises(SignatureInvalid):
                await alpha.submit(replace(lookup, signature=bytes(64)))
            with pytest.raises(PurposeRefused):
                await alpha.submit(alpha.lookup([bravo], purpose=Purpose.C))
            assert await alpha.submit(lookup) == 1
            assert await alpha.submit(lookup) == 1
            with pytest.raises(ConflictingResubmission):
                await alpha.submit(alpha.lookup([bravo], lookup_id=lookup.envelope_id))
            stale = alpha.lookup([bravo])
            for _ in range(2):
                await alpha.submit(alpha.lookup([bravo]))
            with pytest.raises(QuotaSpent, match="free again"):
                await alpha.submit(alpha.lookup([bravo]))
            hub.clock.advance(hours=25)
            with pytest.raises(Expired):
                await alpha.submit(stale)
            hub.hub.directory.set_status(alpha.node, MemberStatus.SUSPENDED, hub.clock.now())
            with pytest.raises(MemberSuspended):
                await alpha.submit(alpha.lookup([bravo]))
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_a_lookup_accepted_before_a_restart_is_delivered_after_it(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as before:
            alpha, bravo = await enrol(before, "alpha"), await enrol(before, "bravo")
            lookup = alpha.lookup([bravo])
            await alpha.submit(lookup)
            await bravo.close()
            config = before.config
        async with running_hub(tmp_path / "hub", config=config) as after:
            bravo.connect(after)
            async with bravo.attached() as stream:
                assert (await stream.delivery()).envelope == lookup
            await bravo.close()
        await alpha.close()

    asyncio.run(act())


def test_a_stream_is_read_in_turns_and_more_slowly_when_what_it_says_is_refused(tmp_path: Path) -> None:
    """Nobody is heard less for what another one says, however much it is."""

    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            # Two refused ones, then nothing for as long as this test lasts.
            hub.hub.turns.pace_of_refused = Pace(Rate(0, 2), Rate(0, 0))
            async with alpha.attached() as greedy, bravo.attached() as modest:
                bad = replace(alpha.lookup([bravo]), signature=bytes(64))
                for number in range(1, 6):
                    await greedy.submit((number, bad))
                    if number <= 3:
                        assert (await greedy.receipt()).number == number
                with pytest.raises(TimeoutError):
                    await greedy.receipt(timeout_seconds=0.3)
                await modest.submit((1, bravo.lookup([alpha])))
                assert (await modest.receipt()).outcome == 1
                hub.hub.turns.pace_of_frames = Pace(Rate(0, 3), Rate(0, 0))
                await modest.submit(*((number, bravo.lookup([alpha])) for number in (2, 3, 4)))
                assert [(await modest.receipt()).outcome for _ in range(3)] == [1, 1, 1]
                await modest.submit((5, bravo.lookup([alpha])))
                with pytest.raises(TimeoutError):
                    await modest.receipt(timeout_seconds=0.3)
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_who_is_asked_answers_without_waiting_for_a_turn(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            lookups = [alpha.lookup([bravo]) for _ in range(3)]
            for lookup in lookups:
                await alpha.submit(lookup)
            async with bravo.attached() as stream:
                for _ in lookups:
                    await stream.delivery()
                # Nobody is heard from here on beyond what he was asked.
                hub.hub.turns.pace_of_frames = Pace(Rate(0, 0), Rate(0, 0))
                for number, lookup in enumerate(lookups):
                    await stream.submit((number, bravo.answer(lookup)))
                assert sorted([(await stream.receipt()).number for _ in lookups]) == [0, 1, 2]
                await stream.submit((3, bravo.lookup([alpha])))
                with pytest.raises(TimeoutError):
                    await stream.receipt(timeout_seconds=0.3)
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_deliveries_come_in_order_and_never_more_than_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window_size = 20
    monkeypatch.setattr(streams, "MAX_DELIVERIES_IN_FLIGHT", window_size)

    async def act() -> None:
        slow = replace(QUICK, redelivery_seconds=30.0)
        async with running_hub(tmp_path / "hub", timing=slow) as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            sent = [alpha.lookup([bravo]) for _ in range(window_size + 6)]
            for lookup in sent:
                await alpha.submit(lookup)
            async with bravo.attached() as stream:
                window = [await stream.delivery() for _ in range(window_size)]
                with pytest.raises(TimeoutError):
                    await stream.delivery(0.5)
            async with bravo.attached() as stream:  # a fresh stream begins anew
                window = [await stream.delivery() for _ in range(window_size)]
                await stream.acknowledge(*(each.delivery_id for each in window))
                rest = [await stream.delivery() for _ in range(6)]
            assert [each.envelope for each in window + rest] == sent
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def mailbox(hub: RunningHub) -> int:
    """How many deliveries wait to be acknowledged."""
    with hub.hub._store.read() as tx:
        return sum(tx.mailbox.waiting_counts().values())


def again_soon(hub: RunningHub) -> None:
    """From now on, what is not acknowledged is delivered again very soon."""
    instead(hub.hub.warden, "_timing", replace(QUICK, redelivery_seconds=0.1))


def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            for _ in range(2):
                await alpha.submit(alpha.lookup([bravo]))
            async with bravo.attached() as stream:
                first, second = await stream.delivery(), await stream.delivery()
                await stream.acknowledge(first.delivery_id)
                await until(lambda: mailbox(hub) == 1)
                again_soon(hub)
                assert await stream.delivery() == second
                assert await stream.delivery() == second
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_nobody_acknowledges_for_another(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo, charlie = [await enrol(hub, name) for name in ("alpha", "bravo", "charlie")]
            await alpha.submit(alpha.sealed(bravo.node))
            async with bravo.attached() as stream, charlie.attached() as thief:
                delivery = await stream.delivery()
                await thief.acknowledge(delivery.delivery_id)
                await asyncio.sleep(0.2)
                again_soon(hub)
                assert await stream.delivery() == delivery  # redelivered: it was not taken away
            for member in (alpha, bravo, charlie):
                await member.close()

    asyncio.run(act())


def test_a_message_wakes_the_stream_at_once(tmp_path: Path) -> None:
    """Not at the next poll: this hub polls once an hour."""

    async def act() -> None:
        lazy = Timing(poll_seconds=3_600, heartbeat_seconds=3_600, redelivery_seconds=3_600)
        async with running_hub(tmp_path / "hub", timing=lazy) as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            async with bravo.attached() as stream:
                await asyncio.sleep(0.3)
                await alpha.submit(alpha.lookup([bravo]))
                await stream.delivery()
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_the_hello_is_checked(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            for frame, error in (
                (None, LimitExceeded),
                (codec.write_acknowledge((1,)), MalformedMessage),
                (hub_pb2.AttachRequest(), MalformedMessage),
                (hub_pb2.AttachRequest(hello=hub_pb2.Hello(protocol_version=9)), UnsupportedVersion),
                (codec.write_hello(codec.Hello(hub.clock.now().replace(year=2001), 0)), ClockWrong),
            ):
                patience = 0.2 if frame is None else QUICK.hello_deadline_seconds
                instead(hub.hub.attachments, "_timing", replace(QUICK, hello_deadline_seconds=patience))
                stream = Stream(alpha.stub.Attach())
                if frame is not None:
                    await stream.call.write(frame)
                assert type(await stream.end()) is error
            await alpha.close()

    asyncio.run(act())


def test_a_clock_that_is_off_is_told_both_times(tmp_path: Path) -> None:
    from datetime import timedelta

    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            with pytest.raises(ClockWrong) as caught:
                async with alpha.attached(clock_error=timedelta(minutes=6)):
                    pass
            assert caught.value.message.count("UTC") == 2
            async with alpha.attached(clock_error=timedelta(minutes=4)):
                pass
            await alpha.close()

    asyncio.run(act())


def test_after_its_hello_a_node_sends_mail_only(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            async with alpha.attached() as stream:
                await stream.call.write(codec.write_hello(codec.Hello(hub.clock.now(), 0)))
                assert type(await stream.end()) is MalformedMessage
            await alpha.close()

    asyncio.run(act())


def test_heartbeats_and_directory_changes_are_told(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            await hub.announced()
            async with alpha.attached() as stream:
                assert isinstance(await stream.frame(), codec.Heartbeat)
                bravo = await enrol(hub, "bravo")
                while isinstance(told := await stream.frame(), codec.Heartbeat):
                    pass  # another one, on a slow machine
                assert isinstance(told, codec.DirectoryChanged)
                assert (await alpha.directory()).version == told.directory_version
                await bravo.close()
            await alpha.close()

    asyncio.run(act())


# --- handing in on the stream -------------------------------------------------------------------------


def test_what_is_handed_in_on_the_stream_is_receipted_and_delivered(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            async with alpha.attached() as asker, bravo.attached() as owner:
                lookup = alpha.lookup([bravo])
                await asker.submit((7, lookup))
                assert await asker.receipt() == codec.Receipt(7, 1)
                delivery = await owner.delivery()
                assert delivery.envelope == lookup
                answer = codec.write_node_mail([delivery.delivery_id], [(1, bravo.answer(lookup))])
                await owner.call.write(answer)
                assert await owner.receipt() == codec.Receipt(1, 1)
                assert (await asker.delivery()).envelope.sender == bravo.node
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_the_stream_and_the_call_are_one_way_in(tmp_path: Path) -> None:
    """The same id is the same message, whichever way it came."""

    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            async with alpha.attached() as asker, bravo.attached() as owner:
                lookup = alpha.lookup([bravo])
                assert await alpha.submit(lookup) == 1
                other = alpha.lookup([bravo], lookup_id=lookup.envelope_id)
                await asker.submit((1, lookup), (2, other))
                assert await asker.receipt() == codec.Receipt(1, 1)
                refused = await asker.receipt()
                assert isinstance(refused.outcome, ConflictingResubmission)
                await owner.delivery()
                with pytest.raises(TimeoutError):
                    await owner.delivery(0.3)
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_a_refusal_on_the_stream_is_its_submissions_and_the_stream_goes_on(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            async with alpha.attached() as asker:
                broken = codec.write_node_mail((), [(3, alpha.sealed(bravo.node))])
                broken.mail.submissions[0].envelope.envelope_id = b"short"
                await asker.submit((1, bravo.lookup([alpha])), (2, alpha.lookup([bravo], purpose=Purpose.C)))
                await asker.call.write(broken)
                await asker.submit((4, alpha.lookup([bravo])))
                told = [await asker.receipt() for _ in range(4)]
                receipts = {receipt.number: receipt.outcome for receipt in told}
                assert receipts.pop(4) == 1
                kinds = {1: IdentityMismatch, 2: PurposeRefused, 3: MalformedMessage}
                assert {number: type(outcome) for number, outcome in receipts.items()} == kinds
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_a_suspended_member_hands_in_nothing_on_its_open_stream(tmp_path: Path) -> None:
    """Even before its stream is cut: this hub looks once an hour."""

    async def act() -> None:
        lazy = Timing(poll_seconds=3_600, heartbeat_seconds=3_600, redelivery_seconds=3_600)
        async with running_hub(tmp_path / "hub", timing=lazy) as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            await hub.hub.watch.look()
            async with alpha.attached() as asker:
                await asyncio.to_thread(
                    hub.hub.directory.set_status, alpha.node, MemberStatus.SUSPENDED, hub.clock.now()
                )
                await asker.submit((1, alpha.lookup([bravo])))
                assert isinstance((await asker.receipt()).outcome, MemberSuspended)
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_who_hands_in_too_much_is_read_no_further_and_loses_nothing(tmp_path: Path) -> None:
    """Unanswered submissions of a stream are bounded; the rest waits in the node's own buffers."""

    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            many, seen = 3 * limits.MAX_UNANSWERED_SUBMISSIONS, list[int]()
            hand_in = hub.hub.intake.hand_in

            def watched(*arguments: Any) -> Any:
                session = hub.hub.streams.of(alpha.node)
                assert session is not None
                seen.append(session.unanswered)
                return hand_in(*arguments)

            hub.hub.intake.hand_in = watched  # type: ignore[assignment,method-assign]
            async with alpha.attached() as asker:
                for number in range(many):
                    await asker.submit((number, alpha.sealed(bravo.node)))
                receipts = [await asker.receipt() for _ in range(many)]
                assert sorted(receipt.number for receipt in receipts) == list(range(many))
                assert all(receipt.outcome == 1 for receipt in receipts)
                assert max(seen) <= limits.MAX_UNANSWERED_SUBMISSIONS
            await alpha.close()
            await bravo.close()

    asyncio.run(act())


def test_one_asker_s_many_do_not_delay_another_s_one(tmp_path: Path) -> None:
    async def act() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            members = [await enrol(hub, name) for name in ("alpha", "bravo", "charlie")]
            alpha, bravo, charlie = members
            for _ in range(30):
                await alpha.submit(alpha.sealed(bravo.node))
            await charlie.submit(charlie.sealed(bravo.node))
            async with bravo.attached() as stream:
                first = [(await stream.delivery()).envelope.sender for _ in range(2)]
                assert first == [alpha.node, charlie.node]
            for member in members:
                await member.close()

    asyncio.run(act())
