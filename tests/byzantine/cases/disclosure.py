"""Records asked for, and what owners, hubs and requesters make of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from candor_node import hit_store
from candor_proto.disclosure import DisclosureRequest, DisclosureResponse, RequesterState, seal_request
from candor_proto.ids import Digest, Handle, NodeId, RequestId
from candor_proto.record import CanonicalRecord
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SigningKey
from candor_wire.codec import Envelope, MessageKind
from tests.byzantine import owner
from tests.byzantine.case import Case, Covered, Liar, Play, Proved, Refused
from tests.byzantine.cases.index import asked_after
from tests.byzantine.forging import Respond, declined, responds_with
from tests.byzantine.hub import Passing, changing, dropping, flipped
from tests.byzantine.world import World

SECTION = "disclosure"
REQUEST, RESPONSE = MessageKind.DISCLOSURE_REQUEST, MessageKind.DISCLOSURE_RESPONSE
SENT, OPENED = RequesterState.SENT, RequesterState.OPENED
INVALID, DECLINED = RequesterState.INVALID, RequesterState.DECLINED
REQUESTS = "requests list"


def delivering(passing: Passing, *states: RequesterState) -> Play:
    """alpha asks for bravo's record; deliveries pass as `passing` says."""

    async def play(world: World) -> None:
        view = await world.ask()
        world.lies.delivers = passing
        request_id = await world.request(view)
        await world.settle(5.0)
        await world.requested(request_id, *states)

    return play


async def request_out_of_its_life(world: World) -> None:
    """The owner never hears of it; after thirty days it is over."""
    world.lies.takes = dropping(REQUEST, by="alpha")
    request_id = await world.request(await world.ask())
    world.fed.clock.advance(days=31)
    await world.requested(request_id, RequesterState.EXPIRED)


async def response_swapped(world: World) -> None:
    """Two requests, and each response comes in answer to the other one."""
    held: list[Envelope] = []

    def delivers(party: str, envelope: Envelope) -> Iterator[Envelope]:
        if envelope.kind is not RESPONSE:
            yield envelope
            return
        held.append(envelope)
        if len(held) == 2:
            first, second = held
            yield replace(first, envelope_id=second.envelope_id)
            yield replace(second, envelope_id=first.envelope_id)

    first = await world.ask("REQ-1")
    second = await world.ask("REQ-2")
    world.lies.delivers = delivers
    for request_id in [await world.request(first), await world.request(second)]:
        await world.requested(request_id, INVALID)


def _spoilt_first(_: str, envelope: Envelope) -> Iterator[Envelope]:
    if envelope.kind is RESPONSE:
        yield replace(envelope, body=flipped(envelope.body, 2000))
    yield envelope


def _twice(_: str, envelope: Envelope) -> Iterator[Envelope]:
    yield envelope
    if envelope.kind in (REQUEST, RESPONSE):
        yield replace(envelope, expires_at=envelope.expires_at)
        yield envelope


async def request_to_another_owner(world: World) -> None:
    """The hub hands bravo's request to charlie, as charlie's own."""
    view = await world.ask()
    world.lies.takes = dropping(REQUEST, by="alpha")
    await world.request(view)
    await world.settle()
    await world.begin()
    (envelope,) = [one for _, one in world.lies.handed_in if one.kind is REQUEST]
    await world.lies.deliver("charlie", replace(envelope, recipient=NodeId("charlie")))
    await world.settle()


# --- the owner --------------------------------------------------------------------------------------------


def responding(lie: Respond, state: RequesterState, **how: Any) -> Play:
    """bravo answers the request with something else than it should."""

    async def play(world: World) -> None:
        responds_with(world.bravo, lie, **how)
        request_id = await world.request(await world.ask())
        await world.settle(5.0)
        await world.requested(request_id, state)

    return play


def _another_record(_: DisclosureRequest, response: DisclosureResponse) -> DisclosureResponse:
    """The record is well-formed and says something else of the same person."""
    record = CanonicalRecord.decode(response.record)
    other = replace(record, fields={**record.fields, "effective_on": "1999-01-01"})
    return replace(response, record=other.encode())


def _another_salt(_: DisclosureRequest, response: DisclosureResponse) -> DisclosureResponse:
    return replace(response, salt=secrets.token_bytes(32))


def _another_subject(_: DisclosureRequest, response: DisclosureResponse) -> DisclosureResponse:
    record = CanonicalRecord.decode(response.record)
    other = replace(record, fields={**record.fields, "last": "Somebodyelse", "first": "Abel"})
    return replace(response, record=other.encode())


