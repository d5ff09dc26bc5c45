"""The draw of an audit (docs/protocol.md §18.1)."""

from __future__ import annotations

from typing import Any

from candor_proto.accountability.draw import Draw
from candor_proto.tlog.checkpoint import Checkpoint
from tools.vectors.book import Book, Given, operation
from tools.vectors.draws import draw
from tools.vectors.notes import ORIGIN
from tools.vectors.shapes import TEXT, U16, U32, U64, fields, fixed, listed


@operation(
    "audit-draw",
    "18.1",
    "the seed of a draw about the entries from `from` to the size of the checkpoint, at this rate; and which "
    "commitments are "
    "drawn of the `requests` entries given, with how many commitments each",
    {
        "origin": TEXT,
        "size": U64,
        "root": fixed(32),
        "from": U64,
        "rate": U32,
        "entries": listed(fields(index=U64, commitments=U16)),
    },
    {"seed": fixed(32), "drawn": listed(fields(index=U64, position=U16))},
)
def _audit_draw(given: Given) -> dict[str, Any]:
    checkpoint = Checkpoint(given["origin"], int(given["size"]), bytes.fromhex(given["root"]))
    made = Draw(checkpoint, int(given["from"]), given["rate"])
    drawn = [
        {"index": one["index"], "position": position}
        for one in given["entries"]
        for position in range(one["commitments"])
        if made.is_drawn(int(one["index"]), position)
    ]
    return {"seed": made.seed.hex(), "drawn": drawn}


def book() -> Book:
    found = Book(
        "draw",
        "Draws of audits: their seeds, and which commitments they take.",
        ("18.1",),
        "Sizes, rates and places by hand, roots drawn; by candor_proto.accountability.draw. Whether as many "
        "are drawn as the "
        "rate says is tested in tests/unit/proto/accountability/test_draw.py.",
    )
    entries = [
        {"index": str(index), "commitments": 256} for index in (999, 1_000, 1_777, 2_500, 4_999, 5_000)
    ]
    base = {
        "origin": ORIGIN,
        "size": "5000",
        "root": draw("root of 5000", 32).hex(),
        "from": "1000",
        "rate": 100,
        "entries": entries,
    }
    changes: dict[str, dict[str, Any]] = {
        "one_in_a_hundred": {},
        "one_in_thirty": {"rate": 333},
        "from_the_beginning": {"from": "0"},
        "another_root": {"root": draw("root of 5000 again", 32).hex()},
        "of_an_empty_range": {"from": "5000"},
        "every_one": {
            "rate": 10_000,
            "entries": [{"index": "1000", "commitments": 3}, {"index": "5000", "commitments": 3}],
        },
    }
    for name, change in changes.items():
        found.case(f"draw_{name}", "audit-draw", {**base, **change})
    flaws: dict[str, dict[str, Any]] = {
        "rate_below_one_percent": {"rate": 99},
        "rate_above_all": {"rate": 10_001},
        "from_beyond_the_end": {"from": "5001"},
    }
    for flaw, change in flaws.items():
        found.case(f"draw_{flaw}", "audit-draw", {**base, **change}, refuse="malformed_message")
    return found
