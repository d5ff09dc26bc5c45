"""When the ledger's end is shipped: with each commit, each minute otherwise, and until the disk takes it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import ledger
from candor_node.journal import Journals
from candor_node.journal_files import Frame, Place
from candor_node.store import Database, Store
from tests.desk import desk_store
from tests.patience import PATIENCE_SECONDS
from tests.records import NOW


class Clock:
    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment


class Watched(Journals):
    """Says after each round that it is over; `ship_seconds` is no time at all."""

    def __init__(self, store: Store, clock: Clock, folders: list[Path]) -> None:
        super().__init__(store, clock, folders)
        self.ship_seconds = 0.0
        self.rounds: asyncio.Queue[int] = asyncio.Queue()
        self._done = 0

    async def ship(self, *, closed: bool = False) -> None:
        await super().ship(closed=closed)
        self._done += 1
        await self.after_round(self._done)
        self.rounds.put_nowait(self._done)

    async def after_round(self, number: int) -> None:
        """What a test does before `run` goes on."""


class Office:
    def __init__(self, folder: Path, journals: type[Watched] = Watched) -> None:
        self.clock = Clock()
        self.store = desk_store(folder)
        self.folders = [folder / "journal", folder / "backup"]
        self.journals = journals(self.store, self.clock, self.folders)

    def frames(self) -> list[list[Frame]]:
        """What stands in each journal, newest first."""
        places = [Place(folder, self.store.database_key) for folder in self.folders]
        return [list(place.frames_backwards()) for place in places]

    async def append(self) -> int:
        return await self.store.run(lambda db: ledger.append(db, NOW, "test.happened"))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.store.close()


async def running(journals: Watched, body: Any) -> None:
    """Do `body` while the journals are run."""
    run = asyncio.create_task(journals.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await body()
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


def test_a_commit_wakes_who_ships_and_nothing_else_does(office: Office) -> None:
    def fails(db: Database) -> None:
        ledger.append(db, NOW, "test.undone")
        raise ZeroDivisionError

    async def body() -> None:
        assert await office.journals.rounds.get() == 1
        number = await office.append()
        assert await office.journals.rounds.get() == 2
        assert [frames[0].rows[-1].number for frames in office.frames()] == [number, number]
        for _ in range(5):
            await office.store.run(ledger.head)
            with pytest.raises(ZeroDivisionError):
                await office.store.run(fails)
        await office.append()
        assert await office.journals.rounds.get() == 3
        assert office.journals.rounds.empty()
        assert [frames[0].rows[-1].number for frames in office.frames()] == [number + 1, number + 1]

    asyncio.run(running(office.journals, body))


def test_what_is_committed_during_a_round_is_for_the_next(tmp_path: Path) -> None:
    class Busy(Watched):
        async def after_round(self, number: int) -> None:
            if number == 1:
                await here.append()

        def _seconds_until_said(self) -> float:
            return 2 * PATIENCE_SECONDS  # the net would catch it after a minute, and hide the hole

    office = here = Office(tmp_path, Busy)

    async def body() -> None:
        while await office.journals.rounds.get() < 2:
            pass
        assert [frames[0].rows[-1].event for frames in office.frames()] == ["test.happened"] * 2

    asyncio.run(running(office.journals, body))
    office.store.close()


def test_that_nothing_happened_is_said_each_minute(tmp_path: Path) -> None:
    class Passing(Watched):
        async def after_round(self, number: int) -> None:
            here.clock.moment += timedelta(seconds=61)

    office = here = Office(tmp_path, Passing)

    async def body() -> None:
        while await office.journals.rounds.get() < 3:
            pass

    asyncio.run(running(office.journals, body))
    for frames in office.frames():
        at = [frame.at for frame in reversed(frames)][:3]
        assert at == [NOW + timedelta(seconds=61 * number) for number in range(3)]
        assert not any(frame.rows for frame in frames)
    office.store.close()


def test_a_disk_that_takes_nothing_is_asked_again_without_a_commit(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, refused = Place.append, 0

    def full(place: Place, frame: Frame, now: datetime) -> None:
        nonlocal refused
        if place.folder == office.folders[1] and refused < 3:
            refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        append(place, frame, now)

    monkeypatch.setattr(Place, "append", full)

    async def body() -> None:
        while await office.journals.rounds.get() < 4:
            pass
        assert refused == 3
        assert office.journals.behind_since() is None
        assert all(office.frames())

    asyncio.run(running(office.journals, body))


def test_a_node_that_stops_at_the_moment_of_a_commit_stops(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step of waking up the end meets: it is never lost, or the node would not end."""
    told: list[Callable[[], None]] = []

    @contextmanager
    def telling(tell: Callable[[], None]) -> Iterator[None]:
        told.append(tell)
        yield

    async def stopped_after(steps: int) -> None:
        run = asyncio.create_task(office.journals.run())
        await office.journals.rounds.get()
        for _ in range(20):
            await asyncio.sleep(0)
        told[-1]()
        for _ in range(steps):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait({run}, timeout=PATIENCE_SECONDS)
        assert run.cancelled(), f"{steps} steps after a commit it goes on"

    async def body() -> None:
        for steps in range(8):
            await stopped_after(steps)

    monkeypatch.setattr(office.store, "telling", telling)
    asyncio.run(body())
