"""A hub that asks witnesses for what it must not have, and members that say in the log what is not so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from candor_hub.store.logged import Logged
from candor_node.accountability import own_lookups
from candor_node.tlog import witness_store
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement, SigningKey
from candor_proto.tlog.entries import Requests
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.statements import HEARTBEAT, WITNESS_KEY, Heartbeat, WitnessKeyStatement, received_bits
from candor_proto.tlog.tiles import consistency_proof
from candor_proto.tlog.witness import request_octets
from candor_wire.codec import MessageKind
from tests.byzantine.case import Case, Covered, Liar, Play, Proved, Refused
from tests.byzantine.forged_log import ForgedLog
from tests.byzantine.hub import dropping
from tests.byzantine.world import World

SECTION = "witness"


# --- what a hub asks a witness for -------------------------------------------------------------------------


def asked(made: Callable[[World, ForgedLog, int], bytes]) -> Play:
    """The hub asks alpha to cosign something; alpha has cosigned a head of `size` entries before."""

    async def play(world: World) -> None:
        log = ForgedLog.of(world)
        before = await _cosigned(world)
        status = await world.lies.ask_witness("alpha", made(world, log, before.checkpoint.size))
        if status != 200 and await _cosigned(world) == before:
            world.refusals.append(("alpha", f"status {status}"))

    return play


async def _cosigned(world: World) -> Any:
    held = await world.alpha.node.store.run(
        lambda db: witness_store.cosigned(db, f"{world.alpha.config.federation}/log/1")
    )
    assert held is not None
    return held


def _now(world: World) -> Any:
    return world.fed.clock.now()


def _of_a_fork(world: World, log: ForgedLog, size: int) -> bytes:
    """Larger than what alpha has cosigned, and no continuation of it; the proof is the fork's own."""
    fork = ForgedLog(log.keys, [*log.entries[: size - 3], *log.entries[:9]], log.witnesses)
    proof = consistency_proof(fork.tiles, size, fork.size)
    return request_octets(size, proof, fork.head(_now(world)))


def _another_root(world: World, log: ForgedLog, size: int) -> bytes:
    fork = ForgedLog(log.keys, log.entries[: size - 1], log.witnesses)
    fork.append(Requests((bytes(32),)))
    return request_octets(size, (), fork.head(_now(world)))


def _a_smaller_one(world: World, log: ForgedLog, size: int) -> bytes:
    return request_octets(size - 2, (), log.head(_now(world), size=size - 2))


def _by_another_key(world: World, log: ForgedLog, size: int) -> bytes:
    other = ForgedLog(LogKeys.generate(log.keys.origin), log.entries, log.witnesses)
    other.append(Requests((bytes(32),)))
    return request_octets(size, consistency_proof(other.tiles, size, other.size), other.head(_now(world)))


def _of_another_log(world: World, log: ForgedLog, size: int) -> bytes:
    other = ForgedLog(LogKeys.generate("other-exchange.example/log/1"), log.entries, log.witnesses)
    return request_octets(0, (), other.head(_now(world)))


def _noise(world: World, log: ForgedLog, size: int) -> bytes:
    return b"\xff\x00" * 300


def _of_a_forgotten_size(world: World, log: ForgedLog, size: int) -> bytes:
    """As if alpha had never cosigned anything: then no proof is needed."""
    fork = ForgedLog(log.keys, [*log.entries[: size - 3], *log.entries[:9]], log.witnesses)
    return request_octets(0, (), fork.head(_now(world)))


# --- what members say --------------------------------------------------------------------------------------


def saying(
    made: Callable[[World], Awaitable[tuple[str, SignedStatement]]], by: str = "charlie", times: int = 1
) -> Play:
    async def play(world: World) -> None:
        for _ in range(times):
            context, statement = await made(world)
            await world.attempt("hub", world.party(by).node.hub.put_statement(context, statement))

    return play


async def _witness_key_of(world: World, node: str, keys: WitnessKeys, signer: SigningKey) -> Any:
    ed25519, ml_dsa = (each.key for each in keys.verifier_keys)
    federation = world.charlie.config.federation_name
    said = WitnessKeyStatement(federation, NodeId(node), ed25519, ml_dsa, _now(world))
    return WITNESS_KEY, signer.sign(WITNESS_KEY, said.encode())


