"""Naming: how the people of a population are called, and the origin label that evaluation reads.

`census` is the naming of the development sets: letters a to z, one word a name. `diverse` has the groups of
the 2010 Census in about the shares of the United States, and `balanced` the same groups in equal parts, so
that each has pairs enough for a confidence band.

- white, black, hispanic, asian, native: surnames that these groups bear in the main by the 2010 table, with
  marks, particles and spaces put back by curated lists, and beside them surnames of the curated lists;
- middle-eastern, slavic: curated lists alone, since the census counts both as white;
- given names: the 1990 lists, and curated ones in the shares below.

Surnames that no group bears in the main (Johnson, Williams, Lee) occur with `census` only, as `mixed`. A
label follows the *name*, which may say nothing of the person. Shares within a group are rough and for
evaluation only. Nobody's origin is ever a feature of matching.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.population.cultures import Culture, cultures
from tools.population.draw import Draw, Table
from tools.population.names import given_names, group_of, surnames
from tools.population.people import Names, Naming


@dataclass(frozen=True)
class Style:
    """How names of a culture are made within a group.

    `listed` is the share of surnames from the census table of the group, the rest is curated; `english` the
    share of people with an English given name (the other one then stands in the middle); `middle` the share
    with a middle name of the culture's own; `two` the share with two surnames.
    """

    culture: str
    weight: int
    listed: float = 0.0
    english: float = 0.0
    middle: float = 0.5
    two: float = 0.0


GROUPS: dict[str, tuple[Style, ...]] = {
    "white": (
        Style("", 80, listed=1.0, english=1.0),
        Style("celtic", 7, english=0.75),
        Style("germanic", 6, english=0.8),
        Style("french", 4, english=0.7),
        Style("portuguese", 3, english=0.4),
    ),
    "hispanic": (Style("spanish", 100, listed=0.95, english=0.2, two=0.45),),
    "black": (
        Style("african-american", 92, listed=1.0, english=0.65),
        Style("west-african", 8, english=0.3),
    ),
    "asian": (
        Style("chinese", 24, english=0.45, middle=0.1),
        Style("vietnamese", 18, english=0.35, middle=0.85),
        Style("korean", 13, english=0.45, middle=0.05),
        Style("south-asian", 20, english=0.08, middle=0.6),
        Style("filipino", 12, english=0.45),
        Style("japanese", 5, english=0.6, middle=0.1),
        Style("hmong", 3, english=0.4, middle=0.1),
        Style("", 5, listed=1.0, english=1.0),
    ),
    "native": (Style("native", 100, listed=0.6, english=0.7),),
    "middle-eastern": (
        Style("arabic", 60, english=0.1, middle=0.7),
        Style("persian", 15, english=0.15, middle=0.2),
        Style("turkish", 12, english=0.1, middle=0.3),
        Style("armenian", 13, english=0.35),
    ),
    "slavic": (
        Style("russian", 35, english=0.2, middle=0.8),
        Style("ukrainian", 15, english=0.2, middle=0.3),
        Style("polish", 25, english=0.35),
        Style("south-slavic", 15, english=0.3),
        Style("czech", 10, english=0.5),
    ),
}
_STYLES = {group: Table((style, style.weight) for style in styles) for group, styles in GROUPS.items()}
DIVERSE = Table(
    (
        ("white", 55), ("hispanic", 18), ("black", 14), ("asian", 8), ("native", 1), ("middle-eastern", 2),
        ("slavic", 2),
    )
)  # fmt: skip
BALANCED = Table((group, 1) for group in GROUPS)
# `mixed` and `unlisted` occur with the naming of the census and in the development sets.
LABELS = (*GROUPS, "mixed", "unlisted")


def census(draw: Draw, sex: str, like: Names | None) -> Names:
    """Names by the frequencies of the 1990 Census, letters a to z only, as in the development sets."""
    given = given_names(sex)
    last = surnames().pick(draw)
    return Names(given.pick(draw), given.pick(draw), last, group_of()[last])


def _of(groups: Table[str]) -> Naming:
    def naming(draw: Draw, sex: str, like: Names | None) -> Names:
        group = like.origin if like else groups.pick(draw)
        style = _STYLES[group].pick(draw)
        if like:
            style = next(style for style in GROUPS[group] if style.culture == like.culture)
        return _named(draw, sex, group, style)

    return naming


def _named(draw: Draw, sex: str, group: str, style: Style) -> Names:
    english = given_names(sex)
    if not style.culture:
        last = surnames(group).pick(draw)
        return Names(english.pick(draw), english.pick(draw), last, group)
    culture = cultures()[style.culture]
    own = culture.given[sex]
    last = _surname(draw, group, style, culture)
    second = _surname(draw, group, style, culture) if draw.chance(style.two) else ""
    if style.culture in ("russian", "ukrainian", "czech") and sex == "F" and draw.chance(0.7):
        last = feminine(last)
    first = draw.pick(own)
    if draw.chance(style.english):
        # The given name of the culture, if there is one, stands in the middle.
        middle = first if draw.chance(0.6) else english.pick(draw)
        return Names(english.pick(draw), middle, _both(last, second), group, culture.name, second)
    middle = ""
    if draw.chance(style.middle):
        middle = draw.pick(culture.middles or own)
        if culture.name == "russian" and sex == "F":
            middle = middle.removesuffix("ich") + "na"
    return Names(first, middle, _both(last, second), group, culture.name, second)


def _surname(draw: Draw, group: str, style: Style, culture: Culture) -> str:
    if culture.surnames and not draw.chance(style.listed):
        return draw.pick(culture.surnames)
    last = surnames(group).pick(draw)
    return culture.restored.get(last, last)


def _both(last: str, second: str) -> str:
    return f"{last} {second}" if second else last


_FEMININE = (("sky", "skaya"), ("ov", "ova"), ("ev", "eva"), ("in", "ina"), ("ský", "ská"), ("ák", "áková"))


def feminine(last: str) -> str:
    """A Slavic surname as a woman bears it, where the ending tells."""
    for ending, other in _FEMININE:
        if last.endswith(ending):
            return last.removesuffix(ending) + other
    return last


def masculine(last: str) -> str:
    """The surname of which `last` is the feminine form, or `last`."""
    for ending, other in _FEMININE:
        if last.endswith(other):
            return last.removesuffix(other) + ending
    return last


ORIGINS: dict[str, Naming] = {"census": census, "diverse": _of(DIVERSE), "balanced": _of(BALANCED)}
