"""A hub that keeps or changes segments, and members that publish what is not theirs."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from candor_node import lifecycle
from candor_node.lifecycle import Doing
from candor_proto.directory import IndexHead, SegmentRef
from candor_proto.errors import UnknownObject
from candor_proto.ids import Digest, NodeId
from candor_proto.segment import MAX_SEGMENT_OCTETS, Segment, address
from candor_proto.signing import SignedStatement, SigningKey
from candor_records.life import Act
from candor_records.records import Dcn
from candor_wire import limits
from candor_wire.v1 import hub_pb2
from tests.byzantine import forging
from tests.byzantine.case import Case, Covered, Liar, Play, Proved, Refused
from tests.byzantine.forged_log import logged_and_shown
from tests.byzantine.hub import Serve, flipped, with_head
from tests.byzantine.world import ROW, World
from tests.simulator.federation import Party

SECTION = "segments"
NO_INDEX = "1 no index (bravo)"


# --- the hub ---------------------------------------------------------------------------------------------


def serving(change: Callable[[bytes, bytes], list[bytes] | None]) -> Play:
    """bravo publishes; of its new segment alpha is served what `change` makes of (asked, octets)."""

    async def play(world: World) -> None:
        async def reply(party: str, parts: list[bytes], serve: Serve) -> list[bytes]:
            if party != "alpha":
                return await serve(parts)
            served = await serve(parts)
            octets = b"".join(hub_pb2.GetSegmentResponse.FromString(each).chunk for each in served)
            if Segment(octets).header.node != NodeId("bravo"):
                return served
            changed = change(parts[0], octets)
            if changed is None:
                raise AssertionError("nothing is served")
            return [hub_pb2.GetSegmentResponse(chunk=chunk).SerializeToString() for chunk in changed]

        world.lies.replies["GetSegment"] = reply
        await world.fed.file(world.bravo, [ROW])
        await world.settle(3.0)
        await world.ask()

    return play


async def withheld(world: World) -> None:
    """Of bravo's new segment alpha hears that there is none; charlie gets it."""
    world.lies.refuse("GetSegment", UnknownObject("There is no such segment."), to="alpha")
    await world.fed.file(world.bravo, [ROW])
    await world.settle(3.0)
    await world.ask()


def _altered(_: bytes, octets: bytes) -> list[bytes]:
    return _chunks(flipped(octets, 400))


def _cut_off(_: bytes, octets: bytes) -> list[bytes]:
    return _chunks(octets[:-1])


