"""Other match-key schemes, as further releases would bring them: for tests of two versions side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from candor_proto.ids import KeyClass
from candor_proto.scheme import CURRENT, SCHEMES, Scheme

_WEIGHTS = {"F1+Lz+MD": 0, "L3+S": 2, "SWp+YM": 1}


def _scheme(version: int) -> Scheme:
    """The list of today in another order, so with other reserves, one label that has no entry; other weights
    and the codes in another order."""
    return Scheme.of(
        version,
        [
            (label.name, label.key_class, _WEIGHTS.get(label.name, label.weight))
            for label in reversed(CURRENT.match_labels)
        ],
        [label.name for label in reversed(CURRENT.code_labels)],
        threshold=4,
    )


_WITHOUT_SURNAMES = [
    "S",
    "So",
    "D",
    "Dc",
    "F",
    "F1",
    "F3",
    "Fo",
    "Fc",
    "Fp",
    "YM",
    "YD",
    "MD",
    "Yo",
    "P",
    "M",
]
# A list that asks about a person of many surnames in one lookup, where today's needs three.
SHORT = Scheme.of(
    78,
    [
        (name, KeyClass.WEAK if place < 4 else KeyClass.MATCH, 1)
        for place, name in enumerate(_WITHOUT_SURNAMES)
    ],
    [label.name for label in CURRENT.code_labels],
    threshold=3,
)
# Known inside `both_known`; nobody knows the other but who publishes under it.
NEXT = _scheme(77)
UNKNOWN_VERSION = 99
UNKNOWN = _scheme(UNKNOWN_VERSION)


@contextmanager
def both_known() -> Iterator[None]:
    """This build knows NEXT besides the current scheme."""
    with patch.dict(SCHEMES, {NEXT.version: NEXT}):
        yield
