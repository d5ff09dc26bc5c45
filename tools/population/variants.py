"""Variants of writing that a name has by its origin."""

from __future__ import annotations

from tools.population.draw import Draw
from tools.population.people import Names


def varied(draw: Draw, names: Names) -> tuple[str, str, str]:
    return names.first, names.middle, names.last
