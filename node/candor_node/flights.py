"""Flights: one signed lookup that carries several rows of a batch (docs/protocol.md §5.3, §7.1).

Rules of this file:
- it does no I/O and touches no database: rows go in, drafts, findings and texts come out;
- all plans of a row travel in one flight, so that its answers are of one epoch (§7.7);
- nodes whose indexes are of another scheme are asked by a flight of their own about the same persons, whose
  `first` is the one that holds the rows: so is one that asks targets again that have moved (§7.9);
- two persons of a flight share nothing: each has its own salts, seed and blinds;
- a flight has a public size. What is left of the last ones is filled with persons that are all fillers, at
  most a quarter of a flight, for they cost quota.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from candor_node.asking import Question, check_question, plans_under
from candor_node.batch_file import RESULTS
from candor_node.targets import TargetRow
from candor_proto.candidates import LocalFailure, NodeIndex, find_hits
from candor_proto.directory import IndexHead
from candor_proto.errors import CandorError
from candor_proto.exchange import (
    AskedPerson,
    BlindedSlot,
    Draft,
    LookupState,
    Outputs,
    Paperwork,
    blind_plan,
)
from candor_proto.ids import FederationName, LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import LookupPlan
from candor_proto.normalise import Particulars, normalise
from candor_proto.oprf import SliceMap
from candor_proto.policy import check_shape
from candor_proto.result import Hit, LookupResult, TargetReport, TargetState
from candor_proto.scheme import CURRENT
from candor_proto.scoring import Explanation
from candor_proto.statements import PERSONS

# Of a flight, what may be persons that nobody asked about.
_FILLING_SHARE = 4


@dataclass(frozen=True)
class WaitingRow:
    """A row of a batch that is to be asked about."""

    number: int
    person: Particulars = field(repr=False)
    case: str = field(repr=False)
    consent: str = field(repr=False)
    officer: str = field(repr=False)


@dataclass(frozen=True)
class FlightPerson:
    """One person of a flight: the row it stands for (None: a filler), and which of its plans this is."""

    row: int | None
    plan_number: int
    paperwork: Paperwork = field(repr=False)


@dataclass(frozen=True)
class PlannedRow:
    """A row with its plans under fresh papers; with an `error` nobody is asked."""

    number: int
    persons: tuple[FlightPerson, ...]
    plans: tuple[LookupPlan, ...] = field(repr=False)
    incomplete: bool = False
    error: str = ""


@dataclass
class Flight:
    """A flight in memory. `lock` orders what is done to it; the database is ahead of it or equal."""

    batch_id: bytes
    purpose: Purpose
    draft: Draft
    persons: tuple[FlightPerson, ...]
    searches: Mapping[int, LookupId]
    first: LookupId | None
    state: LookupState
    targets: dict[NodeId, TargetRow]
    missing: tuple[TargetReport, ...]
    directory_version: int
    shown: bool = False
    # Nodes that another flight is asking about these rows: those of another scheme, and those asked again.
    asked_beside: set[NodeId] = field(default_factory=set)
    # On the event loop's clock: when it was stored, or taken up by this run.
    asked_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def lookup_id(self) -> LookupId:
        return self.draft.lookup.lookup_id

    @property
    def settled(self) -> bool:
        """Whether no target has anything more to say for now."""
        waiting = any(target.state is TargetState.PENDING for target in self.targets.values())
        return not waiting and not self.asked_beside


# --- making --------------------------------------------------------------------------------------------


def plan_row(
    row: WaitingRow,
    shape: LookupShape,
    purpose: Purpose,
    asked: frozenset[LookupShape],
    versions: Sequence[int] = (CURRENT.version,),
) -> PlannedRow:
    """The plans of a row under the first of the schemes `versions`, or why it cannot be asked under them all.

    `asked` are the shapes of its case before (§5.3).
    """
    try:
        check_shape(shape, asked)
        papers = Paperwork.draw(row.case, row.consent, row.officer)
        question = Question(row.person, purpose, shape, row.case, row.consent, row.officer)
        checked = check_question(question, versions, papers.filler_seed)
    except CandorError as error:
        return PlannedRow(row.number, (), (), error=f"{error.message} {error.remedy}".strip())
    version = versions[0]
    persons, plans = [FlightPerson(row.number, 0, papers)], [checked.planned[version][0]]
    for number in range(1, checked.plans):
        # Further plans share no seed with the first.
        papers = Paperwork.draw(row.case, row.consent, row.officer)
        own = plans_under(checked.person, shape, papers.filler_seed, version, checked.plans)
        persons.append(FlightPerson(row.number, number, papers))
        plans.append(own[number])
    return PlannedRow(row.number, tuple(persons), tuple(plans), checked.incomplete)


def plans_of(
    persons: Sequence[FlightPerson], rows: Mapping[int, WaitingRow], shape: LookupShape, version: int
) -> list[LookupPlan]:
    """What each person of a flight is asked under a scheme; raises UnsupportedVersion (`plans_under`)."""
    counts = Counter(person.row for person in persons)
    found = []
    for person in persons:
        particulars = Particulars() if person.row is None else rows[person.row].person
        count = 1 if person.row is None else counts[person.row]
        seed = person.paperwork.filler_seed
        found.append(plans_under(normalise(particulars), shape, seed, version, count)[person.plan_number])
    return found


def pack(planned: Sequence[PlannedRow]) -> tuple[int, int]:
    """How many of `planned`, from the first, travel in the next flight, and its size.

    With 64 plans or more a flight is full but for what a row with several plans leaves over.
    """
    total = sum(len(row.plans) for row in planned)
    fitting = [size for size in PERSONS if size >= total and (size - total) * _FILLING_SHARE <= size]
    size = min(fitting, default=0) or max(size for size in PERSONS if size <= max(1, total))
    taken = seated = 0
    for row in planned:
        if seated + len(row.plans) > size:
            break
        taken, seated = taken + 1, seated + len(row.plans)
    if not taken:
        # The first row alone has more plans than the size: the next one holds it.
        return 1, next(size for size in PERSONS if size >= len(planned[0].plans))
    return taken, size


def fillers(count: int) -> list[FlightPerson]:
    """Persons of whom nothing is known: every slot is a filler, and an audit sees that it is."""
    return [FlightPerson(None, 0, Paperwork.draw("", "", "")) for _ in range(count)]


def drawn_anew(persons: Sequence[FlightPerson]) -> list[FlightPerson]:
    """The same persons for another flight, with papers of their own: two flights share nothing."""
    return [
        replace(person, paperwork=Paperwork.draw(papers.case, papers.consent, papers.officer))
        for person in persons
        for papers in (person.paperwork,)
    ]


def blind_all(plans: Sequence[LookupPlan], sliced: SliceMap) -> list[tuple[BlindedSlot, ...]]:
    """Blind every slot of every plan, on as many threads as `sliced` has."""
    parts = [slice(at, at + 2) for at in range(0, len(plans), 2)]
    done = sliced(lambda part: [blind_plan(plan) for plan in plans[part]], parts)
    return [slots for part in done for slots in part]


def asked_persons(
    persons: Sequence[FlightPerson], slots: Sequence[tuple[BlindedSlot, ...]]
) -> list[AskedPerson]:
    return [AskedPerson(own, person.paperwork) for own, person in zip(slots, persons, strict=True)]


# --- reading answers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowFindings:
    """What one node's index holds for a row: hits with their blobs, and what failed (never shown)."""

    row: int
    head: IndexHead
    hits: tuple[tuple[Hit, bytes], ...]
    failures: tuple[LocalFailure, ...]


