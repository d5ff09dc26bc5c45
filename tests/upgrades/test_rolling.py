"""A hub and its nodes are upgraded one by one while clerks work; more: the campaign `rolling`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upgrades.rolling import Versions, both, replicas_and_nodes
from tests.upgrades.versions import previous_wheel, unpacked

pytestmark = pytest.mark.skipif(previous_wheel() is None, reason="no release is kept yet")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    wheel = previous_wheel()
    assert wheel is not None
    with both(unpacked(wheel), tmp_path_factory.mktemp("versions")) as found:
        yield found


def test_replicas_and_nodes_are_replaced_one_by_one_and_nothing_fails(
    versions: Versions, tmp_path: Path
) -> None:
    """From the first replica on, the one of before works with the newer schema beside it."""
    replicas_and_nodes(tmp_path / "site", versions, replicas=2, back=False)
