"""From records to the sealed index, seen from the asker's side (docs/protocol.md §6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candor_node import epochs, filings, importer, ledger, lifecycle, packing, publisher
from candor_node.lifecycle import Doing
from candor_node.publisher import Publication, Settings, build_tick, resolve_handle, tick
from candor_node.store import Database, Store
from candor_node.tlog import log_store
from candor_proto import oprf, sealed_index, segment
from candor_proto.candidates import NodeIndex, find_hits
from candor_proto.directory import IndexHead
from candor_proto.errors import CommitmentMismatch, ConflictingResubmission, UnknownObject
from candor_proto.ids import FederationName, Handle, LookupShape
from candor_proto.matchkeys import MATCH_LABELS, record_keys
from candor_proto.normalise import Particulars, normalise
from candor_proto.record import CanonicalRecord, open_commitment
from candor_proto.result import Hit
from candor_proto.scheme import CURRENT
from candor_proto.segment import Segment
from candor_proto.statements import CLASSES
from candor_records.content import content_fields
from candor_records.gate import GateDecision, gate, gate_day
from candor_records.policy import NoPack
from candor_records.records import Circumstances, Dcn, Record, canonical, following, initial
from tests.indexes import ask, drawn_from
from tests.records import (
    CONTRIBUTOR,
    NODE,
    NOW,
    ORI,
    STORE_KEY,
    csv_bytes,
    generated_rows,
    make_content,
    make_record,
    make_row,
    new_store,
)
from tests.schemes import NEXT

FEDERATION = FederationName("fed.test")
SETTINGS = Settings(FEDERATION, NODE)
DAY = timedelta(days=1)
TODAY = NOW.date()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def file(store: Store, rows: Iterable[dict[str, str]], now: datetime = NOW) -> None:
    report = store.run_sync(lambda db: importer.import_csv(db, csv_bytes(rows), now, ORI, NODE, CONTRIBUTOR))
    assert not report.errors


@dataclass
class Hub:
    """Holds what was sent, as every asker does."""

    store: Store
    segments: dict[bytes, bytes]
    head: IndexHead | None = None

    def take(self, publication: Publication) -> Publication:
        for address, octets in publication.segments:
            assert segment.address(octets) == address
            self.segments[address.value] = octets
        assert self.head is None or publication.head.sequence > self.head.sequence
        self.head = IndexHead.decode(publication.head.encode())
        self.store.run_sync(lambda db: publisher.confirm(db, publication.head))
        return publication

    def index(self) -> NodeIndex:
        assert self.head is not None
        parsed = []
        for ref in self.head.segments:
            octets = self.segments[ref.address.value]
            assert len(octets) == ref.octets
            parsed.append(Segment(octets))
            header = parsed[-1].header
            assert (header.node, header.epoch, header.number) == (NODE, self.head.epoch, ref.number)
        return NodeIndex(self.head, tuple(parsed))

    def hits(self, today: date = TODAY, **row: str) -> tuple[Hit, ...]:
        """What an asker finds for the officer of `make_row(**row)`."""
        index = self.index()
        epoch = self.store.run_sync(lambda db: epochs.usable(db, index.head.epoch, NOW))
        keys = epochs.keys_for(epoch.seed, FEDERATION, NODE, epoch.number)
        assert {key_class: pair.public for key_class, pair in keys.items()} == dict(index.head.keys)
        findings = find_hits(
            ask(make_content(**row).identity.particulars(), LookupShape.DETAILED, keys),
            index,
            FEDERATION,
            today,
        )
        assert not findings.failures
        return findings.hits


@pytest.fixture
def hub(store: Store) -> Hub:
    return Hub(store, {})


def published_ids(store: Store, epoch: int) -> set[str]:
    """agency_record_ids of what stands in the index of `epoch` and is not withdrawn."""

    def read(db: Database) -> set[str]:
        rows = db.execute("SELECT dcn FROM published WHERE epoch = ? AND withdrawn_in IS NULL", [epoch])
        return {filings.find(db, Dcn(row[0])).content.agency_record_id for row in rows}

    return store.run_sync(read)


# --- a record, found and opened ----------------------------------------------------------------------


def test_published_record_is_found_opened_and_committed_to(store: Store, hub: Hub) -> None:
    file(store, [make_row(), *generated_rows(30)])
    hub.take(tick(store, NOW, SETTINGS))
    (hit,) = hub.hits()
    record = store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0001"))
    assert record is not None
    assert (hit.kind, hit.tier, hit.expires_days) == (record.kind.value, record.tier.value, 0)
    resolved = store.run_sync(lambda db: resolve_handle(db, hit.epoch, hit.handle))
    assert resolved.record == record
    assert not resolved.withdrawn
    assert resolved.commitment == hit.commitment
    released = open_commitment(hit.commitment, resolved.salt, canonical(record).encode())
    assert released == CanonicalRecord.decode(canonical(record).encode())


def test_every_label_of_a_record_opens_its_share(store: Store, hub: Hub) -> None:
    file(store, [make_row()])
    hub.take(tick(store, NOW, SETTINGS))
    (hit,) = hub.hits()
    keys = record_keys(normalise(make_content().identity.particulars()))
    # The reserves are published, and asked only in place of what somebody lacks.
    asked = set(MATCH_LABELS) - set(CURRENT.reserve_labels)
    assert set(hit.labels) == {key.label.name for key in keys if key.label in asked}
    assert set(hit.labels) == {label.name for label in asked}


def test_a_reserve_opens_its_share_where_a_field_is_missing(store: Store, hub: Hub) -> None:
    file(store, [make_row()])
    hub.take(tick(store, NOW, SETTINGS))
    (hit,) = hub.hits(ssn4="")
    # Those that do not need what is missing.
    wanted = {label.name for label in CURRENT.reserve_labels if not {"S", "So"} & set(label.codes)}
    assert wanted
    assert {label.name for label in CURRENT.reserve_labels} & set(hit.labels) == wanted


def test_nobody_else_is_found(store: Store, hub: Hub) -> None:
    file(store, [make_row()])
    hub.take(tick(store, NOW, SETTINGS))
    assert (
        hub.hits(first="Corwin", last="Birchwater", birth_date="1971-02-03", ssn4="1111", post_id="77") == ()
    )


def test_expiry_stands_in_the_label(store: Store, hub: Hub) -> None:
    record = replace(make_record(), circumstances=Circumstances(expires_on=date(2027, 1, 1)))
    store.run_sync(lambda db: filings.insert(db, record, gate(record, NOW.date()).state()))
    hub.take(tick(store, NOW, SETTINGS))
    (hit,) = hub.hits()
    assert hit.expires_days == (date(2027, 1, 1) - date(1970, 1, 1)).days
    assert hub.hits(today=date(2027, 1, 1)) == ()


# --- sizes -------------------------------------------------------------------------------------------


def test_zero_and_one_record_look_the_same(tmp_path: Path) -> None:
    sizes = []
    for count in (0, 1, 8):
        folder = tmp_path / str(count)
        folder.mkdir()
        with new_store(folder) as store:
            if count:
                file(store, generated_rows(count))
            publication = tick(store, NOW, SETTINGS)
            header = Segment(publication.segments[0][1]).header
            assert (header.entries, header.blobs, header.markers) == (256, 16, 8)
            sizes.append(
                (*(len(octets) for _, octets in publication.segments), len(publication.head.encode()))
            )
    assert len(set(sizes)) == 1
    assert len(sizes[0]) == 2


def test_tick_with_nothing_to_say_publishes_the_minimum(store: Store, hub: Hub) -> None:
    file(store, generated_rows(3))
    first = hub.take(tick(store, NOW, SETTINGS))
    second = hub.take(tick(store, NOW + DAY, SETTINGS))
    assert [len(octets) for _, octets in second.segments] == [len(octets) for _, octets in first.segments]
    assert (second.published, second.withdrawn) == (0, 0)
    assert [ref.number for ref in second.head.segments] == [0, 1]


def test_record_takes_at_most_four_thousand_octets_on_average(store: Store) -> None:
    """The budget of design/PROTOCOL.md §6: ≤ 4 kB a record before padding."""
    file(store, generated_rows(300))
    publication = tick(store, NOW, SETTINGS)
    counts = store.run_sync(lambda db: [row[0] for row in db.execute("SELECT entries FROM published")])
    octets = [count * sealed_index.ENTRY_OCTETS + sealed_index.BLOB_OCTETS for count in counts]
    assert (publication.published, len(octets)) == (300, 300)
    # Rare variants of a field find no tag in one record of fifty (docs/matching.md §4).
    assert publication.dropped <= 60
    print(f"octets a record: mean {sum(octets) / 300:.0f}, most {max(octets)}")
    assert sum(octets) / 300 <= 4_000
    # Persons of several surnames and given names stand under many variants, up to 128 of them.
    assert sorted(octets)[285] <= 5_000  # 95 %
    assert max(octets) <= packing.MAX_VARIANTS * sealed_index.ENTRY_OCTETS + sealed_index.BLOB_OCTETS
    assert min(counts) >= 3


def test_records_with_very_many_variants_are_cut_label_by_label() -> None:
    person = normalise(
        Particulars(
            first="Alexander",
            middle="Benjamin",
            last="One Twoo Threee Fourr Fivee Sixx Sevenn Eightt",
            birth_date="1984-07-23",
            ssn4="4821",
            post_state="ZZ",
            post_id="204417",
        )
    )
    keys = record_keys(person)
    many = [key for _ in range(3) for key in keys]
    kept = packing._bounded(many)
    assert len(many) > packing.MAX_VARIANTS == len(kept)
    assert {key.label for key in kept} == {key.label for key in keys}
    assert packing._bounded(keys[:100]) == keys[:100]


# --- nothing repeats ---------------------------------------------------------------------------------


class Watched:
    """AESGCM that notes every key and nonce it seals with."""

    seen: list[tuple[bytes, bytes]]

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    def encrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        Watched.seen.append((self._key, nonce))
        return self._cipher.encrypt(nonce, data, associated)


def test_no_tag_nonce_or_id_repeats(store: Store, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records with equal keys, in one segment, in two segments and in two epochs."""
    Watched.seen = []
    monkeypatch.setattr(sealed_index, "AESGCM", Watched)
    file(store, [make_row(), make_row(agency_record_id="IA-2")])
    hub.take(tick(store, NOW, SETTINGS))
    file(store, [make_row(agency_record_id="IA-3")])
    hub.take(tick(store, NOW + DAY, SETTINGS))
    hub.take(tick(store, NOW + 31 * DAY, SETTINGS))
    monkeypatch.undo()

    rows = store.run_sync(
        lambda db: list(db.execute("SELECT blob_id, handle, salt, com, marker FROM published"))
    )
    assert len(rows) == 6
    for column in zip(*rows, strict=True):
        assert len(set(column)) == 6
    entries = store.run_sync(lambda db: [row[0] for row in db.execute("SELECT entries FROM published")])
    assert len(Watched.seen) == sum(entries) + 6
    assert len(set(Watched.seen)) == len(Watched.seen)
    assert len({key for key, _ in Watched.seen}) == len(Watched.seen)
    tags, blob_ids = [], []
    for octets in hub.segments.values():
        parsed = Segment(octets)
        tags += [entry[:16] for entry in parsed._entries]
        blob_ids += [blob[:16] for blob in parsed._blobs]
    assert len(tags) == len(set(tags)) == 3 * 256
    assert len(blob_ids) == len(set(blob_ids)) == 3 * 16
    assert {row[0] for row in rows} <= set(blob_ids)
    assert len(hub.hits()) == 3


