"""Where a hub keeps what is no row: folders beside an embedded database, or the database of several replicas.

Whoever reads or writes files of the log, or keys, gets them here: nothing else asks which database it is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from candor_certs.service_manager import DATABASE_KEY, credential, key_octets
from candor_certs.store import read_private
from candor_hub.config import Config
from candor_hub.segment_bucket import SegmentBucket
from candor_hub.segment_files import SegmentFiles, SegmentFolder, SegmentRows
from candor_hub.store import Store
from candor_hub.store.sessions import SequencerLock
from candor_hub.tlog.files import Disk, Lock, LogFiles
from candor_hub.tlog.rows import Begin, Rows
from candor_hub.vault import FolderVault, SealedVault, Vault


def database_key(config: Config) -> bytes:
    """The raw key of the database: as the service manager passes it, else from its file. Never print it.

    Raises StoreUnusable.
    """
    passed = credential(DATABASE_KEY)
    return key_octets(passed) if passed is not None else read_private(config.keys / DATABASE_KEY)


def log_files(
    config: Config, store: Store, *, write: Begin | None = None, disk: Disk | None = None
) -> LogFiles:
    """The files of the log; with several replicas `write` begins the transactions that write them."""
    return log_files_in(config.log, store, write=write, disk=disk)


def log_files_in(
    folder: Path, store: Store, *, write: Begin | None = None, disk: Disk | None = None
) -> LogFiles:
    """As `log_files`; `folder` is that of an embedded hub."""
    if store.server is None:
        return LogFiles(folder, disk)
    return LogFiles(Rows(store.read, write or store.write))


def log_lock(config: Config, store: Store) -> Lock | SequencerLock:
    """What whoever writes the log holds: while a command has it, no hub appends. Its `take` raises
    StoreUnusable when a hub has it.
    """
    return Lock(config.log) if store.server is None else SequencerLock(store.server)


def segment_files(config: Config, store: Store) -> SegmentFiles:
    """The octets of segments; raises ConfigInvalid."""
    if config.segments_url:
        return SegmentBucket.open(config.segments_url, _now)
    return SegmentFolder(config.segments) if store.server is None else SegmentRows(store, _now)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # when something was stored; no rule is judged by it


def vault(config: Config, store: Store) -> Vault:
    """The hub's keys; raises StoreUnusable."""
    return vault_in(config.keys, store, None if store.server is None else database_key(config))


def vault_in(folder: Path, store: Store, key: bytes | None) -> Vault:
    """As `vault`; `folder` is that of an embedded hub, `key` what seals the keys of another."""
    if store.server is None or key is None:
        return FolderVault(folder)
    return SealedVault(store, key, _now)
