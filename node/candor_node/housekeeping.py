"""What a node looks after once a minute, for as long as it runs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from candor_node import approvals, due_process, epochs, forgetting, mail_store

if TYPE_CHECKING:
    from candor_node.app import Node

HOUSEKEEPING_SECONDS = 60.0


async def keep_house(node: Node) -> None:
    """For ever; raises StoreUnusable."""
    while True:
        now = node.clock.now()
        node.look_at_inbox()
        await node.searcher.send_unsent()
        await node.gatherer.show_forgotten()
        await node.gatherer.look_again()
        await node.batches.landing.look_again()
        await node.gatherer.expire()
        await node.batches.landing.expire()
        await node.requester.expire()
        await node.owner.expire()
        await node.store.run(partial(mail_store.forget_old, now=now))
        await node.store.run(partial(approvals.expire, now=now))
        days = node.config.result_days
        while await node.store.run(partial(forgetting.forget_results, now=now, days=days)):
            pass
        # Time opens and closes gates, and ends what was kept long enough.
        await node.store.run(lambda db, now=now: due_process.refresh(db, now, node.policy(db)))  # type: ignore[misc]
        # §5.2: a seed ends with its grace, not with the next publication.
        await node.store.run(partial(epochs.destroy_expired, now=now))
        await node.accountant.keep_house()
        await node.backups.tidy()
        await node.sharing.load()
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
