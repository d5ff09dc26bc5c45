"""Quota arithmetic: elements per asker in rolling windows (docs/protocol.md §11).

Uses are kept in hourly buckets. The arithmetic is pure; hub and node each keep their own uses and
spend in the transaction that accepts the lookup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from candor_proto.errors import QuotaSpent
from candor_proto.ids import KeyClass

BUCKET = timedelta(hours=1)
MONTH = timedelta(days=30)
DAY = timedelta(hours=24)
_CLASSES = (KeyClass.WEAK, KeyClass.MATCH, KeyClass.CODE)


@dataclass(frozen=True)
class Use:
    """Elements of each class used in the hour that starts at `hour`."""

    hour: datetime
    weak: int
    match: int
    code: int

    def of(self, key_class: KeyClass | None) -> int:
        if key_class is None:
            return self.weak + self.match + self.code
        return {KeyClass.WEAK: self.weak, KeyClass.MATCH: self.match, KeyClass.CODE: self.code}[key_class]


@dataclass(frozen=True)
class Quota:
    """Limits in elements per rolling 30 days; a tenth of each in any 24 hours."""

    total: int = 40_000
    weak: int = 10_000
    match: int = 30_000
    code: int = 24_000
    day_share: int = 10

    def limit(self, key_class: KeyClass | None) -> int:
        if key_class is None:
            return self.total
        return {KeyClass.WEAK: self.weak, KeyClass.MATCH: self.match, KeyClass.CODE: self.code}[key_class]


def bucket(now: datetime) -> datetime:
    """The start of the hour that `now` lies in."""
    return now.replace(minute=0, second=0, microsecond=0)


def remaining(quota: Quota, uses: Sequence[Use], now: datetime, key_class: KeyClass | None = None) -> int:
    """Elements of one class, or of all, that can still be used at `now`; never below zero (§11.3)."""
    left = [
        limit - sum(use.of(key_class) for use in uses if use.hour > now - window - BUCKET)
        for window, limit in (
            (MONTH, quota.limit(key_class)),
            (DAY, quota.limit(key_class) // quota.day_share),
        )
    ]
    return max(0, min(left))


def check_budget(
    quota: Quota, uses: Sequence[Use], wanted: Mapping[KeyClass, int], now: datetime, asker: str
) -> None:
    """Raises QuotaSpent, saying when enough is free again, if `wanted` does not fit (§11).

    A bucket counts until its whole hour has left the window, so the window is never shorter than stated.
    """
    for key_class in (None, *_CLASSES):
        need = sum(wanted.values()) if key_class is None else wanted.get(key_class, 0)
        for window, limit in (
            (MONTH, quota.limit(key_class)),
            (DAY, quota.limit(key_class) // quota.day_share),
        ):
            current = sorted(
                (use for use in uses if use.hour > now - window - BUCKET), key=lambda use: use.hour
            )
            used = sum(use.of(key_class) for use in current)
            if used + need > limit:
                raise _spent(current, key_class, used, need, limit, window, asker)


def _spent(
    uses: Sequence[Use],
    key_class: KeyClass | None,
    used: int,
    need: int,
    limit: int,
    window: timedelta,
    asker: str,
) -> QuotaSpent:
    span = "24 hours" if window == DAY else "30 days"
    kind = "elements" if key_class is None else f"elements of class {key_class.letter}"
    message = f"{asker} has used {used:,} of {limit:,} {kind} in {span}; this lookup needs {need:,}."
    for use in uses:
        used -= use.of(key_class)
        if used + need <= limit:
            free_at = use.hour + window + BUCKET
            return QuotaSpent(message, remedy=f"Enough is free again at {free_at:%Y-%m-%d %H:%M} UTC.")
    return QuotaSpent(message, remedy="Ask the hub operator or the owner for a higher quota.")
