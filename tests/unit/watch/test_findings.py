"""How findings are gathered, shown and added up."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from candor_proto.errors import StoreUnusable
from candor_watch.findings import (
    Entry,
    Finding,
    Once,
    Report,
    State,
    bad,
    catalogue,
    good,
    in_thread,
    look,
    unknown,
    warning,
)

PERSON = "Quillon Abernathy-Zhu"
CATALOGUE = catalogue([Entry(key, key[0], "it", "it is not") for key in ("a1", "a2", "b1", "b2")])


def report(*findings: Finding, runnable: bool = True) -> Report:
    return Report("candor-test", "0.1.0", CATALOGUE, findings, 0.5, runnable)


GOOD, UNKNOWN = good("a1", "Well.", octets=3), unknown("a2", "Nobody knows.")
WARNING, BAD = warning("b1", "Soon.", "Do this."), bad("b2", "Over.", "Do that.")


@pytest.mark.parametrize(
    ("findings", "plain", "strict"),
    [((GOOD,), 0, 0), ((GOOD, UNKNOWN), 0, 1), ((GOOD, WARNING), 0, 1), ((GOOD, BAD, WARNING), 1, 1)],
    ids=["good", "unknown", "warning", "bad"],
)
def test_the_exit_status_is_that_of_the_gravest(
    findings: tuple[Finding, ...], plain: int, strict: int
) -> None:
    told = report(*findings)
    assert (told.exit_status(), told.exit_status(strict=True)) == (plain, strict)
    assert report(*findings, runnable=False).exit_status() == 2


def test_json_has_its_schema() -> None:
    told = json.loads(json.dumps(report(GOOD, UNKNOWN, WARNING, BAD).as_json()))
    assert told["schema"] == 1
    assert (told["program"], told["version"], told["state"]) == ("candor-test", "0.1.0", "bad")
    assert told["counts"] == {"good": 1, "unknown": 1, "warning": 1, "bad": 1}
    assert told["findings"][0] == {
        "key": "a1",
        "group": "a",
        "state": "good",
        "detail": "Well.",
        "remedy": "",
        "figures": {"octets": 3},
    }


def test_people_read_groups_and_what_to_do() -> None:
    shown = report(GOOD, UNKNOWN, WARNING, BAD).lines()
    assert shown[0] == "a"
    assert "b" in shown
    assert any(line.startswith("  BAD") and "Over." in line for line in shown)
    assert sum("-> Do" in line for line in shown) == 2
    assert shown[-1] == "4 looked at: 1 bad, 1 warning, 1 unknown, 1 good."


def test_what_hangs_is_unknown_in_time_and_does_not_keep_the_others() -> None:
    ended = threading.Event()

    async def scene() -> None:
        async def hang() -> Finding:
            return await in_thread(lambda: (ended.wait(30), GOOD)[1])

        async def well() -> Finding:
            return GOOD

        began = time.monotonic()
        found, seconds = await look({"a1": well, "a2": hang}, bound_seconds=0.2)
        assert time.monotonic() - began < 2
        assert seconds < 2
        assert [(each.key, each.state) for each in found] == [("a1", State.GOOD), ("a2", State.UNKNOWN)]
        assert "0 seconds" in found[1].detail

    # Nobody waits for the thread that hangs, neither here nor at the program's end.
    asyncio.run(scene())
    ended.set()


def test_a_typed_error_is_bad_and_any_other_is_ours_without_its_text() -> None:
    async def typed() -> Finding:
        raise StoreUnusable("The disk is full.", remedy="Make room.")

    async def untyped() -> Finding:
        raise ValueError(PERSON)

    async def denied() -> Finding:
        raise PermissionError(13, "Permission denied", f"/home/{PERSON}")

    async def scene() -> list[Finding]:
        return (await look({"a1": typed, "a2": untyped, "b1": denied}))[0]

    full, ours, closed = asyncio.run(scene())
    assert (full.state, full.detail, full.remedy) == (State.BAD, "The disk is full.", "Make room.")
    assert (ours.state, closed.state) == (State.UNKNOWN, State.UNKNOWN)
    assert "ValueError at" in ours.detail
    assert "permission denied" in closed.detail
    assert "Quillon" not in "".join(each.detail + each.remedy for each in (ours, closed))


def test_what_a_peer_says_stays_on_its_line() -> None:
    async def said() -> Finding:
        return bad("a1", "gone\n  good     keys  All is well.\x1b[2J", "a\rb")

    (found,) = asyncio.run(look({"a1": said}))[0]
    assert not {"\n", "\r", "\x1b"} & set(found.detail + found.remedy)


def test_a_fact_is_made_once_and_its_error_is_everybodys() -> None:
    made: list[int] = []

    async def make() -> int:
        made.append(1)
        await asyncio.sleep(0)
        raise StoreUnusable("No.")

    async def scene() -> None:
        fact = Once(make)
        told = await asyncio.gather(fact(), fact(), return_exceptions=True)
        assert [type(each) for each in told] == [StoreUnusable] * 2

    asyncio.run(scene())
    assert made == [1]
