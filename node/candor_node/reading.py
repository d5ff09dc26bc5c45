"""What answers say: checked, unblinded and looked up together, on threads (docs/protocol.md §7.5-§7.8).

Rules of this file:
- it does no I/O and changes no case: answers, keys and indexes go in, what a case is after them comes out;
- whatever fails while an index is opened is a miss; it goes to the failure digest and nowhere else (§7.6);
- an answer that does not verify is no answer, and does not keep a good one out;
- outputs of one epoch or scheme are never looked up in the index of another: that nothing is found there
  says nothing.
"""

from __future__ import annotations

from builtins import map as in_sequence
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from candor_node import coverage
from candor_node.asking import has_moved
from candor_node.cases import Case
from candor_node.coverage import Examined
from candor_node.lookup_store import Ask, SearchRow
from candor_node.mail_store import InboxRow
from candor_node.targets import TargetRow
from candor_proto.accountability.evidence import Kind
from candor_proto.candidates import LocalFailure, NodeIndex, find_hits
from candor_proto.directory import IndexHead, VerifiedDirectory
from candor_proto.errors import CandorError, Unreachable
from candor_proto.exchange import TRANSITIONS, Draft, Outputs, TargetEvent
from candor_proto.ids import FederationName, LookupId, NodeId
from candor_proto.matchkeys import Slot
from candor_proto.oprf import SliceMap
from candor_proto.result import Hit, TargetState
from candor_proto.signing import SignedStatement

# Answers below which a second thread costs more than it saves: about 30 ms of curve work.
MIN_SLICE = 4

Arrived = tuple[Case, Sequence[InboxRow]]
Job = tuple[Draft, NodeId, SignedStatement]


@dataclass(frozen=True)
class Known:
    """What answers are checked against, as it is when they are taken in."""

    directory: VerifiedDirectory | None
    indexes: Mapping[NodeId, NodeIndex]
    federation: FederationName
    now: datetime
    population: int

    def examine(self, draft: Draft, node: NodeId, statement: SignedStatement) -> Examined:
        """Check an answer of `node` and unblind it; whatever fails is no answer."""
        if self.directory is None:
            return Examined(TargetEvent.INVALID, Unreachable.code)
        try:
            key = self.directory.member(node).signing_key
        except CandorError as error:
            return Examined(TargetEvent.INVALID, error.code)
        return coverage.examine(draft, node, key, statement, self.indexes.get(node))


@dataclass(frozen=True)
class Misdeed:
    """An answer that proves something against its owner; `head` is that of the index held (§17.1)."""

    kind: Kind
    draft: Draft
    owner: NodeId
    answer: SignedStatement
    head: IndexHead | None


class Reading:
    """What a search is after some answers: `asks` and `outputs`, and what they opened.

    `changed` are the targets that are not as they were, `settled` the rows of the inbox that are dealt with.
    """

    def __init__(self, case: Case, known: Known) -> None:
        self.row: SearchRow = case.row
        self.asks: dict[LookupId, Ask] = dict(case.asks)
        self.outputs: dict[tuple[LookupId, NodeId], Outputs] = dict(case.outputs)
        self.changed: dict[tuple[LookupId, NodeId], None] = {}
        self.settled: list[int] = []
        self.found: list[tuple[Hit, bytes]] = []
        self.failures: list[tuple[IndexHead, LocalFailure]] = []
        self.misdeeds: list[Misdeed] = []
        self._known = known

    def target(self, lookup_id: LookupId, node: NodeId) -> TargetRow:
        return self.asks[lookup_id].targets[node]

    def take(self, row: InboxRow, seen: Examined | None) -> None:
        """One answer after the other; `seen` is None for one that was not examined, being a repeated one."""
        lookup_id, node = LookupId(row.envelope.envelope_id), row.envelope.sender
        self.settled.append(row.number)
        before = self.target(lookup_id, node)
        if seen is None or has_answered(before):
            return
        index = self._known.indexes.get(node)
        late = self.row.shown_at is not None
        after = target_after(before, seen, row.statement, index, self._known.now, late=late)
        self._set(lookup_id, node, after)
        self._note(lookup_id, node, row.statement, seen)
        if seen.outputs is not None:
            self.outputs[lookup_id, node] = seen.outputs[0]

    def look_again(self, lookup_id: LookupId, node: NodeId) -> None:
        """An answer that waited only for its owner's index, in the one that is held now (§7.8)."""
        before, known = self.target(lookup_id, node), self._known
        if before.answer is None or not waits_for_index(before):
            return
        seen = known.examine(self.asks[lookup_id].draft, node, before.answer)
        self._note(lookup_id, node, before.answer, seen)
        unread, late = replace(before, state=TargetState.PENDING), self.row.shown_at is not None
        index = known.indexes.get(node)
        after = target_after(unread, seen, before.answer, index, known.now, late=late)
        if after.state not in (TargetState.ANSWERED, TargetState.STALE_EPOCH):
            return
        self._set(lookup_id, node, after)
        if seen.outputs is not None:
            self.outputs[lookup_id, node] = seen.outputs[0]

    def _note(self, lookup_id: LookupId, node: NodeId, answer: SignedStatement, seen: Examined) -> None:
        """What an invalid answer proves (§17.1)."""
        if seen.misdeed is not None:
            index = self._known.indexes.get(node)
            head = None if index is None else index.head
            self.misdeeds.append(Misdeed(seen.misdeed, self.asks[lookup_id].draft, node, answer, head))

    def open(self) -> None:
        """Look up what the answers taken have completed."""
        for node in dict.fromkeys(node for _, node in self.changed):
            self._open(node)

    def moved(self) -> list[tuple[LookupId, NodeId]]:
        """Targets that turned out to be in a new epoch, and were not asked again yet."""
        return [
            (lookup_id, node)
            for lookup_id, node in self.changed
            if self.target(lookup_id, node).state is TargetState.STALE_EPOCH
            and self.asks[lookup_id].attempt == 0
        ]

    def _set(self, lookup_id: LookupId, node: NodeId, target: TargetRow) -> None:
        ask = self.asks[lookup_id]
        self.asks[lookup_id] = replace(ask, targets={**ask.targets, node: target})
        self.changed[lookup_id, node] = None

    def _open(self, node: NodeId) -> None:
        """The hits in `node`'s index with their blobs, once it has answered every lookup of the person."""
        index, newest = self._known.indexes.get(node), coverage.latest(self.asks.values(), node)
        if index is None or len(newest) < self.row.plans:
            return
        if any(target.state is not TargetState.ANSWERED for _, target in newest.values()):
            return
        outputs: list[tuple[Slot, bytes]] = []
        usable = True
        for lookup_id, target in newest.values():
            own = self._outputs(lookup_id, node, target, index)
            if own is None:
                usable = False
                moved = replace(target, state=TargetState.STALE_EPOCH, reason=coverage.MOVED_ON)
                self._set(lookup_id, node, moved)
            else:
                outputs.extend(own)
        if not usable:
            return
        known = self._known
        findings = find_hits(outputs, index, known.federation, known.now.date(), known.population)
        self.found += [(hit, index.blob_behind(hit)) for hit in findings.hits]
        self.failures += [(index.head, failure) for failure in findings.failures]

    def _outputs(
        self, lookup_id: LookupId, node: NodeId, target: TargetRow, index: NodeIndex
    ) -> Outputs | None:
        """The outputs of an answer, for `index`; None when they are of another epoch or scheme, or lost."""
        ask = self.asks[lookup_id]
        if has_moved(ask.draft, index.head):
            return None
        own = self.outputs.get((lookup_id, node))
        if own is None and target.answer is not None:
            # Checked before a restart: it is checked and unblinded once more.
            seen = self._known.examine(ask.draft, node, target.answer)
            own = None if seen.outputs is None else seen.outputs[0]
            if own is not None:
                self.outputs[lookup_id, node] = own
        return own