def test_chain_of_equal_keys_goes_on_in_another_segment(store: Store, hub: Hub) -> None:
    """The 257th record with one key (§6.1)."""
    file(store, [make_row(agency_record_id=f"IA-{number}") for number in range(259)])
    publication = hub.take(tick(store, NOW, SETTINGS))
    assert len(publication.segments) == 2
    held = store.run_sync(
        lambda db: dict(db.execute("SELECT segment, count(*) FROM published GROUP BY segment").fetchall())
    )
    assert held == {0: 256, 1: 3}
    assert len(hub.hits()) == 259


def test_segment_holds_a_bounded_number_of_records(store: Store, hub: Hub) -> None:
    file(store, generated_rows(7))
    publication = hub.take(tick(store, NOW, replace(SETTINGS, max_records=3)))
    assert [ref.number for ref in publication.head.segments] == [0, 1, 2]
    segments = store.run_sync(lambda db: [row[0] for row in db.execute("SELECT segment FROM published")])
    assert sorted(segments) == [0, 0, 0, 1, 1, 1, 2]


def test_largest_segment_stays_below_the_limits() -> None:
    entries = segment.padded_count(packing.MAX_PACKED_ENTRIES, segment.MIN_ENTRIES)
    blobs = segment.padded_count(packing.MAX_RECORDS, segment.MIN_BLOBS)
    assert entries <= segment.MAX_ENTRIES
    octets = entries * sealed_index.ENTRY_OCTETS + blobs * sealed_index.BLOB_OCTETS
    assert octets + segment.MAX_MARKERS * 16 < segment.MAX_SEGMENT_OCTETS


