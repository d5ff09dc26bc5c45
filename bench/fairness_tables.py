"""What `bench.fairness` says of its figures: gaps, the tables of docs/fairness.md, what has become worse.

A gap is the recall of all pairs of a population less that of a group; a ratio is the share of a group's
non-members who are answered over that of all. Both are judged from FEWEST_PAIRS true pairs on, against the
limits of design/MATCHING.md §10, and `certain` only if the whole 95 % interval lies beyond.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import jellyfish

GAP_LIMIT, RATIO_LIMIT, FEWEST_PAIRS = 0.02, 1.5, 300
# Where a true pair is lost, in the order of a lookup.
STAGES = ("key", "gate", "score")
DIFFERENCES = (
    "none", "given name spelt otherwise", "another given name", "surname spelt otherwise",
    "part of the surname", "another surname", "both names", "exchanged",
)  # fmt: skip
# What a change may not worsen: what it is a share of, and 1 where more is better, -1 where less is.
HELD: Mapping[str, tuple[str, int]] = {
    "recall": ("pairs", 1),
    "opened": ("pairs", 1),
    "strong_recall": ("pairs", 1),
    "precision": ("pairs", 1),
    "strong_precision": ("pairs", 1),
    "non_member_false_positive_rate": ("non_members", -1),
    "false_openings_per_lookup": ("queries", -1),
}
COUNTS = ("queries", "pairs", "non_members")
# One-sided 95 %.
Z = 1.645
FEWEST_HELD = 60
GAP_HEADINGS = ("population", "lookup", "kind", "worst group", "pairs", "recall", "gap", "over .02")

Figures = Mapping[str, Any]


def likeness(one: str, other: str) -> float:
    return float(jellyfish.jaro_winkler_similarity(one, other))


def gaps(own: Figures, whole: Figures) -> dict[str, Any]:
    """The gap in recall and the ratio of answered non-members, with what their intervals leave open."""
    found: dict[str, Any] = {}
    if own["recall"] is not None and whole["recall"] is not None:
        low, high = own["recall_95"]
        found["gap"] = round(whole["recall"] - own["recall"], 4)
        found["gap_95"] = [round(whole["recall"] - high, 4), round(whole["recall"] - low, 4)]
    rate = "non_member_false_positive_rate"
    if own[rate] is not None and whole[rate]:
        found["ratio"] = round(own[rate] / whole[rate], 2)
        found["ratio_95"] = [round(bound / whole[rate], 2) for bound in own[f"{rate}_95"]]
    return found


def verdict(own: Figures) -> str:
    """Whether a group's gap is over the limit: no, within the interval perhaps, or certainly."""
    if own["gap"] <= GAP_LIMIT:
        return "no"
    return "certain" if own["gap_95"][0] > GAP_LIMIT else "yes"


def judged(groups: Mapping[str, Figures]) -> dict[str, Figures]:
    """The groups of a kind with pairs enough to be judged."""
    return {name: own for name, own in groups.items() if own["pairs"] >= FEWEST_PAIRS}


# --- tables -------------------------------------------------------------------------------------------


def worst_gaps(found: Figures) -> list[tuple[object, ...]]:
    """Of each population, kind of lookup and kind of group the group with the largest gap."""
    lines: list[tuple[object, ...]] = []
    for population, data in found.items():
        for shape in ("screening", "detailed"):
            for kind, groups in data[shape]["groups"].items():
                known = judged(groups)
                if len(known) < 2:
                    continue
                name = max(known, key=lambda each: (known[each]["gap"], each))
                own = known[name]
                lines.append((
                    population, shape, kind, name, own["pairs"], f"{own['recall']:.3f}", f"{own['gap']:+.3f}",
                    verdict(own),
                ))  # fmt: skip
    return lines


def headline(found: Figures) -> dict[str, Any]:
    """The largest gap of origins in each population, and the largest ratio, of detailed lookups."""
    told: dict[str, Any] = {}
    for population, data in found.items():
        known = judged(data["detailed"]["groups"]["origin"])
        if not known:
            continue
        worst = max(known, key=lambda each: (known[each]["gap"], each))
        told[f"{population}: largest gap of recall between an origin and all"] = (
            f"{known[worst]['gap']:.4f} ({worst})"
        )
        rated = {name: own["ratio"] for name, own in known.items() if own.get("ratio") is not None}
        if rated:
            most = max(rated, key=lambda each: (rated[each], each))
            told[f"{population}: largest ratio of answered non-members"] = f"{rated[most]:.2f} ({most})"
    return told


