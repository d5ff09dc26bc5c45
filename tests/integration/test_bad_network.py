"""Black holes, cuts and a long absence between nodes and hub (docs/campaigns.md has the long runs)."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign import network


@pytest.mark.slow
def test_a_black_hole_is_noticed_by_both_ends_within_thirty_seconds(tmp_path: Path) -> None:
    """With the real settings and pauses; the campaign tries many moments."""
    noticed = asyncio.run(network.black_hole(tmp_path))
    assert noticed.hub <= network.NOTICED_SECONDS
    assert noticed.node <= network.NOTICED_SECONDS
    assert noticed.back <= network.BACK_SECONDS


@pytest.mark.slow
def test_after_three_hours_apart_everything_catches_up_by_itself(tmp_path: Path) -> None:
    assert asyncio.run(network.three_hours(tmp_path, random.Random(1))) == []


@pytest.mark.slow
def test_connections_cut_at_random_moments_lose_and_double_nothing() -> None:
    """In a process of its own, for it shortens pauses."""
    words = [sys.executable, "-m", "tests.campaign.network", "--only", "cuts", "--cuts", "15"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr[-3_000:]