def probe(
    persons: Sequence[FlightPerson],
    outputs: Sequence[Outputs],
    index: NodeIndex,
    federation: FederationName,
    now: datetime,
    population: int,
) -> list[RowFindings]:
    """The records that each row of a flight opens in `index`, all its plans taken together (§6.4)."""
    by_row: dict[int, list[Outputs]] = {}
    for person, own in zip(persons, outputs, strict=True):
        if person.row is not None:
            by_row.setdefault(person.row, []).append(own)
    found = []
    for row, parts in by_row.items():
        together = [item for part in parts for item in part]
        findings = find_hits(together, index, federation, now.date(), population)
        blobs = tuple((hit, index.blob_behind(hit)) for hit in findings.hits)
        found.append(RowFindings(row, index.head, blobs, findings.failures))
    return found


# --- words ---------------------------------------------------------------------------------------------


def results(result: LookupResult, covered: Sequence[str], *, incomplete: bool) -> tuple[str, ...]:
    """The cells of RESULTS for one row; the same for the same findings, whenever they are written.

    `covered` are the cells of COVERAGE.
    """
    candidates = [hit for hit in result.hits if not hit.set_aside]
    aside = [hit for hit in result.hits if hit.set_aside]
    explained = (candidates or aside)[:1]
    words = [_words(hit.explanation) for hit in explained]
    if len(candidates) > 1:
        words.append(f"{len(candidates) - 1} more candidates")
    if aside and not candidates:
        words.insert(0, f"{len(aside)} set aside")
    if incomplete:
        words.append("not every alternative surname was asked about")
    best = max((hit.explanation.probability for hit in candidates), default=None)
    return (
        result.overall.value,
        "" if best is None else f"{best:.4f}",
        str(len(candidates)),
        "; ".join(str(hit.owner) for hit in candidates),
        "; ".join(words),
        *covered,
        "",
    )


def failed(reason: str) -> tuple[str, ...]:
    """The cells of RESULTS for a row that nobody was asked about."""
    return ("ERROR", *("",) * (len(RESULTS) - 2), reason)


def _words(explanation: Explanation) -> str:
    """The headline, conflicts, what agrees, and the fields that differ or are missing on a side."""
    parts = [explanation.headline, *explanation.reasons]
    # A screening lookup knows of no field: its keys are all that there is to say.
    known = explanation.agreeing or explanation.differing
    missing = explanation.not_known if known else ()
    for words, fields in (("differs", explanation.differing), ("not known", missing)):
        if fields:
            parts.append(f"{words}: {', '.join(fields)}")
    return "; ".join(parts)
