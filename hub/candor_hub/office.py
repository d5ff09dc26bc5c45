"""What the operator's commands work with: settings, database, keys and directory, beside a hub that may run.

What is slow to import (the database) is imported where it is used.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from candor_certs.service_manager import work_as_owner

if TYPE_CHECKING:
    from candor_hub.config import Config


class Office:
    """Database, keys and directory, for a command that runs beside the hub."""

    def __init__(self, config: Config) -> None:
        from candor_hub.founding import open_directory, open_store

        self.config = config
        self.store = open_store(config)
        try:
            self.keys, self.directory = open_directory(config, self.store, now())
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> Office:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # the edge reads the clock


def settings_path(given: Path | None) -> Path:
    """Where the settings are: as given, else CANDOR_HUB_CONFIG, else ./hub.toml."""
    from candor_hub.config import config_path

    return config_path(given)


def read_config(given: Path | None) -> Config:
    """Raises ConfigInvalid."""
    from candor_hub.config import load_config

    return load_config(settings_path(given))


def load(given: Path | None) -> Config:
    """The settings; whoever is root works as the hub's user from here on. Raises ConfigInvalid."""
    config = read_config(given)
    work_as_owner(config.data)
    return config
