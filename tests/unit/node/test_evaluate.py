"""`match evaluate` as a whole: what may not matter does not, and the blinded way says the same."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candor_node import evaluate, evaluation_curve, evaluation_scheme, packing
from candor_node.cli import cli
from candor_node.evaluate import Order
from candor_node.evaluation_curve import CurveDisagrees
from candor_node.evaluation_files import FieldSet
from candor_node.evaluation_report import report
from candor_proto.errors import InputInvalid
from candor_proto.ids import LookupShape
from candor_proto.matchkeys import MATCH_LABELS, RecordKey
from candor_proto.sealed_index import EntryKeys
from tests.patience import PATIENCE_SECONDS

Rows = list[dict[str, str]]
IDENTITY = (
    "first", "middle", "last", "suffix", "former_last", "dob", "ssn4", "sex", "post_state", "post_id",
)  # fmt: skip
LABELS = ("entity_id", "kind", "origin", "address", "agency")
FIRST = ("Michael", "Mike", "Sandra", "Ana", "Anna", "José", "Wei", "Robert", "Zebulon")
LAST = ("Schmidt", "Smith", "Sanders-Suarez", "de la Cruz", "Li", "Li Wong", "Placeholderson", "O'Brien")


# --- a population ----------------------------------------------------------------------------------------


def person(draw: random.Random) -> dict[str, str]:
    day = f"{draw.randint(1960, 1964)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
    return {
        "first": draw.choice(FIRST),
        "middle": draw.choice(("", "", "J", "Lee")),
        "last": draw.choice(LAST),
        "suffix": draw.choice(("", "", "Jr")),
        "former_last": draw.choice(("", "", "", *LAST)),
        "dob": draw.choice((day, day, day, day[:4] + "-XX-XX", "")),
        "ssn4": draw.choice(("", f"{draw.randint(1, 9999):04d}", f"{draw.randint(1, 9999):04d}")),
        "sex": draw.choice("MF"),
        "post_state": "CA",
        "post_id": draw.choice(("", f"{draw.randint(1000, 9999)}")),
    }


def slipped(draw: random.Random, known: dict[str, str]) -> dict[str, str]:
    """The same person as another agency has filed them."""
    other = person(draw)
    return {**known, **{name: other[name] for name in draw.sample(IDENTITY, draw.choice((0, 1, 1, 2, 4)))}}


def population(seed: int, records: int, queries: int) -> tuple[Rows, Rows, Rows]:
    """Records, queries and true pairs: half of the queries have a record, some have two."""
    draw = random.Random(seed)
    held, asked, truth = [], [], []
    for number in range(records):
        held.append({"rec_id": f"A{number}", **person(draw), **labels(draw)})
    for number in range(queries):
        query = {"rec_id": f"Q{number}", **person(draw), **labels(draw)}
        for record in draw.sample(held, draw.choice((0, 1, 1, 2))):
            query |= {name: record[name] for name in IDENTITY}
            record |= slipped(draw, record)
            truth.append({"query_id": f"Q{number}", "rec_id": record["rec_id"]})
        asked.append(query)
    return held, asked, truth


def labels(draw: random.Random) -> dict[str, str]:
    return {name: f"{name} {draw.randint(1, 3)}" for name in LABELS}


def write(file: Path, rows: Rows, columns: Sequence[str] = ()) -> Path:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(columns or rows[0]), extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(out.getvalue(), "utf-8")
    return file


def files(folder: Path, held: Rows, asked: Rows, truth: Rows, columns: Sequence[str] = ()) -> list[str]:
    """The three files, as options of the command."""
    paths = (
        write(folder / "A.csv", held, columns),
        write(folder / "B.csv", asked, columns),
        write(folder / "truth.csv", truth),
    )
    return [
        word
        for option, path in zip(("records", "queries", "truth"), paths, strict=True)
        for word in (f"--{option}", str(path))
    ]


def order_of(folder: Path, **options: Any) -> Order:
    return Order(folder / "A.csv", folder / "B.csv", folder / "truth.csv", **options)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["match", "evaluate", *words], standalone_mode=False)


def figures(*words: str) -> dict[str, Any]:
    result = run(*words, "--json", "-", "--workers", "1")
    if result.exception is not None:
        raise result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    found["seconds"] = 0
    return found


SMALL = population(11, 60, 30)


@pytest.fixture(name="small")
def _small(tmp_path: Path) -> list[str]:
    return files(tmp_path, *SMALL)


# --- a run worked out by hand ------------------------------------------------------------------------


def test_a_small_file_worked_out_by_hand(tmp_path: Path) -> None:
    """One query meets both of its records, one misses its own, one non-member meets nobody."""
    held = "rec_id,first,last,dob,ssn4\nA1,Ana,Smith,1980-11-02,4071\nA2,Ana,Smyth,1980-11-02,\n"
    held += "A3,Wei,Li,1975-01-30,2222\nA4,Otto,Smith,1961-05-05,9999\n"
    asked = "rec_id,first,last,dob,ssn4,kind\nQ1,Ana,Smith,1980-11-02,4071,plain\n"
    asked += "Q2,Kim,Park,1990-12-24,1111,plain\nQ3,Ingrid,Bauer,1971-03-15,3333,nm_plain\n"
    for name, text in (("A", held), ("B", asked), ("truth", "query_id,rec_id\nQ1,A1\nQ1,A2\nQ2,A3\n")):
        (tmp_path / f"{name}.csv").write_text(text, "utf-8")
    found = report(evaluate.run(order_of(tmp_path, confirm=True)), 0.0)
    counts = found["counts"]
    assert (counts["records"], counts["queries"], counts["true_pairs"]) == (4, 3, 3)
    assert (counts["members"], counts["non_members"]) == (2, 1)
    assert (counts["openings"], counts["true_openings"], counts["candidates"]) == (2, 2, 2)
    assert (found["t"], found["fields"], found["confirm"], found["population"]) == (40, "ndsmp", True, 4)
    assert found["coverage"] == found["gate"]["recall"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["gate"]["openings_per_lookup"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["best"] | {"threshold": 0} == {
        "precision": 1.0,
        "recall": pytest.approx(2 / 3, abs=1e-6),
        "f1": pytest.approx(4 / 5),
        "non_member_false_positive_rate": 0.0,
        "threshold": 0,
    }
    assert found["by_group"]["kind"]["nm_plain"]["queries"] == 1
    assert found["by_group"]["kind"]["nm_plain"]["recall"] is None
    assert found["by_group"]["kind"]["plain"]["pairs"] == 3
    assert set(found["by_group"]["changed_surname"]) == {
        "sex unknown, surname spelt otherwise",
        "sex unknown, another surname",
    }


def test_every_figure_that_is_promised_is_there(small: list[str]) -> None:
    found = figures(*small)
    assert found["t"] == 16
    for point in ("default", "best", "assert"):
        assert set(found[point]) == {
            *("precision", "recall", "f1", "non_member_false_positive_rate", "threshold")
        }
    for name in (
        *("recall_at_precision_99", "ece", "brier", "coverage", "false_candidates_per_query"),
        *("scheme_version", "weights_version", "seconds"),
    ):
        assert isinstance(found[name], int | float)
    assert set(found["gate"]) == {"threshold", "openings_per_lookup", "recall", "false_openings_per_lookup"}
    assert {"kind", "origin", "sex", "surname_length", "several_surnames", "given_name"} < set(
        found["by_group"]
    )
    # A lookup of a person with several surnames is several; all of them count, and one person is one query.
    assert found["counts"]["lookups"] > found["counts"]["queries"] == 30
    assert 0 < found["default"]["recall"] <= found["gate"]["recall"] <= found["coverage"] <= 1


# --- what may not matter -----------------------------------------------------------------------------


def test_rows_may_stand_in_any_order_and_labels_may_be_gone(tmp_path: Path, small: list[str]) -> None:
    expected = figures(*small, "--confirm")
    draw = random.Random(1)
    held, asked, truth = ([dict(row) for row in rows] for rows in SMALL)
    for rows in (held, asked, truth):
        draw.shuffle(rows)
    other = tmp_path / "other"
    other.mkdir()
    columns = ["post_id", "rec_id", *IDENTITY[:-1]]
    found = figures(*files(other, held, asked, truth, columns), "--confirm")
    for name in ("kind", "origin"):
        del expected["by_group"][name]
    assert found == expected


def test_labels_do_not_change_a_figure_whatever_they_say(tmp_path: Path, small: list[str]) -> None:
    """Were one of them read as a feature, the truth in it would show."""
    expected = figures(*small)
    held, asked, truth = ([dict(row) for row in rows] for rows in SMALL)
    for row in (*held, *asked):
        row |= dict.fromkeys(LABELS, "all the same")
    found = figures(*files(tmp_path, held, asked, truth))
    for one in (expected, found):
        del one["by_group"]["kind"], one["by_group"]["origin"]
    assert found == expected


def test_processes_change_nothing(tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = report(evaluate.run(order_of(tmp_path, confirm=True)), 0.0)
    monkeypatch.setattr(evaluate, "_WORTH_A_PROCESS", 0)
    monkeypatch.setattr(evaluate, "CHUNK", 7)
    seen: list[tuple[int, int]] = []
    order = order_of(tmp_path, confirm=True, workers=2)
    assert report(evaluate.run(order, lambda *done: seen.append(done)), 0.0) == expected
    assert seen[-1] == (60, 60)


def test_fields_that_are_left_out_count_as_missing(tmp_path: Path, small: list[str]) -> None:
    expected = figures(*small, "--fields", "nds")
    held, asked, truth = SMALL
    columns = ["rec_id", "first", "last", "dob", "ssn4", "kind", "origin", "sex"]
    held, asked = ([{**row, "sex": ""} for row in rows] for rows in (held, asked))
    found = figures(*files(tmp_path, held, asked, truth, columns))
    # The groups by sex are of what was filed, not of what was asked.
    for one in (expected, found):
        del one["by_group"]["sex"], one["by_group"]["changed_surname"]
    assert found | {"fields": "nds"} == expected


def test_population_reaches_the_scorer(
    tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    known = evaluation_scheme.score

    def score(evidence: evaluation_scheme.Evidence) -> evaluation_scheme.Score:
        seen.append(evidence)
        return known(evidence)

    monkeypatch.setattr(evaluation_scheme, "score", score)
    evaluate.run(order_of(tmp_path))
    assert {one.population for one in seen} == {60}
    seen.clear()
    evaluate.run(order_of(tmp_path, population=500_000, fields=FieldSet.ND))
    assert {one.population for one in seen} == {500_000}
    # The asker's own missing fields are those of what was asked, and a key that hit was asked for.
    assert {one.asker.ssn4 for one in seen} == {""}
    assert all(one.hit & ~one.asked == 0 for one in seen)


def test_twice_the_population_costs_every_pair_one_bit_and_opens_the_same(
    tmp_path: Path, small: list[str]
) -> None:
    """docs/matching.md §8.2."""
    once, twice = (
        evaluate.run(order_of(tmp_path, confirm=True, population=records)) for records in (5_000, 10_000)
    )
    assert [(pair.query, pair.record) for pair in once.opened] == [
        (pair.query, pair.record) for pair in twice.opened
    ]
    costs = {
        a.score.explanation.centibits - b.score.explanation.centibits
        for a, b in zip(once.opened, twice.opened, strict=True)
    }
    assert costs == {100}


def test_screening_lookups_have_strong_pairs_of_their_own(small: list[str]) -> None:
    found = figures(*small)
    assert 0 < found["counts"]["strong_true"] <= found["counts"]["strong"] <= found["counts"]["answered"]
    assert found["assert"]["threshold"] == 0.95


# --- the blinded way -----------------------------------------------------------------------------------


@pytest.mark.parametrize("confirm", [False, True], ids=["screening", "detailed"])
def test_the_blinded_way_gives_the_same(tmp_path: Path, small: list[str], confirm: bool) -> None:
    found = evaluate.run(order_of(tmp_path, confirm=confirm, keep=True))
    agreed = evaluation_curve.check(found, 8)
    assert agreed["queries"] == 8
    assert agreed["records"] == 60
    assert agreed["pairs"] >= 4


def lost_key(prepared: packing.Prepared, change: Callable[[RecordKey], bool]) -> packing.Prepared:
    kept = tuple(key for key in prepared.keys if change(key))
    return packing.Prepared(prepared.record, kept, prepared.codes, prepared.presence, prepared.dropped)


def plant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One difference between the two ways, on either side."""
    scheme = evaluation_scheme
    prepared, score, compare = packing.Prepared.of, scheme.score, scheme.compare
    if name == "a key that is not published":
        monkeypatch.setattr(
            packing.Prepared,
            "of",
            lambda record, sounds: lost_key(prepared(record, sounds), lambda key: key.label.name != "F+Dc"),
        )
    elif name == "nothing opens here":
        monkeypatch.setattr(scheme, "opens", lambda bits: False)
    elif name == "a gate that opens too early here":
        monkeypatch.setattr(scheme, "opens", lambda bits: True)
    elif name == "a field that agrees here alone":
        monkeypatch.setattr(scheme, "compare", lambda asked, row: compare(asked, row).replace("-", "+", 1))
    elif name == "a field that no score weighs":
        # Explanation and probability stay as they are: what is compared is turned back for them.
        other, back = str.maketrans("+-?", "?+-"), str.maketrans("?+-", "+-?")
        monkeypatch.setattr(scheme, "compare", lambda asked, row: compare(asked, row).translate(other))
        monkeypatch.setattr(
            scheme, "score", lambda found: score(replace(found, outcomes=found.outcomes.translate(back)))
        )
    elif name == "a score that is a little higher here":
        monkeypatch.setattr(
            scheme,
            "score",
            lambda evidence: scheme.Score(score(evidence).probability + 1e-9, score(evidence).explanation),
        )
    elif name == "nothing is asked there":
        monkeypatch.setattr(evaluation_curve, "ask", lambda plan, keys: [])


