"""The commands that bring records in and out, against a running node."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from candor_node import niem, table_file
from candor_node.cli_common import EXIT_OPERATOR
from candor_node.import_report import HINT, PROBLEM, REFUSAL, ROW, STATUS
from candor_node.mapping import COLUMNS
from candor_proto.errors import AlreadyExists, CandorError, InputInvalid
from candor_proto.record import RecordKind
from candor_records.content import CONTENT_FIELDS
from candor_records.template import template_rows
from tests.federation import Federation
from tests.records import csv_bytes, generated_rows, make_row
from tests.unit.node.test_cli import Run, ended, play
from tests.unit.node.test_mapping import CELLS, HEADER

ROOT = Path(__file__).parents[3]
PROPOSE = (
    "--map", "narative=narrative", "--ignore", "Internal Use", "--set", "source_of_record=PERSONNEL_ACTION",
    "--date", "decided_on=MM/DD/YYYY", "--date", "notice_given_on=MM/DD/YYYY",
    "--date", "opportunity_on=MM/DD/YYYY",
)  # fmt: skip


def table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    header, rows = table_file.table(path)
    return header, [dict(zip(header, row.cells, strict=False)) for row in rows]


async def total(run: Run) -> int:
    found: int = json.loads((await run("records", "list", "--json")).stdout)["total"]
    return found


def own_system(path: Path, *rows: tuple[str, ...]) -> Path:
    """A workbook as a records system writes it."""
    out = xlsxwriter.Workbook(str(path))
    sheet = out.add_worksheet("Export")
    for number, cells in enumerate((HEADER, *rows)):
        for column, cell in enumerate(cells):
            sheet.write_string(number, column, cell)
    out.close()
    return path


def differing(**cells: str) -> tuple[str, ...]:
    """CELLS with other cells, by heading."""
    found = list(CELLS)
    for heading, cell in cells.items():
        found[[name.replace(" ", "_").replace("#", "No") for name in HEADER].index(heading)] = cell
    return tuple(found)


# --- the clerk's way ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["report.xlsx", "report.csv"])
def test_from_a_systems_own_export_to_a_report_to_records(tmp_path: Path, name: str) -> None:
    """Propose, save, dry run with a report, correct the report, import the report."""

    async def scene(fed: Federation, run: Run) -> None:
        file = own_system(
            tmp_path / "export.xlsx",
            CELLS,
            differing(Case_No="IA-2", LNAME="=Formula", DOB="13/45/1985", SSN_Last_4="421"),
            differing(Case_No="IA-3", DOB="07/24/1984", Narative="-5 days"),
        )
        birth = ("--date", "birth_date=MM/DD/YYYY")
        asked = await run("import", str(file), "--propose", *PROPOSE)
        assert "The dates of birth_date are in no one form" in asked.output
        proposed = await run("import", str(file), "--propose", *PROPOSE, *birth, "--save-profile", "ours")
        assert ended(proposed) == 0, proposed.output
        assert "Saved as ours, version 1." in proposed.output
        report = tmp_path / name
        dry = await run("import", str(file), "--profile", "ours", "--dry-run", "--report", str(report))
        assert ended(dry) == EXIT_OPERATOR
        assert "row 3, DOB (birth_date): is not a date of the form MM/DD/YYYY" in dry.output
        assert "row 3, SSN Last 4 (ssn4): is not four digits" in dry.output
        assert "Formula" not in dry.output
        assert await total(run) == 0

        header, rows = table(report)
        assert header == [*HEADER, ROW, STATUS, PROBLEM, REFUSAL, HINT]
        assert [row[STATUS] for row in rows] == ["new", "PROBLEM", "new"]
        assert [row[ROW] for row in rows] == ["2", "3", "4"]
        assert "DOB" in rows[1][PROBLEM]
        assert "SSN" in rows[1][PROBLEM]
        assert rows[1]["LNAME"] == "'=Formula"
        assert rows[2]["Narative"] == "'-5 days"
        assert report.stat().st_mode & 0o777 == 0o600

        rows[1] |= {"DOB": "12/11/1985", "SSN Last 4": "0421", "LNAME": "Formulason"}
        fixed = tmp_path / "fixed.csv"
        with fixed.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, header)
            writer.writeheader()
            writer.writerows(rows)
        done = await run("import", str(fixed), "--profile", "ours", "--by", "clerk-7")
        assert ended(done) == 0, done.output
        assert done.output.splitlines()[0] == "3 new, 0 changed, 0 unchanged."

        # What was guarded on the way out is as it was: the export itself changes only what was corrected.
        again = await run("import", str(file), "--profile", "ours", "--dry-run", "--json")
        assert json.loads(again.stdout)["error_count"] == 2
        assert json.loads(again.stdout)["unchanged"] == 2

    play(tmp_path, scene, agencies=1)


def test_dry_run_says_what_would_be_done_and_stores_nothing(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        rows = list(generated_rows(4))
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes(rows[:3]))
        assert ended(await run("import", str(file))) == 0
        rows[0]["narrative"] = "Corrected."
        rows[1]["finality"] = "APPEAL_PENDING"
        file.write_bytes(csv_bytes(rows))
        report = tmp_path / "report.csv"
        dry = await run("import", str(file), "--dry-run", "--report", str(report))
        assert ended(dry) == 0
        assert dry.output.splitlines() == [
            "1 new, 2 changed, 1 unchanged; 1 held back by the fair-process gate.",
            "Changes: 1 CORRECTION, 1 NOTICE_OF_APPEAL.",
            "Held back by: final (1).",
            "Complete reports also give: cause_codes (3), eligible_for_rehire (3), separated_on (3). "
            "No row is refused for that.",
            "A dry run: nothing was stored.",
        ]
        found = [row[STATUS] for row in table(report)[1]]
        assert found == ["changed: CORRECTION", "changed: NOTICE_OF_APPEAL; held: final", "unchanged", "new"]
        assert await total(run) == 3
        assert ended(await run("import", str(file))) == 0
        assert await total(run) == 4

    play(tmp_path, scene, agencies=1)


def test_likely_duplicate_waits_for_a_persons_word(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([make_row()]))
        assert ended(await run("import", str(file))) == 0
        dcn = json.loads((await run("records", "list", "--json")).stdout)["records"][0]["dcn"]
        twin = make_row(
            agency_record_id="IA-OTHER", first="QUENTIN", last="Placeholder-son", narrative="Again."
        )
        file.write_bytes(csv_bytes([twin]))
        refused = await run("import", str(file))
        assert ended(refused) == EXIT_OPERATOR
        assert f"this person, kind and day stand as {dcn} already" in refused.output
        assert "--allow-duplicates" in refused.stderr
        assert "Placeholder" not in refused.output
        assert await total(run) == 1
        assert ended(await run("import", str(file), "--allow-duplicates")) == 0
        assert await total(run) == 2

    play(tmp_path, scene, agencies=1)


def test_file_that_opens_a_red_record_proposes_it_once(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([make_row(sharing="RED")]))
        assert ended(await run("import", str(file), "--by", "clerk-7")) == 0
        file.write_bytes(csv_bytes([make_row(sharing="GREEN")]))
        for _ in range(2):
            done = await run("import", str(file), "--by", "clerk-7")
            assert ended(done) == 0, done.output
            assert "1 stay RED: opening them takes a second person." in done.output
        assert json.loads((await run("records", "list", "--json")).stdout)["records"][0]["sharing"] == "RED"
        waiting = json.loads((await run("approvals", "list", "--json")).stdout)["approvals"]
        assert [one["operation"] for one in waiting] == ["OPEN_SHARING"]
        decided = await run(
            "approvals", "approve", waiting[0]["approval_id"], "--by", "chief", "--reason", "ok"
        )
        assert ended(decided) == 0, decided.output
        assert json.loads((await run("records", "list", "--json")).stdout)["records"][0]["sharing"] == "GREEN"

    play(tmp_path, scene, agencies=1)


def test_file_that_breaks_off_while_it_is_read_stores_nothing(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes(generated_rows(1_500)) + b'IA-9,"')
        done = await run("import", str(file))
        assert isinstance(done.exception, InputInvalid)
        assert "quotation mark" in str(done.exception)
        assert await total(run) == 0
        # And the next one is not in its way.
        file.write_bytes(csv_bytes(generated_rows(2)))
        assert ended(await run("import", str(file))) == 0

    play(tmp_path, scene, agencies=1)


def test_template_has_every_column_and_is_not_written_over_a_file(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        path = tmp_path / "template.xlsx"
        assert ended(await run("import", "--template", str(path))) == 0
        assert table(path)[0] == list(COLUMNS)
        assert isinstance((await run("import", "--template", str(path))).exception, AlreadyExists)
        assert ended(await run("import", "--template", str(path), "--force")) == 0
        assert isinstance((await run("import")).exception, InputInvalid)

    play(tmp_path, scene, agencies=1)


@pytest.mark.parametrize("name", ["template.xlsx", "template.csv"])
def test_rows_of_the_template_that_are_for_people_file_nobody(tmp_path: Path, name: str) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        path = tmp_path / name
        written = await run("import", "--template", str(path), "--json")
        assert json.loads(written.stdout)["examples"] == len(RecordKind)
        untouched = await run("import", str(path))
        assert isinstance(untouched.exception, InputInvalid)
        assert "a header but no records" in str(untouched.exception)
        header, *rows = template_rows()
        filled = tmp_path / "filled.csv"
        with filled.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([header, *rows, ["EX-1", *rows[1][1:]]])
        done = await run("import", str(filled))
        assert ended(done) == 0, done.output
        assert done.output.splitlines()[0] == "1 new, 0 changed, 0 unchanged."
        assert f"{len(rows)} rows that begin with # were passed over." in done.output
        assert await total(run) == 1

    play(tmp_path, scene, agencies=1)


def test_report_of_a_dry_run_names_codes_and_what_is_wanting(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        rows = list(generated_rows(2))
        rows[1]["narrative"] = "In a Garrity statement he admitted it."
        file, report = tmp_path / "records.csv", tmp_path / "report.csv"
        file.write_bytes(csv_bytes(rows))
        dry = await run("import", str(file), "--dry-run", "--report", str(report), "--json")
        assert ended(dry) == EXIT_OPERATOR
        said = json.loads(dry.stdout)
        assert said["refused_because"] == {"COMPELLED_STATEMENT": 1}
        assert [error["code"] for error in said["errors"]] == ["COMPELLED_STATEMENT"]
        assert said["wanting"] == {"separated_on": 1, "cause_codes": 1, "eligible_for_rehire": 1}
        good, bad = table(report)[1]
        assert (good[REFUSAL], bad[REFUSAL]) == ("", "COMPELLED_STATEMENT")
        assert good[HINT] == "a complete report also gives: separated_on, cause_codes, eligible_for_rehire"
        assert "May not be reported: COMPELLED_STATEMENT (1)." in (await run("import", str(file))).output

    play(tmp_path, scene, agencies=1)


def test_what_an_import_filed_is_found_at_once(tmp_path: Path) -> None:
    """By name, in its history, and among what is due."""

    async def scene(fed: Federation, run: Run) -> None:
        assert (await run("records", "search", "Foundling")).output.splitlines()[0] == "Nobody of that name."
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([make_row(last="Foundling", subject_notified_on="")]))
        assert ended(await run("import", str(file), "--by", "clerk-7")) == 0
        found = json.loads((await run("records", "search", "Foundling", "--json")).stdout)["records"]
        (dcn,) = (one["record"]["dcn"] for one in found)
        history = json.loads((await run("records", "history", dcn, "--json")).stdout)["entries"]
        assert [(entry["act"], entry["by"]) for entry in history] == [("FILE", "clerk-7")]
        due = json.loads((await run("records", "due", "--json")).stdout)["dues"]
        assert {"NOTICE", "REVIEW"} <= {one["what"] for one in due if one["dcn"] == dcn}

    play(tmp_path, scene, agencies=1)


def test_profiles_are_kept_by_name_and_version(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        file = own_system(tmp_path / "export.xlsx", CELLS)
        open_ones = await run("import", str(file), "--propose", "--save-profile", "ours")
        assert ended(open_ones) == EXIT_OPERATOR
        assert "Not saved" in open_ones.output
        assert "No profiles." in (await run("imports", "list")).output
        assert ended(await run("import", str(file), "--propose", *PROPOSE, "--save-profile", "ours")) == 0
        text = (await run("imports", "show", "ours")).stdout
        other = tmp_path / "ours.json"
        other.write_text(text)
        assert "version 1" in (await run("imports", "load", str(other))).output
        other.write_text(text.replace('"narrative": "narative"', '"narrative": "story"'))
        assert "version 2" in (await run("imports", "load", str(other), "--by", "clerk-7")).output
        assert (await run("imports", "list")).output.splitlines()[1].startswith("ours     2")
        assert ended(await run("imports", "delete", "ours")) == 0
        gone = await run("imports", "show", "ours")
        assert isinstance(gone.exception, CandorError)
        events = [
            entry["event"] for entry in json.loads((await run("audit", "ledger", "--json")).stdout)["entries"]
        ]
        assert events.count("import.profile_saved") == 2
        assert events.count("import.profile_deleted") == 1
        # A deleted name may be saved anew, as a further version.
        assert "version 3" in (await run("imports", "load", str(other))).output

    play(tmp_path, scene, agencies=1)


# --- out again ---------------------------------------------------------------------------------------

DECERTIFICATION = {
    "agency_record_id": "D-1",
    "record_kind": "DECERTIFICATION",
    "source_of_record": "POST_ORDER",
    "decision_maker": "POST",
}


def exported(columns: dict[str, str]) -> dict[str, str]:
    return {**make_row(**{name: text for name, text in columns.items() if name in CONTENT_FIELDS}), **columns}


def test_exports_name_people_only_to_their_owner_and_stand_in_the_ledger(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        file = tmp_path / "records.csv"
        columns = [*CONTENT_FIELDS, "certificate_action", "deciding_post"]
        red = {**DECERTIFICATION, "agency_record_id": "D-2", "sharing": "RED", "birth_date": "1980-01-02"}
        rows = [
            {**make_row(narrative="=1+1"), "certificate_action": "", "deciding_post": ""},
            exported({**DECERTIFICATION, "certificate_action": "REVOKED", "deciding_post": "CA"}),
            exported({**red, "certificate_action": "REVOKED", "deciding_post": "CA"}),
        ]
        file.write_bytes(csv_bytes(rows, columns))
        done = await run("import", str(file))
        assert ended(done) == 0, done.output

        out = tmp_path / "out.json"
        assert ended(await run("records", "export", "--format", "niem-json", "--out", str(out))) == 0
        assert out.stat().st_mode & 0o777 == 0o600
        import jsonschema  # takes two seconds

        document = json.loads(out.read_text())
        jsonschema.validate(document, json.loads((ROOT / "docs/niem.schema.json").read_text()))
        record = document["candor:AccountabilityRecord"][0]
        assert record["nc:Person"]["nc:PersonName"]["nc:PersonSurName"] == "Placeholderson"
        assert record["j:EnforcementOfficial"]["@id"] == record["nc:Person"]["@id"]
        assert record["candor:NoticeGivenDate"] == {"nc:Date": "2021-04-01"}
        assert {"candor:FieldName": "suffix", "candor:ReasonCode": "UNKNOWN"} in record["candor:NotGiven"]
        again = await run("records", "export", "--format", "niem-json", "--out", str(out))
        assert isinstance(again.exception, AlreadyExists)
        assert (
            ended(await run("records", "export", "--format", "niem-json", "--out", str(out), "--force")) == 0
        )

        listed = tmp_path / "ndi.csv"
        ndi = ("records", "export", "--format", "ndi-csv", "--out", str(listed))
        assert isinstance((await run(*ndi)).exception, InputInvalid)
        shown = await run(*ndi, "--contact", "Records desk, 555-0100")
        assert ended(shown) == 0, shown.output
        assert "1 are left out: held back, RED" in shown.output
        (row,) = table(listed)[1]
        assert (row["state"], row["action"], row["last_name"]) == ("CA", "REVOKED", "Placeholderson")
        assert "1984" not in listed.read_text()
        assert "4821" not in listed.read_text()

        as_csv = tmp_path / "out.csv"
        assert ended(await run("records", "export", "--format", "csv", "--out", str(as_csv))) == 0
        assert table(as_csv)[1][0]["narrative"] == "'=1+1"
        # The export imported again changes nothing.
        back = await run("import", str(as_csv), "--dry-run", "--json")
        assert json.loads(back.stdout)["unchanged"] == 3, back.output
        entries = json.loads((await run("audit", "ledger", "--json")).stdout)["entries"]
        forms = [entry["details"]["form"] for entry in entries if entry["event"] == "record.exported"]
        assert forms == ["niem-json", "niem-json", "ndi-csv", "csv"]

    play(tmp_path, scene, agencies=1)


def test_schema_in_the_documents_is_the_one_of_the_module() -> None:
    import jsonschema  # takes two seconds

    columns = [*COLUMNS, "tier", "adjudication_status", "report_type", "version", "reported_on", "expires_on",
               "dispute_status", "statement_present", "publishing_node"]  # fmt: skip
    committed: Any = json.loads((ROOT / "docs/niem.schema.json").read_text())
    assert committed == niem.schema(columns)
    jsonschema.Draft202012Validator.check_schema(committed)


def test_documents_stay_and_their_digests_travel(tmp_path: Path) -> None:
    async def scene(fed: Federation, run: Run) -> None:
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([make_row()]))
        assert ended(await run("import", str(file))) == 0
        dcn = json.loads((await run("records", "list", "--json")).stdout)["records"][0]["dcn"]
        order, letter = tmp_path / "Placeholderson order.pdf", tmp_path / "letter.pdf"
        order.write_bytes(b"an order")
        letter.write_bytes(b"a letter")
        done = await run("records", "attach", dcn, str(order), "--by", "clerk-7", "--json")
        assert ended(done) == 0, done.output
        after = json.loads(done.stdout)
        assert after["added"] == 1
        assert after["dcn"] != dcn
        assert "names them all already" in (await run("records", "attach", dcn, str(order))).output
        shown = (await run("records", "show", after["dcn"])).output
        assert "CORRECTION" in shown
        assert "order.pdf" not in shown
        assert ended(await run("records", "verify-documents", dcn, str(order))) == 0
        order.write_bytes(b"an order, altered")
        both = await run("records", "verify-documents", dcn, str(order), str(letter))
        assert ended(both) == EXIT_OPERATOR
        assert both.output.count("NOT NAMED") == 2

    play(tmp_path, scene, agencies=1)


def test_answers_to_a_proposal_are_no_part_of_an_import(tmp_path: Path) -> None:
    """Nobody is to think that a column was set when the file was read without it."""

    async def scene(fed: Federation, run: Run) -> None:
        file = tmp_path / "records.csv"
        file.write_bytes(csv_bytes([make_row()]))
        for words in (("--set", "sharing=RED"), ("--ignore", "Status"), ("--save-profile", "ours")):
            refused = await run("import", str(file), *words)
            assert isinstance(refused.exception, InputInvalid)
            assert "--propose" in refused.exception.remedy
        assert await total(run) == 0

    play(tmp_path, scene, agencies=1)
