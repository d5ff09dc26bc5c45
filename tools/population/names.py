"""The tables that names are drawn from: public frequency lists, and no person.

`data/names.txt.xz` is made by tools/generate_population_names.py, which names its sources: given names and
surnames of the 1990 United States Census with their frequencies, and for each surname the group that bears
it in the main by the surname table of the 2010 Census. The group is the *origin* label of a generated
person. It is read by evaluation only and is never a feature of matching.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tools.population.draw import Draw, Table
from tools.population.slips import folded

DATA = Path(__file__).resolve().parent / "data"

# Groups of the 2010 table, and `mixed` for a surname that no one group bears in the main.
CENSUS_GROUPS = ("white", "black", "asian", "native", "hispanic", "mixed")
SEXES = {"F": "female", "M": "male"}


def _lines() -> Iterator[tuple[str, str, int, list[str]]]:
    """(kind, group, weight, names) of every line of the table."""
    text = lzma.decompress((DATA / "names.txt.xz").read_bytes()).decode("ascii")
    for line in text.splitlines():
        kind, group, weight, *names = line.split()
        yield kind, group, int(weight), names


@cache
def group_of() -> dict[str, str]:
    """Surname in lower case to its group; a surname that is not in the table is not here either."""
    return {name: group for kind, group, _, names in _lines() if kind == "surname" for name in names}


@cache
def surnames(group: str | None = None) -> Table[str]:
    """The surnames of one group, or all, by frequency, in lower case."""
    return Table(
        (name, weight)
        for kind, of, weight, names in _lines()
        if kind == "surname" and group in (None, of)
        for name in names
    )


@cache
def given_names(sex: str) -> Table[str]:
    """The given names of `F` or `M` by frequency, in lower case."""
    return Table(
        (name, weight) for kind, _, weight, names in _lines() if kind == SEXES[sex] for name in names
    )


def label(surname: str) -> str:
    """The group that bears `surname` in the main: `mixed` for none, `unlisted` if the table has it not.

    A word of the surname decides if the table has not the whole.
    """
    groups = group_of()
    whole = "".join(letter for letter in surname.lower() if "a" <= letter <= "z")
    if whole in groups:
        return groups[whole]
    for word in surname.lower().replace("-", " ").split():
        if word in groups:
            return groups[word]
    return "unlisted"


@cache
def _nicknames() -> dict[str, tuple[str, ...]]:
    """A name to its nicknames; a nickname that is nobody's name to the names it stands for."""
    found = {of: tuple(names) for kind, of, _, names in _lines() if kind == "nickname"}
    names_of: dict[str, list[str]] = {}
    for name, nicknames in found.items():
        for short in nicknames:
            if short not in found:
                names_of.setdefault(short, []).append(name)
    return found | {short: tuple(names) for short, names in names_of.items()}


def nickname(draw: Draw, first: str, made_share: float, own: tuple[str, ...] = ()) -> str:
    """Another name that `first` goes by, in lower case; `first` itself if there is none.

    One of `own`, if there are any, which are those of a culture. Else from the table, or, in `made_share` of
    cases, clipped or lengthened by ear: a test that only knew the table's pairs would flatter every matcher
    that knows the same table.
    """
    if own:
        return draw.pick(own)
    plain = folded(first)
    options = _nicknames().get(plain, ())
    if not options:
        return first
    return made(draw, plain) if draw.chance(made_share) else draw.pick(options)


def made(draw: Draw, first: str) -> str:
    """A clipped or lengthened form that stands in no table, such as `tho`, `thommy` or `robbo`."""
    if len(first) < 4:
        return first + draw.pick(("y", "ie"))
    stem = first[: 3 + draw.below(2)]
    while len(stem) > 2 and stem[-1] in "aeiouy":
        stem = stem[:-1]
    return stem + draw.pick(("", "", "y", "ie", stem[-1] + "y", "o", "i"))
