"""A hub that shows a directory, or an index, as it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from candor_node.directory_store import FetchedDirectory
from candor_proto.directory import Directory
from candor_proto.ids import Digest, FederationName
from candor_proto.signing import SigningKey
from candor_wire.limits import MAX_DIRECTORY_BYTES
from candor_wire.v1 import hub_pb2
from tests.byzantine.case import Case, Covered, Liar, Play, Refused
from tests.byzantine.hub import Serve, altered, flipped, shown_by, with_head
from tests.byzantine.patching import instead
from tests.byzantine.world import World

SECTION = "directory"


def showing(made: Callable[[World], FetchedDirectory]) -> Play:
    """alpha fetches the directory, and is shown another one."""

    async def play(world: World) -> None:
        world.lies.show_directory(made(world), to="alpha")
        await world.refresh()

    return play


def replying(messages: Callable[[World, list[bytes]], list[bytes]], method: str = "GetDirectory") -> Play:
    """alpha fetches, and what the hub replies is changed, message by message."""

    async def play(world: World) -> None:
        async def reply(party: str, parts: list[bytes], serve: Serve) -> list[bytes]:
            return messages(world, await serve(parts))

        world.lies.replies[method] = reply
        await world.refresh()

    return play


async def an_older_one(world: World) -> None:
    """Kept from before bravo's last publication."""
    old = shown_by(world.hub)
    await world.fed.publish(world.bravo)
    await world.fed.settled()
    await world.begin()
    world.lies.show_directory(old, to="alpha")
    await world.refresh()


def _another_of_its_version(world: World) -> FetchedDirectory:
    shown = Directory.decode(shown_by(world.hub).statement.body)
    return altered(world.hub, issued_at=shown.issued_at + timedelta(milliseconds=1))


def _signed_by_nobody(world: World) -> FetchedDirectory:
    shown = shown_by(world.hub)
    return FetchedDirectory(SigningKey.generate().sign("directory", shown.statement.body), shown.chain)


def _of_another_chain(world: World) -> FetchedDirectory:
    return altered(world.hub, ahead=1, chain_digest=Digest(bytes(32)))


def _of_another_federation(world: World) -> FetchedDirectory:
    return altered(world.hub, ahead=1, federation=FederationName("other-exchange.example"))


def _of_tomorrow(world: World) -> FetchedDirectory:
    return altered(world.hub, ahead=1, issued_at=world.fed.clock.now() + timedelta(days=1))


def _cut_off(world: World) -> FetchedDirectory:
    shown, key = shown_by(world.hub), world.hub.keys().directory_key
    return FetchedDirectory(key.sign("directory", shown.statement.body[:-1]), shown.chain)


def _with_members_swapped(world: World) -> FetchedDirectory:
    directory = Directory.decode(shown_by(world.hub).statement.body)
    return altered(world.hub, ahead=1, members=tuple(reversed(directory.members)))


def _with_other_keys_for_bravo(world: World) -> FetchedDirectory:
    """Of a member that alpha knows: whoever held them could answer and read in its name."""
    return _with_bravo(world, signing_key=SigningKey.generate().public)


def _with_bravo(world: World, **changes: object) -> FetchedDirectory:
    directory = Directory.decode(shown_by(world.hub).statement.body)
    members = tuple(
        replace(member, **changes) if str(member.node) == "bravo" else member  # type: ignore[arg-type]
        for member in directory.members
    )
    return altered(world.hub, ahead=1, members=members)


def _with_a_spoilt_head(world: World) -> FetchedDirectory:
    member = Directory.decode(shown_by(world.hub).statement.body).members[1]
    assert member.head is not None
    spoilt = replace(member.head, signature=flipped(member.head.signature, 5))
    return with_head(world.hub, "bravo", spoilt, ahead=1)


async def an_older_head(world: World) -> None:
    """A head that bravo signed once, in a directory made today."""
    old = Directory.decode(shown_by(world.hub).statement.body).members[1].head
    assert old is not None
    await world.fed.publish(world.bravo)
    await world.fed.settled()
    await world.begin()
    world.lies.show_directory(with_head(world.hub, "bravo", old, ahead=1), to="alpha")
    await world.refresh()