def _to_another_request(_: DisclosureRequest, response: DisclosureResponse) -> DisclosureResponse:
    return replace(response, request=Digest(bytes(32)))


def _as_charlies(_: DisclosureRequest, response: DisclosureResponse) -> DisclosureResponse:
    return replace(response, requester=NodeId("charlie"))


def _no_record(_: DisclosureRequest, response: DisclosureResponse) -> DisclosureResponse:
    """Released, and nothing in it that could be read."""
    return replace(response, record=b"\0" * 64)


async def a_commitment_that_nothing_opens(world: World) -> None:
    """The blob commits to no record; the owner releases the real one."""
    await asked_after(owner.false_commitment)(world)
    responds_with(world.bravo, lambda _, response: response)
    search = (await _view(world)).row.search_id
    request_id = await world.fed.disclose(world.alpha, search, 1)
    await world.requested(request_id, INVALID)


async def a_commitment_never_opened(world: World) -> None:
    """The blob commits to no record; whoever asks is declined."""
    await asked_after(owner.false_commitment)(world)
    search = (await _view(world)).row.search_id
    request_id = await world.fed.disclose(world.alpha, search, 1)
    await world.requested(request_id, DECLINED)


async def _view(world: World) -> Any:
    return await world.alpha.node.cases.view(world.searches[-1])


async def phantoms(world: World) -> None:
    """A whole roster is in the index of whom nothing is on file; whoever is asked about is a hit."""
    await asked_after(owner.phantoms_for(4))(world)
    view = await world.ask("REQ-2", first="Phantom2", ssn4="5002")
    request_id = await world.fed.disclose(world.alpha, view.row.search_id, 1)
    await world.requested(request_id, DECLINED, INVALID)


# --- the requester ----------------------------------------------------------------------------------------


def requesting(change: Callable[[DisclosureRequest], DisclosureRequest], *, sender: str = "charlie") -> Play:
    """charlie asks bravo for a record under a request made by hand; alpha has seen the hit."""

    async def play(world: World) -> None:
        view = await world.ask()
        hit = (await world.alpha.node.store.run(lambda db: hit_store.hits(db, view.row.search_id)))[0].hit
        node, now = world.charlie.node, world.fed.clock.now()
        request = DisclosureRequest(
            federation=node.config.federation_name,
            request_id=RequestId(secrets.token_bytes(16)),
            requester=node.config.node_id,
            owner=NodeId("bravo"),
            epoch=hit.epoch,
            handle=hit.handle,
            commitment=hit.commitment,
            purpose=view.row.purpose,
            case="REQ-9",
            consent=Digest(bytes(32)),
            officer="Inv. Roe",
            lookup_id=view.row.search_id,
            reply_key=DisclosureKey.generate().public,
            issued_at=now,
            expires_at=view.row.expires_at,
        )
        made = change(request)
        sealed = seal_request(made, node.keys.signing, world.bravo.node.keys.disclosure.public)
        await world.begin()
        envelope = Envelope(
            made.request_id.value, REQUEST, NodeId(sender), NodeId("bravo"), sealed, b"", made.expires_at
        )
        if sender == "charlie":
            await world.submit(world.charlie, envelope)
        else:
            await world.lies.deliver("bravo", envelope)
        await world.settle()

    return play


async def request_handed_on(world: World) -> None:
    """charlie, with the hub's help, hands in what alpha sealed as its own, to be sent the record."""
    await world.opened()
    (envelope,) = [one for _, one in world.lies.handed_in if one.kind is REQUEST]
    await world.begin()
    await world.lies.deliver("bravo", replace(envelope, sender=NodeId("charlie")))
    await world.settle()


def hub(name: str, does: str, play: Play, shown: str) -> Case:
    together = "" if play is request_out_of_its_life else "disclosures"
    return Case(name, Liar.HUB, does, Covered(shown, "MATCH", REQUESTS), play, SECTION, together=together)


def owners(name: str, does: str, play: Play, shown: str, **how: Any) -> Case:
    together = "disclosures" if how.get("prepared", True) else ""
    return Case(
        name, Liar.OWNER, does, Covered(shown, "MATCH", REQUESTS), play, SECTION, together=together, **how
    )


def proved(name: str, does: str, play: Play, **how: Any) -> Case:
    """A record was released that is not the one committed to: the blob holds something else, a phantom."""
    expect = Proved("phantom", shown=Covered('state: "invalid"', "MATCH", REQUESTS))
    together = "disclosures" if how.get("prepared", True) else ""
    return Case(name, Liar.OWNER, does, expect, play, SECTION, together=together, **how)


def requester(name: str, does: str, play: Play, expect: Refused) -> Case:
    return Case(name, Liar.MEMBER, does, expect, play, SECTION)


