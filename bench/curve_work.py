"""How much of a measurement is curve: operations counted by kind, and what each costs bare, now.

`counting()` counts the calls that this process makes into libsodium; `bare_seconds()` is the CPU time of one
call of each kind in the tightest loop that ctypes allows. Their product is the work that no Python saves.
Arithmetic of scalars is left out: it is 0.3 µs a call, and counting it would cost more.
"""

from __future__ import annotations

import ctypes
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from bench.harness import timed
from candor_proto.ids import LookupShape
from candor_proto.sodium import Curve, curve
from candor_proto.statements import SLOTS

_HASH_OCTETS = 64
# How many operations one call of a method of Curve stands for, from its arguments.
_COUNTED: Mapping[str, Callable[[Sequence[Any]], dict[str, int]]] = {
    "scalarmult": lambda _: {"multiply": 1},
    "scalarmult_base": lambda _: {"multiply_base": 1},
    "scalarmult_pairs": lambda given: {"multiply": len(given[1])},
    "weighted_sum": lambda given: {"multiply": len(given[1]), "add": len(given[1]) - 1},
    "add": lambda _: {"add": 1},
    "sub": lambda _: {"add": 1},
    "from_hash": lambda _: {"hash_to_group": 1},
    "from_hash_each": lambda given: {"hash_to_group": len(given[0])},
    "is_valid_point": lambda _: {"check": 1},
    "scalar_invert": lambda _: {"invert": 1},
}
OPERATIONS = ("multiply", "multiply_base", "add", "hash_to_group", "check", "invert")


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the curve operations of this process, in all threads, while the block runs."""
    counted: Counter[str] = Counter()
    originals = {name: getattr(Curve, name) for name in _COUNTED}

    def wrapped(name: str) -> Callable[..., Any]:
        original, count = originals[name], _COUNTED[name]

        def call(self: Curve, *given: Any) -> Any:
            counted.update(count(given))
            return original(self, *given)

        return call

    for name in _COUNTED:
        setattr(Curve, name, wrapped(name))
    try:
        yield counted
    finally:
        for name, original in originals.items():
            setattr(Curve, name, original)


def bare_seconds(calls: int = 400) -> dict[str, float]:
    """CPU seconds of one call of each kind of operation, measured now."""
    library = curve().library
    name = "crypto_core_ristretto255_"
    # Indexing gives fresh function objects without argtypes: the cheapest call that ctypes has.
    multiply, base = library["crypto_scalarmult_ristretto255"], library["crypto_scalarmult_ristretto255_base"]
    add, from_hash = library[f"{name}add"], library[f"{name}from_hash"]
    check, invert = library[f"{name}is_valid_point"], library[f"{name}scalar_invert"]
    scalar, out = curve().scalar_random(), ctypes.create_string_buffer(32)
    points = [curve().scalarmult_base(curve().scalar_random()) for _ in range(64)]
    points = (points * (calls // len(points) + 1))[:calls]
    wide = bytes(range(_HASH_OCTETS))
    loops: dict[str, Callable[[bytes], Any]] = {
        "multiply": lambda point: multiply(out, scalar, point),
        "multiply_base": lambda _: base(out, scalar),
        "add": lambda point: add(out, points[0], point),
        "hash_to_group": lambda _: from_hash(out, wide),
        "check": lambda point: check(point),
        "invert": lambda _: invert(out, scalar),
    }

    def run(call: Callable[[bytes], Any]) -> None:
        for point in points:
            call(point)

    return {kind: timed(partial(run, call), time.thread_time)[0] / calls for kind, call in loops.items()}


def price(counted: Mapping[str, int], seconds: Mapping[str, float]) -> float:
    """CPU seconds that the operations counted cost bare."""
    return sum(count * seconds[kind] for kind, count in counted.items())


def lookup_operations(shape: LookupShape, nodes: int, persons: int = 1) -> Counter[str]:
    """What RFC 9497 needs for one lookup of `persons` persons at `nodes` nodes, over all parties.

    With one proof a class: blind once; per node decode, evaluate, prove, decode, verify, unblind. What the
    hub decodes in order to check it is not in it: Candor does that, the RFC does not ask for it.
    """
    counted: Counter[str] = Counter()
    for slots in SLOTS[shape].values():
        size = slots * persons
        counted.update({"hash_to_group": size, "multiply": size})
        counted.update(
            {
                "check": 2 * size * nodes,
                "multiply": (2 * size + 2 + 3 * size + 3) * nodes,
                "multiply_base": 2 * nodes,
                "add": (size - 1 + 2 * size) * nodes,
                "invert": nodes,
            }
        )
    return counted