def read(
    arrived: Sequence[Arrived], known: Known, *, threads: int = 1, map: SliceMap = in_sequence
) -> list[Reading]:
    """What each case is after its answers. They are examined on as many threads as `threads` and `map` give.

    Nobody may change the cases meanwhile: the caller holds their locks.
    """
    jobs = [
        (case.asks[lookup_id].draft, row.envelope.sender, row.statement)
        if not has_answered(case.asks[lookup_id].targets[row.envelope.sender])
        else None
        for case, rows in arrived
        for row in rows
        for lookup_id in (LookupId(row.envelope.envelope_id),)
    ]

    seen = iter(examine_all(jobs, known, threads=threads, map=map))
    readings = []
    for case, rows in arrived:
        reading = Reading(case, known)
        for row in rows:
            reading.take(row, next(seen))
        reading.open()
        readings.append(reading)
    return readings


def read_again(case: Case, targets: Sequence[tuple[LookupId, NodeId]], known: Known) -> Reading:
    """What a case is once answers that waited for a fresh index are looked up in the one held now."""
    reading = Reading(case, known)
    for lookup_id, node in targets:
        reading.look_again(lookup_id, node)
    reading.open()
    return reading


def examine_all(
    jobs: Sequence[Job | None], known: Known, *, threads: int = 1, map: SliceMap = in_sequence
) -> list[Examined | None]:
    """What each answer is, in order; None for those that are not to be examined."""

    def examine(part: slice) -> list[Examined | None]:
        return [None if job is None else known.examine(*job) for job in jobs[part]]

    size = max(MIN_SLICE, -(-len(jobs) // max(1, threads)))
    parts = [slice(at, at + size) for at in range(0, len(jobs), size)]
    # The first part is done here, so that no thread only waits for the others.
    others = map(examine, parts[1:]) if len(parts) > 1 else ()
    return [*examine(parts[0]), *(one for part in others for one in part)]


def has_answered(target: TargetRow) -> bool:
    """Whether `target` is past changing: a repeated answer changes nothing (§7.8)."""
    return TRANSITIONS[target.state, TargetEvent.EVALUATED] is target.state


def waits_for_index(target: TargetRow) -> bool:
    """Whether `target` has answered well, and only the index that was held kept it from counting."""
    return target.state in (TargetState.STALE_INDEX, TargetState.NO_INDEX) and target.answered_at is not None


def target_after(
    before: TargetRow,
    seen: Examined,
    statement: SignedStatement,
    index: NodeIndex | None,
    now: datetime,
    *,
    late: bool = False,
) -> TargetRow:
    """The next state of §7.8, and what the index held says besides (§6.7, §6.8)."""
    state = TRANSITIONS[before.state, seen.event]
    issued = sequence = None
    if state is TargetState.ANSWERED:
        if index is None:
            state = TargetState.NO_INDEX
        else:
            issued, sequence = index.head.issued_at, index.head.sequence
            if index.head.is_stale(now):
                state = TargetState.STALE_INDEX
    return TargetRow(state, seen.reason, issued, statement, seen.answered_at, now, sequence, late)


def expired(target: TargetRow) -> TargetRow:
    """A target when the life of its lookup has ended: who has not answered never will (§7.8)."""
    after = TRANSITIONS[target.state, TargetEvent.EXPIRES]
    return target if after is target.state else TargetRow(after, target.reason, answer=target.answer)
