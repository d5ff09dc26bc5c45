"""Permissions, limits of processes, time service: each fault made for real where the system lets us."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from candor_watch import processes, time_service
from candor_watch.findings import State
from candor_watch.permissions import permissions

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A service's folder as `init` leaves it."""
    for name in ("data", "data/keys"):
        (tmp_path / name).mkdir(mode=0o700)
    for name in ("keys/signing.key", "keys/tls.pem", "node.db"):
        path = tmp_path / "data" / name
        path.write_bytes(b"secret")
        path.chmod(0o600)
    return tmp_path / "data"


def judged(folder: Path) -> tuple[State, str, str]:
    found = permissions("permissions", [folder / "node.db"], [folder, folder / "keys"])
    return found.state, found.detail, found.remedy


def test_keys_and_data_of_one_user_alone_are_good(folder: Path) -> None:
    assert judged(folder)[0] is State.GOOD


@pytest.mark.parametrize(
    ("name", "mode", "command"),
    [
        ("keys/signing.key", 0o640, "chmod 600"),
        ("keys/tls.pem", 0o604, "chmod 600"),
        ("node.db", 0o666, "chmod 600"),
        ("keys", 0o770, "chmod 700"),
        (".", 0o722, "chmod 700"),
    ],
)
def test_what_others_may_open_is_bad_and_the_command_is_said(
    folder: Path, name: str, mode: int, command: str
) -> None:
    (folder / name).chmod(mode)
    state, detail, remedy = judged(folder)
    assert state is State.BAD
    assert "others" in detail
    assert f"{command} {folder / name}" in remedy
    subprocess.run(remedy.removeprefix("Run: "), shell=True, check=True)
    assert judged(folder)[0] is State.GOOD


def test_data_that_others_may_read_in_a_folder_that_they_may_enter(folder: Path) -> None:
    (folder / "index").mkdir(mode=0o755)
    (folder / "index/segment").write_bytes(b"x")
    (folder / "index/segment").chmod(0o644)
    # A closed folder above it keeps everybody out.
    assert judged(folder)[0] is State.GOOD
    folder.chmod(0o755)
    (folder / "keys").chmod(0o700)
    state, detail, remedy = judged(folder)
    assert state is State.BAD
    assert "segment" in detail
    subprocess.run(remedy.removeprefix("Run: "), shell=True, check=True)
    assert judged(folder)[0] is State.GOOD


def test_a_key_that_leads_elsewhere_or_is_anothers_is_bad(folder: Path, tmp_path: Path) -> None:
    key = folder / "keys/signing.key"
    key.rename(tmp_path / "elsewhere.key")
    key.symlink_to(tmp_path / "elsewhere.key")
    assert "is no file" in judged(folder)[1]
    if os.geteuid() == 0:
        key.unlink()
        (tmp_path / "elsewhere.key").rename(key)
        os.chown(key, 12_345, -1)
        assert "belongs to another user" in judged(folder)[1]


# --- processes -----------------------------------------------------------------------------------------


@contextmanager
def running(**limits: int) -> Iterator[int]:
    """A process with these soft limits; its id."""
    lines = [f"resource.setrlimit(resource.{name}, ({value}, {value}))" for name, value in limits.items()]
    program = "\n".join(["import resource, sys", *lines, "print('ready', flush=True)", "sys.stdin.read()"])
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.communicate("")


def test_a_process_that_may_write_its_memory_to_a_file_is_warned_of() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    with running(RLIMIT_CORE=0) as pid:
        assert processes.core_dumps("c", pid).figures["core_limit_octets"] == 0
    if hard == resource.RLIM_INFINITY or hard > 4096:
        with running(RLIMIT_CORE=4096) as pid:
            found = processes.core_dumps("c", pid)
            assert found.state is State.WARNING
            assert "LimitCORE=0" in found.remedy


def test_a_pattern_that_pipes_crashes_elsewhere_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sys/kernel").mkdir(parents=True)
    pattern = tmp_path / "sys/kernel/core_pattern"
    monkeypatch.setattr(processes, "PROC", tmp_path)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (0, 0))
    pattern.write_text("core\n")
    assert processes.core_dumps("c", None).state is State.GOOD
    pattern.write_text("|/usr/lib/systemd/systemd-coredump %P\n")
    found = processes.core_dumps("c", None)
    assert (found.state, "systemd-coredump" in found.detail) == (State.WARNING, True)


def test_too_few_open_files_are_bad() -> None:
    with running(RLIMIT_NOFILE=300) as pid:
        assert processes.open_files("f", pid, 256).state is State.GOOD
        found = processes.open_files("f", pid, 2_256)
        assert found.state is State.BAD
        assert "LimitNOFILE=2256" in found.remedy


def test_memory_is_that_of_machine_and_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.memory("m", os.getpid(), 1).state is State.GOOD
    assert processes.memory("m", os.getpid(), 1 << 50).state is State.WARNING
    (tmp_path / "cgroup/service").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemAvailable: 1000000 kB\nSwapTotal: 0 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/service\n")
    (tmp_path / "cgroup/service/memory.max").write_text("max\n")
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    monkeypatch.setattr(processes, "CGROUP", tmp_path / "cgroup")
    assert processes.memory("m", None, 512 * MIB).state is State.GOOD
    (tmp_path / "cgroup/service/memory.max").write_text(f"{256 * MIB}\n")
    found = processes.memory("m", None, 512 * MIB)
    assert (found.state, found.figures["limit_octets"]) == (State.WARNING, 256 * MIB)


def test_a_clock_that_nothing_sets_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    told = time_service.kernel_clock()
    assert told is None or told[1] >= 0
    for kept, state in ((True, State.GOOD), (False, State.WARNING)):
        monkeypatch.setattr(time_service, "kernel_clock", lambda kept=kept: (kept, 0.01))
        assert time_service.time_sync("t").state is state
    monkeypatch.setattr(time_service, "kernel_clock", lambda: None)
    assert time_service.time_sync("t").state is State.UNKNOWN
