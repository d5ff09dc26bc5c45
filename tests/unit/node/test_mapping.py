"""Import profiles: strict, proposed with reasons, and nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node import mapping
from candor_node.mapping import (
    COLUMNS,
    DATE_FORMS,
    REQUIRED,
    Mapper,
    Profile,
    ProfileInvalid,
    fold,
    format_profile,
    parse_profile,
    read_date,
)
from candor_node.mapping_proposals import CODES, Proposal, propose
from candor_node.mapping_words import HEADINGS, WORDS
from candor_node.table_file import Reading, Row
from candor_proto.errors import InputInvalid
from tests.records import make_row

HEADER = (
    "Case #", "Disposition", "Officer First", "MI", "LNAME", "DOB", "SSN Last 4", "Gender", "Cert State",
    "POST #", "Sep Date", "Decision Date", "Decided By", "Standard", "Notice Date", "Method of Notice",
    "Skelly Hearing", "Hearing Date", "Appeal Status", "On Duty?", "UOF", "Allegations", "Narative",
    "Internal Use",
)  # fmt: skip
CELLS = (
    "IA-1", "Terminated", "Quentin", "Z", "Placeholderson", "07/23/1984", "4821", "Male", "ZZ", "B-2",
    "06/14/2021", "06/07/2021", "Trial Board", "Preponderance of the Evidence", "04/01/2021", "In Person",
    "Held", "05/11/2021", "No appeal", "Y", "N", "Untruthfulness; Abuse of Power", "Falsified reports.", "x",
)  # fmt: skip
ANSWERS = Profile("test", fixed={"source_of_record": "PERSONNEL_ACTION"}, ignored=("internal use",))


def proposal(
    header: Sequence[str] = HEADER, rows: Sequence[Sequence[str]] = (CELLS,), answers: Profile = ANSWERS
) -> Proposal:
    return propose(
        "test", header, [Row(number, list(cells)) for number, cells in enumerate(rows, 2)], answers
    )


# --- proposals ---------------------------------------------------------------------------------------


def test_real_headings_are_recognised_and_the_row_is_read() -> None:
    forms = dict.fromkeys(("decided_on", "notice_given_on", "opportunity_on"), "MM/DD/YYYY")
    found = proposal(answers=replace(ANSWERS, columns={"narrative": "narative"}, dates=forms))
    assert found.questions == ()
    profile = parse_profile(format_profile(found.profile))
    mapper = Mapper(profile, HEADER)
    row = dict(zip(mapper.columns, mapper.row(CELLS), strict=True))
    same = ("birth_date", "effective_on", "decided_on", "finality", "decision_maker", "notice_method", "sex")
    expected = make_row()
    assert {name: row[name] for name in same} == {name: expected[name] for name in same}
    assert row["record_kind"] == "TERMINATION_FOR_CAUSE"
    assert row["allegation_categories"] == "DISHONESTY;ABUSE_OF_POWER"
    assert (row["on_duty"], row["use_of_force_related"]) == ("YES", "NO")
    assert set(REQUIRED) <= set(row)


def test_every_proposal_says_how_sure_it_is_and_why() -> None:
    by_column = {one.column: one for one in proposal().columns}
    assert (by_column["last"].heading, by_column["last"].confidence, by_column["last"].certain) == (
        "lname", 100, True,
    )  # fmt: skip
    near = by_column["narrative"]
    assert near.heading == "narative"
    assert near.confidence < 100
    assert "resembles “narrative”" in near.reason


def test_two_headings_that_claim_one_column_are_a_question() -> None:
    found = proposal((*HEADER, "Last Name"), ((*CELLS, "Other"),))
    assert any("last may be “lname” or “last name”" in question for question in found.questions)
    assert "last" not in found.profile.columns
    said = replace(ANSWERS, columns={"last": "last name"}, ignored=("internal use", "lname"))
    assert not any("last" in question for question in proposal((*HEADER, "Last Name"), (), said).questions)


def test_date_that_may_be_of_two_forms_is_a_question() -> None:
    at = HEADER.index("DOB")
    cells = list(CELLS)
    cells[at] = "07/08/1984"
    found = proposal(rows=(cells,))
    assert any("birth_date may be MM/DD/YYYY or DD/MM/YYYY" in question for question in found.questions)
    assert "birth_date" not in found.profile.dates
    # One row that can be only one of them settles it for the column.
    assert proposal(rows=(cells, CELLS)).profile.dates["birth_date"] == "MM/DD/YYYY"
    said = proposal(rows=(cells,), answers=replace(ANSWERS, dates={"birth_date": "DD/MM/YYYY"}))
    assert said.profile.dates["birth_date"] == "DD/MM/YYYY"


def test_days_that_a_workbook_stores_as_days_need_no_form() -> None:
    at = HEADER.index("DOB")
    cells = list(CELLS)
    cells[at] = "1984-07-23"
    assert "birth_date" not in proposal(rows=(cells,)).profile.dates
    assert proposal(rows=(cells, CELLS)).profile.dates["birth_date"] == "MM/DD/YYYY"


def test_word_without_a_code_is_listed_and_asked_about() -> None:
    cells = list(CELLS)
    cells[HEADER.index("Disposition")] = "Sustained"
    found = proposal(rows=(cells, CELLS))
    assert ("record_kind", "sustained", "") in found.words
    assert any(question.startswith("record_kind holds 1 word without a code") for question in found.questions)
    said = replace(ANSWERS, values={"record_kind": {"sustained": "TERMINATION_FOR_CAUSE"}})
    assert not any("record_kind" in question for question in proposal(rows=(cells,), answers=said).questions)


def test_words_of_a_column_that_holds_names_are_not_shown() -> None:
    """A column of names under the heading of a code: nobody's name becomes a word of a proposal."""
    rows = [list(CELLS) for _ in range(100)]
    for number, cells in enumerate(rows):
        cells[HEADER.index("Disposition")] = f"Person {number}"
    found = proposal(rows=rows)
    assert not any(column == "record_kind" for column, _, _ in found.words)
    assert "Person" not in " ".join(found.questions)
    assert "person 1" not in repr(found)


