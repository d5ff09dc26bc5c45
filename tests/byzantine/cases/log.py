"""A hub that shows another log than the one it signed, or signs what no honest log holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from candor_proto.directory import Directory, MemberStatus
from candor_proto.ids import NodeId, Ori
from candor_proto.signing import SigningKey
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.entries import (
    Closed,
    Denied,
    DirectoryEntry,
    HeadEntry,
    MemberEntry,
    PolicyEntry,
    Requests,
    Statement,
    log_origin,
    parse_entry,
)
from candor_proto.tlog.policy import members_policy
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.tiles import decode_bundle, encode_bundle
from candor_wire.limits import MAX_LOG_FILE_BYTES
from tests.byzantine.case import Case, Covered, Liar, Play, Proved, Refused
from tests.byzantine.forged_log import Alter, ForgedLog, altering, witnessed
from tests.byzantine.hub import altered, shown_by
from tests.byzantine.world import World

SECTION = "log"
# The members that help the hub, where it needs a quorum.
HELPERS = ("bravo", "charlie")


# --- heads -----------------------------------------------------------------------------------------------


def shown(made: Callable[[World, ForgedLog], SignedCheckpoint | bytes]) -> Play:
    """alpha fetches the newest head, and is shown another one."""

    async def play(world: World) -> None:
        log = ForgedLog.of(world)
        head = made(world, log)
        log.files["checkpoint"] = log.files["signed"] = head if isinstance(head, bytes) else head.encode()
        log.serve(world)
        await world.follow()

    return play


def _now(world: World) -> Any:
    return world.fed.clock.now()


def _grown(log: ForgedLog, number: int = 1) -> ForgedLog:
    """Some lookups more, of nobody here."""
    for each in range(number):
        log.append(Requests((bytes([each]) * 32,)))
    return log


def _by_another_key(world: World, log: ForgedLog) -> SignedCheckpoint:
    stranger = ForgedLog(LogKeys.generate(log.keys.origin), log.entries, log.witnesses)
    return _grown(stranger).head(_now(world), *HELPERS)


def _with_one_signature(world: World, log: ForgedLog) -> SignedCheckpoint:
    signed = _grown(log).head(_now(world), *HELPERS)
    return SignedCheckpoint(signed.checkpoint, signed.signatures[:1] + signed.signatures[2:])


def _of_another_log(world: World, log: ForgedLog) -> SignedCheckpoint:
    other = ForgedLog(LogKeys.generate("other-exchange.example/log/1"), log.entries, log.witnesses)
    return other.head(_now(world), *HELPERS)


def _with_an_extension(world: World, log: ForgedLog) -> bytes:
    text, blank, signatures = _grown(log).head(_now(world), *HELPERS).encode().partition(b"\n\n")
    return text + b"\nhello" + blank + signatures


def _signed_twice(world: World, log: ForgedLog) -> bytes:
    octets = _grown(log).head(_now(world), *HELPERS).encode()
    return octets + octets.splitlines(keepends=True)[-1]


def _too_many_lines(world: World, log: ForgedLog) -> bytes:
    octets = _grown(log).head(_now(world)).encode()
    line = octets.splitlines(keepends=True)[-1]
    return octets + line * 80


def _without_quorum(world: World, log: ForgedLog) -> SignedCheckpoint:
    return _grown(log).head(_now(world), "alpha")


def _by_strangers(world: World, log: ForgedLog) -> SignedCheckpoint:
    signed = _grown(log).head(_now(world), "bravo")
    for name in ("mallory", "oscar"):
        keys = WitnessKeys.generate(f"demo-exchange.example/witness/{name}")
        signed = signed.with_signatures(keys.cosign(signed.checkpoint, _now(world)))
    return signed


def _under_a_witness_name(world: World, log: ForgedLog) -> SignedCheckpoint:
    """Signatures by other keys, under the names of witnesses of the policy."""
    signed = _grown(log).head(_now(world), "bravo")
    stranger = WitnessKeys.generate(log.witnesses["charlie"].name)
    return signed.with_signatures(stranger.cosign(signed.checkpoint, _now(world)))


def _with_a_false_cosignature(world: World, log: ForgedLog) -> SignedCheckpoint:
    """charlie's signature is that of another head."""
    other = log.fork().head(_now(world), "charlie").signatures[-2:]
    return _grown(log).head(_now(world), "alpha", "bravo").with_signatures(other)


