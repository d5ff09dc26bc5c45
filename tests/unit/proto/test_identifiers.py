"""identifiers: birth dates, last four and certificates as they are filed (docs/matching.md §1.4 to §1.6)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto.identifiers import (
    normalise_birth_date,
    normalise_certificate,
    normalise_post,
    normalise_ssn4,
    normalise_state,
)

NO_DATE = ("", "", "")


@pytest.mark.parametrize(
    ("filed", "parts"),
    [
        ("1980-11-02", ("1980", "11", "02")),
        ("19801102", ("1980", "11", "02")),
        ("1980/11/02", ("1980", "11", "02")),
        ("1980.11.02", ("1980", "11", "02")),
        ("1980-1-2", ("1980", "01", "02")),
        ("11/02/1980", ("1980", "11", "02")),
        ("1/2/1980", ("1980", "01", "02")),
        ("11-02-1980", ("1980", "11", "02")),
        ("1980-11-02T00:00:00", ("1980", "11", "02")),
        ("1980-11-02T00:00:00.000Z", ("1980", "11", "02")),
        ("1980-11-02 00:00:00+00:00", ("1980", "11", "02")),
        ("11/2/1980 12:00:00 AM", ("1980", "11", "02")),
        ("11/2/1980 0:00", ("1980", "11", "02")),
        (" 1980-11-02 ", ("1980", "11", "02")),
        ("１９８０-11-02", ("1980", "11", "02")),
        ("1980–11–02", ("1980", "11", "02")),
        ("1964", ("1964", "", "")),
        ("1964-08", ("1964", "08", "")),
        ("1964-XX-XX", ("1964", "", "")),
        ("1964XXXX", ("1964", "", "")),
        ("1996-08-xx", ("1996", "08", "")),
        ("1996-08-??", ("1996", "08", "")),
        ("XXXX-07-28", ("", "07", "28")),
        ("07/28/XXXX", ("", "07", "28")),
        ("19XX-07-28", ("", "07", "28")),
        ("1964-00-00", ("1964", "", "")),
        ("1964-99-99", ("1964", "", "")),
        ("0000-07-28", ("", "07", "28")),
        ("9999-07-28", ("", "07", "28")),
        ("1980-13-45", ("1980", "13", "45")),  # impossible dates are typing errors and still evidence
        ("13/45/1980", ("1980", "13", "45")),
        ("1980-01-01", ("1980", "01", "01")),  # 1 January alone is no placeholder
        ("1970-01-01", ("1970", "01", "01")),  # nor is Unix's first day: people were born then
        ("1900-07-28", ("1900", "07", "28")),
    ],
)
def test_birth_dates_are_read_part_by_part(filed: str, parts: tuple[str, str, str]) -> None:
    assert normalise_birth_date(filed) == parts


@pytest.mark.parametrize(
    "filed",
    [
        "1900-01-01", "1900", "1900-01", "1900-01-XX", "01/01/1900", "1901-01-01", "1899-12-30", "1899-12-31",
        "12/30/1899 0:00", "0001-01-01", "9999-12-31", "1111-11-11", "11111111", "2222-08-15", "0000-00-00",
        "00000000", "99999999", "12345678", "XXXX-XX-XX", "",
    ],
)  # fmt: skip
def test_placeholder_dates_are_missing(filed: str) -> None:
    """MATCHING.md §7 trap 5: one agency's 1900-01-01 must not match another's."""
    assert normalise_birth_date(filed) == NO_DATE


@pytest.mark.parametrize(
    "filed",
    ["11/02/80", "80-11-02", "02.11.1980", "198011", "1980-11/02", "1980-11-021", "Nov 2 1980", "soon"],
)
def test_what_could_be_read_in_two_ways_is_missing(filed: str) -> None:
    assert normalise_birth_date(filed) == NO_DATE


@pytest.mark.parametrize(
    ("filed", "normal"),
    [
        ("4071", "4071"),
        (" 0001 ", "0001"),
        ("４０７１", "4071"),
        ("0000", ""),  # never issued
        ("9999", ""),
        ("407", ""),
        ("40X1", ""),
        ("XXXX", ""),
        ("123-45-4071", ""),
        ("٤٠٧١", ""),
    ],
)
def test_last_four_are_four_digits(filed: str, normal: str) -> None:
    assert normalise_ssn4(filed) == normal


@pytest.mark.parametrize(
    ("filed", "state"),
    [("MA", "MA"), ("ma", "MA"), ("t.x.", "TX"), ("Texas", "TX"), ("NEW  YORK", "NY"), ("D.C.", "DC"),
     ("Washington, D.C.", "DC"), ("Washington", "WA"), ("Puerto Rico", "PR"),
     ("Bavaria", ""), ("", ""), ("4", "")],
)  # fmt: skip
def test_states_have_two_letters(filed: str, state: str) -> None:
    assert normalise_state(filed) == state


def test_there_are_fifty_states_the_district_and_five_territories() -> None:
    from candor_proto import identifiers

    assert len(set(identifiers._STATES.values())) == 56


@pytest.mark.parametrize(
    "number",
    [
        "208415", "0208415", "000208415", "208 415", "208-415", "TX208415", "TX-208415", "TX 208415",
        "tx208415", "Texas 208415", "POST 208415", "POST-208415", "PID 208415", "PID#208415", "#208415",
        "No. 208415", "Cert. No. 208415", "CERT208415", "TX POST 208415", "License number 208415", "208415.0",
        "２０８４１５",
    ],
)  # fmt: skip
def test_one_certificate_written_differently_is_one(number: str) -> None:
    assert normalise_post("TX", number) == ("TX", "208415")
    assert normalise_post("Texas", number) == ("TX", "208415")


@pytest.mark.parametrize(
    ("state", "one", "other"),
    [
        ("CA", "A12-B34", "12-B34"),
        ("CA", "A12-B34", "A12-B3"),
        ("CA", "B04-D43", "B4-D43"),  # a zero inside is part of the number
        ("TX", "208415", "208415A"),
        ("TX", "2084150", "208415"),
        ("TX", "IDA-123", "A-123"),  # what begins like a word is none
        ("TX", "OH208415", "208415"),  # another state's letters say something
        ("TX", "208415", "2084.15X"),
    ],
)
def test_different_certificates_stay_different(state: str, one: str, other: str) -> None:
    assert normalise_post(state, one)[1] != normalise_post(state, other)[1] != ""


def test_the_same_number_of_two_states_is_two_certificates() -> None:
    assert normalise_post("TX", "208415") != normalise_post("OH", "208415")


@pytest.mark.parametrize(
    "number",
    [
        "", "NONE", "none", "UNKNOWN", "PENDING", "N/A", "NA", "TBD", "POST", "see file", "0", "000000",
        "9999",
        "99999", "999999", "111111", "123456", "1234567", "1234567890", "0123456", "TX-000000",
        "POST 123456", "7",
    ],
)  # fmt: skip
def test_placeholder_certificates_are_missing(number: str) -> None:
    assert normalise_post("TX", number) == ("", "")


@pytest.mark.parametrize(
    ("state", "number", "normal"),
    [
        ("MA", "328139", ("MA", "328139")),
        ("ma", "328-139", ("MA", "328139")),
        ("MA", "12345", ("MA", "12345")),  # as likely a number as a row of keys
        ("MA", "1111", ("MA", "1111")),
        ("MA", "POST A-12", ("MA", "A12")),
        ("MA", "7", ("", "")),  # MATCHING.md §3: more than three characters with the state
        ("", "328139", ("", "")),
        ("MA", "", ("", "")),
    ],
)
def test_certificates_are_state_and_number(state: str, number: str, normal: tuple[str, str]) -> None:
    assert normalise_post(state, number) == normal


@settings(deadline=None)
@given(
    st.sampled_from(["TX", "ID", "NO", "", "CO"]),
    st.one_of(st.text(max_size=12), st.text(alphabet="0129TXIDNOPSCER-# .", max_size=14)),
)
def test_a_certificate_in_normal_form_stays(state: str, number: str) -> None:
    normal = normalise_certificate(state, number)
    assert normalise_certificate(state, normal) == normal
    assert normal == "" or normal.isalnum()


@settings(deadline=None)
@given(st.one_of(st.text(max_size=14), st.text(alphabet="0129X?-/.", max_size=12)))
def test_parts_of_a_date_are_digits_or_missing(text: str) -> None:
    year, month, day = normalise_birth_date(text)
    assert year == "" or (len(year) == 4 and year.isdigit() and year not in ("0000", "9999"))
    for part in (month, day):
        assert part == "" or (len(part) == 2 and part.isdigit() and part not in ("00", "99"))