def _without_end(_: bytes, octets: bytes) -> list[bytes]:
    return [bytes(limits.CHUNK_BYTES)] * (MAX_SEGMENT_OCTETS // limits.CHUNK_BYTES + 1)


def _empty(_: bytes, octets: bytes) -> list[bytes]:
    return [b""]


def _chunks(octets: bytes) -> list[bytes]:
    return [octets[at : at + limits.CHUNK_BYTES] for at in range(0, len(octets), limits.CHUNK_BYTES)]


async def another_owners(world: World) -> None:
    """charlie's segment comes under the address of bravo's."""
    held = await _segment_of(world, "charlie")

    async def reply(party: str, parts: list[bytes], serve: Serve) -> list[bytes]:
        served = await serve(parts)
        if party != "alpha" or b"bravo" not in b"".join(served):
            return served
        return [hub_pb2.GetSegmentResponse(chunk=held).SerializeToString()]

    world.lies.replies["GetSegment"] = reply
    await world.fed.file(world.bravo, [ROW])
    await world.settle(3.0)
    await world.ask()


async def _segment_of(world: World, node: str) -> bytes:
    ref = world.alpha.node.indexes.heads()[NodeId(node)].segments[-1]
    return await world.alpha.node.hub.get_segment(ref.address)


# --- hub and owner together --------------------------------------------------------------------------------


def head_shown(change: Callable[[World, IndexHead], Awaitable[IndexHead]]) -> Play:
    """bravo signs another head, and the hub logs it and shows it to alpha without having checked it."""

    async def play(world: World) -> None:
        node = world.bravo.node
        head = await change(
            world, replace(forging.head_of(node), sequence=forging.head_of(node).sequence + 1)
        )
        signed = forging.signed_head(node, head)
        await logged_and_shown(world, with_head(world.hub, "bravo", signed, ahead=1))
        await world.ask()

    return play


async def _naming_charlies(world: World, head: IndexHead) -> IndexHead:
    theirs = world.alpha.node.indexes.heads()[NodeId("charlie")].segments
    return replace(head, segments=theirs)


async def _too_much(world: World, head: IndexHead) -> IndexHead:
    refs = tuple(SegmentRef(number, Digest(secrets.token_bytes(32)), (1 << 32) - 1) for number in range(3))
    return replace(head, segments=refs)


async def _of_an_unknown_scheme(world: World, head: IndexHead) -> IndexHead:
    return replace(head, scheme_version=77)


def two_heads(change: Callable[[World, IndexHead], IndexHead]) -> Play:
    """bravo has signed the head that alpha holds, and another one, which the hub shows to alpha alone."""

    async def play(world: World) -> None:
        node = world.bravo.node
        signed = forging.signed_head(node, change(world, forging.head_of(node)))
        world.lies.show_directory(with_head(world.hub, "bravo", signed, ahead=1), to="alpha")
        await world.refresh()

    return play


def _of_one_sequence(world: World, head: IndexHead) -> IndexHead:
    return replace(head, segments=())


def _with_other_keys(world: World, head: IndexHead) -> IndexHead:
    keys = world.alpha.node.indexes.heads()[NodeId("charlie")].keys
    return replace(head, sequence=head.sequence + 1, keys=keys)


def _of_an_earlier_epoch(world: World, head: IndexHead) -> IndexHead:
    return replace(head, sequence=head.sequence + 1, epoch=head.epoch - 1)


async def a_segment_that_is_none(world: World) -> None:
    """bravo signs a head over noise; the hub takes it unread."""
    noise = secrets.token_bytes(5_000)
    head = forging.head_of(world.bravo.node)
    refs = (SegmentRef(0, address(noise), len(noise)),)
    signed = forging.signed_head(world.bravo.node, replace(head, sequence=head.sequence + 1, segments=refs))

    async def reply(party: str, parts: list[bytes], serve: Serve) -> list[bytes]:
        if hub_pb2.GetSegmentRequest.FromString(parts[0]).address != address(noise).value:
            return await serve(parts)
        return [hub_pb2.GetSegmentResponse(chunk=noise).SerializeToString()]

    world.lies.replies["GetSegment"] = reply
    await logged_and_shown(world, with_head(world.hub, "bravo", signed, ahead=1))
    await world.ask()


# --- an owner that changes its mind --------------------------------------------------------------------


async def withdrawn_after_it_was_seen(world: World) -> None:
    """alpha has seen the hit; bravo withdraws the record and does not say so to alpha."""
    await world.ask()
    await _withhold(world)
    await world.fed.publish(world.bravo)
    await world.fed.settled()


async def withdrawn_and_back(world: World) -> None:
    """The same record is withdrawn and published again: it is another blob, of which alpha is told anew."""
    await world.ask()
    await _withhold(world)
    await world.fed.publish(world.bravo)
    await _withhold(world, sealed=False)
    await world.fed.publish(world.bravo)
    await world.fed.settled()
    await world.ask("REQ-2")


async def _withhold(world: World, *, sealed: bool = True) -> None:
    node = world.bravo.node
    doing = Doing(node.clock.now(), "clerk-7", await node.store.run(node.policy), "By order.", "chief-1")

    def work(db: Any) -> None:
        dcn = Dcn(db.execute("SELECT dcn FROM record_heads").fetchone()[0])
        circumstances = lifecycle.current(db, dcn).circumstances
        act = Act.SEAL if sealed else Act.UNSEAL
        lifecycle.change(db, dcn, act, doing, replace(circumstances, sealed_by_order=sealed))

    await node.store.run(work)


# --- members that publish what is not theirs ---------------------------------------------------------------


def putting_head(made: Callable[[World], SignedStatement], by: str = "charlie") -> Play:
    async def play(world: World) -> None:
        await world.attempt("hub", world.party(by).node.hub.put_head(made(world)))

    return play


def _next(party: Party, **changes: Any) -> IndexHead:
    head = forging.head_of(party.node)
    return replace(head, **({"sequence": head.sequence + 1} | changes))


def _bravos_by_charlie(world: World) -> SignedStatement:
    """A head of bravo's, signed by charlie."""
    return forging.signed_head(world.charlie.node, _next(world.bravo))


def _old_sequence(world: World) -> SignedStatement:
    return forging.signed_head(world.charlie.node, _next(world.charlie, sequence=1))


def _same_sequence(world: World) -> SignedStatement:
    head = forging.head_of(world.charlie.node)
    return forging.signed_head(
        world.charlie.node, replace(head, issued_at=head.issued_at + timedelta(seconds=1))
    )


def _of_tomorrow(world: World) -> SignedStatement:
    return forging.signed_head(
        world.charlie.node, _next(world.charlie, issued_at=world.fed.clock.now() + timedelta(days=1))
    )


def _not_there(world: World) -> SignedStatement:
    refs = (SegmentRef(0, Digest(secrets.token_bytes(32)), 1_000),)
    return forging.signed_head(world.charlie.node, _next(world.charlie, segments=refs))


def _naming_bravos(world: World) -> SignedStatement:
    return forging.signed_head(
        world.charlie.node, _next(world.charlie, segments=forging.head_of(world.bravo.node).segments)
    )


async def segment_of_another(world: World) -> None:
    """charlie stores a segment that says it is bravo's."""
    octets = (await _segment_of(world, "charlie")).replace(b"\0\0\0\x07charlie", b"\0\0\0\x05bravo")
    await world.attempt("hub", world.charlie.node.hub.put_segment(address(octets), octets))


async def segment_under_another_address(world: World) -> None:
    octets = await _segment_of(world, "charlie")
    await world.attempt("hub", world.charlie.node.hub.put_segment(Digest(bytes(32)), octets))


async def segment_that_is_none(world: World) -> None:
    octets = secrets.token_bytes(10_000)
    await world.attempt("hub", world.charlie.node.hub.put_segment(address(octets), octets))


async def segment_not_padded(world: World) -> None:
    """One entry fewer than padding gives: it would say how many records were filed."""
    octets = await _segment_of(world, "charlie")
    header = Segment(octets).header
    start = len(header.encode())
    short = replace(header, entries=header.entries - 1).encode() + octets[start + 96 :]
    await world.attempt("hub", world.charlie.node.hub.put_segment(address(short), short))


# --- whoever has a member's TLS key, and no other -------------------------------------------------------


def as_charlie(made: Callable[[World, SigningKey], Awaitable[None]]) -> Play:
    """Calls come with charlie's certificate; its signing key is another one's."""

    async def play(world: World) -> None:
        await made(world, SigningKey.generate())

    return play


async def _stolen_lookup(world: World, key: SigningKey) -> None:
    lookup = forging.drafted(world.charlie.node).lookup
    await world.submit(world.charlie, forging.lookup_envelope(lookup, key.sign("lookup", lookup.encode())))


async def _stolen_head(world: World, key: SigningKey) -> None:
    statement = key.sign("index-head", _next(world.charlie).encode())
    await world.attempt("hub", world.charlie.node.hub.put_head(statement))


async def _stolen_renewal(world: World, key: SigningKey) -> None:
    """A new certificate, that would outlive the stolen one."""
    renewal = world.charlie.node.renewal
    honest, renewal._signing_key = renewal._signing_key, key
    await world.attempt("hub", renewal.renew())
    renewal._signing_key = honest


async def stolen_answer(world: World) -> None:
    """Answers in charlie's place, signed by nobody's key: the hub cannot tell, alpha can."""
    answerer = world.charlie.node.answerer
    answerer._key = SigningKey.generate()
    await world.ask()


def hub(name: str, does: str, play: Play, shown: str = NO_INDEX, overall: str = "INCOMPLETE") -> Case:
    return Case(name, Liar.HUB, does, Covered(shown, overall), play, SECTION, prepared=False)


def both(name: str, does: str, play: Play, shown: str, overall: str = "INCOMPLETE") -> Case:
    return Case(name, Liar.HUB_AND_OWNER, does, Covered(shown, overall), play, SECTION)


def contradicting(name: str, does: str, change: Callable[[World, IndexHead], IndexHead]) -> Case:
    return Case(
        name, Liar.HUB_AND_OWNER, does, Proved("two-heads"), two_heads(change), SECTION, together="heads"
    )


def member(name: str, does: str, play: Play, code: str, liar: Liar = Liar.MEMBER) -> Case:
    return Case(name, liar, does, Refused(code, "hub"), play, SECTION, together="members")


CASES = (
    hub(
        "a segment withheld from one member", "says to alpha that it does not have bravo's segment", withheld
    ),
    hub("a segment altered", "serves bravo's segment with another bit", serving(_altered)),
    hub("a segment cut off", "serves bravo's segment without its last octet", serving(_cut_off)),
    hub("an empty chunk", "serves chunks with nothing in them", serving(_empty)),
    hub("a segment without an end", "serves more than a segment may hold", serving(_without_end)),
    hub("another owner's segment", "serves charlie's segment under the address of bravo's", another_owners),
    both(
        "a head that names another owner's segments",
        "signs, and shows, a head of bravo's with charlie's segments",
        head_shown(_naming_charlies),
        NO_INDEX,
    ),
    both(
        "a head that names more than anybody holds",
        "signs, and shows, a head of 12 GiB",
        head_shown(_too_much),
        NO_INDEX,
    ),
    both(
        "a head of an unknown scheme",
        "signs, and shows, a head of scheme 77",
        head_shown(_of_an_unknown_scheme),
        "1 unknown scheme (bravo)",
    ),
    contradicting(
        "an index of its own for each asker",
        "signs two heads of one sequence, and shows alpha the other one",
        _of_one_sequence,
    ),
    contradicting("two sets of keys in one epoch", "signs a head with other keys", _with_other_keys),
    contradicting("an epoch taken back", "signs a later head of an earlier epoch", _of_an_earlier_epoch),
    Case(
        "a head over noise",
        Liar.HUB_AND_WITNESSES,
        "bravo signs, and the hub shows, a segment that is none",
        Proved("malformed-segment", shown=Covered(NO_INDEX)),
        a_segment_that_is_none,
        SECTION,
    ),
    Case(
        "withdrawn after it was seen",
        Liar.OWNER,
        "withdraws what alpha has seen, and says nothing: the hit says that it is withdrawn",
        Covered('standing: "withdrawn"', "MATCH"),
        withdrawn_after_it_was_seen,
        SECTION,
    ),
    Case(
        "withdrawn and published again",
        Liar.OWNER,
        "withdraws a record and publishes it again: the old hit stays withdrawn, the new one stands",
        Covered('standing: "stands"', "MATCH"),
        withdrawn_and_back,
        SECTION,
    ),
    member(
        "another member's head",
        "signs a head of bravo's and publishes it",
        putting_head(_bravos_by_charlie),
        "identity_mismatch",
    ),
    member(
        "a head of an old sequence",
        "publishes a head of a lower sequence than its last",
        putting_head(_old_sequence),
        "rollback",
    ),
    member(
        "two heads of one sequence",
        "publishes another head under the sequence of its last",
        putting_head(_same_sequence),
        "rollback",
    ),
    member(
        "tomorrow's head",
        "dates a head a day ahead, so that it stays fresh",
        putting_head(_of_tomorrow),
        "not_yet_valid",
    ),
    member(
        "a head without its segments",
        "names a segment that it never sent",
        putting_head(_not_there),
        "unknown_object",
    ),
    member(
        "a head over another member's segments",
        "names bravo's segments in a head of its own",
        putting_head(_naming_bravos),
        "unknown_object",
    ),
    member(
        "a segment in another member's name",
        "stores a segment that says it is bravo's",
        segment_of_another,
        "identity_mismatch",
    ),
    member(
        "a segment under another address",
        "stores a segment under an address that it does not have",
        segment_under_another_address,
        "malformed_message",
    ),
    member("a segment that is none", "stores noise", segment_that_is_none, "malformed_message"),
    member(
        "a segment that is not padded",
        "stores a segment whose lengths tell how much was filed",
        segment_not_padded,
        "not_canonical",
    ),
    member(
        "a stolen TLS key asks",
        "hands in a lookup that it cannot sign",
        as_charlie(_stolen_lookup),
        "signature_invalid",
        Liar.THIEF,
    ),
    member(
        "a stolen TLS key publishes",
        "publishes a head that it cannot sign",
        as_charlie(_stolen_head),
        "signature_invalid",
        Liar.THIEF,
    ),
    member(
        "a stolen TLS key renews itself",
        "asks for another certificate",
        as_charlie(_stolen_renewal),
        "signature_invalid",
        Liar.THIEF,
    ),
    Case(
        "a stolen TLS key answers",
        Liar.THIEF,
        "answers in charlie's place under a key of its own",
        Covered("1 invalid answer (charlie)", "MATCH"),
        stolen_answer,
        SECTION,
    ),
)
