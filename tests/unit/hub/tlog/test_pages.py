"""What of the log is shown: what rows vouch for, and never a file because it lies there (§14.6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor_proto.errors import StoreUnusable, UnknownObject
from tests.unit.hub.tlog.desks import log_desk


@pytest.mark.parametrize("name", ["draw/2031-01", "draw/end", "policy/99"])
def test_a_file_that_no_row_vouches_for_is_not_shown(tmp_path: Path, name: str) -> None:
    with log_desk(tmp_path) as desk:
        desk.make_witness(desk.hub.join("alpha"))
        desk.settle()
        place = desk.hub.config.log / "1" / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"what somebody put there")
        with pytest.raises(UnknownObject):
            desk.pages.get(f"1/{name}")


def test_what_a_link_leads_to_is_not_read_as_a_part_of_the_log(tmp_path: Path) -> None:
    with log_desk(tmp_path) as desk:
        desk.hub.join("alpha")
        desk.settle()
        checkpoint = desk.hub.config.log / "1/checkpoint"
        checkpoint.unlink()
        checkpoint.symlink_to(desk.hub.config.keys / "database.key")
        with pytest.raises(StoreUnusable, match="is a link"):
            desk.files.read("1/checkpoint")
