"""A hub of several processes for campaigns: `candor-hub run` on one PostgreSQL, members with certificates.

site = found_site(folder, url, members=200, replicas=3, quota=640)
site.start(0)              a replica, by its number
site.kill(0)               as by an accident

With a nursery (tests/processes.py) a replica is back in a fraction of a second: on one machine for all, what
Python needs to import everything would be taken from those that nodes go to meanwhile.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.hub_scene import make_members
from candor_certs.store import make_private_folder
from candor_hub.config import Config, load_config
from candor_hub.keys import DATABASE_KEY
from tests.patience import PATIENCE_SECONDS
from tests.processes import Child, Nursery
from tools.demo import free_ports

READY_SECONDS = 60.0


class Process(Protocol):
    """What a site needs of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def send_signal(self, sig: int, /) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class Forked:
    """A child of the nursery, seen as one of ours; its exit status is nobody's."""

    def __init__(self, child: Child) -> None:
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    def poll(self) -> int | None:
        return 0 if self._child.ended else None

    def send_signal(self, sig: int, /) -> None:
        self._child.kill(sig)

    def wait(self, timeout: float | None = None) -> int:
        if not self._child.wait(PATIENCE_SECONDS if timeout is None else timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or PATIENCE_SECONDS)
        self._child.close()
        return 0


@dataclass
class Site:
    """Replicas by number, each with a data folder that holds the database's key."""

    folder: Path
    config: Config
    ports: list[tuple[int, int, int]]
    nursery: Nursery | None = None
    running: dict[int, Process] = field(default_factory=dict)

    @property
    def addresses(self) -> list[str]:
        return [f"127.0.0.1:{port}" for port, _, _ in self.ports]

    def log(self, number: int) -> Path:
        return self.folder / f"replica-{number}.log"

    def settings(self, number: int) -> Path:
        return self.folder / f"replica-{number}/hub.toml"

    def start(self, number: int) -> None:
        if self.nursery is not None:
            child = self.nursery.spawn("hub", self.settings(number), self.log(number))
            self.running[number] = Forked(child)
            return
        with self.log(number).open("ab") as log:
            self.running[number] = subprocess.Popen(
                [sys.executable, "-c", "from candor_hub.cli import main; main()", "run"],
                env={**os.environ, "CANDOR_HUB_CONFIG": str(self.settings(number))},
                stdout=log,
                stderr=log,
            )

    def is_up(self, number: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.ports[number][0]), timeout=1).close()
        except OSError:
            return False
        return True

    def wait(self, number: int) -> None:
        """Until it takes connections; raises TimeoutError with the end of its log."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_up(number):
            if time.monotonic() > deadline or self.running[number].poll() is not None:
                raise TimeoutError(f"replica {number}: {self.log(number).read_text()[-2_000:]}")
            time.sleep(0.05)

    def signal(self, number: int, what: signal.Signals) -> None:
        self.running[number].send_signal(what)

    def kill(self, number: int) -> None:
        self.signal(number, signal.SIGKILL)
        self.running.pop(number).wait()
        # The guard in front of it ends a moment after the hub, and has the ports until then.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.is_up(number):
            if time.monotonic() > deadline:
                raise TimeoutError(f"replica {number} is dead, and its port takes connections")
            time.sleep(0.01)

    def stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self.running.clear()


def found_site(
    folder: Path, url: str, members: int, replicas: int, quota: int, nursery: Nursery | None = None
) -> Site:
    """A new hub on the empty database at `url`; `quota` is each asker's, in elements."""
    make_members(folder, members, url)
    config = load_config(folder / "hub/hub.toml")
    free = free_ports(3 * replicas)
    ports = [(free[3 * number], free[3 * number + 1], free[3 * number + 2]) for number in range(replicas)]
    limits = "".join(f"{name} = {quota}\n" for name in ("total", "weak", "match", "code"))
    for number, (hub, enrolment, log) in enumerate(ports):
        data = folder / f"replica-{number}"
        make_private_folder(data)
        make_private_folder(data / "keys")
        shutil.copy(config.keys / DATABASE_KEY, data / "keys")
        settings = {
            "federation": str(config.federation),
            "address": f"127.0.0.1:{hub}",
            "enrolment_address": f"127.0.0.1:{enrolment}",
            "log_address": f"127.0.0.1:{log}",
            "issuing": str(config.issuing.resolve()),
            "database_url": url,
        }
        lines = "".join(f'{name} = "{value}"\n' for name, value in settings.items())
        # The balancer of the tests, and whoever else is on this machine.
        near = 'balancers = ["127.0.0.1"]\n'
        text = (
            f"{lines}{near}new_member_wait_hours = 0\nnodes = {max(50, members)}\n[quota]\n"
            f"{limits}day_share = 1\n"
        )
        (data / "hub.toml").write_text(text)
        (data / "hub.toml").chmod(0o600)
    return Site(folder, config, ports, nursery)
