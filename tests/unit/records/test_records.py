"""Records as values, and as what is released (RECORDS.md §3)."""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import InputInvalid
from candor_proto.policy import Sharing
from candor_proto.record import CanonicalRecord, RecordKind, Tier
from candor_records.codes import AllegationCategory, Missing
from candor_records.content import (
    CONTENT_FIELDS,
    DUE_PROCESS_FIELDS,
    IDENTITY_FIELDS,
    NO_DUE_PROCESS,
    Content,
    ContentInvalid,
    DueProcess,
    Identity,
    content_fields,
)
from candor_records.kinds import FIELDS_OF
from candor_records.record_fields import parse
from candor_records.records import Circumstances, Dcn, canonical
from tests.records import generated_rows, make_content, make_record, make_row


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
    nested = {"identity", "due_process", "details"}
    assert {field.name for field in fields(Content)} - nested <= set(CONTENT_FIELDS)


# --- printing ----------------------------------------------------------------------------------------


def test_nothing_that_names_anybody_is_printed() -> None:
    row = make_row(former_last="Formerly", suffix="Jr", narrative="A telling story.")
    content, _ = parse(row)
    assert content is not None
    record = replace(
        make_record(), content=content, circumstances=Circumstances(subject_statement="I was not there.")
    )
    shown = repr((record, content.identity, canonical(record)))
    hidden = [row[name] for name in IDENTITY_FIELDS if len(row[name]) > 2]
    for value in (*hidden, row["narrative"], row["agency_record_id"], "I was not there."):
        assert value not in shown


# --- what is released --------------------------------------------------------------------------------


def test_canonical_record_holds_what_the_requester_may_see() -> None:
    record = make_record()
    released = canonical(record)
    assert released.kind is RecordKind.TERMINATION_FOR_CAUSE
    filing = (
        "code_set dcn version report_type previous_dcn adjudication_status reporting_agency publishing_node"
    )
    rest = "effective_on reported_on expires_on on_duty use_of_force_related allegation_categories"
    own = FIELDS_OF[RecordKind.TERMINATION_FOR_CAUSE]
    names = {*IDENTITY_FIELDS, *DUE_PROCESS_FIELDS, *filing.split(), *rest.split(), *own}
    assert set(released.fields) == {*names, "source_of_record", "narrative", "earlier_reports"}
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


def test_generated_rows_are_valid_and_repeatable() -> None:
    rows = list(generated_rows(50))
    assert rows == list(generated_rows(50))
    assert rows != list(generated_rows(50, seed=2))
    assert all(parse(row)[0] for row in rows)
