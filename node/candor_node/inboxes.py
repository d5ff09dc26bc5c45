"""One worker for each kind of message that is delivered: what processes it, and when it can be judged at
all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candor_node.inbox import Inbox
from candor_wire.codec import MessageKind

if TYPE_CHECKING:
    from candor_node.app import Node

# What gives something away: not judged either while the database went back (docs/backup.md, "Going back").
SHARING = frozenset({MessageKind.LOOKUP, MessageKind.DISCLOSURE_REQUEST})


def inboxes(node: Node) -> dict[MessageKind, Inbox]:
    """Those of a node that is put together."""
    processes = {
        MessageKind.LOOKUP: node.answerer.process,
        MessageKind.ANSWER: node.answers.process,
        MessageKind.DISCLOSURE_REQUEST: node.owner.process,
        MessageKind.DISCLOSURE_RESPONSE: node.requester.process,
        MessageKind.RECALL_NOTICE: node.recall_recipient.process,
        MessageKind.RECALL_ACK: node.recaller.process,
    }
    together = {MessageKind.ANSWER: node.answers.process_together}
    own, clock = node.config.node_id, node.clock

    def may_share() -> bool:
        return node.sharing.is_open() and node.may_judge()

    return {
        kind: Inbox(
            kind,
            node.store,
            own,
            clock,
            process,
            may_share if kind in SHARING else node.may_judge,
            together.get(kind),
        )
        for kind, process in processes.items()
    }
