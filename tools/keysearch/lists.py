"""Lists of match keys by name: the shipped one, and those that were tried and set aside (docs/gate.md).

Rules of this file:
- the shipped list is read from the scheme, never written down again;
- a list that was set aside stays here as it was found, so that its figures can be made again under the
  present normal forms and codes: they move a little when those do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from candor_proto.ids import KeyClass
from candor_proto.scheme import CURRENT, Label, Scheme
from tools.keysearch.candidates import codes_of, parse


@dataclass(frozen=True)
class Named:
    """A list with its threshold, and what it shows."""

    name: str
    weights: Mapping[str, int]
    threshold: int = 3


def asked_weights(scheme: Scheme = CURRENT) -> dict[str, int]:
    """The sixteen labels that every lookup asks, with their weights; those of weight 0 open nothing."""
    return {
        label.name: label.weight
        for label in scheme.match_labels
        if label not in scheme.reserve_labels and label.weight
    }


def reserve_weights(scheme: Scheme = CURRENT) -> dict[str, int]:
    """The labels that only free slots ask."""
    return {label.name: label.weight for label in scheme.reserve_labels}


def priced_labels(weights: Mapping[str, int]) -> tuple[Label, ...]:
    """A list as `candor_proto.opening_cost.measure` takes it."""
    return tuple(
        Label(name, KeyClass.MATCH, codes_of(name), place, place, weight)
        for place, (name, weight) in enumerate(weights.items())
    )


_SCHEME_2 = parse(
    "SWp+MD:2 Ls+S:2 Yo+So:2 SWp+So:2 SW+YM:2 F+Dc:2 SWp+YD:2 L4+S:2 F3+Lk+MD:2 P:2 L1+Dc:1 D+S:1 F3+S:1"
    " F1+L4+YM:1 Ls+Dc:1"
)
_CERTIFICATE_IN_A_SLOT = parse(
    "Dc+So:2 F1+Ls+Dc:2 F1+Lz+MD:2 Fc+L1+YM:2 L3+Dc:2 L4+So:2 Lk+YD:2 P:2 SW1+S:2 SW3+YD:2 F3+Dc:1 L4+YM:1"
    " Lk+S:1 SW3+MD:1 SW3+So:1 YM+S:1"
)
_CERTIFICATE_FEWER_OPENINGS = parse(
    "F1+L4+YM:2 F1+Lz+MD:2 F3+L4+YD:2 L4+So:2 L4+YD:2 P:2 SW1+Dc:2 SW1+S:2 SW3+MD:2 SWp+YM:2 YM+So:2 Yo+S:2"
    " F+Yo:1 Lk+S:1 Ls+Dc:1 SW3+So:1"
)
_NAMES_ALONE = parse(
    "Dc+So:2 F1+Lk+MD:2 Fc+Yo:2 L4+So:2 L4+YD:2 Lk+S:2 Ls+Dc:2 SW1+S:2 SW3:2 SWp+YM:2 YM+S:2 F+S:1"
    " F1+Lz+YM:1 L3+Yo:1 SW+YD:1 SW1+Dc:1"
)
_NO_GIVEN_NAME_AND_DATE = parse(
    "F+S:2 F1+L4+YM:2 F1+Lz+MD:2 F3+L1+YD:2 Fc+Dc:2 L+So:2 Ls+Dc:2 SW1+S:2 SW3+MD:2 YM+So:2 L3+Dc:1 L3+S:1"
    " SW3+So:1 SW3+YD:1 SWp+YM:1 YD+S:1"
)
_RELATIVES_DEARER = parse(
    "F+Yo:2 F1+Lk+MD:2 L4+So:2 L4+YM:2 Lk+YD:2 P:2 SW1+Dc:2 SW1+S:2 SW3+MD:2 SW3+So:2 SWp+YM:2 YM+S:2"
    " F3+L4+YD:1 Lk+S:1 Lz+Dc:1 Yo+So:1"
)
_WITHOUT_FLOORS = parse(
    "F+Dc:2 F3+Lk+MD:2 Fp+Yo:2 L4+S:2 Lk+So:2 Ls+Dc:2 SW3+Dc:2 SW3+So:2 SWp+YM:2 Y+S:2 Yo+So:2 Fp+Ls+Y:1"
    " SW1+S:1 SW1+YD:1 SW3+Y:1"
)
_WEIGHTS_TO_3 = parse(
    "F+Yo:3 L3+Dc:3 L4+So:3 Ls+D:3 SW1+S:3 SW3+MD:3 SWp:3 YM+S:3 F3+L1+YD:2 Fc+L1+YM:2 Lk+S:2 Lz+Yo:2 SW+YM:2"
    " SW1+Dc:2 SW3+S:2 Yo+So:2"
)

ALTERNATIVES: tuple[Named, ...] = (
    Named("scheme 2, threshold 2", _SCHEME_2, 2),
    Named("scheme 2, threshold 3 (until now)", _SCHEME_2),
    Named("scheme 2, threshold 4", _SCHEME_2, 4),
    Named("shipped, threshold 2", asked_weights(), 2),
    Named("shipped, threshold 3", asked_weights()),
    Named("shipped and its reserves in every lookup", {**asked_weights(), **reserve_weights()}),
    Named("shipped, threshold 4", asked_weights(), 4),
    Named("shipped, all weights 1, threshold 2", dict.fromkeys(asked_weights(), 1), 2),
    Named("the certificate in a slot", _CERTIFICATE_IN_A_SLOT),
    Named("the same, plain openings twice as dear", _CERTIFICATE_FEWER_OPENINGS),
    Named("relatives' openings ten times as dear", _RELATIVES_DEARER),
    Named("a label of names alone (SW3)", _NAMES_ALONE),
    Named("not on given name and birth date", _NO_GIVEN_NAME_AND_DATE),
    Named("without floors", _WITHOUT_FLOORS),
    Named("weights to 3, threshold 5", _WEIGHTS_TO_3, 5),
)


def labels_of(lists: Iterable[Named]) -> tuple[str, ...]:
    """All labels of some lists, each once, in order."""
    return tuple(dict.fromkeys(label for one in lists for label in one.weights))
