"""What a node rests on before anything of it runs: its tables, its keys, its folders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from candor_certs.store import read_private
from candor_node.accountability.migrations import accountability_migrations
from candor_node.config import NodeConfig
from candor_node.desk_migrations import desk_migrations
from candor_node.exchange_migrations import exchange_migrations
from candor_node.office_migrations import office_migrations
from candor_node.packs import packs_migrations
from candor_node.profile_store import import_migrations
from candor_node.rollback_migrations import rollback_migrations
from candor_node.store import ALL_MIGRATIONS, Store
from candor_proto.errors import ConfigInvalid, StoreUnusable
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SigningKey

# The desk's come last: they watch tables of all others.
MIGRATIONS = (
    *ALL_MIGRATIONS,
    exchange_migrations,
    office_migrations,
    packs_migrations,
    import_migrations,
    accountability_migrations,
    rollback_migrations,
    desk_migrations,
)


def open_store(config: NodeConfig) -> Store:
    """The node's database; raises StoreUnusable or ConfigInvalid."""
    return Store.open(config.database_file, config.database_key(), MIGRATIONS)


@dataclass(frozen=True)
class Keys:
    """The node's long-lived keys."""

    signing: SigningKey
    disclosure: DisclosureKey

    @classmethod
    def load(cls, config: NodeConfig) -> Keys:
        """Raises StoreUnusable or MalformedMessage."""
        return cls(
            SigningKey(read_private(config.signing_key_file)),
            DisclosureKey(read_private(config.disclosure_key_file)),
        )


def make_folder(path: Path) -> None:
    """A folder that only this user may enter; raises StoreUnusable or ConfigInvalid."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise StoreUnusable(
            f"The folder {path} cannot be made: {error.strerror}.", remedy="Check the disk and its owner."
        ) from None
    if status.st_mode & 0o077 or status.st_uid != os.geteuid():
        raise ConfigInvalid(
            f"The folder {path} may be opened by others than the user that runs candor-node.",
            remedy=f"Run: chmod 700 {path}",
        )
