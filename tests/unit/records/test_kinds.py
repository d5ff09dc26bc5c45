"""The seven kinds: their fields as tables, as texts and as values (RECORDS.md §3.4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.disclosure import MAX_RECORD_OCTETS
from candor_proto.record import MAX_FIELDS, MAX_VALUE_OCTETS, CanonicalRecord, RecordKind, Tier
from candor_records.codes import AllegationCategory, Cause, Discipline, InvestigationOutcome, Missing, YesNo
from candor_records.content import (
    ALL_FIELDS,
    CONTENT_FIELDS,
    DETAIL_FIELDS,
    MAX_NAME_CHARACTERS,
    MAX_NARRATIVE_CHARACTERS,
    Content,
    ContentInvalid,
    content_fields,
)
from candor_records.earlier import MAX_OCTETS, EarlierReport, chain_words
from candor_records.field_types import Amount, plain
from candor_records.kinds import FIELDS, FIELDS_OF, OWN_FIELDS, Field
from candor_records.record_fields import amended, parse
from candor_records.records import canonical, initial
from candor_records.refusals import Refusal
from candor_records.template import example
from tests.contents import contents, rows
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, make_content, make_record, make_row

TERMINATION = "TERMINATION_FOR_CAUSE"
ADVISORY = "SEPARATION_UNDER_INVESTIGATION"
MAX_NODE_ID = 64  # the longest of what is neither a text nor a list


def faults(**overrides: str) -> dict[str, str]:
    """Field and reason of everything that is wrong with the row."""
    content, found = parse(make_row(**overrides))
    assert (content is None) == bool(found)
    return {fault.field: fault.reason for fault in found}


# --- the tables --------------------------------------------------------------------------------------


def test_a_name_means_one_thing() -> None:
    every = [field for fields in FIELDS_OF.values() for field in fields.values()]
    assert all(FIELDS[field.name] is field for field in every)
    assert {field.name for field in every} == set(FIELDS)
    assert not set(FIELDS) & set(CONTENT_FIELDS)
    assert (*CONTENT_FIELDS, *FIELDS) == ALL_FIELDS


@pytest.mark.parametrize("kind", RecordKind)
def test_every_kind_has_fields_of_its_own_and_says_what_a_complete_report_gives(kind: RecordKind) -> None:
    assert len(OWN_FIELDS[kind]) >= 6
    assert any(field.expected for field in OWN_FIELDS[kind])
    assert all(field.meaning and field.type.words for field in FIELDS_OF[kind].values())
    assert make_content(record_kind=kind.name).wanting
    content, _ = parse(example(kind))
    assert content is not None
    assert content.wanting == ()


@pytest.mark.parametrize("kind", RecordKind)
def test_the_longest_release_of_a_kind_is_one_that_a_response_carries(kind: RecordKind) -> None:
    """Every text at its limit, in letters of four octets; the bound does not rest on what is likely."""
    names = ("first", "middle", "last", "suffix", "former_last", "post_id")
    longest = dict.fromkeys(names, 4 * MAX_NAME_CHARACTERS)
    longest |= {name: field.type.max_octets for name, field in FIELDS_OF[kind].items()}
    longest |= {"narrative": 4 * MAX_NARRATIVE_CHARACTERS, "earlier_reports": MAX_OCTETS + 64}
    longest["allegation_categories"] = sum(len(name) + 1 for name in AllegationCategory.__members__)
    released = canonical(make_record(record_kind=kind.name))
    assert len(released.fields) <= MAX_FIELDS
    octets = {name: longest.get(name, MAX_NODE_ID) + len(name) + 8 for name in released.fields}
    assert max(octets.values()) <= MAX_VALUE_OCTETS
    assert sum(octets.values()) + 64 <= MAX_RECORD_OCTETS


def test_a_long_chain_of_reports_leaves_out_the_oldest() -> None:
    texts = {f"field_{number}": "\U0001f6a9" * 500 for number in range(9)}
    reports = [EarlierReport(f"DCN{n}", "REVISION_TO_ACTION", date(2021, 1, n + 1), texts) for n in range(20)]
    words = chain_words(reports)
    assert len(words.encode()) <= MAX_OCTETS + 64
    assert words.startswith("18 earlier reports are not listed\n2021-01-19")
    assert chain_words(reports[:1]).startswith("2021-01-01 REVISION_TO_ACTION DCN0: field_0 was")
    assert chain_words(()) == ""


# --- as texts ----------------------------------------------------------------------------------------


@given(contents())
def test_contents_of_every_kind_are_read_back_from_their_fields(content: Content) -> None:
    flat = content_fields(content)
    assert parse(flat) == (content, ())
    assert set(flat) == {*CONTENT_FIELDS, *FIELDS_OF[content.record_kind]}
    assert all(flat.values())
    given = content_fields(content, given_only=True)
    assert parse(given) == (content, ())
    assert set(given) == {*CONTENT_FIELDS, *content.details}


@given(rows())
def test_a_release_holds_what_the_kind_has_and_no_other_field(row: dict[str, str]) -> None:
    content, _ = parse(row)
    assert content is not None
    released = canonical(initial(content, NOW, ORI, NODE, CONTRIBUTOR))
    assert set(released.fields) & set(FIELDS) == set(FIELDS_OF[content.record_kind])
    for name in FIELDS_OF[content.record_kind]:
        assert released.fields[name] == row.get(name, "UNKNOWN")
    assert CanonicalRecord.decode(released.encode()) == released


@given(row=rows(), name=st.sampled_from(DETAIL_FIELDS), text=st.text(max_size=40))
def test_no_text_of_a_field_gets_past_as_something_else(row: dict[str, str], name: str, text: str) -> None:
    content, found = parse({**row, name: text})
    assert (content is None) == bool(found)
    # What a refusal says whatever the text is ("leave it empty") may be the text by chance.
    _, others = parse({**row, name: "\U0001f6a9" * 40})
    fixed = " ".join(fault.reason for fault in others)
    told = [fault for fault in found if len(text.strip()) >= 5 and text.strip() in fault.reason]
    assert not told or text.strip() in fixed
    if content is not None:
        assert parse(content_fields(content)) == (content, ())


def test_a_file_of_the_first_format_has_every_detail_unknown() -> None:
    content = make_content()
    assert content.details == {}
    assert content.detail("cause_codes") is Missing.UNKNOWN
    assert content.detail("award") is Missing.NOT_APPLICABLE


def test_details_are_read_as_values() -> None:
    content = make_content(
        cause_codes="policy_violation; DISHONESTY;DISHONESTY",
        separated_on="2021-06-14",
        eligible_for_rehire="no",
        policy_sections=" 4.12 ",
        last_chance_agreement="WITHHELD",
        arbitration_outcome="UNKNOWN",
        document_hashes=f"{'B' * 64};{'a' * 64}",
        discipline_imposed="",
    )
    assert content.details == {
        "cause_codes": (Cause.DISHONESTY, Cause.POLICY_VIOLATION),
        "separated_on": date(2021, 6, 14),
        "eligible_for_rehire": YesNo.NO,
        "policy_sections": "4.12",
        "last_chance_agreement": Missing.WITHHELD,
        "document_hashes": ("a" * 64, "b" * 64),
    }
    assert content.detail("last_chance_agreement") is Missing.WITHHELD
    judgment = make_content(record_kind="CIVIL_JUDGMENT", amount="$1,250,000")
    assert judgment.detail("amount") == Amount(125_000_000)
    assert content_fields(judgment)["amount"] == "1250000.00"


@pytest.mark.parametrize(
    ("kind", "column", "value", "reason"),
    [
        (TERMINATION, "cause_codes", "DISHONESTY;RUDENESS", "is none of DISHONESTY"),
        (TERMINATION, "cause_codes", ";", "names no code"),
        (TERMINATION, "separated_on", "06/14/2021", "not a date of the form"),
        (TERMINATION, "separated_on", "1900-01-01", "placeholder"),
        (TERMINATION, "eligible_for_rehire", "MAYBE", "is none of YES, NO"),
        (TERMINATION, "policy_sections", "x" * 201, "longer than 200"),
        (TERMINATION, "policy_sections", "a\x07b", "control character"),
        (TERMINATION, "document_hashes", "abcdef", "no list of SHA-256 digests"),
        (TERMINATION, "document_hashes", ";".join(f"{n:064x}" for n in range(33)), "more than 32"),
        ("DECERTIFICATION", "deciding_post", "Ohia", "is no state"),
        ("CRIMINAL_CONVICTION", "ncic_offence_code", "12", "four digits"),
        ("CIVIL_JUDGMENT", "amount", "12,50", "is not an amount"),
        ("CIVIL_JUDGMENT", "amount", "-5", "is not an amount"),
        ("CIVIL_JUDGMENT", "amount", "9" * 15, "too large"),
        ("CIVIL_JUDGMENT", "amount", "9" * 5000, "too large"),
    ],
)
def test_a_detail_is_refused_with_its_reason(kind: str, column: str, value: str, reason: str) -> None:
    found = faults(record_kind=kind, **{column: value})
    assert list(found) == [column]
    assert reason in found[column]
    assert len(value) < 5 or value not in found[column]


def test_a_value_in_a_field_of_another_kind_names_kind_and_field() -> None:
    found = faults(award="VALOR", docket="21-1", discipline_imposed="DEMOTION")
    assert set(found) == {"award", "docket"}
    assert "a field of COMMENDATION, which a TERMINATION_FOR_CAUSE does not have" in found["award"]
    assert "CRIMINAL_CONVICTION, CIVIL_JUDGMENT" in found["docket"]
    # No value is no fault: a mapped file fills every column.
    assert faults(award="NOT_APPLICABLE", docket="UNKNOWN", citation_on=" ") == {}
    with pytest.raises(ContentInvalid):
        replace(make_content(), details={"award": YesNo.YES})


@pytest.mark.parametrize("column", ["severity", "appeal_forum", "representation_available"])
def test_a_commendation_has_no_field_of_a_decision(column: str) -> None:
    value = {"severity": "MINOR", "appeal_forum": "COURT", "representation_available": "YES"}[column]
    assert list(faults(record_kind="COMMENDATION", **{column: value})) == [column]


# --- as values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("separated_on", "2021-06-14"),
        ("cause_codes", YesNo.YES),
        ("cause_codes", ()),
        ("rank", Missing.UNKNOWN),
    ],
)
def test_a_content_holds_no_value_of_another_type(name: str, value: str) -> None:
    with pytest.raises(ContentInvalid):
        replace(make_content(), details={name: value})


def test_a_content_with_details_can_be_hashed_and_does_not_print_them() -> None:
    content = make_content(rank="Placeholdership", sustained_allegation_ids="21-4711")
    assert hash(content) == hash(replace(content))
    assert "Placeholdership" not in repr(content)
    assert "4711" not in repr(content)


@pytest.mark.parametrize(
    ("column", "overrides"),
    [
        ("separated_on", {"separated_on": "2009-03-01", "appointed_on": "2009-03-02"}),
        ("appeal_filed_on", {"appeal_filed_on": "2021-06-06"}),
        (
            "appeal_decided_on",
            {
                "appeal_filed_on": "2021-07-06",
                "appeal_decided_on": "2021-07-05",
                "appeal_outcome": "UPHELD",
            },
        ),
        ("action_ends_on", {"record_kind": "DECERTIFICATION", "action_ends_on": "2021-06-13"}),
        (
            "convicted_on",
            {"record_kind": "CRIMINAL_CONVICTION", "offence_on": "2021-06-08", "convicted_on": "2021-06-07"},
        ),
        (
            "training_completed_on",
            {
                "record_kind": "SUSTAINED_FORCE_FINDING",
                "incident_on": "2021-06-08",
                "training_completed_on": "2021-06-07",
            },
        ),
    ],
)
def test_a_day_does_not_lie_before_what_it_follows(column: str, overrides: dict[str, str]) -> None:
    found = faults(**overrides)
    assert list(found) == [column]
    assert "lies before" in found[column]


def test_outcome_and_day_of_an_appeal_belong_together() -> None:
    assert list(faults(appeal_outcome="UPHELD")) == ["appeal_decided_on"]
    assert list(faults(appeal_decided_on="2021-08-01")) == ["appeal_outcome"]
    assert faults(appeal_outcome="UPHELD", appeal_decided_on="2021-08-01") == {}
    assert faults(appeal_outcome="NOT_APPLICABLE") == {}


# --- tiers -------------------------------------------------------------------------------------------

_UNDECIDED = {"decided_on": "", "decision_maker": "", "standard_of_proof": "", "finality": ""}


@pytest.mark.parametrize("outcome", ["", *InvestigationOutcome.__members__])
def test_a_separation_under_investigation_is_advisory_until_it_is_sustained(outcome: str) -> None:
    content = make_content(record_kind=ADVISORY, investigation_outcome=outcome)
    assert content.tier is (Tier.ADJUDICATED if outcome == "SUSTAINED" else Tier.ADVISORY)
    assert content.resolved_in_favour == (outcome in ("NOT_SUSTAINED", "UNFOUNDED", "EXONERATED"))
    if outcome != "SUSTAINED":
        assert faults(record_kind=ADVISORY, investigation_outcome=outcome, **_UNDECIDED) == {}


def test_a_sustained_separation_needs_its_decision() -> None:
    _, found = parse(make_row(record_kind=ADVISORY, investigation_outcome="SUSTAINED", **_UNDECIDED))
    assert {fault.field for fault in found} == set(_UNDECIDED)
    assert {fault.refusal for fault in found} == {Refusal.ALLEGATION_ONLY}
    assert faults(record_kind=ADVISORY, investigation_outcome="SUSTAINED", sharing="GREEN") == {}


# --- amending ----------------------------------------------------------------------------------------


def test_a_detail_is_amended_by_its_text() -> None:
    content = amended(make_content(), {"discipline_imposed": "DEMOTION", "appeal_forum": "COURT"})
    assert content.detail("discipline_imposed") == (Discipline.DEMOTION,)
    with pytest.raises(ContentInvalid, match="a field of COMMENDATION"):
        amended(content, {"award": "VALOR"})


def test_text_form_of_a_value_is_one() -> None:
    assert plain(Amount(5)) == "0.05"
    assert plain(("b", "c")) == "b;c"
    assert plain((Cause.BIAS, Cause.DISHONESTY)) == "BIAS;DISHONESTY"
    assert plain(()) == "NOT_APPLICABLE"
    assert isinstance(FIELDS["rank"], Field)
