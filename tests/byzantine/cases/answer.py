"""Answers that are no answers: what an owner signs, and what a hub does to what it signed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

from candor_proto.budget import Quota
from candor_proto.ids import Digest, KeyClass, LookupId, LookupShape, NodeId
from candor_proto.statements import Answer, AnswerStatus, Evaluation, Lookup
from candor_wire.codec import Envelope, MessageKind
from tests.byzantine import forging
from tests.byzantine.case import Case, Covered, Liar, Play, Proved, Refused
from tests.byzantine.forging import Lie, answers_with, answers_with_octets, fields, first_element
from tests.byzantine.hub import Passing, changing, dropping, flipped
from tests.byzantine.patching import instead
from tests.byzantine.world import World

SECTION = "answer"
ANSWER = MessageKind.ANSWER
INVALID = "1 invalid answer (bravo)"
PENDING = "1 pending (bravo)"


# --- the hub ---------------------------------------------------------------------------------------------


def delivering(passing: Passing) -> Play:
    async def play(world: World) -> None:
        world.lies.delivers = passing
        await world.ask()
        await world.settle()

    return play


def _change(change: Callable[[Envelope], Envelope]) -> Play:
    return delivering(changing(ANSWER, change, to="alpha", by="bravo"))


async def lost_behind_the_receipt(world: World) -> None:
    """bravo hears that its answer was taken."""
    world.lies.takes = dropping(ANSWER, by="bravo")
    await world.ask()


async def answer_of_another_lookup(world: World) -> None:
    """What bravo said to the first lookup is handed out as its answer to the second."""
    old: list[Envelope] = []

    def delivers(party: str, envelope: Envelope) -> Iterator[Envelope]:
        if envelope.kind is not ANSWER or party != "alpha" or str(envelope.sender) != "bravo":
            yield envelope
        elif not old:
            old.append(envelope)
            yield envelope
        else:
            yield replace(old[0], envelope_id=envelope.envelope_id)

    world.lies.delivers = delivers
    await world.ask("REQ-1")
    await world.ask("REQ-2")


async def withheld_refusal(world: World) -> None:
    """bravo says that alpha's quota is spent; alpha shall believe that bravo is away."""
    instead(world.bravo.node.answerer, "_quota", Quota(total=10, weak=10, match=10, code=10))
    world.lies.delivers = dropping(ANSWER, to="alpha", by="bravo")
    await world.ask()


def _spoilt_first(_: str, envelope: Envelope) -> Iterator[Envelope]:
    """A spoilt copy comes before the good one: it does not close the door."""
    if envelope.kind is ANSWER:
        yield replace(envelope, body=flipped(envelope.body, -3))
    yield envelope


def _twice(_: str, envelope: Envelope) -> Iterator[Envelope]:
    yield envelope
    if envelope.kind is ANSWER:
        yield envelope
        yield replace(envelope, body=flipped(envelope.body, -3))


def _many_spoilt(_: str, envelope: Envelope) -> Iterator[Envelope]:
    """So many different bodies under one id that the good one finds no room."""
    if envelope.kind is ANSWER and str(envelope.sender) == "bravo":
        for bit in range(40):
            yield replace(envelope, body=flipped(envelope.body, -3 - bit))
    yield envelope


def _shares_out(_: str, envelope: Envelope) -> Iterator[Envelope]:
    """bravo's answer comes as charlie's."""
    if envelope.kind is ANSWER and str(envelope.sender) == "bravo":
        yield replace(envelope, sender=NodeId("charlie"))
    elif envelope.kind is not ANSWER or str(envelope.sender) != "charlie":
        yield envelope


async def late(world: World) -> None:
    """The answer comes when the result has been shown: it is amended."""
    await _held_back(world, hours=1)


async def after_its_life(world: World) -> None:
    """The answer comes when the lookup has ended: it stays expired."""
    await _held_back(world, hours=25)


async def _held_back(world: World, hours: float) -> None:
    held: list[Envelope] = []

    def delivers(_: str, envelope: Envelope) -> Iterator[Envelope]:
        if envelope.kind is ANSWER and str(envelope.sender) == "bravo":
            held.append(envelope)
        else:
            yield envelope

    world.lies.delivers = delivers
    await world.ask()
    world.fed.clock.advance(hours=hours)
    await world.settle(120.0)
    world.lies.honest()
    await world.lies.deliver("alpha", *held)
    await world.settle(5.0)


async def to_nothing_asked(world: World) -> None:
    """An answer that bravo once gave somebody else."""
    await world.ask()
    (answer,) = [one for to, one in world.lies.delivered if one.kind is ANSWER and str(one.sender) == "bravo"]
    await world.begin()
    await world.lies.deliver("alpha", replace(answer, envelope_id=secrets.token_bytes(16)))
    await world.settle()


