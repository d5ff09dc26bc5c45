"""bench.matching: its metrics on an example counted by hand, its keys, its files; nothing is run."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from bench import matching, matching_data, matching_keys, matching_metrics
from bench.matching_data import COLUMNS, Files, Row, lookup, prepared, read, read_scores, write

FOLDER = Path(matching.__file__).parent
# Six queries, of which q1 has two records, q2 and q3 one; q4 to q6 are strangers. r9 is never scored.
QUERIES = ("q1", "q2", "q3", "q4", "q5", "q6")
TRUTH = frozenset({("q1", "r1"), ("q1", "r2"), ("q2", "r3"), ("q3", "r9")})
SCORES = {
    ("q1", "r1"): 0.95,  # true
    ("q2", "r3"): 0.9,  # true
    ("q2", "r4"): 0.9,  # a member's, wrong
    ("q4", "r1"): 0.6,  # a stranger's
    ("q4", "r2"): 0.6,  # the same stranger again
    ("q1", "r2"): 0.35,  # true
    ("q5", "r5"): 0.05,  # a stranger's
}
FEBRL = """rec_id, given_name, surname, street_number, date_of_birth, soc_sec_id
rec-1-org, holly, wehr, 8, 19151111, 5304218
rec-1-dup-0, holy, wehr, 8, 19151111, 5304218
rec-1-dup-1,,, 8,, 5304281
rec-10-org, mia, park, 1, 19200101, 4066625
rec-10-dup-0, mia, prak, 1, 19200101, 4066625
"""


def points() -> list[matching_metrics.Quality]:
    return list(matching_metrics.curve(SCORES, TRUTH, QUERIES))


def row(**values: str) -> Row:
    return dict.fromkeys(COLUMNS, "") | {"rec_id": "a"} | values


PERSON = row(first="Mike", middle="Jo", last="O'Brien", dob="1980-11-02", ssn4="4071")


# --- metrics ------------------------------------------------------------------------------------------


def test_precision_recall_and_strangers_at_every_threshold() -> None:
    """Equal scores go in together: there is no point between the two of .9, or between the two of .6."""
    counted = [
        (each.threshold, each.precision, each.recall, each.non_member_false_positive_rate)
        for each in points()
    ]
    assert counted == [
        (0.95, 1 / 1, 1 / 4, 0.0),
        (0.9, 2 / 3, 2 / 4, 0.0),
        (0.6, 2 / 5, 2 / 4, 1 / 3),
        (0.35, 3 / 6, 3 / 4, 1 / 3),
        (0.05, 3 / 7, 3 / 4, 2 / 3),
    ]


def test_f1_is_the_harmonic_mean_and_true_pairs_that_nobody_scored_count() -> None:
    assert [each.f1 for each in points()] == pytest.approx([2 / 5, 4 / 7, 4 / 9, 6 / 10, 6 / 11])


def test_the_best_threshold_is_the_highest_of_the_best() -> None:
    assert matching_metrics.best(points()).threshold == 0.35
    equal = list(matching_metrics.curve({("q1", "r1"): 0.9, ("q2", "r2"): 0.1}, frozenset(), ["q1"]))
    assert matching_metrics.best(equal).threshold == 0.9


@pytest.mark.parametrize(
    ("threshold", "precision", "recall"),
    [(0.99, 1.0, 0.0), (0.95, 1.0, 0.25), (0.7, 2 / 3, 0.5), (0.6, 0.4, 0.5), (0.0, 3 / 7, 0.75)],
)
def test_a_threshold_between_two_scores_answers_what_lies_above(
    threshold: float, precision: float, recall: float
) -> None:
    found = matching_metrics.at(threshold, points(), len(TRUTH))
    assert (found.threshold, found.precision, found.recall) == (threshold, precision, recall)


def test_recall_at_a_precision_takes_tied_scores_together() -> None:
    assert matching_metrics.recall_at_precision(points()) == 0.25
    assert matching_metrics.recall_at_precision(points(), 0.5) == 0.75
    assert matching_metrics.recall_at_precision(points()[1:]) == 0.0


def test_calibration_error_weighs_the_gap_of_each_bin_by_its_share() -> None:
    """Bins: .0-.1 one pair; .3-.4 one; .6-.7 two; .9-1 three, a score of 1 would be there as well."""
    gaps = abs(0.05 - 0) + abs(0.35 - 1) + abs(1.2 - 0) + abs(2.75 - 2)
    assert matching_metrics.calibration_error(SCORES, TRUTH) == pytest.approx(gaps / 7)
    assert matching_metrics.calibration_error({("q", "r"): 1.0}, frozenset({("q", "r")})) == 0.0


def test_brier_is_the_mean_square_error() -> None:
    squares = 0.05**2 + 0.1**2 + 0.9**2 + 2 * 0.6**2 + 0.65**2 + 0.05**2
    assert matching_metrics.brier(SCORES, TRUTH) == pytest.approx(squares / 7)


def test_coverage_and_false_candidates_count_what_was_scored_at_all() -> None:
    assert matching_metrics.coverage(SCORES, TRUTH) == 3 / 4
    assert matching_metrics.false_candidates(SCORES, TRUTH, QUERIES) == 4 / 6


def test_nothing_scored_is_nothing_found() -> None:
    assert list(matching_metrics.curve({}, TRUTH, QUERIES)) == []
    nothing = matching_metrics.at(0.5, [], len(TRUTH))
    assert (nothing.precision, nothing.recall, nothing.f1) == (1.0, 0.0, 0.0)
    assert matching_metrics.recall_at_precision([]) == 0.0


def test_a_thinned_curve_keeps_its_ends() -> None:
    assert matching_metrics.thinned(points(), most=3) == [(0.25, 1.0), (0.5, 0.4), (0.75, 0.4286)]


# --- keys ---------------------------------------------------------------------------------------------


def asked_and_held(asked: Row, held: Row) -> set[str]:
    """The numbers of the published keys in which two rows meet."""
    one, other = set(matching_keys.published(asked)), set(matching_keys.published_of_record(held))
    return {key[0] for key in one & other}


@pytest.mark.parametrize(
    ("changed", "numbers"),
    [
        ({}, {"1", "2", "3", "4", "5", "6", "7", "8", "11"}),
        ({"first": "Michael", "middle": ""}, {"2", "3", "4", "5"}),
        ({"last": "Brian"}, {"4"}),
        ({"dob": "1980-12-02"}, {"6", "7"}),
        ({"dob": "1981-11-02"}, {"7"}),
        ({"ssn4": ""}, {"3", "8", "11"}),
        ({"ssn4": "4099"}, {"2", "3", "6", "8", "11"}),
        ({"first": "O'Brien", "last": "Mike"}, {"10"}),
        ({"first": "Jo", "middle": "Mike"}, {"5"}),
        ({"dob": "1980-XX-XX"}, {"7"}),
    ],
)
def test_the_published_keys_are_loose_in_one_place_each(changed: dict[str, str], numbers: set[str]) -> None:
    found = asked_and_held(PERSON, PERSON | changed)
    assert found == numbers


def test_the_toy_hash_needs_all_three_and_no_more() -> None:
    assert matching_keys.toy(PERSON) == [("mike", "obrien", "19801102")]
    assert matching_keys.toy(PERSON | {"last": ""}) == []
    assert matching_keys.toy(row(first="MIKÉ", last="O Brien", dob="19801102")) == matching_keys.toy(
        row(first="mike", last="obrien", dob="1980-11-02")
    )


def test_rows_that_share_a_key_meet_once_and_empty_fields_never_do() -> None:
    records = [PERSON | {"rec_id": "r1"}, PERSON | {"rec_id": "r2", "dob": ""}, row(rec_id="r3")]
    queries = [PERSON | {"rec_id": "q1"}, row(rec_id="q2")]
    met = matching_keys.meet(queries, records, matching_keys.toy, matching_keys.toy)
    assert met == {("q1", "r1"): 1.0}


# --- files --------------------------------------------------------------------------------------------


def test_febrl_originals_ask_and_the_copies_of_a_half_are_held() -> None:
    files = lookup(FEBRL, FEBRL)
    assert files.asked == ["rec-1-org", "rec-10-org"]
    (inside,) = {record["rec_id"].split("-")[1] for record in files.records}
    expected = {"1": ["rec-1-dup-0", "rec-1-dup-1"], "10": ["rec-10-dup-0"]}[inside]
    assert [record["rec_id"] for record in files.records] == expected
    assert files.truth == {(f"rec-{inside}-org", record) for record in expected}
    assert files.queries[0] == row(
        rec_id="rec-1-org", first="holly", last="wehr", dob="19151111", ssn4="4218"
    )


def test_files_survive_being_written_and_labels_are_not_read(tmp_path: Path) -> None:
    files = lookup(FEBRL, FEBRL)
    assert read(write(tmp_path, files)) == files
    (tmp_path / "A.csv").write_text("rec_id,entity_id,first,address,kind\nr1,E1,Ann,1 Oak St,twin\n")
    (tmp_path / "truth.csv").write_text("query_id,rec_id\nrec-1-org,r1\n")
    assert read(tmp_path).records == [row(rec_id="r1", first="Ann")]


@pytest.mark.parametrize(
    ("file", "text"),
    [("A.csv", "rec_id,first\nr1,Ann\nr1,Bob\n"), ("truth.csv", "query_id,rec_id\nrec-1-org,r77\n")],
)
def test_files_that_contradict_themselves_are_refused(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path, lookup(FEBRL, FEBRL))
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=r"twice|not there"):
        read(tmp_path)


def test_a_field_set_blanks_the_rest_and_every_set_has_the_same_order() -> None:
    held = [PERSON | {"rec_id": f"r{number}", "sex": "M"} for number in range(50)]
    files = Files(held, [PERSON | {"rec_id": "q1"}, PERSON | {"rec_id": "q2"}], frozenset({("q1", "r3")}))
    seen = prepared(files, "nd")
    order = [each["rec_id"] for each in seen.records]
    assert seen.records[0] == row(rec_id=order[0], first="Mike", last="O'Brien", dob="1980-11-02")
    assert order != [each["rec_id"] for each in held]
    assert order == [each["rec_id"] for each in prepared(files, "ndsmp").records]
    fewer = prepared(files, "nds", queries=1)
    assert len(fewer.queries) == 1
    assert fewer.truth == {pair for pair in files.truth if pair[0] in fewer.asked}


def test_scores_may_have_further_columns(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("query_id,rec_id,probability,verdict\r\nq1,r1,0.25,strong\r\n")
    assert read_scores(tmp_path / "s.csv") == {("q1", "r1"): 0.25}


# --- the benchmark ------------------------------------------------------------------------------------


def test_the_table_shows_every_method_of_every_field_set() -> None:
    files = Files([], [row(rec_id=query) for query in QUERIES], TRUTH)
    ours = matching.figures(matching.Answer(SCORES, 0.5, 1.0, True), files)
    theirs = matching.figures(matching.Answer(SCORES, 0.99, 1.0), files)
    assert ours["default"]["recall"] == 0.5
    assert theirs["default"]["recall"] == 0.0
    assert theirs["ece"] is None
    data = {"set": {"fields": {"nd": {"Candor": ours, "CLK": theirs}}}}
    lines = matching.markdown(data).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| set | nd | Candor | 0.500 | 0.750 | 0.600 | ")


def test_figures_that_differ_from_the_products_own_stop_the_run() -> None:
    files = Files([], [row(rec_id=query) for query in QUERIES], TRUTH)
    own = {"threshold": 0.5, "precision": 0.4, "recall": 0.5, "f1": 4 / 9}
    same = own | {"non_member_false_positive_rate": 1 / 3}
    matching.check(matching.figures(matching.Answer(SCORES, 0.5, 1.0, True, {"default": same}), files))
    other = own | {"non_member_false_positive_rate": 0.0}
    with pytest.raises(RuntimeError, match="non_member"):
        matching.check(matching.figures(matching.Answer(SCORES, 0.5, 1.0, True, {"default": other}), files))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("matching_*.py")), ids=lambda path: path.name)
def test_what_runs_elsewhere_imports_nothing_of_ours(path: Path) -> None:
    """A program of a peer's environment has `__main__` code; at its top it imports the standard library."""
    source = path.read_text("utf-8")
    if "__main__" not in source:
        return
    modules = set()
    for part in ast.walk(ast.parse(source)):
        if isinstance(part, ast.Import):
            modules |= {name.name.split(".")[0] for name in part.names}
        elif isinstance(part, ast.ImportFrom):
            modules.add((part.module or "").split(".")[0])
    assert not {name for name in modules if name.startswith(("candor", "bench", "tests", "tools"))}
    top = {
        name.name.split(".")[0]
        for part in ast.parse(source).body
        if isinstance(part, ast.Import)
        for name in part.names
    }
    assert top <= set(sys.stdlib_module_names)


def test_unseen_officers_have_seeds_of_their_own() -> None:
    seeds = [population.seed for population in (*matching.OFFICERS.values(), matching.LARGE)]
    assert len(set(seeds)) == len(seeds)
    assert matching_data.SHUFFLE_SEED not in seeds
