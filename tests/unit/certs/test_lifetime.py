"""When a person hears of a certificate: at shares of its life, once for each level (RELIABILITY 7.8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_certs.lifetime import BY_HAND, BY_PROGRAM, Level, Reminder, judge, span
from candor_certs.profiles import CLOCK_TOLERANCE, overdue_time

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
YEAR, WEEK = timedelta(days=365), timedelta(days=7)


def at(life: timedelta, left: timedelta, *, by_hand: bool) -> Level:
    """The level of a certificate of that life with so much left."""
    begins, ends = NOW - CLOCK_TOLERANCE, NOW + life
    return judge(begins, ends, ends - left, by_hand=by_hand).level


@pytest.mark.parametrize(
    ("days", "level"), [(30, Level.NOTICE), (14, Level.WARNING), (7, Level.URGENT), (1, Level.LAST)]
)
def test_a_year_long_one_alarms_at_30_14_7_and_1_days(days: int, level: Level) -> None:
    one = timedelta(seconds=1)
    assert at(YEAR, timedelta(days=days), by_hand=True) is level
    assert at(YEAR, timedelta(days=days) + one, by_hand=True) is Level(level - 1)


@pytest.mark.parametrize(
    ("hours", "level"), [(28, Level.NOTICE), (14, Level.WARNING), (7, Level.URGENT), (1, Level.LAST)]
)
def test_a_week_long_one_alarms_at_28_14_7_and_1_hours(hours: int, level: Level) -> None:
    one = timedelta(seconds=1)
    assert at(WEEK, timedelta(hours=hours), by_hand=False) is level
    assert at(WEEK, timedelta(hours=hours) + one, by_hand=False) is Level(level - 1)


@given(
    life_seconds=st.integers(60, 3652 * 86_400),
    left_seconds=st.lists(st.integers(-86_400, 3652 * 86_400), min_size=2, max_size=2),
    by_hand=st.booleans(),
)
def test_levels_only_rise_as_time_goes_by(life_seconds: int, left_seconds: list[int], by_hand: bool) -> None:
    life = timedelta(seconds=life_seconds)
    more, less = (
        timedelta(seconds=min(seconds, life_seconds)) for seconds in sorted(left_seconds, reverse=True)
    )
    assert at(life, more, by_hand=by_hand) <= at(life, less, by_hand=by_hand)


@given(life_seconds=st.integers(168, 3652 * 86_400), part=st.floats(0, 1), by_hand=st.booleans())
def test_only_the_share_counts_never_the_length(life_seconds: int, part: float, by_hand: bool) -> None:
    """A certificate of an hour and one of ten years with the same share left are at the same level."""
    bounds = (BY_HAND if by_hand else BY_PROGRAM).values()
    if min(abs(part - float(bound)) for bound in bounds) < 1e-6:
        return  # rounded to microseconds it may lie on either side
    lives = timedelta(seconds=life_seconds), timedelta(hours=1)
    one, other = (at(life, life * part, by_hand=by_hand) for life in lives)
    assert one is other


def test_the_last_second_counts_the_next_does_not_and_the_future_is_a_clocks_fault() -> None:
    begins, ends = NOW, NOW + WEEK
    assert judge(begins, ends, ends).level is Level.LAST
    ended = judge(begins, ends, ends + timedelta(seconds=1))
    assert (ended.level, ended.severity) == (Level.ENDED, "bad")
    assert "ended on 2026-12-04 12:00:00 UTC, 1 second ago" in ended.sentence
    early = judge(begins, ends, begins - timedelta(days=3652))
    assert early.level is Level.NOT_YET
    assert "clock" in early.sentence


def test_a_program_is_overdue_where_doctor_has_always_said_so() -> None:
    begins, ends = NOW - CLOCK_TOLERANCE, NOW + WEEK
    overdue = overdue_time(begins, ends)
    assert judge(begins, ends, overdue).severity == "bad"
    assert judge(begins, ends, overdue - timedelta(seconds=1)).severity == "good"
    # A person is warned first: a ceremony takes planning.
    assert judge(begins, NOW + YEAR, NOW + YEAR - timedelta(days=30), by_hand=True).severity == "warning"


def test_each_level_is_told_once_and_again_after_it_went_back() -> None:
    begins, ends, told = NOW - CLOCK_TOLERANCE, NOW + WEEK, []
    reminder = Reminder()
    for minute in range(7 * 24 * 60):
        standing = judge(begins, ends, NOW + timedelta(minutes=minute))
        if reminder.is_news("hub", standing):
            told.append(standing.level)
    assert told == [Level.NOTICE, Level.WARNING, Level.URGENT, Level.LAST]
    renewed = judge(ends, ends + WEEK, ends)
    assert not reminder.is_news("hub", renewed)
    assert reminder.is_news("hub", judge(begins, ends, ends + timedelta(seconds=1)))
    assert not reminder.is_news("hub", judge(begins, ends, ends + timedelta(hours=1)))
    assert reminder.is_news("directory", judge(begins, ends, ends + timedelta(seconds=1)))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7_200, "2 hours")],
)
def test_a_span_is_said_in_its_largest_unit(seconds: int, words: str) -> None:
    assert span(timedelta(seconds=seconds)) == words
    assert span(timedelta(days=300)) == "300 days"
