"""A hub that loses, changes or repeats lookups; members that ask what they must not."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta

from candor_proto.budget import Quota
from candor_proto.directory import MemberStatus
from candor_proto.errors import WrongRecipient
from candor_proto.ids import LookupId, NodeId
from candor_proto.statements import Lookup, Target
from candor_wire.codec import DirectoryChanged, Envelope, MessageKind, Receipt, Welcome, write_hub_mail
from candor_wire.v1 import hub_pb2
from tests.byzantine import forging
from tests.byzantine.case import Case, Covered, Liar, Play, Proved, Refused
from tests.byzantine.hub import Passing, Serve, changing, dropping, flipped
from tests.byzantine.patching import instead
from tests.byzantine.world import World

SECTION = "lookup"
# A refusal is a signed answer as well: the replay table and the outbox hold it.
ANSWERING = frozenset({"answered_lookups", "outbox"})
LOOKUP = MessageKind.LOOKUP


def delivering(passing: Passing) -> Play:
    """alpha asks; on the way to a node deliveries pass as `passing` says."""

    async def play(world: World) -> None:
        world.lies.delivers = passing
        await world.ask()
        await world.settle()

    return play


def _change(change: Callable[[Envelope], Envelope]) -> Play:
    return delivering(changing(LOOKUP, change, to="bravo"))


async def never_handed_on(world: World) -> None:
    """The receipt says that three have it; nobody has."""
    world.lies.takes = dropping(LOOKUP, by="alpha")
    await world.ask()


async def denied_for_good(world: World) -> None:
    """A refusal that is none of the hub's to give."""

    def takes(party: str, envelope: Envelope) -> Iterator[Envelope]:
        if envelope.kind is not LOOKUP or party != "alpha":
            yield envelope

    world.lies.takes = takes
    stream = world.lies.streams["alpha"]
    error = WrongRecipient("bravo is not an active member.")
    honest = stream.say_soon
    stream.say_soon = lambda frame: honest(  # type: ignore[method-assign]
        write_hub_mail((), [Receipt(one.number, error) for one in frame.mail.receipts])
    )
    await world.attempt("hub", world.ask())


async def replayed(world: World) -> None:
    """The same lookup to bravo once more, in an envelope that is not the same octet for octet."""
    await world.ask()
    (envelope,) = [one for to, one in world.lies.delivered if to == "bravo" and one.kind is LOOKUP]
    await world.lies.deliver("bravo", envelope, envelope)
    await world.settle()


async def held_back_for_a_day(world: World) -> None:
    held: list[Envelope] = []

    def delivers(party: str, envelope: Envelope) -> Iterator[Envelope]:
        if party == "bravo" and envelope.kind is LOOKUP:
            held.append(envelope)
        else:
            yield envelope

    world.lies.delivers = delivers
    await world.ask()
    world.fed.clock.advance(hours=25)
    await world.settle(120.0)
    world.lies.honest()
    await world.lies.deliver("bravo", *held)
    await world.settle(5.0)


def _to_charlie(envelope: Envelope) -> Envelope:
    return replace(envelope, recipient=NodeId("charlie"))


async def out_of_order(world: World) -> None:
    """Two lookups of alpha reach bravo in the other order, and twice each."""
    waiting: list[Envelope] = []

    def delivers(party: str, envelope: Envelope) -> Iterator[Envelope]:
        if party != "bravo" or envelope.kind is not LOOKUP:
            yield envelope
            return
        waiting.append(envelope)
        if len(waiting) == 2:
            yield from reversed(waiting)
            yield from waiting

    world.lies.delivers = delivers
    await world.ask("REQ-1", wait_seconds=1.0)
    await world.ask("REQ-2")
    await world.settle()


def _other_targets(envelope: Envelope) -> Envelope:
    """One name of the target set is another one: the octets are the same in number."""
    return replace(envelope, body=envelope.body.replace(b"charlie", b"charlin"))


async def left_out(world: World) -> None:
    """The hub takes the lookup for two of three targets, as if a mailbox were full."""
    world.lies.delivers = dropping(LOOKUP, to="charlie")
    await world.ask()