PLANTED = (
    "a key that is not published",
    "nothing opens here",
    "a gate that opens too early here",
    "a field that agrees here alone",
    "a field that no score weighs",
    "a score that is a little higher here",
    "nothing is asked there",
)


@pytest.mark.parametrize("name", PLANTED)
def test_a_single_difference_fails_the_evaluation(
    tmp_path: Path, small: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(name, monkeypatch)
    out, scores = tmp_path / "out.json", tmp_path / "scores.csv"
    result = run(*small, "--confirm", "--real-curve", "8", "--json", str(out), "--scores", str(scores))
    assert isinstance(result.exception, CurveDisagrees)
    assert "The blinded way" in result.exception.message
    assert not out.exists()
    assert not scores.exists()


def test_an_entry_that_does_not_open_fails_the_evaluation(
    small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = EntryKeys.seal

    def spoilt(*words: Any) -> bytes:
        entry = seal(*words)
        return entry[:40] + bytes([entry[40] ^ 1]) + entry[41:]

    monkeypatch.setattr(EntryKeys, "seal", spoilt)
    result = run(*small, "--real-curve", "8")
    assert isinstance(result.exception, CurveDisagrees)
    assert "does not open" in result.exception.message


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), shape=st.sampled_from(list(LookupShape)), fields=st.sampled_from(FieldSet))
def test_both_ways_agree_on_any_population(
    tmp_path: Path, seed: int, shape: LookupShape, fields: FieldSet
) -> None:
    files(tmp_path, *population(seed, 12, 5))
    order = order_of(tmp_path, confirm=shape is LookupShape.DETAILED, fields=fields, keep=True)
    agreed = evaluation_curve.check(evaluate.run(order), 5)
    assert (agreed["queries"], agreed["records"]) == (5, 12)