def _cosigned_tomorrow(world: World, log: ForgedLog) -> SignedCheckpoint:
    signed = _grown(log).head(_now(world))
    for name in HELPERS:
        keys = log.witnesses[name]
        signed = signed.with_signatures(keys.cosign(signed.checkpoint, _now(world) + timedelta(days=1)))
    return signed


def _noise(world: World, log: ForgedLog) -> bytes:
    return b"\xff" * 500


def _too_large(world: World, log: ForgedLog) -> bytes:
    return b"a" * (520 * 1024)


async def an_older_head(world: World) -> None:
    """A head from before bravo's last publication, with its quorum, as it was shown then."""
    old = witnessed(world)
    await world.fed.publish(world.bravo)
    await world.fed.settled()
    await world.begin()
    log = ForgedLog.of(world)
    log.show(old)
    log.serve(world)
    await world.follow()


async def fewer_entries_signed_anew(world: World) -> None:
    """The log is younger and shorter: what was logged is to be forgotten."""
    log = ForgedLog.of(world)
    world.fed.clock.advance(minutes=2)
    log.publish(_now(world), *HELPERS, size=log.size - 2)
    log.serve(world)
    await world.follow()


async def another_root(world: World) -> None:
    """The last entry of the log is another one: two logs of one size."""
    log = ForgedLog.of(world)
    fork = ForgedLog(log.keys, log.entries[:-1], log.witnesses)
    fork.append(Requests((bytes(32),)))
    fork.publish(_now(world), *HELPERS)
    fork.serve(world)
    await world.follow()


async def another_log_that_is_longer(world: World) -> None:
    """The log goes on from somewhere before what alpha has seen."""
    log = ForgedLog.of(world)
    fork = _grown(ForgedLog(log.keys, log.entries[:-3], log.witnesses), 8)
    fork.publish(_now(world), *HELPERS)
    fork.serve(world)
    await world.follow()


# --- files -----------------------------------------------------------------------------------------------


def spoilt(alter: Alter) -> Play:
    """bravo publishes; on the way to alpha the files of the log are altered."""

    async def play(world: World) -> None:
        altering(alter)(world)
        await world.fed.publish(world.bravo)
        await world.settle(2.0)
        await world.follow()

    return play


def in_bundles(change: Callable[[bytes], bytes]) -> Alter:
    return lambda path, octets: change(octets) if path.startswith("tile/entries") else octets


def _count(octets: bytes) -> int:
    count = 0
    while octets:
        octets = octets[2 + int.from_bytes(octets[:2], "big") :]
        count += 1
    return count


def _reordered(octets: bytes) -> bytes:
    entries = decode_bundle(octets, _count(octets))
    return encode_bundle((*entries[:-2], entries[-1], entries[-2]))


def _repeated(octets: bytes) -> bytes:
    entries = decode_bundle(octets, _count(octets))
    return encode_bundle((*entries[:-1], entries[-2]))


def _flipped(octets: bytes) -> bytes:
    return octets[:-1] + bytes([octets[-1] ^ 1])


async def frozen(world: World, hours: float) -> None:
    """No head is shown any more but the present one."""
    held = witnessed(world).encode()
    altering(lambda path, octets: held if path in ("checkpoint", "signed") else octets)(world)
    world.fed.clock.advance(hours=hours)
    await world.settle(70.0)


async def frozen_for_hours(world: World) -> None:
    await frozen(world, 3)
    await world.ask()


