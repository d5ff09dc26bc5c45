"""What may not be reported is refused, each with its sentence (RECORDS.md §3, §7.2)."""

from __future__ import annotations

from collections import Counter

import pytest

from candor_proto.record import RecordKind
from candor_records.content import ContentInvalid, FieldInvalid, content_fields
from candor_records.kinds import FIELDS
from candor_records.record_fields import amended, parse
from candor_records.refusals import REASONS, Refusal, of_code
from candor_records.refused_text import in_text
from tests.records import make_content, make_row
from tests.unit.records.refused_sentences import ORDINARY, REFUSED


def refusals(**overrides: str) -> dict[str, set[Refusal]]:
    """What is refused in each field of the row."""
    _, faults = parse(make_row(**overrides))
    found: dict[str, set[Refusal]] = {}
    for fault in faults:
        if fault.refusal is not None:
            found.setdefault(fault.field, set()).add(fault.refusal)
    return found


# --- sentences ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "refusal", "text"), REFUSED, ids=[text[:40] for _, _, text in REFUSED])
def test_a_sentence_that_may_not_be_reported_is_refused(
    kind: RecordKind, refusal: Refusal, text: str
) -> None:
    _, faults = parse(make_row(record_kind=kind.name, narrative=text))
    assert [(fault.field, fault.refusal) for fault in faults] == [("narrative", refusal)]
    assert REASONS[refusal].sentence in faults[0].reason
    assert text not in str(faults[0])


@pytest.mark.parametrize(("kind", "text"), ORDINARY, ids=[text[:40] for _, text in ORDINARY])
def test_an_ordinary_sentence_passes(kind: RecordKind, text: str) -> None:
    assert in_text(text, kind) == ()
    assert in_text(text.upper(), kind) == () or kind is not RecordKind.TERMINATION_FOR_CAUSE


def test_there_are_enough_sentences_to_mean_something() -> None:
    assert len(REFUSED) >= 60
    assert len(ORDINARY) >= 60
    counts = Counter(refusal for _, refusal, _ in REFUSED)
    not_in_texts = {Refusal.PLACEHOLDER, Refusal.NO_LONGER_STANDS, Refusal.IN_FAVOUR}
    assert set(counts) == set(Refusal) - not_in_texts
    assert min(counts.values()) >= 3


def test_a_phrase_is_found_across_a_line_break_and_in_any_case() -> None:
    assert in_text("See the GARRITY\n  statement.") == (Refusal.COMPELLED_STATEMENT,)


def test_what_the_kind_is_about_is_refused_in_that_kind_only() -> None:
    settled = "The case was settled for $125,000."
    assert in_text(settled, RecordKind.CIVIL_JUDGMENT) == (Refusal.SETTLEMENT,)
    assert in_text(settled, RecordKind.TERMINATION_FOR_CAUSE) == ()
    open_still = "The investigation remains open."
    assert in_text(open_still, RecordKind.SEPARATION_UNDER_INVESTIGATION) == ()
    assert in_text(open_still, RecordKind.TERMINATION_FOR_CAUSE) == (Refusal.ALLEGATION_ONLY,)


@pytest.mark.parametrize(
    "name", [name for name, field in FIELDS.items() if field.type.words.startswith("text")]
)
def test_every_field_of_free_text_is_searched(name: str) -> None:
    kind = next(kind for kind in RecordKind if refused_in(kind, name))
    assert refusals(record_kind=kind.name, **{name: "a Garrity statement"}) == {
        name: {Refusal.COMPELLED_STATEMENT}
    }


def refused_in(kind: RecordKind, name: str) -> bool:
    return bool(refusals(record_kind=kind.name, **{name: "a Garrity statement"}))


def test_a_settlement_comes_in_only_where_the_pack_lets_it() -> None:
    row = make_row(
        record_kind="CIVIL_JUDGMENT",
        judgment_form="SETTLEMENT_NO_ADMISSION",
        narrative="The case was settled without admission of liability.",
    )
    assert {fault.field for fault in parse(row)[1]} == {"judgment_form", "narrative"}
    content, faults = parse(row, settlements=True)
    assert faults == ()
    assert content is not None
    # What was let in once is read back, and can be amended, under any pack.
    assert parse(content_fields(content), search=())[0] == content
    assert amended(content, {"satisfied": "YES"}).detail("judgment_form") is content.detail("judgment_form")
    garrity = {**row, "narrative": "See the Garrity statement."}
    assert [fault.refusal for fault in parse(garrity, settlements=True)[1]] == [Refusal.COMPELLED_STATEMENT]


