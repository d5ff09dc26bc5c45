"""Nobody's group may become worse off unnoticed: a population of all origins against the committed figures.

`python -m bench.fairness --baseline` makes tests/vectors/fairness.json anew: for a change that is meant to
move these figures, with the reason in its commit. docs/fairness.md says what the groups are.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench import fairness, matching
from bench.fairness_tables import (
    DIFFERENCES,
    FEWEST_HELD,
    HELD,
    band,
    gaps,
    judged,
    markdown,
    verdict,
    worsened,
)
from bench.harness import RESULTS
from candor_node import evaluation_scheme as scheme
from candor_proto import folding
from candor_proto.normalise import Particulars, Person, normalise
from tools.population import ORIGINS
from tools.training.sets import CALIBRATION, TRAINING

BASELINE: dict[str, Any] = json.loads(fairness.BASELINE.read_text("utf-8"))


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fairness.files(fairness.SMALL, tmp_path_factory.mktemp("fairness"))


def measured(folder: Path) -> dict[str, Any]:
    return fairness.figures(fairness.run(folder, detailed=True, workers=1))


# --- against the committed figures ----------------------------------------------------------------------


def test_nobodys_group_is_worse_off_than_was_committed(folder: Path) -> None:
    assert worsened(BASELINE, measured(folder)) == []


def test_a_fold_that_loses_letters_with_marks_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measured mistake of design/MATCHING.md §7: `José` becomes `jos`, Nguyễn `nguyn`."""
    kept = type(folding._TABLE)({code: text for code, text in folding._TABLE.items() if code < 128})
    monkeypatch.setattr(folding, "_TABLE", kept)
    said = worsened(BASELINE, measured(folder))
    assert any(sentence.startswith("marks, recall: yes") for sentence in said), said
    assert any(sentence.startswith("origin, recall: slavic") for sentence in said), said


def test_the_committed_figures_are_of_this_population_and_scheme() -> None:
    assert BASELINE["population"] == asdict(fairness.SMALL)
    assert BASELINE["scheme_version"] == scheme.SCHEME_VERSION
    assert {
        "origin", "sex", "changed_surname", "surname_form", "surname_length", "marks", "given_name",
        "given_name_form", "missing_identifiers", "birth_date", "name_order",
    } < set(BASELINE["groups"])  # fmt: skip
    origins = BASELINE["groups"]["origin"]
    assert len(origins) == 7
    assert min(own["pairs"] for own in origins.values()) > 200


def test_what_is_measured_here_was_trained_on_by_nobody() -> None:
    own = [population.seed for population in (*fairness.POPULATIONS.values(), fairness.SMALL)]
    others = {source.seed for source in (*TRAINING, *CALIBRATION)}
    others |= {population.seed for population in (*matching.OFFICERS.values(), matching.LARGE)}
    assert len(set(own)) == len(own)
    assert not set(own) & others
    assert {population.origins for population in fairness.POPULATIONS.values()} <= set(ORIGINS)


# --- what counts as worse -------------------------------------------------------------------------------


def _two_groups(**changes: float) -> dict[str, Any]:
    """Figures of a whole and of groups `a` (the worst) and `b`; changes are of `a`, or `whole_…`."""
    one = dict.fromkeys(HELD, 0.9) | {"queries": 800, "pairs": 400, "non_members": 400}
    one |= {"non_member_false_positive_rate": 0.01, "false_openings_per_lookup": 0.05}
    other = one | dict.fromkeys((name for name, (_, sign) in HELD.items() if sign > 0), 0.97)
    other |= {"non_member_false_positive_rate": 0.005, "false_openings_per_lookup": 0.04}
    whole = {name: changes.pop(f"whole_{name}", (one[name] + other[name]) / 2) for name in HELD}
    return {"whole": whole, "groups": {"kind": {"a": one | changes, "b": other}}}


