"""A directory counts when the log holds it, and as long as the log is young enough (§10.4, §15.6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candor_node import directory_store
from candor_node.directory_store import FetchedDirectory
from candor_node.index_client import IndexClient
from candor_proto.directory import Directory, MemberStatus, VerifiedDirectory, verify_directory
from candor_proto.errors import CandorError, LogInconsistent, LogUnwitnessed, NotLogged, Rollback
from candor_proto.tlog.age import LogAge
from tests.memory_log import FEDERATION, NOW, later
from tests.parties import CHAIN_DIGEST
from tests.unit.node.tlog.scenes import Reader, play

BOTH = ("alpha", "bravo")


class Hub:
    """Serves the directory that a test puts there, signed by the hub's key."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.directory: Directory | None = None
        self.before_fetch: Callable[[], None] = lambda: None

    async def get_directory(self) -> FetchedDirectory:
        self.before_fetch()
        assert self.directory is not None
        return FetchedDirectory(self.reader.log.parties.signed(self.directory), (b"chain",))


class Client(IndexClient):
    """With the certificate of the directory's key taken for granted: other tests are about that."""

    reader: Reader

    async def _verify(self, fetched: FetchedDirectory) -> VerifiedDirectory:
        seen = await self._store.run(directory_store.seen)
        key = self.reader.log.parties.directory_key.public
        return verify_directory(
            fetched.statement, key, CHAIN_DIGEST, FEDERATION, self.reader.clock.now(), seen
        )


def client_of(reader: Reader, folder: Path) -> tuple[Client, Hub]:
    hub: Any = Hub(reader)
    (folder / "index").mkdir(exist_ok=True)
    client = Client(hub, reader.store, folder / "index", FEDERATION, [], reader.clock, reader.follower)
    client.reader = reader
    return client, hub


async def refused(client: IndexClient) -> CandorError:
    try:
        await client.refresh()
    except CandorError as error:
        return error
    raise AssertionError("it was taken up")