def _fresh(node: str) -> WitnessKeys:
    return WitnessKeys.generate(f"demo-exchange.example/witness/{node}")


async def _bravos_witness_key(world: World) -> Any:
    return await _witness_key_of(world, "bravo", _fresh("bravo"), world.charlie.node.keys.signing)


async def _signed_by_nobody(world: World) -> Any:
    return await _witness_key_of(world, "charlie", _fresh("charlie"), SigningKey.generate())


async def _bravos_keys_as_its_own(world: World) -> Any:
    keys = ForgedLog.of(world).witnesses["bravo"]
    return await _witness_key_of(world, "charlie", keys, world.charlie.node.keys.signing)


async def _another_fresh_key(world: World) -> Any:
    world.fed.clock.advance(seconds=1)
    return await _witness_key_of(world, "charlie", _fresh("charlie"), world.charlie.node.keys.signing)


async def _no_statement(world: World) -> Any:
    return HEARTBEAT, world.charlie.node.keys.signing.sign(HEARTBEAT, b"\x05hello")


# --- heartbeats --------------------------------------------------------------------------------------------


async def _heartbeat(world: World, **changes: Any) -> Heartbeat:
    """What bravo would say now, made by its own code, with `changes`."""
    heartbeats = world.bravo.node.heartbeats
    honest = await world.bravo.node.store.run(lambda db: heartbeats._next(db, _now(world)))
    assert honest is not None, "there is nothing to say yet"
    return replace(honest, **changes)


def beating(change: Callable[[World, Heartbeat], dict[str, Any]]) -> Play:
    """alpha has asked, bravo has answered; ten minutes later bravo says what is not so."""

    async def play(world: World) -> None:
        await world.ask()
        await _log_grows_old(world)
        said = await _heartbeat(world)
        said = replace(said, **change(world, said))
        statement = world.bravo.node.keys.signing.sign(HEARTBEAT, said.encode())
        await world.attempt("hub", world.bravo.node.hub.put_statement(HEARTBEAT, statement))
        if change is _nothing_received:
            # Whatever the hub made of it is in the log then, and everybody has read that.
            await world.settle(65.0)

    return play


async def _log_grows_old(world: World) -> None:
    """Long enough that a heartbeat speaks of what was asked."""
    world.fed.clock.advance(minutes=11)
    await world.settle(65.0)
    world.fed.clock.advance(minutes=6)


def _nothing_received(_: World, said: Heartbeat) -> dict[str, Any]:
    return {"received": bytes(len(said.received))}


def _of_tomorrow(_: World, said: Heartbeat) -> dict[str, Any]:
    return {"issued_at": said.issued_at + timedelta(days=1)}


def _beyond_the_log(_: World, said: Heartbeat) -> dict[str, Any]:
    return {"end": said.end + 1_000}


def _too_many_bits(_: World, said: Heartbeat) -> dict[str, Any]:
    return {"received": received_bits([True] * 100)}


def _alphas(_: World, said: Heartbeat) -> dict[str, Any]:
    return {"node": NodeId("alpha")}


async def dropped_and_vouched_for(world: World) -> None:
    """The hub logs alpha's lookup and keeps it from bravo, and logs that bravo has not got it."""
    world.lies.delivers = dropping(MessageKind.LOOKUP, to="bravo")
    await world.ask()
    with patch.object(Logged, "live_requests", lambda *_: frozenset()):
        await _log_grows_old(world)
        await world.bravo.node.heartbeats.beat()
        await world.settle(70.0)


async def dropped_and_said_nothing(world: World) -> None:
    """The same, and the hub takes no heartbeat of bravo's that says so: bravo falls silent in the log."""
    world.lies.delivers = dropping(MessageKind.LOOKUP, to="bravo")
    await world.ask()
    await _log_grows_old(world)
    await world.attempt("hub", world.bravo.node.heartbeats.beat())


async def never_logged(world: World) -> None:
    """alpha's lookup is delivered and answered; the log that alpha is shown says nothing of it."""
    log = ForgedLog.of(world)
    world.fed.clock.advance(minutes=2)
    log.publish(_now(world), "bravo", "charlie")
    log.serve(world)
    await world.ask()
    log.append(Requests((bytes(32),)))
    log.publish(_now(world), "bravo", "charlie")
    await world.follow()
    await world.settle(70.0)
    kept, logged = await world.alpha.node.store.run(own_lookups.count)
    assert (kept, logged) == (1, 0)


