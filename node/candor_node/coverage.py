"""From the lookups of a search and their targets to one result: hits and coverage (docs/protocol.md §7.7).

Pure functions. A node counts as answered only when it has answered every lookup of the person: one whose
second surname it was never asked about has not said "no record". In which order answers came, and whether a
result had been shown by then, changes nothing of what they count for (but for what says that they were late).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from candor_node.hit_store import StoredHit
from candor_node.lookup_store import Ask, SearchRow
from candor_node.targets import TargetRow
from candor_proto import oprf
from candor_proto.accountability.evidence import Kind
from candor_proto.candidates import NodeIndex
from candor_proto.directory import MemberStatus, VerifiedDirectory
from candor_proto.errors import CandorError, KeyMismatch, ProofInvalid
from candor_proto.exchange import Draft, Outputs, TargetEvent, event_of, unblind, verify_answer
from candor_proto.ids import LookupId, NodeId
from candor_proto.oprf import Finalize, SliceMap
from candor_proto.result import Coverage, LogSeen, LookupResult, TargetReport, TargetState, order_hits
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_proto.statements import AnswerStatus, Left, lookup_digest

# Of the states of a node's lookups, the one that stands for all: first what may still change.
_SPEAKS_FIRST = (
    TargetState.PENDING,
    TargetState.INVALID,
    TargetState.EXPIRED,
    TargetState.NO_INDEX,
    TargetState.UNKNOWN_SCHEME,
    TargetState.QUOTA,
    TargetState.REFUSED,
    TargetState.STALE_EPOCH,
    TargetState.STALE_INDEX,
    TargetState.ANSWERED,
)
# States of a node that may still be heard of, and of one that never was.
_WAITED_FOR = (TargetState.PENDING, TargetState.EXPIRED)
MOVED_ON = "its index has moved to a new epoch"
ASKED_AGAIN = "asked again: its index had moved to a new epoch"
SUSPENDED = "suspended since it was asked"
LEFT = "no member any more"
NOT_HELD = "its index is not held any more"
_REFUSALS: Mapping[AnswerStatus, str] = {
    AnswerStatus.REFUSED_PURPOSE: "purpose not answered there",
    AnswerStatus.REFUSED_STANDING: "this node's standing",
    AnswerStatus.REFUSED: "other",
    AnswerStatus.QUOTA: "this node's quota there is spent",
    AnswerStatus.STALE_EPOCH: MOVED_ON,
}


# --- one answer ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Examined:
    """What one answer is: an event for the table of §7.8, and each person's outputs when it was evaluated.

    `misdeed` is what an invalid answer proves against its owner, if anything (§17.1).
    """

    event: TargetEvent
    reason: str = ""
    outputs: tuple[Outputs, ...] | None = None
    left: Left | None = None
    answered_at: datetime | None = None
    misdeed: Kind | None = None


def examine(
    draft: Draft,
    node: NodeId,
    key: VerifyingKey,
    statement: SignedStatement,
    index: NodeIndex | None,
    *,
    threads: int = 1,
    map: SliceMap = map,
    finalize: Finalize = oprf.finalize,
) -> Examined:
    """Check an answer of `node` to `draft` and unblind it (§7.5); whatever fails is no answer.

    `threads`, `map` and `finalize` say where a large batch is computed, as in `candor_proto.exchange`.
    """
    lookup = draft.lookup
    try:
        answer = verify_answer(statement, lookup, lookup_digest(draft.statement.body), node, key)
    except CandorError as error:
        wrong_epoch = isinstance(error, KeyMismatch)
        return Examined(TargetEvent.INVALID, error.code, misdeed=Kind.WRONG_EPOCH if wrong_epoch else None)
    try:
        left, at = answer.left, answer.answered_at
        if answer.status is not AnswerStatus.EVALUATED:
            return Examined(event_of(answer.status), _REFUSALS[answer.status], left=left, answered_at=at)
        if index is None:
            return Examined(TargetEvent.EVALUATED, NOT_HELD, left=left, answered_at=at)
        if index.head.epoch != answer.epoch or index.head.scheme_version != draft.scheme_version:
            # The index moved on while the answer was under way: those keys check nothing any more, or those
            # outputs meet nothing.
            return Examined(TargetEvent.STALE_EPOCH, MOVED_ON, answered_at=at)
        outputs = unblind(draft, answer, index.head, threads=threads, map=map, finalize=finalize)
        return Examined(TargetEvent.EVALUATED, outputs=outputs, left=left, answered_at=at)
    except CandorError as error:
        wrong_key = isinstance(error, ProofInvalid)
        return Examined(TargetEvent.INVALID, error.code, misdeed=Kind.WRONG_KEY if wrong_key else None)


# --- all answers ---------------------------------------------------------------------------------------


def latest(asks: Iterable[Ask], node: NodeId) -> dict[int, tuple[LookupId, TargetRow]]:
    """By plan number: the last lookup that asked `node`, and what became of it."""
    found: dict[int, tuple[LookupId, TargetRow]] = {}
    for ask in sorted(asks, key=lambda ask: ask.attempt):
        if node in ask.targets:
            found[ask.plan_number] = (ask.lookup_id, ask.targets[node])
    return found


def asked_nodes(asks: Iterable[Ask]) -> list[NodeId]:
    return sorted({node for ask in asks for node in ask.targets})


@dataclass(frozen=True)
class Outlook:
    """What is known of the federation, besides answers, when a result is put together.

    `log` is how far its log was read; `gone` are members that can answer no more, and why.
    """

    log: LogSeen | None = None
    gone: Mapping[NodeId, str] = field(default_factory=dict)

    @classmethod
    def of(cls, directory: VerifiedDirectory | None, asked: Iterable[NodeId], log: LogSeen | None) -> Outlook:
        """As it is under `directory`, for the nodes that were asked."""
        if directory is None:
            return cls(log)
        standing = {member.node: member.status for member in directory.directory.members}
        words = {
            node: SUSPENDED if standing.get(node) is MemberStatus.SUSPENDED else LEFT
            for node in asked
            if standing.get(node) is not MemberStatus.ACTIVE
        }
        return cls(log, words)


NOTHING_KNOWN = Outlook()


def line(node: NodeId, target: TargetRow, outlook: Outlook = NOTHING_KNOWN) -> TargetReport:
    """The line of the coverage for one lookup's target."""
    silent = target.state in _WAITED_FOR
    return TargetReport(
        node,
        target.state,
        target.index_issued_at,
        (outlook.gone.get(node) if silent else None) or target.reason,
        None if silent else target.answered_at,
        None if silent else target.taken_at,
        target.index_sequence,
        not silent and target.late,
    )


