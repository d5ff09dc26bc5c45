"""A hub that was restored signs nothing until its witnesses have said that they know nothing newer.

What it had signed since the backup is in nobody's hands here. Signed again from the older state, in another
way, it would be evidence against this hub for ever (docs/log.md, section 7). A quorum of witnesses that signs
the present head once more, after the restore, holds no larger one, and any quorum shares a witness with it:
so no witnessed head is larger.
"""

from __future__ import annotations

from datetime import datetime

from candor_hub.store import Transaction
from candor_proto.canonical import from_milliseconds, to_milliseconds

_FACT = "restored"
WAITS = (
    "This hub was restored from a backup. It signs nothing until a quorum of its witnesses has signed the "
    "head that it has; if they know a larger one, that state is lost here: restore a newer backup, or see "
    "docs/succession.md."
)


def begin(tx: Transaction, now: datetime) -> None:
    """From now on the log waits for its witnesses."""
    tx.log.set_fact(_FACT, str(to_milliseconds(now)))


def since(tx: Transaction) -> datetime | None:
    """When the hub was restored, while the log waits for its witnesses."""
    text = tx.log.fact(_FACT)
    return from_milliseconds(int(text)) if text else None


def may_sign(tx: Transaction) -> bool:
    """Whether the log may go on: it was never restored, or its present head was witnessed since.

    In a writing transaction, which forgets the restore once that is so.
    """
    at = since(tx)
    if at is None:
        return True
    shard = tx.log.newest_shard()
    heads = shard is not None and shard.size > 0
    if heads and shard is not None and not (shard.witnessed_size == shard.size and shard.witnessed_at > at):
        return False
    tx.log.set_fact(_FACT, "")
    return True
