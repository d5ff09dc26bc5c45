"""Part of an evaluation once more the blinded way: real publishing, real lookups, and no difference allowed.

Rules of this file:
- records go through the publisher's own packing into sealed segments, queries through blinding, evaluation
  with its proof and unblinding, and what opens is `candidates.find_hits`' word; only transport and signatures
  are left out;
- pairs, labels, outcomes, explanation and probability must be the same, one by one: a single difference fails
  the evaluation, and so does an entry or blob that does not open;
- which queries and records are taken depends on their ids alone.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from candor_node import epochs, packing
from candor_node import evaluation_scheme as scheme
from candor_node.evaluate import Run
from candor_node.evaluation_files import Row, stream_records
from candor_node.evaluation_scheme import Score
from candor_node.workers import cores
from candor_proto import oprf
from candor_proto.candidates import NodeIndex, Outputs
from candor_proto.directory import IndexHead, SegmentRef
from candor_proto.errors import CandorError, Fault
from candor_proto.exchange import BlindedSlot, blind_plan
from candor_proto.field_codes import Sounds
from candor_proto.ids import BlobId, FederationName, KeyClass, LookupShape, NodeId, Ori
from candor_proto.matchkeys import LookupPlan
from candor_proto.normalise import Particulars
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_proto.sealed_index import IndexOwner, open_blob
from candor_proto.segment import Segment, address
from candor_records.codes import Nexus, SourceOfRecord
from candor_records.content import NO_DUE_PROCESS, Content, Identity
from candor_records.records import Record, initial

# Up to so many records all are published; of more, the candidates of the queries and so many others.
ALL_RECORDS = 2_000
OTHER_RECORDS = 500
_BATCH = 200
_OWNER = IndexOwner(FederationName("evaluation"), NodeId("evaluation"), 1)
_ORI = Ori("ZZ0000100")
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_TODAY = date(2026, 1, 1)
_SEED = "evaluation"
_REPORT = "Nothing was written. This is a defect of candor-node: report it."


class CurveDisagrees(CandorError):
    """The blinded way gave something else than the evaluation: one of the two is wrong."""

    code = "curve_disagrees"
    fault = Fault.OURS


# --- publishing --------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class _Subject(Identity):
    """Who a row is about. A row of an evaluation need not pass the import: it is published as it is."""

    row: Row = field(default=())

    def particulars(self) -> Particulars:
        return scheme.particulars(self.row)


def _filed(row: Row) -> Record:
    """A record about the person in `row`, whatever it says."""
    content = Content(
        agency_record_id="evaluation",
        record_kind=RecordKind.COMMENDATION,
        identity=_Subject(first="", last="", birth_date="1980", row=row),
        effective_on=_TODAY,
        due_process=NO_DUE_PROCESS,
        sharing=Sharing.GREEN,
        on_duty=Nexus.UNKNOWN,
        use_of_force_related=Nexus.UNKNOWN,
        allegation_categories=(),
        source_of_record=SourceOfRecord.PERSONNEL_ACTION,
    )
    return initial(content, _NOW, _ORI, _OWNER.node, "evaluation")


@dataclass(frozen=True, repr=False)
class SealedRecords:
    """An index of one epoch with its keys; by blob id, what the owner knows: whose it is, and its secret."""

    keys: Mapping[KeyClass, oprf.KeyPair]
    index: NodeIndex
    whose: Mapping[BlobId, tuple[str, bytes]]


def publish(records: Sequence[tuple[str, Row]]) -> SealedRecords:
    """Seal `records` as a tick of the publisher does, under the keys of a new epoch."""
    keys = epochs.keys_for(secrets.token_bytes(oprf.SEED_BYTES), _OWNER.federation, _OWNER.node, _OWNER.epoch)
    packs = packing.Packs(_OWNER, 0, scheme.GATE_THRESHOLD, packing.MAX_RECORDS, secrets.token_bytes)
    names: dict[str, str] = {}
    with ThreadPoolExecutor(cores()) as pool:
        outputs, sounds = packing.Outputs(keys, _OWNER, pool), Sounds()
        for batch in packing.batches(records, _BATCH):
            filed = [(rec_id, _filed(row)) for rec_id, row in batch]
            names |= {str(record.dcn): rec_id for rec_id, record in filed}
            prepared = [packing.Prepared.of(record, sounds) for _, record in filed]
            outputs.evaluate(prepared)
            for one in prepared:
                packs.add(one, outputs)
    sealed = packs.finish(())
    parsed = tuple(Segment(octets) for _, octets in sealed.segments)
    head = IndexHead(
        federation=_OWNER.federation,
        node=_OWNER.node,
        sequence=1,
        epoch=_OWNER.epoch,
        keys={key_class: pair.public for key_class, pair in keys.items()},
        threshold=scheme.GATE_THRESHOLD,
        scheme_version=scheme.SCHEME_VERSION,
        segments=tuple(
            SegmentRef(number, address(octets), len(octets)) for number, octets in sealed.segments
        ),
        issued_at=_NOW,
    )
    whose = {one.secrets.blob_id: (names[one.dcn], one.secrets.secret) for one in sealed.published}
    return SealedRecords(keys, NodeIndex(head, parsed), whose)


# --- asking ------------------------------------------------------------------------------------------


def ask(plan: LookupPlan, keys: Mapping[KeyClass, oprf.KeyPair]) -> Outputs:
    """The outputs of one lookup: blinded, evaluated with a proof, checked and unblinded."""
    slots = blind_plan(plan)
    return [pair for key_class in scheme.classes(plan.shape) for pair in _ask(slots, key_class, keys)]


def _ask(slots: Iterable[BlindedSlot], key_class: KeyClass, keys: Mapping[KeyClass, oprf.KeyPair]) -> Outputs:
    own = [item for item in slots if item.slot.key_class is key_class]
    batch = oprf.BlindedBatch.of([item.blinded for item in own])
    evaluated, proof = oprf.blind_evaluate(keys[key_class], batch.elements)
    found = oprf.finalize(batch, evaluated, keys[key_class].public, proof)
    return [(item.slot, output) for item, output in zip(own, found, strict=True)]


@dataclass(frozen=True)
class Seen:
    """What one way says of a pair."""

    labels: tuple[str, ...]
    outcomes: str
    score: Score


def look(row: Row, shape: LookupShape, sealed: SealedRecords, population: int) -> dict[str, Seen]:
    """By record: what the lookups for the person in `row` open. Raises CurveDisagrees for a failure."""
    plans = scheme.plans(row, shape, secrets.token_bytes(32))
    outputs = [pair for plan in plans for pair in ask(plan, sealed.keys)]
    findings = scheme.find(outputs, sealed.index, _OWNER.federation, _TODAY, population)
    if findings.failures:
        raise CurveDisagrees(
            "Something that was published for this evaluation does not open: no figure of it counts.",
            remedy=_REPORT,
        )
    found = {}
    for hit in findings.hits:
        record, secret = sealed.whose[hit.blob_id]
        blob = open_blob(sealed.index.blob_behind(hit), secret, _OWNER)
        outcomes = scheme.compare_tags(outputs, blob, hit.blob_id)
        found[record] = Seen(hit.labels, outcomes, scheme.score_of(hit))
    return found


# --- comparing ---------------------------------------------------------------------------------------


def check(run: Run, count: int) -> dict[str, int]:
    """Ask for `count` of the run's queries the blinded way, and compare. The run must have kept candidates.

    Returns how many queries, records and pairs were compared. Raises CurveDisagrees.
    """
    chosen = choose(run, count)
    records = _records(run, chosen)
    fields = run.order.fields
    sealed = publish([(record, fields.blank(row)) for record, row in records])
    here: dict[int, dict[str, Seen]] = {place: {} for place in chosen}
    for pair in run.opened:
        if pair.query in here:
            labels = tuple(label.name for label in scheme.labels(pair.hit))
            here[pair.query][pair.record] = Seen(labels, pair.outcomes, pair.score)
    pairs = 0
    for place in chosen:
        query = run.queries[place]
        there = look(fields.blank(query.row), run.order.shape, sealed, run.population)
        _compare(here[place], there, f"row {query.number} of {run.order.queries.name}")
        pairs += len(there)
    return {"queries": len(chosen), "records": len(records), "pairs": pairs}


def _compare(here: Mapping[str, Seen], there: Mapping[str, Seen], where: str) -> None:
    difference = ""
    if here.keys() != there.keys():
        difference = f"opens {len(there)} records, not {len(here)} or not the same ones"
    elif any(here[record].labels != there[record].labels for record in here):
        difference = "hits other match keys"
    elif any(here[record].outcomes != there[record].outcomes for record in here):
        difference = "finds other fields to agree"
    elif any(here[record].score != there[record].score for record in here):
        difference = "has another probability or explanation"
    if difference:
        raise CurveDisagrees(
            f"The blinded way {difference} for {where}: no figure of this evaluation counts.",
            remedy=_REPORT,
        )


def choose(run: Run, count: int) -> list[int]:
    """Places of `count` queries: up to half of those that open anything, at least one, then others."""
    by_lot = sorted(range(len(run.queries)), key=lambda place: _lot(run.queries[place].query_id))
    opening = {pair.query for pair in run.opened}
    first = [place for place in by_lot if place in opening][: (count + 1) // 2]
    taken = set(first)
    return sorted([*first, *(place for place in by_lot if place not in taken)][:count])


def _records(run: Run, chosen: Sequence[int]) -> list[tuple[str, Row]]:
    """All records when they are few; else those that the queries meet under any key, and others by lot."""
    records = stream_records(run.order.records)
    if run.survey.count <= ALL_RECORDS:
        return list(records)
    places = set(chosen)
    wanted = {record for place, record in run.met if place in places}
    met: list[tuple[str, Row]] = []

    def others() -> Iterable[tuple[str, Row]]:
        for record, row in records:
            if record in wanted:
                met.append((record, row))
            else:
                yield record, row

    drawn = heapq.nsmallest(OTHER_RECORDS, others(), key=lambda pair: _lot(pair[0]))
    return [*met, *drawn]


def _lot(name: str) -> bytes:
    return hashlib.sha256(f"{_SEED} {name}".encode()).digest()