def test_of_many_records_all_candidates_and_others_are_published(
    tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_curve, "ALL_RECORDS", 59)
    monkeypatch.setattr(evaluation_curve, "OTHER_RECORDS", 3)
    found = evaluate.run(order_of(tmp_path, keep=True))
    chosen = evaluation_curve.choose(found, 4)
    met = {record for place, record in found.met if place in chosen}
    assert len(chosen) == 4
    # Half of the queries chosen open a record, whoever else is drawn.
    assert len({pair.query for pair in found.opened} & set(chosen)) >= 2
    assert evaluation_curve.check(found, 4)["records"] == len(met) + 3


def test_the_gate_counts_variants_of_a_label_once() -> None:
    bits = {label.name: 1 << position for position, label in enumerate(MATCH_LABELS)}
    assert not evaluation_scheme.opens(bits["F+Dc"])
    assert evaluation_scheme.opens(bits["F+Dc"] | bits["SWp+MD"])
    assert not evaluation_scheme.opens(0)


# --- the command ---------------------------------------------------------------------------------------


def test_the_command_prints_the_main_figures_and_writes_what_it_is_asked_to(
    tmp_path: Path, small: list[str]
) -> None:
    out, scores = tmp_path / "out.json", tmp_path / "scores.csv"
    result = run(
        *small,
        "--confirm",
        "--json",
        str(out),
        "--scores",
        str(scores),
        "--by",
        "agency",
        "--real-curve",
        "2",
    )
    assert result.exception is None
    found = json.loads(out.read_text("utf-8"))
    assert f"{found['default']['f1']:.4f}" in result.stdout
    assert "30 queries, 60 records" in result.stdout
    assert found["real_curve"]["queries"] == 2
    assert set(found["by_group"]["agency"]) == {"agency 1", "agency 2", "agency 3"}
    lines = list(csv.DictReader(io.StringIO(scores.read_text("utf-8"))))
    assert len(lines) == found["counts"]["openings"]
    assert sum(int(line["true"]) for line in lines) == found["counts"]["true_openings"]
    above = sum(float(line["probability"]) >= 0.5 for line in lines)
    assert above == found["counts"]["answered"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("A.csv", "B.csv", "out.json", "scores.csv", "truth.csv")
    ]