# --- the owner --------------------------------------------------------------------------------------------


def lying(lie: Lie) -> Play:
    """bravo signs something else than its honest answer."""

    async def play(world: World) -> None:
        answers_with(world.bravo, lie)
        await world.ask()
        await world.settle()

    return play


def in_octets(change: Callable[[bytes], bytes], context: str = "answer") -> Play:
    async def play(world: World) -> None:
        answers_with_octets(world.bravo, change, context)
        await world.ask()
        await world.settle()

    return play


async def under_the_epoch_before(world: World) -> None:
    """bravo has a new epoch, which alpha names; the answer is evaluated under the old one."""
    seed = forging.epoch_seed(world.bravo.node)
    await world.fed.publish(world.bravo, rotate=True)
    await world.fed.settled()

    def lie(lookup: Lookup, answer: Answer) -> Answer:
        return replace(forging.under(seed)(lookup, replace(answer, epoch=1)), epoch=1)

    answers_with(world.bravo, lie)
    await world.ask()


async def old_key_new_epoch(world: World) -> None:
    """The same, and the answer says that it is of the new epoch."""
    seed = forging.epoch_seed(world.bravo.node)
    await world.fed.publish(world.bravo, rotate=True)
    await world.fed.settled()
    keys_of_old = seed

    def lie(lookup: Lookup, answer: Answer) -> Answer:
        old = forging.under(keys_of_old)(lookup, replace(answer, epoch=1))
        return replace(old, epoch=answer.epoch)

    answers_with(world.bravo, lie)
    await world.ask()


async def a_key_for_alpha_alone(world: World) -> None:
    """Whoever is answered under a key of its own can be told from all others by what it finds."""
    seed = secrets.token_bytes(32)

    def lie(lookup: Lookup, answer: Answer) -> Answer:
        return forging.under(seed)(lookup, answer) if str(lookup.asker) == "alpha" else answer

    answers_with(world.bravo, lie)
    await world.ask()


def refusing(status: AnswerStatus) -> Lie:
    return fields(status=status, evaluations={})


def _with_something_in_a_refusal(body: bytes) -> bytes:
    """A refusal whose elements are not zeros: a channel of 1,472 octets to whoever sees it."""
    return body[:-1] + b"\x01"


async def refusal_with_a_message(world: World) -> None:
    answers_with_octets(world.bravo, lambda body: _with_something_in_a_refusal(_as_refusal(body)))
    await world.ask()


def _as_refusal(body: bytes) -> bytes:
    return replace(Answer.decode(body), status=AnswerStatus.REFUSED, evaluations={}).encode()


def _screening(answer: Answer) -> Answer:
    kept: dict[KeyClass, Evaluation] = {
        key_class: each for key_class, each in answer.evaluations.items() if key_class is not KeyClass.CODE
    }
    return replace(answer, shape=LookupShape.SCREENING, evaluations=kept)


def hub(name: str, does: str, play: Play, shown: str, overall: str = "INCOMPLETE") -> Case:
    moves_time = play in (late, after_its_life)
    together = "" if moves_time else "lookups"
    return Case(name, Liar.HUB, does, Covered(shown, overall), play, SECTION, together=together)


def owner(name: str, does: str, play: Play, shown: str = INVALID, overall: str = "INCOMPLETE") -> Case:
    return Case(name, Liar.OWNER, does, Covered(shown, overall), play, SECTION, together="answers")


def proved(name: str, does: str, play: Play, kind: str) -> Case:
    rotates = play in (under_the_epoch_before, old_key_new_epoch)
    expect, together = Proved(kind, shown=Covered(INVALID)), "" if rotates else "answers"
    return Case(name, Liar.OWNER, does, expect, play, SECTION, together=together)


