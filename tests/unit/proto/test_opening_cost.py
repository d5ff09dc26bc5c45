"""§6.9, attacks A1 and A5b: what the cheapest known campaigns cost, and that a weaker table would show.

The population is made here, from a seed: given names by their census frequency, surnames with a long tail,
birth dates of 40 years, one state. Where real names are cheaper than these, officers-dev is measured as well.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise

import pytest

from candor_proto import opening_cost, opening_fields
from candor_proto.errors import InputInvalid
from candor_proto.field_codes import PersonCodes, Sounds
from candor_proto.ids import KeyClass
from candor_proto.matchkeys import ENTRY_LABELS, GATE_THRESHOLD, MATCH_LABELS, Label, record_keys
from candor_proto.name_tables import FREQUENCY
from candor_proto.normalise import Particulars, Person, normalise
from candor_proto.opening_cost import FLOORS, Knowledge, OpeningCost, measure
from candor_proto.opening_fields import label_parts, person_fields
from tools.generate_officers import SURNAMES
from tools.population.development import load
from tools.population.errors import Row

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


@cache
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


def records() -> list[Person]:
    """The owner's. Made when they are asked for: every worker collects every test."""
    return population(1)


def prior() -> list[Person]:
    """What somebody who tries knows of names and dates in general."""
    return population(2)


def table(**weights: int) -> list[Label]:
    """The list with other weights or further labels; a plus sign in a name is written as an underscore."""
    named = {name.replace("_", "+"): weight for name, weight in weights.items()}
    labels = [replace(label, weight=named.pop(label.name, label.weight)) for label in MATCH_LABELS]
    for name, weight in named.items():
        place = len(labels)
        labels.append(Label(name, KeyClass.MATCH, tuple(name.split("+")), place, place - 4, weight))
    return labels


def cost(
    monkeypatch: pytest.MonkeyPatch, knowledge: Knowledge, labels: Sequence[Label] = MATCH_LABELS
) -> OpeningCost:
    """With the patiences that are cheapest here (a test says so): all nine would take far longer.

    With anything known it is one person at a time, so fewer records say the same.
    """
    whole_index = knowledge is Knowledge.NOTHING
    monkeypatch.setattr(opening_cost, "PATIENCES", (200.0,) if whole_index else (280.0, 400.0))
    return measure(records() if whole_index else records()[:400], prior(), knowledge, labels)


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


def people(rows: Iterable[Row]) -> list[Person]:
    return [
        normalise(
            Particulars(
                first=row.first,
                middle=row.middle,
                last=row.last,
                former_last=row.former_last,
                birth_date=row.dob,
                ssn4=row.ssn4,
                post_state="MA" if row.post_id else "",
                post_id=row.post_id,
            )
        )
        for row in rows
    ]


