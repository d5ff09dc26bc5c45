"""CSV import: all of it or nothing, every fault named, no cell repeated."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_node import filing_lists, filings, importer, ledger, lifecycle
from candor_node.import_outcome import ImportReport, RowError
from candor_node.importer import Import, Known, ReadRow, csv_rows, import_csv
from candor_node.lifecycle import Doing
from candor_node.mapping import REQUIRED as COLUMNS
from candor_node.store import Store
from candor_proto.errors import CandorError, InputInvalid
from candor_proto.ids import Ori
from candor_records.content import IDENTITY_FIELDS, Content
from candor_records.policy import NoPack
from candor_records.records import ReportType
from tests.records import (
    CONTRIBUTOR,
    NODE,
    NOW,
    ORI,
    csv_bytes,
    generated_rows,
    make_content,
    make_row,
    new_store,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def run(store: Store, content: bytes, days: int = 0, ori: Ori = ORI) -> ImportReport:
    now = NOW + timedelta(days=days)
    return store.run_sync(
        lambda db: import_csv(db, content, now, ori, NODE, CONTRIBUTOR, allow_duplicates=False)
    )


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    assert not report.errors
    return report.new, report.changed, report.unchanged, report.held


def parse_csv(content: bytes) -> tuple[list[ReadRow], list[RowError]]:
    """What each row says by itself."""
    columns, rows = csv_rows(content)
    work = Import(Doing(NOW, CONTRIBUTOR, NoPack()), ORI, NODE, columns, bytes(32))
    read = work.read(rows)
    work.plan(read, [Known() for _ in read])
    work.report()
    return read, [problem for row in read for problem in row.problems]


def parse(content: bytes) -> list[Content]:
    rows, errors = parse_csv(content)
    assert not errors
    return [row.content for row in rows if row.content is not None]


# --- what it does ------------------------------------------------------------------------------------


def test_new_unchanged_changed_and_held_are_counted(store: Store) -> None:
    rows = list(generated_rows(5))
    rows[4]["finality"] = "APPEAL_PENDING"
    assert counts(run(store, csv_bytes(rows))) == (5, 0, 0, 1)
    assert counts(run(store, csv_bytes(rows), days=1)) == (0, 0, 5, 0)
    rows[0]["narrative"] = "Corrected."
    rows[4]["finality"] = "EXHAUSTED"
    more = make_row(agency_record_id="IA-9", opportunity="NOT_OFFERED", opportunity_on="")
    assert counts(run(store, csv_bytes([*rows, more]), days=2)) == (1, 2, 3, 1)
    assert store.run_sync(filing_lists.count) == (6, 5)


def test_changed_row_is_a_correction_that_names_its_predecessor(store: Store) -> None:
    run(store, csv_bytes([make_row()]))
    first = store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0001"))
    run(store, csv_bytes([make_row(ssn4="4822")]), days=1)
    second = store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, "IA-2021-0001"))
    assert first is not None
    assert second is not None
    assert second.report_type is ReportType.CORRECTION
    assert (second.version, second.previous_dcn) == (2, first.dcn)
    assert second.created_at == NOW + timedelta(days=1)
    assert second.content.identity.ssn4 == "4822"


def test_agency_record_ids_of_two_agencies_do_not_meet(store: Store) -> None:
    other = Ori("ZZ0020000")
    assert counts(run(store, csv_bytes([make_row()]))) == (1, 0, 0, 0)
    assert counts(run(store, csv_bytes([make_row(ssn4="4822")]), ori=other)) == (1, 0, 0, 0)
    assert counts(run(store, csv_bytes([make_row()]))) == (0, 0, 1, 0)


def test_import_is_in_the_ledger_without_names(store: Store) -> None:
    run(store, csv_bytes(list(generated_rows(2))))
    entries = store.run_sync(lambda db: ledger.entries(db))
    assert [entry.event for entry in entries] == ["record.filed", "record.filed", "import.done"]
    assert entries[2].details == {"new": 2, "changed": 0, "unchanged": 0, "held": 0, "opening": 0}
    dcn = store.run_sync(lambda db: str(filing_lists.summaries(db)[0].dcn))
    assert dcn in (entries[0].refs["dcn"], entries[1].refs["dcn"])


def test_one_bad_row_keeps_every_row_out(store: Store) -> None:
    rows = list(generated_rows(20))
    rows[17]["ssn4"] = "0000"
    report = run(store, csv_bytes(rows))
    assert (report.new, report.changed, report.unchanged, report.held) == (0, 0, 0, 0)
    assert [str(error) for error in report.errors] == ["row 19, ssn4: is a placeholder; leave it empty"]
    assert store.run_sync(filing_lists.count) == (0, 0)
    assert store.run_sync(lambda db: ledger.entries(db)) == []


def test_fault_found_while_storing_keeps_every_row_out(store: Store) -> None:
    rows = list(generated_rows(3))
    run(store, csv_bytes(rows[:1]))
    voided = store.run_sync(lambda db: filings.find_by_agency_id(db, ORI, rows[0]["agency_record_id"]))
    assert voided is not None
    store.run_sync(lambda db: lifecycle.void(db, voided.dcn, Doing(NOW, CONTRIBUTOR, NoPack())))
    rows[2]["effective_on"] = "2062-01-01"
    report = run(store, csv_bytes(rows))
    assert [(error.row, error.column) for error in report.errors] == [
        (2, "agency_record_id"),
        (4, "effective_on"),
    ]
    assert "void" in report.errors[0].reason
    assert store.run_sync(filing_lists.count) == (1, 0)


OTHER = make_row(agency_record_id="IA-2", birth_date="1985-01-02")


def test_second_row_of_the_same_record_is_an_error(store: Store) -> None:
    report = run(store, csv_bytes([make_row(), OTHER, make_row(ssn4="4822")]))
    assert [(error.row, error.column) for error in report.errors] == [(4, "agency_record_id")]
    assert "row 2" in report.errors[0].reason
    # The same id with blanks around it is the same id.
    report = run(store, csv_bytes([make_row(), make_row(agency_record_id=" IA-2021-0001 ")]))
    assert report.error_count == 1


def test_errors_are_bounded_but_counted(store: Store) -> None:
    rows = [make_row(agency_record_id=f"IA-{number}", ssn4="0000") for number in range(1_200)]
    report = run(store, csv_bytes(rows))
    assert len(report.errors) == 1_000
    assert report.error_count == 1_200


# --- the form of the file ----------------------------------------------------------------------------


def test_columns_in_any_order_and_any_case() -> None:
    shuffled = random.Random(3).sample(COLUMNS, len(COLUMNS))
    rows = parse(csv_bytes([make_row()], shuffled))
    assert rows == [make_content()]
    upper = csv_bytes([make_row()]).replace(b"agency_record_id", b" Agency_Record_ID ", 1)
    assert parse(upper) == rows


def test_columns_of_the_kinds_may_stand_beside_the_first() -> None:
    row = make_row(separated_on="2021-06-14", cause_codes="DISHONESTY")
    rows = parse(csv_bytes([row, make_row(agency_record_id="IA-2")]))
    assert rows[0] == make_content(separated_on="2021-06-14", cause_codes="DISHONESTY")
    assert rows[1] == make_content(agency_record_id="IA-2")
    with pytest.raises(InputInvalid, match="twice: cause_codes"):
        parse(csv_bytes([row], [*COLUMNS, "cause_codes", "cause_codes"]))


@pytest.mark.parametrize("form", ["bom", "lf", "quoted", "blank lines", "no end"])
def test_forms_that_spreadsheets_write(form: str) -> None:
    row = make_row(narrative='He said "no",\r\nthen left; twice.', first="José")
    content = csv_bytes([row, make_row(agency_record_id="IA-2")])
    if form == "bom":
        content = b"\xef\xbb\xbf" + content
    elif form == "lf":
        content = content.replace(b"\r\n", b"\n")
    elif form == "quoted":
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, COLUMNS, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows([row, make_row(agency_record_id="IA-2")])
        content = out.getvalue().encode()
    elif form == "blank lines":
        content = content + b"\r\n" + b"," * (len(COLUMNS) - 1) + b"\r\n"
    else:
        content = content.rstrip(b"\r\n")
    rows = parse(content)
    assert [content.agency_record_id for content in rows] == ["IA-2021-0001", "IA-2"]
    assert rows[0].identity.first == "José"
    assert rows[0].narrative == 'He said "no",\nthen left; twice.'


def test_row_numbers_are_those_of_the_spreadsheet() -> None:
    broken = make_row(agency_record_id="IA-2", narrative="one\r\ntwo")
    content = csv_bytes([make_row(), broken, make_row(agency_record_id="IA-3", ssn4="x")])
    header, rest = content.split(b"\r\n", 1)
    _, errors = parse_csv(header + b"\r\n\r\n" + rest)
    assert [(error.row, error.column) for error in errors] == [(5, "ssn4")]


def header_without(*names: str) -> bytes:
    return csv_bytes([make_row()], [name for name in COLUMNS if name not in names])


WORKBOOK = b"PK\x03\x04\x14\x00\x06\x00" + bytes(100)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The file is empty"),
        (b"\xef\xbb\xbf", "The file is empty"),
        (b" \r\n\r\n", "The file is empty"),
        (",".join(COLUMNS).encode(), "a header but no records"),
        (WORKBOOK, "an Excel workbook .*, not a CSV file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1" + bytes(50), "an old Excel workbook"),
        (csv_bytes([make_row()]).decode().encode("utf-16"), "UTF-16"),
        (csv_bytes([make_row(first="José")]).decode().encode("latin-1"), "Line 2 is not encoded in UTF-8"),
        (csv_bytes([make_row()]).replace(b"Quentin", b"Quen\0tin"), "NUL"),
        (csv_bytes([make_row()]).replace(b",", b";"), "not separated by commas"),
        (csv_bytes([make_row()]).replace(b",", b"\t"), "not separated by commas"),
        (b"name,born\r\nQuentin,1984\r\n", "does not name the columns"),
        (csv_bytes([make_row()]).split(b"\r\n")[1], "does not name the columns"),
        (header_without("ssn4", "sex"), "missing: ssn4, sex"),
        (csv_bytes([make_row()]).replace(b"ssn4", b"ssn", 1), "missing: ssn4; unknown: ssn"),
        (csv_bytes([make_row()]).replace(b"ssn4,", b"ssn4,ssn4,", 1), "twice: ssn4"),
        (csv_bytes([make_row()]).replace(b"Falsified", b'"Falsified'), "quotation mark"),
        (csv_bytes([make_row(narrative="x" * 140_000)]), "a cell is too long"),
    ],
)
def test_file_that_cannot_be_read_is_one_sentence(store: Store, content: bytes, words: str) -> None:
    with pytest.raises(InputInvalid, match=words) as caught:
        run(store, content)
    assert "Nothing was stored" in caught.value.remedy
    assert "Quentin" not in str(caught.value)
    assert "Placeholderson" not in str(caught.value)
    assert store.run_sync(filing_lists.count) == (0, 0)


def test_file_over_64_mib_is_refused() -> None:
    with pytest.raises(InputInvalid, match="larger than 64 MiB"):
        parse_csv(b"x" * (64 * 1024 * 1024 + 1))


def test_file_over_the_row_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert importer.MAX_ROWS == 100_000
    monkeypatch.setattr(importer, "MAX_ROWS", 3)
    assert len(parse(csv_bytes(generated_rows(3)))) == 3
    with pytest.raises(InputInvalid, match="more than 3 rows"):
        parse_csv(csv_bytes(generated_rows(4)))
    # Rows are counted, not faults.
    assert len(parse_csv(csv_bytes(generated_rows(3, ssn4="x", sex="q")))[1]) == 6


def test_row_with_too_many_cells_is_an_error_of_that_row() -> None:
    lines = csv_bytes([make_row(), make_row(agency_record_id="IA-2")]).split(b"\r\n")
    shorter = lines[2][: lines[2].rindex(b",")]
    rows, errors = parse_csv(b"\r\n".join([lines[0], lines[1] + b",more", shorter]))
    assert [row.content for row in rows] == [None, None]
    assert [(error.row, error.column) for error in errors] == [(2, "(row)"), (3, "(row)")]
    assert "30 cells" in errors[0].reason


# --- what it never says ------------------------------------------------------------------------------

SECRET = "Zyxwvut"


@settings(deadline=None, max_examples=60)
@given(column=st.sampled_from(COLUMNS), other=st.sampled_from(COLUMNS))
def test_no_message_repeats_a_cell(column: str, other: str) -> None:
    """A shifted column may put a name anywhere, so no column's value is safe to print."""
    row = make_row()
    row[column] = f"{SECRET}\x07" + "q" * 5000
    row[other] = f"{SECRET} {SECRET}"
    for error in parse_csv(csv_bytes([row]))[1]:
        assert SECRET.lower() not in str(error).lower()


