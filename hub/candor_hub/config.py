"""The hub's settings: one file, `hub.toml`, in which every mistake is reported at once.

Rules of this file:
- unknown keys are refused: a misspelt limit must not silently be the default;
- an environment variable `CANDOR_HUB_<KEY>` stands above the file (`CANDOR_HUB_QUOTA__TOTAL` for a key of a
  table), so that a container needs no file of its own;
- paths are relative to the folder of the file;
- secrets are in files of their own, never here: a `database_url` with a password comes as the credential
  `database.url` of the service manager, which stands above file and environment.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from candor_certs.invitation import check_address
from candor_certs.names import hub_dns_name
from candor_certs.service_manager import DATABASE_URL, credential
from candor_certs.store import read_private
from candor_proto.budget import Quota
from candor_proto.errors import CandorError, ConfigInvalid
from candor_proto.ids import FederationName
from candor_watch.addresses import OFF, check_metrics_address, check_traces_endpoint

CONFIG_VARIABLE = "CANDOR_HUB_CONFIG"
ENV_PREFIX = "CANDOR_HUB_"
DEFAULT_FILE = Path("hub.toml")
_MAX_FILE_OCTETS = 1 << 20
# What members are told of their quota has 32 bits.
_MAX_COUNT = (1 << 32) - 1


@dataclass(frozen=True)
class Config:
    """Everything that a hub is told; addresses are host:port, port 0 means any free one."""

    federation: FederationName
    address: str
    enrolment_address: str
    data: Path
    issuing: Path
    log_address: str = "127.0.0.1:0"
    log_certificate: Path | None = None
    log_key: Path | None = None
    public_address: str = ""
    public_enrolment_address: str = ""
    database_url: str = ""
    database_password_file: Path | None = None
    segments_url: str = ""
    secret_password: str = field(default="", repr=False)
    quota: Quota = field(default_factory=Quota)
    new_member_wait: timedelta = timedelta(hours=24)
    nodes: int = 1_000
    guard: bool = True
    balancers: tuple[str, ...] = ()
    # Without a folder nothing is backed up but by command.
    backup_folder: Path | None = None
    backup_interval: timedelta = timedelta(minutes=5)
    backup_keep: int = 12
    # Empty: nothing listens there.
    metrics_address: str = ""
    # Whether somebody asked for that very address: then it must be had.
    metrics_wanted: bool = True
    metrics_allow_remote: bool = False
    log_level: str = "info"
    # Empty: nothing is traced.
    traces_endpoint: str = ""

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data / 'hub.db'}"

    @property
    def embedded(self) -> bool:
        """Whether the database is a file that this one process has for itself."""
        return self.database.startswith("sqlite")

    def database_password(self) -> str | None:
        """The password at the database's server: from its file, else as the service manager passes it.

        A file is read for each session anew, so that it can be changed. Raises StoreUnusable.
        """
        if self.database_password_file is not None:
            return password_in(self.database_password_file)
        return self.secret_password or None

    @property
    def keys(self) -> Path:
        return self.data / "keys"

    @property
    def segments(self) -> Path:
        return self.data / "segments"

    @property
    def log(self) -> Path:
        return self.data / "log"


def password_in(file: Path) -> str:
    """The password in a file that nobody else can read; raises StoreUnusable."""
    return read_private(file).decode("utf-8", "replace").rstrip("\r\n")


def default_log_address(enrolment_address: str) -> str:
    """Beside the enrolment port: the next one."""
    host, _, port = enrolment_address.rpartition(":")
    return f"{host}:{int(port) + 1 if 0 < int(port) < 65_535 else 0}"


def default_metrics_address(log_address: str) -> str:
    """On this machine alone, at the port after the log's."""
    port = int(log_address.rpartition(":")[2])
    return f"127.0.0.1:{port + 1 if 0 < port < 65_535 else 0}"


def config_path(given: Path | None) -> Path:
    """Where the settings are: as given, else CANDOR_HUB_CONFIG, else ./hub.toml."""
    return given or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)


