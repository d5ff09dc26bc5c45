"""A hub and its nodes replaced one by one while clerks work: several replicas on PostgreSQL, or one hub.

with both(old_places, folder) as versions:
    replicas_and_nodes(folder / "replicas", versions, replicas=3, back=True)
    hub_and_nodes(folder / "embedded", versions, back=True)

Each gives a sentence of what was counted, and fails if any lookup or request failed that may not.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from candor_hub.migrations import HEAD
from tests.postgres import new_database
from tests.upgrades.clerks import Clerk, at_work, check_history, some_more
from tests.upgrades.scene import FEDERATION, Scene, until
from tests.upgrades.versions import CHECKOUT, Running, Version
from tools.demo import free_ports
from tools.release import ROOT

NAMES = ("elder", "newer")


@dataclass(frozen=True)
class Versions:
    """The release before and this checkout, ready to run."""

    old: Version
    new: Version


@contextmanager
def both(old_places: Sequence[Path], folder: Path) -> Iterator[Versions]:
    with Version(old_places, folder / "old") as old, Version(CHECKOUT, folder / "new") as new:
        yield Versions(old, new)


# --- nodes -----------------------------------------------------------------------------------------------


def replace_node(clerk: Clerk, version: Version) -> None:
    """As docs/operations.md says: install, then restart; what the clerk types meanwhile may be refused."""
    clerk.scene.nodes[clerk.name] = version
    clerk.away = True
    clerk.scene.replace_node(clerk.name, version)
    clerk.away = False


# --- one hub on its folder -------------------------------------------------------------------------------


def hub_and_nodes(folder: Path, versions: Versions, *, back: bool) -> str:
    """One hub with its embedded database, stopped and started as the other version; then its nodes.

    `back`: the hub and a node go back to the version before, too.
    """
    folder.mkdir()
    old, new = versions.old, versions.new
    with Scene(folder, old, dict.fromkeys(NAMES, old), "") as scene:
        scene.found()
        scene.begin()
        scene.file_records()
        with at_work(scene) as clerks:
            some_more(clerks)
            scene.replace_hub(new)
            some_more(clerks)
            assert list((folder / "hub").glob("hub.db.before-*")), "the database was not copied before"
            for clerk in clerks:
                replace_node(clerk, new)
                some_more(clerks)
            if back:
                scene.replace_hub(old)
                some_more(clerks)
                replace_node(clerks[0], old)
                some_more(clerks)
        check_history(clerks, scene.hub_file)
        scene.check_witnessed()
        scene.check_kept()
        scene.end()
    return f"one hub and {len(NAMES)} nodes{_and_back(back)}: {_counted(clerks)}"


# --- replicas --------------------------------------------------------------------------------------------


def replicas_and_nodes(folder: Path, versions: Versions, *, replicas: int, back: bool) -> str:
    """Replicas on one PostgreSQL behind a balancer, replaced one by one; then the nodes.

    `back`: a replica and a node go back to the version before, too.
    """
    folder.mkdir()
    old, new = versions.old, versions.new
    site = _Site(folder, new_database("template1"), replicas)
    with ExitStack() as stack:
        scene = stack.enter_context(Scene(folder, old, dict.fromkeys(NAMES, old), site.url))
        site.found(scene)
        stack.enter_context(site.balanced())
        hubs = {number: stack.enter_context(site.start(number, old)) for number in range(replicas)}
        for hub in hubs.values():
            hub.ready()
        before = site.schema()
        scene.begin_nodes()
        scene.file_records()

        def replace(number: int, version: Version) -> None:
            hubs[number].stop()
            hubs[number] = stack.enter_context(site.start(number, version))
            hubs[number].ready()
            site.wait_for_streams(scene)
            some_more(clerks)

        with at_work(scene) as clerks:
            some_more(clerks)
            for number in range(replicas):
                replace(number, new)
                # From the first one on: those of before go on with the newer schema.
                assert site.schema() == HEAD
            for clerk in clerks:
                replace_node(clerk, new)
                some_more(clerks)
            if back:
                replace(0, old)
                replace_node(clerks[0], old)
                some_more(clerks)
        scene.hub = new
        check_history(clerks, scene.hub_file)
        scene.check_witnessed()
        scene.check_kept()
        for name in NAMES:
            scene.stop(name)
        for hub in hubs.values():
            hub.stop()
    return (
        f"{replicas} replicas (schema {before} to {HEAD}) and {len(NAMES)} nodes{_and_back(back)}: "
        f"{_counted(clerks)}"
    )


class _Site:
    """A hub in a database, and a folder with settings and the database's key for each replica."""

    def __init__(self, folder: Path, url: str, replicas: int) -> None:
        self.url = url
        self._folder = folder
        self._members, self._enrolment = free_ports(2)
        self._ports = [free_ports(3) for _ in range(replicas)]

    def found(self, scene: Scene) -> None:
        hub, log_port = self._folder / "hub", self._ports[0][2]
        scene.hub.run(
            *("candor-hub", "init", "--dir", hub, "--federation", FEDERATION),
            *("--address", f"127.0.0.1:{self._members}"),
            *("--enrolment-address", f"127.0.0.1:{self._enrolment}"),
            *("--log-address", f"127.0.0.1:{log_port}", "--database-url", self.url),
        )
        for number, (members, enrolment, log_port) in enumerate(self._ports):
            place = self._folder / f"replica-{number}"
            (place / "keys").mkdir(parents=True, mode=0o700)
            place.chmod(0o700)
            # 0.1.0 does not make a replica's own TLS key by itself.
            for name in ("database.key", "hub.pem"):
                shutil.copy(hub / "keys" / name, place / "keys")
            (place / "hub.toml").write_text(
                f'federation = "{FEDERATION}"\n'
                f'address = "127.0.0.1:{members}"\nenrolment_address = "127.0.0.1:{enrolment}"\n'
                f'log_address = "127.0.0.1:{log_port}"\nmetrics_address = "off"\n'
                f'public_address = "127.0.0.1:{self._members}"\n'
                f'public_enrolment_address = "127.0.0.1:{self._enrolment}"\n'
                f'database_url = "{self.url}"\nissuing = "{hub / "authority/issuing"}"\n'
                "nodes = 50\nnew_member_wait_hours = 0\n"
            )

    def start(self, number: int, version: Version) -> Running:
        return version.start("candor-hub", "run", "--config", self._folder / f"replica-{number}/hub.toml")

    @contextmanager
    def balanced(self) -> Iterator[None]:
        """A balancer before the members' ports, and one before those of enrolment."""
        with ExitStack() as stack:
            for port, column in ((self._members, 0), (self._enrolment, 1)):
                places = [f"127.0.0.1:{ports[column]}" for ports in self._ports]
                stack.enter_context(_process("tests.balancer", str(port), *places))
            yield

    def schema(self) -> str:
        with psycopg.connect(self.url) as database:
            (found,) = database.execute("SELECT version_num FROM alembic_version").fetchall()
        return str(found[0])

    def wait_for_streams(self, scene: Scene) -> None:
        """Until every node is attached again, somewhere."""
        until(lambda: all(scene.node_says(name, "status")["attached"] for name in NAMES), "streams", 60)


@contextmanager
def _process(module: str, *words: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", module, *words], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def _and_back(back: bool) -> str:
    return ", and one of each back" if back else ""


def _counted(clerks: Sequence[Clerk]) -> str:
    again: dict[str, int] = {}
    for clerk in clerks:
        for told, count in clerk.again.items():
            again[told] = again.get(told, 0) + count
    typed_again = "; ".join(f"{count} times {told!r}" for told, count in sorted(again.items())) or "none"
    lookups, records = sum(clerk.lookups for clerk in clerks), sum(clerk.records for clerk in clerks)
    incomplete = sum(clerk.incomplete for clerk in clerks)
    slowest_seconds = max(clerk.slowest_seconds for clerk in clerks)
    return (
        f"{lookups} lookups, {records} records, 0 failed; {incomplete} shown incomplete and completed later; "
        f"the slowest lookup {slowest_seconds:.1f} s; typed again, the own node away or one of 0.1.0 that "
        f"had lost its hub: {typed_again}"
    )
