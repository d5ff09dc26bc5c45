"""The node's settings: `node.toml`, overridden by environment variables CANDOR_NODE_<KEY>.

Rules of this file:
- an unknown key is refused, and every wrong value is reported at once, each with its file and key;
- relative paths are meant from the folder of the file, wherever the program was started;
- secrets stand in files of their own; the settings only say where;
- `init` writes the file, `join` fills in what the invitation says, nothing else writes it.
"""

from __future__ import annotations

import os
import subprocess
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from candor_certs import store
from candor_certs.invitation import check_address
from candor_certs.service_manager import DATABASE_KEY, credential, key_octets
from candor_node.proxy import Proxy, check_proxy, proxy_for
from candor_proto.budget import Quota
from candor_proto.errors import CandorError, ConfigInvalid, InputInvalid
from candor_proto.ids import FederationName, NodeId, Ori, Purpose
from candor_proto.scheme import CURRENT, SCHEMES, Scheme
from candor_proto.signing import VerifyingKey
from candor_proto.tlog.policy import Policy, parse_policy
from candor_watch.addresses import check_metrics_address, split_address

FILE_NAME = "node.toml"
ENVIRONMENT_PREFIX = "CANDOR_NODE_"
CONFIG_VARIABLE = "CANDOR_NODE_CONFIG"
# The kernel's sun_path holds 108 octets with the closing zero.
MAX_SOCKET_PATH_OCTETS = 107
KEY_COMMAND_TIMEOUT_SECONDS = 30
_PATHS = (
    "data_folder",
    "database_key_file",
    "signing_key_file",
    "disclosure_key_file",
    "tls_identity_file",
    "root_certificates_file",
    "socket",
)
_OPTIONAL_PATHS = ("log_policy", "proxy_credentials_file", "backup_folder")


