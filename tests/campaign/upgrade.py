"""The release before and this checkout: all eight pairings, and upgrades in place.

    python -m tests.campaign.upgrade [--quick]

1. Four federations (hub of either version, on SQLite and on PostgreSQL), each with a node of either version:
   join, renew the certificate, publish, lookup with a hit both ways, disclosure, witnesses.
2. The same folders and databases opened by the other version: upgraded, and taken back.

`--quick`: one federation.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.postgres import new_database
from tests.upgrades.scene import Scene
from tests.upgrades.versions import CHECKOUT, RENEWS, Version, previous_wheel, unpacked

# What the newer node writes into its settings by itself and the release before refuses (docs/operations.md,
# "Back again").
NEWER_SETTINGS = ("enrolment_address",)


def pairing(folder: Path, hub: str, database: str, old_places: tuple[Path, ...]) -> str:
    """One federation of both versions; what was seen."""
    started = time.monotonic()
    url = new_database("template1") if database == "postgresql" else ""
    with (
        Version(old_places, folder / "old", **RENEWS) as old,
        Version(CHECKOUT, folder / "new", **RENEWS) as new,
    ):
        versions, other = {"old": old, "new": new}, {"old": new, "new": old}
        with Scene(folder, versions[hub], {"elder": old, "newer": new}, url) as scene:
            scene.found()
            scene.begin()
            scene.check_renewed()
            scene.file_records()
            scene.exchange("REQ-1")
            scene.check_witnessed()
            scene.check_kept()
            scene.end()
            # The hub by the other version, the nodes too: each folder is upgraded or taken back.
            scene.hub, scene.nodes = other[hub], {"elder": new, "newer": old}
            scene.delete_unknown_settings("newer", NEWER_SETTINGS)
            scene.begin()
            scene.exchange("REQ-2")
            scene.check_witnessed()
            scene.check_kept()
            scene.end()
    return (
        f"{hub} hub on {database}: both nodes join, renew, publish, ask and answer, disclose, witness; "
        f"then hub and nodes exchanged versions ({time.monotonic() - started:.0f} s)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.upgrade")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    options = parser.parse_args()
    wheel = previous_wheel()
    if wheel is None:
        print("upgrade: needs a kept release in deploy/releases: not run")
        return 2
    places = unpacked(wheel)
    print(f"  the release before: {wheel.name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="candor-upgrade-") as name:
        for hub in ("old", "new"):
            for database in ("sqlite", "postgresql"):
                if options.quick and (hub, database) != ("old", "postgresql"):
                    continue
                folder = Path(name, f"{hub}-{database}")
                folder.mkdir()
                print(f"  {pairing(folder, hub, database, places)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
