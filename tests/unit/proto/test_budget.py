"""Quota arithmetic (docs/protocol.md §11; attacks A1, A5b)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.budget import BUCKET, DAY, MONTH, Quota, Use, bucket, check_budget, remaining
from candor_proto.errors import QuotaSpent
from candor_proto.ids import KeyClass
from tests.parties import NOW

DETAILED = {KeyClass.WEAK: 4, KeyClass.MATCH: 12, KeyClass.CODE: 24}
SCREENING = {KeyClass.WEAK: 4, KeyClass.MATCH: 12}
HOUR = bucket(NOW)


def spend(uses: list[Use], wanted: dict[KeyClass, int], now: datetime, quota: Quota | None = None) -> None:
    check_budget(quota or Quota(), uses, wanted, now, "harbor-pd")
    uses.append(Use(bucket(now), wanted[KeyClass.WEAK], wanted[KeyClass.MATCH], wanted.get(KeyClass.CODE, 0)))


def test_a_hundred_detailed_lookups_fit_a_day_and_not_one_more() -> None:
    uses: list[Use] = []
    for _ in range(100):
        spend(uses, DETAILED, NOW)
    with pytest.raises(QuotaSpent) as caught:
        spend(uses, DETAILED, NOW)
    assert "24 hours" in caught.value.message
    assert "free again at" in caught.value.remedy


def test_a_thousand_detailed_lookups_fit_a_month_and_not_one_more() -> None:
    uses = [Use(HOUR - timedelta(days=day), 400, 1_200, 2_400) for day in range(2, 12)]
    with pytest.raises(QuotaSpent) as caught:
        check_budget(Quota(), uses, DETAILED, NOW, "harbor-pd")
    assert "30 days" in caught.value.message


def test_a_class_runs_out_on_its_own() -> None:
    uses = [Use(HOUR - timedelta(days=day), 1_000, 0, 0) for day in range(2, 12)]
    with pytest.raises(QuotaSpent) as caught:
        check_budget(Quota(), uses, SCREENING, NOW, "harbor-pd")
    assert "class W" in caught.value.message


def test_a_use_counts_until_its_whole_hour_has_left_the_window() -> None:
    quota = Quota(total=160, weak=160, match=160, code=160, day_share=1)
    uses = [Use(HOUR, 40, 40, 80)]
    for window in (DAY, MONTH):
        with pytest.raises(QuotaSpent):
            check_budget(quota, uses, SCREENING, HOUR + window, "x")
    check_budget(quota, uses, SCREENING, HOUR + MONTH + BUCKET, "x")


def test_the_stated_time_is_when_enough_is_free() -> None:
    uses = [Use(HOUR - timedelta(hours=hours), 400, 1_200, 2_400) for hours in (5,)]
    with pytest.raises(QuotaSpent) as caught:
        check_budget(Quota(), uses, DETAILED, NOW, "x")
    free_at = HOUR - timedelta(hours=5) + DAY + BUCKET
    assert f"{free_at:%Y-%m-%d %H:%M}" in caught.value.remedy
    check_budget(Quota(), uses, DETAILED, free_at, "x")


def test_a_lookup_larger_than_the_whole_quota_says_to_ask_for_more() -> None:
    with pytest.raises(QuotaSpent) as caught:
        check_budget(Quota(total=10), [], SCREENING, NOW, "x")
    assert "higher quota" in caught.value.remedy


@given(
    st.lists(st.tuples(st.integers(0, 24 * 40), st.booleans()), max_size=60),
    st.integers(200, 2_000),
)
def test_no_window_ever_holds_more_than_its_limit(steps: list[tuple[int, bool]], total: int) -> None:
    quota = Quota(total=total, weak=total, match=total, code=total, day_share=2)
    uses: list[Use] = []
    spent: list[tuple[datetime, int]] = []
    for hours, detailed in sorted(steps):
        now = NOW + timedelta(hours=hours)
        wanted = DETAILED if detailed else SCREENING
        try:
            spend(uses, wanted, now, quota)
        except QuotaSpent:
            continue
        spent.append((now, sum(wanted.values())))
        assert sum(count for at, count in spent if at > now - DAY) <= total // 2
        assert sum(count for at, count in spent if at > now - MONTH) <= total
        assert remaining(quota, uses, now) >= 0