class NodeConfig(BaseSettings):
    """Everything a node can be told. What `join` writes is empty before."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    node: str
    federation: str = ""
    name: str = ""
    oris: tuple[str, ...] = ()
    hub_address: str = ""
    # Where the hub takes enrolments: needed again when the certificate has ended (candor_node.coming_back).
    enrolment_address: str = ""

    # How connections leave this network (candor_node.proxy): "" as the environment says, none, or a URL.
    proxy: str = ""
    proxy_credentials_file: Path | None = None

    data_folder: Path = Path("data")
    socket: Path = Path("run/node.sock")
    database_key_file: Path = Path("keys/database.key")
    database_key_command: str = ""
    signing_key_file: Path = Path("keys/signing.key")
    disclosure_key_file: Path = Path("keys/disclosure.key")
    tls_identity_file: Path = Path("keys/tls.pem")
    root_certificates_file: Path = Path("keys/root.crt")
    # Whose signatures the log must have: an operator's own tlog-policy file, in place of the log's policies.
    log_policy: Path | None = None

    lookup_wait_seconds: float = Field(30.0, gt=0, le=3600)
    further_lookup_delay_seconds: float = Field(2.0, ge=0, le=60)
    index_refresh_seconds: float = Field(900.0, ge=1, le=900)
    publish_interval_hours: float = Field(168.0, ge=0, le=24 * 31)
    publish_scheme: int = CURRENT.version
    pack_issuers: tuple[str, ...] = ()
    federation_records: int | None = Field(None, ge=1)
    green_purposes: tuple[str, ...] = ("J_APPLICANT",)
    # Where officers reach the agency about their records; stands on every letter and report.
    subject_contact: str = Field("", max_length=300)
    # Whether what is filed, at the desk or by an import, is a draft until a second person has reviewed it.
    review_filings: bool = False
    subjects_an_hour: int = Field(25, ge=1, le=1000)
    # RECORDS.md §4.4: the result of a lookup lives no longer; what was asked stays for audits.
    result_days: int = Field(45, ge=1, le=45)
    # docs/backup.md. Without a folder nothing is backed up but by command.
    backup_folder: Path | None = None
    backup_interval_minutes: float = Field(5.0, ge=0.05, le=24 * 60)
    backup_keep_days: float = Field(7.0, ge=0, le=366)
    backup_keys_days: int = Field(7, ge=1, le=90)

    # Where metrics and health are read, over HTTP; empty: nowhere.
    metrics_address: str = ""
    metrics_allow_remote: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    quota_elements: int = Field(40_000, ge=0)
    quota_weak_elements: int = Field(10_000, ge=0)
    quota_match_elements: int = Field(30_000, ge=0)
    quota_code_elements: int = Field(24_000, ge=0)
    quota_day_share: int = Field(10, ge=1, le=30)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `init_settings` is what the file holds: the environment goes before it.
        return env_settings, init_settings

    @field_validator("node")
    @classmethod
    def _node(cls, value: str) -> str:
        return _parsed(NodeId, value)

    @field_validator("federation")
    @classmethod
    def _federation(cls, value: str) -> str:
        return _parsed(FederationName, value) if value else value

    @field_validator("oris")
    @classmethod
    def _oris(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_parsed(Ori, ori) for ori in value)

    @field_validator("hub_address", "enrolment_address")
    @classmethod
    def _hub_address(cls, value: str) -> str:
        if value:
            try:
                check_address(value)
            except CandorError as error:
                raise ValueError(error.message) from None
        return value

    @field_validator("proxy")
    @classmethod
    def _proxy(cls, value: str) -> str:
        try:
            check_proxy(value)
        except CandorError as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("metrics_address")
    @classmethod
    def _metrics_address(cls, value: str) -> str:
        return _passed(split_address, value)

    @model_validator(mode="after")
    def _metrics_stay_here(self) -> Self:
        if self.metrics_address:
            try:
                check_metrics_address(self.metrics_address, allow_remote=self.metrics_allow_remote)
            except CandorError as error:
                raise ValueError(error.message) from None
        return self

    @field_validator("green_purposes")
    @classmethod
    def _green_purposes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_parsed(lambda text: Purpose.parse(text).name, purpose) for purpose in value)

    @field_validator("pack_issuers")
    @classmethod
    def _pack_issuers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for key in value:
            _parsed(lambda text: VerifyingKey(bytes.fromhex(text)), key)
        return value

    @field_validator("publish_scheme")
    @classmethod
    def _publish_scheme(cls, value: int) -> int:
        if value not in SCHEMES:
            known = ", ".join(map(str, sorted(SCHEMES)))
            raise ValueError(f"this version of Candor knows no scheme {value}, only {known}")
        return value

    @field_validator("socket")
    @classmethod
    def _socket(cls, value: Path) -> Path:
        if len(os.fsencode(value)) > MAX_SOCKET_PATH_OCTETS:
            raise ValueError(
                f"a socket's path has at most {MAX_SOCKET_PATH_OCTETS} octets; name a shorter one"
            )
        return value

    # --- as values of the protocol --------------------------------------------------------------------

    @property
    def node_id(self) -> NodeId:
        return NodeId(self.node)

    @property
    def federation_name(self) -> FederationName:
        """Raises ConfigInvalid before the node has joined."""
        if not self.federation or not self.hub_address:
            raise ConfigInvalid(
                f"{self.node} has not joined a federation yet.",
                remedy="Ask the hub's operator for an invitation, then `candor-node join FILE`.",
            )
        return FederationName(self.federation)

    def ori(self, text: str) -> Ori:
        """The agency of that ORI, or the only one if none is named; raises InputInvalid."""
        if not text and len(self.oris) == 1:
            return Ori(self.oris[0])
        if text not in self.oris:
            raise InputInvalid(
                f"This node stands for {', '.join(self.oris) or 'no agency'}; one of them must be named.",
                remedy="Give the agency's ORI with --ori.",
            )
        return Ori(text)

    @property
    def quota(self) -> Quota:
        """What every asker may use here (docs/protocol.md §11)."""
        return Quota(
            self.quota_elements,
            self.quota_weak_elements,
            self.quota_match_elements,
            self.quota_code_elements,
            self.quota_day_share,
        )

    @property
    def green(self) -> frozenset[Purpose]:
        return frozenset(Purpose[name] for name in self.green_purposes)

    @property
    def publish_interval(self) -> timedelta:
        """Zero means: at once after every import (the demo)."""
        return timedelta(hours=self.publish_interval_hours)

    @property
    def scheme(self) -> Scheme:
        """The scheme under which records are published; the newest unless an operator holds it back."""
        return SCHEMES[self.publish_scheme]

    @property
    def database_file(self) -> Path:
        return self.data_folder / "node.db"

    @property
    def index_folder(self) -> Path:
        return self.data_folder / "index"

    @property
    def kept_index_folder(self) -> Path:
        """Segments that went out of use, for two days or until a digest was reviewed (docs/evidence.md)."""
        return self.data_folder / "index-kept"

    @property
    def kept_log_folder(self) -> Path:
        """The federation's log as far as this node has read it (docs/succession.md)."""
        return self.data_folder / "log-copy"

    def proxy_to(self, address: str) -> Proxy | None:
        """The proxy for connections to `address`; raises ConfigInvalid or StoreUnusable."""
        return proxy_for(address, self.proxy, self.proxy_credentials_file)

    def own_log_policy(self) -> Policy | None:
        """The policy of the file that `log_policy` names; None without one. Raises ConfigInvalid."""
        if self.log_policy is None:
            return None
        try:
            return parse_policy(self.log_policy.read_bytes())
        except OSError as error:
            raise ConfigInvalid(
                f"log_policy: {self.log_policy} cannot be read: {error.strerror}.", remedy="Check the path."
            ) from None
        except CandorError as error:
            raise ConfigInvalid(
                f"log_policy: {self.log_policy} is no policy of a log: {error.message}",
                remedy="docs/witness.md says what stands in it.",
            ) from None

    def database_key(self) -> bytes:
        """The raw key of the database: of the command, else of the service manager, else of the file.

        Raises ConfigInvalid or StoreUnusable. Never print it.
        """
        if not self.database_key_command:
            passed = credential(DATABASE_KEY)
            return key_octets(passed) if passed is not None else store.read_private(self.database_key_file)
        try:
            done = subprocess.run(  # noqa: S602 - the operator's own command, from the operator's own file
                self.database_key_command,
                shell=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=KEY_COMMAND_TIMEOUT_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired):
            raise ConfigInvalid(
                "database_key_command did not end in time or could not be started.",
                remedy="Run it by hand; it must print the key, 64 hexadecimal digits or 32 raw octets.",
            ) from None
        if done.returncode:
            raise ConfigInvalid(
                f"database_key_command ended with status {done.returncode}.",
                remedy="Run it by hand; it must print the key, 64 hexadecimal digits or 32 raw octets.",
            )
        return key_octets(done.stdout)


