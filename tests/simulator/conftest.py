"""The fixture of all scenes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulator.federation import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Plays scenes; a test that played none, or one that was not checked to its end, has shown nothing."""
    simulator = Simulator()
    yield simulator
    assert simulator.played