def report(
    row: SearchRow, asks: Sequence[Ask], node: NodeId, outlook: Outlook = NOTHING_KNOWN
) -> TargetReport:
    """The line of the coverage for `node`, over all lookups of the search."""
    rows = [target for _, target in latest(asks, node).values()]
    states = [target.state for target in rows]
    # A plan that is not sent yet, or that could not ask this node.
    if len(rows) < row.plans:
        sent = {ask.plan_number for ask in asks}
        states.append(TargetState.NO_INDEX if len(sent) == row.plans else TargetState.PENDING)
    state = min(states, key=_SPEAKS_FIRST.index)
    speaking = [target for target in rows if target.state is state]
    if not speaking:
        return TargetReport(node, state, reason=outlook.gone.get(node, ""))
    # What the last one opened is looked up with all outputs, in the index that was held then.
    last = max(speaking, key=lambda target: target.taken_at or row.created_at)
    reason = next((target.reason for target in speaking if target.reason), "")
    if state is TargetState.PENDING and not reason and any(_again(asks, node)):
        reason = ASKED_AGAIN
    late = any(target.late for target in rows)
    return line(node, replace(last, reason=reason, late=late), outlook)


def _again(asks: Iterable[Ask], node: NodeId) -> Iterator[bool]:
    """Of each lookup that asked `node`, whether it asked again and waits (§7.9)."""
    for ask in asks:
        if node in ask.targets:
            yield ask.attempt > 0 and ask.targets[node].state is TargetState.PENDING


def coverage(
    row: SearchRow, asks: Sequence[Ask], now: datetime, outlook: Outlook = NOTHING_KNOWN
) -> Coverage:
    """Every member at the time of asking, in order: those asked and those that could not be."""
    reports = {node: report(row, asks, node, outlook) for node in asked_nodes(asks)}
    return whole(reports, row.missing, now, row.directory_version, outlook)


def whole(
    reports: Mapping[NodeId, TargetReport],
    missing: Iterable[TargetReport],
    now: datetime,
    directory_version: int,
    outlook: Outlook = NOTHING_KNOWN,
) -> Coverage:
    """The coverage of those asked, and of those that could not be, in order."""
    known = {unasked.node: unasked for unasked in missing} | dict(reports)
    return Coverage(tuple(known[node] for node in sorted(known)), now, directory_version, outlook.log)


def result(row: SearchRow, found: Coverage, hits: Sequence[StoredHit]) -> LookupResult:
    """Hits and coverage in one value; hits of nodes that do not count as answered wait for them."""
    answered = {report.node for report in found.reports if report.answered}
    return LookupResult(
        row.search_id, order_hits(stored.hit for stored in hits if stored.hit.owner in answered), found
    )
