"""Disks that are full, fail or lose power, and no memory (docs/campaigns.md has the long runs)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.campaign import shim
from tests.patience import PATIENCE_SECONDS

needs_compiler = pytest.mark.skipif(
    shim.compiler() is None, reason="the disk shim needs a C compiler (tools/debian-packages.txt)"
)


def run(campaign: str, *arguments: str) -> str:
    """A campaign in a process of its own, for it shortens pauses; what it printed."""
    words = [sys.executable, "-m", f"tests.campaign.{campaign}", *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr[-3_000:]
    return done.stdout


@pytest.mark.slow
@needs_compiler
def test_a_failing_disk_or_no_memory_costs_nothing_that_was_acknowledged() -> None:
    assert ", 0 violations" in run("faults", "--quick")


@needs_compiler
@pytest.mark.slow
def test_a_record_is_never_half_imported_voided_expunged_or_recalled() -> None:
    assert ", 0 violations" in run("lives", "--quick")


@pytest.mark.slow
@needs_compiler
def test_a_power_cut_loses_nothing_acknowledged_and_would_with_a_weaker_setting() -> None:
    full, normal = (line for line in run("power", "--quick").splitlines() if line.startswith("power:"))
    assert "synchronous=FULL" in full
    assert ": 0 lost something acknowledged, 0 did not open" in full
    assert "synchronous=NORMAL" in normal
    assert ": 0 lost" not in normal
