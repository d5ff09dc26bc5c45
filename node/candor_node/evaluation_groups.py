"""Figures by group: for whom matching works less well, of whom it wrongly says more.

Rules of this file:
- a pair belongs to the group of its query; groups are labels and particulars of queries, none is a feature;
- what tells members apart from their own records (`changed_surname`, `changed_given_name`, `name_order`)
  holds members only, and a member with several records belongs to the group of the record that differs most;
- a share has its interval beside it: without one, a small group looks worse or better than anybody knows;
- the worst group of a kind is named from `FEWEST_PAIRS` true pairs or `FEWEST_NON_MEMBERS` on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import jellyfish

from candor_node import evaluation_scheme as scheme
from candor_node.evaluate import Run
from candor_node.evaluation import ScoredPair, Tally, Totals, interval, share
from candor_node.evaluation_files import Query
from candor_proto.normalise import Person
from candor_proto.surnames import PARTICLES
from candor_records.content import IDENTITY_FIELDS

# Names at least so alike (Jaro-Winkler) are one name spelt in two ways, not another name.
SAME_NAME = 0.85
FEWEST_PAIRS, FEWEST_NON_MEMBERS = 30, 100

Report = dict[str, Any]
Groups = Mapping[str, Mapping[str, Report]]

_FIRST, _LAST = IDENTITY_FIELDS.index("first"), IDENTITY_FIELDS.index("last")
_SEXES: Mapping[str, str] = {"f": "women", "m": "men"}


def by_group(run: Run, pairs: Sequence[ScoredPair]) -> Report:
    """Per kind of group and group: counts, figures at the default threshold, and where true pairs are lost.

    `reached` and `opened` are the shares of true pairs with a key hit and behind the gate; `strong_recall`
    and `strong_precision` hold of the pairs shown as strong.
    """
    opened, strong = Counter(pair.query for pair in pairs), [pair for pair in pairs if pair.strong]
    taken = [pair for pair in pairs if pair.probability >= scheme.WORK_LIST]
    answers, right = _counts(taken)
    asserted, asserted_right = _counts(strong)
    opened_true = Counter(pair.query for pair in pairs if pair.true)
    reached = Counter(run.queries[place].query_id for place, _ in run.reached)
    found: dict[str, dict[str, list[str]]] = {}
    for query in run.queries:
        for kind, group in groups_of(run, query).items():
            found.setdefault(kind, {}).setdefault(group, []).append(query.query_id)
    truth = run.truth.by_query

    def of_group(names: list[str]) -> Report:
        def total(counts: Counter[str]) -> int:
            return sum(counts[name] for name in names)

        strangers = [name for name in names if name not in truth]
        totals = Totals(sum(len(truth.get(name, ())) for name in names), len(strangers))
        counts = Tally(
            answered=total(answers),
            right=total(right),
            non_members_answered=sum(answers[name] > 0 for name in strangers),
        )
        return {
            "queries": len(names),
            "pairs": totals.true_pairs,
            "non_members": totals.non_members,
            **asdict(counts.figures(totals)),
            "recall_95": interval(counts.right, totals.true_pairs),
            "non_member_false_positive_rate_95": interval(counts.non_members_answered, totals.non_members),
            "reached": share(total(reached), totals.true_pairs),
            "opened": share(total(opened_true), totals.true_pairs),
            "strong_recall": share(total(asserted_right), totals.true_pairs),
            "strong_precision": share(total(asserted_right), total(asserted)),
            "openings_per_lookup": share(total(opened), len(names)),
            "false_openings_per_lookup": share(total(opened) - total(opened_true), len(names)),
        }

    return {kind: {group: of_group(own) for group, own in sorted(found[kind].items())} for kind in found}


def _counts(pairs: Iterable[ScoredPair]) -> tuple[Counter[str], Counter[str]]:
    """All and the true ones by query."""
    known = list(pairs)
    return Counter(pair.query for pair in known), Counter(pair.query for pair in known if pair.true)


# --- which groups ------------------------------------------------------------------------------------


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
    found["surname_form"] = _form(filed, query.row[_LAST])
    found["marks"] = "no" if (query.row[_FIRST] + query.row[_LAST]).isascii() else "yes"
    found["given_name"] = "listed" if scheme.given_name_is_listed(filed) else "not listed"
    found["given_name_form"] = _given_form(filed)
    found["missing_identifiers"] = _missing(asked)
    found["birth_date"] = _date(asked)
    others = [scheme.person(run.survey.known[name]) for name in run.truth.by_query.get(query.query_id, ())]
    if change := _change([(filed.surname, other.surname) for other in others]):
        words = "another surname" if change == "another" else "surname spelt otherwise"
        found["changed_surname"] = f"{_SEXES.get(filed.sex, 'sex unknown')}, {words}"
    if others:
        exchanged = any(exchanged_names(filed, other) for other in others)
        found["name_order"] = "exchanged" if exchanged else "as filed"
        change = _change([(filed.first, other.first) for other in others])
        found["changed_given_name"] = {"": "no", "another": "another name"}.get(change, change)
    return found


def _length(surname: str) -> str:
    if not surname:
        return "(none)"
    return "up to 4" if len(surname) <= 4 else "5 to 8" if len(surname) <= 8 else "over 8"


def _form(filed: Person, text: str) -> str:
    """How a surname is written: a particle goes before a hyphen, for Al-Hassan has one name."""
    words = filed.last.split()
    if not words:
        return "(none)"
    if any(word in PARTICLES for word in words[:-1]):
        return "with a particle"
    if len(words) == 1:
        return "one word"
    return "hyphenated" if "-" in text else "several words"


def _given_form(filed: Person) -> str:
    if not filed.first:
        return "(none)"
    if len(filed.first) == 1:
        return "initial"
    return "several words" if filed.given else "one word"


def _missing(asked: Person) -> str:
    missing = [words for words, value in (("ssn4", asked.ssn4), ("post", asked.post_id)) if not value]
    return f"no {' and no '.join(missing)}" if missing else "none missing"


def _date(asked: Person) -> str:
    known = sum(map(bool, (asked.year, asked.month, asked.day)))
    return "whole" if known == 3 else "in part" if known else "missing"


def _change(names: Iterable[tuple[str, str]]) -> str:
    """Whether any pair of names, neither missing, differs: "another", "spelt otherwise", or ""."""
    likeness = [
        jellyfish.jaro_winkler_similarity(one, other)
        for one, other in names
        if one and other and one != other
    ]
    if not likeness:
        return ""
    return "another" if min(likeness) < SAME_NAME else "spelt otherwise"


def exchanged_names(one: Person, other: Person) -> bool:
    """Whether given name and surname stand in each other's place, spelt alike."""
    crossed, straight = _alike(one.first, other.surname), _alike(one.first, other.first)
    if not one.surname or not other.first:
        return False
    back = _alike(one.surname, other.first)
    return crossed >= SAME_NAME and back >= SAME_NAME and straight < SAME_NAME


def _alike(one: str, other: str) -> float:
    return jellyfish.jaro_winkler_similarity(one, other) if one and other else 0.0


# --- who fares worst ---------------------------------------------------------------------------------


def worst_recall(groups: Groups) -> list[tuple[str, str, Report]]:
    """Of each kind with at least two groups of enough true pairs, the group with the least recall."""
    return _worst(groups, "pairs", FEWEST_PAIRS, "recall", 1)


def worst_rate(groups: Groups) -> list[tuple[str, str, Report]]:
    """Of each kind with two groups of enough non-members, the one whose non-members are answered most."""
    return _worst(groups, "non_members", FEWEST_NON_MEMBERS, "non_member_false_positive_rate", -1)


def _worst(groups: Groups, count: str, fewest: int, figure: str, sign: int) -> list[tuple[str, str, Report]]:
    """Kind, group and figures, the worst first."""
    found = []
    for kind, own in groups.items():
        known = [(sign * each[figure], name) for name, each in own.items() if each[count] >= fewest]
        if len(known) > 1:
            value, name = min(known)
            found.append((value, kind, name))
    return [(kind, name, groups[kind][name]) for _, kind, name in sorted(found)]
