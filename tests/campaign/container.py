"""The image: built by deploy/Containerfile without a daemon, and a hub started in its root file system.

    python -m tests.campaign.container [--base base.tar]

Needs root, buildah, mmdebstrap and its mirror, and the index of Python packages; about five minutes, most of
it for the base and for copying layers. `podman run` does not work in many build hosts, so the image is
entered with `buildah run --isolation chroot`, as its user.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.campaign.fresh import whole_bundle
from tests.services import missing
from tools.demo import free_ports
from tools.release import ROOT, copy_checkout

PACKAGES = "python3,libsodium23,ca-certificates"
BUILDAH = ("buildah", "--storage-driver", "vfs")
READY_SECONDS = 90


def run(*words: str, **options: object) -> str:
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, **options)  # type: ignore[call-overload]  # of strings
    return str(done.stdout).strip()


def build(folder: Path, base: Path | None) -> str:
    """The image's id."""
    context = folder / "context"
    context.mkdir()
    if base is None:
        base = context / "base.tar"
        run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(base))
    else:
        os.link(base, context / "base.tar")
    source = copy_checkout(folder / "source")
    bundle = whole_bundle(source, folder)
    os.link(bundle, context / bundle.name)
    run(
        *(*BUILDAH, "bud", "--quiet", "--isolation", "chroot", "-t", "localhost/candor:campaign"),
        *("-f", str(ROOT / "deploy/Containerfile"), str(context)),
    )
    return "localhost/candor:campaign"


def in_image(container: str, *words: str) -> list[str]:
    return [*BUILDAH, "run", "--isolation", "chroot", "--user", "10001:10001", container, "--", *words]


def try_out(container: str) -> list[str]:
    """Start what is in the image; what was seen."""
    told = []
    version = run(*in_image(container, "candor-hub", "--version"))
    told.append(f"entry point: {version}")
    who = run(
        *in_image(
            container,
            "python3",
            "-c",
            "import os; print(os.getuid(), os.getgid(), os.access('/opt', os.W_OK))",
        )
    )
    assert who == "10001 10001 False", who
    told.append(f"runs as {who.split()[0]}, and cannot write to the program")
    members, enrolment, log, metrics = free_ports(4)
    run(
        *in_image(
            *(
                container,
                "candor-hub",
                "init",
                "--dir",
                "/var/lib/candor-hub",
                "--federation",
                "image.example",
            ),
            *("--address", f"127.0.0.1:{members}", "--enrolment-address", f"127.0.0.1:{enrolment}"),
            *("--log-address", f"127.0.0.1:{log}"),
        )
    )
    told.append("init: a hub in the volume /var/lib/candor-hub")
    words = in_image(container, "env", f"CANDOR_HUB_METRICS_ADDRESS=127.0.0.1:{metrics}", "candor-hub", "run")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "ready on" in line, line
        told.append(line.strip())
        for path in ("/healthz", "/readyz"):
            deadline = time.monotonic() + READY_SECONDS
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}{path}", timeout=5) as reply:
                        told.append(f"{path}: {reply.status}")
                    break
                except OSError as error:
                    if path == "/readyz" and "503" in str(error):
                        told.append(f"{path}: 503, as for a hub without members to witness its log")
                        break
                    assert time.monotonic() < deadline, f"{path}: {error}"
                    time.sleep(0.5)
    finally:
        process.terminate()
        process.wait(30)
    return told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.container")
    parser.add_argument(
        "--base", type=Path, default=os.environ.get("BASE"), help="a base that mmdebstrap made"
    )
    parser.add_argument("--image", help="try this image, and build none")
    parser.add_argument("--quick", action="store_true", help="the same: there is no shorter form of it here")
    options = parser.parse_args()
    absent = missing(["buildah", "mmdebstrap"])
    if absent or os.geteuid() != 0:
        print(f"container: needs root and {', '.join(absent) or 'nothing else'}: not run")
        return 2
    with tempfile.TemporaryDirectory(prefix="candor-image-") as name:
        image = options.image or build(Path(name), Path(options.base) if options.base else None)
        container = run(*BUILDAH, "from", "--isolation", "chroot", image)
        try:
            for line in try_out(container):
                print(f"  {line}")
        finally:
            run(*BUILDAH, "rm", container)
    print("container: built, entered, a hub was made and answered in it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
