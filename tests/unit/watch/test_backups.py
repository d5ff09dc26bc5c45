"""What is thought of the last backup, as the program that made it left it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from candor_backup import state
from candor_backup.state import BackupState, moment
from candor_watch import metrics
from candor_watch.backups import backup_age, read_backups
from candor_watch.findings import State

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
WELL = BackupState(
    verified_at=moment(NOW - timedelta(minutes=6)),
    target="/mnt/backup",
    octets=9,
    interval_minutes=5,
    drilled_at=moment(NOW - timedelta(days=2)),
    drill_seconds=4,
)


def judged(folder: Path, **changes: object) -> tuple[State, str, str]:
    state.write(folder, replace(WELL, **changes))  # type: ignore[arg-type]
    found = backup_age("backups", folder, NOW, "candor-node")
    return found.state, found.detail, found.remedy


@pytest.mark.parametrize(
    ("changes", "wanted", "said"),
    [
        ({}, State.GOOD, "6 minutes old"),
        ({"verified_at": moment(NOW - timedelta(minutes=16))}, State.BAD, "One is due every"),
        ({"verified_at": ""}, State.BAD, "none was verified yet"),
        ({"failed_at": moment(NOW), "failure": "The disk is full."}, State.BAD, "The disk is full"),
        ({"interval_minutes": 0}, State.WARNING, "None is scheduled"),
        (
            {"interval_minutes": 0, "verified_at": moment(NOW - timedelta(days=8))},
            State.BAD,
            "None is scheduled",
        ),
        ({"drilled_at": ""}, State.WARNING, "tried never"),
        ({"drilled_at": moment(NOW - timedelta(days=36))}, State.WARNING, "36 days ago"),
    ],
    ids=["well", "old", "never", "failed", "by-hand", "by-hand-old", "no-drill", "old-drill"],
)
def test_a_backup_is_judged(tmp_path: Path, changes: dict[str, object], wanted: State, said: str) -> None:
    found, detail, remedy = judged(tmp_path, **changes)
    assert (found, said in detail) == (wanted, True), detail
    assert bool(remedy) == (wanted is not State.GOOD)


def test_nothing_is_known_without_the_file_and_with_a_broken_one(tmp_path: Path) -> None:
    assert backup_age("backups", tmp_path, NOW, "candor-node").state is State.WARNING
    (tmp_path / state.FILE).write_text("{")
    assert backup_age("backups", tmp_path, NOW, "candor-node").state is State.WARNING
    assert judged(tmp_path, verified_at="yesterday")[0] is State.UNKNOWN


def test_a_restore_that_failed_is_told_and_alarmed_on(tmp_path: Path) -> None:
    """The backup is young and was verified; it was tried, and nothing could be restored from it."""
    state.write(tmp_path, WELL)
    state.note_drill(tmp_path, NOW - timedelta(hours=3), 0, "The key does not fit.")
    found = backup_age("backups", tmp_path, NOW, "candor-node")
    assert (found.state, "The key does not fit" in found.detail) == (State.BAD, True)
    assert "candor-node backup drill" in found.remedy
    shown = {
        gauge.name: gauge.values
        for gauge in metrics.backups("candor_node", read_backups(tmp_path), NOW.timestamp())
    }
    assert shown["candor_node_restore_drill_failing"] == {(): 1.0}
    state.note_drill(tmp_path, NOW, 4, "")
    assert backup_age("backups", tmp_path, NOW, "candor-node").state is State.GOOD
