"""Schemes: which labels there are, of which class and weight, by version (docs/matching.md §3, §4, §7).

Rules of this file:
- a scheme is fixed within its version, for everybody: another list, weight or code is another version;
- inputs begin with the version: what one version makes meets nothing of another (docs/protocol.md §5.4);
- every scheme has the same slots, 4 + 12 + 24: a lookup looks the same whatever its version (§5.3);
- a code keeps its meaning for ever: schemes share `field_codes`, so a changed rule is a code of a new name;
- a scheme leaves SCHEMES only when no opening that was made under it is kept any more (two years, §7.10).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from candor_proto.errors import CommitmentMismatch, LimitExceeded, MalformedMessage, UnsupportedVersion
from candor_proto.field_codes import GIVEN_NAMES
from candor_proto.ids import KeyClass
from candor_proto.normalise import SCHEME_VERSION as SCHEME_VERSION

# Slots of a class, in every scheme.
CLASS_SLOTS: Mapping[KeyClass, int] = {KeyClass.WEAK: 4, KeyClass.MATCH: 12, KeyClass.CODE: 24}
# A version is one octet of every input; a presence bitmap has 32 bits.
MAX_VERSION = 255
MAX_TAG_LABELS = 32
# Match keys of a scheme, reserves included: their shares have abscissae up to 3 * 32 (§6.2).
MAX_LABELS = 32


@dataclass(frozen=True)
class Label:
    """A kind of key: its codes, its class, its place in its list, and its gate weight.

    `position` counts from 0 in the list of match keys (or in the list of field codes) and fixes the shares a
    match key carries (docs/protocol.md §6.2); `slot` counts from 0 within the class (§5.5). A label whose
    slot lies beyond those of its class is a *reserve*: published like the others, asked only in a slot that
    a person's missing field leaves free. Weight 0 means: no shares and no entry; the label is a field tag
    inside the blob. Labels of two versions are never equal.
    """

    name: str
    key_class: KeyClass
    codes: tuple[str, ...]
    position: int
    slot: int
    weight: int
    version: int = SCHEME_VERSION

    @cached_property
    def given_code(self) -> bool:
        """Whether it is a single code of the given name."""
        return self.key_class is KeyClass.CODE and self.name in GIVEN_NAMES

    @cached_property
    def opening(self) -> bytes:
        """What every input of this label begins with, up to the values of its codes."""
        name = f"{'C' if self.key_class is KeyClass.CODE else 'K'}:{self.name}"
        return opening(self.version, name, len(self.codes))


def opening(version: int, label_name: str, count: int) -> bytes:
    """What an input begins with, up to its values: u8 version ‖ u8 length ‖ label ‖ u8 count."""
    label = label_name.encode("utf-8")
    if len(label) > 0xFF or count > 0xFF:
        raise LimitExceeded("A label or a count is too long for a match key.")
    return bytes([version, len(label)]) + label + bytes([count])


@dataclass(frozen=True)
class Scheme:
    """One version: its labels in list order, and the gate threshold that owners use unless told otherwise.

    Raises MalformedMessage for a list that does not fit the wire.
    """

    version: int
    match_labels: tuple[Label, ...]
    code_labels: tuple[Label, ...]
    threshold: int

    @classmethod
    def of(
        cls, version: int, match: Iterable[tuple[str, KeyClass, int]], codes: Sequence[str], threshold: int
    ) -> Scheme:
        """From a table: (name, class, gate weight) of each match key, and the names of the field codes."""
        slots = {key_class: itertools.count() for key_class in KeyClass}
        return cls(
            version,
            tuple(
                Label(
                    name, key_class, tuple(name.split("+")), position, next(slots[key_class]), weight, version
                )
                for position, (name, key_class, weight) in enumerate(match)
            ),
            tuple(
                Label(name, KeyClass.CODE, (name,), position, position, 0, version)
                for position, name in enumerate(codes)
            ),
            threshold,
        )

    def __post_init__(self) -> None:
        names = [label.name for label in self.match_labels], [label.name for label in self.code_labels]
        slots = {key_class: len(labels) for key_class, labels in self.class_labels.items()}
        if (
            not 0 < self.version <= MAX_VERSION
            or slots != CLASS_SLOTS
            or len(self.match_labels) > MAX_LABELS
            or any(label.key_class is not KeyClass.MATCH or not label.weight for label in self.reserve_labels)
            or any(len(set(own)) < len(own) for own in names)
            or any(label.version != self.version for label in (*self.match_labels, *self.code_labels))
            or len(self.tag_labels) > MAX_TAG_LABELS
        ):
            raise MalformedMessage(f"Match-key scheme version {self.version} does not fit the wire.")

    @cached_property
    def entry_labels(self) -> tuple[Label, ...]:
        """What an index publishes."""
        return tuple(label for label in self.match_labels if label.weight > 0)

    @cached_property
    def blob_labels(self) -> tuple[Label, ...]:
        """Match keys of small domain, which only a blob holds."""
        return tuple(label for label in self.match_labels if label.weight == 0)

    @cached_property
    def tag_labels(self) -> tuple[Label, ...]:
        """What a blob holds; bit i of a presence bitmap (value 1 << i) is label i of this list."""
        return self.code_labels + self.blob_labels

    @cached_property
    def class_labels(self) -> Mapping[KeyClass, tuple[Label, ...]]:
        """The labels of a class that have slots of their own, by slot."""
        labels = self.match_labels + self.code_labels
        return {
            key_class: tuple(
                label
                for label in labels
                if label.key_class is key_class and label.slot < CLASS_SLOTS[key_class]
            )
            for key_class in KeyClass
        }

    @cached_property
    def reserve_labels(self) -> tuple[Label, ...]:
        """The labels without a slot of their own, in list order; all of class M."""
        own = {label for labels in self.class_labels.values() for label in labels}
        return tuple(label for label in self.match_labels + self.code_labels if label not in own)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """By name of a match key: the position that its shares are computed for (§6.2)."""
        return {label.name: label.position for label in self.match_labels}


# --- the versions ------------------------------------------------------------------------------------

# Sixteen labels with a slot, in slot order, and the reserves; each with class and gate weight. Chosen on the
# development sets among 540 combinations for recall behind the gate, under the floors of opening costs
# (ADR 0022): two labels of weight 2, or one and any other, or three of weight 1 open; none opens alone, and
# none is of names alone. W holds the four of the smallest domain.
_MATCH = (
    ("SW1+So", KeyClass.WEAK, 2), ("F1+Lz+MD", KeyClass.WEAK, 1), ("F+Dc", KeyClass.WEAK, 2),
    ("F+S", KeyClass.WEAK, 2), ("L3+Dc", KeyClass.MATCH, 2), ("Fc+D", KeyClass.MATCH, 2),
    ("Ls+Dc", KeyClass.MATCH, 2), ("SW3+MD", KeyClass.MATCH, 2), ("SW3+YM", KeyClass.MATCH, 1),
    ("SWp+YM", KeyClass.MATCH, 2), ("F1+L4+YM", KeyClass.MATCH, 2), ("L3+S", KeyClass.MATCH, 1),
    ("Lk+S", KeyClass.MATCH, 2), ("SW3+So", KeyClass.MATCH, 1), ("YD+S", KeyClass.MATCH, 1),
    ("YM+S", KeyClass.MATCH, 2),
    ("P", KeyClass.MATCH, 2), ("L3+Yo", KeyClass.MATCH, 2), ("SWp+MD", KeyClass.MATCH, 1),
    ("Yo+So", KeyClass.MATCH, 2), ("Dc+So", KeyClass.MATCH, 1),
)  # fmt: skip

# The 24 single field codes of a detailed lookup (PROTOCOL.md §3), chosen by what leaving each out costs (ADR
# 0023): given name, surname, both in any order, birth date, last four, certificate and its state, middle name
# and initial, generation suffix, sex. No per-digit tests: they would turn 10^4 guesses of the last four into
# 40 (MATCHING.md §5 "Second, confirming round").
_CODES = "F Fc Fp Fo Fz L Ls Lz SW SW1 SW3 D Yo YM YD MD Y S P PS M M1 X G"

CURRENT = Scheme.of(SCHEME_VERSION, _MATCH, _CODES.split(), threshold=3)
# Every version that this build can ask and publish under.
SCHEMES: Mapping[int, Scheme] = {CURRENT.version: CURRENT}

# The current scheme, by its parts.
MATCH_LABELS = CURRENT.match_labels
CODE_LABELS = CURRENT.code_labels
ENTRY_LABELS = CURRENT.entry_labels
BLOB_LABELS = CURRENT.blob_labels
TAG_LABELS = CURRENT.tag_labels
CLASS_LABELS = CURRENT.class_labels
GATE_THRESHOLD = CURRENT.threshold


def find_scheme(version: int) -> Scheme:
    """The scheme of this version; raises UnsupportedVersion for one that this build does not know."""
    try:
        return SCHEMES[version]
    except KeyError:
        raise UnsupportedVersion(
            f"Match-key scheme version {version} is not known to this version of Candor.",
            remedy="Update Candor.",
        ) from None


def scheme_of_inputs(inputs: Sequence[bytes]) -> Scheme:
    """The scheme that most inputs of a lookup name; whoever recomputes them all finds those that do not.

    Raises CommitmentMismatch when they name none, and UnsupportedVersion.
    """
    versions = Counter(value[0] for value in inputs if value)
    if not versions:
        raise CommitmentMismatch("A lookup without inputs was made under no match-key scheme.")
    return find_scheme(versions.most_common(1)[0][0])


def gate_weight(labels: Iterable[Label]) -> int:
    """Sum of the gate weights of the distinct labels hit: variants of one label count once.

    A label has the weight of its own scheme.
    """
    return sum(label.weight for label in set(labels))