async def clock_of_another_day(world: World) -> None:
    """Its time is an hour off: who believed it would take what has expired."""

    def frames(_: str, frame: hub_pb2.AttachResponse) -> Iterator[hub_pb2.AttachResponse]:
        if frame.WhichOneof("frame") == "welcome":
            frame.welcome.hub_time_milliseconds += 3_600_000
        yield frame

    world.lies.frames = frames
    await world.fed.restart(world.alpha)
    await world.settle(5.0)
    await world.begin()
    await world.attempt("alpha", world.ask())


async def a_version_that_never_comes(world: World) -> None:
    """A node waits for what was announced before it judges anything."""
    await world.lies.tell("alpha", DirectoryChanged(1_000_000))
    await world.settle()
    await world.ask()


async def welcomed_twice(world: World) -> None:
    await world.lies.tell("alpha", Welcome(world.fed.clock.now(), 1))
    await world.settle(0.1)
    await world.attempt("alpha", _ended(world))


async def garbage_on_the_stream(world: World) -> None:
    frame = hub_pb2.AttachResponse.FromString(b"\xc0\x3e\x01")
    await world.lies.streams["alpha"].say(frame)
    await world.settle(0.1)
    await world.attempt("alpha", _ended(world))


async def noise_on_the_stream(world: World) -> None:
    """Octets that are no message at all: gRPC says nothing of them."""
    world.lies.streams["alpha"].say_octets(b"\xff" * 40)
    await world.settle(0.1)
    await world.attempt("alpha", _ended(world))


def garbled(method: str, call: Callable[[World], Awaitable[object]]) -> Play:
    """What the hub replies to a call is no message."""

    async def play(world: World) -> None:
        async def reply(_: str, parts: list[bytes], serve: Serve) -> list[bytes]:
            return [b"\xff" * 40]

        world.lies.replies[method] = reply
        await world.attempt("alpha", call(world))

    return play


async def a_flood(world: World) -> None:
    """More deliveries than may be in flight."""
    await world.ask()
    (one,) = [envelope for to, envelope in world.lies.delivered if to == "bravo" and envelope.kind is LOOKUP]
    await world.begin()
    many = [replace(one, envelope_id=secrets.token_bytes(16)) for _ in range(600)]
    await world.lies.deliver("alpha", *many)
    await world.settle(0.1)
    await world.attempt("alpha", _ended(world))


async def _ended(world: World) -> None:
    """Why alpha's last stream ended."""
    trouble = world.alpha.node.connection.trouble
    if trouble is not None:
        raise trouble


# --- members that ask what they must not --------------------------------------------------------------------


def handing_in(made: Callable[[World], Envelope]) -> Play:
    """charlie hands in a lookup that it made by hand."""

    async def play(world: World) -> None:
        await world.submit(world.charlie, made(world))

    return play


def past_the_hub(made: Callable[[World], Envelope]) -> Play:
    """The hub hands on to bravo what it should have refused charlie."""

    async def play(world: World) -> None:
        await world.lies.deliver("bravo", replace(made(world), recipient=None))
        await world.settle(2.0)

    return play


def _in_alphas_name(world: World) -> Envelope:
    node = world.charlie.node
    draft = forging.drafted(node)
    return forging.lookup_envelope(
        draft.lookup, node.keys.signing.sign("lookup", replace(draft.lookup, asker=NodeId("alpha")).encode())
    )


def _alphas_with_charlies_signature(world: World) -> Envelope:
    """What alpha never asked, in an envelope of alpha's."""
    lookup = replace(forging.drafted(world.charlie.node).lookup, asker=NodeId("alpha"))
    signed = world.charlie.node.keys.signing.sign("lookup", lookup.encode())
    return forging.lookup_envelope(lookup, signed, "alpha")


def _for_a_week(world: World) -> Envelope:
    node = world.charlie.node
    lookup = forging.drafted(node).lookup
    body = forging.raw_lookup(node, forging.drafted(node), lambda _: _with_life(lookup, timedelta(days=7)))
    return replace(body, envelope_id=lookup.lookup_id.value, expires_at=lookup.issued_at + timedelta(days=7))


def _with_life(lookup: Lookup, life: timedelta) -> bytes:
    return replace(lookup, expires_at=lookup.issued_at + life).encode()


