"""The five commands of docs/operations.md, in a folder with an empty home and nothing of the project.

The short form: what third parties made comes from this environment by a path, in place of sixty wheels; all
that is ours comes out of the bundle. The whole form, in a minimal Debian, is the campaign `fresh`.
"""

from __future__ import annotations

import asyncio
import re
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fresh import ROOT, Machine, commands, play
from tests.services import have_seccomp
from tools.release import build_wheel, copy_checkout, write_bundle


def path_wheel(folder: Path) -> Path:
    """A wheel that holds one line: where this environment's third parties are."""
    packages = sysconfig.get_path("purelib")
    name = "third_parties-1"
    files = {
        "third_parties.pth": f"{packages}\n",
        f"{name}.dist-info/METADATA": "Metadata-Version: 2.1\nName: third-parties\nVersion: 1\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{name}.dist-info/RECORD"))
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{name}.dist-info/RECORD": record}.items():
            archive.writestr(file, text)
    return path


def pip_wheel(folder: Path) -> Path:
    """The pip of this environment as the wheel that it came from."""
    packages = Path(sysconfig.get_path("purelib"))
    (metadata,) = packages.glob("pip-*.dist-info")
    path = folder / f"{metadata.name.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for part in (packages / "pip", metadata):
            for file in sorted(part.rglob("*")):
                if file.is_file() and file.suffix != ".pyc":
                    archive.write(file, file.relative_to(packages))
    return path


def test_there_are_five_commands_and_the_readme_has_the_same() -> None:
    lines = commands()
    assert 1 <= len(lines) <= 5
    assert not [line for line in lines if re.search(r"&&|;|\|", line)]  # one command a line
    assert "\n".join(lines) in (ROOT / "README.md").read_text("utf-8")


@pytest.fixture
def machine_folder() -> Iterator[Path]:
    """With a short name, wherever tests have their folders: a socket's path has 107 octets at most."""
    with tempfile.TemporaryDirectory(prefix="fresh-") as folder:
        yield Path(folder)


@pytest.mark.skipif(not have_seccomp(), reason="systemd-analyze or libseccomp is not here")
def test_from_a_fresh_machine_to_a_node_that_answers(machine_folder: Path) -> None:
    source = copy_checkout(machine_folder / "source")
    wheel = build_wheel(source, machine_folder / "built")
    wheels = [wheel, path_wheel(machine_folder), pip_wheel(machine_folder)]
    bundle = write_bundle(machine_folder / "bundle", source, wheels)
    home, programs, state, shims = (machine_folder / name for name in ("home", "programs", "state", "shims"))
    for folder in (home, shims):
        folder.mkdir()
    (shims / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (shims / "sudo").chmod(0o755)
    (shims / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    machine = Machine(
        root=Path("/"),
        home=home,
        environment={
            "PATH": f"{shims}:{machine_folder}/bin:/usr/bin:/bin",
            "HOME": str(home),
            "CANDOR_PREFIX": str(programs),
            "CANDOR_BIN": str(machine_folder / "bin"),
            "CANDOR_STATE": str(state),
            "CANDOR_SERVICE": "no",
        },
        programs=programs,
        state=state,
        units=ROOT / "deploy/systemd",
    )
    told = asyncio.run(play(machine, bundle, machine_folder, source.version))
    assert len(told) == 8
