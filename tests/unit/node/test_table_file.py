"""Tables as people send them, CSV and Excel, and as others make them to do harm."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candor_node import csv_file, table_file, table_out, workbook, workbook_helper
from candor_node.table_file import Reading, Row
from candor_node.table_out import Line
from candor_proto.errors import AlreadyExists, CandorError, InputInvalid

NAME = "Placeholderson"


def read(path: Path, reading: Reading | None = None) -> list[list[str]]:
    return [row.cells for row in table_file.rows(path, reading)]


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def book(path: Path, *sheets: tuple[str, list[list[object]]], hidden: str = "") -> Path:
    out = xlsxwriter.Workbook(str(path))
    day = out.add_format({"num_format": "mm/dd/yyyy"})
    for name, rows in sheets:
        sheet = out.add_worksheet(name)
        if name == hidden:
            sheet.hide()
        for number, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                if isinstance(cell, date):
                    sheet.write_datetime(number, column, cell, day)  # type: ignore[arg-type]
                else:
                    sheet.write(number, column, cell)
    out.close()
    return path


# --- what is read ------------------------------------------------------------------------------------


def test_csv_and_workbook_say_the_same(tmp_path: Path) -> None:
    rows = [["id", "born"], ["IA-1", "1984-07-23"], ["IA-2", ""]]
    as_csv = saved(tmp_path / "a.csv", "\n".join(map(",".join, rows)).encode())
    as_book = book(tmp_path / "a.xlsx", ("one", [["id", "born"], ["IA-1", date(1984, 7, 23)], ["IA-2", ""]]))
    assert read(as_csv) == read(as_book) == rows


def test_cells_of_a_workbook_are_texts_without_surprises(tmp_path: Path) -> None:
    moment = datetime(2020, 1, 2, 3, 4, 5)  # noqa: DTZ001 a spreadsheet knows no zones
    cells = [421, 4.5, True, moment, 10**14, "0421", "=not a formula"[1:]]
    assert read(book(tmp_path / "a.xlsx", ("one", [["h"] * 7, cells])))[1] == [
        "421", "4.5", "TRUE", "2020-01-02 03:04:05", "100000000000000", "0421", "not a formula",
    ]  # fmt: skip


def test_rows_are_numbered_as_the_spreadsheet_does(tmp_path: Path) -> None:
    found = table_file.rows(book(tmp_path / "a.xlsx", ("one", [[], [], ["h"], [], ["x"]])))
    assert [row.number for row in found] == [3, 5]
    found = table_file.rows(saved(tmp_path / "a.csv", b"\r\nh\r\n\r\nx\r\n"))
    assert [row.number for row in found] == [2, 4]


def test_a_sheet_is_named_when_there_are_several(tmp_path: Path) -> None:
    path = book(tmp_path / "a.xlsx", ("one", [["h"], ["1"]]), ("two", [["h"], ["2"]]))
    with pytest.raises(InputInvalid, match="several sheets: “one”, “two”"):
        read(path)
    assert read(path, Reading(sheet="two")) == [["h"], ["2"]]
    with pytest.raises(InputInvalid, match="no such sheet"):
        read(path, Reading(sheet="three"))
    # What nobody sees is not chosen by itself.
    path = book(tmp_path / "b.xlsx", ("one", [["h"], ["1"]]), ("two", [["h"], ["2"]]), hidden="two")
    assert read(path) == [["h"], ["1"]]


def test_other_encodings_and_delimiters_are_read_when_the_profile_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.csv", "name;born\nJosé;1984\n".encode("cp1252"))
    with pytest.raises(InputInvalid, match=r"Line 2 is not encoded in UTF-8"):
        read(path, Reading(delimiter="semicolon"))
    assert read(path, Reading("windows-1252", "semicolon")) == [["name", "born"], ["José", "1984"]]
    assert table_file.delimiter_of(path, "windows-1252") == "semicolon"
    with pytest.raises(InputInvalid, match="delimiter is one of"):
        Reading(delimiter="§")
    with pytest.raises(InputInvalid, match="encoding is one of"):
        Reading(encoding="utf-7")


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_every_end_of_line_is_one(tmp_path: Path, ending: bytes) -> None:
    content = ending.join([b"\xef\xbb\xbfa,b", b'1,"x', b'y"', b"2,z"]) + ending
    inner = ending.decode()
    assert read(saved(tmp_path / "a.csv", content)) == [["a", "b"], ["1", f"x{inner}y"], ["2", "z"]]


def test_a_row_of_the_file_does_not_print() -> None:
    assert NAME not in repr(Row(1, [NAME]))
    assert NAME not in repr(Line([NAME]))


# --- what is refused ---------------------------------------------------------------------------------


def test_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(40 * 1024**2))
    monkeypatch.setattr(workbook, "_opened", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(InputInvalid, match="would unpack to 40 MiB"):
        read(path)


def test_archive_of_too_many_parts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "parts.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(workbook.MAX_PARTS + 1):
            archive.writestr(str(number), b"")
    monkeypatch.setattr(workbook, "_opened", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(InputInvalid, match="2,001 parts"):
        read(path)


def corners(path: Path) -> Path:
    """Two cells in opposite corners of a sheet: a grid of 17 thousand million."""
    out = xlsxwriter.Workbook(str(path))
    sheet = out.add_worksheet("one")
    sheet.write(0, 0, NAME)
    sheet.write(1_048_575, 16_383, NAME)
    out.close()
    return path


def test_sheet_made_to_take_all_memory_ends_its_own_process_only(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=r"could not be read to its end|more than") as caught:
        read(corners(tmp_path / "corners.xlsx"))
    assert "Nothing was stored" in caught.value.remedy


def test_helper_limits_its_own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sheet of corners takes depends on the parser; that there is a limit does not."""
    asked = []
    monkeypatch.setattr(workbook_helper.resource, "setrlimit", lambda what, limit: asked.append(what))
    monkeypatch.setattr(workbook_helper.sys, "argv", ["", "", "1", "1"])
    monkeypatch.setattr(workbook_helper, "convert", lambda *_: None)
    monkeypatch.setattr("builtins.open", lambda *_, **__: io.BytesIO())
    workbook_helper.main()
    assert workbook_helper.resource.RLIMIT_AS in asked


