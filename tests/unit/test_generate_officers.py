"""tools/generate_officers.py: the same files every time, valid rows, and planted people that behave."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from candor_proto.ids import LookupShape
from candor_proto.matchkeys import (
    GATE_THRESHOLD,
    MATCH_LABELS,
    TAG_LABELS,
    Label,
    gate_weight,
    plan_lookup,
    record_codes,
    record_keys,
)
from candor_proto.normalise import Particulars, normalise
from candor_proto.record import RecordKind
from candor_proto.scoring import Band, Evidence, Explanation, NameRarity, explain, tag_outcomes
from candor_records.record_fields import parse
from tools.generate_officers import (
    CATEGORIES,
    COLUMNS,
    FORCE_TYPES,
    OTHER_SURNAMES,
    SURNAMES,
    AgencyFile,
    Planted,
    Row,
    generate,
    planted,
)

ROOT = Path(__file__).resolve().parents[2]
# As a node estimates them of the demo's five agencies: 300 records each, in 512 blobs.
RECORDS = 5 * 512
HELD = ("held without notice", "held on appeal")
DUE_PROCESS = (
    "decided_on",
    "decision_maker",
    "standard_of_proof",
    "notice_given_on",
    "notice_method",
    "opportunity",
    "opportunity_on",
    "finality",
    "appeal_until",
    "subject_notified_on",
)
CODES = {
    "record_kind": {kind.name for kind in RecordKind},
    "opportunity": {"", "OFFERED_HELD", "OFFERED_WAIVED", "NOT_OFFERED"},
    "finality": {"", "FINAL", "APPEAL_TIME_RUNNING", "APPEAL_PENDING", "EXHAUSTED", "WAIVED"},
    "decision_maker": {"", "CHIEF", "TRIAL_BOARD", "ARBITRATOR", "CIVIL_SERVICE", "POST", "COURT"},
    "standard_of_proof": {"", "PREPONDERANCE", "CLEAR_AND_CONVINCING", "BEYOND_REASONABLE_DOUBT"},
    "notice_method": {"", "MAIL", "IN_PERSON", "COUNSEL", "COURT_SERVICE"},
    "sharing": {"GREEN", "YELLOW", "RED"},
    "on_duty": {"YES", "NO", "UNKNOWN", "NOT_APPLICABLE"},
    "use_of_force_related": {"YES", "NO", "UNKNOWN", "NOT_APPLICABLE"},
    "source_of_record": {"COURT", "POST_ORDER", "PERSONNEL_ACTION", "OVERSIGHT_BODY"},
}


@pytest.fixture(scope="module")
def files() -> list[AgencyFile]:
    return generate(seed=7, agencies=3, officers_per_agency=120)


def rows_of(files: list[AgencyFile]) -> list[Row]:
    return [row for file in files for row in file.rows]


def person_of(row: Row) -> Particulars:
    return Particulars(**{name: row[name] for name in Particulars.__dataclass_fields__})


def case_named(name: str) -> Planted:
    return next(case for case in planted() if case.name == name)


def labels_hit(applicant: Particulars, row: Row) -> set[Label]:
    """The entry labels on which a screening lookup meets the record of a row."""
    keys = {key.input: key.label for key in record_keys(normalise(person_of(row)))}
    plans = plan_lookup(normalise(applicant), LookupShape.SCREENING, bytes(32))
    return {keys[slot.input] for plan in plans for slot in plan.slots if slot.input in keys}


def explained(applicant: Particulars, row: Row) -> Explanation:
    tags = record_codes(normalise(person_of(row)))
    held = {code.input for code in tags.codes}
    plans = plan_lookup(normalise(applicant), LookupShape.DETAILED, bytes(32))
    slots = [slot for plan in plans for slot in plan.slots if slot.label in TAG_LABELS]
    asked = {slot.label for slot in slots if slot.label}
    matched = {slot.label for slot in slots if slot.label and slot.input in held}
    keys = {slot.label.name for plan in plans for slot in plan.slots if slot.label in MATCH_LABELS}
    hit = {label.name for label in labels_hit(applicant, row)}
    outcomes = tag_outcomes(asked, matched, tags.presence)
    evidence = Evidence(frozenset(keys), frozenset(hit), outcomes, NameRarity.of(normalise(applicant)))
    return explain(evidence, RECORDS)


# --- files -------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_octets(files: list[AgencyFile]) -> None:
    again = generate(seed=7, agencies=3, officers_per_agency=120)
    assert [file.text() for file in again] == [file.text() for file in files]
    other = generate(seed=8, agencies=3, officers_per_agency=120)
    assert [file.text() for file in other] != [file.text() for file in files]


def test_hash_order_does_not_show(tmp_path: Path, files: list[AgencyFile]) -> None:
    command = [sys.executable, "-m", "tools.generate_officers", str(tmp_path), "--seed", "7"]
    command += ["--agencies", "3", "--officers", "120", "--planted", str(tmp_path / "planted.json")]
    for name in ("north", "south", "west"):
        command += ["--node", name]
    subprocess.run(command, check=True, cwd=ROOT, env={"PYTHONHASHSEED": "12345"})
    for name, file in zip(("north", "south", "west"), files, strict=True):
        assert (tmp_path / f"{name}.csv").read_text(encoding="utf-8") == file.text()
    assert "Brannigan" in (tmp_path / "planted.json").read_text(encoding="utf-8")


def test_files_have_the_columns_rows_and_ids_promised(files: list[AgencyFile]) -> None:
    assert [file.node_id for file in files] == ["agency-1", "agency-2", "agency-3"]
    for file in files:
        reader = csv.DictReader(io.StringIO(file.text()))
        assert tuple(reader.fieldnames or ()) == COLUMNS
        assert len(list(reader)) == 120
    identifiers = Counter(row["agency_record_id"] for row in rows_of(files))
    assert max(identifiers.values()) == 1


def test_every_row_is_taken_by_the_import_and_has_the_fields_of_its_kind(files: list[AgencyFile]) -> None:
    wanting = 0
    for row in rows_of(files):
        content, faults = parse(row)
        assert content is not None, (faults, row["record_kind"])
        assert len(content.details) >= 3
        wanting += bool(content.wanting)
    # As in real files some cells are empty, and not all.
    assert 0 < wanting < len(rows_of(files))


def test_every_row_is_valid(files: list[AgencyFile]) -> None:
    known = set(CATEGORIES) | set(FORCE_TYPES)
    for row in rows_of(files):
        for column, codes in CODES.items():
            assert row[column] in codes, (column, row)
        assert set(filter(None, row["allegation_categories"].split(";"))) <= known
        dates = [row[name] for name in COLUMNS if name.endswith("_on") or name == "birth_date"]
        assert all(date.fromisoformat(value) <= date(2026, 10, 1) for value in dates if value)
        assert row["first"]
        assert row["last"]
        assert row["ssn4"] != "0000"
        assert bool(row["post_state"]) == bool(row["post_id"])
        person = normalise(person_of(row))
        assert person.first
        assert person.last
        assert person.year


def test_due_process_columns_fit_the_kind(files: list[AgencyFile]) -> None:
    for row in rows_of(files):
        match row["record_kind"]:
            case "COMMENDATION":
                assert not any(row[name] for name in DUE_PROCESS)
            case "SEPARATION_UNDER_INVESTIGATION":
                # Nothing was decided, so nothing is final; YELLOW is the floor of the advisory tier.
                assert not any(row[name] for name in ("decided_on", "decision_maker", "finality"))
                assert row["sharing"] != "GREEN"
                assert row["notice_given_on"] < row["opportunity_on"] < row["effective_on"]
            case _:
                assert row["decision_maker"]
                assert row["finality"]
                assert bool(row["appeal_until"]) == (row["finality"] == "APPEAL_TIME_RUNNING")
                offered = row["opportunity"] != "NOT_OFFERED"
                assert bool(row["notice_given_on"]) == bool(row["notice_method"]) == offered
                if offered:
                    assert row["notice_given_on"] < row["opportunity_on"] < row["decided_on"]
                assert row["decided_on"] <= row["effective_on"]
                assert (row["source_of_record"] == "COURT") == (row["decision_maker"] == "COURT")


def test_the_files_hold_what_matching_has_to_cope_with(files: list[AgencyFile]) -> None:
    rows = rows_of(files)
    assert {row["record_kind"] for row in rows} == CODES["record_kind"]
    assert any("-" in row["last"] for row in rows)
    assert any(not row["last"].isascii() for row in rows)
    assert any(row["former_last"] for row in rows)
    assert any(row["suffix"] for row in rows)
    held = [r for r in rows if r["finality"] == "APPEAL_TIME_RUNNING" or r["opportunity"] == "NOT_OFFERED"]
    assert 2 < len(held) < len(rows) / 10


@pytest.mark.parametrize("arguments", [(1, 2, 300), (1, 3, 9)])
def test_too_small_a_federation_is_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="At least 3 agencies"):
        generate(*arguments)


# --- planted people ----------------------------------------------------------------------------------


def test_planted_people_stand_at_their_agencies(files: list[AgencyFile]) -> None:
    for case in planted():
        for agency, file in enumerate(files):
            present = case.row is not None and case.row in file.rows
            assert present == (case.agency == agency)
        assert case.applicant.last not in SURNAMES + OTHER_SURNAMES


def test_planted_people_do_not_depend_on_the_seed() -> None:
    rows = rows_of(generate(seed=99, agencies=3, officers_per_agency=10))
    assert all(case.row in rows for case in planted() if case.row)


def test_planted_applicants_meet_their_own_record_only(files: list[AgencyFile]) -> None:
    published: dict[bytes, list[tuple[str, Label]]] = {}
    for row in rows_of(files):
        for key in record_keys(normalise(person_of(row))):
            published.setdefault(key.input, []).append((row["agency_record_id"], key.label))
    for case in planted():
        hits: dict[str, set[Label]] = {}
        for plan in plan_lookup(normalise(case.applicant), LookupShape.SCREENING, bytes(32)):
            for slot in plan.slots:
                for identifier, label in published.get(slot.input, ()):
                    hits.setdefault(identifier, set()).add(label)
        opened = {identifier for identifier, labels in hits.items() if gate_weight(labels) >= GATE_THRESHOLD}
        assert opened == ({case.row["agency_record_id"]} if case.row else set()), case.name


def test_wandering_officer_opens_behind_nickname_and_typing_error() -> None:
    case = case_named("wandering")
    assert case.agency == 1
    assert case.row
    assert (case.row["sharing"], case.row["record_kind"]) == ("YELLOW", "TERMINATION_FOR_CAUSE")
    assert (case.applicant.first, case.row["first"]) == ("Mike", "Michael")
    assert case.applicant.last != case.row["last"]
    assert "opens" in case.expect
    assert "strong" in case.expect
    assert explained(case.applicant, case.row).band is Band.STRONG


def test_twin_reaches_the_gate_and_is_set_aside() -> None:
    case = case_named("twin")
    assert case.agency == 2
    assert case.row
    assert {label.name for label in labels_hit(case.applicant, case.row)} == {
        "F1+Lz+MD",
        "L3+Dc",
        "Ls+Dc",
        "F1+L4+YM",
    }
    found = explained(case.applicant, case.row)
    assert "never strong: a twin" in case.expect
    assert found.band is Band.BELOW
    assert found.reasons[:2] == (
        "different given name at the same birth date: a twin or sibling?",
        "different last four",
    )


def test_son_reaches_the_gate_on_his_fathers_birthday_and_is_never_strong() -> None:
    case = case_named("father and son")
    assert case.row
    assert (case.applicant.first, case.applicant.last) == (case.row["first"], case.row["last"])
    assert (case.applicant.suffix, case.row["suffix"]) == ("Jr", "Sr")
    found = explained(case.applicant, case.row)
    assert "review" in case.expect
    assert found.band is Band.REVIEW
    assert "father and son" in found.reasons[0]
    assert "different last four" in found.reasons[1]


@pytest.mark.parametrize(("name", "sharing"), [("green", "GREEN"), ("red", "RED")])
def test_green_and_red_are_strong(name: str, sharing: str) -> None:
    case = case_named(name)
    assert case.row
    assert case.row["sharing"] == sharing
    assert "strong" in case.expect
    assert explained(case.applicant, case.row).band is Band.STRONG


def test_held_rows_lack_notice_or_wait_for_the_appeal() -> None:
    no_notice, appeal = (case_named(name).row for name in HELD)
    assert no_notice
    assert appeal
    assert (no_notice["notice_given_on"], no_notice["opportunity"]) == ("", "NOT_OFFERED")
    assert appeal["finality"] == "APPEAL_TIME_RUNNING"
    assert date.fromisoformat(appeal["appeal_until"]) > date(2030, 1, 1)


def test_the_clean_applicant_has_no_record() -> None:
    case = case_named("clean")
    assert (case.agency, case.row) == (None, None)