def test_a_value_is_evaluated_once_in_a_tick_however_many_records_have_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[bytes] = []

    def noted(pair: oprf.KeyPair, values: Sequence[bytes]) -> list[bytes]:
        evaluated.extend(values)
        return evaluate_each(pair, values)

    evaluate_each = oprf.evaluate_each
    monkeypatch.setattr(oprf, "evaluate_each", noted)
    monkeypatch.setattr(publisher, "_BATCH", 2)
    file(store, [make_row(agency_record_id=f"IA-{number}") for number in range(5)])
    assert tick(store, NOW, SETTINGS).published == 5
    assert len(evaluated) == len(set(evaluated))


def test_values_that_are_kept_are_bounded(store: Store, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_CACHED_VALUES", 10)
    monkeypatch.setattr(publisher, "_BATCH", 1)
    file(store, [make_row(agency_record_id=f"IA-{number}") for number in range(3)])
    hub.take(tick(store, NOW, SETTINGS))
    assert len(hub.hits()) == 3


def test_a_record_opened_for_the_plan_is_not_opened_again_up_to_a_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(store, generated_rows(5))
    monkeypatch.setattr(publisher, "_KEPT_OPEN", 3)
    planned = store.run_sync(lambda db: publisher.plan(db, NOW, SETTINGS))
    assert {dcn: str(record.dcn) for dcn, record in planned.opened.items()} == {
        row.dcn: row.dcn for row in planned.rows[:3]
    }
    opened: list[str] = []
    open_row = filings.SealedRecord.open

    def noted(row: filings.SealedRecord) -> Record:
        opened.append(row.dcn)
        return open_row(row)

    monkeypatch.setattr(filings.SealedRecord, "open", noted)
    assert len(publisher.seal(planned, SETTINGS).published) == 5
    assert opened == [row.dcn for row in planned.rows[3:]]


# --- the gate ----------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [
                {},
                {"opportunity": "NOT_OFFERED", "opportunity_on": ""},
                {"notice_given_on": "", "notice_method": ""},
                {"finality": "APPEAL_PENDING"},
                {"finality": "APPEAL_TIME_RUNNING", "appeal_until": "2026-06-01"},
                {"finality": "APPEAL_TIME_RUNNING", "appeal_until": "2026-01-01"},
                {"record_kind": "SEPARATION_UNDER_INVESTIGATION"},
                {"record_kind": "COMMENDATION", "sharing": "RED"},
                {"record_kind": "COMMENDATION", "sharing": "GREEN"},
            ]
        ),
        max_size=8,
    )
)
def test_only_what_passes_the_gate_appears(tmp_path_factory: Any, variants: list[dict[str, str]]) -> None:
    rows = [
        make_row(**{"agency_record_id": f"IA-{number}", **variant}) for number, variant in enumerate(variants)
    ]
    with new_store(tmp_path_factory.mktemp("store")) as store:
        if rows:
            file(store, rows)
        publication = Hub(store, {}).take(tick(store, NOW, SETTINGS))
        passing = {
            row["agency_record_id"]
            for row in rows
            if gate(initial(make_content(**row), NOW, ORI, NODE, "x"), gate_day(NOW)).matchable
        }
        assert published_ids(store, 1) == passing
        assert publication.published == len(passing)


