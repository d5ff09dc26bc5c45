"""Records as values, as rows, and as what is released (RECORDS.md §3)."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node import filings
from candor_node.content import (
    CONTENT_FIELDS,
    DUE_PROCESS_FIELDS,
    IDENTITY_FIELDS,
    NO_DUE_PROCESS,
    AllegationCategory,
    Content,
    ContentInvalid,
    DueProcess,
    FieldInvalid,
    Identity,
    Missing,
    content_fields,
)
from candor_node.due_process import gate
from candor_node.filings import GateState
from candor_node.record_fields import parse
from candor_node.records import Dcn, DisputeGround, ReportType, canonical, following
from candor_node.store import Store
from candor_proto.errors import InputInvalid, SealedDataInvalid, UnknownObject
from candor_proto.policy import Sharing
from candor_proto.record import CanonicalRecord, DisputeStatus, RecordKind, Tier
from tests.records import NOW, ORI, generated_rows, make_content, make_record, make_row, new_store

OPEN = GateState(True, (), None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def faults(**overrides: str) -> dict[str, str]:
    """Field and reason of everything that is wrong with the row."""
    content, found = parse(make_row(**overrides))
    assert (content is None) == bool(found)
    return {fault.field: fault.reason for fault in found}


# --- control numbers ---------------------------------------------------------------------------------


@given(
    st.binary(min_size=10, max_size=10),
    st.integers(0, 16),
    st.integers(0, 16),
    st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"),
)
def test_dcn_finds_a_wrong_letter_and_two_swapped_ones(octets: bytes, at: int, to: int, letter: str) -> None:
    dcn = Dcn.draw(lambda count: octets[:count])
    assert Dcn.parse(f" {dcn.value[:4]}-{dcn.value[4:]} ".lower()) == dcn
    text = dcn.value
    wrong = text[:at] + letter + text[at + 1 :]
    letters = list(text)
    letters[at], letters[to] = letters[to], letters[at]
    for other in (wrong, "".join(letters)):
        if other != text:
            with pytest.raises(InputInvalid):
                Dcn(other)


def test_dcn_carries_eighty_random_bits() -> None:
    assert len({Dcn.draw() for _ in range(500)}) == 500
    assert Dcn.draw(lambda count: bytes(count)).value[:-1] == "0" * 16
    assert Dcn.draw(lambda count: b"\xff" * count).value[:-1] == "Z" * 16


# --- fields ------------------------------------------------------------------------------------------


def test_valid_row_is_read_whole() -> None:
    content = make_content()
    assert content.record_kind is RecordKind.TERMINATION_FOR_CAUSE
    assert content.tier is Tier.ADJUDICATED
    assert content.identity.suffix is Missing.UNKNOWN
    assert content.due_process.appeal_until is Missing.NOT_APPLICABLE
    assert content.allegation_categories == (
        AllegationCategory.DISHONESTY,
        AllegationCategory.ABUSE_OF_POWER,
    )
    assert set(CONTENT_FIELDS) == set(make_row())


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("agency_record_id", "", "is empty"),
        ("agency_record_id", "-x", "letter or digit first"),
        ("agency_record_id", "x" * 65, "1 to 64"),
        ("record_kind", "", "is empty"),
        ("record_kind", "TERMINATED", "is none of TERMINATION_FOR_CAUSE"),
        ("first", "", "is empty"),
        ("first", "x" * 101, "longer than 100"),
        ("first", "Quen\x07tin", "control character"),
        ("first", "FNU", "write UNKNOWN if nobody knows it"),
        ("first", "Иван", "not Latin"),
        ("middle", "NMN", "leave it empty, or write NOT_APPLICABLE"),
        ("last", "", "is empty"),
        ("last", "LNU", "placeholder"),
        ("last", "Unknown", "placeholder"),
        ("last", "!!", "no letters"),
        ("last", "XXX", "give the surname"),
        ("last", "陳", "not Latin"),
        ("former_last", "N/A", "placeholder or has no letters; leave it empty"),
        ("birth_date", "07/23/1984", "not a date of the form"),
        ("birth_date", "1984-7-23", "not a date of the form"),
        ("birth_date", "1984-02-30", "does not exist"),
        ("birth_date", "1900-01-01", "placeholder; leave it empty"),
        ("birth_date", "1901-01-01", "placeholder; leave it empty"),
        ("birth_date", "9999-12-31", "placeholder; leave it empty"),
        ("birth_date", "1900", "placeholder; leave it empty"),
        ("birth_date", "0001-01-01", "placeholder"),
        ("birth_date", "1984-00-00", "does not exist"),
        ("birth_date", "2020-01-01", "too late"),
        ("ssn4", "0000", "placeholder; leave it empty"),
        ("ssn4", "9999", "placeholder; leave it empty"),
        ("ssn4", "482", "leading zeros"),
        ("ssn4", "123-45-6789", "only its last four"),
        ("ssn4", "123456789", "only its last four"),
        ("sex", "W", "none of M, F, X"),
        ("post_state", "Ohia", "two letters"),
        ("post_id", "000000", "placeholder"),
        ("post_id", "PENDING", "placeholder or holds no number; leave it empty"),
        ("post_id", "999999", "placeholder"),
        ("post_id", "", "belong together"),
        ("post_state", "", "belong together"),
        ("effective_on", "", "is empty"),
        ("effective_on", "2021-06", "not a date"),
        ("decided_on", "1900-01-01", "placeholder"),
        ("decided_on", "", "must be given"),
        ("decision_maker", "", "must be given"),
        ("decision_maker", "MAYOR", "none of CHIEF"),
        ("standard_of_proof", "", "must be given"),
        ("finality", "", "must be given"),
        ("notice_method", "", "belong together"),
        ("notice_given_on", "", "belong together"),
        ("opportunity", "", "must be given"),
        ("opportunity_on", "", "must be given when"),
        ("appeal_until", "2021-07-01", "only while"),
        ("sharing", "BLUE", "none of GREEN"),
        ("on_duty", "", "is empty"),
        ("on_duty", "MAYBE", "none of YES"),
        ("allegation_categories", "DISHONESTY;RUDENESS", "none of DISHONESTY"),
        ("narrative", "x" * 4001, "longer than 4000"),
        ("narrative", "His number is 123-45-6789.", "social security number"),
        ("narrative", "See the Garrity statement of May.", "compelled statement"),
        ("narrative", "a\x00b", "control character"),
    ],
)
def test_field_is_refused_with_its_reason(column: str, value: str, reason: str) -> None:
    found = faults(**{column: value})
    assert list(found) == [column]
    assert reason in found[column]
    assert not value.strip() or len(value) < 5 or value not in found[column]


def test_nothing_of_category_c_is_printable() -> None:
    """On which the short way past the search for control characters rests."""
    letters = map(chr, range(sys.maxunicode + 1))
    assert not any(
        unicodedata.category(letter).startswith("C") and letter.isprintable() for letter in letters
    )


@pytest.mark.parametrize("column", ["first", "narrative"])
@pytest.mark.parametrize("letter", ["\u200b", "\u0085", "\ue000"])
def test_control_characters_beyond_ascii_are_refused(column: str, letter: str) -> None:
    assert "control character" in faults(**{column: f"Quen{letter}tin"})[column]


@pytest.mark.parametrize("column", ["first", "narrative"])
def test_blanks_that_do_not_print_are_no_control_characters(column: str) -> None:
    assert not faults(**{column: "Quen\u00a0\u2003tin"})


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("record_kind", "ALLEGATION", "an allegation without a sustained decision is never reported"),
        ("record_kind", "Complaint", "an allegation"),
        ("finality", "NOT SUSTAINED", "an allegation"),
        ("record_kind", "CIVIL_SETTLEMENT", "a settlement is not a judgment"),
        ("decision_maker", "Settlement", "a settlement is not a judgment"),
        ("finality", "SETTLEMENT_NO_ADMISSION", "a settlement is not a judgment"),
        ("source_of_record", "NCIC", "28 CFR 20.33"),
        ("source_of_record", "III", "28 CFR 20.33"),
        ("source_of_record", "CHRI", "28 CFR 20.33"),
    ],
)
def test_what_may_not_be_reported_is_refused_for_that_reason(column: str, value: str, reason: str) -> None:
    assert reason in faults(**{column: value})[column]


def test_everything_wrong_is_said_at_once() -> None:
    found = faults(ssn4="0000", last="", finality="SETTLED", on_duty="x")
    assert set(found) == {"ssn4", "last", "finality", "on_duty"}
    contradictions = faults(decided_on="", finality="", opportunity="", post_id="")
    assert set(contradictions) == {"decided_on", "finality", "opportunity", "post_id"}


def test_running_appeal_needs_its_end() -> None:
    assert "must be given" in faults(finality="APPEAL_TIME_RUNNING")["appeal_until"]
    before = faults(finality="APPEAL_TIME_RUNNING", appeal_until="2021-06-01")
    assert "lies before the decision" in before["appeal_until"]


def test_name_alone_identifies_nobody() -> None:
    found = faults(birth_date="", ssn4="", post_state="", post_id="")
    assert "identifies nobody" in found["birth_date"]
    assert faults(birth_date="", ssn4="") == {}
    assert faults(birth_date="1984", ssn4="", post_state="", post_id="") == {}


def test_conviction_comes_from_the_court_only() -> None:
    assert faults(record_kind="CRIMINAL_CONVICTION") == {}
    found = faults(record_kind="CIVIL_JUDGMENT", source_of_record="PERSONNEL_ACTION")
    assert "court records only" in found["source_of_record"]


def test_separation_without_finding_is_advisory_and_never_green() -> None:
    kind = "SEPARATION_UNDER_INVESTIGATION"
    assert make_content(record_kind=kind).tier is Tier.ADVISORY
    assert "a person decides" in faults(record_kind=kind, sharing="GREEN")["sharing"]
    # There is no decision, so none is asked for.
    assert faults(record_kind=kind, decided_on="", decision_maker="", standard_of_proof="", finality="") == {}


@pytest.mark.parametrize("column", [*DUE_PROCESS_FIELDS, "allegation_categories"])
def test_commendation_has_no_due_process(column: str) -> None:
    assert faults(record_kind="COMMENDATION") == {}
    value = {"decided_on": "2021-06-07", "appeal_until": "2021-06-07"}.get(column, make_row()[column])
    assert "a commendation has" in faults(record_kind="COMMENDATION", **{column: value})[column]


def test_sharing_defaults_to_yellow_and_to_not_opted_in() -> None:
    assert make_content(sharing="").sharing is Sharing.YELLOW
    assert make_content(record_kind="COMMENDATION", sharing="").sharing is Sharing.RED


def test_missing_says_why() -> None:
    assert make_content(middle="WITHHELD").identity.middle is Missing.WITHHELD
    assert make_content(middle="").identity.middle is Missing.UNKNOWN
    particulars = make_content(middle="WITHHELD", birth_date="1984-07").identity.particulars()
    assert particulars.middle == ""
    assert particulars.birth_date == "1984-07-XX"
    assert make_content(birth_date="1984").identity.particulars().birth_date == "1984-XX-XX"


def test_content_that_contradicts_itself_cannot_exist() -> None:
    content = make_content()
    with pytest.raises(ContentInvalid):
        replace(content, due_process=replace(content.due_process, finality=Missing.UNKNOWN))
    with pytest.raises(ContentInvalid):
        replace(content, due_process=NO_DUE_PROCESS)


def test_column_lists_are_those_of_the_values() -> None:
    assert {field.name for field in fields(Identity)} == set(IDENTITY_FIELDS)
    assert {field.name for field in fields(DueProcess)} == set(DUE_PROCESS_FIELDS)
    assert {field.name for field in fields(Content)} - {"identity", "due_process"} <= set(CONTENT_FIELDS)


# --- printing ----------------------------------------------------------------------------------------


def test_nothing_that_names_anybody_is_printed(store: Store) -> None:
    row = make_row(former_last="Formerly", suffix="Jr", narrative="A telling story.")
    content, _ = parse(row)
    assert content is not None
    record = replace(make_record(), content=content, subject_statement="I was not there.")
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    summary = store.run_sync(lambda db: filings.summaries(db))
    sealed = store.run_sync(lambda db: filings.sealed_current(db))
    shown = repr((record, content.identity, canonical(record), summary, sealed))
    hidden = [row[name] for name in IDENTITY_FIELDS if len(row[name]) > 2]
    for value in (*hidden, row["narrative"], row["agency_record_id"], "I was not there."):
        assert value not in shown


# --- what is released --------------------------------------------------------------------------------


def test_canonical_record_holds_what_the_requester_may_see() -> None:
    record = make_record()
    released = canonical(record)
    assert released.kind is RecordKind.TERMINATION_FOR_CAUSE
    filing = "dcn version report_type previous_dcn adjudication_status reporting_agency publishing_node"
    rest = "effective_on reported_on expires_on on_duty use_of_force_related allegation_categories"
    names = {*IDENTITY_FIELDS, *DUE_PROCESS_FIELDS, *filing.split(), *rest.split()}
    assert set(released.fields) == {*names, "source_of_record", "narrative"}
    assert released.fields["last"] == "Placeholderson"
    assert released.fields["suffix"] == "UNKNOWN"
    assert released.fields["previous_dcn"] == "NOT_APPLICABLE"
    assert all(released.fields.values())
    internal = (record.content.agency_record_id, record.contributor, "YELLOW")
    assert not set(internal) & set(released.fields.values())
    assert CanonicalRecord.decode(released.encode()) == released


@pytest.mark.parametrize("kind", [kind.name for kind in RecordKind])
def test_content_is_read_back_from_its_fields(kind: str) -> None:
    overrides = {"former_last": "Müller", "narrative": "Line one\nline \u201ctwo\u201d"}
    content = make_content(record_kind=kind, **overrides)
    assert parse(content_fields(content)) == (content, ())


# --- rows --------------------------------------------------------------------------------------------


def test_record_is_found_again_whole(store: Store) -> None:
    record = replace(
        make_record(),
        dispute_status=DisputeStatus.OPEN,
        dispute_ground=DisputeGround.WRONG_PERSON,
        subject_statement="Not me.",
        expires_on=NOW.date(),
    )
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    assert store.run_sync(lambda db: filings.find(db, record.dcn)) == record
    assert store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0001")) == record
    assert store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0002")) is None
    assert record.wrong_person_disputed
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: filings.find(db, Dcn.draw()))


def test_new_version_takes_the_place_of_the_old_one_which_stays(store: Store) -> None:
    first = make_record()
    second = following(first, make_content(first="Corwin"), NOW + timedelta(days=1), "clerk-9")
    store.run_sync(lambda db: filings.insert(db, first, gate(first, NOW.date()).state()))
    store.run_sync(lambda db: filings.insert(db, second, OPEN))
    assert (second.version, second.report_type, second.previous_dcn) == (2, ReportType.CORRECTION, first.dcn)
    assert second.dcn != first.dcn
    assert store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0001")) == second
    assert store.run_sync(lambda db: filings.find(db, first.dcn)) == first
    assert store.run_sync(filings.count) == (1, 1)
    every = store.run_sync(lambda db: filings.summaries(db, only_current=False))
    assert [(entry.version, entry.current) for entry in every] == [(2, True), (1, False)]


def test_version_that_follows_an_old_state_is_refused(store: Store) -> None:
    first = make_record()
    store.run_sync(lambda db: filings.insert(db, first, OPEN))
    second = following(first, make_content(first="Corwin"), NOW, "clerk-9")
    store.run_sync(lambda db: filings.insert(db, second, OPEN))
    for stale in (following(first, make_content(first="Aldo"), NOW, "clerk-9"), make_record()):
        with pytest.raises(FieldInvalid, match="changed in the meantime"):
            store.run_sync(lambda db, record=stale: filings.insert(db, record, OPEN))  # type: ignore[misc]


def test_row_in_the_open_names_nobody(store: Store) -> None:
    """Everything but `sealed` is readable to whoever reads the table, for filtering."""
    row = make_row(former_last="Formerly")
    record = make_record(former_last="Formerly")
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    stored = store.run_sync(lambda db: next(iter(db.execute("SELECT * FROM records"))))
    text = repr(stored)
    for name in (*IDENTITY_FIELDS, "agency_record_id", "narrative"):
        if len(row[name]) > 2:
            assert row[name] not in text


def test_destroyed_key_takes_the_record_with_it(store: Store) -> None:
    record = make_record()
    store.run_sync(lambda db: filings.insert(db, record, OPEN))
    keys = store.run_sync(lambda db: [row[0] for row in db.execute("SELECT key FROM record_keys")])
    assert len(keys) == 1
    store.run_sync(lambda db: filings.destroy_key(db, record.dcn))
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: filings.find(db, record.dcn))
    assert store.run_sync(lambda db: filings.sealed_current(db)) == []
    assert store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0001")) is None


def test_every_version_has_its_own_key(store: Store) -> None:
    first = make_record()
    second = following(first, make_content(first="Corwin"), NOW, "clerk-9")
    other = make_record(agency_record_id="IA-2")
    for record in (first, second, other):
        store.run_sync(lambda db, record=record: filings.insert(db, record, OPEN))  # type: ignore[misc]
    keys = store.run_sync(lambda db: {row[0] for row in db.execute("SELECT key FROM record_keys")})
    assert len(keys) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET sealed = (SELECT sealed FROM records WHERE dcn = :other)",
        "UPDATE records SET version = 2",
        "UPDATE records SET sealed = substr(sealed, 1, length(sealed) - 1)",
    ],
)
def test_altered_or_moved_row_does_not_open(store: Store, statement: str) -> None:
    one, other = make_record(), make_record(agency_record_id="IA-2")
    for record in (one, other):
        store.run_sync(lambda db, record=record: filings.insert(db, record, OPEN))  # type: ignore[misc]
    where = f"{statement} WHERE dcn = :dcn"
    store.run_sync(lambda db: db.execute(where, {"dcn": str(one.dcn), "other": str(other.dcn)}))
    with pytest.raises(SealedDataInvalid):
        store.run_sync(lambda db: filings.find(db, one.dcn))


def test_row_under_another_number_does_not_open(store: Store) -> None:
    """Sealed octets and key moved together: only the associated data tells (aad = dcn ‖ version)."""
    one, other = make_record(), make_record(agency_record_id="IA-2")
    for record in (one, other):
        store.run_sync(lambda db, record=record: filings.insert(db, record, OPEN))  # type: ignore[misc]
    values = {"one": str(one.dcn), "other": str(other.dcn)}
    for table, column in (("records", "sealed"), ("record_keys", "key")):
        source = f"(SELECT {column} FROM {table} WHERE dcn = :other)"
        sql = f"UPDATE {table} SET {column} = {source} WHERE dcn = :one"
        store.run_sync(lambda db, sql=sql: db.execute(sql, values))  # type: ignore[misc]
    with pytest.raises(SealedDataInvalid):
        store.run_sync(lambda db: filings.find(db, one.dcn))


def test_generated_rows_are_valid_and_repeatable() -> None:
    rows = list(generated_rows(50))
    assert rows == list(generated_rows(50))
    assert rows != list(generated_rows(50, seed=2))
    assert all(parse(row)[0] for row in rows)
