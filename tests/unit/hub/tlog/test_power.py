"""§14.6: the hub dies, or its power fails, at any step of an append or a rotation: nothing is lost or forked.

`make campaign NAME=log` dies at every step; this is a sample of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign.log import SCENES, deaths


@pytest.mark.parametrize("scene", SCENES)
def test_a_log_that_died_goes_on_as_if_it_had_not(tmp_path: Path, scene: str) -> None:
    seen = list(deaths(tmp_path, scene, every=37, seed=5))
    assert len(seen) >= 7
    assert [death for death in seen if death.faults] == []
