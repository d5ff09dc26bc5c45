"""A federation as its members founded it, made once for each size and copied for each scene."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from candor_hub.app import Hub
from candor_hub.config import Config
from candor_hub.config import load_config as load_hub_config
from candor_hub.enrolment import EnrolmentRequest
from candor_hub.founding import Wishes
from candor_hub.founding import found as found_hub
from candor_node import joining
from candor_node.config import NodeConfig, load_config
from candor_node.founding import Keys
from candor_proto.ids import FederationName, NodeId, Ori
from candor_wire.v1 import enrolment_pb2
from tests.federation import NAMES, ori_for
from tests.simulator.virtual_time import VirtualClock, VirtualLoop

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FEDERATION = FederationName("demo-exchange.example")
# Nobody listens there, and whoever wants to know why a call failed learns it at once.
ADDRESS = "127.0.0.1:1"
# Memory: what a commit costs on a disk is measured elsewhere, and a fault is one of the plan's.
_FOLDER = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def new_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="candor-sim-", dir=_FOLDER)


@lru_cache
def founded(agencies: int, start: datetime = START) -> tempfile.TemporaryDirectory[str]:
    """A federation as its members founded it at `start`; none of its parties runs."""
    holder = new_folder()
    folder = Path(holder.name)
    loop = VirtualLoop(random.Random(0))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_found(folder, agencies, VirtualClock(loop, start)))
    return holder


async def _found(folder: Path, agencies: int, clock: VirtualClock) -> None:
    wishes = Wishes(FEDERATION, "127.0.0.1:0", "127.0.0.1:0", ADDRESS, ADDRESS, new_member_wait_hours=0)
    hub = Hub(replace(found_hub(folder / "hub", wishes, clock.now()), nodes=50), clock)
    await hub.prepare()

    async def enrol(
        config: NodeConfig, invitation: Any, keys: Keys, request: Any, *_: Any
    ) -> enrolment_pb2.EnrolResponse:
        wanted = EnrolmentRequest(
            token=invitation.token,
            ori=invitation.ori,
            node=config.node_id,
            certificate_request=request.der,
            signing_key=keys.signing.public,
            disclosure_key=keys.disclosure.public,
            node_time=clock.now(),
        )
        chain = hub.enrolment.enrol(wanted, clock.now())
        return enrolment_pb2.EnrolResponse(
            certificate_chain=chain, federation=str(FEDERATION), hub_address=ADDRESS
        )

    with patch.object(joining, "_enrol", enrol):
        for number, name in enumerate(NAMES[:agencies], 1):
            path = joining.found(folder / name, NodeId(name))
            life = timedelta(days=14)
            invitation = hub.enrolment.invite(Ori(ori_for(number)), NodeId(name), name, clock.now(), life)
            await joining.join(path, invitation, clock)
    await hub.stop(0)


def copied(folder: Path, agencies: int) -> tuple[Config, list[NodeConfig]]:
    """A federation of this size in `folder`: the hub's settings and the nodes'."""
    return copied_from(Path(founded(agencies).name), folder, agencies)


def copied_from(template: Path, folder: Path, agencies: int) -> tuple[Config, list[NodeConfig]]:
    """The same of a federation that lies in `template`, none of whose parties runs."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    nodes = [load_config(folder / name / "node.toml") for name in NAMES[:agencies]]
    return load_hub_config(folder / "hub" / "hub.toml"), nodes
