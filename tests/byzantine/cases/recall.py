"""Recalls: what a hub keeps from those who hold a record, and what others pretend to recall."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

from candor_node import recall_store, request_store
from candor_node.recall_store import Recall
from candor_proto.disclosure import DisclosureRequest
from candor_proto.ids import Digest, NodeId
from candor_proto.recall import Done, RecallAck, RecallNotice, RecallState
from candor_records.records import Dcn
from candor_wire.codec import Envelope, MessageKind
from tests.byzantine import forging
from tests.byzantine.case import Case, Covered, Liar, Play, Refused
from tests.byzantine.hub import Passing, changing, dropping, flipped
from tests.byzantine.world import World
from tests.simulator.test_recalls import seal

SECTION = "recall"
NOTICE, ACK = MessageKind.RECALL_NOTICE, MessageKind.RECALL_ACK
RECALLS = "recalls list"


async def held(world: World) -> DisclosureRequest:
    """alpha holds bravo's record: under which request."""
    request_id = await world.opened()
    known = await world.alpha.node.store.run(lambda db: request_store.sent(db, request_id))
    assert known is not None
    return known.request


async def recalled(world: World, request: DisclosureRequest) -> Recall:
    """A court seals the record at bravo; the recall that follows."""
    known = await world.bravo.node.store.run(lambda db: request_store.received(db, request.request_id))
    assert known is not None
    await seal(world.bravo, Dcn(known.dcn))
    await world.settle(5.0)
    (recall,) = await world.bravo.node.store.run(lambda db: recall_store.list_sent(db, 9))
    return recall


def delivering(passing: Passing, state: RecallState) -> Play:
    """bravo recalls what alpha holds; deliveries pass as `passing` says."""

    async def play(world: World) -> None:
        request = await held(world)
        world.lies.delivers = passing
        assert (await recalled(world, request)).state is state

    return play


async def altered(world: World) -> None:
    """A bit of the notice is another one: alpha keeps what it holds, and bravo asks again."""
    request = await held(world)
    await world.begin()
    spoil = changing(NOTICE, lambda one: replace(one, body=flipped(one.body, 3000)))
    world.lies.delivers = spoil
    assert (await recalled(world, request)).state is RecallState.SENT


async def acknowledgement_altered(world: World) -> None:
    """A bit of what alpha says is another one: bravo asks again."""
    request = await held(world)
    spoil = changing(ACK, lambda one: replace(one, body=flipped(one.body, 1500)))
    world.lies.delivers = spoil
    assert (await recalled(world, request)).state is RecallState.SENT
    world.refusals += [("bravo", note) for note in world.notes("bravo")]
    await world.begin()


async def held_back_for_days(world: World) -> None:
    """The notice is kept for two days; it is sent again, and acted on then."""
    request = await held(world)
    world.lies.delivers = dropping(NOTICE)
    await recalled(world, request)
    for _ in range(2):
        world.fed.clock.advance(hours=20)
        await world.settle(70.0)
    world.lies.honest()
    world.fed.clock.advance(hours=20)
    await world.settle(70.0)
    (recall,) = await world.bravo.node.store.run(lambda db: recall_store.list_sent(db, 9))
    assert recall.state is RecallState.ACTED


def _twice(_: str, envelope: Envelope) -> Iterator[Envelope]:
    yield envelope
    if envelope.kind in (NOTICE, ACK):
        yield replace(envelope, expires_at=envelope.expires_at + timedelta(seconds=1))


async def destroyed_by_the_hub(world: World) -> None:
    """A notice that nobody signed but the hub."""
    await _forged(world, "charlie", {}, "bravo")


async def _forged(world: World, signer: str, changes: dict[str, object], sender: str = "") -> None:
    request = await held(world)
    said = forging.notice(world.bravo.node, request, **changes)
    envelope = forging.notice_envelope(world.party(signer).node, world.alpha.node, said, sender)
    await world.begin()
    await world.lies.deliver("alpha", envelope)
    await world.settle()


def forged(change: Callable[[World, RecallNotice], RecallNotice], signer: str) -> Play:
    """`signer` sends alpha a notice about bravo's record that is not as it should be."""

    async def play(world: World) -> None:
        request = await held(world)
        said = change(world, forging.notice(world.bravo.node, request))
        node = world.party(signer).node
        await world.begin()
        await world.submit(world.party(signer), forging.notice_envelope(node, world.alpha.node, said))
        await world.settle()

    return play


def _of_charlies(world: World, notice: RecallNotice) -> RecallNotice:
    return replace(notice, owner=NodeId("charlie"))