@pytest.mark.parametrize("figure", HELD)
def test_a_group_that_falls_beyond_its_band_is_named(figure: str) -> None:
    before = _two_groups()
    own = before["groups"]["kind"]["a"]
    sign = HELD[figure][1]
    within = _two_groups(**{figure: own[figure] - sign * 0.9 * band(own, figure)})
    beyond = _two_groups(**{figure: own[figure] - sign * 1.1 * band(own, figure)})
    assert worsened(before, before) == worsened(before, within) == []
    (sentence,) = worsened(before, beyond)
    assert sentence.startswith(f"kind, {figure}: a has ")
    assert sentence.endswith(f"band {band(own, figure):.4f}")


def test_a_gap_that_widens_is_named_though_nobody_is_worse_off() -> None:
    before = _two_groups()
    after = _two_groups(whole_recall=before["whole"]["recall"] + 0.05)
    (sentence,) = worsened(before, after)
    assert sentence.startswith("kind, recall: a is the worst group with 0.9000, 0.0850 from all; that")


def test_a_group_that_was_not_the_worst_may_not_fall_either() -> None:
    after = _two_groups()
    after["groups"]["kind"]["b"]["recall"] = 0.8
    (sentence,) = worsened(_two_groups(), after)
    assert sentence.startswith("kind, recall: b has 0.8000")


def test_groups_too_small_to_tell_are_left_out() -> None:
    before, after = _two_groups(), _two_groups(recall=0.1)
    for one in (before, after):
        one["groups"]["kind"]["a"]["pairs"] = FEWEST_HELD - 1
    assert worsened(before, after) == []


def test_the_band_of_a_share_of_none_or_all_is_not_nothing() -> None:
    own = {"pairs": 100, "recall": 1.0}
    assert 0 < band(own, "recall") < band(own | {"recall": 0.9}, "recall") < 0.06


# --- gaps and differences -------------------------------------------------------------------------------


def test_a_gap_is_certain_when_its_whole_interval_lies_beyond_the_limit() -> None:
    whole = {"recall": 0.97, "non_member_false_positive_rate": 0.01}
    own = {
        "recall": 0.9, "recall_95": (0.88, 0.92), "non_member_false_positive_rate": 0.02,
        "non_member_false_positive_rate_95": (0.015, 0.03),
    }  # fmt: skip
    found = gaps(own, whole)
    assert found == {"gap": 0.07, "gap_95": [0.05, 0.09], "ratio": 2.0, "ratio_95": [1.5, 3.0]}
    assert verdict(found) == "certain"
    assert verdict(found | {"gap_95": [-0.01, 0.09]}) == "yes"
    assert verdict(found | {"gap": 0.02}) == "no"
    assert judged({"few": {"pairs": 299}, "many": {"pairs": 300}}) == {"many": {"pairs": 300}}


def named(first: str, last: str) -> Person:
    return normalise(Particulars(first=first, last=last))


@pytest.mark.parametrize(
    ("asked", "filed", "words"),
    [
        (("Wei", "Zhang"), ("WEI", "zhang"), "none"),
        (("Wei", "Zhang"), ("", "Zhang"), "none"),
        (("Wei", "Zhang"), ("Zhang", "Wei"), "exchanged"),
        (("Sergei", "Petrov"), ("Sergey", "Petrov"), "given name spelt otherwise"),
        (("Robert", "Smith"), ("Bob", "Smith"), "another given name"),
        (("Ana", "Petrov"), ("Ana", "Petrova"), "surname spelt otherwise"),
        (("Ana", "García Márquez"), ("Ana", "Márquez"), "part of the surname"),
        (("Ana", "Zhang"), ("Ana", "Cheung"), "another surname"),
        (("Robert", "Zhang"), ("Bob", "Cheung"), "both names"),
    ],
)
def test_how_two_names_differ(asked: tuple[str, str], filed: tuple[str, str], words: str) -> None:
    assert words in DIFFERENCES
    assert fairness.difference(named(*asked), named(*filed)) == words


def test_the_last_result_makes_the_tables_and_was_no_quick_run() -> None:
    result = json.loads((RESULTS / "fairness.json").read_text("utf-8"))
    assert result["quick"] is False
    assert result["data"].keys() == fairness.POPULATIONS.keys()
    text = markdown(deepcopy(result["data"]))
    assert "origin: middle-eastern" in text
    assert "nan" not in text
