"""hub.toml: every mistake at once, nothing unknown, the environment above the file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from candor_hub.config import SETTINGS, config_path, load_config
from candor_hub.founding import Wishes, found
from candor_hub.keys import load_keys
from candor_hub.vault import FolderVault
from candor_proto.budget import Quota
from candor_proto.errors import AlreadyExists, ConfigInvalid, MalformedMessage
from candor_proto.ids import FederationName
from tests.hub_members import ShiftedClock

SMALLEST = 'federation = "demo.example"\naddress = "127.0.0.1:0"\nenrolment_address = "127.0.0.1:0"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "hub.toml"
    path.write_text(text)
    return path


def test_the_smallest_file_has_the_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, SMALLEST))
    assert config.federation == FederationName("demo.example")
    assert config.quota == Quota()
    assert config.new_member_wait == timedelta(hours=24)
    assert config.public_address == "127.0.0.1:0"
    assert config.database == f"sqlite:///{tmp_path / 'hub.db'}"
    assert config.issuing == tmp_path / "authority/issuing"


def test_every_setting_is_taken(tmp_path: Path) -> None:
    text = SMALLEST + (
        'public_address = "hub.example:7443"\npublic_enrolment_address = "hub.example:7444"\n'
        'data = "state"\nissuing = "/safe/issuing"\ndatabase_url = "sqlite:////state/hub.db"\n'
        'database_password_file = "password"\nmetrics_address = "off"\nmetrics_allow_remote = false\n'
        'segments_url = "s3://bucket/prefix"\nlog_level = "info"\ntraces_endpoint = ""\n'
        "new_member_wait_hours = 0\nnodes = 12\n"
        'guard = false\nbalancers = ["10.0.0.0/8", "fd00::5"]\n'
        'backup_folder = "copies"\nbackup_interval_minutes = 10\nbackup_keep = 3\n'
        'log_address = "0.0.0.0:443"\nlog_certificate = "log.pem"\nlog_key = "log.key"\n'
        "[quota]\ntotal = 100\nweak = 10\nmatch = 20\ncode = 30\nday_share = 1\n"
    )
    config = load_config(written(tmp_path, text))
    assert config.public_address == "hub.example:7443"
    assert config.data == tmp_path / "state"
    assert config.issuing == Path("/safe/issuing")
    assert config.database == "sqlite:////state/hub.db"
    assert config.database_password_file == tmp_path / "password"
    assert config.new_member_wait == timedelta(0)
    assert config.nodes == 12
    assert (config.guard, config.balancers) == (False, ("10.0.0.0/8", "fd00::5"))
    assert (config.backup_folder, config.backup_keep) == (tmp_path / "copies", 3)
    assert config.backup_interval == timedelta(minutes=10)
    assert config.log_address == "0.0.0.0:443"
    assert (config.log_certificate, config.log_key) == (tmp_path / "log.pem", tmp_path / "log.key")
    assert config.quota == Quota(100, 10, 20, 30, 1)
    assert set(SETTINGS) <= set(text.replace("[quota]", "quota =").replace(" =", "").split())


@pytest.mark.parametrize(
    ("enrolment", "log"), [("0.0.0.0:7444", "0.0.0.0:7445"), ("127.0.0.1:0", "127.0.0.1:0")]
)
def test_the_log_is_read_beside_the_enrolment_port(tmp_path: Path, enrolment: str, log: str) -> None:
    text = SMALLEST.replace(
        next(line for line in SMALLEST.splitlines() if line.startswith("enrolment_address")),
        f'enrolment_address = "{enrolment}"',
    )
    assert load_config(written(tmp_path, text)).log_address == log


@pytest.mark.parametrize("line", ['log_key = "log.key"', 'log_certificate = "log.pem"'])
def test_a_certificate_of_the_log_comes_with_its_key(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigInvalid, match=line.split()[0]):
        load_config(written(tmp_path, f"{SMALLEST}{line}\n"))


def test_every_mistake_is_reported_at_once_with_file_and_key(tmp_path: Path) -> None:
    text = 'federation = "Demo!"\nadress = "x"\nenrolment_address = "nowhere"\nnodes = 0\n[quota]\ntotl = 3\n'
    path = written(tmp_path, text)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path)
    lines = caught.value.message.splitlines()
    assert len(lines) == 6
    for key in ("federation", "adress", "address", "enrolment_address", "nodes", "quota.totl"):
        assert any(line.startswith(f"{path}: {key}: ") for line in lines), key


def test_the_environment_stands_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, SMALLEST + "[quota]\ntotal = 100\nweak = 7\n")
    monkeypatch.setenv("CANDOR_HUB_ADDRESS", "0.0.0.0:7443")
    monkeypatch.setenv("CANDOR_HUB_QUOTA__TOTAL", "500")
    monkeypatch.setenv("CANDOR_HUB_CONFIG", str(path))
    config = load_config(config_path(None))
    assert config.address == "0.0.0.0:7443"
    assert (config.quota.total, config.quota.weak) == (500, 7)
    monkeypatch.setenv("CANDOR_HUB_NODES", "many")
    with pytest.raises(ConfigInvalid, match="environment variable CANDOR_HUB_NODES"):
        load_config(path)


@pytest.mark.parametrize("text", ["address = ", "\0"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigInvalid, match="is not TOML"):
        load_config(written(tmp_path, text))


def test_a_missing_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_config(tmp_path / "hub.toml")
    assert "candor-hub init" in caught.value.remedy


# --- init ---------------------------------------------------------------------------------------------


def wishes(address: str = "127.0.0.1:7443", public_address: str = "") -> Wishes:
    return Wishes(FederationName("demo.example"), address, "127.0.0.1:7444", public_address)


def test_init_writes_what_it_was_told_and_nothing_that_others_may_read(tmp_path: Path) -> None:
    config = found(tmp_path / "hub", wishes(public_address="hub.example:1"), ShiftedClock().now())
    assert config.public_address == "hub.example:1"
    assert config.public_enrolment_address == "127.0.0.1:7444"
    assert (tmp_path / "hub").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "hub").rglob("*"):
        if path.suffix in (".key", ".pem", ".db", ".toml"):
            assert path.stat().st_mode & 0o077 == 0, path


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    found(tmp_path / "hub", wishes(), ShiftedClock().now())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(AlreadyExists):
        found(tmp_path / "hub", wishes(), ShiftedClock().now())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_init_refuses_a_bad_address_before_it_makes_anything(tmp_path: Path) -> None:
    with pytest.raises(MalformedMessage):
        found(tmp_path / "hub", wishes(address="here"), ShiftedClock().now())
    assert not (tmp_path / "hub").exists()


def test_the_authority_of_another_federation_is_refused(tmp_path: Path) -> None:
    config = found(tmp_path / "hub", wishes(), ShiftedClock().now())
    with pytest.raises(ConfigInvalid, match=r"not of other\.example"):
        load_keys(config.keys, FolderVault(config.keys), config.issuing, FederationName("other.example"))
