"""An asker that cannot explain what it asked, before an auditor that has the register of cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from candor_node.accountability import auditing, own_lookups
from candor_node.accountability.openings import opening_of
from candor_node.tlog import watching
from candor_proto.accountability.file_form import LoggedPart
from candor_proto.accountability.opening_file import OpeningFile, parse_auditor_key
from candor_proto.errors import CandorError
from candor_proto.matchkeys import plan_lookup
from candor_proto.normalise import Particulars, normalise
from candor_proto.opening import Opening
from candor_proto.tlog.entries import request_commitment
from tests.byzantine import forging
from tests.byzantine.case import Case, Liar, Play, Refused
from tests.byzantine.evidence import policy
from tests.byzantine.world import World
from tests.federation import OFFICER

SECTION = "audit"
REGISTER = ("REQ-1", "REQ-2", "REQ-9")
NOT_IN_REGISTER = "case not in the register"


async def opened(world: World, lookup_id: Any) -> bytes:
    """An opening as alpha's own software makes it, unsealed by the auditor."""
    private, public = auditing.make_key("auditor-1", world.alpha.config.federation)
    own = await world.alpha.node.store.run(lambda db: own_lookups.find(db, lookup_id))
    assert own is not None
    sealed = await world.alpha.node.accountant.openings.open(own, parse_auditor_key(public))
    return auditing.unseal(sealed.encode(), private)


def judge(world: World, file: bytes) -> None:
    """What the auditor finds."""
    try:
        checked = auditing.check(file, policy(world), REGISTER, world.fed.clock.now())
    except CandorError as error:
        world.refusals.append(("auditor", error.code))
        return
    world.refusals += [("auditor", NOT_IN_REGISTER) for _ in checked.findings]


async def an_invented_case(world: World) -> None:
    """A neighbour is looked up under a number that no case has."""
    view = await world.ask("REQ-7777")
    await world.settle(70.0)
    judge(world, await opened(world, view.row.search_id))


async def spread_over_many_cases(world: World) -> None:
    """What the quota of one case would not bear is asked under invented ones: each opening names its own."""
    view = await world.ask("REQ-1")
    again = await world.ask("REQ-7778")
    await world.settle(70.0)
    for each in (view, again):
        judge(world, await opened(world, each.row.search_id))


def explained_by(change: Callable[[OpeningFile], OpeningFile]) -> Play:
    """alpha has asked as it should, and explains it otherwise."""

    async def play(world: World) -> None:
        view = await world.ask("REQ-1")
        await world.settle(70.0)
        own = await world.alpha.node.store.run(lambda db: own_lookups.find(db, view.row.search_id))
        assert own is not None
        statement, openings = await world.alpha.node.store.run(lambda db: opening_of(db, own))
        judge(world, change(await _file(world, statement, openings, own.place)).encode())

    return play


async def _file(world: World, statement: Any, openings: tuple[Opening, ...], place: Any) -> OpeningFile:
    proofs = world.alpha.node.accountant.proofs
    node = world.alpha.config
    logged: LoggedPart = await proofs.logged(place, "the lookup")
    member = await proofs.member(node.node_id)
    return OpeningFile(node.federation_name, node.node_id, statement, openings, member, logged)


def _first(file: OpeningFile, **changes: Any) -> OpeningFile:
    first, *others = file.persons
    return replace(file, persons=(replace(first, **changes), *others))


def _another_case(file: OpeningFile) -> OpeningFile:
    return _first(file, paperwork=replace(file.persons[0].paperwork, case="REQ-2"))


def _another_person(file: OpeningFile) -> OpeningFile:
    return _first(file, particulars=replace(file.persons[0].particulars, first="Somebody"))


def _other_blinds(file: OpeningFile) -> OpeningFile:
    blinds = file.persons[0].blinds
    return _first(file, blinds=(blinds[1], blinds[0], *blinds[2:]))


async def guesses_as_fillers(world: World) -> None:
    """In slots that should hold fillers alpha asks about somebody else: a fishing trip inside a lookup."""
    node = world.alpha.node
    draft, paperwork, plan, blinded = forging.planned(node)
    other = plan_lookup(
        normalise(Particulars(**(OFFICER | {"first": "Abel", "last": "Fished"}))), forging.SHAPE, b"\x01" * 32
    )[0]
    fillers = [number for number, slot in enumerate(plan.slots) if slot.label is None]
    assert fillers
    slots = list(blinded)
    for number in fillers:
        slots[number] = forging.blinded_slot(other.slots[number % len(other.slots)], slots[number])
    draft = forging.redrafted(node, paperwork, tuple(slots))
    await world.submit(world.alpha, forging.lookup_envelope(draft.lookup, draft.statement))
    commitment = request_commitment(draft.statement)
    await node.store.run(lambda db: watching.watch(db, commitment, world.fed.clock.now()))
    await world.settle(70.0)
    place = await node.store.run(lambda db: watching.place_of(db, commitment))
    opening = Opening(
        Particulars(**OFFICER),
        paperwork,
        0,
        tuple(item.slot.input for item in slots),
        tuple(item.blinded.blind.to_bytes() for item in slots),
    )
    judge(world, (await _file(world, draft.statement, (opening,), place)).encode())


async def never_handed_in(world: World) -> None:
    """A lookup that never went through the hub is explained in place of the one that did."""
    view = await world.ask("REQ-1")
    await world.settle(70.0)
    own = await world.alpha.node.store.run(lambda db: own_lookups.find(db, view.row.search_id))
    assert own is not None
    draft, paperwork, _, blinded = forging.planned(world.alpha.node)
    opening = Opening(
        Particulars(**OFFICER),
        paperwork,
        0,
        tuple(item.slot.input for item in blinded),
        tuple(item.blinded.blind.to_bytes() for item in blinded),
    )
    judge(world, (await _file(world, draft.statement, (opening,), own.place)).encode())


def asker(name: str, does: str, play: Play, code: str) -> Case:
    return Case(name, Liar.ASKER, does, Refused(code, "auditor"), play, SECTION)


CASES = (
    asker(
        "an invented case number",
        "looks somebody up under a case that there is not",
        an_invented_case,
        NOT_IN_REGISTER,
    ),
    asker(
        "lookups spread over invented cases",
        "asks under a case that there is, and under one that there is not",
        spread_over_many_cases,
        NOT_IN_REGISTER,
    ),
    asker(
        "guesses as fillers",
        "asks about others in the slots that a person leaves free",
        guesses_as_fillers,
        "commitment_mismatch",
    ),
    asker(
        "another case than committed to",
        "explains a lookup by a case of the register that it did not name",
        explained_by(_another_case),
        "commitment_mismatch",
    ),
    asker(
        "another person than asked about",
        "explains a lookup by somebody else",
        explained_by(_another_person),
        "commitment_mismatch",
    ),
    asker(
        "other blinds than used",
        "explains elements by blinds that do not give them",
        explained_by(_other_blinds),
        "commitment_mismatch",
    ),
    asker(
        "a lookup that never went out",
        "explains a lookup that the log does not hold",
        never_handed_in,
        "not_logged",
    ),
)
