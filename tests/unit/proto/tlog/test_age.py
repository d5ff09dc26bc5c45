"""How old what is known of the log may be (docs/protocol.md §15.6)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from candor_proto.tlog.age import LogAge, age_of
from tests.parties import NOW

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("behind", "age"),
    [
        (timedelta(days=-30), LogAge.CLOSED),
        (timedelta(minutes=-5) - SECOND, LogAge.CLOSED),
        (timedelta(minutes=-5), LogAge.CURRENT),
        (timedelta(0), LogAge.CURRENT),
        (timedelta(hours=1), LogAge.CURRENT),
        (timedelta(hours=1) + SECOND, LogAge.LATE),
        (timedelta(hours=24), LogAge.LATE),
        (timedelta(hours=24) + SECOND, LogAge.CLOSED),
        (timedelta(days=400), LogAge.CLOSED),
    ],
)
def test_a_log_is_current_for_an_hour_late_for_a_day_and_then_closed(behind: timedelta, age: LogAge) -> None:
    assert age_of(NOW - behind, NOW) is age
