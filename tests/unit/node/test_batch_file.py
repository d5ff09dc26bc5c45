"""The file of a batch, in and out."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node import batch_file
from candor_node.batch_file import CHANGED, RESULTS, BatchRow, ResultRow, lines, read
from candor_proto.errors import CandorError, InputInvalid


def rows_of(text: str) -> list[BatchRow]:
    return list(read(text.encode())[1])


def out(columns: list[str], *rows: ResultRow) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(lines(columns, rows)), newline="")))


RESULT = (
    "NO_RECORD",
    "",
    "0",
    "",
    "",
    "5 of 5 nodes answered",
    "5",
    "5",
    "",
    "2026-03-02",
    "2026-03-02 12:00Z",
    "",
)


def test_columns_are_known_by_name_in_any_order_and_case_and_others_pass_through() -> None:
    columns, rows = read(b"\xef\xbb\xbfDOB, Last ,badge,First Name,case_number\n1990-02-03,Doe,77,Jo,REQ-1\n")
    assert columns.names == ("DOB", "Last", "badge", "First Name", "case_number")
    (row,) = rows
    assert (row.person.first, row.person.last, row.person.birth_date) == ("Jo", "Doe", "1990-02-03")
    assert row.papers == {"case_number": "REQ-1"}
    assert (row.number, row.cells[2], row.error) == (2, "77", "")


def test_last_four_digits_do_not_go_out_again() -> None:
    columns, rows = read(b"last,ssn4,note\nDoe,4071,x\n")
    (row,) = rows
    assert row.person.ssn4 == "4071"
    written = out(list(columns.names), ResultRow(row.number, row.cells, RESULT))
    assert written[0] == ["row", "last", "note", *RESULTS, *CHANGED]
    assert written[1][:3] == ["2", "Doe", "x"]
    assert "4071" not in written[1]


def test_last_four_that_a_spreadsheet_took_for_a_number_get_their_zeros_back() -> None:
    assert [row.person.ssn4 for row in rows_of("last,ssn4\nDoe,71\nRoe,0071\nPoe,\n")] == ["0071", "0071", ""]


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ("Doe,23.07.1984,", "birth_date"),
        ("Doe,07/23/84,", "birth_date"),
        ("Doe,1900-01-01,", "birth_date"),
        ("Doe,,0000", "ssn4"),
        ("Doe,,9999", "ssn4"),
        ("LNU,1984-07-23,", "last"),
        ("Петров,1984-07-23,", "last"),
        ("Doe,,123-45-6789", "ssn4"),
        ("Doe,,12 4", "ssn4"),
        (",,1234", "first, last"),
        ("Do\x07e,,1234", "last"),
        ("D" * 501 + ",,1234", "last"),
    ],
)
def test_what_would_silently_be_missing_is_the_rows_error(cells: str, column: str) -> None:
    wrong, right = rows_of(f"last,birth_date,ssn4\n{cells}\nRoe,1984-XX-XX,0071\n")
    assert wrong.error.startswith(f"{column}: ")
    assert cells.split(",")[0][:10] not in wrong.error or column == "first, last"
    assert not right.error


@pytest.mark.parametrize(
    "filed", ["07/23/1984", "7/23/1984 0:00", "1984.07.23", "19840723", "1984-07", "XXXX-XX-XX"]
)
def test_birth_dates_are_taken_as_other_systems_write_them(filed: str) -> None:
    (row,) = rows_of(f"last,birth_date\nRoe,{filed}\n")
    assert not row.error


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        ("FNU,Roe,MA,1234", "first: is a placeholder or has no letters; leave it empty"),
        ("Jo,Roe,Bavaria,1234", "post_state: is no state; give its two letters"),
        (
            "Jo,Roe,MA,PENDING",
            "post_id: is a placeholder or holds no number; leave it empty, and post_state as well",
        ),
    ],
)
def test_a_placeholder_is_the_rows_error_with_what_to_do(cells: str, error: str) -> None:
    (row,) = rows_of(f"first,last,post_state,post_id\n{cells}\n")
    assert row.error == error


def test_no_middle_name_is_no_error() -> None:
    (row,) = rows_of("last,middle\nRoe,NMN\n")
    assert not row.error


def test_a_row_with_another_number_of_cells_is_its_own_error_and_row_numbers_are_the_spreadsheets() -> None:
    rows = rows_of("last,ssn4\nDoe,1234,surplus\n\nRoe,4321\n")
    assert [(row.number, bool(row.error)) for row in rows] == [(2, True), (4, False)]
    assert rows[0].cells == ("",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"last,ssn4\n", "no rows"),
        (b"last;ssn4\nDoe;1\n", "not separated by commas"),
        (b"Doe,1984-01-02\n", "does not name the columns"),
        (b"last,last,ssn4\nDoe,Roe,1\n", "twice: last"),
        (b"row,last,ssn4,outcome\n2,Doe,1,MATCH\n", "outcome, row"),
        (b'last,ssn4\n"Doe,1\n', "cannot be read"),
        (b"last,ssn4\n\xff,1\n", "Line 2 is not encoded in UTF-8"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_sentence(content: bytes, words: str) -> None:
    with pytest.raises(InputInvalid, match=words) as caught:
        list(read(content)[1])
    assert caught.value.remedy
    assert "Doe" not in str(caught.value)


def test_a_file_over_the_row_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_file, "MAX_ROWS", 3)
    assert len(rows_of("last,ssn4\n" + "Doe,1\n" * 3)) == 3
    with pytest.raises(InputInvalid, match="more than 3 rows"):
        rows_of("last,ssn4\n" + "Doe,1\n" * 4)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=x"])
def test_no_cell_that_goes_out_begins_a_formula(cell: str) -> None:
    written = out(["note"], ResultRow(2, (cell,), (*RESULT[:-1], cell)))
    assert written[1][1] == f"'{cell}"
    assert written[1][-3] == f"'{cell}"


@given(st.binary(max_size=300))
def test_no_octets_raise_anything_but_a_typed_error(content: bytes) -> None:
    try:
        list(read(content)[1])
    except CandorError as error:
        assert isinstance(error, InputInvalid)


@given(st.lists(st.lists(st.text(max_size=20), min_size=2, max_size=2), max_size=5))
def test_what_is_written_reads_back_but_for_the_guard_against_formulas(cells: list[list[str]]) -> None:
    rows = [ResultRow(number, tuple(one), RESULT) for number, one in enumerate(cells, 2)]
    text = "".join(lines(["a", "b"], rows))
    # csv reads a lone carriage return inside quotes as it was written.
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert [[cell.removeprefix("'") for cell in line[1:3]] for line in found[1:]] == [
        [cell.removeprefix("'") for cell in one] for one in cells
    ]
