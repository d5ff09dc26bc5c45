"""Files of an evaluation: any order and name of columns, one sentence for what cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from candor_node.evaluation_files import (
    FieldSet,
    Row,
    read_queries,
    read_truth,
    stream_records,
    survey_records,
)
from candor_proto.errors import Fault, InputInvalid
from candor_proto.normalise import Particulars
from candor_records.content import IDENTITY_FIELDS

SECRET = "Placeholderson"


def rows_of(folder: Path, text: str | bytes) -> list[tuple[str, dict[str, str]]]:
    """Ids and what is not missing, as records are streamed."""
    file = write(folder, text)
    survey_records(file, ())
    return [(rec_id, present(row)) for rec_id, row in stream_records(file)]


def write(folder: Path, text: str | bytes, name: str = "A.csv") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def present(row: Row) -> dict[str, str]:
    return {name: value for name, value in zip(IDENTITY_FIELDS, row, strict=True) if value}


MIKE = {"first": "Mike", "last": "Schmidt", "birth_date": "1980-11-02", "ssn4": "4071"}


@pytest.mark.parametrize(
    "text",
    [
        "rec_id,first,last,dob,ssn4\nA1,Mike,Schmidt,1980-11-02,4071\n",
        "ssn4,dob,last,first,rec_id\r\n4071,1980-11-02,Schmidt,Mike,A1\r\n",
        "\ufeffrec_id,first,last,dob,ssn4\nA1,Mike,Schmidt,1980-11-02,4071",
        '"rec_id","first","last","dob","ssn4"\n"A1","Mike","Schmidt","1980-11-02","4071"\n',
        " rec_id , First, LAST ,DOB, ssn4\n A1 , Mike,Schmidt , 1980-11-02, 4071 \n\n,,,,\n",
        "id,given_name,surname,date_of_birth,soc_sec_id\nA1,Mike,Schmidt,1980-11-02,1234071\n",
        "id,given_name,surname,birth_date,ssn\nA1,Mike,Schmidt,1980-11-02,123-45-4071\n",
        "rec_id,id,first,last,dob,ssn4,ssn\nA1,7,Mike,Schmidt,1980-11-02,4071,999999999\n",
        "rec_id,first,last,dob,ssn4,entity_id,kind,address,agency,origin\n"
        "A1,Mike,Schmidt,1980-11-02,4071,E1,twin,1 Oak St,AG1,x\n",
    ],
)
def test_a_file_is_read_whatever_system_wrote_it(tmp_path: Path, text: str) -> None:
    assert rows_of(tmp_path, text) == [("A1", MIKE)]


def test_an_absent_column_is_missing(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "last,rec_id\nSchmidt,A1\n") == [("A1", {"last": "Schmidt"})]


@pytest.mark.parametrize(
    ("column", "text", "read"),
    [
        ("ssn4", "0633", "0633"),
        ("ssn4", "633", "0633"),
        ("ssn4", "633.0", "0633"),
        ("ssn4", "12345", "12345"),  # no last four digits: missing for the normaliser
        ("ssn4", "6l3", "6l3"),
        ("soc_sec_id", "5988633", "8633"),
        ("soc_sec_id", "45", "0045"),
        ("ssn", "123-45-0633", "0633"),
        ("ssn", "unknown", ""),
    ],
)
def test_the_last_four_digits_survive_a_spreadsheet(
    tmp_path: Path, column: str, text: str, read: str
) -> None:
    ((_, row),) = rows_of(tmp_path, f"rec_id,{column}\nA1,{text}\n")
    assert row.get("ssn4", "") == read


def test_labels_are_of_queries_and_never_in_a_row(tmp_path: Path) -> None:
    text = "rec_id,last,kind,origin,entity_id,region\nQ1,Schmidt,twin,north,E1,west\n"
    (query,) = read_queries(write(tmp_path, text), by=["Region"])
    assert query.labels == {"region": "west", "kind": "twin", "origin": "north"}
    assert present(query.row) == {"last": "Schmidt"}
    assert SECRET not in repr(read_queries(write(tmp_path, f"rec_id,last\nQ1,{SECRET}\n")))


def test_field_sets_blank_what_they_leave_out() -> None:
    row = tuple(f"<{name}>" for name in IDENTITY_FIELDS)
    assert set(present(FieldSet.ND.blank(row))) == {"first", "last", "birth_date"}
    assert set(present(FieldSet.NDS.blank(row))) == {"first", "last", "birth_date", "ssn4"}
    assert FieldSet.NDSMP.blank(row) == row


def test_a_row_holds_what_matching_is_given_of_a_person() -> None:
    assert set(IDENTITY_FIELDS) == set(Particulars.__dataclass_fields__)


def test_the_survey_counts_and_keeps_what_is_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path, "rec_id,last\nA1,One\nA2,Two\nA3,Three\n")
    survey = survey_records(file, {"A2", "A9"})
    assert survey.count == 3
    assert {name: present(row) for name, row in survey.known.items()} == {"A2": {"last": "Two"}}


# --- what cannot be used -------------------------------------------------------------------------------


def survey(file: Path) -> object:
    return survey_records(file, ())


HEADER = "rec_id,first,last\n"


@pytest.mark.parametrize("read", [survey, read_queries], ids=["records", "queries"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "A.csv is empty."),
        (" \n\n", "A.csv is empty."),
        (HEADER, "A.csv has a header but no rows."),
        (f"{HEADER}\n,,\n", "A.csv has a header but no rows."),
        (f"first,last\nJo,{SECRET}\n", "A.csv has no column rec_id."),
        (f"rec_id,address\nA1,{SECRET}\n", "A.csv has no column that says who a row is about."),
        ("rec_id;first;last\nA1;Jo;Doe\n", "A.csv is not separated by commas."),
        ("rec_id,last,last\nA1,Doe,Doe\n", "A.csv has 2 columns for last."),
        ("rec_id,given_name,first_name\nA1,Jo,Jo\n", "A.csv has 2 columns for first."),
        (f"{HEADER}A1,Jo,{SECRET}\nA1,Jo,{SECRET}\n", "Row 3 of A.csv has the rec_id of an earlier row."),
        (f"{HEADER}A1,Jo,Doe\n,Jo,{SECRET}\n", "Row 3 of A.csv has no rec_id."),
        (f"{HEADER}A1,Jo,Doe,{SECRET}\n", "Row 2 of A.csv has 4 cells where the header has 3."),
        (f'{HEADER}A1,"Jo"x,{SECRET}\n', "Row 2 of A.csv cannot be read: a quotation mark is out of place."),
        (f'{HEADER}A1,Jo,"{SECRET}\n', "Row 2 of A.csv cannot be read: a quotation mark is out of place."),
        (f"{HEADER}A1,Jo,{'x' * 201}\n", "Row 2 of A.csv: last is longer than 200 letters."),
        (f"{HEADER}A1,Jo,{'x' * 140_000}\n", "Row 2 of A.csv cannot be read: a cell is too long."),
        (b"rec_id,last\nA1,Jos\xe9\n", "A.csv is not encoded in UTF-8, at row 1 or soon after it."),
        ("rec_id,last\nA1,Doe\n".encode("utf-16"), "A.csv is encoded in UTF-16, not in UTF-8."),
        (b"PK\x03\x04\x14\x00", "A.csv is an Excel workbook, not a CSV file."),
        (b"\x7fELF\x02\x01\x01\x00\x00", "A.csv holds NUL octets, so it is no text file."),
        ("no table at all", "A.csv has no column rec_id."),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, read: Callable[[Path], object], text: str | bytes, words: str
) -> None:
    with pytest.raises(InputInvalid) as caught:
        read(write(tmp_path, text))
    assert caught.value.message == words
    assert caught.value.remedy
    assert caught.value.fault is Fault.OPERATOR
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "truth.csv is empty."),
        ("query_id,rec_id\n", "truth.csv has a header but no rows."),
        ("query_id\nQ1\n", "truth.csv has no column rec_id."),
        ("rec_id\nA1\n", "truth.csv has no column query_id."),
        ("query_id,rec_id\nQ1,\n", "Row 2 of truth.csv lacks an id."),
        ("query_id,rec_id\nQ1\n", "Row 2 of truth.csv has 1 cells where the header has 2."),
    ],
)
def test_true_pairs_that_cannot_be_used_are_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputInvalid) as caught:
        read_truth(write(tmp_path, text, "truth.csv"))
    assert (caught.value.message, bool(caught.value.remedy)) == (words, True)


def test_true_pairs_are_pairs_whatever_their_order(tmp_path: Path) -> None:
    text = "rec_id,query_id\nA1,Q1\nA2,Q1\nA1,Q1\nA1,Q2\n"
    truth = read_truth(write(tmp_path, text, "truth.csv"))
    assert truth.by_query == {"Q1": {"A1", "A2"}, "Q2": {"A1"}}
    files = Path("B.csv"), Path("A.csv")
    truth.check({"Q1", "Q2"}, {"A1", "A2"}, files)
    with pytest.raises(InputInvalid, match=r"Row 5 of truth.csv names a query_id that no row of B.csv has"):
        truth.check({"Q1"}, {"A1", "A2"}, files)
    with pytest.raises(InputInvalid, match=r"Row 3 of truth.csv names a rec_id that no row of A.csv has"):
        truth.check({"Q1", "Q2"}, {"A1"}, files)


def test_by_takes_a_column_of_the_queries(tmp_path: Path) -> None:
    file = write(tmp_path, "rec_id,last\nQ1,Doe\n", "B.csv")
    with pytest.raises(InputInvalid, match=r"B.csv has no column region"):
        read_queries(file, by=["region"])
