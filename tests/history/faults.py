"""The faults that can be found, and what is searched for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from tests.history.holdings import Envelope, HubHolding, NodeHolding
from tests.history.log import Operation

HOUR = 3_600_000
DAY = 24 * HOUR
MONTH = 30 * DAY
# As candor_proto.statements, candor_wire.codec and candor_proto.result write them: said a second time here,
# so that the checker does not share a mistake with what it checks.
LOOKUP, ANSWER, REQUEST, RESPONSE = 1, 2, 3, 4
EVALUATED, STALE_EPOCH = 1, 4


class Name(Enum):
    """What can be wrong."""

    DAMAGED = "damaged database"
    BROKEN_LEDGER = "broken ledger"
    FALSE_ACKNOWLEDGEMENT = "false acknowledgement"
    REFUSED_BUT_DONE = "refused but done"
    DONE_TWICE = "done twice"
    HALF_DONE = "half done"
    LOST = "lost"
    ASKED_TWICE = "asked twice"
    ANSWERED_TWICE = "answered twice"
    ANSWER_WITHOUT_DECISION = "answer without decision"
    PROCESSED_TWICE = "processed twice"
    CHARGED_WRONGLY = "charged wrongly"
    QUOTA_EXCEEDED = "quota exceeded"
    FALSE_NO_RECORD = "false no record"
    RESULT_BEHIND = "result behind"
    HEAD_BEHIND = "head behind"
    NOT_FORGOTTEN = "not forgotten"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Fault:
    name: Name
    party: str
    what: str

    def __str__(self) -> str:
        return f"{self.name.value} at {self.party}: {self.what}"


@dataclass(frozen=True)
class World:
    operations: Sequence[Operation]
    nodes: Mapping[str, NodeHolding]
    hub: HubHolding
    now: int

    @cached_property
    def _accepted(self) -> Mapping[tuple[str, int, str], tuple[Envelope, ...]]:
        found: dict[tuple[str, int, str], tuple[Envelope, ...]] = {}
        for each in self.hub.envelopes:
            key = (each.sender, each.kind, each.envelope_id)
            found[key] = (*found.get(key, ()), each)
        return found

    def accepted(self, sender: str, kind: int, envelope_id: str, recipient: str = "") -> Envelope | None:
        """What the hub took from `sender` under this id, for `recipient` if one is named."""
        for each in self._accepted.get((sender, kind, envelope_id), ()):
            if not recipient or recipient in each.recipients:
                return each
        return None

    def forgets(self) -> bool:
        """Whether the history is long enough for ids to have been forgotten (30 days)."""
        began = min((each.at for node in self.nodes.values() for each in node.entries), default=self.now)
        return self.now - began > MONTH
