"""The report of an evaluation: its figures as one JSON value, by group as well, and as a table to read.

A pair belongs to the group of its query. Groups are labels and particulars of queries; none is a feature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import jellyfish

from candor_node import evaluation as figures
from candor_node import evaluation_scheme as scheme
from candor_node.cli_common import table
from candor_node.evaluate import Run
from candor_node.evaluation import Figures, ScoredPair, Tally, Totals, share
from candor_node.evaluation_files import Query
from candor_proto.normalise import Person

# Surnames at least so alike (Jaro-Winkler) are one name spelt in two ways, not a name that was changed.
SAME_NAME = 0.85
_FEWEST_PAIRS, _FEWEST_NON_MEMBERS = 30, 100
_SHOWN_GROUPS = 6

Report = dict[str, Any]


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
    return [_rounded(item) for item in value] if isinstance(value, list) else value


# --- by group ----------------------------------------------------------------------------------------


def by_group(run: Run, pairs: Sequence[ScoredPair]) -> Report:
    """Per kind of group and group: queries, true pairs, figures at the default threshold, openings."""
    openings = Counter(pair.query for pair in pairs)
    taken = [pair for pair in pairs if pair.probability >= scheme.WORK_LIST]
    answers, right = Counter(pair.query for pair in taken), Counter(pair.query for pair in taken if pair.true)
    found: dict[str, dict[str, list[str]]] = {}
    for query in run.queries:
        for kind, group in groups_of(run, query).items():
            found.setdefault(kind, {}).setdefault(group, []).append(query.query_id)
    truth = run.truth.by_query

    def of_group(names: list[str]) -> Report:
        strangers = [name for name in names if name not in truth]
        totals = Totals(sum(len(truth.get(name, ())) for name in names), len(strangers))
        counts = Tally(
            answered=sum(answers[name] for name in names),
            right=sum(right[name] for name in names),
            non_members_answered=sum(answers[name] > 0 for name in strangers),
        )
        return {
            "queries": len(names),
            "pairs": totals.true_pairs,
            "non_members": totals.non_members,
            **asdict(counts.figures(totals)),
            "openings_per_lookup": share(sum(openings[name] for name in names), len(names)),
        }

    return {kind: {group: of_group(own) for group, own in sorted(found[kind].items())} for kind in found}


def groups_of(run: Run, query: Query) -> dict[str, str]:
    """The groups of a query: its labels, and what its particulars say.

    Names and sex as filed; what is missing, as it was asked, so that blanked columns count as missing.
    """
    filed = scheme.person(query.row)
    asked = scheme.person(run.order.fields.blank(query.row))
    found = {name: value or "(none)" for name, value in query.labels.items()}
    found["sex"] = filed.sex.upper() or "(none)"
    found["surname_length"] = _length(filed.surname)
    found["several_surnames"] = "yes" if " " in filed.last else "no"
    found["given_name"] = "listed" if scheme.given_name_is_listed(filed) else "not listed"
    found["missing_identifiers"] = _missing(asked)
    if changed := _change(run, query, filed):
        found["changed_surname"] = f"{_SEXES.get(filed.sex, 'sex unknown')}, {changed}"
    return found


_SEXES: Mapping[str, str] = {"f": "women", "m": "men"}


def _length(surname: str) -> str:
    if not surname:
        return "(none)"
    return "up to 4" if len(surname) <= 4 else "5 to 8" if len(surname) <= 8 else "over 8"


def _missing(asked: Person) -> str:
    missing = [words for words, value in (("ssn4", asked.ssn4), ("post", asked.post_id)) if not value]
    return f"no {' and no '.join(missing)}" if missing else "none missing"


def _change(run: Run, query: Query, filed: Person) -> str:
    """Whether any true record has another surname than the query, or the same one spelt otherwise."""
    others = [scheme.person(run.survey.known[name]) for name in run.truth.by_query.get(query.query_id, ())]
    likeness = [
        jellyfish.jaro_winkler_similarity(filed.surname, other.surname)
        for other in others
        if filed.surname and other.surname and filed.surname != other.surname
    ]
    if not likeness:
        return ""
    return "another surname" if min(likeness) < SAME_NAME else "surname spelt otherwise"


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
    return [*shown, *_worst(found["by_group"])]


def _line(name: str, own: Mapping[str, float | None], *before: str) -> tuple[str, ...]:
    names = ("precision", "recall", "f1", "non_member_false_positive_rate")
    return (name, *before, *(_number(own[key]) for key in names))


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _worst(groups: Mapping[str, Mapping[str, Report]]) -> list[str]:
    """Groups of some size with the least recall, and those whose non-members are answered most."""
    known = [(f"{kind}: {group}", own) for kind, all_ in groups.items() for group, own in all_.items()]
    by_recall = _top(
        ((name, own) for name, own in known if own["pairs"] >= _FEWEST_PAIRS), lambda own: own["recall"]
    )
    by_rate = _top(
        ((name, own) for name, own in known if own["non_members"] >= _FEWEST_NON_MEMBERS),
        lambda own: -own["non_member_false_positive_rate"],
    )
    names = list(dict.fromkeys([*by_recall, *by_rate]))
    if not names:
        return []
    found = dict(known)
    rows = [_line(name, found[name], f"{found[name]['queries']:,}") for name in names]
    head = ("WORST GROUPS", "QUERIES", "PRECISION", "RECALL", "F1", "NON-MEMBERS ANSWERED")
    return ["", *table(rows, head)]


def _top(groups: Iterable[tuple[str, Report]], rank: Callable[[Report], float]) -> list[str]:
    ordered = sorted(groups, key=lambda pair: (rank(pair[1]), pair[0]))
    return [name for name, _ in ordered[: _SHOWN_GROUPS // 2]]