# --- codes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "column", "value", "refusal"),
    [
        ("CIVIL_JUDGMENT", "judgment_form", "SETTLEMENT_NO_ADMISSION", Refusal.SETTLEMENT),
        ("CIVIL_JUDGMENT", "judgment_form", "consent decree", Refusal.SETTLEMENT),
        ("CRIMINAL_CONVICTION", "plea_or_verdict", "DEFERRED_ADJUDICATION", Refusal.NOT_A_CONVICTION),
        ("CRIMINAL_CONVICTION", "plea_or_verdict", "nolle prosequi", Refusal.NOT_A_CONVICTION),
        ("CRIMINAL_CONVICTION", "plea_or_verdict", "Not guilty", Refusal.NOT_A_CONVICTION),
        ("CRIMINAL_CONVICTION", "post_judgment_relief", "EXPUNGED", Refusal.NO_LONGER_STANDS),
        ("CRIMINAL_CONVICTION", "post_judgment_relief", "VACATED", Refusal.NO_LONGER_STANDS),
        ("CRIMINAL_CONVICTION", "source_of_record", "III", Refusal.CRIMINAL_HISTORY),
        ("SUSTAINED_FORCE_FINDING", "finding", "NOT_SUSTAINED", Refusal.ALLEGATION_ONLY),
        ("SUSTAINED_FORCE_FINDING", "finding", "Exonerated", Refusal.ALLEGATION_ONLY),
        ("SEPARATION_UNDER_INVESTIGATION", "separation_form", "MEDICAL_RETIREMENT", Refusal.MEDICAL),
        ("SEPARATION_UNDER_INVESTIGATION", "status_at_separation", "Medical leave", Refusal.MEDICAL),
        ("TERMINATION_FOR_CAUSE", "cause_codes", "DISHONESTY;FITNESS-FOR-DUTY", Refusal.MEDICAL),
        ("TERMINATION_FOR_CAUSE", "record_kind", "BRADY_LIST", Refusal.BRADY_LIST),
        ("TERMINATION_FOR_CAUSE", "record_kind", "Brady/Giglio", Refusal.BRADY_LIST),
        ("TERMINATION_FOR_CAUSE", "record_kind", "JUVENILE_ADJUDICATION", Refusal.JUVENILE),
        ("TERMINATION_FOR_CAUSE", "finality", "VACATED", Refusal.NO_LONGER_STANDS),
        ("TERMINATION_FOR_CAUSE", "source_of_record", "GARRITY", Refusal.COMPELLED_STATEMENT),
    ],
)
def test_a_code_for_what_may_not_be_reported_is_refused_for_that_reason(
    kind: str, column: str, value: str, refusal: Refusal
) -> None:
    assert refusals(**{"record_kind": kind, column: value}) == {column: {refusal}}


def test_another_word_is_no_refusal() -> None:
    assert of_code("RUDENESS") is None
    assert refusals(record_kind="TERMINATED") == {}


# --- identities --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "refusal"),
    [
        ("ssn4", "000-00-0000", Refusal.WHOLE_SSN),
        ("ssn4", "123-45-6789", Refusal.WHOLE_SSN),
        ("ssn4", "123456789", Refusal.WHOLE_SSN),
        ("ssn4", "0000", Refusal.PLACEHOLDER),
        ("birth_date", "1900-01-01", Refusal.PLACEHOLDER),
        ("birth_date", "0001-01-01", Refusal.PLACEHOLDER),
        ("first", "TEST", Refusal.PLACEHOLDER),
        ("last", "Test", Refusal.PLACEHOLDER),
        ("last", "LNU", Refusal.PLACEHOLDER),
        ("post_id", "000000", Refusal.PLACEHOLDER),
        ("decided_on", "1900-01-01", Refusal.PLACEHOLDER),
    ],
)
def test_a_placeholder_or_whole_number_is_refused_by_its_code(
    column: str, value: str, refusal: Refusal
) -> None:
    assert refusals(**{column: value})[column] == {refusal}


# --- all at once, and nothing repeated ---------------------------------------------------------------


def test_all_refusals_of_a_row_are_said_at_once() -> None:
    found = refusals(
        decided_on="",
        source_of_record="NCIC",
        narrative="He was diagnosed with gout. The victim, Jane Placeholderson, saw the Garrity statement.",
        policy_sections="see his rap sheet",
        ssn4="123-45-6789",
        last="TEST",
    )
    assert found == {
        "decided_on": {Refusal.ALLEGATION_ONLY},
        "source_of_record": {Refusal.CRIMINAL_HISTORY},
        "narrative": {Refusal.MEDICAL, Refusal.VICTIM_OR_WITNESS, Refusal.COMPELLED_STATEMENT},
        "policy_sections": {Refusal.CRIMINAL_HISTORY},
        "ssn4": {Refusal.WHOLE_SSN},
        "last": {Refusal.PLACEHOLDER},
    }


def test_a_contradiction_that_rests_on_an_unreadable_kind_is_not_told() -> None:
    _, faults = parse(make_row(record_kind="COMENDATION", decided_on="", finality=""))
    assert [fault.field for fault in faults] == ["record_kind"]


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_says_what_is_wrong_and_what_to_do(refusal: Refusal) -> None:
    reason = REASONS[refusal]
    fault = FieldInvalid.refused("narrative", refusal)
    assert reason.sentence
    assert reason.remedy
    assert reason.source
    assert str(fault) == f"narrative: {reason.sentence}; {reason.remedy}."


# --- what was filed before ---------------------------------------------------------------------------


def test_a_filed_text_is_read_back_even_if_it_would_be_refused_today() -> None:
    stored = {**content_fields(make_content()), "narrative": "A Garrity statement of long ago."}
    assert parse(stored)[0] is None
    content, faults = parse(stored, search=())
    assert faults == ()
    assert content is not None
    # An appeal can be entered all the same; the old text is searched once it is touched.
    assert amended(content, {"finality": "APPEAL_PENDING"}).narrative == stored["narrative"]
    with pytest.raises(ContentInvalid, match="Garrity"):
        amended(content, {"narrative": "Another Garrity statement."})
