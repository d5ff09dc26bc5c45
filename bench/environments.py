"""Environments of their own for what is measured beside Candor and must not live in the project's.

`python_of("psi")` is the interpreter of an environment with exactly what bench/psi-requirements.lock pins by
hash. It is built once, in .venv-bench/ (ignored by git), and again when lock or interpreter change. The
programs that run there stand in this folder and import nothing of ours.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
CACHE = FOLDER.parent / ".venv-bench"
_FINISHED = "finished"


def python_of(name: str) -> Path:
    """The interpreter of the environment `name`; built if it is not there. Raises CalledProcessError."""
    lock = FOLDER / f"{name}-requirements.lock"
    key = hashlib.sha256(lock.read_bytes() + f"{sys.executable} {platform.python_version()}".encode())
    folder = CACHE / f"{name}-{key.hexdigest()[:16]}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / _FINISHED).exists():
            for old in CACHE.glob(f"{name}-*"):
                shutil.rmtree(old)
            _build(folder, lock)
            (folder / _FINISHED).touch()
    return folder / "bin" / "python"


def _build(folder: Path, lock: Path) -> None:
    print(f"bench: building the environment of {lock.name} (once)", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "--disable-pip-version-check"]
    # Without dependencies: the lock names all that is wanted.
    hashed = ["install", "--quiet", "--no-input", "--retries", "5", "--require-hashes", "--no-deps"]
    subprocess.run([*pip, *hashed, "--only-binary", ":all:", "-r", str(lock)], check=True, env=_clean())


def _clean() -> dict[str, str]:
    """Our environment without the paths that would bring our own packages in."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


def run_in(
    name: str, program: str, *arguments: str, cores: Iterable[int] = (), input_text: str | None = None
) -> Any:
    """Run bench/`program` there, on `cores` (default: all), and return the JSON that it printed."""
    words = [str(python_of(name)), "-I", str(FOLDER / program), *arguments]
    if wanted := sorted(cores):
        words = ["taskset", "--cpu-list", ",".join(map(str, wanted)), *words]
    done = subprocess.run(
        words, check=True, stdout=subprocess.PIPE, text=True, env=_clean(), input=input_text
    )
    return json.loads(done.stdout)
