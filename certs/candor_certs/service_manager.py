"""What a service manager (systemd, Kubernetes, Compose) gives to a program, and hears from it.

Rules of this file:
- a secret that the manager passes is a file in the folder that CREDENTIALS_DIRECTORY names; who may read it
  besides the service is the manager's business, except that not everybody may;
- a manager that does not listen, or is not there, changes nothing: a notification never raises;
- root does not work on a service's files: it becomes the user whom the folder belongs to, or a file that root
  made there would stop the service later.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import secrets
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from candor_proto.errors import InputInvalid, StoreUnusable

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
NOTIFY_VARIABLE = "NOTIFY_SOCKET"
DATABASE_KEY = "database.key"
DATABASE_URL = "database.url"
KEY_OCTETS = 32
MAX_OCTETS = 1 << 16
_EVERYBODY = stat.S_IRWXO


# --- credentials --------------------------------------------------------------------------------------


def credential(name: str) -> bytes | None:
    """The secret `name` that the service manager passes; None if it passes no such one.

    Raises StoreUnusable when it cannot be read, or when every user of the machine may read or change it.
    """
    folder = os.environ.get(CREDENTIALS_VARIABLE)
    if not folder:
        return None
    path = Path(folder) / name
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _EVERYBODY:
                raise StoreUnusable(
                    f"{path} holds a secret, and every user of this machine may open it.",
                    remedy="Give it mode 0400 or 0440 where the service manager is told of it.",
                )
            data = file.read(MAX_OCTETS + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnusable(
            f"The credential {path} cannot be read: {error.strerror}.",
            remedy="Check what the service manager is told of it (LoadCredential=, or the secret's mode).",
        ) from None
    if len(data) > MAX_OCTETS:
        raise InputInvalid(f"The credential {path} is too large to be a secret.", remedy="Check its source.")
    return data


def key_octets(data: bytes) -> bytes:
    """A key as 32 raw octets, from these or from 64 hexadecimal digits; anything else as it is."""
    if len(data) != KEY_OCTETS and re.fullmatch(rb"\s*[0-9a-fA-F]{64}\s*", data):
        return bytes.fromhex(data.strip().decode())
    return data


def new_database_key() -> tuple[bytes, bool]:
    """The key for a database that is being made, and whether the service manager passes it.

    One that it passes is the one that will be passed to whoever opens the database. Raises StoreUnusable or
    InputInvalid.
    """
    passed = credential(DATABASE_KEY)
    if passed is None:
        return secrets.token_bytes(KEY_OCTETS), False
    key = key_octets(passed)
    if len(key) != KEY_OCTETS:
        raise InputInvalid(
            f"The credential {DATABASE_KEY} has {len(key)} octets and must have {KEY_OCTETS}.",
            remedy=f"Make it anew: head -c {KEY_OCTETS} /dev/urandom",
        )
    return key, True


# --- notifications ------------------------------------------------------------------------------------


def notify(*lines: str) -> None:
    """Tell systemd, as sd_notify(3) does: `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1`."""
    address = os.environ.get(NOTIFY_VARIABLE, "")
    if address[:1] not in ("/", "@"):
        return
    place = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.setblocking(False)
            line.sendto("\n".join(lines).encode(), place)
    except OSError:
        return


def watchdog_seconds() -> float | None:
    """How often `WATCHDOG=1` is to be said: a third of what systemd waits for; None if it does not wait."""
    wait = os.environ.get("WATCHDOG_USEC", "")
    process = os.environ.get("WATCHDOG_PID", "")
    if not wait.isdecimal() or int(wait) == 0 or (process and process != str(os.getpid())):
        return None
    return int(wait) / 3_000_000


async def feed_watchdog() -> None:
    """Say `WATCHDOG=1` for ever, from the event loop: a loop that hangs is one that systemd restarts."""
    pause = watchdog_seconds()
    while pause is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(pause)


# --- the service's user -------------------------------------------------------------------------------


def work_as_owner(folder: Path, *, for_good: bool = True) -> Callable[[], None]:
    """As root, become the user whom `folder` belongs to; else do nothing. What is returned undoes it.

    `for_good` gives up root in this process and all that it starts: nothing can undo that. Raises
    StoreUnusable if root cannot become that user.
    """
    if os.geteuid() != 0:
        return _nothing
    try:
        status = folder.stat()
    except OSError:
        return _nothing
    if status.st_uid == 0:
        return _nothing
    root_groups, root_group = os.getgroups(), os.getegid()
    try:
        account = pwd.getpwuid(status.st_uid)
        os.initgroups(account.pw_name, account.pw_gid)
        if for_good:
            os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
            os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
            os.environ["HOME"] = account.pw_dir
            return _nothing
        os.setegid(account.pw_gid)
        os.seteuid(account.pw_uid)
    except (KeyError, OSError):
        raise StoreUnusable(
            f"{folder} belongs to user {status.st_uid}, as whom this program cannot work.",
            remedy="Run it as that user, or give the folder to the service's user with chown -R.",
        ) from None

    def back() -> None:
        os.seteuid(0)
        os.setegid(root_group)
        os.setgroups(root_groups)

    return back


def _nothing() -> None:
    """There is nothing to undo."""