def test_header_that_is_data_is_not_repeated() -> None:
    content = csv_bytes([make_row()]).replace(b"first,", b"Quentin 1984-07-23,", 1)
    with pytest.raises(InputInvalid) as caught:
        parse_csv(content)
    assert "quentin" not in str(caught.value).lower()


# --- properties --------------------------------------------------------------------------------------

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400))
def test_parser_never_raises_anything_else_on_octets(content: bytes) -> None:
    try:
        parse_csv(content)
    except CandorError as error:
        assert error.code == "input_invalid"


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_parser_never_raises_anything_else_on_cells(data: st.DataObject) -> None:
    columns = data.draw(st.permutations(COLUMNS))
    names = data.draw(st.lists(st.sampled_from(COLUMNS), max_size=6, unique=True))
    row = make_row(**{name: data.draw(CELL) for name in names})
    try:
        rows, errors = parse_csv(csv_bytes([row], columns))
    except InputInvalid:
        return
    assert all((row.content is None) == bool(row.problems) for row in rows)
    assert any(row.content is None for row in rows) == bool(errors)


@settings(deadline=None, max_examples=60)
@given(
    first=st.text(
        st.characters(categories=["L"], max_codepoint=0x17F, exclude_characters="µ"), max_size=30
    ).map(lambda text: f"Zo{text}"),
    narrative=st.text(st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="-"), max_size=200),
    seed=st.integers(0, 1000),
)
def test_what_is_written_is_read(first: str, narrative: str, seed: int) -> None:
    row = next(iter(generated_rows(1, seed=seed, first=first, narrative=narrative)))
    assert parse(csv_bytes([row]))[0] == make_content(**row)
    assert set(IDENTITY_FIELDS) < set(COLUMNS)


def test_settlement_comes_in_only_where_the_pack_lets_it_in(store: Store) -> None:
    class Settling(NoPack):
        settlements_allowed = True

    row = make_row(record_kind="CIVIL_JUDGMENT", judgment_form="SETTLEMENT_NO_ADMISSION")
    (refused,) = run(store, csv_bytes([row])).errors
    assert refused.code == "SETTLEMENT"
    report = store.run_sync(
        lambda db: import_csv(db, csv_bytes([row]), NOW, ORI, NODE, CONTRIBUTOR, Settling())
    )
    assert counts(report)[0] == 1


def test_appeal_that_is_decided_tomorrow_makes_nothing_final_today(store: Store) -> None:
    day = (NOW + timedelta(days=2)).date().isoformat()
    row = make_row(finality="EXHAUSTED", appeal_outcome="UPHELD", appeal_decided_on=day)
    (error,) = run(store, csv_bytes([row])).errors
    assert (error.column, error.reason) == (
        "appeal_decided_on", "lies ahead; it is entered once it has happened",
    )  # fmt: skip