def test_column_like_none_is_asked_about_and_a_column_that_must_be_there_too() -> None:
    found = proposal(answers=Profile("test"))
    assert any("“internal use” is like none" in question for question in found.questions)
    assert any("No column is source_of_record" in question for question in found.questions)


def test_every_heading_and_word_of_the_tables_is_folded_and_stands_for_one_thing() -> None:
    headings = [heading for each in HEADINGS.values() for heading in each]
    assert len(headings) == len(set(headings))
    assert all(fold(heading) == heading for heading in headings)
    assert set(HEADINGS) <= set(COLUMNS)
    for column, words in WORDS.items():
        assert all(fold(word) == word for word in words)
        assert set(words.values()) <= {*CODES[column], "NOT_APPLICABLE", "UNKNOWN"}, column


# --- profiles ----------------------------------------------------------------------------------------

TEXT = st.text(min_size=1, max_size=20)
FOLDED = TEXT.map(fold).filter(bool)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    columns = draw(st.dictionaries(st.sampled_from(COLUMNS), FOLDED, max_size=6))
    left = [column for column in COLUMNS if column not in columns]
    return Profile(
        draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)),
        Reading(
            draw(st.sampled_from(("utf-8", "windows-1252"))),
            draw(st.sampled_from(("comma", "tab"))),
            draw(TEXT),
        ),
        columns,
        draw(
            st.dictionaries(st.sampled_from(COLUMNS), st.dictionaries(FOLDED, TEXT, max_size=3), max_size=3)
        ),
        draw(st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from(tuple(DATE_FORMS)), max_size=3)),
        draw(st.dictionaries(st.sampled_from(left), TEXT, max_size=3)),
        tuple(draw(st.sets(FOLDED.filter(lambda text: text not in columns.values()), max_size=3))),
    )


@given(profiles())
def test_what_is_written_is_read(profile: Profile) -> None:
    assert parse_profile(format_profile(profile)) == profile


@given(
    st.one_of(
        st.text(max_size=200),
        st.recursive(
            st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
        ).map(json.dumps),
    )
)
def test_parser_of_profiles_never_raises_anything_else(text: str) -> None:
    with pytest.raises(ProfileInvalid):
        parse_profile(text)


