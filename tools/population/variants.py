"""Variants of writing that a name has by its origin: no slips, but forms that each are right somewhere.

- spellings of one name in Latin letters: Mohammed and Muhammad, Sergei and Sergey, Zhang and Chang;
- two surnames: García Márquez as García, García-Márquez, Márquez, or with García taken for a middle name;
- particles and articles: de la Cruz, Delacruz, Cruz; van den Berg; al-Hassan, El Hassan, Hassan; McDonald;
- the family name first; given names of two words: Mei Ling, Mei-Ling, Meiling, Mei;
- a patronymic left out, a woman's surname with the man's ending, a name between taken for the given name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tools.population.cultures import cultures
from tools.population.draw import Draw, Table
from tools.population.origins import feminine, masculine
from tools.population.people import Names
from tools.population.slips import folded

PARTICLES = frozenset(
    (
        "de", "del", "dela", "la", "las", "los", "da", "das", "do", "dos", "di", "du", "le", "van", "von",
        "der", "den", "ten", "vander", "zum", "vom", "st.", "saint", "al", "el", "abu", "abdel", "mc",
        "mac", "fitz", "o", "d", "n",
    )
)  # fmt: skip
_TRIES = 6

_Change = Callable[[Draw, Names], Names | None]


def _respelt(draw: Draw, names: Names) -> Names | None:
    """The given name, the surname or one word of either in another spelling of the same name."""
    forms = cultures()[names.culture].forms
    options = []
    for part in ("first", "last", "middle"):
        whole = getattr(names, part)
        for word in {whole: None, **dict.fromkeys(whole.split())}:
            options += [(part, whole.replace(word, form)) for form in forms.get(folded(word), ())]
    if not options:
        return None
    part, form = draw.pick(options)
    return replace(names, **{part: form})


def _family_first(draw: Draw, names: Names) -> Names | None:
    """The family name in the place of the given name; of two given words the last may stand as surname."""
    given = names.first.split()
    if len(given) == 2 and draw.chance(0.3):
        return replace(names, first=names.last, middle=given[0], last=given[1])
    return replace(names, first=names.last, last=names.first)


def _given_joined(draw: Draw, names: Names) -> Names | None:
    """A given name of two words hyphened, joined, cut to the first, or its second taken for a middle name."""
    words = names.first.replace("-", " ").split()
    if len(words) < 2:
        return None
    one, two = words[0], " ".join(words[1:])
    kind = draw.below(5)
    if kind == 0:
        return replace(names, first=f"{one}-{two}")
    if kind == 1:
        return replace(names, first=one + two)
    if kind == 2:
        return replace(names, first=one, middle=two)
    return replace(names, first=one if kind == 3 else two)


def _words(last: str) -> list[str]:
    """The surname divided at spaces, hyphens, apostrophes and behind Mc and Mac."""
    words = last.replace("-", " ").replace("'", " ").split()
    for prefix in ("mac", "mc"):
        if words[0].startswith(prefix) and len(words[0]) > len(prefix) + 2:
            return [prefix, words[0].removeprefix(prefix), *words[1:]]
    return words


def _particle(draw: Draw, names: Names) -> Names | None:
    """Particles joined to the surname, divided from it, left out, or only the last of them kept."""
    last = names.last.removesuffix(names.second).strip()
    words = _words(last) if last else []
    count = next((at for at, word in enumerate(words) if word not in PARTICLES), len(words))
    if not 0 < count < len(words):
        return None
    particles, core = words[:count], " ".join(words[count:])
    kind = draw.below(5)
    if kind == 0:
        form = core
    elif kind == 1:
        form = " ".join((*particles, core))
    elif kind == 2:
        form = f"{particles[-1]} {core}"
    else:
        form = "".join(particles) + ("-" if kind == 3 and particles[0] in ("al", "el", "o") else "") + core
    if particles == ["al"] and draw.chance(0.5):
        form = "el" + form.removeprefix("al")
    return replace(names, last=f"{form} {names.second}".strip())


def _two_surnames(draw: Draw, names: Names) -> Names | None:
    """One of two surnames left out, both hyphened or joined, or the first taken for a middle name."""
    if not names.second:
        return None
    one, two = names.last.removesuffix(names.second).strip(), names.second
    kind = draw.below(20)
    if kind < 8:
        return replace(names, last=one)
    if kind < 12:
        return replace(names, last=f"{one}-{two}")
    if kind < 14:
        return replace(names, last=two)
    if kind < 16:
        return replace(names, last=one + two)
    if kind < 19:
        return replace(names, middle=one, last=two)
    return replace(names, last=f"{two} {one}")


def _middle_dropped(draw: Draw, names: Names) -> Names | None:
    """No patronymic, or no name between."""
    return replace(names, middle="") if names.middle else None


def _middle_first(draw: Draw, names: Names) -> Names | None:
    """The other given name in front: alone, together with the given name, or with it behind."""
    if not names.middle:
        return None
    kind = draw.below(3)
    if kind == 0:
        return replace(names, first=names.middle, middle="")
    if kind == 1:
        return replace(names, first=f"{names.middle} {names.first}", middle="")
    return replace(names, first=names.middle, middle=names.first)


def _ending(draw: Draw, names: Names) -> Names | None:
    """The surname with the ending of the other sex, or -off for -ov."""
    if names.last.endswith("ov") and draw.chance(0.3):
        return replace(names, last=names.last[:-2] + "off")
    other = masculine(names.last)
    other = feminine(names.last) if other == names.last else other
    return replace(names, last=other)


_EAST_ASIAN: tuple[tuple[_Change, int], ...] = (
    (_respelt, 25), (_given_joined, 35), (_family_first, 20), (_middle_first, 15), (_middle_dropped, 5),
)  # fmt: skip
_IBERIAN: tuple[tuple[_Change, int], ...] = (
    (_two_surnames, 45), (_given_joined, 20), (_particle, 20), (_respelt, 12), (_middle_first, 3),
)  # fmt: skip
_SLAVIC: tuple[tuple[_Change, int], ...] = ((_respelt, 60), (_ending, 25), (_middle_dropped, 15))
_PARTICLED: tuple[tuple[_Change, int], ...] = ((_particle, 50), (_respelt, 40), (_given_joined, 10))
CHANGES: dict[str, Table[_Change]] = {
    "spanish": Table(_IBERIAN),
    "portuguese": Table(_IBERIAN),
    "filipino": Table(_IBERIAN),
    "chinese": Table(_EAST_ASIAN),
    "vietnamese": Table(_EAST_ASIAN),
    "korean": Table(_EAST_ASIAN),
    "japanese": Table(_EAST_ASIAN),
    "hmong": Table(_EAST_ASIAN),
    "russian": Table(_SLAVIC),
    "ukrainian": Table(_SLAVIC),
    "czech": Table(_SLAVIC),
    "polish": Table(_SLAVIC),
    "south-slavic": Table(_SLAVIC),
    "arabic": Table(((_respelt, 50), (_particle, 30), (_given_joined, 10), (_middle_first, 10))),
    "south-asian": Table(((_respelt, 60), (_middle_first, 15), (_middle_dropped, 15), (_family_first, 10))),
}
_OTHERS: Table[_Change] = Table(_PARTICLED)


def varied(draw: Draw, names: Names) -> tuple[str, str, str]:
    """Given name, middle name and surname in another of their forms; unchanged if they have one form only."""
    changes = CHANGES.get(names.culture, _OTHERS)
    for _ in range(_TRIES):
        changed = changes.pick(draw)(draw, names)
        if changed is not None and changed != names:
            return changed.first, changed.middle, changed.last
    return names.first, names.middle, names.last
