"""The process that copies: what to copy comes as JSON on standard input, what was copied goes out as JSON.

    python -P -m candor_backup.copier < REQUEST > RESULT      (started by `run`)

It is started for each copy, runs behind everything else (nice), and ends when whoever started it has gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from candor_backup.changes import Account
from candor_backup.copying import Copy, copy_pages
from candor_backup.known import Known
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import CandorError, StoreUnusable

NICE = 10


def run(wanted: Copy, known_file: Path, started: Callable[[subprocess.Popen[bytes]], None]) -> Account:
    """Copy, in a process of its own; the new `Known` is in `known_file` afterwards. Blocks.

    `wanted.known`, if any, is what `known_file` holds now. `started` hears of the process, to end it early.
    Raises StoreUnusable.
    """
    request = {
        "database": str(wanted.database),
        "key": wanted.key.hex(),
        "roots": list(wanted.roots),
        "owner": wanted.owner,
        "generation": wanted.generation.hex(),
        "now": to_milliseconds(wanted.now),
        "base_name": wanted.base_name,
        "base_out": str(wanted.base_out) if wanted.base_out else None,
        "changes_out": str(wanted.changes_out),
        "known": str(known_file) if wanted.known is not None else None,
        "known_out": str(known_file.with_suffix(".new")),
        "facts": dict(wanted.facts),
        "parent": os.getpid(),
    }
    # Secrets of its owner may stand in its environment.
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CANDOR_")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "candor_backup.copier"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        close_fds=True,
    )
    started(process)
    out, _ = process.communicate(json.dumps(request).encode())
    try:
        answer = json.loads(out)
    except ValueError:
        raise StoreUnusable(
            "The process that copies the database ended early.",
            remedy="If the machine ran out of memory, see its system log; the next backup tries again.",
        ) from None
    if "error" in answer:
        raise StoreUnusable(answer["error"], remedy=answer["remedy"])
    return Account.decode(bytes.fromhex(answer["account"]))


def _copy(request: dict[str, Any]) -> dict[str, str]:
    def alive() -> None:
        if os.getppid() != request["parent"]:
            raise StoreUnusable("Whoever asked for this copy has ended.")

    known = None
    if request["known"]:
        known = Known.read(Path(request["known"]))
        if known is None:
            raise StoreUnusable("What the last backup held is not known any more.", remedy="Try again.")
    wanted = Copy(
        Path(request["database"]),
        bytes.fromhex(request["key"]),
        tuple(request["roots"]),
        request["owner"],
        bytes.fromhex(request["generation"]),
        from_milliseconds(request["now"]),
        request["base_name"],
        Path(request["base_out"]) if request["base_out"] else None,
        Path(request["changes_out"]),
        known,
        request["facts"],
    )
    account, following = copy_pages(wanted, alive)
    # Not synced: half of it is noticed, and costs a whole backup.
    Path(request["known_out"]).write_bytes(following.encode())
    return {"account": account.encode().hex()}


def main() -> None:
    """Entry point of the process."""
    os.nice(NICE)
    request = json.loads(sys.stdin.buffer.read())
    try:
        answer = _copy(request)
    except CandorError as error:
        answer = {"error": error.message, "remedy": error.remedy}
    except OSError as error:
        where = error.filename or Path(request["changes_out"]).parent
        answer = {
            "error": f"{where} cannot be used: {error.strerror}.",
            "remedy": "Check its disk, and that the user of this program may write there.",
        }
    with open(1, "w", encoding="utf-8") as out:
        out.write(json.dumps(answer))


if __name__ == "__main__":
    main()
