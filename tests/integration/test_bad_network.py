"""Black holes, cuts and a long absence between nodes and hub (docs/campaigns.md has the long runs)."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from candor_certs import mtls
from candor_hub import app
from candor_hub.guard.budget import SILENT_SECONDS
from candor_node import diagnosis
from candor_node.app import Node
from tests.campaign import network
from tests.federation import new_node, ori_for, until
from tests.hubs import running_hub
from tests.patience import PATIENCE_SECONDS
from tests.proxy import Proxy


def quicker(options: mtls.Options) -> mtls.Options:
    """The same with every wait for the other end a tenth as long."""
    waits = (
        "keepalive_time_ms",
        "keepalive_timeout_ms",
        "ping_timeout_ms",
        "min_ping_interval_without_data_ms",
    )

    def tenth(name: str, value: int | str) -> int | str:
        return value // 10 if isinstance(value, int) and name.endswith(waits) else value

    return [(name, tenth(name, value)) for name, value in options]


@pytest.mark.slow
def test_a_black_hole_is_noticed_by_both_ends_within_thirty_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times as quick as they are set: both ends do, and what they are set to is within the thirty.

    How long it takes with the real settings, at many moments, is for the campaign: a slow machine adds to it.
    """
    for options in (dict(mtls.CLIENT_OPTIONS), dict(mtls.server_options(nodes=1))):
        silent, unanswered = options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"]
        assert isinstance(silent, int)
        assert isinstance(unanswered, int)
        assert options["grpc.http2.ping_timeout_ms"] == unanswered
        assert (silent + unanswered) / 1_000 + diagnosis.PROBE_SECONDS < network.NOTICED_SECONDS
    server_options = mtls.server_options
    monkeypatch.setattr(mtls, "CLIENT_OPTIONS", quicker(mtls.CLIENT_OPTIONS))
    monkeypatch.setattr(app, "server_options", lambda *told, **also: quicker(server_options(*told, **also)))
    monkeypatch.setattr(diagnosis, "PROBE_SECONDS", diagnosis.PROBE_SECONDS / 10)
    monkeypatch.setattr("candor_hub.front.SILENT_SECONDS", SILENT_SECONDS / 10)
    for guarded in (True, False):
        (folder := tmp_path / str(guarded)).mkdir()
        noticed = asyncio.run(network.black_hole(folder, guarded=guarded))
        assert max(noticed.hub, noticed.node) < network.NEVER_SECONDS


def test_a_node_behind_a_slow_line_attaches(tmp_path: Path) -> None:
    """Each octet takes 0.4 s either way: a handshake takes a second and a half, and is not given up."""

    async def scene() -> None:
        async with (
            running_hub(tmp_path / "hub") as hub,
            Proxy("127.0.0.1", hub.hub.ports.hub) as line,
        ):
            config = await new_node(hub, tmp_path / "alpha", "alpha", ori_for(1), hub_address=line.address)
            line.delay_seconds = 0.4
            node = Node(config, hub.clock)
            await node.start()
            try:
                await until(lambda: node.connection.attached, 60)
                assert line.connections == 1
            finally:
                await node.stop()

    asyncio.run(scene())


@pytest.mark.slow
def test_after_three_hours_apart_everything_catches_up_by_itself(tmp_path: Path) -> None:
    assert asyncio.run(network.three_hours(tmp_path, random.Random(1))) == []


@pytest.mark.slow
def test_connections_cut_at_random_moments_lose_and_double_nothing() -> None:
    """In a process of its own, for it shortens pauses."""
    words = [sys.executable, "-m", "tests.campaign.network", "--only", "cuts", "--cuts", "6"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr[-3_000:]
