"""The score gate: what each threshold opens and for whom, and what each match key is worth.

Recall, false openings by kind, the share of twins, juniors and namesakes without a record whose lookup opens
one, gates that demand more, and the table that the weights are derived from. Prints what docs/gate.md shows
and writes bench/results/gate.json. Run `make bench NAME=gate` (ten minutes) or, to try it, `BENCH_QUICK=1
python -m bench.gate` (FEBRL 3 alone).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import harness
from bench.gate_scenes import KINDS, SCENES, Meetings, Pair, meet
from candor_node.evaluation_files import FieldSet
from candor_node.evaluation_scheme import labels as labels_of
from candor_proto.matchkeys import GATE_THRESHOLD, MATCH_LABELS, SCHEME_VERSION, gate_weight
from candor_proto.scheme import CURRENT
from tools.keysearch.prices import Prices
from tools.keysearch.sources import development

QUICK = bool(os.environ.get("BENCH_QUICK"))
QUICK_SCENE = "FEBRL 3"
WORKERS = min(2, os.cpu_count() or 1)
THRESHOLDS = (2, 3, 4, 5, 6)
RELATIVES = KINDS[1:]
DIGITS = frozenset({"S", "So"})
# Codes that know more of the given name than its initial.
GIVEN = frozenset({"F", "Fc", "SW3", "SWp"})


# --- gates -------------------------------------------------------------------------------------------

# Whether a pair opens, from the labels hit and those asked, as bits.
Gate = Callable[[int, int], bool]


def _bits(codes: frozenset[str]) -> int:
    """The labels in which one of these codes stands."""
    return sum(1 << place for place, label in enumerate(MATCH_LABELS) if not codes.isdisjoint(label.codes))


def weighs(threshold: int) -> Gate:
    """The gate of the scheme at another threshold."""
    return lambda hit, asked: gate_weight(labels_of(hit)) >= threshold


def summed(weights: Sequence[float], least: float) -> Gate:
    """A gate that adds up other weights, by position."""
    return lambda hit, asked: sum(_each(hit, weights)) >= least


def _each(hit: int, weights: Sequence[float]) -> Iterable[float]:
    return (weight for place, weight in enumerate(weights) if hit >> place & 1)


@dataclass(frozen=True)
class Demand:
    """What a gate might demand besides the threshold, in words and as a gate."""

    words: str
    gate: Gate


def demands() -> tuple[Demand, ...]:
    usual, given, digits = weighs(GATE_THRESHOLD), _bits(GIVEN), _bits(DIGITS)
    return (
        Demand("as it is", usual),
        Demand("a third label", lambda hit, asked: usual(hit, asked) and hit.bit_count() >= 3),
        Demand(
            "more of the given name than its initial",
            lambda hit, asked: usual(hit, asked) and bool(hit & given),
        ),
        Demand(
            "the last four, where the lookup has them",
            lambda hit, asked: usual(hit, asked) and (not asked & digits or bool(hit & digits)),
        ),
        Demand("threshold 4", weighs(4)),
    )


@dataclass(frozen=True)
class Figures:
    """Recall of a gate; openings a lookup: all, false, false by kind; by kind the share of queries without a
    record that open one."""

    recall: float
    openings: float
    false: float
    false_by_kind: Mapping[str, float]
    outsiders_opening: Mapping[str, float]


def figures(found: Meetings, gate: Gate) -> Figures:
    """What a gate lets through."""
    opened = [pair for pair in found.pairs if gate(pair.hit, found.asked[pair.query])]
    false = [pair for pair in opened if not pair.true]
    return Figures(
        _share(len(opened) - len(false), found.true_pairs),
        _share(len(opened), found.queries),
        _share(len(false), found.queries),
        {kind: _share(sum(pair.kind == kind for pair in false), found.queries) for kind in KINDS},
        {
            kind: _share(len({pair.query for pair in false} & places), len(places))
            for kind, places in found.outsiders.items()
            if places
        },
    )


def _share(count: int, whole: int) -> float:
    return round(count / whole, 5) if whole else 0.0


# --- labels ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Worth:
    """One label: `met` given a true pair with its fields on both sides, by set; strangers met in a thousand
    lookups that ask it; `bits` = log2(m/u), None where no stranger was; digits of its domain; its weight."""

    label: str
    met: tuple[float, ...]
    false_a_thousand: float
    bits: float | None
    digits: float
    weight: int


def worth(found: Sequence[Meetings], prices: Prices) -> list[Worth]:
    """Every label on some scenes of the same size together; `met` for each of them."""
    rows = []
    for place, label in enumerate(MATCH_LABELS):
        bit = 1 << place
        hits = [_hit(one.pairs, bit, true=True) for one in found]
        asked = sum(sum(own & bit > 0 for own in one.asked) for one in found)
        false = sum(_hit(one.pairs, bit, true=False) for one in found)
        met = sum(hits) / max(1, sum(one.labelled.get(place, 0) for one in found))
        chance = false / asked / found[0].records if asked else 0.0
        rows.append(
            Worth(
                label.name,
                tuple(_share(own, one.labelled.get(place, 0)) for own, one in zip(hits, found, strict=True)),
                round(1000 * false / asked, 2) if asked else 0.0,
                round(math.log2(met / chance), 1) if chance and met else None,
                round(prices.digits(label.name), 1),
                label.weight,
            )
        )
    return rows


def _hit(pairs: Iterable[Pair], bit: int, *, true: bool) -> int:
    return sum(pair.true is true and pair.hit & bit > 0 for pair in pairs)


def bits_gates(rows: Sequence[Worth], found: Sequence[Meetings]) -> list[tuple[str, list[Figures]]]:
    """Gates that follow the bits: weight 2 from the median on, else 1; and the bits themselves, added up.

    The sum asked is the largest that misses no more true pairs than the gate of the scheme.
    """
    # Where nobody false was met there were still lookups: one more would have been the first.
    known = [row.bits if row.bits is not None else max(own.bits or 0.0 for own in rows) for row in rows]
    middle = sorted(known)[len(known) // 2]
    usual = weighs(GATE_THRESHOLD)
    true = [(pair.hit, one.asked[pair.query]) for one in found for pair in one.pairs if pair.true]
    wanted = sum(usual(hit, asked) for hit, asked in true)
    sums = sorted((sum(_each(hit, known)) for hit, _ in true), reverse=True)
    least = sums[wanted - 1]
    gates = [
        (
            "weight 2 from the median of the bits on, else 1, threshold 3",
            summed([1 + (own >= middle) for own in known], 3),
        ),
        (f"bits added up, from {least:.1f} on (as many true pairs)", summed(known, least)),
    ]
    return [(words, [figures(one, gate) for one in found]) for words, gate in gates]


# --- tables ------------------------------------------------------------------------------------------


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _row(own: Figures) -> list[str]:
    outside = own.outsiders_opening
    return [
        f"{own.recall:.4f}",
        *(f"{own.false_by_kind[kind]:.4f}" for kind in KINDS),
        *(f"{outside[kind]:.3f}" if kind in outside else "" for kind in RELATIVES),
    ]


_COLUMNS = (
    "recall", "plain", "namesakes", "father and son", "twins", "namesake opens", "junior opens", "twin opens",
)  # fmt: skip


def _print(
    points: Mapping[str, Mapping[int, Figures]],
    demanded: Mapping[str, Mapping[str, Figures]],
    rows: Sequence[Worth],
    by_bits: Sequence[tuple[str, Sequence[Figures]]],
) -> None:
    curve = ([name, threshold, *_row(own)] for name, at in points.items() for threshold, own in at.items())
    print(table(("set", "threshold", *_COLUMNS), curve))
    more = ([name, words, *_row(own)] for name, of in demanded.items() for words, own in of.items())
    print(table(("set", "demanded", *_COLUMNS), more))
    print(table(
        ("label", "m dev / devhard", "false a 1,000", "bits", "digits", "weight"),
        (
            [row.label, " / ".join(f"{own:.2f}" for own in row.met), row.false_a_thousand,
             "> 24" if row.bits is None else row.bits, row.digits, row.weight]
            for row in rows
        ),
    ))  # fmt: skip
    print(table(("gate", *_COLUMNS), ([words, *_row(own)] for words, all_of in by_bits for own in all_of)))


def _plain(figures_by: Mapping[str, Figures] | Mapping[int, Figures]) -> dict[str, object]:
    return {str(key): vars(own) for key, own in figures_by.items()}


def main() -> None:
    points: dict[str, dict[int, Figures]] = {}
    demanded: dict[str, dict[str, Figures]] = {}
    development_sets: list[Meetings] = []
    for scene in [one for one in SCENES if one.name == QUICK_SCENE] if QUICK else SCENES:
        for fields in scene.fields:
            name = f"{scene.name} {fields.name.lower()}"
            print(f"gate: {name}", file=sys.stderr, flush=True)
            found = meet(scene.cast(), fields, WORKERS)
            points[name] = {threshold: figures(found, weighs(threshold)) for threshold in THRESHOLDS}
            demanded[name] = {one.words: figures(found, one.gate) for one in demands()}
            if QUICK or (scene.name.startswith("officers") and fields is FieldSet.NDSMP):
                development_sets.append(found)
    rows = worth(development_sets, Prices(development("officers-dev", "ndsmp").records, 20_000))
    by_bits = bits_gates(rows, development_sets)
    _print(points, demanded, rows, by_bits)
    chosen = {name: at[GATE_THRESHOLD] for name, at in points.items()}
    harness.write(
        "gate",
        {
            "quick": QUICK,
            "headline": {f"recall of {name}": own.recall for name, own in chosen.items()},
            "scheme": {"version": SCHEME_VERSION, "threshold": CURRENT.threshold},
            **harness.machine(),
            **harness.versions(),
            "thresholds": {name: _plain(at) for name, at in points.items()},
            "demands": {name: _plain(of) for name, of in demanded.items()},
            "labels": [vars(row) for row in rows],
            "gates_by_bits": {words: [vars(own) for own in all_of] for words, all_of in by_bits},
        },
    )


if __name__ == "__main__":
    main()
