"""From the lookups of a search and their targets to one result: hits and coverage (docs/protocol.md §7.7).

Pure functions. A node counts as answered only when it has answered every lookup of the person: one whose
second surname it was never asked about has not said "no record".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from candor_node import lookup_store
from candor_node.hit_store import StoredHit
from candor_node.lookup_store import Ask, SearchRow, TargetRow
from candor_proto import oprf
from candor_proto.candidates import NodeIndex
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import CandorError
from candor_proto.exchange import Draft, Outputs, TargetEvent, event_of, unblind, verify_answer
from candor_proto.ids import LookupId, NodeId
from candor_proto.oprf import Finalize, SliceMap
from candor_proto.result import Coverage, LookupResult, TargetReport, TargetState, order_hits
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
MOVED_ON = "its index has moved to a new epoch"
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
    """What one answer is: an event for the table of §7.8, and each person's outputs when it was evaluated."""

    event: TargetEvent
    reason: str = ""
    outputs: tuple[Outputs, ...] | None = None
    left: Left | None = None


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
        if answer.status is not AnswerStatus.EVALUATED:
            return Examined(event_of(answer.status), _REFUSALS[answer.status], left=answer.left)
        if index is None:
            return Examined(TargetEvent.EVALUATED, "its index is not held any more", left=answer.left)
        if index.head.epoch != answer.epoch or index.head.scheme_version != draft.scheme_version:
            # The index moved on while the answer was under way: those keys check nothing any more, or those
            # outputs meet nothing.
            return Examined(TargetEvent.STALE_EPOCH, _REFUSALS[AnswerStatus.STALE_EPOCH])
        outputs = unblind(draft, answer, index.head, threads=threads, map=map, finalize=finalize)
        return Examined(TargetEvent.EVALUATED, outputs=outputs, left=answer.left)
    except CandorError as error:
        return Examined(TargetEvent.INVALID, error.code)


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


def report(row: SearchRow, asks: Sequence[Ask], node: NodeId) -> TargetReport:
    """The line of the coverage for `node`, over all lookups of the search."""
    rows = [target for _, target in latest(asks, node).values()]
    states = [target.state for target in rows]
    # A plan that is not sent yet, or that could not ask this node.
    if len(rows) < row.plans:
        sent = {ask.plan_number for ask in asks}
        states.append(TargetState.NO_INDEX if len(sent) == row.plans else TargetState.PENDING)
    state = min(states, key=_SPEAKS_FIRST.index)
    reason = next((target.reason for target in rows if target.state is state), "")
    issued = [target.index_issued_at for target in rows if target.index_issued_at is not None]
    return TargetReport(node, state, min(issued, default=None), reason)


def coverage(row: SearchRow, asks: Sequence[Ask], now: datetime) -> Coverage:
    """Every member at the time of asking, in order: those asked and those that could not be."""
    reports = {node: report(row, asks, node) for node in asked_nodes(asks)}
    for unasked in row.missing:
        reports.setdefault(unasked.node, unasked)
    return Coverage(tuple(reports[node] for node in sorted(reports)), now, row.directory_version)


def result(row: SearchRow, found: Coverage, hits: Sequence[StoredHit]) -> LookupResult:
    """Hits and coverage in one value; hits of nodes that do not count as answered wait for them."""
    answered = {report.node for report in found.reports if report.answered}
    return LookupResult(
        row.search_id, order_hits(stored.hit for stored in hits if stored.hit.owner in answered), found
    )


# --- storing -------------------------------------------------------------------------------------------


def write_coverage(found: Coverage) -> str:
    return json.dumps(
        {
            "as_of": to_milliseconds(found.as_of),
            "directory_version": found.directory_version,
            "reports": [lookup_store.write_report(report) for report in found.reports],
        }
    )


def read_coverage(text: str) -> Coverage:
    stored = json.loads(text)
    return Coverage(
        tuple(lookup_store.read_report(report) for report in stored["reports"]),
        from_milliseconds(stored["as_of"]),
        stored["directory_version"],
    )