def _passed(check: Any, value: str) -> str:
    try:
        if value:
            check(value)
    except CandorError as error:
        raise ValueError(error.message) from None
    return value


def _parsed(kind: Any, value: str) -> str:
    try:
        return str(kind(value))
    except CandorError as error:
        raise ValueError(error.message) from None


# --- reading -------------------------------------------------------------------------------------------


def load_config(path: Path) -> NodeConfig:
    """The settings in `path` with the environment's over them; raises ConfigInvalid naming every error."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigInvalid(
            f"There is no settings file {path}.",
            remedy="Run `candor-node init --dir FOLDER --node ID`, or name the file with --config or "
            f"{CONFIG_VARIABLE}.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigInvalid(
            f"The settings file {path} cannot be read: {reason}.", remedy="Check path and permissions."
        ) from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}.", remedy="Correct that line.") from None
    folder = path.resolve().parent
    try:
        config = NodeConfig(**values)
        # Validated once more as absolute paths: a socket's length counts as it will be used.
        absolute = {name: folder / getattr(config, name) for name in _PATHS}
        for name in _OPTIONAL_PATHS:
            if (named := getattr(config, name)) is not None:
                absolute[name] = folder / named
        return NodeConfig.model_validate({**config.model_dump(), **absolute})
    except ValidationError as error:
        raise _invalid(path, [_sentence(item) for item in error.errors()]) from None
    except SettingsError as error:
        raise _invalid(path, [str(error)]) from None


def _sentence(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "file"
    variable = ENVIRONMENT_PREFIX + key.split(".")[0].upper()
    origin = f" (from {variable})" if variable in os.environ else ""
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such setting"
    if error["type"] == "missing":
        return f"{key}: is missing"
    return f"{key}{origin}: {error['msg'].removeprefix('Value error, ').rstrip('.')}"


def _invalid(path: Path, sentences: list[str]) -> ConfigInvalid:
    return ConfigInvalid(
        f"{path} holds {len(sentences)} wrong setting{'s' * (len(sentences) > 1)}: {'; '.join(sentences)}.",
        remedy="The node.toml that candor-node init writes lists every setting.",
    )