async def two_notices_of_one_id(world: World) -> None:
    request = await held(world)
    recall = await recalled(world, request)
    said = forging.notice(world.bravo.node, request, recall_id=recall.recall_id)
    await world.begin()
    await world.submit(world.bravo, forging.notice_envelope(world.bravo.node, world.alpha.node, said))
    await world.settle()


def acknowledging(change: Callable[[RecallAck], RecallAck], signer: str = "alpha") -> Play:
    """alpha's own acknowledgement is lost before the hub has it; bravo gets another one."""

    async def play(world: World) -> None:
        request = await held(world)
        world.lies.takes = dropping(ACK, by="alpha")
        recall = await recalled(world, request)
        world.lies.honest()
        node = world.party(signer).node
        said = change(forging.ack(node, recall.recall_id, recall.digest, "bravo"))
        await world.begin()
        await world.submit(world.party(signer), forging.ack_envelope(node, world.bravo.node, said))
        await world.settle()

    return play


def hub(name: str, does: str, play: Play, shown: str) -> Case:
    return Case(name, Liar.HUB, does, Covered(shown, "MATCH", RECALLS, "bravo"), play, SECTION)


def forger(name: str, does: str, play: Play, code: str, liar: Liar = Liar.MEMBER, by: str = "alpha") -> Case:
    together = "recalls" if by == "alpha" and play not in ALONE else ""
    return Case(name, liar, does, Refused(code, by), play, SECTION, together=together)


# What leaves a recall behind, of which others would find two.
ALONE = (two_notices_of_one_id, altered)


CASES = (
    hub(
        "a recall dropped",
        "does not deliver the notice: it is sent again, for ever",
        delivering(dropping(NOTICE), RecallState.SENT),
        'state: "sent"',
    ),
    hub(
        "a recall delayed by days",
        "keeps the notice for two days: alpha forgets when it comes",
        held_back_for_days,
        'state: "acted"',
    ),
    hub(
        "an acknowledgement dropped",
        "does not deliver what alpha says: bravo asks again",
        delivering(dropping(ACK), RecallState.SENT),
        'state: "sent"',
    ),
    hub(
        "recalls delivered twice",
        "repeats notice and acknowledgement: alpha acts once",
        delivering(_twice, RecallState.ACTED),
        'state: "acted"',
    ),
    Case(
        "a recall altered",
        Liar.HUB,
        "changes a bit of the sealed notice: it is sent again",
        Refused("sealed_data_invalid", "alpha"),
        altered,
        SECTION,
    ),
    forger(
        "an acknowledgement altered",
        "changes a bit of the sealed acknowledgement: bravo asks again",
        acknowledgement_altered,
        "sealed_data_invalid",
        Liar.HUB,
        "bravo",
    ),
    forger(
        "a recall that nobody sent",
        "makes a notice to destroy in bravo's name",
        destroyed_by_the_hub,
        "signature_invalid",
        Liar.HUB,
    ),
    forger(
        "a recall of another owner's record",
        "charlie recalls what bravo released",
        forged(_of_charlies, "charlie"),
        "identity_mismatch",
    ),
    forger(
        "a recall about another request",
        "bravo recalls under a request that alpha did not send",
        forged(lambda _, said: replace(said, request=Digest(bytes(32))), "bravo"),
        "commitment_mismatch",
        Liar.OWNER,
    ),
    forger(
        "tomorrow's recall",
        "bravo dates a notice a day ahead",
        forged(lambda world, said: replace(said, issued_at=said.issued_at + timedelta(days=1)), "bravo"),
        "not_yet_valid",
        Liar.OWNER,
    ),
    forger(
        "two recalls under one id",
        "bravo sends another notice under the id of an old one",
        two_notices_of_one_id,
        "conflicting_resubmission",
        Liar.OWNER,
    ),
    forger(
        "an acknowledgement in another's place",
        "charlie acknowledges what alpha was to do",
        acknowledging(lambda said: said, "charlie"),
        "identity_mismatch",
        by="bravo",
    ),
    forger(
        "an acknowledgement of another notice",
        "alpha acknowledges a notice that bravo did not send",
        acknowledging(lambda said: replace(said, notice=Digest(bytes(32)))),
        "commitment_mismatch",
        Liar.ASKER,
        "bravo",
    ),
    forger(
        "an acknowledgement of something else",
        "alpha says that it replaced what it was to destroy",
        acknowledging(lambda said: replace(said, done=Done.REPLACED)),
        "malformed_message",
        Liar.ASKER,
        "bravo",
    ),
    forger(
        "tomorrow's acknowledgement",
        "alpha says when it will have acted",
        acknowledging(
            lambda said: replace(
                said, issued_at=said.issued_at + timedelta(days=1), acted_at=said.acted_at + timedelta(days=1)
            )
        ),
        "not_yet_valid",
        Liar.ASKER,
        "bravo",
    ),
)
