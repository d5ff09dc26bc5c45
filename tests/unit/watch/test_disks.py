"""How full a disk is, and whether it takes anything: on real file systems, some of them spoilt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from candor_watch import disks
from candor_watch.disks import disk_space, disk_write
from candor_watch.findings import State

GIB = 1 << 30
DAY = 86_400.0

# In a mount namespace of its own: a disk of 4 MiB, filled to the last octet, then made read-only.
IN_NAMESPACE = """
import json, os, subprocess, sys
from pathlib import Path
from candor_watch.disks import disk_space, disk_write
place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=20", "none", place], check=True)
data = place / "data"
data.mkdir()
told = {"small": disk_space("d", [data], place, 0.0).state}
with open(data / "fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(b"x" * 4096)
    except OSError:
        pass
full = disk_write("w", [data])
told |= {"full": full.state, "full_detail": full.detail, "full_remedy": full.remedy}
(data / "fill").unlink()
told["room"] = disk_write("w", [data]).state
subprocess.run(["mount", "-o", "remount,ro", place], check=True)
only = disk_write("w", [data])
told |= {"read_only": only.state, "read_only_detail": only.detail, "read_only_remedy": only.remedy}
told["space_read_only"] = disk_space("d", [data], place, 0.0).detail
told["left"] = sorted(os.listdir(data))
print(json.dumps({key: str(value) if not isinstance(value, list) else value for key, value in told.items()}))
"""


def test_a_real_disk_that_is_full_or_read_only_is_found_and_said_what_to_do_about(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", IN_NAMESPACE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip("this system lets nobody mount in a namespace")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["small"] == "bad"
    assert (told["full"], told["room"], told["read_only"]) == ("bad", "good", "bad")
    assert "no space left" in told["full_detail"]
    assert "Free space" in told["full_remedy"]
    assert "read-only" in told["read_only_detail"]
    assert "remount,rw" in told["read_only_remedy"]
    assert "mounted read-only" in told["space_read_only"]
    assert told["left"] == [], "doctor leaves nothing behind"


def test_a_folder_that_takes_files_is_good_and_stays_as_it_was(tmp_path: Path) -> None:
    found = disk_write("w", [tmp_path, tmp_path / "not-there-yet"])
    assert found.state is State.GOOD
    assert list(tmp_path.iterdir()) == []


def fake_disk(free: int, total: int, files: int = 1_000_000, flags: int = 0) -> Any:
    return SimpleNamespace(
        f_bavail=free // 4096,
        f_blocks=total // 4096,
        f_frsize=4096,
        f_files=files,
        f_favail=files,
        f_flag=flags,
    )


@pytest.mark.parametrize(
    ("disk", "state"),
    [
        (fake_disk(100 * GIB, 200 * GIB), State.GOOD),
        (fake_disk(60 * GIB, 4_000 * GIB), State.GOOD),
        (fake_disk(20 * GIB, 400 * GIB), State.WARNING),
        (fake_disk(900 << 20, 4 * GIB), State.WARNING),
        (fake_disk(200 << 20, 1 * GIB), State.BAD),
        (fake_disk(4 * GIB, 400 * GIB), State.BAD),
        (fake_disk(100 * GIB, 200 * GIB, files=9_000), State.WARNING),
        (fake_disk(100 * GIB, 200 * GIB, files=900), State.BAD),
        (fake_disk(100 * GIB, 200 * GIB, flags=os.ST_RDONLY), State.BAD),
    ],
    ids=[
        "half",
        "large",
        "5-of-100",
        "under-1-GB",
        "under-256-MB",
        "1-of-100",
        "few-files",
        "no-files",
        "ro",
    ],
)
def test_free_space_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Any, state: State
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert disk_space("d", [tmp_path], tmp_path, 0.0).state is state


def test_growth_says_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 days old, 20 MB in it: 2 MB a day. With 60 MB left it is full in a month, with 1 GB in 500 days."""
    (tmp_path / "data").write_bytes(os.urandom(20 << 20))
    now = (tmp_path / "data").stat().st_mtime + 10 * DAY
    made = tmp_path / "hub.toml"
    made.touch()
    os.utime(made, (now - 10 * DAY, now - 10 * DAY))

    def left(free: int) -> Any:
        monkeypatch.setattr(os, "statvfs", lambda _: fake_disk(free, 1000 * GIB))
        monkeypatch.setattr(disks, "DISK_BAD_OCTETS", 0)
        monkeypatch.setattr(disks, "DISK_WARNING_OCTETS", 0)
        monkeypatch.setattr(disks, "DISK_PLENTY_OCTETS", 0)
        return disk_space("d", [tmp_path], made, now)

    found = left(60 << 20)
    assert found.state is State.WARNING
    assert 25 < float(found.figures["days_left"]) < 32
    assert left(10 << 20).state is State.BAD
    assert left(1 << 30).state is State.GOOD
    # What was written this week counts more than what lies there since the beginning.
    os.utime(tmp_path / "data", (now - DAY, now - DAY))
    os.utime(made, (now - 1000 * DAY, now - 1000 * DAY))
    assert float(left(60 << 20).figures["days_left"]) < 25
    # A database file is written anew all the time: its size is not what came this week.
    (tmp_path / "data").rename(tmp_path / "hub.db")
    os.utime(tmp_path / "hub.db", (now - DAY, now - DAY))
    assert float(left(60 << 20).figures["days_left"]) > 1000


def test_a_young_installation_has_no_growth_yet(tmp_path: Path) -> None:
    made = tmp_path / "hub.toml"
    made.touch()
    found = disk_space("d", [tmp_path], made, made.stat().st_mtime + 3 * DAY)
    assert found.figures["growth_octets_a_day"] is None