def test_s6_9_a_known_birth_date_is_dear_enough_with_real_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joined names and nicknames are recorded as well, errors included."""
    monkeypatch.setattr(opening_cost, "PATIENCES", (400.0,))
    records = people(load("officers-dev").records[:400])
    prior = people(load("officers-devhard").records)
    found = measure(records, prior, Knowledge.BIRTH_DATE)
    assert found.elements_per_record >= FLOORS[Knowledge.BIRTH_DATE], found
    assert found.opened_share >= opening_cost.LEAST_OPENED_SHARE


def test_the_patience_that_these_tests_use_is_the_cheapest() -> None:
    """Of the chain that is cheapest with all five."""
    chain = [label for label in MATCH_LABELS if label.name in ("Fc+D", "F+Dc")]
    for knowledge, patience in ((Knowledge.NOTHING, 200.0), (Knowledge.BIRTH_DATE, 280.0)):
        held = records() if knowledge is Knowledge.NOTHING else records()[:400]
        everything = measure(held, prior(), knowledge, chain)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(opening_cost, "PATIENCES", (patience,))
            assert measure(held, prior(), knowledge, chain) == everything


# What is wrong, the attacker's knowledge, the weights, and the labels that show it: a chain that those few
# labels give, the whole table gives as well.
WEAKER: Mapping[str, tuple[Knowledge, Mapping[str, int], str]] = {
    "year and last four as an entry": (Knowledge.NOTHING, {"Y_S": 1}, "Y+S YM+S"),
    "a certificate that opens alone": (Knowledge.NOTHING, {"P": 3}, "P"),
    "initial and birth date as an entry": (Knowledge.NOTHING, {"L1_Dc": 1}, "SW1+So L1+Dc"),
    "initial and a known birth date": (Knowledge.BIRTH_DATE, {"L1_Dc": 1}, "L1+Dc L3+Dc"),
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


@pytest.mark.parametrize("person", range(6))
def test_codes_are_those_that_records_emit(person: int) -> None:
    """Every entry of a record can be guessed from the codes of this module, and no other."""
    one = normalise(
        (
            Particulars("Mike", "Lee", "Schmidt", "", "", "1980-11-02", "4071", "M", "MA", "328139"),
            Particulars("Bill", "", "Jones", "Jr", "", "1964-05-XX", "", "", "", ""),
            Particulars("Åsa", "Maria", "Holm", "", "", "19991231", "0007", "F", "CA", "A12-B"),
            Particulars("J", "Robert", "Lee", "", "", "", "7777", "", "", ""),
            Particulars("Mary Ann (Polly)", "J", "Lee", "", "", "1980-11-02", "4071", "", "", ""),
            Particulars("Alexander", "Christopher", "Pope", "", "", "1980-11-02", "4071", "", "TX", "81274"),
        )[person]
    )
    fields = person_fields([one], [one], ())
    made = set()
    for label in ENTRY_LABELS:
        columns = [
            opening_fields.combinations(fields[name], codes)[-1] for name, codes in label_parts(label).items()
        ]
        made.add((label.name, math.prod(map(len, columns))))
    emitted = Counter(key.label.name for key in record_keys(one))
    assert {name: count for name, count in made if count} == emitted


def test_codes_of_names_are_those_of_the_field_codes() -> None:
    """By value, for what a single code can say; the test above counts all keys."""
    one = normalise(Particulars("Mary Ann (Polly)", "Jo", "Fischer"))
    fields = person_fields([one], [one], ())
    codes = PersonCodes(one, [one.surname], Sounds(), record=True)
    for field, names in (("given", "F F1 F3 Fz Fo Fc Fp"), ("surname", "L L1 L3 L4 Lz Lk Ls Lp Lo")):
        for name in names.split():
            assert [value[2:].decode() for value in codes[name]] == list(fields[field].column(name)[-1]), name


def test_of_several_surnames_the_attacker_meets_the_most_frequent() -> None:
    several = normalise(Particulars("Mike", "", "Vandyke-Ashe", "", "Smith"))
    prior = [several, *(normalise(Particulars("Mike", "", last)) for last in ("Dyke", "Dyke", "Ashe"))]
    fields = person_fields([several], prior, ())
    assert fields["surname"].column("L")[fields["surname"].own[0]] == ("dyke",)


def test_a_code_without_a_price_is_refused() -> None:
    unknown = Label("F+Q", KeyClass.MATCH, ("F", "Q"), 15, 11, 2)
    with pytest.raises(InputInvalid):
        measure(records()[:10], prior()[:10], Knowledge.NAME, [unknown])


def test_no_records_and_no_prior_are_refused() -> None:
    for held, known in (([], prior()[:1]), (records()[:1], [])):
        with pytest.raises(InputInvalid):
            measure(held, known, Knowledge.NOTHING)


def test_without_a_chain_nothing_is_opened() -> None:
    few = [label for label in MATCH_LABELS if label.name == "L3+Dc"]
    assert measure(records()[:50], prior()[:50], Knowledge.NAME, few) == OpeningCost(float("inf"), (), 0.0)


def test_a_single_unknown_birthday_costs_half_a_year() -> None:
    """A case that can be worked out: name and year known by heart, one label of weight 3, 366 days."""
    label = Label("SW+MD", KeyClass.MATCH, ("SW", "MD"), 9, 5, 3)
    found = measure(records()[:2000], prior(), Knowledge.NAME, [label])
    assert found.chain == ("SW+MD",)
    assert 170 < found.elements_per_record / found.opened_share < 200
