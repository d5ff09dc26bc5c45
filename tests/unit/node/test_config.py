"""Settings: one file, every error at once, environment over file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.invitation import Invitation
from candor_node.config import MAX_SOCKET_PATH_OCTETS, load_config
from candor_node.settings_file import fill_in, template
from candor_proto.budget import Quota
from candor_proto.errors import ConfigInvalid, StoreUnusable
from candor_proto.ids import FederationName, NodeId, Ori, Purpose
from candor_proto.scheme import CURRENT
from tests.certificates import FEDERATION, federation_authority
from tests.schemes import NEXT, both_known

NODE = NodeId("springfield-pd")


def written(folder: Path, text: str = "") -> Path:
    path = folder / "node.toml"
    path.write_text(template(NODE) + text, "utf-8")
    return path


def test_what_init_writes_can_be_read(tmp_path: Path) -> None:
    config = load_config(written(tmp_path))
    assert config.node_id == NODE
    assert config.lookup_wait_seconds == 30
    assert config.publish_interval == timedelta(days=7)
    assert config.green == {Purpose.J_APPLICANT}
    assert config.quota == Quota()


def test_relative_paths_are_meant_from_the_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load_config(Path("../node.toml"))
    assert config.database_file == tmp_path / "data/node.db"
    assert config.signing_key_file == tmp_path / "keys/signing.key"
    assert config.socket == tmp_path / "run/node.sock"
    assert path.exists()


def test_every_error_is_reported_at_once_with_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        'node = "Not A Node"\nlookup_wait_second = 3\noris = ["X"]\nhub_address = "nowhere"\n'
        'green_purposes = ["PLEASURE"]\nindex_refresh_seconds = 5000\nfederation = "-"\n'
    )
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path)
    message = caught.value.message
    assert str(path) in message
    assert "holds 7 wrong settings" in message
    for key in ("node", "oris", "hub_address", "green_purposes", "index_refresh_seconds", "federation"):
        assert f"{key}:" in message
    assert "lookup_wait_second: there is no such setting" in message
    assert caught.value.remedy


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("")
    with pytest.raises(ConfigInvalid, match="node: is missing"):
        load_config(path)


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_NODE_LOOKUP_WAIT_SECONDS", "7")
    monkeypatch.setenv("CANDOR_NODE_ORIS", '["ZZ0010000"]')
    monkeypatch.setenv("CANDOR_NODE_CONFIG", "not a setting")
    config = load_config(written(tmp_path))
    assert config.lookup_wait_seconds == 7
    assert config.oris == ("ZZ0010000",)


def test_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_NODE_QUOTA_ELEMENTS", "many")
    with pytest.raises(ConfigInvalid, match="from CANDOR_NODE_QUOTA_ELEMENTS"):
        load_config(written(tmp_path))


def test_a_value_that_is_a_secret_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_config(written(tmp_path, 'database_key = "0123456789abcdef"\n'))
    assert "0123456789abcdef" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"), [("node = ", "is not TOML"), ('node = "a"\nnode = "b"', "is not TOML")]
)
def test_what_is_not_toml_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=words):
        load_config(path)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="There is no settings file"):
        load_config(tmp_path / "node.toml")


def test_a_socket_whose_path_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    name = "s" * (MAX_SOCKET_PATH_OCTETS - 10)
    with pytest.raises(ConfigInvalid, match="socket: a socket's path has at most 107 octets"):
        load_config(written(tmp_path, f'socket = "{name}"\n'))


def test_before_joining_there_is_no_federation(tmp_path: Path) -> None:
    config = load_config(written(tmp_path))
    with pytest.raises(ConfigInvalid, match="has not joined a federation yet"):
        _ = config.federation_name


# --- the database's key --------------------------------------------------------------------------------


def test_the_database_key_comes_from_a_private_file(tmp_path: Path) -> None:
    config = load_config(written(tmp_path))
    (tmp_path / "keys").mkdir()
    config.database_key_file.write_bytes(bytes(range(32)))
    config.database_key_file.chmod(0o600)
    assert config.database_key() == bytes(range(32))
    config.database_key_file.chmod(0o644)
    with pytest.raises(StoreUnusable, match="other users"):
        config.database_key()


@pytest.mark.parametrize("command", [f"echo {'0f' * 32}", f"printf '{chr(92)}017%.0s' $(seq 32)"])
def test_the_database_key_comes_from_a_command(tmp_path: Path, command: str) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text() + f"database_key_command = '''{command}'''\n")
    assert load_config(path).database_key() == b"\x0f" * 32


def test_a_key_command_that_fails_is_a_sentence(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, 'database_key_command = "echo secret; exit 3"\n'))
    with pytest.raises(ConfigInvalid, match="ended with status 3") as caught:
        config.database_key()
    assert "secret" not in str(caught.value)


# --- joining -------------------------------------------------------------------------------------------


def test_joining_keeps_comments_and_settings(tmp_path: Path) -> None:
    path = written(tmp_path, "# ours\nquota_day_share = 5\n")
    invitation = Invitation(
        federation=FederationName(str(FEDERATION)),
        hub_address="hub.example.org:7443",
        enrolment_address="hub.example.org:7444",
        ori=Ori("ZZ0010000"),
        agency_name='Sheriff "Bo" \\ Peña',
        token=bytes(32),
        expires_at=datetime(2027, 1, 1, tzinfo=UTC),
        root_certificate_der=federation_authority().parents[0].public_bytes(Encoding.DER),
    )
    path.write_text(fill_in(path.read_text("utf-8"), invitation, "10.0.0.1:7443"), "utf-8")
    config = load_config(path)
    assert "# ours" in path.read_text("utf-8")
    assert config.quota.day_share == 5
    assert (config.federation, config.hub_address) == (str(FEDERATION), "10.0.0.1:7443")
    assert config.oris == ("ZZ0010000",)
    assert config.name == 'Sheriff "Bo" \\ Peña'


def test_records_are_published_under_the_newest_scheme_unless_an_operator_holds_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    assert load_config(path).scheme is CURRENT
    monkeypatch.setenv("CANDOR_NODE_PUBLISH_SCHEME", str(NEXT.version))
    with pytest.raises(ConfigInvalid, match=f"publish_scheme .*knows no scheme {NEXT.version}, only"):
        load_config(path)
    with both_known():
        assert load_config(path).scheme is NEXT


def test_the_records_of_a_federation_are_estimated_unless_an_operator_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    assert load_config(path).federation_records is None
    path.write_text(
        path.read_text("utf-8").replace("# federation_records =", "federation_records ="), "utf-8"
    )
    assert load_config(path).federation_records == 500_000
    monkeypatch.setenv("CANDOR_NODE_FEDERATION_RECORDS", "7")
    assert load_config(path).federation_records == 7
    monkeypatch.setenv("CANDOR_NODE_FEDERATION_RECORDS", "0")
    with pytest.raises(ConfigInvalid, match=r"federation_records .*greater than or equal to 1"):
        load_config(path)