def load_config(path: Path) -> Config:
    """Read and check the file and the environment; raises ConfigInvalid naming every wrong key."""
    values = _read(path)
    try:
        settings = _Settings(**values)
    except ValidationError as error:
        lines = [_line(path, detail) for detail in error.errors(include_url=False)]
        raise ConfigInvalid(
            "\n".join(lines), remedy="`candor-hub run --help` lists every setting; correct the file."
        ) from None
    if bool(settings.log_certificate) != bool(settings.log_key):
        raise ConfigInvalid(
            f"{path}: log_certificate and log_key: one of the two is missing.",
            remedy="Name both, or neither: the log then shows the hub's own certificate.",
        )
    folder = path.parent
    log_address = settings.log_address or default_log_address(settings.enrolment_address)
    metrics_address = settings.metrics_address or default_metrics_address(log_address)
    if metrics_address == OFF:
        metrics_address = ""
    else:
        check_metrics_address(metrics_address, allow_remote=settings.metrics_allow_remote)
    secret_url, secret_password = passed_database(path)
    return Config(
        federation=FederationName(settings.federation),
        address=settings.address,
        enrolment_address=settings.enrolment_address,
        data=folder / settings.data,
        issuing=folder / settings.issuing,
        log_address=log_address,
        log_certificate=folder / settings.log_certificate if settings.log_certificate else None,
        log_key=folder / settings.log_key if settings.log_key else None,
        backup_folder=folder / settings.backup_folder if settings.backup_folder else None,
        backup_interval=timedelta(minutes=settings.backup_interval_minutes),
        backup_keep=settings.backup_keep,
        public_address=settings.public_address or settings.address,
        public_enrolment_address=settings.public_enrolment_address or settings.enrolment_address,
        database_url=secret_url or settings.database_url,
        database_password_file=(
            folder / settings.database_password_file if settings.database_password_file else None
        ),
        segments_url=settings.segments_url,
        secret_password=secret_password,
        quota=Quota(**settings.quota.model_dump()),
        new_member_wait=timedelta(hours=settings.new_member_wait_hours),
        nodes=settings.nodes,
        guard=settings.guard,
        balancers=tuple(settings.balancers),
        metrics_address=metrics_address,
        metrics_wanted=bool(settings.metrics_address),
        metrics_allow_remote=settings.metrics_allow_remote,
        log_level=settings.log_level,
        traces_endpoint=settings.traces_endpoint,
    )


def passed_database(path: Path) -> tuple[str, str]:
    """The database's URL as the service manager passes it, and the password that is in it; empty if none is.

    Raises ConfigInvalid or StoreUnusable.
    """
    passed = credential(DATABASE_URL)
    if passed is None:
        return "", ""
    try:
        parts = urlsplit(passed.decode("ascii").strip())
        people, at, hosts = parts.netloc.rpartition("@")
        user, _, password = people.partition(":")
        url = urlunsplit(parts._replace(netloc=f"{user}{at}{hosts}"))
        check_database_url(url)
    except (ValueError, ConfigInvalid):
        raise ConfigInvalid(
            f"{path}: the credential {DATABASE_URL} is no database URL.",
            remedy="It holds one line, such as postgresql://candor:password@db.example.org/candor.",
        ) from None
    return url, unquote(password)


def check_listen_address(address: str) -> str:
    """An address to listen on; raises MalformedMessage. Unlike a public one it may have the port 0."""
    host, colon, port = address.rpartition(":")
    check_address(f"{host}:1" if colon and port == "0" else address)
    return address


def _checked(check: Any) -> AfterValidator:
    def validate(value: str) -> str:
        try:
            if value:
                check(value)
        except CandorError as error:
            raise ValueError(error.message) from None
        return value

    return AfterValidator(validate)


def _check_federation(value: str) -> None:
    hub_dns_name(FederationName(value))


def _check_metrics(value: str) -> None:
    if value != OFF:
        check_listen_address(value)


def check_database_url(value: str) -> None:
    if "://" not in value:
        raise ConfigInvalid("this is no database URL, such as postgresql://candor@db.example.org/candor.")
    if _holds_password(value):
        # The value is in no message: whoever asks for help would show it.
        raise ConfigInvalid("a password has no place in a URL; name a file in `database_password_file`.")


def _holds_password(url: str) -> bool:
    """Whether libpq would find one, before or behind the host."""
    parts = urlsplit(url)
    people = parts.netloc.rpartition("@")[0]
    return ":" in people or any("password" in name for name, _ in parse_qsl(parts.query))


def _check_network(value: str) -> None:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ConfigInvalid("this is neither an IP address nor a network such as 10.0.0.0/8.") from None


_Network = Annotated[str, _checked(_check_network)]
_Listen = Annotated[str, Field(min_length=1), _checked(check_listen_address)]
_OptionalListen = Annotated[str, _checked(check_listen_address)]
_Public = Annotated[str, _checked(check_address)]
_Metrics = Annotated[str, _checked(_check_metrics)]
_Traces = Annotated[str, _checked(check_traces_endpoint)]
_Federation = Annotated[str, Field(min_length=1), _checked(_check_federation)]


