"""True persons, who do not exist: names by origin, birth dates, numbers, and relatives that are hard to tell.

Everything but the names is invented: evenly drawn numbers and dates. What is shared within a family is what
is shared in the development sets (data/README.md): a father and his son have surname and mostly given name,
twins surname and birth date, namesakes both names and birth year.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from tools.population.draw import Draw, Table

RELATIVES = ("fatherson", "twin", "collision")
FEMALE_SHARE = 0.158


@dataclass(frozen=True, slots=True)
class Names:
    """What a person is called, in lower case, with marks and spaces.

    `culture` says which variants of writing there are (variants.py). `second` is the second of two surnames,
    which `last` then ends in.
    """

    first: str
    middle: str
    last: str
    origin: str
    culture: str = ""
    second: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A true person. Text is lower case; `birth_date` is ISO; `sex` is F or M."""

    names: Names
    suffix: str
    former_last: str
    birth_date: str
    ssn4: str
    sex: str
    post_state: str
    post_id: str


# Draws what somebody of a sex is called; of the same culture as a relative, if one is given.
Naming = Callable[[Draw, str, Names | None], Names]

# Birth years of a force, read off officers-dev: (year, relative share), straight lines between.
_YEARS = (
    (1950, 4), (1954, 19), (1957, 34), (1960, 49), (1965, 60), (1970, 77), (1975, 91), (1980, 100),
    (1985, 96), (1990, 83), (1995, 66), (1998, 51), (2000, 41), (2002, 20), (2004, 8),
)  # fmt: skip
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# One state has a third of the officers, as in the development sets.
_HOME = ("ma", 494)
_STATES = ("ca", "ct", "fl", "ga", "il", "me", "nc", "nh", "nj", "ny", "oh", "pa", "ri", "tx", "va", "vt")
_SUFFIXES = Table((("jr", 58), ("iii", 18), ("ii", 9), ("sr", 15)))
# Men who write a suffix though no relative of theirs is in the population.
_SUFFIX_SHARE = 0.029
# People with a former surname.
_FORMER_SHARE = {"F": 0.42, "M": 0.012}
_NO_MIDDLE_SHARE = 0.06
_SAME_CULTURE_SHARE = 0.8
# Twins whose parents chose one initial; the tries end before a rare letter is found.
_TWIN_INITIAL_SHARE = 0.30
_TRIES = 60


def _years() -> Table[int]:
    """Birth years by the straight lines of `_YEARS`; weights are whole numbers whatever the span."""
    weighted = []
    for (year, share), (next_year, next_share) in pairwise(_YEARS):
        span = next_year - year
        weighted += [(year + n, (share * (span - n) + next_share * n) * 60 // span) for n in range(span)]
    return Table(weighted)


_BIRTH_YEARS = _years()
_STATE_TABLE = Table((_HOME, *((state, 63) for state in _STATES)))


def day_of(draw: Draw, year: int) -> str:
    """A date of `year`, evenly, without 29 February."""
    day = draw.below(365)
    month = 0
    while day >= _DAYS[month]:
        day -= _DAYS[month]
        month += 1
    return f"{year:04d}-{month + 1:02d}-{day + 1:02d}"


def certificate(draw: Draw) -> tuple[str, str]:
    """State and number of a POST certificate."""
    return _STATE_TABLE.pick(draw), f"{draw.below(1_000_000):06d}"


def last_four(draw: Draw) -> str:
    """Four digits, evenly, not 0000, which is never issued."""
    return f"{1 + draw.below(9_999):04d}"


def person(draw: Draw, naming: Naming, sex: str = "") -> Person:
    """Somebody, independent of everybody else; of the given sex, if one is given."""
    sex = sex or ("F" if draw.chance(FEMALE_SHARE) else "M")
    names = naming(draw, sex, None)
    if draw.chance(_NO_MIDDLE_SHARE):
        names = replace(names, middle="")
    suffix = _SUFFIXES.pick(draw) if sex == "M" and draw.chance(_SUFFIX_SHARE) else ""
    former = other_surname(draw, naming, sex, names) if draw.chance(_FORMER_SHARE[sex]) else ""
    state, number = certificate(draw)
    return Person(
        names, suffix, former, day_of(draw, _BIRTH_YEARS.pick(draw)), last_four(draw), sex, state, number
    )


def other_surname(draw: Draw, naming: Naming, sex: str, names: Names) -> str:
    """One surname that somebody so named may marry into or come from: mostly of the same culture."""
    other = naming(draw, sex, names if draw.chance(_SAME_CULTURE_SHARE) else None)
    return other.last.removesuffix(other.second).strip()


def with_relative(draw: Draw, naming: Naming, kind: str) -> tuple[Person, Person]:
    """Somebody and a relative or namesake; `kind` is one of `RELATIVES`."""
    if kind == "fatherson":
        return _father_and_son(draw, naming)
    base = person(draw, naming)
    return base, _twin(draw, naming, base) if kind == "twin" else _namesake(draw, naming, base)


def _own_names(draw: Draw, naming: Naming, base: Person, sex: str) -> Names:
    """Other given names beside the surname of `base`."""
    other = naming(draw, sex, base.names)
    for _ in range(8):
        if other.first != base.names.first and (other.middle != base.names.middle or not other.middle):
            break
        other = naming(draw, sex, base.names)
    return replace(base.names, first=other.first, middle=other.middle)


def _numbers(draw: Draw, relative: Person) -> Person:
    state, number = certificate(draw)
    return replace(relative, ssn4=last_four(draw), post_state=state, post_id=number)


def _father_and_son(draw: Draw, naming: Naming) -> tuple[Person, Person]:
    base = person(draw, naming, "M")
    year = int(base.birth_date[:4])
    gap = 20 + draw.below(16)
    # Whoever is listed first may be either; both are of an age to serve.
    elder = year + gap > 2004 or (year - gap >= 1950 and draw.chance(0.5))
    middle = base.names.middle if draw.chance(0.6) else _own_names(draw, naming, base, "M").middle
    other = replace(
        base,
        names=replace(base.names, middle=middle),
        birth_date=day_of(draw, year - gap if elder else year + gap),
        suffix="sr" if elder else "jr",
    )
    return replace(base, suffix="jr" if elder else "sr"), _numbers(draw, other)


def _twin(draw: Draw, naming: Naming, base: Person) -> Person:
    sex = base.sex if draw.chance(0.7) else "FM".replace(base.sex, "")
    names = _own_names(draw, naming, base, sex)
    if draw.chance(_TWIN_INITIAL_SHARE):
        for _ in range(_TRIES):
            if names.first[0] == base.names.first[0]:
                break
            names = _own_names(draw, naming, base, sex)
    twin = replace(base, names=names, sex=sex, suffix="")
    twin = _numbers(draw, twin)
    # Numbers applied for together follow each other.
    if draw.chance(0.36):
        near = int(base.ssn4) + (1 if draw.chance(0.5) or base.ssn4 == "0001" else -1)
        twin = replace(twin, ssn4=f"{1 if near > 9_999 else near:04d}")
    return twin


def _namesake(draw: Draw, naming: Naming, base: Person) -> Person:
    own = _own_names(draw, naming, base, base.sex)
    names = replace(base.names, middle=own.middle)
    birth_date = day_of(draw, int(base.birth_date[:4]))
    return _numbers(draw, replace(base, names=names, birth_date=birth_date, suffix="", former_last=""))
