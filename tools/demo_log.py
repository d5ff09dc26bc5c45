"""The demo's stranger: who has a copy of the public log, the policy and some receipts, and trusts nobody."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.telling import console, expect, say, wait_for

Command = Callable[..., Any]
# docs/verify.md: a file of the log that is missing, damaged, or not what the signed root says.
DAMAGED = 4


def check_as_a_stranger(
    folder: Path, public: Path, policy: str, asker: Command, lookup_id: str, verifier: Path
) -> None:
    """Check the log in `public` and the receipts of a lookup with `candor-verify`, in `folder`.

    `policy` is the witness policy in force; `asker` runs a command of the node that asked.
    """
    folder.mkdir()
    (folder / "policy").write_text(policy, encoding="utf-8")

    def receipts() -> Any:
        written = asker("lookups", "receipts", lookup_id, "--out", str(folder / "receipts"), "--force",
                        statuses=(0, 3))  # fmt: skip
        rows = written["receipts"]
        return rows if rows and all(row["file"] for row in rows) else None

    found = wait_for(receipts, "every answer to the first lookup is logged, and has a receipt")
    say(f"candor-node lookups receipts: {len(found)} files that name no person and no case")
    shutil.copytree(public, folder / "log")

    def verify(*words: str) -> tuple[int, Any]:
        shown = " ".join(word.replace(f"{folder}/", "") for word in words[:2])
        console.print(f"   [dim]$ candor-verify {shown} … --policy policy[/dim]", soft_wrap=True)
        done = subprocess.run(
            [str(verifier), *words, "--policy", str(folder / "policy"), "--json"],
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, json.loads(done.stdout)

    status, report = verify("log", str(folder / "log"))
    expect(
        status == 0,
        f"the whole log verifies: {report['counts'].get('entries', 0)} entries, every signature, every rule",
    )
    status, _ = verify("receipt", *map(str, sorted((folder / "receipts").iterdir())))
    expect(status == 0, "and so does each receipt: who answered, under which logged key, when")
    bundle = next(path for path in sorted((folder / "log/1/tile/entries").rglob("*")) if path.is_file())
    octets = bytearray(bundle.read_bytes())
    octets[len(octets) // 2] ^= 1
    bundle.write_bytes(octets)
    status, report = verify("log", str(folder / "log"))
    expect(status == DAMAGED, "one bit changed in one file of the log: found, and the file is named")
