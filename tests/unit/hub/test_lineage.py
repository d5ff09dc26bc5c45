"""A primary that was succeeded and came back: split brain, with servers that are real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from candor_hub.driver.lineage import FormerPrimary, Lineage
from candor_hub.driver.postgresql import Server, parse_url
from candor_hub.health import examine
from candor_hub.store.sessions import connect, end
from candor_watch.findings import State
from tests import postgres
from tests.replicas import founded_on


@pytest.fixture
def pair() -> Iterator[tuple[postgres.PostgresServer, postgres.PostgresServer]]:
    """A primary with an empty database `candor`, and a standby."""
    primary = postgres.PostgresServer.made()
    standby: postgres.PostgresServer | None = None
    try:
        primary.start(*postgres._UNSAFE)
        primary.execute("CREATE DATABASE candor")
        standby = postgres._standby_of(primary)
        with postgres.unsafe():
            yield primary, standby
    finally:
        for server in (primary, standby):
            if server is not None:
                server.stop()
                server.remove()


def both(*servers: postgres.PostgresServer) -> str:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://postgres@{hosts}/candor"


def port_of(server: Server) -> str:
    with server.connect() as session:
        return str(session.info.port)


def test_who_has_seen_the_new_primary_does_not_go_back_to_the_old_one(
    pair: tuple[postgres.PostgresServer, postgres.PostgresServer], tmp_path: Path
) -> None:
    old, new = pair
    config = founded_on(tmp_path / "hub", both(old, new))
    server = parse_url(both(old, new))
    assert port_of(server) == str(old.port)
    postgres._run("pg_ctl", "-D", f"{new.folder}/data", "-w", "promote")
    # Both take writes now, and libpq takes the first one. Who was led to the new one in between stays there.
    assert port_of(server) == str(old.port)
    assert port_of(server.each()[1]) == str(new.port)
    assert port_of(server) == str(new.port)

    async def lease() -> int:
        session = await connect(server)
        try:
            return int(session.info.port)
        finally:
            await end(session)

    assert asyncio.run(lease()) == new.port
    with pytest.raises(FormerPrimary, match="timeline 1, and timeline 2 was seen"):
        server.each()[0].connect()
    # Doctor names both, and which of them has to go.
    report = asyncio.run(examine(tmp_path / "hub/hub.toml", datetime.now(UTC)))
    found = report.of("replication")
    assert found.state is State.BAD
    assert f"127.0.0.1:{old.port}/candor (timeline 1)" in found.detail
    assert f"Stop 127.0.0.1:{old.port}/candor at once" in found.remedy
    assert report.exit_status() == 1
    assert json.loads(json.dumps(report.as_json()))["state"] == "bad"
    assert config.database_url == both(old, new)


def test_another_cluster_is_no_older_timeline() -> None:
    """After a restore of a dump into a new cluster it begins at one again."""
    lineage = Lineage()
    lineage.check(("7001", 3, ""), "a")
    lineage.check(("7002", 1, ""), "b")
    with pytest.raises(FormerPrimary):
        lineage.check(("7001", 2, ""), "a")
    assert replace(parse_url("postgresql://candor@a,b/candor"), lineage=lineage).each()[0].lineage is lineage