def test_more_columns_than_any_table_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="more than 400 cells"):
        read(saved(tmp_path / "a.csv", b"x" + b"," * 1_000_000))
    with pytest.raises(InputInvalid, match="more than 400 columns"):
        read(book(tmp_path / "a.xlsx", ("one", [["x"] * 401])))


def test_more_rows_than_are_taken_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "MAX_ROWS", 2)
    assert len(read(saved(tmp_path / "a.csv", b"h\n1\n2\n"))) == 3
    with pytest.raises(InputInvalid, match="more than 2 rows"):
        read(saved(tmp_path / "a.csv", b"h\n1\n2\n3\n"))
    with pytest.raises(InputInvalid, match="more than 2 rows"):
        read(book(tmp_path / "a.xlsx", ("one", [["h"], [1], [2], [3]])))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The file is empty"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1" + bytes(50), "an old Excel workbook"),
        (b"PK\x03\x04" + bytes(100), "not a workbook that can be read"),
        (f"a,{NAME}".encode("utf-16"), "UTF-16"),
        (f"a,{NAME}\0".encode(), "NUL"),
        (b'a,b\n1,"x', "quotation mark"),
        (b"a\n" + b"x" * 140_000, "a cell is too long"),
    ],
)
def test_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(InputInvalid, match=words) as caught:
        list(table_file.table(saved(tmp_path / "a.csv", content))[1])
    assert "Nothing was stored" in caught.value.remedy
    assert NAME not in str(caught.value)


def test_file_over_64_mib_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.truncate(64 * 1024**2 + 1)
    with pytest.raises(InputInvalid, match="larger than 64 MiB"):
        read(path)
    with pytest.raises(InputInvalid, match="cannot be read"):
        read(tmp_path / "none.csv")
    with pytest.raises(InputInvalid, match="cannot be read"):
        read(tmp_path)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_csv_reader_never_raises_anything_else(tmp_path: Path, content: bytes) -> None:
    try:
        read(saved(tmp_path / "a.csv", content))
    except CandorError as error:
        assert error.code == "input_invalid"


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_workbook_reader_never_raises_anything_else(tmp_path: Path, data: st.DataObject) -> None:
    """A workbook with some octets changed is rows or one typed error."""
    octets = bytearray(book(tmp_path / "good.xlsx", ("one", [["h", "i"], ["x", 1]])).read_bytes())
    for place, octet in data.draw(
        st.lists(st.tuples(st.integers(4, 10_000), st.integers(0, 255)), max_size=8)
    ):
        octets[place % len(octets)] = octet
    try:
        read(saved(tmp_path / "bad.xlsx", bytes(octets)))
    except CandorError as error:
        assert error.code == "input_invalid"


# --- on the way out ----------------------------------------------------------------------------------

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(st.one_of(CELL, st.from_regex(r"'*[=+@\t\r-].*", fullmatch=True)))
def test_guard_against_formulas_is_undone_and_alters_nothing(cell: str) -> None:
    assert csv_file.unguarded(csv_file.guarded(cell)) == cell
    assert csv_file.guarded(cell)[:1] not in set("=+-@\t\r")


@pytest.mark.parametrize("name", ["out.csv", "out.xlsx"])
def test_no_cell_that_goes_out_begins_a_formula(tmp_path: Path, name: str) -> None:
    cells = ["=1+2", "+1", "-1", "@x", "\tx", "'=x", "plain", "O'Brien"]
    table_out.write(tmp_path / name, ["=head"], [Line(cells)])
    found = read(tmp_path / name)
    assert found[0][0] == "'=head"
    assert [csv_file.unguarded(cell) for cell in found[1]] == cells
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for row in found for cell in row)


@pytest.mark.parametrize("name", ["out.csv", "out.xlsx"])
def test_file_that_goes_out_is_its_owners_alone_and_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table_out.write(path, ["h"], [Line(["1"])])
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()

    def breaks() -> list[Line]:
        raise InputInvalid("The node went away.")

    with pytest.raises(InputInvalid):
        table_out.write(path, ["h"], (line for line in [Line(["2"]), *breaks()]))
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = saved(tmp_path / "out.csv", b"h\n")
    with pytest.raises(AlreadyExists):
        table_out.check_target(path, replace=False)
    table_out.check_target(path, replace=True)
    with pytest.raises(InputInvalid, match="the file that is read"):
        table_out.check_target(path, replace=True, source=path)
    with pytest.raises(InputInvalid, match=r"must end in \.xlsx or \.csv"):
        table_out.check_target(tmp_path / "out.txt", replace=False)
    with pytest.raises(InputInvalid, match="cannot be written"):
        table_out.check_target(tmp_path / "none" / "out.csv", replace=False)
