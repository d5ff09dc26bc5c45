"""From a fresh minimal Debian to a joined node that answers, by the five commands of docs/operations.md.

    python -m tests.campaign.fresh [--base base.tar]      --base: a root made before, to be quick

Needs root, mmdebstrap and its mirror, and the index of Python packages: the bundle is made as a release makes
it, with every wheel. What is / for the machine is a folder, entered by chroot, with a /proc of its own and
without services. `sudo` is two lines there, for whoever gives the commands is root; what `systemctl enable
--now` does is done by tests/services.py: the unit's user, environment, credential, notification, calls.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fresh import Machine, commands, play
from tests.services import missing
from tools.release import Source, build_wheel, copy_checkout, fetch_wheels, write_bundle

PACKAGES = ("python3",)
TARGET_COMMANDS = 5


def make_root(base: Path) -> None:
    """A minimal Debian with Python, as a tar file."""
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            "bookworm",
            str(base),
        ],
        check=True,
    )


def whole_bundle(source: Source, folder: Path) -> Path:
    """The bundle of the checkout as it is, with every wheel that it needs."""
    wheel = build_wheel(source, folder / "built")
    fetch_wheels(source.folder / "deploy/requirements.lock", folder / "wheels", source.epoch)
    return write_bundle(folder / "bundle", source, [wheel, *(folder / "wheels").glob("*.whl")])


def campaign(base: Path | None, scratch: Path) -> list[str]:
    if base is None:
        base = scratch / "base.tar"
        make_root(base)
    root = scratch / "root"
    root.mkdir()
    subprocess.run(["tar", "-C", str(root), "-xf", str(base)], check=True)
    (root / "usr/local/bin/sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (root / "usr/local/bin/sudo").chmod(0o755)
    source = copy_checkout(scratch / "source")
    bundle = whole_bundle(source, scratch)
    machine = Machine(
        root=root,
        home=Path("/root"),
        environment={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
        programs=Path("/opt/candor"),
        state=Path("/var/lib"),
        units=root / "etc/systemd/system",
        user="candor-node",
    )
    started = time.monotonic()
    told = asyncio.run(play(machine, bundle, scratch, source.version))
    size = bundle.stat().st_size / 1e6
    return [
        *told,
        f"bundle {size:.0f} MB; the commands and their checks took {time.monotonic() - started:.0f} s",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.fresh")
    parser.add_argument(
        "--base", type=Path, default=os.environ.get("BASE"), help="a root that mmdebstrap made"
    )
    parser.add_argument("--quick", action="store_true", help="the same: there is no shorter form of it here")
    options = parser.parse_args()
    absent = missing(["mmdebstrap", "systemd-analyze", "chroot"])
    if absent or os.geteuid() != 0:
        print(f"fresh: needs root and {', '.join(absent) or 'nothing else'}: not run")
        return 2
    with tempfile.TemporaryDirectory(prefix="candor-fresh-") as folder:
        told = campaign(Path(options.base) if options.base else None, Path(folder))
    count = len(commands())
    for line in told:
        print(f"  {line}")
    print(f"fresh: {count} commands (target: at most {TARGET_COMMANDS})")
    return 0 if count <= TARGET_COMMANDS else 1


if __name__ == "__main__":
    sys.exit(main())
