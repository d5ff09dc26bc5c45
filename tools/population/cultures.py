"""Curated common names by culture, and the spellings that one name has (`data/cultures.txt`).

The census tables say which surnames a group bears, but not how they are written: they know no mark, no space
and no other script. These lists supply that.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from tools.population.names import DATA
from tools.population.slips import bare, folded


@dataclass(frozen=True)
class Culture:
    """Names in lower case; `restored` is what a surname of the census table is in full letters and words,
    `forms` the other spellings of a folded name, `shorts` what its bearers are called."""

    name: str
    given: Mapping[str, tuple[str, ...]]
    surnames: tuple[str, ...]
    middles: tuple[str, ...]
    restored: Mapping[str, str]
    forms: Mapping[str, tuple[str, ...]]
    shorts: Mapping[str, tuple[str, ...]]


def _culture(name: str, lines: list[list[str]]) -> Culture:
    words: dict[str, list[str]] = {}
    for kind, *rest in lines:
        words.setdefault(kind, []).extend(word.replace("_", " ") for word in rest)
    forms: dict[str, dict[str, None]] = {}
    for line in words.get("forms", ()):
        spellings = line.split("/")
        for spelling in spellings:
            plain = folded(spelling)
            # Whether marks are written is another matter (Rates.marks_dropped).
            others = (other for other in spellings if folded(other) != plain)
            forms.setdefault(plain, {}).update(dict.fromkeys(others))
    whole = (*words.get("marked", ()), *words.get("particle", ()), *words.get("surname", ()))
    return Culture(
        name,
        {"M": tuple(words["male"]), "F": tuple(words["female"])},
        tuple(words.get("surname", ())),
        tuple(words.get("middle", ())),
        {bare(surname): surname for surname in whole if surname != bare(surname)},
        {spelling: tuple(others) for spelling, others in forms.items()},
        {line.split("/")[0]: tuple(line.split("/")[1:]) for line in words.get("short", ())},
    )


@cache
def cultures() -> Mapping[str, Culture]:
    """Every culture of the file by its name."""
    found: dict[str, list[list[str]]] = {}
    name = ""
    for line in (DATA / "cultures.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            found[name] = []
        elif line and not line.startswith("#"):
            found[name].append(unicodedata.normalize("NFC", line).split())
    return {name: _culture(name, lines) for name, lines in found.items()}


def shorts(culture: str) -> Mapping[str, tuple[str, ...]]:
    """Given names of a culture to what their bearers are called; empty for names of the census."""
    return cultures()[culture].shorts if culture else {}