def _too_few_elements(world: World) -> Envelope:
    """39 elements: whoever looked could tell which person has no middle name."""
    node = world.charlie.node
    draft = forging.drafted(node)

    def short(body: bytes) -> bytes:
        return body[: -24 * 32 - 2] + (23).to_bytes(2, "big") + body[-23 * 32 :]

    return forging.raw_lookup(node, draft, short)


def _an_identity_element(world: World) -> Envelope:
    node = world.charlie.node
    return forging.raw_lookup(node, forging.drafted(node), lambda body: body[:-32] + bytes(32))


def _an_element_off_the_curve(world: World) -> Envelope:
    node = world.charlie.node
    return forging.raw_lookup(node, forging.drafted(node), lambda body: body[:-32] + b"\xff" * 32)


def _octets_behind_the_end(world: World) -> Envelope:
    node = world.charlie.node
    return forging.raw_lookup(node, forging.drafted(node), lambda body: body + b"\0")


def _to_bravo_alone(world: World) -> Envelope:
    node = world.charlie.node
    draft = forging.drafted(node, targets=("alpha",))
    return forging.lookup_envelope(draft.lookup, draft.statement)


def _asked_tomorrow(world: World) -> Envelope:
    node = world.charlie.node
    lookup = forging.drafted(node).lookup
    issued = lookup.issued_at + timedelta(hours=12)
    moved = replace(lookup, issued_at=issued, expires_at=issued + timedelta(hours=1))
    return forging.signed_lookup(node, moved)


def _to_nobodys_node(world: World) -> Envelope:
    node = world.charlie.node
    lookup = forging.drafted(node).lookup
    targets = tuple(sorted((*lookup.targets, Target(NodeId("zulu"), 1)), key=lambda each: each.node))
    return forging.signed_lookup(node, replace(lookup, targets=targets))


async def two_bodies_under_one_id(world: World) -> None:
    """charlie asks two things under one id, of which it could show an auditor either."""
    node, number = world.charlie.node, LookupId(secrets.token_bytes(16))
    first, second = (
        forging.drafted(node, lookup_id=number, last=last) for last in ("Placeholderson", "Other")
    )
    assert await world.submit(world.charlie, forging.lookup_envelope(first.lookup, first.statement)) is None
    await world.settle()
    await world.begin()
    await world.submit(world.charlie, forging.lookup_envelope(second.lookup, second.statement))


async def two_bodies_past_the_hub(world: World) -> None:
    """The same with a hub that lets both through: bravo answers the first."""
    node, number = world.charlie.node, LookupId(secrets.token_bytes(16))
    first, second = (
        forging.drafted(node, lookup_id=number, last=last) for last in ("Placeholderson", "Other")
    )
    await world.submit(world.charlie, forging.lookup_envelope(first.lookup, first.statement))
    await world.settle()
    await world.begin()
    await world.lies.deliver("bravo", forging.lookup_envelope(second.lookup, second.statement))
    await world.settle(2.0)


async def more_than_its_quota(world: World) -> None:
    """Lookup after lookup, under case numbers of its own: the hub's quota ends it."""
    # Four lookups a day.
    instead(world.hub.relay, "_quota", Quota(total=1_600, weak=160, match=480, code=960))
    for _ in range(5):
        await world.submit(world.charlie, _plain(world))
    await world.settle(5.0)


async def quota_of_a_node(world: World) -> None:
    """A hub that counts nothing: what alpha may ask of bravo is bravo's to say."""
    # One lookup a day, and no second one.
    instead(world.bravo.node.answerer, "_quota", Quota(total=790, weak=79, match=230, code=470))
    await world.ask("REQ-0")
    await world.ask("REQ-1")


async def _suspend(world: World) -> None:
    world.hub.directory.set_status(NodeId("charlie"), MemberStatus.SUSPENDED, world.fed.clock.now())
    await world.fed.until(lambda: world.bravo.node.indexes.version == world.hub.directory.latest().version)
    await world.begin()


async def suspended(world: World) -> None:
    """A member that the operator suspended asks on."""
    envelope = _plain(world)
    await _suspend(world)
    await world.submit(world.charlie, envelope)
    await world.settle()