def test_json_to_standard_output_is_nothing_but_json(small: list[str]) -> None:
    result = run(*small, "--json", "-")
    assert json.loads(result.stdout)["t"] == 16


def replaced(rows: Rows, number: int, **cells: str) -> Rows:
    return [{**row, **cells} if at == number else row for at, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda a, b, t: (a, b, replaced(t, 1, rec_id="A999")),
            "Row 3 of truth.csv names a rec_id that no row",
        ),
        (
            lambda a, b, t: (a, b, replaced(t, 0, query_id="Q999")),
            "Row 2 of truth.csv names a query_id that no",
        ),
        (
            lambda a, b, t: (replaced(a, 3, rec_id="A0"), b, t),
            "Row 5 of A.csv has the rec_id of an earlier row",
        ),
        (
            lambda a, b, t: (a, replaced(b, 3, rec_id="Q0"), t),
            "Row 5 of B.csv has the rec_id of an earlier row",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused_before_anything_is_written(
    tmp_path: Path, change: Callable[[Rows, Rows, Rows], Iterable[Rows]], words: str
) -> None:
    out = tmp_path / "out.json"
    held, asked, truth = change(*SMALL)
    result = run(*files(tmp_path, held, asked, truth), "--json", str(out))
    assert isinstance(result.exception, InputInvalid)
    assert result.exception.message.startswith(words)
    assert result.exception.remedy
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path, small: list[str]) -> None:
    result = run(*small, "--json", str(tmp_path / "nowhere" / "out.json"))
    assert isinstance(result.exception, InputInvalid)


def test_the_exit_status_and_the_sentence_need_no_node(tmp_path: Path, small: list[str]) -> None:
    (tmp_path / "A.csv").write_bytes(b"PK\x03\x04")
    words = [sys.executable, "-c", "from candor_node.cli import main; main()", "match", "evaluate", *small]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE_SECONDS)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "candor-node: A.csv is an Excel workbook, not a CSV file."
    assert "Traceback" not in done.stderr