def test_gate_is_asked_again_whatever_its_stored_word_says(store: Store, hub: Hub) -> None:
    file(store, [make_row(finality="APPEAL_PENDING")])
    store.run_sync(lambda db: db.execute("UPDATE record_heads SET matchable = 1"))
    # Past the first tick of the epoch, which asks the gate for every record anyway.
    store.run_sync(lambda db: epochs.current(db, NOW))
    publication = hub.take(tick(store, NOW, SETTINGS))
    assert publication.published == 0
    assert hub.hits() == ()


def test_record_appears_when_its_time_to_appeal_has_run_out(store: Store, hub: Hub) -> None:
    file(store, [make_row(finality="APPEAL_TIME_RUNNING", appeal_until="2026-03-03")])
    assert hub.take(tick(store, NOW, SETTINGS)).published == 0
    assert hub.take(tick(store, NOW + DAY, SETTINGS)).published == 0
    assert hub.take(tick(store, NOW + 2 * DAY, SETTINGS)).published == 1
    assert len(hub.hits()) == 1


# --- withdrawal --------------------------------------------------------------------------------------


def test_record_that_fails_the_gate_later_is_withdrawn(store: Store, hub: Hub) -> None:
    file(store, [make_row(), *generated_rows(3)])
    hub.take(tick(store, NOW, SETTINGS))
    (before,) = hub.hits()
    file(store, [make_row(finality="APPEAL_PENDING")], NOW + DAY)
    publication = hub.take(tick(store, NOW + DAY, SETTINGS))
    assert (publication.published, publication.withdrawn) == (0, 1)
    assert hub.hits() == ()
    resolved = store.run_sync(lambda db: resolve_handle(db, before.epoch, before.handle))
    assert resolved.withdrawn
    # The others are where they were, and the marker is not published twice.
    assert len(published_ids(store, 1)) == 3
    assert hub.take(tick(store, NOW + 2 * DAY, SETTINGS)).withdrawn == 0


