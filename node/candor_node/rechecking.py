"""Whether a hit that was found earlier still stands: asked before anybody acts on it (protocol.md §9.12).

Rules of this file:
- the comparison is local: stored hit, newest index held of its owner, recalls received. Nothing is sent, and
  nothing is fetched because of it, for such a fetch would betray what a lookup found;
- an index of another epoch or none at all says nothing, and that is never shown as "stands";
- what was withdrawn or has ended is not asked for: its owner would decline, and learn of the interest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_node import ledger, request_store
from candor_node.cases import load_view
from candor_node.hit_store import StoredHit
from candor_node.store import Database
from candor_proto.candidates import HitStanding, NodeIndex, recheck
from candor_proto.directory import MAX_HEAD_AGE
from candor_proto.disclosure import RequesterState
from candor_proto.errors import WrongStanding
from candor_proto.ids import LookupId, NodeId
from candor_records.gate import gate_day

Indexes = Mapping[NodeId, NodeIndex]

_OVER = (HitStanding.WITHDRAWN, HitStanding.EXPIRED)
_WORDS: Mapping[HitStanding, str] = {
    HitStanding.STANDS: "it stands in its owner's index",
    HitStanding.WITHDRAWN: "its owner has withdrawn it: do not act on it",
    HitStanding.EXPIRED: "its time to be kept is over: do not act on it",
    HitStanding.ANOTHER_EPOCH: "its owner's index has moved to another epoch: look the person up again",
    HitStanding.NO_INDEX: "no index of its owner is held: it is not known whether it stands",
}


@dataclass(frozen=True)
class Rechecked:
    """What is known of a hit now, and as of when its owner's index says so."""

    number: int
    owner: NodeId
    standing: HitStanding
    words: str
    index_issued_at: datetime | None

    def check(self) -> None:
        """Raises WrongStanding when the hit is not to be acted on."""
        if self.standing in _OVER:
            raise WrongStanding(
                f"Hit {self.number} is no longer one: {self.words}.",
                remedy="Look the person up again to see what stands now.",
            )


def recheck_hits(
    db: Database, search_id: LookupId, hits: Sequence[StoredHit], indexes: Indexes, now: datetime
) -> dict[int, Rechecked]:
    """By number, what became of the hits of a lookup since they were found."""
    return {one.number: _rechecked(db, search_id, one, indexes.get(one.hit.owner), now) for one in hits}


def _rechecked(
    db: Database, search_id: LookupId, one: StoredHit, index: NodeIndex | None, now: datetime
) -> Rechecked:
    owner, issued_at = one.hit.owner, index.head.issued_at if index else None
    for sent in request_store.sent_for_hit(db, search_id, one.number):
        if sent.state is RequesterState.RECALLED:
            return Rechecked(one.number, owner, HitStanding.WITHDRAWN, sent.reason, issued_at)
    standing = recheck(one.hit, index, gate_day(now))
    words = _WORDS[standing]
    if standing is HitStanding.STANDS and issued_at is not None and now - issued_at > MAX_HEAD_AGE:
        hours = int((now - issued_at).total_seconds() // 3600)
        words += f", which is {hours} hours old: more may have happened since"
    return Rechecked(one.number, owner, standing, words, issued_at)


def recheck_lookup(
    db: Database, search_id: LookupId, indexes: Indexes, now: datetime, by: str
) -> list[Rechecked]:
    """All hits of a lookup, accounted for. Raises UnknownObject, or Expired once they were forgotten."""
    view = load_view(db, search_id)
    view.row.check_kept()
    found = recheck_hits(db, search_id, view.hits, indexes, now)
    over = sum(one.standing in _OVER for one in found.values())
    refs = {"search_id": str(search_id)}
    ledger.append(db, now, "lookup.rechecked", refs, {"hits": len(found), "over": over, "by": by})
    return [found[number] for number in sorted(found)]
