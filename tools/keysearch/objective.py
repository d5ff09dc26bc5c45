"""What a list of labels with weights is worth: true pairs missed, and false openings at their price.

Rules of this file:
- a pair opens when the weights of the distinct labels that hit it reach the threshold;
- every pair has a price fixed beforehand (`Block.price`): a missed true pair, or an opened false one; the
  value of a list is their sum, and less is better;
- pairs are bits of whole numbers, so that a weight is added to all pairs at once: `reached` keeps, for each
  score up to the threshold, the pairs that have at least that much.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from tools.keysearch.sources import Hits, People, crossed, development, febrl3

Weights = Mapping[str, int]


@dataclass(frozen=True)
class Terms:
    """What false openings cost, in missed shares of the true pairs: one a lookup, plain or of relatives.

    A relative's opening is cheap: officers with a twin or a junior at another agency are far rarer in life
    than in these sets, their number does not grow with the federation, and the confirming round sets them
    aside. Plain openings grow with every record: at 500,000 records there are 25 times as many.
    """

    plain: float = 3.0
    relatives: float = 0.1


@dataclass(frozen=True)
class Source:
    """A set under a field set. `share` is what its true pairs count, `counted` what its false openings do:
    the same pairs open again under each field set, and are not to be paid for again."""

    set_name: str
    fields: str
    people: Callable[[str], People]
    share: float
    counted: float = 1.0
    strangers_only: bool = False

    @property
    def name(self) -> str:
        return f"{self.set_name} {self.fields}"

    @property
    def stage(self) -> int:
        """When it is read: what fails early is not asked later."""
        return 2 if self.strangers_only else int(self.set_name != "febrl3")


_DEV, _HARD = "officers-dev", "officers-devhard"
_CARRIED = tuple((name, partial(development, name)) for name in (_DEV, _HARD))
# What the list was chosen on. FEBRL 3 counts much for its size: no name in it was drawn from our tables, and
# errors are of another hand. Without the last four a record opens on name and birth date; what that can bring
# is bounded by the floors, and it must not decide the rest.
SOURCES: tuple[Source, ...] = (
    *(Source(name, "ndsmp", people, 1.0) for name, people in _CARRIED),
    *(Source(name, "nds", people, 1.0, 0.15) for name, people in _CARRIED),
    *(Source(name, "nd", people, 0.12, 0.15) for name, people in _CARRIED),
    Source("febrl3", "nds", febrl3, 6.0),
    Source("febrl3", "nd", febrl3, 0.3, 0.15),
    # Nobody has a record and nobody a relative: more strangers to count.
    Source("dev at devhard", "ndsmp", partial(crossed, _DEV, _HARD), 0.5, strangers_only=True),
    Source("devhard at dev", "ndsmp", partial(crossed, _HARD, _DEV), 0.5, strangers_only=True),
)


@dataclass(frozen=True)
class Block:
    """Pairs of one source and kind that cost the same: by label the pairs hit, how many pairs there are, and
    the price of one that is missed (true pairs) or opened (false ones)."""

    source: str
    set_name: str
    true: bool
    columns: Mapping[str, int]
    size: int
    price: float
    # What turns a count into a share of the true pairs, or into openings a lookup.
    whole: int
    kind: str = "true"

    def reached(self, weights: Weights, threshold: int) -> list[int]:
        """For each score from 0 to the threshold, the pairs that reach it."""
        levels = [(1 << self.size) - 1] + [0] * threshold
        for label, weight in weights.items():
            hit = self.columns[label]
            for score in range(threshold, 0, -1):
                levels[score] |= levels[max(0, score - weight)] & hit
        return levels

    def opened(self, weights: Weights, threshold: int) -> int:
        return self.reached(weights, threshold)[threshold]

    def value(self, opened: int) -> float:
        """What it costs that these pairs are opened."""
        count = opened.bit_count()
        return self.price * (self.size - count if self.true else count)


def blocks(source: Source, hits: Hits, terms: Terms) -> tuple[Block, ...]:
    """The pairs of a source, priced; kinds of which there is none are left out."""
    made = []
    for kind, columns, size, price, whole in (
        ("true", hits.true, hits.sizes[0], 1.0, hits.sizes[0]),
        ("relatives", hits.relatives, hits.sizes[1], terms.relatives * source.counted, hits.queries),
        ("plain", hits.plain, hits.sizes[2], terms.plain * source.counted, hits.queries),
    ):
        if size:
            made.append(
                Block(
                    source.name,
                    source.set_name,
                    kind == "true",
                    dict(zip(hits.labels, columns, strict=True)),
                    size,
                    source.share * price / whole,
                    whole,
                    kind,
                )
            )
    return tuple(made)


@dataclass(frozen=True)
class Objective:
    """The value of lists over all blocks, at one threshold."""

    blocks: tuple[Block, ...]
    threshold: int

    def value(self, weights: Weights) -> float:
        """Missed shares and priced openings together; 0 would be a list that misses nobody and errs never."""
        return sum(block.value(block.opened(weights, self.threshold)) for block in self.blocks)

    def additions(
        self, weights: Weights, labels: Sequence[str], heaviest: int
    ) -> Iterator[tuple[float, str, int]]:
        """(value, label, weight) of each list with one label more."""
        base = 0.0
        margins: list[list[tuple[Mapping[str, int], int, float]]] = [[] for _ in range(heaviest + 1)]
        for block in self.blocks:
            levels = block.reached(weights, self.threshold)
            base += block.value(levels[self.threshold])
            for weight in range(1, heaviest + 1):
                # Who needs just that weight, or less, to open.
                margin = levels[max(0, self.threshold - weight)] & ~levels[self.threshold]
                if margin:
                    price = -block.price if block.true else block.price
                    margins[weight].append((block.columns, margin, price))
        for label in labels:
            for weight in range(1, heaviest + 1):
                change = sum(
                    [
                        price * (margin & columns[label]).bit_count()
                        for columns, margin, price in margins[weight]
                    ]
                )
                yield base + change, label, weight

    def noise(self, one: Weights, other: Weights) -> float:
        """The standard error of the difference of two values: of the pairs that only one of them opens.

        Field sets of one set have the same people: their errors are added, those of sets as squares are.
        """
        by_set: defaultdict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for block in self.blocks:
            differ = block.opened(one, self.threshold) ^ block.opened(other, self.threshold)
            by_set[block.set_name][block.source] += block.price**2 * differ.bit_count()
        return math.sqrt(sum(sum(map(math.sqrt, own.values())) ** 2 for own in by_set.values()))

    def figures(self, weights: Weights) -> dict[str, dict[str, float]]:
        """By source: the recall of the gate, openings of relatives and of strangers a lookup."""
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for block in self.blocks:
            count = block.opened(weights, self.threshold).bit_count()
            found[block.source][block.kind] = count / block.whole
        return dict(found)

    def at(self, threshold: int) -> Objective:
        """The same pairs and prices at another threshold."""
        return replace(self, threshold=threshold)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(dict.fromkeys(block.source for block in self.blocks))