HUB = (
    hub(
        "an answer dropped",
        "does not deliver bravo's answer",
        delivering(dropping(ANSWER, to="alpha", by="bravo")),
        PENDING,
    ),
    hub(
        "an answer lost behind its receipt",
        "takes bravo's answer and stores nothing",
        lost_behind_the_receipt,
        PENDING,
    ),
    hub(
        "a refusal withheld",
        "drops what bravo says of alpha's quota, so that bravo seems to be away",
        withheld_refusal,
        PENDING,
    ),
    hub(
        "an answer altered",
        "changes a bit of bravo's answer",
        _change(lambda one: replace(one, body=flipped(one.body, -3))),
        INVALID,
    ),
    hub(
        "a refusal made of an answer",
        "changes the status in bravo's answer",
        _change(lambda one: replace(one, body=_as_refusal(one.body))),
        INVALID,
    ),
    hub(
        "a signature altered",
        "changes a bit of the signature of bravo's answer",
        _change(lambda one: replace(one, signature=flipped(one.signature, 3))),
        INVALID,
    ),
    hub(
        "an answer of another lookup",
        "hands out an old answer of bravo's as its new one",
        answer_of_another_lookup,
        INVALID,
    ),
    hub(
        "an answer as another member's",
        "hands out bravo's answer as charlie's",
        delivering(_shares_out),
        "1 pending (bravo); 1 invalid answer (charlie)",
    ),
    hub(
        "a spoilt copy before the good one",
        "delivers a spoilt answer first: it does not close the door",
        delivering(_spoilt_first),
        "complete: true",
        "MATCH",
    ),
    hub(
        "an answer delivered twice",
        "repeats answers, spoilt as well: the first one stands",
        delivering(_twice),
        "complete: true",
        "MATCH",
    ),
    hub(
        "forty spoilt copies",
        "fills the places for one id with spoilt answers",
        delivering(_many_spoilt),
        INVALID,
    ),
    hub(
        "an answer delayed",
        "delivers bravo's answer when the result was shown: the result is amended",
        late,
        "complete: true",
        "MATCH",
    ),
    hub(
        "an answer delayed beyond the lookup",
        "delivers bravo's answer after a day",
        after_its_life,
        "1 expired (bravo)",
    ),
    Case(
        "an answer to nothing that was asked",
        Liar.HUB,
        "delivers an answer under an id of its own",
        Refused("unknown_object"),
        to_nothing_asked,
        SECTION,
    ),
)
OWNER = (
    proved(
        "a key for one asker alone",
        "evaluates alpha's lookups under a key of their own",
        a_key_for_alpha_alone,
        "wrong-key",
    ),
    proved(
        "a wrong key in one class",
        "evaluates the field codes under another key",
        lying(forging.one_class_under(bytes(32), KeyClass.CODE)),
        "wrong-key",
    ),
    proved("elements permuted", "puts right elements in another order", lying(forging.permuted), "wrong-key"),
    proved(
        "evaluated under the epoch before",
        "answers of an epoch that the lookup did not name",
        under_the_epoch_before,
        "wrong-epoch",
    ),
    proved(
        "an old key under a new epoch",
        "evaluates under last epoch's keys and says that it did not",
        old_key_new_epoch,
        "wrong-key",
    ),
    owner(
        "the identity in an answer",
        "puts the identity in the place of an element",
        in_octets(first_element(bytes(32))),
    ),
    owner(
        "an element that is not canonical",
        "puts an encoding in the place of an element that is not the shortest",
        in_octets(first_element(b"\xed" + b"\xff" * 30 + b"\x7f")),
    ),
    owner(
        "octets behind the answer's end",
        "signs an answer with an octet more",
        in_octets(lambda body: body + b"\0"),
    ),
    owner(
        "an answer signed as something else",
        "signs its answer for another context",
        in_octets(lambda body: body, "index-head"),
    ),
    owner(
        "an answer under another lookup's id",
        "names another lookup than it was asked by",
        lying(fields(lookup_id=LookupId(bytes(16)))),
    ),
    owner(
        "an answer to another body",
        "names another digest than that of the lookup",
        lying(fields(lookup=Digest(bytes(32)))),
    ),
    owner(
        "an answer in another node's name",
        "signs an answer that says it is charlie's",
        lying(fields(node=NodeId("charlie"))),
    ),
    owner(
        "an answer to another asker",
        "signs an answer that says it is for charlie",
        lying(fields(asker=NodeId("charlie"))),
    ),
    owner(
        "an answer in another shape",
        "evaluates 16 of 40 elements",
        lying(lambda _, answer: _screening(answer)),
    ),
    owner(
        "a message inside a refusal", "fills the zeros of a refusal with something", refusal_with_a_message
    ),
    owner(
        "a stale epoch that is none",
        "says that its epoch has moved on, for ever",
        lying(refusing(AnswerStatus.STALE_EPOCH)),
        "1 stale epoch (bravo)",
    ),
    owner(
        "a quota that is not spent",
        "says that alpha's quota is spent",
        lying(refusing(AnswerStatus.QUOTA)),
        "1 quota (bravo)",
    ),
    owner(
        "a purpose that is answered",
        "says that it does not answer the purpose",
        lying(refusing(AnswerStatus.REFUSED_PURPOSE)),
        "purpose not answered there",
    ),
    owner(
        "a standing that is good",
        "says that alpha is not in good standing",
        lying(refusing(AnswerStatus.REFUSED_STANDING)),
        "1 refused (bravo)",
    ),
    owner(
        "an answer too large to be one",
        "signs 100,000 octets more: the hub takes no such answer",
        in_octets(lambda body: body + bytes(150_000)),
        PENDING,
    ),
)
CASES = (*HUB, *OWNER)
