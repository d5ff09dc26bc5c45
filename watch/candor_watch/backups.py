"""What is known of the last backup (`backup-state.json` in the data folder), and what to think of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from candor_backup.state import FILE, BackupState, read
from candor_certs.lifetime import span
from candor_watch.findings import Figure, Finding, bad, good, unknown, warning
from candor_watch.redaction import sentence

MAX_INTERVALS = 3
# A backup that is not made by itself is a person's to make, and people forget.
MAX_AGE_BY_HAND = timedelta(days=7)
MAX_DRILL_AGE = timedelta(days=35)


@dataclass(frozen=True)
class Backups:
    """As the program that makes backups left it, with times; `interval` zero: nobody scheduled any."""

    verified_at: datetime | None
    target: str
    octets: int
    interval: timedelta
    failed_at: datetime | None
    failure: str
    drilled_at: datetime | None
    drill_seconds: float | None
    # Why the last drill failed; empty if it did not.
    drill_failure: str = ""

    @property
    def failing(self) -> bool:
        """Whether the last one failed."""
        return self.failed_at is not None and (self.verified_at is None or self.failed_at > self.verified_at)


def read_backups(folder: Path) -> Backups | None:
    """Of the data folder; None if nothing is known. Raises ValueError for times that are none."""
    told = read(folder)
    if told == BackupState():
        return None
    return Backups(
        _moment(told.verified_at),
        told.target,
        told.octets,
        timedelta(minutes=told.interval_minutes),
        _moment(told.failed_at),
        told.failure,
        _moment(told.drilled_at),
        told.drill_seconds or None,
        told.drill_failure,
    )


def _moment(value: str) -> datetime | None:
    if not value:
        return None
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found.astimezone(UTC)


def backup_age(key: str, folder: Path, now: datetime, program: str) -> Finding:
    """Whether the newest verified backup is as young as it should be. `folder` is the data folder."""
    try:
        state = read_backups(folder)
    except ValueError:
        told = f"{folder / FILE} cannot be read, so how old the last backup is is not known."
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
    if state.failing and state.failed_at is not None:
        why = sentence(state.failure or "no reason was noted")
        return bad(key, f"The last backup failed {span(now - state.failed_at)} ago: {why}", look, **figures)
    if age is None:
        return bad(key, "Backups are scheduled, and none was verified yet.", look, **figures)
    told = f"The newest verified backup is {span(age)} old."
    if state.interval and age > MAX_INTERVALS * state.interval:
        return bad(key, f"{told} One is due every {span(state.interval)}.", look, **figures)
    if state.drill_failure and state.drilled_at is not None:
        told = f"Restoring failed when it was tried {span(now - state.drilled_at)} ago: "
        again = (
            f"Look at {state.target or 'the backup folder'}; then: {program} backup, {program} backup drill."
        )
        return bad(key, told + sentence(state.drill_failure), again, **figures)
    if not state.interval:
        make = bad if age > MAX_AGE_BY_HAND else warning
        return make(key, f"{told} None is scheduled.", schedule, **figures)
    if state.drilled_at is None or now - state.drilled_at > MAX_DRILL_AGE:
        when = f"{span(now - state.drilled_at)} ago" if state.drilled_at else "never"
        remedy = f"Run: {program} backup drill (it changes nothing; docs/backup.md)."
        return warning(key, f"{told} Restoring was tried {when}.", remedy, **figures)
    return good(key, told, **figures)
