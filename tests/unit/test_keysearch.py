"""tools.keysearch: who meets whom, what a list is worth, and that no list is held below a floor."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import islice

import pytest

from candor_proto.normalise import Particulars, Person, normalise
from candor_proto.opening_cost import Knowledge
from candor_proto.scheme import CURRENT
from tools.keysearch.candidates import candidates, codes_of, needs_digits, of_names_alone, parse, written
from tools.keysearch.lists import ALTERNATIVES, asked_weights, priced_labels, reserve_weights
from tools.keysearch.local_search import Problem, best_addition, feasible, reserves, search
from tools.keysearch.objective import Block, Objective, Source, Terms, blocks
from tools.keysearch.prices import FLOORS, Prices, plain_codes
from tools.keysearch.sources import PLAIN, Hits, People, meet

GIVEN = ("michael", "robert", "susan", "linda", "james", "karen", "thomas", "nancy")
SURNAMES = ("schmidt", "oconnor", "garcia", "nguyen", "johnson", "kowalski", "baker", "tanaka")


def officer(first: str, last: str, born: str, ssn4: str = "") -> Person:
    return normalise(Particulars(first=first, last=last, birth_date=born, ssn4=ssn4))


@cache
def prices() -> Prices:
    draw = random.Random(3)
    people = [
        officer(draw.choice(GIVEN), draw.choice(SURNAMES), f"{1960 + draw.randrange(40)}-05-17")
        for _ in range(400)
    ]
    return Prices(people, 400)


# Three pairs of each kind, bit i for pair i.
TRUE = Block("set nds", "set", True, {"D+S": 0b111, "F+Dc": 0b011, "L+Dc": 0b001}, 3, 0.5, 3)
FALSE = Block("set nds", "set", False, {"D+S": 0b001, "F+Dc": 0b101, "L+Dc": 0b101}, 3, 0.25, 3, "plain")
BY_HAND = Objective((TRUE, FALSE), 3)


# --- candidates ---------------------------------------------------------------------------------------


def test_no_candidate_is_of_names_alone_and_none_stands_there_twice() -> None:
    found = candidates()
    assert len(set(found)) == len(found)
    assert not any(of_names_alone(label) for label in found)
    assert {label.name for label in CURRENT.match_labels} - {"P"} <= set(found)


def test_a_label_needs_digits_if_the_last_four_or_the_certificate_stands_in_it() -> None:
    assert [label for label in ("SW1+So", "YM+S", "P", "F+Dc", "SW3+YM") if needs_digits(label)] == [
        "SW1+So", "YM+S", "P",
    ]  # fmt: skip


def test_parse_reads_what_written_writes() -> None:
    weights = {"F+Dc": 2, "L3+S": 1, "D+S": 2}
    assert parse(written(weights)) == weights
    assert written(weights) == "D+S:2 F+Dc:2 L3+S:1"


@pytest.mark.parametrize("text", ["F+Dc", "F+Dc:0", "F+Dc:x", ":2", "F+Dc:1 F+Dc:2"])
def test_parse_refuses_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="a weight from 1"):
        parse(text)


# --- who meets whom -----------------------------------------------------------------------------------


def _people() -> People:
    records = [
        officer("Mike", "Schmidt", "1980-11-02", "4071"),
        officer("Mark", "Schmidt", "1980-11-02", "9313"),
    ]
    queries = [officer("Michael", "Schmidt", "1980-02-11", "4071"), officer("Susan", "Baker", "1971-01-30")]
    return People(records, [PLAIN, "twin"], queries, [PLAIN, PLAIN], frozenset({(0, 0)}))


LABELS = ("Fc+Dc", "L+Dc", "F+Dc", "L+S", "D+S")


def test_a_pair_is_met_under_the_labels_whose_codes_agree() -> None:
    hits = meet(_people(), LABELS, least_met=0.0)
    assert hits.labels == LABELS
    # Root, swapped date and last four agree; the name as written and the date as written do not.
    assert hits.true == (1, 1, 0, 1, 0)
    assert hits.known == (1, 1, 1, 1, 1)
    assert hits.strangers == (0, 1, 0, 0, 0)
    # One label hits the twin: no opening can come of it.
    assert hits.sizes == (1, 0, 0)


def test_one_label_is_enough_where_it_is_asked_for() -> None:
    hits = meet(_people(), LABELS, at_least=1, least_met=0.0)
    assert hits.sizes == (1, 1, 0)
    assert hits.relatives == (0, 1, 0, 0, 0)


def test_without_digits_the_labels_that_need_them_hit_nothing() -> None:
    assert meet(_people(), LABELS, least_met=0.0).without_digits().true == (1, 1, 0, 0, 0)


def test_a_label_that_seldom_meets_its_own_is_left_out() -> None:
    assert meet(_people(), LABELS).labels == ("Fc+Dc", "L+Dc", "L+S")


# --- the objective ------------------------------------------------------------------------------------


def test_scores_are_reached_by_the_weights_of_the_labels_hit() -> None:
    levels = TRUE.reached({"D+S": 1, "F+Dc": 1, "L+Dc": 2}, 3)
    # Scores 1, 2 and 1 + 1 + 2.
    assert levels == [0b111, 0b111, 0b011, 0b001]


def test_the_objective_by_hand() -> None:
    # Scores of the true pairs are 4, 2 and 1: two of three are missed. Those of the plain ones are 4, 0, 3.
    assert BY_HAND.value({"D+S": 1, "F+Dc": 1, "L+Dc": 2}) == pytest.approx(2 * 0.5 + 2 * 0.25)
    assert BY_HAND.value({}) == pytest.approx(3 * 0.5)
    assert BY_HAND.figures({"D+S": 2, "F+Dc": 1}) == {"set nds": {"true": 2 / 3, "plain": 1 / 3}}
    assert BY_HAND.at(1).value({"D+S": 1}) == pytest.approx(0.25)


def test_an_addition_has_the_value_of_the_longer_list() -> None:
    held = {"D+S": 2}
    for value, label, weight in BY_HAND.additions(held, ["F+Dc", "L+Dc"], 2):
        assert value == pytest.approx(BY_HAND.value({**held, label: weight}))


def test_noise_is_that_of_the_pairs_only_one_list_opens() -> None:
    one, other = {"D+S": 2, "F+Dc": 1}, {"D+S": 2, "L+Dc": 1}
    assert BY_HAND.noise(one, one) == 0
    # One true pair, and no plain one.
    assert BY_HAND.noise(one, other) == pytest.approx(0.5)


def test_a_block_is_priced_by_share_and_whole() -> None:
    hits = Hits(LABELS, (1, 1, 0, 1, 0), (0,) * 5, (2, 0, 2, 0, 0), (2, 0, 3), (2,) * 5, (1,) * 5, 10)
    source = Source("set", "nds", lambda _: _people(), share=6.0, counted=0.5)
    true, plain = blocks(source, hits, Terms(plain=3.0))
    assert true.price == pytest.approx(6 / 2)
    assert plain.price == pytest.approx(6 * 3 * 0.5 / 10)
    assert (true.whole, plain.whole) == (2, 10)


# --- prices -------------------------------------------------------------------------------------------


def test_what_is_known_costs_one_guess_and_digits_cost_half_their_number() -> None:
    assert prices().step("F+Dc", frozenset({"F", "D"})) == 1
    assert prices().step("D+S", frozenset({"D"})) == pytest.approx(5000)
    # Four sorted digits, then their order.
    assert 100 < prices().step("D+So", frozenset({"D"})) < 400
    assert prices().step("YM+S", frozenset({"So", "D"})) < 13


def test_a_chain_ends_at_the_threshold_and_below_its_bound() -> None:
    weights = {"F+Dc": 2, "L+Dc": 1, "D+S": 1}
    cost, chain = prices().cheapest(weights, 3, Knowledge.BIRTH_DATE)
    assert sum(weights[label] for label in chain) >= 3
    assert cost == pytest.approx(
        prices().step(chain[0], frozenset({"D"}))
        + prices().step(chain[1], frozenset({"D", *plain_codes(chain[0])}))
    )
    assert prices().cheapest(weights, 3, Knowledge.BIRTH_DATE, below=cost) == (cost, ())


def test_codes_over_two_fields_are_priced_as_two() -> None:
    assert plain_codes("SW1+So") == ("F1", "L1", "So")
    assert prices().step("SW+D", frozenset({"F", "D"})) == prices().step("L+D", frozenset({"D"}))


# --- the search ---------------------------------------------------------------------------------------

# Half of the labels below make cheap pairs: eight given names and eight surnames are soon guessed.
DEAR, CHEAP = ("D+S", "YM+S", "Dc+So", "MD+S"), ("F+Dc", "L+Dc", "Fc+D", "L3+Dc")
NO_DIGITS = {Knowledge.BIRTH_DATE: 70.0}


def _problem(floors: Mapping[Knowledge, float], slots: int = 5) -> Problem:
    draw = random.Random(8)
    columns = {label: draw.getrandbits(64) for label in (*DEAR, *CHEAP)}
    false = {label: draw.getrandbits(64) & draw.getrandbits(64) for label in columns}
    made = (
        Block("set nds", "set", True, columns, 64, 1 / 64, 64),
        Block("set nds", "set", False, false, 64, 0.5 / 64, 64, "plain"),
    )
    return Problem(Objective(made, 3), prices(), (*DEAR, *CHEAP), floors=floors, slots=slots)


def test_the_same_seed_finds_the_same_lists() -> None:
    first, second = (list(islice(search(_problem(NO_DIGITS), {}, 5), 6)) for _ in range(2))
    assert first == second
    assert [found.settled for found in first] == [1, 2, 3, 4, 5, 6]


def test_the_best_list_so_far_never_gets_worse_and_has_its_value() -> None:
    problem = _problem(NO_DIGITS)
    found = list(islice(search(problem, {}, 1), 8))
    values = [one.value for one in found]
    assert values == sorted(values, reverse=True)
    assert found[-1].value == pytest.approx(problem.objective.value(found[-1].weights))
    assert len(found[-1].weights) <= problem.slots
    assert {*found[-1].weights.values()} <= {1, 2}


def test_no_list_is_found_below_a_floor() -> None:
    free = next(iter(search(_problem({}), {}, 1)))
    assert prices().cheapest(free.weights, 3, Knowledge.BIRTH_DATE)[0] < 70
    problem = _problem(NO_DIGITS)
    for found in islice(search(problem, {}, 1), 8):
        assert problem.holds(found.weights)
        assert prices().cheapest(found.weights, 3, Knowledge.BIRTH_DATE)[0] >= 70


def test_a_start_below_a_floor_is_thinned_and_filled_until_it_holds() -> None:
    problem = _problem(NO_DIGITS)
    start = {**dict.fromkeys(CHEAP, 2), "D+S": 2, "SW+Dc": 1}
    assert not problem.holds(dict.fromkeys(CHEAP, 2))
    begun = feasible(problem, start, random.Random(1))
    assert problem.holds(begun)
    assert len(begun) == problem.slots
    assert begun.keys() <= set(problem.labels)


def test_a_label_joins_only_where_it_is_dear_with_all_it_opens_with() -> None:
    problem = _problem(NO_DIGITS)
    assert not problem.may_join("L+Dc", 2, {"F+Dc": 1})
    # Together they weigh 2: they open nothing.
    assert problem.may_join("L+Dc", 1, {"F+Dc": 1})
    assert problem.may_join("D+S", 2, {"F+Dc": 2})
    assert not problem.may_join("D+S", 1, {"D+S": 2})


def test_nothing_is_added_that_does_not_help() -> None:
    problem = _problem(NO_DIGITS)
    assert best_addition(problem, {"D+S": 2}, below=0.0) is None
    held = {"D+S": 2, "YM+S": 1}
    for label, weight in reserves(problem, held, 2).items():
        assert label not in held
        longer = {**held, label: weight}
        assert problem.objective.value(longer) < problem.objective.value(held)
        held = longer


def test_a_problem_lets_no_label_open_alone_and_none_of_names_alone() -> None:
    problem = _problem({})
    with pytest.raises(ValueError, match="open alone"):
        replace(problem, heaviest=3)
    with pytest.raises(ValueError, match="names alone"):
        replace(problem, labels=("SW3",))


# --- lists --------------------------------------------------------------------------------------------


def test_the_shipped_list_is_the_schemes_and_holds_the_rules_of_the_search() -> None:
    weights = asked_weights()
    assert len(weights) == 16
    assert weights.keys().isdisjoint(reserve_weights())
    assert {**weights, **reserve_weights()} == {label.name: label.weight for label in CURRENT.entry_labels}
    assert max(weights.values()) < CURRENT.threshold
    assert not any(of_names_alone(label) for label in weights)
    assert set(FLOORS) == set(Knowledge) - {Knowledge.NAME_AND_BIRTH_DATE}


def test_every_list_that_was_set_aside_can_be_priced() -> None:
    for one in ALTERNATIVES:
        for label in priced_labels(one.weights):
            assert label.codes == codes_of(label.name)
            assert plain_codes(label.name)
        assert max(one.weights.values()) <= one.threshold