def test_a_logged_directory_is_taken_up(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        client, hub = client_of(reader, tmp_path)
        hub.directory = reader.log.add_directory()
        reader.log.publish(NOW, *BOTH)
        await client.refresh()
        assert client.version == hub.directory.version == 2

    play(tmp_path, scene)


def test_a_directory_that_the_log_does_not_hold_yet_is_not_taken_up(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        client, hub = client_of(reader, tmp_path)
        first = hub.directory = reader.log.add_directory()
        reader.log.publish(NOW, *BOTH)
        await client.refresh()
        hub.directory = reader.log.add_directory()
        assert isinstance(await refused(client), NotLogged)
        # Signed by the log alone it is not there either.
        reader.log.publish(NOW, "alpha")
        assert isinstance(await refused(client), LogUnwitnessed)
        assert client.version == first.version
        reader.log.publish(later(minutes=1), *BOTH)
        await client.refresh()
        assert client.version == hub.directory.version

    play(tmp_path, scene)


@pytest.mark.parametrize("what", ["member", "status", "issued", "denied", "version"])
def test_another_directory_than_the_logged_one_is_refused(tmp_path: Path, what: str) -> None:
    async def scene(reader: Reader) -> None:
        client, hub = client_of(reader, tmp_path)
        honest = reader.log.add_directory()
        reader.log.publish(NOW, *BOTH)
        alpha, *others = honest.members
        changes: dict[str, dict[str, Any]] = {
            "member": {"members": (replace(alpha, name="Somebody else"), *others)},
            "status": {"members": (replace(alpha, status=MemberStatus.SUSPENDED), *others)},
            "issued": {"issued_at": later(minutes=1)},
            "denied": {"denied_serials": (17,)},
            "version": {"version": honest.version - 1},
        }
        hub.directory = replace(honest, **changes[what])
        assert isinstance(await refused(client), LogInconsistent)
        assert client.directory is None
        (kept,) = await reader.contradictions()
        assert kept.kind == "false-directory"

    play(tmp_path, scene)


def test_a_directory_below_the_newest_logged_one_is_a_rollback(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        client, hub = client_of(reader, tmp_path)
        old = reader.log.add_directory()
        reader.log.add_directory()
        reader.log.publish(NOW, *BOTH)
        await reader.follower.follow()
        hub.directory = old
        assert isinstance(await refused(client), Rollback)
        assert client.directory is None

    play(tmp_path, scene)


def test_a_log_that_goes_on_meanwhile_makes_no_rollback(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        client, hub = client_of(reader, tmp_path)
        hub.directory = reader.log.add_directory()
        reader.log.publish(NOW, *BOTH)
        await reader.follower.follow()

        def another() -> None:
            reader.log.add_directory()
            reader.log.publish(later(minutes=1), *BOTH)

        hub.before_fetch = another
        await client.refresh()
        assert client.version == hub.directory.version

    play(tmp_path, scene)


def test_a_kept_directory_counts_after_a_restart_only_if_the_kept_log_holds_it(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        client, hub = client_of(reader, tmp_path)
        hub.directory = reader.log.add_directory()
        reader.log.publish(NOW, *BOTH)
        await client.refresh()
        reader.restart()
        again, _ = client_of(reader, tmp_path)
        await again.load()
        assert again.version == hub.directory.version
        await reader.store.run(lambda db: db.execute("DELETE FROM tlog_directories"))
        reader.restart()
        unlogged, _ = client_of(reader, tmp_path)
        await unlogged.load()
        assert unlogged.directory is None

    play(tmp_path, scene)


# --- age ---------------------------------------------------------------------------------------------


def test_an_old_log_is_late_and_then_closed(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        client, hub = client_of(reader, tmp_path)
        follower, clock = reader.follower, reader.clock
        with pytest.raises(LogUnwitnessed, match="not seen a witnessed head"):
            client.require_directory()
        hub.directory = reader.log.add_directory()
        reader.log.publish(NOW, *BOTH)
        await client.refresh()
        view = follower.view
        assert view is not None

        clock.pass_(minutes=60)
        assert view.age(clock.now()) is LogAge.CURRENT
        assert follower.notice(clock.now()) == ""

        clock.pass_(seconds=1)
        assert view.age(clock.now()) is LogAge.LATE
        assert "last witnessed at 2026-03-02 14:30 UTC" in follower.notice(clock.now())
        assert "At 2026-03-03 14:30 UTC this node stops asking and answering" in follower.notice(clock.now())
        client.require_directory()
        assert client.vouched() is client.indexes

        clock.moment = later(hours=24)
        client.require_directory()
        clock.pass_(seconds=1)
        assert not follower.is_open()
        with pytest.raises(LogUnwitnessed, match="asks nobody and answers nobody") as caught:
            client.require_directory()
        assert "since 2026-03-02 14:30 UTC" in caught.value.message
        assert caught.value.remedy
        assert client.vouched() == {}

        reader.log.publish(clock.now(), *BOTH)
        await follower.follow()
        client.require_directory()

    play(tmp_path, scene)


def test_who_did_not_sign_is_named(tmp_path: Path) -> None:
    """An operator is told which agencies' nodes do not run (§15.6)."""

    async def scene(reader: Reader) -> None:
        log, clock = reader.log, reader.clock
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        clock.pass_(hours=2)
        log.files["1/signed"] = log.head(later(hours=1), "alpha").encode()
        await reader.follower.follow()
        notice = reader.follower.notice(clock.now())
        assert (
            "Of its 3 witnesses these have not signed its newest head: member/bravo, member/charlie."
            in notice
        )

    play(tmp_path, scene)


def test_a_restart_makes_the_log_no_younger(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        reader.log.publish(NOW, *BOTH)
        await reader.follower.follow()
        reader.clock.pass_(hours=25)
        reader.restart()
        await reader.follower.load()
        assert not reader.follower.is_open()

    play(tmp_path, scene)
