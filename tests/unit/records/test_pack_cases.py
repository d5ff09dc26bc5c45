"""Every rule shows what it does, in two cases that run through the code that nodes run."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor_node import shipped_packs
from candor_records.pack_cases import check_cases, run_cases
from candor_records.pack_reader import read_pack
from candor_records.pack_rules import PackInvalid
from tests.packs import APPEAL, SHORT, clock, default_pack, make_pack


@pytest.mark.parametrize("name", shipped_packs.names())
def test_every_case_of_every_shipped_pack_comes_out(name: str) -> None:
    pack = shipped_packs.shipped(name).pack
    outcomes = run_cases(pack, default_pack())
    assert len(outcomes) == 2 * len(pack.rules)
    assert [
        (outcome.rule.id, outcome.expected, outcome.found) for outcome in outcomes if not outcome.holds
    ] == []


def test_a_good_pack_passes() -> None:
    check_cases(make_pack(clock(), APPEAL, SHORT), default_pack())


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('expect = "on time"', 'expect = "1 day late"', "expected 1 day late, found on time"),
        ("days = 5", "days = 6", "expected 1 day late, found on time"),
        ("days = 5", "days = 4", "expected on time, found 1 day late"),
        ('"EFFECTIVE"', '"DECIDED"', "expected on time, found 7 days late"),
        (
            'kind = "TERMINATION_FOR_CAUSE"\non = 2021-06-20',
            'kind = "CRIMINAL_CONVICTION"\non = 2021-06-20',
            "found on time",
        ),
        (
            'kind = "TERMINATION_FOR_CAUSE"\non = 2021-06-20',
            'kind = "TERMINATION_FOR_CAUSE"\nfields = { finality = "MAYBE" }\non = 2021-06-20',
            "no record can say this",
        ),
        (
            'kind = "TERMINATION_FOR_CAUSE"\non = 2021-06-20',
            'kind = "TERMINATION_FOR_CAUSE"\nfields = { effective_from = 2021-06-14 }\non = 2021-06-20',
            "no record has the field effective_from",
        ),
    ],
)
def test_a_pack_with_a_case_that_does_not_come_out_is_refused(old: str, new: str, fault: str) -> None:
    text = clock()
    assert old in text
    with pytest.raises(PackInvalid, match=fault):
        check_cases(make_pack(text.replace(old, new)), default_pack())


def test_a_rule_whose_cases_do_not_need_it_is_refused() -> None:
    """It would stand in a pack untested, whatever it says."""
    same_as_default = clock(30, "2021-07-14", "2021-07-15")
    with pytest.raises(PackInvalid, match="with the rule or without it"):
        check_cases(make_pack(same_as_default), default_pack())


def test_a_case_runs_under_the_whole_policy() -> None:
    """The default's other rules hold in it: a record whose time is over is not shared by an exception."""
    late = APPEAL.replace("on = 2021-07-01", "on = 2031-06-14")
    with pytest.raises(PackInvalid, match="found held: not expired"):
        check_cases(make_pack(late), default_pack())


def test_the_example_in_the_documents_is_a_pack_that_passes() -> None:
    page = Path(__file__).parents[3].joinpath("docs/packs.md").read_text("utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    check_cases(read_pack(example.encode()), default_pack())