class _Quota(BaseModel):
    """`[quota]`: elements per asker in 30 days; `day_share` of it (a fraction's denominator) in a day."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    total: int = Field(default=Quota.total, ge=1, le=_MAX_COUNT)
    weak: int = Field(default=Quota.weak, ge=1, le=_MAX_COUNT)
    match: int = Field(default=Quota.match, ge=1, le=_MAX_COUNT)
    code: int = Field(default=Quota.code, ge=1, le=_MAX_COUNT)
    day_share: int = Field(default=Quota.day_share, ge=1)


class _Settings(BaseSettings):
    """The keys of the file. Their meaning stands in `SETTINGS`."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__"
    )

    federation: _Federation
    address: _Listen
    enrolment_address: _Listen
    public_address: _Public = ""
    public_enrolment_address: _Public = ""
    data: Path = Path()
    issuing: Path = Path("authority/issuing")
    log_address: _OptionalListen = ""
    log_certificate: Path | None = None
    log_key: Path | None = None
    backup_folder: Path | None = None
    backup_interval_minutes: float = Field(default=5, ge=0.05, le=24 * 60)
    backup_keep: int = Field(default=12, ge=1, le=10_000)
    database_url: Annotated[str, _checked(check_database_url)] = ""
    database_password_file: Path | None = None
    segments_url: Annotated[str, Field(pattern="^$|^s3://[^?@]+$")] = ""
    new_member_wait_hours: float = Field(default=24, ge=0, le=24 * 365)
    nodes: int = Field(default=1_000, ge=1, le=2_000)
    metrics_address: _Metrics = ""
    metrics_allow_remote: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    traces_endpoint: _Traces = ""
    guard: bool = True
    balancers: list[_Network] = Field(default_factory=list, max_length=100)
    quota: _Quota = _Quota()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


SETTINGS = {
    "federation": "name of the federation; cannot be changed",
    "address": "where members connect, host:port",
    "enrolment_address": "where new members enrol, host:port",
    "public_address": "what members are told to dial; default: address",
    "public_enrolment_address": "what invitations say; default: enrolment_address",
    "data": "folder of database, keys, segments and log; default: the file's folder",
    "issuing": "folder of the issuing authority; default: authority/issuing",
    "log_address": "where anybody reads the log, over HTTPS; default: the port after the enrolment port",
    "backup_folder": "where backups go while the hub runs; default: none are made (embedded database only)",
    "backup_interval_minutes": "how often; default: 5",
    "backup_keep": "how many databases are kept there; default: 12",
    "log_certificate": "PEM file with another certificate for it; default: the hub's own",
    "log_key": "PEM file with the key of that certificate",
    "database_url": "postgresql://user@host:5432/name; default: an encrypted SQLite file in the data folder",
    "database_password_file": "file with the password of that user, if it has one",
    "segments_url": "s3://bucket/prefix for index segments; default: with the database",
    "new_member_wait_hours": "how long a new member's lookups are not answered; default: 24",
    "nodes": "members to expect, 1-2000; limits connections; default: 1000",
    "metrics_address": "where metrics and health are read, or off; default: here, port after the log's",
    "metrics_allow_remote": "whether that may be an address that other machines reach; default: false",
    "log_level": "debug, info, warning or error; default: info",
    "traces_endpoint": "OTLP collector for traces, http(s)://host:port; needs the extra otel; default: none",
    "guard": "a process of its own takes connections and bounds floods; default: true",
    "balancers": "addresses or networks of TCP balancers: many come from there, and no limit of one holds",
    "quota": "table of element limits per asker: total, weak, match, code in 30 days; day_share",
}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_OCTETS)
        return tomllib.loads(text.decode("utf-8"))
    except FileNotFoundError:
        raise ConfigInvalid(
            f"There is no configuration at {path}.",
            remedy=f"Name it with --config or {CONFIG_VARIABLE}, or make one: `candor-hub init`.",
        ) from None
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}.", remedy="Correct the file.") from None


def _line(path: Path, detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    variable = ENV_PREFIX + "__".join(str(part) for part in detail["loc"]).upper()
    source = f"environment variable {variable}" if variable in os.environ else f"{path}: {key}"
    match detail["type"]:
        case "extra_forbidden":
            return f"{source}: there is no such setting."
        case "missing":
            return f"{source}: this setting is missing."
        case _:
            return f"{source}: {detail['msg'].removeprefix('Value error, ')}"
