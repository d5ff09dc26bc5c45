"""The runner complains: of what must never happen, planted one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from candor_node import hit_store, ledger
from candor_proto.errors import SealedDataInvalid
from tests.byzantine import runner
from tests.byzantine.case import Case, Covered, Play, Proved, Refused
from tests.byzantine.cases import CASES
from tests.byzantine.evidence import Kept
from tests.byzantine.hub import flipped
from tests.byzantine.runner import judge
from tests.byzantine.world import World


def named(name: str) -> Case:
    return replace(next(case for case in CASES if case.name == name), together="")


def complaints(case: Case) -> str:
    return "\n".join(judge(case).complaints)


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        (Covered("1 expired (bravo)"), "does not say '1 expired (bravo)'"),
        (Covered("1 pending (bravo)", overall="MATCH"), "the result is not MATCH"),
        (Refused("rollback"), "did not refuse it by rollback"),
        (Proved("dropped-lookup"), "made no evidence"),
    ],
)
def test_an_outcome_that_did_not_come_out(expect: Covered | Refused | Proved, said: str) -> None:
    assert said in complaints(replace(named("an answer dropped"), expect=expect))


def test_something_stored_of_what_was_refused() -> None:
    async def play(world: World) -> None:
        await named("an older directory").play(world)
        await world.ask()

    case = replace(named("an older directory"), play=play)
    assert "stored something all the same" in complaints(case)


def test_a_silent_no_record() -> None:
    """An owner that withdraws says so in its index; that alpha was never shown the truth must not pass."""
    case = named("withdrawn in the segment that publishes it")
    assert "silently no record" in complaints(replace(case, no_record=False))


def test_no_record_although_somebody_has_not_answered() -> None:
    async def play(world: World) -> None:
        await named("an answer dropped").play(world)
        world.alpha.node.store.run_sync(
            lambda db: ledger.append(db, world.fed.clock.now(), "lookup.shown", {}, {"overall": "NO_RECORD"})
        )

    assert "not everybody has answered" in complaints(
        replace(named("an answer dropped"), play=play, no_record=True)
    )


def test_an_honest_party_accused() -> None:
    def evidence_at(_: World, party: str) -> list[Kept]:
        return [Kept(1, "two-lookups", "charlie")] if party == "bravo" else []

    with patch.object(runner, "evidence_at", evidence_at):
        assert "bravo accuses charlie, who is honest" in complaints(named("an answer dropped"))


def test_a_ledger_that_does_not_verify() -> None:
    def spoil(db: Any) -> None:
        db.execute("DROP TRIGGER ledger_stays")
        db.execute("UPDATE ledger SET event = 'a.b' WHERE number = 1")

    async def play(world: World) -> None:
        await named("an answer dropped").play(world)
        world.charlie.node.store.run_sync(spoil)

    assert "broken ledger at charlie" in complaints(replace(named("an answer dropped"), play=play))


def test_a_log_that_does_not_verify() -> None:
    async def play(world: World) -> None:
        await named("an answer dropped").play(world)
        for bundle in (world.hub.config.log / "1/tile/entries").rglob("*"):
            if bundle.is_file():
                bundle.write_bytes(flipped(bundle.read_bytes(), -1))

    assert "the log does not verify" in complaints(replace(named("an answer dropped"), play=play))


LOCAL = "garbage shares"


def telling(tell: Callable[[World], None]) -> Play:
    """The asker does something when a garbage entry was hit."""

    async def play(world: World) -> None:
        honest = hit_store.add_failure

        def add_failure(*given: Any) -> None:
            honest(*given)
            tell(world)

        with patch.object(hit_store, "add_failure", add_failure):
            await named(LOCAL).play(world)

    return play


def test_an_asker_that_sends_something_because_of_a_garbage_entry() -> None:
    case = replace(named(LOCAL), play=telling(lambda world: world.alpha.node.follower.wake()))
    assert "frames are not those of the twin" in complaints(case)


def test_an_asker_that_shows_a_garbage_entry() -> None:
    def tell(world: World) -> None:
        world.alpha.node.indexes.last_error = SealedDataInvalid("An entry that does not open.")

    assert "directory_trouble" in complaints(replace(named(LOCAL), play=telling(tell)))


def test_a_lie_that_was_never_told_fails() -> None:
    """A case whose liar does nothing does not come out as it says."""

    async def honest(world: World) -> None:
        await world.ask()

    for name in ("an answer dropped", "an older directory", "another record", "a recall dropped"):
        assert complaints(replace(named(name), play=honest)), name