def _without_a_beginning(_: World, messages: list[bytes]) -> list[bytes]:
    return messages[1:]


def _with_something_unknown(_: World, messages: list[bytes]) -> list[bytes]:
    # Field 1000, a varint: what a hub of another make might want to add.
    return [messages[0] + b"\xc0\x3e\x01", *messages[1:]]


def _without_an_end(world: World, messages: list[bytes]) -> list[bytes]:
    chunk = hub_pb2.GetDirectoryResponse(chunk=bytes(256 * 1024)).SerializeToString()
    return [messages[0], *([chunk] * (MAX_DIRECTORY_BYTES // (256 * 1024) + 1))]


def _nothing(_: World, messages: list[bytes]) -> list[bytes]:
    return []


async def an_old_one_beside_a_newer_log(world: World) -> None:
    """alpha hears of a newer version by the log alone, and is shown the one before."""
    world.lies.show_directory(shown_by(world.hub), to="alpha")
    await world.fed.publish(world.bravo)
    await world.settle(3.0)
    await world.begin()
    await world.follow()
    await world.refresh()


async def days_without_a_head(world: World) -> None:
    """bravo's index is two days old; the log goes on."""
    instead(world.bravo.node.publishing, "_publish_due", _nothing_due)
    for _ in range(3):
        world.fed.clock.advance(hours=13)
        await world.settle(65.0)
    await world.ask()


async def _nothing_due() -> None:
    return None


def refused(name: str, does: str, play: Play, code: str) -> Case:
    return Case(name, Liar.HUB, does, Refused(code), play, SECTION, together="directory")


CASES = (
    refused(
        "an older directory",
        "shows a directory of a lower version than alpha has seen",
        an_older_one,
        "rollback",
    ),
    refused(
        "another directory of one version",
        "signs a second directory under the version that alpha holds",
        showing(_another_of_its_version),
        "rollback",
    ),
    refused(
        "a directory that the federation's key did not sign",
        "shows the members under a key that no certificate names",
        showing(_signed_by_nobody),
        "signature_invalid",
    ),
    refused(
        "a directory under another chain",
        "names another certificate chain in the directory than it sends",
        showing(_of_another_chain),
        "identity_mismatch",
    ),
    refused(
        "another federation's directory",
        "shows a directory that it signs for another federation",
        showing(_of_another_federation),
        "identity_mismatch",
    ),
    refused(
        "tomorrow's directory",
        "dates a directory a day ahead, so that it would outlive those that follow",
        showing(_of_tomorrow),
        "not_yet_valid",
    ),
    refused(
        "a directory cut off",
        "signs the directory without its last octet",
        showing(_cut_off),
        "malformed_message",
    ),
    refused(
        "members out of order",
        "signs the same members in another order: a second encoding of one list",
        showing(_with_members_swapped),
        "not_canonical",
    ),
    refused(
        "a directory without a beginning",
        "sends the octets and not what they are",
        replying(_without_a_beginning),
        "malformed_message",
    ),
    refused(
        "no directory at all", "ends the reply before it begins", replying(_nothing), "malformed_message"
    ),
    refused(
        "a directory with something unknown in it",
        "adds a field to the reply that this version does not know",
        replying(_with_something_unknown),
        "malformed_message",
    ),
    refused(
        "a directory without an end",
        "sends chunk after chunk, to fill alpha's memory",
        replying(_without_an_end),
        "limit_exceeded",
    ),
    Case(
        "an older index head",
        Liar.HUB,
        "puts a head that bravo signed earlier into a directory of today, which no log can hold",
        Refused("not_logged"),
        an_older_head,
        SECTION,
    ),
    Case(
        "yesterday's directory beside today's log",
        Liar.HUB,
        "shows a directory of a lower version than the log holds",
        Refused("rollback"),
        an_old_one_beside_a_newer_log,
        SECTION,
    ),
    Case(
        "an index that is not kept up",
        Liar.OWNER,
        "signs no head for two days",
        Covered("1 stale index (bravo)"),
        days_without_a_head,
        SECTION,
    ),
)
