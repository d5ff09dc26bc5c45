"""What goes wrong, where and when: drawn from a seed, or put in by hand.

A *point* is a place where something may go wrong, as text: "PutHead", "Attach" and, of a node without a
stream, "Submit LOOKUP" are calls; "submit LOOKUP" is a submission on a stream; "to node LOOKUP", "to node
receipt LOOKUP" and "to hub acknowledgement" are other parts of its frames; "transaction Answerer._work_off"
is one piece of work on a node's database, "hub transaction Relay.submit_all" one on the hub's. Which troubles
can happen at a point is in `CALLS`, `SUBMISSIONS`, `FRAMES` and `TRANSACTIONS`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Trouble(Enum):
    """What can go wrong."""

    LOST_BEFORE = "lost before the write"
    LOST_AFTER = "lost after the write"
    SILENCE_BEFORE = "no answer, and nothing happened"
    SILENCE_AFTER = "no answer, and it happened"
    TWICE = "delivered twice"
    LATE = "late"
    REFUSED = "refused for a passing reason"
    BREAK = "the stream breaks"
    BREAK_AFTER = "the stream breaks when it has happened, before the receipt"
    HUB_DIES_BEFORE = "the hub dies before it happens"
    HUB_DIES_AFTER = "the hub dies when it has happened, before the reply"
    NOT_STORED = "failed and not persisted"
    STORED_UNTOLD = "failed but persisted"
    DIES_BEFORE = "the node dies before the transaction"
    DIES_AFTER = "the node dies when the transaction is on the disk"


CALLS = (
    Trouble.LOST_BEFORE,
    Trouble.LOST_AFTER,
    Trouble.SILENCE_BEFORE,
    Trouble.SILENCE_AFTER,
    Trouble.TWICE,
    Trouble.LATE,
    Trouble.REFUSED,
    Trouble.HUB_DIES_BEFORE,
    Trouble.HUB_DIES_AFTER,
)
SUBMISSIONS = (
    Trouble.LOST_BEFORE,
    Trouble.LOST_AFTER,
    Trouble.TWICE,
    Trouble.LATE,
    Trouble.REFUSED,
    Trouble.BREAK,
    Trouble.BREAK_AFTER,
    Trouble.HUB_DIES_BEFORE,
    Trouble.HUB_DIES_AFTER,
)
FRAMES = (Trouble.LOST_BEFORE, Trouble.TWICE, Trouble.LATE, Trouble.BREAK)
TRANSACTIONS = (Trouble.NOT_STORED, Trouble.STORED_UNTOLD, Trouble.DIES_BEFORE, Trouble.DIES_AFTER)
_GROUPS: Mapping[str, Sequence[Trouble]] = {
    "call": CALLS,
    "submission": SUBMISSIONS,
    "frame": FRAMES,
    "transaction": TRANSACTIONS,
}


@dataclass(frozen=True)
class Rates:
    """How often something goes wrong by itself, as shares of one; `only` narrows what."""

    call: float = 0.0
    submission: float = 0.0
    frame: float = 0.0
    transaction: float = 0.0
    only: frozenset[Trouble] = frozenset(Trouble)


@dataclass
class _Wish:
    point: str
    trouble: Trouble
    party: str
    skip: int
    times: int


@dataclass
class Plan:
    """Decides at every point; `log` says what it did, for whoever has to repeat it."""

    seed: int
    rates: Rates = field(default_factory=Rates)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = random.Random(f"faults {self.seed}")
        self._wishes: list[_Wish] = []
        self._healed = False

    def once(self, point: str, trouble: Trouble, party: str = "", *, skip: int = 0, times: int = 1) -> None:
        """Let `trouble` happen at the next `times` points that begin so (of `party`, if named)."""
        self._wishes.append(_Wish(point, trouble, party, skip, times))

    def pending(self) -> int:
        """How many wishes have not come true yet."""
        return sum(wish.times for wish in self._wishes)

    def forget(self) -> int:
        """Wishes that have not come true by now never will; how many there were."""
        pending = self.pending()
        self._wishes.clear()
        return pending

    def unfulfilled(self) -> list[str]:
        """What was to go wrong and never did: a scene in which it did not shows nothing."""
        return [
            f"{wish.party or 'anybody'}: {wish.point}: {wish.trouble.name}, {wish.times} times"
            for wish in self._wishes
            if wish.times
        ]

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self._healed = True

    def at(self, group: str, point: str, party: str) -> Trouble | None:
        """What goes wrong here and now, if anything."""
        if self._healed:
            return None
        trouble = self._wished(group, point, party) or self._drawn(group)
        if trouble is not None:
            self.log.append(f"{party}: {point}: {trouble.name}")
        return trouble

    def _wished(self, group: str, point: str, party: str) -> Trouble | None:
        for wish in self._wishes:
            if wish.times and point.startswith(wish.point) and wish.party in ("", party):
                assert wish.trouble in _GROUPS[group], f"{wish.trouble.name} does not happen at {point}"
                if wish.skip:
                    wish.skip -= 1
                    continue
                wish.times -= 1
                return wish.trouble
        return None

    def _drawn(self, group: str) -> Trouble | None:
        rate: float = getattr(self.rates, group)
        known = [trouble for trouble in _GROUPS[group] if trouble in self.rates.only]
        if not known or self.draw.random() >= rate:
            return None
        return self.draw.choice(known)

    def __str__(self) -> str:
        done = "\n  ".join(self.log) or "nothing"
        return f"seed {self.seed}, {self.rates}; what went wrong:\n  {done}"