def markdown(found: Figures) -> str:
    """The tables of docs/fairness.md, each behind a line that names it."""
    gaps = [
        line[:1] + line[2:]
        for line in worst_gaps(found)
        if line[1] == "detailed" and (line[2] == "origin" or line[-1] != "no")
    ]
    told = {name: data for name, data in found.items() if name not in ("dev", "census names")}
    parts = {
        "GROUPS": _by_group(found),
        "GAPS": _table(GAP_HEADINGS[:1] + GAP_HEADINGS[2:], gaps),
        "STAGES": _stages(found),
        "DIFFERENCES": _differences(told),
    }
    return "\n".join(line for name, lines in parts.items() for line in (f"@{name}@", "", *lines, ""))


def _table(headings: tuple[str, ...], lines: list[tuple[object, ...]]) -> Iterator[str]:
    for line in (headings, ("---",) * len(headings), *lines):
        yield "| " + " | ".join(map(str, line)) + " |"


def _by_group(found: Figures) -> Iterator[str]:
    """Each group: recall with its interval in each population of all origins, and who is wrongly answered."""
    names = [name for name in found if name != "census names"]
    headings = (
        "group", "pairs", *(f"recall, {name}" for name in names), "non-members answered", "ratio",
        "strong: recall", "strong: somebody else",
    )  # fmt: skip
    lines = [_line("**all**", [found[name]["detailed"]["whole"] for name in names], found, names)]
    kinds = found[names[0]]["detailed"]["groups"]
    for kind in kinds:
        for group in kinds[kind]:
            own = [found[name]["detailed"]["groups"].get(kind, {}).get(group) for name in names]
            if all(each is not None for each in own):
                lines.append(_line(f"{kind}: {group}", own, found, names))
    yield from _table(headings, lines)
    yield f"\nScreening and detailed recall differ by {_between_shapes(found):.3f} at most."


def _between_shapes(found: Figures) -> float:
    """The largest difference of recall that the kind of lookup makes, of groups that are judged."""
    found_recalls = [
        (own["recall"], data["screening"]["groups"][kind][group]["recall"])
        for data in found.values()
        for kind, groups in data["detailed"]["groups"].items()
        for group, own in judged(groups).items()
    ]
    return max((abs(one - other) for one, other in found_recalls), default=0.0)


def _line(name: str, own: list[Any], found: Figures, names: list[str]) -> tuple[object, ...]:
    """A group's line; who is answered wrongly, and the strong band, over all populations together."""
    rate = _pooled_rate(own)
    of_all = _pooled_rate([found[each]["detailed"]["whole"] for each in names])
    pairs = sum(each["pairs"] for each in own)
    strong = sum((each["strong_recall"] or 0) * each["pairs"] for each in own)
    asserted = sum(
        (each["strong_recall"] or 0) * each["pairs"] / each["strong_precision"]
        for each in own
        if each["strong_precision"]
    )
    return (
        name,
        f"{pairs:,}",
        *(_recall(each) for each in own),
        "-" if rate is None else f"{100 * rate:.2f} %",
        "-" if rate is None or not of_all else f"{rate / of_all:.2f}",
        f"{strong / pairs:.3f}" if pairs else "-",
        f"{100 * (1 - strong / asserted):.2f} %" if asserted else "-",
    )


def _recall(own: Figures) -> str:
    if own["recall"] is None:
        return "-"
    if "recall_95" not in own:
        return f"{own['recall']:.3f}"
    low, high = own["recall_95"]
    mark = {"no": "", "yes": " °", "certain": " †"}[verdict(own)] if own["pairs"] >= FEWEST_PAIRS else ""
    return f"{own['recall']:.3f} ±{(high - low) / 2:.3f}{mark}"


def _pooled_rate(own: list[Any]) -> float | None:
    known = [each for each in own if each["non_member_false_positive_rate"] is not None]
    people = sum(each["non_members"] for each in known)
    answered = sum(each["non_member_false_positive_rate"] * each["non_members"] for each in known)
    return answered / people if people else None