async def frozen_for_a_day(world: World) -> None:
    await frozen(world, 25)
    await world.begin()
    await world.attempt("alpha", world.ask())


# --- entries ---------------------------------------------------------------------------------------------


def logged(made: Callable[[World, ForgedLog], list[bytes]]) -> Play:
    """The log goes on with entries that break its rules, under a head with a quorum of helpers."""

    async def play(world: World) -> None:
        log = ForgedLog.of(world)
        log.force(*made(world, log))
        log.publish(_now(world), *HELPERS)
        log.serve(world)
        await world.follow()

    return play


def _last(log: ForgedLog, kind: type, node: str = "") -> Any:
    found = [entry for entry in map(parse_entry, log.entries) if isinstance(entry, kind)]
    return [entry for entry in found if not node or str(getattr(entry, "node", "")) == node][-1]


def _head_again(world: World, log: ForgedLog) -> list[bytes]:
    return [_last(log, HeadEntry, "bravo").encode()]


def _other_keys_in_one_epoch(world: World, log: ForgedLog) -> list[bytes]:
    head = _last(log, HeadEntry, "bravo")
    return [replace(head, sequence=head.sequence + 1, keys=_last(log, HeadEntry, "charlie").keys).encode()]


def _epoch_before(world: World, log: ForgedLog) -> list[bytes]:
    head = _last(log, HeadEntry, "bravo")
    return [replace(head, sequence=head.sequence + 1, epoch=head.epoch - 1).encode()]


def _other_member_keys(world: World, log: ForgedLog) -> list[bytes]:
    member = _last(log, MemberEntry, "bravo")
    return [replace(member, signing_key=SigningKey.generate().public.value).encode()]


def _head_of_nobody(world: World, log: ForgedLog) -> list[bytes]:
    return [replace(_last(log, HeadEntry, "bravo"), node=NodeId("mallory")).encode()]


def _directory_skipped(world: World, log: ForgedLog) -> list[bytes]:
    entry = _last(log, DirectoryEntry)
    return [replace(entry, version=entry.version + 2).encode()]


def _false_state(world: World, log: ForgedLog) -> list[bytes]:
    entry = _last(log, DirectoryEntry)
    return [replace(entry, version=entry.version + 1, state=bytes(32)).encode()]


def _policy_skipped(world: World, log: ForgedLog) -> list[bytes]:
    entry = _last(log, PolicyEntry)
    return [replace(entry, version=entry.version + 2).encode()]


def _opened_again(world: World, log: ForgedLog) -> list[bytes]:
    return [log.entries[0]]


def _after_its_end(world: World, log: ForgedLog) -> list[bytes]:
    following = LogKeys.generate(log_origin(log.federation, 2))
    ed25519, ml_dsa = (key.key for key in following.verifier_keys)
    closed = Closed(_now(world), following.origin, ed25519, ml_dsa)
    return [closed.encode(), Requests((bytes(32),)).encode()]


def _denied_twice(world: World, log: ForgedLog) -> list[bytes]:
    denied = Denied(12345, NodeId("bravo"), _now(world)).encode()
    return [denied, denied]


def _statement_of_nobody(world: World, log: ForgedLog) -> list[bytes]:
    """A statement that says it is bravo's, and is signed by the hub."""
    statement = _last(log, Statement)
    signed = SigningKey.generate().sign(statement.context, statement.signed.body)
    return [Statement(statement.context, signed).encode()]


def _no_entry(world: World, log: ForgedLog) -> list[bytes]:
    return [b"\x15candor/v1/log-entry\x63"]


def _unsorted_commitments(world: World, log: ForgedLog) -> list[bytes]:
    """The order says in which order lookups came."""
    entry = Requests((bytes(32), b"\x01" * 32)).encode()
    return [entry[:-64] + entry[-32:] + entry[-64:-32]]


def _too_many_commitments(world: World, log: ForgedLog) -> list[bytes]:
    entry = Requests((bytes(32),)).encode()
    many = b"".join(number.to_bytes(32, "big") for number in range(300))
    return [entry[:-36] + (300).to_bytes(4, "big") + many]


