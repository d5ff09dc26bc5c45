"""A second match-key scheme, as the next release would bring it: for tests of two versions side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from candor_proto.scheme import CURRENT, SCHEMES, Scheme

# The list of today in another order, one label of small domain more, weights and field codes likewise.
_WEIGHTS = {"L1+Dc": 2, "D+S": 2, "F3+S": 0}
NEXT = Scheme.of(
    77,
    [
        (label.name, label.key_class, _WEIGHTS.get(label.name, label.weight))
        for label in reversed(CURRENT.match_labels)
    ],
    [label.name for label in reversed(CURRENT.code_labels)],
    threshold=4,
)
UNKNOWN_VERSION = 99


@contextmanager
def both_known() -> Iterator[None]:
    """This build knows NEXT besides the current scheme."""
    with patch.dict(SCHEMES, {NEXT.version: NEXT}):
        yield
