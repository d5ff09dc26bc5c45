"""Which members misbehave, and until when each is held off (docs/limits.md, ADR 0045).

Whoever is refused again and again costs the hub as much as who is served. Refusals that no program of
Candor's earns weigh something; a member that earns more than MOST in a minute is held off: its calls are
refused, its stream ends with the reason, and the guard reads nothing of its connections until the time is
over.

Rules of this file:
- a member is held off by the identity of his certificate, so never a neighbour behind the same address;
- what an honest member may earn by the thousand weighs nothing: a spent quota, an expired queue, an answer to
  what was forgotten, a file that is not there, a hub that could not be reached. Those cost turns (`pace`);
- the time ends by itself, and is longer each time as long as the last one is not forgotten;
- of this process alone: with n replicas a member may earn n times as much. The event loop owns it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from candor_proto import errors
from candor_proto.errors import LimitExceeded
from candor_proto.ids import NodeId

log = structlog.get_logger(__name__)

# What a refusal weighs, by code: unreadable messages, and names of others, most.
WEIGHTS: Mapping[str, float] = {
    errors.MalformedMessage.code: 4,
    errors.NotCanonical.code: 4,
    errors.InvalidElement.code: 4,
    errors.InvalidScalar.code: 4,
    errors.IdentityMismatch.code: 4,
    errors.SignatureInvalid.code: 2,
    errors.ProofInvalid.code: 2,
    errors.ConflictingResubmission.code: 1,
}
# A call given up sooner than any deadline of a node's; a stream taken away by the same member's next one; a
# method that this hub does not have, as a newer program may try once in a while.
GIVEN_UP, REPLACED, UNKNOWN_METHOD = "given_up", "replaced", "unknown_method"
GIVEN_UP_WEIGHT, REPLACED_WEIGHT, UNKNOWN_METHOD_WEIGHT = 1.0, 3.0, 1.0
GIVEN_UP_SECONDS = 1.0
# A stream that was held for longer than this was not opened to be replaced.
REPLACED_SECONDS = 5.0

# So much in a minute, evenly or at once, is what an honest member never comes near. It earns nothing on a
# sound line. On one that breaks each time it is up, as often as the hub takes streams (14 in a minute), each
# break may cost it a stream that is replaced and the four calls beside it, all of them young: 98. Who attacks
# has hundreds in a second.
MOST = 150.0
FORGIVEN_A_SECOND = MOST / 60.0
# On one connection before anybody was admitted on it.
FIRST_CALL_MOST = 12.0
# How long, doubled each time; forgotten so long after the last one ended.
HELD_SECONDS, LONGEST_SECONDS, FORGOTTEN_SECONDS = 15.0, 240.0, 600.0
# Members remembered; past it who earned something longest ago is forgotten.
MAX_MEMBERS = 8_192


@dataclass(slots=True)
class _Record:
    """Of one member; times in seconds of a monotonic clock."""

    earned: float = 0.0
    at: float = 0.0
    held_until: float = 0.0
    held_seconds: float = 0.0
    code: str = ""


class Conduct:
    """Counts what members earn. `now` is a monotonic clock's, in seconds."""

    def __init__(self) -> None:
        self._records: OrderedDict[NodeId, _Record] = OrderedDict()
        # Until when anybody is held off: most calls need no more than that.
        self._until = 0.0

    def earned(self, node: NodeId, weight: float, code: str, now: float) -> bool:
        """Note a refusal; whether `node` is held off from now on."""
        if weight <= 0:
            return False
        record = self._records.pop(node, None) or _Record(at=now)
        self._records[node] = record
        if len(self._records) > MAX_MEMBERS:
            self._records.popitem(last=False)
        if now < record.held_until:
            return False
        record.earned = max(0.0, record.earned - FORGIVEN_A_SECOND * (now - record.at)) + weight
        record.at, record.code = now, code
        if record.earned <= MOST:
            return False
        again = record.held_seconds and now < record.held_until + FORGOTTEN_SECONDS
        record.held_seconds = min(LONGEST_SECONDS, 2 * record.held_seconds) if again else HELD_SECONDS
        record.held_until, record.earned = now + record.held_seconds, 0.0
        self._until = max(self._until, record.held_until)
        log.warning("a member is held off", node=str(node), code=code, seconds=record.held_seconds)
        return True

    def held_until(self, node: NodeId, now: float) -> float:
        """Until when the member is held off; 0 if it is not."""
        if now >= self._until:
            return 0.0
        record = self._records.get(node)
        return record.held_until if record is not None and now < record.held_until else 0.0

    def reason(self, node: NodeId, now: float) -> LimitExceeded:
        """What a member that is held off is told."""
        record = self._records[node]
        return LimitExceeded(
            f"Too many calls of {node} were refused within a minute, the last as {record.code}: it is held "
            f"off for another {max(1, round(record.held_until - now))} seconds.",
            remedy="Look up in its log what was refused, end the program that asks for it, and wait.",
        )
