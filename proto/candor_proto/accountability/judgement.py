"""Whether a piece of evidence holds, and what it shows (docs/protocol.md §17.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from candor_proto.accountability import against_others, against_owner
from candor_proto.accountability.evidence import HUB, Accused, Evidence, Kind, accused_by
from candor_proto.accountability.trust import Trust
from candor_proto.errors import MalformedMessage
from candor_proto.ids import FederationName, NodeId

_CHECKS: Mapping[Kind, Callable[[Evidence, Trust], str]] = {
    Kind.WRONG_KEY: against_owner.wrong_key,
    Kind.WRONG_EPOCH: against_owner.wrong_epoch,
    Kind.TWO_HEADS: against_owner.two_heads,
    Kind.MALFORMED_SEGMENT: against_owner.malformed_segment,
    Kind.MALFORMED_ENTRY: against_owner.malformed_entry,
    Kind.MALFORMED_BLOB: against_owner.malformed_blob,
    Kind.GARBAGE_SHARES: against_owner.garbage_shares,
    Kind.PHANTOM: against_owner.phantom,
    Kind.DROPPED_LOOKUP: against_others.dropped_lookup,
    Kind.FORKED_LOG: against_others.forked_log,
    Kind.ROLLED_BACK_LOG: against_others.rolled_back_log,
    Kind.FALSE_DIRECTORY: against_others.false_directory,
    Kind.TWO_DIRECTORIES: against_others.two_directories,
    Kind.TWO_LOOKUPS: against_owner.two_lookups,
    Kind.TWO_COSIGNATURES: against_others.two_cosignatures,
}


@dataclass(frozen=True)
class Finding:
    """What a piece of evidence that holds shows; `words` are a sentence without its full stop."""

    kind: Kind
    federation: FederationName
    accused: str
    words: str


def verify_evidence(evidence: Evidence, trust: Trust) -> Finding:
    """Check all of it; raises NotEvidence when nothing follows, else whatever a part of it raises."""
    against = accused_by(evidence.kind)
    if against is Accused.HUB and evidence.accused != HUB:
        raise MalformedMessage("Evidence of this kind accuses the hub.")
    if against is Accused.NODE:
        NodeId(evidence.accused)
    return Finding(
        evidence.kind, evidence.federation, evidence.accused, _CHECKS[evidence.kind](evidence, trust)
    )