def test_marker_is_the_one_the_protocol_derives(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[sealed_index.RecordSecrets] = []
    draw = sealed_index.RecordSecrets.draw

    def remember(random_bytes: sealed_index.RandomBytes) -> sealed_index.RecordSecrets:
        drawn.append(draw(random_bytes))
        return drawn[-1]

    monkeypatch.setattr(sealed_index.RecordSecrets, "draw", remember)
    file(store, [make_row()])
    tick(store, NOW, SETTINGS)
    file(store, [make_row(finality="APPEAL_PENDING")])
    publication = tick(store, NOW, SETTINGS)
    marker = sealed_index.withdrawal_marker(drawn[0].secret, drawn[0].blob_id)
    assert [Segment(octets).withdrawn(marker) for _, octets in publication.segments] == [False, True]


def test_corrected_record_replaces_its_old_version_in_one_tick(store: Store, hub: Hub) -> None:
    file(store, [make_row()])
    hub.take(tick(store, NOW, SETTINGS))
    (old,) = hub.hits()
    file(store, [make_row(narrative="Corrected.")], NOW + DAY)
    publication = hub.take(tick(store, NOW + DAY, SETTINGS))
    assert (publication.published, publication.withdrawn) == (1, 1)
    (new,) = hub.hits()
    assert new.handle != old.handle
    first, second = (
        store.run_sync(lambda db, hit=hit: resolve_handle(db, hit.epoch, hit.handle))  # type: ignore[misc]
        for hit in (old, new)
    )
    assert (first.withdrawn, first.record.version) == (True, 1)
    assert (second.withdrawn, second.record.version) == (False, 2)


def test_record_that_returns_gets_a_new_blob(store: Store, hub: Hub) -> None:
    record = make_record(finality="APPEAL_TIME_RUNNING", appeal_until="2026-01-01")
    decision = gate(record, NOW.date())
    store.run_sync(lambda db: filings.insert(db, record, decision.state()))
    hub.take(tick(store, NOW, SETTINGS))
    (old,) = hub.hits()
    held = GateDecision(False, ()).state()
    store.run_sync(lambda db: filings.set_gate(db, record, held))
    assert hub.take(tick(store, NOW + DAY, SETTINGS)).withdrawn == 1
    assert hub.hits() == ()
    store.run_sync(lambda db: filings.set_gate(db, record, decision.state()))
    assert hub.take(tick(store, NOW + 2 * DAY, SETTINGS)).published == 1
    (new,) = hub.hits()
    assert new.blob_id != old.blob_id
    assert new.handle != old.handle


def test_expunged_record_is_withdrawn_and_cannot_be_resolved(store: Store, hub: Hub) -> None:
    file(store, [make_row()])
    hub.take(tick(store, NOW, SETTINGS))
    (hit,) = hub.hits()
    record = store.run_sync(lambda db: resolve_handle(db, hit.epoch, hit.handle)).record
    store.run_sync(lambda db: lifecycle.expunge(db, record.dcn, Doing(NOW, "clerk-7", NoPack())))
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: resolve_handle(db, hit.epoch, hit.handle))
    assert hub.take(tick(store, NOW + DAY, SETTINGS)).withdrawn == 1
    assert hub.hits() == ()
    assert hub.take(tick(store, NOW + 31 * DAY, SETTINGS)).published == 0


# --- epochs ------------------------------------------------------------------------------------------


def test_rotation_packs_everything_anew_with_fresh_secrets(store: Store, hub: Hub) -> None:
    file(store, [make_row(), *generated_rows(4)])
    hub.take(tick(store, NOW, SETTINGS))
    hub.take(tick(store, NOW + DAY, SETTINGS))
    (old,) = hub.hits()
    before = hub.head
    publication = hub.take(tick(store, NOW + 30 * DAY, SETTINGS))
    assert before is not None
    assert (publication.head.epoch, publication.published) == (2, 5)
    assert [ref.number for ref in publication.head.segments] == [0]
    assert publication.head.keys != before.keys
    assert not {ref.address for ref in publication.head.segments} & {ref.address for ref in before.segments}
    (new,) = hub.hits()
    assert (new.epoch, old.epoch) == (2, 1)
    assert new.handle != old.handle
    assert new.commitment != old.commitment
    # Requests that name the old handle still find the record.
    assert store.run_sync(lambda db: resolve_handle(db, 1, old.handle)).record.content == make_content()
    assert published_ids(store, 1) == published_ids(store, 2)
    assert store.run_sync(lambda db: list(db.execute("SELECT 1 FROM segments WHERE epoch = 1"))) == []


def test_rotation_asked_for_happens_at_once(store: Store, hub: Hub) -> None:
    file(store, generated_rows(2))
    hub.take(tick(store, NOW, SETTINGS))
    publication = hub.take(tick(store, NOW + timedelta(hours=1), SETTINGS, rotate=True))
    assert (publication.head.epoch, publication.published) == (2, 2)


def test_other_threshold_begins_an_epoch(store: Store, hub: Hub) -> None:
    """Shares of one polynomial fit one threshold only (§6.2)."""
    file(store, [make_row()])
    assert hub.take(tick(store, NOW, SETTINGS)).head.threshold == 3
    publication = hub.take(tick(store, NOW + DAY, replace(SETTINGS, threshold=5)))
    assert (publication.head.epoch, publication.head.threshold) == (2, 5)
    assert len(hub.hits()) == 1


def test_other_scheme_begins_an_epoch_and_is_due_at_once(store: Store, hub: Hub) -> None:
    """What was packed under one version meets no lookup of the other."""
    file(store, [make_row()])
    assert hub.take(tick(store, NOW, SETTINGS)).head.scheme_version == CURRENT.version
    changed = replace(SETTINGS, scheme=NEXT, threshold=NEXT.threshold)
    assert not store.run_sync(lambda db: publisher.tick_due(db, NOW, timedelta.max, SETTINGS))
    assert store.run_sync(lambda db: publisher.tick_due(db, NOW, timedelta.max, changed))
    publication = hub.take(tick(store, NOW, changed))
    head = publication.head
    assert (head.epoch, head.scheme_version, head.threshold) == (2, NEXT.version, NEXT.threshold)
    assert publication.published == 1
    assert not store.run_sync(lambda db: publisher.tick_due(db, NOW, timedelta.max, changed))
    # A version without another threshold is another index all the same.
    twin = replace(SETTINGS, scheme=NEXT)
    assert hub.take(tick(store, NOW, twin)).head.epoch == 3
    assert hub.take(tick(store, NOW, SETTINGS)).head.epoch == 4


