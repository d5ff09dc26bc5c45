"""Naming: how people of a population are called, and the origin label that evaluation reads."""

from __future__ import annotations

from tools.population.draw import Draw
from tools.population.names import given_names, group_of, surnames
from tools.population.people import Names, Naming


def census(draw: Draw, sex: str) -> Names:
    """Names by the frequencies of the 1990 Census, letters a to z only, as in the development sets."""
    given = given_names(sex)
    last = surnames().pick(draw)
    return Names(given.pick(draw), given.pick(draw), last, group_of()[last])


ORIGINS: dict[str, Naming] = {"census": census}
