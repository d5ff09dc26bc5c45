"""The release before and this checkout in one federation: docs/releasing.md promises that they get on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import new_database
from tests.upgrades.scene import Scene
from tests.upgrades.versions import CHECKOUT, RENEWS, Version, previous_wheel, unpacked

pytestmark = pytest.mark.skipif(previous_wheel() is None, reason="no release is kept yet")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Version]]:
    folder = tmp_path_factory.mktemp("versions")
    old_wheel = previous_wheel()
    assert old_wheel is not None
    with (
        Version(unpacked(old_wheel), folder / "old", **RENEWS) as old,
        Version(CHECKOUT, folder / "new", **RENEWS) as new,
    ):
        yield {"old": old, "new": new}


def test_nodes_of_both_versions_work_with_a_new_hub_on_postgresql(
    versions: dict[str, Version], tmp_path: Path
) -> None:
    """Two of the eight pairings of node, hub and database; the campaign `upgrade` plays all of them."""
    nodes = {"elder": versions["old"], "newer": versions["new"]}
    with Scene(tmp_path, versions["new"], nodes, new_database("template1")) as scene:
        scene.found()
        scene.begin()
        scene.check_renewed()
        scene.file_records()
        scene.exchange("REQ-1")
        scene.check_witnessed()
        scene.check_kept()
        scene.end()


def test_a_new_node_renews_its_certificate_at_a_hub_of_the_release_before(
    versions: dict[str, Version], tmp_path: Path
) -> None:
    """The other direction, a new hub and a node of the release before, is in the pairing above."""
    with Scene(tmp_path, versions["old"], {"newer": versions["new"]}, "") as scene:
        scene.found()
        scene.begin()
        scene.check_renewed()
        scene.end()


def test_a_federation_is_upgraded_in_place_and_taken_back_with_everything_kept(
    versions: dict[str, Version], tmp_path: Path
) -> None:
    """Folders of the release before, opened by this checkout, and then by the release before again."""
    old, new = versions["old"], versions["new"]
    with Scene(tmp_path, old, {"elder": old, "newer": old}, "") as scene:
        scene.found()
        scene.begin()
        scene.file_records()
        scene.exchange("REQ-1")
        scene.end()

        scene.hub, scene.nodes = new, {"elder": old, "newer": new}
        scene.begin()
        scene.exchange("REQ-2")
        scene.check_witnessed()
        scene.check_kept()
        scene.end()

        # Steps were taken, and both databases were copied before.
        assert list((tmp_path / "hub").glob("hub.db.before-*"))
        assert list((tmp_path / "newer/data/upgrades").glob("before-*.db"))

        scene.hub, scene.nodes = old, {"elder": old, "newer": old}
        scene.begin()
        scene.check_kept()
        scene.check_witnessed()
        scene.end()
