"""Where a hub keeps what is no row: folders beside an embedded database, or the database of several replicas.

Whoever reads or writes files of the log gets them here, so that nothing else asks which database it is.
"""

from __future__ import annotations

from candor_hub.config import Config
from candor_hub.store import Store
from candor_hub.tlog.files import Disk, LogFiles
from candor_hub.tlog.rows import Begin, Rows


def log_files(
    config: Config, store: Store, *, write: Begin | None = None, disk: Disk | None = None
) -> LogFiles:
    """The files of the log; with several replicas `write` begins the transactions that write them."""
    if store.server is None:
        return LogFiles(config.log, disk)
    return LogFiles(Rows(store.read, write or store.write))
