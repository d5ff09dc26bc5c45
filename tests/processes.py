"""A federation of real processes that can be killed and be back in a tenth of a second.

    with Nursery() as nursery:
        hub = nursery.spawn("hub", settings, log)
        hub.kill()

Importing Candor takes a process more than a second, running it needs none of that again: one process imports
everything, starts nothing, and forks on request. The child runs what `candor-node run` and `candor-hub run`
run, on the
same settings files; it holds databases, sockets and connections of its own, and a SIGKILL is a SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from candor_hub.config import Config as HubConfig
from candor_hub.config import load_config as load_hub_config
from candor_hub.founding import Wishes
from candor_hub.founding import found as found_hub
from candor_node.config import NodeConfig
from candor_node.config import load_config as load_node_config
from candor_node.joining import found, join
from candor_proto.ids import NodeId
from tests.federation import instead, ori_for
from tests.forking import fork_alone
from tests.hubs import FEDERATION, running_hub
from tests.patience import PATIENCE_SECONDS
from tools.demo import free_ports

ROOT = Path(__file__).resolve().parents[1]
PLENTY = 10**9
_HURRIED = "hurried"


# --- founding ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Founded:
    """Settings of a hub and its joined nodes, none of which runs."""

    hub: HubConfig
    hub_file: Path
    nodes: dict[str, NodeConfig]
    node_files: dict[str, Path]


async def found_federation(folder: Path, names: tuple[str, ...], **node_settings: Any) -> Founded:
    """Make a hub and nodes in `folder`; quotas are as good as none, and publication is at once."""
    address, enrolment = (f"127.0.0.1:{port}" for port in free_ports(2))
    wishes = Wishes(
        FEDERATION, address, enrolment, new_member_wait_hours=0, nodes=50, log_address="127.0.0.1:0"
    )
    config = await asyncio.to_thread(found_hub, folder / "hub", wishes, datetime.now(UTC))
    hub_file = folder / "hub" / "hub.toml"
    quota = "".join(f"{name} = {PLENTY}\n" for name in ("total", "weak", "match", "code"))
    hub_file.write_text(f"{hub_file.read_text()}\n[quota]\n{quota}day_share = 1\n")
    node_files = {}
    async with running_hub(folder / "hub", config=config) as hub:
        for number, name in enumerate(names, 1):
            path = await asyncio.to_thread(found, folder / name, NodeId(name))
            invitation = await asyncio.to_thread(hub.invite, name, ori_for(number))
            await join(path, invitation, hub.clock)
            text = path.read_text().replace("publish_interval_hours = 168", "publish_interval_hours = 0")
            settings = {
                **{f"quota_{kind}elements": PLENTY for kind in ("", "weak_", "match_", "code_")},
                "further_lookup_delay_seconds": 0,
                **node_settings,
            }
            path.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()) + text)
            node_files[name] = path
    nodes = {name: load_node_config(path) for name, path in node_files.items()}
    return Founded(load_hub_config(hub_file), hub_file, nodes, node_files)


# --- the harness's side --------------------------------------------------------------------------------


class Child:
    """A running process, or one that has ended."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self._end = os.pidfd_open(pid)

    @property
    def ended(self) -> bool:
        end = select.poll()  # not select(), which knows 1,024 descriptors
        end.register(self._end, select.POLLIN)
        return bool(end.poll(0))

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._end, number)

    async def end(self, timeout_seconds: float) -> bool:
        """Wait until it has ended; False when it has not in that time."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._end, ended.set)
        try:
            async with asyncio.timeout(timeout_seconds):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._end)
        return True

    def wait(self, timeout_seconds: float) -> bool:
        """As `end`, for who has no event loop."""
        end = select.poll()
        end.register(self._end, select.POLLIN)
        return bool(end.poll(timeout_seconds * 1_000))

    @property
    def is_open(self) -> bool:
        return self._end >= 0

    def close(self) -> None:
        """Forget it; a second call does nothing."""
        if self._end >= 0:
            os.close(self._end)
            self._end = -1


class Nursery:
    """The process that forks the others. They all end with it."""

    def __init__(
        self,
        environment: dict[str, str] | None = None,
        *,
        obeys: bool = False,
        planted: str = "",
        hurried: bool = True,
    ) -> None:
        """`obeys`: the shim is preloaded in `environment`, and children may be given orders.

        `planted`: what is broken in every child on purpose (tests/campaign/plants.py); `hurried`: children
        wait less after failures than they do in production (tests/campaign/inside.py).
        """
        self.obeys = obeys
        self._words = (planted, _HURRIED if hurried else "")
        self._environment = {**(environment or os.environ), "GRPC_ENABLE_FORK_SUPPORT": "0"}
        self._process: subprocess.Popen[bytes] | None = None
        self._children: list[Child] = []

    def __enter__(self) -> Nursery:
        words = [sys.executable, "-m", "tests.processes", *self._words]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=self._environment
        )
        self._say({})  # answered when everything is imported
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for child in self._children:
            if child.is_open:
                child.kill()
                child.close()
        self._children.clear()
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)

    def spawn(
        self,
        kind: str,
        settings: Path,
        log: Path,
        below: Path | None = None,
        orders: Path | None = None,
        words: Sequence[str] = (),
    ) -> Child:
        """Start `kind`; with the shim preloaded, its files `below` obey the page `orders`.

        hub and node are what `run` runs; candor-hub is a command, given as `words` (no settings are read).
        """
        said = self._say(
            {
                "kind": kind,
                "settings": str(settings),
                "log": str(log),
                "below": str(below or ""),
                "orders": str(orders or ""),
                "words": list(words),
            }
        )
        child = Child(said["pid"], log)
        self._children.append(child)
        return child

    def _say(self, words: dict[str, Any]) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(words).encode() + b"\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())


# --- the forking process -------------------------------------------------------------------------------


def _serve() -> int:
    """Fork what is asked for, until nobody asks any more."""
    gc.disable()
    from candor_hub import app as hub_app
    from candor_hub import moving  # noqa: F401 - imported for the children
    from candor_node import running as node_running  # noqa: F401
    from tests.campaign.inside import LIFE_VARIABLE, hurry, short_lives
    from tests.campaign.plants import plant
    from tests.hubs import QUICK

    # No child is to go through what all of them share.
    gc.freeze()
    gc.enable()
    planted, how = sys.argv[1:]
    plant(planted)
    if how == _HURRIED:
        hurry()
        instead(hub_app, "Timing", lambda: QUICK)
    if life := os.environ.get(LIFE_VARIABLE):
        short_lives(float(life))
    # Whoever ends is reaped by the kernel; the harness watches through a descriptor.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        words = json.loads(line)
        pid = 0
        if words:
            pid = fork_alone()
            if pid == 0:
                _child(words)
        print(json.dumps({"pid": pid}), flush=True)
    return 0


def _child(words: dict[str, Any]) -> None:
    """Become the process; does not return."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with_parent()
        log = os.open(words["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(number, target)
        if words["orders"]:
            from tests.campaign import shim

            shim.attach(Path(words["below"]), Path(words["orders"]))
        if words["kind"] == "hub":
            from candor_hub.running import serve

            asyncio.run(serve(load_hub_config(Path(words["settings"])), lambda *at: print("ready", *at)))
        elif words["kind"] == "candor-hub":
            from candor_hub.cli import main as command

            sys.argv = ["candor-hub", *words["words"]]
            command()
        else:
            from candor_node.logs import configure
            from candor_node.running import run_node

            configure()
            asyncio.run(run_node(load_node_config(Path(words["settings"])), print))
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _die_with_parent() -> None:
    """The kernel ends this process with the one that forked it, whatever ends that."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() == 1:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(_serve())