def test_full_head_begins_an_epoch(store: Store, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "MAX_SEGMENTS", 102)
    file(store, generated_rows(1))
    epochs_seen = [hub.take(tick(store, NOW + n * DAY, SETTINGS)).head.epoch for n in range(4)]
    assert epochs_seen == [1, 1, 1, 2]


def test_tick_destroys_old_seeds_and_forgets_old_handles_in_time(store: Store, hub: Hub) -> None:
    file(store, [make_row()])
    hub.take(tick(store, NOW, SETTINGS))
    (hit,) = hub.hits()
    end = NOW + 30 * DAY
    hub.take(tick(store, end, SETTINGS))
    hub.take(tick(store, end + DAY - timedelta(seconds=1), SETTINGS))
    assert store.run_sync(lambda db: epochs.usable(db, 1, end)).number == 1
    hub.take(tick(store, end + DAY, SETTINGS))
    assert store.run_sync(lambda db: [row[0] for row in db.execute("SELECT epoch FROM epoch_seeds")]) == [2]
    hub.take(tick(store, end + 30 * DAY - timedelta(seconds=1), SETTINGS))
    assert store.run_sync(lambda db: resolve_handle(db, 1, hit.handle))
    hub.take(tick(store, end + 30 * DAY, SETTINGS))
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: resolve_handle(db, 1, hit.handle))


def test_destroyed_seed_leaves_the_files(tmp_path: Path, store: Store) -> None:
    """Together with the page encryption: not even the ciphertext of the seed's page is kept."""
    tick(store, NOW, SETTINGS)
    tick(store, NOW + 30 * DAY, SETTINGS)
    tick(store, NOW + 32 * DAY, SETTINGS)
    assert Path(f"{store.path}-wal").stat().st_size == 0


@pytest.mark.parametrize("handle", [Handle(bytes(16)), None])
def test_handle_is_bound_to_its_epoch(store: Store, hub: Hub, handle: Handle | None) -> None:
    file(store, [make_row()])
    hub.take(tick(store, NOW, SETTINGS))
    (hit,) = hub.hits()
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: resolve_handle(db, 1 if handle else 2, handle or hit.handle))


def test_record_that_is_not_what_was_committed_to_is_not_resolved(store: Store, hub: Hub) -> None:
    file(store, [make_row()])
    hub.take(tick(store, NOW, SETTINGS))
    (hit,) = hub.hits()
    store.run_sync(lambda db: db.execute("UPDATE published SET salt = zeroblob(32)"))
    with pytest.raises(CommitmentMismatch):
        store.run_sync(lambda db: resolve_handle(db, hit.epoch, hit.handle))


# --- stored before it is sent ------------------------------------------------------------------------


