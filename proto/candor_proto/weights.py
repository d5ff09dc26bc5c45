"""Placeholder until tools.training writes it."""

from collections.abc import Mapping

VERSION = 2
REFERENCE_POPULATION = 20_000
SCREENING: Mapping[str, int] = {"prior": 0}
DETAILED: Mapping[str, int] = {"prior": 0}