CASES = (
    hub(
        "a request dropped",
        "does not deliver the request to bravo",
        delivering(dropping(REQUEST), SENT),
        'state: "sent"',
    ),
    hub(
        "a request dropped for ever",
        "keeps the request until its life is over",
        request_out_of_its_life,
        "the owner has not answered",
    ),
    Case(
        "a request altered",
        Liar.HUB,
        "changes a bit of the sealed request",
        Refused("sealed_data_invalid", "bravo", frozenset({"answered_lookups", "outbox", "quota_uses"})),
        delivering(changing(REQUEST, lambda one: replace(one, body=flipped(one.body, 3000))), SENT),
        SECTION,
    ),
    Case(
        "a request handed to another owner",
        Liar.HUB,
        "hands the request for bravo to charlie",
        Refused("sealed_data_invalid", "charlie"),
        request_to_another_owner,
        SECTION,
    ),
    hub(
        "requests and responses delivered twice",
        "repeats both: one release, one copy",
        delivering(_twice, OPENED),
        'state: "opened"',
    ),
    hub(
        "a response dropped",
        "does not deliver the response",
        delivering(dropping(RESPONSE), SENT),
        'state: "sent"',
    ),
    hub(
        "a response altered",
        "changes a bit of the sealed response",
        delivering(changing(RESPONSE, lambda one: replace(one, body=flipped(one.body, 3000))), INVALID),
        'state: "invalid"',
    ),
    hub(
        "a spoilt response before the good one",
        "delivers a spoilt response first: the good one is opened all the same",
        delivering(_spoilt_first, OPENED),
        'state: "opened"',
    ),
    hub(
        "responses swapped",
        "answers each of two requests with the response to the other",
        response_swapped,
        'state: "invalid"',
    ),
    proved(
        "another record",
        "releases another record than the blob commits to",
        responding(_another_record, INVALID),
    ),
    proved(
        "another subject's record",
        "releases somebody else's record",
        responding(_another_subject, INVALID),
    ),
    proved(
        "a salt that does not fit",
        "releases the record with another salt",
        responding(_another_salt, INVALID),
    ),
    owners(
        "a response to another request",
        "names another request than it answers",
        responding(_to_another_request, INVALID),
        'state: "invalid"',
    ),
    owners(
        "a response to somebody else",
        "names another requester than asked",
        responding(_as_charlies, INVALID),
        'state: "invalid"',
    ),
    owners(
        "a response that another key signed",
        "signs with a key that nobody knows",
        responding(lambda _, response: response, INVALID, signer=SigningKey.generate()),
        'state: "invalid"',
    ),
    owners(
        "a response sealed to another key",
        "seals the record to a key of its own",
        responding(lambda _, response: response, INVALID, reply_key=DisclosureKey.generate().public),
        'state: "invalid"',
    ),
    proved(
        "a release of nothing",
        "releases octets that are no record",
        responding(_no_record, INVALID),
    ),
    owners(
        "declined for ever",
        "declines whatever is asked for, and it is counted",
        responding(declined, DECLINED),
        "declined by the owner",
    ),
    proved(
        "a commitment that nothing opens",
        "commits to no record, and releases the real one",
        a_commitment_that_nothing_opens,
        prepared=False,
    ),
    owners(
        "a commitment that is never opened",
        "commits to no record, and declines: only an auditor can demand more",
        a_commitment_never_opened,
        "declined by the owner",
        prepared=False,
    ),
    owners(
        "phantom entries for a whole roster",
        "publishes entries for people of whom it has nothing, to learn who is asked about",
        phantoms,
        "declined by the owner",
        prepared=False,
    ),
    requester(
        "a request in another member's name",
        "seals a request that says it is alpha's",
        requesting(lambda request: replace(request, requester=NodeId("alpha"))),
        Refused("sealed_data_invalid", "bravo"),
    ),
    requester(
        "another member's sealed request",
        "hands in what alpha sealed, as its own",
        request_handed_on,
        Refused("sealed_data_invalid", "bravo"),
    ),
    requester(
        "a request for another record than its handle",
        "asks for a commitment that is not the handle's",
        requesting(lambda request: replace(request, commitment=Digest(bytes(32)))),
        Refused("DECLINED", "bravo", frozenset({"received_requests", "outbox", "disclosure_statements"})),
    ),
    requester(
        "a request for a guessed handle",
        "asks for a handle that nobody gave it",
        requesting(lambda request: replace(request, handle=Handle(secrets.token_bytes(16)))),
        Refused("DECLINED", "bravo", frozenset({"received_requests", "outbox", "disclosure_statements"})),
    ),
)
