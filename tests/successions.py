"""A federation that loses its hub and goes on at a successor: the steps of docs/succession.md, for tests."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

from candor_certs.invitation import Invitation
from candor_hub.config import Config
from candor_hub.founding import Wishes, found
from candor_hub.succession.copied_log import CopiedLog, LogCopy
from candor_hub.succession.founding import Succession, begin, check_directory, source_files
from candor_node.app import Node
from candor_node.index_client import DIRECTORY_FILE
from candor_node.moving import STRICT, Accepted, Prospect, move
from candor_node.tlog import log_copy
from candor_node.tlog.kept_log import hand_over
from candor_proto.directory_file import DirectoryFile
from candor_proto.ids import NodeId
from tests.federation import Federation, instead
from tests.hubs import FEDERATION, RunningHub, ShiftedClock


async def copy_log(node: Node, folder: Path) -> log_copy.Copied:
    """What `candor-node log copy` does."""
    return await log_copy.LogCopy(node.hub.get_log, folder).update(node.clock.now())


async def copy_of(node: Node, folder: Path) -> log_copy.Copied:
    """What `candor-node log copy` does when the hub is gone: what the node has kept."""
    return await hand_over(node.config.kept_log_folder, folder, node.clock.now())


def read_copy(folder: Path, clock: ShiftedClock) -> CopiedLog:
    return LogCopy(source_files(folder), FEDERATION, clock.now()).read()


def directory_of(node: Node) -> DirectoryFile:
    """What `candor-node directory` writes."""
    return DirectoryFile.decode((node.config.data_folder / DIRECTORY_FILE).read_bytes())


async def hub_is_gone(fed: Federation) -> None:
    """Stop everything; of the hub nothing is left."""
    for node in fed.nodes:
        await fed.stop(node)
    await fed.hub.hub.stop(grace_seconds=0.1)

    async def stopped(grace_seconds: float = 0.0) -> None:
        """The federation's own end stops it once more."""

    instead(fed.hub.hub, "stop", stopped)
    await asyncio.to_thread(shutil.rmtree, fed.hub.config.data)


def found_successor(
    folder: Path,
    copy: Path,
    directory: DirectoryFile,
    clock: ShiftedClock,
    left_out: Collection[str] = (),
    issuing: Path | None = None,
) -> Config:
    """What `candor-hub succession found` does."""
    read = read_copy(copy, clock)
    check_directory(read, directory)
    succession = Succession(read, directory, frozenset(map(NodeId, left_out)))
    wishes = Wishes(FEDERATION, "127.0.0.1:0", "127.0.0.1:0", issuing=issuing, nodes=50)
    now = clock.now()
    return found(folder, wishes, now, begin(copy, succession, now))


def invitation(hub: RunningHub, node: Node) -> Invitation:
    """What `candor-hub succession invite` writes for a member."""
    own, ori = node.config.node_id, node.config.ori("")
    return hub.hub.enrolment.invite(ori, own, "", hub.clock.now(), timedelta(days=1), rejoin=True)


async def go_over(hub: RunningHub, node: Node, accepted: Accepted = STRICT) -> Prospect:
    """What `candor-node move` does, with a person who agrees; the node is stopped."""
    shown: list[Prospect] = []
    path = node.config.data_folder.parent / "node.toml"
    invited = await asyncio.to_thread(invitation, hub, node)
    moved = await move(path, invited, hub.clock, shown.append, accepted)
    assert moved is not None
    assert shown == [moved]
    return moved
