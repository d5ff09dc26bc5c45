"""The shipped packs are signed as they stand, and what signs them refuses what does not do what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from candor_node import shipped_packs
from candor_proto.errors import SignatureInvalid, UnknownObject
from candor_records.pack_signature import PackSignature
from tests.packs import clock, pack_text
from tools import sign_packs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(sign_packs.FOLDER, tmp_path / "packs"))


def test_the_shipped_packs_are_signed_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """After a change of a pack: `python -m tools.sign_packs`."""
    assert sign_packs.main(["--check"]) == 0
    assert capsys.readouterr().out == f"checked: {', '.join(sorted(shipped_packs.names()))}\n"
    assert shipped_packs.names()[0] == "default"


def test_a_changed_pack_shows_until_it_is_signed_again(folder: Path) -> None:
    with (folder / "texas.toml").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(SignatureInvalid):
        sign_packs.check(folder)
    before = (folder / "release.pub").read_text()
    assert sign_packs.main(["--folder", str(folder)]) == 0
    sign_packs.check(folder)
    assert (folder / "release.pub").read_text() != before


def test_nothing_is_signed_when_a_case_does_not_come_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "testland.toml").write_text(pack_text(clock(days=6)))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sign_packs.main(["--folder", str(folder)]) == 1
    assert "rule zz.clock: expected 1 day late" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_signature_reads_back_as_it_was_written() -> None:
    for name in shipped_packs.names():
        signature = shipped_packs.shipped(name).signature
        assert PackSignature.parse(signature.text) == signature
        assert signature.issuer == shipped_packs.release_key()
    with pytest.raises(UnknownObject):
        shipped_packs.shipped("../default")
