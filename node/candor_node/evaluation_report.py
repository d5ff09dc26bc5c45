"""The report of an evaluation: its figures as one JSON value, by group as well, and as tables to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from candor_node import evaluation as figures
from candor_node import evaluation_scheme as scheme
from candor_node.cli_common import table
from candor_node.evaluate import Run
from candor_node.evaluation import Figures, Totals, share
from candor_node.evaluation_groups import FEWEST_NON_MEMBERS, FEWEST_PAIRS, Groups, Report, by_group
from candor_node.evaluation_groups import worst_rate as worst_rates
from candor_node.evaluation_groups import worst_recall as worst_recalls

# Kinds of groups shown for the people who are wrongly named; of those who are missed, all are.
_SHOWN_RATES = 5


# --- all pairs ---------------------------------------------------------------------------------------


def report(run: Run, seconds: float, real_curve: Report | None = None) -> Report:
    """The figures of a run under the names that docs/matching.md §7 gives them."""
    pairs = run.pairs()
    members = frozenset(run.truth.by_query)
    true_pairs = sum(map(len, run.truth.by_query.values()))
    queries = len(run.queries)
    totals = Totals(true_pairs, queries - len(members))
    default = figures.tally(figures.answered(pairs, scheme.WORK_LIST), members)
    strong = figures.tally((pair for pair in pairs if pair.strong), members)
    threshold, best = figures.best(pairs, members, totals)
    opened_true = sum(pair.true for pair in pairs)
    lookups = [asked.lookups for asked in run.asked]
    found: Report = _rounded(
        {
            "t": scheme.elements(run.order.shape),
            "fields": run.order.fields.name.lower(),
            "confirm": run.order.confirm,
            "population": run.population,
            "scheme_version": scheme.SCHEME_VERSION,
            "weights_version": scheme.WEIGHTS_VERSION,
            "seconds": round(seconds, 2),
            "default": _figures(default.figures(totals), scheme.WORK_LIST),
            "best": _figures(best, threshold),
            "assert": _figures(strong.figures(totals), scheme.ASSERT),
            "recall_at_precision_99": figures.recall_at_precision(pairs, members, totals),
            "ece": figures.expected_calibration_error(pairs),
            "brier": figures.brier(pairs),
            "reliability": [None if own is None else asdict(own) for own in figures.reliability(pairs)],
            "coverage": share(run.true_candidates, true_pairs),
            "false_candidates_per_query": share(run.candidates - run.true_candidates, queries),
            "gate": {
                "threshold": scheme.GATE_THRESHOLD,
                "openings_per_lookup": share(len(pairs), queries),
                "recall": share(opened_true, true_pairs),
                "false_openings_per_lookup": share(len(pairs) - opened_true, queries),
            },
            "counts": {
                "queries": queries,
                "members": len(members),
                "non_members": totals.non_members,
                "records": run.survey.count,
                "true_pairs": true_pairs,
                "candidates": run.candidates,
                "true_candidates": run.true_candidates,
                "openings": len(pairs),
                "true_openings": opened_true,
                "answered": default.answered,
                "answered_true": default.right,
                "strong": strong.answered,
                "strong_true": strong.right,
                "set_aside": sum(pair.score.set_aside for pair in run.opened),
                "lookups": sum(lookups),
                "queries_of_several_lookups": sum(count > 1 for count in lookups),
                "queries_with_surnames_left_out": sum(asked.incomplete for asked in run.asked),
            },
            "by_group": by_group(run, pairs),
            "real_curve": real_curve,
        }
    )
    return found


def _figures(own: Figures, threshold: float | None) -> Report:
    return {**asdict(own), "threshold": threshold}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


# --- to read -----------------------------------------------------------------------------------------


def lines(found: Report) -> list[str]:
    """The main figures, and the groups that fare worst."""
    counts, gate = found["counts"], found["gate"]
    kind = "detailed" if found["confirm"] else "screening"
    shown = [
        f"{counts['queries']:,} queries, {counts['records']:,} records, {counts['true_pairs']:,} true pairs; "
        f"{kind} lookups of {found['t']} elements, fields {found['fields']}, "
        f"population {found['population']:,}.",
        f"Scheme {found['scheme_version']}, weights {found['weights_version']}; {found['seconds']:.1f} s.",
        "",
        *table(
            [
                _line(name, found[name], _number(found[name]["threshold"], 4))
                for name in ("default", "best", "assert")
            ],
            ("AT", "THRESHOLD", "PRECISION", "RECALL", "F1", "NON-MEMBERS ANSWERED"),
        ),
        "",
        f"Recall at precision .99: {_number(found['recall_at_precision_99'])}; "
        f"ECE {_number(found['ece'])}, Brier {_number(found['brier'])} over {counts['openings']:,} openings.",
        f"Keys reach {_number(found['coverage'])} of the true pairs, the gate opens "
        f"{_number(gate['recall'])}; for each query {_number(found['false_candidates_per_query'], 3)} false "
        f"candidates, {_number(gate['false_openings_per_lookup'])} false openings.",
    ]
    if counts["queries_with_surnames_left_out"]:
        shown.append(
            f"{counts['queries_with_surnames_left_out']:,} queries have more surnames than lookups hold."
        )
    if found["real_curve"]:
        curve = found["real_curve"]
        shown.append(
            f"The blinded way, too: {curve['queries']:,} queries, {curve['records']:,} of the records, "
            f"{curve['pairs']:,} pairs opened, all the same."
        )
    return [*shown, *_worst(found["by_group"], found["default"]["recall"])]


def _line(name: str, own: Mapping[str, float | None], *before: str) -> tuple[str, ...]:
    names = ("precision", "recall", "f1", "non_member_false_positive_rate")
    return (name, *before, *(_number(own[key]) for key in names))


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _worst(groups: Groups, whole: float | None) -> list[str]:
    """Of each kind of group the one of some size with the least recall; then whose non-members are answered
    most. `whole` is the recall of all pairs."""
    shown: list[str] = []
    if (missed := worst_recalls(groups)) and whole is not None:
        rows = [
            (
                *(f"{kind}: {group}", f"{own['pairs']:,}", _number(own["recall"], 3)),
                *(_range(own["recall_95"]), f"{own['recall'] - whole:+.3f}"),
            )
            for kind, group, own in missed
        ]
        head = ("LEAST RECALL OF ITS KIND", "TRUE PAIRS", "RECALL", "95 %", "AGAINST ALL")
        shown += ["", *table(rows, head), f"Groups of fewer than {FEWEST_PAIRS} true pairs are not named."]
    if named := worst_rates(groups)[:_SHOWN_RATES]:
        key = "non_member_false_positive_rate"
        answered = [
            (f"{kind}: {group}", f"{own['non_members']:,}", _number(own[key], 4), _range(own[f"{key}_95"], 4))
            for kind, group, own in named
        ]
        columns = ("MOST NON-MEMBERS ANSWERED OF ITS KIND", "NON-MEMBERS", "ANSWERED", "95 %")
        shown += [
            *("", *table(answered, columns)),
            f"Groups of fewer than {FEWEST_NON_MEMBERS} non-members are not named.",
        ]
    return shown


def _range(bounds: Sequence[float] | None, digits: int = 3) -> str:
    return "-" if bounds is None else f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"
