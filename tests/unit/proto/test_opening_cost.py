"""§6.9, attacks A1 and A5b: what the cheapest known campaigns cost, and that a weaker table would show.

The population is made here, from a seed: given names by their census frequency, surnames with a long tail,
birth dates of 40 years, one state. Figures for officers-dev stand in docs/opening-costs.md.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise

import pytest

from candor_proto import opening_cost
from candor_proto.errors import InputInvalid
from candor_proto.ids import KeyClass
from candor_proto.matchkeys import ENTRY_LABELS, GATE_THRESHOLD, MATCH_LABELS, Label, record_keys
from candor_proto.name_tables import FREQUENCY
from candor_proto.normalise import Particulars, Person, normalise
from candor_proto.opening_cost import FLOORS, Knowledge, OpeningCost, measure
from tools.generate_officers import SURNAMES

OWNER_RECORDS = 20_000
_NOBODY = normalise(Particulars())


def _surnames(count: int) -> list[str]:
    """The frequent surnames, then made-up ones that spell and sound like them: real lists have such a tail,
    and without it the sound of a surname would be guessed far too cheaply."""
    draw = random.Random(5)
    following: dict[str, list[str]] = {}
    for name in SURNAMES:
        marked = f"^{name.lower()}$"
        for one, other in pairwise(marked):
            following.setdefault(one, []).append(other)
    known = dict.fromkeys(name.lower() for name in SURNAMES)
    while len(known) < count:
        name = "^"
        while not name.endswith("$") and len(name) < 13:
            name += draw.choice(following[name[-1]])
        if name.endswith("$") and len(name) > 5:
            known.setdefault(name[1:-1])
    return list(known)


@cache
def _names() -> tuple[list[str], list[float], list[str], list[float]]:
    """Names and their cumulated weights; surnames about as diverse as MATCHING.md §3 states."""
    given = sorted(FREQUENCY, key=lambda name: (-FREQUENCY[name], name))
    surnames = _surnames(20_000)
    return (
        given,
        list(accumulate(float(FREQUENCY[name]) for name in given)),
        surnames,
        list(accumulate(1 / (rank + 30) ** 0.9 for rank in range(len(surnames)))),
    )


def population(seed: int, size: int = OWNER_RECORDS) -> list[Person]:
    """Normalised persons; 12 % have no last four, 30 % no certificate, 2 % no birth date."""
    draw = random.Random(seed)
    given, given_weights, surnames, surname_weights = _names()
    firsts = draw.choices(given, cum_weights=given_weights, k=size)
    lasts = draw.choices(surnames, cum_weights=surname_weights, k=size)
    people = []
    for first, last in zip(firsts, lasts, strict=True):
        dated, numbered, certified = draw.random() > 0.02, draw.random() > 0.125, draw.random() > 0.3
        people.append(
            replace(
                _NOBODY,
                first=first,
                last=last,
                year=str(draw.randint(1960, 1999)) if dated else "",
                month=f"{draw.randint(1, 12):02}" if dated else "",
                day=f"{draw.randint(1, 28):02}" if dated else "",
                ssn4=f"{draw.randint(1, 9999):04}" if numbered else "",
                post_state="MA" if certified else "",
                post_id=f"{draw.randint(100_000, 999_999)}" if certified else "",
            )
        )
    return people


RECORDS, PRIOR = population(1), population(2)


def table(**weights: int) -> list[Label]:
    """R16 with other weights; a plus sign in a name is written as an underscore."""
    named = {name.replace("_", "+"): weight for name, weight in weights.items()}
    assert named.keys() <= {label.name for label in MATCH_LABELS}
    return [replace(label, weight=named.get(label.name, label.weight)) for label in MATCH_LABELS]


def cost(
    monkeypatch: pytest.MonkeyPatch, knowledge: Knowledge, labels: Sequence[Label] = MATCH_LABELS
) -> OpeningCost:
    """With the one patience that is cheapest here: all five would take five times as long.

    With anything known it is one person at a time, so fewer records say the same.
    """
    whole_index = knowledge is Knowledge.NOTHING
    monkeypatch.setattr(opening_cost, "PATIENCES", (100.0,) if whole_index else (400.0,))
    return measure(RECORDS if whole_index else RECORDS[:400], PRIOR, knowledge, labels)


@pytest.mark.parametrize("knowledge", list(Knowledge))
def test_s6_9_no_chain_is_cheaper_than_its_floor(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cost(monkeypatch, knowledge)
    assert found.elements_per_record >= FLOORS[knowledge], found
    assert found.opened_share >= opening_cost.LEAST_OPENED_SHARE
    weights = {label.name: label.weight for label in MATCH_LABELS}
    assert sum(weights[name] for name in found.chain) >= GATE_THRESHOLD
    assert sum(weights[name] for name in found.chain[:-1]) < GATE_THRESHOLD


# What is wrong, the attacker's knowledge, the weights, and the labels that show it: a chain that those few
# labels give, the whole table gives as well.
WEAKER: Mapping[str, tuple[Knowledge, Mapping[str, int], str]] = {
    "year and last four as an entry": (Knowledge.NOTHING, {"Y_S": 1}, "L1+Dc Y+S Yo+So"),
    "a certificate that opens alone": (Knowledge.NOTHING, {"P": 3}, "P"),
    "initial and birth date that weigh 2": (Knowledge.NOTHING, {"L1_Dc": 2}, "L1+Dc Ls+Dc"),
    "sound and birth date that weigh 2": (Knowledge.BIRTH_DATE, {"Ls_Dc": 2}, "L1+Dc Ls+Dc"),
    "name and birth date that open alone": (Knowledge.NAME_AND_BIRTH_DATE, {"F_Dc": 3}, "F+Dc"),
}


@pytest.mark.parametrize("name", WEAKER)
def test_s6_9_a_weaker_table_falls_below_the_floor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    knowledge, weights, shown = WEAKER[name]
    labels = [label for label in table(**weights) if label.name in shown.split()]
    found = cost(monkeypatch, knowledge, labels)
    assert found.elements_per_record < FLOORS[knowledge], found


def test_s6_9_a_name_that_opens_alone_falls_below_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    label = Label("SW", KeyClass.MATCH, ("SW",), 9, 5, GATE_THRESHOLD)
    assert cost(monkeypatch, Knowledge.NAME, [label]).elements_per_record == 1


@pytest.mark.parametrize("person", [0, 1, 2, 3])
def test_codes_are_those_that_records_emit(person: int) -> None:
    """Every entry of a record can be guessed from the codes of this module, and no other."""
    one = normalise(
        (
            Particulars("Mike", "Lee", "Schmidt", "", "", "1980-11-02", "4071", "M", "MA", "328139"),
            Particulars("Bill", "", "O'Brien", "Jr", "", "1964-05-XX", "", "", "", ""),
            Particulars("Åsa", "Maria", "Øst", "", "", "19991231", "0001", "F", "CA", "A12-B"),
            Particulars("J", "Robert", "Lee", "", "", "", "7777", "", "", ""),
        )[person]
    )
    fields = opening_cost._fields([one], [one], ())
    made = set()
    for label in ENTRY_LABELS:
        parts = opening_cost._parts(label)
        columns = [fields[name].column(code)[-1] for name, codes in parts.items() for code in codes]
        made.add((label.name, 0 if not all(columns) else max(map(len, columns))))
    emitted = [key.label.name for key in record_keys(one)]
    assert {name for name, count in made if count} == set(emitted)
    assert {name: count for name, count in made if count} == {name: emitted.count(name) for name in emitted}


def test_a_code_without_a_price_is_refused() -> None:
    unknown = Label("F+Q", KeyClass.MATCH, ("F", "Q"), 15, 11, 2)
    with pytest.raises(InputInvalid):
        measure(RECORDS[:10], PRIOR[:10], Knowledge.NAME, [unknown])


def test_no_records_and_no_prior_are_refused() -> None:
    for records, prior in (([], PRIOR[:1]), (RECORDS[:1], [])):
        with pytest.raises(InputInvalid):
            measure(records, prior, Knowledge.NOTHING)


def test_without_a_chain_nothing_is_opened() -> None:
    few = [label for label in MATCH_LABELS if label.name == "L1+Dc"]
    assert measure(RECORDS[:50], PRIOR[:50], Knowledge.NAME, few) == OpeningCost(float("inf"), (), 0.0)


def test_a_single_unknown_birthday_costs_half_a_year() -> None:
    """A case that can be worked out: name and year known by heart, one label of weight 3, 366 days."""
    label = Label("SW+MD", KeyClass.MATCH, ("SW", "MD"), 9, 5, 3)
    found = measure(RECORDS[:2000], PRIOR, Knowledge.NAME, [label])
    assert found.chain == ("SW+MD",)
    assert 170 < found.elements_per_record / found.opened_share < 200
