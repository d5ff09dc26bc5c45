"""What systemd and its like give to a program, and hear from it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from candor_certs.service_manager import (
    credential,
    feed_watchdog,
    key_octets,
    notify,
    watchdog_seconds,
)
from candor_hub.config import load_config as load_hub_config
from candor_hub.founding import Wishes, open_keys
from candor_hub.founding import found as found_hub
from candor_hub.founding import open_store as open_hub_store
from candor_node.config import load_config
from candor_node.founding import open_store
from candor_node.joining import found
from candor_proto.errors import ConfigInvalid, InputInvalid, StoreUnusable
from candor_proto.ids import FederationName, NodeId

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = 65534


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def give(folder: Path, name: str, data: bytes, mode: int = 0o440) -> None:
    (folder / name).write_bytes(data)
    (folder / name).chmod(mode)


def test_without_a_service_manager_there_is_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert credential("database.key") is None


def test_a_credential_that_everybody_may_read_is_refused(passed: Path) -> None:
    give(passed, "database.key", bytes(32), 0o444)
    with pytest.raises(StoreUnusable, match="every user of this machine may open it"):
        credential("database.key")


def test_a_key_comes_raw_or_in_hexadecimal() -> None:
    key = bytes(range(32))
    assert key_octets(key) == key_octets(key.hex().encode() + b"\n") == key
    assert key_octets(b"short") == b"short"  # and is refused by whoever opens the database with it


def test_a_node_is_made_under_the_key_that_is_passed(tmp_path: Path, passed: Path) -> None:
    """As compose.yaml has it: under a key of its own nothing would open it afterwards."""
    give(passed, "database.key", bytes(range(32)))
    config = load_config(found(tmp_path / "node", NodeId("alpha")))
    assert not config.database_key_file.exists()
    open_store(config).close()
    give(passed, "database.key", b"short")
    with pytest.raises(InputInvalid, match="5 octets"):
        found(tmp_path / "other", NodeId("alpha"))
    assert not (tmp_path / "other").exists()


def test_a_hub_is_made_in_the_database_and_under_the_key_that_are_passed(
    tmp_path: Path, passed: Path, postgresql_url: str
) -> None:
    """As compose.yaml has it; a pod then starts with nothing but the two, and settings."""
    give(passed, "database.key", bytes(range(32)))
    give(passed, "database.url", postgresql_url.encode() + b"\n")
    wishes = Wishes(FederationName("demo.example"), "127.0.0.1:1", "127.0.0.1:2")
    config = found_hub(tmp_path / "hub", wishes, datetime.now(UTC))
    assert not (tmp_path / "hub/keys/database.key").exists()
    assert not (tmp_path / "hub/hub.db").exists()
    assert "postgresql" not in (tmp_path / "hub/hub.toml").read_text()
    pod = replace(config, data=tmp_path / "pod", issuing=tmp_path / "nowhere")
    (tmp_path / "pod/keys").mkdir(parents=True, mode=0o700)
    with closing(open_hub_store(pod)) as store:
        assert open_keys(pod, store, datetime.now(UTC)).tls.chain
    with pytest.raises(InputInvalid, match="passes the credential"):
        found_hub(tmp_path / "two", replace(wishes, database_url=postgresql_url), datetime.now(UTC))


def test_the_nodes_database_key_comes_from_the_service_manager_first(tmp_path: Path, passed: Path) -> None:
    config = load_config(found(tmp_path / "node", NodeId("alpha")))
    of_file = config.database_key()
    assert of_file == config.database_key_file.read_bytes()
    give(passed, "database.key", of_file.hex().encode())
    config.database_key_file.unlink()
    assert config.database_key() == of_file


def test_the_hubs_database_url_comes_from_the_service_manager(tmp_path: Path, passed: Path) -> None:
    settings = tmp_path / "hub.toml"
    settings.write_text(
        'federation = "demo.example"\naddress = "127.0.0.1:7443"\nenrolment_address = "127.0.0.1:7444"\n'
    )
    give(passed, "database.url", b"postgresql://candor:secret@db.example.org/candor\n")
    config = load_hub_config(settings)
    assert config.database == "postgresql://candor@db.example.org/candor"
    assert config.database_password() == "secret"
    assert "secret" not in repr(config)
    give(passed, "database.url", b"secret")
    with pytest.raises(ConfigInvalid, match="is no database URL") as refused:
        load_hub_config(settings)
    assert "secret" not in refused.value.message.replace("candor:", "")


def test_notifications_reach_the_socket_and_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1", "STATUS=well")
        assert manager.recv(100) == b"READY=1\nSTATUS=well"

        async def twice() -> None:
            feeding = asyncio.create_task(feed_watchdog())
            for _ in range(2):
                assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
            feeding.cancel()

        asyncio.run(twice())
    notify("READY=1")  # the manager has gone
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    notify("READY=1")


def test_the_watchdog_of_another_process_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_seconds() == 20
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() is None
    asyncio.run(feed_watchdog())  # ends at once


@ROOT_ONLY
@pytest.mark.parametrize("for_good", [True, False], ids=["for-good", "and-back"])
def test_root_works_on_a_services_files_as_the_services_user(for_good: bool) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from candor_certs.service_manager import work_as_owner\n"
        "place = pathlib.Path(sys.argv[1])\n"
        "back = work_as_owner(place, for_good=sys.argv[2] == 'True')\n"
        "(place / 'made').write_text('x')\n"
        "back()\n"
        "print(*os.getresuid(), *os.getresgid(), *os.getgroups())\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chown(folder, NOBODY, NOBODY)
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), str(for_good)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert (folder / "made").stat().st_uid == NOBODY
    numbers = set(map(int, done.stdout.split()))
    assert (0 not in numbers) if for_good else (NOBODY not in numbers)
