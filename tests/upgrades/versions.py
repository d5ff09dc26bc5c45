"""A version of Candor: commands that run to their end, and programs that run on.

    with Version(unpacked(wheel), folder) as old, Version(CHECKOUT, folder) as new:
        done = old.run("candor-node", "status", "--config", path)
        with new.start("candor-hub", "run", "--config", path) as hub: ...

The modules of a release come out of its own wheel; what third parties made is this environment's.
"""

from __future__ import annotations

import compileall
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tools.release import ROOT, Source, kept_releases, sha256, wheel_packages

# The source roots of this checkout, as the editable install has them.
CHECKOUT = tuple(dict.fromkeys((ROOT / package).parent for package in wheel_packages()))
ZYGOTE = Path(__file__).with_name("zygote.py")
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
# Longer than any command of a test may take, however slow the machine.
COMMAND_SECONDS = 300.0
ENVIRONMENT = {
    "CANDOR_HUB_NEW_MEMBER_WAIT_HOURS": "0",
    "CANDOR_NODE_PUBLISH_INTERVAL_HOURS": "0",
    "CANDOR_NODE_LOOKUP_WAIT_SECONDS": "10",
    "CANDOR_NODE_FURTHER_LOOKUP_DELAY_SECONDS": "0",
    **{
        f"CANDOR_{whose}_{kind.upper()}": str(10**9)
        for whose, kinds in (
            ("NODE_QUOTA", ("elements", "weak_elements", "match_elements", "code_elements")),
            ("HUB_QUOTA_", ("total", "weak", "match", "code")),
        )
        for kind in kinds
    },
}
# Of a version: each node that it starts renews its certificate at once (zygote.py).
RENEWS = {"CANDOR_TEST_RENEW_AT_START": "1"}


def previous_wheel() -> Path | None:
    """The newest release that is kept and is not this checkout's; CANDOR_PREVIOUS_WHEEL names another one."""
    if named := os.environ.get("CANDOR_PREVIOUS_WHEEL"):
        return Path(named)
    own = Source(ROOT, (), 0).version
    kept = [wheel for version, wheel in kept_releases().items() if version != own]
    return kept[-1] if kept else None


def unpacked(wheel: Path) -> tuple[Path, ...]:
    """Where the modules of `wheel` are; kept from run to run, for compiling them takes longest."""
    place = ROOT / ".venv/releases" / sha256(wheel)
    if not place.exists():
        beside = place.with_name(f"{place.name}.{os.getpid()}")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(beside)
        compileall.compile_dir(beside, quiet=2, workers=2)
        try:
            beside.rename(place)
        except OSError:  # another process was quicker
            shutil.rmtree(beside)
    return (place,)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Version:
    """Forks commands of one version out of a process that has imported it."""

    def __init__(self, places: Sequence[Path], folder: Path, **environment: str) -> None:
        """`places`: where its packages are; `folder` is made, for what commands say."""
        self.folder, self.places = folder, places
        folder.mkdir(parents=True)
        self._environment = {**ENVIRONMENT, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._turn = threading.Lock()
        self.number = ""

    def __enter__(self) -> Version:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("CANDOR_", "PYTHON"))}
        environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join(map(str, self.places)),
            "GRPC_ENABLE_FORK_SUPPORT": "0",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(ZYGOTE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.folder,
            env={**environment, **self._environment, "CANDOR_UNSAFE_POSTGRESQL_FOR_TESTS": "1"},
        )
        said = self._hear()
        assert any(Path(said["place"]).is_relative_to(place) for place in self.places), said
        self.number = said["version"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def run(self, program: str, *words: object, status: int | None = 0, **environment: str) -> Done:
        """Run a command to its end; fails unless it ends with `status` (None: any)."""
        shown = " ".join(map(str, words))
        with self.start(program, *words, **environment) as running:
            done = running.done(COMMAND_SECONDS)
        assert status in (None, done.status), f"{program} {shown}: {done}"
        return done

    def start(self, program: str, *words: object, **environment: str) -> Running:
        """Start a program that runs on, or a command; from any thread."""
        with self._turn:
            self._count += 1
            place = self.folder / f"{self._count:04}-{program}"
            out, err, status = (Path(f"{place}.{kind}") for kind in ("out", "err", "status"))
            request = {
                "program": program,
                "words": [str(word) for word in words],
                "folder": str(self.folder),
                "environment": environment,
                "out": str(out),
                "err": str(err),
                "status": str(status),
            }
            for path in (out, err):
                path.touch(0o600)
            assert self._process is not None
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            # Who has ended is reaped at the next request: until then its number is nobody else's.
            return Running(self._hear()["pid"], place, self)

    def _hear(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the zygote of {self.places} has ended"
        return json.loads(line)


class Running:
    """A program that runs on, until it is stopped or the block ends."""

    def __init__(self, pid: int, place: Path, version: Version) -> None:
        self.pid, self.version = pid, version
        self._out, self._err, self._status = (Path(f"{place}.{kind}") for kind in ("out", "err", "status"))
        self._end = os.pidfd_open(pid)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if not self.ended:
            signal.pidfd_send_signal(self._end, signal.SIGKILL)
            self._wait(STOP_SECONDS)
        os.close(self._end)

    @property
    def ended(self) -> bool:
        return self._wait(0)

    def _wait(self, seconds: float) -> bool:
        end = select.poll()
        end.register(self._end, select.POLLIN)
        return bool(end.poll(int(seconds * 1000)))

    def ready(self, seconds: float = READY_SECONDS) -> str:
        """The line that it says when it is ready."""
        deadline = time.monotonic() + seconds
        while not (text := self._out.read_text(errors="replace")).endswith("\n"):
            assert not self.ended, f"it ended: {self.errors[-3000:]}"
            assert time.monotonic() < deadline, f"it is not ready: {text}{self.errors[-3000:]}"
            time.sleep(0.02)
        return text

    def done(self, seconds: float) -> Done:
        """What it said, once it has ended."""
        assert self._wait(seconds), f"it does not end: {self.errors[-3000:]}"
        # Who was killed wrote none.
        status = int(self._status.read_text()) if self._status.exists() else -signal.SIGKILL
        return Done(status, self._out.read_text(errors="replace"), self.errors)

    def stop(self) -> None:
        """As a service manager does."""
        signal.pidfd_send_signal(self._end, signal.SIGTERM)
        assert self._wait(STOP_SECONDS), f"it does not stop: {self.errors[-3000:]}"

    def kill(self) -> None:
        signal.pidfd_send_signal(self._end, signal.SIGKILL)
        assert self._wait(STOP_SECONDS)

    @property
    def errors(self) -> str:
        return self._err.read_text(errors="replace")
