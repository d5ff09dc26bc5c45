"""A node's whole database with records filed the way a clerk files them."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path

from candor_node import lifecycle
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.store import Store
from candor_records.policy import NoPack, Policy
from candor_records.records import Record
from tests.empty import empty_store
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, STORE_KEY, make_content


def desk_store(folder: Path) -> Store:
    """A new database with all tables of a node."""
    return empty_store(folder / "node.db", STORE_KEY)


def doing(
    now: datetime = NOW,
    by: str = CONTRIBUTOR,
    policy: Policy | None = None,
    reason: str = "",
    second: str = "",
) -> Doing:
    return Doing(now, by, policy or NoPack(), reason, second)


def filed(store: Store, how: Doing | None = None, /, **overrides: str) -> Record:
    """File `make_row(**overrides)` and return the record as it stands then."""
    content = make_content(**overrides)
    event: LifeEvent = store.run_sync(
        partial(lifecycle.file, content=content, ori=ORI, node=NODE, doing=how or doing())
    )
    return event.after
