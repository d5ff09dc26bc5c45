"""Seeded generator of labelled synthetic matching populations; data/README.md says what they imitate.

`generate(seed, records, queries, mix, origins, members)` makes one, `python -m tools.population` writes one.
Nobody in it exists. Modules, lowest first: draw, slips, names, cultures, people, origins, variants, mixes,
errors, files, compare, development.
"""

from __future__ import annotations

from tools.population.files import Population, generate
from tools.population.mixes import MIXES, Mix, Rates

__all__ = ["MIXES", "Mix", "Population", "Rates", "generate"]