def test_crash_before_sending_sends_the_same_octets(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        file(store, generated_rows(3))
        publication = tick(store, NOW, SETTINGS)
        path = store.path
    with Store.open(path, STORE_KEY) as store:
        again = store.run_sync(publisher.pending)
        assert again is not None
        assert again.segments == publication.segments
        assert again.head == publication.head
        assert again.head.encode() == publication.head.encode()
        store.run_sync(lambda db: publisher.confirm(db, again.head))
        assert store.run_sync(publisher.pending) is None
        assert store.run_sync(publisher.latest_head) == publication.head
        bodies = store.run_sync(lambda db: list(db.execute("SELECT body FROM segments")))
        assert bodies == [(None,)]


def test_unsent_segments_go_with_the_next_head(store: Store) -> None:
    file(store, generated_rows(1))
    first = tick(store, NOW, SETTINGS)
    file(store, generated_rows(1, seed=2))
    second = tick(store, NOW + DAY, SETTINGS)
    assert second.segments[0] == first.segments[0]
    assert len(second.segments) == len(second.head.segments) == 2
    # The hub's word about the first head comes late: nothing of the second is forgotten.
    store.run_sync(lambda db: publisher.confirm(db, first.head))
    pending = store.run_sync(publisher.pending)
    assert pending is not None
    assert pending.segments == second.segments


def test_failure_while_storing_stores_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file(store, generated_rows(2))
    entries = store.run_sync(ledger.verify)

    def fail(*_: object) -> None:
        raise AssertionError("crash")

    monkeypatch.setattr(publisher, "_forget", fail)
    with pytest.raises(AssertionError, match="crash"):
        tick(store, NOW, SETTINGS)
    monkeypatch.undo()
    for table in ("epochs", "epoch_seeds", "segments", "published", "index_state"):
        rows = store.run_sync(lambda db, table=table: list(db.execute(f"SELECT 1 FROM {table}")))  # type: ignore[misc]
        assert rows == []
    assert store.run_sync(ledger.verify) == entries
    assert tick(store, NOW, SETTINGS).published == 2


def test_sequence_only_grows(tmp_path: Path) -> None:
    sequences = []
    for moment in (NOW, NOW - 100 * DAY, NOW + 400 * DAY, NOW):
        if not (tmp_path / "node.db").exists():
            new_store(tmp_path).close()
        with Store.open(tmp_path / "node.db", STORE_KEY) as store:
            sequences.append(tick(store, moment, SETTINGS).head.sequence)
            at = moment + DAY
            sequences.append(store.run_sync(lambda db, at=at: publisher.refresh_head(db, at)).head.sequence)  # type: ignore[misc]
    assert sequences == list(range(1, 9))


def test_record_changed_while_sealing_is_never_published(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(store, [make_row(), *generated_rows(2)])
    seal, calls = publisher.seal, 0

    def slow(planned: publisher.Plan, how: Settings) -> packing.Sealed:
        nonlocal calls
        calls += 1
        sealed = seal(planned, how)
        if calls == 1:
            file(store, [make_row(finality="APPEAL_PENDING")])
        return sealed

    monkeypatch.setattr(publisher, "seal", slow)
    assert tick(store, NOW, SETTINGS).published == 2
    assert calls == 2
    assert len(published_ids(store, 1)) == 2


def test_plan_of_an_older_state_is_refused(store: Store) -> None:
    file(store, generated_rows(1))
    planned = store.run_sync(lambda db: publisher.plan(db, NOW, SETTINGS))
    sealed = publisher.seal(planned, SETTINGS)
    tick(store, NOW, SETTINGS)
    with pytest.raises(ConflictingResubmission):
        store.run_sync(lambda db: publisher.store_tick(db, planned, sealed, SETTINGS))


def test_records_that_keep_changing_do_not_keep_a_tick_from_ending(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(store, [make_row()])
    seal, calls = publisher.seal, 0

    def slow(planned: publisher.Plan, how: Settings) -> packing.Sealed:
        nonlocal calls
        calls += 1
        sealed = seal(planned, how)
        if calls <= 3:
            file(store, [make_row(narrative=f"Change {calls}.")])
        return sealed

    monkeypatch.setattr(publisher, "seal", slow)
    assert tick(store, NOW, SETTINGS).published == 1
    assert calls == 4


def test_one_transaction_does_the_same(store: Store, hub: Hub) -> None:
    file(store, [make_row()])
    hub.take(store.run_sync(lambda db: build_tick(db, NOW, SETTINGS)))
    assert len(hub.hits()) == 1


def test_same_randomness_gives_the_same_octets(tmp_path: Path) -> None:
    publications = []
    record = make_record()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with new_store(tmp_path / name) as store:
            store.run_sync(lambda db: filings.insert(db, record, gate(record, NOW.date()).state()))
            publications.append(tick(store, NOW, replace(SETTINGS, random_bytes=drawn_from("seed"))))
    assert publications[0] == publications[1]


# --- when --------------------------------------------------------------------------------------------


def test_tick_is_due_first_then_at_its_interval_and_when_the_epoch_ends(store: Store) -> None:
    week = timedelta(days=7)

    def due(moment: datetime, interval: timedelta = week) -> bool:
        return store.run_sync(lambda db: publisher.tick_due(db, moment, interval, SETTINGS))

    assert due(NOW)
    tick(store, NOW, SETTINGS)
    assert not due(NOW + week - timedelta(seconds=1))
    assert due(NOW + week)
    assert not due(NOW + 29 * DAY, timedelta.max)
    assert due(NOW + 30 * DAY, timedelta.max)
    # A clock that ran ahead at the last tick and was put right.
    assert due(NOW - week)


def test_withdrawal_goes_out_with_the_daily_head_and_does_not_wait_for_the_calendar(
    store: Store, hub: Hub
) -> None:
    file(store, [make_row()])
    hub.take(tick(store, NOW, SETTINGS))
    (dcn,) = store.run_sync(filings.gate_words)
    store.run_sync(lambda db: lifecycle.void(db, Dcn(dcn), Doing(NOW, "clerk-7", NoPack())))

    def due(moment: datetime) -> bool:
        return store.run_sync(lambda db: publisher.tick_due(db, moment, timedelta(days=7), SETTINGS))

    assert not due(NOW + timedelta(hours=23))
    assert due(NOW + DAY)
    assert hub.take(tick(store, NOW + DAY, SETTINGS)).withdrawn == 1
    assert hub.hits() == ()
    assert not due(NOW + 2 * DAY)


def test_head_is_refreshed_daily_without_change(store: Store, hub: Hub) -> None:
    assert not store.run_sync(lambda db: publisher.head_due(db, NOW))
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: publisher.refresh_head(db, NOW))
    file(store, [make_row()])
    first = hub.take(tick(store, NOW, SETTINGS))
    assert not store.run_sync(lambda db: publisher.head_due(db, NOW + timedelta(hours=23)))
    assert store.run_sync(lambda db: publisher.head_due(db, NOW + DAY))
    second = hub.take(store.run_sync(lambda db: publisher.refresh_head(db, NOW + DAY)))
    assert second.segments == ()
    assert second.head == replace(first.head, sequence=2, issued_at=NOW + DAY)
    assert len(hub.hits()) == 1
    assert not store.run_sync(lambda db: publisher.head_due(db, NOW + DAY))
    # A refresh is not a tick.
    assert store.run_sync(lambda db: publisher.tick_due(db, NOW + DAY, DAY, SETTINGS))


# --- accounting and printing -------------------------------------------------------------------------


def test_publication_is_in_the_ledger_as_counts(store: Store) -> None:
    file(store, generated_rows(2))
    tick(store, NOW, SETTINGS)
    (entry,) = store.run_sync(lambda db: ledger.entries(db, event="index"))
    assert entry.refs == {"epoch": "1", "sequence": "1"}
    assert entry.details == {"records": 2, "withdrawn": 0, "segments": 1, "dropped": 0}


def test_secrets_are_not_printed(store: Store) -> None:
    file(store, [make_row()])
    planned = store.run_sync(lambda db: publisher.plan(db, NOW, SETTINGS))
    sealed = publisher.seal(planned, SETTINGS)
    publication = store.run_sync(lambda db: publisher.store_tick(db, planned, sealed, SETTINGS))
    shown = repr((planned, sealed, publication, planned.rows, SETTINGS))
    secret = sealed.published[0].secrets
    for octets in (planned.epoch.seed, planned.rows[0].key, secret.secret, secret.salt):
        assert octets.hex() not in shown
        assert repr(octets) not in shown
    for value in content_fields(make_content()).values():
        assert len(value) < 5 or value not in shown


def test_versions_of_one_record_never_stand_in_one_index_together(store: Store, hub: Hub) -> None:
    first = make_record()
    second = following(first, make_content(narrative="Corrected."), NOW, CONTRIBUTOR)
    for record in (first, second):
        decision = gate(record, NOW.date())
        store.run_sync(lambda db, r=record, d=decision: filings.insert(db, r, d.state()))  # type: ignore[misc]
    hub.take(tick(store, NOW, SETTINGS))
    (hit,) = hub.hits()
    assert store.run_sync(lambda db: resolve_handle(db, 1, hit.handle)).record.version == 2


# --- after a restore ---------------------------------------------------------------------------------


def logged(store: Store, sequence: int, epoch: int, keys: bytes = bytes(96)) -> None:
    """The log holds this head of the node, which its database does not remember."""
    head = log_store.LoggedHead(sequence, epoch, keys, bytes(32))
    store.run_sync(lambda db: log_store.keep_logged_head(db, head))


def own_keys(head: IndexHead) -> bytes:
    return b"".join(head.keys[key_class].to_bytes() for key_class in CLASSES)


def test_a_sequence_goes_on_above_the_logged_one(store: Store) -> None:
    first = tick(store, NOW, SETTINGS).head
    logged(store, 9, first.epoch, own_keys(first))
    assert tick(store, NOW, SETTINGS).head.sequence == 10
    logged(store, 30, first.epoch, own_keys(first))
    assert store.run_sync(lambda db: publisher.refresh_head(db, NOW)).head.sequence == 31


def test_a_logged_head_that_is_read_while_sealing_is_not_overlooked(store: Store) -> None:
    first = tick(store, NOW, SETTINGS).head
    planned = store.run_sync(lambda db: publisher.plan(db, NOW, SETTINGS))
    logged(store, 9, first.epoch, own_keys(first))
    with pytest.raises(ConflictingResubmission):
        store.run_sync(
            lambda db: publisher.store_tick(db, planned, publisher.seal(planned, SETTINGS), SETTINGS)
        )


@pytest.mark.parametrize(("epoch", "next_epoch"), [(1, 2), (7, 8)], ids=["other keys", "later epoch"])
def test_an_epoch_that_the_log_has_left_behind_is_over(store: Store, epoch: int, next_epoch: int) -> None:
    """A database that was restored may hold an older epoch, or none of this one's keys (§14.5)."""
    tick(store, NOW, SETTINGS)
    assert not store.run_sync(lambda db: publisher.tick_due(db, NOW, DAY, SETTINGS))
    logged(store, 9, epoch)
    assert store.run_sync(lambda db: publisher.tick_due(db, NOW, DAY, SETTINGS))
    head = tick(store, NOW, SETTINGS).head
    assert (head.epoch, head.sequence) == (next_epoch, 10)


def test_the_own_logged_head_changes_nothing(store: Store) -> None:
    head = tick(store, NOW, SETTINGS).head
    logged(store, head.sequence, head.epoch, own_keys(head))
    assert not store.run_sync(lambda db: publisher.tick_due(db, NOW, DAY, SETTINGS))
    assert tick(store, NOW, SETTINGS).head.epoch == head.epoch
