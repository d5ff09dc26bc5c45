"""Makes a hub: authority, keys, database, configuration. Nothing else creates any of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from candor_certs.authority import create_issuing, create_root
from candor_certs.folders import load_issuing, save_issuing, save_root
from candor_certs.invitation import check_address
from candor_certs.service_manager import new_database_key
from candor_certs.store import (
    make_private_folder,
    refuse_existing,
    write_new_private,
)
from candor_hub import keys
from candor_hub.authorities import adopt
from candor_hub.config import (
    DEFAULT_FILE,
    Config,
    check_database_url,
    check_listen_address,
    default_log_address,
    load_config,
    passed_database,
    password_in,
)
from candor_hub.directory import DirectoryKeeper
from candor_hub.places import database_key, vault, vault_in
from candor_hub.store import Store
from candor_hub.tlog.due import open_first
from candor_hub.tlog.ring import KeyRing
from candor_proto.errors import InputInvalid
from candor_proto.ids import FederationName


@dataclass(frozen=True)
class Wishes:
    """What the operator says at `candor-hub init`; `issuing` is the folder of an existing authority."""

    federation: FederationName
    address: str
    enrolment_address: str
    public_address: str = ""
    public_enrolment_address: str = ""
    issuing: Path | None = None
    new_member_wait_hours: float = 24
    nodes: int = 1_000
    log_address: str = ""
    database_url: str = ""
    database_password_file: Path | None = None


# What a new hub's log begins with: called with its folder, keys and database.
Begin = Callable[[Path, keys.HubKeys, Store], None]


def found(folder: Path, wishes: Wishes, now: datetime, begin: Begin | None = None) -> Config:
    """Make everything in `folder`; the configuration that was written. `begin` begins the log, if not anew.

    Raises AlreadyExists, StoreUnusable, InputInvalid, MalformedMessage or CertificateRefused.
    """
    log_address = wishes.log_address or default_log_address(wishes.enrolment_address)
    for address in (wishes.address, wishes.enrolment_address, log_address):
        check_listen_address(address)
    if wishes.database_url:
        check_database_url(wishes.database_url)
    for address in filter(None, (wishes.public_address, wishes.public_enrolment_address)):
        check_address(address)
    if wishes.database_url and passed_database(folder / DEFAULT_FILE)[0]:
        raise InputInvalid(
            "The service manager passes the credential database.url, which stands above what is named here.",
            remedy="Leave --database-url out, or do not pass the credential.",
        )
    make_private_folder(folder)
    file = folder / DEFAULT_FILE
    refuse_existing(file, folder / "hub.db", folder / "keys")
    issuing = wishes.issuing.resolve() if wishes.issuing else folder / "authority/issuing"
    if wishes.issuing is None:
        make_private_folder(folder / "authority")
        root = create_root(wishes.federation, now)
        save_root(root, folder / "authority/root")
        save_issuing(create_issuing(root, wishes.federation, now), issuing)
    authority = load_issuing(issuing)
    if authority.federation != wishes.federation:
        raise InputInvalid(
            f"The issuing authority in {issuing} is that of {authority.federation}.",
            remedy="Name its federation, or another folder.",
        )
    key_folder = folder / "keys"
    make_private_folder(key_folder)
    make_private_folder(folder / "segments")
    key, passed = new_database_key()
    if not passed:
        write_new_private(key_folder / keys.DATABASE_KEY, key)
    keys.issue_tls(key_folder, authority, now)
    text = _settings(wishes, issuing if wishes.issuing else None)
    _create_database(folder, issuing, wishes, begin or _begin_anew(wishes.federation, now), now, key)
    # The file comes last: while it is missing, the hub is not there yet and `init` says what is in the way.
    write_new_private(file, text.encode())
    return load_config(file)


def _begin_anew(federation: FederationName, now: datetime) -> Begin:
    def begin(folder: Path, held: keys.HubKeys, store: Store) -> None:
        log_keys = KeyRing(held.vault, federation).make(1)
        with store.write() as tx:
            open_first(tx, federation, log_keys.verifier_keys, now)

    return begin


def _create_database(
    folder: Path, issuing: Path, wishes: Wishes, begin: Begin, now: datetime, key: bytes
) -> None:
    key_folder, file = folder / "keys", wishes.database_password_file
    passed, password = passed_database(folder / DEFAULT_FILE)
    url = wishes.database_url or passed or f"sqlite:///{folder / 'hub.db'}"
    # What an interrupted `init` has left goes; what a move has is another hub's, which may be on its way.
    store = Store.begin(
        url, key, password=lambda: password or None if file is None else password_in(file), again=False
    )
    try:
        held, authority = vault_in(key_folder, store, key), load_issuing(issuing)
        with store.write() as tx:
            adopt(tx, held, authority, now)
        keys.make_directory_key(held, authority, now)
        begin(folder, keys.load_keys(key_folder, held, issuing, wishes.federation), store)
        store.finish(str(wishes.federation))
    finally:
        store.close()
    if not wishes.database_url and not passed:
        (folder / "hub.db").chmod(0o600)


def open_store(config: Config, *, upgrade: bool = False) -> Store:
    """The hub's database; raises StoreUnusable."""
    return Store.open(
        config.database,
        database_key(config),
        str(config.federation),
        upgrade=upgrade,
        password=config.database_password,
    )


def open_keys(config: Config, store: Store, now: datetime | None = None) -> keys.HubKeys:
    """With `now` this process's own TLS key is made if there is none.

    Raises StoreUnusable, InputInvalid, CertificateRefused or ConfigInvalid.
    """
    with store.read() as tx:
        in_use = tx.authorities.newest()
    held = vault(config, store)
    return keys.load_keys(config.keys, held, config.issuing, config.federation, in_use, now)


def open_directory(config: Config, store: Store, now: datetime) -> tuple[keys.HubKeys, DirectoryKeeper]:
    """Keys as they are on the disk, and the directory; for commands that run beside the hub."""
    held = open_keys(config, store, now)
    keeper = DirectoryKeeper(store, lambda: held)
    keeper.publish_if_certified_anew(now)
    return held, keeper


def _settings(wishes: Wishes, issuing: Path | None) -> str:
    lines = [
        "# The hub's settings; `candor-hub run --help` explains them.",
        f'federation = "{wishes.federation}"',
        f'address = "{wishes.address}"',
        f'enrolment_address = "{wishes.enrolment_address}"',
        f'log_address = "{wishes.log_address or default_log_address(wishes.enrolment_address)}"',
    ]
    if wishes.public_address:
        lines.append(f'public_address = "{wishes.public_address}"')
    if wishes.public_enrolment_address:
        lines.append(f'public_enrolment_address = "{wishes.public_enrolment_address}"')
    if issuing is not None:
        lines.append(f"issuing = {_toml_text(str(issuing))}")
    if wishes.database_url:
        lines.append(f"database_url = {_toml_text(wishes.database_url)}")
    if wishes.database_password_file is not None:
        password_file = wishes.database_password_file.resolve()
        lines.append(f"database_password_file = {_toml_text(str(password_file))}")
    lines += [f"new_member_wait_hours = {wishes.new_member_wait_hours:g}", f"nodes = {wishes.nodes}"]
    return "\n".join(lines) + "\n"


def _toml_text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