async def suspended_past_the_hub(world: World) -> None:
    """The same, with a hub that hands it on."""
    envelope = _plain(world)
    await _suspend(world)
    await world.lies.deliver("bravo", envelope)
    await world.settle()


def _plain(world: World) -> Envelope:
    draft = forging.drafted(world.charlie.node)
    return forging.lookup_envelope(draft.lookup, draft.statement)


def hub(name: str, does: str, play: Play, shown: str, overall: str = "INCOMPLETE") -> Case:
    lasts = play in (held_back_for_a_day, a_version_that_never_comes)
    together = "" if lasts else "lookups"
    return Case(name, Liar.HUB, does, Covered(shown, overall), play, SECTION, together=together)


def member(name: str, does: str, play: Play, code: str, by: str = "hub") -> Case:
    return Case(
        name, Liar.MEMBER, does, Refused(code, by), play, SECTION, together="members" if by == "hub" else ""
    )


def alone(name: str, does: str, play: Play, code: str) -> Case:
    """Of which something stays."""
    return Case(name, Liar.MEMBER, does, Refused(code, "hub"), play, SECTION)


CASES = (
    hub(
        "a lookup dropped before its target",
        "delivers a lookup to all but bravo",
        delivering(dropping(LOOKUP, to="bravo")),
        "1 pending (bravo)",
    ),
    hub(
        "a lookup taken and handed to nobody",
        "gives a receipt and stores nothing",
        never_handed_on,
        "3 pending (alpha, bravo, charlie)",
    ),
    Case(
        "a lookup denied for no reason",
        Liar.HUB,
        "says that a target is no member",
        Covered('overall: "PENDING"', ""),
        denied_for_good,
        SECTION,
    ),
    hub(
        "a lookup delivered twice",
        "repeats a lookup to bravo: it is neither evaluated nor charged again",
        replayed,
        "complete: true",
        "MATCH",
    ),
    hub(
        "a lookup delayed beyond its life",
        "hands a lookup to bravo after a day",
        held_back_for_a_day,
        "1 expired (bravo)",
    ),
    hub(
        "a lookup with its recipient swapped",
        "writes charlie on the envelope that it hands to bravo",
        _change(_to_charlie),
        "1 pending (bravo)",
    ),
    hub(
        "lookups out of order",
        "hands two lookups to bravo in the other order, each twice",
        out_of_order,
        "complete: true",
        "MATCH",
    ),
    hub(
        "a target left out",
        "takes a lookup for two of its three targets and counts three",
        left_out,
        "1 pending (charlie)",
        "MATCH",
    ),
    Case(
        "a lookup altered",
        Liar.HUB,
        "changes a bit of a lookup on its way to bravo",
        Refused("signature_invalid", "bravo"),
        _change(lambda one: replace(one, body=flipped(one.body, 120))),
        SECTION,
    ),
    Case(
        "the target set altered",
        Liar.HUB,
        "puts another name among the targets",
        Refused("signature_invalid", "bravo"),
        _change(_other_targets),
        SECTION,
    ),
    Case(
        "a lookup in another member's envelope",
        Liar.HUB,
        "hands alpha's lookup to bravo as charlie's",
        Refused("identity_mismatch", "bravo"),
        _change(lambda one: replace(one, sender=NodeId("charlie"))),
        SECTION,
    ),
    Case(
        "a lookup under another id",
        Liar.HUB,
        "gives a lookup another envelope id, to have it answered twice",
        Refused("identity_mismatch", "bravo"),
        _change(lambda one: replace(one, envelope_id=secrets.token_bytes(16))),
        SECTION,
    ),
    Case(
        "a hub whose clock is wrong",
        Liar.HUB,
        "says that it is an hour later",
        Refused("clock_wrong"),
        clock_of_another_day,
        SECTION,
    ),
    hub(
        "a directory announced that never comes",
        "announces version 1,000,000: nothing is judged until then",
        a_version_that_never_comes,
        "3 pending (alpha, bravo, charlie)",
    ),
    Case(
        "a second welcome",
        Liar.HUB,
        "begins the stream anew in its middle",
        Refused("malformed_message"),
        welcomed_twice,
        SECTION,
        together="stream",
    ),
    Case(
        "an unknown frame",
        Liar.HUB,
        "says something on the stream that no version knows",
        Refused("malformed_message"),
        garbage_on_the_stream,
        SECTION,
        together="stream",
    ),
    Case(
        "noise on the stream",
        Liar.HUB,
        "says octets that are no message",
        Refused("malformed_message"),
        noise_on_the_stream,
        SECTION,
        together="stream",
    ),
    Case(
        "a directory that is no message",
        Liar.HUB,
        "replies with octets that are no message",
        Refused("malformed_message"),
        garbled("GetDirectory", lambda world: world.alpha.node.indexes.refresh()),
        SECTION,
        together="stream",
    ),
    Case(
        "a quota that is no message",
        Liar.HUB,
        "the same, to a question about the quota",
        Refused("malformed_message"),
        garbled("GetQuota", lambda world: world.alpha.node.hub.quota()),
        SECTION,
        together="stream",
    ),
    Case(
        "a flood of deliveries",
        Liar.HUB,
        "sends more at once than may be in flight",
        Refused("limit_exceeded"),
        a_flood,
        SECTION,
    ),
    member(
        "a lookup in another member's name",
        "signs a lookup that names alpha as its asker",
        handing_in(_in_alphas_name),
        "signature_invalid",
    ),
    member(
        "a lookup in another member's name, past the hub",
        "the same, with a hub that hands it on",
        past_the_hub(_alphas_with_charlies_signature),
        "signature_invalid",
        "bravo",
    ),
    member(
        "another member's envelope",
        "hands in an envelope that says it is alpha's",
        handing_in(lambda world: replace(_plain(world), sender=NodeId("alpha"))),
        "identity_mismatch",
    ),
    member(
        "a lookup that lives for a week",
        "lets a lookup expire after seven days",
        handing_in(_for_a_week),
        "malformed_message",
    ),
    member(
        "39 elements",
        "leaves out the slot of a field that the person does not have",
        handing_in(_too_few_elements),
        "malformed_message",
    ),
    member(
        "the identity as an element",
        "asks for an output that says something about the key",
        handing_in(_an_identity_element),
        "invalid_element",
    ),
    member(
        "an element that is none",
        "sends octets that encode no element",
        handing_in(_an_element_off_the_curve),
        "invalid_element",
    ),
    member(
        "octets behind the end",
        "signs a lookup with one octet more",
        handing_in(_octets_behind_the_end),
        "not_canonical",
    ),
    member(
        "a lookup that was not asked yet",
        "dates a lookup twelve hours ahead",
        handing_in(_asked_tomorrow),
        "not_yet_valid",
    ),
    member(
        "a target that is no member",
        "names a node that nobody knows",
        handing_in(_to_nobodys_node),
        "wrong_recipient",
    ),
    member(
        "a lookup to a node that it does not name",
        "hands bravo a lookup to alpha alone, through the hub",
        past_the_hub(_to_bravo_alone),
        "wrong_recipient",
        "bravo",
    ),
    alone(
        "two lookups under one id",
        "asks two things under one id",
        two_bodies_under_one_id,
        "conflicting_resubmission",
    ),
    alone("more than its quota", "asks until nothing is left", more_than_its_quota, "quota_spent"),
    Case(
        "two lookups under one id, past the hub",
        Liar.MEMBER,
        "the same, with a hub that hands both on: bravo answers the first",
        Proved("two-lookups", "bravo"),
        two_bodies_past_the_hub,
        SECTION,
    ),
    Case(
        "more than a node's quota",
        Liar.ASKER,
        "asks on where a hub counts nothing: every node counts for itself",
        Covered("1 quota (bravo)"),
        quota_of_a_node,
        SECTION,
    ),
    alone(
        "a suspended member asks on", "asks after the operator suspended it", suspended, "member_suspended"
    ),
    Case(
        "a suspended member asks on, past the hub",
        Liar.MEMBER,
        "the same, with a hub that hands it on",
        Refused("REFUSED_STANDING", "bravo", ANSWERING),
        suspended_past_the_hub,
        SECTION,
    ),
)
