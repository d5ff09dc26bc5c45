"""What became of the last backup, in a small file beside the database: for `doctor`, metrics and people.

Rules of this file:
- the file is replaced as a whole; a missing or broken one says that nothing is known;
- it names folders, times and sizes, and nothing of what was backed up.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

FILE = "backup-state.json"


@dataclass(frozen=True)
class BackupState:
    """`verified_at`: the newest backup that was read again and is whole; `octets` is what that one wrote.

    Times are ISO 8601 in UTC, empty for never. `interval_minutes` is 0 when nothing is scheduled.
    """

    verified_at: str = ""
    target: str = ""
    octets: int = 0
    sequence: int = 0
    interval_minutes: float = 0
    failed_at: str = ""
    failure: str = ""
    drilled_at: str = ""
    drill_seconds: float = 0
    drill_failure: str = ""


def moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(folder: Path) -> BackupState:
    """What is known; an empty state when nothing is."""
    try:
        values = json.loads((folder / FILE).read_bytes())
        known = {field.name for field in fields(BackupState)}
        return BackupState(**{name: value for name, value in values.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return BackupState()


def write(folder: Path, state: BackupState) -> None:
    """Replace it; a disk that refuses is passed over: the backup itself was written or not."""
    beside = folder / f".{FILE}.new"
    try:
        beside.write_text(json.dumps(asdict(state), indent=1, sort_keys=True) + "\n", "utf-8")
        os.replace(beside, folder / FILE)
    except OSError:
        beside.unlink(missing_ok=True)


def note_backup(folder: Path, now: datetime, target: str, octets: int) -> None:
    """A backup was written and read again."""
    known = read(folder)
    write(
        folder,
        replace(
            known,
            verified_at=moment(now),
            target=target,
            octets=octets,
            sequence=known.sequence + 1,
            failed_at="",
            failure="",
        ),
    )


def note_failure(folder: Path, now: datetime, failure: str) -> None:
    """A backup failed."""
    write(folder, replace(read(folder), failed_at=moment(now), failure=failure))


def note_drill(folder: Path, now: datetime, seconds: float, failure: str) -> None:
    """A restore was tried."""
    write(
        folder,
        replace(read(folder), drilled_at=moment(now), drill_seconds=seconds, drill_failure=failure),
    )
