"""What goes out: the same wheel for everybody, with nothing in it by accident; its bill of materials."""

from __future__ import annotations

import json
import shutil
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import release
from tools.release import (
    DEPLOY,
    ROOT,
    ReleaseRefused,
    Source,
    build_wheel,
    check_kept,
    check_locks,
    check_wheel,
    copy_checkout,
    locked,
    sha256,
    write_bundle,
)
from tools.sbom import bill_of_materials, check_bill, write_bill

EPOCH = 1_790_000_000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return copy_checkout(tmp_path_factory.mktemp("one") / "source", epoch=EPOCH)


@pytest.fixture(scope="module")
def wheel(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("built"))


def test_two_builds_in_different_folders_are_the_same_octets(
    source: Source, wheel: Path, tmp_path: Path
) -> None:
    """Whatever the folder is called, when the files were written, and what their owner lets others do."""
    other = Source(tmp_path / "another place" / "checkout", source.files, source.epoch)
    shutil.copytree(source.folder, other.folder)
    for name in other.files:
        (other.folder / name).chmod(0o600)
    (other.folder / "stray.py").write_text("left over\n")
    (other.folder / "node/candor_node/__pycache__").mkdir()
    (other.folder / "node/candor_node/__pycache__/stray.cpython-311.pyc").write_bytes(b"left over")
    assert sha256(build_wheel(other, tmp_path / "built")) == sha256(wheel)


def test_the_wheel_holds_templates_packs_and_licences(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"candor_records/packs/texas.toml", "candor_records/packs/texas.toml.sig"} <= names
    assert any(name.startswith("candor_node/templates/") for name in names)
    assert {name.rpartition("/")[2] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def altered(wheel: Path, out: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    path = out / wheel.name
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def put(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda content: content.update({name: data})


KEY = b"-----BEGIN PRIVATE KEY-----\nMC4CAQ\n"
WRONG = {
    "file-nobody-knows": (put("candor_node/extra.py", b""), "candor_node/extra.py has no business in it"),
    "test": (put("candor_node/test_extra.py", b""), "candor_node/test_extra.py looks like a test"),
    "package": (put("candor_other/__init__.py", b""), "candor_other/__init__.py has no business in it"),
    "database": (put("candor_node/node.db", b""), "candor_node/node.db is of a kind that no package has"),
    "key": (put("candor_hub/app.py", KEY), "candor_hub/app.py holds a private key"),
    "missing-file": (lambda content: content.pop("candor_hub/app.py"), "candor_hub/app.py is missing"),
    "missing-notice": (
        lambda content: [content.pop(name) for name in list(content) if name.endswith("/NOTICE")],
        "NOTICE is missing",
    ),
}


@pytest.mark.parametrize("flaw", WRONG)
def test_a_wheel_with_a_flaw_does_not_go_out(flaw: str, source: Source, wheel: Path, tmp_path: Path) -> None:
    change, sentence = WRONG[flaw]
    with pytest.raises(ReleaseRefused, match=sentence):
        check_wheel(altered(wheel, tmp_path, change), source)


def test_what_is_installed_is_what_was_tested() -> None:
    check_locks()
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    core, extras = locked(DEPLOY / "requirements.lock"), locked(DEPLOY / "requirements-extras.lock")
    assert set(core) <= set(extras)
    assert "pip" in core  # install.sh takes it out of the bundle
    assert not {"pytest", "mypy", "ruff", "hatchling"} & set(extras)
    assert {"obstore", "opentelemetry-sdk"} <= set(extras)
    assert len(core) >= len(wanted["dependencies"])


def test_another_version_in_the_lock_is_noticed(tmp_path: Path) -> None:
    for name in ("requirements.lock", "requirements-extras.lock"):
        text = (DEPLOY / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace("\nclick==", "\nclick==99."), "utf-8")
    with pytest.raises(ReleaseRefused, match="click 99"):
        check_locks(tmp_path)


# --- bundle -------------------------------------------------------------------------------------------


def test_the_same_wheels_make_the_same_bundle(source: Source, wheel: Path, tmp_path: Path) -> None:
    one, two = (write_bundle(tmp_path / name, source, [wheel]) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert (tmp_path / "one" / f"{one.name}.sha256").read_text() == f"{sha256(one)}  {one.name}\n"


# --- bill of materials --------------------------------------------------------------------------------


def test_the_bill_of_materials_is_cyclonedx_and_says_licence_and_octets_of_everything(tmp_path: Path) -> None:
    lock = DEPLOY / "requirements.lock"
    bill = bill_of_materials("0.1.0", lock, "0" * 64, EPOCH)
    write_bill(bill, tmp_path / "bill.json")
    found = json.loads((tmp_path / "bill.json").read_text("utf-8"))
    components = {component["name"].lower().replace("_", "-"): component for component in found["components"]}
    assert set(locked(lock)) - set(components) <= {"colorama", "brotlicffi"}  # Windows, PyPy
    for component in components.values():
        assert component["licenses"], component["name"]
        assert all(len(entry["content"]) == 64 for entry in component["hashes"])
    inside = {inner["name"] for component in components.values() for inner in component.get("components", ())}
    assert inside == {"sqlite", "sqlcipher", "openssl", "libpq", "libsodium"}
    assert found["metadata"]["timestamp"] == "2026-09-21T14:13:20Z"


def test_what_is_no_bill_of_materials_is_refused() -> None:
    with pytest.raises(ReleaseRefused, match="not CycloneDX"):
        check_bill('{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "x"}]}')


# --- what is kept -------------------------------------------------------------------------------------


def test_kept_releases_are_unchanged() -> None:
    if release.RELEASES.exists():
        check_kept()


def test_a_kept_release_that_was_changed_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "candor_exchange-9.9.9-py3-none-any.whl").write_bytes(b"wheel")
    (tmp_path / "SHA256SUMS").write_text(
        f"# 9.9.9 is commit abc\n{'0' * 64}  candor_exchange-9.9.9-py3-none-any.whl\n"
    )
    with pytest.raises(ReleaseRefused, match="was changed"):
        check_kept(tmp_path)
    (tmp_path / "other.whl").write_bytes(b"")
    with pytest.raises(ReleaseRefused, match=r"other\.whl is not named"):
        check_kept(tmp_path)
