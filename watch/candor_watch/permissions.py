"""A check of who may read keys and data."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from candor_watch.findings import Figure, Finding, bad, good


def permissions(key: str, private: Sequence[Path], folders: Sequence[Path]) -> Finding:
    """Files of keys: 0600 and ours; `folders` and what lies in them: not to be read by others.

    The owner is compared with whom the folders belong to: root may look on behalf of the service.
    """
    owners = {folder.stat().st_uid for folder in folders if folder.exists()}
    faults: list[str] = []
    commands: list[str] = []
    looked = 0
    for path in dict.fromkeys([*private, *_keys_in(folders)]):
        try:
            state = path.lstat()
        except OSError:
            continue
        looked += 1
        if not stat.S_ISREG(state.st_mode):
            faults.append(f"{path} is no file")
            commands.append(f"replace {path}, which leads elsewhere, by the file itself")
        elif state.st_mode & 0o077:
            faults.append(f"{path} may be read by others ({stat.S_IMODE(state.st_mode):04o})")
            commands.append(f"chmod 600 {path}")
        if owners and state.st_uid not in owners:
            faults.append(f"{path} belongs to another user ({state.st_uid})")
            commands.append(f"chown {min(owners)} {path}")
    for folder in dict.fromkeys(folders):
        if not folder.exists():
            continue
        looked += 1
        mode = folder.stat().st_mode
        if mode & 0o022:
            faults.append(f"{folder} may be written by others ({stat.S_IMODE(mode):04o})")
            commands.append(f"chmod 700 {folder}")
        elif mode & 0o077 and (exposed := _exposed(folder)):
            faults.append(f"{exposed} may be read by others")
            commands.append(f"chmod -R go= {folder}")
    figures: dict[str, Figure] = {"looked_at": looked, "faults": len(faults)}
    if len(owners) > 1:
        faults.append("the folders belong to different users")
        commands.append("chown all of them to the user of the service")
    if faults:
        return bad(key, "; ".join(faults) + ".", "Run: " + "; ".join(commands), **figures)
    return good(key, f"{looked} files and folders: only their owner may read them.", **figures)


def _keys_in(folders: Sequence[Path]) -> list[Path]:
    """Files that by their names hold keys."""
    found: list[Path] = []
    for folder in folders:
        if folder.name in ("keys", "issuing") and folder.is_dir():
            found += sorted(
                each for each in folder.rglob("*") if not each.is_dir() and each.suffix in (".key", ".pem")
            )
    return found


def _exposed(folder: Path) -> Path | None:
    """A file of `folder` that others may read; below a closed folder nobody gets to it."""
    for place, names, files in os.walk(folder):
        names[:] = [name for name in names if os.lstat(os.path.join(place, name)).st_mode & 0o011]
        for name in files:
            path = Path(place, name)
            if path.suffix in (".crt", ".toml", ".txt", ".json", ".md"):
                continue
            with contextlib.suppress(OSError):
                if path.lstat().st_mode & 0o044:
                    return path
    return None