def _stages(found: Figures) -> Iterator[str]:
    """By population and origin, of a hundred true pairs those lost at each stage."""
    headings = (
        "population",
        "origin",
        "pairs",
        "no key meets",
        "gate stays closed",
        "score below .5",
        "lost",
    )
    lines: list[tuple[object, ...]] = []
    for population, data in found.items():
        for origin, own in data["losses"].items():
            total: Counter[str] = Counter()
            for each in own.values():
                total.update(each)
            lost = sum(total[stage] for stage in STAGES)
            shares = [
                f"{100 * part / total['pairs']:.2f}" for part in (*map(total.__getitem__, STAGES), lost)
            ]
            lines.append((population, origin, f"{total['pairs']:,}", *shares))
    yield from _table(headings, lines)


def _differences(found: Figures) -> Iterator[str]:
    """By population and difference of the names: how frequent in each origin, and how many are lost there."""
    for number, (population, data) in enumerate(found.items()):
        origins = [origin for origin in data["losses"] if origin]
        if number:
            yield ""
        headings = (f"{population}: names differ in", *origins, "lost, all")
        totals = {
            origin: sum(each["pairs"] for each in data["losses"][origin].values()) for origin in origins
        }
        lines: list[tuple[object, ...]] = []
        for differs in DIFFERENCES:
            counts = {origin: data["losses"][origin].get(differs) for origin in origins}
            cells = []
            pairs = lost = 0
            for origin, own in counts.items():
                if own is None:
                    cells.append("-")
                    continue
                here = sum(own[stage] for stage in STAGES)
                pairs, lost = pairs + own["pairs"], lost + here
                cells.append(f"{100 * own['pairs'] / totals[origin]:.1f} % ({100 * here / own['pairs']:.0f})")
            lines.append((differs, *cells, f"{100 * lost / pairs:.1f} %" if pairs else "-"))
        yield from _table(headings, lines)


# --- worse than before --------------------------------------------------------------------------------


def band(before: Figures, figure: str) -> float:
    """How far a figure may fall short of what was committed: one-sided 95 % of a share of so many."""
    count = before[HELD[figure][0]]
    # No share is certain: one that was 0 or 1 might as well have been half a case away.
    rate = min(max(before[figure], 0.5 / count), 1 - 0.5 / count)
    return Z * math.sqrt(rate * (1 - rate) / count)


def worsened(before: Figures, now: Figures) -> list[str]:
    """What is worse than it was, a sentence each; empty if nobody's group is worse off.

    In each kind of group and figure no group of FEWEST_HELD or more may fall by more than its `band`, and the
    distance of the worst group from the whole may not widen by more than that.
    """
    said: dict[tuple[str, str, str], str] = {}
    for kind, groups in before["groups"].items():
        for figure, (_, sign) in HELD.items():
            was, here = _held(groups, figure), _held(now["groups"].get(kind, {}), figure)
            for name in was.keys() & here.keys():
                allowed = band(was[name], figure)
                if sign * (was[name][figure] - here[name][figure]) > allowed:
                    said[kind, figure, name] = _fell(kind, figure, name, was, here, allowed)
            if len(was) < 2 or not here:
                continue
            first = min(was, key=lambda name: sign * was[name][figure])
            last = min(here, key=lambda name: sign * here[name][figure])
            apart = sign * (before["whole"][figure] - was[first][figure])
            further = sign * (now["whole"][figure] - here[last][figure])
            allowed = band(was[first], figure)
            if further - apart > allowed and (kind, figure, last) not in said:
                said[kind, figure, last] = (
                    f"{kind}, {figure}: {last} is the worst group with {here[last][figure]:.4f}, "
                    f"{further:.4f} from all; that distance was {apart:.4f} ({first}), band {allowed:.4f}"
                )
    return [said[place] for place in sorted(said)]


def _fell(
    kind: str, figure: str, name: str, was: Mapping[str, Figures], here: Mapping[str, Figures], allowed: float
) -> str:
    before, now = was[name][figure], here[name][figure]
    return f"{kind}, {figure}: {name} has {now:.4f} and had {before:.4f}, band {allowed:.4f}"


def _held(groups: Mapping[str, Figures], figure: str) -> dict[str, Figures]:
    return {
        name: own
        for name, own in groups.items()
        if own[HELD[figure][0]] >= FEWEST_HELD and own[figure] is not None
    }