async def two_worlds(world: World) -> None:
    """alpha and charlie are shown two logs, each with a quorum; one day alpha is shown charlie's."""
    fork = _grown(ForgedLog.of(world))
    fork.publish(_now(world), *HELPERS)
    fork.serve(world)
    assert await world.follow() is None
    await world.ask()
    world.lies.honest()
    await world.fed.publish(world.bravo)
    await world.fed.publish(world.charlie)
    await world.settle(5.0)
    await world.follow()


# --- policies --------------------------------------------------------------------------------------------


async def a_policy_of_its_own(world: World) -> None:
    """The next policy names witnesses of the hub's: heads need nobody else from then on."""
    log = ForgedLog.of(world)
    own = WitnessKeys.generate("demo-exchange.example/witness/mallory")
    text = members_policy(log.keys.verifier_keys, [(NodeId("mallory"), own.verifier_keys[1])])
    last = _last(log, PolicyEntry)
    log.append(PolicyEntry(last.version + 1, _now(world), text))
    signed = log.head(_now(world)).with_signatures(own.cosign(log.head(_now(world)).checkpoint, _now(world)))
    log.show(signed)
    log.files[f"policy/{last.version + 1}"] = signed.encode()
    log.serve(world)
    await world.follow()


# --- directories behind the log --------------------------------------------------------------------------


def in_place_of_the_next(change: Callable[[Directory], dict[str, Any]]) -> Play:
    """bravo publishes, and the version that the log holds is shown to alpha with something else in it."""

    async def play(world: World) -> None:
        world.lies.show_directory(shown_by(world.hub), to="alpha")
        await world.fed.publish(world.bravo)
        await world.settle(3.0)
        await world.begin()
        directory = Directory.decode(shown_by(world.hub).statement.body)
        world.lies.show_directory(altered(world.hub, **change(directory)), to="alpha")
        await world.follow()
        await world.refresh()

    return play


def _without_bravo(directory: Directory) -> dict[str, Any]:
    return {"members": tuple(each for each in directory.members if str(each.node) != "bravo")}


def _bravo_suspended(directory: Directory) -> dict[str, Any]:
    return {
        "members": tuple(
            replace(each, status=MemberStatus.SUSPENDED) if str(each.node) == "bravo" else each
            for each in directory.members
        )
    }


def _with_mallory(directory: Directory) -> dict[str, Any]:
    bravo = directory.members[1]
    mallory = replace(
        bravo,
        node=NodeId("mallory"),
        oris=(Ori("ZZ0009990"),),
        tls_subject=bravo.tls_subject.replace("bravo", "mallory"),
        signing_key=SigningKey.generate().public,
        head=None,
    )
    return {"members": (*directory.members, mallory)}


def _without_bravos_head(directory: Directory) -> dict[str, Any]:
    return {
        "members": tuple(
            replace(each, head=None) if str(each.node) == "bravo" else each for each in directory.members
        )
    }


def _with_another_charlie(directory: Directory) -> dict[str, Any]:
    return {
        "members": tuple(
            replace(each, signing_key=SigningKey.generate().public) if str(each.node) == "charlie" else each
            for each in directory.members
        )
    }


async def a_directory_ahead_of_the_log(world: World) -> None:
    """A version that the log does not hold: alpha stays with the one that it does."""
    directory = Directory.decode(shown_by(world.hub).statement.body)
    world.lies.show_directory(altered(world.hub, ahead=1, **_without_bravo(directory)), to="alpha")
    await world.refresh()


def refused(name: str, does: str, play: Play, code: str, **how: Any) -> Case:
    return Case(
        name, Liar.HUB, does, Refused(code), play, SECTION, together=how.pop("together", "log"), **how
    )


