"""A whole federation on 127.0.0.1, for tests: a real hub and real nodes in one event loop.

    async with federation(tmp_path, agencies=3) as fed:
        alpha, bravo, charlie = fed.nodes
        await fed.file(bravo, [make_row(sharing="YELLOW")])
        view = await fed.ask(alpha, last="Placeholdersen")

Everything is real: keys, certificates, mTLS, databases, sockets; only waits are short.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio

from candor_hub.config import Config as HubConfig
from candor_hub.config import load_config as load_hub_config
from candor_node import importer
from candor_node.app import Node
from candor_node.asking import Question
from candor_node.cases import SearchView
from candor_node.channel import WrapChannel
from candor_node.config import NodeConfig, load_config
from candor_node.joining import found, join
from candor_proto.ids import LookupShape, NodeId, Ori, Purpose
from candor_proto.normalise import Particulars
from candor_wire.v1 import local_pb2_grpc
from tests.hubs import RunningHub, ShiftedClock, running_hub
from tests.patience import PATIENCE_SECONDS
from tests.records import csv_bytes

T = TypeVar("T")
NAMES = ("alpha", "bravo", "charlie", "delta", "echo")
# The officer of tests.records.make_row, as an application form has it.
OFFICER = {
    "first": "Quentin",
    "middle": "Zebulon",
    "last": "Placeholderson",
    "birth_date": "1984-07-23",
    "ssn4": "4821",
    "sex": "M",
}


def ori_for(number: int) -> str:
    return f"ZZ00{number:04d}0"


@dataclass
class Federation:
    """A running hub and its running nodes."""

    hub: RunningHub
    nodes: list[Node] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    # Long enough for those who are there to answer, on this machine: as long as it took to start them.
    a_while_seconds: float = 1.0

    async def file(self, node: Node, rows: Iterable[dict[str, str]], *, settle: bool = True) -> None:
        """Import records at a node and publish them, as `candor-node import` does in the demo."""
        content, now = csv_bytes(rows), node.clock.now()
        report = await node.store.run(
            lambda db: importer.import_csv(
                db, content, now, Ori(node.config.oris[0]), node.config.node_id, "clerk-7"
            )
        )
        assert not report.errors, report.errors
        await node.publishing.publish()
        if settle:
            await self.settled()

    async def back(self, hub: RunningHub) -> None:
        """From now on `hub` is the federation's; wait until every running node is attached to it."""
        self.hub = hub
        running = {node.config.node_id for node in self.nodes if node.config.node not in self.stopped}
        await until(lambda: running <= set(hub.hub.streams.nodes))
        await until(
            lambda: all(node.connection.attached for node in self.nodes if node.config.node_id in running)
        )

    async def settled(self) -> None:
        """Wait until every running node holds the hub's newest directory and every index in it."""

        def done() -> bool:
            running = [node for node in self.nodes if node.config.node not in self.stopped]
            newest = self.hub.hub.directory.latest().version
            return all(
                node.indexes.version == newest
                and node.indexes.directory is not None
                and all(
                    (index := node.indexes.indexes.get(member)) is not None
                    and index.head == node.indexes.directory.head(member)
                    for member in node.indexes.directory.nodes()
                )
                for node in running
            )

        await until(done)

    async def ask(
        self,
        node: Node,
        *,
        case: str = "REQ-2026-17",
        wait_seconds: float = PATIENCE_SECONDS,
        shape: LookupShape = LookupShape.DETAILED,
        **changes: str,
    ) -> SearchView:
        """Look up the officer of `make_row`, with `changes` in what the applicant wrote."""
        asked = question(case=case, shape=shape, person=changes)
        return await node.searcher.ask(asked, wait_seconds)

    async def stop(self, node: Node) -> None:
        self.stopped.add(node.config.node)
        await node.stop()


def question(
    *,
    case: str = "REQ-2026-17",
    consent: str = "CONSENT-88",
    officer: str = "Inv. Dana Roe",
    shape: LookupShape = LookupShape.DETAILED,
    purpose: Purpose = Purpose.J_APPLICANT,
    person: dict[str, str] | None = None,
) -> Question:
    """A question about the officer of `make_row`; `person` changes what the applicant wrote."""
    return Question(Particulars(**{**OFFICER, **(person or {})}), purpose, shape, case, consent, officer)


