"""New databases of a node, copied from what this process made once: tables take longer to make than most
tests do.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from candor_node.driver import Migrations
from candor_node.founding import MIGRATIONS
from candor_node.store import Store


def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="candor-empty-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def _template(key: bytes, migrations: tuple[Migrations, ...]) -> Path:
    path = _folder() / "node.db"
    Store.create(path, key, migrations).close()
    return path


def empty_store(path: Path, key: bytes, migrations: Sequence[Migrations] = MIGRATIONS) -> Store:
    """What `Store.create` gives, for whom how it comes about does not matter. Raises FileExistsError."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    shutil.copyfile(_template(key, tuple(migrations)), path)
    return Store.open(path, key, migrations)