def broken(name: str, does: str, made: Callable[[World, ForgedLog], list[bytes]]) -> Case:
    """That this log is refused from there on is remembered: the node cosigns no head over it."""
    expect = Refused("log_inconsistent", may_change=frozenset({"tlog_shards"}))
    return Case(name, Liar.HUB, does, expect, logged(made), SECTION, together="rules")


def proved(name: str, does: str, play: Play, kind: str, liar: Liar = Liar.HUB) -> Case:
    together = "directories" if kind == "false-directory" else ""
    return Case(name, liar, does, Proved(kind), play, SECTION, together=together)


HEADS = (
    refused(
        "a head that the log did not sign",
        "shows a head under other keys",
        shown(_by_another_key),
        "signature_invalid",
    ),
    refused(
        "one signature of two",
        "leaves out the log's own signature with a time",
        shown(_with_one_signature),
        "signature_invalid",
    ),
    refused(
        "a head of another log",
        "shows the head of another federation's log",
        shown(_of_another_log),
        "identity_mismatch",
    ),
    refused(
        "an extension line",
        "says more in a head than origin, size and root",
        shown(_with_an_extension),
        "malformed_message",
    ),
    refused(
        "a signature twice",
        "repeats a signature line, to count twice",
        shown(_signed_twice),
        "not_canonical",
    ),
    refused("eighty signature lines", "fills a head with lines", shown(_too_many_lines), "limit_exceeded"),
    refused("a head that is noise", "shows octets that are no text", shown(_noise), "malformed_message"),
    refused(
        "a head of half a megabyte", "shows more than a head may be", shown(_too_large), "limit_exceeded"
    ),
    refused(
        "a head without its quorum",
        "shows a head that one of three witnesses signed",
        shown(_without_quorum),
        "log_unwitnessed",
    ),
    refused(
        "strangers as witnesses",
        "makes up the quorum with witnesses that no policy names",
        shown(_by_strangers),
        "log_unwitnessed",
    ),
    refused(
        "a witness's name under another key",
        "signs in charlie's name",
        shown(_under_a_witness_name),
        "log_unwitnessed",
    ),
    refused(
        "a cosignature of another head",
        "puts charlie's signature of one head under another",
        shown(_with_a_false_cosignature),
        "signature_invalid",
    ),
    refused(
        "cosigned tomorrow",
        "shows witnesses that sign what has not come yet, so that a frozen log stays young",
        shown(_cosigned_tomorrow),
        "log_unwitnessed",
    ),
    refused(
        "an older head",
        "shows a head from before the one that alpha has seen",
        an_older_head,
        "rollback",
        together="",
    ),
)
FILES = (
    refused(
        "an entry altered",
        "serves an entry with another bit",
        spoilt(in_bundles(_flipped)),
        "log_inconsistent",
        together="files",
    ),
    refused(
        "entries out of order",
        "serves two entries in each other's place",
        spoilt(in_bundles(_reordered)),
        "log_inconsistent",
        together="files",
    ),
    refused(
        "an entry in another's place",
        "serves an entry twice and another one not at all",
        spoilt(in_bundles(_repeated)),
        "log_inconsistent",
        together="files",
    ),
    refused(
        "a bundle cut off",
        "serves a bundle without its last octet",
        spoilt(in_bundles(lambda octets: octets[:-1])),
        "malformed_message",
        together="files",
    ),
    refused(
        "a bundle too large",
        "serves more than 256 entries can be",
        spoilt(in_bundles(lambda octets: bytes(MAX_LOG_FILE_BYTES + 1))),
        "limit_exceeded",
        together="files",
    ),
    refused(
        "a bundle withheld",
        "says that there are no such entries",
        spoilt(lambda path, octets: None if path.startswith("tile/") else octets),
        "unknown_object",
        together="files",
    ),
)
ENTRIES = tuple(
    broken(name, does, made)
    for name, does, made in (
        ("a head logged twice", "logs bravo's head of one sequence again", _head_again),
        (
            "other keys in one epoch",
            "logs a head of bravo's with other keys in the same epoch",
            _other_keys_in_one_epoch,
        ),
        ("a lower epoch", "logs a head of bravo's of an epoch before", _epoch_before),
        ("a head of nobody", "logs a head of a node that never joined", _head_of_nobody),
        ("other keys for a member", "logs bravo again with another signing key", _other_member_keys),
        ("a directory skipped", "logs a version that is not the next one", _directory_skipped),
        (
            "a state that is not the members'",
            "logs a directory with another state than its entries give",
            _false_state,
        ),
        ("a policy skipped", "logs a policy that is not the next one", _policy_skipped),
        ("a beginning in the middle", "opens the log a second time", _opened_again),
        ("entries after the end", "closes the shard and goes on with it", _after_its_end),
        ("a certificate denied twice", "logs one serial twice", _denied_twice),
        (
            "a statement in a member's name",
            "logs a witness key that bravo did not sign",
            _statement_of_nobody,
        ),
        ("an entry of no kind", "logs an entry of a kind that does not exist", _no_entry),
        ("too many commitments", "logs 300 lookups in one entry", _too_many_commitments),
        ("commitments out of order", "logs lookups in an order that says something", _unsorted_commitments),
    )
)
OTHERS = (
    refused(
        "a policy of the hub's own",
        "logs a policy that needs its own witness alone",
        a_policy_of_its_own,
        "log_unwitnessed",
        together="",
    ),
    Case(
        "a directory ahead of the log",
        Liar.HUB,
        "shows a version, without bravo, that it never logged",
        Refused("not_logged"),
        a_directory_ahead_of_the_log,
        "directory",
    ),
    Case(
        "a frozen log",
        Liar.HUB,
        "shows one head for hours",
        Covered("was last witnessed at", "MATCH", "status"),
        frozen_for_hours,
        SECTION,
    ),
    refused(
        "a log frozen for a day",
        "shows one head for longer than the grace",
        frozen_for_a_day,
        "log_unwitnessed",
        together="",
    ),
)
PROVED = (
    proved(
        "fewer entries signed anew",
        "signs a younger head with fewer entries",
        fewer_entries_signed_anew,
        "rolled-back-log",
    ),
    proved(
        "another root for one size",
        "signs two logs of one size",
        another_root,
        "forked-log",
        Liar.HUB_AND_WITNESSES,
    ),
    proved(
        "a split view",
        "shows alpha and charlie two logs, until they meet",
        two_worlds,
        "forked-log",
        Liar.HUB_AND_WITNESSES,
    ),
    proved(
        "two roots cosigned",
        "signs two logs of one size, and bravo and charlie cosign both",
        another_root,
        "two-cosignatures",
        Liar.HUB_AND_WITNESSES,
    ),
    proved(
        "another log that is longer",
        "signs a log that does not continue the one that alpha has seen",
        another_log_that_is_longer,
        "forked-log",
        Liar.HUB_AND_WITNESSES,
    ),
    proved(
        "a member left out",
        "shows alpha a directory without bravo, so that nobody asks there",
        in_place_of_the_next(_without_bravo),
        "false-directory",
        Liar.HUB_AND_WITNESSES,
    ),
    proved(
        "a member said to be suspended",
        "shows alpha that bravo is suspended",
        in_place_of_the_next(_bravo_suspended),
        "false-directory",
    ),
    proved(
        "an index left out",
        "shows alpha that bravo has published nothing",
        in_place_of_the_next(_without_bravos_head),
        "false-directory",
    ),
    proved(
        "a member that nobody admitted",
        "shows alpha a member whose keys are the hub's",
        in_place_of_the_next(_with_mallory),
        "false-directory",
    ),
    proved(
        "a member's keys exchanged",
        "shows alpha other keys of charlie's",
        in_place_of_the_next(_with_another_charlie),
        "false-directory",
    ),
)
CASES = (*HEADS, *FILES, *ENTRIES, *OTHERS, *PROVED)
