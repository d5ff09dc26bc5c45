"""What a list may be chosen from: combinations of one name part, one date part and one identifier.

Rules of this file:
- a candidate is named as in a scheme, its codes joined by `+`, and made of the project's own codes;
- names alone are no candidate: whoever knows a name would have half of an opening for one element a variant,
  and namesakes would open one another;
- a part of a date or of the last four alone is none either: there are too few of them.

What a candidate does on people (it must meet its own record often enough, and not everybody else's) is asked
later, in `sources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GIVEN: Final = ("F1", "F3", "F", "Fc", "Fp", "Fo", "Fz")
SURNAME: Final = ("L1", "L3", "L4", "Ls", "Lk", "Lz", "L", "Lp", "Lo")
BOTH: Final = ("SW", "SWp", "SW1", "SW3")
# A given name's code before a surname's: those that together say less than the whole name.
CROSSED: Final = (
    "F1+L1", "F1+L4", "F1+Ls", "F1+Lk", "F1+Lz", "F1+Lp", "F3+L1", "F3+L4", "F3+Lk", "F3+Ls", "F+L1", "Fc+L1",
    "Fp+L1", "Fp+Ls", "Fz+L1",
)  # fmt: skip
DATES: Final = ("D", "Dc", "Yo", "YM", "YD", "MD", "Y")
DIGITS: Final = ("S", "So")
# A certificate identifies by itself; it is free for reserves, no candidate of the search.
CERTIFICATE: Final = "P"

DATE_CODES: Final = frozenset(DATES)
DIGIT_CODES: Final = frozenset({*DIGITS, CERTIFICATE})


def codes_of(label: str) -> tuple[str, ...]:
    """The codes of a label, in its order."""
    return tuple(label.split("+"))


def of_names_alone(label: str) -> bool:
    """Whether nothing but names stands in it."""
    return not DATE_CODES.union(DIGIT_CODES).intersection(codes_of(label))


def needs_digits(label: str) -> bool:
    """Whether it does not exist for a person without the last four and without a certificate."""
    return not DIGIT_CODES.isdisjoint(codes_of(label))


def candidates() -> tuple[str, ...]:
    """All of them, in a fixed order; 540 or so are left when those that no data set can bear are gone."""
    names = (*GIVEN, *SURNAME, *BOTH, *CROSSED)
    told = (*DATES, *DIGITS, *(f"{date}+{digits}" for date in DATES for digits in DIGITS))
    found = [f"{name}+{rest}" for name in names for rest in told]
    found += [rest for rest in told if rest in ("D", "Dc", "Yo") or "+" in rest]
    return tuple(found)


def parse(text: str) -> dict[str, int]:
    """Weights by label, from `LABEL:WEIGHT LABEL:WEIGHT …`. Raises ValueError for anything else."""
    found: dict[str, int] = {}
    for word in text.split():
        label, _, weight = word.partition(":")
        if not label or label in found or not weight.isdigit() or int(weight) < 1:
            raise ValueError(f"{word}: a label that stands there once, a colon, a weight from 1.")
        found[label] = int(weight)
    return found


def written(weights: Mapping[str, int]) -> str:
    """What `parse` reads: the heaviest first, then by name."""
    ordered = sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))
    return " ".join(f"{label}:{weight}" for label, weight in ordered)