def instead(thing: Any, name: str, by: Any) -> None:
    """Put `by` in the place of an attribute or method of one object."""
    setattr(thing, name, by)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until `condition` holds; fails the test when it takes too long."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def eventually(
    look: Callable[[], Awaitable[T]], condition: Callable[[T], bool], seconds: float = PATIENCE_SECONDS
) -> T:
    """What `look` returns once `condition` holds for it."""
    async with asyncio.timeout(seconds):
        while not condition(found_now := await look()):
            await asyncio.sleep(0.02)
    return found_now


async def new_node(hub: RunningHub, folder: Path, name: str, ori: str, **changes: Any) -> NodeConfig:
    """Make a node in `folder` and join it to `hub`; its settings, with `changes`."""
    path = await asyncio.to_thread(found, folder, NodeId(name))
    invitation = await asyncio.to_thread(hub.invite, name, ori)
    await join(path, invitation, hub.clock)
    return _settings(path, **changes)


def _settings(path: Path, **changes: Any) -> NodeConfig:
    settings = {"further_lookup_delay_seconds": 0.0, "publish_interval_hours": 0.0, **changes}
    return load_config(path).model_copy(update=settings)


@asynccontextmanager
async def federation(
    folder: Path,
    agencies: int = 3,
    *,
    clock: ShiftedClock | None = None,
    wrap: Callable[[Node], None] = lambda node: None,
    hub_interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    node_channel: Callable[[str], WrapChannel] = lambda name: lambda channel: channel,
    fresh: bool = False,
    kind: str = "",
    **changes: Any,
) -> AsyncIterator[Federation]:
    """A hub and `agencies` attached nodes that hold each other's (empty) indexes.

    `wrap` may replace parts of a node before it starts; `hub_interceptors` and
    `node_channel` record traffic (tools.recording);
    `changes` replace settings of every node. It was founded earlier in this process and starts again here;
    `fresh`: it is founded here; `kind` names what `wrap` makes of a new one, so that each is founded once.
    """
    clock = clock or ShiftedClock()
    fresh = fresh or bool(clock.shift)
    hub_config = None if fresh else await _copy(folder, agencies, kind, wrap)
    async with running_hub(
        folder / "hub", clock=clock, config=hub_config, interceptors=hub_interceptors
    ) as hub:
        fed = Federation(hub)
        began = time.monotonic()
        try:
            for number, name in enumerate(NAMES[:agencies], 1):
                if fresh:
                    config = await new_node(hub, folder / name, name, ori_for(number), **changes)
                else:
                    config = _moved_node(hub, folder / name / "node.toml", **changes)
                node = Node(config, hub.clock, node_channel(name))
                wrap(node)
                fed.nodes.append(node)
                await node.start()
            for node in fed.nodes:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await node.connection.first_attached.wait()
                    await node.follower.followed.wait()
            await until(lambda: all(len(node.indexes.indexes) == agencies for node in fed.nodes))
            await fed.settled()
            fed.a_while_seconds = max(1.0, time.monotonic() - began)
            yield fed
        finally:
            for node in fed.nodes:
                if node.config.node not in fed.stopped:
                    await node.stop()


# Federations that were founded in this process, by their size and kind; none of their parties runs.
_founded: dict[tuple[int, str], tempfile.TemporaryDirectory[str]] = {}


async def _copy(folder: Path, agencies: int, kind: str, wrap: Callable[[Node], None]) -> HubConfig:
    """A federation of this size in `folder`, as it was when all had settled; the hub's settings."""
    if (agencies, kind) not in _founded:
        holder = tempfile.TemporaryDirectory(prefix="candor-federation-")
        wrapped: dict[str, Any] = {"wrap": wrap} if kind else {}
        async with federation(Path(holder.name), agencies, fresh=True, **wrapped):
            pass
        _founded[agencies, kind] = holder
    shutil.copytree(_founded[agencies, kind].name, folder, dirs_exist_ok=True)
    return load_hub_config(folder / "hub" / "hub.toml")


def _moved_node(hub: RunningHub, path: Path, **changes: Any) -> NodeConfig:
    """The settings of a node that joined the hub when that had another address."""
    for name, address in (("hub_address", hub.address), ("enrolment_address", hub.enrolment_address)):
        path.write_text(re.sub(rf"(?m)^{name} = .*$", f'{name} = "{address}"', path.read_text()))
    return _settings(path, **changes)


@asynccontextmanager
async def local(node: Node) -> AsyncIterator[Any]:
    """A stub for the node's own commands."""
    async with grpc.aio.insecure_channel(f"unix:{node.config.socket}") as channel:
        yield local_pb2_grpc.LocalServiceStub(channel)
