"""Hints to the other replicas, sent with the transaction that is their reason (docs/replicas.md, section 6).

They are hints: one that gets lost costs a second, for every replica looks by itself once in each. The
embedded database has no other replica, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from candor_hub.driver import Connection, sa
from candor_hub.tables import attachments
from candor_proto.ids import NodeId

# Above so many recipients it is cheaper to tell every replica than to find out which.
_FEW = 64


class Channel(StrEnum):
    """What a notification is about."""

    DIRECTORY = "candor_directory"
    LOG = "candor_log"
    ATTACHED = "candor_attached"


# What `Channel.LOG` is sent with: something waits to be appended; a round began; a head is witnessed.
WAITS, ROUND, WITNESSED = "waits", "round", "witnessed"


def mail_channel(replica: str) -> str:
    """The channel on which `replica` hears of mail for the nodes that are attached to it."""
    return f"candor_r_{replica}"


class Notices:
    """Tells other replicas, once this transaction is committed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard = connection.dialect.name == "postgresql"

    def mail(self, nodes: Collection[NodeId]) -> None:
        """There is mail for these."""
        if not self._heard or not nodes:
            return
        query = sa.select(attachments.c.replica).where(attachments.c.replica != "").distinct()
        if len(nodes) <= _FEW:
            query = query.where(attachments.c.node.in_([str(node) for node in nodes]))
        for replica in self._connection.execute(query).scalars().all():
            self._notify(mail_channel(replica))

    def directory(self) -> None:
        """There is a new version of the directory; certificates may be denied."""
        self._notify(Channel.DIRECTORY)

    def log_waits(self) -> None:
        """Something waits to be appended that members wait for."""
        self._notify(Channel.LOG, WAITS)

    def round_began(self) -> None:
        """There is another head to be witnessed."""
        self._notify(Channel.LOG, ROUND)

    def witnessed(self) -> None:
        """A head has its quorum."""
        self._notify(Channel.LOG, WITNESSED)

    def attached(self) -> None:
        """Nodes have attached; the older streams end."""
        self._notify(Channel.ATTACHED)

    def _notify(self, channel: str, payload: str = "") -> None:
        if self._heard:
            self._connection.execute(sa.select(sa.func.pg_notify(str(channel), payload)))