def changed(**parts: object) -> str:
    return json.dumps({**json.loads(format_profile(Profile("test"))), **parts})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed(more=1), "parts of a profile"),
        (changed(candor_import_profile=2), "parts of a profile"),
        (changed(name="../x"), "its name"),
        (changed(name=7), "its name"),
        (changed(columns={"no_column": "x"}), "no column no_column"),
        (changed(columns={"last": "LAST"}), "folded"),
        (changed(columns={"last": 1}), "map texts to texts"),
        (changed(dates={"birth_date": "MM/DD/YY"}), "none of the forms"),
        (changed(columns={"last": "a"}, fixed={"last": "b"}), "a heading and a fixed value"),
        (changed(columns={"last": "a"}, ignored=["a"]), "used and left out"),
        (changed(values={"sex": {"Male": "M"}}), "folded"),
        (changed(values={"sex": 1}), "words and their codes"),
        (changed(reading={}), "reading"),
        (changed(ignored="a"), "list of headings"),
        ("x" * (mapping.MAX_PROFILE_OCTETS + 1), "too large"),
    ],
)
def test_profile_that_contradicts_itself_or_the_template_is_refused(text: str, words: str) -> None:
    with pytest.raises(ProfileInvalid, match=words):
        parse_profile(text)


def test_another_delimiter_than_the_profiles_is_said_to_be_one() -> None:
    profile = Profile("ours", Reading(delimiter="semicolon"), columns={"last": "lname", "first": "fname"})
    with pytest.raises(InputInvalid, match="not separated as the profile ours says: by semicolon"):
        Mapper(profile, ["LNAME,FNAME"])


def test_heading_that_the_profile_does_not_know_stops_the_import() -> None:
    profile = proposal().profile
    profile = replace(
        profile,
        columns={**profile.columns, "narrative": "narative"},
        fixed=dict(ANSWERS.fixed)
        | {name: text for name, text in profile.fixed.items() if name != "narrative"},
    )
    Mapper(profile, HEADER)
    with pytest.raises(InputInvalid, match="profile test; unknown: Medical"):
        Mapper(profile, (*HEADER, "Medical"))
    with pytest.raises(InputInvalid, match="missing: last"):
        Mapper(profile, [cell for cell in HEADER if cell != "LNAME"] + ["candor_row"])
    with pytest.raises(InputInvalid, match="unknown: …") as caught:
        Mapper(profile, (*HEADER, "Quentin 1984"))
    assert "Quentin" not in str(caught.value)


# --- cells -------------------------------------------------------------------------------------------


@given(st.dates(date(1901, 1, 1), date(2100, 1, 1)), st.sampled_from(tuple(DATE_FORMS)))
def test_each_form_reads_its_own_days(day: date, form: str) -> None:
    text = form.replace("YYYY", f"{day.year:04d}").replace("MON", mapping._MONTHS[day.month - 1].title())
    text = text.replace("MM", f"{day.month:02d}").replace("DD", f"{day.day:02d}")
    assert read_date(text, form) == read_date(text + " 00:00:00", form) == day.isoformat()


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("07/23/84", "MM/DD/YYYY"),
        ("23/07/1984", "MM/DD/YYYY"),
        ("02/30/1984", "MM/DD/YYYY"),
        ("1984-07-23 14:05:00", "YYYY-MM-DD"),
        ("23 Foo 1984", "DD-MON-YYYY"),
        ("٠٧/23/1984", "MM/DD/YYYY"),
        ("", "YYYYMMDD"),
    ],
)
def test_day_in_another_form_is_none(text: str, form: str) -> None:
    assert read_date(text, form) is None


def test_cell_that_does_not_fit_its_profile_passes_as_it_is() -> None:
    profile = Profile(
        "p",
        columns={"birth_date": "dob", "sex": "sex"},
        dates={"birth_date": "MM/DD/YYYY"},
        values={"sex": {"male": "M"}},
        fixed={n: "" for n in REQUIRED if n not in ("birth_date", "sex")},
    )
    mapper = Mapper(profile, ("DOB", "Sex"))
    assert mapper.row(("soon", "robot"))[:2] == ["soon", "robot"]
    assert mapper.row(("1984-07-23", " MALE "))[:2] == ["1984-07-23", "M"]
    assert mapper.row(())[:2] == ["", ""]
    assert mapper.reason("birth_date", "is not a date of the form YYYY-MM-DD (or YYYY)").startswith(
        "is not a date of the form MM/DD/YYYY"
    )
    assert mapper.heading("birth_date") == "DOB"
