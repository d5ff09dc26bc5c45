"""Which groups a query belongs to, and which group of a kind is named the worst."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from candor_node import evaluate
from candor_node.evaluation import interval
from candor_node.evaluation_groups import by_group, exchanged_names, groups_of, worst_rate, worst_recall
from candor_node.evaluation_report import lines, report
from candor_proto.normalise import Particulars, normalise

HEADER = "rec_id,first,middle,last,dob,ssn4,sex,post_state,post_id"


def found(tmp_path: Path, asked: list[str], held: list[str], truth: str = "Q0,A0") -> evaluate.Run:
    """A run of queries Q0, Q1, … and records A0, A1, …, each a line of the other columns."""
    for name, letter, rows in (("A", "A", held), ("B", "Q", asked)):
        text = "\n".join([HEADER, *(f"{letter}{number},{row}" for number, row in enumerate(rows))])
        (tmp_path / f"{name}.csv").write_text(text + "\n", "utf-8")
    (tmp_path / "truth.csv").write_text(f"query_id,rec_id\n{truth}\n", "utf-8")
    order = evaluate.Order(
        tmp_path / "A.csv", tmp_path / "B.csv", tmp_path / "truth.csv", confirm=True, keep=True
    )
    return evaluate.run(order)


@pytest.mark.parametrize(
    ("asked", "groups"),
    [
        ("Ana,,Smith,1980-11-02,4071,F,CA,12345",
         {"surname_form": "one word", "marks": "no", "birth_date": "whole", "given_name_form": "one word",
          "missing_identifiers": "none missing", "sex": "F", "name_order": "as filed"}),
        ("José María,,García-Márquez,1980-XX-XX,,M,,",
         {"surname_form": "hyphenated", "marks": "yes", "birth_date": "in part", "several_surnames": "yes",
          "given_name_form": "several words", "missing_identifiers": "no ssn4 and no post"}),
        ("A,,Garcia Marquez,,4071,,,",
         {"surname_form": "several words", "birth_date": "missing", "given_name_form": "initial",
          "missing_identifiers": "no post", "sex": "(none)"}),
        ("Ana,,Al-Hassan,1980-11-02,4071,,,", {"surname_form": "with a particle"}),
        ("Sean,,O'Brien,1980-11-02,4071,,,", {"surname_form": "with a particle"}),
        ("Ana,,de la Cruz,1980-11-02,4071,,,", {"surname_form": "with a particle"}),
        (",,,1980-11-02,4071,,,", {"surname_form": "(none)", "given_name_form": "(none)"}),
        ("Smith,,Ana,1980-11-02,4071,F,,",
         {"name_order": "exchanged", "changed_surname": "women, another surname",
          "changed_given_name": "another name"}),
        ("Anna,,Smyth,1980-11-02,4071,M,,",
         {"changed_surname": "men, surname spelt otherwise", "changed_given_name": "spelt otherwise"}),
        ("Ana,,Smith,1980-11-02,4071,M,,", {"changed_given_name": "no"}),
    ],
)  # fmt: skip
def test_the_groups_of_a_query(tmp_path: Path, asked: str, groups: dict[str, str]) -> None:
    run = found(tmp_path, [asked], ["Ana,,Smith,1980-11-02,4071,F,CA,12345"])
    own = groups_of(run, run.queries[0])
    assert {kind: own.get(kind) for kind in groups} == groups


def test_somebody_without_a_record_has_no_groups_of_members(tmp_path: Path) -> None:
    run = found(tmp_path, ["Ana,,Smith,,,,,", "Ana,,Smith,,,,,"], ["Ana,,Smith,,,,,"])
    assert not {"changed_surname", "changed_given_name", "name_order"} & set(groups_of(run, run.queries[1]))


def test_names_of_one_word_for_both_are_not_exchanged() -> None:
    one = normalise(Particulars(first="Kim", last="Kim"))
    assert not exchanged_names(one, one)
    assert not exchanged_names(one, normalise(Particulars(first="Kim")))


def test_a_group_says_where_its_true_pairs_are_lost(tmp_path: Path) -> None:
    """Of two women one is found, one meets no key; a man without a record meets nobody."""
    held = ["Ana,,Smith,1980-11-02,4071,F,,", "Wei,,Li,1975-01-30,2222,F,,"]
    asked = [held[0], "Kim,,Park,1990-12-24,1111,F,,", "Otto,,Bauer,1971-03-15,3333,M,,"]
    run = found(tmp_path, asked, held, "Q0,A0\nQ1,A1")
    groups = by_group(run, run.pairs())["sex"]
    women, men = groups["F"], groups["M"]
    assert (women["queries"], women["pairs"], women["non_members"]) == (2, 2, 0)
    assert women["reached"] == women["opened"] == women["recall"] == 0.5
    assert women["recall_95"] == interval(1, 2)
    assert women["false_openings_per_lookup"] == 0
    assert men["recall"] is men["recall_95"] is men["reached"] is None
    assert men["non_member_false_positive_rate"] == 0
    assert men["non_member_false_positive_rate_95"] == interval(0, 1)


# --- the worst --------------------------------------------------------------------------------------------


def figures(pairs: int, recall: float | None, people: int = 0, rate: float | None = None) -> dict[str, Any]:
    return {
        "pairs": pairs,
        "recall": recall,
        "recall_95": None if recall is None else (recall - 0.01, recall + 0.01),
        "non_members": people,
        "non_member_false_positive_rate": rate,
        "non_member_false_positive_rate_95": None if rate is None else (rate / 2, rate * 2),
    }


def test_a_worst_group_has_pairs_enough_and_another_beside_it() -> None:
    groups = {
        "origin": {"a": figures(29, 0.1, 99, 0.5), "b": figures(30, 0.9, 100, 0.01), "c": figures(400, 0.95)},
        "sex": {"F": figures(100, 0.8, 100, 0.01), "M": figures(100, 0.85, 100, 0.02)},
        "alone": {"only": figures(500, 0.2, 500, 0.3)},
    }
    assert [(kind, group) for kind, group, _ in worst_recall(groups)] == [("sex", "F"), ("origin", "b")]
    assert [(kind, group) for kind, group, _ in worst_rate(groups)] == [("sex", "M")]


def test_the_worst_groups_are_printed_with_their_numbers(tmp_path: Path) -> None:
    run = found(tmp_path, ["Ana,,Smith,1980-11-02,4071,F,,"], ["Ana,,Smith,1980-11-02,4071,F,,"])
    said = report(run, 0.0)
    said["by_group"] = {"sex": {"F": figures(1234, 0.8, 100, 0.01), "M": figures(100, 0.85, 100, 0.02)}}
    said["default"]["recall"] = 0.82
    text = "\n".join(lines(said))
    assert "sex: F" in text
    assert "1,234       0.800   0.790 to 0.810  -0.020" in text
    assert "Groups of fewer than 30 true pairs are not named." in text
    assert "0.0200    0.0100 to 0.0400" in text


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (950, 1000, 0.9347, 0.9618)],
)
def test_the_interval_of_a_share(part: int, whole: int, low: float, high: float) -> None:
    """Wilson's score interval: for none of n its upper end is z² / (n + z²)."""
    assert interval(part, whole) == pytest.approx((low, high), abs=1e-4)


def test_nothing_has_no_interval() -> None:
    assert interval(0, 0) is None
