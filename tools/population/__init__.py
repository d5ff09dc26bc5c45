"""Seeded generator of labelled synthetic matching populations; data/README.md says what they imitate.

`generate(seed, records, queries, mix, origins, members)` makes one, `python -m tools.population` writes one.
Nobody in it exists. Modules, lowest first: draw, slips, names, cultures, people, origins, variants, mixes,
errors, files, compare, development.
"""

from __future__ import annotations

from tools.population.development import load
from tools.population.errors import COLUMNS, Row
from tools.population.files import Labelled, Population, generate, held, read, write
from tools.population.mixes import MIXES, Mix, Rates, from_json
from tools.population.origins import LABELS, ORIGINS

__all__ = [
    "COLUMNS",
    "LABELS",
    "MIXES",
    "ORIGINS",
    "Labelled",
    "Mix",
    "Population",
    "Rates",
    "Row",
    "from_json",
    "generate",
    "held",
    "load",
    "read",
    "write",
]
