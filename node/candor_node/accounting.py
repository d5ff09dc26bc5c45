"""The accounting that the subject sees: who asked for a record, and whom this agency asked (RECORDS.md §4.3).

Rules of this file:
- agencies are named, people are not: neither the requester's officer nor whoever decided here;
- a request for a version that has since been followed by another one counts for the record;
- what is deferred is left out with all that followed from it, and what was deferred says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from candor_node import deferrals, lookup_store, recall_store, request_store, subjects
from candor_node.recall_store import Recall
from candor_node.recalled import KIND_WORDS
from candor_node.request_store import ReceivedRequest
from candor_node.store import Database
from candor_proto.canonical import from_milliseconds
from candor_proto.disclosure import OwnerState, RequesterState
from candor_proto.ids import LookupId, NodeId, RequestId
from candor_proto.normalise import Particulars
from candor_proto.policy import RULES
from candor_proto.recall import Done, RecallState
from candor_proto.record import RecordKind
from candor_records.records import Record
from candor_records.subject_report import Access, CopyHeld, LookupMade, Recalled, words

# Name and ORIs of a node, from the directory.
Named = Callable[[NodeId], tuple[str, str]]

_NOT_GIVEN: Mapping[OwnerState, str] = {
    OwnerState.RECEIVED: "not decided yet",
    OwnerState.WAITING: "waits for a decision",
    OwnerState.EXPIRED: "nobody decided in time",
}
_OBTAINED: Mapping[RequesterState, str] = {
    RequesterState.SENT: "asked for, not answered yet",
    RequesterState.OPENED: "a copy was received",
    RequesterState.RECALLED: "a copy was received, and destroyed when its owner recalled it",
}
_DONE: Mapping[Done, str] = {
    Done.DESTROYED: "its copy was destroyed",
    Done.REPLACED: "its copy was replaced",
    Done.ANNOTATED: "it was put beside its copy",
    Done.NOTHING_HELD: "it holds no copy",
}
_NOT_DONE: Mapping[RecallState, str] = {
    RecallState.PENDING: "being told",
    RecallState.SENT: "not acknowledged yet",
    RecallState.UNDELIVERABLE: "could not be told: it is no member any more",
    RecallState.SUPERSEDED: "told to destroy its copy instead",
}


@dataclass(frozen=True)
class Shown:
    """What is shown now: ids that are not, and until when others were not."""

    hidden: frozenset[bytes]
    ended: Mapping[bytes, date]

    @classmethod
    def at(cls, db: Database, now: datetime) -> Shown:
        return cls(deferrals.hidden(db, now), deferrals.ended(db, now))


# --- who asked for a record --------------------------------------------------------------------------------


def accesses(db: Database, filed: Sequence[Record], named: Named, shown: Shown) -> tuple[Access, ...]:
    """Every request for a record, whatever became of it, oldest first; `filed` are all its versions."""
    numbers = {str(record.dcn): record.version for record in filed}
    found = {}
    for dcn in numbers:
        for (value,) in db.execute("SELECT request_id FROM received_requests WHERE dcn = ?", [dcn]):
            found[value] = dcn
    for value, dcn in _refused_by_the_gate(db, numbers):
        found[value] = dcn
    made = []
    for value, dcn in found.items():
        known = request_store.received(db, RequestId(value))
        if known is not None and value not in shown.hidden:
            made.append(_access(known, dcn, numbers[dcn], named, shown.ended.get(value)))
    return tuple(sorted(made, key=lambda access: (access.asked_on, access.node)))


def _refused_by_the_gate(db: Database, numbers: Mapping[str, int]) -> list[tuple[bytes, str]]:
    """Requests that name no record, because it was held when they came: told by the handle they asked for."""
    handles = {
        (epoch, handle): dcn
        for dcn in numbers
        for epoch, handle in db.execute("SELECT epoch, handle FROM published WHERE dcn = ?", [dcn])
    }
    if not handles:
        return []
    found = []
    for (value,) in db.execute("SELECT request_id FROM received_requests WHERE dcn = ''").fetchall():
        known = request_store.received(db, RequestId(value))
        if known is not None:
            dcn = handles.get((known.request.epoch, known.request.handle.value))
            found += [(value, dcn)] if dcn else []
    return found


def _access(known: ReceivedRequest, dcn: str, version: int, named: Named, until: date | None) -> Access:
    request = known.request
    agency, ori = named(request.requester)
    given = known.state is OwnerState.RELEASED
    return Access(
        agency=agency,
        ori=ori,
        node=str(request.requester),
        asked_on=known.received_at.date(),
        purpose=RULES[request.purpose].meaning.capitalize(),
        case=request.case,
        outcome="given" if given else _NOT_GIVEN.get(known.state) or f"not given: {known.reason}",
        settled_on=known.settled_at.date() if known.settled_at else None,
        dcn=dcn,
        version=version if given else None,
        was_deferred_until=until,
    )


def recalls(db: Database, record_id: bytes, named: Named, shown: Shown) -> tuple[Recalled, ...]:
    """What those who got a record were told since, and what they did, in the order of events."""
    return tuple(
        Recalled(
            named(recall.recipient)[0],
            KIND_WORDS[recall.kind].capitalize(),
            recall.first_sent_at.date() if recall.first_sent_at else None,
            _done(recall),
            recall.acted_at.date() if recall.acted_at else None,
        )
        for recall in sorted(recall_store.of_record(db, record_id), key=lambda recall: recall.number)
        if recall.request_id.value not in shown.hidden
    )


def _done(recall: Recall) -> str:
    """What the other agency has said of a recall so far."""
    if recall.done is None:
        return _NOT_DONE.get(recall.state, recall.state.value).capitalize()
    read = f"read there on {recall.read_at.date()}" if recall.read_at else "nobody there has read it yet"
    return f"Acknowledged: {_DONE[recall.done]}; {read}"


# --- whom this agency asked -----------------------------------------------------------------------------


def searches(db: Database, people: Sequence[Particulars], shown: Shown) -> tuple[LookupId, ...]:
    """The lookups of this node about a person, under each of `people`, as the person may see them now."""
    found: dict[LookupId, None] = {}
    for particulars in people:
        found.update(dict.fromkeys(one.search_id for one in subjects.searches_about(db, particulars)))
    return tuple(search_id for search_id in found if search_id.value not in shown.hidden)


def lookups(db: Database, made: Sequence[LookupId], shown: Shown) -> tuple[LookupMade, ...]:
    """Lookups as the person sees them, oldest first."""
    rows = [row for search_id in made if (row := lookup_store.search(db, search_id)) is not None]
    return tuple(
        LookupMade(
            row.created_at.date(),
            RULES[row.purpose].meaning.capitalize(),
            row.case,
            shown.ended.get(row.search_id.value),
        )
        for row in sorted(rows, key=lambda row: row.created_at)
    )


def copies(db: Database, made: Sequence[LookupId], named: Named) -> tuple[CopyHeld, ...]:
    """The records of other agencies that this one asked for after those lookups, oldest first."""
    found = []
    for search_id in made:
        rows = db.execute(
            "SELECT sent_requests.owner, sent_at, state, kind FROM sent_requests JOIN hits"
            " ON hits.search_id = sent_requests.search_id AND hits.number = hit_number"
            " WHERE sent_requests.search_id = ? ORDER BY sent_at",
            [search_id.value],
        )
        for owner, sent_at, state, kind in rows:
            became = RequesterState(state)
            found.append(
                CopyHeld(
                    named(NodeId(owner))[0],
                    from_milliseconds(sent_at).date(),
                    words(RecordKind(kind).name),
                    _OBTAINED.get(became) or became.value.replace("_", " "),
                )
            )
    return tuple(sorted(found, key=lambda copy: copy.asked_on))
