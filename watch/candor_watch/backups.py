"""What is known of the last backup (`backup-state.json` in the data folder), and what to think of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from candor_certs.lifetime import span
from candor_watch.findings import Figure, Finding, bad, good, unknown, warning
from candor_watch.redaction import sentence

FILE_NAME = "backup-state.json"
MAX_OCTETS = 64 * 1024
MAX_INTERVALS = 3
# A backup that is not made by itself is a person's to make, and people forget.
MAX_AGE_BY_HAND = timedelta(days=7)
MAX_DRILL_AGE = timedelta(days=35)


@dataclass(frozen=True)
class BackupState:
    """As the program that makes backups left it; `interval` zero: nobody scheduled any."""

    verified_at: datetime | None
    target: str
    octets: int
    interval: timedelta
    failed_at: datetime | None
    failure: str
    drilled_at: datetime | None
    drill_seconds: float | None


def read_state(folder: Path) -> BackupState | None:
    """None if nothing was ever written there; raises ValueError for a file that is no such state."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            told = json.loads(file.read(MAX_OCTETS))
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise ValueError("it is no JSON") from None
    if not isinstance(told, dict):
        raise ValueError("it holds no object")
    seconds = told.get("drill_seconds")
    return BackupState(
        _moment(told.get("verified_at")),
        str(told.get("target") or ""),
        int(told.get("octets") or 0),
        timedelta(minutes=float(told.get("interval_minutes") or 0)),
        _moment(told.get("failed_at")),
        str(told.get("failure") or ""),
        _moment(told.get("drilled_at")),
        float(seconds) if isinstance(seconds, int | float) else None,
    )


def _moment(value: Any) -> datetime | None:
    if not value:
        return None
    found = datetime.fromisoformat(str(value))
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found.astimezone(UTC)


def backup_age(key: str, folder: Path, now: datetime, program: str) -> Finding:
    """Whether the newest verified backup is as young as it should be. `folder` is the data folder."""
    try:
        state = read_state(folder)
    except ValueError:
        told = f"{folder / FILE_NAME} cannot be read, so how old the last backup is is not known."
        return unknown(key, told, f"Run: {program} backup; it writes the file anew.")
    schedule = f"Set backup_folder and backup_interval_minutes (docs/backup.md); once: {program} backup."
    if state is None:
        return warning(key, "No backup was ever made, and none is scheduled.", schedule)
    age = now - state.verified_at if state.verified_at else None
    figures: dict[str, Figure] = {
        "age_seconds": round(age.total_seconds()) if age is not None else None,
        "interval_minutes": state.interval.total_seconds() / 60,
        "octets": state.octets,
        "drill_age_seconds": round((now - state.drilled_at).total_seconds()) if state.drilled_at else None,
        "drill_seconds": state.drill_seconds,
    }
    look = f"See that {state.target or 'the backup folder'} can be written to; then: {program} backup."
    if state.failed_at is not None and (state.verified_at is None or state.failed_at > state.verified_at):
        why = sentence(state.failure or "no reason was noted")
        return bad(key, f"The last backup failed {span(now - state.failed_at)} ago: {why}", look, **figures)
    if age is None:
        return bad(key, "Backups are scheduled, and none was verified yet.", look, **figures)
    told = f"The newest verified backup is {span(age)} old."
    if state.interval and age > MAX_INTERVALS * state.interval:
        return bad(key, f"{told} One is due every {span(state.interval)}.", look, **figures)
    if not state.interval:
        make = bad if age > MAX_AGE_BY_HAND else warning
        return make(key, f"{told} None is scheduled.", schedule, **figures)
    if state.drilled_at is None or now - state.drilled_at > MAX_DRILL_AGE:
        when = f"{span(now - state.drilled_at)} ago" if state.drilled_at else "never"
        remedy = f"Run: {program} restore-drill (it touches nothing; docs/backup.md)."
        return warning(key, f"{told} Restoring was tried {when}.", remedy, **figures)
    return good(key, told, **figures)
