"""Candor's commands as processes of their own, without the second that importing Candor takes each.

    done = commands.run("candor-hub", "init", "--dir", folder)
    done.returncode, done.stdout, done.stderr

One process for each worker of pytest imports everything and forks on request (as `tests.processes` does for
processes that go on). The child runs the entry point of the command, with its own arguments, environment and
working folder; what is tested about starting itself runs the installed script instead.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.forking import fork_alone
from tests.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("candor-hub", "candor-node")


class _Server:
    """The process that forks; one command at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
            start_new_session=True,
        )
        atexit.register(self.close)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self, words: dict[str, Any]) -> int:
        """The status with which the command ended; raises TimeoutError, and then no other is run."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            stdin.write(json.dumps(words).encode() + b"\n")
            stdin.flush()
            said = select.poll()
            said.register(stdout, select.POLLIN)
            if not said.poll(PATIENCE_SECONDS * 1_000):
                os.killpg(self._process.pid, signal.SIGKILL)
                raise TimeoutError(f"{words['arguments']} has not ended in {PATIENCE_SECONDS:.0f} s")
            return int(stdout.readline())


@lru_cache(maxsize=1)
def _server() -> _Server:
    return _Server()


def run(
    program: str, *words: object, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run `program` with these arguments and nothing on its standard input; blocks until it has ended."""
    assert program in PROGRAMS
    arguments = [program, *map(str, words)]
    with tempfile.TemporaryDirectory(prefix="candor-command-") as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        status = _server().run(
            {
                "arguments": arguments,
                "environment": {**os.environ, **(environment or {})},
                "cwd": str(cwd),
                "out": str(out),
                "err": str(err),
            }
        )
        return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())


# --- the forking process -------------------------------------------------------------------------------


def _serve() -> None:
    """Fork what is asked for, until nobody asks any more."""
    gc.disable()
    _import_everything()
    # No child is to go through what all of them share.
    gc.freeze()
    gc.enable()
    for line in sys.stdin.buffer:
        words = json.loads(line)
        pid = fork_alone()
        if pid == 0:
            _child(words)
        _, ended = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(ended), flush=True)


def _import_everything() -> None:
    """What commands import when they need it: all modules of both programs, and what these rest on."""
    import importlib
    import pkgutil

    for name in ("candor_hub", "candor_node"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            # Alembic runs its own modules as scripts.
            scripts = module.name.startswith("candor_hub.migrations.")
            if not scripts and not module.name.rpartition(".")[2].startswith("__"):
                importlib.import_module(module.name)


def _child(words: dict[str, Any]) -> None:
    """Become the command; does not return."""
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        out, err = (os.open(words[name], flags, 0o600) for name in ("out", "err"))
        for number, target in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(number, target)
        os.environ.clear()
        os.environ.update(words["environment"])
        os.chdir(words["cwd"])
        sys.argv = words["arguments"]
        status = _main(words["arguments"][0])
        # As the interpreter does: a command that leaves a thread behind has not ended.
        for thread in threading.enumerate():
            if thread is not threading.main_thread() and not thread.daemon:
                thread.join()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _main(program: str) -> int:
    """Run the entry point; the status it ends with, as the interpreter would."""
    if program == "candor-hub":
        from candor_hub.cli import main
    else:
        from candor_node.cli import main
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    _serve()