def witness(name: str, does: str, made: Callable[[World, ForgedLog, int], bytes], status: int) -> Case:
    return Case(
        name,
        Liar.HUB,
        does,
        Refused(f"status {status}", "alpha", ANY),
        asked(made),
        SECTION,
        together="witness",
    )


def member(
    name: str, does: str, play: Play, code: str, liar: Liar = Liar.MEMBER, together: str = "said"
) -> Case:
    return Case(name, liar, does, Refused(code, "hub"), play, SECTION, together=together)


# `asked` itself looks at what was cosigned.
ANY = frozenset({"witness_cosigned"})
WITNESSES = (
    witness(
        "a fork to cosign", "asks for a larger head that does not continue the last one", _of_a_fork, 422
    ),
    witness(
        "another root to cosign", "asks for another head of a size that was cosigned", _another_root, 422
    ),
    witness("a smaller head to cosign", "asks for a head with fewer entries", _a_smaller_one, 409),
    witness("a size forgotten", "asks as if nothing had been cosigned before", _of_a_forgotten_size, 409),
    witness(
        "a head of another key to cosign", "asks for a head that the log did not sign", _by_another_key, 403
    ),
    witness(
        "an unknown log to cosign", "asks for the head of another federation's log", _of_another_log, 404
    ),
    witness("noise to cosign", "asks for octets that are no request", _noise, 400),
)
STATEMENTS = (
    member(
        "a witness key in another's name",
        "charlie hands in a witness key for bravo",
        saying(_bravos_witness_key),
        "identity_mismatch",
    ),
    member(
        "another's keys as one's own",
        "charlie hands in bravo's witness keys, to vote twice",
        saying(_bravos_keys_as_its_own),
        "already_exists",
    ),
    member(
        "a statement that is none",
        "charlie hands in octets to be logged",
        saying(_no_statement),
        "malformed_message",
    ),
    member(
        "a witness key by a stolen TLS key",
        "hands in a witness key that it cannot sign",
        saying(_signed_by_nobody),
        "signature_invalid",
        Liar.THIEF,
    ),
    member(
        "a flood of statements",
        "charlie hands in one witness key after the other",
        saying(_another_fresh_key, times=62),
        "quota_spent",
        together="",
    ),
)
HEARTBEATS = (
    member(
        "a heartbeat that frames the hub",
        "bravo says that a lookup which it has answered never came",
        beating(_nothing_received),
        "wrong_standing",
        Liar.OWNER,
        "heartbeats",
    ),
    member(
        "tomorrow's heartbeat",
        "bravo says so a day ahead",
        beating(_of_tomorrow),
        "clock_wrong",
        Liar.OWNER,
        "heartbeats",
    ),
    member(
        "a heartbeat beyond the log",
        "bravo speaks of entries that there are not",
        beating(_beyond_the_log),
        "wrong_standing",
        Liar.OWNER,
        "heartbeats",
    ),
    member(
        "a heartbeat of another length",
        "bravo speaks of more lookups than there were",
        beating(_too_many_bits),
        "not_canonical",
        Liar.OWNER,
        "heartbeats",
    ),
    member(
        "a heartbeat in another's name",
        "bravo hands in what it says is alpha's",
        beating(_alphas),
        "identity_mismatch",
        Liar.OWNER,
        "heartbeats",
    ),
    member(
        "heartbeats of a node that is cut off",
        "drops a lookup to bravo and takes no heartbeat that says so",
        dropped_and_said_nothing,
        "wrong_standing",
        Liar.HUB,
        "",
    ),
    Case(
        "a lookup dropped and logged as not received",
        Liar.HUB,
        "keeps alpha's lookup from bravo, and logs bravo's heartbeat",
        Proved("dropped-lookup", shown=Covered("1 pending (bravo)")),
        dropped_and_vouched_for,
        SECTION,
    ),
    Case(
        "a lookup that is not logged",
        Liar.HUB_AND_WITNESSES,
        "hands alpha's lookup on and logs nothing of it",
        Covered("lookups_kept: 1", "MATCH", "audit status"),
        never_logged,
        SECTION,
    ),
)
CASES = (*WITNESSES, *STATEMENTS, *HEARTBEATS)
