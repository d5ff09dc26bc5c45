"""The checker of the swarm finds each thing that it is there for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.history.swarm import Held, check, check_heads

COST, QUOTA = 16, 32


def good() -> list[dict[str, Any]]:
    return [
        {"event": "attached", "at": 0.0, "node": "a"},
        {"event": "ask", "at": 1.0, "node": "a", "lookup": "1", "targets": ["b"]},
        {"event": "accepted", "at": 2.0, "node": "a", "lookup": "1", "recipients": 1},
        {"event": "lost", "at": 2.5, "node": "a", "why": ""},
        {"event": "attached", "at": 4.0, "node": "a"},
        {"event": "answered", "at": 5.0, "node": "b", "lookup": "1", "digest": "x", "code": ""},
        {"event": "answered", "at": 5.1, "node": "b", "lookup": "1", "digest": "y", "code": "conflict"},
        {"event": "answer", "at": 6.0, "node": "a", "lookup": "1", "of": "b", "digest": "x"},
        {"event": "answer", "at": 6.1, "node": "a", "lookup": "1", "of": "b", "digest": "x"},
    ]


HELD = Held(frozenset({("a", "1")}), {"a": COST})


def faults(events: list[dict[str, Any]], held: Held = HELD, **more: Any) -> set[str]:
    settings = {"quota": QUOTA, "cost": COST, "away_seconds": 10.0, **more}
    return {fault.partition(":")[0] for fault in check(events, held, **settings).faults}


def test_nothing_is_wrong_with_what_is_right() -> None:
    assert faults(good()) == set()


def more(**event: Any) -> list[dict[str, Any]]:
    return [*good(), {"at": 9.0, **event}]


@pytest.mark.parametrize(
    ("events", "held", "settings", "fault"),
    [
        (good(), Held(frozenset(), {}), {}, "lost"),
        (good()[:-2], HELD, {}, "unanswered"),
        (more(event="answer", node="a", lookup="1", of="b", digest="y"), HELD, {}, "answered-twice"),
        (more(event="answered", node="b", lookup="1", digest="z", code=""), HELD, {}, "accepted-twice"),
        (more(event="refused", node="a", lookup="1", code="quota_spent"), HELD, {}, "refused-but-held"),
        (more(event="refused", node="a", lookup="2", code="quota_spent"), HELD, {}, "refused-too-early"),
        (good(), HELD, {"quota": COST - 1}, "quota-exceeded"),
        (good(), Held(HELD.lookups, {"a": 0}), {}, "quota-miscounted"),
        (good(), HELD, {"away_seconds": 1.0}, "away"),
        (more(event="lost", node="a", why=""), HELD, {}, "never-back"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_is_found(events: Any, held: Held, settings: Any, fault: str) -> None:
    assert fault in faults(events, held, **settings)


def test_heads_that_contradict_each_other_or_the_log_are_found() -> None:
    roots = {1: b"one", 2: b"two"}
    assert check_heads([(1, b"one"), (2, b"two"), (1, b"one")], roots) == []
    assert check_heads([(1, b"one"), (1, b"other")], roots) == ["two-heads: of 1 entries"]
    assert check_heads([(2, b"other")], roots) == ["another-history: 2 entries"]
