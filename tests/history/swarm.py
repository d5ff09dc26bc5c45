"""Holds what light nodes saw against what the hub holds afterwards (RELIABILITY.md §7).

Rules of this file:
- pure: values in, faults out; each fault has a name, so that a test can plant it;
- accepted means stored once, delivered to every target and answered by it once; refused means not stored;
- of two different answers of one node to one lookup one is too many, whoever sent it again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.history.away import Absence, absences

Event = Mapping[str, Any]
# What an event says of a lookup: its asker and its id.
Key = tuple[str, str]


@dataclass(frozen=True)
class Held:
    """What the hub's database holds: lookups by asker and id, elements used by asker."""

    lookups: frozenset[Key]
    used: Mapping[str, int]


@dataclass
class Report:
    """Faults by name, and figures."""

    faults: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    absences: list[Absence] = field(default_factory=list)


def check(events: Iterable[Event], held: Held, *, quota: int, cost: int, away_seconds: float) -> Report:
    """`events` of all nodes; `cost` is that of one lookup, `away_seconds` how long one may be gone."""
    asked: dict[Key, Sequence[str]] = {}
    accepted: set[Key] = set()
    refused: dict[Key, str] = {}
    answers: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    sent: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    askers: dict[str, str] = {}
    report = Report()
    told = sorted(events, key=lambda each: each["at"])
    for event in told:
        node = event["node"]
        match event["event"]:
            case "ask":
                asked[node, event["lookup"]] = event["targets"]
                askers[event["lookup"]] = node
            case "accepted":
                accepted.add((node, event["lookup"]))
            case "refused":
                refused[node, event["lookup"]] = event["code"]
            case "answer":
                answers[node, event["lookup"], event["of"]].add(event["digest"])
            case "answered" if not event["code"]:
                sent[askers.get(event["lookup"], ""), event["lookup"], node].append(event["digest"])
            case _:
                pass
    report.faults += [f"lost: {key} was accepted and is not held" for key in accepted - held.lookups]
    report.faults += [f"refused-but-held: {key}" for key in refused.keys() & held.lookups]
    for key in sorted(accepted):
        missing = [target for target in asked[key] if not answers[*key, target]]
        if missing:
            report.faults.append(f"unanswered: {key} by {missing}")
    report.faults += [f"answered-twice: {key}" for key, digests in answers.items() if len(digests) > 1]
    report.faults += [f"accepted-twice: {key}" for key, digests in sent.items() if len(set(digests)) > 1]
    other = (key for key, digests in sent.items() if answers[key] and answers[key] != set(digests))
    report.faults += [f"another-answer: {key}" for key in other]
    held_by = Counter(asker for asker, _ in held.lookups)
    for asker, count in held_by.items():
        if count * cost > quota:
            report.faults.append(f"quota-exceeded: {asker} with {count * cost} of {quota}")
        if held.used.get(asker, 0) != count * cost:
            report.faults.append(
                f"quota-miscounted: {asker} used {held.used.get(asker, 0)}, {count * cost} held"
            )
    report.faults += [f"refused-too-early: {key}" for key in _early(refused, held_by, quota, cost)]
    report.absences = absences(told)
    away = sorted(one.seconds for one in report.absences if one.seconds is not None)
    for one in report.absences:
        if one.seconds is None:
            report.faults.append(f"never-back: {one}")
        elif one.seconds > away_seconds:
            report.faults.append(f"away: {one}")
    report.figures = {
        "lookups accepted": len(accepted),
        "lookups refused by quota": len(refused),
        "answers": sum(len(digests) for digests in answers.values()),
        "streams lost": len(away),
        "half are away for at most (s)": away[len(away) // 2] if away else 0.0,
        "99 of 100 are away for at most (s)": away[len(away) * 99 // 100] if away else 0.0,
        "longest away (s)": away[-1] if away else 0.0,
    }
    return report


def _early(refused: Mapping[Key, str], held_by: Mapping[str, int], quota: int, cost: int) -> Iterable[Key]:
    """Refused for a quota that was not spent."""
    for key, code in refused.items():
        if code != "quota_spent" or (held_by.get(key[0], 0) + 1) * cost <= quota:
            yield key


def check_heads(heads: Iterable[tuple[int, bytes]], roots: Mapping[int, bytes]) -> list[str]:
    """`heads` are sizes and roots that any replica ever showed, `roots` those of the log in the end."""
    shown: dict[int, set[bytes]] = defaultdict(set)
    for size, root in heads:
        shown[size].add(root)
    faults = [f"two-heads: of {size} entries" for size, found in shown.items() if len(found) > 1]
    faults += [
        f"another-history: {size} entries" for size, found in shown.items() if roots.get(size) not in found
    ]
    return faults
