"""Whether a replica may be given work: each thing that keeps it from working, made to happen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from candor_hub.readiness import MAX_DENY_LIST_SECONDS, Health
from candor_hub.store.standing import LogStanding
from candor_hub.streams import Streams
from candor_watch.listener import Readiness
from tests.postgres import PostgresServer, unsafe
from tests.unit.hub.offices import Office, office


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


def health(hub: Office, age_seconds: float = 0.0, write_seconds: float = 5.0) -> Health:
    return Health(hub.store, lambda: hub.keys, lambda: age_seconds, Streams(), hub.clock, write_seconds)


def look(made: Health) -> Readiness:
    return asyncio.run(made.look())


@pytest.mark.usefixtures("each_database")
def test_a_replica_that_stores_something_is_ready(hub: Office) -> None:
    found = look(health(hub))
    assert (found.ready, dict(found.reasons)) == (True, {})
    assert found.facts["program"] == "candor-hub"
    with hub.store.read() as tx:
        assert tx.facts.get("health-written-at") is not None


def refuse_writing(hub: Office) -> None:
    """As a database on a read-only disk does: SQLite itself refuses, with SQLITE_READONLY."""
    engine: Any = hub.store._engine
    engine.dispose()
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only = ON"))


def test_a_database_that_is_read_only_is_a_reason(hub: Office) -> None:
    refuse_writing(hub)
    assert set(look(health(hub)).reasons) == {"database"}


def test_a_database_that_is_damaged_or_gone_is_a_reason(hub: Office) -> None:
    engine: Any = hub.store._engine
    engine.dispose()
    path = Path(hub.config.database.removeprefix("sqlite:///"))
    path.write_bytes(b"\0" * 4096)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    assert set(look(health(hub)).reasons) == {"database"}


def test_a_database_that_does_not_answer_is_told_in_time_and_asked_once(hub: Office) -> None:
    """Somebody holds the writer's lock, as a primary that waits for its standby does."""
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with hub.store.write():
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10)
    made = health(hub, write_seconds=0.05)

    async def scene() -> None:
        for _ in range(5):
            assert set((await made.look()).reasons) == {"database_slow"}
        assert len(made._thread._threads) == 1
        leave.set()
        made._write_seconds = 10
        assert (await made.look()).ready

    asyncio.run(scene())
    holder.join()


def test_a_server_that_is_gone_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = PostgresServer.made()
    try:
        server.start("fsync=off")
        with unsafe():
            monkeypatch.setattr("tests.unit.hub.offices.chosen_url", lambda: server.url())
            with office(tmp_path) as hub:
                assert look(health(hub)).ready
                server.stop()
                assert set(look(health(hub)).reasons) <= {"database", "database_slow"}
                assert not look(health(hub)).ready
    finally:
        server.remove()


def test_an_old_deny_list_is_a_reason(hub: Office) -> None:
    assert look(health(hub, MAX_DENY_LIST_SECONDS - 1)).ready
    assert set(look(health(hub, MAX_DENY_LIST_SECONDS + 1)).reasons) == {"deny_list"}


@pytest.mark.parametrize("shift", [timedelta(days=-1), timedelta(days=8)], ids=["begins-later", "ended"])
def test_a_certificate_that_is_not_valid_is_a_reason(hub: Office, shift: timedelta) -> None:
    hub.clock.shift += shift
    assert set(look(health(hub)).reasons) == {"certificate"}


def test_a_hub_that_stops_says_so(hub: Office) -> None:
    made = health(hub)
    made.stopping = True
    assert set(look(made).reasons) == {"stopping"}


def test_what_is_wrong_for_all_replicas_is_told_and_takes_none_of_them_away(
    hub: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Witnesses sign over the streams that a balancer would cut: the log would never be witnessed again."""
    now = hub.clock.now()
    late = LogStanding(9, 3, now, now - timedelta(hours=2), 4, now - timedelta(minutes=5))
    made = health(hub)
    monkeypatch.setattr(made, "_write", lambda: late)
    found = look(made)
    assert found.ready
    assert set(found.facts["concerns"]) == {"log_waiting", "log_unwitnessed"}
    fresh = replace(late, witnessed_at=now, waiting=0, waiting_since=None)
    monkeypatch.setattr(made, "_write", lambda: fresh)
    assert look(made).facts["concerns"] == {}


def test_a_mistake_of_ours_is_no_readiness(hub: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    made = health(hub)

    def fail() -> LogStanding:
        raise sa.exc.InvalidRequestError("a bug")

    monkeypatch.setattr(made, "_write", fail)
    assert set(look(made).reasons) == {"database"}
